//! Losses and gradients on the CPU by the fused kernels, several times as fast as automatic differentiation there.
//!
//! Burn's modules keep the parameters and burn's optimiser takes the step; what lies between, the forward and the backward
//! pass, is that of [`TrainingNetwork`]. A test holds it against burn's own gradients.

use super::{
    TrainingBatch,
    losses::{loss, weight_of},
    step::parts,
};
use crate::{
    Network,
    network::{is_statistics, numbers},
};
use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Tensor, TensorData},
};
use lockstep_components::config::{LearnConfig, LearnPrecision};
use lockstep_fused::{Level, TrainingNetwork, TrainingPrecision};
use rayon::prelude::*;

/// What the kernels call a precision.
pub(super) fn products(precision: LearnPrecision) -> TrainingPrecision {
    match precision {
        LearnPrecision::F32 => TrainingPrecision::F32,
        LearnPrecision::Bf16 => TrainingPrecision::Bf16,
    }
}

/// The kernels with their memory, for one shape of network.
#[derive(Debug)]
pub(super) struct FusedGradients {
    kernels: TrainingNetwork,
    /// Of one part of a batch, a tensor for each parameter.
    part: Vec<Vec<f32>>,
    /// Of the whole batch.
    sum: Vec<Vec<f32>>,
    /// What the heads say, and in its place the gradients of their losses.
    outputs: Vec<Vec<f32>>,
}

impl FusedGradients {
    /// For a network of which the kernels have all operations, in this precision.
    pub(super) fn new(network: &Network, level: Level, precision: LearnPrecision) -> Option<Self> {
        let epsilon = network.norms().next().map_or(0.0, |norm| norm.epsilon);
        let kernels = TrainingNetwork::new(network.description(), epsilon, level, products(precision)).ok()?;
        let tensors = kernels.tensors();
        Some(Self { kernels, part: vec![vec![]; tensors], sum: vec![vec![]; tensors], outputs: vec![] })
    }

    /// The gradient of the weighted losses of a batch, and the mean loss of each head.
    pub(super) fn gradients(
        &mut self,
        network: &Network,
        batch: &TrainingBatch,
        config: &LearnConfig,
    ) -> (GradientsParams, Vec<f64>) {
        let losses = self.sum(network, batch, config);
        (self.register(network), losses)
    }

    /// The same with all gradients scaled down together so that the norm of the whole is at most `learn.gradient_clip`, unless
    /// that is 0, and the norm before it; no gradient if the square of the norm is not finite.
    pub(super) fn clipped(
        &mut self,
        network: &Network,
        batch: &TrainingBatch,
        config: &LearnConfig,
    ) -> (Option<(GradientsParams, f64)>, Vec<f64>) {
        let losses = self.sum(network, batch, config);
        let squared: f64 = self.sum.iter().map(|tensor| squares(tensor)).sum();
        // The optimiser squares gradients in `f32`.
        if !(squared as f32).is_finite() {
            return (None, losses);
        }
        let norm = squared.sqrt();
        let factor = (config.gradient_clip / (norm + 1e-12)) as f32;
        if config.gradient_clip > 0.0 && factor < 1.0 {
            for tensor in &mut self.sum {
                tensor.par_chunks_mut(CHUNK).for_each(|chunk| chunk.iter_mut().for_each(|x| *x *= factor));
            }
        }
        (Some((self.register(network), norm)), losses)
    }

    /// Leaves the gradient in `self.sum`. Batch norm sees each part of the batch by itself, and its running statistics follow.
    fn sum(&mut self, network: &Network, batch: &TrainingBatch, config: &LearnConfig) -> Vec<f64> {
        let mut read = Read::default();
        network.visit(&mut read);
        let parameters: Vec<&[f32]> = read.tensors.iter().map(Vec::as_slice).collect();
        let heads = &network.description().heads;
        self.sum.iter_mut().for_each(Vec::clear);
        let mut losses = vec![0.0; heads.len()];
        for rows in parts(batch, config).1 {
            let size = batch.planes.len() / batch.rows;
            self.kernels.forward(rows.len(), &batch.planes[rows.start * size..rows.end * size], &parameters);
            self.kernels.outputs().clone_into(&mut self.outputs);
            for ((head, outputs), sum) in heads.iter().zip(&mut self.outputs).zip(&mut losses) {
                *sum += loss(head.kind, batch, rows.clone(), outputs, weight_of(head.kind, config));
            }
            self.kernels.backward(&self.outputs, &mut self.part);
            self.update_running_statistics(network);
            for (sum, part) in self.sum.iter_mut().zip(&mut self.part) {
                if sum.is_empty() {
                    std::mem::swap(sum, part);
                } else {
                    sum.iter_mut().zip(part).for_each(|(sum, x)| *sum += *x);
                }
            }
        }
        losses
    }

    /// Hands the gradient over as burn's tensors.
    fn register(&mut self, network: &Network) -> GradientsParams {
        let mut write = Write { in_statistics: false, tensors: self.sum.iter_mut(), grads: GradientsParams::new() };
        network.visit(&mut write);
        write.grads
    }

    /// Moves the running statistics of batch norm towards those of the batch that was seen last, as burn does.
    fn update_running_statistics(&self, network: &Network) {
        for (norm, seen) in network.norms().zip(self.kernels.batch_statistics()) {
            for (running, seen) in [(&norm.running_mean, seen.mean), (&norm.running_var, seen.variance)] {
                let old = running.value_sync();
                let device = old.device();
                let mixed: Vec<f32> = numbers(old)
                    .into_iter()
                    .zip(seen)
                    .map(|(old, new)| old * (1.0 - norm.momentum as f32) + new * norm.momentum as f32)
                    .collect();
                running.update(Tensor::from_floats(mixed.as_slice(), &device));
            }
        }
    }
}

/// Numbers that a thread takes at a time.
const CHUNK: usize = 1 << 14;

/// The sum of the squares of some numbers, in an order that does not depend on the threads.
fn squares(numbers: &[f32]) -> f64 {
    let of_chunk = |chunk: &[f32]| {
        // Several sums, of which none has to wait for the others.
        let mut sums = [0.0f64; 8];
        for numbers in chunk.chunks(8) {
            sums.iter_mut().zip(numbers).for_each(|(sum, &x)| *sum += f64::from(x) * f64::from(x));
        }
        sums.iter().sum::<f64>()
    };
    numbers.par_chunks(CHUNK).map(of_chunk).collect::<Vec<_>>().iter().sum()
}

/// Copies all parameters, in the order of the modules, which is that of the description. The running statistics of
/// batch norm, which a visitor sees as well, are none.
#[derive(Default)]
struct Read {
    in_statistics: bool,
    tensors: Vec<Vec<f32>>,
}

impl ModuleVisitor for Read {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.in_statistics = is_statistics(name);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.in_statistics {
            self.tensors.push(numbers(param.val().inner()));
        }
    }
}

/// Registers a gradient for each parameter, in the same order.
struct Write<'a> {
    in_statistics: bool,
    tensors: std::slice::IterMut<'a, Vec<f32>>,
    grads: GradientsParams,
}

impl ModuleVisitor for Write<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.in_statistics = is_statistics(name);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.in_statistics {
            let tensor = param.val();
            let gradient = std::mem::take(self.tensors.next().expect("a gradient for each parameter"));
            let data = TensorData::new(gradient, tensor.dims());
            self.grads.register(param.id, Tensor::<D>::from_data(data, &tensor.device().inner()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Failure, Learner, Network,
        learn::{gradients, step},
    };
    use bevy_ecs::prelude::*;
    use burn::tensor::Device;
    use lockstep_components::{
        Config, Game, GameInfo, LaneRng,
        config::{LearnPrecision, NetworkConfig, NetworkKind, OptimizerKind, Steps, ValueHead},
        games::{ConnectFour, TicTacToe},
    };
    use lockstep_fused::{Description, ExactNetwork, Head, HeadKind, Op};

    /// Some positions with made-up targets, of which one in four has no policy target.
    fn batch<G: Game>(rows: usize) -> TrainingBatch {
        let mut rng = LaneRng::new(4, 4);
        let mut batch = TrainingBatch {
            rows,
            actions: G::ACTIONS,
            shape: [G::PLANES, G::HEIGHT, G::WIDTH],
            planes: vec![0.0; rows * G::INPUT],
            masks: vec![0.0; rows * G::ACTIONS],
            policies: vec![0.0; rows * G::ACTIONS],
            policy_weights: (0..rows).map(|i| if i % 4 == 0 { 0.0 } else { 1.0 }).collect(),
            outcomes: vec![0.0; rows * 3],
            lengths: (0..rows).map(|i| i as f32 / rows as f32).collect(),
            policy_floor: 0.0,
        };
        for row in 0..rows {
            let mut position = G::start();
            for _ in 0..rng.below(5) {
                position.play(rng.legal_move(&position));
            }
            G::encode(position.key(), &mut batch.planes[row * G::INPUT..(row + 1) * G::INPUT]);
            let legal: Vec<_> = position.legal().collect();
            for action in 0..G::ACTIONS {
                let at = row * G::ACTIONS + action;
                match legal.iter().position(|&a| a as usize == action) {
                    Some(0) => batch.policies[at] = 0.75,
                    Some(1) => batch.policies[at] = 0.25,
                    Some(_) => {}
                    None => batch.masks[at] = -1e9,
                }
            }
            batch.outcomes[row * 3 + rng.below(3)] = 1.0;
        }
        batch
    }

    /// What one step of plain gradient descent changes, by name, and the losses.
    fn change<G: Game>(config: &Config, fused: bool) -> (Vec<(String, Vec<f32>)>, Vec<f64>) {
        let mut learner = Learner::new(&GameInfo::of::<G>(), config, &Device::flex());
        if fused {
            learner = learner.with_fused_gradients(Level::default());
            assert!(learner.is_fused());
        }
        let before = learner.network.tensors();
        learner.begin(1);
        let mut world = World::new();
        world.insert_resource(learner);
        world.insert_resource(batch::<G>(37));
        world.init_resource::<Failure>();
        world.run_system_cached(step).unwrap();
        let learner = world.resource_mut::<Learner>();
        let after = Network::tensors(&learner.network);
        let difference = |(a, b): (crate::network::NamedTensor, crate::network::NamedTensor)| {
            (a.name, b.data.iter().zip(&a.data).map(|(b, a)| b - a).collect())
        };
        let sums = &learner.course.as_ref().unwrap().sums;
        let heads = &learner.network.description().heads;
        let losses = heads.iter().map(|head| sums.of(head.kind.name())).collect();
        (before.into_iter().zip(after).map(difference).collect(), losses)
    }

    fn agrees_with_burn<G: Game>(network: NetworkConfig, accumulation: usize, clip: f64) {
        let mut config = Config { network, ..Config::default() };
        config.learn.optimizer = OptimizerKind::Sgd;
        config.learn.weight_decay = 0.0;
        config.learn.learning_rate = 1.0;
        config.learn.steps = Steps::Batches(1);
        config.learn.gradient_clip = clip;
        config.learn.value_weight = 0.7;
        config.learn.accumulation = accumulation;
        let (burn, burn_losses) = change::<G>(&config, false);
        let (fused, losses) = change::<G>(&config, true);
        assert!(burn.len() > 8);
        assert_eq!(burn_losses.len(), losses.len());
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-4;
        assert!(burn_losses.iter().zip(&losses).all(close), "{burn_losses:?} {losses:?}");
        let largest = burn.iter().flat_map(|t| &t.1).fold(0.0f32, |a, b| a.max(b.abs()));
        for ((name, expected), (_, found)) in burn.iter().zip(&fused) {
            assert!(expected.iter().any(|x| *x != 0.0), "{name} does not change");
            let error = expected.iter().zip(found).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
            let size = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            assert!(error < 2e-3 * size.max(0.01 * largest), "{name}: {error} of {size}");
        }
    }

    #[test]
    fn gradients_and_statistics_are_those_of_burn() {
        let default = Config::default().network;
        let resnet = NetworkConfig { kind: NetworkKind::Resnet, channels: 20, blocks: 2, head_channels: 5, ..default };
        let scalar = NetworkConfig { value_head: ValueHead::Scalar, ..resnet.clone() };
        let mlp = NetworkConfig { kind: NetworkKind::Mlp, ..resnet.clone() };
        agrees_with_burn::<ConnectFour>(resnet.clone(), 1, 0.0);
        agrees_with_burn::<TicTacToe>(scalar.clone(), 3, 0.0);
        agrees_with_burn::<TicTacToe>(mlp.clone(), 1, 0.01);
        // Gates, and a third head.
        agrees_with_burn::<ConnectFour>(NetworkConfig { squeeze: 6, ..resnet }, 1, 0.0);
        agrees_with_burn::<TicTacToe>(NetworkConfig { squeeze: 3, length_head: true, ..scalar }, 2, 0.01);
        agrees_with_burn::<TicTacToe>(NetworkConfig { length_head: true, ..mlp }, 1, 0.0);
    }

    /// A policy that is a map from planes to moves, and a value that sees means alone: no configuration names them yet.
    #[test]
    fn selections_and_means_are_those_of_burn() {
        let mut net = Description::new([TicTacToe::PLANES, TicTacToe::HEIGHT, TicTacToe::WIDTH]);
        let stem = net.add("stem", Op::Conv { outputs: 20, kernel: 3, bias: false }, &[0]);
        let stem = net.add("norm", Op::Norm, &[stem]);
        let x = net.add("", Op::Relu, &[stem]);
        let planes = net.add("planes", Op::Conv { outputs: 2, kernel: 1, bias: true }, &[x]);
        let indices = (0..TicTacToe::ACTIONS as u32).map(|action| 17 - 2 * action % 18).collect();
        let policy = net.add("", Op::Select { indices }, &[planes]);
        let means = net.add("", Op::Pool, &[x]);
        let value = net.add("value", Op::Dense { outputs: 3 }, &[means]);
        net.heads = vec![
            Head { kind: HeadKind::Policy, value: policy },
            Head { kind: HeadKind::Outcome, value },
            Head { kind: HeadKind::Length, value: net.add("length", Op::Dense { outputs: 1 }, &[means]) },
        ];
        let of = |fused: bool| {
            let mut learner = Learner::new(&GameInfo::of::<TicTacToe>(), &Config::default(), &Device::flex());
            learner.network = Network::of(net.clone(), 3, &learner.network.device());
            if fused {
                learner = learner.with_fused_gradients(Level::default());
                assert!(learner.is_fused());
            }
            gradients(&mut learner, &batch::<TicTacToe>(37)).unwrap()
        };
        for (burn, fused) in of(false).iter().zip(of(true)) {
            assert_eq!(burn.name, fused.name);
            let size = burn.data.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            assert!(size > 1e-4, "{} has no gradient", burn.name);
            let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-3 * size;
            assert!(burn.data.iter().zip(&fused.data).all(close), "{}", burn.name);
        }
        // What is evaluated agrees as well.
        let network = Network::of(net, 3, &Device::flex());
        let (frozen, planes) = (network.frozen(), batch::<TicTacToe>(5).planes);
        let rows: Tensor<4> = Tensor::from_data(
            TensorData::new(planes.clone(), [5, TicTacToe::PLANES, TicTacToe::HEIGHT, TicTacToe::WIDTH]),
            &Device::flex(),
        );
        let found = numbers(network.valid().forward(rows, LearnPrecision::F32, false).swap_remove(0));
        let exact = ExactNetwork::new(&frozen);
        for (found, planes) in found.chunks(TicTacToe::ACTIONS).zip(planes.chunks(TicTacToe::INPUT)) {
            let close = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() < 1e-4;
            assert!(found.iter().zip(&exact.row(planes)[0]).all(close), "{found:?}");
        }
    }

    /// Without batch norm the parts of a batch add up to the whole, on both paths.
    #[test]
    fn parts_of_a_batch_make_the_same_step() {
        let mut config = Config::default();
        config.network = NetworkConfig { kind: NetworkKind::Mlp, channels: 20, blocks: 2, ..config.network };
        config.learn.optimizer = OptimizerKind::Sgd;
        config.learn.learning_rate = 1.0;
        for fused in [false, true] {
            let (whole, losses) = change::<TicTacToe>(&config, fused);
            let in_parts = LearnConfig { accumulation: 5, ..config.learn.clone() };
            let (parts, sums) = change::<TicTacToe>(&Config { learn: in_parts, ..config.clone() }, fused);
            let largest = whole.iter().flat_map(|t| &t.1).fold(0.0f32, |a, b| a.max(b.abs()));
            assert!(largest > 0.01);
            for ((name, whole), (_, parts)) in whole.iter().zip(&parts) {
                let error = whole.iter().zip(parts).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
                assert!(error < 1e-5 * largest, "{name}: {error} of {largest}, fused: {fused}");
            }
            assert!(losses.iter().zip(sums).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

    /// A step that is not finite changes nothing, not even running statistics; many in a row end the run.
    #[test]
    fn steps_that_are_not_finite_are_left_out() {
        let mut config = Config::default();
        config.network = NetworkConfig { channels: 8, blocks: 1, head_channels: 2, ..config.network };
        config.learn.steps = Steps::Batches(20);
        for fused in [false, true] {
            let mut learner = Learner::new(&GameInfo::of::<TicTacToe>(), &config, &Device::flex());
            if fused {
                learner = learner.with_fused_gradients(Level::default());
            }
            learner.begin(1);
            let before = learner.network.tensors();
            let mut world = World::new();
            world.insert_resource(learner);
            world.init_resource::<Failure>();
            let step = |world: &mut World, bad: bool| {
                let mut batch = batch::<TicTacToe>(37);
                if bad {
                    batch.planes[5] = f32::NAN;
                }
                world.insert_resource(batch);
                world.run_system_cached(step).unwrap();
                world.resource::<Failure>().get().cloned()
            };
            assert_eq!(step(&mut world, true), None);
            assert!(world.resource::<Learner>().network.tensors() == before, "fused: {fused}");
            assert_eq!(step(&mut world, false), None);
            let learner = world.resource::<Learner>();
            assert_ne!(learner.network.tensors(), before);
            let course = learner.course.as_ref().unwrap();
            assert_eq!((course.taken, course.sums.skipped), (2, 1));
            assert!(course.sums.of("policy").is_finite());
            for _ in 0..7 {
                assert_eq!(step(&mut world, true), None);
            }
            let error = step(&mut world, true).expect("the eighth in a row").to_string();
            assert!(error.contains("8 steps in a row") && error.contains("learn.gradient_clip"), "{error}");
        }
    }
}
