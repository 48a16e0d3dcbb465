//! Every device that this build has: it evaluates as the fused kernels do, and a run on it learns, stops and goes on.

use crate::{
    networks::{batch, trained},
    small,
};
use lockstep::{
    device::{self, Place},
    folder::Folder,
    prelude::*,
    trainer,
};
use lockstep_systems::{Evaluations, FusedEvaluator};

/// The devices of burn. The tests of the whole program cover the fused kernels.
fn devices() -> Vec<(DeviceKind, Place)> {
    let kinds = [DeviceKind::Flex, DeviceKind::Cuda(0), DeviceKind::Vulkan(0)];
    kinds.into_iter().filter_map(|kind| Some((kind, device::place(kind).ok()?))).collect()
}

#[test]
fn devices_evaluate_alike() {
    for kind in ["network.kind=resnet", "network.kind=mlp"] {
        let network = trained(&[kind]);
        let batches = [5, 33, 64].map(batch::<ConnectFour>);
        let mut fused = FusedEvaluator::new(&network.frozen()).unwrap();
        let expected = batches.each_ref().map(|batch| evaluate(&mut fused, batch));
        for (kind, place) in devices() {
            let mut evaluator = place.evaluators::<ConnectFour>(64).0(&network);
            // Two batches in flight, and the first answers first.
            for two in 0..2 {
                evaluator.submit(&batches[two]).unwrap();
                evaluator.submit(&batches[two + 1]).unwrap();
                for i in [two, two + 1] {
                    let rows = batches[i].rows;
                    let mut out = Evaluations::new(64, 7);
                    evaluator.receive(&mut out).unwrap();
                    assert!(out.computed >= rows);
                    let pairs = out.logits[..7 * rows].iter().zip(&expected[i].logits);
                    for (a, b) in pairs.chain(out.values[..rows].iter().zip(&expected[i].values)) {
                        assert!((a - b).abs() < 2e-3 * b.abs().max(1.0), "{kind:?}: {a} where it should be {b}");
                    }
                }
            }
        }
    }
}

fn evaluate(evaluator: &mut dyn Evaluator, batch: &lockstep_systems::Batch) -> Evaluations {
    let mut out = Evaluations::new(batch.rows, 7);
    evaluator.submit(batch).unwrap();
    evaluator.receive(&mut out).unwrap();
    out
}

#[test]
fn devices_learn_and_resume() {
    for (kind, place) in devices() {
        let config =
            small(&["run.generations=3", "learn.steps={ batches = 40 }", "network.kind=resnet", "run.games=60"]);
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path());
        let mut losses = vec![];
        while losses.len() < 3 {
            // Each generation in a process of its own, as it were, with a stop in the middle.
            let mut run: Trainer<TicTacToe> = trainer::open(&config, &place, &folder, None).unwrap();
            for _ in 0..400 {
                if let trainer::Advance::Generation(generation, _) = run.advance().unwrap() {
                    losses.push(generation.policy_loss - generation.policy_floor);
                }
                if run.is_finished() {
                    break;
                }
            }
            run.save(&folder, &place).unwrap();
        }
        assert!(losses.iter().all(|loss| loss.is_finite()), "{kind:?}: {losses:?}");
        assert!(losses[2] < losses[0], "{kind:?} does not learn: {losses:?}");
    }
}
