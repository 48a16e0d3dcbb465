//! The 1x1 convolution of a head, with its normalisation, up to the features that its dense layers read.

use super::super::kernels::Level;
use super::super::panels::Aligned;
use super::batch::{Cut, Scratch, parallel};
use super::dense::Chain;
use super::direct::DirectConv;
use super::norm::{Activate, Layout, Mask, Norm};
use super::resnet::Size;

/// The 1x1 convolution of a head.
#[derive(Debug)]
pub(super) struct HeadConv {
    pub conv: DirectConv,
    pub norm: Norm,
    pub layout: Layout,
    pub z: Aligned,
    pub gradient: Aligned,
    /// `relu(norm(z))` as `[row][channel][cell]`, and its gradient.
    pub features: Aligned,
    pub features_gradient: Aligned,
}

impl HeadConv {
    pub(super) fn new(level: Level, size: &Size, tower: Layout) -> Self {
        let channels = size.head_channels;
        let norm = Norm::new(channels, level.shape().0, size.epsilon);
        let layout = Layout { cells: tower.cells, stride: norm.padded, padded: norm.padded };
        let conv =
            DirectConv::new(level, [size.channels, channels, 1], size.board, [tower.stride, layout.stride], true);
        let buffer = Aligned::default;
        Self { conv, norm, layout, z: buffer(), gradient: buffer(), features: buffer(), features_gradient: buffer() }
    }

    pub(super) fn stride(&self) -> usize {
        Chain::stride(self.norm.channels * self.layout.cells)
    }

    /// `features` from `z`.
    pub(super) fn activate(&mut self, level: Level, cut: Cut, scratch: &mut Vec<Scratch>) {
        let (stride, channels, layout) = (self.stride(), self.norm.channels, self.layout);
        let norm = self.norm.at();
        let jobs = self.features.at_least(cut.rows * stride).chunks_mut(cut.chunk * stride);
        let jobs = jobs.zip(self.z.get()[..cut.rows * layout.row()].chunks(cut.chunk * layout.row()));
        parallel(scratch, jobs, |scratch, (features, z)| {
            let cells = scratch.first.at_least(z.len());
            level.run(Activate { layout, z, norm, residual: None, output: &mut *cells });
            for (from, to) in cells.chunks_exact(layout.row()).zip(features.chunks_exact_mut(stride)) {
                for (cell, from) in from.chunks_exact(layout.stride).enumerate() {
                    for (channel, &number) in from[..channels].iter().enumerate() {
                        to[channel * layout.cells + cell] = number;
                    }
                }
            }
        });
    }

    /// `gradient` of what the normalisation leaves, and its sums, from `features_gradient`.
    pub(super) fn mask(&mut self, level: Level, cut: Cut, scratch: &mut Vec<Scratch>) {
        let (stride, channels, layout) = (self.stride(), self.norm.channels, self.layout);
        let (sums, norm) = self.norm.sums_and_at(cut.chunks);
        let jobs = self.gradient.at_least(cut.rows * layout.row()).chunks_mut(cut.chunk * layout.row());
        let jobs = jobs.zip(self.z.get()[..cut.rows * layout.row()].chunks(cut.chunk * layout.row())).zip(sums);
        let jobs = jobs.zip(self.features_gradient.get().chunks(cut.chunk * stride));
        parallel(scratch, jobs, |scratch, (((gradient, z), sums), features)| {
            let cells = scratch.first.at_least(z.len());
            for (to, from) in cells.chunks_exact_mut(layout.row()).zip(features.chunks_exact(stride)) {
                for (cell, to) in to.chunks_exact_mut(layout.stride).enumerate() {
                    to[channels..].fill(0.0);
                    for (channel, number) in to[..channels].iter_mut().enumerate() {
                        *number = from[channel * layout.cells + cell];
                    }
                }
            }
            level.run(Mask { layout, from: cells, add: false, result: None, z, norm, gradient, sums });
        });
    }

    pub(super) fn bytes(&self) -> usize {
        let buffers = [&self.z, &self.gradient, &self.features, &self.features_gradient];
        self.conv.bytes() + self.norm.bytes() + buffers.map(Aligned::bytes).iter().sum::<usize>()
    }

    /// Numbers in all buffers for such a batch.
    pub(super) fn numbers(&self, cut: Cut) -> usize {
        self.conv.sums() + self.norm.numbers(cut) + 2 * cut.rows * (self.layout.row() + self.stride())
    }
}
