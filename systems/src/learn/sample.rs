//! `LearnSystems::Sample`: draws a batch from the replay buffer.

use super::Learner;
use crate::{Error, Failure};
use bevy_ecs::prelude::*;
use lockstep_components::{ReplayBuffer, config::ReplayConfig};
use rayon::prelude::*;

/// One training batch on the host, whose memory is reused for the next: positions as planes, and their targets.
#[derive(Resource, Clone, Debug, Default)]
pub struct TrainingBatch {
    /// Number of rows.
    pub rows: usize,
    /// Planes, height and width of a row.
    pub shape: [usize; 3],
    /// Number of actions of the game.
    pub actions: usize,
    /// Planes of the positions, `[rows, planes, height, width]`.
    pub planes: Vec<f32>,
    /// Policy targets, `[rows, actions]`: shares of visits; rows without a policy are 0.
    pub policies: Vec<f32>,
    /// Masks to be added to the logits, `[rows, actions]`: 0 for legal moves and a large negative number for the
    /// others.
    pub masks: Vec<f32>,
    /// Weights of the rows in the policy loss, `[rows]`.
    pub policy_weights: Vec<f32>,
    /// Value targets, `[rows, 3]`: shares of win, draw and loss for the player to move.
    pub outcomes: Vec<f32>,
    /// Length targets, `[rows]`: plies to the end of the game, as shares of the longest game's.
    pub lengths: Vec<f32>,
    /// Mean entropy of the policy targets, weighted as in the policy loss, in nats.
    pub policy_floor: f32,
}

impl TrainingBatch {
    /// A batch of `rows` rows, which are the rows of this batch again and again.
    ///
    /// # Panics
    /// If this batch has no rows.
    #[must_use]
    pub fn repeated(&self, rows: usize) -> Self {
        let again = |numbers: &[f32]| {
            let size = numbers.len() / self.rows;
            numbers.iter().copied().cycle().take(rows * size).collect()
        };
        Self {
            rows,
            planes: again(&self.planes),
            policies: again(&self.policies),
            masks: again(&self.masks),
            policy_weights: again(&self.policy_weights),
            outcomes: again(&self.outcomes),
            lengths: again(&self.lengths),
            ..*self
        }
    }
}

/// The number added to the logits of illegal moves: their probability becomes 0 without infinities in the gradient.
const ILLEGAL: f32 = -1e9;

/// The settings with which batches are drawn from the replay buffer.
#[derive(Resource, Clone, Debug)]
pub struct Sampling(pub ReplayConfig);

/// Draws the next batch. At the first step of a generation, it also fixes the number of steps and prepares the dataset.
pub fn sample(
    mut buffer: ResMut<ReplayBuffer>,
    sampling: Res<Sampling>,
    mut learner: ResMut<Learner>,
    mut batch: ResMut<TrainingBatch>,
    failure: Res<Failure>,
) {
    if buffer.is_empty() {
        failure.set(Error::NothingToLearn);
        return;
    }
    let learner = &mut *learner;
    if learner.is_idle() {
        learner.begin(*buffer.total());
        buffer.prepare(&sampling.0);
    }
    fill(&mut batch, &buffer, learner);
    let course = learner.course.as_mut().expect("begun at the first step");
    course.sums.policy_floor += f64::from(batch.policy_floor);
}

fn fill(batch: &mut TrainingBatch, buffer: &ReplayBuffer, learner: &mut Learner) {
    let rows = learner.config.batch_size;
    let config = &learner.config;
    let game = buffer.info();
    let (input, actions) = (game.input(), game.actions);
    let rng = &mut learner.course.as_mut().expect("begun at the first step").rng;
    // All draws come from one generator in order; only the work that follows is spread over threads.
    let draws: Vec<(usize, usize)> = (0..rows)
        .map(|_| {
            let entry = buffer.draw(rng);
            (entry, if config.symmetries { rng.below(game.symmetries) } else { 0 })
        })
        .collect();
    batch.rows = rows;
    batch.shape = game.shape();
    batch.actions = actions;
    batch.planes.resize(rows * input, 0.0);
    batch.policies.resize(rows * actions, 0.0);
    batch.masks.resize(rows * actions, 0.0);
    batch.policy_weights.resize(rows, 0.0);
    batch.outcomes.resize(rows * 3, 0.0);
    batch.lengths.resize(rows, 0.0);
    batch
        .planes
        .par_chunks_exact_mut(input)
        .zip(batch.policies.par_chunks_exact_mut(actions))
        .zip(batch.masks.par_chunks_exact_mut(actions))
        .zip(batch.policy_weights.par_iter_mut())
        .zip(batch.outcomes.par_chunks_exact_mut(3))
        .zip(batch.lengths.par_iter_mut())
        .zip(&draws)
        .with_min_len(64)
        .for_each(|((((((planes, policy), mask), weight), outcomes), length), &(entry, symmetry))| {
            policy.fill(0.0);
            mask.fill(ILLEGAL);
            let targets = buffer.row(entry, symmetry, planes, policy, mask);
            *weight = targets.policy_weight;
            *length = targets.length;
            let q = targets.root_value.clamp(-1.0, 1.0);
            let searched = [q.max(0.0), 1.0 - q.abs(), (-q).max(0.0)];
            for ((outcome, played), searched) in outcomes.iter_mut().zip(targets.outcomes).zip(searched) {
                *outcome = played + config.search_value_share * (searched - played);
            }
        });
    let entropy = |(policy, weight): (&[f32], &f32)| -> f32 {
        weight * policy.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum::<f32>()
    };
    let entropies = batch.policies.chunks_exact(actions).zip(&batch.policy_weights).map(entropy);
    batch.policy_floor = entropies.sum::<f32>() / batch.policy_weights.iter().sum::<f32>().max(1.0);
}
