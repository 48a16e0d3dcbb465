//! `LearnSystems::Step` takes a step of the optimiser, and `LearnSystems::Publish` ends a generation.

use super::{
    EvaluatorFactory, Learner, Published, TrainingBatch,
    losses::{loss, weight_of},
};
use crate::{
    Agent, Error, Failure, Inference, Network,
    agent::in_order,
    error::TRAINING,
    network::{NamedTensor, numbers, read},
};
use bevy_ecs::prelude::*;
use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::{GradientsAccumulator, GradientsParams},
    tensor::{Tensor, TensorData},
};
use lockstep_components::config::LearnConfig;
use std::ops::Range;

/// Takes one step of the optimiser with the batch that was drawn.
pub fn step(mut learner: ResMut<Learner>, batch: Res<TrainingBatch>, failure: Res<Failure>) {
    if let Err(error) = Error::guard(TRAINING, || take_step(&mut learner, &batch)) {
        failure.set(error);
    }
}

fn take_step(learner: &mut Learner, batch: &TrainingBatch) -> Result<(), Error> {
    if let Some(refusal) = &learner.refusal {
        return Err(refusal.clone());
    }
    let rate = learner.learning_rate();
    // What a forward pass does to the running statistics is undone with the rest of a step that is left out.
    let before = learner.network.snapshot();
    let limit = learner.config.gradient_clip;
    let (clipped, losses) = match &mut learner.fused {
        Some(fused) => fused.clipped(&learner.network, batch, &learner.config),
        None => {
            let (grads, losses) = backward(learner, batch)?;
            (clip(&learner.network, grads, limit), losses)
        }
    };
    match clipped.filter(|_| losses.iter().all(|loss| loss.is_finite())) {
        Some((grads, norm)) => {
            learner.network = learner.optimizer.step(rate, learner.network.clone(), grads);
            learner.took(&losses, norm);
            Ok(())
        }
        None => {
            learner.network = before;
            learner.skip(&losses)
        }
    }
}

/// Ends a generation after its last step. An agent of the same world, if there is one, gets the new network. Of several
/// agents, whose generations are in play, it is the one with the oldest network.
pub fn publish(
    mut learner: ResMut<Learner>,
    factory: Res<EvaluatorFactory>,
    mut agents: Query<(&Agent, &mut Inference)>,
    mut published: ResMut<Messages<Published>>,
    failure: Res<Failure>,
) {
    let (taken, planned) = learner.progress();
    if taken < planned {
        return;
    }
    learner.finish();
    published.update();
    let mut agents = in_order(agents.iter_mut());
    let generation = learner.generation();
    let agent = (generation % agents.len().max(1) as u64) as usize;
    if let Some(inference) = agents.get_mut(agent) {
        match factory.make(learner.playing()) {
            Ok(evaluator) => inference.replace(evaluator),
            Err(error) => return failure.set(error),
        }
        published.write(Published { generation, agent });
    }
}

/// The gradient of the weighted sum of the losses of a batch, as a tensor for each parameter. The learner takes no
/// step.
///
/// # Errors
/// When the device fails.
pub fn gradients(learner: &mut Learner, batch: &TrainingBatch) -> Result<Vec<NamedTensor>, Error> {
    Error::guard(TRAINING, || {
        let before = learner.network.snapshot();
        let grads = backward(learner, batch).map(|(grads, _)| learner.network.gradients(&grads));
        learner.network = before;
        grads
    })
}

/// The gradient of the weighted sum of the losses of a batch, computed in `accumulation` parts, and the mean loss of
/// each head.
fn backward(learner: &mut Learner, batch: &TrainingBatch) -> Result<(GradientsParams, Vec<f64>), Error> {
    let Learner { network, config, fused, pointwise, .. } = learner;
    if let Some(fused) = fused {
        return Ok(fused.gradients(network, batch, config));
    }
    let (part, parts) = parts(batch, config);
    let device = network.device();
    let heads = &network.description().heads;
    let mut sums = vec![0.0; heads.len()];
    let mut accumulator = GradientsAccumulator::new();
    for rows in parts {
        let size = batch.planes.len() / batch.rows;
        let planes = batch.planes[rows.start * size..rows.end * size].to_vec();
        let [planes_of_row, height, width] = batch.shape;
        let planes = TensorData::new(planes, [rows.len(), planes_of_row, height, width]);
        let outputs = network.forward(Tensor::from_data(planes, &device), config.precision, *pointwise);
        // What is differentiated is the outputs times their gradients, which has the gradients of the losses.
        let mut surrogate: Option<Tensor<1>> = None;
        let numbers = read(outputs.iter().map(|output| output.clone().inner()), TRAINING)?;
        for (((head, output), mut numbers), sum) in heads.iter().zip(outputs).zip(numbers).zip(&mut sums) {
            let shape = output.dims();
            *sum += loss(head.kind, batch, rows.clone(), &mut numbers, weight_of(head.kind, config));
            let product = (output * Tensor::from_data(TensorData::new(numbers, shape), &device)).sum();
            surrogate = Some(match surrogate {
                None => product,
                Some(before) => before + product,
            });
        }
        let surrogate = surrogate.expect("a network has heads");
        let grads = GradientsParams::from_grads(surrogate.backward(), network);
        if part == batch.rows {
            return Ok((grads, sums));
        }
        accumulator.accumulate(network, grads);
    }
    Ok((accumulator.grads(), sums))
}

/// The rows of a batch that go through the network together, but for the last ones, and all such parts.
pub(super) fn parts(batch: &TrainingBatch, config: &LearnConfig) -> (usize, impl Iterator<Item = Range<usize>>) {
    let (rows, part) = (batch.rows, batch.rows.div_ceil(config.accumulation));
    (part, (0..rows).step_by(part).map(move |start| start..(start + part).min(rows)))
}

/// The length from which on burn's CPU back end sums in parallel.
const LONG: usize = 4 << 20;

/// Scales all gradients down together so that the norm of the whole is at most `limit`; with 0 they stay as they are.
/// Returns them with the norm that they had, or `None` if the norm is not finite.
fn clip(network: &Network, grads: GradientsParams, limit: f64) -> Option<(GradientsParams, f64)> {
    struct Norm {
        grads: GradientsParams,
        squares: Option<Tensor<1>>,
    }
    impl ModuleVisitor for Norm {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.grads.get::<D>(param.id) {
                let square = grad.square();
                // In two steps where it is long: burn's CPU back end adds the parts of a long sum in any order.
                let square =
                    if square.shape().num_elements() < LONG { square.sum() } else { square.sum_dim(D - 1).sum() };
                self.squares = Some(match self.squares.take() {
                    None => square,
                    Some(sum) => sum + square,
                });
            }
        }
    }
    struct Scale {
        grads: GradientsParams,
        factor: Tensor<1>,
    }
    impl ModuleVisitor for Scale {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.grads.remove::<D>(param.id) {
                self.grads.register(param.id, grad * self.factor.clone().unsqueeze());
            }
        }
    }
    let mut norm = Norm { grads, squares: None };
    network.visit(&mut norm);
    let Some(squares) = norm.squares else { return Some((norm.grads, 0.0)) };
    let length = numbers(squares.clone()).iter().map(|&sum| f64::from(sum)).sum::<f64>().sqrt();
    if !length.is_finite() {
        return None;
    }
    if limit == 0.0 {
        return Some((norm.grads, length));
    }
    let factor = (squares.sqrt() + 1e-12).recip().mul_scalar(limit).clamp_max(1.0);
    let mut scale = Scale { grads: norm.grads, factor };
    network.visit(&mut scale);
    Some((scale.grads, length))
}
