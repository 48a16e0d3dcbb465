//! The networks: what the learner trains, and the frozen copies that evaluators are made from.

mod evaluator;
mod fused;
mod modules;
mod weights;

pub use evaluator::BurnEvaluator;
pub use fused::FusedEvaluator;
pub use modules::{Body, ConvNorm, Heads, Network, NetworkOutput, Residual};
pub use weights::NamedTensor;
pub(crate) use weights::{is_statistics, numbers};
