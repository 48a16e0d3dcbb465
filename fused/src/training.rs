//! One step of training of a described network: forward and backward pass in `f32`, on plain arrays.
//!
//! The caller brings the parameters and the gradient of the loss with respect to the outputs of the heads, and gets the
//! gradients of all parameters; loss and optimiser are its own.
//!
//! | file | what it holds |
//! |---|---|
//! | `training.rs` | [`TrainingNetwork`], the choice of the algorithm |
//! | `training/graph.rs` | all operations of a plan, stage by stage, and what is kept between the two ways |
//! | `training/tower.rs` | the passes of a residual tower |
//! | `training/gate.rs` | the gate of a residual block |
//! | `training/fourier.rs` | convolutions of the tower as products of spectra |
//! | `training/sweeps.rs` | the passes between activations and spectra |
//! | `training/direct.rs` | other convolutions |
//! | `training/dense.rs` | dense layers |
//! | `training/norm.rs` | batch normalisation and the passes around it |
//! | `training/batch.rs` | the batch cut into chunks |
//!
//! **Invariant**: the results do not depend on the number of threads, to the last bit. The batch is cut by shapes and rows
//! alone, and all sums over it run in a fixed order. They may depend on the processor's level of vectors.

mod batch;
mod dense;
mod direct;
mod fourier;
mod gate;
mod graph;
mod norm;
mod sweeps;
#[cfg(test)]
mod tests;
mod tower;

use super::copy_rows;
use super::description::Description;
use super::fourier::Tower as Transforms;
use super::kernels::{Amx, Level};
use super::plan::{Node, Operation, Plan, Unsupported};
use batch::{Cut, Scratch, parallel};
use fourier::Products;
use graph::Graph;
use tower::Tower;

/// Bytes that a chunk of the batch may have in its hands at a time.
///
/// Longer chunks are no faster, because weights are read from the cache that all cores share either way; shorter ones
/// leave the tiles of the products half empty.
const CHUNK_BYTES: usize = 4 << 20;

/// The most rows of a chunk, and the least that it is worth to have even if they leave the cache.
const CHUNK_ROWS: std::ops::RangeInclusive<usize> = 8..=48;

/// Mean and biased variance of each channel over all cells of the last batch, for running statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics<'a> {
    /// `[channels]`.
    pub mean: &'a [f32],
    /// `[channels]`, the sum of squares divided by the number of cells, not by one less.
    pub variance: &'a [f32],
}

/// How the tower of a residual network is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Direct,
    /// Over spectra of so many rows and columns.
    Fourier([usize; 2]),
}

/// The numbers whose products a tower's convolutions sum up; all else is computed in `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrainingPrecision {
    /// `f32`.
    #[default]
    F32,
    /// bfloat16, with sums in `f32`: by AMX where the processor has it, and with the same results by vectors elsewhere.
    Bf16,
}

impl TrainingPrecision {
    fn products(self, level: Level) -> Products {
        match self {
            Self::F32 => Products::F32,
            Self::Bf16 => Products::Bf16(Amx::of(level)),
        }
    }
}

/// What the layers of a network have to know of it.
#[derive(Debug)]
struct Places {
    board: [usize; 2],
    /// What norms add to the variance.
    epsilon: f64,
    /// For each step of the description, the place of its first tensor among the parameters.
    first: Vec<usize>,
}

/// The plan and the memory of a network's training. Holds no parameters from one step to the next.
#[derive(Debug)]
pub struct TrainingNetwork {
    /// Numbers of each tensor of parameters.
    lengths: Vec<usize>,
    /// Numbers of a row of planes.
    row: usize,
    graph: Graph,
    /// Bytes of the network before any batch: packed weights, for the most part, which come with the first one.
    packed: usize,
    /// Most rows of a chunk.
    chunk: usize,
    cut: Cut,
    /// The planes of the last batch, where the way back reads them as they are.
    planes: Option<Vec<f32>>,
    /// For each head, the numbers of a row, and those of the last batch.
    widths: Vec<usize>,
    outputs: Vec<Vec<f32>>,
    /// One for each thread that has ever worked on this network.
    scratch: Vec<Scratch>,
}

impl TrainingNetwork {
    /// Plans the training of a network whose norms add `epsilon` to the variance, and chooses the algorithm by its shape.
    /// Nothing large is allocated before the first batch.
    ///
    /// # Errors
    /// When the kernels lack an operation of it, or its precision: that of a network without a tower, or of one that is
    /// computed without transforms, is `f32`.
    pub fn new(
        net: &Description,
        epsilon: f64,
        level: Level,
        precision: TrainingPrecision,
    ) -> Result<Self, Unsupported> {
        let plan = Plan::of_training(net)?;
        let algorithm = Algorithm::choose(&plan);
        if precision != TrainingPrecision::F32
            && !(matches!(algorithm, Algorithm::Fourier(_)) && plan.tower().is_some())
        {
            return Err(Unsupported::precision());
        }
        Ok(Self::with(net, &plan, epsilon, level, algorithm, precision.products(level)))
    }

    fn with(
        net: &Description,
        plan: &Plan,
        epsilon: f64,
        level: Level,
        algorithm: Algorithm,
        products: Products,
    ) -> Self {
        let forms = net.forms();
        let (mut lengths, mut first) = (vec![], vec![]);
        for step in 0..net.steps.len() {
            first.push(lengths.len());
            lengths.extend(net.parameters(step, &forms).iter().map(|shape| shape.iter().product::<usize>()));
        }
        assert!(lengths.iter().all(|&length| length > 0), "a layer without numbers: {net:?}");
        let [planes, height, width] = plan.input;
        let places = Places { board: [height, width], epsilon, first };
        let tower = plan.tower().map(|(stem, blocks)| {
            let transform = match algorithm {
                Algorithm::Direct => None,
                Algorithm::Fourier(size) => Some((size, products)),
            };
            Tower::new(level, planes, stem, blocks, transform, &places)
        });
        let row = planes * plan.cells();
        let widths: Vec<usize> = plan.heads.iter().map(|&(_, width)| width).collect();
        let dense = |node: &Node| node.from == 0 && matches!(node.operation, Operation::Dense { .. });
        let planes = plan.nodes.iter().any(dense).then(Vec::new);
        let graph = Graph::new(level, row, false, &plan.nodes, plan.heads.clone(), tower, &places);
        let chunk = CHUNK_BYTES / size_of::<f32>() / graph.row();
        Self {
            lengths,
            row,
            packed: graph.bytes(),
            graph,
            chunk: chunk.clamp(*CHUNK_ROWS.start(), *CHUNK_ROWS.end()),
            cut: Cut::default(),
            planes,
            outputs: vec![vec![]; widths.len()],
            widths,
            scratch: Vec::new(),
        }
    }

    /// How many tensors of parameters it has.
    #[must_use]
    pub fn tensors(&self) -> usize {
        self.lengths.len()
    }

    /// Bytes that the training of a network takes with batches of so many rows on so many threads, before any of it is there;
    /// `None` if the kernels lack an operation of it, or its precision.
    #[must_use]
    pub fn footprint(
        net: &Description,
        level: Level,
        precision: TrainingPrecision,
        rows: usize,
        threads: usize,
    ) -> Option<usize> {
        Some(Self::new(net, 0.0, level, precision).ok()?.bytes_for(rows, threads))
    }

    /// Bytes that this network has allocated after a step with so many rows on so many threads, but for larger ones before;
    /// a little more than [`TrainingNetwork::bytes`] will tell.
    #[must_use]
    pub fn bytes_for(&self, rows: usize, threads: usize) -> usize {
        let cut = Cut::new(rows, self.chunk);
        let planes = if self.planes.is_some() { self.row } else { 0 };
        let plain = rows * (planes + self.widths.iter().sum::<usize>());
        let numbers = self.graph.numbers(cut) + threads * self.graph.scratch(cut);
        self.packed + size_of::<f32>() * (numbers + plain + plain / 16 + 4096)
    }

    /// How the body of this network is computed, for people to read.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.graph.tower() {
            None => "dense",
            Some(tower) if tower.is_fourier() => "fourier",
            Some(_) => "direct",
        }
    }

    /// The forward pass of a batch in training, on rayon's current pool.
    ///
    /// # Shapes
    /// - `planes`: `[rows, planes, height, width]`
    /// - `parameters`: the tensors of all steps of the description, as [`Description::parameters`] shapes them
    ///
    /// # Panics
    /// If there are no rows, or a slice has another length.
    pub fn forward(&mut self, rows: usize, planes: &[f32], parameters: &[&[f32]]) {
        assert!(rows > 0, "a batch without rows");
        assert_eq!(planes.len(), rows * self.row, "planes of {rows} rows");
        assert!(
            parameters.iter().map(|tensor| tensor.len()).eq(self.lengths.iter().copied()),
            "parameters that are not those of the network"
        );
        self.cut = Cut::new(rows, self.chunk);
        if let Some(kept) = &mut self.planes {
            kept.clear();
            kept.extend_from_slice(planes);
        }
        let mut jobs = vec![];
        self.graph.pack(parameters, &mut jobs);
        parallel(&mut self.scratch, jobs.into_iter(), |_, job| job());
        self.graph.forward(self.cut, planes, parameters, &mut self.scratch);
        for (head, (output, &width)) in self.outputs.iter_mut().zip(&self.widths).enumerate() {
            output.resize(rows * width, 0.0);
            let (value, row) = self.graph.output(head);
            copy_rows(value, row, output, width);
        }
    }

    /// The raw output of each head in the last forward pass, `[rows, width]`, without tanh or softmax.
    #[must_use]
    pub fn outputs(&self) -> &[Vec<f32>] {
        &self.outputs
    }

    /// What each layer of batch normalisation has seen in the last forward pass, in the order of the description.
    #[must_use]
    pub fn batch_statistics(&self) -> Vec<Statistics<'_>> {
        let mut norms: Vec<_> = self.graph.norms().collect();
        norms.sort_by_key(|&(place, _)| place);
        norms.iter().map(|(_, norm)| Statistics { mean: norm.mean(), variance: norm.variance() }).collect()
    }

    /// The backward pass of the last batch, on rayon's current pool.
    ///
    /// # Shapes
    /// - `outputs`: the gradient of the loss with respect to those of the heads, of the same lengths
    /// - `gradients`: one for each tensor of parameters; they get its length and are overwritten
    ///
    /// # Panics
    /// If there was no forward pass, or a slice has another length.
    pub fn backward(&mut self, outputs: &[Vec<f32>], gradients: &mut [Vec<f32>]) {
        assert!(self.cut.rows > 0, "a backward pass before any forward pass");
        assert!(outputs.iter().map(Vec::len).eq(self.outputs.iter().map(Vec::len)), "gradients of the outputs");
        assert_eq!(gradients.len(), self.lengths.len(), "tensors of gradients");
        for (gradient, &length) in gradients.iter_mut().zip(&self.lengths) {
            gradient.resize(length, 0.0);
        }
        let outputs: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
        let planes = self.planes.as_deref().unwrap_or_default();
        self.graph.backward(self.cut, planes, &outputs, gradients, &mut self.scratch);
    }

    /// Bytes that this network has allocated after a batch. Buffers only grow, to what the largest one has needed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let plain = self.outputs.iter().chain(&self.planes).map(|list| list.capacity() * size_of::<f32>());
        self.graph.bytes() + plain.sum::<usize>() + self.scratch.iter().map(Scratch::bytes).sum::<usize>()
    }
}

impl Algorithm {
    fn choose(plan: &Plan) -> Self {
        let [_, height, width] = plan.input;
        // Measured from 8 channels on and up to 19x19: transforms never lose by much, and mostly win by far.
        match (plan.tower(), Transforms::size([height, width])) {
            (Some((stem, _)), Some(size)) if stem.kernel <= fourier::KERNEL && stem.outputs >= 8 => Self::Fourier(size),
            _ => Self::Direct,
        }
    }
}
