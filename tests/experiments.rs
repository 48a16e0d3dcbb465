//! The examples run, and stay short.

#[path = "../examples/archive.rs"]
mod archive;
#[path = "../examples/by_hand.rs"]
mod by_hand;
#[path = "../examples/evaluator.rs"]
mod evaluator;
#[path = "../examples/policy.rs"]
mod policy;
#[path = "../examples/root_entropy.rs"]
mod root_entropy;
#[path = "../examples/trainer.rs"]
mod trainer;
#[path = "../examples/two_agents.rs"]
mod two_agents;
#[path = "../examples/value_target.rs"]
mod value_target;

use lockstep::prelude::*;

#[test]
fn by_hand_runs() {
    by_hand::main().unwrap();
}

#[test]
fn root_entropy_runs() {
    root_entropy::main().unwrap();
}

#[test]
fn policy_runs() {
    policy::main().unwrap();
}

#[test]
fn evaluator_runs() {
    evaluator::main().unwrap();
}

#[test]
fn two_agents_runs() {
    two_agents::main().unwrap();
}

#[test]
fn trainer_runs() {
    trainer::main().unwrap();
}

#[test]
fn archive_runs() {
    archive::main().unwrap();
}

#[test]
fn value_target_runs() {
    value_target::main().unwrap();
}

/// An evaluator that fails after so many batches.
struct Failing(Uniform, u32);

impl Evaluator for Failing {
    fn submit(&mut self, batch: &Batch) -> Result<(), systems::Error> {
        self.1 = self.1.checked_sub(1).ok_or_else(|| systems::Error::of_device("evaluating", "it is gone".into()))?;
        self.0.submit(batch)
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), systems::Error> {
        self.0.receive(out)
    }
}

#[test]
fn games_that_have_ended_before_an_error_are_not_lost() {
    let search = SearchConfig { simulations: 8, ..SearchConfig::default() };
    let player = Searcher::new(Failing(Uniform::default(), 200), search);
    let mut world = Setup::self_play(AnyGame::of::<TicTacToe>(), player)
        .lanes(LanesConfig { count: 8, ..Default::default() })
        .build();
    assert!(play_games(&mut world, 1_000).is_err());
    let ended = world.resource::<Stats>().games;
    let kept: Vec<_> = std::iter::from_fn(|| play_games(&mut world, 1).ok()?.pop()).collect();
    let numbers = kept.iter().map(|game| game.id.unwrap().number);
    assert!(numbers.eq(0..kept.len() as u64));
    // Eight lanes: fewer than eight have ended behind one that has not.
    assert!(ended > 16 && kept.len() as u64 <= ended && ended < kept.len() as u64 + 8, "{} of {ended}", kept.len());
}

#[test]
fn examples_stay_under_sixty_lines() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|l| !l.trim().is_empty() && !l.trim().starts_with("//")).count();
            assert!(code < 60, "{} has {code} lines", path.display());
        }
    }
}
