//! Evaluation by a frozen network on any device of burn.

use super::{
    modules::{Layers, interpret},
    weights::read,
};
use crate::{Batch, Error, Evaluations, Evaluator};
use burn::tensor::{
    Device, Tensor, TensorData,
    module::{conv2d, linear},
    ops::ConvOptions,
};
use lockstep_fused::{Description, Frozen, Parameters};
use std::collections::VecDeque;

/// A frozen network on a device of burn.
///
/// Batches are padded to one of a few sizes when asked to, because a changing shape makes a GPU back end tune and
/// compile again.
pub struct BurnEvaluator {
    description: Description,
    layers: Vec<FrozenLayer>,
    /// Where policy and value are among the heads.
    heads: [usize; 2],
    device: Device,
    sizes: Vec<usize>,
    /// Rows, rows with padding, logits and values of batches that were not received yet.
    pending: VecDeque<(usize, usize, Tensor<2>, Tensor<2>)>,
}

/// Weight and bias of a step.
enum FrozenLayer {
    Conv(Tensor<4>, Tensor<1>),
    Dense(Tensor<2>, Tensor<1>),
}

impl Layers for [FrozenLayer] {
    fn conv(&self, layer: usize, kernel: usize, x: Tensor<4>) -> Tensor<4> {
        let FrozenLayer::Conv(weight, bias) = &self[layer] else { unreachable!("made from the description") };
        let options = ConvOptions::new([1, 1], [kernel / 2; 2], [1, 1], 1);
        conv2d(x, weight.clone(), Some(bias.clone()), options)
    }

    fn norm(&self, _: usize, _: Tensor<4>) -> Tensor<4> {
        unreachable!("a frozen network has no norms")
    }

    fn dense(&self, layer: usize, x: Tensor<2>) -> Tensor<2> {
        let FrozenLayer::Dense(weight, bias) = &self[layer] else { unreachable!("made from the description") };
        linear(x, weight.clone(), Some(bias.clone()))
    }
}

impl BurnEvaluator {
    /// Moves a frozen network to a device. `sizes` are the batch sizes to pad to, in ascending order; a batch that
    /// fits none of them goes as it is, so an empty list never pads.
    pub fn new(network: &Frozen, device: &Device, sizes: Vec<usize>) -> Self {
        let Frozen { description, parameters } = network;
        let forms = description.forms();
        let layer = |(step, numbers): (usize, &Option<Parameters>)| {
            let Parameters { weight, bias } = numbers.clone()?;
            let shape = description.parameters(step, &forms).swap_remove(0);
            let bias_shape = [bias.len()];
            let bias = Tensor::from_data(TensorData::new(bias, bias_shape), device);
            let weight = TensorData::new(weight, shape.clone());
            Some(match shape.len() {
                4 => FrozenLayer::Conv(Tensor::from_data(weight, device), bias),
                _ => FrozenLayer::Dense(Tensor::from_data(weight, device), bias),
            })
        };
        let layers = parameters.iter().enumerate().filter_map(layer).collect();
        let heads = description.policy_and_value();
        Self {
            description: description.clone(),
            layers,
            heads,
            device: device.clone(),
            sizes,
            pending: VecDeque::new(),
        }
    }
}

impl Evaluator for BurnEvaluator {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        let size = self.sizes.iter().copied().find(|&size| size >= batch.rows).unwrap_or(batch.rows);
        let [planes, height, width] = batch.shape;
        let mut data = batch.planes().to_vec();
        data.resize(size * batch.input, 0.0);
        let data = TensorData::new(data, [size, planes, height, width]);
        let outputs = interpret(&self.description, &self.layers[..], Tensor::from_data(data, &self.device));
        let [logits, values] = self.heads.map(|head| outputs[head].clone());
        self.pending.push_back((batch.rows, size, logits, values));
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        let (rows, size, logits, values) = self.pending.pop_front().expect("a batch was submitted");
        let numbers = read([logits, values], "evaluating a batch")?;
        let [logits, values] = &numbers[..] else { unreachable!("two tensors are read") };
        let actions = logits.len() / size;
        out.logits[..rows * actions].copy_from_slice(&logits[..rows * actions]);
        scalar_values(values, values.len() / size, &mut out.values[..rows]);
        out.computed = size;
        Ok(())
    }
}

/// One number in -1 to 1 for each row of a value head's raw outputs: tanh of one, or win minus loss of three logits.
pub(super) fn scalar_values(raw: &[f32], outputs: usize, values: &mut [f32]) {
    if outputs == 3 {
        for (value, logits) in values.iter_mut().zip(raw.chunks_exact(3)) {
            let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let [win, draw, loss] = [0, 1, 2].map(|i| (logits[i] - highest).exp());
            *value = (win - loss) / (win + draw + loss);
        }
    } else {
        values.iter_mut().zip(raw).for_each(|(value, raw)| *value = raw.tanh());
    }
}
