//! One step of training of the same networks: forward and backward pass in `f32`, on plain arrays.
//!
//! The caller brings the parameters and the gradient of the loss with respect to logits and values, and gets the gradients
//! of all parameters; loss and optimiser are its own.
//!
//! | file | what it holds |
//! |---|---|
//! | `training.rs` | [`Shape`], and [`TrainingNetwork`], the choice of the algorithm |
//! | `training/resnet.rs` | the passes of a residual network, and what is kept between them |
//! | `training/head.rs` | the 1x1 convolutions of the heads |
//! | `training/fourier.rs` | convolutions of the tower as products of spectra |
//! | `training/sweeps.rs` | the passes between activations and spectra |
//! | `training/direct.rs` | other convolutions |
//! | `training/dense.rs` | the dense layers of both kinds of networks |
//! | `training/norm.rs` | batch normalisation and the passes around it |
//! | `training/batch.rs` | the batch cut into chunks |
//!
//! **Invariant**: the results do not depend on the number of threads, to the last bit. The batch is cut by shapes and rows
//! alone, and all sums over it run in a fixed order. They may depend on the processor's level of vectors.

mod batch;
mod dense;
mod direct;
mod fourier;
mod head;
mod norm;
mod resnet;
mod sweeps;
#[cfg(test)]
mod tests;

use super::description::Description;
use super::fourier::Tower;
use super::kernels::Level;
use batch::{Cut, Scratch};
use dense::Chain;
use resnet::{Resnet, Size};

/// Bytes that a chunk of the batch may have in its hands at a time.
///
/// Longer chunks are no faster, because weights are read from the cache that all cores share either way; shorter ones
/// leave the tiles of the products half empty.
const CHUNK_BYTES: usize = 4 << 20;

/// The most rows of a chunk, and the least that it is worth to have even if they leave the cache.
const CHUNK_ROWS: std::ops::RangeInclusive<usize> = 8..=48;

/// The shape of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Input planes.
    pub planes: usize,
    /// Rows of the board.
    pub height: usize,
    /// Columns of the board.
    pub width: usize,
    /// Everything between the planes and the heads.
    pub body: ShapeBody,
    /// Logits of a row.
    pub actions: usize,
    /// Numbers between the two layers of the value head.
    pub value_hidden: usize,
    /// Outputs of the value head.
    pub value_outputs: usize,
    /// What batch normalisation adds to the variance.
    pub epsilon: f64,
}

/// Everything between the planes and the heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShapeBody {
    /// A residual tower: `relu(norm(stem))`, then for each block `relu(x + norm(second(relu(norm(first(x))))))`.
    ///
    /// The policy and the value head start with a 1x1 convolution of their own, with normalisation and ReLU, whose result
    /// is flattened as `[channels, height, width]`. No convolution has a bias.
    Resnet {
        /// Channels of the tower.
        channels: usize,
        /// Residual blocks.
        blocks: usize,
        /// Side of the kernels of stem and tower, an odd number.
        kernel: usize,
        /// Channels that the convolutions of the heads write.
        head_channels: usize,
    },
    /// Dense layers with a ReLU after each; both heads read the last one (the planes themselves if there is none).
    Mlp {
        /// Outputs of each layer.
        layers: Vec<usize>,
    },
}

impl Shape {
    /// Name and length of each tensor of parameters, in the order in which all functions take them.
    ///
    /// Convolutions are `[outputs, inputs, kernel, kernel]`, dense layers `[inputs, outputs]`, all row-major; gamma and
    /// beta of a normalisation are `[channels]`, and so is a bias.
    #[must_use]
    pub fn parameters(&self) -> Vec<(String, usize)> {
        let cells = self.height * self.width;
        let mut list = Vec::new();
        let features = match &self.body {
            ShapeBody::Resnet { channels, blocks, kernel, head_channels } => {
                let mut conv = |name: &str, weights: usize, outputs: usize| {
                    for (part, length) in [("weight", weights), ("gamma", outputs), ("beta", outputs)] {
                        list.push((format!("{name}.{part}"), length));
                    }
                };
                let taps = kernel * kernel;
                conv("stem", self.planes * channels * taps, *channels);
                for block in 0..*blocks {
                    for part in ["first", "second"] {
                        conv(&format!("blocks.{block}.{part}"), channels * channels * taps, *channels);
                    }
                }
                conv("policy_conv", channels * head_channels, *head_channels);
                conv("value_conv", channels * head_channels, *head_channels);
                head_channels * cells
            }
            ShapeBody::Mlp { layers } => {
                let mut inputs = self.planes * cells;
                for (index, &outputs) in layers.iter().enumerate() {
                    list.push((format!("layers.{index}.weight"), inputs * outputs));
                    list.push((format!("layers.{index}.bias"), outputs));
                    inputs = outputs;
                }
                inputs
            }
        };
        let mut dense = |name: &str, inputs: usize, outputs: usize| {
            list.push((format!("{name}.weight"), inputs * outputs));
            list.push((format!("{name}.bias"), outputs));
        };
        dense("policy", features, self.actions);
        dense("value_hidden", features, self.value_hidden);
        dense("value_out", self.value_hidden, self.value_outputs);
        list
    }

    /// Names of the layers of batch normalisation, in the order of [`TrainingNetwork::batch_statistics`].
    #[must_use]
    pub fn norms(&self) -> Vec<String> {
        let names = self.parameters().into_iter().map(|(name, _)| name);
        names.filter_map(|name| name.strip_suffix(".gamma").map(str::to_owned)).collect()
    }
}

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

/// The plan and the memory of a network's training. Holds no parameters from one step to the next.
#[derive(Debug)]
pub struct TrainingNetwork {
    shape: Shape,
    lengths: Vec<usize>,
    body: Body,
    /// Bytes of the body before any batch: packed weights, for the most part, which come with the first one.
    packed: usize,
    /// Most rows of a chunk.
    chunk: usize,
    cut: Cut,
    planes: Vec<f32>,
    logits: Vec<f32>,
    values: Vec<f32>,
    /// One for each thread that has ever worked on this network.
    scratch: Vec<Scratch>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for a whole network")]
enum Body {
    Resnet(Resnet),
    Mlp(Chain),
}

impl TrainingNetwork {
    /// Plans the work, and chooses the algorithm by the shape of the network. Nothing large is allocated before the first batch.
    ///
    /// # Panics
    /// If a number of the shape is zero (but for blocks and layers), or the kernel's side even.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        Self::with_level(shape, Level::default())
    }

    /// The same with a choice of vectors.
    ///
    /// # Panics
    /// As [`TrainingNetwork::new`].
    #[must_use]
    pub fn with_level(shape: &Shape, level: Level) -> Self {
        Self::with(shape, level, Algorithm::choose(shape))
    }

    fn with(shape: &Shape, level: Level, algorithm: Algorithm) -> Self {
        let lengths: Vec<usize> = shape.parameters().into_iter().map(|(_, length)| length).collect();
        assert!(lengths.iter().all(|&length| length > 0), "a layer without numbers: {shape:?}");
        let outputs = [shape.actions, shape.value_hidden, shape.value_outputs];
        let (body, row) = match &shape.body {
            ShapeBody::Resnet { channels, blocks, kernel, head_channels } => {
                assert!(kernel % 2 == 1, "a kernel of {kernel}x{kernel} has no middle");
                let size = Size {
                    planes: shape.planes,
                    board: [shape.height, shape.width],
                    channels: *channels,
                    blocks: *blocks,
                    kernel: *kernel,
                    head_channels: *head_channels,
                    outputs,
                    epsilon: shape.epsilon,
                };
                let transform = match algorithm {
                    Algorithm::Direct => None,
                    Algorithm::Fourier(transform) => Some(transform),
                };
                let resnet = Resnet::new(level, &size, transform);
                let row = resnet.row();
                (Body::Resnet(resnet), row)
            }
            ShapeBody::Mlp { layers } => {
                let planes = shape.planes * shape.height * shape.width;
                let row = layers.iter().copied().max().unwrap_or(0).max(planes) * 2;
                (Body::Mlp(Chain::mlp(level, planes, layers, outputs)), row)
            }
        };
        let chunk = CHUNK_BYTES / size_of::<f32>() / row.max(1);
        let packed = match &body {
            Body::Resnet(resnet) => resnet.bytes(),
            Body::Mlp(mlp) => mlp.bytes(),
        };
        Self {
            shape: shape.clone(),
            lengths,
            body,
            packed,
            chunk: chunk.clamp(*CHUNK_ROWS.start(), *CHUNK_ROWS.end()),
            cut: Cut::default(),
            planes: Vec::new(),
            logits: Vec::new(),
            values: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Bytes that the training of a network takes with batches of so many rows on so many threads, before any of it is there;
    /// `None` if the kernels do not know it.
    #[must_use]
    pub fn footprint(net: &Description, level: Level, rows: usize, threads: usize) -> Option<usize> {
        let shape = Shape::of(net, 0.0)?;
        Some(Self::with_level(&shape, level).bytes_for(rows, threads))
    }

    /// Bytes that this network has allocated after a step with so many rows on so many threads, but for larger ones before;
    /// a little more than [`TrainingNetwork::bytes`] will tell.
    #[must_use]
    pub fn bytes_for(&self, rows: usize, threads: usize) -> usize {
        let cut = Cut::new(rows, self.chunk);
        let (numbers, scratch) = match &self.body {
            Body::Resnet(resnet) => (resnet.numbers(cut), resnet.scratch(cut)),
            Body::Mlp(mlp) => (mlp.numbers(cut), 2 * rows),
        };
        let planes = self.shape.planes * self.shape.height * self.shape.width;
        let plain = rows * (planes + self.shape.actions + self.shape.value_outputs);
        self.packed + size_of::<f32>() * (numbers + threads * scratch + plain + plain / 16 + 4096)
    }

    /// How the body of this network is computed, for people to read.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match &self.body {
            Body::Mlp(_) => "dense",
            Body::Resnet(resnet) if resnet.is_fourier() => "fourier",
            Body::Resnet(_) => "direct",
        }
    }

    /// The forward pass of a batch in training, on rayon's current pool.
    ///
    /// # Shapes
    /// - `planes`: `[rows, planes, height, width]`
    /// - `parameters`: see [`Shape::parameters`]
    ///
    /// # Panics
    /// If there are no rows, or a slice has another length.
    pub fn forward(&mut self, rows: usize, planes: &[f32], parameters: &[&[f32]]) {
        let row = self.shape.planes * self.shape.height * self.shape.width;
        assert!(rows > 0, "a batch without rows");
        assert_eq!(planes.len(), rows * row, "planes of {rows} rows");
        assert!(
            parameters.iter().map(|tensor| tensor.len()).eq(self.lengths.iter().copied()),
            "parameters that are not those of the shape"
        );
        let cut = Cut::new(rows, self.chunk);
        self.cut = cut;
        let heads = match &mut self.body {
            Body::Resnet(resnet) => {
                resnet.forward(cut, planes, parameters, &mut self.scratch);
                &resnet.heads
            }
            Body::Mlp(mlp) => {
                self.planes.clear();
                self.planes.extend_from_slice(planes);
                mlp.forward(cut, [planes; 2], parameters, &mut self.scratch);
                mlp
            }
        };
        for (which, to) in [&mut self.logits, &mut self.values].into_iter().enumerate() {
            to.clear();
            heads.copy_outputs(rows, which, to);
        }
    }

    /// `[rows, actions]` of the last forward pass.
    #[must_use]
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// `[rows, value_outputs]` of the last forward pass; raw outputs, without tanh or softmax.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// What each layer of batch normalisation has seen in the last forward pass, in the order of [`Shape::norms`].
    #[must_use]
    pub fn batch_statistics(&self) -> Vec<Statistics<'_>> {
        match &self.body {
            Body::Mlp(_) => Vec::new(),
            Body::Resnet(resnet) => {
                resnet.norms().map(|norm| Statistics { mean: norm.mean(), variance: norm.variance() }).collect()
            }
        }
    }

    /// The backward pass of the last batch, on rayon's current pool.
    ///
    /// # Shapes
    /// - `logits`, `values`: the gradient of the loss with respect to those, of the same lengths
    /// - `gradients`: one for each tensor of parameters; they get its length and are overwritten
    ///
    /// # Panics
    /// If there was no forward pass, or a slice has another length.
    pub fn backward(&mut self, logits: &[f32], values: &[f32], gradients: &mut [Vec<f32>]) {
        assert!(self.cut.rows > 0, "a backward pass before any forward pass");
        assert_eq!(logits.len(), self.logits.len(), "gradient of the logits");
        assert_eq!(values.len(), self.values.len(), "gradient of the values");
        assert_eq!(gradients.len(), self.lengths.len(), "tensors of gradients");
        for (gradient, &length) in gradients.iter_mut().zip(&self.lengths) {
            gradient.resize(length, 0.0);
        }
        match &mut self.body {
            Body::Resnet(resnet) => resnet.backward(self.cut, [logits, values], gradients, &mut self.scratch),
            Body::Mlp(mlp) => {
                let planes = [self.planes.as_slice(); 2];
                mlp.backward(self.cut, planes, [logits, values], gradients, None, &mut self.scratch);
            }
        }
    }

    /// Bytes that this network has allocated after a batch. Buffers only grow, to what the largest one has needed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let body = match &self.body {
            Body::Resnet(resnet) => resnet.bytes(),
            Body::Mlp(mlp) => mlp.bytes(),
        };
        let plain = [&self.planes, &self.logits, &self.values].map(|list| list.capacity() * size_of::<f32>());
        body + plain.iter().sum::<usize>() + self.scratch.iter().map(Scratch::bytes).sum::<usize>()
    }
}

impl Algorithm {
    fn choose(shape: &Shape) -> Self {
        // Measured from 8 channels on and up to 19x19: transforms never lose by much, and mostly win by far.
        match (&shape.body, Tower::size([shape.height, shape.width])) {
            (&ShapeBody::Resnet { channels, kernel, .. }, Some(size)) if kernel <= fourier::KERNEL && channels >= 8 => {
                Self::Fourier(size)
            }
            _ => Self::Direct,
        }
    }
}
