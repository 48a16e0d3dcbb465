//! Evaluation on the CPU by the fused network.

use super::evaluator::scalar_values;
use crate::{Batch, Error, Evaluations, Evaluator, evaluator::Capabilities};
use lockstep_components::config::Precision;
use lockstep_fused::{Description, Footprint, Frozen, FusedNetwork, Level, Options};
use std::collections::VecDeque;

/// A frozen network on the CPU as fused kernels, on the current rayon pool: several times as fast as the general
/// operators of a tensor library on boards this small.
///
/// A row's result depends neither on the batch around it nor on the number of threads.
pub struct FusedEvaluator {
    network: FusedNetwork,
    precision: Precision,
    weights: usize,
    /// Where policy and value are among the heads.
    heads: [usize; 2],
    /// How many numbers each head has.
    widths: Vec<usize>,
    /// Raw outputs of all heads for batches that were not received yet.
    answers: VecDeque<Vec<Vec<f32>>>,
    /// Buffers to be used again.
    spare: Vec<Vec<Vec<f32>>>,
}

impl FusedEvaluator {
    /// Packs a frozen network for the kernels of this processor; `None` if they lack an operation of it.
    pub fn new(network: &Frozen) -> Option<Self> {
        Self::with_options(network, Precision::F32, Level::default())
    }

    /// Packs a frozen network for these vectors, evaluating in 16-bit integers if that is the precision, else in `f32`.
    pub fn with_options(network: &Frozen, precision: Precision, level: Level) -> Option<Self> {
        let fused = FusedNetwork::new(network, options(precision, level)).ok()?;
        // Not every network is faster in integers.
        let integers = fused.algorithm() == "fourier-int16";
        Some(Self {
            precision: if integers { Precision::Int16 } else { Precision::F32 },
            widths: fused.widths().collect(),
            network: fused,
            weights: 4 * network.description.parameter_count(),
            heads: network.description.policy_and_value(),
            answers: VecDeque::new(),
            spare: vec![],
        })
    }

    /// Bytes that it takes with batches of at most so many rows, from its description alone; `None` for a network of which the
    /// kernels lack an operation.
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
        let mut outputs = self.spare.pop().unwrap_or_else(|| vec![vec![]; self.widths.len()]);
        for (output, width) in outputs.iter_mut().zip(&self.widths) {
            output.resize(batch.rows * width, 0.0);
        }
        self.network.forward(batch.rows, batch.planes(), &mut outputs);
        self.answers.push_back(outputs);
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        let outputs = self.answers.pop_front().expect("a batch was submitted");
        let [logits, values] = self.heads.map(|head| &outputs[head]);
        let [actions, value_outputs] = self.heads.map(|head| self.widths[head]);
        let rows = logits.len() / actions;
        out.logits[..logits.len()].copy_from_slice(logits);
        scalar_values(values, value_outputs, &mut out.values[..rows]);
        out.computed = rows;
        self.spare.push(outputs);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        let Self { precision, weights, .. } = *self;
        Capabilities { precision, weights, rows_are_independent: true, ..Capabilities::default() }
    }
}
