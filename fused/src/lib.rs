//! A fast CPU inference engine for the small residual networks and perceptrons of AlphaZero programs.
//!
//! Each thread takes a chunk of the batch, small enough for its cache, through the whole network. What is fused: bias,
//! ReLU and residual sum with the product before them, and for small boards the transforms with all three.
//!
//! | file | what it holds |
//! |---|---|
//! | `description.rs` | [`Description`]: what any network computes, as data; [`Frozen`]: a trained one |
//! | `plan.rs` | what the kernels compute of it, or why they don't: the operations that both directions execute |
//! | `lib.rs` | [`FusedNetwork`]: the choice of the algorithm, the batch cut into chunks, the life of one chunk |
//! | `exact.rs` | [`ExactNetwork`]: any network in `f64`, slowly, to measure errors against |
//! | `gate.rs` | squeeze and excitation, and the means of channels |
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
mod gate;
#[allow(unsafe_code)]
mod kernels;
mod panels;
mod plan;
mod training;
mod waves;

#[cfg(test)]
mod tests;

use std::sync::Mutex;

use conv::{Layer, Then};
use fourier::{Int16Scratch, Int16Tower, Tower, Transform};
use gate::{Gate, GateScratch, Means};
use panels::{Aligned, odd_lines};
use plan::{Block, Conv, Numbers, Operation, Plan, numbers_of, selected};

pub use description::{Description, Form, Frozen, Head, HeadKind, Op, Parameters, Step};
pub use exact::ExactNetwork;
pub use kernels::Level;
pub use plan::Unsupported;
pub use training::{Statistics, TrainingNetwork, TrainingPrecision};

/// Bytes of activations and spectra that a chunk of the batch may take.
///
/// That is more than a core's own cache: the weights of the tower don't fit there either, and with a longer chunk they are
/// fetched less often. Measured on Zen 4: 4 MiB beats 1 MiB by a tenth to a fifth, and 8 MiB is no better.
const CHUNK_BYTES: usize = 4 << 20;

/// The most rows of a chunk, and the least that it is worth to have even if they leave the cache: with fewer rows than
/// that the weights cost more to fetch than the products to compute.
const CHUNK_ROWS: std::ops::RangeInclusive<usize> = 6..=128;

/// A network that is ready to run. Made from a [`Frozen`] one; holds its own packed copy of the weights and its scratch memory.
#[derive(Debug)]
pub struct FusedNetwork {
    level: Level,
    planes: usize,
    cells: usize,
    /// What makes each value but the planes.
    nodes: Vec<Ready>,
    /// The value of each head, and its numbers.
    heads: Vec<(usize, usize)>,
    /// Most rows of a chunk.
    chunk: usize,
    /// One for each thread that has ever worked on this network.
    scratch: Vec<Scratch>,
}

/// A node of the plan that is ready to run.
#[derive(Debug)]
struct Ready {
    work: Work,
    from: usize,
    /// The buffer that holds its value.
    slot: usize,
    /// Numbers of one row of its value.
    row: usize,
}

#[derive(Debug)]
enum Work {
    Tower {
        stem: Layer,
        tower: AnyTower,
    },
    Layer(Layer, Then),
    /// The means of so many channels, in whole vectors, of cells so many numbers apart.
    Pool {
        padded: usize,
        stride: usize,
    },
    /// The places of the numbers in a row of the board.
    Select(Vec<u32>),
}

#[derive(Debug)]
enum AnyTower {
    Direct(Vec<([Layer; 2], Option<Gate>)>),
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
    /// Values, each until the last one that reads it is there.
    values: Vec<Aligned>,
    /// Activations inside a block.
    inner: Aligned,
    spectra: Aligned,
    bin: Aligned,
    int16: Int16Scratch,
    gates: GateScratch,
    pixels: Vec<u32>,
}

#[cfg(test)]
impl Scratch {
    fn bytes(&self) -> usize {
        let Self { cells, values, inner, spectra, bin, int16, gates, pixels } = self;
        let floats = [cells, inner, spectra, bin].into_iter().chain(values).map(Aligned::bytes);
        floats.sum::<usize>() + int16.bytes() + gates.bytes() + pixels.capacity() * size_of::<u32>()
    }
}

impl FusedNetwork {
    /// Packs the weights for the kernels, and chooses the algorithm by the shape of the network and the processor;
    /// [`FusedNetwork::algorithm`] tells whether 16-bit integers apply to both. They don't where they would be slower: on NEON, and without vectors.
    ///
    /// # Errors
    /// When the kernels lack an operation of it.
    ///
    /// # Panics
    /// If the numbers do not fit the description, or a convolution has more than 100 000 channels.
    pub fn new(network: &Frozen, options: Options) -> Result<Self, Unsupported> {
        network.check();
        let plan = Plan::of(&network.description)?;
        Ok(Self::with(&plan, Some(network), options.level, Algorithm::choose(&plan), options.precision()))
    }

    /// Bytes that a network takes for policy and value on so many threads in batches of at most so many rows, before any of it
    /// is there; `None` if the kernels lack an operation of it.
    #[must_use]
    pub fn footprint(net: &Description, options: Options, rows: usize, threads: usize) -> Option<Footprint> {
        let plan = Plan::of(&net.asked()).ok()?;
        let network = Self::with(&plan, None, options.level, Algorithm::choose(&plan), options.precision());
        Some(Footprint {
            weights: network.bytes(),
            packing: network.packing(),
            scratch: threads * network.scratch_bytes(rows.div_ceil(threads).min(network.chunk)),
        })
    }

    /// Without numbers it is a network that only tells what it takes.
    fn with(plan: &Plan, numbers: Numbers, level: Level, algorithm: Algorithm, precision: Precision) -> Self {
        let (planes, board, cells) = (plan.input[0], [plan.input[1], plan.input[2]], plan.cells());
        let then = |relu: bool| if relu { Then::Relu } else { Then::Store };
        let mut nodes: Vec<Ready> = vec![];
        // The most numbers that one row keeps in the cache on its way through an operation.
        let mut keeps = 1;
        for (node, slot) in plan.nodes.iter().zip(slots(plan)) {
            // Numbers of a row of what is read, and from one cell of it to the next if it is a board.
            let from_row = node.from.checked_sub(1).map_or(planes * cells, |from| nodes[from].row);
            let stride = from_row / cells;
            let work = match &node.operation {
                Operation::Tower { stem, blocks } => {
                    let stem = Layer::conv(level, stem, numbers_of(numbers, stem.step), board, planes);
                    let stride = stem.output_stride();
                    let tower = match (algorithm, precision) {
                        (Algorithm::Direct, _) => AnyTower::direct(level, blocks, numbers, board, stride),
                        (Algorithm::Fourier(transform), Precision::F32) => {
                            AnyTower::Fourier(Tower::new(level, blocks, numbers, board, transform, stride))
                        }
                        (Algorithm::Fourier(transform), Precision::Int16) => {
                            AnyTower::Int16(Int16Tower::new(level, blocks, numbers, board, transform, stride))
                        }
                    };
                    keeps = keeps.max(stem.output_row() + tower.row());
                    Work::Tower { stem, tower }
                }
                Operation::Conv { conv, relu } => {
                    Work::Layer(Layer::conv(level, conv, numbers_of(numbers, conv.step), board, stride), then(*relu))
                }
                Operation::Dense { dense, relu } => {
                    let numbers = numbers_of(numbers, dense.step);
                    let over_cells = node.from > 0 && matches!(plan.form(node.from), Form::Board(_));
                    let [cells, stride] = if over_cells { [cells, stride] } else { [1, 1] };
                    Work::Layer(Layer::dense(level, dense, numbers, [cells, stride, from_row]), then(*relu))
                }
                Operation::Pool => {
                    Work::Pool { padded: plan.size(node.form).next_multiple_of(level.shape().0), stride }
                }
                Operation::Select(indices) => Work::Select(selected(indices, cells, stride)),
            };
            let row = match &work {
                Work::Tower { stem: layer, .. } | Work::Layer(layer, _) => layer.output_row(),
                Work::Pool { padded, .. } => odd_lines(*padded),
                Work::Select(places) => places.len(),
            };
            keeps = keeps.max(2 * row);
            nodes.push(Ready { work, from: node.from, slot, row });
        }
        Self {
            level,
            planes,
            cells,
            nodes,
            heads: plan.heads.clone(),
            chunk: (CHUNK_BYTES / size_of::<f32>() / keeps).clamp(*CHUNK_ROWS.start(), *CHUNK_ROWS.end()),
            scratch: Vec::new(),
        }
    }

    /// The tower, if there is one.
    fn tower(&self) -> Option<&AnyTower> {
        self.nodes.iter().find_map(|node| if let Work::Tower { tower, .. } = &node.work { Some(tower) } else { None })
    }

    /// Bytes of the packed weights.
    fn bytes(&self) -> usize {
        let of_node = |node: &Ready| match &node.work {
            Work::Tower { stem, tower } => stem.bytes() + tower.bytes(),
            Work::Layer(layer, _) => layer.bytes(),
            Work::Pool { .. } | Work::Select(_) => 0,
        };
        self.nodes.iter().map(of_node).sum()
    }

    /// Bytes besides while the weights are packed.
    fn packing(&self) -> usize {
        match self.tower() {
            Some(AnyTower::Int16(tower)) => tower.packing(),
            _ => 0,
        }
    }

    /// Bytes that a thread works in with a chunk of so many rows.
    fn scratch_bytes(&self, rows: usize) -> usize {
        let bytes = |numbers: usize| Aligned::<f32>::bytes_of(rows * numbers);
        let slots = self.nodes.iter().map(|node| node.slot + 1).max().unwrap_or(0);
        let of_slot = |slot| self.nodes.iter().filter(move |node| node.slot == slot).map(|node| node.row).max();
        let values: usize = (0..slots).filter_map(of_slot).map(bytes).sum();
        let (tower, pixels) = match self.tower() {
            None => (0, 1),
            Some(tower) => (bytes(self.planes * self.cells) + tower.scratch(rows), self.cells),
        };
        // The list of pixels may have grown by doubling.
        values + tower + 2 * rows * pixels * size_of::<u32>()
    }

    /// How the body of this network is computed, for people to read.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.tower() {
            None => "dense",
            Some(AnyTower::Direct(_)) => "direct",
            Some(AnyTower::Fourier(_)) => "fourier",
            Some(AnyTower::Int16(_)) => "fourier-int16",
        }
    }

    /// The kind of vectors that most of the work is done with: `avx512`, `avx2`, `neon` or `portable`; or those of the
    /// integers, if there are any.
    #[must_use]
    pub fn level(&self) -> &'static str {
        match self.tower() {
            Some(AnyTower::Int16(tower)) => tower.level(),
            _ => self.level.name(),
        }
    }

    /// How many numbers each head has.
    pub fn widths(&self) -> impl Iterator<Item = usize> {
        self.heads.iter().map(|&(_, width)| width)
    }

    /// Runs a batch on rayon's current pool.
    ///
    /// # Shapes
    /// - `planes`: `[rows, planes, height, width]`
    /// - `outputs`: for each head of the description its raw output, `[rows, width]`, without tanh or softmax; all overwritten
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn forward(&mut self, rows: usize, planes: &[f32], outputs: &mut [Vec<f32>]) {
        let row = self.planes * self.cells;
        assert_eq!(planes.len(), rows * row, "planes of {rows} rows");
        assert_eq!(outputs.len(), self.heads.len(), "outputs of all heads");
        for (output, &(_, width)) in outputs.iter().zip(&self.heads) {
            assert_eq!(output.len(), rows * width, "an output of {rows} rows");
        }
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
        let widths = self.heads.iter().map(|&(_, width)| size * width);
        let mut parts: Vec<_> = outputs.iter_mut().zip(widths).map(|(output, part)| output.chunks_mut(part)).collect();
        let jobs = planes.chunks(size * row).map(|planes| {
            let outputs: Vec<&mut [f32]> = parts.iter_mut().filter_map(Iterator::next).collect();
            (planes, outputs)
        });
        if threads == 1 {
            for (planes, outputs) in jobs {
                self.run_chunk(&mut scratch[0], planes, outputs);
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
                            let Some((planes, outputs)) = job else { break };
                            network.run_chunk(scratch, planes, outputs);
                        }
                    });
                }
            });
        }
        self.scratch = scratch;
    }

    /// Takes a few rows through the whole network, on this thread.
    fn run_chunk(&self, scratch: &mut Scratch, planes: &[f32], mut outputs: Vec<&mut [f32]>) {
        let rows = planes.len() / (self.planes * self.cells);
        let slots = self.nodes.iter().map(|node| node.slot + 1).max().unwrap_or(0);
        scratch.values.resize_with(slots.max(scratch.values.len()), Aligned::default);
        for (index, node) in self.nodes.iter().enumerate() {
            // Nothing that is still read is in the same buffer.
            let mut buffer = std::mem::take(&mut scratch.values[node.slot]);
            let to = buffer.at_least(rows * node.row);
            let Scratch { cells, values, inner, spectra, bin, int16, gates, pixels } = &mut *scratch;
            let from_row = node.from.checked_sub(1).map_or(0, |from| self.nodes[from].row);
            let from = match node.from.checked_sub(1) {
                None => planes,
                Some(from) => &values[self.nodes[from].slot].get()[..rows * from_row],
            };
            match &node.work {
                Work::Tower { stem, tower } => {
                    let cells = cells.at_least(planes.len());
                    planes_last(self.planes, self.cells, planes, cells);
                    stem.apply(rows, cells, to, Then::Relu, pixels);
                    match tower {
                        AnyTower::Direct(blocks) => {
                            for ([first, second], gate) in blocks {
                                let inner = inner.at_least(rows * first.output_row());
                                first.apply(rows, to, inner, Then::Relu, pixels);
                                match gate {
                                    None => second.apply(rows, inner, to, Then::ResidualRelu, pixels),
                                    Some(gate) => gate.apply(rows, to, gates, |y| {
                                        second.apply(rows, inner, y, Then::Store, pixels);
                                    }),
                                }
                            }
                        }
                        AnyTower::Fourier(tower) => {
                            let [spectrum, part] = tower.scratch(rows);
                            tower.apply(rows, to, spectra.at_least(spectrum), bin.at_least(part), gates);
                        }
                        AnyTower::Int16(tower) => tower.apply(rows, to, int16, gates),
                    }
                }
                Work::Layer(layer, then) => layer.apply(rows, from, to, *then, pixels),
                &Work::Pool { padded, stride } => {
                    let (cells, row) = (self.cells, node.row);
                    self.level.run(Means { cells, stride, padded, board: from, means: to, row });
                }
                Work::Select(places) => select(places, from, from_row, to, node.row),
            }
            for (&(value, width), output) in self.heads.iter().zip(&mut outputs) {
                if value == index + 1 {
                    copy_rows(to, node.row, output, width);
                }
            }
            scratch.values[node.slot] = buffer;
        }
    }
}

/// For each node the buffer that its value is written to, where nothing lies that is read then or later. Heads are copied as
/// soon as they are there.
fn slots(plan: &Plan) -> Vec<usize> {
    let last = |node: usize| plan.nodes.iter().rposition(|reader| reader.from == node + 1);
    let mut slots: Vec<usize> = vec![];
    for node in 0..plan.nodes.len() {
        let taken: Vec<usize> =
            (0..node).filter(|&other| last(other) >= Some(node)).map(|other| slots[other]).collect();
        slots.extend((0..).find(|slot| !taken.contains(slot)));
    }
    slots
}

impl AnyTower {
    fn direct(level: Level, blocks: &[Block], numbers: Numbers, board: [usize; 2], stride: usize) -> Self {
        let conv = |conv: &Conv, stride| Layer::conv(level, conv, numbers_of(numbers, conv.step), board, stride);
        let block = |block: &Block| {
            let first = conv(&block.convs[0], stride);
            let second = conv(&block.convs[1], first.output_stride());
            ([first, second], Gate::new(level, &block.gate, numbers, board[0] * board[1], stride))
        };
        Self::Direct(blocks.iter().map(block).collect())
    }

    /// Numbers that one row keeps in the cache besides its activations.
    fn row(&self) -> usize {
        match self {
            Self::Direct(blocks) => inner(blocks),
            Self::Fourier(tower) => tower.scratch(1)[0],
            Self::Int16(tower) => tower.row_bytes() / size_of::<f32>(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Direct(blocks) => {
                let gates = blocks.iter().filter_map(|(_, gate)| gate.as_ref()).map(Gate::bytes).sum::<usize>();
                gates + blocks.iter().flat_map(|(convs, _)| convs).map(Layer::bytes).sum::<usize>()
            }
            Self::Fourier(tower) => tower.bytes(),
            Self::Int16(tower) => tower.bytes(),
        }
    }

    /// Bytes that a thread works in with a chunk of so many rows, besides the activations.
    fn scratch(&self, rows: usize) -> usize {
        match self {
            Self::Direct(blocks) => {
                let gates = blocks.iter().filter_map(|(_, gate)| gate.as_ref()).map(|gate| gate.scratch(rows));
                Aligned::<f32>::bytes_of(rows * inner(blocks)) + gates.max().unwrap_or(0)
            }
            Self::Fourier(tower) => {
                tower.scratch(rows).into_iter().map(Aligned::<f32>::bytes_of).sum::<usize>() + tower.gates()
            }
            Self::Int16(tower) => tower.scratch(rows),
        }
    }
}

/// The most numbers of a row inside a block.
fn inner(blocks: &[([Layer; 2], Option<Gate>)]) -> usize {
    blocks.iter().map(|(convs, _)| convs[0].output_row()).max().unwrap_or(0)
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

/// Takes the numbers at these places of each row of `from`.
fn select(places: &[u32], from: &[f32], stride: usize, to: &mut [f32], width: usize) {
    for (from, to) in from.chunks_exact(stride).zip(to.chunks_exact_mut(width)) {
        to.iter_mut().zip(places).for_each(|(to, &place)| *to = from[place as usize]);
    }
}

/// Copies the first `width` numbers of each row of `from`.
fn copy_rows(from: &[f32], stride: usize, to: &mut [f32], width: usize) {
    for (from, to) in from.chunks_exact(stride).zip(to.chunks_exact_mut(width)) {
        to.copy_from_slice(&from[..width]);
    }
}

impl Algorithm {
    fn choose(plan: &Plan) -> Self {
        let Some((_, blocks)) = plan.tower() else { return Self::Direct };
        let channels = blocks.iter().map(|block| block.convs[0].inputs.min(block.convs[0].outputs)).min().unwrap_or(0);
        // What wraps around the edge is the padding of a kernel of three.
        if blocks.iter().flat_map(|block| &block.convs).any(|conv| conv.kernel > 3) {
            return Self::Direct;
        }
        // Transforms cost the same for each channel, products in proportion to the other channels. With few channels only
        // the large transforms cost more than they save.
        match Transform::of([plan.input[1], plan.input[2]]) {
            Some(transform) if transform.size[0] <= 12 || channels >= 32 => Self::Fourier(transform),
            _ => Self::Direct,
        }
    }
}
