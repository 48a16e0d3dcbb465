//! `LearnSystems::Step` and `LearnSystems::Publish`.

use super::{EvaluatorFactory, Learner, Published, TrainingBatch};
use crate::{Agent, Failure, Inference, Network, agent::in_order};
use bevy_ecs::prelude::*;
use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::{GradientsAccumulator, GradientsParams},
    tensor::{Device, Tensor, TensorData, activation::log_softmax, activation::tanh},
};
use lockstep_components::{Cache, Game, config::ValueHead};

/// Takes one step of the optimiser with the batch that was drawn.
pub fn step(mut learner: ResMut<Learner>, batch: Res<TrainingBatch>, mut failure: ResMut<Failure>) {
    let learner = &mut *learner;
    let rate = learner.learning_rate();
    let grads = gradients(learner, &batch);
    let grads = clip(&learner.network, grads, learner.config.gradient_clip);
    learner.network = learner.optimizer.step(rate, learner.network.clone(), grads);
    learner.course.as_mut().expect("Sample has begun it").taken += 1;
    // A device is not made to wait for a number that nobody needs yet, within a bound on what it has to remember.
    if learner.unread.len() >= 64
        && let Err(error) = learner.read_losses()
    {
        failure.set(error);
    }
}

/// After the last step of a generation: reads the losses, gives an agent the new network, and forgets what the old one has
/// said. With one agent it is this one; with several, whose generations are in play, the one with the oldest.
pub fn publish<G: Game>(
    mut learner: ResMut<Learner>,
    factory: Res<EvaluatorFactory>,
    mut agents: Query<(&Agent, (&mut Inference, &mut Cache<G>))>,
    mut published: ResMut<Messages<Published>>,
    mut failure: ResMut<Failure>,
) {
    let (taken, planned) = learner.progress();
    if taken < planned {
        return;
    }
    if let Err(error) = learner.read_losses() {
        return failure.set(error);
    }
    learner.finish();
    published.update();
    let mut agents = in_order(agents.iter_mut());
    let generation = learner.generation();
    let agent = (generation % agents.len().max(1) as u64) as usize;
    if let Some((inference, cache)) = agents.get_mut(agent) {
        inference.evaluator = factory.0(&learner.network);
        cache.clear();
        published.write(Published { generation, agent });
    }
}

/// The gradient of the mean loss of a batch, taken in `accumulation` parts.
fn gradients(learner: &mut Learner, batch: &TrainingBatch) -> GradientsParams {
    let device = learner.network.heads.policy.weight.val().device();
    let part = batch.rows.div_ceil(learner.config.accumulation);
    if let Some(fused) = &mut learner.fused {
        let parts = (0..batch.rows).step_by(part).map(|start| start..(start + part).min(batch.rows));
        let value_weight = learner.config.value_weight;
        let (grads, losses) = fused.gradients(&learner.network, batch, parts, learner.value_head, value_weight);
        learner.unread.push(Tensor::from_floats(losses, &device.inner()));
        return grads;
    }
    let mut accumulator = GradientsAccumulator::new();
    let mut whole: Option<Tensor<1>> = None;
    for start in (0..batch.rows).step_by(part) {
        let rows = start..(start + part).min(batch.rows);
        let share = rows.len() as f32 / batch.rows as f32;
        let (policy, value) = losses(&learner.network, batch, rows, learner.value_head, &device);
        let both = Tensor::cat(vec![policy.clone(), value.clone()], 0).detach().inner() * share;
        whole = Some(match whole {
            None => both,
            Some(sum) => sum + both,
        });
        let loss = (policy + value * learner.config.value_weight) * share;
        let grads = GradientsParams::from_grads(loss.backward(), &learner.network);
        if part == batch.rows {
            learner.unread.extend(whole);
            return grads;
        }
        accumulator.accumulate(&learner.network, grads);
    }
    learner.unread.extend(whole);
    accumulator.grads()
}

/// Mean policy and value loss of some rows, each `[1]`.
///
/// The policy loss is the cross-entropy with the search's visits over the legal moves, a mean over the rows that have
/// them. The value loss is the squared error, or the cross-entropy over win, draw and loss, a mean over all rows.
fn losses(
    network: &Network,
    batch: &TrainingBatch,
    rows: std::ops::Range<usize>,
    head: ValueHead,
    device: &Device,
) -> (Tensor<1>, Tensor<1>) {
    let n = rows.len();
    let [planes, height, width] = batch.shape;
    let part = |numbers: &[f32]| {
        let size = numbers.len() / batch.rows;
        numbers[rows.start * size..rows.end * size].to_vec()
    };
    let matrix =
        |numbers: &[f32], columns| Tensor::<2>::from_data(TensorData::new(part(numbers), [n, columns]), device);
    let input = TensorData::new(part(&batch.planes), [n, planes, height, width]);
    let output = network.forward(Tensor::from_data(input, device));

    let logits = output.logits + matrix(&batch.masks, batch.actions);
    // Divided by the weight of the whole batch, so that parts of a batch add up to it.
    let share = n as f32 / batch.rows as f32;
    let weights: f32 = batch.policy_weights.iter().sum::<f32>().max(1.0);
    let weighted: Vec<f32> = batch
        .policies
        .chunks_exact(batch.actions)
        .zip(&batch.policy_weights)
        .flat_map(|(policy, weight)| policy.iter().map(move |p| p * weight))
        .collect();
    let policy = -(log_softmax(logits, 1) * matrix(&weighted, batch.actions)).sum() / (weights * share);

    let outcomes = match head {
        ValueHead::Wdl => -(log_softmax(output.values, 1) * matrix(&batch.outcomes, 3)).sum() / n as f32,
        ValueHead::Scalar => {
            let targets: Vec<f32> = batch.outcomes.chunks_exact(3).map(|o| o[0] - o[2]).collect();
            (tanh(output.values) - matrix(&targets, 1)).square().sum() / n as f32
        }
    };
    (policy, outcomes)
}

/// Scales all gradients down together so that the norm of the whole is at most `limit`; 0 leaves them.
fn clip(network: &Network, grads: GradientsParams, limit: f64) -> GradientsParams {
    if limit == 0.0 {
        return grads;
    }
    struct Norm {
        grads: GradientsParams,
        squares: Option<Tensor<1>>,
    }
    impl ModuleVisitor for Norm {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.grads.get::<D>(param.id) {
                let square = grad.square().sum();
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
    let Some(squares) = norm.squares else { return norm.grads };
    // The factor stays on the device: no one waits for it.
    let factor = (squares.sqrt() + 1e-12).recip().mul_scalar(limit).clamp_max(1.0);
    let mut scale = Scale { grads: norm.grads, factor };
    network.visit(&mut scale);
    scale.grads
}
