//! A convolution of the tower as products of spectra, there and back.
//!
//! With the spectra `X` of the inputs, `D` of the gradient of the outputs, and `W` of the kernel (with the sign that a
//! correlation asks for), the outputs are `X W` at each frequency, the gradient of the inputs is `D` times the conjugate
//! of the transposed `W`, and the gradient of the kernel is the sum of `X conj(D)` over the batch, transformed back at the
//! few taps that the kernel has. Zeros around the board make all three exact, as for inference.
//!
//! Spectra lie as `[chunk of the batch][slot][row][channel]`, of which bfloat16 takes half the memory. Those of the inputs are kept from the way forward for the
//! gradient of the kernel, which is summed over the batch one frequency after the other, independent of the threads.

use super::super::fourier::by_size;
use super::super::kernels::{
    Amx, Bf16Gradient, Bf16Matrix, Bf16Spectra, Bf16Spectral, Kernel, Level, Simd, Spectra, Spectral, SpectralGradient,
    shorts, slot_of,
};
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
    products: Products,
    /// For each bin and each tap of the kernel, cosine and sine of its phase.
    waves: Vec<Vec<[f32; 2]>>,
}

/// What computes the products of spectra.
#[derive(Clone, Copy, Debug)]
pub(super) enum Products {
    F32,
    /// In bfloat16, on the tiles of the processor if it has them.
    Bf16(Option<Amx>),
}

/// The matrices of one convolution for all frequencies.
#[derive(Debug)]
pub(super) enum Matrices {
    F32(Vec<Panels>),
    Bf16(Vec<Bf16Matrix>),
}

impl Matrices {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::F32(bins) => bins.iter().map(Panels::bytes).sum(),
            Self::Bf16(bins) => bins.iter().map(Bf16Matrix::bytes).sum(),
        }
    }
}

/// The largest kernel whose taps fit the board that [`super::super::fourier::SIZES`] leaves free.
pub(super) const KERNEL: usize = 3;

impl Geometry {
    pub(super) fn new(
        level: Level,
        products: Products,
        board: [usize; 2],
        size: [usize; 2],
        kernel: usize,
        channels: usize,
    ) -> Self {
        let waves = |bin| phases(size, bin, kernel).map(|wave| wave.map(|x| x as f32)).collect();
        let padded = channels.next_multiple_of(level.shape().0);
        Self { level, board, size, kernel, channels, padded, products, waves: (0..bins(size)).map(waves).collect() }
    }

    fn reals(&self) -> usize {
        real_bins(self.size)
    }

    /// First slot of a bin.
    fn slot(&self, bin: usize) -> usize {
        slot_of(bin, self.reals())
    }

    /// From one slot of products to the next.
    fn slot_stride(&self, cut: Cut) -> usize {
        odd_lines(cut.chunk * self.padded)
    }

    /// Numbers that the products of one chunk take.
    pub(super) fn products(&self, cut: Cut) -> usize {
        self.size[0] * self.size[1] * self.slot_stride(cut)
    }

    /// From one slot of spectra to the next, in their own numbers.
    fn spectra_slot(&self, cut: Cut) -> usize {
        match self.products {
            Products::F32 => self.slot_stride(cut),
            Products::Bf16(_) => 2 * odd_lines((cut.chunk * self.padded).div_ceil(2)),
        }
    }

    /// Places of an `f32` that the spectra of one chunk take.
    pub(super) fn chunk_stride(&self, cut: Cut) -> usize {
        let numbers = self.size[0] * self.size[1] * self.spectra_slot(cut);
        if matches!(self.products, Products::F32) { numbers } else { numbers / 2 }
    }

    /// Numbers that the sums at all frequencies take.
    pub(super) fn sums(&self) -> usize {
        self.size[0] * self.size[1] * self.sums_stride()
    }

    /// The most numbers that the buffers of one thread take.
    pub(super) fn scratch(&self, cut: Cut) -> usize {
        let (packed, inputs) = match self.products {
            Products::F32 => (4 * cut.chunk * self.padded, Spectral::scratch(cut.chunk, self.channels)),
            Products::Bf16(_) => {
                let packed = Bf16Gradient::scratch(cut.chunk, self.padded);
                (packed, Bf16Spectral::scratch(cut.chunk, self.channels))
            }
        };
        self.products(cut).max(packed) + inputs
    }

    fn sums_stride(&self) -> usize {
        odd_lines(self.padded * self.padded)
    }

    /// Empty matrices for all frequencies.
    pub(super) fn matrices(&self) -> Matrices {
        let complex = |bin| bin >= self.reals();
        let segments = |bin| if complex(bin) { 3 } else { 1 };
        let panels = |bin| Panels::new(self.level, [segments(bin), self.channels, self.channels]);
        let matrix = |bin| Bf16Matrix::new(complex(bin), self.channels, self.channels);
        match self.products {
            Products::F32 => Matrices::F32((0..self.waves.len()).map(panels).collect()),
            Products::Bf16(_) => Matrices::Bf16((0..self.waves.len()).map(matrix).collect()),
        }
    }

    /// Packs the matrices of the kernel `[outputs][inputs][kernel][kernel]`, or those for the way back.
    pub(super) fn pack(&self, weight: &[f32], back: bool, matrices: &mut Matrices) {
        self.level.run(Pack { geometry: self, weight, back, matrices });
    }

    /// Activations to spectra.
    pub(super) fn enter(&self, cut: Cut, job: Enter) {
        let (board, slot_stride) = (self.board, self.spectra_slot(cut));
        let bf16 = matches!(self.products, Products::Bf16(_));
        by_size!(self.size, NY, NX, self.level.run(EnterSweep::<NY, NX> { board, slot_stride, bf16, job }));
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
        matrices: &Matrices,
        input: &[f32],
        spectra: &mut [f32],
        scratch: &mut Aligned,
    ) {
        let (padded, slot_stride, reals) = (self.padded, self.slot_stride(cut), self.reals());
        let input_slot = self.spectra_slot(cut);
        match matrices {
            Matrices::F32(bins) => self.level.run(Spectral {
                input: Some(input),
                spectra,
                rows,
                row_stride: padded,
                slot_stride,
                reals,
                bins,
                scratch: scratch.at_least(Spectral::scratch(rows, self.channels)),
            }),
            Matrices::Bf16(bins) => {
                let Products::Bf16(amx) = self.products else { unreachable!("matrices of other products") };
                let scratch = scratch.at_least(Bf16Spectral::scratch(rows, self.channels));
                self.level.run(Bf16Spectral {
                    amx,
                    input: shorts(input),
                    input_slot,
                    spectra,
                    spectra_slot: slot_stride,
                    rows,
                    padded,
                    reals,
                    bins,
                    scratch,
                });
            }
        }
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
        let (chunk_stride, slot_stride) = (self.chunk_stride(cut), self.spectra_slot(cut));
        let sums = sums.at_least(self.sums());
        let (real, complex) = sums.split_at_mut(self.reals() * stride);
        let complex = complex.chunks_mut(2 * stride).zip((self.reals()..).map(|bin| (self.slot(bin), true)));
        let real = real.chunks_mut(stride).zip((0..).map(|bin| (bin, false)));
        // The long jobs first.
        parallel(scratch, complex.chain(real), |scratch, (sums, (slot, complex))| {
            let scratch = &mut scratch.first;
            let chunks = &chunks;
            let sums_stride = stride;
            match self.products {
                Products::F32 => {
                    let spectra =
                        [inputs, outputs].map(|numbers| Spectra { numbers, chunk_stride, slot_stride, padded });
                    self.level.run(SpectralGradient { spectra, chunks, slot, complex, sums, sums_stride, scratch });
                }
                Products::Bf16(amx) => {
                    let spectra = [inputs, outputs].map(|numbers| Bf16Spectra {
                        numbers: shorts(numbers),
                        chunk_stride: 2 * chunk_stride,
                        slot_stride,
                        padded,
                    });
                    self.level.run(Bf16Gradient { amx, spectra, chunks, slot, complex, sums, sums_stride, scratch });
                }
            }
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
    matrices: &'a mut Matrices,
}

impl Kernel for Pack<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { geometry, weight, back, matrices } = self;
        let Geometry { channels, padded, .. } = *geometry;
        let zero = simd.splat(0.0);
        for column in (0..padded).step_by(S::LANES) {
            match matrices {
                Matrices::F32(bins) => {
                    for row in 0..channels {
                        let taps = geometry.taps(simd, weight, back, [row, column]);
                        for (bin, panels) in bins.iter_mut().enumerate() {
                            let [re, im] = geometry.frequency(simd, bin, &taps);
                            let place = panels.place(0, row, column);
                            let segment = panels.place(1, row, column) - place;
                            let to = &mut panels.packed_mut()[place..];
                            simd.store(re, to);
                            if bin >= geometry.reals() {
                                // Forward the matrix is `re - i im`, back its conjugate. See `Spectral` for the segments.
                                let (less, more) = (simd.sub(im, re), simd.sub(simd.sub(zero, re), im));
                                let [second, third] = if back { [less, more] } else { [more, less] };
                                simd.store(second, &mut to[segment..]);
                                simd.store(third, &mut to[2 * segment..]);
                            }
                        }
                    }
                }
                Matrices::Bf16(bins) => {
                    let mut bins: Vec<_> = bins.iter_mut().map(Bf16Matrix::words_mut).collect();
                    for row in (0..channels).step_by(2) {
                        let even = geometry.taps(simd, weight, back, [row, column]);
                        let mut odd = [zero; KERNEL * KERNEL];
                        if row + 1 < channels {
                            odd = geometry.taps(simd, weight, back, [row + 1, column]);
                        }
                        for (bin, (words, places)) in bins.iter_mut().enumerate() {
                            let [even_re, even_im] = geometry.frequency(simd, bin, &even);
                            let [odd_re, odd_im] = geometry.frequency(simd, bin, &odd);
                            let re = simd.join_bf16(simd.round_bf16(even_re), simd.round_bf16(odd_re));
                            simd.store_words(re, &mut words[places.of(0, row, column)..]);
                            if bin >= geometry.reals() {
                                let (mut even, mut odd) = (simd.round_bf16(even_im), simd.round_bf16(odd_im));
                                // As above.
                                if !back {
                                    (even, odd) = (simd.sub(zero, even), simd.sub(zero, odd));
                                }
                                let im = simd.join_bf16(even, odd);
                                simd.store_words(im, &mut words[places.of(1, row, column)..]);
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Geometry {
    /// A vector of columns of each tap of the kernel, or of the transposed kernel for the way back.
    #[inline(always)]
    fn taps<S: Simd>(
        &self,
        simd: S,
        weight: &[f32],
        back: bool,
        [row, column]: [usize; 2],
    ) -> [S::Vector; KERNEL * KERNEL] {
        let taps = self.kernel * self.kernel;
        // Distances in the weights from one column, or one row, of the matrices to the next.
        let (across, down) = if back { (taps, self.channels * taps) } else { (self.channels * taps, taps) };
        let lanes = S::LANES.min(self.channels - column);
        let mut numbers = [simd.splat(0.0); KERNEL * KERNEL];
        for (tap, numbers) in numbers.iter_mut().enumerate().take(taps) {
            let mut lane = [0.0; 16];
            for (i, number) in lane[..lanes].iter_mut().enumerate() {
                *number = weight[(column + i) * across + row * down + tap];
            }
            *numbers = simd.load(&lane);
        }
        numbers
    }

    /// Real and imaginary parts of a kernel at one frequency.
    #[inline(always)]
    fn frequency<S: Simd>(&self, simd: S, bin: usize, taps: &[S::Vector; KERNEL * KERNEL]) -> [S::Vector; 2] {
        let (mut re, mut im) = (simd.splat(0.0), simd.splat(0.0));
        let waves = &self.waves[bin];
        for tap in 0..self.kernel * self.kernel {
            let [cos, sin] = waves[tap];
            re = simd.mul_add(simd.splat(cos), taps[tap], re);
            im = simd.mul_add(simd.splat(sin), taps[tap], im);
        }
        // The inverse divides by the number of cells, and a complex frequency stands for its conjugate too.
        let cells = (self.size[0] * self.size[1]) as f32;
        let scale = simd.splat(if bin >= self.reals() { 2.0 } else { 1.0 } / cells);
        [simd.mul(re, scale), simd.mul(im, scale)]
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
