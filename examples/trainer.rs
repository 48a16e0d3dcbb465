//! A training run step by step, in memory: a policy with a parameter, a component on every lane, and a system that fills it.

use lockstep::{prelude::*, trainer::Event};

/// PUCT, but now and then a descent begins with any move.
struct Curious(f32);

impl Policy for Curious {
    type State = ();

    fn root(&self, search: &mut Search<()>, root: Node) -> usize {
        let edges = root.edges();
        let any = search.rng.below(edges.len());
        let follows = search.rng.unit() < self.0 && edges[any].known().is_none();
        if follows { any } else { Puct.root(search, root) }
    }

    fn inner(&self, search: &mut Search<()>, node: Node) -> usize {
        Puct.inner(search, node)
    }
}

/// How often a search has come to another move than the network.
#[derive(Component, Clone, Copy, Default)]
struct Surprise {
    searches: u32,
    others: u32,
}

fn surprises(mut rows: Rows<&mut Surprise, &Tree>) {
    for (surprise, trees) in rows.answered() {
        for (tree, ()) in trees.filter(|(tree, ())| tree.state == TreeState::Complete) {
            let best = |by: fn(&Edge) -> f32| {
                let edges = tree.root_edges().iter();
                edges.max_by(|a, b| by(a).total_cmp(&by(b))).map(Edge::action)
            };
            surprise.searches += 1;
            surprise.others += u32::from(best(|edge| edge.prior()) != best(|edge| edge.visits() as f32));
        }
    }
}

/// Runs the experiment.
pub fn main() -> Result<(), lockstep::Error> {
    let mut config = Config::default();
    config.network = NetworkConfig { kind: NetworkKind::Mlp, channels: 32, blocks: 2, ..config.network };
    (config.run.generations, config.run.games) = (3, 200);
    let curiosity = 0.05;
    let hooks = Hooks::default().policy(move |_| SearchPolicy::new(Curious(curiosity))).lanes(|setup| {
        let system = surprises.after(TickSystems::Expand).before(TickSystems::Act);
        setup.lane_component(Surprise::default()).system(system)
    });
    let mut run = Trainer::new(AnyGame::of::<TicTacToe>(), &config, &device::place_of(&config)?, &hooks);
    while !run.is_finished() {
        if let Event::Generation(metrics, _) = run.advance()? {
            let (mut searches, mut others) = (0, 0);
            for mut lane in run.source.world.query::<&mut Surprise>().iter_mut(&mut run.source.world) {
                searches += std::mem::take(&mut lane.searches);
                others += std::mem::take(&mut lane.others);
            }
            let share = 100.0 * others as f32 / searches as f32;
            println!(
                "generation {}: policy loss {:.3}, {share:.0} % surprises",
                metrics.generation, metrics.policy_loss
            );
        }
    }
    Ok(())
}
