//! A convolution of the tower as products of spectra, there and back.
//!
//! With the spectra `X` of the inputs, `D` of the gradient of the outputs, and `W` of the kernel (with the sign that a
//! correlation asks for), the outputs are `X W` at each frequency, the gradient of the inputs is `D` times the conjugate
//! of the transposed `W`, and the gradient of the kernel is the sum of `X conj(D)` over the batch, transformed back at the
//! few taps that the kernel has. Zeros around the board make all three exact, as for inference.
//!
//! Spectra lie as `[chunk of the batch][slot][row][channel]`. Those of the inputs are kept from the way forward for the
//! gradient of the kernel, which is summed over the batch one frequency after the other, independent of the threads.

use super::super::fourier::by_size;
use super::super::kernels::{Kernel, Level, Simd, Spectra, Spectral, SpectralGradient};
use super::super::panels::{Aligned, Panels, odd_lines};
use super::super::waves::{bins, phases, real_bins};
use super::batch::{Cut, Scratch, parallel};
use super::sweeps::{Enter, EnterSweep, Leave, LeaveSweep};

/// What all Fourier convolutions of a network share.
#[derive(Debug)]
pub(super) struct Geometry {
    pub level: Level,
    pub board: [usize; 2],
    /// Rows and columns of the transform.
    pub size: [usize; 2],
    pub kernel: usize,
    pub channels: usize,
    /// Channels in whole vectors.
    pub padded: usize,
    /// For each bin and each tap of the kernel, cosine and sine of its phase.
    waves: Vec<Vec<[f32; 2]>>,
}

/// The largest kernel whose taps fit the board that [`super::super::fourier::SIZES`] leaves free.
pub(super) const KERNEL: usize = 3;

impl Geometry {
    pub(super) fn new(level: Level, board: [usize; 2], size: [usize; 2], kernel: usize, channels: usize) -> Self {
        let waves = |bin| phases(size, bin, kernel).map(|wave| wave.map(|x| x as f32)).collect();
        let padded = channels.next_multiple_of(level.shape().0);
        Self { level, board, size, kernel, channels, padded, waves: (0..bins(size)).map(waves).collect() }
    }

    fn reals(&self) -> usize {
        real_bins(self.size)
    }

    /// First slot of a bin.
    fn slot(&self, bin: usize) -> usize {
        if bin < self.reals() { bin } else { 2 * bin - self.reals() }
    }

    fn slot_stride(&self, cut: Cut) -> usize {
        odd_lines(cut.chunk * self.padded)
    }

    /// Numbers that the spectra of one chunk take.
    pub(super) fn chunk_stride(&self, cut: Cut) -> usize {
        self.size[0] * self.size[1] * self.slot_stride(cut)
    }

    /// Numbers that the sums at all frequencies take.
    pub(super) fn sums(&self) -> usize {
        self.size[0] * self.size[1] * self.sums_stride()
    }

    /// The most numbers that the buffers of one thread take.
    pub(super) fn scratch(&self, cut: Cut) -> usize {
        let packed = 4 * cut.chunk * self.padded;
        self.chunk_stride(cut).max(packed) + Spectral::scratch(cut.chunk, self.channels)
    }

    fn sums_stride(&self) -> usize {
        odd_lines(self.padded * self.padded)
    }

    /// Empty matrices for all frequencies.
    pub(super) fn panels(&self) -> Vec<Panels> {
        let segments = |bin| if bin < self.reals() { 1 } else { 3 };
        let panels = |bin| Panels::new(self.level, [segments(bin), self.channels, self.channels]);
        (0..self.waves.len()).map(panels).collect()
    }

    /// Packs the matrices of the kernel `[outputs][inputs][kernel][kernel]`, or those for the way back.
    pub(super) fn pack(&self, weight: &[f32], back: bool, bins: &mut [Panels]) {
        self.level.run(Pack { geometry: self, weight, back, bins });
    }

    /// Activations to spectra.
    pub(super) fn enter(&self, cut: Cut, job: Enter) {
        let slot_stride = self.slot_stride(cut);
        by_size!(self.size, NY, NX, self.level.run(EnterSweep::<NY, NX> { board: self.board, slot_stride, job }));
    }

    /// Spectra to activations.
    pub(super) fn leave(&self, cut: Cut, job: Leave) {
        let slot_stride = self.slot_stride(cut);
        by_size!(self.size, NY, NX, self.level.run(LeaveSweep::<NY, NX> { board: self.board, slot_stride, job }));
    }

    /// The products of the spectra of one chunk with the matrices of all frequencies.
    pub(super) fn multiply(
        &self,
        cut: Cut,
        rows: usize,
        bins: &[Panels],
        input: &[f32],
        spectra: &mut [f32],
        scratch: &mut Aligned,
    ) {
        self.level.run(Spectral {
            input: Some(input),
            spectra,
            rows,
            row_stride: self.padded,
            slot_stride: self.slot_stride(cut),
            reals: self.reals(),
            bins,
            scratch: scratch.at_least(Spectral::scratch(rows, self.channels)),
        });
    }

    /// The gradient of the kernel from the spectra of the inputs and of the gradient of the outputs. `sums` is scratch.
    pub(super) fn kernel_gradient(
        &self,
        cut: Cut,
        [inputs, outputs]: [&[f32]; 2],
        sums: &mut Aligned,
        gradient: &mut [f32],
        scratch: &mut Vec<Scratch>,
    ) {
        let (stride, padded) = (self.sums_stride(), self.padded);
        let chunks: Vec<usize> = (0..cut.chunks).map(|chunk| cut.rows_of(chunk)).collect();
        let spectra = [inputs, outputs].map(|numbers| Spectra {
            numbers,
            chunk_stride: self.chunk_stride(cut),
            slot_stride: self.slot_stride(cut),
            padded,
        });
        let sums = sums.at_least(self.sums());
        let (real, complex) = sums.split_at_mut(self.reals() * stride);
        let complex = complex.chunks_mut(2 * stride).zip((self.reals()..).map(|bin| (self.slot(bin), true)));
        let real = real.chunks_mut(stride).zip((0..).map(|bin| (bin, false)));
        // The long jobs first.
        parallel(scratch, complex.chain(real), |scratch, (sums, (slot, complex))| {
            let scratch = &mut scratch.first;
            let chunks = &chunks;
            self.level.run(SpectralGradient { spectra, chunks, slot, complex, sums, sums_stride: stride, scratch });
        });
        let lanes = self.level.shape().0;
        let jobs = gradient.chunks_mut(lanes * self.channels * self.kernel * self.kernel).enumerate();
        let sums = &*sums;
        parallel(scratch, jobs, |_, (vector, gradient)| {
            self.level.run(Taps { geometry: self, sums, column: vector * lanes, gradient });
        });
    }
}

/// See [`Geometry::pack`].
struct Pack<'a> {
    geometry: &'a Geometry,
    weight: &'a [f32],
    back: bool,
    bins: &'a mut [Panels],
}

impl Kernel for Pack<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Geometry { kernel, channels, padded, size, .. } = *self.geometry;
        let taps = kernel * kernel;
        // Distances in the weights from one column, or one row, of the matrices to the next.
        let (across, down) = if self.back { (taps, channels * taps) } else { (channels * taps, taps) };
        let cells = (size[0] * size[1]) as f32;
        for column in (0..padded).step_by(S::LANES) {
            let lanes = S::LANES.min(channels - column);
            for row in 0..channels {
                let mut numbers = [simd.splat(0.0); KERNEL * KERNEL];
                for (tap, numbers) in numbers.iter_mut().enumerate().take(taps) {
                    let mut lane = [0.0; 16];
                    for (i, number) in lane[..lanes].iter_mut().enumerate() {
                        *number = self.weight[(column + i) * across + row * down + tap];
                    }
                    *numbers = simd.load(&lane);
                }
                for (bin, (panels, waves)) in self.bins.iter_mut().zip(&self.geometry.waves).enumerate() {
                    let (mut re, mut im) = (simd.splat(0.0), simd.splat(0.0));
                    let complex = bin >= self.geometry.reals();
                    for tap in 0..taps {
                        let [cos, sin] = waves[tap];
                        re = simd.mul_add(simd.splat(cos), numbers[tap], re);
                        im = simd.mul_add(simd.splat(sin), numbers[tap], im);
                    }
                    // The inverse divides by the number of cells, and a complex frequency stands for its conjugate too.
                    let scale = simd.splat(if complex { 2.0 } else { 1.0 } / cells);
                    (re, im) = (simd.mul(re, scale), simd.mul(im, scale));
                    let place = panels.place(0, row, column);
                    let segment = panels.place(1, row, column) - place;
                    let to = &mut panels.packed_mut()[place..];
                    simd.store(re, to);
                    if complex {
                        // Forward the matrix is `re - i im`, back its conjugate. See `Spectral` for the three segments.
                        let (less, more) = (simd.sub(im, re), simd.sub(simd.sub(simd.splat(0.0), re), im));
                        let [second, third] = if self.back { [less, more] } else { [more, less] };
                        simd.store(second, &mut to[segment..]);
                        simd.store(third, &mut to[2 * segment..]);
                    }
                }
            }
        }
    }
}

/// Sums at all frequencies to the gradient of the kernel, for the outputs in one vector that starts at `column`.
struct Taps<'a> {
    geometry: &'a Geometry,
    sums: &'a [f32],
    column: usize,
    gradient: &'a mut [f32],
}

impl Kernel for Taps<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Geometry { kernel, channels, padded, size, .. } = *self.geometry;
        let (taps, stride) = (kernel * kernel, self.geometry.sums_stride());
        let scale = simd.splat(1.0 / (size[0] * size[1]) as f32);
        for input in 0..channels {
            let mut totals = [simd.splat(0.0); KERNEL * KERNEL];
            for (bin, waves) in self.geometry.waves.iter().enumerate() {
                let from = &self.sums[self.geometry.slot(bin) * stride + input * padded + self.column..];
                let re = simd.load(from);
                let im = if bin < self.geometry.reals() { simd.splat(0.0) } else { simd.load(&from[stride..]) };
                for tap in 0..taps {
                    let [cos, sin] = waves[tap];
                    totals[tap] = simd.mul_add(simd.splat(cos), re, totals[tap]);
                    totals[tap] = simd.mul_add(simd.splat(sin), im, totals[tap]);
                }
            }
            for tap in 0..taps {
                let mut lane = [0.0; 16];
                simd.store(simd.mul(totals[tap], scale), &mut lane);
                for (output, number) in self.gradient.chunks_exact_mut(channels * taps).zip(lane) {
                    output[input * taps + tap] = number;
                }
            }
        }
    }
}
