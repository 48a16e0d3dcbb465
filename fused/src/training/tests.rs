//! The passes against naive ones in `f64`, over random shapes, on every level of vectors and by every algorithm.

use proptest::prelude::*;

use super::super::fourier::SIZES;
use super::super::kernels::Level;
use super::super::plan::Plan;
use super::super::tests::{Maker, Numbers, Tower};
use super::super::{Description, Form, Op, Step as Described};

use super::super::kernels::Amx;
use super::fourier::Products;
use super::{Algorithm, TrainingNetwork, fourier};

impl Numbers {
    /// Parameters that keep activations of order 1.
    fn parameters(&mut self, net: &Description) -> Vec<Vec<f32>> {
        let forms = net.forms();
        let mut tensors = vec![];
        for (step, Described { op, .. }) in net.steps.iter().enumerate() {
            for (part, shape) in net.parameters(step, &forms).iter().enumerate() {
                let length: usize = shape.iter().product();
                tensors.push(match (op, part) {
                    // Of both signs, and never near zero.
                    (Op::Norm, 0) => (0..length).map(|_| self.next()).map(|x| x + 0.5f32.copysign(x)).collect(),
                    (Op::Conv { outputs, .. } | Op::Dense { outputs }, 0) => {
                        self.list(length, (3.0 * *outputs as f32 / length as f32).sqrt())
                    }
                    _ => self.list(length, 0.2),
                });
            }
        }
        tensors
    }
}

/// What a step computes, in `f64`.
#[derive(Debug, Default)]
struct Step {
    outputs: Vec<Vec<f64>>,
    statistics: Vec<[Vec<f64>; 2]>,
    /// The least distance from zero of any input of a ReLU.
    margin: f64,
    gradients: Vec<Vec<f64>>,
}

/// A network by plain loops. Activations lie as `[row][channel][cell]`, or `[row][feature]`.
struct Naive<'a> {
    net: &'a Description,
    forms: Vec<Form>,
    rows: usize,
    epsilon: f64,
    parameters: &'a [Vec<f64>],
    /// For each step its first tensor.
    first: Vec<usize>,
    step: Step,
    /// If there are numbers, the result of each layer is off by as much as in `f32`: see [`ROUNDING`].
    noise: Option<Numbers>,
}

impl Naive<'_> {
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
        let ([_, height, width], cells) = (self.net.input, self.net.cells());
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

    /// All values, and for each norm its results before gamma and beta, and one over the deviation of each channel.
    fn forward(&mut self, planes: &[f64]) -> (Vec<Vec<f64>>, Vec<[Vec<f64>; 2]>) {
        let (net, rows, cells) = (self.net, self.rows, self.net.cells());
        let (mut values, mut normal) = (vec![planes.to_vec()], vec![[vec![], vec![]]; net.steps.len()]);
        for (step, Described { op, from, .. }) in net.steps.iter().enumerate() {
            let (x, first) = (&values[from[0]], self.first[step]);
            let tensor = |part: usize| &self.parameters[first + part];
            let channels = x.len() / rows / cells;
            let of = |index: usize| index / cells % channels;
            let value = match op {
                &Op::Conv { outputs, kernel, bias } => {
                    let channel = |i: usize| if bias { tensor(1)[i / cells % outputs] } else { 0.0 };
                    let mut output: Vec<f64> = (0..rows * outputs * cells).map(channel).collect();
                    self.each(kernel, [channels, outputs], |w, i, o| output[o] += tensor(0)[w] * x[i]);
                    output
                }
                Op::Norm => {
                    let count = (rows * cells) as f64;
                    let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
                    x.iter().enumerate().for_each(|(i, x)| mean[of(i)] += x / count);
                    x.iter().enumerate().for_each(|(i, x)| variance[of(i)] += (x - mean[of(i)]).powi(2) / count);
                    let inverse: Vec<f64> = variance.iter().map(|v| 1.0 / (v + self.epsilon).sqrt()).collect();
                    let x: Vec<f64> = x.iter().enumerate().map(|(i, x)| (x - mean[of(i)]) * inverse[of(i)]).collect();
                    let output = x.iter().enumerate().map(|(i, x)| x * tensor(0)[of(i)] + tensor(1)[of(i)]).collect();
                    self.step.statistics.push([mean, variance]);
                    normal[step] = [x, inverse];
                    output
                }
                Op::Relu => {
                    self.step.margin = x.iter().fold(self.step.margin, |margin, x| margin.min(x.abs()));
                    x.iter().map(|x| x.max(0.0)).collect()
                }
                Op::Sum => add(x, &values[from[1]]),
                Op::Pool => x.chunks(cells).map(|x| x.iter().sum::<f64>() / cells as f64).collect(),
                Op::Gate => {
                    let gates = &values[from[1]];
                    x.iter().enumerate().map(|(i, x)| x * sigmoid(gates[i / cells])).collect()
                }
                &Op::Dense { outputs } => {
                    let inputs = x.len() / rows;
                    let number = |row: usize, o: usize| {
                        let products = (0..inputs).map(|i| x[row * inputs + i] * tensor(0)[i * outputs + o]);
                        tensor(1)[o] + products.sum::<f64>()
                    };
                    (0..rows * outputs).map(|index| number(index / outputs, index % outputs)).collect()
                }
                Op::Select { indices } => {
                    x.chunks(x.len() / rows).flat_map(|x| indices.iter().map(|&i| x[i as usize])).collect()
                }
            };
            let layer = matches!(op, Op::Conv { .. } | Op::Norm | Op::Dense { .. } | Op::Pool);
            values.push(if layer { self.rounded(value) } else { value });
        }
        (values, normal)
    }

    /// The gradients of all parameters from those of the heads.
    fn backward(&mut self, values: &[Vec<f64>], normal: &[[Vec<f64>; 2]], heads: &[Vec<f64>]) {
        let (net, rows, cells) = (self.net, self.rows, self.net.cells());
        let mut gradients: Vec<Vec<f64>> = values.iter().map(|value| vec![0.0; value.len()]).collect();
        for (head, gradient) in net.heads.iter().zip(heads) {
            gradients[head.value] = add(&gradients[head.value], gradient);
        }
        for (step, Described { op, from, .. }) in net.steps.iter().enumerate().rev() {
            let (g, x, first) = (std::mem::take(&mut gradients[step + 1]), &values[from[0]], self.first[step]);
            let channels = x.len() / rows / cells;
            let of = |index: usize| index / cells % channels;
            let mut tensors = [vec![], vec![]];
            let of_input = match op {
                &Op::Conv { outputs, kernel, bias } => {
                    let weight = &self.parameters[first];
                    let (mut of_weight, mut of_input) = (vec![0.0; weight.len()], vec![0.0; x.len()]);
                    self.each(kernel, [channels, outputs], |w, i, o| {
                        of_weight[w] += g[o] * x[i];
                        of_input[i] += g[o] * weight[w];
                    });
                    let mut of_bias = vec![0.0; if bias { outputs } else { 0 }];
                    if bias {
                        g.iter().enumerate().for_each(|(i, g)| of_bias[i / cells % outputs] += g);
                    }
                    tensors = [of_weight, of_bias];
                    of_input
                }
                Op::Norm => {
                    let [normal, inverse] = &normal[step];
                    let (mut gamma, mut beta) = (vec![0.0; channels], vec![0.0; channels]);
                    g.iter().enumerate().for_each(|(i, g)| beta[of(i)] += g);
                    g.iter().enumerate().for_each(|(i, g)| gamma[of(i)] += g * normal[i]);
                    let count = (rows * cells) as f64;
                    let number = |(i, g): (usize, &f64)| {
                        let c = of(i);
                        self.parameters[first][c] * inverse[c] * (g - beta[c] / count - normal[i] * gamma[c] / count)
                    };
                    let of_input = g.iter().enumerate().map(number).collect();
                    tensors = [gamma, beta];
                    of_input
                }
                Op::Relu => g.iter().zip(x).map(|(g, &x)| if x > 0.0 { *g } else { 0.0 }).collect(),
                Op::Sum => {
                    gradients[from[1]] = add(&gradients[from[1]], &g);
                    g
                }
                Op::Pool => (0..x.len()).map(|i| g[i / cells] / cells as f64).collect(),
                Op::Gate => {
                    let raw = &values[from[1]];
                    let mut of_raw = vec![0.0; raw.len()];
                    for (i, g) in g.iter().enumerate() {
                        let gate = sigmoid(raw[i / cells]);
                        of_raw[i / cells] += g * x[i] * gate * (1.0 - gate);
                    }
                    gradients[from[1]] = add(&gradients[from[1]], &of_raw);
                    g.iter().enumerate().map(|(i, g)| g * sigmoid(raw[i / cells])).collect()
                }
                &Op::Dense { outputs } => {
                    let (inputs, weight) = (x.len() / rows, &self.parameters[first]);
                    let (mut of_weight, mut of_bias) = (vec![0.0; weight.len()], vec![0.0; outputs]);
                    let mut of_input = vec![0.0; x.len()];
                    for (index, g) in g.iter().enumerate() {
                        let (row, o) = (index / outputs, index % outputs);
                        of_bias[o] += g;
                        for i in 0..inputs {
                            of_weight[i * outputs + o] += g * x[row * inputs + i];
                            of_input[row * inputs + i] += g * weight[i * outputs + o];
                        }
                    }
                    tensors = [of_weight, of_bias];
                    of_input
                }
                Op::Select { indices } => {
                    let mut of_input = vec![0.0; x.len()];
                    let board = x.len() / rows;
                    for (index, g) in g.iter().enumerate() {
                        let (row, number) = (index / indices.len(), index % indices.len());
                        of_input[row * board + indices[number] as usize] += g;
                    }
                    of_input
                }
            };
            let count = net.parameters(step, &self.forms).len();
            for (part, tensor) in tensors.into_iter().enumerate().take(count) {
                self.step.gradients[first + part] = tensor;
            }
            let of_input = self.rounded(of_input);
            gradients[from[0]] = add(&gradients[from[0]], &of_input);
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Root of the mean square.
fn size(list: &[f64]) -> f64 {
    (list.iter().map(|x| x * x).sum::<f64>() / list.len().max(1) as f64).sqrt()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// What the norms of all tests add to the variance.
const EPSILON: f64 = 1e-3;

/// Forward and backward pass with plain loops, exactly or with noise.
fn naive(
    net: &Description,
    rows: usize,
    planes: &[f64],
    parameters: &[Vec<f64>],
    heads: &[Vec<f64>],
    noise: Option<Numbers>,
) -> Step {
    let step = Step { gradients: vec![Vec::new(); parameters.len()], margin: f64::INFINITY, ..Step::default() };
    let forms = net.forms();
    let mut first = vec![0];
    for step in 0..net.steps.len() {
        first.push(first[step] + net.parameters(step, &forms).len());
    }
    let mut naive = Naive { net, forms, rows, epsilon: EPSILON, parameters, first, step, noise };
    let (values, normal) = naive.forward(planes);
    naive.backward(&values, &normal, heads);
    naive.step.outputs = net.heads.iter().map(|head| values[head.value].clone()).collect();
    naive.step
}

fn wide(list: &[f32]) -> Vec<f64> {
    list.iter().map(|&x| f64::from(x)).collect()
}

fn plan(net: &Description) -> Plan {
    Plan::of_training(net).expect("the kernels have all operations")
}

/// Every algorithm that can run this network: directly, the transform that fits, and the next size.
fn algorithms(net: &Description) -> Vec<Algorithm> {
    let mut algorithms = vec![Algorithm::Direct];
    if plan(net).tower().is_some_and(|(stem, _)| stem.kernel <= fourier::KERNEL) {
        let fits = |&[ny, nx]: &[usize; 2]| net.input[1] < ny && net.input[2] < nx;
        algorithms.extend(SIZES.into_iter().filter(fits).take(2).map(Algorithm::Fourier));
    }
    algorithms
}

fn network(net: &Description, level: Level, algorithm: Algorithm) -> TrainingNetwork {
    TrainingNetwork::with(net, &plan(net), EPSILON, level, algorithm, Products::F32)
}

/// Root of the mean square difference in units of the root of the mean square, which is how optimisers see an error.
fn difference(found: &[f64], expected: &[f64], unit: f64) -> f64 {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().all(|x| x.is_finite()));
    let errors: Vec<f64> = found.iter().zip(expected).map(|(f, e)| f - e).collect();
    size(&errors) / size(expected).max(unit)
}

struct Case {
    net: Description,
    rows: usize,
    planes: Vec<f32>,
    parameters: Vec<Vec<f32>>,
    /// The gradients of the heads.
    outputs: Vec<Vec<f32>>,
}

impl Case {
    fn new(net: &Description, rows: usize, numbers: &mut Numbers) -> Self {
        let parameters = numbers.parameters(net);
        let planes = numbers.list(rows * net.input.iter().product::<usize>(), 1.0);
        let outputs = plan(net).heads.iter().map(|(_, width)| numbers.list(rows * width, 1.0)).collect();
        Self { net: net.clone(), rows, planes, parameters, outputs }
    }

    fn naive(&self, noise: Option<Numbers>) -> Step {
        let parameters: Vec<_> = self.parameters.iter().map(|tensor| wide(tensor)).collect();
        let outputs: Vec<_> = self.outputs.iter().map(|output| wide(output)).collect();
        naive(&self.net, self.rows, &wide(&self.planes), &parameters, &outputs, noise)
    }

    /// All numbers of a step, one list for each tensor.
    fn run(&self, network: &mut TrainingNetwork) -> Vec<Vec<f32>> {
        let parameters: Vec<&[f32]> = self.parameters.iter().map(Vec::as_slice).collect();
        let mut gradients = vec![vec![f32::NAN; 3]; parameters.len()];
        network.forward(self.rows, &self.planes, &parameters);
        network.backward(&self.outputs, &mut gradients);
        let mut lists = network.outputs().to_vec();
        for statistics in network.batch_statistics() {
            lists.extend([statistics.mean.to_vec(), statistics.variance.to_vec()]);
        }
        lists.extend(gradients);
        lists
    }

    /// Panics if an error of any tensor, over all levels and algorithms, is more than it may be. Looks for numbers that
    /// leave no ReLU in doubt; large cases have none.
    fn check(net: &Description, rows: usize, numbers: &mut Numbers) {
        let mut case = Self::new(net, rows, numbers);
        let mut step = case.naive(None);
        for _ in 0..4 {
            if step.margin < MARGIN {
                case = Self::new(net, rows, numbers);
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
            for algorithm in algorithms(&self.net) {
                let mut network = network(&self.net, level, algorithm);
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
                        Some(tensor) => format!("tensor {tensor}"),
                        None => format!("output {index}"),
                    };
                    assert!(
                        error < bound,
                        "error {error:e} instead of {bound:e} of {name} by {level:?} {algorithm:?} in {rows} rows of {net:?}",
                        rows = self.rows,
                        net = self.net
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
        self.outputs.iter().chain(statistics).chain(&self.gradients).collect()
    }
}

fn resnet(board: [usize; 2], planes: usize, numbers: [usize; 4], kernel: usize) -> Description {
    let [channels, blocks, head_channels, actions] = numbers;
    let mut maker = Maker::new([planes, board[0], board[1]], true);
    let x = maker.tower(Tower { channels: [channels; 2], blocks, kernel, gate: 0 });
    maker.usual_heads(x, Some([head_channels; 2]), [actions, 13, 1 + channels % 2 * 2])
}

fn mlp(side: usize, layers: &[usize]) -> Description {
    let mut maker = Maker::new([2, side, side + 1], true);
    let x = maker.chain(layers);
    maker.usual_heads(x, None, [9, 13, 3])
}

/// A tower with gates, and any heads.
fn any(board: [usize; 2], [channels, blocks, gate]: [usize; 3], kernel: usize, numbers: &mut Numbers) -> Description {
    let mut maker = Maker::new([2, board[0], board[1]], true);
    let x = maker.tower(Tower { channels: [channels; 2], blocks, kernel, gate });
    maker.any_heads(x, numbers)
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
        Case::check(&mlp(side, &layers), rows, &mut numbers);
    }

    #[test]
    fn networks_of_any_operations_match_the_naive_network(
        seed: u64,
        board in prop::array::uniform2(2usize..10),
        channels in 1usize..41,
        blocks in 0usize..3,
        gate in prop_oneof![1 => Just(0usize), 3 => 1usize..20],
        kernel in prop_oneof![8 => Just(3usize), 1 => Just(1usize)],
        rows in prop_oneof![4 => 2usize..20, 1 => 20usize..71],
    ) {
        let mut numbers = Numbers(seed);
        let net = any(board, [channels, blocks, gate], kernel, &mut numbers);
        Case::check(&net, rows, &mut numbers);
    }

    #[test]
    fn perceptrons_with_any_heads_match_the_naive_network(
        seed: u64,
        side in 1usize..5,
        layers in prop::collection::vec(1usize..70, 0..3),
        rows in 1usize..71,
    ) {
        let mut numbers = Numbers(seed);
        let mut maker = Maker::new([2, side, side + 1], true);
        let x = maker.chain(&layers);
        Case::check(&maker.any_heads(x, &mut numbers), rows, &mut numbers);
    }
}

#[test]
fn larger_networks_match_the_naive_network() {
    let mut numbers = Numbers(5);
    for (board, channels, rows) in
        [([3, 3], 128, 70), ([6, 7], 64, 33), ([11, 10], 9, 5), ([15, 14], 4, 3), ([19, 19], 3, 2)]
    {
        Case::check(&resnet(board, 2, [channels, 1, 8, 9], 3), rows, &mut numbers);
        let gated = any(board, [channels, 1, 4], 3, &mut numbers);
        Case::check(&gated, rows, &mut numbers);
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
    let any = [1, 2, 3, 4, 5, 6].map(|seed| any([3, 2], [3, 1, 2], 3, &mut Numbers(seed)));
    for net in [resnet([3, 2], 2, [3, 2, 2, 4], 3), mlp(2, &[5, 4])].into_iter().chain(any) {
        let case = Case::new(&net, 3, &mut numbers);
        let step = case.naive(None);
        let parameters: Vec<_> = case.parameters.iter().map(|tensor| wide(tensor)).collect();
        let (planes, outputs) = (wide(&case.planes), case.outputs.iter().map(|x| wide(x)).collect::<Vec<_>>());
        let loss = |parameters: &[Vec<f64>]| {
            let step = naive(&case.net, case.rows, &planes, parameters, &outputs, None);
            let product = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            step.outputs.iter().zip(&outputs).map(product).sum::<f64>()
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
                assert!(error < 1e-6, "{:?} {tensor} {index}: {error:e}", case.net);
            }
        }
    }
}

/// The invariant of the module: the number of threads does not change a bit, nor do the batches before.
#[test]
fn results_do_not_depend_on_the_threads() {
    let mut numbers = Numbers(11);
    let any = any([4, 5], [24, 2, 5], 3, &mut Numbers(2));
    let pools = [1, 2, 3, 5].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool"));
    for net in [resnet([3, 3], 3, [33, 2, 5, 9], 3), resnet([6, 7], 2, [16, 1, 4, 7], 3), mlp(3, &[33, 40]), any] {
        for rows in [3, 67, 300] {
            let case = Case::new(&net, rows, &mut numbers);
            let other = Case::new(&net, 41, &mut numbers);
            for level in Level::available() {
                for algorithm in algorithms(&net) {
                    let mut used = network(&net, level, algorithm);
                    let mut all = pools.iter().map(|pool| {
                        pool.install(|| {
                            other.run(&mut used);
                            let again = case.run(&mut used);
                            let fresh = case.run(&mut network(&net, level, algorithm));
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
    let any = [1, 2, 3].map(|seed| any([4, 5], [24, 2, 5], 3, &mut Numbers(seed)));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a pool");
    let nets = [resnet([3, 3], 3, [64, 2, 5, 9], 3), resnet([6, 7], 2, [31, 1, 4, 7], 3), mlp(3, &[133, 140])];
    for net in nets.into_iter().chain(any) {
        let level = Level::available()[0];
        let mut networks: Vec<_> =
            algorithms(&net).into_iter().map(|algorithm| network(&net, level, algorithm)).collect();
        if plan(&net).tower().is_some() {
            networks.extend([bf16(&net, level, true), bf16(&net, level, false)]);
        }
        for mut network in networks {
            let [large, small] = [300, 40].map(|rows| Case::new(&net, rows, &mut numbers));
            let told = network.bytes_for(300, 2);
            pool.install(|| large.run(&mut network));
            let bytes = network.bytes();
            assert!(bytes <= told && told < bytes + bytes / 8 + (64 << 10), "{told} told, {bytes} used by {net:?}");
            pool.install(|| small.run(&mut network));
            pool.install(|| large.run(&mut network));
            assert!(network.bytes() <= told, "grown from {bytes} to {}", network.bytes());
        }
    }
}

/// A network with products in bfloat16, by tiles if there are any and they are asked for.
fn bf16(net: &Description, level: Level, tiles: bool) -> TrainingNetwork {
    let products = Products::Bf16(Amx::of(level).filter(|_| tiles));
    TrainingNetwork::with(net, &plan(net), EPSILON, level, Algorithm::choose(&plan(net)), products)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// A step in bfloat16 is the same to the last bit with tiles and with vectors, and near that of `f32`.
    #[test]
    fn steps_in_bf16_are_near_those_of_f32(
        rows in 20usize..70, channels in 8usize..50, blocks in 1usize..3, board in 3usize..7, seed in 0u64..1000,
    ) {
        let mut numbers = Numbers(seed);
        let net = resnet([board, board + 1], 2, [channels, blocks, 3, 5], 3);
        let case = Case::new(&net, rows, &mut numbers);
        for level in Level::available() {
            let found = case.run(&mut bf16(&net, level, true));
            prop_assert!(found == case.run(&mut bf16(&net, level, false)), "{}", level.name());
            let exact = case.run(&mut network(&net, level, Algorithm::choose(&plan(&net))));
            let length = |list: &[f64]| list.iter().map(|x| x * x).sum::<f64>().sqrt();
            let largest = exact.iter().map(|list| length(&wide(list))).fold(0.0, f64::max);
            for (found, exact) in found.iter().zip(&exact) {
                let (found, exact) = (wide(found), wide(exact));
                let apart: Vec<f64> = found.iter().zip(&exact).map(|(a, b)| a - b).collect();
                let (apart, whole) = (length(&apart), length(&exact));
                // What is wrong is off by all of it; a ReLU that rounding has turned is a share of a small one.
                prop_assert!(apart <= 0.4 * whole + 0.1 * largest, "{}: {apart} of {whole}", level.name());
            }
        }
    }
}
