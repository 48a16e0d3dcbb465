//! The network in `f64`, a row at a time, by the plainest loops: what the errors of all others are measured against.

use super::weights::{Body, Conv, Dense, Weights};

/// A network that is slow and exact. Made from [`Weights`].
#[derive(Debug)]
pub struct ExactNetwork {
    board: [usize; 2],
    planes: usize,
    body: ExactBody,
    policy: Layer,
    value_hidden: Layer,
    value_out: Layer,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for a whole network")]
enum ExactBody {
    Resnet { stem: Layer, blocks: Vec<[Layer; 2]>, policy_conv: Layer, value_conv: Layer },
    Mlp(Vec<Layer>),
}

/// A convolution, or a dense layer as one of a single cell.
#[derive(Debug)]
struct Layer {
    inputs: usize,
    outputs: usize,
    kernel: usize,
    /// `[tap][input][output]`.
    weight: Vec<f64>,
    bias: Vec<f64>,
}

impl ExactNetwork {
    /// Unfolds the weights.
    ///
    /// # Panics
    /// If a shape in `weights` doesn't fit its neighbours.
    #[must_use]
    pub fn new(weights: &Weights) -> Self {
        weights.check();
        let body = match &weights.body {
            Body::Resnet { stem, blocks, policy_conv, value_conv } => ExactBody::Resnet {
                stem: Layer::conv(stem),
                blocks: blocks.iter().map(|(first, second)| [Layer::conv(first), Layer::conv(second)]).collect(),
                policy_conv: Layer::conv(policy_conv),
                value_conv: Layer::conv(value_conv),
            },
            Body::Mlp { layers } => ExactBody::Mlp(layers.iter().map(Layer::dense).collect()),
        };
        Self {
            board: [weights.height, weights.width],
            planes: weights.planes,
            body,
            policy: Layer::dense(&weights.policy),
            value_hidden: Layer::dense(&weights.value_hidden),
            value_out: Layer::dense(&weights.value_out),
        }
    }

    /// Logits and raw values (without tanh or softmax) of one row of planes, `[planes, height, width]`.
    ///
    /// # Panics
    /// If the planes are not as many.
    #[must_use]
    pub fn row(&self, planes: &[f32]) -> [Vec<f64>; 2] {
        let cells = self.board[0] * self.board[1];
        assert_eq!(planes.len(), self.planes * cells, "planes of one row");
        let planes: Vec<f64> = planes.iter().map(|&x| f64::from(x)).collect();
        let [policy, value] = match &self.body {
            ExactBody::Resnet { stem, blocks, policy_conv, value_conv } => {
                let mut x = relu(stem.apply(self.board, &transposed(&planes, cells)));
                for [first, second] in blocks {
                    let inner = relu(first.apply(self.board, &x));
                    let sums = second.apply(self.board, &inner).into_iter().zip(&x).map(|(a, b)| a + b).collect();
                    x = relu(sums);
                }
                [policy_conv, value_conv].map(|conv| transposed(&relu(conv.apply(self.board, &x)), conv.outputs))
            }
            ExactBody::Mlp(layers) => {
                let features = layers.iter().fold(planes, |x, layer| relu(layer.apply([1, 1], &x)));
                [features.clone(), features]
            }
        };
        let hidden = relu(self.value_hidden.apply([1, 1], &value));
        [self.policy.apply([1, 1], &policy), self.value_out.apply([1, 1], &hidden)]
    }
}

impl Layer {
    fn conv(conv: &Conv) -> Self {
        let Conv { inputs, outputs, kernel, .. } = *conv;
        let taps = kernel * kernel;
        let places = (0..taps).flat_map(|tap| (0..inputs * outputs).map(move |i| (tap, i / outputs, i % outputs)));
        let weight = places.map(|(tap, input, output)| conv.weight[(output * inputs + input) * taps + tap]);
        Self { inputs, outputs, kernel, weight: weight.map(f64::from).collect(), bias: wide(&conv.bias) }
    }

    fn dense(dense: &Dense) -> Self {
        let Dense { inputs, outputs, .. } = *dense;
        Self { inputs, outputs, kernel: 1, weight: wide(&dense.weight), bias: wide(&dense.bias) }
    }

    /// From `[cell][input]` to `[cell][output]`.
    fn apply(&self, [height, width]: [usize; 2], x: &[f64]) -> Vec<f64> {
        let mut y = Vec::with_capacity(height * width * self.outputs);
        for cell in 0..height * width {
            let start = y.len();
            y.extend_from_slice(&self.bias);
            let sums = &mut y[start..];
            for tap in 0..self.kernel * self.kernel {
                let from_y = (cell / width + tap / self.kernel).wrapping_sub(self.kernel / 2);
                let from_x = (cell % width + tap % self.kernel).wrapping_sub(self.kernel / 2);
                if from_y >= height || from_x >= width {
                    continue;
                }
                let from = &x[(from_y * width + from_x) * self.inputs..][..self.inputs];
                let weights = self.weight[tap * self.inputs * self.outputs..].chunks_exact(self.outputs);
                for (x, weights) in from.iter().zip(weights) {
                    sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += x * weight);
                }
            }
        }
        y
    }
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| f64::from(x)).collect()
}

/// Turns rows of `width` numbers into columns.
fn transposed(x: &[f64], width: usize) -> Vec<f64> {
    (0..width).flat_map(|column| x[column..].iter().step_by(width).copied()).collect()
}

/// NaN stays NaN.
fn relu(mut x: Vec<f64>) -> Vec<f64> {
    x.iter_mut().filter(|x| **x < 0.0).for_each(|x| *x = 0.0);
    x
}
