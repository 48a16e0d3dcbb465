//! Inputs at and beyond their bounds end with an answer: nothing hangs, and nothing is silently taken for something
//! else.

use lockstep::{device, oracle, prelude::*, settings};
use lockstep_components::LeafState;
use lockstep_systems::{Batch, Error, Evaluations};
use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

fn lockstep(dir: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .current_dir(dir)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments reads no input.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Calls the program, which must fail with code 2 and a message that has all of these words.
fn refused(dir: &Path, args: &[&str], words: &[&str]) {
    let output = lockstep(dir, args, b"");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{args:?}: '{word}' is missing in: {message}");
    }
}

#[test]
fn openings_as_long_as_the_game_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let key = "search.opening_plies";
    let tictactoe = ["train", "--set", "search.opening_plies=9"];
    refused(dir.path(), &tictactoe, &["--set search.opening_plies=9: ", key, "from 0 to 8", "Tic-tac-toe"]);
    let connect_four = ["bench", "search", "--set", "search.opening_plies=42"];
    refused(dir.path(), &connect_four, &[key, "from 0 to 41", "Connect Four"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was begun");
}

/// A library has no recipe to be checked: the games must begin all the same.
#[test]
fn openings_that_cannot_be_are_cut_short() {
    for opening_plies in [8, 9, 1_000] {
        let search = SearchConfig { simulations: 4, opening_plies, ..Default::default() };
        let lanes = LanesConfig { count: 4, ..Default::default() };
        let player = Searcher::new(Uniform::default(), search);
        play_games(&mut Setup::self_play(AnyGame::of::<TicTacToe>(), player).lanes(lanes).build(), 12).unwrap();
    }
}

#[test]
fn too_many_threads_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for command in [&["grade", "--run", "run"][..], &["play", "--run", "run"], &["bench", "search"], &["train"]] {
        for threads in ["1025", "100000", "99999999999999999999", "-1"] {
            let threads = format!("--threads={threads}");
            refused(dir.path(), &[command, &[&threads]].concat(), &["--threads", "from 0 to 1024"]);
        }
    }
    let set = ["train", "--set", "run.threads=1025"];
    refused(dir.path(), &set, &["--set run.threads=1025: ", "from 0 to 1024"]);
    let error = device::with_threads(1_025, || Ok(())).unwrap_err().to_string();
    assert!(error.contains("1025") && error.contains("run.threads") && error.contains("0 to 1024"), "{error}");
    assert_eq!(device::with_threads(3, || Ok(rayon_threads())).unwrap(), 3);
}

fn rayon_threads() -> usize {
    rayon::current_num_threads()
}

/// A policy that follows the first edge, and from its 30th choice on one that there is not.
struct Beyond;

impl Policy for Beyond {
    type State = usize;

    fn inner(&self, search: &mut Search<usize>, node: Node) -> usize {
        *search.state += 1;
        if *search.state <= 30 { 0 } else { node.edges().len() }
    }
}

/// A policy that asks for one simulation more than there is room for.
struct TooMany;

impl Policy for TooMany {
    type State = ();

    fn begin(&self, _: &mut Search<()>, tree: &mut Tree) -> SearchBudget {
        SearchBudget { simulations: tree.room() + 1, full: true, asked: None }
    }

    fn inner(&self, _: &mut Search<()>, _: Node) -> usize {
        0
    }
}

/// A policy that decides for a move that there is not.
struct NoMove;

impl Policy for NoMove {
    type State = ();

    fn inner(&self, _: &mut Search<()>, _: Node) -> usize {
        0
    }

    fn decide(&self, _: &mut Search<()>, tree: &Tree, _: usize, _: &mut Vec<(Action, f32)>) -> Decision {
        Decision::of(7, tree)
    }
}

fn with_policy(policy: impl Policy, lanes: LanesConfig, search: SearchConfig) -> World {
    let player = Searcher::new(Uniform::default(), search).with_policy(SearchPolicy::new(policy));
    Setup::self_play(AnyGame::of::<ConnectFour>(), player).lanes(lanes).build()
}

/// Each of these policies ends in an error, in one pass over the lanes and, with something between the sets, in four.
#[test]
fn what_a_policy_may_not_do_is_an_error() {
    let between = |world: &mut World| {
        let nothing = || {};
        world
            .resource_mut::<Schedules>()
            .add_systems(Tick, nothing.after(TickSystems::Expand).before(TickSystems::Act));
    };
    let search = SearchConfig { simulations: 9, ..Default::default() };
    for apart in [false, true] {
        let error = |mut world: World| {
            if apart {
                between(&mut world);
            }
            let error = (0..100).find_map(|_| run_tick(&mut world).err()).expect("an error within a hundred ticks");
            assert_eq!(world.resource::<systems::tick::Passes>().fused, !apart);
            assert_eq!(run_tick(&mut world), Err(error.clone()), "it stays");
            error
        };
        let room = error(with_policy(TooMany, LanesConfig::default(), search.clone()));
        assert_eq!(room, Error::NoRoom { agent: 0, simulations: 10, room: 9 });
        let action = error(with_policy(NoMove, LanesConfig::default(), search.clone()));
        assert_eq!(action, Error::NoSuchMove { agent: 0, action: 7 });
        assert!(action.to_string().contains("Policy::decide") && room.to_string().contains("Policy::begin"));
    }
}

#[test]
fn a_policy_beyond_the_edges_is_an_error() {
    for leaves_per_tree in [1, 4] {
        let lanes = LanesConfig { count: 1, leaves_per_tree, ..Default::default() };
        let search = SearchConfig { simulations: 1_000, solver: false, ..Default::default() };
        let mut world = with_policy(Beyond, lanes, search);
        let error = (0..100).find_map(|_| run_tick(&mut world).err()).expect("an error within a hundred ticks");
        let Error::NoSuchEdge { agent: 0, index, edges } = error else { panic!("{error}") };
        assert!(index == edges && (1..=7).contains(&edges));
        let message = error.to_string();
        assert!(message.contains(&format!("edge {index} of a node that has {edges}")), "{message}");
        assert_eq!(run_tick(&mut world), Err(error), "it stays");
        let tree = world.query::<&Tree>().single(&world).unwrap();
        let in_flight: u32 = tree.root_edges().iter().map(|edge| edge.in_flight()).sum();
        let mut leaves = world.query::<&Leaf<ConnectFour>>();
        let selected = leaves.iter(&world).filter(|leaf| leaf.state != LeafState::Idle).count() as u32;
        let expected = (selected, selected);
        let tree = world.query::<&Tree>().single(&world).unwrap();
        assert_eq!((tree.root_in_flight, in_flight), expected, "the descent that failed was taken back");
    }
}

#[test]
fn a_tick_may_be_run_by_itself() {
    let world = || {
        Setup::self_play(AnyGame::of::<TicTacToe>(), Searcher::new(Uniform::default(), SearchConfig::default())).build()
    };
    let by_us = play_games(&mut world(), 20).unwrap();
    let (mut by_bevy, mut games) = (world(), vec![]);
    while games.len() < by_us.len() {
        by_bevy.run_schedule(Tick);
        games.extend(by_bevy.resource_mut::<Messages<GameFinished>>().drain().map(|game| game.0));
        games.retain(|game| game.id.unwrap().number < 20);
    }
    games.sort_by_key(|game| game.id);
    assert_eq!(by_us, games);
}

/// An evaluator with equal priors and value 0, with any number for illegal moves, and one for legal moves of positions
/// with few moves left.
struct Masked {
    batches: std::collections::VecDeque<Vec<TicTacToe>>,
    illegal: f32,
    legal_late: f32,
}

impl Evaluator for Masked {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        self.batches.push_back(batch.keys::<TicTacToe>().to_vec());
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        let positions = self.batches.pop_front().expect("a batch was submitted");
        for (row, position) in positions.iter().enumerate() {
            let legal: Vec<_> = position.legal().collect();
            for action in 0..TicTacToe::ACTIONS {
                let number = match legal.contains(&(action as u16)) {
                    true if legal.len() <= 3 => self.legal_late,
                    true => 0.0,
                    false => self.illegal,
                };
                out.logits[row * TicTacToe::ACTIONS + action] = number;
            }
            out.values[row] = 0.0;
        }
        out.computed = positions.len();
        Ok(())
    }
}

#[test]
fn logits_of_illegal_moves_are_ignored_and_those_of_legal_ones_are_not() {
    let play = |evaluator: Box<dyn Evaluator>, in_flight: u32, leaves_per_tree: u32, cache_mb: u32| {
        let search = SearchConfig { simulations: 12, cache_mb, ..Default::default() };
        let lanes = LanesConfig { count: 8, in_flight, leaves_per_tree, ..Default::default() };
        play_games(
            &mut Setup::self_play(AnyGame::of::<TicTacToe>(), Searcher::new(evaluator, search)).lanes(lanes).build(),
            30,
        )
    };
    for (in_flight, leaves, cache_mb) in [(1, 1, 0), (2, 1, 1), (2, 3, 1), (1, 3, 0)] {
        let masked = |illegal, legal_late| Box::new(Masked { batches: Default::default(), illegal, legal_late });
        let plain = play(Box::<Uniform>::default(), in_flight, leaves, cache_mb).unwrap();
        for illegal in [f32::NEG_INFINITY, f32::INFINITY, f32::NAN] {
            let games = play(masked(illegal, 0.0), in_flight, leaves, cache_mb).unwrap();
            assert!(games == plain, "{illegal} for illegal moves changed the games");
        }
        for legal in [f32::NEG_INFINITY, f32::INFINITY, f32::NAN] {
            let error = play(masked(f32::NEG_INFINITY, legal), in_flight, leaves, cache_mb).unwrap_err();
            let Error::EvaluationNotFinite { count, rows } = error else { panic!("{error}") };
            assert!(0 < count && count <= 3 * rows, "{count} in {rows} rows: illegal moves were counted");
        }
    }
}

#[test]
fn seeds_that_cannot_be_written_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for seed in ["9223372036854775808", "18446744073709551615"] {
        refused(dir.path(), &["train", "--seed", seed], &["--seed", seed, "9223372036854775807"]);
        let set = format!("run.seed={seed}");
        refused(dir.path(), &["train", "--set", &set], &[&set, "run.seed", "from 0 to 9223372036854775807"]);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was begun");
}

#[test]
fn the_version_is_that_of_the_program() {
    let output = lockstep(Path::new("."), &["--version"], b"");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("lockstep {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn bytes_that_are_no_text_are_a_wrong_move() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = vec!["train", "--run", "run"];
    for set in ["run.generations=1", "run.games=16", "search.simulations=4", "run.grade_simulations=1"] {
        args.extend(["--set", set]);
    }
    assert!(lockstep(dir.path(), &args, b"").status.success());
    // Still heard after them: a move, and the end by `quit` before a line that nobody reads.
    let play = ["play", "--run", "run", "--simulations", "4"];
    let output = lockstep(dir.path(), &play, b"\xff\n\xc3(b2\xfe\nb2\nquit\nmoves\n");
    let (printed, message) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{message}");
    assert_eq!(printed.matches("is not a legal move").count(), 2, "{printed}");
    assert!(printed.contains("'\u{fffd}' is not a legal move") && printed.contains("It plays"), "{printed}");
    assert!(!printed.contains("Legal moves:"), "{printed}");
}

#[test]
fn a_score_that_is_not_its_best_move_s_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.csv");
    let header = "set,moves,score,c1,c2,c3,c4,c5,c6,c7";
    std::fs::write(&path, format!("{header}\na,44,2,1,2,-1,0,0,0,0\na,44,-1,1,2,-1,0,0,0,0\n")).unwrap();
    let error = oracle::read_file(&State::of(ConnectFour::start()), &path).unwrap_err().to_string();
    assert!(error.contains("own.csv, line 3: score is -1") && error.contains("best of the moves has 2"), "{error}");
    // The files that come with lockstep keep to it, or they would not be read.
    assert_eq!(oracle::built_in(AnyGame::of::<ConnectFour>()).len(), 6);
}

#[test]
fn the_recipe_of_another_game_is_noticed() {
    let recipe = settings::Source::default();
    let config = settings::load(recipe, &["game.name=connect_four".into()]).unwrap();
    assert!(settings::recipe_warning(recipe, &config).unwrap().contains("lockstep train connect_four"));
    assert_eq!(settings::recipe_warning(recipe, &settings::load(recipe, &[]).unwrap()), None);
}
