//! A residual network there and back, one barrier of all threads for each batch normalisation.
//!
//! A chunk of the batch stays on its thread from one barrier to the next. On the way forward it normalises what the last
//! convolution has left, and takes it through the next one; on the way back it takes a gradient through the normalisation
//! and the convolution, and masks it for the ReLU below. Both ways leave the sums that the next normalisation needs.

use super::super::kernels::Level;
use super::super::panels::{Aligned, Panels};
use super::super::planes_last;
use super::batch::{Cut, Scratch, parallel};
use super::dense::Chain;
use super::direct::DirectConv;
use super::fourier::Geometry;
use super::head::HeadConv;
use super::norm::{Activate, Back, Layout, Mask, Norm, Statistics};
use super::sweeps::{Enter, Leave, Source, Target};

/// The shape of a residual network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub planes: usize,
    pub board: [usize; 2],
    pub channels: usize,
    pub blocks: usize,
    pub kernel: usize,
    pub head_channels: usize,
    pub outputs: [usize; 3],
    pub epsilon: f64,
}

/// A residual network and all that one step of training keeps of it.
#[derive(Debug)]
pub(super) struct Resnet {
    level: Level,
    planes: usize,
    layout: Layout,
    stem: DirectConv,
    tower: Tower,
    /// Of the stem and of each convolution of the tower.
    norms: Vec<Norm>,
    /// The results of the stem and of each convolution of the tower.
    z: Vec<Aligned>,
    /// What goes into each block, and what comes out of the last one.
    x: Vec<Aligned>,
    /// Gradients between two blocks, and inside of one.
    outer: Aligned,
    inner: Aligned,
    /// The planes as `[row][cell][plane]`.
    input: Aligned,
    convs: [HeadConv; 2],
    pub heads: Chain,
}

/// The convolutions of the tower.
#[derive(Debug)]
enum Tower {
    Direct {
        convs: Vec<DirectConv>,
        /// The inputs of one convolution, and the gradient of its outputs.
        activation: Aligned,
        gradient: Aligned,
    },
    Fourier {
        geometry: Geometry,
        convs: Vec<FourierConv>,
        /// Spectra of the gradient of one convolution, and the sums over the batch that become its own gradient.
        gradient: Aligned,
        sums: Aligned,
    },
}

#[derive(Debug)]
struct FourierConv {
    forward: Vec<Panels>,
    back: Vec<Panels>,
    /// Of the inputs, from the way forward.
    spectra: Aligned,
}

impl Resnet {
    /// `transform`: the size of the Fourier transforms, or `None` for direct convolutions.
    pub(super) fn new(level: Level, size: &Size, transform: Option<[usize; 2]>) -> Self {
        let Size { planes, board, channels, blocks, kernel, epsilon, .. } = *size;
        let cells = board[0] * board[1];
        let lanes = level.shape().0;
        let padded = channels.next_multiple_of(lanes);
        let layout = Layout { cells, stride: padded, padded };
        let stem = DirectConv::new(level, [planes, channels, kernel], board, [planes, layout.stride], false);
        let direct = || DirectConv::new(level, [channels, channels, kernel], board, [layout.stride; 2], true);
        let tower = match transform {
            None => Tower::Direct {
                convs: (0..2 * blocks).map(|_| direct()).collect(),
                activation: Aligned::default(),
                gradient: Aligned::default(),
            },
            Some(transform) => {
                let geometry = Geometry::new(level, board, transform, kernel, channels);
                let conv =
                    || FourierConv { forward: geometry.panels(), back: geometry.panels(), spectra: Aligned::default() };
                let convs = (0..2 * blocks).map(|_| conv()).collect();
                Tower::Fourier { geometry, convs, gradient: Aligned::default(), sums: Aligned::default() }
            }
        };
        let convs = [0, 1].map(|_| HeadConv::new(level, size, layout));
        let features = convs[0].norm.channels * cells;
        let heads = Chain::heads(level, features, size.outputs);
        let buffers = |count| (0..count).map(|_| Aligned::default()).collect();
        Self {
            level,
            planes,
            layout,
            stem,
            tower,
            norms: (0..=2 * blocks).map(|_| Norm::new(channels, lanes, epsilon)).collect(),
            z: buffers(2 * blocks + 1),
            x: buffers(blocks + 1),
            outer: Aligned::default(),
            inner: Aligned::default(),
            input: Aligned::default(),
            convs,
            heads,
        }
    }

    /// Numbers of one row of the batch that a chunk has in its hands between two barriers.
    pub(super) fn row(&self) -> usize {
        match &self.tower {
            Tower::Direct { .. } => 3 * self.layout.row(),
            Tower::Fourier { geometry, .. } => {
                2 * geometry.size[0] * geometry.size[1] * geometry.padded + 2 * self.layout.row()
            }
        }
    }

    pub(super) fn is_fourier(&self) -> bool {
        matches!(self.tower, Tower::Fourier { .. })
    }

    /// All layers of batch normalisation in the order of the parameters.
    pub(super) fn norms(&self) -> impl Iterator<Item = &Norm> {
        self.norms.iter().chain(self.convs.iter().map(|head| &head.norm))
    }

    pub(super) fn bytes(&self) -> usize {
        let tower = match &self.tower {
            Tower::Direct { convs, activation, gradient } => {
                convs.iter().map(DirectConv::bytes).sum::<usize>() + activation.bytes() + gradient.bytes()
            }
            Tower::Fourier { convs, gradient, sums, .. } => {
                let panels = |bins: &[Panels]| bins.iter().map(Panels::bytes).sum::<usize>();
                let conv = |conv: &FourierConv| panels(&conv.forward) + panels(&conv.back) + conv.spectra.bytes();
                convs.iter().map(conv).sum::<usize>() + gradient.bytes() + sums.bytes()
            }
        };
        let buffers = self.z.iter().chain(&self.x).chain([&self.outer, &self.inner, &self.input]);
        tower
            + self.stem.bytes()
            + buffers.map(Aligned::bytes).sum::<usize>()
            + self.norms.iter().map(Norm::bytes).sum::<usize>()
            + self.convs.iter().map(HeadConv::bytes).sum::<usize>()
            + self.heads.bytes()
    }

    /// Numbers in all buffers for such a batch, without those of the threads.
    pub(super) fn numbers(&self, cut: Cut) -> usize {
        let length = cut.rows * self.layout.row();
        let tower = match &self.tower {
            Tower::Direct { convs, .. } => convs.iter().map(DirectConv::sums).sum::<usize>() + 2 * length,
            Tower::Fourier { geometry, convs, .. } => {
                (convs.len() + 1) * cut.chunks * geometry.chunk_stride(cut) + geometry.sums()
            }
        };
        tower
            + (self.z.len() + self.x.len() + 2) * length
            + cut.rows * self.planes * self.layout.cells
            + self.norms.iter().map(|norm| norm.numbers(cut)).sum::<usize>()
            + self.stem.sums()
            + self.convs.iter().map(|head| head.numbers(cut)).sum::<usize>()
            + self.heads.numbers(cut)
    }

    /// The most numbers of the buffers of one thread.
    pub(super) fn scratch(&self, cut: Cut) -> usize {
        let row = self.layout.row().max(self.convs[0].layout.row());
        let tower = match &self.tower {
            Tower::Direct { .. } => 0,
            Tower::Fourier { geometry, .. } => geometry.scratch(cut),
        };
        // The lists of pixels may have grown by doubling.
        2 * cut.chunk * row + tower + 2 * cut.rows * self.layout.cells
    }

    fn pack(&mut self, parameters: &[&[f32]], scratch: &mut Vec<Scratch>) {
        let mut jobs: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
        let count = self.norms.len();
        match &mut self.tower {
            Tower::Direct { convs, .. } => {
                for (index, conv) in convs.iter_mut().enumerate() {
                    jobs.push(Box::new(move || conv.pack(parameters[3 * (index + 1)])));
                }
            }
            Tower::Fourier { geometry, convs, .. } => {
                let geometry = &*geometry;
                for (index, conv) in convs.iter_mut().enumerate() {
                    let weight = parameters[3 * (index + 1)];
                    let FourierConv { forward, back, .. } = conv;
                    jobs.push(Box::new(move || geometry.pack(weight, false, forward)));
                    jobs.push(Box::new(move || geometry.pack(weight, true, back)));
                }
            }
        }
        let stem = &mut self.stem;
        jobs.push(Box::new(move || stem.pack(parameters[0])));
        for (index, head) in self.convs.iter_mut().enumerate() {
            jobs.push(Box::new(move || head.conv.pack(parameters[3 * (count + index)])));
        }
        parallel(scratch, jobs.into_iter(), |_, job| job());
    }

    pub(super) fn forward(&mut self, cut: Cut, planes: &[f32], parameters: &[&[f32]], scratch: &mut Vec<Scratch>) {
        self.pack(parameters, scratch);
        self.run_stem(cut, planes, scratch);
        let cells = self.layout.cells;
        self.norms[0].finish_forward(cut, cells, parameters[1], parameters[2]);
        for index in 1..self.norms.len() {
            self.run_conv(cut, index, scratch);
            self.norms[index].finish_forward(cut, cells, parameters[3 * index + 1], parameters[3 * index + 2]);
        }
        self.run_heads(cut, scratch);
        for (index, head) in self.convs.iter_mut().enumerate() {
            let at = 3 * (self.norms.len() + index);
            head.norm.finish_forward(cut, cells, parameters[at + 1], parameters[at + 2]);
            head.activate(self.level, cut, scratch);
        }
        let features = [self.convs[0].features.get(), self.convs[1].features.get()];
        self.heads.forward(cut, features, &parameters[3 * (self.norms.len() + 2)..], scratch);
    }

    fn run_stem(&mut self, cut: Cut, planes: &[f32], scratch: &mut Vec<Scratch>) {
        let Self { level, layout, stem, .. } = self;
        let (level, layout, count, row) = (*level, *layout, self.planes, self.planes * layout.cells);
        let jobs = self.input.at_least(cut.rows * row).chunks_mut(cut.chunk * row);
        let jobs = jobs.zip(planes.chunks(cut.chunk * row)).zip(self.norms[0].sums(cut.chunks));
        let z = self.z[0].at_least(cut.rows * layout.row());
        let jobs = jobs.zip(z.chunks_mut(cut.chunk * layout.row()));
        parallel(scratch, jobs, |scratch, (((input, planes), sums), z)| {
            planes_last(count, layout.cells, planes, input);
            stem.forward(planes.len() / row, input, z, &mut scratch.pixels);
            level.run(Statistics { layout, z, sums });
        });
    }

    /// The convolution `index` of the tower, counted from 1, with the activation before it.
    fn run_conv(&mut self, cut: Cut, index: usize, scratch: &mut Vec<Scratch>) {
        let Self { level, layout, .. } = *self;
        let (length, chunk) = (cut.rows * layout.row(), cut.chunk * layout.row());
        let (before, after) = self.z.split_at_mut(index);
        let (from, to) = (&before[index - 1].get()[..length], after[0].at_least(length));
        let (before, after) = self.norms.split_at_mut(index);
        let (norm, sums) = (before[index - 1].at(), after[0].sums(cut.chunks));
        // The first convolution of a block reads what is kept for the residual sum.
        let (block, first) = ((index - 1) / 2, index % 2 == 1);
        let (before, after) = self.x.split_at_mut(block);
        let residual = before.last().filter(|_| first).map(|x| &x.get()[..length]);
        let mut keep = first.then(|| after[0].at_least(length).chunks_mut(chunk));
        let jobs = from.chunks(chunk).zip(to.chunks_mut(chunk)).zip(sums).enumerate();
        let jobs = jobs.map(|(index, ((from, to), sums))| {
            let residual = residual.map(|residual| &residual[index * chunk..][..from.len()]);
            (from, to, sums, residual, keep.as_mut().and_then(Iterator::next))
        });
        match &mut self.tower {
            Tower::Direct { convs, .. } => {
                let conv = &convs[index - 1];
                parallel(scratch, jobs, |scratch, (z, to, sums, residual, keep)| {
                    let output = keep.unwrap_or_else(|| scratch.first.at_least(z.len()));
                    level.run(Activate { layout, z, norm, residual, output: &mut *output });
                    conv.forward(z.len() / layout.row(), output, to, &mut scratch.pixels);
                    level.run(Statistics { layout, z: to, sums });
                });
            }
            Tower::Fourier { geometry, convs, .. } => {
                let FourierConv { forward, spectra, .. } = &mut convs[index - 1];
                let stride = geometry.chunk_stride(cut);
                let jobs = jobs.zip(spectra.at_least(cut.chunks * stride).chunks_mut(stride));
                parallel(scratch, jobs, |scratch, ((z, to, sums, residual, keep), spectra)| {
                    let source = Source::Activation { residual, keep };
                    geometry.enter(cut, Enter { layout, z, norm, source, spectra: &mut *spectra });
                    let products = scratch.first.at_least(stride);
                    let rows = z.len() / layout.row();
                    geometry.multiply(cut, rows, forward, spectra, products, &mut scratch.second);
                    geometry.leave(cut, Leave { layout, spectra: products, target: Target::Output(to), sums });
                });
            }
        }
    }

    /// The end of the last block, and the convolutions of the heads.
    fn run_heads(&mut self, cut: Cut, scratch: &mut Vec<Scratch>) {
        let Self { level, layout, .. } = *self;
        let (length, chunk) = (cut.rows * layout.row(), cut.chunk * layout.row());
        let last = self.norms.len() - 1;
        let (z, norm) = (&self.z[last].get()[..length], self.norms[last].at());
        let (before, after) = self.x.split_at_mut(last / 2);
        let residual = before.last().map(|x| &x.get()[..length]);
        let [policy, value] = &mut self.convs;
        let heads = [policy, value].map(|HeadConv { conv, norm, layout, z, .. }| {
            let row = layout.row();
            let jobs = z.at_least(cut.rows * row).chunks_mut(cut.chunk * row).zip(norm.sums(cut.chunks));
            (jobs, (&*conv, *layout))
        });
        let [(policy, to_policy), (value, to_value)] = heads;
        let jobs = z.chunks(chunk).zip(after[0].at_least(length).chunks_mut(chunk)).enumerate().zip(policy.zip(value));
        parallel(scratch, jobs, |scratch, ((index, (z, output)), (policy, value))| {
            let residual = residual.map(|residual| &residual[index * chunk..][..z.len()]);
            level.run(Activate { layout, z, norm, residual, output: &mut *output });
            for ((conv, layout_of_head), (z_of_head, sums)) in [(to_policy, policy), (to_value, value)] {
                conv.forward(z.len() / layout.row(), output, z_of_head, &mut scratch.pixels);
                level.run(Statistics { layout: layout_of_head, z: z_of_head, sums });
            }
        });
    }

    pub(super) fn backward(
        &mut self,
        cut: Cut,
        outputs: [&[f32]; 2],
        gradients: &mut [Vec<f32>],
        scratch: &mut Vec<Scratch>,
    ) {
        let cells = self.layout.cells;
        let (tower, rest) = gradients.split_at_mut(3 * self.norms.len());
        let (head_convs, dense) = rest.split_at_mut(6);
        let stride = self.convs[0].stride();
        let [policy, value] = &mut self.convs;
        let features = [policy.features.get(), value.features.get()];
        let to = [&mut policy.features_gradient, &mut value.features_gradient];
        let to = Some(to.map(|to| to.at_least(cut.rows * stride)));
        self.heads.backward(cut, features, outputs, dense, to, scratch);
        for (head, gradients) in self.convs.iter_mut().zip(head_convs.chunks_exact_mut(3)) {
            head.mask(self.level, cut, scratch);
            let [_, gamma, beta] = gradients else { unreachable!("three tensors") };
            head.norm.finish_backward(cut, cells, gamma, beta);
        }
        self.back_heads(cut, scratch);
        for (head, gradients) in self.convs.iter_mut().zip(head_convs.chunks_exact_mut(3)) {
            let x = self.x[self.x.len() - 1].get();
            head.conv.gradient(cut.rows, x, head.gradient.get(), &mut gradients[0], scratch);
        }
        for index in (0..self.norms.len()).rev() {
            let [weight, gamma, beta] = &mut tower[3 * index..3 * index + 3] else { unreachable!("three tensors") };
            self.norms[index].finish_backward(cut, cells, gamma, beta);
            if index > 0 {
                self.back_conv(cut, index, weight, scratch);
            } else {
                self.back_stem(cut, weight, scratch);
            }
        }
    }

    /// From the heads to the end of the tower. Leaves in the gradient of each head that of its convolution's outputs.
    fn back_heads(&mut self, cut: Cut, scratch: &mut Vec<Scratch>) {
        let Self { level, layout, .. } = *self;
        let (length, chunk) = (cut.rows * layout.row(), cut.chunk * layout.row());
        let last = self.norms.len() - 1;
        let z = &self.z[last].get()[..length];
        let result = &self.x[last / 2].get()[..length];
        let (sums, norm) = self.norms[last].sums_and_at(cut.chunks);
        let [policy, value] = &mut self.convs;
        let heads = [policy, value].map(|HeadConv { conv, norm, layout, z, gradient, .. }| {
            let row = layout.row();
            let gradient = gradient.at_least(cut.rows * row).chunks_mut(cut.chunk * row);
            (gradient.zip(z.get()[..cut.rows * row].chunks(cut.chunk * row)), (&*conv, *layout, norm.at()))
        });
        let [(policy, from_policy), (value, from_value)] = heads;
        let jobs = z.chunks(chunk).zip(result.chunks(chunk)).zip(self.outer.at_least(length).chunks_mut(chunk));
        let jobs = jobs.zip(sums).zip(policy.zip(value));
        parallel(scratch, jobs, |scratch, ((((z, result), outer), sums), (policy, value))| {
            let from = scratch.first.at_least(z.len());
            let heads = [(from_policy, policy, false), (from_value, value, true)];
            for ((conv, layout_of_head, norm), (gradient, z_of_head), add) in heads {
                let output = scratch.second.at_least(z_of_head.len());
                level.run(Back { layout: layout_of_head, gradient, z: z_of_head, norm, output: &mut *output });
                gradient.copy_from_slice(output);
                conv.back(z.len() / layout.row(), gradient, from, add, &mut scratch.pixels);
            }
            level.run(Mask { layout, from, add: false, result: Some(result), z, norm, gradient: outer, sums });
        });
    }

    /// Through the convolution `index` of the tower, counted from 1, and the ReLU before it.
    fn back_conv(&mut self, cut: Cut, index: usize, weight: &mut [f32], scratch: &mut Vec<Scratch>) {
        let Self { level, layout, .. } = *self;
        let (length, chunk) = (cut.rows * layout.row(), cut.chunk * layout.row());
        let (block, first) = ((index - 1) / 2, index % 2 == 1);
        let z = self.z[index].get()[..length].chunks(chunk);
        let z_before = self.z[index - 1].get()[..length].chunks(chunk);
        let (before, after) = self.norms.split_at_mut(index);
        let norm = after[0].at();
        let (sums, norm_before) = before[index - 1].sums_and_at(cut.chunks);
        let (outer, inner) = (self.outer.at_least(length), self.inner.at_least(length));
        let (from, to) = if first { (&*inner, outer) } else { (&*outer, inner) };
        let result = first.then(|| &self.x[block].get()[..length]);
        let jobs = from.chunks(chunk).zip(z).zip(z_before).zip(to.chunks_mut(chunk)).zip(sums).enumerate();
        let jobs = jobs.map(|(index, ((((from, z), z_before), to), sums))| {
            (from, z, z_before, to, sums, result.map(|result| &result[index * chunk..][..z.len()]))
        });
        match &mut self.tower {
            Tower::Direct { convs, activation, gradient } => {
                let conv = &convs[index - 1];
                let jobs = jobs.zip(activation.at_least(length).chunks_mut(chunk));
                let jobs = jobs.zip(gradient.at_least(length).chunks_mut(chunk));
                parallel(scratch, jobs, |scratch, (((from, z, z_before, to, sums, result), activation), dz)| {
                    level.run(Back { layout, gradient: from, z, norm, output: &mut *dz });
                    let dx = scratch.first.at_least(z.len());
                    conv.back(z.len() / layout.row(), dz, dx, false, &mut scratch.pixels);
                    if result.is_none() {
                        level.run(Activate {
                            layout,
                            z: z_before,
                            norm: norm_before,
                            residual: None,
                            output: activation,
                        });
                    }
                    let (z, norm) = (z_before, norm_before);
                    level.run(Mask { layout, from: dx, add: first, result, z, norm, gradient: to, sums });
                });
                let input = result.unwrap_or(activation.get());
                convs[index - 1].gradient(cut.rows, input, gradient.get(), weight, scratch);
            }
            Tower::Fourier { geometry, convs, gradient, sums: kernel_sums } => {
                let FourierConv { back, spectra, .. } = &mut convs[index - 1];
                let stride = geometry.chunk_stride(cut);
                let gradient = gradient.at_least(cut.chunks * stride);
                let jobs = jobs.zip(gradient.chunks_mut(stride));
                parallel(scratch, jobs, |scratch, ((from, z, z_before, to, sums, result), spectra)| {
                    let source = Source::Gradient(from);
                    geometry.enter(cut, Enter { layout, z, norm, source, spectra: &mut *spectra });
                    let products = scratch.first.at_least(stride);
                    geometry.multiply(cut, z.len() / layout.row(), back, spectra, products, &mut scratch.second);
                    let (z, norm) = (z_before, norm_before);
                    let target = Target::Gradient { add: first, result, z, norm, gradient: to };
                    geometry.leave(cut, Leave { layout, spectra: products, target, sums });
                });
                geometry.kernel_gradient(cut, [spectra.get(), gradient], kernel_sums, weight, scratch);
            }
        }
    }

    fn back_stem(&mut self, cut: Cut, weight: &mut [f32], scratch: &mut Vec<Scratch>) {
        let Self { level, layout, .. } = *self;
        let (length, chunk) = (cut.rows * layout.row(), cut.chunk * layout.row());
        let norm = self.norms[0].at();
        let (from, to) = (&self.outer.get()[..length], self.inner.at_least(length));
        let z = &self.z[0].get()[..length];
        let jobs = from.chunks(chunk).zip(z.chunks(chunk)).zip(to.chunks_mut(chunk));
        parallel(scratch, jobs, |_, ((gradient, z), output)| {
            level.run(Back { layout, gradient, z, norm, output });
        });
        self.stem.gradient(cut.rows, self.input.get(), to, weight, scratch);
    }
}
