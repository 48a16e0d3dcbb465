//! The losses of the heads and their gradients, on plain arrays, for every way to compute the network's gradients.

use super::TrainingBatch;
use lockstep_components::config::LearnConfig;
use lockstep_fused::HeadKind;
use std::ops::Range;

/// The weight of a head's loss in the sum of all.
pub(super) fn weight_of(kind: HeadKind, config: &LearnConfig) -> f32 {
    match kind {
        HeadKind::Policy => 1.0,
        HeadKind::Outcome | HeadKind::Value => config.value_weight,
        HeadKind::Length => config.length_weight,
    }
}

/// The share of `rows` in the mean loss of a head over the batch. The gradient of that share, times `weight`, replaces
/// the head's raw `outputs`.
///
/// The loss of the policy is the cross-entropy with the search's visits over the legal moves, a mean over the rows that
/// have visits. The loss of the value is the squared error, or the cross-entropy over win, draw and loss, a mean over
/// all rows. The loss of the length is the cross-entropy with its share, also a mean over all rows.
pub(super) fn loss(kind: HeadKind, batch: &TrainingBatch, rows: Range<usize>, outputs: &mut [f32], weight: f32) -> f64 {
    let width = outputs.len() / rows.len();
    let rate = weight / batch.rows as f32;
    let policy_weights: f32 = batch.policy_weights.iter().sum::<f32>().max(1.0);
    let mut sum = 0.0;
    for (row, outputs) in rows.zip(outputs.chunks_exact_mut(width)) {
        let outcome = &batch.outcomes[row * 3..(row + 1) * 3];
        sum += match kind {
            HeadKind::Policy => {
                let target = &batch.policies[row * width..(row + 1) * width];
                let mask = &batch.masks[row * width..(row + 1) * width];
                outputs.iter_mut().zip(mask).for_each(|(logit, mask)| *logit += mask);
                let share = batch.policy_weights[row] / policy_weights;
                f64::from(share) * cross_entropy(outputs, target, weight * share)
            }
            HeadKind::Outcome => cross_entropy(outputs, outcome, rate),
            HeadKind::Value => {
                let value = outputs[0].tanh();
                let error = value - (outcome[0] - outcome[2]);
                outputs[0] = rate * 2.0 * error * (1.0 - value * value);
                f64::from(error * error)
            }
            HeadKind::Length => {
                let (x, share) = (outputs[0], batch.lengths[row]);
                outputs[0] = rate * (1.0 / (1.0 + (-x).exp()) - share);
                // `-share * ln(sigmoid(x)) - (1 - share) * ln(1 - sigmoid(x))` without large numbers.
                f64::from(x.max(0.0) - share * x + (-x.abs()).exp().ln_1p())
            }
        };
    }
    if kind == HeadKind::Policy { sum } else { sum / batch.rows as f64 }
}

/// Returns `-sum(target * log_softmax(logits))`. Its gradient, times `weight`, replaces the logits.
fn cross_entropy(logits: &mut [f32], target: &[f32], weight: f32) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|x| (x - highest).exp()).sum();
    let total: f32 = target.iter().sum();
    let log_sum = sum.ln();
    let mut loss = 0.0;
    for (logit, target) in logits.iter_mut().zip(target) {
        let log = *logit - highest - log_sum;
        if *target > 0.0 {
            loss -= f64::from(target * log);
        }
        *logit = weight * (total * log.exp() - target);
    }
    // A number that is not finite must not get lost where there is no target.
    if sum.is_finite() { loss } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gradients against differences of the loss.
    #[test]
    fn gradients_are_slopes() {
        let batch = TrainingBatch {
            rows: 3,
            actions: 4,
            masks: [0.0, 0.0, -1e9, 0.0].repeat(3),
            policies: vec![0.5, 0.25, 0.0, 0.25, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            policy_weights: vec![1.0, 0.5, 0.0],
            outcomes: vec![1.0, 0.0, 0.0, 0.25, 0.5, 0.25, 0.0, 0.0, 1.0],
            lengths: vec![0.9, 0.5, 0.1],
            ..TrainingBatch::default()
        };
        for (kind, width) in
            [(HeadKind::Policy, 4), (HeadKind::Outcome, 3), (HeadKind::Value, 1), (HeadKind::Length, 1)]
        {
            let outputs: Vec<f32> = (0..2 * width).map(|i| (i as f32 * 1.7).sin()).collect();
            let of = |outputs: &[f32]| loss(kind, &batch, 1..3, &mut outputs.to_vec(), 0.7);
            let mut gradient = outputs.clone();
            assert!(loss(kind, &batch, 1..3, &mut gradient, 0.7) > 0.0);
            for i in 0..outputs.len() {
                let at = |by: f32| {
                    let mut moved = outputs.clone();
                    moved[i] += by;
                    of(&moved)
                };
                let slope = 0.7 * (at(1e-2) - at(-1e-2)) / 2e-2;
                assert!((slope - f64::from(gradient[i])).abs() < 1e-4, "{kind:?} {i}: {slope} {}", gradient[i]);
            }
        }
    }
}
