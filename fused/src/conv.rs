//! Convolutions and dense layers as products over lists of pixels.
//!
//! Activations lie as `[row of the batch][cell][channel]`, each cell an odd number of cache lines from the next.
//! The cells of a board fall into classes that see the same part of the kernel on the board (corner, edge, inside);
//! a tile takes its pixels from one class over all rows of the batch, and so never multiplies by the zeros of the padding.

use super::description::Parameters;
use super::kernels::{Level, Product, Tap};
use super::panels::{Panels, odd_lines};
use super::plan::{Conv, Dense};

/// What a product does besides multiplying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Adds the bias.
    Store,
    /// Adds the bias, then ReLU.
    Relu,
    /// Adds the bias and what stands in the output.
    Add,
    /// Adds the bias and what stands in the output, then ReLU: the end of a residual block.
    ResidualRelu,
}

/// A layer whose weights are packed for one level. One that is made without numbers has to be refilled first.
#[derive(Debug)]
pub(super) struct Layer {
    level: Level,
    weights: Panels,
    /// Pixels in one row of the batch.
    pixels: usize,
    classes: Vec<Class>,
    input_stride: usize,
    output_stride: usize,
}

/// Pixels of a row of the batch that are reached by the same taps.
#[derive(Debug)]
struct Class {
    taps: Vec<Tap>,
    pixels: Vec<u32>,
}

impl Layer {
    /// A convolution over a board, from cells `input_stride` numbers apart.
    pub(super) fn conv(
        level: Level,
        conv: &Conv,
        numbers: Option<&Parameters>,
        [height, width]: [usize; 2],
        input_stride: usize,
    ) -> Self {
        let kernel = conv.kernel;
        let mut weights = Panels::new(level, [kernel * kernel, conv.inputs, conv.outputs]);
        if let Some(Parameters { weight, bias }) = numbers {
            weights.fill(bias, |tap, input, output| weight[(output * conv.inputs + input) * kernel * kernel + tap]);
        }
        let mut classes = Vec::<(Vec<usize>, Class)>::new();
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let cell = (y * width + x) as u32;
            // Position `tap` of the kernel reads the cell that lies `tap - kernel / 2` away.
            let lands = |at: usize, tap: usize, side: usize| (kernel / 2..side + kernel / 2).contains(&(at + tap));
            let on_board = |tap: &usize| lands(y, tap / kernel, height) && lands(x, tap % kernel, width);
            let taps: Vec<usize> = (0..kernel * kernel).filter(on_board).collect();
            if let Some((_, class)) = classes.iter_mut().find(|(known, _)| *known == taps) {
                class.pixels.push(cell);
                continue;
            }
            let offset = |tap: usize, middle: isize| {
                ((tap / kernel) as isize - middle) * width as isize + (tap % kernel) as isize - middle
            };
            let tap =
                |&tap: &usize| Tap { offset: offset(tap, (kernel / 2) as isize) * input_stride as isize, segment: tap };
            let class = Class { taps: taps.iter().map(tap).collect(), pixels: vec![cell] };
            classes.push((taps, class));
        }
        let classes = classes.into_iter().map(|(_, class)| class).collect();
        let output_stride = odd_lines(weights.padded());
        Self { level, weights, pixels: height * width, classes, input_stride, output_stride }
    }

    /// A dense layer from the cells of a board, `cell_stride` apart in rows `row_stride` apart, whose numbers it takes as
    /// `[channels, cells]`. A row of plain numbers has one cell.
    pub(super) fn dense(
        level: Level,
        dense: &Dense,
        numbers: Option<&Parameters>,
        [cells, cell_stride, row_stride]: [usize; 3],
    ) -> Self {
        let channels = dense.inputs / cells;
        let mut weights = Panels::new(level, [cells, channels, dense.outputs]);
        if let Some(Parameters { weight, bias }) = numbers {
            weights.fill(bias, |cell, channel, output| weight[(channel * cells + cell) * dense.outputs + output]);
        }
        let taps = (0..cells).map(|cell| Tap { offset: (cell * cell_stride) as isize, segment: cell }).collect();
        let classes = vec![Class { taps, pixels: vec![0] }];
        let output_stride = odd_lines(weights.padded());
        Self { level, weights, pixels: 1, classes, input_stride: row_stride, output_stride }
    }

    /// Sets the distance from one pixel of the output to the next.
    pub(super) fn with_output_stride(self, output_stride: usize) -> Self {
        assert!(output_stride >= self.weights.padded(), "pixels that overlap");
        Self { output_stride, ..self }
    }

    /// Replaces the weights by the numbers `weight(tap, input, output)`.
    pub(super) fn refill(&mut self, bias: &[f32], weight: impl Fn(usize, usize, usize) -> f32) {
        self.weights.fill(bias, weight);
    }

    /// Bytes of the packed weights, once they are there.
    pub(super) fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Numbers from one pixel of the output to the next.
    pub(super) fn output_stride(&self) -> usize {
        self.output_stride
    }

    /// Numbers that one row of the batch takes in the output.
    pub(super) fn output_row(&self) -> usize {
        self.pixels * self.output_stride
    }

    /// Takes `rows` rows of the batch through the layer; `pixels` is scratch.
    pub(super) fn apply(&self, rows: usize, input: &[f32], output: &mut [f32], then: Then, pixels: &mut Vec<u32>) {
        for class in &self.classes {
            pixels.clear();
            for row in 0..rows {
                let first = (row * self.pixels) as u32;
                pixels.extend(class.pixels.iter().map(|pixel| first + pixel));
            }
            self.level.run(Product {
                input,
                input_stride: self.input_stride,
                output: &mut *output,
                output_stride: self.output_stride,
                pixels,
                taps: &class.taps,
                weights: &self.weights,
                residual: matches!(then, Then::Add | Then::ResidualRelu),
                relu: matches!(then, Then::Relu | Then::ResidualRelu),
            });
        }
    }
}
