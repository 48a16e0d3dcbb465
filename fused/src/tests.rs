//! The network against the exact one, over random shapes, on every level of vectors that this processor has.

use proptest::prelude::*;

use super::fourier::{SIZES, Transform};
use super::kernels::Level;
use super::{
    Algorithm, Description, ExactNetwork, Frozen, FusedNetwork, Head, HeadKind, Op, Options, Parameters, Plan,
    Precision, Scratch,
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

    /// A number below this one.
    pub(super) fn below(&mut self, most: usize) -> usize {
        ((self.next() + 1.0) / 2.0 * most as f32) as usize % most
    }

    /// Numbers for a description, with which activations stay of order 1.
    fn frozen(&mut self, description: Description) -> Frozen {
        let forms = description.forms();
        let mut of_step = |step: usize| {
            let shape = description.parameters(step, &forms);
            let (weight, outputs) = (shape.first()?.iter().product(), shape[1][0]);
            // He's initialisation: a variance of `2 / inputs`, but for what no ReLU follows, and the sums of blocks.
            let gain: f32 = match (&description.steps[step].op, &*description.steps[step].name) {
                (Op::Dense { .. }, _) => 3.0,
                (_, "second") => 1.5,
                _ => 6.0,
            };
            let weight = self.list(weight, (gain * outputs as f32 / weight as f32).sqrt());
            Some(Parameters { weight, bias: self.list(outputs, 0.1) })
        };
        let parameters = (0..description.steps.len()).map(&mut of_step).collect();
        Frozen { description, parameters }
    }
}

/// A residual tower: channels outside and inside of a block, blocks, the side of the kernels, and the width of gates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tower {
    pub channels: [usize; 2],
    pub blocks: usize,
    pub kernel: usize,
    pub gate: usize,
}

/// A description that is being made.
pub(super) struct Maker {
    pub net: Description,
    /// Whether convolutions have norms.
    norms: bool,
}

impl Maker {
    pub(super) fn new(input: [usize; 3], norms: bool) -> Self {
        Self { net: Description::new(input), norms }
    }

    fn relu(&mut self, from: usize) -> usize {
        self.net.add("", Op::Relu, &[from])
    }

    fn conv(&mut self, name: &str, outputs: usize, kernel: usize, from: usize) -> usize {
        let conv = self.net.add(name, Op::Conv { outputs, kernel, bias: !self.norms }, &[from]);
        if self.norms { self.net.add(name, Op::Norm, &[conv]) } else { conv }
    }

    fn dense(&mut self, outputs: usize, from: usize) -> usize {
        self.net.add("dense", Op::Dense { outputs }, &[from])
    }

    fn head(&mut self, kind: HeadKind, value: usize) {
        self.net.heads.push(Head { kind, value });
    }

    pub(super) fn tower(&mut self, tower: Tower) -> usize {
        let Tower { channels: [channels, inner], blocks, kernel, gate } = tower;
        let stem = self.conv("stem", channels, kernel, 0);
        let mut x = self.relu(stem);
        for _ in 0..blocks {
            let first = self.conv("first", inner, kernel, x);
            let first = self.relu(first);
            let mut second = self.conv("second", channels, kernel, first);
            if gate > 0 {
                let means = self.net.add("", Op::Pool, &[second]);
                let hidden = self.dense(gate, means);
                let hidden = self.relu(hidden);
                let gates = self.dense(channels, hidden);
                second = self.net.add("", Op::Gate, &[second, gates]);
            }
            let sum = self.net.add("", Op::Sum, &[x, second]);
            x = self.relu(sum);
        }
        x
    }

    pub(super) fn chain(&mut self, layers: &[usize]) -> usize {
        layers.iter().fold(0, |x, &outputs| {
            let layer = self.dense(outputs, x);
            self.relu(layer)
        })
    }

    /// Policy and value, each behind a 1x1 convolution of so many channels if there are some.
    pub(super) fn usual_heads(mut self, x: usize, channels: Option<[usize; 2]>, outputs: [usize; 3]) -> Description {
        let [policy, value] = channels.map_or([x, x], |channels| {
            channels.map(|channels| {
                let conv = self.conv("head", channels, 1, x);
                self.relu(conv)
            })
        });
        let [actions, hidden, values] = outputs;
        let logits = self.dense(actions, policy);
        let hidden = self.dense(hidden, value);
        let hidden = self.relu(hidden);
        let value = self.dense(values, hidden);
        self.head(HeadKind::Policy, logits);
        self.head(if values == 3 { HeadKind::Outcome } else { HeadKind::Value }, value);
        self.net
    }

    /// Any heads that the kernels have operations for: one to four, which may share layers.
    pub(super) fn any_heads(mut self, x: usize, numbers: &mut Numbers) -> Description {
        let board = |maker: &Self, value: usize| matches!(maker.net.forms()[value], super::Form::Board(_));
        let mut ends = vec![x];
        for kind in [HeadKind::Policy, HeadKind::Outcome, HeadKind::Length, HeadKind::Value] {
            if !self.net.heads.is_empty() && numbers.below(3) == 0 {
                continue;
            }
            // From any value that is complete, a few operations on.
            let mut value = ends[numbers.below(ends.len())];
            for _ in 0..numbers.below(3) {
                if !board(&self, value) || value == 0 {
                    break;
                }
                let kernel = 1 + 2 * numbers.below(2);
                let conv = self.conv("head", 1 + numbers.below(7), kernel, value);
                value = if numbers.below(3) > 0 { self.relu(conv) } else { conv };
                ends.push(value);
            }
            if value > 0 && board(&self, value) {
                match numbers.below(4) {
                    0 => value = self.net.add("", Op::Pool, &[value]),
                    1 => {
                        let plain = Op::Conv { outputs: 1 + numbers.below(9), kernel: 1, bias: true };
                        let planes = self.net.add("planes", plain, &[value]);
                        let size = self.net.size(self.net.forms()[planes]);
                        // Some numbers more than once, some not at all.
                        let indices = (0..1 + numbers.below(2 * size)).map(|_| numbers.below(size) as u32).collect();
                        value = self.net.add("", Op::Select { indices }, &[planes]);
                    }
                    _ => {}
                }
            }
            if board(&self, value) || numbers.below(2) == 0 {
                let hidden = self.dense(1 + numbers.below(40), value);
                let hidden = self.relu(hidden);
                ends.push(hidden);
                value = self.dense(1 + numbers.below(20), hidden);
            }
            ends.push(value);
            self.head(kind, value);
        }
        self.net
    }
}

impl Numbers {
    fn resnet(&mut self, input: [usize; 3], channels: &[usize], blocks: usize, kernel: usize) -> Frozen {
        let &[tower, inner, policy, value] = channels else { panic!("four numbers of channels") };
        let mut maker = Maker::new(input, false);
        let x = maker.tower(Tower { channels: [tower, inner], blocks, kernel, gate: 0 });
        self.frozen(maker.usual_heads(x, Some([policy, value]), [input[1] * input[2] + 1, 19, 3]))
    }

    fn mlp(&mut self, input: [usize; 3], hidden: &[usize]) -> Frozen {
        let mut maker = Maker::new(input, false);
        let x = maker.chain(hidden);
        self.frozen(maker.usual_heads(x, None, [9, 17, 1]))
    }

    /// Gates, and any heads.
    fn any(&mut self, input: [usize; 3], tower: Tower) -> Frozen {
        let mut maker = Maker::new(input, false);
        let x = maker.tower(tower);
        let net = maker.any_heads(x, self);
        self.frozen(net)
    }
}

/// Every way to run a network, directly or by the transform that fits or the next size, and the error that it may make.
///
/// With 16 bits a number of a spectrum is off by at most a 2^15th of the largest of its bin, that is by about a 2^11th of its
/// own size; so is a weight. Over many channels these errors mostly cancel, over few they don't, and a head may take the
/// small difference of large features. Ten times the usual error is still far below what a wrong number anywhere does.
fn variants(plan: &Plan) -> Vec<(Algorithm, Precision, f64)> {
    let mut variants = vec![(Algorithm::Direct, Precision::F32, 1e-4)];
    if plan.tower().is_some_and(|(stem, _)| stem.kernel <= 3) {
        let [_, height, width] = plan.input;
        let fits = |&[ny, nx]: &[usize; 2]| height < ny && width < nx;
        let sizes = SIZES.into_iter().filter(fits).take(2).map(|size| Transform { size, three: false });
        for transform in sizes.chain(Transform::of([height, width]).filter(|best| best.three)) {
            let fourier = Algorithm::Fourier(transform);
            variants.extend([(fourier, Precision::F32, 1e-4), (fourier, Precision::Int16, 2e-2)]);
        }
    }
    variants
}

/// The network by each of these ways on each level.
fn networks(frozen: &Frozen) -> impl Iterator<Item = (FusedNetwork, f64, String)> {
    let plan = Plan::of(&frozen.description).expect("the kernels have all operations");
    let variants = variants(&plan);
    let ways =
        Level::available().into_iter().flat_map(move |level| variants.clone().into_iter().map(move |v| (level, v)));
    ways.map(move |(level, (algorithm, precision, allowed))| {
        let network = FusedNetwork::with(&plan, Some(frozen), level, algorithm, precision);
        (network, allowed, format!("{level:?} {algorithm:?} {precision:?}"))
    })
}

fn run(network: &mut FusedNetwork, rows: usize, planes: &[f32]) -> Vec<Vec<f32>> {
    let mut outputs: Vec<_> = network.widths().map(|width| vec![f32::NAN; rows * width]).collect();
    network.forward(rows, planes, &mut outputs);
    outputs
}

/// Numbers of a row of planes.
fn row(frozen: &Frozen) -> usize {
    frozen.description.input.iter().product()
}

/// The largest error against the exact network, over every level and algorithm, in units of what the precision allows.
fn worst_error(frozen: &Frozen, rows: usize, numbers: &mut Numbers) -> f64 {
    let row = row(frozen);
    let planes = numbers.list(rows * row, 1.0);
    // The exact network is slow: a few rows, spread over the batch, stand for all.
    let checked: Vec<usize> = (0..rows).step_by(rows.div_ceil(4)).chain([rows - 1]).collect();
    let exact = ExactNetwork::new(frozen);
    let expected: Vec<_> = checked.iter().map(|&r| exact.row(&planes[r * row..][..row])).collect();
    let mut worst = 0.0f64;
    for (mut network, allowed, _) in networks(frozen) {
        let outputs = run(&mut network, rows, &planes);
        assert!(outputs.iter().flatten().all(|x| x.is_finite()));
        for (&r, expected) in checked.iter().zip(&expected) {
            for (found, expected) in outputs.iter().zip(expected) {
                let size = expected.iter().fold(1.0f64, |size, x| size.max(x.abs()));
                for (found, expected) in found[r * expected.len()..].iter().zip(expected) {
                    worst = worst.max((f64::from(*found) - expected).abs() / size / allowed);
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
    fn networks_of_any_operations_match_the_exact_one(
        seed: u64,
        planes in 1usize..4,
        [height, width] in prop::array::uniform2(1usize..11),
        channels in prop::array::uniform2(1usize..70),
        blocks in 0usize..3,
        kernel in prop_oneof![8 => Just(3usize), 1 => Just(1usize), 1 => Just(5usize)],
        gate in prop_oneof![1 => Just(0usize), 2 => 1usize..20],
        rows in prop_oneof![8 => 1usize..20, 1 => 20usize..80],
    ) {
        let mut numbers = Numbers(seed);
        let network = numbers.any([planes, height, width], Tower { channels, blocks, kernel, gate });
        let error = worst_error(&network, rows, &mut numbers);
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
    let networks_of = [
        numbers.resnet([3, 3, 3], &[24, 20, 2, 1], 2, 3),
        numbers.resnet([2, 6, 7], &[16, 16, 4, 4], 1, 3),
        numbers.resnet([2, 9, 8], &[8, 9, 2, 1], 1, 3),
        numbers.mlp([2, 3, 3], &[33, 40]),
        numbers.any([2, 5, 4], Tower { channels: [24, 20], blocks: 2, kernel: 3, gate: 5 }),
    ];
    let pools = [1, 2, 3].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool"));
    for frozen in &networks_of {
        let row = row(frozen);
        let planes = numbers.list(300 * row, 1.0);
        for (mut network, _, way) in networks(frozen) {
            let rows: Vec<_> = (0..300).map(|r| run(&mut network, 1, &planes[r * row..][..row])).collect();
            let alone: Vec<Vec<f32>> = (0..network.heads.len())
                .map(|head| rows.iter().flat_map(|outputs| &outputs[head]).copied().collect())
                .collect();
            for rows in (1..40).chain((40..300).step_by(23)).chain([300]) {
                // Batches that start somewhere else give each row another place.
                let first = (rows * 7) % (301 - rows);
                for pool in &pools {
                    let found = pool.install(|| run(&mut network, rows, &planes[first * row..][..rows * row]));
                    for (head, (found, alone)) in found.iter().zip(&alone).enumerate() {
                        let alone = &alone[first * (alone.len() / 300)..];
                        let same = found.iter().zip(alone).all(|(a, b)| a.to_bits() == b.to_bits());
                        assert!(same, "{way}: head {head} of {rows} rows");
                    }
                }
            }
        }
    }
}

#[test]
fn integers_are_used_where_they_are_fast() {
    let mut numbers = Numbers(5);
    let frozen = numbers.any([3, 3, 3], Tower { channels: [16, 16], blocks: 1, kernel: 3, gate: 2 });
    for level in Level::available() {
        for precision in [Precision::F32, Precision::Int16] {
            let network = FusedNetwork::new(&frozen, Options { precision, level }).expect("it is known");
            let fast = precision == Precision::Int16 && level.name().starts_with("avx");
            assert_eq!(network.algorithm(), if fast { "fourier-int16" } else { "fourier" }, "{level:?}");
            assert!(network.level().starts_with(level.name()) || fast, "{level:?}");
        }
    }
}

#[test]
fn nan_in_the_planes_reaches_the_outputs() {
    let mut numbers = Numbers(3);
    let mut maker = Maker::new([3, 3, 3], false);
    let x = maker.tower(Tower { channels: [16, 16], blocks: 1, kernel: 3, gate: 3 });
    let gated = maker.usual_heads(x, Some([2, 1]), [10, 19, 3]);
    for frozen in [numbers.resnet([3, 3, 3], &[16, 16, 2, 1], 1, 3), numbers.frozen(gated)] {
        for (mut network, _, way) in networks(&frozen) {
            let mut planes = vec![0.5; 2 * 27];
            planes[30] = f32::NAN;
            for output in run(&mut network, 2, &planes) {
                let (first, second) = output.split_at(output.len() / 2);
                assert!(first.iter().all(|x| x.is_finite()), "{way}");
                assert!(second.iter().all(|x| x.is_nan()), "{way}");
            }
        }
    }
}

/// What the kernels have no operation for is named.
#[test]
fn what_the_kernels_lack_is_said() {
    let tower = |gate| {
        let mut maker = Maker::new([2, 3, 3], true);
        let x = maker.tower(Tower { channels: [8, 8], blocks: 1, kernel: 3, gate });
        (maker, x)
    };
    let finished = |maker: Maker, x| maker.usual_heads(x, Some([2, 2]), [9, 5, 3]);
    let (maker, x) = tower(0);
    let mut usual = finished(maker, x);
    assert_eq!((usual.unfused(), usual.unfused_training()), (None, None));
    assert!(usual.is_fused() && usual.is_fused_tower());
    // A layer that no head reads is evaluated without it, and cannot be trained.
    usual.add("idle", Op::Dense { outputs: 1 }, &[x]);
    assert_eq!(usual.unfused(), None);
    let reason = usual.unfused_training().expect("it is named").to_string();
    assert!(reason.contains("no training of a layer that no head reads") && reason.contains("idle"), "{reason}");
    // The inside of a block, a gate outside of one, a sum that ends no block, planes that are pooled, and blocks elsewhere.
    type Change = fn(&mut Maker, usize) -> usize;
    let changes: [(Change, &str); 5] = [
        (|maker, x| maker.net.add("", Op::Pool, &[x - 2]), "second reader"),
        (
            |maker, x| {
                let means = maker.net.add("", Op::Pool, &[x]);
                maker.net.add("", Op::Gate, &[x, means])
            },
            "gate but that at the end of a residual block",
        ),
        (|maker, x| maker.net.add("", Op::Sum, &[x, x]), "sum but that"),
        (|maker, _| maker.net.add("", Op::Pool, &[0]), "pooling or selection of the planes"),
        (
            |maker, x| {
                let stem = maker.conv("late", 8, 3, x);
                let stem = maker.relu(stem);
                let first = maker.conv("first", 8, 3, stem);
                let first = maker.relu(first);
                let second = maker.conv("second", 8, 3, first);
                let sum = maker.net.add("", Op::Sum, &[stem, second]);
                maker.relu(sum)
            },
            "tower that begins elsewhere",
        ),
    ];
    for (change, expected) in changes {
        let (mut maker, x) = tower(0);
        let value = change(&mut maker, x);
        let outputs = maker.dense(4, value);
        let mut net = finished(maker, x);
        net.heads[0].value = outputs;
        let reason = net.unfused().expect("it is named").to_string();
        assert!(reason.starts_with("the kernels have no ") && reason.contains(expected), "{reason}");
        assert!(!net.is_fused() && net.unfused_training().is_some());
    }
}

/// What a network takes is known from its description, and no more than that.
#[test]
fn a_footprint_is_what_a_network_takes() {
    let mut numbers = Numbers(31);
    let pools = [1, 2].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool"));
    let mut gates = Numbers(32);
    let mut gated = |input, channels| {
        let mut maker = Maker::new(input, false);
        let x = maker.tower(Tower { channels: [channels, channels], blocks: 2, kernel: 3, gate: 6 });
        gates.frozen(maker.usual_heads(x, Some([2, 2]), [9, 5, 3]))
    };
    let networks = [
        numbers.resnet([3, 6, 7], &[64, 64, 3, 5], 2, 3),
        numbers.resnet([2, 3, 3], &[17, 40, 2, 2], 1, 3),
        numbers.resnet([2, 21, 20], &[24, 24, 4, 4], 1, 3),
        numbers.mlp([3, 3, 3], &[100, 7]),
        numbers.mlp([3, 3, 3], &[1]),
        gated([2, 6, 7], 24),
        gated([2, 20, 21], 12),
        gated([2, 3, 3], 40),
    ];
    for weights in networks {
        for (level, precision) in
            Level::available().into_iter().flat_map(|level| [(level, Precision::F32), (level, Precision::Int16)])
        {
            let options = Options { precision, level };
            for (pool, threads) in pools.iter().zip(1..) {
                let told = FusedNetwork::footprint(&weights.description, options, 300, threads);
                let told = told.expect("it is known");
                let mut network = FusedNetwork::new(&weights, options).expect("it is known");
                assert_eq!((told.weights, told.packing), (network.bytes(), network.packing()));
                let row = row(&weights);
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
