//! A residual tower there and back, one barrier of all threads for each batch normalisation.
//!
//! A chunk of the batch stays on its thread from one barrier to the next. On the way forward it normalises what the last
//! convolution has left, and takes it through the next one; on the way back it takes a gradient through the normalisation
//! and the convolution, and masks it for the ReLU below. Both ways leave the sums that the next normalisation needs.
//! The activation behind the last block, and its mask, belong to the operations that read it.

use super::super::conv::Then;
use super::super::kernels::Level;
use super::super::panels::Aligned;
use super::super::plan::{Block, Conv};
use super::super::planes_last;
use super::Places;
use super::batch::{Cut, Scratch, parallel};
use super::direct::DirectConv;
use super::fourier::{Geometry, Matrices, Products};
use super::gate::Gate;
use super::graph::Job;
use super::norm::{Activate, At, Back, Layout, Mask, Norm, Statistics};
use super::sweeps::{Enter, Leave, Source, Target};

/// A residual tower and all that one step of training keeps of it.
#[derive(Debug)]
pub(super) struct Tower {
    level: Level,
    planes: usize,
    pub layout: Layout,
    stem: DirectConv,
    convs: Convs,
    /// The places of the weight and of the gamma of the stem and of each convolution among the parameters.
    places: Vec<[usize; 2]>,
    /// The norms of the stem and of each convolution.
    norms: Vec<Norm>,
    /// The results of the stem and of each convolution.
    z: Vec<Aligned>,
    /// What goes into each block.
    x: Vec<Aligned>,
    gates: Vec<Option<Gate>>,
    /// Gradients inside of a block.
    inner: Aligned,
    /// The planes as `[row][cell][plane]`.
    input: Aligned,
}

/// The convolutions of the blocks.
#[derive(Debug)]
enum Convs {
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
    forward: Matrices,
    back: Matrices,
    /// The spectra of the inputs, from the way forward.
    spectra: Aligned,
}

/// What a chunk needs to come back into a tower.
pub(super) struct End<'a> {
    level: Level,
    layout: Layout,
    z: &'a [f32],
    norm: At<'a>,
    sums: &'a mut [f32],
    row_sums: Option<&'a mut [f32]>,
}

impl End<'_> {
    /// Masks the gradient of what the tower has made, and leaves the sums of the last norm.
    pub(super) fn mask(self, value: &[f32], gradient: &mut [f32]) {
        let Self { level, layout, z, norm, sums, row_sums } = self;
        let (from, result) = (None, Some(value));
        level.run(Mask { layout, from, add: false, relu: true, result, z, norm, gradient, sums, row_sums });
    }
}

impl Tower {
    /// `transform`: the size of the Fourier transforms with what computes their products, or `None` for direct convolutions.
    pub(super) fn new(
        level: Level,
        planes: usize,
        stem: &Conv,
        blocks: &[Block],
        transform: Option<([usize; 2], Products)>,
        places: &Places,
    ) -> Self {
        let (board, channels, kernel) = (places.board, stem.outputs, stem.kernel);
        let cells = board[0] * board[1];
        let lanes = level.shape().0;
        let padded = channels.next_multiple_of(lanes);
        let layout = Layout { cells, stride: padded, padded };
        let all = || [stem].into_iter().chain(blocks.iter().flat_map(|block| &block.convs));
        let place =
            |conv: &Conv| [conv.step, conv.norm.expect("a trained tower has norms")].map(|step| places.first[step]);
        let direct = || DirectConv::new(level, [channels, channels, kernel], board, [layout.stride; 2], true);
        let count = 2 * blocks.len();
        let convs = match transform {
            None => Convs::Direct {
                convs: (0..count).map(|_| direct()).collect(),
                activation: Aligned::default(),
                gradient: Aligned::default(),
            },
            Some((size, products)) => {
                let geometry = Geometry::new(level, products, board, size, kernel, channels);
                let conv = || FourierConv {
                    forward: geometry.matrices(),
                    back: geometry.matrices(),
                    spectra: Aligned::default(),
                };
                let convs = (0..count).map(|_| conv()).collect();
                Convs::Fourier { geometry, convs, gradient: Aligned::default(), sums: Aligned::default() }
            }
        };
        let buffers = |count| (0..count).map(|_| Aligned::default()).collect();
        Self {
            level,
            planes,
            layout,
            stem: DirectConv::new(level, [planes, channels, kernel], board, [planes, layout.stride], false),
            convs,
            places: all().map(place).collect(),
            norms: (0..=count).map(|_| Norm::new(channels, lanes, places.epsilon)).collect(),
            z: buffers(count + 1),
            x: buffers(blocks.len()),
            gates: blocks.iter().map(|block| Gate::new(level, &block.gate, padded, places)).collect(),
            inner: Aligned::default(),
            input: Aligned::default(),
        }
    }

    /// Numbers of one row of the batch that a chunk has in its hands between two barriers.
    pub(super) fn row(&self) -> usize {
        match &self.convs {
            Convs::Direct { .. } => 3 * self.layout.row(),
            Convs::Fourier { geometry, .. } => {
                2 * geometry.size[0] * geometry.size[1] * geometry.padded + 2 * self.layout.row()
            }
        }
    }

    pub(super) fn is_fourier(&self) -> bool {
        matches!(self.convs, Convs::Fourier { .. })
    }

    /// All norms with the places of their gammas among the parameters.
    pub(super) fn norms(&self) -> impl Iterator<Item = (usize, &Norm)> {
        self.places.iter().map(|place| place[1]).zip(&self.norms)
    }

    pub(super) fn bytes(&self) -> usize {
        let convs = match &self.convs {
            Convs::Direct { convs, activation, gradient } => {
                convs.iter().map(DirectConv::bytes).sum::<usize>() + activation.bytes() + gradient.bytes()
            }
            Convs::Fourier { convs, gradient, sums, .. } => {
                let conv = |conv: &FourierConv| conv.forward.bytes() + conv.back.bytes() + conv.spectra.bytes();
                convs.iter().map(conv).sum::<usize>() + gradient.bytes() + sums.bytes()
            }
        };
        let buffers = self.z.iter().chain(&self.x).chain([&self.inner, &self.input]);
        convs
            + self.stem.bytes()
            + buffers.map(Aligned::bytes).sum::<usize>()
            + self.norms.iter().map(Norm::bytes).sum::<usize>()
            + self.gates.iter().flatten().map(Gate::bytes).sum::<usize>()
    }

    /// Numbers in all buffers for such a batch, without those of the threads.
    pub(super) fn numbers(&self, cut: Cut) -> usize {
        let length = cut.rows * self.layout.row();
        let convs = match &self.convs {
            Convs::Direct { convs, .. } => convs.iter().map(DirectConv::sums).sum::<usize>() + 2 * length,
            Convs::Fourier { geometry, convs, .. } => {
                (convs.len() + 1) * cut.chunks * geometry.chunk_stride(cut) + geometry.sums()
            }
        };
        convs
            + (self.z.len() + self.x.len() + 1) * length
            + cut.rows * self.planes * self.layout.cells
            + self.norms.iter().map(|norm| norm.numbers(cut)).sum::<usize>()
            + self.gates.iter().flatten().map(|gate| gate.numbers(cut)).sum::<usize>()
            + self.stem.sums()
    }

    /// The most numbers of the buffers of one thread, but for lists of pixels.
    pub(super) fn scratch(&self, cut: Cut) -> usize {
        let convs = match &self.convs {
            Convs::Direct { .. } => 0,
            Convs::Fourier { geometry, .. } => geometry.scratch(cut),
        };
        2 * cut.chunk * self.layout.row() + convs
    }

    pub(super) fn pack<'a>(&'a mut self, parameters: &'a [&'a [f32]], jobs: &mut Vec<Job<'a>>) {
        let weights = self.places.iter().map(|place| parameters[place[0]]);
        match &mut self.convs {
            Convs::Direct { convs, .. } => {
                for (conv, weight) in convs.iter_mut().zip(weights.skip(1)) {
                    jobs.push(Box::new(move || conv.pack(weight, &[])));
                }
            }
            Convs::Fourier { geometry, convs, .. } => {
                let geometry = &*geometry;
                for (FourierConv { forward, back, .. }, weight) in convs.iter_mut().zip(weights.skip(1)) {
                    jobs.push(Box::new(move || geometry.pack(weight, false, forward)));
                    jobs.push(Box::new(move || geometry.pack(weight, true, back)));
                }
            }
        }
        let (stem, weight) = (&mut self.stem, parameters[self.places[0][0]]);
        jobs.push(Box::new(move || stem.pack(weight, &[])));
        self.gates.iter_mut().flatten().for_each(|gate| gate.pack(parameters, jobs));
    }

    /// Up to what the last convolution leaves, with parameters that are packed.
    pub(super) fn forward(&mut self, cut: Cut, planes: &[f32], parameters: &[&[f32]], scratch: &mut Vec<Scratch>) {
        self.run_stem(cut, planes, scratch);
        for index in 0..self.norms.len() {
            if index > 0 {
                self.run_conv(cut, index, scratch);
            }
            let at = self.places[index][1];
            self.norms[index].finish_forward(cut, self.layout.cells, [parameters[at], parameters[at + 1]]);
            if let Some(gate) = self.gate(index) {
                self.gates[gate].as_mut().expect("it is one").forward(cut, &self.norms[index], parameters, scratch);
            }
        }
    }

    /// The gate behind the convolution `index`, counted from the stem.
    fn gate(&self, index: usize) -> Option<usize> {
        let block = (index / 2).checked_sub(1).filter(|_| index.is_multiple_of(2))?;
        self.gates[block].is_some().then_some(block)
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
            stem.forward(planes.len() / row, input, z, Then::Store, &mut scratch.pixels);
            level.run(Statistics { layout, z, sums, means: None });
        });
    }

    /// The convolution `index`, counted from the stem, with the activation before it.
    fn run_conv(&mut self, cut: Cut, index: usize, scratch: &mut Vec<Scratch>) {
        let Self { level, layout, .. } = *self;
        let (length, chunk) = (cut.rows * layout.row(), cut.chunk * layout.row());
        let (gate_before, gate_after) = (self.gate(index - 1), self.gate(index));
        let (before, after) = self.z.split_at_mut(index);
        let (from, to) = (before[index - 1].get(), after[0].at_least(length));
        let (before, after) = self.norms.split_at_mut(index);
        let (norm, sums) = (before[index - 1].at(), after[0].sums(cut.chunks));
        // The first convolution of a block reads what is kept for the residual sum.
        let (block, first) = ((index - 1) / 2, index % 2 == 1);
        let (before, after) = self.x.split_at_mut(block);
        let residual = before.last().filter(|_| first).map(Aligned::get);
        let mut keep = first.then(|| after[0].at_least(length).chunks_mut(chunk));
        let (gates, after) = self.gates.split_at_mut(block);
        let gates = gate_before.and(gates.last()).and_then(Option::as_ref).map(Gate::gates);
        let means = gate_after.and(after.first_mut()).and_then(Option::as_mut).map(|gate| &mut gate.means);
        let mut means =
            means.map(|means| means.at_least(cut.rows * layout.padded).chunks_mut(cut.chunk * layout.padded));
        let jobs = to.chunks_mut(chunk).zip(sums).enumerate();
        let jobs = jobs.map(|(index, (to, sums))| {
            let z = cut.piece(from, layout.row(), index);
            let residual = residual.map(|residual| cut.piece(residual, layout.row(), index));
            let gate = gates.map(|gates| cut.piece(gates, layout.padded, index));
            (
                z,
                to,
                sums,
                gate,
                residual,
                keep.as_mut().and_then(Iterator::next),
                means.as_mut().and_then(Iterator::next),
            )
        });
        match &mut self.convs {
            Convs::Direct { convs, .. } => {
                let conv = &convs[index - 1];
                parallel(scratch, jobs, |scratch, (z, to, sums, gate, residual, keep, means)| {
                    let output = keep.unwrap_or_else(|| scratch.first.at_least(z.len()));
                    level.run(Activate { layout, z, norm, gate, residual, relu: true, output: &mut *output });
                    conv.forward(z.len() / layout.row(), output, to, Then::Store, &mut scratch.pixels);
                    level.run(Statistics { layout, z: to, sums, means });
                });
            }
            Convs::Fourier { geometry, convs, .. } => {
                let FourierConv { forward, spectra, .. } = &mut convs[index - 1];
                let stride = geometry.chunk_stride(cut);
                let jobs = jobs.zip(spectra.at_least(cut.chunks * stride).chunks_mut(stride));
                parallel(scratch, jobs, |scratch, ((z, to, sums, gate, residual, keep, means), spectra)| {
                    let source = Source::Activation { gate, residual, keep };
                    geometry.enter(cut, Enter { layout, z, norm, source, spectra: &mut *spectra });
                    let products = scratch.first.at_least(geometry.products(cut));
                    let rows = z.len() / layout.row();
                    geometry.multiply(cut, rows, forward, spectra, products, &mut scratch.second);
                    geometry.leave(
                        cut,
                        Leave { layout, spectra: products, target: Target::Output { output: to, means }, sums },
                    );
                });
            }
        }
    }

    /// What the tower makes of a chunk: the end of the last block.
    pub(super) fn activate(&self, cut: Cut, chunk: usize, output: &mut [f32]) {
        let (layout, last) = (self.layout, self.norms.len() - 1);
        let z = cut.piece(self.z[last].get(), layout.row(), chunk);
        let residual = self.x.last().map(|x| cut.piece(x.get(), layout.row(), chunk));
        let gate = self.gates.last().and_then(Option::as_ref);
        let gate = gate.map(|gate| cut.piece(gate.gates(), layout.padded, chunk));
        self.level.run(Activate { layout, z, norm: self.norms[last].at(), gate, residual, relu: true, output });
    }

    /// What each chunk needs to come back.
    pub(super) fn end(&mut self, cut: Cut) -> impl Iterator<Item = End<'_>> {
        let Self { level, layout, .. } = *self;
        let last = self.norms.len() - 1;
        let (sums, norm) = self.norms[last].sums_and_at(cut.chunks);
        let z = &self.z[last].get()[..cut.rows * layout.row()];
        let row_sums = self.gates.last_mut().and_then(Option::as_mut).map(|gate| &mut gate.row_sums);
        let mut row_sums = row_sums.map(|sums| row_chunks(cut, sums, layout));
        z.chunks(cut.chunk * layout.row()).zip(sums).map(move |(z, sums)| {
            let row_sums = row_sums.as_mut().and_then(Iterator::next);
            End { level, layout, z, norm, sums, row_sums }
        })
    }

    /// From the gradient of what the tower has made, masked, to those of all parameters.
    pub(super) fn backward(
        &mut self,
        cut: Cut,
        outer: &mut Aligned,
        gradients: &mut [Vec<f32>],
        scratch: &mut Vec<Scratch>,
    ) {
        let cells = self.layout.cells;
        for index in (0..self.norms.len()).rev() {
            let [weight, gamma] = self.places[index];
            if let Some(gate) = self.gate(index) {
                let gate = self.gates[gate].as_mut().expect("it is one");
                gate.backward(cut, cells, &mut self.norms[index], gradients, scratch);
            }
            self.norms[index].finish_backward(cut, cells, &mut gradients[gamma..]);
            if index > 0 {
                self.back_conv(cut, index, outer, &mut gradients[weight], scratch);
            } else {
                self.back_stem(cut, outer, &mut gradients[weight], scratch);
            }
        }
    }

    /// Through the convolution `index`, counted from the stem, and the ReLU before it.
    fn back_conv(
        &mut self,
        cut: Cut,
        index: usize,
        outer: &mut Aligned,
        weight: &mut [f32],
        scratch: &mut Vec<Scratch>,
    ) {
        let Self { level, layout, .. } = *self;
        let (length, chunk) = (cut.rows * layout.row(), cut.chunk * layout.row());
        let (block, first) = ((index - 1) / 2, index % 2 == 1);
        let (gate_before, gate_after) = (self.gate(index - 1), self.gate(index));
        let z = self.z[index].get()[..length].chunks(chunk);
        let z_before = self.z[index - 1].get()[..length].chunks(chunk);
        let (before, after) = self.norms.split_at_mut(index);
        let norm = after[0].at();
        let (sums, norm_before) = before[index - 1].sums_and_at(cut.chunks);
        let (outer, inner) = (outer.at_least(length), self.inner.at_least(length));
        let (from, to) = if first { (&*inner, outer) } else { (&*outer, inner) };
        let result = first.then(|| &self.x[block].get()[..length]);
        let (gates, after) = self.gates.split_at_mut(block);
        let row_sums = gate_before.and(gates.last_mut()).and_then(Option::as_mut).map(|gate| &mut gate.row_sums);
        let mut row_sums = row_sums.map(|sums| row_chunks(cut, sums, layout));
        let gate = gate_after.and(after.first()).and_then(Option::as_ref);
        let jobs = from.chunks(chunk).zip(z).zip(z_before).zip(to.chunks_mut(chunk)).zip(sums).enumerate();
        let jobs = jobs.map(|(index, ((((from, z), z_before), to), sums))| {
            let result = result.map(|result| cut.piece(result, layout.row(), index));
            let gate = gate.map(|gate| gate.back(cut, index));
            (from, gate, z, z_before, to, sums, result, row_sums.as_mut().and_then(Iterator::next))
        });
        match &mut self.convs {
            Convs::Direct { convs, activation, gradient } => {
                let conv = &convs[index - 1];
                let jobs = jobs.zip(activation.at_least(length).chunks_mut(chunk));
                let jobs = jobs.zip(gradient.at_least(length).chunks_mut(chunk));
                parallel(scratch, jobs, |scratch, ((job, activation), dz)| {
                    let (from, gate, z, z_before, to, sums, result, row_sums) = job;
                    level.run(Back { layout, gradient: from, gate, z, norm, output: &mut *dz });
                    let dx = scratch.first.at_least(z.len());
                    conv.back(z.len() / layout.row(), dz, dx, false, &mut scratch.pixels);
                    if result.is_none() {
                        level.run(Activate {
                            layout,
                            z: z_before,
                            norm: norm_before,
                            gate: None,
                            residual: None,
                            relu: true,
                            output: activation,
                        });
                    }
                    let (z, norm, from, gradient) = (z_before, norm_before, Some(&*dx), to);
                    let (add, relu) = (first, true);
                    level.run(Mask { layout, from, add, relu, result, z, norm, gradient, sums, row_sums });
                });
                let input = result.unwrap_or(activation.get());
                convs[index - 1].gradient(cut.rows, input, gradient.get(), weight, scratch);
            }
            Convs::Fourier { geometry, convs, gradient, sums: kernel_sums } => {
                let FourierConv { back, spectra, .. } = &mut convs[index - 1];
                let stride = geometry.chunk_stride(cut);
                let gradient = gradient.at_least(cut.chunks * stride);
                let jobs = jobs.zip(gradient.chunks_mut(stride));
                parallel(scratch, jobs, |scratch, ((from, gate, z, z_before, to, sums, result, row_sums), spectra)| {
                    let source = Source::Gradient(from, gate);
                    geometry.enter(cut, Enter { layout, z, norm, source, spectra: &mut *spectra });
                    let products = scratch.first.at_least(geometry.products(cut));
                    geometry.multiply(cut, z.len() / layout.row(), back, spectra, products, &mut scratch.second);
                    let (z, norm) = (z_before, norm_before);
                    let target = Target::Gradient { add: first, result, z, norm, gradient: to, row_sums };
                    geometry.leave(cut, Leave { layout, spectra: products, target, sums });
                });
                geometry.kernel_gradient(cut, [spectra.get(), gradient], kernel_sums, weight, scratch);
            }
        }
    }

    fn back_stem(&mut self, cut: Cut, outer: &Aligned, weight: &mut [f32], scratch: &mut Vec<Scratch>) {
        let Self { level, layout, .. } = *self;
        let (length, chunk) = (cut.rows * layout.row(), cut.chunk * layout.row());
        let norm = self.norms[0].at();
        let (from, to) = (&outer.get()[..length], self.inner.at_least(length));
        let z = &self.z[0].get()[..length];
        let jobs = from.chunks(chunk).zip(z.chunks(chunk)).zip(to.chunks_mut(chunk));
        parallel(scratch, jobs, |_, ((gradient, z), output)| {
            level.run(Back { layout, gradient, gate: None, z, norm, output });
        });
        self.stem.gradient(cut.rows, self.input.get(), to, weight, scratch);
    }
}

/// The sums of each row that a gate asks for, by chunks.
fn row_chunks(cut: Cut, sums: &mut Aligned, layout: Layout) -> std::slice::ChunksMut<'_, f32> {
    sums.at_least(2 * cut.rows * layout.padded).chunks_mut(2 * cut.chunk * layout.padded)
}
