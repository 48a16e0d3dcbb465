//! Adds a system of its own after `TickSystems::Expand`: the entropy of the root's visits for each move.

use lockstep::prelude::*;

#[derive(Resource, Default)]
struct Entropies(Vec<f32>);

fn root_entropy(trees: Query<&Tree>, mut entropies: ResMut<Entropies>) {
    for tree in trees.iter().filter(|t| t.state == TreeState::Complete) {
        let total = tree.simulations_at_root() as f32;
        let shares = tree.root_edges().iter().map(|e| e.visits() as f32 / total);
        entropies.0.push(shares.filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum());
    }
}

/// Runs the experiment.
pub fn main() -> Result<(), systems::Error> {
    let mut world = World::new();
    let lanes = LanesConfig { count: 16, ..Default::default() };
    let agent = (Box::new(Uniform::default()) as Box<dyn Evaluator>, SearchConfig::default());
    insert_lanes::<ConnectFour, Puct>(&mut world, &lanes, 1, vec![agent]);
    world.init_resource::<Entropies>();
    let mut tick = tick_schedule::<ConnectFour, Puct>();
    tick.add_systems(root_entropy.after(TickSystems::Expand).before(TickSystems::Act));
    world.add_schedule(tick);
    while world.resource::<Stats>().games < 20 {
        run_tick(&mut world)?;
    }
    let entropies = &world.resource::<Entropies>().0;
    let mean = entropies.iter().sum::<f32>() / entropies.len() as f32;
    println!("{} moves, mean entropy {mean:.3} nats", entropies.len());
    Ok(())
}
