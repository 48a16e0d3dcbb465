//! Networks: frozen copies agree with what is trained, weights come back as they were, NaN stops a run.

use crate::small;
use lockstep::{device, prelude::*};
use lockstep_components::config::{LearnPrecision, Precision};
use lockstep_fused::ExactNetwork;
use lockstep_systems::{Batch, BurnEvaluator, BurnOptions, Error, Evaluations, FusedEvaluator, Level, Workers};

/// Returns a network after some steps, so that its running statistics are not the initial ones.
pub fn trained(network: &[&str]) -> Network {
    let config = small(&[&["game.name=connect_four", "run.generations=1", "run.games=8"], network].concat());
    let mut run = Trainer::new(
        AnyGame::of::<ConnectFour>(),
        &config,
        &device::place(DeviceKind::Cpu).unwrap(),
        &Hooks::default(),
    );
    while !run.is_finished() {
        run.advance().unwrap();
    }
    run.learning.resource::<Learner>().network.clone()
}

#[test]
fn frozen_networks_agree_with_trained_ones() {
    use burn::{module::Module, tensor::TensorData};
    let place = device::place(DeviceKind::Cpu).unwrap();
    for kind in [
        &["network.kind=resnet"][..],
        &["network.kind=mlp"],
        &["network.kind=resnet", "network.length_head=true"],
        &["network.kind=resnet", "network.squeeze=4"],
        &["network.kind=resnet", "network.squeeze=4", "network.length_head=true"],
    ] {
        let network = trained(kind);
        let rows = 33;
        let batch = Batch::random(&AnyGame::of::<ConnectFour>().info, rows);
        let planes = TensorData::new(batch.planes.clone(), [rows, 2, 6, 7]);
        let outputs =
            network.valid().forward(burn::tensor::Tensor::from_data(planes, &place.device), LearnPrecision::F32, false);
        let logits: Vec<f32> = outputs[0].clone().into_data().try_into_vec().unwrap();
        let wdl: Vec<f32> =
            burn::tensor::activation::softmax(outputs[1].clone(), 1).into_data().try_into_vec().unwrap();
        // Also with padding, as on a GPU.
        let weights = network.frozen();
        let exact = ExactNetwork::new(&weights);
        for (row, logits) in logits.chunks(7).enumerate() {
            let found = &exact.row(&batch.planes[row * 84..(row + 1) * 84])[0];
            assert!(found.iter().zip(logits).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-4), "{kind:?}");
        }
        // Bounds of the errors, as shares of the largest logit, from the bits of the mantissas.
        let mut evaluators: Vec<(Box<dyn Evaluator>, usize, f32)> = vec![];
        for (precision, close) in [(Precision::F32, 1e-4), (Precision::F16, 0.02), (Precision::Bf16, 0.1)] {
            for (board, pointwise) in [(false, false), (true, false), (false, true)] {
                for (batch_sizes, computed) in [(vec![], 33), (vec![16, 64], 64)] {
                    let options = BurnOptions { batch_sizes, precision, board, pointwise, part: 0 };
                    let burn = BurnEvaluator::new(&weights, &place.device, options.clone());
                    assert_eq!(burn.capabilities().precision, precision);
                    evaluators.push((Box::new(burn), computed, close));
                    let (weights, device) = (weights.clone(), place.device.clone());
                    let make = move || BurnEvaluator::new(&weights, &device, options.clone());
                    evaluators.push((Box::new(Workers::new(2, 7, make)), computed, close));
                }
            }
        }
        for (precision, close) in [(Precision::F32, 1e-4), (Precision::Int16, 1e-2)] {
            let fused = FusedEvaluator::with_options(&weights, precision, Level::default());
            evaluators.push((Box::new(fused.expect("the kernels have all operations")), 33, close));
        }
        for (mut evaluator, computed, close) in evaluators {
            let close = close * logits.iter().fold(1.0, |most: f32, x| most.max(x.abs()));
            let mut out = Evaluations::new(rows, 7);
            evaluator.evaluate(&batch, &mut out).unwrap();
            assert_eq!(out.computed, computed);
            for (a, b) in out.logits.iter().zip(&logits) {
                assert!((a - b).abs() < close, "{kind:?}: logit {a} and {b}");
            }
            for (value, wdl) in out.values.iter().zip(wdl.chunks(3)) {
                assert!((value - (wdl[0] - wdl[2])).abs() < close, "{kind:?}: value {value} and {wdl:?}");
            }
        }
    }
}

/// On the CPU a row's answer does not depend on its batch, whoever computes it.
#[test]
fn rows_do_not_depend_on_their_batch() {
    for overrides in [
        &["network.squeeze=4"][..],
        &["run.device=flex", "network.squeeze=4"],
        &["run.device=flex", "network.kind=mlp"],
        &["run.device=flex"],
        &[],
    ] {
        // Wide enough for sums that burn cuts where the batch is long.
        let wide = ["game.name=connect_four", "network.kind=resnet", "network.channels=32", "network.head_channels=16"];
        let config = small(&[&wide[..], overrides].concat());
        let place = device::place_of(&config).unwrap();
        let network = Network::init(&GameInfo::of::<ConnectFour>(), &config.network, 3, &place.device);
        let batch = Batch::random(&AnyGame::of::<ConnectFour>().info, 300);
        let answers = |rows: std::ops::Range<usize>| {
            let mut evaluator = place.evaluators(AnyGame::of::<ConnectFour>(), 300).0(&network);
            assert!(evaluator.capabilities().rows_are_independent);
            let mut some = Batch::random(&AnyGame::of::<ConnectFour>().info, rows.len());
            some.planes.copy_from_slice(&batch.planes[rows.start * 84..rows.end * 84]);
            let mut out = Evaluations::new(rows.len() + 1, 7);
            evaluator.evaluate(&some, &mut out).unwrap();
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            (bits(&out.logits[..rows.len() * 7]), bits(&out.values[..rows.len()]))
        };
        let (logits, values) = answers(0..300);
        for rows in [0..1, 5..7, 3..20, 0..64, 10..75, 100..229, 299..300] {
            let (some, of_some) = answers(rows.clone());
            assert!(some == logits[rows.start * 7..rows.end * 7], "{overrides:?}: rows {rows:?}");
            assert!(of_some == values[rows.clone()], "{overrides:?}: rows {rows:?}");
        }
    }
}

#[test]
fn weights_round_trip_and_misfits_are_named() {
    let device = device::place(DeviceKind::Cpu).unwrap().device;
    let network = trained(&["network.kind=resnet"]);
    let tensors = network.tensors();
    let fresh = || Network::init(&GameInfo::of::<ConnectFour>(), &small(&["network.kind=resnet"]).network, 9, &device);
    assert_ne!(fresh().tensors(), tensors);
    assert_eq!(fresh().with_tensors(tensors.clone()).unwrap().tensors(), tensors);
    let message = |tensors| fresh().with_tensors(tensors).unwrap_err().to_string();
    assert!(message(tensors[1..].to_vec()).contains("missing"));
    let mut wrong = tensors.clone();
    wrong[0].shape[0] += 1;
    assert!(message(wrong).contains("of shape"));
    let mut wrong = tensors.clone();
    wrong[0].name = "other".into();
    assert!(message(wrong).contains(&tensors[0].name));
}

/// An evaluator whose answers are NaN from some tick on.
struct Broken(u32);

impl Evaluator for Broken {
    fn submit(&mut self, _: &Batch) -> Result<(), Error> {
        self.0 += 1;
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        out.values.fill(if self.0 > 3 { f32::NAN } else { 0.0 });
        Ok(())
    }
}

#[test]
fn nan_stops_the_tick_and_stays() {
    let lanes = LanesConfig { count: 4, ..Default::default() };
    let search = SearchConfig { cache_mb: 0, ..Default::default() };
    let mut world = Setup::self_play(AnyGame::of::<TicTacToe>(), Searcher::new(Broken(0), search)).lanes(lanes).build();
    // The first tick has nothing to evaluate yet.
    for _ in 0..4 {
        run_tick(&mut world).unwrap();
    }
    for _ in 0..2 {
        let error = run_tick(&mut world).unwrap_err();
        assert!(matches!(error, Error::EvaluationNotFinite { rows: 4, .. }), "{error}");
    }
}

#[test]
fn a_nan_loss_stops_the_run() {
    let mut config = small(&["run.generations=5"]);
    config.learn.learning_rate = 1e30;
    config.learn.gradient_clip = 0.0;
    let mut run =
        Trainer::new(AnyGame::of::<TicTacToe>(), &config, &device::place(DeviceKind::Cpu).unwrap(), &Hooks::default());
    let error = loop {
        assert!(!run.is_finished(), "such a learning rate cannot end well");
        if let Err(error) = run.advance() {
            break error.to_string();
        }
    };
    assert!(error.contains("not finite") && error.contains("learning_rate"), "{error}");
}
