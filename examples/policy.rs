//! A policy of your own: UCB1, which knows nothing of priors, against PUCT in self-play.

use lockstep::prelude::*;

struct Ucb1 {
    exploration: f32,
}

impl Policy for Ucb1 {
    type State = ();

    fn inner(&self, _: &mut Search<()>, node: Node) -> usize {
        let all = (node.visits + node.in_flight) as f32;
        let score = |e: &Edge| match e.visits() + e.in_flight() {
            0 => f32::INFINITY,
            n => e.value_or(0.0) + self.exploration * (all.ln() / n as f32).sqrt(),
        };
        let edges = node.edges();
        (0..edges.len()).max_by(|&a, &b| score(&edges[a]).total_cmp(&score(&edges[b]))).expect("a node has edges")
    }
}

/// Mean result of the first player in self-play with a policy.
fn first_player_score(policy: SearchPolicy) -> Result<f64, systems::Error> {
    let player = Searcher::new(Rollouts::<TicTacToe>::new(1, 4), SearchConfig::default()).with_policy(policy);
    let mut world = Setup::self_play(AnyGame::of::<TicTacToe>(), player)
        .lanes(LanesConfig { count: 32, ..Default::default() })
        .build();
    play_games(&mut world, 200)?;
    Ok(world.resource::<Stats>().first_player_score())
}

/// Runs the experiment.
pub fn main() -> Result<(), systems::Error> {
    let puct = first_player_score(SearchPolicy::new(Puct))?;
    let ucb1 = first_player_score(SearchPolicy::new(Ucb1 { exploration: 1.5 }))?;
    println!("first player: {puct:.2} with PUCT, {ucb1:.2} with UCB1");
    Ok(())
}
