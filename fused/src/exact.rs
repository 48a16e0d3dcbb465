//! Any network in `f64`, a row at a time, by the plainest loops: what the errors of all others are measured against.

use super::description::{Form, Frozen, Op, Parameters, Step};

/// A network that is slow and exact.
#[derive(Debug)]
pub struct ExactNetwork {
    network: Frozen,
    forms: Vec<Form>,
    /// Weights of each step as `[tap][input][output]`, and biases.
    layers: Vec<Option<(Vec<f64>, Vec<f64>)>>,
}

impl ExactNetwork {
    /// Takes a network.
    ///
    /// # Panics
    /// If it does not fit together.
    #[must_use]
    pub fn new(network: &Frozen) -> Self {
        network.check();
        let forms = network.description.forms();
        let layer = |(step, numbers): (usize, &Option<Parameters>)| {
            let Parameters { weight, bias } = numbers.as_ref()?;
            let shape = network.description.parameters(step, &forms).swap_remove(0);
            let weight: Vec<f64> = match shape[..] {
                [outputs, inputs, kernel, _] => {
                    let taps = kernel * kernel;
                    let places =
                        (0..taps).flat_map(|tap| (0..inputs * outputs).map(move |i| (tap, i / outputs, i % outputs)));
                    let at = |(tap, input, output)| weight[(output * inputs + input) * taps + tap];
                    places.map(at).map(f64::from).collect()
                }
                _ => weight.iter().copied().map(f64::from).collect(),
            };
            Some((weight, bias.iter().copied().map(f64::from).collect()))
        };
        let layers = network.parameters.iter().enumerate().map(layer).collect();
        Self { network: network.clone(), forms, layers }
    }

    /// The raw output of each head, without tanh or softmax, for one row of planes, `[planes, height, width]`.
    ///
    /// # Panics
    /// If the planes are not as many.
    #[must_use]
    pub fn row(&self, planes: &[f32]) -> Vec<Vec<f64>> {
        let net = &self.network.description;
        let cells = net.cells();
        assert_eq!(planes.len(), net.input[0] * cells, "planes of one row");
        let planes: Vec<f64> = planes.iter().copied().map(f64::from).collect();
        // Boards as [cell][channel].
        let mut values = vec![transposed(&planes, cells)];
        for (step, Step { op, from, .. }) in net.steps.iter().enumerate() {
            let x = &values[from[0]];
            let value = match (op, self.forms[from[0]]) {
                (Op::Conv { kernel, .. }, Form::Board(_)) => self.layer(step, [net.input[1], net.input[2]], *kernel, x),
                (Op::Dense { .. }, Form::Board(channels)) => self.layer(step, [1, 1], 1, &transposed(x, channels)),
                (Op::Dense { .. }, Form::Row(_)) => self.layer(step, [1, 1], 1, x),
                // NaN stays NaN.
                (Op::Relu, _) => x.iter().map(|&x| if x < 0.0 { 0.0 } else { x }).collect(),
                (Op::Sum, _) => x.iter().zip(&values[from[1]]).map(|(a, b)| a + b).collect(),
                (Op::Pool, Form::Board(channels)) => {
                    (0..channels).map(|c| x[c..].iter().step_by(channels).sum::<f64>() / cells as f64).collect()
                }
                (Op::Gate, Form::Board(channels)) => {
                    let gates: Vec<f64> = values[from[1]].iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
                    x.chunks_exact(channels).flat_map(|x| x.iter().zip(&gates).map(|(x, gate)| x * gate)).collect()
                }
                (Op::Select { indices }, Form::Board(channels)) => {
                    indices.iter().map(|&i| x[i as usize % cells * channels + i as usize / cells]).collect()
                }
                (op, form) => unreachable!("{op:?} of {form:?} in a frozen network that fits"),
            };
            values.push(value);
        }
        net.heads.iter().map(|head| values[head.value].clone()).collect()
    }

    /// The logits of the policy and the value, from -1 to 1, for one row of planes: see [`ExactNetwork::row`]. The value is
    /// tanh of one output, or win minus loss of the shares of three logits.
    ///
    /// # Panics
    /// If the planes are not as many, or the network has no such heads.
    #[must_use]
    pub fn policy_and_value(&self, planes: &[f32]) -> (Vec<f64>, f64) {
        let mut outputs = self.row(planes);
        let [policy, value] = self.network.description.policy_and_value();
        let value = match outputs[value][..] {
            [win, draw, loss] => {
                let highest = win.max(draw).max(loss);
                let [win, draw, loss] = [win, draw, loss].map(|logit| (logit - highest).exp());
                (win - loss) / (win + draw + loss)
            }
            _ => outputs[value][0].tanh(),
        };
        (outputs.swap_remove(policy), value)
    }

    /// From `[cell][input]` to `[cell][output]`.
    fn layer(&self, step: usize, [height, width]: [usize; 2], kernel: usize, x: &[f64]) -> Vec<f64> {
        let (weight, bias) = self.layers[step].as_ref().expect("a layer has parameters");
        let (inputs, outputs) = (x.len() / (height * width), bias.len());
        let mut y = Vec::with_capacity(height * width * outputs);
        for cell in 0..height * width {
            let start = y.len();
            y.extend_from_slice(bias);
            let sums = &mut y[start..];
            for tap in 0..kernel * kernel {
                let from_y = (cell / width + tap / kernel).wrapping_sub(kernel / 2);
                let from_x = (cell % width + tap % kernel).wrapping_sub(kernel / 2);
                if from_y >= height || from_x >= width {
                    continue;
                }
                let from = &x[(from_y * width + from_x) * inputs..][..inputs];
                let weights = weight[tap * inputs * outputs..].chunks_exact(outputs);
                for (x, weights) in from.iter().zip(weights) {
                    sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += x * weight);
                }
            }
        }
        y
    }
}

/// Turns rows of `width` numbers into columns.
fn transposed(x: &[f64], width: usize) -> Vec<f64> {
    (0..width).flat_map(|column| x[column..].iter().step_by(width).copied()).collect()
}
