//! Evaluation on the CPU by the fused network.

use super::evaluator::scalar_values;
use crate::{Batch, Error, Evaluations, Evaluator, evaluator::Capabilities};
use lockstep_components::config::Precision;
use lockstep_fused::{Description, Footprint, Frozen, FusedNetwork, Level, Options, Weights};
use std::collections::VecDeque;

/// A frozen network on the CPU as fused kernels, on the current rayon pool: several times as fast as the general
/// operators of a tensor library on boards this small.
///
/// A row's result depends neither on the batch around it nor on the number of threads.
pub struct FusedEvaluator {
    network: FusedNetwork,
    precision: Precision,
    weights: usize,
    actions: usize,
    value_outputs: usize,
    /// Logits and raw values of batches that were not received yet.
    answers: VecDeque<[Vec<f32>; 2]>,
    /// Buffers to be used again.
    spare: Vec<[Vec<f32>; 2]>,
}

impl FusedEvaluator {
    /// Packs a frozen network for the kernels of this processor; `None` if it is one that they do not know.
    pub fn new(network: &Frozen) -> Option<Self> {
        Self::with_options(network, Precision::F32, Level::default())
    }

    /// The same with these vectors, evaluating in 16-bit integers if that is the precision, else in `f32`.
    pub fn with_options(network: &Frozen, precision: Precision, level: Level) -> Option<Self> {
        let weights = Weights::of(network)?;
        let fused = FusedNetwork::with_options(&weights, options(precision, level));
        // Not every network is faster in integers.
        let integers = fused.algorithm() == "fourier-int16";
        Some(Self {
            precision: if integers { Precision::Int16 } else { Precision::F32 },
            network: fused,
            weights: 4 * network.description.parameter_count(),
            actions: weights.policy.outputs,
            value_outputs: weights.value_out.outputs,
            answers: VecDeque::new(),
            spare: vec![],
        })
    }

    /// Bytes that it takes with batches of at most so many rows, from its description alone; `None` for a network that the
    /// kernels do not know.
    pub fn footprint(net: &Description, precision: Precision, level: Level, rows: usize) -> Option<Footprint> {
        FusedNetwork::footprint(net, options(precision, level), rows, rayon::current_num_threads())
    }
}

fn options(precision: Precision, level: Level) -> Options {
    let integers = precision == Precision::Int16;
    let precision = if integers { lockstep_fused::Precision::Int16 } else { lockstep_fused::Precision::F32 };
    Options { precision, level }
}

impl Evaluator for FusedEvaluator {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        let [mut logits, mut raw_values] = self.spare.pop().unwrap_or_default();
        logits.resize(batch.rows * self.actions, 0.0);
        raw_values.resize(batch.rows * self.value_outputs, 0.0);
        self.network.forward(batch.rows, batch.planes(), &mut logits, &mut raw_values);
        self.answers.push_back([logits, raw_values]);
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        let [logits, raw_values] = self.answers.pop_front().expect("a batch was submitted");
        let rows = logits.len() / self.actions;
        out.logits[..logits.len()].copy_from_slice(&logits);
        scalar_values(&raw_values, self.value_outputs, &mut out.values[..rows]);
        out.computed = rows;
        self.spare.push([logits, raw_values]);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        let Self { precision, weights, .. } = *self;
        Capabilities { precision, weights, rows_are_independent: true, ..Capabilities::default() }
    }
}
