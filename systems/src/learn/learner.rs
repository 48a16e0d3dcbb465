//! The network in training, its optimiser, and how far the generation has come.

use super::fused::FusedGradients;
use crate::{Error, Network, network::NamedTensor};
use bevy_ecs::prelude::*;
use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::{AdamWConfig, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig},
    tensor::{Bytes, Device, Tensor, TensorData},
};
use lockstep_components::{
    Game, LaneRng,
    config::{Config, LearnConfig, OptimizerKind},
};
use lockstep_fused::{HeadKind, Level};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Means over the steps of a generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Cross-entropy between search and policy, in nats.
    pub policy: f64,
    /// What is left of it when the policy is perfect: the entropy of the targets, in nats.
    pub policy_floor: f64,
    /// Squared error of a scalar head, or cross-entropy of a win-draw-loss head in nats.
    pub value: f64,
}

/// The network in training.
#[derive(Resource)]
pub struct Learner {
    /// On an autodiff device.
    pub network: Network,
    /// How it learns.
    pub config: LearnConfig,
    pub(super) optimizer: ModuleOptimizer,
    /// Between two generations.
    pub(super) at: Progress,
    /// While one is learned.
    pub(super) course: Option<Course>,
    seed: u64,
    pub(super) generations: u64,
    /// Means of the last generation that ended.
    pub(super) last: Losses,
    /// The kernels that compute the gradients, where burn's automatic differentiation does not.
    pub(super) fused: Option<FusedGradients>,
}

/// How far the learning has come, between two generations: what a checkpoint keeps beside weights and optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Generations that have ended.
    pub generation: u64,
    /// Steps taken since the start of the run.
    pub steps: u64,
    /// Positions that had been added to the replay buffer when the last generation began to learn.
    pub positions: u64,
}

/// The generation that is being learned.
pub(super) struct Course {
    /// The learner as it was before, which is what a checkpoint keeps.
    before: (Network, ModuleOptimizer),
    /// Steps taken and planned.
    pub(super) taken: u64,
    pub(super) planned: u64,
    /// Positions that have been added to the replay buffer by now.
    pub(super) positions: u64,
    /// Draws batches and symmetries.
    pub(super) rng: LaneRng,
    /// Sums over the steps taken.
    pub(super) sums: Losses,
}

/// What [`Learner::save`] keeps.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The weights with the running statistics.
    pub tensors: Vec<NamedTensor>,
    /// Burn's record of the optimiser.
    pub optimizer: Vec<u8>,
    /// How far the learning had come.
    pub progress: Progress,
}

impl Learner {
    /// A learner with a new network on the training side of `device`.
    pub fn new<G: Game>(config: &Config, device: &Device) -> Self {
        Self {
            network: Network::init::<G>(&config.network, config.run.seed, &device.clone().autodiff()),
            optimizer: optimizer(&config.learn),
            config: config.learn.clone(),
            at: Progress::default(),
            course: None,
            seed: config.run.seed,
            generations: config.run.generations,
            last: Losses::default(),
            fused: None,
        }
    }

    /// Lets the fused kernels compute the gradients on the CPU with these vectors, instead of burn's automatic
    /// differentiation, if they know the network. It must lie in memory, on burn's CPU back end.
    #[must_use]
    pub fn with_fused_gradients(mut self, level: Level) -> Self {
        if let Some(fused) = FusedGradients::new(&self.network, level) {
            self.network = self.network.untracked();
            self.fused = Some(fused);
        }
        self
    }

    /// Bytes that the fused kernels take for a step; 0 without them, because burn doesn't tell.
    pub fn bytes(&self) -> usize {
        let rows = self.config.batch_size.div_ceil(self.config.accumulation);
        self.fused.as_ref().map_or(0, |fused| fused.bytes(rows))
    }

    /// Whether the fused kernels compute the gradients.
    pub fn is_fused(&self) -> bool {
        self.fused.is_some()
    }

    /// Whether no generation is being learned.
    pub fn is_idle(&self) -> bool {
        self.course.is_none()
    }

    /// Generations that have ended.
    pub fn generation(&self) -> u64 {
        self.at.generation
    }

    /// Steps taken and planned in the generation that is being learned; `(0, 0)` between generations.
    pub fn progress(&self) -> (u64, u64) {
        self.course.as_ref().map_or((0, 0), |course| (course.taken, course.planned))
    }

    /// Steps taken since the start of the run.
    pub fn steps(&self) -> u64 {
        self.at.steps + self.progress().0
    }

    /// Mean losses of the last generation that has ended.
    pub fn losses(&self) -> Losses {
        self.last
    }

    /// The learning rate now.
    pub fn learning_rate(&self) -> f64 {
        let (taken, planned) = self.progress();
        let along = self.at.generation as f64 + taken as f64 / planned.max(1) as f64;
        self.config.learning_rate * self.config.schedule.factor(along, self.generations)
    }

    /// Begins to learn a generation from a replay buffer to which so many positions have been added since the start of the
    /// run. Whatever is drawn comes from the generator of this generation.
    pub(super) fn begin(&mut self, positions: u64) {
        let added = positions - self.at.positions;
        self.course = Some(Course {
            before: (self.network.clone(), self.optimizer.clone()),
            taken: 0,
            planned: self.config.steps.count(added, self.config.batch_size),
            positions,
            rng: LaneRng::of_learning(self.seed, self.at.generation + 1),
            sums: Losses::default(),
        });
    }

    /// What a checkpoint keeps. While a generation is learned, that is the learner as it was before.
    ///
    /// # Errors
    /// When a number of these is not finite.
    pub fn save(&mut self) -> Result<Saved, Error> {
        let (network, optimizer) = match &self.course {
            None => (&self.network, &self.optimizer),
            Some(course) => (&course.before.0, &course.before.1),
        };
        let tensors = network.tensors();
        if let Some(bad) = tensors.iter().find(|tensor| tensor.data.iter().any(|x| !x.is_finite())) {
            return Err(self.diverged(&bad.name));
        }
        let record = optimizer.into_bytes();
        let bytes = record.map_err(|e| Error::Optimizer(format!("{e:?}")))?;
        if let Some((bad, ..)) = record_tensors(bytes.clone())?.into_iter().find(|(.., finite)| !finite) {
            return Err(self.diverged(&format!("optimiser: {bad}")));
        }
        Ok(Saved { tensors, optimizer: bytes.to_vec(), progress: self.at })
    }

    /// The network that plays: the one of the last generation that has ended.
    pub fn playing(&self) -> &Network {
        self.course.as_ref().map_or(&self.network, |course| &course.before.0)
    }

    /// That this is not finite any more.
    pub fn diverged(&self, what: &str) -> Error {
        Error::Diverged { what: what.into(), generation: self.at.generation, advice: self.advice() }
    }

    /// What to change when the numbers grow beyond all bounds.
    fn advice(&self) -> String {
        let LearnConfig { learning_rate, gradient_clip, .. } = self.config;
        match gradient_clip {
            0.0 => format!(
                "a lower learn.learning_rate (it is {learning_rate}), and with learn.gradient_clip = 5 \
                 (it is 0, which does not clip)"
            ),
            clip => {
                format!("a lower learn.learning_rate (it is {learning_rate}) or learn.gradient_clip (it is {clip})")
            }
        }
    }

    /// Takes up where [`Learner::save`] left off. The network must have its weights already.
    ///
    /// # Errors
    /// When the optimiser's record is none, or not of this network.
    pub fn restore(&mut self, progress: Progress, optimizer_record: Vec<u8>) -> Result<(), Error> {
        let bytes = Bytes::from_bytes_vec(optimizer_record);
        let shapes = parameter_shapes(&self.network);
        let kinds: &[&str] = match self.config.optimizer {
            OptimizerKind::AdamW => &["moment_1", "moment_2"],
            OptimizerKind::Sgd => &["velocity"],
        };
        for (name, shape, finite) in record_tensors(bytes.clone())? {
            // `3.momentum.moment_1` is of the third parameter.
            let parameter = name.split('.').next().and_then(|id| id.parse().ok());
            if parameter.and_then(|id: u64| shapes.get(&id)) != Some(&shape) {
                return Err(Error::Optimizer(format!("'{name}' is of no parameter of this network")));
            }
            if !name.rsplit('.').next().is_some_and(|kind| kinds.contains(&kind)) {
                return Err(Error::Optimizer(format!("'{name}' is not of learn.optimizer")));
            }
            if !finite {
                return Err(Error::Optimizer(format!("'{name}' is not finite")));
            }
        }
        let loaded = optimizer(&self.config).from_bytes(bytes);
        self.optimizer = loaded.map_err(|e| Error::Optimizer(format!("{e:?}")))?;
        (self.at, self.course) = (progress, None);
        Ok(())
    }

    /// Takes note of the mean losses of a step, in the order of the heads, and checks that they are finite.
    pub(super) fn learned(&mut self, losses: &[f64]) -> Result<(), Error> {
        let heads = &self.network.description().heads;
        let mut sum = Losses::default();
        for (head, loss) in heads.iter().zip(losses) {
            match head.kind {
                HeadKind::Policy => sum.policy = *loss,
                HeadKind::Outcome | HeadKind::Value => sum.value = *loss,
            }
        }
        if !losses.iter().sum::<f64>().is_finite() {
            return Err(Error::LossNotFinite {
                policy: sum.policy as f32,
                value: sum.value as f32,
                step: self.progress().0,
                generation: self.at.generation + 1,
                advice: self.advice(),
            });
        }
        if let Some(course) = &mut self.course {
            course.sums.policy += sum.policy;
            course.sums.value += sum.value;
        }
        Ok(())
    }

    /// Ends the generation.
    pub(super) fn finish(&mut self) {
        let Some(Course { sums, taken, positions, .. }) = self.course.take() else { return };
        let n = taken.max(1) as f64;
        self.last = Losses { policy: sums.policy / n, policy_floor: sums.policy_floor / n, value: sums.value / n };
        self.at = Progress { generation: self.at.generation + 1, steps: self.at.steps + taken, positions };
    }
}

/// The tensors of an optimiser's record: name, shape, and whether all numbers are finite. A second moment that has
/// overflowed stops its weights for good and shows nowhere else.
fn record_tensors(record: Bytes) -> Result<Vec<(String, Vec<usize>, bool)>, Error> {
    let damaged = |e| Error::Optimizer(format!("{e:?}"));
    let mut found = vec![];
    for tensor in burn_pack::Reader::from_bytes(record).and_then(burn_pack::Reader::into_tensors).map_err(damaged)? {
        let (name, dtype, shape, _, bytes) = tensor.into_parts().map_err(damaged)?;
        if dtype.is_float() {
            let numbers = TensorData::from_bytes(bytes, shape.clone(), dtype);
            let finite = numbers.iter::<f32>().all(|x| x.is_finite());
            found.push((name, shape.to_vec(), finite));
        }
    }
    Ok(found)
}

/// The shape of each parameter by its number, which is its place in the network.
fn parameter_shapes(network: &Network) -> BTreeMap<u64, Vec<usize>> {
    struct Shapes(BTreeMap<u64, Vec<usize>>);
    impl ModuleVisitor for Shapes {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.insert(param.id.val(), param.val().dims().to_vec());
        }
    }
    let mut shapes = Shapes(BTreeMap::new());
    network.visit(&mut shapes);
    shapes.0
}

fn optimizer(config: &LearnConfig) -> ModuleOptimizer {
    match config.optimizer {
        OptimizerKind::AdamW => {
            AdamWConfig::new().with_weight_decay(config.weight_decay as f32).with_epsilon(1e-8).init()
        }
        OptimizerKind::Sgd => SgdConfig::new()
            .with_momentum(Some(MomentumConfig { momentum: 0.9, dampening: 0.0, nesterov: false }))
            .with_weight_decay(Some(WeightDecayConfig { penalty: config.weight_decay as f32 }))
            .init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::optim::GradientsParams;
    use lockstep_components::{config::NetworkKind, games::TicTacToe};

    /// The square of such a gradient is beyond `f32`: the second moment becomes infinite and the weights stay finite, but
    /// they will never change again.
    #[test]
    fn an_optimiser_that_has_overflowed_is_not_saved() {
        struct Huge(GradientsParams);
        impl ModuleVisitor for Huge {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let tensor = param.val();
                self.0.register(param.id, Tensor::<D>::ones(tensor.dims(), &tensor.device().inner()) * 1e30);
            }
        }
        let mut config = Config::default();
        config.network.kind = NetworkKind::Mlp;
        let mut learner = Learner::new::<TicTacToe>(&config, &Device::flex());
        learner.save().unwrap();
        let mut huge = Huge(GradientsParams::new());
        learner.network.visit(&mut huge);
        learner.network = learner.optimizer.step(0.001, learner.network.clone(), huge.0);
        assert!(learner.network.tensors().iter().all(|tensor| tensor.data.iter().all(|x| x.is_finite())));
        let error = learner.save().unwrap_err().to_string();
        assert!(error.contains("optimiser") && error.contains("learn.gradient_clip"), "{error}");
    }
}
