//! Evaluation by a frozen network on any device of burn.

use crate::{Batch, Error, Evaluations, Evaluator};
use burn::tensor::{
    Device, Tensor, TensorData, Transaction,
    activation::relu,
    module::{conv2d, linear},
    ops::ConvOptions,
};
use lockstep_fused::{Body as FrozenWeights, Conv, Dense, Weights};
use std::collections::VecDeque;

/// A frozen network on a device of burn.
///
/// Batches are padded to one of a few sizes when asked to, because a changing shape makes a GPU back end tune and
/// compile again.
pub struct BurnEvaluator {
    body: FrozenTensors,
    policy: DenseTensors,
    value_hidden: DenseTensors,
    value_out: DenseTensors,
    device: Device,
    sizes: Vec<usize>,
    /// Rows, rows with padding, logits and values of batches that were not received yet.
    pending: VecDeque<(usize, usize, Tensor<2>, Tensor<2>)>,
}

enum FrozenTensors {
    Resnet { stem: ConvTensors, blocks: Vec<(ConvTensors, ConvTensors)>, policy: ConvTensors, value: ConvTensors },
    Mlp(Vec<DenseTensors>),
}

struct ConvTensors {
    weight: Tensor<4>,
    bias: Tensor<1>,
    padding: usize,
}

struct DenseTensors {
    weight: Tensor<2>,
    bias: Tensor<1>,
}

impl ConvTensors {
    fn new(conv: &Conv, device: &Device) -> Self {
        let shape = [conv.outputs, conv.inputs, conv.kernel, conv.kernel];
        Self {
            weight: Tensor::from_data(TensorData::new(conv.weight.clone(), shape), device),
            bias: Tensor::from_data(TensorData::new(conv.bias.clone(), [conv.outputs]), device),
            padding: conv.kernel / 2,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([1, 1], [self.padding; 2], [1, 1], 1);
        conv2d(x, self.weight.clone(), Some(self.bias.clone()), options)
    }
}

impl DenseTensors {
    fn new(dense: &Dense, device: &Device) -> Self {
        let shape = [dense.inputs, dense.outputs];
        Self {
            weight: Tensor::from_data(TensorData::new(dense.weight.clone(), shape), device),
            bias: Tensor::from_data(TensorData::new(dense.bias.clone(), [dense.outputs]), device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.weight.clone(), Some(self.bias.clone()))
    }
}

impl BurnEvaluator {
    /// Moves frozen weights to a device. `sizes` are the batch sizes to pad to, in ascending order; a batch that
    /// fits none of them goes as it is, so an empty list never pads.
    pub fn new(weights: &Weights, device: &Device, sizes: Vec<usize>) -> Self {
        let conv = |c: &Conv| ConvTensors::new(c, device);
        let dense = |d: &Dense| DenseTensors::new(d, device);
        let body = match &weights.body {
            FrozenWeights::Resnet { stem, blocks, policy_conv, value_conv } => FrozenTensors::Resnet {
                stem: conv(stem),
                blocks: blocks.iter().map(|(a, b)| (conv(a), conv(b))).collect(),
                policy: conv(policy_conv),
                value: conv(value_conv),
            },
            FrozenWeights::Mlp { layers } => FrozenTensors::Mlp(layers.iter().map(dense).collect()),
        };
        Self {
            body,
            policy: dense(&weights.policy),
            value_hidden: dense(&weights.value_hidden),
            value_out: dense(&weights.value_out),
            device: device.clone(),
            sizes,
            pending: VecDeque::new(),
        }
    }

    fn forward(&self, planes: Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        let (policy, value): (Tensor<2>, Tensor<2>) = match &self.body {
            FrozenTensors::Resnet { stem, blocks, policy, value } => {
                let mut x = relu(stem.forward(planes));
                for (first, second) in blocks {
                    x = relu(x.clone() + second.forward(relu(first.forward(x))));
                }
                (relu(policy.forward(x.clone())).flatten(1, 3), relu(value.forward(x)).flatten(1, 3))
            }
            FrozenTensors::Mlp(layers) => {
                let x = layers.iter().fold(planes.flatten(1, 3), |x, layer| relu(layer.forward(x)));
                (x.clone(), x)
            }
        };
        let values = self.value_out.forward(relu(self.value_hidden.forward(value)));
        (self.policy.forward(policy), values)
    }
}

impl Evaluator for BurnEvaluator {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        let size = self.sizes.iter().copied().find(|&size| size >= batch.rows).unwrap_or(batch.rows);
        let [planes, height, width] = batch.shape;
        let mut data = batch.planes().to_vec();
        data.resize(size * batch.input, 0.0);
        let data = TensorData::new(data, [size, planes, height, width]);
        let (logits, values) = self.forward(Tensor::from_data(data, &self.device));
        self.pending.push_back((batch.rows, size, logits, values));
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        let (rows, size, logits, values) = self.pending.pop_front().expect("a batch was submitted");
        let device = |message| Error::Device { doing: "evaluating a batch", message };
        let read = Transaction::default().register(logits).register(values).try_execute();
        let mut read = read
            .map_err(|e| device(format!("{e:?}")))?
            .into_iter()
            .map(|data| data.convert::<f32>().try_into_vec::<f32>().map_err(|e| device(format!("{e:?}"))));
        let mut next = || read.next().expect("two tensors were registered");
        let (logits, values) = (next()?, next()?);
        let actions = logits.len() / size;
        out.logits[..rows * actions].copy_from_slice(&logits[..rows * actions]);
        scalar_values(&values, values.len() / size, &mut out.values[..rows]);
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
