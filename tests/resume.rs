//! A run that is stopped or killed goes on exactly where it was.

use crate::small;
use lockstep::{
    components::{Config, games::TicTacToe},
    device,
    folder::Folder,
    metrics,
    trainer::{self, Advance, Trainer},
};
use lockstep_components::{Game, config::DeviceKind};
use proptest::prelude::*;
use std::{fs, path::Path};

/// Runs to the end, or until so many advances were made and, if `save`, saves then. Weights as bits at the end.
fn run(config: &Config, path: &Path, advances: usize, save: bool) -> Option<Vec<u32>> {
    let folder = Folder::at(path);
    let place = device::place(DeviceKind::Cpu).unwrap();
    let mut run: Trainer<TicTacToe> = trainer::open(config, &place, &folder, None).unwrap();
    for _ in 0..advances {
        if run.is_finished() {
            let tensors = run.saved().unwrap().tensors;
            return Some(tensors.iter().flat_map(|t| t.data.iter().map(|x| x.to_bits())).collect());
        }
        if let Advance::Generation(generation, games) = run.advance().unwrap() {
            trainer::write_games(&folder, &TicTacToe::start(), generation.generation, &games).unwrap();
            metrics::append(&folder.metrics(), &generation).unwrap();
            if generation.generation.is_multiple_of(config.run.checkpoint_every) || run.is_finished() {
                run.save(&folder).unwrap();
            }
        }
    }
    if save && run.generation() > 0 {
        run.save(&folder).unwrap();
    }
    None
}

/// Metrics without the times, and all recorded games.
fn written(path: &Path) -> (Vec<String>, Vec<String>) {
    let folder = Folder::at(path);
    let metrics = fs::read_to_string(folder.metrics()).unwrap();
    let without_times = |line: &str| line.split_once(",\"evaluations\"").expect("a line of metrics").0.to_string();
    let mut games: Vec<_> = fs::read_dir(folder.games()).unwrap().map(|e| e.unwrap().path()).collect();
    games.sort();
    (metrics.lines().map(without_times).collect(), games.iter().map(|g| fs::read_to_string(g).unwrap()).collect())
}

#[test]
fn stopped_anywhere_it_ends_the_same() {
    ends_the_same(&small(&["run.checkpoint_every=2", "run.generations=4"]));
}

const TOWER: [&str; 4] = ["network.kind=resnet", "network.channels=4", "network.blocks=1", "network.head_channels=2"];

/// Batch norm has statistics that no optimiser knows, and the mean of the weights goes on between generations.
#[test]
fn stopped_anywhere_statistics_and_mean_end_the_same() {
    let others = ["network.squeeze=2", "network.length_head=true"];
    for more in [["run.lag=2", "learn.average=0"], ["run.lag=1", "learn.average=0.9"], others] {
        let keys = ["run.checkpoint_every=2", "run.generations=4"];
        ends_the_same(&small(&[&TOWER[..], &more, &keys].concat()));
    }
}

/// What is saved while a generation is learned is what there was before, its running statistics included.
#[test]
fn learning_leaves_what_was_before_as_it_was() {
    for average in ["learn.average=0", "learn.average=0.5"] {
        let config = small(&[&TOWER[..], &[average]].concat());
        let mut run: Trainer<TicTacToe> = Trainer::new(&config, &device::place(DeviceKind::Cpu).unwrap());
        while !matches!(run.advance().unwrap(), Advance::Generation(..)) {}
        let before = run.saved().unwrap();
        assert_eq!(before.trained.is_some(), average != "learn.average=0");
        assert_ne!(Some(&before.tensors), before.trained.as_ref());
        while run.advance().unwrap() != Advance::Learned {}
        let after = run.saved().unwrap();
        assert!(after.tensors == before.tensors && after.trained == before.trained, "{average}");
    }
}

#[test]
fn stopped_with_a_batch_in_flight_it_ends_the_same() {
    for leaves in ["lanes.leaves_per_tree=1", "lanes.leaves_per_tree=4"] {
        let cohorts = [leaves, "lanes.cohort=6", "lanes.in_flight=2", "search.cache_mb=1"];
        ends_the_same(&small(&[&cohorts[..], &["run.checkpoint_every=2", "run.generations=4"]].concat()));
    }
}

fn ends_the_same(config: &Config) {
    let whole = tempfile::tempdir().unwrap();
    let weights = run(config, whole.path(), usize::MAX, false).unwrap();
    let expected = written(whole.path());
    assert_eq!(expected.0.len(), 4);
    let mut rng = lockstep_components::LaneRng::new(5, 5);
    for round in 0..6 {
        // Saved stops, in the middle of games and of learning, and kills, which fall back to a checkpoint and the log.
        let parts = tempfile::tempdir().unwrap();
        let found = loop {
            if let Some(weights) = run(config, parts.path(), 1 + rng.below(1_200), rng.below(2) == 0) {
                break weights;
            }
        };
        assert!(found == weights, "round {round}: other weights than in one go");
        assert_eq!(written(parts.path()), expected, "round {round}: other metrics or games than in one go");
    }
}

#[test]
fn a_longer_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    run(&small(&["run.generations=2"]), dir.path(), usize::MAX, false).unwrap();
    run(&small(&["run.generations=3"]), dir.path(), usize::MAX, false).unwrap();
    assert_eq!(written(dir.path()).0.len(), 3);
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_damaged_checkpoint_is_an_error(file in 0..4usize, at in any::<prop::sample::Index>(), cut in any::<bool>(), bit in 0..8u8) {
        static GOOD: std::sync::LazyLock<tempfile::TempDir> = std::sync::LazyLock::new(|| {
            let dir = tempfile::tempdir().unwrap();
            run(&small(&["run.generations=1"]), dir.path(), usize::MAX, false).unwrap();
            dir
        });
        let dir = tempfile::tempdir().unwrap();
        copy(GOOD.path(), dir.path());
        let folder = Folder::at(dir.path());
        let checkpoint = lockstep::checkpoint::newest(&folder).unwrap().unwrap();
        let path = checkpoint.join(["weights.safetensors", "optimizer.bin", "config.toml", "manifest.json"][file]);
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        fs::write(&path, bytes).unwrap();
        let place = device::place(DeviceKind::Cpu).unwrap();
        let opened = trainer::open::<TicTacToe>(&small(&["run.generations=1"]), &place, &folder, None);
        let message = opened.err().expect("the damage is found").to_string();
        prop_assert!(message.contains("checkpoints"), "{message}");
    }
}

#[test]
fn what_an_experiment_keeps_comes_back() {
    use bevy_ecs::prelude::*;
    #[derive(Resource, serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    struct Seen {
        numbers: Vec<u64>,
    }
    #[derive(Component, Clone, Default, serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    struct Mark(u64);
    let config = small(&["run.generations=2"]);
    let dir = tempfile::tempdir().unwrap();
    let (folder, place) = (Folder::at(dir.path()), device::place(DeviceKind::Cpu).unwrap());
    // Only a world that has the component on every lane has a column of it.
    let open = |config: &Config| {
        let mut run: Trainer<TicTacToe> = trainer::open(config, &place, &folder, None).unwrap();
        let lanes: Vec<Entity> =
            run.world.query_filtered::<Entity, With<lockstep_components::Lane>>().iter(&run.world).collect();
        for (i, lane) in lanes.into_iter().enumerate() {
            run.world.entity_mut(lane).insert(Mark(i as u64));
        }
        run
    };
    let mut first = open(&config);
    first.world.insert_resource(Seen { numbers: vec![3, 1, 4] });
    assert!(!first.keep_resource::<Seen>("seen").unwrap() && !first.keep_component::<Mark>("marks").unwrap());
    assert!(first.keep_resource::<Seen>("../seen").is_err());
    first.world.query::<&mut Mark>().iter_mut(&mut first.world).for_each(|mut mark| mark.0 *= 10);
    while first.generation() < 1 {
        first.advance().unwrap();
    }
    first.save(&folder).unwrap();
    drop(first);
    // Somebody who does not ask for it leaves it where it is.
    let mut second = open(&config);
    while !second.is_finished() {
        second.advance().unwrap();
    }
    second.save(&folder).unwrap();
    drop(second);
    assert!(open(&config).keep_component::<Mark>("seen").is_err(), "it is of another kind");
    let mut third = open(&config);
    assert!(third.keep_resource::<Seen>("seen").unwrap());
    assert_eq!(third.world.resource::<Seen>(), &Seen { numbers: vec![3, 1, 4] });
    assert!(third.keep_component::<Mark>("marks").unwrap());
    let marks: Vec<u64> = third.world.query::<&Mark>().iter(&third.world).map(|mark| mark.0).collect();
    assert_eq!(marks, (0..16).map(|i| 10 * i).collect::<Vec<_>>());
}
