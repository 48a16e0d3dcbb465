//! Replaces the selection rule: UCB1 without priors, against PUCT with them.

use lockstep::prelude::*;

struct Ucb1(f32);

impl SelectionRule for Ucb1 {
    fn new(config: &SearchConfig) -> Self {
        Self(config.c_puct)
    }

    fn select(&self, edges: &[Edge], visits: u32, _in_flight: u32, _value: f32) -> usize {
        let score = |e: &Edge| match e.visits() {
            0 => f32::INFINITY,
            n => e.value_or(0.0) + self.0 * ((visits as f32).ln() / n as f32).sqrt(),
        };
        (0..edges.len()).max_by(|&a, &b| score(&edges[a]).total_cmp(&score(&edges[b]))).expect("a node has edges")
    }
}

/// Mean result of the first player in self-play with a selection rule.
fn first_player_score<R: SelectionRule>() -> Result<f64, systems::Error> {
    let mut world = World::new();
    let agent = (Box::new(Rollouts::<TicTacToe>::new(1, 4)) as Box<dyn Evaluator>, SearchConfig::default());
    insert_lanes::<TicTacToe, R>(&mut world, &LanesConfig { count: 32, ..Default::default() }, 1, vec![agent]);
    world.add_schedule(tick_schedule::<TicTacToe, R>());
    while world.resource::<Stats>().games < 200 {
        run_tick(&mut world)?;
    }
    Ok(world.resource::<Stats>().first_player_score())
}

/// Runs the experiment.
pub fn main() -> Result<(), systems::Error> {
    println!(
        "first player: {:.2} with PUCT, {:.2} with UCB1",
        first_player_score::<Puct>()?,
        first_player_score::<Ucb1>()?
    );
    Ok(())
}
