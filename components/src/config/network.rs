//! `[network]`: what is trained.

use super::section;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

section! {
    /// `[network]`
    NetworkConfig, role Fixed {
        /// The architecture of the network.
        kind: NetworkKind = NetworkKind::Resnet;
        /// Channels of the residual tower, or width of the hidden layers. More can learn more; the cost grows with the square.
        channels: usize = 64, from 1 to 4_096;
        /// Residual blocks of two convolutions, or hidden layers. More can learn more and cost in proportion.
        blocks: usize = 4, from 1 to 100;
        /// Channels of the 1x1 convolution before each head of a resnet. More leave the heads more to decide from.
        head_channels: usize = 16, from 1 to 4_096;
        /// Width of the gate at the end of each block of a resnet (squeeze and excitation, Hu et al. 2018); with 0 there is
        /// none. A gate sees the whole board and weighs the channels by it.
        squeeze: usize = 0, from 0 to 4_096;
        /// Whether the network also learns to tell how long the game will last, which the search does not ask for: one more
        /// thing to know about a position.
        length_head: bool = false;
        /// What the value head predicts.
        value_head: ValueHead = ValueHead::Wdl;
    }
}

/// The architecture of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkKind {
    /// Convolutions with batch norm and residual connections, as in AlphaGo Zero.
    Resnet,
    /// Fully connected layers: enough for the smallest boards, and fast.
    Mlp,
}

/// What the value head predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValueHead {
    /// One number in -1 to 1; the loss is the squared error.
    Scalar,
    /// Chances to win, draw and lose; the loss is the cross-entropy, the value is win minus loss.
    Wdl,
}
