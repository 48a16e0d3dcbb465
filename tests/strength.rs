//! The strength of a run is measured beside it, and nothing of the run knows that.

use crate::small;
use lockstep::{
    AnyGame, Hooks,
    analyst::{Contender, Player},
    checkpoint, device,
    folder::Folder,
    games,
    insight::{
        examiner::{Examiner, anchors},
        strength::Strength,
    },
    metrics::{self, Metrics},
    session::{Limit, Room, Table},
    trainer::{self, Event, Trainer},
};
use lockstep_components::{Config, config::DeviceKind};
use std::fs;

/// A run in a folder, with its examiner if it has one.
struct Measured {
    game: AnyGame,
    config: Config,
    folder: Folder,
    run: Trainer,
    examiner: Option<Examiner>,
}

impl Measured {
    fn open(config: &Config, folder: &Folder, measured: bool) -> Self {
        let game = games::named(&config.game.name).unwrap();
        let place = device::place(DeviceKind::Cpu).unwrap();
        let run = trainer::open(game, config, &place, folder, None, &Hooks::default()).unwrap();
        let examiner = measured.then(|| Examiner::open(game, config, &place, folder, &run).unwrap());
        Self { game, config: config.clone(), folder: folder.clone(), run, examiner }
    }

    /// Goes on to the end of one more generation, and returns the metrics with more time than any measurement takes.
    fn generation(&mut self) -> Metrics {
        loop {
            if let Event::Generation(metrics, _) = self.run.advance().unwrap() {
                metrics::append(&self.folder.metrics(), &*metrics).unwrap();
                self.run.save(&self.folder).unwrap();
                return Metrics { seconds: 1e9, ..*metrics };
            }
        }
    }

    fn measure(&mut self, metrics: &Metrics, stop: bool) -> Option<Strength> {
        let examiner = self.examiner.as_mut().expect("it is measured");
        examiner.generation(&self.run, &self.config, metrics, &|| stop).unwrap().cloned()
    }
}

/// Returns a line without what the clock has made of it.
fn timeless(line: &Strength) -> Strength {
    Strength { seconds: 0.0, cpu_seconds: 0.0, grading_seconds: 0.0, ..line.clone() }
}

fn tower() -> Config {
    small(&["network.kind=resnet", "network.channels=8", "network.blocks=1", "run.generations=4", "run.checkpoints=9"])
}

#[test]
fn measuring_changes_nothing_and_comes_out_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let folders = ["measured", "not", "stopped"].map(|name| Folder::at(&dir.path().join(name)));
    let [mut measured, mut not, mut stopped] =
        [(0, true), (1, false), (2, true)].map(|(at, is)| Measured::open(&tower(), &folders[at], is));
    for generation in 1..=4u64 {
        let metrics = measured.generation();
        let line = measured.measure(&metrics, false).expect("there is time");
        assert_eq!((line.generation, line.games, line.mistakes.len()), (generation, 30 * generation, 3));
        assert!(line.mistakes.iter().all(|mistakes| mistakes.positions == 240 && mistakes.mistakes < 200), "{line:?}");
        assert!(line.divergence > 0.0 && line.relative_entropy > 0.1 && line.by_ply[0].ply == 0, "{line:?}");
        let floor_is_below = line.by_ply.iter().all(|losses| losses.floor <= losses.policy + 1e-6);
        assert!(floor_is_below && line.calibration.iter().map(|bin| bin.positions).sum::<u64>() > 100, "{line:?}");
        not.generation();
        let metrics = stopped.generation();
        // One that is stopped leaves no line; another process measures the next generation alike.
        if generation == 2 {
            assert_eq!(stopped.measure(&metrics, true), None);
            let (config, folder) = (tower(), folders[2].clone());
            drop(stopped);
            stopped = Measured::open(&config, &folder, true);
        } else {
            let again = stopped.measure(&metrics, false).expect("there is time");
            let mut expected = timeless(&line);
            if generation == 3 {
                // It does not know what the network before has preferred.
                (expected.agreement, expected.skipped) = (None, vec![2]);
            }
            assert_eq!(timeless(&again), expected);
        }
    }
    let weights = [&mut measured, &mut not].map(|one| {
        let tensors = one.run.saved().unwrap().tensors;
        tensors.iter().flat_map(|t| t.data.iter().map(|x| x.to_bits())).collect::<Vec<u32>>()
    });
    assert_eq!(weights[0], weights[1]);
    for round in 1..=4 {
        let games = [0, 1].map(|at| fs::read(folders[at].log().join(format!("{round:06}.games"))).unwrap());
        assert!(games[0] == games[1], "round {round}");
    }
    assert_eq!(Strength::load(&folders[0]).unwrap(), measured.examiner.unwrap().lines());
    // A run that goes on from an earlier generation measures the later ones again.
    let lines = Strength::load(&folders[0]).unwrap();
    for later in 3..=4 {
        fs::remove_dir_all(folders[0].checkpoints().join(later.to_string())).unwrap();
    }
    drop(measured.run);
    let again = Measured::open(&tower(), &folders[0], true);
    assert_eq!(again.examiner.unwrap().lines(), &lines[..2]);
    assert_eq!(Strength::load(&folders[0]).unwrap(), lines[..2]);
}

#[test]
fn a_share_of_0_measures_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(dir.path());
    let mut config = tower();
    config.run.grade_share = 0.0;
    let mut run = Measured::open(&config, &folder, true);
    let metrics = run.generation();
    assert_eq!(run.measure(&metrics, false), None);
    assert!(!folder.strength().exists());
    // Nor does a generation that was over before a line could be measured.
    config.run.grade_share = 0.03;
    run.config = config;
    let metrics = run.generation();
    assert_eq!(run.measure(&Metrics { seconds: 1e-9, ..metrics.clone() }, false), None);
    assert_eq!(run.measure(&metrics, false).map(|line| line.skipped), Some(vec![1]));
}

/// Where no exact results are known, the player plays those of earlier generations.
#[test]
fn a_player_without_an_oracle_plays_for_its_strength() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(&dir.path().join("run"));
    let names = ["game.name=gomoku9", "network.kind=resnet", "network.channels=4", "network.blocks=1"];
    let config = small(&[&names[..], &["run.grade_simulations=6", "run.games=16"]].concat());
    let mut run = Measured::open(&config, &folder, true);
    if !lockstep::oracle::built_in(run.game).is_empty() {
        panic!("the test wants a game without an oracle");
    }
    let metrics = run.generation();
    let line = run.measure(&metrics, false).unwrap();
    let played = line.played.clone().expect("it has played");
    assert_eq!((&played.against[..], line.mistakes.len()), ("rollout", 0));
    assert!((20..=32).contains(&played.results.iter().sum::<u64>()), "{played:?}");
    assert!(played.interval[0] <= played.elo && played.elo <= played.interval[1], "{played:?}");
    // Against itself a player is as strong as it is.
    let tensors = run.run.network().tensors();
    checkpoint::write_weights(&folder.anchor(1), run.game, &config, &tensors).unwrap();
    let again = run.measure(&metrics, false).unwrap().played.expect("it has played");
    assert_eq!(again.against, "generation 1");
    assert!(again.interval[0] <= played.elo && played.elo <= again.interval[1], "{again:?} {played:?}");
    // What it plays against is a player that can be used.
    assert!(Player::open(&folder.anchor(1), None).is_ok());
    // A fork has it too, and a generation that will be made again is nothing to be measured against.
    fs::copy(folder.anchor(1), folder.anchor(2)).unwrap();
    drop(run);
    let fork = Folder::at(&dir.path().join("fork"));
    lockstep::insight::fork::fork(folder.path(), Some(1), fork.path(), &[]).unwrap();
    assert_eq!(anchors(&fork), [1]);
    drop(Measured::open(&config, &folder, true));
    assert_eq!(anchors(&folder), [1]);
}

/// The network says of a position what a search takes from it: searches ask about the canonical form.
#[test]
fn evaluations_are_those_of_searches() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(dir.path());
    let mut run = Measured::open(&tower(), &folder, false);
    run.generation();
    let contender = Contender::of(Player::open(dir.path(), None).unwrap());
    let room = Room { simulations: 2, leaves_per_tree: 1, ..Room::default() };
    let mut session = Table::open(&contender, room).unwrap().session().unwrap();
    for position in ["", "c3", "a3", "b1 c2", "c1 b3 a2", "a1 c3 b2 a3"] {
        session.set(position).unwrap();
        let (evaluated, found) =
            (session.evaluate().unwrap(), session.search(&Limit::simulations(1), |_| true).unwrap());
        let priors: Vec<(u16, f32)> = found.moves.iter().map(|of| (of.action, of.prior)).collect();
        assert_eq!(priors.len(), evaluated.policy.len());
        for (prior, own) in priors.iter().zip(&evaluated.policy) {
            // Edges keep a prior in 16 bits.
            let is_close = (prior.1 - own.1).abs() < 0.005 * own.1;
            assert!(prior.0 == own.0 && is_close, "{position}: {priors:?} {evaluated:?}");
        }
    }
}
