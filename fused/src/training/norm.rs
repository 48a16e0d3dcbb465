//! Batch normalisation in training, and the passes over activations around it.
//!
//! `y = (z - mean) / sqrt(variance + epsilon) * gamma + beta`, per channel, with the mean and the biased variance
//! (divided by the number of cells of the batch, not by one less) of the batch itself. That is what burn computes, and what
//! it lets into its running statistics: the biased variance in both places.
//!
//! Sums run in `f32` over the cells of a row, over the rows of a chunk, and in `f64` over the chunks, in this order.

use super::super::kernels::{Kernel, Simd};
use super::super::panels::Aligned;
use super::batch::Cut;

/// Sums that each chunk leaves: a pivot, and the sums of differences to it and of their squares; on the way back the sum
/// of the gradient and that of the gradient times the normalised number, and nothing.
const SUMS: usize = 3;

/// One layer of batch normalisation. All lists are as long as the channels, filled up with zeros to whole vectors.
#[derive(Debug)]
pub(super) struct Norm {
    pub channels: usize,
    pub padded: usize,
    epsilon: f64,
    mean: Aligned,
    variance: Aligned,
    /// `1 / sqrt(variance + epsilon)`.
    inverse: Aligned,
    /// `inverse` times gamma.
    scale: Aligned,
    beta: Aligned,
    /// Means over the batch of the gradient, and of the gradient times the normalised number.
    gradient: Aligned,
    projection: Aligned,
    sums: Aligned,
}

/// What the passes need of a [`Norm`].
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub mean: &'a [f32],
    pub inverse: &'a [f32],
    pub scale: &'a [f32],
    pub beta: &'a [f32],
    pub gradient: &'a [f32],
    pub projection: &'a [f32],
}

impl Norm {
    pub(super) fn new(channels: usize, lanes: usize, epsilon: f64) -> Self {
        let padded = channels.next_multiple_of(lanes);
        let list = || Aligned::zeros(padded);
        Self {
            channels,
            padded,
            epsilon,
            mean: list(),
            variance: list(),
            inverse: list(),
            scale: list(),
            beta: list(),
            gradient: list(),
            projection: list(),
            sums: Aligned::default(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        8 * self.mean.bytes() + self.sums.bytes()
    }

    /// Numbers in the buffers for such a batch.
    pub(super) fn numbers(&self, cut: Cut) -> usize {
        cut.chunks * SUMS * self.padded
    }

    pub(super) fn at(&self) -> At<'_> {
        At {
            mean: self.mean.get(),
            inverse: self.inverse.get(),
            scale: self.scale.get(),
            beta: self.beta.get(),
            gradient: self.gradient.get(),
            projection: self.projection.get(),
        }
    }

    pub(super) fn mean(&self) -> &[f32] {
        &self.mean.get()[..self.channels]
    }

    pub(super) fn variance(&self) -> &[f32] {
        &self.variance.get()[..self.channels]
    }

    /// Room for the sums of each chunk, and the rest of the layer.
    pub(super) fn sums(&mut self, chunks: usize) -> std::slice::ChunksMut<'_, f32> {
        self.sums.at_least(chunks * SUMS * self.padded).chunks_mut(SUMS * self.padded)
    }

    /// Room for the sums of each chunk, while the rest of the layer is read.
    pub(super) fn sums_and_at(&mut self, chunks: usize) -> (std::slice::ChunksMut<'_, f32>, At<'_>) {
        let Self { padded, mean, inverse, scale, beta, gradient, projection, sums, .. } = self;
        let at = At {
            mean: mean.get(),
            inverse: inverse.get(),
            scale: scale.get(),
            beta: beta.get(),
            gradient: gradient.get(),
            projection: projection.get(),
        };
        (sums.at_least(chunks * SUMS * *padded).chunks_mut(SUMS * *padded), at)
    }

    /// Joins the sums of all chunks to mean and variance.
    pub(super) fn finish_forward(&mut self, cut: Cut, cells: usize, [gamma, beta]: [&[f32]; 2]) {
        let padded = self.padded;
        let sums = self.sums.at_least(cut.chunks * SUMS * padded);
        for channel in 0..self.channels {
            let (mut count, mut mean, mut squares) = (0.0f64, 0.0f64, 0.0f64);
            for (chunk, sums) in sums.chunks(SUMS * padded).enumerate() {
                let [pivot, sum, square] = [0, 1, 2].map(|i| f64::from(sums[i * padded + channel]));
                let more = (cut.rows_of(chunk) * cells) as f64;
                let here = pivot + sum / more;
                let apart = here - mean;
                let total = count + more;
                squares += square - sum * sum / more + apart * apart * count * more / total;
                mean += apart * more / total;
                count = total;
            }
            // Rounding may leave less than nothing; NaN must stay NaN.
            let variance = if squares < 0.0 { 0.0 } else { squares / count };
            let inverse = 1.0 / (variance + self.epsilon).sqrt();
            self.mean.get_mut()[channel] = mean as f32;
            self.variance.get_mut()[channel] = variance as f32;
            self.inverse.get_mut()[channel] = inverse as f32;
            self.scale.get_mut()[channel] = (inverse * f64::from(gamma[channel])) as f32;
            self.beta.get_mut()[channel] = beta[channel];
        }
    }

    /// Joins the sums of all chunks to the gradients of gamma and beta.
    pub(super) fn finish_backward(&mut self, cut: Cut, cells: usize, gradients: &mut [Vec<f32>]) {
        let [gamma, beta, ..] = gradients else { unreachable!("a norm has two tensors") };
        let padded = self.padded;
        let sums = self.sums.at_least(cut.chunks * SUMS * padded);
        let count = (cut.rows * cells) as f64;
        for channel in 0..self.channels {
            let (mut sum, mut projection) = (0.0f64, 0.0f64);
            for sums in sums.chunks(SUMS * padded) {
                sum += f64::from(sums[channel]);
                projection += f64::from(sums[padded + channel]);
            }
            (gamma[channel], beta[channel]) = (projection as f32, sum as f32);
            self.gradient.get_mut()[channel] = (sum / count) as f32;
            self.projection.get_mut()[channel] = (projection / count) as f32;
        }
    }
}

/// The vectors of [`At`] for one vector of channels.
pub(super) struct Channel<V> {
    mean: V,
    inverse: V,
    scale: V,
    beta: V,
    gradient: V,
    projection: V,
}

impl<V: Copy> Channel<V> {
    #[inline(always)]
    pub(super) fn new<S: Simd<Vector = V>>(simd: S, at: &At, channel: usize) -> Self {
        Self {
            mean: simd.load(&at.mean[channel..]),
            inverse: simd.load(&at.inverse[channel..]),
            scale: simd.load(&at.scale[channel..]),
            beta: simd.load(&at.beta[channel..]),
            gradient: simd.load(&at.gradient[channel..]),
            projection: simd.load(&at.projection[channel..]),
        }
    }

    /// What the layer makes of `z`.
    #[inline(always)]
    pub(super) fn apply<S: Simd<Vector = V>>(&self, simd: S, z: V) -> V {
        simd.mul_add(simd.sub(z, self.mean), self.scale, self.beta)
    }

    /// `z` with mean 0 and variance 1.
    #[inline(always)]
    pub(super) fn normal<S: Simd<Vector = V>>(&self, simd: S, z: V) -> V {
        simd.mul(simd.sub(z, self.mean), self.inverse)
    }

    /// The gradient with respect to `z` from that with respect to what the layer makes of it.
    #[inline(always)]
    pub(super) fn back<S: Simd<Vector = V>>(&self, simd: S, gradient: V, z: V) -> V {
        let centred = simd.sub(gradient, self.gradient);
        simd.mul(simd.neg_mul_add(self.normal(simd, z), self.projection, centred), self.scale)
    }
}

/// How activations lie: `[row][cell][channel]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Cells of a board.
    pub cells: usize,
    /// Numbers from one cell to the next.
    pub stride: usize,
    /// Channels, in whole vectors.
    pub padded: usize,
}

impl Layout {
    /// Numbers of a row.
    pub(super) fn row(&self) -> usize {
        self.cells * self.stride
    }

    /// The share of row `row` that is to be fetched while a vector of channels of the row before is worked on.
    #[inline(always)]
    pub(super) fn share(&self, row: usize, channel: usize, lanes: usize) -> std::ops::Range<usize> {
        let start = row * self.row() + channel * self.cells;
        start..start + lanes * self.cells
    }
}

/// The sums over `z` that the mean and the variance are made of.
pub(super) struct Statistics<'a> {
    pub layout: Layout,
    pub z: &'a [f32],
    pub sums: &'a mut [f32],
    /// Where the means of each row go, if they are asked for: `[row][padded]`.
    pub means: Option<&'a mut [f32]>,
}

impl Kernel for Statistics<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Layout { cells, stride, padded } = self.layout;
        for channel in (0..padded).step_by(S::LANES) {
            let pivot = simd.load(&self.z[channel..]);
            let (mut sum, mut squares) = (simd.splat(0.0), simd.splat(0.0));
            for (index, row) in self.z.chunks_exact(cells * stride).enumerate() {
                let (mut row_sum, mut row_squares) = (simd.splat(0.0), simd.splat(0.0));
                for cell in 0..cells {
                    let apart = simd.sub(simd.load(&row[cell * stride + channel..]), pivot);
                    row_sum = simd.add(row_sum, apart);
                    row_squares = simd.mul_add(apart, apart, row_squares);
                }
                (sum, squares) = (simd.add(sum, row_sum), simd.add(squares, row_squares));
                if let Some(means) = &mut self.means {
                    let share = simd.splat(1.0 / cells as f32);
                    simd.store(simd.mul_add(row_sum, share, pivot), &mut means[index * padded + channel..]);
                }
            }
            simd.store(pivot, &mut self.sums[channel..]);
            simd.store(sum, &mut self.sums[padded + channel..]);
            simd.store(squares, &mut self.sums[2 * padded + channel..]);
        }
    }
}

/// `output = [relu](norm(z) [* gate] [+ residual])`.
pub(super) struct Activate<'a> {
    pub layout: Layout,
    pub z: &'a [f32],
    pub norm: At<'a>,
    /// `[row][padded]`.
    pub gate: Option<&'a [f32]>,
    pub residual: Option<&'a [f32]>,
    pub relu: bool,
    pub output: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Layout { cells, stride, padded } = self.layout;
        let rows = self.z.len() / (cells * stride);
        for pixel in 0..rows * cells {
            for channel in (0..padded).step_by(S::LANES) {
                let at = pixel * stride + channel;
                let norm = Channel::new(simd, &self.norm, channel);
                let mut y = norm.apply(simd, simd.load(&self.z[at..]));
                if let Some(gate) = self.gate {
                    y = simd.mul(y, simd.load(&gate[pixel / cells * padded + channel..]));
                }
                if let Some(residual) = self.residual {
                    y = simd.add(y, simd.load(&residual[at..]));
                }
                simd.store(if self.relu { simd.relu(y) } else { y }, &mut self.output[at..]);
            }
        }
    }
}

/// The gradient with respect to `z` from that with respect to `norm(z)`, or to what a gate has made of it.
pub(super) struct Back<'a> {
    pub layout: Layout,
    pub gradient: &'a [f32],
    pub gate: Option<GateBack<'a>>,
    pub z: &'a [f32],
    pub norm: At<'a>,
    pub output: &'a mut [f32],
}

/// A gate on the way back, `[row][padded]` each.
#[derive(Clone, Copy)]
pub(super) struct GateBack<'a> {
    pub gates: &'a [f32],
    /// The gradient that reaches each cell through the mean of its channel.
    pub shares: &'a [f32],
}

impl GateBack<'_> {
    /// The gradient with respect to a number before the gate.
    #[inline(always)]
    pub(super) fn back<S: Simd>(&self, simd: S, gradient: S::Vector, at: usize) -> S::Vector {
        simd.mul_add(gradient, simd.load(&self.gates[at..]), simd.load(&self.shares[at..]))
    }
}

impl Kernel for Back<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Layout { cells, stride, padded } = self.layout;
        let rows = self.z.len() / (cells * stride);
        for pixel in 0..rows * cells {
            for channel in (0..padded).step_by(S::LANES) {
                let at = pixel * stride + channel;
                let norm = Channel::new(simd, &self.norm, channel);
                let z = simd.load(&self.z[at..]);
                let mut gradient = simd.load(&self.gradient[at..]);
                if let Some(gate) = &self.gate {
                    gradient = gate.back(simd, gradient, pixel / cells * padded + channel);
                }
                simd.store(norm.back(simd, gradient, z), &mut self.output[at..]);
            }
        }
    }
}

/// The way back through `[relu](norm(z) [+ residual])`: keeps the gradient where the result was positive, and sums it up.
pub(super) struct Mask<'a> {
    pub layout: Layout,
    /// The gradient from the layer above, unless it stands in `gradient` already.
    pub from: Option<&'a [f32]>,
    /// Is that added to what stands in `gradient`?
    pub add: bool,
    pub relu: bool,
    /// The result, or `None` to compute it again, which must be one without residual.
    pub result: Option<&'a [f32]>,
    pub z: &'a [f32],
    pub norm: At<'a>,
    pub gradient: &'a mut [f32],
    pub sums: &'a mut [f32],
    /// Where the sums of each row go, if they are asked for: `[row][2][padded]`.
    pub row_sums: Option<&'a mut [f32]>,
}

impl Kernel for Mask<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Layout { cells, stride, padded } = self.layout;
        let rows = self.z.len() / (cells * stride);
        self.sums.fill(0.0);
        for row in 0..rows {
            for channel in (0..padded).step_by(S::LANES) {
                let norm = Channel::new(simd, &self.norm, channel);
                let mut sums = [simd.splat(0.0); 2];
                for cell in 0..cells {
                    let at = row * cells * stride + cell * stride + channel;
                    let z = simd.load(&self.z[at..]);
                    let result = match self.result {
                        Some(result) => simd.load(&result[at..]),
                        None => norm.apply(simd, z),
                    };
                    let mut gradient = match self.from {
                        Some(from) => simd.load(&from[at..]),
                        None => simd.load(&self.gradient[at..]),
                    };
                    if self.add {
                        gradient = simd.add(gradient, simd.load(&self.gradient[at..]));
                    }
                    if self.relu {
                        gradient = simd.where_positive(result, gradient);
                    }
                    simd.store(gradient, &mut self.gradient[at..]);
                    sums[0] = simd.add(sums[0], gradient);
                    sums[1] = simd.mul_add(gradient, norm.normal(simd, z), sums[1]);
                }
                if let Some(row_sums) = &mut self.row_sums {
                    let row_sums = &mut row_sums[2 * row * padded + channel..];
                    simd.store(sums[0], row_sums);
                    simd.store(sums[1], &mut row_sums[padded..]);
                }
                add_sums(simd, sums, self.sums, padded, channel);
            }
        }
    }
}

/// Adds the sums of a row to those of its chunk.
#[inline(always)]
pub(super) fn add_sums<S: Simd>(simd: S, row: [S::Vector; 2], sums: &mut [f32], padded: usize, channel: usize) {
    for (index, sum) in row.into_iter().enumerate() {
        let to = &mut sums[index * padded + channel..];
        simd.store(simd.add(simd.load(to), sum), to);
    }
}
