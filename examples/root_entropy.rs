//! A component for each lane, and a system that fills it: the entropy of the root's visits, in the mean over the moves.

use lockstep::prelude::*;

#[derive(Component, Clone, Default)]
struct Entropy {
    sum: f32,
    searches: u32,
}

fn root_entropy(mut rows: Rows<&mut Entropy, &Tree>) {
    rows.answered().par_rows(16).for_each(|(entropy, trees)| {
        for (tree, _) in trees.filter(|(tree, _)| tree.state == TreeState::Complete) {
            let total = tree.simulations_at_root() as f32;
            let shares = tree.root_edges().iter().map(|e| e.visits() as f32 / total);
            entropy.sum += shares.filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum::<f32>();
            entropy.searches += 1;
        }
    });
}

/// Runs the experiment.
pub fn main() -> Result<(), systems::Error> {
    let player = Searcher::new(Uniform::default(), SearchConfig::default());
    let mut world = Setup::self_play(AnyGame::of::<ConnectFour>(), player)
        .lanes(LanesConfig { count: 16, ..Default::default() })
        .lane_component(Entropy::default())
        .system(root_entropy.after(TickSystems::Expand).before(TickSystems::Act))
        .build();
    play_games(&mut world, 20)?;
    let all: Vec<_> = world.query::<&Entropy>().iter(&world).collect();
    let searches: u32 = all.iter().map(|e| e.searches).sum();
    let mean = all.iter().map(|e| e.sum).sum::<f32>() / searches as f32;
    println!("{searches} moves, mean entropy {mean:.3} nats");
    Ok(())
}
