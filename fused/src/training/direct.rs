//! Convolutions by sums over their taps: packed products forward and back, and the gradients of their weights.

use super::super::conv::{Layer, Then};
use super::super::kernels::{Gradient, Level};
use super::super::panels::Aligned;
use super::super::plan::Conv;
use super::batch::{Scratch, parallel};

/// Rows of a matrix of weights whose gradient is one job.
pub(super) const ROWS: usize = 24;

/// A convolution.
#[derive(Debug)]
pub(super) struct DirectConv {
    level: Level,
    pub inputs: usize,
    pub outputs: usize,
    kernel: usize,
    cells: usize,
    input_stride: usize,
    forward: Layer,
    /// The way back to the inputs, where that is asked for.
    back: Option<Layer>,
    /// For each tap, the cells from which it lands on the board.
    taps: Vec<Vec<u32>>,
    offsets: Vec<isize>,
    sums: Aligned,
}

impl DirectConv {
    /// From cells `input_stride` numbers apart to others `output_stride` apart.
    pub(super) fn new(
        level: Level,
        [inputs, outputs, kernel]: [usize; 3],
        board: [usize; 2],
        [input_stride, output_stride]: [usize; 2],
        back: bool,
    ) -> Self {
        let conv = |inputs, outputs, stride| {
            let shape = Conv { step: 0, norm: None, bias: true, inputs, outputs, kernel };
            Layer::conv(level, &shape, None, board, stride)
        };
        let forward = conv(inputs, outputs, input_stride);
        let back = back.then(|| conv(outputs, inputs, output_stride).with_output_stride(input_stride));
        let [height, width] = board;
        let lands = |at: usize, tap: usize, side: usize| (kernel / 2..side + kernel / 2).contains(&(at + tap));
        let on_board = |cell: usize, tap: usize| {
            lands(cell / width, tap / kernel, height) && lands(cell % width, tap % kernel, width)
        };
        let cells = |tap| (0..height * width).filter(|&cell| on_board(cell, tap)).map(|cell| cell as u32).collect();
        let middle = (kernel / 2) as isize;
        let offset =
            |tap: usize| ((tap / kernel) as isize - middle) * width as isize + (tap % kernel) as isize - middle;
        Self {
            level,
            inputs,
            outputs,
            kernel,
            cells: height * width,
            input_stride,
            forward: forward.with_output_stride(output_stride),
            back,
            taps: (0..kernel * kernel).map(cells).collect(),
            offsets: (0..kernel * kernel).map(|tap| offset(tap) * input_stride as isize).collect(),
            sums: Aligned::default(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.forward.bytes() + self.back.as_ref().map_or(0, Layer::bytes) + self.sums.bytes()
    }

    /// Numbers in the sums that become the gradient.
    pub(super) fn sums(&self) -> usize {
        self.kernel * self.kernel * self.inputs * self.outputs.next_multiple_of(self.level.shape().0)
    }

    /// Packs the weights `[outputs][inputs][kernel][kernel]`, and a bias that may be empty.
    pub(super) fn pack(&mut self, weight: &[f32], bias: &[f32]) {
        let (inputs, taps) = (self.inputs, self.kernel * self.kernel);
        self.forward.refill(bias, |tap, input, output| weight[(output * inputs + input) * taps + tap]);
        if let Some(back) = &mut self.back {
            // The same taps seen from the other side.
            back.refill(&[], |tap, output, input| weight[(output * inputs + input) * taps + taps - 1 - tap]);
        }
    }

    pub(super) fn forward(&self, rows: usize, input: &[f32], output: &mut [f32], then: Then, pixels: &mut Vec<u32>) {
        self.forward.apply(rows, input, output, then, pixels);
    }

    /// The gradient of the inputs from that of the outputs, stored or added.
    pub(super) fn back(&self, rows: usize, output: &[f32], input: &mut [f32], add: bool, pixels: &mut Vec<u32>) {
        if let Some(back) = &self.back {
            back.apply(rows, output, input, if add { Then::Add } else { Then::Store }, pixels);
        }
    }

    /// The gradient of the weights from the inputs and the gradient of the outputs, both of the whole batch.
    pub(super) fn gradient(
        &mut self,
        rows: usize,
        input: &[f32],
        output: &[f32],
        gradient: &mut [f32],
        scratch: &mut Vec<Scratch>,
    ) {
        let Self { level, inputs, outputs, kernel, cells, input_stride, .. } = *self;
        let (output_stride, padded) = (self.forward.output_stride(), outputs.next_multiple_of(level.shape().0));
        let taps = kernel * kernel;
        let sums = self.sums.at_least(taps * inputs * padded);
        let jobs = sums.chunks_mut(inputs * padded).enumerate().flat_map(|(tap, sums)| {
            sums.chunks_mut(ROWS * padded).enumerate().map(move |(block, sums)| (tap, block * ROWS, sums))
        });
        parallel(scratch, jobs, |scratch, (tap, first, sums)| {
            let pixels = &mut scratch.pixels;
            pixels.clear();
            for row in 0..rows {
                pixels.extend(self.taps[tap].iter().map(|cell| (row * cells) as u32 + cell));
            }
            sums.fill(0.0);
            level.run(Gradient {
                input,
                input_stride,
                offset: self.offsets[tap] + first as isize,
                inputs: sums.len() / padded,
                output,
                output_stride,
                padded,
                pixels,
                sums,
            });
        });
        for (index, number) in gradient.iter_mut().enumerate() {
            let (output, input, tap) = (index / (inputs * taps), index / taps % inputs, index % taps);
            *number = sums[(tap * inputs + input) * padded + output];
        }
    }
}
