//! The passes against naive ones in `f64`, over random shapes, on every level of vectors and by every algorithm.

use proptest::prelude::*;

use super::super::fourier::SIZES;
use super::super::kernels::Level;
use super::super::tests::Numbers;
use super::{Algorithm, Shape, ShapeBody, TrainingNetwork, fourier};

impl Numbers {
    /// Parameters that keep activations of order 1.
    fn parameters(&mut self, shape: &Shape) -> Vec<Vec<f32>> {
        let list = shape.parameters();
        let outputs = |index: usize| list.get(index + 1).map_or(1, |(_, length)| *length);
        let tensor = |(index, (name, length)): (usize, &(String, usize))| {
            if name.ends_with("gamma") {
                // Of both signs, and never near zero.
                return (0..*length).map(|_| self.next()).map(|x| x + 0.5f32.copysign(x)).collect();
            }
            let scale =
                if name.ends_with("weight") { (3.0 * outputs(index) as f32 / *length as f32).sqrt() } else { 0.2 };
            self.list(*length, scale)
        };
        list.iter().enumerate().map(tensor).collect()
    }
}

/// What a step computes, in `f64`.
#[derive(Debug, Default)]
struct Step {
    logits: Vec<f64>,
    values: Vec<f64>,
    statistics: Vec<[Vec<f64>; 2]>,
    /// The least distance from zero of any input of a ReLU.
    margin: f64,
    gradients: Vec<Vec<f64>>,
}

/// A layer of the naive network, with what it keeps for the way back. Activations lie as `[row][channel][cell]`.
enum Layer {
    Conv { kernel: usize, at: usize, input: Vec<f64> },
    Norm { at: usize, normal: Vec<f64>, inverse: Vec<f64> },
    Relu { output: Vec<f64> },
    Dense { at: usize, input: Vec<f64> },
}

struct Naive<'a> {
    rows: usize,
    board: [usize; 2],
    epsilon: f64,
    parameters: &'a [Vec<f64>],
    step: Step,
    /// If there are numbers, the result of each layer is off by as much as in `f32`: see [`ROUNDING`].
    noise: Option<Numbers>,
}

impl Naive<'_> {
    fn cells(&self) -> usize {
        self.board[0] * self.board[1]
    }

    /// What rounding may make of a layer's result.
    fn rounded(&mut self, mut result: Vec<f64>) -> Vec<f64> {
        if let Some(noise) = &mut self.noise {
            let error = ROUNDING * size(&result);
            result.iter_mut().for_each(|x| *x += error * f64::from(noise.next()));
        }
        result
    }

    /// Calls `visit(weight, input, output)` with the indices of all multiplications of a convolution.
    fn each(&self, kernel: usize, [inputs, outputs]: [usize; 2], mut visit: impl FnMut(usize, usize, usize)) {
        let ([height, width], cells) = (self.board, self.cells());
        for (row, output, input) in
            (0..self.rows).flat_map(|r| (0..outputs).flat_map(move |o| (0..inputs).map(move |i| (r, o, i))))
        {
            for cell in 0..cells {
                for tap in 0..kernel * kernel {
                    let y = (cell / width + tap / kernel).wrapping_sub(kernel / 2);
                    let x = (cell % width + tap % kernel).wrapping_sub(kernel / 2);
                    if y < height && x < width {
                        visit(
                            (output * inputs + input) * kernel * kernel + tap,
                            (row * inputs + input) * cells + y * width + x,
                            (row * outputs + output) * cells + cell,
                        );
                    }
                }
            }
        }
    }

    fn conv(&mut self, tape: &mut Vec<Layer>, at: usize, kernel: usize, input: Vec<f64>) -> Vec<f64> {
        let inputs = input.len() / self.rows / self.cells();
        let weight = &self.parameters[at];
        let outputs = weight.len() / inputs / kernel / kernel;
        let mut output = vec![0.0; self.rows * outputs * self.cells()];
        self.each(kernel, [inputs, outputs], |w, i, o| output[o] += weight[w] * input[i]);
        tape.push(Layer::Conv { kernel, at, input });
        let output = self.rounded(output);
        self.norm(tape, at + 1, output)
    }

    fn norm(&mut self, tape: &mut Vec<Layer>, at: usize, mut x: Vec<f64>) -> Vec<f64> {
        let (channels, cells) = (self.parameters[at].len(), self.cells());
        let count = (self.rows * cells) as f64;
        let of = |index: usize| index / cells % channels;
        let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
        x.iter().enumerate().for_each(|(i, x)| mean[of(i)] += x / count);
        x.iter().enumerate().for_each(|(i, x)| variance[of(i)] += (x - mean[of(i)]).powi(2) / count);
        let inverse: Vec<f64> = variance.iter().map(|v| 1.0 / (v + self.epsilon).sqrt()).collect();
        x.iter_mut().enumerate().for_each(|(i, x)| *x = (*x - mean[of(i)]) * inverse[of(i)]);
        let [gamma, beta] = [&self.parameters[at], &self.parameters[at + 1]];
        let output = x.iter().enumerate().map(|(i, x)| x * gamma[of(i)] + beta[of(i)]).collect();
        tape.push(Layer::Norm { at, normal: x, inverse });
        self.step.statistics.push([mean, variance]);
        self.rounded(output)
    }

    fn relu(&mut self, tape: &mut Vec<Layer>, mut x: Vec<f64>) -> Vec<f64> {
        self.step.margin = x.iter().fold(self.step.margin, |margin, x| margin.min(x.abs()));
        x.iter_mut().for_each(|x| *x = x.max(0.0));
        tape.push(Layer::Relu { output: x.clone() });
        x
    }

    fn dense(&mut self, tape: &mut Vec<Layer>, at: usize, input: Vec<f64>) -> Vec<f64> {
        let (weight, bias) = (&self.parameters[at], &self.parameters[at + 1]);
        let (inputs, outputs) = (input.len() / self.rows, bias.len());
        let number = |row: usize, o: usize| {
            bias[o] + (0..inputs).map(|i| input[row * inputs + i] * weight[i * outputs + o]).sum::<f64>()
        };
        let output = (0..self.rows * outputs).map(|index| number(index / outputs, index % outputs)).collect();
        tape.push(Layer::Dense { at, input });
        self.rounded(output)
    }

    /// The gradient of what goes into the layers of `tape` from that of what comes out.
    fn back(&mut self, tape: Vec<Layer>, mut gradient: Vec<f64>) -> Vec<f64> {
        for layer in tape.into_iter().rev() {
            gradient = match layer {
                Layer::Relu { output } => {
                    gradient.iter().zip(&output).map(|(g, &y)| if y > 0.0 { *g } else { 0.0 }).collect()
                }
                Layer::Conv { kernel, at, input } => {
                    let inputs = input.len() / self.rows / self.cells();
                    let outputs = gradient.len() / self.rows / self.cells();
                    let weight = &self.parameters[at];
                    let (mut of_weight, mut of_input) = (vec![0.0; weight.len()], vec![0.0; input.len()]);
                    self.each(kernel, [inputs, outputs], |w, i, o| {
                        of_weight[w] += gradient[o] * input[i];
                        of_input[i] += gradient[o] * weight[w];
                    });
                    self.step.gradients[at] = of_weight;
                    of_input
                }
                Layer::Norm { at, normal, inverse } => {
                    let (channels, cells) = (inverse.len(), self.cells());
                    let of = |index: usize| index / cells % channels;
                    let (mut gamma, mut beta) = (vec![0.0; channels], vec![0.0; channels]);
                    gradient.iter().enumerate().for_each(|(i, g)| beta[of(i)] += g);
                    gradient.iter().enumerate().for_each(|(i, g)| gamma[of(i)] += g * normal[i]);
                    let count = (self.rows * cells) as f64;
                    let number = |(i, g): (usize, &f64)| {
                        let c = of(i);
                        self.parameters[at][c] * inverse[c] * (g - beta[c] / count - normal[i] * gamma[c] / count)
                    };
                    let of_input = gradient.iter().enumerate().map(number).collect();
                    (self.step.gradients[at], self.step.gradients[at + 1]) = (gamma, beta);
                    of_input
                }
                Layer::Dense { at, input } => {
                    let outputs = self.parameters[at + 1].len();
                    let inputs = input.len() / self.rows;
                    let weight = &self.parameters[at];
                    let (mut of_weight, mut of_bias) = (vec![0.0; weight.len()], vec![0.0; outputs]);
                    let mut of_input = vec![0.0; input.len()];
                    for (index, g) in gradient.iter().enumerate() {
                        let (row, o) = (index / outputs, index % outputs);
                        of_bias[o] += g;
                        for i in 0..inputs {
                            of_weight[i * outputs + o] += g * input[row * inputs + i];
                            of_input[row * inputs + i] += g * weight[i * outputs + o];
                        }
                    }
                    (self.step.gradients[at], self.step.gradients[at + 1]) = (of_weight, of_bias);
                    of_input
                }
            };
            gradient = self.rounded(gradient);
        }
        gradient
    }
}

/// Root of the mean square.
fn size(list: &[f64]) -> f64 {
    (list.iter().map(|x| x * x).sum::<f64>() / list.len().max(1) as f64).sqrt()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// Forward and backward pass with plain loops, exactly or with noise.
fn naive(
    shape: &Shape,
    rows: usize,
    planes: &[f64],
    parameters: &[Vec<f64>],
    outputs: [&[f64]; 2],
    noise: Option<Numbers>,
) -> Step {
    let step = Step { gradients: vec![Vec::new(); parameters.len()], margin: f64::INFINITY, ..Step::default() };
    let board = [shape.height, shape.width];
    let mut naive = Naive { rows, board, epsilon: shape.epsilon, parameters, step, noise };
    let n = &mut naive;
    let (mut stem, mut policy, mut value) = (Vec::new(), Vec::new(), Vec::new());
    let mut blocks = Vec::new();
    let mut x = planes.to_vec();
    let heads = parameters.len() - 6;
    let mut features = [x.clone(), x.clone()];
    if let ShapeBody::Resnet { blocks: count, kernel, .. } = shape.body {
        x = n.conv(&mut stem, 0, kernel, x);
        x = n.relu(&mut stem, x);
        for block in 0..count {
            let (mut inner, mut outer) = (Vec::new(), Vec::new());
            let mut y = n.conv(&mut inner, 6 * block + 3, kernel, x.clone());
            y = n.relu(&mut inner, y);
            y = n.conv(&mut inner, 6 * block + 6, kernel, y);
            x = n.relu(&mut outer, add(&x, &y));
            blocks.push((inner, outer));
        }
        for ((tape, at), features) in [(&mut policy, 6), (&mut value, 3)].into_iter().zip(&mut features) {
            let y = n.conv(tape, heads - at, 1, x.clone());
            *features = n.relu(tape, y);
        }
    } else {
        for layer in 0..heads / 2 {
            x = n.dense(&mut stem, 2 * layer, x);
            x = n.relu(&mut stem, x);
        }
        features = [x.clone(), x];
    }
    let [policy_features, value_features] = features;
    n.step.logits = n.dense(&mut policy, heads, policy_features);
    let hidden = n.dense(&mut value, heads + 2, value_features);
    let hidden = n.relu(&mut value, hidden);
    n.step.values = n.dense(&mut value, heads + 4, hidden);

    let from_policy = n.back(policy, outputs[0].to_vec());
    let from_value = n.back(value, outputs[1].to_vec());
    let mut gradient = add(&from_policy, &from_value);
    for (inner, outer) in blocks.into_iter().rev() {
        gradient = n.back(outer, gradient);
        let through = n.back(inner, gradient.clone());
        gradient = add(&gradient, &through);
    }
    n.back(stem, gradient);
    naive.step
}

fn wide(list: &[f32]) -> Vec<f64> {
    list.iter().map(|&x| f64::from(x)).collect()
}

/// Every algorithm that can run this shape: directly, the transform that fits, and the next size.
fn algorithms(shape: &Shape) -> Vec<Algorithm> {
    let mut algorithms = vec![Algorithm::Direct];
    if matches!(shape.body, ShapeBody::Resnet { kernel, .. } if kernel <= fourier::KERNEL) {
        let fits = |&[ny, nx]: &[usize; 2]| shape.height < ny && shape.width < nx;
        algorithms.extend(SIZES.into_iter().filter(fits).take(2).map(Algorithm::Fourier));
    }
    algorithms
}

/// Root of the mean square difference in units of the root of the mean square, which is how optimisers see an error.
fn difference(found: &[f64], expected: &[f64], unit: f64) -> f64 {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().all(|x| x.is_finite()));
    let errors: Vec<f64> = found.iter().zip(expected).map(|(f, e)| f - e).collect();
    size(&errors) / size(expected).max(unit)
}

struct Case {
    shape: Shape,
    rows: usize,
    planes: Vec<f32>,
    parameters: Vec<Vec<f32>>,
    outputs: [Vec<f32>; 2],
}

impl Case {
    fn new(shape: Shape, rows: usize, numbers: &mut Numbers) -> Self {
        let parameters = numbers.parameters(&shape);
        let planes = numbers.list(rows * shape.planes * shape.height * shape.width, 1.0);
        let outputs = [shape.actions, shape.value_outputs].map(|length| numbers.list(rows * length, 1.0));
        Self { shape, rows, planes, parameters, outputs }
    }

    fn naive(&self, noise: Option<Numbers>) -> Step {
        let parameters: Vec<_> = self.parameters.iter().map(|tensor| wide(tensor)).collect();
        let outputs = [wide(&self.outputs[0]), wide(&self.outputs[1])];
        naive(&self.shape, self.rows, &wide(&self.planes), &parameters, [&outputs[0], &outputs[1]], noise)
    }

    /// All numbers of a step, one list for each tensor.
    fn run(&self, network: &mut TrainingNetwork) -> Vec<Vec<f32>> {
        let parameters: Vec<&[f32]> = self.parameters.iter().map(Vec::as_slice).collect();
        let mut gradients = vec![vec![f32::NAN; 3]; parameters.len()];
        network.forward(self.rows, &self.planes, &parameters);
        network.backward(&self.outputs[0], &self.outputs[1], &mut gradients);
        let mut lists = vec![network.logits().to_vec(), network.values().to_vec()];
        for statistics in network.batch_statistics() {
            lists.extend([statistics.mean.to_vec(), statistics.variance.to_vec()]);
        }
        lists.extend(gradients);
        lists
    }

    /// Panics if an error of any tensor, over all levels and algorithms, is more than it may be. Looks for numbers that
    /// leave no ReLU in doubt; large cases have none.
    fn check(shape: &Shape, rows: usize, numbers: &mut Numbers) {
        let mut case = Self::new(shape.clone(), rows, numbers);
        let mut step = case.naive(None);
        for _ in 0..4 {
            if step.margin < MARGIN {
                case = Self::new(shape.clone(), rows, numbers);
                step = case.naive(None);
            }
        }
        case.compare(&step);
    }

    /// The largest error of each list over some naive passes with noise.
    fn sensitivity(&self, expected: &[&Vec<f64>], unit: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut worst = vec![0.0; expected.len()];
        for seed in 0..16 {
            let noisy = self.naive(Some(Numbers(seed)));
            for (index, (found, expected)) in noisy.lists().into_iter().zip(expected).enumerate() {
                worst[index] = f64::max(worst[index], difference(found, expected, unit(index)));
            }
        }
        worst
    }

    fn compare(&self, step: &Step) {
        let expected = step.lists();
        let first_gradient = expected.len() - step.gradients.len();
        // Gradients that cancel out are measured by the size of the others.
        let unit = step.gradients.iter().map(|list| size(list)).fold(0.0, f64::max) / 10.0;
        let unit = |index: usize| if index < first_gradient { 0.1 } else { unit };
        let mut sensitivity = None;
        for level in Level::available() {
            for algorithm in algorithms(&self.shape) {
                let mut network = TrainingNetwork::with(&self.shape, level, algorithm);
                let found = self.run(&mut network);
                assert_eq!(found.len(), expected.len());
                for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let error = difference(&wide(found), expected, unit(index));
                    let mut bound = if index >= first_gradient && step.margin < MARGIN { FLIPPED } else { BOUND };
                    if error >= bound {
                        // Networks of one channel may take small differences of large numbers. How much that matters is
                        // measured by what noise of the size of rounding does to the naive network.
                        let sensitivity = sensitivity.get_or_insert_with(|| self.sensitivity(&step.lists(), unit));
                        // The noise stands for one rounding of each result, and sixteen draws seldom find the worst.
                        bound = bound.max(4.0 * sensitivity[index]);
                    }
                    let name = match index.checked_sub(first_gradient) {
                        Some(tensor) => self.shape.parameters()[tensor].0.clone(),
                        None => format!("output {index}"),
                    };
                    assert!(
                        error < bound,
                        "error {error:e} instead of {bound:e} of {name} by {level:?} {algorithm:?} in {rows} rows of {shape:?}",
                        rows = self.rows,
                        shape = self.shape
                    );
                }
            }
        }
    }
}

impl Step {
    /// Everything in the order of [`Case::run`].
    fn lists(&self) -> Vec<&Vec<f64>> {
        let statistics = self.statistics.iter().flatten();
        [&self.logits, &self.values].into_iter().chain(statistics).chain(&self.gradients).collect()
    }
}

fn resnet(board: [usize; 2], planes: usize, numbers: [usize; 4], kernel: usize) -> Shape {
    let [channels, blocks, head_channels, actions] = numbers;
    let body = ShapeBody::Resnet { channels, blocks, kernel, head_channels };
    let [height, width] = board;
    Shape { planes, height, width, body, actions, value_hidden: 13, value_outputs: 1 + channels % 2 * 2, epsilon: 1e-3 }
}

/// The most that rounding may do to a tensor: sums of thousands of products, through up to eight layers.
const BOUND: f64 = 2e-5;

/// What rounding may do to the result of one layer, in units of its root mean square: many times the last place, because
/// sums and transforms add several such errors.
const ROUNDING: f64 = 32.0 / (1 << 24) as f64;

/// An input of a ReLU this close to zero may fall on either side of it in `f32`, and either derivative is right.
const MARGIN: f64 = 5e-6;

/// The most that such a cell may do: its share of the sum over a batch, or over a few rows behind the hidden layer of the
/// value, where it weighs most.
const FLIPPED: f64 = 0.2;

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn resnets_match_the_naive_network(
        seed: u64,
        planes in 2usize..8,
        board in prop::array::uniform2(2usize..10),
        channels in 1usize..41,
        blocks in 0usize..3,
        head_channels in 1usize..6,
        kernel in prop_oneof![8 => Just(3usize), 1 => Just(1usize), 1 => Just(5usize)],
        rows in prop_oneof![4 => 2usize..20, 1 => 20usize..71],
    ) {
        let mut numbers = Numbers(seed);
        Case::check(&resnet(board, planes, [channels, blocks, head_channels, 11], kernel), rows, &mut numbers);
    }

    #[test]
    fn perceptrons_match_the_naive_network(
        seed: u64,
        side in 1usize..5,
        layers in prop::collection::vec(1usize..70, 0..4),
        rows in 1usize..71,
    ) {
        let mut numbers = Numbers(seed);
        let shape = Shape { body: ShapeBody::Mlp { layers }, ..resnet([side, side + 1], 2, [1, 1, 1, 9], 3) };
        Case::check(&shape, rows, &mut numbers);
    }
}

#[test]
fn larger_networks_match_the_naive_network() {
    let mut numbers = Numbers(5);
    for (board, channels, rows) in
        [([3, 3], 128, 70), ([6, 7], 64, 33), ([11, 10], 9, 5), ([15, 14], 4, 3), ([19, 19], 3, 2)]
    {
        Case::check(&resnet(board, 2, [channels, 1, 8, 9], 3), rows, &mut numbers);
    }
}

/// With one channel and a kernel of one cell, batch norm undoes whatever the weight does, but for its epsilon: the gradient is
/// a small difference of large numbers.
#[test]
fn gradients_that_cancel_out_match_the_naive_network() {
    let mut numbers = Numbers(11908440131177307109);
    Case::check(&resnet([4, 4], 2, [1, 2, 3, 11], 1), 9, &mut numbers);
}

/// The naive gradients are derivatives of the naive loss: the sum of all outputs times their gradients.
#[test]
fn naive_gradients_are_derivatives() {
    let mut numbers = Numbers(9);
    let mlp = Shape { body: ShapeBody::Mlp { layers: vec![5, 4] }, ..resnet([2, 2], 2, [1, 1, 1, 3], 3) };
    for shape in [resnet([3, 2], 2, [3, 2, 2, 4], 3), mlp] {
        let case = Case::new(shape, 3, &mut numbers);
        let step = case.naive(None);
        let parameters: Vec<_> = case.parameters.iter().map(|tensor| wide(tensor)).collect();
        let (planes, outputs) = (wide(&case.planes), [wide(&case.outputs[0]), wide(&case.outputs[1])]);
        let loss = |parameters: &[Vec<f64>]| {
            let step = naive(&case.shape, case.rows, &planes, parameters, [&outputs[0], &outputs[1]], None);
            let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            product(&step.logits, &outputs[0]) + product(&step.values, &outputs[1])
        };
        let unit = step.gradients.iter().flatten().fold(0.0f64, |size, g| size.max(g.abs()));
        for tensor in 0..parameters.len() {
            for index in 0..parameters[tensor].len() {
                let at = |change: f64| {
                    let mut parameters = parameters.clone();
                    parameters[tensor][index] += change;
                    loss(&parameters)
                };
                let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
                let error = (slope - step.gradients[tensor][index]).abs() / unit;
                assert!(error < 1e-6, "{:?} {tensor} {index}: {error:e}", case.shape.body);
            }
        }
    }
}

/// The invariant of the module: the number of threads does not change a bit, nor do the batches before.
#[test]
fn results_do_not_depend_on_the_threads() {
    let mut numbers = Numbers(11);
    let mlp = Shape { body: ShapeBody::Mlp { layers: vec![33, 40] }, ..resnet([3, 3], 2, [1, 1, 1, 9], 3) };
    let pools = [1, 2, 3, 5].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool"));
    for shape in [resnet([3, 3], 3, [33, 2, 5, 9], 3), resnet([6, 7], 2, [16, 1, 4, 7], 3), mlp] {
        for rows in [3, 67, 300] {
            let case = Case::new(shape.clone(), rows, &mut numbers);
            let other = Case::new(shape.clone(), 41, &mut numbers);
            for level in Level::available() {
                for algorithm in algorithms(&shape) {
                    let mut used = TrainingNetwork::with(&shape, level, algorithm);
                    let mut all = pools.iter().map(|pool| {
                        pool.install(|| {
                            other.run(&mut used);
                            let again = case.run(&mut used);
                            let fresh = case.run(&mut TrainingNetwork::with(&shape, level, algorithm));
                            [again, fresh].map(|lists| lists.concat().iter().map(|x| x.to_bits()).collect::<Vec<_>>())
                        })
                    });
                    let [first, fresh] = all.next().expect("a pool");
                    assert!(first == fresh, "{level:?} {algorithm:?} {rows} rows: earlier batches matter");
                    assert!(
                        all.all(|lists| lists.iter().all(|list| *list == first)),
                        "{level:?} {algorithm:?} {rows} rows"
                    );
                }
            }
        }
    }
}

#[test]
fn memory_is_what_was_told_and_does_not_grow() {
    let mut numbers = Numbers(13);
    let mlp = Shape { body: ShapeBody::Mlp { layers: vec![133, 140] }, ..resnet([3, 3], 2, [1, 1, 1, 9], 3) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a pool");
    for shape in [resnet([3, 3], 3, [64, 2, 5, 9], 3), resnet([6, 7], 2, [31, 1, 4, 7], 3), mlp] {
        for algorithm in algorithms(&shape) {
            let mut network = TrainingNetwork::with(&shape, Level::available()[0], algorithm);
            let [large, small] = [300, 40].map(|rows| Case::new(shape.clone(), rows, &mut numbers));
            let told = network.bytes_for(300, 2);
            pool.install(|| large.run(&mut network));
            let bytes = network.bytes();
            assert!(bytes <= told && told < bytes + bytes / 8 + (64 << 10), "{told} told, {bytes} used by {shape:?}");
            pool.install(|| small.run(&mut network));
            pool.install(|| large.run(&mut network));
            assert!(network.bytes() <= told, "grown from {bytes} to {}", network.bytes());
        }
    }
}
