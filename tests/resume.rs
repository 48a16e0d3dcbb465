//! A run that is stopped or killed goes on exactly where it was.

use crate::small;
use lockstep::{
    AnyGame, Hooks,
    components::{Config, State, games::TicTacToe},
    device,
    folder::Folder,
    metrics,
    trainer::{self, Event, Trainer},
};
use lockstep_components::{Game, config::DeviceKind};
use proptest::prelude::*;
use std::{fs, path::Path};

fn open(config: &Config, folder: &Folder, hooks: &Hooks) -> Result<Trainer, lockstep::Error> {
    let place = device::place(DeviceKind::Cpu).unwrap();
    trainer::open(AnyGame::of::<TicTacToe>(), config, &place, folder, None, hooks)
}

/// Runs to the end, or until so many advances were made and, if `save`, saves then. Returns the weights as bits at the
/// end.
fn run(config: &Config, path: &Path, advances: usize, save: bool) -> Option<Vec<u32>> {
    let folder = Folder::at(path);
    let mut run = open(config, &folder, &Hooks::default()).unwrap();
    for _ in 0..advances {
        if run.is_finished() {
            let tensors = run.saved().unwrap().tensors;
            return Some(tensors.iter().flat_map(|t| t.data.iter().map(|x| x.to_bits())).collect());
        }
        if let Event::Generation(generation, games) = run.advance().unwrap() {
            trainer::write_games(&folder, &State::of(TicTacToe::start()), generation.generation, &games).unwrap();
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

/// Returns the metrics without the times, and all recorded games.
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
        let place = device::place(DeviceKind::Cpu).unwrap();
        let mut run = Trainer::new(AnyGame::of::<TicTacToe>(), &config, &place, &Hooks::default());
        while !matches!(run.advance().unwrap(), Event::Generation(..)) {}
        let before = run.saved().unwrap();
        assert_eq!(before.trained.is_some(), average != "learn.average=0");
        assert_ne!(Some(&before.tensors), before.trained.as_ref());
        while run.advance().unwrap() != Event::Learned {}
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
        let opened = open(&small(&["run.generations=1"]), &folder, &Hooks::default());
        let message = opened.err().expect("the damage is found").to_string();
        prop_assert!(message.contains("checkpoints"), "{message}");
    }
}

#[test]
fn what_an_experiment_keeps_comes_back() {
    use lockstep::prelude::{Component, Lane, Resource, World};
    #[derive(Resource, Default, serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    struct Seen {
        numbers: Vec<u64>,
    }
    #[derive(Component, Clone, Default, serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    struct Mark(u64);
    let config = small(&["run.generations=2"]);
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(dir.path());
    // Numbered lanes, and nothing seen.
    let number = |world: &mut World| {
        world.init_resource::<Seen>();
        world.query::<(&Lane, &mut Mark)>().iter_mut(world).for_each(|(lane, mut mark)| mark.0 = lane.index() as u64);
    };
    let asks_not = Hooks::default().lanes(move |setup| setup.lane_component(Mark::default()).plugin(number));
    let asks = asks_not.clone().keep_resource::<Seen>("seen").keep_component::<Mark>("marks");
    let state = |run: &mut Trainer| {
        let world = &mut run.source.world;
        let marks: Vec<u64> = world.query::<&Mark>().iter(world).map(|mark| mark.0).collect();
        (world.resource::<Seen>().numbers.clone(), marks)
    };
    let new = (vec![], (0..16).collect());
    let changed = (vec![3, 1, 4], (0..16).map(|i| 10 * i).collect());
    let mut first = open(&config, &folder, &asks).unwrap();
    assert_eq!(state(&mut first), new);
    let world = &mut first.source.world;
    world.resource_mut::<Seen>().numbers = vec![3, 1, 4];
    world.query::<&mut Mark>().iter_mut(world).for_each(|mut mark| mark.0 *= 10);
    while first.generation() < 1 {
        first.advance().unwrap();
    }
    first.save(&folder).unwrap();
    drop(first);
    // Somebody who does not ask for it leaves it where it is.
    let mut second = open(&config, &folder, &asks_not).unwrap();
    assert_eq!(state(&mut second), new);
    while !second.is_finished() {
        second.advance().unwrap();
    }
    second.save(&folder).unwrap();
    drop(second);
    let other = asks_not.keep_component::<Mark>("seen");
    let message = open(&config, &folder, &other).err().expect("it is of another kind").to_string();
    assert!(message.contains("'seen' is of another kind"), "{message}");
    assert_eq!(state(&mut open(&config, &folder, &asks).unwrap()), changed);
}

/// A run in a folder is trained with a policy of an experiment, goes on with it, and is played again by whoever has it.
#[test]
fn a_run_can_have_a_policy_of_its_own() {
    use lockstep::{
        log::Log,
        prelude::{Decision, Node, Policy, Puct, Search, SearchPolicy, Tree},
    };
    /// PUCT, whose recorded value is a part of the root's, a target of its own, and which has lost moves learned more.
    struct Careful(f32);
    impl Policy for Careful {
        type State = ();
        fn inner(&self, search: &mut Search<()>, node: Node) -> usize {
            Puct.inner(search, node)
        }
        fn decide(&self, search: &mut Search<()>, tree: &Tree, ply: usize, target: &mut Vec<(u16, f32)>) -> Decision {
            assert_eq!(tree.raw_priors().len(), tree.root_edges().len());
            let Decision { action, value, .. } = Puct.decide(search, tree, ply, target);
            Decision { action, value: self.0 * value, weight: if value < 0.0 { 2.0 } else { 1.0 } }
        }
    }
    let (game, place) = (AnyGame::of::<TicTacToe>(), device::place(DeviceKind::Cpu).unwrap());
    let hooks = Hooks::default().policy(|_| SearchPolicy::new(Careful(0.5)));
    let config = small(&["run.generations=3"]);
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(dir.path());
    for _ in 0..3 {
        let mut run = open(&config, &folder, &hooks).unwrap();
        while !matches!(run.advance().unwrap(), Event::Generation(..)) {}
        run.save(&folder).unwrap();
    }
    let replay = |hooks: &Hooks| {
        let mut run = Trainer::replay(game, &config, &place, hooks, None, Log::of(&folder))?;
        while !run.is_finished() {
            run.advance()?;
        }
        Ok::<_, lockstep::Error>(run.generation())
    };
    assert_eq!(replay(&hooks).unwrap(), 3);
    let other = replay(&Hooks::default()).unwrap_err().to_string();
    assert!(other.contains("round 1, game 0 is another one"), "{other}");
}

#[test]
#[should_panic(expected = "'../seen' is no name")]
fn what_an_experiment_keeps_has_a_name() {
    #[derive(bevy_ecs::prelude::Resource, serde::Serialize, serde::Deserialize)]
    struct Seen;
    let _ = Hooks::default().keep_resource::<Seen>("../seen");
}
