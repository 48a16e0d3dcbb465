//! Products whose inner dimension is the batch: the gradients of weights.
//!
//! Numbers are summed over blocks of pixels or rows, and the blocks one after the other, always in the same order.

use super::super::panels::Aligned;
use super::simd::{Kernel, Simd};
use super::{TILE, tiles};

/// Pixels that are summed in registers before they are added to the result: two such blocks fit the first cache, and
/// short chains of additions lose fewer digits.
const PIXELS: usize = 64;

/// `sums[i][o] += sum over pixels p of input[p + offset][i] output[p][o]`.
pub(in super::super) struct Gradient<'a> {
    pub input: &'a [f32],
    /// Numbers from one pixel of the input to the next.
    pub input_stride: usize,
    /// From the pixel's own numbers to those that are read, in numbers.
    pub offset: isize,
    /// How many numbers of a pixel of the input are read.
    pub inputs: usize,
    pub output: &'a [f32],
    /// Numbers from one pixel of the output to the next.
    pub output_stride: usize,
    /// How many numbers of a pixel of the output are read, in whole vectors.
    pub padded: usize,
    pub pixels: &'a [u32],
    /// `[inputs][padded]`.
    pub sums: &'a mut [f32],
}

impl Kernel for Gradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { inputs, padded, pixels, .. } = self;
        let (Some(&low), Some(&high)) = (pixels.iter().min(), pixels.iter().max()) else { return };
        assert!(low as isize * self.input_stride as isize + self.offset >= 0, "a pixel before the input");
        let end = high as isize * self.input_stride as isize + self.offset + inputs as isize;
        assert!(end <= self.input.len() as isize, "a pixel behind the input");
        assert!(high as usize * self.output_stride + padded <= self.output.len(), "a pixel behind the output");
        assert!(padded.is_multiple_of(S::LANES) && inputs * padded <= self.sums.len(), "too few sums");
        for pixels in pixels.chunks(PIXELS) {
            for (first, rows) in tiles(inputs) {
                for start in (0..padded).step_by(S::LANES * S::VECTORS) {
                    let job = PixelJob {
                        input: self.input.as_ptr().wrapping_offset(self.offset + first as isize),
                        input_stride: self.input_stride,
                        output: self.output[start..].as_ptr(),
                        output_stride: self.output_stride,
                        pixels,
                        sums: self.sums[first * padded + start..].as_mut_ptr(),
                        sums_stride: padded,
                    };
                    by_shape!(simd, rows, ((padded - start) / S::LANES).min(S::VECTORS), PixelTile(job));
                }
            }
        }
    }
}

/// The part of a [`Gradient`] that falls into one tile. Whoever makes one has checked that all pixels lie inside input and
/// output, and the tile inside the sums.
struct PixelJob<'a> {
    input: *const f32,
    input_stride: usize,
    output: *const f32,
    output_stride: usize,
    pixels: &'a [u32],
    sums: *mut f32,
    sums_stride: usize,
}

struct PixelTile<'a, const R: usize, const V: usize>(PixelJob<'a>);

impl<const R: usize, const V: usize> Kernel for PixelTile<'_, R, V> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let job = self.0;
        let mut sums = [[simd.splat(0.0); V]; R];
        for &pixel in job.pixels {
            let a = job.input.wrapping_add(pixel as usize * job.input_stride);
            let b = job.output.wrapping_add(pixel as usize * job.output_stride);
            // SAFETY: the maker of the job has checked all pixels.
            unsafe { outer::<S, R, V, false>(simd, a, b, &mut sums) }
        }
        // SAFETY: the maker of the job has checked that the tile lies inside the sums.
        unsafe { add(simd, sums, job.sums, job.sums_stride) }
    }
}

/// Adds to a tile, or takes from it, the products of each of `R` numbers and `V` vectors.
///
/// # Safety
/// So many lie at `a` and at `b`.
#[inline(always)]
unsafe fn outer<S: Simd, const R: usize, const V: usize, const MINUS: bool>(
    simd: S,
    a: *const f32,
    b: *const f32,
    sums: &mut [[S::Vector; V]; R],
) {
    // SAFETY: the caller vouches for it.
    unsafe {
        let mut w = [simd.splat(0.0); V];
        for j in 0..V {
            w[j] = simd.read(b.add(j * S::LANES));
        }
        for i in 0..R {
            let x = simd.splat(*a.add(i));
            for j in 0..V {
                sums[i][j] =
                    if MINUS { simd.neg_mul_add(x, w[j], sums[i][j]) } else { simd.mul_add(x, w[j], sums[i][j]) };
            }
        }
    }
}

/// Adds a tile to the numbers at `to`.
///
/// # Safety
/// `R` rows of `V` vectors, `stride` numbers apart, lie there.
#[inline(always)]
unsafe fn add<S: Simd, const R: usize, const V: usize>(
    simd: S,
    sums: [[S::Vector; V]; R],
    to: *mut f32,
    stride: usize,
) {
    for i in 0..R {
        for j in 0..V {
            // SAFETY: the caller vouches for it.
            unsafe {
                let to = to.add(i * stride + j * S::LANES);
                simd.write(simd.add(sums[i][j], simd.read(to)), to);
            }
        }
    }
}

/// At one frequency, `sums[i][o] = sum over rows r of X[r][i] conj(D[r][o])`, over spectra that lie as
/// `[chunk of the batch][slot][row][channel]`.
pub(in super::super) struct SpectralGradient<'a> {
    /// The spectra `X` and `D`.
    pub spectra: [Spectra<'a>; 2],
    /// Rows of each chunk.
    pub chunks: &'a [usize],
    /// First slot of the frequency.
    pub slot: usize,
    /// Has the frequency two slots, real and imaginary part? Then its sums are doubled, for its conjugate.
    pub complex: bool,
    /// `[inputs][outputs]` of the real parts, then, `sums_stride` behind it, the same of the imaginary ones.
    pub sums: &'a mut [f32],
    pub sums_stride: usize,
    pub scratch: &'a mut Aligned,
}

/// Spectra of a batch in chunks.
#[derive(Clone, Copy)]
pub(in super::super) struct Spectra<'a> {
    pub numbers: &'a [f32],
    pub chunk_stride: usize,
    pub slot_stride: usize,
    /// Channels in whole vectors, which is also the distance of two rows.
    pub padded: usize,
}

impl<'a> Spectra<'a> {
    /// Real and imaginary parts of some rows; the latter are of no use where the frequency has one slot only.
    #[inline(always)]
    fn rows(&self, chunk: usize, slot: usize, rows: usize, complex: bool) -> [&'a [f32]; 2] {
        let real = &self.numbers[chunk * self.chunk_stride + slot * self.slot_stride..];
        let imaginary = if complex { &real[self.slot_stride..][..rows * self.padded] } else { &[] };
        [&real[..rows * self.padded], imaginary]
    }
}

impl Kernel for SpectralGradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let [x, d] = self.spectra;
        let (inputs, outputs, complex) = (x.padded, d.padded, self.complex);
        assert!(inputs.is_multiple_of(S::LANES) && outputs.is_multiple_of(S::LANES));
        assert!(complex as usize * self.sums_stride + inputs * outputs <= self.sums.len(), "too few sums");
        self.sums[..inputs * outputs].fill(0.0);
        if complex {
            self.sums[self.sums_stride..][..inputs * outputs].fill(0.0);
        }
        let most = self.chunks.iter().copied().max().unwrap_or(0);
        let scratch = self.scratch.at_least(most * (inputs + 3 * outputs));
        let (total, packed) = scratch.split_at_mut(most * inputs);
        for (chunk, &rows) in self.chunks.iter().enumerate() {
            let [x_re, x_im] = x.rows(chunk, self.slot, rows, complex);
            let [d_re, d_im] = d.rows(chunk, self.slot, rows, complex);
            // Gauss's product with three multiplications for four:
            // re = (xr + xi) dr - xi (dr - di), im = (xr + xi) dr - xr (dr + di).
            // The panels of dr, dr - di and dr + di, each `[panel][row][width]`.
            let part = rows * outputs;
            for start in (0..outputs).step_by(S::LANES * S::VECTORS) {
                let width = (outputs - start).min(S::LANES * S::VECTORS);
                for row in 0..rows {
                    for column in (0..width).step_by(S::LANES) {
                        let from = row * outputs + start + column;
                        let to = start * rows + row * width + column;
                        let re = simd.load(&d_re[from..]);
                        if complex {
                            // Doubled here, for the conjugate of the frequency.
                            let im = simd.load(&d_im[from..]);
                            let (re, im) = (simd.add(re, re), simd.add(im, im));
                            simd.store(re, &mut packed[to..]);
                            simd.store(simd.sub(re, im), &mut packed[part + to..]);
                            simd.store(simd.add(re, im), &mut packed[2 * part + to..]);
                        } else {
                            simd.store(re, &mut packed[to..]);
                        }
                    }
                }
            }
            if complex {
                for at in (0..rows * inputs).step_by(S::LANES) {
                    simd.store(simd.add(simd.load(&x_re[at..]), simd.load(&x_im[at..])), &mut total[at..]);
                }
            }
            assert!(total.len() >= rows * inputs && packed.len() >= 3 * part);
            let ahead = chunk + 1 < self.chunks.len();
            for (first, tile_rows) in tiles(inputs) {
                if ahead {
                    // A share of what the next chunk brings.
                    for spectra in [x, d] {
                        let rows = self.chunks[chunk + 1];
                        let range = first * rows * spectra.padded / inputs
                            ..(first + tile_rows) * rows * spectra.padded / inputs;
                        for part in spectra.rows(chunk + 1, self.slot, rows, complex) {
                            simd.prefetch(part, range.clone());
                        }
                    }
                }
                for start in (0..outputs).step_by(S::LANES * S::VECTORS) {
                    let sums = &mut self.sums[first * outputs + start..];
                    let job = BinJob {
                        inputs: if complex {
                            [total[first..].as_ptr(), x_im[first..].as_ptr(), x_re[first..].as_ptr()]
                        } else {
                            [x_re[first..].as_ptr(); 3]
                        },
                        input_stride: inputs,
                        packed: packed[start * rows..].as_ptr(),
                        part,
                        rows,
                        sums: sums.as_mut_ptr(),
                        sums_stride: outputs,
                        imaginary: self.sums_stride,
                        complex,
                    };
                    by_shape!(simd, tile_rows, ((outputs - start) / S::LANES).min(S::VECTORS), BinTile(job));
                }
            }
        }
    }
}

/// The part of a [`SpectralGradient`] that falls into one chunk and one tile. Whoever makes one has checked that all rows
/// of the inputs, of the packed panel and of the sums are there.
struct BinJob {
    /// What the three panels are multiplied by.
    inputs: [*const f32; 3],
    input_stride: usize,
    packed: *const f32,
    /// Numbers from one of the three packed panels to the next.
    part: usize,
    rows: usize,
    sums: *mut f32,
    sums_stride: usize,
    /// Numbers from the sums of the real parts to those of the imaginary ones.
    imaginary: usize,
    complex: bool,
}

struct BinTile<const R: usize, const V: usize>(BinJob);

impl<const R: usize, const V: usize> Kernel for BinTile<R, V> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let job = self.0;
        let zero = [[simd.splat(0.0); V]; R];
        const { assert!(R <= TILE) };
        // SAFETY: the maker of the job has checked everything that is read and written.
        unsafe {
            let shared = job.accumulate::<S, R, V, false>(simd, zero, 0);
            if job.complex {
                let re = job.accumulate::<S, R, V, true>(simd, shared, 1);
                add(simd, re, job.sums, job.sums_stride);
                let im = job.accumulate::<S, R, V, true>(simd, shared, 2);
                add(simd, im, job.sums.add(job.imaginary), job.sums_stride);
            } else {
                add(simd, shared, job.sums, job.sums_stride);
            }
        }
    }
}

impl BinJob {
    /// `sums` plus (or minus) the product of one of the inputs and its panel.
    ///
    /// # Safety
    /// All rows of both lie where the job says.
    #[inline(always)]
    unsafe fn accumulate<S: Simd, const R: usize, const V: usize, const MINUS: bool>(
        &self,
        simd: S,
        mut sums: [[S::Vector; V]; R],
        part: usize,
    ) -> [[S::Vector; V]; R] {
        let mut a = self.inputs[part];
        let mut b = self.packed.wrapping_add(part * self.part);
        for _ in 0..self.rows {
            // SAFETY: the caller vouches for it.
            unsafe { outer::<S, R, V, MINUS>(simd, a, b, &mut sums) }
            a = a.wrapping_add(self.input_stride);
            b = b.wrapping_add(V * S::LANES);
        }
        sums
    }
}
