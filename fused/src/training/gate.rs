//! A gate of a residual block in training: squeeze and excitation.
//!
//! A gate sees no more of a board than the mean of each channel. The pass that leaves `z` of the convolution before it leaves
//! the means of `z` too, of which the norm makes those of what is gated; and on the way back the sums that every norm needs
//! are kept for each row, because they are also what the gates' own gradients are made of. So the passes over activations
//! only have a factor more, and all that is left are a few numbers for each row.

use super::super::Form;
use super::super::gate::sigmoid;
use super::super::kernels::Level;
use super::super::panels::Aligned;
use super::super::plan::{Dense, Node, Operation};
use super::Places;
use super::batch::{Cut, Scratch, parallel, pieces};
use super::graph::{Graph, Job};
use super::norm::{GateBack, Norm};

#[derive(Debug)]
pub(super) struct Gate {
    layers: Graph,
    /// Channels, and in whole vectors.
    channels: usize,
    padded: usize,
    /// Means of `z`, and of what the norm makes of it; `[row][padded]` as all that follows.
    pub means: Aligned,
    squeezed: Aligned,
    gates: Aligned,
    /// The sums of each row that [`super::norm::Mask`] has left.
    pub row_sums: Aligned,
    shares: Aligned,
    /// The gradient of what the sigmoid is taken of, `[row][channels]`.
    raw: Vec<f32>,
}

impl Gate {
    /// A gate of these layers for channels in so many numbers; none without layers.
    pub(super) fn new(level: Level, layers: &[Dense], padded: usize, places: &Places) -> Option<Self> {
        let channels = layers.last()?.outputs;
        let node = |(index, &dense): (usize, &Dense)| {
            let relu = index + 1 < layers.len();
            Node { operation: Operation::Dense { dense, relu }, from: index, form: Form::Row(dense.outputs) }
        };
        let nodes: Vec<Node> = layers.iter().enumerate().map(node).collect();
        let heads = vec![(nodes.len(), channels)];
        let layers = Graph::new(level, padded, true, &nodes, heads, None, places);
        let list = Aligned::default;
        let (means, squeezed, gates, row_sums, shares) = (list(), list(), list(), list(), list());
        Some(Self { layers, channels, padded, means, squeezed, gates, row_sums, shares, raw: vec![] })
    }

    pub(super) fn bytes(&self) -> usize {
        let Self { means, squeezed, gates, row_sums, shares, raw, .. } = self;
        let lists = [means, squeezed, gates, row_sums, shares].map(Aligned::bytes);
        self.layers.bytes() + lists.iter().sum::<usize>() + raw.capacity() * size_of::<f32>()
    }

    /// Numbers in all buffers for such a batch.
    pub(super) fn numbers(&self, cut: Cut) -> usize {
        self.layers.numbers(cut) + cut.rows * (6 * self.padded + self.channels)
    }

    pub(super) fn pack<'a>(&'a mut self, parameters: &'a [&'a [f32]], jobs: &mut Vec<Job<'a>>) {
        self.layers.pack(parameters, jobs);
    }

    /// The gates of the last batch, `[row][padded]`.
    pub(super) fn gates(&self) -> &[f32] {
        self.gates.get()
    }

    /// What the way back needs, for one chunk.
    pub(super) fn back(&self, cut: Cut, chunk: usize) -> GateBack<'_> {
        let [gates, shares] = [&self.gates, &self.shares].map(|list| cut.piece(list.get(), self.padded, chunk));
        GateBack { gates, shares }
    }

    /// The gates, from the means that the pass before has left.
    pub(super) fn forward(&mut self, cut: Cut, norm: &Norm, parameters: &[&[f32]], scratch: &mut Vec<Scratch>) {
        let Self { layers, channels, padded, means, squeezed, gates, .. } = self;
        let (channels, padded, at) = (*channels, *padded, norm.at());
        let jobs = pieces(cut, [(&mut *means, padded), (&mut *squeezed, padded)].into_iter());
        parallel(scratch, jobs.into_iter(), |_, mut lists| {
            let [means, squeezed] = &mut lists[..] else { unreachable!("two lists") };
            for (means, squeezed) in means.chunks_exact(padded).zip(squeezed.chunks_exact_mut(padded)) {
                for channel in 0..padded {
                    squeezed[channel] = (means[channel] - at.mean[channel]) * at.scale[channel] + at.beta[channel];
                }
            }
        });
        layers.forward(cut, squeezed.get(), parameters, scratch);
        let (raw, row) = layers.output(0);
        let jobs = pieces(cut, [(gates, padded)].into_iter()).into_iter().enumerate();
        parallel(scratch, jobs, |_, (chunk, mut lists)| {
            let raw = cut.piece(raw, row, chunk).chunks_exact(row);
            for (raw, gates) in raw.zip(lists[0].chunks_exact_mut(padded)) {
                gates[..channels].copy_from_slice(&raw[..channels]);
                sigmoid(&mut gates[..channels]);
            }
        });
    }

    /// The gradients of the layers, what [`Gate::back`] needs, and the sums of the norm, from the sums of each row.
    pub(super) fn backward(
        &mut self,
        cut: Cut,
        cells: usize,
        norm: &mut Norm,
        gradients: &mut [Vec<f32>],
        scratch: &mut Vec<Scratch>,
    ) {
        let Self { layers, channels, padded, means, squeezed, gates, row_sums, shares, raw } = self;
        let (channels, padded) = (*channels, *padded);
        let (sums, at) = norm.sums_and_at(cut.chunks);
        let (gates, row_sums) = (gates.get(), row_sums.get());
        raw.resize(cut.rows * channels, 0.0);
        parallel(scratch, raw.chunks_mut(cut.chunk * channels).enumerate(), |_, (chunk, raw)| {
            let gates = cut.piece(gates, padded, chunk).chunks_exact(padded);
            let row_sums = cut.piece(row_sums, 2 * padded, chunk).chunks_exact(2 * padded);
            for ((raw, gates), sums) in raw.chunks_exact_mut(channels).zip(gates).zip(row_sums) {
                for (channel, raw) in raw.iter_mut().enumerate() {
                    let gamma = at.scale[channel] / at.inverse[channel];
                    let of_gate = sums[padded + channel] * gamma + sums[channel] * at.beta[channel];
                    *raw = of_gate * gates[channel] * (1.0 - gates[channel]);
                }
            }
        });
        layers.backward(cut, squeezed.get(), &[&*raw], gradients, scratch);
        let of_means = layers.input_gradient();
        let share = 1.0 / cells as f32;
        let means = means.get();
        let jobs = pieces(cut, [(shares, padded)].into_iter()).into_iter().zip(sums).enumerate();
        parallel(scratch, jobs, |_, (chunk, (mut lists, sums))| {
            sums.fill(0.0);
            let list = |list| cut.piece(list, padded, chunk).chunks_exact(padded);
            let row_sums = cut.piece(row_sums, 2 * padded, chunk).chunks_exact(2 * padded);
            let rows = list(gates).zip(row_sums).zip(list(of_means)).zip(list(means));
            for (shares, (((gates, row_sums), of_means), means)) in lists[0].chunks_exact_mut(padded).zip(rows) {
                for channel in 0..padded {
                    let normal = (means[channel] - at.mean[channel]) * at.inverse[channel];
                    shares[channel] = of_means[channel] * share;
                    sums[channel] += gates[channel] * row_sums[channel] + of_means[channel];
                    sums[padded + channel] += gates[channel] * row_sums[padded + channel] + of_means[channel] * normal;
                }
            }
        });
    }
}
