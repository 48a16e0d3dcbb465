//! Drives `Tick` and `Learn` by hand from a bare `World`: three generations of tic-tac-toe without run folder or display.

use lockstep::prelude::*;

/// Runs the experiment.
pub fn main() -> Result<(), lockstep::Error> {
    let mut config = Config::default();
    config.network = NetworkConfig { kind: NetworkKind::Mlp, channels: 32, blocks: 2, ..config.network };
    let place = device::place(DeviceKind::Cpu)?;
    let game = AnyGame::of::<TicTacToe>();
    let learner = Learner::new(&game.info, &config, &place.device);
    let factory = place.evaluators(game, config.lanes.count as usize);
    let mut world = Setup::self_play(game, Searcher::new(factory.0(&learner.network), config.search.clone()))
        .lanes(config.lanes.clone())
        .plugin(Learning::new(game, learner, factory, config.replay.clone()))
        .build();
    for generation in 1..=3 {
        let games = play_games(&mut world, 300)?;
        games.iter().for_each(|game| world.resource_mut::<ReplayBuffer>().push(game));
        while !run_learn(&mut world)? {}
        let losses = world.resource::<Learner>().losses();
        println!(
            "generation {generation}: policy loss {:.3}, value loss {:.3}",
            losses.of("policy"),
            losses.of("value")
        );
    }
    Ok(())
}
