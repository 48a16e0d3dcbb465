//! A fast CPU inference engine for the small residual networks and perceptrons of AlphaZero programs.
//!
//! Each thread takes a chunk of the batch, small enough for its cache, through the whole network. What is fused: bias,
//! ReLU and residual sum with the product before them, and for small boards the transforms with all three.
//!
//! | file | what it holds |
//! |---|---|
//! | `description.rs` | [`Description`]: what any network computes, as data; [`Frozen`]: a trained one |
//! | `pattern.rs` | which networks the kernels know |
//! | `weights.rs` | the weights of such a network |
//! | `lib.rs` | [`FusedNetwork`]: the choice of the algorithm, the batch cut into chunks, the life of one chunk |
//! | `exact.rs` | [`ExactNetwork`]: any network in `f64`, slowly, to measure errors against |
//! | `conv.rs` | convolutions and dense layers as products over lists of pixels; serves any board |
//! | `fourier.rs` | the tower of a board up to 19x19 as products of spectra |
//! | `fourier/int16.rs` | the same with products of 16-bit integers |
//! | `waves.rs` | the Fourier transforms for it |
//! | `panels.rs` | weights packed for the kernels |
//! | `kernels.rs` | vectors, dispatch, the two matrix products; the only unsafe code |
//!
//! **Invariant**: the result of a row depends neither on the batch around it nor on the number of threads, to the last bit.
//! It may depend on the processor's level of vectors.

#![deny(unsafe_code)]

mod conv;
mod description;
mod exact;
mod fourier;
#[allow(unsafe_code)]
mod kernels;
mod panels;
mod pattern;
mod training;
mod waves;
mod weights;

#[cfg(test)]
mod tests;

use std::sync::Mutex;

use conv::{Layer, Then};
use fourier::{Int16Scratch, Int16Tower, Tower, Transform};
use panels::Aligned;

pub use description::{Description, Form, Frozen, Head, HeadKind, Op, Parameters, Step};
pub use exact::ExactNetwork;
pub use kernels::Level;
pub use training::{Shape, ShapeBody, Statistics, TrainingNetwork};
pub use weights::{Body, Conv, Dense, Weights};

/// Bytes of activations and spectra that a chunk of the batch may take.
///
/// That is more than a core's own cache: the weights of the tower don't fit there either, and with a longer chunk they are
/// fetched less often. Measured on Zen 4: 4 MiB beats 1 MiB by a tenth to a fifth, and 8 MiB is no better.
const CHUNK_BYTES: usize = 4 << 20;

/// The most rows of a chunk, and the least that it is worth to have even if they leave the cache: with fewer rows than
/// that the weights cost more to fetch than the products to compute.
const CHUNK_ROWS: std::ops::RangeInclusive<usize> = 6..=128;

/// A network that is ready to run. Made from [`Weights`]; holds its own packed copy of them and its scratch memory.
#[derive(Debug)]
pub struct FusedNetwork {
    level: Level,
    planes: usize,
    cells: usize,
    body: Plan,
    policy: Layer,
    policy_outputs: usize,
    value_hidden: Layer,
    value_out: Layer,
    value_outputs: usize,
    /// Most rows of a chunk.
    chunk: usize,
    /// One for each thread that has ever worked on this network.
    scratch: Vec<Scratch>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for a whole network")]
enum Plan {
    Resnet { stem: Layer, tower: AnyTower, policy_conv: Layer, value_conv: Layer },
    Mlp(Vec<Layer>),
}

#[derive(Debug)]
enum AnyTower {
    Direct(Vec<[Layer; 2]>),
    Fourier(Tower),
    Int16(Int16Tower),
}

/// The numbers in which the bulk of a network is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Floats of 32 bits throughout.
    #[default]
    F32,
    /// Integers of 16 bits in the products of a residual tower that runs over spectra, `f32` in all else: faster, and off
    /// by about a thousandth of the largest output. Other networks run as with [`Precision::F32`].
    Int16,
}

/// How to run a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The numbers of most of the work.
    pub precision: Precision,
    /// The vectors, by default the best ones of this processor.
    pub level: Level,
}

impl Options {
    /// Integers only where they are faster.
    fn precision(self) -> Precision {
        if self.level.has_fast_integers() { self.precision } else { Precision::F32 }
    }
}

/// What a network takes in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Its packed weights.
    pub weights: usize,
    /// What it takes besides while these are packed.
    pub packing: usize,
    /// What all threads work in.
    pub scratch: usize,
}

/// How the tower of a residual network is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Direct,
    /// Over spectra.
    Fourier(Transform),
}

/// The memory of one thread; every buffer only grows.
#[derive(Debug, Default)]
struct Scratch {
    /// The planes as `[row][cell][plane]`, where they are not taken as they are.
    cells: Aligned,
    /// Activations of the tower, or of every second layer.
    main: Aligned,
    /// Activations inside a block, or of every other layer.
    inner: Aligned,
    spectra: Aligned,
    bin: Aligned,
    int16: Int16Scratch,
    /// Features of a head, its hidden layer and its outputs.
    head: [Aligned; 3],
    pixels: Vec<u32>,
}

#[cfg(test)]
impl Scratch {
    fn bytes(&self) -> usize {
        let Self { cells, main, inner, spectra, bin, int16, head: [features, hidden, outputs], pixels } = self;
        let floats = [cells, main, inner, spectra, bin, features, hidden, outputs];
        floats.map(Aligned::bytes).iter().sum::<usize>() + int16.bytes() + pixels.capacity() * size_of::<u32>()
    }
}

impl FusedNetwork {
    /// Packs the weights for the kernels, and chooses the algorithm by the shape of the network and the processor.
    ///
    /// # Panics
    /// If a shape in `weights` doesn't fit its neighbours.
    #[must_use]
    pub fn new(weights: &Weights) -> Self {
        Self::with_options(weights, Options::default())
    }

    /// The same with a choice of numbers and vectors; [`FusedNetwork::algorithm`] tells whether 16-bit integers apply to
    /// this network and these vectors. They don't where they would be slower: on NEON, and without vectors.
    ///
    /// # Panics
    /// If a shape in `weights` doesn't fit its neighbours, or a convolution has more than 100 000 channels.
    #[must_use]
    pub fn with_options(weights: &Weights, options: Options) -> Self {
        Self::with(weights, options.level, Algorithm::choose(weights), options.precision())
    }

    /// Bytes that such a network takes on so many threads in batches of at most so many rows, before any of it is there; `None`
    /// if the kernels do not know it.
    #[must_use]
    pub fn footprint(net: &Description, options: Options, rows: usize, threads: usize) -> Option<Footprint> {
        let weights = Weights::shapes(net)?;
        let network = Self::planned(&weights, options.level, Algorithm::choose(&weights), options.precision());
        Some(Footprint {
            weights: network.bytes(),
            packing: network.packing(),
            scratch: threads * network.scratch_bytes(rows.div_ceil(threads).min(network.chunk)),
        })
    }

    fn with(weights: &Weights, level: Level, algorithm: Algorithm, precision: Precision) -> Self {
        weights.check();
        Self::planned(weights, level, algorithm, precision)
    }

    /// Weights without numbers make a network that only tells what it takes.
    fn planned(weights: &Weights, level: Level, algorithm: Algorithm, precision: Precision) -> Self {
        let board = [weights.height, weights.width];
        let cells = weights.height * weights.width;
        // `row`: numbers that one row keeps in the cache on its way through the body.
        let (body, row, policy, value_hidden) = match &weights.body {
            Body::Resnet { stem, blocks, policy_conv, value_conv } => {
                let stem = Layer::conv(level, stem, board, weights.planes);
                let stride = stem.output_stride();
                let direct = |(first, second): &(Conv, Conv)| {
                    let first = Layer::conv(level, first, board, stride);
                    let second = Layer::conv(level, second, board, first.output_stride());
                    [first, second]
                };
                let tower = match algorithm {
                    Algorithm::Direct => AnyTower::Direct(blocks.iter().map(direct).collect()),
                    Algorithm::Fourier(transform) => match precision {
                        Precision::F32 => AnyTower::Fourier(Tower::new(level, blocks, board, transform, stride)),
                        Precision::Int16 => AnyTower::Int16(Int16Tower::new(level, blocks, board, transform, stride)),
                    },
                };
                let row = cells * stride
                    + match &tower {
                        AnyTower::Direct(blocks) => blocks.iter().map(|block| block[0].output_row()).max().unwrap_or(0),
                        AnyTower::Fourier(tower) => tower.scratch(1)[0],
                        AnyTower::Int16(tower) => tower.row_bytes() / size_of::<f32>(),
                    };
                let policy_conv = Layer::conv(level, policy_conv, board, stride);
                let value_conv = Layer::conv(level, value_conv, board, stride);
                let head = |dense, conv: &Layer| {
                    Layer::dense_over_cells(level, dense, cells, conv.output_stride(), conv.output_row())
                };
                let policy = head(&weights.policy, &policy_conv);
                let value_hidden = head(&weights.value_hidden, &value_conv);
                (Plan::Resnet { stem, tower, policy_conv, value_conv }, row, policy, value_hidden)
            }
            Body::Mlp { layers } => {
                let mut stride = weights.planes * cells;
                let mut plan = Vec::new();
                for layer in layers {
                    plan.push(Layer::dense(level, layer, stride));
                    stride = plan[plan.len() - 1].output_stride();
                }
                let row = plan.iter().map(Layer::output_row).max().unwrap_or(0) * 2;
                let policy = Layer::dense(level, &weights.policy, stride);
                let value_hidden = Layer::dense(level, &weights.value_hidden, stride);
                (Plan::Mlp(plan), row, policy, value_hidden)
            }
        };
        let value_out = Layer::dense(level, &weights.value_out, value_hidden.output_stride());
        let chunk = CHUNK_BYTES / size_of::<f32>() / row.max(1);
        Self {
            level,
            planes: weights.planes,
            cells,
            body,
            policy,
            policy_outputs: weights.policy.outputs,
            value_hidden,
            value_out,
            value_outputs: weights.value_out.outputs,
            chunk: chunk.clamp(*CHUNK_ROWS.start(), *CHUNK_ROWS.end()),
            scratch: Vec::new(),
        }
    }

    /// Bytes of the packed weights.
    fn bytes(&self) -> usize {
        let body = match &self.body {
            Plan::Resnet { stem, tower, policy_conv, value_conv } => {
                let tower = match tower {
                    AnyTower::Direct(blocks) => blocks.iter().flatten().map(Layer::bytes).sum(),
                    AnyTower::Fourier(tower) => tower.bytes(),
                    AnyTower::Int16(tower) => tower.bytes(),
                };
                tower + stem.bytes() + policy_conv.bytes() + value_conv.bytes()
            }
            Plan::Mlp(layers) => layers.iter().map(Layer::bytes).sum(),
        };
        body + self.policy.bytes() + self.value_hidden.bytes() + self.value_out.bytes()
    }

    /// Bytes besides while the weights are packed.
    fn packing(&self) -> usize {
        match &self.body {
            Plan::Resnet { tower: AnyTower::Int16(tower), .. } => tower.packing(),
            _ => 0,
        }
    }

    /// Bytes that a thread works in with a chunk of so many rows.
    fn scratch_bytes(&self, rows: usize) -> usize {
        let bytes = |numbers: usize| Aligned::<f32>::bytes_of(rows * numbers);
        // What the buffers of the body take, and a row of features for the heads.
        let (body, features, pixels) = match &self.body {
            Plan::Resnet { stem, tower, policy_conv, value_conv } => {
                let tower = match tower {
                    AnyTower::Direct(blocks) => {
                        bytes(blocks.iter().map(|block| block[0].output_row()).max().unwrap_or(0))
                    }
                    AnyTower::Fourier(tower) => tower.scratch(rows).into_iter().map(Aligned::<f32>::bytes_of).sum(),
                    AnyTower::Int16(tower) => tower.scratch(rows),
                };
                let cells = bytes(self.planes * self.cells);
                let features = policy_conv.output_row().max(value_conv.output_row());
                (cells + bytes(stem.output_row()) + tower, features, self.cells)
            }
            Plan::Mlp(layers) => {
                // Every second layer has the same buffer.
                let every_second = |from| layers.iter().skip(from).step_by(2).map(Layer::output_row).max().unwrap_or(0);
                (bytes(every_second(0)) + bytes(every_second(1)), 0, 1)
            }
        };
        let outputs = self.policy.output_row().max(self.value_out.output_row());
        // The list of pixels may have grown by doubling.
        let pixels = 2 * rows * pixels * size_of::<u32>();
        body + bytes(features) + bytes(self.value_hidden.output_row()) + bytes(outputs) + pixels
    }

    /// How the body of this network is computed, for people to read.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match &self.body {
            Plan::Mlp(_) => "dense",
            Plan::Resnet { tower: AnyTower::Direct(_), .. } => "direct",
            Plan::Resnet { tower: AnyTower::Fourier(_), .. } => "fourier",
            Plan::Resnet { tower: AnyTower::Int16(_), .. } => "fourier-int16",
        }
    }

    /// The kind of vectors that most of the work is done with: `avx512`, `avx2`, `neon` or `portable`; or those of the
    /// integers, if there are any.
    #[must_use]
    pub fn level(&self) -> &'static str {
        match &self.body {
            Plan::Resnet { tower: AnyTower::Int16(tower), .. } => tower.level(),
            _ => self.level.name(),
        }
    }

    /// Runs a batch on rayon's current pool.
    ///
    /// # Shapes
    /// - `planes`: `[rows, planes, height, width]`
    /// - `logits`: `[rows, policy.outputs]`, all overwritten
    /// - `values`: `[rows, value_out.outputs]`, all overwritten; raw outputs, without tanh or softmax
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn forward(&mut self, rows: usize, planes: &[f32], logits: &mut [f32], values: &mut [f32]) {
        let row = self.planes * self.cells;
        assert_eq!(planes.len(), rows * row, "planes of {rows} rows");
        assert_eq!(logits.len(), rows * self.policy_outputs, "logits of {rows} rows");
        assert_eq!(values.len(), rows * self.value_outputs, "values of {rows} rows");
        if rows == 0 {
            return;
        }
        // As many chunks as fit the cache, in whole rounds of all threads, all of the same size but for the last.
        let threads = rayon::current_num_threads();
        let chunks = rows.div_ceil(self.chunk).next_multiple_of(threads);
        let size = rows.div_ceil(chunks);
        let threads = threads.min(rows.div_ceil(size));
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize_with(scratch.len().max(threads), Scratch::default);
        let jobs = planes
            .chunks(size * row)
            .zip(logits.chunks_mut(size * self.policy_outputs))
            .zip(values.chunks_mut(size * self.value_outputs));
        if threads == 1 {
            for ((planes, logits), values) in jobs {
                self.run_chunk(&mut scratch[0], planes, logits, values);
            }
        } else {
            // Whoever is free takes the next chunk, because cores are seldom equally fast or equally free.
            let jobs = Mutex::new(jobs);
            let (jobs, network) = (&jobs, &*self);
            rayon::scope(|scope| {
                for scratch in &mut scratch[..threads] {
                    scope.spawn(move |_| {
                        loop {
                            let job = jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
                            let Some(((planes, logits), values)) = job else { break };
                            network.run_chunk(scratch, planes, logits, values);
                        }
                    });
                }
            });
        }
        self.scratch = scratch;
    }

    /// Takes a few rows through the whole network, on this thread.
    fn run_chunk(&self, scratch: &mut Scratch, planes: &[f32], logits: &mut [f32], values: &mut [f32]) {
        let rows = planes.len() / (self.planes * self.cells);
        let Scratch { cells, main, inner, spectra, bin, int16, head, pixels } = scratch;
        let [features, hidden, outputs] = head;
        match &self.body {
            Plan::Resnet { stem, tower, policy_conv, value_conv } => {
                let cells = cells.at_least(planes.len());
                planes_last(self.planes, self.cells, planes, cells);
                let main = main.at_least(rows * stem.output_row());
                stem.apply(rows, cells, main, Then::Relu, pixels);
                match tower {
                    AnyTower::Direct(blocks) => {
                        for [first, second] in blocks {
                            let inner = inner.at_least(rows * first.output_row());
                            first.apply(rows, main, inner, Then::Relu, pixels);
                            second.apply(rows, inner, main, Then::ResidualRelu, pixels);
                        }
                    }
                    AnyTower::Fourier(tower) => {
                        let [spectrum, part] = tower.scratch(rows);
                        tower.apply(rows, main, spectra.at_least(spectrum), bin.at_least(part));
                    }
                    AnyTower::Int16(tower) => tower.apply(rows, main, int16),
                }
                let features_of = |conv: &Layer, features: &mut Aligned, pixels: &mut Vec<u32>| {
                    conv.apply(rows, main, features.at_least(rows * conv.output_row()), Then::Relu, pixels);
                };
                features_of(policy_conv, features, pixels);
                self.policy_head(rows, features.get(), logits, outputs, pixels);
                features_of(value_conv, features, pixels);
                self.value_head(rows, features.get(), values, hidden, outputs, pixels);
            }
            Plan::Mlp(layers) => {
                let (mut from, mut to) = (main, inner);
                for (index, layer) in layers.iter().enumerate() {
                    let input = if index == 0 { planes } else { from.get() };
                    layer.apply(rows, input, to.at_least(rows * layer.output_row()), Then::Relu, pixels);
                    std::mem::swap(&mut from, &mut to);
                }
                let features = if layers.is_empty() { planes } else { from.get() };
                self.policy_head(rows, features, logits, outputs, pixels);
                self.value_head(rows, features, values, hidden, outputs, pixels);
            }
        }
    }

    fn policy_head(&self, rows: usize, input: &[f32], logits: &mut [f32], out: &mut Aligned, pixels: &mut Vec<u32>) {
        let padded = out.at_least(rows * self.policy.output_row());
        self.policy.apply(rows, input, padded, Then::Store, pixels);
        copy_rows(padded, self.policy.output_row(), logits, self.policy_outputs);
    }

    fn value_head(
        &self,
        rows: usize,
        input: &[f32],
        values: &mut [f32],
        hidden: &mut Aligned,
        out: &mut Aligned,
        pixels: &mut Vec<u32>,
    ) {
        let hidden = hidden.at_least(rows * self.value_hidden.output_row());
        self.value_hidden.apply(rows, input, hidden, Then::Relu, pixels);
        let padded = out.at_least(rows * self.value_out.output_row());
        self.value_out.apply(rows, hidden, padded, Then::Store, pixels);
        copy_rows(padded, self.value_out.output_row(), values, self.value_outputs);
    }
}

/// Turns `[rows, planes, cells]` into `[rows, cells, planes]`.
fn planes_last(count: usize, board: usize, planes: &[f32], cells: &mut [f32]) {
    for (from, to) in planes.chunks_exact(count * board).zip(cells.chunks_exact_mut(count * board)) {
        for (plane, numbers) in from.chunks_exact(board).enumerate() {
            for (cell, &number) in numbers.iter().enumerate() {
                to[cell * count + plane] = number;
            }
        }
    }
}

/// Copies the first `width` numbers of each row of `from`.
fn copy_rows(from: &[f32], stride: usize, to: &mut [f32], width: usize) {
    for (from, to) in from.chunks_exact(stride).zip(to.chunks_exact_mut(width)) {
        to.copy_from_slice(&from[..width]);
    }
}

impl Algorithm {
    fn choose(weights: &Weights) -> Self {
        let Body::Resnet { blocks, .. } = &weights.body else { return Self::Direct };
        let channels = blocks.iter().map(|(first, _)| first.inputs.min(first.outputs)).min().unwrap_or(0);
        // Transforms cost the same for each channel, products in proportion to the other channels. With few channels only
        // the large transforms cost more than they save.
        match Transform::of([weights.height, weights.width]) {
            Some(transform) if transform.size[0] <= 12 || channels >= 32 => Self::Fourier(transform),
            _ => Self::Direct,
        }
    }
}
