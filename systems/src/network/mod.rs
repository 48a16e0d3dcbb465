//! The networks: what the learner trains, and the frozen copies that evaluators are made from.

mod describe;
mod evaluator;
mod fused;
mod modules;
mod weights;

pub use describe::describe;
pub use evaluator::{BurnEvaluator, BurnOptions};
pub use fused::FusedEvaluator;
pub use modules::Network;
pub use weights::{NamedTensor, check_tensors};
pub(crate) use weights::{is_statistics, numbers, read};
