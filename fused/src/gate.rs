//! Squeeze and excitation (Hu et al. 2018), and the means of channels: what looks at a whole board at once.

use super::conv::{Layer, Then};
use super::kernels::{Kernel, Level, Simd};
use super::panels::Aligned;
use super::plan::{Dense, Numbers, numbers_of};

/// The gate of a residual block in inference, with the residual sum behind it.
#[derive(Debug)]
pub(super) struct Gate {
    level: Level,
    cells: usize,
    /// Numbers from one cell to the next.
    stride: usize,
    /// Channels, in whole vectors.
    padded: usize,
    layers: Vec<Layer>,
}

/// The memory of one thread.
#[derive(Debug, Default)]
pub(super) struct GateScratch {
    /// What is gated.
    board: Aligned,
    means: Aligned,
    /// Results of every second layer.
    layers: [Aligned; 2],
    pixels: Vec<u32>,
}

#[cfg(test)]
impl GateScratch {
    pub(super) fn bytes(&self) -> usize {
        let Self { board, means, layers: [even, odd], pixels } = self;
        [board, means, even, odd].map(Aligned::bytes).iter().sum::<usize>() + pixels.capacity() * size_of::<u32>()
    }
}

impl Gate {
    /// Rows that go through a gate together where the convolutions before it take them one at a time: so few that they stay
    /// in a core's own cache.
    pub(super) const ROWS: usize = 8;

    /// A gate of these layers, for boards whose cells lie `stride` numbers apart; none without layers.
    pub(super) fn new(level: Level, shapes: &[Dense], numbers: Numbers, cells: usize, stride: usize) -> Option<Self> {
        let mut input_stride = stride;
        let layer = |dense: &Dense| {
            let layer = Layer::dense(level, dense, numbers_of(numbers, dense.step), [1, 1, input_stride]);
            input_stride = layer.output_stride();
            layer
        };
        let layers: Vec<Layer> = shapes.iter().map(layer).collect();
        let padded = shapes.last()?.outputs.next_multiple_of(level.shape().0);
        Some(Self { level, cells, stride, padded, layers })
    }

    /// Bytes of the packed weights.
    pub(super) fn bytes(&self) -> usize {
        self.layers.iter().map(Layer::bytes).sum()
    }

    /// Bytes that a thread works in with so many rows.
    pub(super) fn scratch(&self, rows: usize) -> usize {
        let every_second = |from| self.layers.iter().skip(from).step_by(2).map(Layer::output_row).max().unwrap_or(0);
        let numbers = [self.cells * self.stride, self.stride, every_second(0), every_second(1)];
        numbers.map(|numbers| Aligned::<f32>::bytes_of(rows * numbers)).iter().sum::<usize>()
            + 2 * rows * size_of::<u32>()
    }

    /// `main = relu(main + gate(y))` for so many rows, of which `y` is called to write what is gated.
    pub(super) fn apply(&self, rows: usize, main: &mut [f32], scratch: &mut GateScratch, y: impl FnOnce(&mut [f32])) {
        let Self { level, cells, stride, padded, .. } = *self;
        let GateScratch { board, means, layers: [from, to], pixels } = scratch;
        let board = board.at_least(rows * cells * stride);
        y(board);
        let means = means.at_least(rows * stride);
        level.run(Means { cells, stride, padded, board, means, row: stride });
        let (mut from, mut to) = (from, to);
        for (index, layer) in self.layers.iter().enumerate() {
            let input = if index == 0 { &*means } else { from.get() };
            let then = if index + 1 == self.layers.len() { Then::Store } else { Then::Relu };
            layer.apply(rows, input, to.at_least(rows * layer.output_row()), then, pixels);
            std::mem::swap(&mut from, &mut to);
        }
        let row = self.layers[self.layers.len() - 1].output_row();
        let gates = from.at_least(rows * row);
        gates.chunks_exact_mut(row).for_each(|gates| sigmoid(&mut gates[..padded]));
        level.run(Excite { cells, stride, padded, board, gates, row, main });
    }
}

/// From numbers to gates.
pub(super) fn sigmoid(numbers: &mut [f32]) {
    numbers.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-*x).exp()));
}

/// The mean of each channel over a board.
pub(super) struct Means<'a> {
    pub cells: usize,
    /// Numbers from one cell to the next.
    pub stride: usize,
    /// Channels, in whole vectors.
    pub padded: usize,
    pub board: &'a [f32],
    pub means: &'a mut [f32],
    /// Numbers from one row of means to the next.
    pub row: usize,
}

impl Kernel for Means<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { cells, stride, padded, .. } = self;
        let share = simd.splat(1.0 / cells as f32);
        for (board, means) in self.board.chunks_exact(cells * stride).zip(self.means.chunks_exact_mut(self.row)) {
            for channel in (0..padded).step_by(S::LANES) {
                let mut sum = simd.splat(0.0);
                for cell in 0..cells {
                    sum = simd.add(sum, simd.load(&board[cell * stride + channel..]));
                }
                simd.store(simd.mul(sum, share), &mut means[channel..]);
            }
        }
    }
}

/// `main = relu(main + board * gates)`.
struct Excite<'a> {
    cells: usize,
    stride: usize,
    padded: usize,
    board: &'a [f32],
    gates: &'a [f32],
    /// Numbers from one row of gates to the next.
    row: usize,
    main: &'a mut [f32],
}

impl Kernel for Excite<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { cells, stride, padded, .. } = self;
        let rows = self.board.chunks_exact(cells * stride).zip(self.main.chunks_exact_mut(cells * stride));
        for ((board, main), gates) in rows.zip(self.gates.chunks_exact(self.row)) {
            for channel in (0..padded).step_by(S::LANES) {
                let gate = simd.load(&gates[channel..]);
                for cell in 0..cells {
                    let main = &mut main[cell * stride + channel..];
                    let sum = simd.mul_add(simd.load(&board[cell * stride + channel..]), gate, simd.load(main));
                    simd.store(simd.relu(sum), main);
                }
            }
        }
    }
}
