//! The network against a naive one in `f64`, over random shapes, on every level of vectors that this processor has.

use proptest::prelude::*;

use super::fourier::SIZES;
use super::kernels::Level;
use super::{Algorithm, Body, Conv, Dense, FusedNetwork, Weights};

/// Uniform numbers between -1 and 1 from a seed: splitmix64.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(super) fn list(&mut self, length: usize, scale: f32) -> Vec<f32> {
        (0..length).map(|_| self.next() * scale).collect()
    }

    /// He's initialisation: a variance of `2 / inputs`, times `gain`.
    fn conv(&mut self, inputs: usize, outputs: usize, kernel: usize, gain: f32) -> Conv {
        let scale = gain * (6.0 / (inputs * kernel * kernel) as f32).sqrt();
        let weight = self.list(outputs * inputs * kernel * kernel, scale);
        Conv { inputs, outputs, kernel, weight, bias: self.list(outputs, 0.1) }
    }

    fn dense(&mut self, inputs: usize, outputs: usize) -> Dense {
        let weight = self.list(inputs * outputs, (3.0 / inputs as f32).sqrt());
        Dense { inputs, outputs, weight, bias: self.list(outputs, 0.1) }
    }

    /// A network whose activations stay of order 1: the second convolution of each block is half as strong.
    fn resnet(
        &mut self,
        [planes, height, width]: [usize; 3],
        channels: &[usize],
        blocks: usize,
        kernel: usize,
    ) -> Weights {
        let &[tower, inner, policy, value] = channels else { panic!("four numbers of channels") };
        let cells = height * width;
        let block =
            |numbers: &mut Self| (numbers.conv(tower, inner, kernel, 1.0), numbers.conv(inner, tower, kernel, 0.5));
        let body = Body::Resnet {
            stem: self.conv(planes, tower, kernel, 1.0),
            blocks: (0..blocks).map(|_| block(self)).collect(),
            policy_conv: self.conv(tower, policy, 1, 1.0),
            value_conv: self.conv(tower, value, 1, 1.0),
        };
        let (policy, value_hidden) = (self.dense(policy * cells, cells + 1), self.dense(value * cells, 19));
        Weights { planes, height, width, body, policy, value_hidden, value_out: self.dense(19, 3) }
    }

    fn mlp(&mut self, [planes, height, width]: [usize; 3], hidden: &[usize]) -> Weights {
        let mut inputs = planes * height * width;
        let mut layers = Vec::new();
        for &outputs in hidden {
            layers.push(self.dense(inputs, outputs));
            inputs = outputs;
        }
        let (policy, value_hidden) = (self.dense(inputs, 9), self.dense(inputs, 17));
        Weights {
            planes,
            height,
            width,
            body: Body::Mlp { layers },
            policy,
            value_hidden,
            value_out: self.dense(17, 1),
        }
    }
}

fn naive_conv(conv: &Conv, [height, width]: [usize; 2], x: &[f64]) -> Vec<f64> {
    let mut y = Vec::new();
    let (kernel, cells) = (conv.kernel, height * width);
    for output in 0..conv.outputs {
        for cell in 0..cells {
            let mut sum = f64::from(conv.bias[output]);
            for input in 0..conv.inputs {
                for tap in 0..kernel * kernel {
                    let from_y = (cell / width + tap / kernel).wrapping_sub(kernel / 2);
                    let from_x = (cell % width + tap % kernel).wrapping_sub(kernel / 2);
                    if from_y < height && from_x < width {
                        let weight = conv.weight[(output * conv.inputs + input) * kernel * kernel + tap];
                        sum += f64::from(weight) * x[input * cells + from_y * width + from_x];
                    }
                }
            }
            y.push(sum);
        }
    }
    y
}

fn naive_dense(dense: &Dense, x: &[f64]) -> Vec<f64> {
    let column = |o: usize| x.iter().enumerate().map(move |(i, x)| x * f64::from(dense.weight[i * dense.outputs + o]));
    (0..dense.outputs).map(|o| f64::from(dense.bias[o]) + column(o).sum::<f64>()).collect()
}

fn relu(mut x: Vec<f64>) -> Vec<f64> {
    x.iter_mut().for_each(|x| *x = x.max(0.0));
    x
}

/// Logits and values of one row.
fn naive(weights: &Weights, planes: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let board = [weights.height, weights.width];
    let mut x: Vec<f64> = planes.iter().map(|&x| f64::from(x)).collect();
    let (policy, value) = match &weights.body {
        Body::Resnet { stem, blocks, policy_conv, value_conv } => {
            x = relu(naive_conv(stem, board, &x));
            for (first, second) in blocks {
                let inner = naive_conv(second, board, &relu(naive_conv(first, board, &x)));
                x = relu(x.iter().zip(&inner).map(|(a, b)| a + b).collect());
            }
            (relu(naive_conv(policy_conv, board, &x)), relu(naive_conv(value_conv, board, &x)))
        }
        Body::Mlp { layers } => {
            for layer in layers {
                x = relu(naive_dense(layer, &x));
            }
            (x.clone(), x)
        }
    };
    let hidden = relu(naive_dense(&weights.value_hidden, &value));
    (naive_dense(&weights.policy, &policy), naive_dense(&weights.value_out, &hidden))
}

/// Every algorithm that can run these weights: directly, the transform that fits, and the next size.
fn algorithms(weights: &Weights) -> Vec<Algorithm> {
    let mut algorithms = vec![Algorithm::Direct];
    if matches!(weights.body, Body::Resnet { .. }) {
        let fits = |&[ny, nx]: &[usize; 2]| weights.height < ny && weights.width < nx;
        algorithms.extend(SIZES.into_iter().filter(fits).take(2).map(Algorithm::Fourier));
    }
    algorithms
}

fn run(network: &mut FusedNetwork, rows: usize, planes: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut logits = vec![f32::NAN; rows * network.policy_outputs];
    let mut values = vec![f32::NAN; rows * network.value_outputs];
    network.forward(rows, planes, &mut logits, &mut values);
    (logits, values)
}

/// The largest error against the naive network, over every level and algorithm, in units of the largest output or 1.
fn worst_error(weights: &Weights, rows: usize, numbers: &mut Numbers) -> f64 {
    let row = weights.planes * weights.height * weights.width;
    let planes = numbers.list(rows * row, 1.0);
    // The naive network is slow: a few rows, spread over the batch, stand for all.
    let checked: Vec<usize> = (0..rows).step_by(rows.div_ceil(4)).chain([rows - 1]).collect();
    let expected: Vec<_> = checked.iter().map(|&r| naive(weights, &planes[r * row..][..row])).collect();
    let mut worst = 0.0f64;
    for level in Level::available() {
        for algorithm in algorithms(weights) {
            let mut network = FusedNetwork::with(weights, level, algorithm);
            let (logits, values) = run(&mut network, rows, &planes);
            assert!(logits.iter().chain(&values).all(|x| x.is_finite()));
            for (&r, (policy, value)) in checked.iter().zip(&expected) {
                for (found, expected) in [(&logits, policy), (&values, value)] {
                    let size = expected.iter().fold(1.0f64, |size, x| size.max(x.abs()));
                    for (found, expected) in found[r * expected.len()..].iter().zip(expected) {
                        worst = worst.max((f64::from(*found) - expected).abs() / size);
                    }
                }
            }
        }
    }
    worst
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn resnets_match_the_naive_network(
        seed: u64,
        planes in 1usize..6,
        height in 1usize..20,
        width in 1usize..20,
        channels in prop::collection::vec(1usize..40, 4),
        blocks in 0usize..3,
        three in prop::bool::weighted(0.8),
        rows in prop_oneof![8 => 1usize..20, 1 => 20usize..80],
    ) {
        let mut numbers = Numbers(seed);
        let weights = numbers.resnet([planes, height, width], &channels, blocks, if three { 3 } else { 1 });
        let error = worst_error(&weights, rows, &mut numbers);
        prop_assert!(error < 1e-4, "error {error:e}");
    }

    #[test]
    fn resnets_on_small_boards_match_the_naive_network(
        seed: u64,
        height in 1usize..8,
        width in 1usize..8,
        channels in prop::collection::vec(1usize..140, 4),
        blocks in 1usize..3,
        rows in 1usize..20,
    ) {
        let mut numbers = Numbers(seed);
        let weights = numbers.resnet([3, height, width], &channels, blocks, 3);
        let error = worst_error(&weights, rows, &mut numbers);
        prop_assert!(error < 1e-4, "error {error:e}");
    }

    #[test]
    fn perceptrons_match_the_naive_network(
        seed: u64,
        planes in 1usize..6,
        side in 1usize..6,
        hidden in prop::collection::vec(1usize..257, 0..4),
        rows in prop_oneof![8 => 1usize..30, 1 => 30usize..1026],
    ) {
        let mut numbers = Numbers(seed);
        let weights = numbers.mlp([planes, side, side], &hidden);
        let error = worst_error(&weights, rows, &mut numbers);
        prop_assert!(error < 1e-4, "error {error:e}");
    }
}

#[test]
fn wide_and_deep_networks_match_the_naive_network() {
    let mut numbers = Numbers(7);
    for (board, channels, blocks, rows) in
        [([3, 3], 256, 3, 9), ([6, 7], 128, 5, 3), ([7, 7], 256, 1, 2), ([3, 3], 128, 5, 1025)]
    {
        let weights = numbers.resnet([3, board[0], board[1]], &[channels, channels, 32, 8], blocks, 3);
        let error = worst_error(&weights, rows, &mut numbers);
        assert!(error < 1e-4, "{board:?} {channels}x{blocks}: error {error:e}");
    }
}

/// The invariant of the module: neither the batch around a row nor the number of threads changes a bit of its result.
#[test]
fn a_row_does_not_depend_on_its_batch_or_the_threads() {
    let mut numbers = Numbers(11);
    let networks = [
        numbers.resnet([3, 3, 3], &[24, 20, 2, 1], 2, 3),
        numbers.resnet([2, 6, 7], &[16, 16, 4, 4], 1, 3),
        numbers.resnet([2, 9, 8], &[8, 9, 2, 1], 1, 3),
        numbers.mlp([2, 3, 3], &[33, 40]),
    ];
    let pools = [1, 2, 3].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool"));
    for weights in &networks {
        let row = weights.planes * weights.height * weights.width;
        let planes = numbers.list(300 * row, 1.0);
        for level in Level::available() {
            for algorithm in algorithms(weights) {
                let mut network = FusedNetwork::with(weights, level, algorithm);
                let alone = |network: &mut FusedNetwork, r: usize| run(network, 1, &planes[r * row..][..row]);
                let (logits, values): (Vec<_>, Vec<_>) = (0..300).map(|r| alone(&mut network, r)).unzip();
                let (logits, values) = (logits.concat(), values.concat());
                for rows in (1..40).chain((40..300).step_by(23)).chain([300]) {
                    // Batches that start somewhere else give each row another place.
                    let first = (rows * 7) % (301 - rows);
                    for pool in &pools {
                        let (found_logits, found_values) =
                            pool.install(|| run(&mut network, rows, &planes[first * row..][..rows * row]));
                        let (p, v) = (network.policy_outputs, network.value_outputs);
                        let same = |found: &[f32], all: &[f32], width: usize| {
                            found.iter().zip(&all[first * width..]).all(|(a, b)| a.to_bits() == b.to_bits())
                        };
                        assert!(same(&found_logits, &logits, p), "{level:?} {algorithm:?}: logits of {rows} rows");
                        assert!(same(&found_values, &values, v), "{level:?} {algorithm:?}: values of {rows} rows");
                    }
                }
            }
        }
    }
}

#[test]
fn nan_in_the_planes_reaches_the_outputs() {
    let mut numbers = Numbers(3);
    let weights = numbers.resnet([3, 3, 3], &[16, 16, 2, 1], 1, 3);
    for level in Level::available() {
        for algorithm in algorithms(&weights) {
            let mut network = FusedNetwork::with(&weights, level, algorithm);
            let mut planes = vec![0.5; 2 * 27];
            planes[30] = f32::NAN;
            let (logits, values) = run(&mut network, 2, &planes);
            assert!(logits[..10].iter().chain(&values[..3]).all(|x| x.is_finite()), "{level:?} {algorithm:?}");
            assert!(logits[10..].iter().chain(&values[3..]).all(|x| x.is_nan()), "{level:?} {algorithm:?}");
        }
    }
}
