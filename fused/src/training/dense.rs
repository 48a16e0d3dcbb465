//! Dense layers: their products both ways, and the gradients of their parameters.

use super::super::conv::{Layer, Then};
use super::super::kernels::{Gradient, Level};
use super::super::panels::Aligned;
use super::super::plan::Dense;
use super::batch::{Scratch, parallel};
use super::direct::ROWS;

/// A dense layer, packed both ways.
#[derive(Debug)]
pub(super) struct DenseLayer {
    level: Level,
    inputs: usize,
    outputs: usize,
    input_stride: usize,
    pub output_stride: usize,
    forward: Layer,
    /// The way back to the inputs, where that is asked for.
    back: Option<Layer>,
    pub relu: bool,
    /// What becomes the gradient of the weights.
    sums: Aligned,
}

impl DenseLayer {
    /// A layer of rows `input_stride` numbers apart; `back` tells whether it has a way back to them.
    pub(super) fn new(level: Level, dense: &Dense, input_stride: usize, relu: bool, back: bool) -> Self {
        let &Dense { inputs, outputs, .. } = dense;
        let forward = Layer::dense(level, dense, None, [1, 1, input_stride]);
        let output_stride = forward.output_stride();
        let turned = Dense { inputs: outputs, outputs: inputs, ..*dense };
        let back =
            back.then(|| Layer::dense(level, &turned, None, [1, 1, output_stride]).with_output_stride(input_stride));
        let sums = Aligned::default();
        Self { level, inputs, outputs, input_stride, output_stride, forward, back, relu, sums }
    }

    /// Packs the weights `[inputs][outputs]`.
    pub(super) fn pack(&mut self, weight: &[f32], bias: &[f32]) {
        let outputs = self.outputs;
        self.forward.refill(bias, |_, input, output| weight[input * outputs + output]);
        if let Some(back) = &mut self.back {
            back.refill(&[], |_, output, input| weight[input * outputs + output]);
        }
    }

    /// Outputs in whole vectors.
    fn padded(&self) -> usize {
        self.outputs.next_multiple_of(self.level.shape().0)
    }

    pub(super) fn bytes(&self) -> usize {
        self.forward.bytes() + self.back.as_ref().map_or(0, Layer::bytes) + self.sums.bytes()
    }

    /// Numbers of the sums that become the gradient.
    pub(super) fn sums(&self) -> usize {
        self.inputs * self.padded()
    }

    pub(super) fn run(&self, input: &[f32], output: &mut [f32], pixels: &mut Vec<u32>) {
        let then = if self.relu { Then::Relu } else { Then::Store };
        self.forward.apply(output.len() / self.output_stride, input, output, then, pixels);
    }

    /// Sets (or adds to) the gradient of the inputs.
    pub(super) fn run_back(&self, gradient: &[f32], to: &mut [f32], add: bool, pixels: &mut Vec<u32>) {
        if let Some(back) = &self.back {
            let then = if add { Then::Add } else { Then::Store };
            back.apply(gradient.len() / self.output_stride, gradient, to, then, pixels);
        }
    }
}

/// Keeps a gradient where the output of the ReLU was positive.
pub(super) fn mask(gradient: &mut [f32], output: &[f32]) {
    for (gradient, &output) in gradient.iter_mut().zip(output) {
        *gradient = if output > 0.0 { *gradient } else { 0.0 };
    }
}

/// The gradient of a bias: the sums of the first numbers of each of the rows, which lie `stride` numbers apart.
pub(super) fn bias_gradient(output: &[f32], stride: usize, bias: &mut [f32]) {
    let mut totals = vec![0.0f64; bias.len()];
    for row in output.chunks_exact(stride) {
        totals.iter_mut().zip(row).for_each(|(total, &number)| *total += f64::from(number));
    }
    bias.iter_mut().zip(totals).for_each(|(bias, total)| *bias = total as f32);
}

/// A layer with its inputs and the gradient of its outputs, both of the whole batch, and where the gradients of its weights and
/// its bias go.
pub(super) struct Backward<'a> {
    pub layer: &'a mut DenseLayer,
    pub input: &'a [f32],
    pub output: &'a [f32],
    pub gradients: [&'a mut Vec<f32>; 2],
}

/// A part of the gradient of a layer's parameters.
enum Part<'a> {
    /// From this row of the weights on, with the sums and the weights themselves.
    Weights(usize, &'a mut [f32], &'a mut [f32]),
    Bias(&'a mut [f32]),
}

/// The gradients of all weights and biases of some layers.
pub(super) fn gradients<'a>(rows: usize, layers: impl Iterator<Item = Backward<'a>>, scratch: &mut Vec<Scratch>) {
    let mut jobs = Vec::new();
    for Backward { layer, input, output, gradients: [weight, bias] } in layers {
        let padded = layer.padded();
        let DenseLayer { level, inputs, outputs, input_stride, output_stride, sums, .. } = layer;
        let from = (*level, *input_stride, *output_stride, *outputs, input, output);
        let sums = sums.at_least(*inputs * padded).chunks_mut(ROWS * padded);
        let blocks = sums.zip(weight.chunks_mut(ROWS * *outputs)).enumerate();
        jobs.extend(blocks.map(|(block, (sums, weight))| (from, Part::Weights(block * ROWS, sums, weight))));
        jobs.push((from, Part::Bias(bias)));
    }
    parallel(scratch, jobs.into_iter(), |scratch, (from, part)| {
        let (level, input_stride, output_stride, outputs, input, output) = from;
        match part {
            Part::Weights(first, sums, weight) => {
                let padded = outputs.next_multiple_of(level.shape().0);
                scratch.pixels.clear();
                scratch.pixels.extend(0..rows as u32);
                sums.fill(0.0);
                level.run(Gradient {
                    input,
                    input_stride,
                    offset: first as isize,
                    inputs: weight.len() / outputs,
                    output,
                    output_stride,
                    padded,
                    pixels: &scratch.pixels,
                    sums,
                });
                for (from, to) in sums.chunks_exact(padded).zip(weight.chunks_exact_mut(outputs)) {
                    to.copy_from_slice(&from[..outputs]);
                }
            }
            Part::Bias(bias) => bias_gradient(&output[..rows * output_stride], output_stride, bias),
        }
    });
}
