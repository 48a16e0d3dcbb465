//! Measures how far a network's evaluations are from exact ones, and whether that changes what it would play.

use crate::{Error, analyst::Player, device::Place, memory::MemoryBound, oracle, text};
use lockstep_components::{Action, State, config::Precision};
use lockstep_fused::ExactNetwork;
use lockstep_systems::Evaluations;
use rayon::prelude::*;
use serde::{Serialize, Serializer};
use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The accuracy of one way to evaluate: some positions against the same network in `f64`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// The name of the place where the network ran.
    pub device: String,
    /// The type of the numbers in which the network was evaluated.
    pub precision: Precision,
    /// The number of positions.
    pub positions: usize,
    /// The number of positions in which the same legal move has the highest logit. A position with a logit that is not
    /// finite is none of them.
    pub same_move: usize,
    /// Errors of the logits of legal moves.
    pub logits: Errors,
    /// Errors of the values, which are from -1 to 1.
    pub values: Errors,
}

/// The root mean square and the largest size of errors: infinite where an evaluation is not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Errors {
    /// The root mean square of the errors.
    #[serde(serialize_with = "number")]
    pub rms: f64,
    /// The size of the largest error.
    #[serde(serialize_with = "number")]
    pub most: f64,
}

fn number<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    text::json_number(*x).serialize(serializer)
}

impl Errors {
    fn of(errors: impl Iterator<Item = f64>) -> Self {
        let sizes = errors.map(|error| if error.is_finite() { error.abs() } else { f64::INFINITY });
        let (count, squares, most) = sizes.fold((0.0, 0.0, 0.0), |(count, squares, most), size| {
            (count + 1.0, squares + size * size, f64::max(most, size))
        });
        Self { rms: (squares / f64::max(count, 1.0)).sqrt(), most }
    }
}

/// Evaluates labelled positions, or those that come with lockstep, in every precision that the player's device has for
/// its network. Returns the accuracy of each precision: an empty list when there are no positions. `progress` gets,
/// from any thread, how many of how many positions were evaluated exactly.
///
/// # Errors
/// When the positions or the checkpoint cannot be used, the memory does not suffice, what the network computes is not
/// finite in `f64`, or the device fails.
pub fn accuracy(
    player: &Player,
    positions: Option<&Path>,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Vec<Accuracy>, Error> {
    let sets = match positions {
        Some(path) => oracle::read_file(&player.game.start_of(&player.config), path)?,
        None => oracle::built_in(player.game),
    };
    let actions = player.game.info.actions;
    let states: Vec<State> = sets.into_iter().flat_map(|set| set.positions).map(|p| p.position).collect();
    if states.is_empty() {
        return Ok(vec![]);
    }
    let place = player.place()?;
    let footprint = player.footprint(ROWS)?.with_exact(player.game, &player.config.network);
    MemoryBound::of_networks(&[footprint]).check()?;
    let network = player.network(&place)?;
    let frozen = network.frozen();
    let exact = ExactNetwork::new(&frozen);
    let done = AtomicUsize::new(0);
    let expected: Vec<(Vec<f64>, f64)> = states
        .par_iter()
        .map(|state| {
            let outputs = exact.policy_and_value(&state.planes());
            progress(done.fetch_add(1, Relaxed) + 1, states.len());
            outputs
        })
        .collect();
    let is_finite = |(logits, value): &&(Vec<f64>, f64)| value.is_finite() && logits.iter().all(|x| x.is_finite());
    let broken = expected.len() - expected.iter().filter(is_finite).count();
    if broken > 0 {
        let message = format!(
            "what its network computes is not finite in {broken} of {} positions, in f64 as well: its weights are of no use; \
             take another checkpoint (--checkpoint)",
            expected.len()
        );
        return Err(Error::Run { path: player.checkpoint.clone(), message });
    }
    let with_integers = place.level.has_fast_integers() && frozen.description.is_fused_tower();
    let mut precisions = place.precisions();
    precisions.retain(|precision| *precision != Precision::Int16 || with_integers);
    precisions
        .iter()
        .map(|&precision| {
            let place = Place { precision, ..place.clone() };
            let mut evaluator = place.evaluators(player.game, ROWS).0(&network);
            let (mut same_move, mut logits, mut values) = (0, vec![], vec![]);
            for (states, expected) in states.chunks(ROWS).zip(expected.chunks(ROWS)) {
                let mut found = Evaluations::new(states.len(), actions);
                evaluator.evaluate(&player.game.batch(states), &mut found)?;
                let found = found.logits.chunks_exact(actions).zip(&found.values);
                for ((state, (exact, exact_value)), (found, value)) in states.iter().zip(expected).zip(found) {
                    let found: Vec<f64> = found.iter().map(|&x| f64::from(x)).collect();
                    let legal = state.legal();
                    same_move += usize::from(preferred(&legal, exact) == preferred(&legal, &found));
                    logits.extend(legal.into_iter().map(|action| found[action as usize] - exact[action as usize]));
                    values.push(f64::from(*value) - exact_value);
                }
            }
            Ok(Accuracy {
                device: place.name,
                precision,
                positions: states.len(),
                same_move,
                logits: Errors::of(logits.into_iter()),
                values: Errors::of(values.into_iter()),
            })
        })
        .collect()
}

/// The most rows of a batch.
const ROWS: usize = 1024;

/// Returns the legal move with the highest logit, the first one among equals, or `None` where the logit of a legal move
/// is not finite.
fn preferred(legal: &[Action], logits: &[f64]) -> Option<Action> {
    if !legal.iter().all(|&action| logits[action as usize].is_finite()) {
        return None;
    }
    legal
        .iter()
        .copied()
        .reduce(|best, action| if logits[action as usize] > logits[best as usize] { action } else { best })
}

impl Accuracy {
    /// Returns the place and the precision of the evaluation as a text for people.
    pub fn name(&self) -> String {
        format!("{}, {}", self.device, self.precision.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_summed_up() {
        assert_eq!(Errors::of([3.0, -4.0, 0.0, 0.0].into_iter()), Errors { rms: 2.5, most: 4.0 });
        assert_eq!(Errors::of(std::iter::empty()), Errors::default());
        let endless = Errors { rms: f64::INFINITY, most: f64::INFINITY };
        assert_eq!(Errors::of([3.0, f64::NAN].into_iter()), endless);
        assert_eq!(serde_json::to_string(&endless).unwrap(), r#"{"rms":"inf","most":"inf"}"#);
    }
}
