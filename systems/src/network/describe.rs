//! The networks that a configuration can name.

use lockstep_components::{
    GameInfo,
    config::{NetworkConfig, NetworkKind, ValueHead},
};
use lockstep_fused::{Description, Head, HeadKind, Op};

/// The network of this configuration for a game.
///
/// `resnet` is that of AlphaGo Zero (Silver et al. 2017): a stem, residual blocks of two 3x3 convolutions with batch norm, and
/// 1x1 convolutions before the heads. `mlp` is a chain of dense layers.
pub fn describe(game: &GameInfo, config: &NetworkConfig) -> Description {
    let NetworkConfig { kind, channels, blocks, head_channels, squeeze, value_head, length_head } = *config;
    let mut net = Description::new(game.shape());
    let (policy, value) = match kind {
        NetworkKind::Resnet => {
            let stem = convolve(&mut net, "stem", channels, 3, 0);
            let mut x = net.add("", Op::Relu, &[stem]);
            for block in 0..blocks {
                let first = convolve(&mut net, &format!("blocks.{block}.first"), channels, 3, x);
                let inner = net.add("", Op::Relu, &[first]);
                let mut second = convolve(&mut net, &format!("blocks.{block}.second"), channels, 3, inner);
                if squeeze > 0 {
                    second = gate(&mut net, &format!("blocks.{block}.gate"), channels, squeeze, second);
                }
                let sum = net.add("", Op::Sum, &[x, second]);
                x = net.add("", Op::Relu, &[sum]);
            }
            let mut features = |name| {
                let conv = convolve(&mut net, name, head_channels, 1, x);
                net.add("", Op::Relu, &[conv])
            };
            (features("policy_conv"), features("value_conv"))
        }
        NetworkKind::Mlp => {
            let mut x = 0;
            for layer in 0..blocks {
                let dense = net.add(format!("layers.{layer}"), Op::Dense { outputs: channels }, &[x]);
                x = net.add("", Op::Relu, &[dense]);
            }
            (x, x)
        }
    };
    let logits = net.add("policy", Op::Dense { outputs: game.actions }, &[policy]);
    net.heads.push(Head { kind: HeadKind::Policy, value: logits });
    let hidden = net.add("value_hidden", Op::Dense { outputs: channels }, &[value]);
    let hidden = net.add("", Op::Relu, &[hidden]);
    let (kind, outputs) = match value_head {
        ValueHead::Wdl => (HeadKind::Outcome, 3),
        ValueHead::Scalar => (HeadKind::Value, 1),
    };
    let value = net.add("value_out", Op::Dense { outputs }, &[hidden]);
    net.heads.push(Head { kind, value });
    if length_head {
        let value = net.add("length_out", Op::Dense { outputs: 1 }, &[hidden]);
        net.heads.push(Head { kind: HeadKind::Length, value });
    }
    net
}

/// A convolution and its norm.
fn convolve(net: &mut Description, name: &str, outputs: usize, kernel: usize, from: usize) -> usize {
    let conv = net.add(format!("{name}.conv"), Op::Conv { outputs, kernel, bias: false }, &[from]);
    net.add(format!("{name}.norm"), Op::Norm, &[conv])
}

/// Squeeze and excitation (Hu et al. 2018): the means of all channels decide how much of each goes on.
fn gate(net: &mut Description, name: &str, channels: usize, width: usize, from: usize) -> usize {
    let means = net.add("", Op::Pool, &[from]);
    let hidden = net.add(format!("{name}.squeeze"), Op::Dense { outputs: width }, &[means]);
    let hidden = net.add("", Op::Relu, &[hidden]);
    let weights = net.add(format!("{name}.excite"), Op::Dense { outputs: channels }, &[hidden]);
    net.add("", Op::Gate, &[from, weights])
}
