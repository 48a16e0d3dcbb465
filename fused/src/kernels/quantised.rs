//! Products of spectra in numbers of 16 bits, and the ways there and back.
//!
//! On the way into a product, spectra lie as `[bin][group of channels][row][part][channel of the group]`, with three parts:
//! real part, imaginary part and their sum. On the way out they lie as `[bin][row][part][channel]` with two parts. A real
//! bin has only the first part; nothing stands in the place of the others.

use super::integer::{BLOCK, Integer, IntegerKernel};
use super::{TILE, tiles};

/// The size of the largest number of a bin that [`Narrow`] writes; with this the sum of two still fits 16 bits.
pub(in super::super) const PEAK: i16 = (1 << 14) - 1;

/// The largest factor for sums of 32 bits that keeps them in the range of half precision.
pub(in super::super) const HALF_RANGE: f32 = 1.0 / 65536.0;

/// Bins that are weaker than that are narrowed as if they had a number of this size; its reciprocal is still finite.
const WEAKEST: f32 = 1e-30;

/// Channels of a group. With strides that the compiler knows one register addresses all rows of a tile.
const GROUP: usize = 64;
const INPUT_ROW: usize = 3 * GROUP;

/// The bins of the spectra of a chunk.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Layout {
    pub rows: usize,
    /// Number of real bins, which come first.
    pub reals: usize,
    /// Number of all bins.
    pub bins: usize,
}

impl Layout {
    /// Numbers that one bin of `channels` channels takes on its way into a product.
    pub(in super::super) fn input(&self, channels: usize) -> usize {
        channels.div_ceil(GROUP) * self.rows * INPUT_ROW
    }

    /// Numbers that one bin takes on its way out, with `stride` from one part to the next.
    pub(in super::super) fn output(&self, stride: usize) -> usize {
        self.rows * 2 * stride
    }

    /// The first slot of a bin in a spectrum of one row.
    fn slot(&self, bin: usize) -> usize {
        bin + bin.saturating_sub(self.reals)
    }
}

/// Rounds the spectrum of one row to 16 bits, each bin in units of its own: its largest number becomes [`PEAK`].
pub(in super::super) struct Narrow<'a> {
    pub spectrum: &'a [f32],
    pub slot_stride: usize,
    /// Channels to take; zeros fill up the last block.
    pub depth: usize,
    pub row: usize,
    pub layout: Layout,
    pub shorts: &'a mut [i16],
    /// For each bin the size of its largest number, or NaN where that is not finite.
    pub peaks: &'a mut [f32],
}

impl<'a> Narrow<'a> {
    /// Real and imaginary part of a bin; of a real one twice the real part.
    #[inline(always)]
    fn parts(&self, bin: usize) -> [&'a [f32]; 2] {
        let (spectrum, slot) = (self.spectrum, self.layout.slot(bin));
        let last = slot + (bin >= self.layout.reals) as usize;
        [&spectrum[slot * self.slot_stride..][..self.depth], &spectrum[last * self.slot_stride..][..self.depth]]
    }

    /// Writes a block of numbers and, for a complex bin, of imaginary parts and of sums.
    #[inline(always)]
    fn block<S: Integer>(simd: S, [re, im]: [&[f32]; 2], complex: bool, scale: f32, to: &mut [i16]) {
        assert!(re.len() >= BLOCK && im.len() >= BLOCK && to.len() >= 2 * GROUP + BLOCK);
        // SAFETY: both parts have a block of numbers, and `to` has room for three, a group apart.
        unsafe {
            let a = simd.narrow(re.as_ptr(), scale);
            simd.write(a, to.as_mut_ptr());
            if complex {
                let b = simd.narrow(im.as_ptr(), scale);
                simd.write(b, to.as_mut_ptr().add(GROUP));
                simd.write(simd.add(a, b), to.as_mut_ptr().add(2 * GROUP));
            }
        }
    }
}

/// The last block of numbers, if it is not a whole one, and zeros.
#[inline(always)]
fn tail(numbers: &[f32]) -> [f32; BLOCK] {
    let mut tail = [0.0; BLOCK];
    let rest = numbers.len() % BLOCK;
    if rest > 0 {
        tail[..rest].copy_from_slice(&numbers[numbers.len() - rest..]);
    }
    tail
}

impl IntegerKernel for Narrow<'_> {
    #[inline(always)]
    fn run<S: Integer>(self, simd: S) {
        let Self { layout, depth, .. } = self;
        let whole = depth - depth % BLOCK;
        let one = layout.input(depth);
        assert!(self.row < layout.rows, "a row behind the chunk");
        // All peaks first: a bin need not wait for its own.
        for bin in 0..layout.bins {
            let mut peaks = [simd.no_peak(); 2];
            for (part, peak) in self.parts(bin).into_iter().zip(&mut peaks).take(1 + (bin >= layout.reals) as usize) {
                for channel in (0..whole).step_by(BLOCK) {
                    // SAFETY: the block lies inside the part.
                    *peak = unsafe { simd.peak(*peak, part.as_ptr().add(channel)) };
                }
                if whole < depth {
                    // SAFETY: a tail is a block.
                    *peak = unsafe { simd.peak(*peak, tail(part).as_ptr()) };
                }
            }
            let highest = simd.highest(peaks);
            self.peaks[bin] = if highest.is_finite() { highest.max(WEAKEST) } else { f32::NAN };
        }
        for bin in 0..layout.bins {
            let [re, im] = self.parts(bin);
            let complex = bin >= layout.reals;
            let scale = f32::from(PEAK) / self.peaks[bin];
            let to = &mut self.shorts[bin * one..(bin + 1) * one];
            let place = |channel: usize| (channel / GROUP * layout.rows + self.row) * INPUT_ROW + channel % GROUP;
            for channel in (0..whole).step_by(BLOCK) {
                Self::block(simd, [&re[channel..], &im[channel..]], complex, scale, &mut to[place(channel)..]);
            }
            if whole < depth {
                Self::block(simd, [&tail(re), &tail(im)], complex, scale, &mut to[place(whole)..]);
            }
        }
    }
}

/// Turns the products of one row back into a spectrum.
pub(in super::super) struct Widen<'a> {
    pub halves: &'a [u16],
    /// Numbers from one part of the products to the next, whole blocks.
    pub stride: usize,
    pub layout: Layout,
    pub row: usize,
    /// What [`Narrow`] has found for this row.
    pub peaks: &'a [f32],
    /// By this and its peak each number is multiplied.
    pub factor: f32,
    pub spectrum: &'a mut [f32],
    pub slot_stride: usize,
}

impl IntegerKernel for Widen<'_> {
    #[inline(always)]
    fn run<S: Integer>(self, simd: S) {
        let Self { layout, stride, .. } = self;
        assert!(stride.is_multiple_of(BLOCK) && stride <= self.slot_stride, "slots that overlap");
        for bin in 0..layout.bins {
            let scale = self.peaks[bin] * self.factor;
            let parts = if bin < layout.reals { 1 } else { 2 };
            let from = &self.halves[bin * layout.output(stride) + self.row * 2 * stride..][..parts * stride];
            // The same bin of the next row.
            simd.prefetch(from.as_ptr().wrapping_add(2 * stride), size_of_val(from));
            for (part, numbers) in from.chunks_exact(stride).enumerate() {
                let to = &mut self.spectrum[(layout.slot(bin) + part) * self.slot_stride..][..stride];
                for channel in (0..stride).step_by(BLOCK) {
                    // SAFETY: both have `stride` numbers, which are whole blocks.
                    unsafe { simd.widen(numbers.as_ptr().add(channel), scale, to.as_mut_ptr().add(channel)) }
                }
            }
        }
    }
}

/// Multiplies one bin of all rows by its matrix, exactly but for the rounding of the results.
///
/// A complex product is Gauss's, as in [`Spectral`](super::Spectral), of integers: sums may wrap around 32 bits on the way,
/// as long as the results fit.
pub(in super::super) struct QuantisedProduct<'a> {
    pub rows: usize,
    pub complex: bool,
    /// One bin as [`Layout::input`] says.
    pub input: &'a [i16],
    /// Pairs of input channels.
    pub pairs: usize,
    /// In panels as wide as a tile, each `[segment][pair][column]`, one segment or three; what lies behind is fetched.
    pub weights: &'a [[i16; 2]],
    /// What becomes of each column's sums; says how many columns there are, in whole vectors.
    pub factors: &'a [f32],
    /// One bin as [`Layout::output`] says.
    pub output: &'a mut [u16],
    /// Numbers from one part of the output to the next.
    pub output_stride: usize,
}

impl IntegerKernel for QuantisedProduct<'_> {
    #[inline(always)]
    fn run<S: Integer>(self, simd: S) {
        let Self { rows, complex, pairs, .. } = self;
        let columns = self.factors.len();
        let segments = if complex { 3 } else { 1 };
        assert!(self.input.len() >= (2 * pairs).div_ceil(GROUP) * rows * INPUT_ROW, "a row behind the input");
        assert!(columns.is_multiple_of(S::LANES) && columns <= self.output_stride, "columns that don't fit");
        assert!(self.output.len() >= rows * 2 * self.output_stride, "a row behind the output");
        for start in (0..columns).step_by(S::LANES * S::VECTORS) {
            let width = (columns - start).min(S::LANES * S::VECTORS);
            let panel = &self.weights[start * segments * pairs..(start + width) * segments * pairs];
            let ahead = panel.len().div_ceil(rows.div_ceil(TILE));
            for (index, (first, tile_rows)) in tiles(rows).enumerate() {
                // A share of the weights that come next, while the processor multiplies by these.
                let next = panel.as_ptr().wrapping_add(panel.len() + index * ahead);
                simd.prefetch(next, ahead * size_of::<[i16; 2]>());
                let job = Job {
                    input: self.input[first * INPUT_ROW..].as_ptr(),
                    group: rows * INPUT_ROW,
                    weights: panel.as_ptr(),
                    pairs,
                    factors: self.factors[start..].as_ptr(),
                    output: self.output[first * 2 * self.output_stride + start..].as_mut_ptr(),
                    output_stride: self.output_stride,
                    complex,
                };
                by_shape!(simd, tile_rows, width / S::LANES, Tile(job));
            }
        }
    }
}

/// The part of a [`QuantisedProduct`] that falls into one tile. Whoever makes one has checked that its rows lie inside
/// input and output, and that its panel has one segment, or three if it is complex, of as many columns as it has factors.
struct Job {
    input: *const i16,
    /// Numbers from one group of channels to the next.
    group: usize,
    weights: *const [i16; 2],
    pairs: usize,
    factors: *const f32,
    output: *mut u16,
    output_stride: usize,
    complex: bool,
}

struct Tile<const R: usize, const V: usize>(Job);

impl<const R: usize, const V: usize> IntegerKernel for Tile<R, V> {
    #[inline(always)]
    fn run<S: Integer>(self, simd: S) {
        let job = self.0;
        let zero = [[simd.zero(); V]; R];
        // SAFETY: the maker of the job has checked the rows and the segments.
        unsafe {
            if job.complex {
                let shared = job.accumulate(simd, zero, 2, 0);
                let im = job.accumulate(simd, shared, 0, 1);
                job.write(simd, im, 1);
                let re = job.accumulate(simd, shared, 1, 2);
                job.write(simd, re, 0);
            } else {
                let sums = job.accumulate(simd, zero, 0, 0);
                job.write(simd, sums, 0);
            }
        }
    }
}

impl Job {
    /// `sums` plus the product of a part of the input and a segment of the weights.
    ///
    /// # Safety
    /// `R` rows of inputs and `pairs` rows of weights lie there.
    #[inline(always)]
    unsafe fn accumulate<S: Integer, const R: usize, const V: usize>(
        &self,
        simd: S,
        mut sums: [[S::Sums; V]; R],
        part: usize,
        segment: usize,
    ) -> [[S::Sums; V]; R] {
        // SAFETY: the caller vouches for it.
        unsafe {
            let mut b = self.weights.add(segment * self.pairs * V * S::LANES);
            let mut group = self.input.add(part * GROUP);
            let mut left = self.pairs;
            while left > 0 {
                let mut a = group;
                for _ in 0..left.min(GROUP / 2) {
                    let mut w = [simd.zero(); V];
                    for j in 0..V {
                        w[j] = simd.read(b.add(j * S::LANES));
                    }
                    for i in 0..R {
                        let x = simd.pair(a.add(i * INPUT_ROW));
                        for j in 0..V {
                            sums[i][j] = simd.dot(x, w[j], sums[i][j]);
                        }
                    }
                    a = a.add(2);
                    b = b.add(V * S::LANES);
                }
                left = left.saturating_sub(GROUP / 2);
                group = group.wrapping_add(self.group);
            }
        }
        sums
    }

    /// # Safety
    /// `R` rows of `V` vectors can be written to this part of the output.
    #[inline(always)]
    unsafe fn write<S: Integer, const R: usize, const V: usize>(&self, simd: S, sums: [[S::Sums; V]; R], part: usize) {
        for i in 0..R {
            for j in 0..V {
                // SAFETY: the caller vouches for it.
                unsafe {
                    let to = self.output.add((2 * i + part) * self.output_stride + j * S::LANES);
                    simd.write_halves(sums[i][j], self.factors.add(j * S::LANES), to);
                }
            }
        }
    }
}
