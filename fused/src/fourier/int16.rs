//! The residual tower in 16-bit integers.
//!
//! Only the products are of integers; the transforms and all between them stay `f32`. The spectrum of a row is rounded in
//! units that are its own in each bin, found as it is made, so that a row knows nothing of its batch. The weights are
//! rounded in units of each bin and output, chosen once such that **no sum can overflow**: see [`unit`]. A product is thus
//! exact, and is rounded once more, to half precision, on its way back to the transforms.

use super::super::description::Parameters;
use super::super::gate::{Gate, GateScratch};
use super::super::kernels::{
    HALF_RANGE, Halves, IntegerLevel, Kernel, Layout, Level, Narrow, PEAK, Peaks, QuantisedProduct, Simd, Slots,
};
use super::super::panels::{Aligned, odd_lines};
use super::super::plan::{Block, Conv, Numbers, numbers_of};
use super::super::waves::Board;
use super::{Cells, Frequency, Stage, Transform, by_size, frequencies, segments, sweep, widest};

use rayon::prelude::*;

#[cfg(test)]
mod tests;

/// Channels are filled up with zeros to so many.
const CHANNELS: usize = 16;

/// Numbers of the longest vector.
const LONGEST: usize = 16;

/// The convolutions of a residual tower.
#[derive(Debug)]
pub(in super::super) struct Int16Tower {
    level: Level,
    integers: IntegerLevel,
    board: [usize; 2],
    transform: Transform,
    /// Numbers from one cell of the activations to the next.
    cell_stride: usize,
    slot_stride: usize,
    blocks: Vec<([Int16Conv; 2], Option<Gate>)>,
}

/// The matrices of a convolution at all frequencies.
#[derive(Debug)]
struct Int16Conv {
    inputs: usize,
    outputs: usize,
    /// Columns of the packed matrices.
    padded: usize,
    /// Where each bin starts in `weights`.
    starts: Vec<usize>,
    /// For each bin panels as [`QuantisedProduct`] reads them.
    weights: Aligned<[i16; 2]>,
    /// `[bin][padded]`, from the sums of a bin to half precision, in the same units for all.
    factors: Aligned,
    /// From half precision, and a row's largest number in a bin, to the product.
    factor: f32,
    bias: Aligned,
}

/// The memory of one thread.
#[derive(Debug, Default)]
pub(in super::super) struct Int16Scratch {
    /// Spectra of the chunk on their way into a product.
    shorts: Aligned<i16>,
    /// And on their way out.
    halves: Aligned<u16>,
    /// What they are multiplied by, `[row][slot]`.
    scales: Aligned,
    /// The spectrum of one row.
    spectrum: Aligned,
    /// The largest numbers of each slot of it, in vectors.
    peaks: Aligned,
}

#[cfg(test)]
impl Int16Scratch {
    pub(in super::super) fn bytes(&self) -> usize {
        let Self { shorts, halves, scales, spectrum, peaks } = self;
        shorts.bytes() + halves.bytes() + scales.bytes() + spectrum.bytes() + peaks.bytes()
    }
}

impl Int16Tower {
    /// Packs `blocks` for boards of `board` rows and columns, whose cells lie `cell_stride` numbers apart.
    pub(in super::super) fn new(
        level: Level,
        blocks: &[Block],
        numbers: Numbers,
        board: [usize; 2],
        transform: Transform,
        cell_stride: usize,
    ) -> Self {
        let integers = IntegerLevel::of(level);
        let conv = |conv: Conv| Int16Conv::new(integers, &conv, numbers_of(numbers, conv.step), transform);
        let block = |block: &Block| {
            (block.convs.map(conv), Gate::new(level, &block.gate, numbers, board[0] * board[1], cell_stride))
        };
        Self {
            level,
            integers,
            board,
            transform,
            cell_stride,
            slot_stride: odd_lines(widest(blocks).next_multiple_of(2 * LONGEST)),
            blocks: blocks.iter().map(block).collect(),
        }
    }

    fn convs(&self) -> impl Iterator<Item = &Int16Conv> {
        self.blocks.iter().flat_map(|(convs, _)| convs)
    }

    fn gates(&self) -> impl Iterator<Item = &Gate> {
        self.blocks.iter().filter_map(|(_, gate)| gate.as_ref())
    }

    /// The name of the kind of integer vectors.
    pub(in super::super) fn level(&self) -> &'static str {
        self.integers.name()
    }

    /// Bytes of spectra for each row of a chunk.
    pub(in super::super) fn row_bytes(&self) -> usize {
        // So many that the gaps between planes don't count.
        const ROWS: usize = 64;
        let layout = self.layout(ROWS);
        let [planes, slots] = [layout.plane(layout.bins), layout.slot(layout.bins)];
        let bytes = |conv: &Int16Conv| {
            planes * layout.input(conv.inputs) * size_of::<i16>()
                + slots * layout.output(conv.output_stride()) * size_of::<u16>()
        };
        self.convs().map(bytes).max().unwrap_or(0) / ROWS
    }

    /// Bytes of the packed matrices.
    pub(in super::super) fn bytes(&self) -> usize {
        self.convs().map(Int16Conv::bytes).sum::<usize>() + self.gates().map(Gate::bytes).sum::<usize>()
    }

    /// Bytes that they take besides while they are packed.
    pub(in super::super) fn packing(&self) -> usize {
        self.convs().map(Int16Conv::packing).max().unwrap_or(0)
    }

    /// Bytes that a thread works in with so many rows.
    pub(in super::super) fn scratch(&self, rows: usize) -> usize {
        let (layout, slots) = (self.layout(rows), self.transform.slots());
        let most = |of: &dyn Fn(&Int16Conv) -> usize| self.convs().map(of).max().unwrap_or(0);
        let shorts = most(&|conv| layout.plane(layout.bins) * layout.input(conv.inputs));
        let halves = most(&|conv| layout.slot(layout.bins) * layout.output(conv.output_stride()));
        Aligned::<i16>::bytes_of(shorts)
            + Aligned::<u16>::bytes_of(halves)
            + Aligned::<f32>::bytes_of(rows * slots)
            + Aligned::<f32>::bytes_of(slots * self.slot_stride)
            + Aligned::<f32>::bytes_of(slots * self.level.shape().0)
            + self.gates().map(|gate| gate.scratch(Gate::ROWS)).max().unwrap_or(0)
    }

    fn layout(&self, rows: usize) -> Layout {
        Layout { rows, reals: self.transform.reals(), bins: self.transform.bins() }
    }

    /// Takes the activations of `rows` rows of the batch through all blocks, in place.
    pub(in super::super) fn apply(
        &self,
        rows: usize,
        activations: &mut [f32],
        scratch: &mut Int16Scratch,
        gates: &mut GateScratch,
    ) {
        let row = self.board[0] * self.board[1] * self.cell_stride;
        let layout = self.layout(rows);
        let convs: Vec<&Int16Conv> = self.convs().collect();
        for (index, conv) in convs.iter().enumerate() {
            if index == 0 {
                self.sweep(layout, 0, activations, scratch, Stage::First, [None, Some(conv)]);
            }
            self.multiply(rows, conv, scratch);
            let next = convs.get(index + 1).copied();
            let inner = index % 2 == 0;
            if let Some(gate) = self.blocks[index / 2].1.as_ref().filter(|_| !inner) {
                for (few, activations) in activations.chunks_mut(Gate::ROWS * row).enumerate() {
                    let first = few * Gate::ROWS;
                    let squeeze =
                        |y: &mut [f32]| self.sweep(layout, first, y, scratch, Stage::Squeeze, [Some(conv), None]);
                    gate.apply(activations.len() / row, activations, gates, squeeze);
                    if next.is_some() {
                        self.sweep(layout, first, activations, scratch, Stage::First, [None, next]);
                    }
                }
                continue;
            }
            let stage = match next {
                None => Stage::Last,
                Some(_) if inner => Stage::Inner,
                Some(_) => Stage::Outer,
            };
            self.sweep(layout, 0, activations, scratch, stage, [Some(conv), next]);
        }
    }

    fn multiply(&self, rows: usize, conv: &Int16Conv, scratch: &mut Int16Scratch) {
        let layout = self.layout(rows);
        let [plane, slot] = [layout.input(conv.inputs), layout.output(conv.output_stride())];
        let shorts = scratch.shorts.get();
        let halves = scratch.halves.at_least(layout.slot(layout.bins) * slot);
        for (bin, factors) in conv.factors.get().chunks_exact(conv.padded).enumerate() {
            self.integers.run(QuantisedProduct {
                rows,
                complex: bin >= layout.reals,
                input: &shorts[layout.plane(bin) * plane..],
                input_plane: plane,
                pairs: conv.pairs(),
                weights: &conv.weights.get()[conv.starts[bin]..conv.starts[bin + 1]],
                factors,
                output: &mut halves[layout.slot(bin) * slot..],
                output_slot: slot,
                output_stride: conv.output_stride(),
            });
        }
    }

    /// Everything between the product with `last` and that with `next`, for the rows of `activations`, which begin at `first`.
    fn sweep(
        &self,
        layout: Layout,
        first: usize,
        activations: &mut [f32],
        scratch: &mut Int16Scratch,
        stage: Stage,
        [last, next]: [Option<&Int16Conv>; 2],
    ) {
        let Self { board, cell_stride, slot_stride, .. } = *self;
        let (slots, lanes) = (self.transform.slots(), self.level.shape().0);
        // As many channels as both sides have, in whole vectors.
        let channels = last.map(|conv| conv.padded).or(next.map(|conv| conv.inputs)).unwrap_or(0);
        let padded = channels.next_multiple_of(lanes);
        let output = last.map_or(0, Int16Conv::output_stride);
        let shorts = next.map_or(0, |next| layout.plane(layout.bins) * layout.input(next.inputs));
        let job = Job {
            layout,
            rows: first..first + activations.len() / (board[0] * board[1] * cell_stride),
            padded,
            halves: scratch.halves.get(),
            output_slot: layout.output(output),
            output_stride: output,
            scales: scratch.scales.at_least(layout.rows * slots),
            spectrum: scratch.spectrum.at_least(slots * slot_stride),
            slot_stride,
            peaks: scratch.peaks.at_least(slots * lanes),
            depth: next.map_or(0, |next| next.inputs.next_multiple_of(2 * lanes)),
            factor: next.map_or(0.0, |next| next.factor),
            shorts: scratch.shorts.at_least(shorts),
        };
        let bias = last.map_or(&[][..], |last| last.bias.get());
        let cells = Cells { activations, stride: cell_stride, bias, stage };
        sweep!(self.transform, board, self.level, Int16Sweep { board, cells, job });
    }
}

/// A sweep over spectra in 16-bit integers.
struct Int16Sweep<'a, const NY: usize, const NX: usize, const THREE: bool, const FULL: bool> {
    board: [usize; 2],
    cells: Cells<'a>,
    job: Job<'a>,
}

/// The spectra of an [`Int16Sweep`].
struct Job<'a> {
    layout: Layout,
    /// The rows that are swept.
    rows: std::ops::Range<usize>,
    /// Channels, filled up to whole vectors.
    padded: usize,
    halves: &'a [u16],
    output_slot: usize,
    output_stride: usize,
    /// Those of `halves`, and then of `shorts`.
    scales: &'a mut [f32],
    spectrum: &'a mut [f32],
    slot_stride: usize,
    peaks: &'a mut [f32],
    /// Channels of the next product, in whole pairs of vectors.
    depth: usize,
    /// Of the next product.
    factor: f32,
    shorts: &'a mut [i16],
}

impl<const NY: usize, const NX: usize, const THREE: bool, const FULL: bool> Kernel
    for Int16Sweep<'_, NY, NX, THREE, FULL>
{
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { mut cells, job, .. } = self;
        let board = if FULL { [NY - 1, NX - 1] } else { self.board };
        let mut memory = Board::<S::Vector, NY, NX, THREE>::new(simd.splat(0.0));
        let first = job.rows.start;
        let scales = job.scales[first * NY * NX..job.rows.end * NY * NX].chunks_exact_mut(NY * NX);
        for (row, scales) in job.rows.zip(scales) {
            job.peaks.fill(0.0);
            for channel in (0..job.padded).step_by(S::LANES) {
                if cells.stage == Stage::First {
                    cells.enter(simd, &mut memory, board, row - first, channel);
                } else {
                    let halves = &job.halves[row * job.output_stride + channel..];
                    memory.inverse(simd, &Halves::new(simd, halves, job.output_slot, scales), board);
                    if cells.stage == Stage::Squeeze {
                        cells.squeeze(simd, &memory, board, row - first, channel);
                        continue;
                    }
                    cells.between(simd, &mut memory, board, row - first, channel);
                }
                if cells.stage != Stage::Last {
                    let numbers = Slots::new(simd, &mut job.spectrum[channel..], job.slot_stride);
                    let peaks = Slots::new(simd, job.peaks, S::LANES);
                    memory.forward(simd, &mut Peaks { simd, numbers, peaks }, board[1]);
                }
            }
            if !matches!(cells.stage, Stage::Last | Stage::Squeeze) {
                let (spectrum, peaks, shorts) = (&*job.spectrum, &*job.peaks, &mut *job.shorts);
                let Job { slot_stride, depth, layout, factor, .. } = job;
                Narrow { spectrum, slot_stride, peaks, depth, row, layout, shorts, factor, scales }.run(simd);
            }
        }
    }
}

impl Int16Conv {
    fn new(integers: IntegerLevel, conv: &Conv, numbers: Option<&Parameters>, transform: Transform) -> Self {
        let padded = conv.outputs.next_multiple_of(integers.shape().0);
        let pairs = conv.inputs.next_multiple_of(CHANNELS) / 2;
        let mut starts = vec![0];
        for frequency in frequencies(conv, &[], transform) {
            starts.push(starts[starts.len() - 1] + segments(frequency.real) * pairs * padded);
        }
        let (inputs, outputs) = (conv.inputs, conv.outputs);
        let (factors, bias) = (Aligned::default(), Aligned::default());
        let empty = Self { inputs, outputs, padded, starts, weights: Aligned::default(), factors, factor: 0.0, bias };
        match numbers {
            Some(numbers) => empty.filled(integers, conv, numbers, transform),
            None => empty,
        }
    }

    fn filled(self, integers: IntegerLevel, conv: &Conv, numbers: &Parameters, transform: Transform) -> Self {
        let (lanes, vectors) = integers.shape();
        let (padded, pairs) = (self.padded, self.pairs());
        let frequencies: Vec<Frequency> = frequencies(conv, &numbers.weight, transform).collect();
        let quantised: Vec<Matrix> = frequencies.par_iter().map(Matrix::new).collect();
        let mut weights = Aligned::zeros(self.starts[quantised.len()]);
        for (matrix, start) in quantised.iter().zip(&self.starts) {
            let mut packed = &mut weights.get_mut()[*start..];
            for first in (0..padded).step_by(lanes * vectors) {
                let width = (padded - first).min(lanes * vectors);
                let (panel, rest) = packed.split_at_mut(matrix.segments() * pairs * width);
                for (index, numbers) in panel.chunks_exact_mut(width).enumerate() {
                    for (output, number) in (first..conv.outputs).zip(numbers) {
                        let input = 2 * (index % pairs);
                        *number = [input, input + 1].map(|input| matrix.number(index / pairs, input, output));
                    }
                }
                packed = rest;
            }
        }
        // Floats in half precision: units may differ much before the results of the finest lose anything.
        let units = || quantised.iter().flat_map(|matrix| &matrix.units).copied();
        let coarsest = units().filter(|&unit| unit > 0.0).fold(f64::INFINITY, f64::min);
        let range = f64::from(HALF_RANGE);
        let mut factors = Aligned::zeros(quantised.len() * padded);
        for (matrix, factors) in quantised.iter().zip(factors.get_mut().chunks_exact_mut(padded)) {
            for (unit, factor) in matrix.units.iter().zip(factors) {
                *factor = if *unit > 0.0 { (range * coarsest / unit) as f32 } else { 0.0 };
            }
        }
        let broken = units().any(f64::is_nan);
        let factor = if broken { f32::NAN } else { (1.0 / (f64::from(PEAK) * range * coarsest)) as f32 };
        let mut bias = Aligned::zeros(conv.outputs.next_multiple_of(CHANNELS));
        bias.get_mut()[..conv.outputs].copy_from_slice(&numbers.bias);
        Self { weights, factors, factor, bias, ..self }
    }

    /// Bytes of the packed matrices, once they are there.
    fn bytes(&self) -> usize {
        let bins = self.starts.len() - 1;
        Aligned::<[i16; 2]>::bytes_of(self.starts[bins])
            + Aligned::<f32>::bytes_of(bins * self.padded)
            + Aligned::<f32>::bytes_of(self.outputs.next_multiple_of(CHANNELS))
    }

    /// Bytes that it takes besides while it is packed: the matrices of all frequencies, of which as many as there are threads are
    /// not rounded yet.
    fn packing(&self) -> usize {
        let (numbers, bins) = (self.inputs * self.outputs, self.starts.len() - 1);
        (bins * size_of::<[i16; 2]>() + bins.min(rayon::current_num_threads()) * size_of::<[f64; 2]>()) * numbers
    }

    /// Pairs of inputs, with those of the padding.
    fn pairs(&self) -> usize {
        self.inputs.next_multiple_of(CHANNELS) / 2
    }

    /// Numbers from one part of the output to the next.
    fn output_stride(&self) -> usize {
        self.padded.next_multiple_of(CHANNELS)
    }
}

/// The matrix of one frequency, each column in integer multiples of one over its unit.
struct Matrix {
    real: bool,
    outputs: usize,
    /// `[input][output]`, real and imaginary part.
    numbers: Vec<[i16; 2]>,
    /// For each output. Zero if there is nothing to multiply, NaN if a weight is not finite.
    units: Vec<f64>,
}

impl Matrix {
    fn new(frequency: &Frequency) -> Self {
        let (inputs, outputs) = (frequency.conv.inputs, frequency.conv.outputs);
        let places = (0..inputs).flat_map(|input| (0..outputs).map(move |output| (input, output)));
        let exact: Vec<[f64; 2]> = places.map(|(input, output)| frequency.at(input, output)).collect();
        let column = |output: usize| exact[output..].iter().step_by(outputs).map(|[re, im]| re.abs() + im.abs());
        let units: Vec<f64> = (0..outputs).map(|output| unit(inputs, column(output))).collect();
        let round = |(index, parts): (usize, &[f64; 2])| parts.map(|x| (x * units[index % outputs]).round() as i16);
        let numbers = exact.iter().enumerate().map(round).collect();
        Self { real: frequency.real, outputs, numbers, units }
    }

    fn segments(&self) -> usize {
        segments(self.real)
    }

    /// What the product multiplies by: see [`Spectral`](super::Spectral) for the three matrices of a complex one.
    fn number(&self, segment: usize, input: usize, output: usize) -> i16 {
        let [re, im] = self.numbers.get(input * self.outputs + output).copied().unwrap_or_default();
        [re, im - re, -(re + im)][segment]
    }
}

/// The largest unit for a column of a matrix with which no sum overflows, whatever it is multiplied by; `sizes` are those
/// of real and imaginary part together.
///
/// With a real part `c` and an imaginary part `d` in units, and each number of an input at most [`PEAK`],
/// - what is packed is at most `|c| + |d|`, and must fit 16 bits;
/// - a part of the result is at most [`PEAK`] times the sum of all `|c| + |d|`, and must fit 32 bits.
///
/// Rounding adds at most 1/2 to `|c|` and to `|d|`.
fn unit(inputs: usize, sizes: impl Iterator<Item = f64>) -> f64 {
    let (largest, total) = sizes.fold((0.0, 0.0), |(largest, total), size| (f64::max(largest, size), total + size));
    let packed = f64::from(i16::MAX) - 1.0;
    let sum = f64::from(i32::MAX) / f64::from(PEAK) - inputs as f64;
    assert!(sum > 0.0, "{inputs} channels are too many for sums of 32 bits");
    if total == 0.0 {
        0.0
    } else if total.is_finite() {
        (packed / largest).min(sum / total)
    } else {
        f64::NAN
    }
}
