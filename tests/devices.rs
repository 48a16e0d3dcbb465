//! Every device that this build has: it evaluates as the fused kernels do, and a run on it learns, stops and goes on.

use crate::{networks::trained, small};
use lockstep::{
    device::{self, Place},
    folder::Folder,
    measure,
    prelude::*,
    trainer,
};
use lockstep_components::config::Precision;
use lockstep_systems::{Evaluations, FusedEvaluator};

/// Returns the devices of burn. The tests of the whole program cover the fused kernels.
fn devices() -> Vec<(DeviceKind, Place)> {
    let kinds = [DeviceKind::Flex, DeviceKind::Cuda(0), DeviceKind::Vulkan(0)];
    kinds.into_iter().filter_map(|kind| Some((kind, device::place(kind).ok()?))).collect()
}

#[test]
fn devices_evaluate_alike() {
    // The last one has what upstream kernels have been wrong about: 96 channels in `f16`, and 1x1 convolutions to odd numbers.
    let odd = ["network.kind=resnet", "network.channels=96", "network.blocks=1", "network.head_channels=5"];
    // Over the whole board it would be large, and has no such convolutions.
    let both = &[false, true][..];
    for (keys, boards) in [(&["network.kind=resnet"][..], both), (&["network.kind=mlp"], &[false]), (&odd, &[false])] {
        let network = trained(keys);
        let batches = [5, 33, 64].map(|rows| Batch::random(&AnyGame::of::<ConnectFour>().info, rows));
        let mut fused = FusedEvaluator::new(&network.frozen()).unwrap();
        let expected = batches.each_ref().map(|batch| evaluate(&mut fused, batch));
        for (kind, place) in devices() {
            for precision in place.precisions() {
                // As shares of the largest number, from the bits of the mantissas.
                let close = match precision {
                    Precision::Bf16 => 0.1,
                    Precision::F16 | Precision::Tf32 => 0.02,
                    _ => 2e-3,
                };
                for &board in boards {
                    let place = Place { precision, board, ..place.clone() };
                    let mut evaluator = place.evaluators(AnyGame::of::<ConnectFour>(), 64).0(&network);
                    // Two batches in flight, and the first answers first.
                    for two in 0..2 {
                        evaluator.submit(&batches[two]).unwrap();
                        evaluator.submit(&batches[two + 1]).unwrap();
                        for i in [two, two + 1] {
                            let (rows, right) = (batches[i].rows, &expected[i]);
                            let mut out = Evaluations::new(64, 7);
                            evaluator.receive(&mut out).unwrap();
                            assert!(out.computed >= rows);
                            let largest = right.logits.iter().fold(1.0, |most: f32, x| most.max(x.abs()));
                            let pairs = out.logits[..7 * rows].iter().zip(&right.logits);
                            for (a, b) in pairs.chain(out.values[..rows].iter().zip(&right.values)) {
                                let error = (a - b).abs() / largest;
                                assert!(error < close, "{kind:?}, {precision:?}, {board}: {a} and not {b}");
                            }
                        }
                    }
                }
            }
        }
    }
}

fn evaluate(evaluator: &mut dyn Evaluator, batch: &lockstep_systems::Batch) -> Evaluations {
    let mut out = Evaluations::new(batch.rows, 7);
    evaluator.evaluate(batch, &mut out).unwrap();
    out
}

#[test]
fn devices_learn_and_resume() {
    for (kind, place) in devices() {
        for precision in ["learn.precision=f32", "learn.precision=bf16"] {
            if precision.ends_with("bf16") && !place.device.supports_dtype(burn::tensor::DType::BF16) {
                continue;
            }
            let keys =
                ["run.generations=3", "learn.steps={ batches = 40 }", "network.kind=resnet", "run.games=60", precision];
            let config = small(&keys);
            let dir = tempfile::tempdir().unwrap();
            let folder = Folder::at(dir.path());
            let mut losses = vec![];
            while losses.len() < 3 {
                // Each generation in a process of its own, as it were, with a stop in the middle.
                let mut run =
                    trainer::open(AnyGame::of::<TicTacToe>(), &config, &place, &folder, None, &Hooks::default())
                        .unwrap();
                for _ in 0..400 {
                    if let trainer::Event::Generation(generation, _) = run.advance().unwrap() {
                        losses.push(generation.policy_loss - generation.policy_floor);
                    }
                    if run.is_finished() {
                        break;
                    }
                }
                run.save(&folder).unwrap();
            }
            assert!(losses.iter().all(|loss| loss.is_finite()), "{kind:?}, {precision}: {losses:?}");
            assert!(losses[2] < losses[0], "{kind:?}, {precision} does not learn: {losses:?}");
        }
    }
}

/// Evaluating and learning on and on takes no more of a device's memory.
#[test]
fn memory_does_not_grow() {
    for (kind, place) in devices() {
        if place.reserved().is_none() {
            println!("skipped on {kind:?}: it does not tell how much memory it has reserved");
            continue;
        }
        let config = small(&["network.kind=resnet", "search.cache_mb=0"]);
        let mut world = device::check::learner_world(AnyGame::of::<TicTacToe>(), &config, &place, 20).unwrap();
        let network = world.resource::<Learner>().network.clone();
        let factory = place.evaluators(AnyGame::of::<TicTacToe>(), 64);
        let mut evaluator = None;
        let (batch, mut out) = (Batch::random(&AnyGame::of::<TicTacToe>().info, 64), Evaluations::new(64, 9));
        let mut reserved = vec![];
        for _ in 0..4 {
            // As after each generation.
            let evaluator = evaluator.insert(factory.0(&network));
            for _ in 0..30 {
                measure::step(&mut world, &place).unwrap();
                evaluator.evaluate(&batch, &mut out).unwrap();
            }
            reserved.push(place.reserved().unwrap());
        }
        assert_eq!(reserved[2], reserved[3], "{kind:?}: {reserved:?}");
    }
}

/// Kernels that were tuned are there for the next process.
#[cfg(feature = "vulkan")]
#[test]
fn kernels_are_kept() {
    use crate::{lockstep, text};
    let dir = tempfile::tempdir().unwrap();
    let train = |generations: &str| {
        let keys = ["network.kind=resnet", "network.channels=16", "run.games=50", "run.device=vulkan", generations];
        let set = keys.map(|key| ["--set", key]);
        let own = ["--set", "run.own_kernels=true", "--run", "run"];
        let start = std::time::Instant::now();
        let output = lockstep(dir.path(), &[&["train"], set.as_flattened(), &own].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        start.elapsed()
    };
    let first = train("run.generations=1");
    let kept = std::fs::read_dir(dir.path().join("run/kernels")).unwrap().count();
    assert!(kept > 0);
    let second = train("run.generations=2");
    println!("with tuning {first:?}, without {second:?}");
    assert!(second < first / 2, "they were tuned again: {first:?}, then {second:?}");
}
