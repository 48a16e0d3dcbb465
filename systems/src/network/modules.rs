//! Burn modules, as they are trained.

use burn::{
    module::Module,
    nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d, conv::Conv2d, conv::Conv2dConfig},
    tensor::{Device, Tensor, activation::relu},
};
use lockstep_components::{
    Game,
    config::{NetworkConfig, NetworkKind, ValueHead},
};

/// A network that is trained: a body and its heads.
///
/// `resnet` is the network of AlphaGo Zero (Silver et al. 2017): a stem, residual blocks of two 3x3 convolutions with
/// batch norm, and 1x1 convolutions before the heads. `mlp` is a chain of fully connected layers.
#[derive(Module, Debug)]
pub struct Network {
    /// What the heads read.
    pub body: Body,
    /// Policy and value.
    pub heads: Heads,
}

/// The part of a network below its heads.
#[derive(Module, Debug)]
pub enum Body {
    /// A residual tower.
    Resnet(Resnet),
    /// Fully connected layers.
    Mlp(Mlp),
}

/// A residual tower with the 1x1 convolutions of both heads.
#[derive(Module, Debug)]
pub struct Resnet {
    /// From the planes to the channels.
    pub stem: ConvNorm,
    /// The tower.
    pub blocks: Vec<Residual>,
    /// To the policy head.
    pub policy_conv: ConvNorm,
    /// To the value head.
    pub value_conv: ConvNorm,
}

/// Fully connected layers, each followed by a ReLU.
#[derive(Module, Debug)]
pub struct Mlp {
    /// The layers.
    pub layers: Vec<Linear>,
}

/// A convolution without bias, and batch norm.
#[derive(Module, Debug)]
pub struct ConvNorm {
    /// `[outputs, inputs, kernel, kernel]`
    pub conv: Conv2d,
    /// Over the channels.
    pub norm: BatchNorm,
}

/// `relu(x + second(relu(first(x))))`
#[derive(Module, Debug)]
pub struct Residual {
    /// The first convolution.
    pub first: ConvNorm,
    /// The second.
    pub second: ConvNorm,
}

/// Policy and value.
#[derive(Module, Debug)]
pub struct Heads {
    /// Logits of all actions.
    pub policy: Linear,
    /// A hidden layer with a ReLU.
    pub value_hidden: Linear,
    /// One number, or three logits.
    pub value_out: Linear,
}

/// What a network says about a batch.
pub struct NetworkOutput {
    /// `[batch, actions]`, logits, illegal moves included.
    pub logits: Tensor<2>,
    /// `[batch, 1]` before tanh, or `[batch, 3]` logits of win, draw and loss; for the player to move.
    pub values: Tensor<2>,
}

impl ConvNorm {
    fn new(inputs: usize, outputs: usize, kernel: usize, device: &Device) -> Self {
        let pad = kernel / 2;
        let conv = Conv2dConfig::new([inputs, outputs], [kernel, kernel])
            .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
            .with_bias(false);
        Self { conv: conv.init(device), norm: BatchNormConfig::new(outputs).init(device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

impl Network {
    /// A network for the game, with weights still to be drawn: see [`Network::init`].
    fn new<G: Game>(config: &NetworkConfig, device: &Device) -> Self {
        let cells = G::HEIGHT * G::WIDTH;
        let (channels, head) = (config.channels, config.head_channels);
        let values = match config.value_head {
            ValueHead::Scalar => 1,
            ValueHead::Wdl => 3,
        };
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        let (body, features) = match config.kind {
            NetworkKind::Resnet => {
                let conv = |inputs, outputs, kernel| ConvNorm::new(inputs, outputs, kernel, device);
                let block = |_| Residual { first: conv(channels, channels, 3), second: conv(channels, channels, 3) };
                let resnet = Resnet {
                    stem: conv(G::PLANES, channels, 3),
                    blocks: (0..config.blocks).map(block).collect(),
                    policy_conv: conv(channels, head, 1),
                    value_conv: conv(channels, head, 1),
                };
                (Body::Resnet(resnet), head * cells)
            }
            NetworkKind::Mlp => {
                let layer = |i| linear(if i == 0 { G::INPUT } else { channels }, channels);
                (Body::Mlp(Mlp { layers: (0..config.blocks).map(layer).collect() }), channels)
            }
        };
        let heads = Heads {
            policy: linear(features, G::ACTIONS),
            value_hidden: linear(features, channels),
            value_out: linear(channels, values),
        };
        Self { body, heads }
    }

    /// A new network with weights drawn from this seed, the same on every device.
    ///
    /// Weights follow He et al. 2015; the last layers begin near 0, so that a new network is nearly uniform.
    pub fn init<G: Game>(config: &NetworkConfig, seed: u64, device: &Device) -> Self {
        Self::new::<G>(config, device).with_random_weights(seed)
    }

    /// Policy and value of each position.
    ///
    /// # Shapes
    /// `planes`: `[batch, planes, height, width]`; see [`NetworkOutput`].
    pub fn forward(&self, planes: Tensor<4>) -> NetworkOutput {
        let (policy, value) = match &self.body {
            Body::Resnet(net) => {
                let mut x = relu(net.stem.forward(planes));
                for block in &net.blocks {
                    let y = relu(block.first.forward(x.clone()));
                    x = relu(x + block.second.forward(y));
                }
                let policy = relu(net.policy_conv.forward(x.clone()));
                (policy.flatten(1, 3), relu(net.value_conv.forward(x)).flatten(1, 3))
            }
            Body::Mlp(net) => {
                let x = net.layers.iter().fold(planes.flatten(1, 3), |x: Tensor<2>, layer| relu(layer.forward(x)));
                (x.clone(), x)
            }
        };
        let value = relu(self.heads.value_hidden.forward(value));
        NetworkOutput { logits: self.heads.policy.forward(policy), values: self.heads.value_out.forward(value) }
    }
}
