//! The network against the exact one, over random shapes, on every level of vectors that this processor has.

use proptest::prelude::*;

use super::fourier::{SIZES, Transform};
use super::kernels::Level;
use super::{
    Algorithm, Body, Conv, Dense, Description, ExactNetwork, Frozen, FusedNetwork, Head, HeadKind, Op, Options,
    Parameters, Precision, Scratch, Weights,
};

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

/// The same network as any program would describe it.
fn frozen(weights: &Weights) -> Frozen {
    let Weights { planes, height, width, body, policy, value_hidden, value_out } = weights;
    let mut net = Description::new([*planes, *height, *width]);
    let mut parameters = vec![];
    let mut step = |op, from: &[usize], numbers: Option<(&[f32], &[f32])>| {
        parameters.push(numbers.map(|(weight, bias)| Parameters { weight: weight.to_vec(), bias: bias.to_vec() }));
        net.add("", op, from)
    };
    fn conv(step: &mut impl FnMut(Op, &[usize], Option<(&[f32], &[f32])>) -> usize, conv: &Conv, from: usize) -> usize {
        let op = Op::Conv { outputs: conv.outputs, kernel: conv.kernel, bias: true };
        step(op, &[from], Some((&conv.weight, &conv.bias)))
    }
    fn dense(
        step: &mut impl FnMut(Op, &[usize], Option<(&[f32], &[f32])>) -> usize,
        dense: &Dense,
        from: usize,
    ) -> usize {
        step(Op::Dense { outputs: dense.outputs }, &[from], Some((&dense.weight, &dense.bias)))
    }
    let [of_policy, of_value] = match body {
        Body::Resnet { stem, blocks, policy_conv, value_conv } => {
            let stem = conv(&mut step, stem, 0);
            let mut x = step(Op::Relu, &[stem], None);
            for (first, second) in blocks {
                let first = conv(&mut step, first, x);
                let inner = step(Op::Relu, &[first], None);
                let second = conv(&mut step, second, inner);
                let sum = step(Op::Sum, &[x, second], None);
                x = step(Op::Relu, &[sum], None);
            }
            [policy_conv, value_conv].map(|head| {
                let head = conv(&mut step, head, x);
                step(Op::Relu, &[head], None)
            })
        }
        Body::Mlp { layers } => {
            let x = layers.iter().fold(0, |x, layer| {
                let layer = dense(&mut step, layer, x);
                step(Op::Relu, &[layer], None)
            });
            [x, x]
        }
    };
    let policy = dense(&mut step, policy, of_policy);
    let hidden = dense(&mut step, value_hidden, of_value);
    let hidden = step(Op::Relu, &[hidden], None);
    let value = dense(&mut step, value_out, hidden);
    net.heads = vec![
        Head { kind: HeadKind::Policy, value: policy },
        Head { kind: if value_out.outputs == 3 { HeadKind::Outcome } else { HeadKind::Value }, value },
    ];
    Frozen { description: net, parameters }
}

/// Every way to run these weights, directly or by the transform that fits or the next size, and the error that it may make.
///
/// With 16 bits a number of a spectrum is off by at most a 2^15th of the largest of its bin, that is by about a 2^11th of its
/// own size; so is a weight. Over many channels these errors mostly cancel, over few they don't, and a head may take the
/// small difference of large features. Ten times the usual error is still far below what a wrong number anywhere does.
fn variants(weights: &Weights) -> Vec<(Algorithm, Precision, f64)> {
    let mut variants = vec![(Algorithm::Direct, Precision::F32, 1e-4)];
    if matches!(weights.body, Body::Resnet { .. }) {
        let fits = |&[ny, nx]: &[usize; 2]| weights.height < ny && weights.width < nx;
        let sizes = SIZES.into_iter().filter(fits).take(2).map(|size| Transform { size, three: false });
        for transform in sizes.chain(Transform::of([weights.height, weights.width]).filter(|best| best.three)) {
            let fourier = Algorithm::Fourier(transform);
            variants.extend([(fourier, Precision::F32, 1e-4), (fourier, Precision::Int16, 2e-2)]);
        }
    }
    variants
}

fn run(network: &mut FusedNetwork, rows: usize, planes: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut logits = vec![f32::NAN; rows * network.policy_outputs];
    let mut values = vec![f32::NAN; rows * network.value_outputs];
    network.forward(rows, planes, &mut logits, &mut values);
    (logits, values)
}

/// The largest error against the exact network, over every level and algorithm, in units of what the precision allows.
fn worst_error(weights: &Weights, rows: usize, numbers: &mut Numbers) -> f64 {
    let row = weights.planes * weights.height * weights.width;
    let planes = numbers.list(rows * row, 1.0);
    // The exact network is slow: a few rows, spread over the batch, stand for all.
    let checked: Vec<usize> = (0..rows).step_by(rows.div_ceil(4)).chain([rows - 1]).collect();
    let frozen = frozen(weights);
    assert_eq!(Weights::of(&frozen).as_ref(), Some(weights));
    let exact = ExactNetwork::new(&frozen);
    let expected: Vec<_> = checked.iter().map(|&r| exact.row(&planes[r * row..][..row])).collect();
    let mut worst = 0.0f64;
    for level in Level::available() {
        for (algorithm, precision, allowed) in variants(weights) {
            let mut network = FusedNetwork::with(weights, level, algorithm, precision);
            let (logits, values) = run(&mut network, rows, &planes);
            assert!(logits.iter().chain(&values).all(|x| x.is_finite()));
            for (&r, expected) in checked.iter().zip(&expected) {
                for (found, expected) in [&logits, &values].into_iter().zip(expected) {
                    let size = expected.iter().fold(1.0f64, |size, x| size.max(x.abs()));
                    for (found, expected) in found[r * expected.len()..].iter().zip(expected) {
                        worst = worst.max((f64::from(*found) - expected).abs() / size / allowed);
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
    fn resnets_match_the_exact_one(
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
        prop_assert!(error < 1.0, "error {error:e} of what is allowed");
    }

    #[test]
    fn resnets_on_small_boards_match_the_exact_one(
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
        prop_assert!(error < 1.0, "error {error:e} of what is allowed");
    }

    #[test]
    fn perceptrons_match_the_exact_one(
        seed: u64,
        planes in 1usize..6,
        side in 1usize..6,
        hidden in prop::collection::vec(1usize..257, 0..4),
        rows in prop_oneof![8 => 1usize..30, 1 => 30usize..1026],
    ) {
        let mut numbers = Numbers(seed);
        let weights = numbers.mlp([planes, side, side], &hidden);
        let error = worst_error(&weights, rows, &mut numbers);
        prop_assert!(error < 1.0, "error {error:e} of what is allowed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Boards, channels and batches up to the largest, each of any order of magnitude as often as of any other.
    #[test]
    fn resnets_of_all_sizes_match_the_exact_one(
        seed: u64,
        [height, width] in prop::array::uniform2(3usize..=19),
        channels in prop::collection::vec(magnitude(256), 4),
        rows in magnitude(1025),
    ) {
        let mut numbers = Numbers(seed);
        let weights = numbers.resnet([2, height, width], &channels, 1, 3);
        // So many that a case takes a second or so.
        let row = height * width * 9 * (2 * channels[0] * channels[1] + 2 * channels[0]);
        let error = worst_error(&weights, rows.min(500_000_000 / row).max(1), &mut numbers);
        prop_assert!(error < 1.0, "error {error:e}");
    }
}

/// From 1 to `most`, with an even logarithm.
fn magnitude(most: usize) -> impl Strategy<Value = usize> {
    (0.0..=1.0f64).prop_map(move |share| ((most as f64).powf(share).round() as usize).clamp(1, most))
}

#[test]
fn wide_and_deep_networks_match_the_exact_one() {
    let mut numbers = Numbers(7);
    for (board, channels, blocks, rows) in
        [([3, 3], 256, 3, 9), ([6, 7], 128, 5, 3), ([7, 7], 256, 1, 2), ([3, 3], 128, 5, 1025)]
    {
        let weights = numbers.resnet([3, board[0], board[1]], &[channels, channels, 32, 8], blocks, 3);
        let error = worst_error(&weights, rows, &mut numbers);
        assert!(error < 1.0, "{board:?} {channels}x{blocks}: error {error:e} of what is allowed");
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
            for (algorithm, precision, _) in variants(weights) {
                let mut network = FusedNetwork::with(weights, level, algorithm, precision);
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
                        assert!(
                            same(&found_logits, &logits, p),
                            "{level:?} {algorithm:?} {precision:?}: logits of {rows} rows"
                        );
                        assert!(
                            same(&found_values, &values, v),
                            "{level:?} {algorithm:?} {precision:?}: values of {rows} rows"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn integers_are_used_where_they_are_fast() {
    let mut numbers = Numbers(5);
    let weights = numbers.resnet([3, 3, 3], &[16, 16, 2, 1], 1, 3);
    for level in Level::available() {
        for precision in [Precision::F32, Precision::Int16] {
            let network = FusedNetwork::with_options(&weights, Options { precision, level });
            let fast = precision == Precision::Int16 && level.name().starts_with("avx");
            assert_eq!(network.algorithm(), if fast { "fourier-int16" } else { "fourier" }, "{level:?}");
            assert!(network.level().starts_with(level.name()) || fast, "{level:?}");
        }
    }
}

#[test]
fn nan_in_the_planes_reaches_the_outputs() {
    let mut numbers = Numbers(3);
    let weights = numbers.resnet([3, 3, 3], &[16, 16, 2, 1], 1, 3);
    for level in Level::available() {
        for (algorithm, precision, _) in variants(&weights) {
            let mut network = FusedNetwork::with(&weights, level, algorithm, precision);
            let mut planes = vec![0.5; 2 * 27];
            planes[30] = f32::NAN;
            let (logits, values) = run(&mut network, 2, &planes);
            assert!(
                logits[..10].iter().chain(&values[..3]).all(|x| x.is_finite()),
                "{level:?} {algorithm:?} {precision:?}"
            );
            assert!(
                logits[10..].iter().chain(&values[3..]).all(|x| x.is_nan()),
                "{level:?} {algorithm:?} {precision:?}"
            );
        }
    }
}

/// What a network takes is known from its description, and no more than that.
#[test]
fn a_footprint_is_what_a_network_takes() {
    let mut numbers = Numbers(31);
    let pools = [1, 2].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool"));
    let networks = [
        numbers.resnet([3, 6, 7], &[64, 64, 3, 5], 2, 3),
        numbers.resnet([2, 3, 3], &[17, 40, 2, 2], 1, 3),
        numbers.resnet([2, 21, 20], &[24, 24, 4, 4], 1, 3),
        numbers.mlp([3, 3, 3], &[100, 7]),
        numbers.mlp([3, 3, 3], &[1]),
    ];
    for weights in networks {
        for (level, precision) in
            Level::available().into_iter().flat_map(|level| [(level, Precision::F32), (level, Precision::Int16)])
        {
            let options = Options { precision, level };
            for (pool, threads) in pools.iter().zip(1..) {
                let told = FusedNetwork::footprint(&frozen(&weights).description, options, 300, threads);
                let told = told.expect("it is known");
                let mut network = FusedNetwork::with_options(&weights, options);
                assert_eq!((told.weights, told.packing), (network.bytes(), network.packing()));
                let row = weights.planes * weights.height * weights.width;
                // The longest chunk that a batch may be cut into is among them.
                for rows in [300, network.chunk.min(300), 1] {
                    pool.install(|| run(&mut network, rows, &numbers.list(rows * row, 1.0)));
                }
                let taken: usize = network.scratch.iter().map(Scratch::bytes).sum();
                let of = format!("{taken} of {} by {}", told.scratch, network.algorithm());
                assert!(taken <= told.scratch, "{of}");
                // Of several threads one may have done all the work.
                assert!(threads > 1 || told.scratch < taken + taken / 4 + (16 << 10), "{of}");
            }
        }
    }
}
