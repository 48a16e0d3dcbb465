//! Evaluation by a frozen network on any device of burn.

use super::{
    modules::{Layers, interpret, padded, pointwise},
    weights::read,
};
use crate::{Batch, Error, Evaluations, Evaluator, error::EVALUATING, evaluator::Capabilities};
use burn::tensor::{
    Device, FloatDType, Tensor, TensorData,
    module::{conv2d, linear},
};
use lockstep_components::config::Precision;
use lockstep_fused::{Description, Frozen, Op, Parameters};
use std::collections::VecDeque;

/// A frozen network on a device of burn.
pub struct BurnEvaluator {
    description: Description,
    layers: Vec<FrozenLayer>,
    /// Where policy and value are among the heads.
    heads: [usize; 2],
    device: Device,
    options: BurnOptions,
    /// Rows, rows with padding, logits and values of batches that were not received yet.
    pending: VecDeque<(usize, usize, Tensor<2>, Tensor<2>)>,
}

/// How a device of burn evaluates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BurnOptions {
    /// Sizes that batches are padded to, in ascending order, because a changing shape makes a GPU back end tune and compile
    /// again. A batch that fits none of them goes as it is, so an empty list never pads.
    pub batch_sizes: Vec<usize>,
    /// The floats that weights and values are kept in: [`Precision::Bf16`], [`Precision::F16`], or `f32` for all others.
    pub precision: Precision,
    /// Whether convolutions are products of matrices over the whole board. On boards of 3x3 that takes no more
    /// multiplications than their zero padding does.
    pub board: bool,
    /// Whether dense layers are convolutions of boards with one cell: other kernels for the same products.
    pub pointwise: bool,
    /// Rows that go through the network at a time, or 0 for all of them. The CPU back end sums in another order in long batches;
    /// in parts of [`BurnOptions::PART`] rows, a row's answer depends on its position alone.
    pub part: usize,
}

impl BurnOptions {
    /// As many rows as the CPU back end computes alike.
    pub const PART: usize = 64;
}

impl Default for BurnOptions {
    fn default() -> Self {
        Self { batch_sizes: vec![], precision: Precision::F32, board: false, pointwise: false, part: 0 }
    }
}

/// Weight and bias of a step.
enum FrozenLayer {
    Conv(Tensor<4>, Tensor<1>),
    Board(Tensor<2>, Tensor<1>),
    Dense(Tensor<2>, Tensor<1>),
    Pointwise(Tensor<4>, Tensor<1>),
}

impl Layers for [FrozenLayer] {
    fn conv(&self, layer: usize, kernel: usize, x: Tensor<4>) -> Tensor<4> {
        match &self[layer] {
            FrozenLayer::Conv(weight, bias) => conv2d(x, weight.clone(), Some(bias.clone()), padded(kernel)),
            FrozenLayer::Board(weight, bias) => {
                let [rows, _, height, width] = x.dims();
                let outputs = weight.dims()[1] / (height * width);
                let x: Tensor<2> = x.flatten(1, 3);
                linear(x, weight.clone(), Some(bias.clone())).reshape([rows, outputs, height, width])
            }
            FrozenLayer::Dense(..) | FrozenLayer::Pointwise(..) => unreachable!("made from the description"),
        }
    }

    fn norm(&self, _: usize, _: Tensor<4>) -> Tensor<4> {
        unreachable!("a frozen network has no norms")
    }

    fn dense(&self, layer: usize, x: Tensor<2>) -> Tensor<2> {
        match &self[layer] {
            FrozenLayer::Dense(weight, bias) => {
                let through = |x| linear(x, weight.clone(), Some(bias.clone()));
                // One row alone is computed as one of two: the CPU back end adds in another order where there is one.
                if x.dims()[0] == 1 { through(x.repeat_dim(0, 2)).narrow(0, 0, 1) } else { through(x) }
            }
            FrozenLayer::Pointwise(weight, bias) => pointwise(x, weight.clone(), Some(bias.clone())),
            _ => unreachable!("made from the description"),
        }
    }
}

impl BurnEvaluator {
    /// Moves a frozen network to a device.
    pub fn new(network: &Frozen, device: &Device, options: BurnOptions) -> Self {
        let Frozen { description, parameters } = network;
        let forms = description.forms();
        let layer = |(step, numbers): (usize, &Option<Parameters>)| {
            let Parameters { weight, bias } = numbers.clone()?;
            let shape = description.parameters(step, &forms).swap_remove(0);
            Some(match description.steps[step].op {
                Op::Conv { .. } if options.board => {
                    let bias: Vec<f32> =
                        bias.iter().flat_map(|&bias| std::iter::repeat_n(bias, description.cells())).collect();
                    let [_, height, width] = description.input;
                    let (weight, shape) = over_the_board(&weight, [shape[0], shape[1], shape[2]], [height, width]);
                    FrozenLayer::Board(floats(weight, shape, &options, device), row(bias, &options, device))
                }
                Op::Conv { .. } => {
                    let shape = [shape[0], shape[1], shape[2], shape[3]];
                    FrozenLayer::Conv(floats(weight, shape, &options, device), row(bias, &options, device))
                }
                _ if options.pointwise => {
                    let [inputs, outputs] = [shape[0], shape[1]];
                    let by_output = |at: usize| weight[at % inputs * outputs + at / inputs];
                    let weight = (0..inputs * outputs).map(by_output).collect();
                    let weight = floats(weight, [outputs, inputs, 1, 1], &options, device);
                    FrozenLayer::Pointwise(weight, row(bias, &options, device))
                }
                _ => FrozenLayer::Dense(
                    floats(weight, [shape[0], shape[1]], &options, device),
                    row(bias, &options, device),
                ),
            })
        };
        Self {
            layers: parameters.iter().enumerate().filter_map(layer).collect(),
            heads: description.policy_and_value(),
            description: description.clone(),
            device: device.clone(),
            options,
            pending: VecDeque::new(),
        }
    }
}

/// Numbers on a device, in its precision.
fn floats<const D: usize>(numbers: Vec<f32>, shape: [usize; D], options: &BurnOptions, device: &Device) -> Tensor<D> {
    let tensor: Tensor<D> = Tensor::from_data(TensorData::new(numbers, shape), device);
    match options.precision {
        Precision::Bf16 => tensor.cast(FloatDType::BF16),
        Precision::F16 => tensor.cast(FloatDType::F16),
        _ => tensor,
    }
}

fn row(numbers: Vec<f32>, options: &BurnOptions, device: &Device) -> Tensor<1> {
    let length = [numbers.len()];
    floats(numbers, length, options, device)
}

/// The weights of a convolution, `[outputs, inputs, kernel, kernel]`, as a matrix from all cells of all channels to all cells
/// of all channels, `[inputs * cells, outputs * cells]`, and its shape.
fn over_the_board(
    weight: &[f32],
    [outputs, inputs, kernel]: [usize; 3],
    [height, width]: [usize; 2],
) -> (Vec<f32>, [usize; 2]) {
    let cells = height * width;
    let shape = [inputs * cells, outputs * cells];
    let mut matrix = vec![0.0; shape[0] * shape[1]];
    for (from, to, tap) in taps(kernel, [height, width]) {
        for output in 0..outputs {
            for input in 0..inputs {
                let at = (input * cells + from) * shape[1] + output * cells + to;
                matrix[at] = weight[(output * inputs + input) * kernel * kernel + tap];
            }
        }
    }
    (matrix, shape)
}

/// Which cell a convolution reads for which, with which tap of its kernel.
fn taps(kernel: usize, [height, width]: [usize; 2]) -> impl Iterator<Item = (usize, usize, usize)> {
    let half = kernel / 2;
    (0..height * width).flat_map(move |to| {
        (0..kernel * kernel).filter_map(move |tap| {
            let (y, x) = (to / width + tap / kernel, to % width + tap % kernel);
            let (y, x) = (y.checked_sub(half)?, x.checked_sub(half)?);
            (y < height && x < width).then_some((y * width + x, to, tap))
        })
    })
}

impl Evaluator for BurnEvaluator {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        let size = self.options.batch_sizes.iter().copied().find(|&size| size >= batch.rows).unwrap_or(batch.rows);
        let [planes, height, width] = batch.shape;
        let mut data = batch.planes().to_vec();
        data.resize(size * batch.input, 0.0);
        let through = |data: Vec<f32>| {
            let rows = data.len() / batch.input;
            let planes = floats(data, [rows, planes, height, width], &self.options, &self.device);
            let outputs = interpret(&self.description, &self.layers[..], planes);
            self.heads.map(|head| outputs[head].clone())
        };
        let [logits, values] = Error::guard(EVALUATING, || {
            let part = self.options.part;
            if part == 0 || size <= part {
                return Ok(through(data));
            }
            let parts = data.chunks(part * batch.input).map(|part| through(part.to_vec()));
            let (logits, values) = parts.map(|[logits, values]| (logits, values)).unzip();
            Ok([Tensor::cat(logits, 0), Tensor::cat(values, 0)])
        })?;
        self.pending.push_back((batch.rows, size, logits, values));
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        let (rows, size, logits, values) = self.pending.pop_front().expect("a batch was submitted");
        let numbers = Error::guard(EVALUATING, || read([logits, values], EVALUATING))?;
        let [logits, values] = &numbers[..] else { unreachable!("two tensors are read") };
        let actions = logits.len() / size;
        out.logits[..rows * actions].copy_from_slice(&logits[..rows * actions]);
        scalar_values(values, values.len() / size, &mut out.values[..rows]);
        out.computed = size;
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        let BurnOptions { batch_sizes, precision, .. } = self.options.clone();
        let bytes = if matches!(precision, Precision::Bf16 | Precision::F16) { 2 } else { 4 };
        let of_layer = |layer: &FrozenLayer| match layer {
            FrozenLayer::Conv(weight, bias) | FrozenLayer::Pointwise(weight, bias) => {
                weight.shape().num_elements() + bias.shape().num_elements()
            }
            FrozenLayer::Board(weight, bias) | FrozenLayer::Dense(weight, bias) => {
                weight.shape().num_elements() + bias.shape().num_elements()
            }
        };
        let weights = bytes * self.layers.iter().map(of_layer).sum::<usize>();
        // Integers are for the fused kernels.
        let precision = if precision == Precision::Int16 { Precision::F32 } else { precision };
        let rows_are_independent = self.options.part > 0;
        Capabilities { batch_sizes, precision, weights, rows_are_independent, ..Capabilities::default() }
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
