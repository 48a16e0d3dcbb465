//! A network as burn trains it.

use super::describe;
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId, RunningState},
    nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d, conv::Conv2d, conv::Conv2dConfig},
    optim::GradientsParams,
    tensor::{
        Device, FloatDType, Int, Tensor, TensorData,
        activation::{relu, sigmoid},
        module::conv2d,
        ops::ConvOptions,
    },
};
use lockstep_components::{
    GameInfo,
    config::{LearnPrecision, NetworkConfig},
};
use lockstep_fused::{Description, Form, Op, Step};
use std::sync::Arc;

/// A network that is trained: a description with burn's layers for its parameters.
#[derive(Module, Debug)]
pub struct Network {
    /// Those of each step that has some, in the order of the steps.
    layers: Vec<Layer>,
    #[module(skip)]
    description: Arc<Description>,
}

/// The parameters of a step.
#[derive(Module, Debug)]
pub(super) enum Layer {
    Conv(Conv2d),
    Norm(BatchNorm),
    Dense(Linear),
}

/// A value of a network for a batch.
#[derive(Clone, Debug)]
enum Value {
    /// `[batch, channels, height, width]`
    Board(Tensor<4>),
    /// `[batch, features]`
    Row(Tensor<2>),
}

impl Value {
    fn board(&self) -> Tensor<4> {
        match self {
            Self::Board(board) => board.clone(),
            Self::Row(_) => unreachable!("the description fits together"),
        }
    }

    fn row(&self) -> Tensor<2> {
        match self {
            Self::Board(board) => board.clone().flatten(1, 3),
            Self::Row(row) => row.clone(),
        }
    }
}

/// What layers do to boards and rows: burn's modules when they train, plain tensors when they are frozen.
pub(super) trait Layers {
    /// A step's convolution with its norm folded in, or without.
    fn conv(&self, layer: usize, kernel: usize, x: Tensor<4>) -> Tensor<4>;
    /// A step's batch norm.
    fn norm(&self, layer: usize, x: Tensor<4>) -> Tensor<4>;
    /// A step's dense layer.
    fn dense(&self, layer: usize, x: Tensor<2>) -> Tensor<2>;
}

/// The raw output of each head for `[batch, planes, height, width]`: `[batch, features]`, without softmax or tanh.
pub(super) fn interpret(net: &Description, layers: &(impl Layers + ?Sized), planes: Tensor<4>) -> Vec<Tensor<2>> {
    let mut values = vec![Value::Board(planes)];
    let mut layer = 0;
    for Step { op, from, .. } in &net.steps {
        let x = &values[from[0]];
        let value = match op {
            Op::Conv { kernel, .. } => Value::Board(layers.conv(layer, *kernel, x.board())),
            Op::Norm => Value::Board(layers.norm(layer, x.board())),
            Op::Dense { .. } => Value::Row(layers.dense(layer, x.row())),
            Op::Relu => match x {
                Value::Board(x) => Value::Board(relu(x.clone())),
                Value::Row(x) => Value::Row(relu(x.clone())),
            },
            Op::Sum => match (x, &values[from[1]]) {
                (Value::Board(x), Value::Board(y)) => Value::Board(x.clone() + y.clone()),
                (x, y) => Value::Row(x.row() + y.row()),
            },
            Op::Pool => {
                let board: Tensor<3> = x.board().flatten(2, 3);
                Value::Row(board.mean_dim(2).squeeze_dim(2))
            }
            Op::Gate => {
                let gates: Tensor<4> = sigmoid(values[from[1]].row()).unsqueeze_dims(&[2, 3]);
                Value::Board(x.board() * gates)
            }
            Op::Select { indices } => {
                let numbers: Vec<i32> = indices.iter().map(|&index| index as i32).collect();
                let places: Tensor<1, Int> =
                    Tensor::from_data(TensorData::new(numbers, [indices.len()]), &x.board().device());
                Value::Row(x.row().select(1, places))
            }
        };
        layer += usize::from(has_layer(op));
        values.push(value);
    }
    net.heads.iter().map(|head| values[head.value].row()).collect()
}

/// What a tensor is called, from where the module has it: `layers.0.Conv.weight` is `stem.conv.weight`.
pub(super) fn name_of(net: &Description, path: &[String]) -> String {
    let layer: usize = path[1].parse().expect("the number of a layer");
    let mut names = net.steps.iter().filter(|step| has_layer(&step.op)).map(|step| &step.name);
    let field = path.last().expect("a tensor is a field of a layer");
    format!("{}.{field}", names.nth(layer).expect("a step for each layer"))
}

/// How [`Op::Conv`] goes over a board: each cell once, with as much padding as keeps its size.
pub(super) fn padded(kernel: usize) -> ConvOptions<2> {
    ConvOptions::new([1, 1], [kernel / 2; 2], [1, 1], 1)
}

/// A dense layer as a convolution of boards with one cell, `[outputs, inputs, 1, 1]`: other kernels for the same product.
pub(super) fn pointwise(x: Tensor<2>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let [rows, inputs] = x.dims();
    conv2d(x.reshape([rows, inputs, 1, 1]), weight, bias, padded(1)).flatten(1, 3)
}

/// Whether an operation has parameters.
pub(super) fn has_layer(op: &Op) -> bool {
    matches!(op, Op::Conv { .. } | Op::Norm | Op::Dense { .. })
}

/// Layers in training, with products in these numbers.
struct Training<'a> {
    layers: &'a [Layer],
    precision: LearnPrecision,
    pointwise: bool,
}

impl Layers for Training<'_> {
    fn conv(&self, layer: usize, kernel: usize, x: Tensor<4>) -> Tensor<4> {
        let Layer::Conv(conv) = &self.layers[layer] else { unreachable!("made from the description") };
        if self.precision == LearnPrecision::F32 {
            return conv.forward(x);
        }
        let weight = conv.weight.val().cast(FloatDType::BF16);
        let product = conv2d(x.cast(FloatDType::BF16), weight, None, padded(kernel));
        let product: Tensor<4> = product.cast(FloatDType::F32);
        match &conv.bias {
            None => product,
            Some(bias) => product + bias.val().unsqueeze_dims(&[0, 2, 3]),
        }
    }

    fn norm(&self, layer: usize, x: Tensor<4>) -> Tensor<4> {
        let Layer::Norm(norm) = &self.layers[layer] else { unreachable!("made from the description") };
        norm.forward(x)
    }

    fn dense(&self, layer: usize, x: Tensor<2>) -> Tensor<2> {
        let Layer::Dense(dense) = &self.layers[layer] else { unreachable!("made from the description") };
        let (mut x, mut weight) = (x, dense.weight.val());
        if self.precision == LearnPrecision::Bf16 {
            (x, weight) = (x.cast(FloatDType::BF16), weight.cast(FloatDType::BF16));
        } else if !self.pointwise {
            return dense.forward(x);
        }
        let product = if self.pointwise {
            let [inputs, outputs] = weight.dims();
            pointwise(x, weight.transpose().reshape([outputs, inputs, 1, 1]), None)
        } else {
            x.matmul(weight)
        };
        let product: Tensor<2> = product.cast(FloatDType::F32);
        match &dense.bias {
            None => product,
            Some(bias) => product + bias.val().unsqueeze(),
        }
    }
}

impl Network {
    /// A network with weights drawn from this seed, the same on every device.
    ///
    /// Weights follow He et al. 2015; the last layers begin near 0, so that a new network is nearly uniform.
    pub fn init(game: &GameInfo, config: &NetworkConfig, seed: u64, device: &Device) -> Self {
        Self::of(describe(game, config), seed, device)
    }

    /// The same for any description.
    ///
    /// # Panics
    /// If it does not fit together.
    pub fn of(description: Description, seed: u64, device: &Device) -> Self {
        let forms = description.forms();
        let layer = |(step, Step { op, from, .. }): (usize, &Step)| match (op, forms[from[0]]) {
            (&Op::Conv { outputs, kernel, bias }, Form::Board(inputs)) => {
                let pad = kernel / 2;
                let conv = Conv2dConfig::new([inputs, outputs], [kernel, kernel])
                    .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
                    .with_bias(bias);
                Some(Layer::Conv(conv.init(device)))
            }
            (Op::Norm, Form::Board(channels)) => Some(Layer::Norm(BatchNormConfig::new(channels).init(device))),
            (&Op::Dense { outputs }, _) => {
                let inputs = description.parameters(step, &forms)[0][0];
                Some(Layer::Dense(LinearConfig::new(inputs, outputs).init(device)))
            }
            _ => None,
        };
        let layers = description.steps.iter().enumerate().filter_map(layer).collect();
        Self { layers, description: Arc::new(description) }.with_random_weights(seed)
    }

    /// What it computes.
    pub fn description(&self) -> &Arc<Description> {
        &self.description
    }

    /// The raw output of each head, in the order of the description, with products in these numbers. `pointwise` computes dense
    /// layers as convolutions of boards with one cell: other kernels for the same products.
    ///
    /// # Shapes
    /// `planes`: `[batch, planes, height, width]`; each output: `[batch, features]`, without softmax or tanh.
    pub fn forward(&self, planes: Tensor<4>, precision: LearnPrecision, pointwise: bool) -> Vec<Tensor<2>> {
        interpret(&self.description, &Training { layers: &self.layers, precision, pointwise }, planes)
    }

    /// Its layers with the steps that they belong to.
    pub(super) fn layers(&self) -> impl Iterator<Item = (usize, &Layer)> {
        let steps = self.description.steps.iter().enumerate().filter(|(_, step)| has_layer(&step.op));
        steps.map(|(number, _)| number).zip(&self.layers)
    }

    /// The norms, in the order of their steps.
    pub(crate) fn norms(&self) -> impl Iterator<Item = &BatchNorm> {
        self.layers.iter().filter_map(|layer| if let Layer::Norm(norm) = layer { Some(norm) } else { None })
    }

    /// A copy that stays as it is while this one is trained. A clone would not: burn's clones of a batch norm share their
    /// running statistics.
    pub fn snapshot(&self) -> Self {
        let mut copy = self.clone();
        for layer in &mut copy.layers {
            if let Layer::Norm(norm) = layer {
                norm.running_mean = apart(&norm.running_mean);
                norm.running_var = apart(&norm.running_var);
            }
        }
        copy
    }

    /// This much of it and the rest of another one, which may lie on the autodiff side of its device.
    pub(crate) fn towards(self, other: &Self, keep: f64) -> Self {
        /// Tensors by their ids.
        struct Newer(GradientsParams);
        impl ModuleVisitor for Newer {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.register(param.id, param.val());
            }
        }
        struct Mix(GradientsParams, f64);
        impl ModuleMapper for Mix {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let newer = self.0.remove::<D>(param.id).expect("both have the same parameters");
                param.map(|older| older.mul_scalar(self.1) + newer.mul_scalar(1.0 - self.1))
            }
        }
        let mut newer = Newer(GradientsParams::new());
        other.valid().visit(&mut newer);
        self.map(&mut Mix(newer.0, keep))
    }

    /// The parameters that are vectors: biases, and scales and shifts of norms.
    pub(crate) fn vectors(&self) -> Vec<ParamId> {
        struct Vectors(Vec<ParamId>);
        impl ModuleVisitor for Vectors {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.extend((D == 1).then_some(param.id));
            }
        }
        let mut vectors = Vectors(vec![]);
        self.visit(&mut vectors);
        vectors.0
    }

    /// Where it lies.
    pub(crate) fn device(&self) -> Device {
        self.devices().swap_remove(0)
    }
}

/// Running statistics with the same numbers and the same id, which no clone shares.
fn apart(shared: &RunningState<Tensor<1>>) -> RunningState<Tensor<1>> {
    struct Id(Option<ParamId>);
    impl ModuleVisitor for Id {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 = Some(param.id);
        }
    }
    let mut id = Id(None);
    shared.visit(&mut id);
    RunningState::with_id(id.0.expect("they are one tensor"), shared.value_sync())
}
