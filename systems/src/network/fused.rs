//! Evaluation on the CPU by the fused network.

use super::evaluator::scalar_values;
use crate::{Batch, Error, Evaluations, Evaluator};
use lockstep_fused::{FusedNetwork, Weights};

/// A frozen network on the CPU as fused kernels, on the current rayon pool: several times as fast as the general
/// operators of a tensor library on boards this small.
///
/// A row's result depends neither on the batch around it nor on the number of threads.
pub struct FusedEvaluator {
    network: FusedNetwork,
    logits: Vec<f32>,
    raw_values: Vec<f32>,
    actions: usize,
    value_outputs: usize,
    rows: usize,
}

impl FusedEvaluator {
    /// Packs frozen weights for the kernels of this processor.
    pub fn new(weights: &Weights) -> Self {
        Self {
            network: FusedNetwork::new(weights),
            logits: vec![],
            raw_values: vec![],
            actions: weights.policy.outputs,
            value_outputs: weights.value_out.outputs,
            rows: 0,
        }
    }
}

impl Evaluator for FusedEvaluator {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        self.rows = batch.rows;
        self.logits.resize(self.rows * self.actions, 0.0);
        self.raw_values.resize(self.rows * self.value_outputs, 0.0);
        self.network.forward(self.rows, batch.planes(), &mut self.logits, &mut self.raw_values);
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        out.logits[..self.logits.len()].copy_from_slice(&self.logits);
        scalar_values(&self.raw_values, self.value_outputs, &mut out.values[..self.rows]);
        out.computed = self.rows;
        Ok(())
    }
}
