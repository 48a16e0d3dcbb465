//! The dense layers: both heads, and those before them in a perceptron.
//!
//! No layer needs more than its own row of the batch, so a chunk goes through all of them without waiting for others.

use super::super::conv::{Layer, Then};
use super::super::kernels::{Gradient, Level};
use super::super::panels::{Aligned, odd_lines};
use super::super::weights::Dense;
use super::batch::{Cut, Scratch, parallel};
use super::direct::ROWS;

/// A dense layer, packed both ways.
#[derive(Debug)]
struct Plan {
    level: Level,
    inputs: usize,
    outputs: usize,
    input_stride: usize,
    output_stride: usize,
    forward: Layer,
    /// The way back to the inputs, where that is asked for.
    back: Option<Layer>,
    relu: bool,
}

/// A dense layer with its outputs and their gradient.
#[derive(Debug)]
struct DenseLayer {
    plan: Plan,
    output: Aligned,
    /// The gradient of the outputs, before the ReLU if there is one.
    gradient: Aligned,
    sums: Aligned,
}

impl Plan {
    /// Packs the weights `[inputs][outputs]`.
    fn pack(&mut self, weight: &[f32], bias: &[f32]) {
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

    fn run(&self, input: &[f32], output: &mut [f32], pixels: &mut Vec<u32>) {
        let then = if self.relu { Then::Relu } else { Then::Store };
        self.forward.apply(output.len() / self.output_stride, input, output, then, pixels);
    }

    /// Sets (or adds to) the gradient of the inputs.
    fn run_back(&self, gradient: &[f32], to: &mut [f32], add: bool, pixels: &mut Vec<u32>) {
        if let Some(back) = &self.back {
            let then = if add { Then::Add } else { Then::Store };
            back.apply(gradient.len() / self.output_stride, gradient, to, then, pixels);
        }
    }

    /// Copies plain rows of a gradient to rows that can be read in whole vectors.
    fn spread(&self, from: &[f32], to: &mut [f32]) {
        for (from, to) in from.chunks_exact(self.outputs).zip(to.chunks_exact_mut(self.output_stride)) {
            to[..self.outputs].copy_from_slice(from);
        }
    }
}

/// Keeps a gradient where the output of the ReLU was positive.
fn mask(gradient: &mut [f32], output: &[f32]) {
    for (gradient, &output) in gradient.iter_mut().zip(output) {
        *gradient = if output > 0.0 { *gradient } else { 0.0 };
    }
}

impl DenseLayer {
    fn new(level: Level, [inputs, outputs]: [usize; 2], input_stride: usize, relu: bool, back: bool) -> Self {
        let dense = |inputs, outputs| Dense { inputs, outputs, weight: vec![], bias: vec![] };
        let forward = Layer::dense(level, &dense(inputs, outputs), input_stride);
        let output_stride = forward.output_stride();
        let back =
            back.then(|| Layer::dense(level, &dense(outputs, inputs), output_stride).with_output_stride(input_stride));
        let plan = Plan { level, inputs, outputs, input_stride, output_stride, forward, back, relu };
        Self { plan, output: Aligned::default(), gradient: Aligned::default(), sums: Aligned::default() }
    }
}

/// A part of the gradient of a layer's parameters.
enum Part<'a> {
    /// From this row of the weights on.
    Weights(usize, &'a mut [f32], &'a mut [f32]),
    Bias(&'a mut [f32]),
}

/// Dense layers one after the other, and behind them the policy and the value head.
#[derive(Debug)]
pub(super) struct Chain {
    /// Those of the body, then the policy, the hidden layer of the value, and the value.
    layers: Vec<DenseLayer>,
}

/// Layers that every chain ends with, and their tensors of parameters.
const HEADS: usize = 3;

impl Chain {
    /// A perceptron.
    pub(super) fn mlp(level: Level, planes: usize, body: &[usize], outputs: [usize; 3]) -> Self {
        let (mut inputs, mut stride) = (planes, planes);
        let mut layers = Vec::new();
        for &outputs in body {
            layers.push(DenseLayer::new(level, [inputs, outputs], stride, true, !layers.is_empty()));
            (inputs, stride) = (outputs, layers[layers.len() - 1].plan.output_stride);
        }
        let back = !layers.is_empty();
        Self::with_heads(level, layers, [inputs, stride], outputs, back)
    }

    /// Heads alone, of `features` numbers each, which lie [`Chain::stride`] apart.
    pub(super) fn heads(level: Level, features: usize, outputs: [usize; 3]) -> Self {
        Self::with_heads(level, Vec::new(), [features, Self::stride(features)], outputs, true)
    }

    fn with_heads(
        level: Level,
        mut layers: Vec<DenseLayer>,
        [features, stride]: [usize; 2],
        [actions, hidden, values]: [usize; 3],
        back: bool,
    ) -> Self {
        layers.push(DenseLayer::new(level, [features, actions], stride, false, back));
        layers.push(DenseLayer::new(level, [features, hidden], stride, true, back));
        let stride = layers[layers.len() - 1].plan.output_stride;
        layers.push(DenseLayer::new(level, [hidden, values], stride, false, true));
        Self { layers }
    }

    /// Numbers from one row of `features` numbers to the next.
    pub(super) fn stride(features: usize) -> usize {
        odd_lines(features)
    }

    pub(super) fn bytes(&self) -> usize {
        let layer = |DenseLayer { plan, output, gradient, sums }: &DenseLayer| {
            plan.forward.bytes()
                + plan.back.as_ref().map_or(0, Layer::bytes)
                + output.bytes()
                + gradient.bytes()
                + sums.bytes()
        };
        self.layers.iter().map(layer).sum()
    }

    /// Numbers in all buffers for such a batch.
    pub(super) fn numbers(&self, cut: Cut) -> usize {
        let layer = |plan: &Plan| 2 * cut.rows * plan.output_stride + plan.inputs * plan.padded();
        self.layers.iter().map(|DenseLayer { plan, .. }| layer(plan)).sum()
    }

    /// Appends the logits (0) or the values (1) of `rows` rows.
    pub(super) fn copy_outputs(&self, rows: usize, which: usize, to: &mut Vec<f32>) {
        let DenseLayer { plan, output, .. } = &self.layers[self.layers.len() - [3, 1][which]];
        for row in output.get().chunks_exact(plan.output_stride).take(rows) {
            to.extend_from_slice(&row[..plan.outputs]);
        }
    }

    /// `features`: what policy and value read, or twice what the body reads. `parameters`: weights and bias of each layer.
    pub(super) fn forward(
        &mut self,
        cut: Cut,
        features: [&[f32]; 2],
        parameters: &[&[f32]],
        scratch: &mut Vec<Scratch>,
    ) {
        let jobs = self.layers.iter_mut().zip(parameters.chunks_exact(2));
        parallel(scratch, jobs, |_, (layer, pair)| layer.plan.pack(pair[0], pair[1]));
        let body = self.layers.len() - HEADS;
        let (plans, mut outputs): (Vec<_>, Vec<_>) = self
            .layers
            .iter_mut()
            .map(|DenseLayer { plan, output, .. }| {
                let stride = plan.output_stride;
                (&*plan, output.at_least(cut.rows * stride).chunks_mut(cut.chunk * stride))
            })
            .unzip();
        let stride = plans[0].input_stride;
        let inputs = features[0].chunks(cut.chunk * stride).zip(features[1].chunks(cut.chunk * stride));
        let jobs = (0..cut.chunks).zip(inputs).map(|(_, inputs)| {
            let outputs: Vec<&mut [f32]> = outputs.iter_mut().filter_map(Iterator::next).collect();
            (inputs, outputs)
        });
        parallel(scratch, jobs, |scratch, ((policy, value), outputs)| {
            let pixels = &mut scratch.pixels;
            let mut from = [policy, value];
            for (index, (plan, output)) in plans.iter().zip(outputs).enumerate() {
                let head = index.saturating_sub(body).min(1);
                plan.run(from[head], output, pixels);
                let output = &*output;
                if index < body {
                    from = [output; 2];
                } else {
                    from[head] = output;
                }
            }
        });
    }

    /// `outputs`: the gradients of logits and values. `to`: where the gradients of the features go, if there is no body.
    pub(super) fn backward(
        &mut self,
        cut: Cut,
        features: [&[f32]; 2],
        outputs: [&[f32]; 2],
        gradients: &mut [Vec<f32>],
        to: Option<[&mut [f32]; 2]>,
        scratch: &mut Vec<Scratch>,
    ) {
        let body = self.layers.len() - HEADS;
        let mut of_features = to.map(|to| to.map(|to| to.chunks_mut(cut.chunk * self.layers[0].plan.input_stride)));
        let (plans, mut pieces): (Vec<_>, Vec<_>) = self
            .layers
            .iter_mut()
            .map(|DenseLayer { plan, output, gradient, .. }| {
                let (rows, chunk) = (cut.rows * plan.output_stride, cut.chunk * plan.output_stride);
                let pieces = gradient.at_least(rows).chunks_mut(chunk).zip(output.get()[..rows].chunks(chunk));
                (&*plan, pieces)
            })
            .unzip();
        let [actions, values] = [plans[body].outputs, plans[body + 2].outputs];
        let from = outputs[0].chunks(cut.chunk * actions).zip(outputs[1].chunks(cut.chunk * values));
        let jobs = from.map(|from| {
            let pieces: Vec<_> = pieces.iter_mut().filter_map(Iterator::next).collect();
            let of_features = of_features.as_mut().and_then(|[a, b]| Some([a.next()?, b.next()?]));
            (from, pieces, of_features)
        });
        parallel(scratch, jobs, |scratch, ((logits, values), mut pieces, of_features)| {
            let pixels = &mut scratch.pixels;
            let (layers, heads) = pieces.split_at_mut(body);
            let [(policy, _), (hidden, hidden_output), (value, _)] = heads else { unreachable!("three layers") };
            plans[body].spread(logits, policy);
            plans[body + 2].spread(values, value);
            plans[body + 2].run_back(value, hidden, false, pixels);
            mask(hidden, hidden_output);
            if let Some([of_policy, of_value]) = of_features {
                plans[body].run_back(policy, of_policy, false, pixels);
                plans[body + 1].run_back(hidden, of_value, false, pixels);
            }
            if let Some((last, output)) = layers.last_mut() {
                plans[body].run_back(policy, last, false, pixels);
                plans[body + 1].run_back(hidden, last, true, pixels);
                mask(last, output);
            }
            for index in (1..body).rev() {
                let (before, after) = layers.split_at_mut(index);
                let (to, output) = &mut before[index - 1];
                plans[index].run_back(after[0].0, to, false, pixels);
                mask(to, output);
            }
        });
        self.parameters(cut.rows, features, gradients, scratch);
    }

    /// The gradients of all weights and biases.
    fn parameters(
        &mut self,
        rows: usize,
        features: [&[f32]; 2],
        gradients: &mut [Vec<f32>],
        scratch: &mut Vec<Scratch>,
    ) {
        let body = self.layers.len() - HEADS;
        let (mut inputs, mut jobs) = (features, Vec::new());
        for (index, (layer, pair)) in self.layers.iter_mut().zip(gradients.chunks_exact_mut(2)).enumerate() {
            let DenseLayer { plan, output, gradient, sums } = layer;
            let head = index.saturating_sub(body).min(1);
            let from = (&*plan, inputs[head], &gradient.get()[..rows * plan.output_stride]);
            let padded = plan.padded();
            let [weight, bias] = pair else { unreachable!("a dense layer has two tensors") };
            let sums = sums.at_least(plan.inputs * padded).chunks_mut(ROWS * padded);
            let blocks = sums.zip(weight.chunks_mut(ROWS * plan.outputs)).enumerate();
            jobs.extend(blocks.map(|(block, (sums, weight))| (from, Part::Weights(block * ROWS, sums, weight))));
            jobs.push((from, Part::Bias(bias)));
            if index < body {
                inputs = [output.get(); 2];
            } else {
                inputs[head] = output.get();
            }
        }
        parallel(scratch, jobs.into_iter(), |scratch, ((plan, input, output), part)| match part {
            Part::Weights(first, sums, weight) => {
                scratch.pixels.clear();
                scratch.pixels.extend(0..rows as u32);
                sums.fill(0.0);
                plan.level.run(Gradient {
                    input,
                    input_stride: plan.input_stride,
                    offset: first as isize,
                    inputs: weight.len() / plan.outputs,
                    output,
                    output_stride: plan.output_stride,
                    padded: plan.padded(),
                    pixels: &scratch.pixels,
                    sums,
                });
                let padded = plan.padded();
                for (from, to) in sums.chunks_exact(padded).zip(weight.chunks_exact_mut(plan.outputs)) {
                    to.copy_from_slice(&from[..plan.outputs]);
                }
            }
            Part::Bias(bias) => {
                let mut totals = vec![0.0f64; plan.outputs];
                for row in output.chunks_exact(plan.output_stride) {
                    totals.iter_mut().zip(row).for_each(|(total, &number)| *total += f64::from(number));
                }
                bias.iter_mut().zip(totals).for_each(|(bias, total)| *bias = total as f32);
            }
        });
    }
}
