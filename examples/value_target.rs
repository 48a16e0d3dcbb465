//! A value target of your own: the later a game ends, the closer to a draw it counts, so that quick wins are worth more.

use lockstep::{prelude::*, systems::learn::TrainingBatch, trainer::Event};

/// A system that changes the batch that was drawn, for games of at most so many plies.
fn discount(factor: f32, longest: usize) -> impl FnMut(ResMut<TrainingBatch>) {
    move |mut batch| {
        let batch = &mut *batch;
        for (outcome, left) in batch.outcomes.chunks_exact_mut(3).zip(&batch.lengths) {
            // Shares of win, draw and loss.
            let kept = factor.powf(left * longest as f32);
            let (win, loss) = (kept * outcome[0], kept * outcome[2]);
            outcome.copy_from_slice(&[win, 1.0 - win - loss, loss]);
        }
    }
}

/// Runs the experiment.
pub fn main() -> Result<(), lockstep::Error> {
    for factor in [1.0, 0.9] {
        let mut config = Config::default();
        config.network = NetworkConfig { kind: NetworkKind::Mlp, channels: 32, blocks: 2, ..config.network };
        (config.run.generations, config.run.games) = (3, 200);
        let hooks = Hooks::default().learning(move |world| {
            let system = discount(factor, TicTacToe::MAX_PLIES).after(LearnSystems::Sample).before(LearnSystems::Step);
            world.resource_mut::<Schedules>().add_systems(Learn, system);
        });
        let mut run = Trainer::new(AnyGame::of::<TicTacToe>(), &config, &device::place_of(&config)?, &hooks);
        while !run.is_finished() {
            if let Event::Generation(metrics, _) = run.advance()? {
                println!("{factor}, generation {}: value loss {:.3}", metrics.generation, metrics.value_loss);
            }
        }
    }
    Ok(())
}
