//! Products of spectra in numbers of 16 bits, and the ways there and back.
//!
//! On the way into a product, spectra lie as `[plane][group of channels][row][channel of the group]`: one plane for a real
//! bin, and three for a complex one: real part, imaginary part and their sum. On the way out they lie as
//! `[slot][row][channel]`.

use super::super::panels::odd_lines;
use super::integer::{Integer, IntegerKernel};
use super::simd::{Simd, Sink, Slots, Source};
use super::{slot_of, tiles};

/// The size of the largest number of a bin that [`Narrow`] writes; with this the sum of two still fits 16 bits.
pub(in super::super) const PEAK: i16 = (1 << 14) - 1;

/// The largest factor for sums of 32 bits that keeps them in the range of half precision.
pub(in super::super) const HALF_RANGE: f32 = 1.0 / 65536.0;

/// Bins that are weaker than that are narrowed as if they had a number of this size; its reciprocal is still finite.
const WEAKEST: f32 = 1e-30;

/// Channels of a group. With strides that the compiler knows one register addresses all rows of a tile.
const GROUP: usize = 64;

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
    /// Numbers from one plane of `channels` channels to the next, on the way into a product.
    pub(in super::super) fn input(&self, channels: usize) -> usize {
        2 * odd_lines(channels.div_ceil(GROUP) * self.rows * GROUP / 2)
    }

    /// Numbers from one slot to the next, on the way out, with `stride` from one row to the next.
    pub(in super::super) fn output(&self, stride: usize) -> usize {
        2 * odd_lines((self.rows * stride).div_ceil(2))
    }

    /// The first slot of a bin; of all bins, their number.
    pub(in super::super) fn slot(&self, bin: usize) -> usize {
        slot_of(bin, self.reals)
    }

    /// The first plane of a bin; of all bins, their number.
    pub(in super::super) fn plane(&self, bin: usize) -> usize {
        bin + 2 * bin.saturating_sub(self.reals)
    }
}

/// The products of one row, and of one vector of channels, as a spectrum.
pub(in super::super) struct Halves<'a, S: Simd, const NY: usize, const NX: usize> {
    simd: S,
    first: *const u16,
    stride: usize,
    scales: &'a [f32],
    lifetime: std::marker::PhantomData<&'a [u16]>,
}

impl<'a, S: Simd, const NY: usize, const NX: usize> Halves<'a, S, NY, NX> {
    /// Slots lie `stride` numbers apart, and are multiplied by a scale each.
    #[inline(always)]
    pub(in super::super) fn new(simd: S, halves: &'a [u16], stride: usize, scales: &'a [f32]) -> Self {
        assert!(halves.len() >= (NY * NX - 1) * stride + S::LANES, "the last slot ends behind the spectrum");
        assert_eq!(scales.len(), NY * NX, "scales of another spectrum");
        Self { simd, first: halves.as_ptr(), stride, scales, lifetime: std::marker::PhantomData }
    }
}

impl<S: Simd, const NY: usize, const NX: usize> Source<S, NY, NX> for Halves<'_, S, NY, NX> {
    #[inline(always)]
    fn get(&self, slot: usize) -> S::Vector {
        assert!(slot < NY * NX);
        // SAFETY: `new` has found the last slot inside the numbers that this view borrows.
        let numbers = unsafe { self.simd.read_halves(self.first.add(slot * self.stride)) };
        self.simd.mul(numbers, self.simd.splat(self.scales[slot]))
    }
}

/// Where a spectrum goes while the largest numbers of all its slots are found.
pub(in super::super) struct Peaks<'a, S: Simd, const NY: usize, const NX: usize> {
    pub simd: S,
    pub numbers: Slots<'a, S, NY, NX>,
    /// A vector for each slot.
    pub peaks: Slots<'a, S, NY, NX>,
}

impl<S: Simd, const NY: usize, const NX: usize> Sink<S, NY, NX> for Peaks<'_, S, NY, NX> {
    #[inline(always)]
    fn set(&mut self, slot: usize, a: S::Vector) {
        self.numbers.set(slot, a);
        self.peaks.set(slot, self.simd.peak(self.peaks.get(slot), a));
    }
}

/// Rounds the spectrum of one row to 16 bits, each bin in units of its own: its largest number becomes [`PEAK`].
pub(in super::super) struct Narrow<'a> {
    /// `[slot][channel]`.
    pub spectrum: &'a [f32],
    pub slot_stride: usize,
    /// What [`Peaks`] has found for each slot, in vectors.
    pub peaks: &'a [f32],
    /// Channels to take, in whole pairs of vectors.
    pub depth: usize,
    pub row: usize,
    pub layout: Layout,
    pub shorts: &'a mut [i16],
    /// From a bin's largest number to what its products are to be multiplied by.
    pub factor: f32,
    /// That, for each slot; NaN where the largest number of a bin is not finite.
    pub scales: &'a mut [f32],
}

impl Narrow<'_> {
    #[inline(always)]
    pub(in super::super) fn run<S: Simd>(self, simd: S) {
        let Self { spectrum, slot_stride, peaks, depth, row, layout, shorts, factor, scales } = self;
        let plane = layout.input(depth);
        let width = 2 * S::LANES;
        const { assert!(GROUP.is_multiple_of(2 * S::LANES)) };
        assert!(depth.is_multiple_of(width) && depth <= slot_stride, "channels that don't fit");
        assert!(row < layout.rows, "a row behind the chunk");
        assert!(spectrum.len() >= layout.slot(layout.bins) * slot_stride, "a bin behind the spectrum");
        assert!(shorts.len() >= layout.plane(layout.bins) * plane, "a bin behind the planes");
        for bin in 0..layout.bins {
            let (complex, slot) = (bin >= layout.reals, layout.slot(bin));
            let mut peak = simd.load(&peaks[slot * S::LANES..]);
            if complex {
                peak = simd.peak(peak, simd.load(&peaks[(slot + 1) * S::LANES..]));
            }
            let peak = simd.highest(peak);
            let peak = if peak.is_finite() { peak.max(WEAKEST) } else { f32::NAN };
            scales[slot..=slot + complex as usize].fill(peak * factor);
            let scale = simd.splat(f32::from(PEAK) / peak);
            // SAFETY: the assertions cover all slots, planes, rows and channels; a group holds whole pairs of vectors.
            unsafe {
                let from = spectrum.as_ptr().add(slot * slot_stride);
                let to = shorts.as_mut_ptr().add(layout.plane(bin) * plane + row * GROUP);
                for channel in (0..depth).step_by(width) {
                    let to = to.add(channel / GROUP * layout.rows * GROUP + channel % GROUP);
                    let re = narrowed(simd, from.add(channel), scale);
                    simd.write_shorts(re, to);
                    if complex {
                        let im = narrowed(simd, from.add(slot_stride + channel), scale);
                        simd.write_shorts(im, to.add(plane));
                        simd.write_shorts(simd.add_shorts(re, im), to.add(2 * plane));
                    }
                }
            }
        }
    }
}

/// Two vectors of numbers times a scale, rounded.
///
/// # Safety
/// So many can be read at `from`.
#[inline(always)]
unsafe fn narrowed<S: Simd>(simd: S, from: *const f32, scale: S::Vector) -> S::Shorts {
    // SAFETY: the caller vouches for it.
    let [a, b] = unsafe { [simd.read(from), simd.read(from.add(S::LANES))] };
    simd.narrow([simd.mul(a, scale), simd.mul(b, scale)])
}

/// Multiplies one bin of all rows by its matrix, exactly but for the rounding of the results.
///
/// A complex product is Gauss's, as in [`Spectral`](super::Spectral), of integers: sums may wrap around 32 bits on the way,
/// as long as the results fit.
pub(in super::super) struct QuantisedProduct<'a> {
    pub rows: usize,
    pub complex: bool,
    /// The planes of one bin.
    pub input: &'a [i16],
    /// Numbers from one plane to the next.
    pub input_plane: usize,
    /// Pairs of input channels.
    pub pairs: usize,
    /// In panels as wide as a tile, each `[segment][pair][column]`, one segment or three.
    pub weights: &'a [[i16; 2]],
    /// What becomes of each column's sums; says how many columns there are, in whole vectors.
    pub factors: &'a [f32],
    /// The slots of one bin.
    pub output: &'a mut [u16],
    /// Numbers from one slot to the next.
    pub output_slot: usize,
    /// Numbers from one row of a slot to the next.
    pub output_stride: usize,
}

impl IntegerKernel for QuantisedProduct<'_> {
    #[inline(always)]
    fn run<S: Integer>(self, simd: S) {
        let Self { rows, complex, pairs, .. } = self;
        let columns = self.factors.len();
        let segments = if complex { 3 } else { 1 };
        let plane = (2 * pairs).div_ceil(GROUP) * rows * GROUP;
        assert!(self.input.len() >= (segments - 1) * self.input_plane + plane, "a row behind the input");
        assert!(columns.is_multiple_of(S::LANES) && columns <= self.output_stride, "columns that don't fit");
        let last = if complex { self.output_slot } else { 0 };
        assert!(self.output.len() >= last + rows * self.output_stride, "a row behind the output");
        for start in (0..columns).step_by(S::LANES * S::VECTORS) {
            let width = (columns - start).min(S::LANES * S::VECTORS);
            let panel = &self.weights[start * segments * pairs..(start + width) * segments * pairs];
            for (first, tile_rows) in tiles(rows) {
                let job = Job {
                    input: self.input[first * GROUP..].as_ptr(),
                    plane: self.input_plane,
                    group: rows * GROUP,
                    weights: panel.as_ptr(),
                    pairs,
                    factors: self.factors[start..].as_ptr(),
                    output: self.output[first * self.output_stride + start..].as_mut_ptr(),
                    output_slot: self.output_slot,
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
    plane: usize,
    /// Numbers from one group of channels to the next.
    group: usize,
    weights: *const [i16; 2],
    pairs: usize,
    factors: *const f32,
    output: *mut u16,
    output_slot: usize,
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
            let mut group = self.input.add(part * self.plane);
            let mut left = self.pairs;
            while left > 0 {
                let mut a = group;
                for _ in 0..left.min(GROUP / 2) {
                    let mut w = [simd.zero(); V];
                    for j in 0..V {
                        w[j] = simd.read(b.add(j * S::LANES));
                    }
                    for i in 0..R {
                        let x = simd.pair(a.add(i * GROUP));
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
                    let to = self.output.add(part * self.output_slot + i * self.output_stride + j * S::LANES);
                    simd.write_halves(sums[i][j], self.factors.add(j * S::LANES), to);
                }
            }
        }
    }
}
