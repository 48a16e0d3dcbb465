//! Drives `Tick` and `Learn` by hand from a bare `World`: three generations of tic-tac-toe without run folder or display.

use lockstep::prelude::*;

/// Runs the experiment.
pub fn main() -> Result<(), lockstep::Error> {
    let mut config = Config::default();
    config.network = NetworkConfig { kind: NetworkKind::Mlp, channels: 32, blocks: 2, ..config.network };
    let place = device::place(DeviceKind::Cpu)?;
    let mut world = World::new();
    let learner = Learner::new::<TicTacToe>(&config, &place.device);
    let factory = place.evaluators::<TicTacToe>(config.lanes.count as usize);
    let agent = (factory.0(&learner.network), config.search.clone());
    insert_lanes::<TicTacToe, Puct>(&mut world, &config.lanes, config.run.seed, vec![agent]);
    world.insert_resource(Replay::<TicTacToe>::new(config.replay.window));
    world.insert_resource(systems::FinishedGames::new(usize::MAX));
    world.insert_resource(learn::Sampling(config.replay.clone()));
    world.insert_resource(learn::TrainingBatch::default());
    world.insert_resource(learner);
    world.insert_resource(factory);
    world.add_schedule(tick_schedule::<TicTacToe, Puct>());
    world.add_schedule(learn::learn_schedule::<TicTacToe>());
    for generation in 1..=3 {
        *world.resource_mut::<Stats>() = Stats::default();
        while world.resource::<Stats>().games < 300 {
            run_tick(&mut world)?;
        }
        let games = world.resource_mut::<systems::FinishedGames>().take();
        games.iter().for_each(|game| world.resource_mut::<Replay<TicTacToe>>().push(game));
        while !run_learn(&mut world)? {}
        let losses = world.resource::<Learner>().losses();
        println!("generation {generation}: policy loss {:.3}, value loss {:.3}", losses.policy, losses.value);
    }
    Ok(())
}
