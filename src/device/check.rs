//! Checks that a device computes what a network is. Tuning chooses kernels by their time alone, and not all of them are
//! right: a product of matrices of burn 0.22 is wrong on SwiftShader.

use super::Place;
use bevy_ecs::prelude::*;
use lockstep_components::{
    Config,
    config::{DeviceKind, LanesConfig, LearnPrecision, Precision, SearchConfig, Steps},
};
use lockstep_fused::{Description, ExactNetwork, Frozen};
use lockstep_systems::{
    AnyGame, Batch, Evaluations, Evaluator, Learner, Learning, Plugin, Searcher, Setup, Uniform,
    learn::{TrainingBatch, gradients},
    network::{NamedTensor, describe},
    play_games, run_learn,
};
use std::{
    cell::LazyCell,
    sync::{Mutex, PoisonError},
};

/// What was checked in this process: each pair is what was asked for, and the way to compute it that is right.
pub type Known<K, W> = Mutex<Vec<(K, W)>>;

/// Returns the first of some ways to compute something that is right, and keeps it in `known`, so that it is looked for
/// once.
///
/// # Errors
/// The error of the first way, if no way is right; or that the memory did not suffice for a way, which says nothing
/// about it or the ways after it.
///
/// # Panics
/// If there are no ways.
pub fn first_right<K: PartialEq, W: Copy>(
    known: &Known<K, W>,
    asked: K,
    ways: &[W],
    mut right: impl FnMut(W) -> Result<(), lockstep_systems::Error>,
) -> Result<W, lockstep_systems::Error> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, way)) = known.iter().find(|(known, _)| *known == asked) {
        return Ok(*way);
    }
    let mut first = Ok(());
    for &way in ways {
        match right(way) {
            Ok(()) => {
                known.push((asked, way));
                return Ok(way);
            }
            Err(error @ lockstep_systems::Error::OutOfMemory { .. }) => return Err(error),
            wrong => first = first.and(wrong),
        }
    }
    first.map(|()| unreachable!("there is a way to try"))
}

/// An evaluator that answers every batch with an error, for a device that evaluates the network wrongly.
pub struct Refused(pub lockstep_systems::Error);

impl Evaluator for Refused {
    fn submit(&mut self, _: &Batch) -> Result<(), lockstep_systems::Error> {
        Err(self.0.clone())
    }

    fn receive(&mut self, _: &mut Evaluations) -> Result<(), lockstep_systems::Error> {
        Err(self.0.clone())
    }
}

/// Compares the first, the middle and the last row of a batch of each size with the same network in `f64`.
///
/// # Errors
/// When a row is further off than the precision of the place explains, or the device fails.
pub fn evaluation(
    game: AnyGame,
    evaluator: &mut dyn Evaluator,
    network: &Frozen,
    place: &Place,
) -> Result<(), lockstep_systems::Error> {
    // As a share of the largest number, from the bits of the mantissas.
    let close = match place.precision {
        Precision::Bf16 => 0.1,
        Precision::F16 | Precision::Tf32 => 0.02,
        _ => 2e-3,
    };
    let exact = ExactNetwork::new(network);
    let mut sizes = evaluator.capabilities().batch_sizes;
    if sizes.is_empty() {
        // The evaluator takes any size, or could not be made and says nothing yet.
        sizes.push(1);
    }
    for rows in sizes {
        let (batch, mut out) = (Batch::random(&game.info, rows), Evaluations::new(rows, game.info.actions));
        evaluator.evaluate(&batch, &mut out)?;
        for row in [0, rows / 2, rows - 1] {
            let planes = &batch.planes()[row * game.info.input()..(row + 1) * game.info.input()];
            let (logits, value) = exact.policy_and_value(planes);
            let largest = logits.iter().fold(0.0, |most: f64, x| most.max(x.abs())).max(1e-3);
            let found = &out.logits[row * game.info.actions..(row + 1) * game.info.actions];
            // `max` would pass over what is not a number.
            let worst = |most: f64, off: f64| if off > most || off.is_nan() { off } else { most };
            let off = logits.iter().zip(found).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, worst);
            let (off, value_off) = (off / largest, (value - f64::from(out.values[row])).abs());
            // A value that is not a number is not close.
            if !(off < close && value_off < close) {
                return Err(wrong(
                    place,
                    "run.precision, run.tower",
                    format!(
                        "row {row} of {rows}: logits off by {:.2} % of the largest, value off by {value_off:.4}",
                        100.0 * off
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Compares the gradient of a batch on a device with that of the CPU, and returns whether dense layers have to be
/// computed as convolutions for it to be right. A combination of device, network, precision and number of rows is
/// checked once in a process.
///
/// The network is a new one, and the batch has as many rows as a part of a training batch has, because their shapes
/// choose the kernels. Few of the rows differ, and the CPU computes each of these once: the mean over the batch, and
/// the statistics of batch norm, are the same. A program without the CPU's back end has nothing to compare with and
/// returns false.
///
/// # Errors
/// When the gradient of a tensor is off either way, or the device fails.
pub fn learning(game: AnyGame, config: &Config, place: &Place) -> Result<bool, lockstep_systems::Error> {
    let rows = config.learn.batch_size.div_ceil(config.learn.accumulation);
    let asked = (place.name.clone(), describe(&game.info, &config.network), config.learn.precision, rows);
    // Nothing to compare with.
    let Ok(cpu) = super::place(DeviceKind::Cpu) else { return Ok(false) };
    let right = LazyCell::new(|| Gradient::of(game, config, &cpu, rows));
    first_right(&LEARNING, asked, &[false, true], |pointwise| {
        right.as_ref().map_err(Clone::clone)?.compare(game, config, place, rows, pointwise)
    })
}

/// What [`learning`] has found in this process: for a device, network, precision and number of rows, whether dense
/// layers are computed as convolutions.
static LEARNING: Known<(String, Description, LearnPrecision, usize), bool> = Known::new(vec![]);

/// A batch with the gradient that the CPU computes for it.
struct Gradient {
    batch: TrainingBatch,
    tensors: Vec<NamedTensor>,
}

impl Gradient {
    /// Computes the gradient of a batch on the CPU. Its rows are the most from 8 to 64 that make up `rows` rows when
    /// they are repeated, or `rows` of them if no such number does.
    fn of(game: AnyGame, config: &Config, cpu: &Place, rows: usize) -> Result<Self, lockstep_systems::Error> {
        let distinct = (8..=64.min(rows)).rev().find(|distinct| rows.is_multiple_of(*distinct)).unwrap_or(rows);
        let mut config = config.clone();
        config.learn.precision = LearnPrecision::F32;
        (config.learn.batch_size, config.learn.accumulation) = (distinct, 1);
        let mut world = learner_world(game, &config, cpu, 2)?;
        run_learn(&mut world)?;
        let batch = world.remove_resource().expect("it learned from one");
        let tensors = gradients(&mut cpu.learner(game, &config), &batch)?;
        Ok(Self { batch, tensors })
    }

    /// Compares this gradient with that of the batch on another device, repeated to `rows` rows. `pointwise` computes
    /// dense layers as convolutions.
    fn compare(
        &self,
        game: AnyGame,
        config: &Config,
        place: &Place,
        rows: usize,
        pointwise: bool,
    ) -> Result<(), lockstep_systems::Error> {
        let mut learner = Learner::new(&game.info, config, &place.device).with_pointwise(pointwise);
        // The rows are those of one part.
        learner.config.accumulation = 1;
        let found = gradients(&mut learner, &self.batch.repeated(rows))?;
        // As a share of its length, from the bits of the mantissas: what is wrong is off by all of it.
        let close = match config.learn.precision {
            LearnPrecision::Bf16 => 0.5,
            LearnPrecision::F32 => 0.05,
        };
        match far(&self.tensors, &found, close) {
            Some(off) => Err(wrong(place, "learn.precision, learn.batch_size", off)),
            None => Ok(()),
        }
    }
}

/// Names the first tensor that differs by `share` of its length or more, and says by how much; `None` if there is none.
fn far(right: &[NamedTensor], found: &[NamedTensor], share: f64) -> Option<String> {
    let length = |tensor: &NamedTensor| tensor.data.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let largest = right.iter().map(length).fold(0.0, f64::max);
    right.iter().zip(found).find_map(|(right, found)| {
        let squares = right.data.iter().zip(&found.data).map(|(a, b)| f64::from(a - b).powi(2));
        // Of a short one as a share of the others: what is left of a sum of large numbers is not exact.
        let off = squares.sum::<f64>().sqrt() / length(right).max(0.01 * largest);
        // Not a number is not close.
        let near = off < share;
        (!near).then(|| format!("the gradient of {} is off by {:.1} % of its length", right.name, 100.0 * off))
    })
}

fn wrong(place: &Place, keys: &str, off: String) -> lockstep_systems::Error {
    let message = format!(
        "{off}. A kernel that was chosen by tuning is wrong on {}: remove the kept kernels (the folder `cubecl` of the user's \
         cache, or `kernels` of the run), so that others may be chosen, or set another {keys} or run.device",
        place.name
    );
    lockstep_systems::Error::Device { doing: "computing what is known", message }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::device::place;
    use lockstep_components::{GameInfo, games::TicTacToe};
    use lockstep_systems::{BurnEvaluator, BurnOptions, Capabilities, Network};

    /// An evaluator of batches of 8 and 20 rows whose last logit of the last row is off in the larger ones.
    struct Crooked(BurnEvaluator, f32);

    impl Evaluator for Crooked {
        fn submit(&mut self, batch: &Batch) -> Result<(), lockstep_systems::Error> {
            self.0.submit(batch)
        }

        fn receive(&mut self, out: &mut Evaluations) -> Result<(), lockstep_systems::Error> {
            self.0.receive(out)?;
            if out.values.len() == 20 {
                *out.logits.last_mut().expect("a row") += self.1;
            }
            Ok(())
        }

        fn capabilities(&self) -> Capabilities {
            self.0.capabilities()
        }
    }

    /// A batch that repeats a few rows has their gradient, and one wrong number in it is seen.
    #[test]
    fn wrong_gradients_are_seen() {
        let (cpu, burn) = (place(DeviceKind::Cpu).unwrap(), place(DeviceKind::Flex).unwrap());
        let mut config = Config::default();
        (config.network.channels, config.network.blocks, config.network.squeeze) = (8, 1, 4);
        let gradient = Gradient::of(AnyGame::of::<TicTacToe>(), &config, &cpu, 160).unwrap();
        for pointwise in [false, true] {
            gradient.compare(AnyGame::of::<TicTacToe>(), &config, &burn, 160, pointwise).unwrap();
        }
        let mut world = learner_world(AnyGame::of::<TicTacToe>(), &config, &burn, 20).unwrap();
        run_learn(&mut world).unwrap();
        let right = gradients(&mut burn.learner(AnyGame::of::<TicTacToe>(), &config), world.resource()).unwrap();
        assert_eq!(far(&right, &right, 0.01), None);
        for (i, tensor) in right.iter().enumerate() {
            for wrong in [f32::NAN, tensor.data[0] + 1.0] {
                let mut found = right.clone();
                found[i].data[0] = wrong;
                assert!(far(&right, &found, 0.01).is_some_and(|off| off.contains(&tensor.name)));
            }
        }
    }

    /// Where the memory does not suffice for a way, nothing is known yet, whatever was wrong with those before it.
    #[test]
    fn a_way_without_memory_is_not_a_wrong_one() {
        let known: Known<(), u32> = Known::new(vec![]);
        let wrong = |way: u32| lockstep_systems::Error::of_device("computing", format!("way {way} is wrong"));
        let no_memory = lockstep_systems::Error::of_device("computing", "out of memory".into());
        let found =
            first_right(&known, (), &[1, 2, 3], |way| Err(if way == 2 { no_memory.clone() } else { wrong(way) }));
        assert_eq!(found, Err(no_memory));
        assert_eq!(first_right(&known, (), &[1, 2], |way| Err(wrong(way))), Err(wrong(1)));
        assert_eq!(first_right(&known, (), &[1, 2], |way| if way == 2 { Ok(()) } else { Err(wrong(way)) }), Ok(2));
        assert_eq!(first_right(&known, (), &[1, 2], |way| Err(wrong(way))), Ok(2), "it is known by now");
    }

    #[test]
    fn wrong_kernels_are_seen() {
        let place = place(DeviceKind::Cpu).unwrap();
        let network =
            Network::init(&GameInfo::of::<TicTacToe>(), &Config::default().network, 1, &place.device).frozen();
        let options = BurnOptions { batch_sizes: vec![8, 20], ..BurnOptions::default() };
        let check = |off| {
            let burn = BurnEvaluator::new(&network, &place.device, options.clone());
            evaluation(AnyGame::of::<TicTacToe>(), &mut Crooked(burn, off), &network, &place)
        };
        assert_eq!(check(0.0), Ok(()));
        for off in [1.0, f32::NAN] {
            let error = check(off).unwrap_err().to_string();
            assert!(error.contains("row 19 of 20") && error.contains("run.tower"), "{error}");
        }
    }
}
/// Returns a world that learns from the positions of `games` games, one step after another in a generation without an
/// end.
///
/// # Errors
/// When a game fails.
pub fn learner_world(
    game: AnyGame,
    config: &Config,
    place: &Place,
    games: usize,
) -> Result<World, lockstep_systems::Error> {
    // Played with equal priors: as varied as those of a run.
    let search = SearchConfig { simulations: 8, fast_simulations: 0, ..config.search.clone() };
    let lanes = LanesConfig { count: games.min(64) as u32, ..Default::default() };
    let player = Searcher::new(Uniform::default(), search);
    let mut playing = Setup::self_play(game, player).lanes(lanes).start(game.start_of(config)).build();
    let mut buffer = game.replay(&game.start_of(config), config.replay.window.min(20_000));
    play_games(&mut playing, games)?.iter().for_each(|game| buffer.push(game));
    let mut learner = place.learner(game, config);
    learner.config.steps = Steps::Batches(u64::MAX);
    let mut world = World::new();
    Learning { learner, factory: place.evaluators(game, 1), buffer, replay: config.replay.clone() }.build(&mut world);
    Ok(world)
}
