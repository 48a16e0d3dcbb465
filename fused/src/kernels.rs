//! The matrix products that carry the network, and the vectors below them.
//!
//! This module with its parts is the only one with `unsafe`. It rests on two facts:
//! - a token such as `Avx2` is made only inside [`Level::run`], for a level that [`Level::available`] has detected;
//! - the products check the bounds of everything that they will touch before they start, and the inner loops then don't.
//!
//! A number of the result is always the same chain of multiply-adds, whichever rows share its tile.
//! That is what makes a row independent of the batch around it.

#![expect(clippy::needless_range_loop, reason = "the loops over a tile or a board use one index on several arrays")]

use super::panels::Panels;

mod halves;
mod level;
mod pages;
mod simd;

pub(super) use bf16::{Amx, Bf16Gradient, Bf16Matrix, Bf16Spectra, Bf16Spectral};
pub(super) use gradient::{Gradient, Spectra, SpectralGradient};
pub(super) use integer::IntegerLevel;
pub use level::Level;
pub(super) use pages::prefer_huge_pages;
pub(super) use quantised::{HALF_RANGE, Halves, Layout, Narrow, PEAK, Peaks, QuantisedProduct};
pub(super) use simd::{AnySlots, Kernel, Simd, Sink, Slots, Source, shorts};

/// Rows of a tile of the matrix products: 6 rows by 2 vectors fill the 16 registers of AVX2, 6 by 4 the 32 of AVX-512
/// and of NEON.
pub(super) const TILE: usize = 6;

/// Runs `$tile::<rows, vectors>($job)` for a tile whose shape is known only at run time.
macro_rules! by_shape {
    ($simd:ident, $rows:expr, $vectors:expr, $tile:ident($job:expr)) => {
        match $vectors {
            1 => by_shape!(@ $simd, $rows, 1, $tile($job)),
            2 => by_shape!(@ $simd, $rows, 2, $tile($job)),
            3 if S::VECTORS > 2 => by_shape!(@ $simd, $rows, 3, $tile($job)),
            4 if S::VECTORS > 2 => by_shape!(@ $simd, $rows, 4, $tile($job)),
            other => unreachable!("a tile of {other} vectors"),
        }
    };
    (@ $simd:ident, $rows:expr, $vectors:literal, $tile:ident($job:expr)) => {
        match $rows {
            1 => $simd.outlined($tile::<1, $vectors>($job)),
            2 => $simd.outlined($tile::<2, $vectors>($job)),
            3 => $simd.outlined($tile::<3, $vectors>($job)),
            4 => $simd.outlined($tile::<4, $vectors>($job)),
            5 => $simd.outlined($tile::<5, $vectors>($job)),
            6 => $simd.outlined($tile::<6, $vectors>($job)),
            other => unreachable!("a tile of {other} rows"),
        }
    };
}

mod bf16;
mod gradient;
mod integer;
mod quantised;

/// The first slot of a bin, of which the first `reals` have one slot each and the others two.
#[inline(always)]
pub(super) fn slot_of(bin: usize, reals: usize) -> usize {
    bin + bin.saturating_sub(reals)
}

/// The lengths of the tiles that cover `rows` rows, as equal as they can be: nearly empty tiles waste the processor.
#[inline(always)]
fn tiles(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(TILE);
    (0..count).map(move |i| (i * rows / count, (i + 1) * rows / count - i * rows / count))
}

/// One reading position of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    /// From the pixel's own numbers to those that are read, in numbers.
    pub offset: isize,
    /// The segment of the weights that applies there.
    pub segment: usize,
}

/// `output[p] = [relu](sum over taps of input[p + tap] W[tap] + bias [+ output[p]])` for a list of pixels `p`.
///
/// A pixel is a cell of a board of the batch for a convolution, and a whole row of the batch for a dense layer.
pub(super) struct Product<'a> {
    pub input: &'a [f32],
    /// Numbers from one pixel of the input to the next.
    pub input_stride: usize,
    pub output: &'a mut [f32],
    /// Numbers from one pixel of the output to the next.
    pub output_stride: usize,
    pub pixels: &'a [u32],
    pub taps: &'a [Tap],
    pub weights: &'a Panels,
    /// Adds what stands in the output already.
    pub residual: bool,
    pub relu: bool,
}

impl Kernel for Product<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { weights, pixels, taps, .. } = self;
        let (Some(&low), Some(&high)) = (pixels.iter().min(), pixels.iter().max()) else { return };
        let before = taps.iter().map(|tap| tap.offset).min().unwrap_or(0);
        let after = taps.iter().map(|tap| tap.offset).max().unwrap_or(0);
        assert!(low as isize * self.input_stride as isize + before >= 0, "a tap before the input");
        let end = high as isize * self.input_stride as isize + after + weights.depth() as isize;
        assert!(end <= self.input.len() as isize, "a tap behind the input");
        assert!(
            high as usize * self.output_stride + weights.padded() <= self.output.len(),
            "a pixel behind the output"
        );
        assert!(taps.iter().all(|tap| tap.segment < weights.segments()), "a tap without weights");
        assert_eq!(weights.shape(), (S::LANES, S::VECTORS), "weights packed for another level");
        for panel in weights.panels() {
            for (first, rows) in tiles(pixels.len()) {
                let job = ProductJob {
                    input: self.input.as_ptr(),
                    input_stride: self.input_stride,
                    output: self.output[panel.start..].as_mut_ptr(),
                    output_stride: self.output_stride,
                    pixels: &pixels[first..first + rows],
                    taps,
                    weights: panel.data.as_ptr(),
                    bias: panel.bias.as_ptr(),
                    depth: weights.depth(),
                    residual: self.residual,
                    relu: self.relu,
                };
                by_shape!(simd, rows, panel.vectors, ProductTile(job));
            }
        }
    }
}

/// The part of a [`Product`] that falls into one tile. Whoever makes one has checked that the lowest and the highest pixel
/// with every tap lie inside input and output, and that the panel has what the taps ask for.
struct ProductJob<'a> {
    input: *const f32,
    input_stride: usize,
    output: *mut f32,
    output_stride: usize,
    pixels: &'a [u32],
    taps: &'a [Tap],
    weights: *const f32,
    bias: *const f32,
    depth: usize,
    residual: bool,
    relu: bool,
}

struct ProductTile<'a, const R: usize, const V: usize>(ProductJob<'a>);

impl<const R: usize, const V: usize> Kernel for ProductTile<'_, R, V> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let job = self.0;
        let mut sums = [[simd.splat(0.0); V]; R];
        // SAFETY: the maker of the job has checked all pixels with all taps, and so each address below.
        unsafe {
            for tap in job.taps {
                let mut a = [job.input; R];
                for i in 0..R {
                    a[i] = job.input.offset(job.pixels[i] as isize * job.input_stride as isize + tap.offset);
                }
                let mut b = job.weights.add(tap.segment * job.depth * V * S::LANES);
                for k in 0..job.depth {
                    let mut w = [simd.splat(0.0); V];
                    for j in 0..V {
                        w[j] = simd.read(b.add(j * S::LANES));
                    }
                    for i in 0..R {
                        let x = simd.splat(*a[i].add(k));
                        for j in 0..V {
                            sums[i][j] = simd.mul_add(x, w[j], sums[i][j]);
                        }
                    }
                    b = b.add(V * S::LANES);
                }
            }
            for i in 0..R {
                let to = job.output.add(job.pixels[i] as usize * job.output_stride);
                for j in 0..V {
                    let mut sum = simd.add(sums[i][j], simd.read(job.bias.add(j * S::LANES)));
                    if job.residual {
                        sum = simd.add(sum, simd.read(to.add(j * S::LANES)));
                    }
                    simd.write(if job.relu { simd.relu(sum) } else { sum }, to.add(j * S::LANES));
                }
            }
        }
    }
}

/// Multiplies spectra by one matrix for each frequency, in place or from other spectra of the same strides.
///
/// The first bins are real, of one slot and one segment of weights each. The others are complex, of two slots and three
/// segments `c`, `d - c`, `-(c + d)` for the matrix `c + i d`: Gauss's product with three multiplications for four.
pub(super) struct Spectral<'a> {
    /// What is multiplied, if not `spectra` itself.
    pub input: Option<&'a [f32]>,
    pub spectra: &'a mut [f32],
    pub rows: usize,
    pub row_stride: usize,
    pub slot_stride: usize,
    /// Number of real bins.
    pub reals: usize,
    pub bins: &'a [Panels],
    /// Room for the inputs of one bin, at least [`Spectral::scratch`] numbers.
    pub scratch: &'a mut [f32],
}

/// Inputs of a bin are copied in blocks of so many channels, [`BLOCK_STRIDE`] apart: with strides that the compiler knows
/// one register addresses all rows of a tile.
const BLOCK: usize = 64;
const BLOCK_STRIDE: usize = BLOCK + 16;

impl Spectral<'_> {
    /// Numbers that `scratch` must hold.
    pub(super) fn scratch(rows: usize, depth: usize) -> usize {
        3 * rows * depth.div_ceil(BLOCK) * BLOCK_STRIDE
    }
}

impl Kernel for Spectral<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.rows;
        if rows == 0 {
            return;
        }
        for (index, weights) in self.bins.iter().enumerate() {
            let complex = index >= self.reals;
            let slot = slot_of(index, self.reals);
            let depth = weights.depth();
            let start = slot * self.slot_stride;
            let part = depth.div_ceil(BLOCK) * rows * BLOCK_STRIDE;
            assert_eq!(weights.segments(), if complex { 3 } else { 1 });
            assert_eq!(weights.shape(), (S::LANES, S::VECTORS), "weights packed for another level");
            // The last number that is read or written, if strides may be in any order.
            let last = (rows - 1) * self.row_stride + start + complex as usize * self.slot_stride;
            assert!(last + weights.padded() <= self.spectra.len(), "a row behind the spectra");
            assert!(self.scratch.len() >= 3 * part);
            // The inputs move aside, because the results take their place before the last panel has read them. Whole
            // vectors move; what the last one holds behind `depth` is never used.
            for row in 0..rows {
                let spectrum = &self.input.unwrap_or(self.spectra)[row * self.row_stride + start..];
                for channel in (0..depth).step_by(S::LANES) {
                    let to = (channel / BLOCK * rows + row) * BLOCK_STRIDE + channel % BLOCK;
                    let re = simd.load(&spectrum[channel..]);
                    simd.store(re, &mut self.scratch[to..]);
                    if complex {
                        let im = simd.load(&spectrum[self.slot_stride + channel..]);
                        simd.store(im, &mut self.scratch[part + to..]);
                        simd.store(simd.add(re, im), &mut self.scratch[2 * part + to..]);
                    }
                }
            }
            for panel in weights.panels() {
                for (first, tile_rows) in tiles(rows) {
                    let job = SpectralJob {
                        input: self.scratch[first * BLOCK_STRIDE..].as_ptr(),
                        part,
                        block: rows * BLOCK_STRIDE,
                        weights: panel.data.as_ptr(),
                        depth,
                        output: self.spectra[first * self.row_stride + start + panel.start..].as_mut_ptr(),
                        row_stride: self.row_stride,
                        slot_stride: self.slot_stride,
                        complex,
                    };
                    by_shape!(simd, tile_rows, panel.vectors, SpectralTile(job));
                }
            }
        }
    }
}

/// The part of a [`Spectral`] that falls into one bin and one tile. Whoever makes one has checked that its rows lie inside
/// `scratch` and its slots inside `spectra`, and that the panel has one segment, or three if it is complex.
struct SpectralJob {
    input: *const f32,
    /// Numbers from real to imaginary parts, and from those to the sums of both.
    part: usize,
    /// Numbers from one block of channels to the next.
    block: usize,
    weights: *const f32,
    depth: usize,
    output: *mut f32,
    row_stride: usize,
    slot_stride: usize,
    complex: bool,
}

struct SpectralTile<const R: usize, const V: usize>(SpectralJob);

impl<const R: usize, const V: usize> Kernel for SpectralTile<R, V> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let job = self.0;
        let zero = [[simd.splat(0.0); V]; R];
        let segment = job.depth * V * S::LANES;
        // SAFETY: the maker of the job has checked the rows, the slots and the segments.
        unsafe {
            if job.complex {
                let shared = job.accumulate(simd, zero, 2 * job.part, 0);
                let im = job.accumulate(simd, shared, 0, segment);
                job.write(simd, im, job.slot_stride);
                let re = job.accumulate(simd, shared, job.part, 2 * segment);
                job.write(simd, re, 0);
            } else {
                let sums = job.accumulate(simd, zero, 0, 0);
                job.write(simd, sums, 0);
            }
        }
    }
}

impl SpectralJob {
    /// `sums` plus the product of the inputs at `from` and the weights at `segment`.
    ///
    /// # Safety
    /// `R` rows of inputs and `depth` rows of weights lie there.
    #[inline(always)]
    unsafe fn accumulate<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        mut sums: [[S::Vector; V]; R],
        from: usize,
        segment: usize,
    ) -> [[S::Vector; V]; R] {
        // SAFETY: the caller vouches for it.
        unsafe {
            let mut b = self.weights.add(segment);
            let mut block = self.input.add(from);
            let mut left = self.depth;
            while left > 0 {
                let mut a = block;
                for _ in 0..left.min(BLOCK) {
                    let mut w = [simd.splat(0.0); V];
                    for j in 0..V {
                        w[j] = simd.read(b.add(j * S::LANES));
                    }
                    for i in 0..R {
                        let x = simd.splat(*a.add(i * BLOCK_STRIDE));
                        for j in 0..V {
                            sums[i][j] = simd.mul_add(x, w[j], sums[i][j]);
                        }
                    }
                    a = a.add(1);
                    b = b.add(V * S::LANES);
                }
                left = left.saturating_sub(BLOCK);
                block = block.wrapping_add(self.block);
            }
        }
        sums
    }

    /// # Safety
    /// `R` rows of `V` vectors can be written at `offset` from the output.
    #[inline(always)]
    unsafe fn write<S: Simd, const R: usize, const V: usize>(&self, simd: S, sums: [[S::Vector; V]; R], offset: usize) {
        for i in 0..R {
            for j in 0..V {
                // SAFETY: the caller vouches for it.
                unsafe { simd.write(sums[i][j], self.output.add(offset + i * self.row_stride + j * S::LANES)) }
            }
        }
    }
}
