//! A match of two agents: PUCT against Gumbel with 16 simulations, both with random games for an evaluator.

use lockstep::prelude::*;

/// Runs the experiment.
pub fn main() -> Result<(), systems::Error> {
    let player = |policy| {
        let search = SearchConfig { policy, opening_plies: 6, ..SearchConfig::default().to_win(16) };
        Searcher::new(Rollouts::<ConnectFour>::new(1, 1), search)
    };
    let mut world = Setup::match_of(AnyGame::of::<ConnectFour>(), player(PolicyKind::Puct), player(PolicyKind::Gumbel))
        .lanes(LanesConfig { count: 32, ..Default::default() })
        .build();
    let games = play_games(&mut world, 100)?;
    // In games with odd numbers the second agent has the first move.
    let points = games.iter().map(|game| {
        let first = game.finished.expect("it has ended").value();
        let of_puct = if game.id.expect("it has a number").number % 2 == 0 { first } else { -first };
        0.5 + 0.5 * of_puct
    });
    println!("PUCT scores {:.1} of {} against Gumbel", points.sum::<f32>(), games.len());
    Ok(())
}
