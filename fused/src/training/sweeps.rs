//! The passes between activations and spectra, with everything that happens to a number before or behind a transform.

use super::super::kernels::{AnySlots, Kernel, Simd, Slots};
use super::super::waves::Board;
use super::norm::{At, Channel, GateBack, Layout, add_sums};

/// Numbers in a cache line. Slots lie too far apart for the processor to guess the next line, so it is told.
const LINE: usize = 16;

/// Activations of a chunk on their way into spectra.
pub(super) struct Enter<'a> {
    pub layout: Layout,
    pub z: &'a [f32],
    pub norm: At<'a>,
    pub source: Source<'a>,
    pub spectra: &'a mut [f32],
}

/// What is transformed.
pub(super) enum Source<'a> {
    /// `relu(norm(z) [* gate] [+ residual])`; `keep` gets it too.
    Activation { gate: Option<&'a [f32]>, residual: Option<&'a [f32]>, keep: Option<&'a mut [f32]> },
    /// The gradient with respect to `z`, from this one with respect to `norm(z)`, or to what a gate has made of it.
    Gradient(&'a [f32], Option<GateBack<'a>>),
}

/// An [`Enter`] with all that a kernel needs.
pub(super) struct EnterSweep<'a, const NY: usize, const NX: usize> {
    pub board: [usize; 2],
    /// In numbers of the spectra.
    pub slot_stride: usize,
    /// Whether the spectra are bfloat16.
    pub bf16: bool,
    pub job: Enter<'a>,
}

impl<const NY: usize, const NX: usize> Kernel for EnterSweep<'_, NY, NX> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let [height, width] = self.board;
        assert!(height < NY && width < NX, "a {height}x{width} board wraps around a transform of {NY}x{NX}");
        let Enter { layout, z, norm, mut source, spectra } = self.job;
        let mut board = Board::<S::Vector, NY, NX>::new(simd.splat(0.0));
        for row in 0..z.len() / layout.row() {
            for channel in (0..layout.padded).step_by(S::LANES) {
                let norm = Channel::new(simd, &norm, channel);
                let start = row * layout.row() + channel;
                // Cells lie too far apart for the processor to guess the next row.
                let next = layout.share(row + 1, channel, S::LANES);
                simd.prefetch(z, next.clone());
                match &source {
                    Source::Activation { residual, keep, .. } => {
                        residual.iter().for_each(|residual| simd.prefetch(residual, next.clone()));
                        keep.iter().for_each(|keep| simd.prefetch(keep, next.clone()));
                    }
                    Source::Gradient(gradient, _) => simd.prefetch(gradient, next),
                }
                let of_row = row * layout.padded + channel;
                let (mut factor, mut share) = (None, None);
                match &source {
                    Source::Activation { gate: Some(gate), .. } => factor = Some(simd.load(&gate[of_row..])),
                    Source::Gradient(_, Some(gate)) => {
                        factor = Some(simd.load(&gate.gates[of_row..]));
                        share = Some(simd.load(&gate.shares[of_row..]));
                    }
                    _ => {}
                }
                for y in 0..height {
                    for x in 0..width {
                        let at = start + (y * width + x) * layout.stride;
                        let z = simd.load(&z[at..]);
                        board.cells[y][x] = match &mut source {
                            Source::Activation { residual, keep, .. } => {
                                let mut sum = norm.apply(simd, z);
                                if let Some(factor) = factor {
                                    sum = simd.mul(sum, factor);
                                }
                                if let Some(residual) = residual {
                                    sum = simd.add(sum, simd.load(&residual[at..]));
                                }
                                sum = simd.relu(sum);
                                if let Some(keep) = keep {
                                    simd.store(sum, &mut keep[at..]);
                                }
                                sum
                            }
                            Source::Gradient(gradient, _) => {
                                let mut gradient = simd.load(&gradient[at..]);
                                if let (Some(factor), Some(share)) = (factor, share) {
                                    gradient = simd.mul_add(gradient, factor, share);
                                }
                                norm.back(simd, gradient, z)
                            }
                        };
                    }
                }
                let at = row * layout.padded + channel;
                let mut slots = AnySlots::new(simd, &mut *spectra, at, self.slot_stride, self.bf16);
                if channel % if self.bf16 { 2 * LINE } else { LINE } == 0 {
                    slots.prefetch();
                }
                board.forward(simd, &mut slots, width);
            }
        }
    }
}

/// Spectra of a chunk on their way to activations.
pub(super) struct Leave<'a> {
    pub layout: Layout,
    pub spectra: &'a mut [f32],
    pub target: Target<'a>,
    /// Overwritten by the sums over the chunk, as [`super::norm::Statistics`] and [`super::norm::Mask`] leave them.
    pub sums: &'a mut [f32],
}

/// What becomes of the numbers.
pub(super) enum Target<'a> {
    /// The numbers are stored, and the means of each row too if they are asked for: see [`super::norm::Statistics`].
    Output { output: &'a mut [f32], means: Option<&'a mut [f32]> },
    /// The numbers are a gradient; see [`super::norm::Mask`].
    Gradient {
        add: bool,
        result: Option<&'a [f32]>,
        z: &'a [f32],
        norm: At<'a>,
        gradient: &'a mut [f32],
        row_sums: Option<&'a mut [f32]>,
    },
}

/// A [`Leave`] with all that a kernel needs.
pub(super) struct LeaveSweep<'a, const NY: usize, const NX: usize> {
    pub board: [usize; 2],
    pub slot_stride: usize,
    pub job: Leave<'a>,
}

impl<const NY: usize, const NX: usize> Kernel for LeaveSweep<'_, NY, NX> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let [height, width] = self.board;
        assert!(height < NY && width < NX, "a {height}x{width} board wraps around a transform of {NY}x{NX}");
        let Leave { layout, spectra, mut target, sums } = self.job;
        let padded = layout.padded;
        let length = match &target {
            Target::Output { output, .. } => output.len(),
            Target::Gradient { gradient, .. } => gradient.len(),
        };
        sums.fill(0.0);
        let mut board = Board::<S::Vector, NY, NX>::new(simd.splat(0.0));
        for row in 0..length / layout.row() {
            for channel in (0..padded).step_by(S::LANES) {
                let slots = &mut spectra[row * padded + channel..];
                let slots = Slots::new(simd, slots, self.slot_stride);
                if channel % LINE == 0 {
                    slots.prefetch(LINE);
                }
                board.inverse(simd, &slots, self.board);
                let start = row * layout.row() + channel;
                let next = layout.share(row + 1, channel, S::LANES);
                match &target {
                    Target::Output { output, .. } => simd.prefetch(output, next),
                    Target::Gradient { result, z, gradient, .. } => {
                        simd.prefetch(z, next.clone());
                        result.iter().for_each(|result| simd.prefetch(result, next.clone()));
                        simd.prefetch(gradient, next);
                    }
                }
                let mut row_sums = [simd.splat(0.0); 2];
                match &mut target {
                    Target::Output { output, means } => {
                        if row == 0 {
                            simd.store(board.cells[0][0], &mut sums[channel..]);
                        }
                        let pivot = simd.load(&sums[channel..]);
                        for y in 0..height {
                            for x in 0..width {
                                let z = board.cells[y][x];
                                simd.store(z, &mut output[start + (y * width + x) * layout.stride..]);
                                let apart = simd.sub(z, pivot);
                                row_sums[0] = simd.add(row_sums[0], apart);
                                row_sums[1] = simd.mul_add(apart, apart, row_sums[1]);
                            }
                        }
                        if let Some(means) = means {
                            let share = simd.splat(1.0 / (height * width) as f32);
                            simd.store(simd.mul_add(row_sums[0], share, pivot), &mut means[row * padded + channel..]);
                        }
                        add_sums(simd, row_sums, &mut sums[padded..], padded, channel);
                    }
                    Target::Gradient { add, result, z, norm, gradient, row_sums: of_row } => {
                        let norm = Channel::new(simd, norm, channel);
                        for y in 0..height {
                            for x in 0..width {
                                let at = start + (y * width + x) * layout.stride;
                                let z = simd.load(&z[at..]);
                                let result = match result {
                                    Some(result) => simd.load(&result[at..]),
                                    None => norm.apply(simd, z),
                                };
                                let mut number = board.cells[y][x];
                                if *add {
                                    number = simd.add(number, simd.load(&gradient[at..]));
                                }
                                number = simd.where_positive(result, number);
                                simd.store(number, &mut gradient[at..]);
                                row_sums[0] = simd.add(row_sums[0], number);
                                row_sums[1] = simd.mul_add(number, norm.normal(simd, z), row_sums[1]);
                            }
                        }
                        if let Some(of_row) = of_row {
                            let of_row = &mut of_row[2 * row * padded + channel..];
                            simd.store(row_sums[0], of_row);
                            simd.store(row_sums[1], &mut of_row[padded..]);
                        }
                        add_sums(simd, row_sums, sums, padded, channel);
                    }
                }
            }
        }
    }
}
