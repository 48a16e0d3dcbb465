//! `[learn]`: how the network is trained.

use super::{section, short};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most positions of an optimiser step.
const MAX_BATCH: usize = 1_000_000;

/// The most generations that `learn.schedule` may name: settings are kept with every round and every checkpoint.
pub(super) const MAX_RATE_STEPS: usize = 1_000;

section! {
    /// `[learn]`
    LearnConfig {
        /// Positions of one optimiser step. More make each step surer and slower.
        batch_size: usize = 256, from 1 to MAX_BATCH;
        /// Steps of a generation. More learn faster from the same games, until they overfit.
        steps: Steps = Steps::Reuse(4.0);
        /// Parts in which a batch goes through the network. More need less memory for the same step; batch norm then sees
        /// smaller batches.
        accumulation: usize = 1, from 1 to 1_000, at most "learn.batch_size";
        /// The optimiser.
        optimizer: OptimizerKind = OptimizerKind::AdamW, role Fixed;
        /// Highest learning rate. Higher learns faster, until the loss jumps.
        learning_rate: f64 = 0.002, from 1e-12 to 10.0;
        /// How the learning rate changes with the generations of a run.
        schedule: RateSchedule = RateSchedule::Constant;
        /// Decay of the weights at each step, relative to the learning rate; biases and norms have none. Higher keeps weights
        /// smaller.
        weight_decay: f64 = 1e-4, from 0.0 to 1.0;
        /// Highest norm of the whole gradient; 0 does not clip. Lower holds back the steps that jump furthest.
        gradient_clip: f64 = 5.0, from 0.0 to 1e6;
        /// Weight of the value loss beside the policy loss.
        #[serde(serialize_with = "short")]
        value_weight: f32 = 1.0, from 0.0 to 100.0;
        /// Weight of the loss of `network.length_head` beside the policy loss.
        #[serde(serialize_with = "short")]
        length_weight: f32 = 0.2, from 0.0 to 100.0;
        /// Share of the search's own value in the value target, beside the game's outcome. Higher is less noisy and more biased.
        #[serde(serialize_with = "short")]
        search_value_share: f32 = 0.0, from 0.0 to 1.0;
        /// The numbers in which the products of convolutions and dense layers are computed. Weights, optimiser, norms and losses
        /// stay f32.
        precision: LearnPrecision = LearnPrecision::F32, role Fixed;
        /// Whether each sample is seen under a random symmetry of the board. A search asks the network for one of the symmetric
        /// forms of a position only, the canonical one. With false it learns that form alone (if equal positions are merged),
        /// which is all that is asked of it and less to learn. With true it sees up to 8 times as many different samples, which
        /// keeps it from overfitting where positions hardly repeat, as in Connect Four.
        symmetries: bool = true;
        /// Share that the mean of the weights keeps at each step. With 0 the weights of the last step play; with 0.999 the mean
        /// of about the last 1,000 steps does, which is steadier and a little behind.
        average: f64 = 0.0, from 0.0 to 0.99999;
    }
}

/// How many steps a generation takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Steps {
    /// As many steps as draw each new position this many times on average.
    Reuse(#[schemars(range(min = 1e-6, max = 10_000.0))] f64),
    /// This many steps.
    Batches(#[schemars(range(min = 1, max = 1_000_000))] u64),
}

impl Steps {
    /// The number of steps of a generation that added `added` positions; at least one.
    pub fn count(self, added: u64, batch_size: usize) -> u64 {
        match self {
            Self::Reuse(times) => ((added as f64 * times / batch_size as f64).round() as u64).max(1),
            Self::Batches(n) => n,
        }
    }
}

/// The optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    AdamW,
    /// Stochastic gradient descent with momentum 0.9.
    Sgd,
}

/// The numbers in which products are computed when the network is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LearnPrecision {
    /// Floats of 32 bits. With CUDA their products are those of tf32 where its tensor cores compute them.
    #[default]
    F32,
    /// Floats of 16 bits with the range of 32 ("Mixed Precision Training", Micikevicius et al. 2018), for GPUs that have them.
    /// Sums have 32 bits. On the CPU they are for the convolutions of residual networks, and the same to the last bit on every
    /// processor: AMX, which Intel's Xeons have had since 2023, learns 1.4 to 2 times as fast with them; others take 1.4 times as long as with f32. Burn trains other networks in them, several times as slowly.
    Bf16,
}

/// How the learning rate changes with the generations of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RateSchedule {
    /// The learning rate stays as it is.
    Constant,
    /// The learning rate rises from 0 over the first `warm_up` generations, falls along half a cosine to the share
    /// `last` of its height at generation `over`, and stays there. Without `over` that is the last generation of the
    /// run as it is when it begins: a run that is made longer later keeps its curve, so 20 generations and 20 more are
    /// not the same as 40.
    Cosine {
        /// Generations.
        #[schemars(range(min = 0, max = 1_000_000))]
        warm_up: u64,
        /// Share that is left at the end.
        #[schemars(range(min = 0.0, max = 1.0))]
        last: f64,
        /// Generations from the start of the run to the end of the curve; without it, `run.generations` as it is when the run
        /// begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1, max = 10_000_000))]
        over: Option<u64>,
    },
    /// The learning rate is multiplied by `factor` at each of the generations `at`.
    Steps {
        /// Generations.
        #[schemars(length(max = MAX_RATE_STEPS))]
        at: Vec<u64>,
        /// Multiplier.
        #[schemars(range(min = 0.0, max = 10.0))]
        factor: f64,
    },
}

impl RateSchedule {
    /// Multiplier of the learning rate at a moment of the run, counted in generations with fractions.
    pub fn factor(&self, generation: f64, generations: u64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Steps { at, factor } => factor.powi(at.iter().filter(|&&g| g as f64 <= generation).count() as i32),
            Self::Cosine { warm_up, last, over } => {
                let warm = *warm_up as f64;
                if generation < warm {
                    return (generation / warm).max(1e-3);
                }
                let left = (over.unwrap_or(generations) as f64 - warm).max(1.0);
                let along = ((generation - warm) / left).clamp(0.0, 1.0);
                last + (1.0 - last) * 0.5 * (1.0 + (std::f64::consts::PI * along).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_begin_and_end_where_they_say() {
        let cosine = RateSchedule::Cosine { warm_up: 2, last: 0.1, over: None };
        assert_eq!(cosine.factor(1.0, 10), 0.5);
        assert!((cosine.factor(2.0, 10) - 1.0).abs() < 1e-12);
        assert!((cosine.factor(10.0, 10) - 0.1).abs() < 1e-12);
        let longer = RateSchedule::Cosine { warm_up: 2, last: 0.1, over: Some(10) };
        assert_eq!(longer.factor(5.0, 20), cosine.factor(5.0, 10));
        assert!((longer.factor(15.0, 20) - 0.1).abs() < 1e-12);
        let steps = RateSchedule::Steps { at: vec![3, 6], factor: 0.1 };
        assert_eq!((steps.factor(2.9, 10), steps.factor(3.0, 10)), (1.0, 0.1));
        assert!((steps.factor(7.0, 10) - 0.01).abs() < 1e-12);
    }
}
