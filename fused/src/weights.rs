//! The weights of a frozen network, as plain numbers.
//!
//! They come from a trained network by folding each normalisation into the convolution before it.
//! Nothing here depends on a processor; [`FusedNetwork::new`](super::FusedNetwork::new) repacks what it needs.

/// A convolution with stride 1 and zero padding `kernel / 2`, with its normalisation folded in.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Channels that it reads.
    pub inputs: usize,
    /// Channels that it writes.
    pub outputs: usize,
    /// Side of the kernel, 1 or 3.
    pub kernel: usize,
    /// `[outputs, inputs, kernel, kernel]`, row-major.
    pub weight: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
}

/// A dense layer, `y = x W + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// Numbers that it reads.
    pub inputs: usize,
    /// Numbers that it writes.
    pub outputs: usize,
    /// `[inputs, outputs]`, row-major.
    pub weight: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
}

/// Everything between the planes and the heads.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one for a whole network")]
pub enum Body {
    /// A residual tower: `relu(stem)`, then for each block `relu(x + second(relu(first(x))))`.
    ///
    /// The policy and the value head start with a convolution of their own, 1x1 with ReLU, whose result is flattened as
    /// `[channels, height, width]`.
    Resnet {
        /// From the planes to the channels of the tower.
        stem: Conv,
        /// The residual blocks, first and second convolution of each.
        blocks: Vec<(Conv, Conv)>,
        /// 1x1, from the tower to the features of the policy.
        policy_conv: Conv,
        /// 1x1, from the tower to the features of the value.
        value_conv: Conv,
    },
    /// Dense layers with a ReLU after each; both heads read the last one (the planes themselves if there is none).
    Mlp {
        /// From the flattened planes `[planes, height, width]` to the features of both heads.
        layers: Vec<Dense>,
    },
}

/// All weights of a frozen network.
///
/// `logits = policy(policy features)` and `values = value_out(relu(value_hidden(value features)))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Input planes.
    pub planes: usize,
    /// Rows of the board.
    pub height: usize,
    /// Columns of the board.
    pub width: usize,
    /// Everything between the planes and the heads.
    pub body: Body,
    /// From the features of the policy to the logits.
    pub policy: Dense,
    /// First layer of the value head.
    pub value_hidden: Dense,
    /// Second layer of the value head; its results are raw, without tanh or softmax.
    pub value_out: Dense,
}

impl Weights {
    /// Panics, with the layer and the numbers named, unless every shape fits its neighbours.
    pub(super) fn check(&self) {
        let cells = self.height * self.width;
        assert!(self.planes > 0 && cells > 0, "{} planes of {}x{}", self.planes, self.height, self.width);
        let (policy_features, value_features) = match &self.body {
            Body::Resnet { stem, blocks, policy_conv, value_conv } => {
                stem.check("stem", self.planes);
                for (first, second) in blocks {
                    first.check("first convolution of a block", stem.outputs);
                    second.check("second convolution of a block", first.outputs);
                    assert_eq!(second.outputs, stem.outputs, "a block must keep the channels of the tower");
                }
                for (name, conv) in [("policy_conv", policy_conv), ("value_conv", value_conv)] {
                    conv.check(name, stem.outputs);
                    assert_eq!(conv.kernel, 1, "{name}: the heads start with 1x1 convolutions");
                }
                (policy_conv.outputs * cells, value_conv.outputs * cells)
            }
            Body::Mlp { layers } => {
                let mut features = self.planes * cells;
                for layer in layers {
                    layer.check("layer", features);
                    features = layer.outputs;
                }
                (features, features)
            }
        };
        self.policy.check("policy", policy_features);
        self.value_hidden.check("value_hidden", value_features);
        self.value_out.check("value_out", self.value_hidden.outputs);
    }
}

impl Conv {
    /// Whether it has its weights, and is not only the shape of a layer.
    pub(super) fn has_numbers(&self) -> bool {
        !self.weight.is_empty()
    }

    fn check(&self, name: &str, inputs: usize) {
        assert_eq!(self.inputs, inputs, "{name}: input channels");
        assert!(self.outputs > 0, "{name}: no output channels");
        assert!(self.kernel == 1 || self.kernel == 3, "{name}: kernel {} is neither 1 nor 3", self.kernel);
        assert_eq!(self.weight.len(), self.outputs * inputs * self.kernel * self.kernel, "{name}: weights");
        assert_eq!(self.bias.len(), self.outputs, "{name}: biases");
    }
}

impl Dense {
    /// Whether it has its weights, and is not only the shape of a layer.
    pub(super) fn has_numbers(&self) -> bool {
        !self.weight.is_empty()
    }

    fn check(&self, name: &str, inputs: usize) {
        assert_eq!(self.inputs, inputs, "{name}: inputs");
        assert!(self.outputs > 0, "{name}: no outputs");
        assert_eq!(self.weight.len(), inputs * self.outputs, "{name}: weights");
        assert_eq!(self.bias.len(), self.outputs, "{name}: biases");
    }
}
