//! The residual tower as products of spectra.
//!
//! A board of less than `N` rows and columns, filled up with zeros to `N` by `N`, turns a 3x3 convolution with zero padding
//! into an exact cyclic one: what wraps around the edge is the padding. A cyclic convolution is a product at each of the
//! `N^2` frequencies, of which about half are conjugates of others. A complex product takes three multiplications, and that
//! makes 22 for a 3x3 board where the direct way needs 49, 83 for 6x7 (304), 121 for 8x8 (484) and 598 for 19x19 (3025).
//!
//! For boards up to 3x3 there is a transform without complex numbers that needs 16: `three_forward` in `waves.rs`.

mod int16;

pub(super) use int16::{Int16Scratch, Int16Tower};

use super::gate::{Gate, GateScratch};
use super::kernels::{Kernel, Level, Simd, Slots, Spectral};
use super::panels::{Panels, odd_lines};
use super::plan::{Block, Conv, Numbers, numbers_of};
use super::waves::{self, Board, phases, three_kernel};

/// The sizes of transforms that are compiled, smallest first. 7x8 is Connect Four's.
pub(super) const SIZES: [[usize; 2]; 10] =
    [[4, 4], [5, 5], [6, 6], [7, 8], [8, 8], [9, 9], [10, 10], [12, 12], [16, 16], [20, 20]];

/// Runs `$work` with the constants `$ny` and `$nx` set to a size of the transform that is known only at run time.
macro_rules! by_size {
    ($size:expr, $ny:ident, $nx:ident, $work:expr) => {
        by_size!(@ $size, $ny, $nx, $work, 4 x 4, 5 x 5, 6 x 6, 7 x 8, 8 x 8, 9 x 9, 10 x 10, 12 x 12, 16 x 16, 20 x 20)
    };
    (@ $size:expr, $ny:ident, $nx:ident, $work:expr, $($rows:literal x $columns:literal),+) => {
        match $size {
            $([$rows, $columns] => {
                const $ny: usize = $rows;
                const $nx: usize = $columns;
                $work
            })+
            other => unreachable!("a transform of {other:?}"),
        }
    };
}
pub(super) use by_size;

/// Runs a sweep on a level, for a board and a transform that are known only at run time.
///
/// The compiler is told the size of a 3x3 board, whose sweep then stays in registers: int16 evaluates 1.1 times as many
/// positions. With 6x7 that made no difference.
macro_rules! sweep {
    ($transform:expr, $board:expr, $level:expr, $sweep:ident $fields:tt) => {{
        let (transform, board) = ($transform, $board);
        if transform.three {
            assert_eq!(transform.size, [4, 4]);
            match board {
                [3, 3] => $level.run($sweep::<4, 4, true, true> $fields),
                _ => $level.run($sweep::<4, 4, true, false> $fields),
            }
        } else {
            by_size!(transform.size, NY, NX, $level.run($sweep::<NY, NX, false, false> $fields))
        }
    }};
}
use sweep;

/// How boards become spectra.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transform {
    /// Rows and columns, one of [`SIZES`].
    pub size: [usize; 2],
    /// Whether it is the one without complex numbers, of 4 by 4.
    pub three: bool,
}

impl Transform {
    /// The best one for a board of `height` rows and `width` columns, if one is large enough.
    pub(super) fn of(board: [usize; 2]) -> Option<Self> {
        Tower::size(board).map(|size| Self { size, three: size == [4, 4] })
    }

    /// Real numbers of a spectrum.
    fn reals(self) -> usize {
        if self.three { self.slots() } else { waves::real_bins(self.size) }
    }

    /// Real numbers of a spectrum, and complex ones that are not conjugates of each other.
    fn bins(self) -> usize {
        if self.three { self.slots() } else { waves::bins(self.size) }
    }

    /// Numbers of a spectrum.
    fn slots(self) -> usize {
        self.size[0] * self.size[1]
    }
}

/// The convolutions of a residual tower.
#[derive(Debug)]
pub(super) struct Tower {
    level: Level,
    board: [usize; 2],
    transform: Transform,
    /// Numbers from one cell of the activations to the next.
    cell_stride: usize,
    slot_stride: usize,
    /// For each block the matrices of all frequencies of both convolutions, and its gate.
    blocks: Vec<([Vec<Panels>; 2], Option<Gate>)>,
    depth: usize,
}

impl Tower {
    /// The size of the transform for a board of `height` rows and `width` columns, if one is large enough.
    pub(super) fn size([height, width]: [usize; 2]) -> Option<[usize; 2]> {
        SIZES.into_iter().find(|&[ny, nx]| height < ny && width < nx)
    }

    /// Packs `blocks` for boards of `board` rows and columns, whose cells lie `cell_stride` numbers apart.
    pub(super) fn new(
        level: Level,
        blocks: &[Block],
        numbers: Numbers,
        board: [usize; 2],
        transform: Transform,
        cell_stride: usize,
    ) -> Self {
        let channels = widest(blocks);
        let block = |block: &Block| {
            let gate = Gate::new(level, &block.gate, numbers, board[0] * board[1], cell_stride);
            (block.convs.map(|conv| matrices(level, &conv, numbers, transform)), gate)
        };
        Self {
            level,
            board,
            transform,
            cell_stride,
            slot_stride: odd_lines(channels),
            blocks: blocks.iter().map(block).collect(),
            depth: channels,
        }
    }

    /// Bytes of the packed matrices.
    pub(super) fn bytes(&self) -> usize {
        let gates = self.blocks.iter().filter_map(|(_, gate)| gate.as_ref());
        let panels = self.blocks.iter().flat_map(|(convs, _)| convs.iter().flatten());
        panels.map(Panels::bytes).sum::<usize>() + gates.map(Gate::bytes).sum::<usize>()
    }

    /// Bytes that a thread works in for gates.
    pub(super) fn gates(&self) -> usize {
        self.blocks.iter().filter_map(|(_, gate)| gate.as_ref()).map(|gate| gate.scratch(Gate::ROWS)).max().unwrap_or(0)
    }

    /// Numbers that the spectra take for `rows` rows, and those for the rest of the scratch.
    pub(super) fn scratch(&self, rows: usize) -> [usize; 2] {
        [rows * self.row_stride(), Spectral::scratch(rows, self.depth)]
    }

    fn row_stride(&self) -> usize {
        self.transform.slots() * self.slot_stride
    }

    /// Takes the activations of `rows` rows of the batch through all blocks, in place.
    pub(super) fn apply(
        &self,
        rows: usize,
        activations: &mut [f32],
        spectra: &mut [f32],
        scratch: &mut [f32],
        gates: &mut GateScratch,
    ) {
        let last = self.blocks.len().wrapping_sub(1);
        let row = self.board[0] * self.board[1] * self.cell_stride;
        for (index, ([first, second], gate)) in self.blocks.iter().enumerate() {
            let padded = second[0].padded();
            if index == 0 {
                self.sweep(rows, activations, spectra, Stage::First, &[], padded);
            }
            self.multiply(rows, spectra, first, scratch);
            self.sweep(rows, activations, spectra, Stage::Inner, first[0].bias(), first[0].padded());
            self.multiply(rows, spectra, second, scratch);
            let Some(gate) = gate else {
                let stage = if index == last { Stage::Last } else { Stage::Outer };
                self.sweep(rows, activations, spectra, stage, second[0].bias(), padded);
                continue;
            };
            let few = activations.chunks_mut(Gate::ROWS * row).zip(spectra.chunks_mut(Gate::ROWS * self.row_stride()));
            for (activations, spectra) in few {
                let rows = activations.len() / row;
                let squeeze = |y: &mut [f32]| self.sweep(rows, y, spectra, Stage::Squeeze, second[0].bias(), padded);
                gate.apply(rows, activations, gates, squeeze);
                if index != last {
                    self.sweep(rows, activations, spectra, Stage::First, &[], padded);
                }
            }
        }
    }

    fn multiply(&self, rows: usize, spectra: &mut [f32], bins: &[Panels], scratch: &mut [f32]) {
        let (row_stride, slot_stride) = (self.row_stride(), self.slot_stride);
        let reals = self.transform.reals();
        self.level.run(Spectral { input: None, spectra, rows, row_stride, slot_stride, reals, bins, scratch });
    }

    fn sweep(
        &self,
        rows: usize,
        activations: &mut [f32],
        spectra: &mut [f32],
        stage: Stage,
        bias: &[f32],
        padded: usize,
    ) {
        let Self { board, cell_stride, slot_stride, .. } = *self;
        let cells = Cells { activations, stride: cell_stride, bias, stage };
        sweep!(self.transform, board, self.level, Sweep { rows, board, padded, cells, spectra, slot_stride });
    }
}

/// The matrices of a convolution, one for each frequency in the order of the slots.
fn matrices(level: Level, conv: &Conv, numbers: Numbers, transform: Transform) -> Vec<Panels> {
    let numbers = numbers_of(numbers, conv.step);
    frequencies(conv, numbers.map_or(&[], |numbers| &numbers.weight), transform)
        .map(|matrix| {
            let mut panels = Panels::new(level, [segments(matrix.real), conv.inputs, conv.outputs]);
            if let Some(numbers) = numbers {
                panels.fill(&numbers.bias, |segment, input, output| {
                    let [re, im] = matrix.at(input, output);
                    [re, im - re, -(re + im)][segment] as f32
                });
            }
            panels
        })
        .collect()
}

/// The matrix of a convolution at one frequency.
struct Frequency<'a> {
    conv: Conv,
    weight: &'a [f32],
    /// Whether all its numbers are real.
    real: bool,
    /// Cosine and sine at each position of the kernel, with all constants of the transforms.
    waves: Vec<[f64; 2]>,
}

impl Frequency<'_> {
    /// Real and imaginary part of the number between two channels.
    fn at(&self, input: usize, output: usize) -> [f64; 2] {
        let count = self.waves.len();
        let taps = &self.weight[(output * self.conv.inputs + input) * count..][..count];
        let (mut re, mut im) = (0.0, 0.0);
        for (&weight, [cos, sin]) in taps.iter().zip(&self.waves) {
            re += f64::from(weight) * cos;
            if !self.real {
                im += f64::from(weight) * sin;
            }
        }
        [re, im]
    }
}

/// The real matrices that a frequency is packed as. See [`Spectral`] for those of a complex product.
fn segments(real: bool) -> usize {
    if real { 1 } else { 3 }
}

/// A convolution at each frequency of a transform, in the order of the slots.
fn frequencies<'a>(conv: &Conv, weight: &'a [f32], transform: Transform) -> impl Iterator<Item = Frequency<'a>> {
    let conv = *conv;
    (0..transform.bins()).map(move |bin| {
        let real = bin < transform.reals();
        let waves = if transform.three {
            let distance = |at: usize| at as isize - (conv.kernel / 2) as isize;
            let tap = |tap: usize| {
                let [dy, dx] = [tap / conv.kernel, tap % conv.kernel].map(distance);
                [three_kernel(bin / 4, dy) * three_kernel(bin % 4, dx), 0.0]
            };
            (0..conv.kernel * conv.kernel).map(tap).collect()
        } else {
            // The inverse divides by the number of cells, and a complex frequency stands for its conjugate too.
            let scale = if real { 1.0 } else { 2.0 } / transform.slots() as f64;
            phases(transform.size, bin, conv.kernel).map(|[cos, sin]| [cos * scale, -sin * scale]).collect()
        };
        Frequency { conv, weight, real, waves }
    })
}

/// The most channels that a convolution of these blocks reads or writes.
fn widest(blocks: &[Block]) -> usize {
    blocks.iter().flat_map(|block| [block.convs[0].inputs, block.convs[0].outputs]).max().unwrap_or(1)
}

/// Where a sweep over the batch stands in the tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before the first convolution: activations to spectra.
    First,
    /// Between the two convolutions of a block: spectra to spectra.
    Inner,
    /// Between two blocks: the same, with the residual sum to the activations.
    Outer,
    /// After the last block: spectra to activations.
    Last,
    /// Before a gate: spectra to a board of its own.
    Squeeze,
}

/// Everything that happens between two products: inverse transform, bias, residual sum, ReLU, forward transform. With `FULL`
/// the board is as large as it may be, and the compiler knows it.
struct Sweep<'a, const NY: usize, const NX: usize, const THREE: bool, const FULL: bool> {
    rows: usize,
    board: [usize; 2],
    /// Channels, filled up to whole vectors.
    padded: usize,
    cells: Cells<'a>,
    spectra: &'a mut [f32],
    slot_stride: usize,
}

impl<const NY: usize, const NX: usize, const THREE: bool, const FULL: bool> Kernel for Sweep<'_, NY, NX, THREE, FULL> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { rows, padded, mut cells, spectra, slot_stride, .. } = self;
        let board = if FULL { [NY - 1, NX - 1] } else { self.board };
        let mut memory = Board::<S::Vector, NY, NX, THREE>::new(simd.splat(0.0));
        for row in 0..rows {
            let spectrum = &mut spectra[row * NY * NX * slot_stride..][..NY * NX * slot_stride];
            for channel in (0..padded).step_by(S::LANES) {
                let mut slots = Slots::new(simd, &mut spectrum[channel..], slot_stride);
                if cells.stage == Stage::First {
                    cells.enter(simd, &mut memory, board, row, channel);
                } else {
                    memory.inverse(simd, &slots, board);
                    if cells.stage == Stage::Squeeze {
                        cells.squeeze(simd, &memory, board, row, channel);
                        continue;
                    }
                    cells.between(simd, &mut memory, board, row, channel);
                }
                if cells.stage != Stage::Last {
                    memory.forward(simd, &mut slots, board[1]);
                }
            }
        }
    }
}

/// What a sweep does to the cells of the boards, one vector of channels at a time.
struct Cells<'a> {
    activations: &'a mut [f32],
    /// Numbers from one cell to the next.
    stride: usize,
    bias: &'a [f32],
    stage: Stage,
}

impl Cells<'_> {
    /// Loads the activations.
    #[inline(always)]
    fn enter<S: Simd, const NY: usize, const NX: usize, const THREE: bool>(
        &self,
        simd: S,
        memory: &mut Board<S::Vector, NY, NX, THREE>,
        [height, width]: [usize; 2],
        row: usize,
        channel: usize,
    ) {
        let cells = &self.activations[row * height * width * self.stride + channel..];
        for y in 0..height {
            for x in 0..width {
                memory.cells[y][x] = simd.load(&cells[(y * width + x) * self.stride..]);
            }
        }
    }

    /// Adds the bias, and stores what is to be gated.
    #[inline(always)]
    fn squeeze<S: Simd, const NY: usize, const NX: usize, const THREE: bool>(
        &mut self,
        simd: S,
        memory: &Board<S::Vector, NY, NX, THREE>,
        [height, width]: [usize; 2],
        row: usize,
        channel: usize,
    ) {
        let cells = &mut self.activations[row * height * width * self.stride + channel..];
        let bias = simd.load(&self.bias[channel..]);
        for y in 0..height {
            for x in 0..width {
                simd.store(simd.add(memory.cells[y][x], bias), &mut cells[(y * width + x) * self.stride..]);
            }
        }
    }

    /// Adds the bias, for the end of a block the activations too, and applies ReLU.
    #[inline(always)]
    fn between<S: Simd, const NY: usize, const NX: usize, const THREE: bool>(
        &mut self,
        simd: S,
        memory: &mut Board<S::Vector, NY, NX, THREE>,
        [height, width]: [usize; 2],
        row: usize,
        channel: usize,
    ) {
        let residual = matches!(self.stage, Stage::Outer | Stage::Last);
        // Inside a block there may be more channels than in the activations.
        let start = if residual { row * height * width * self.stride + channel } else { 0 };
        let cells = &mut self.activations[start..];
        let bias = simd.load(&self.bias[channel..]);
        for y in 0..height {
            for x in 0..width {
                let mut sum = simd.add(memory.cells[y][x], bias);
                if residual {
                    let cell = &mut cells[(y * width + x) * self.stride..];
                    sum = simd.relu(simd.add(sum, simd.load(cell)));
                    simd.store(sum, cell);
                } else {
                    sum = simd.relu(sum);
                }
                memory.cells[y][x] = sum;
            }
        }
    }
}
