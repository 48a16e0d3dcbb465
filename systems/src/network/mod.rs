//! The networks: what the learner trains, and the frozen copies that evaluators are made from.

mod evaluator;
mod modules;
mod weights;

pub use evaluator::BurnEvaluator;
pub use modules::{Body, ConvNorm, Heads, Network, NetworkOutput, Residual};
pub use weights::{Conv, Dense, FrozenBody, NamedTensor, Weights};
