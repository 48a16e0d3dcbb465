//! The learner: the network in training, its optimiser, and how far the generation has come.

use super::{
    adamw::AdamW,
    fused::{FusedGradients, products},
};
use crate::{Error, Network, network::NamedTensor};
use bevy_ecs::prelude::*;
use burn::{
    module::{Module, ModuleVisitor, Param, ParamGroup},
    optim::{AdamWConfig, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig},
    tensor::{Bytes, Device, Tensor, TensorData},
};
use lockstep_components::{
    GameInfo, LaneRng,
    config::{Config, LearnConfig, OptimizerKind},
};
use lockstep_fused::{Description, Level, TrainingNetwork};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Mean losses over the steps of a generation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Losses {
    /// The mean loss of each head by its name, over the steps that were not left out: see
    /// [`lockstep_fused::HeadKind::name`].
    pub heads: BTreeMap<&'static str, f64>,
    /// The policy loss of a perfect network: the mean entropy of the policy targets, in nats.
    pub policy_floor: f64,
    /// The mean norm of the whole gradient before it was clipped, over the steps that were not left out.
    pub gradient_norm: f64,
    /// Number of steps that were left out because a loss or a gradient was not finite.
    pub skipped: u64,
}

impl Losses {
    /// The mean loss of the head of this name; 0 if there is no such head.
    pub fn of(&self, name: &str) -> f64 {
        self.heads.get(name).copied().unwrap_or(0.0)
    }
}

/// The number of steps left out in a row at which learning fails. Once weights are not finite, every step is left out.
const SKIPPED_IN_A_ROW: u64 = 8;

/// The network in training, with its optimiser and settings.
#[derive(Resource)]
pub struct Learner {
    /// The network in training, on an autodiff device.
    pub network: Network,
    /// The settings of learning.
    pub config: LearnConfig,
    pub(super) optimizer: ModuleOptimizer,
    /// The network with the mean of the weights of the last steps, not on an autodiff device, if such a mean plays.
    average: Option<Network>,
    /// How far the learning had come when the last generation ended.
    pub(super) at: Progress,
    /// The generation that is being learned, if there is one.
    pub(super) course: Option<Course>,
    seed: u64,
    pub(super) generations: u64,
    /// Mean losses of the last generation that has ended.
    pub(super) last: Losses,
    /// The kernels that compute the gradients, where burn's automatic differentiation does not.
    pub(super) fused: Option<FusedGradients>,
    /// Whether dense layers are trained as convolutions: see [`Network::forward`].
    pub(super) pointwise: bool,
    /// The error with which the first step fails, if it is to fail.
    pub(super) refusal: Option<Error>,
}

/// How far the learning has come between two generations. A checkpoint keeps it beside the weights and the optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Number of generations that have ended.
    pub generation: u64,
    /// Number of steps taken since the start of the run, those left out included.
    pub steps: u64,
    /// Positions that had been added to the replay buffer when the last generation began to learn.
    pub positions: u64,
}

/// The generation that is being learned.
pub(super) struct Course {
    /// The network, the optimiser and the mean as they were before the generation, which is what a checkpoint keeps.
    before: (Network, ModuleOptimizer, Option<Network>),
    /// Numbers of steps taken and planned.
    pub(super) taken: u64,
    pub(super) planned: u64,
    /// Positions that have been added to the replay buffer by now.
    pub(super) positions: u64,
    /// The generator that draws batches and symmetries.
    pub(super) rng: LaneRng,
    /// Sums over the steps taken.
    pub(super) sums: Losses,
    /// Number of steps left out in a row up to now.
    in_a_row: u64,
}

/// The state of a [`Learner`] between two generations, as [`Learner::save`] gives it.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The weights of the network that plays, with the running statistics.
    pub tensors: Vec<NamedTensor>,
    /// The weights of the network in training, if the one that plays has the mean of the last steps' weights.
    pub trained: Option<Vec<NamedTensor>>,
    /// The record of the optimiser, in burn's format.
    pub optimizer: Vec<u8>,
    /// How far the learning had come.
    pub progress: Progress,
}

impl Learner {
    /// A learner with a newly initialised network on the autodiff side of `device`.
    pub fn new(game: &GameInfo, config: &Config, device: &Device) -> Self {
        let network = Network::init(game, &config.network, config.run.seed, &device.clone().autodiff());
        Self {
            optimizer: optimizer(&config.learn, &network, false),
            network,
            average: None,
            config: config.learn.clone(),
            at: Progress::default(),
            course: None,
            seed: config.run.seed,
            generations: config.run.generations,
            last: Losses::default(),
            fused: None,
            pointwise: false,
            refusal: None,
        }
    }

    /// Sets whether dense layers are trained as convolutions: see [`Network::forward`].
    #[must_use]
    pub fn with_pointwise(self, pointwise: bool) -> Self {
        Self { pointwise, ..self }
    }

    /// Makes the learner fail with this error at its first step.
    #[must_use]
    pub fn refused(self, error: Error) -> Self {
        Self { refusal: Some(error), ..self }
    }

    /// Lets the fused kernels compute the gradients on the CPU, with the vectors of `level`, instead of burn's
    /// automatic differentiation, if they know the network and its precision. The network must lie on burn's CPU back
    /// end, and the learner must not have learned yet.
    #[must_use]
    pub fn with_fused_gradients(mut self, level: Level) -> Self {
        if let Some(fused) = FusedGradients::new(&self.network, level, self.config.precision) {
            self.network = self.network.untracked();
            self.optimizer = optimizer(&self.config, &self.network, true);
            self.fused = Some(fused);
        }
        self
    }

    /// Bytes that the fused kernels need for a step with these settings, from the network's description alone; `None`
    /// if they cannot compute the gradients.
    pub fn footprint(net: &Description, config: &LearnConfig, level: Level) -> Option<usize> {
        let rows = config.batch_size.div_ceil(config.accumulation);
        TrainingNetwork::footprint(net, level, products(config.precision), rows, rayon::current_num_threads())
    }

    /// Whether the fused kernels compute the gradients.
    pub fn is_fused(&self) -> bool {
        self.fused.is_some()
    }

    /// Whether no generation is being learned.
    pub fn is_idle(&self) -> bool {
        self.course.is_none()
    }

    /// Number of generations that have ended.
    pub fn generation(&self) -> u64 {
        self.at.generation
    }

    /// Numbers of steps taken and planned in the generation that is being learned; `(0, 0)` between generations.
    pub fn progress(&self) -> (u64, u64) {
        self.course.as_ref().map_or((0, 0), |course| (course.taken, course.planned))
    }

    /// Number of steps taken since the start of the run, those left out included.
    pub fn steps(&self) -> u64 {
        self.at.steps + self.progress().0
    }

    /// Mean losses of the last generation that has ended.
    pub fn losses(&self) -> &Losses {
        &self.last
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        let (taken, planned) = self.progress();
        let along = self.at.generation as f64 + taken as f64 / planned.max(1) as f64;
        self.config.learning_rate * self.config.schedule.factor(along, self.generations)
    }

    /// Replaces the settings of learning. It is meant for the time between two generations; the number of steps of a
    /// generation that has begun does not change.
    ///
    /// # Errors
    /// [`Error::Optimizer`] when the optimiser's state cannot be taken over.
    pub fn learn_with(&mut self, config: LearnConfig) -> Result<(), Error> {
        let same = config.weight_decay == self.config.weight_decay;
        self.config = config;
        if same {
            return Ok(());
        }
        // The decay is the optimiser's own, and not one of the numbers that it keeps.
        let fail = |e| Error::Optimizer(format!("{e:?}"));
        let record = self.optimizer.into_bytes().map_err(fail)?;
        self.optimizer = optimizer(&self.config, &self.network, self.is_fused()).from_bytes(record).map_err(fail)?;
        Ok(())
    }

    /// Begins to learn a generation from a replay buffer to which `positions` positions have been added since the start
    /// of the run. Whatever is drawn comes from the generator of this generation.
    pub(super) fn begin(&mut self, positions: u64) {
        let added = positions - self.at.positions;
        // First of all: what plays until the generation has ended is what has played so far.
        let average = self.average.as_ref().map(Network::snapshot);
        let before = (self.network.snapshot(), self.optimizer.clone(), average);
        match (self.config.average > 0.0, &self.average) {
            (true, None) => self.average = Some(self.network.valid()),
            (false, Some(_)) => self.average = None,
            _ => {}
        }
        self.course = Some(Course {
            before,
            taken: 0,
            planned: self.config.steps.count(added, self.config.batch_size),
            positions,
            rng: LaneRng::of_learning(self.seed, self.at.generation + 1),
            sums: Losses::default(),
            in_a_row: 0,
        });
    }

    /// The state that a checkpoint keeps. While a generation is learned, it is the state before that generation.
    ///
    /// # Errors
    /// [`Error::Diverged`] when a number of the weights or of the optimiser is not finite, and [`Error::Optimizer`]
    /// when the optimiser's record cannot be made.
    pub fn save(&mut self) -> Result<Saved, Error> {
        let (network, optimizer, average) = match &self.course {
            None => (&self.network, &self.optimizer, &self.average),
            Some(Course { before: (network, optimizer, average), .. }) => (network, optimizer, average),
        };
        let tensors = average.as_ref().unwrap_or(network).tensors();
        let trained = average.as_ref().map(|_| network.tensors());
        let mut all = tensors.iter().chain(trained.iter().flatten());
        if let Some(bad) = all.find(|tensor| tensor.data.iter().any(|x| !x.is_finite())) {
            return Err(self.diverged(&bad.name));
        }
        let record = optimizer.into_bytes();
        let bytes = record.map_err(|e| Error::Optimizer(format!("{e:?}")))?;
        if let Some((bad, ..)) = record_tensors(bytes.clone())?.into_iter().find(|(.., finite)| !finite) {
            return Err(self.diverged(&format!("optimiser: {bad}")));
        }
        Ok(Saved { tensors, trained, optimizer: bytes.to_vec(), progress: self.at })
    }

    /// The network that plays: that of the last generation that has ended, with the mean of the weights if
    /// `learn.average` asked for one.
    pub fn playing(&self) -> &Network {
        match &self.course {
            None => self.average.as_ref().unwrap_or(&self.network),
            Some(Course { before: (network, _, average), .. }) => average.as_ref().unwrap_or(network),
        }
    }

    /// The error that the tensor `what` is not finite any more.
    pub fn diverged(&self, what: &str) -> Error {
        Error::Diverged { what: what.into(), generation: self.at.generation, advice: self.advice() }
    }

    /// The advice of errors: which keys to change when numbers grow beyond all bounds.
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

    /// Continues from a state that [`Learner::save`] gave.
    ///
    /// # Errors
    /// When the weights or the optimiser's record do not belong to this network and optimiser, or the record is not
    /// finite.
    pub fn restore(&mut self, saved: Saved) -> Result<(), Error> {
        let Saved { tensors, trained, optimizer: optimizer_record, progress } = saved;
        let playing = self.network.with_tensors(tensors)?;
        (self.network, self.average) = match trained {
            None => (playing, None),
            Some(tensors) => (self.network.with_tensors(tensors)?, Some(playing.valid())),
        };
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
        let loaded = optimizer(&self.config, &self.network, self.is_fused()).from_bytes(bytes);
        self.optimizer = loaded.map_err(|e| Error::Optimizer(format!("{e:?}")))?;
        (self.at, self.course) = (progress, None);
        Ok(())
    }

    /// Counts a step that was taken, with its mean losses in the order of the heads, and updates the mean of the
    /// weights.
    pub(super) fn took(&mut self, losses: &[f64], gradient_norm: f64) {
        let keep = self.config.average;
        self.average = self.average.take().map(|average| average.towards(&self.network, keep));
        let course = self.course.as_mut().expect("Sample has begun it");
        course.taken += 1;
        course.in_a_row = 0;
        course.sums.gradient_norm += gradient_norm;
        for (head, loss) in self.network.description().heads.iter().zip(losses) {
            *course.sums.heads.entry(head.kind.name()).or_default() += loss;
        }
    }

    /// Counts a step that was left out because its losses or gradients are not finite.
    ///
    /// # Errors
    /// [`Error::StepsNotFinite`] when that happens too often in a row, or at every step of a generation.
    pub(super) fn skip(&mut self, losses: &[f64]) -> Result<(), Error> {
        let course = self.course.as_mut().expect("Sample has begun it");
        course.taken += 1;
        course.in_a_row += 1;
        course.sums.skipped += 1;
        if course.in_a_row < SKIPPED_IN_A_ROW && course.in_a_row < course.planned {
            return Ok(());
        }
        let (steps, skipped) = (course.taken, course.in_a_row);
        let heads = self.network.description().heads.iter();
        let losses: Vec<_> = heads.zip(losses).map(|(head, loss)| format!("{} {loss}", head.kind.name())).collect();
        Err(Error::StepsNotFinite {
            steps,
            skipped,
            losses: losses.join(", "),
            generation: self.at.generation + 1,
            advice: self.advice(),
        })
    }

    /// Ends the generation, if one is being learned.
    pub(super) fn finish(&mut self) {
        let Some(Course { mut sums, taken, positions, .. }) = self.course.take() else { return };
        let counted = taken.saturating_sub(sums.skipped).max(1) as f64;
        sums.heads.values_mut().for_each(|sum| *sum /= counted);
        sums.gradient_norm /= counted;
        sums.policy_floor /= taken.max(1) as f64;
        self.last = sums;
        self.at = Progress { generation: self.at.generation + 1, steps: self.at.steps + taken, positions };
    }
}

/// The tensors of an optimiser's record: name, shape, and whether all numbers are finite. A second moment that has
/// overflowed stops the weights from changing for good and shows nowhere else.
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

/// The shape of each parameter of a network by its number, which is its place in the network.
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

/// What AdamW adds to the root of the second moment.
const EPSILON: f32 = 1e-8;

/// The optimiser of a network, whose tensors lie in memory or on any device. Weights decay; biases, and the scales of norms,
/// do not, because they hold little that could be fitted too closely.
fn optimizer(config: &LearnConfig, network: &Network, in_memory: bool) -> ModuleOptimizer {
    let decay = config.weight_decay as f32;
    let vectors = ParamGroup::from_ids(network.vectors());
    match config.optimizer {
        OptimizerKind::AdamW if in_memory => {
            let with = |weight_decay| AdamW { weight_decay, epsilon: EPSILON };
            ModuleOptimizer::from(with(decay)).with_group(vectors, with(0.0), None)
        }
        OptimizerKind::AdamW => {
            let with = |decay| AdamWConfig::new().with_weight_decay(decay).with_epsilon(EPSILON);
            with(decay).init().with_group(vectors, with(0.0).build(), None)
        }
        OptimizerKind::Sgd => {
            let momentum = Some(MomentumConfig { momentum: 0.9, dampening: 0.0, nesterov: false });
            let with = |penalty| {
                SgdConfig::new().with_momentum(momentum.clone()).with_weight_decay(Some(WeightDecayConfig { penalty }))
            };
            with(decay).init().with_group(vectors, with(0.0).build(), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::optim::GradientsParams;
    use lockstep_components::{
        config::{NetworkConfig, NetworkKind},
        games::TicTacToe,
    };

    /// This number for the gradient of every weight.
    fn gradients_of(network: &Network, number: f32) -> GradientsParams {
        struct All(GradientsParams, f32);
        impl ModuleVisitor for All {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let tensor = param.val();
                self.0.register(param.id, Tensor::<D>::full(tensor.dims(), self.1, &tensor.device().inner()));
            }
        }
        let mut all = All(GradientsParams::new(), number);
        network.visit(&mut all);
        all.0
    }

    /// With gradients of 0, all that changes is what decays.
    #[test]
    fn biases_and_norms_do_not_decay() {
        for kind in [OptimizerKind::AdamW, OptimizerKind::Sgd] {
            let mut config = Config::default();
            config.network = NetworkConfig { channels: 4, blocks: 1, head_channels: 2, ..config.network };
            config.learn = LearnConfig { optimizer: kind, weight_decay: 0.5, ..config.learn };
            let mut learner = Learner::new(&GameInfo::of::<TicTacToe>(), &config, &Device::flex());
            let mut before = learner.network.tensors();
            // Biases begin at 0.
            before.iter_mut().filter(|t| t.shape.len() == 1).for_each(|t| t.data.fill(0.25));
            learner.network = learner.network.with_tensors(before.clone()).unwrap();
            let zero = gradients_of(&learner.network, 0.0);
            learner.network = learner.optimizer.step(0.1, learner.network.clone(), zero);
            for (old, new) in before.iter().zip(learner.network.tensors()) {
                assert_eq!(old.data != new.data, old.shape.len() > 1, "{kind:?}: {}", old.name);
            }
        }
    }

    /// While the next generation is learned, what has played still plays and is what is saved.
    #[test]
    fn a_mean_that_is_given_up_plays_to_the_end() {
        let mut config = Config::default();
        config.network.kind = NetworkKind::Mlp;
        config.learn.average = 0.9;
        let mut learner = Learner::new(&GameInfo::of::<TicTacToe>(), &config, &Device::flex());
        learner.begin(10);
        let gradients = gradients_of(&learner.network, 1.0);
        learner.network = learner.optimizer.step(0.1, learner.network.clone(), gradients);
        learner.took(&[0.0, 0.0], 1.0);
        learner.finish();
        let before = learner.save().unwrap();
        assert_ne!(Some(&before.tensors), before.trained.as_ref());
        learner.learn_with(LearnConfig { average: 0.0, ..config.learn }).unwrap();
        learner.begin(20);
        let after = learner.save().unwrap();
        assert!(after.tensors == before.tensors && after.trained == before.trained);
        learner.finish();
        assert_eq!(learner.save().unwrap().trained, None);
    }

    /// The square of such a gradient is beyond `f32`: the second moment becomes infinite and the weights stay finite, but
    /// they will never change again.
    #[test]
    fn an_optimiser_that_has_overflowed_is_not_saved() {
        let mut config = Config::default();
        config.network.kind = NetworkKind::Mlp;
        let mut learner = Learner::new(&GameInfo::of::<TicTacToe>(), &config, &Device::flex());
        learner.save().unwrap();
        let huge = gradients_of(&learner.network, 1e30);
        learner.network = learner.optimizer.step(0.001, learner.network.clone(), huge);
        assert!(learner.network.tensors().iter().all(|tensor| tensor.data.iter().all(|x| x.is_finite())));
        let error = learner.save().unwrap_err().to_string();
        assert!(error.contains("optimiser") && error.contains("learn.gradient_clip"), "{error}");
    }
}
