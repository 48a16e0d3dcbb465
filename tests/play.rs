//! `lockstep play`, and what it tells of the rules.

use crate::{for_every_game, lockstep, text};
use lockstep::{
    board::draw,
    components::{
        Game, LaneRng, State,
        games::{GameVisitor, NAMES},
    },
    view::View,
};
use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Makes a run in `run` that has learned next to nothing, and returns what was printed.
fn trained(dir: &Path, recipe: &str, more: &[&str]) -> String {
    let mut args = vec!["train", recipe, "--run", "run"];
    let small =
        ["run.generations=1", "run.games=2", "run.grade_simulations=1", "search.simulations=2", "lanes.count=2"];
    let tiny = ["search.fast_simulations=0", "network.channels=4", "network.blocks=1", "learn.batch_size=16"];
    for set in small.iter().chain(&tiny).chain(more) {
        args.extend(["--set", set]);
    }
    let output = lockstep(dir, &args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn play(dir: &Path, player: &str, simulations: &str, input: &str) -> String {
    let (shown, code) = play_with(dir, &["--run", player, "--simulations", simulations], input);
    assert_eq!(code, Some(0));
    shown
}

/// What `lockstep play` shows of a game with these options and lines, and its exit code.
fn play_with(dir: &Path, args: &[&str], input: &str) -> (String, Option<i32>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .current_dir(dir)
        .arg("play")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_string();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    // Who has refused its options reads nothing.
    _ = writer.join().unwrap();
    (text(&output.stdout), output.status.code())
}

#[test]
fn komi_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let shown = trained(dir.path(), "go5", &["game.komi=7.5"]);
    assert!(shown.contains("Learning Go 5x5 with komi 7.5 in run"), "{shown}");
    let games = std::fs::read_to_string(dir.path().join("run/games/000001.txt")).unwrap();
    assert!(games.starts_with("# Go 5x5 with komi 7.5, generation 1"), "{games}");
    // Who passes on an empty board loses by a pass.
    let shown = play(dir.path(), "run", "100", "pass\nquit\n");
    for words in [
        "Go 5x5 with komi 7.5 against",
        "It passes and expects",
        "You lose by 7.5, komi 7.5 of the second player included.",
    ] {
        assert!(shown.contains(words), "'{words}' is missing in: {shown}");
    }
    let games = text(&lockstep(dir.path(), &["games"]).stdout);
    let of = |name: &str| games.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().last().unwrap();
    assert_eq!([of("name"), of("go5"), of("othello6")], ["komi", "24.5", "-"]);
    assert!(text(&lockstep(dir.path(), &["games", "--json"]).stdout).contains("\"komi\":24.5"));
}

#[test]
fn who_has_to_pass_is_told() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path(), "othello6", &[]);
    // A network of zeros, whose games are the same on every machine.
    let mut weights = std::fs::read(dir.path().join("run/checkpoints/1/weights.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    weights[header..].fill(0);
    std::fs::write(dir.path().join("zeros"), weights).unwrap();
    // Two games. Every cell is tried, over and over: what is legal is played.
    let mut cells: Vec<String> =
        (b'a'..=b'f').flat_map(|c| (1..=6).map(move |r| format!("{}{r}", c as char))).collect();
    cells.reverse();
    let all = |cells: &[String]| format!("{}\npass\n", cells.join("\n")).repeat(18);
    let first = all(&cells);
    cells.rotate_left(17);
    let shown = play(dir.path(), "zeros", "1", &format!("{first}new\n{}", all(&cells)));
    for words in ["You have no move but to pass. Type: pass", "It has no move but to pass and expects"] {
        assert!(shown.contains(words), "'{words}' is missing in: {shown}");
    }
    assert!(!shown.contains("It plays pass"), "{shown}");
}

/// The numbers in front of a word, each time that it is shown.
fn numbers(shown: &str, word: &str) -> Vec<u32> {
    let before = shown.split(word).map(|before| before.rsplit(['(', ' ']).find(|word| !word.is_empty()));
    before.filter_map(|number| number?.parse().ok()).collect()
}

/// The player keeps its tree from move to move, takes back, takes positions, and stops thinking when it is told to.
#[test]
fn a_player_keeps_its_tree_and_can_be_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path(), "connect_four", &[]);
    // The moves that answer the second one are in the tree already.
    let (shown, code) = play_with(dir.path(), &["--run", "run", "--simulations", "300"], "4\n4\nundo\nundo\nq\n");
    assert_eq!(code, Some(0));
    let made = numbers(&shown, " simulations");
    assert!(made.len() >= 2 && made[1..].iter().all(|&n| n <= 300), "{shown}");
    let kept = numbers(&shown, " kept)");
    assert!(kept.iter().all(|&n| n > 0 && n < 300) && !kept.is_empty(), "{shown}");
    assert!(shown.trim_end().ends_with('>') && !shown.contains("There is nothing to undo."), "{shown}");
    // Back at the start after two steps: the last board is empty.
    let last = shown.rsplit("\n\n").next().unwrap();
    assert!(!last.contains(" x ") && !last.contains(" o ") && !last.contains("Moves:"), "{last}");

    // A position, a hint with its line, and a mistake that changes nothing.
    let lines = "position 444\nposition 9\nhint\nmoves\nq\n";
    let (shown, _) = play_with(dir.path(), &["--run", "run", "--simulations", "50", "--second"], lines);
    assert!(shown.contains("Moves: 4 4 4") && shown.contains("It would play"), "{shown}");
    assert!(shown.contains("'9' is not a Connect Four position: move 1, '9', is not legal"), "{shown}");
    let (shown, _) = play_with(dir.path(), &["--run", "run", "--moves", "4 4", "--simulations", "9"], "q\n");
    assert!(shown.contains("Moves: 4 4"), "{shown}");

    // An hour for each move, and one word that ends it.
    let args = ["--run", "rollout", "--game", "othello6", "--seconds", "3600", "--second"];
    let (shown, code) = play_with(dir.path(), &args, "stop\nhint\nstop\nq\n");
    assert!(code == Some(0) && shown.matches(", stopped)").count() == 2, "{shown}");
    let began = std::time::Instant::now();
    let (shown, code) = play_with(dir.path(), &["--run", "uniform", "--game", "hex5", "--seconds", "0.2"], "a1\nq\n");
    assert!(code == Some(0) && shown.contains("It plays ") && began.elapsed().as_secs() < 60, "{shown}");

    for (args, word) in [
        (&["--run", "uniform"][..], "--game"),
        (&["--run", "uniform", "--game", "chss"], "unknown game 'chss'"),
        (&["--run", "run", "--game", "othello"], "plays connect_four"),
        (&["--run", "run", "--seconds", "0"], "above 0"),
        (&["--run", "run", "--moves", "4 9"], "'9', is not legal"),
        (&["--run", "run@7"], "no checkpoint of that generation"),
    ] {
        let output = lockstep(dir.path(), &[&["play"], args].concat());
        let error = text(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(word), "{args:?}: {error}");
    }
    // Gumbel search plans its simulations.
    let gumbel = ["run.generations=1", "run.games=1", "search.policy=gumbel", "search.simulations=4"];
    let mut args = vec!["train", "tictactoe", "--run", "gumbel"];
    gumbel.iter().for_each(|set| args.extend(["--set", set]));
    assert!(lockstep(dir.path(), &args).status.success());
    let output = lockstep(dir.path(), &["play", "--run", "gumbel", "--seconds", "1"]);
    assert!(text(&output.stderr).contains("Gumbel search plans"), "{}", text(&output.stderr));
}

#[derive(Clone, Copy)]
struct Drawn;

impl GameVisitor for Drawn {
    type Output = ();

    fn visit<G: Game>(self) {
        let (mut rng, mut state, mut before) = (LaneRng::new(1, 1), State::of(G::start()), None);
        for _ in 0..12 {
            let legal = state.legal();
            let view = View::of(&state, before.as_ref().map(|(state, action)| (state, *action)));
            let drawn = |numbers: &[(usize, u32)], room| draw(&view, &numbers.iter().copied().collect(), room);
            assert_eq!(drawn(&[], usize::MAX).unwrap(), state.render(view.last.last().copied()), "{}", G::NAME);
            let narrow = drawn(&[], 20).unwrap();
            assert!(narrow.lines().all(|line| line.chars().count() <= 20), "{narrow}");
            let cells: BTreeMap<usize, u32> =
                view.legal.iter().flat_map(|m| &m.cells).map(|&cell| (cell, 57)).collect();
            let cells: Vec<_> = cells.into_iter().collect();
            let numbered = drawn(&cells, 79).unwrap();
            assert_eq!(numbered.matches("57").count(), cells.len(), "{numbered}");
            assert!(numbered.lines().all(|line| line.chars().count() <= 79), "{numbered}");
            if legal.is_empty() {
                break;
            }
            let action = legal[rng.below(legal.len())];
            before = Some((state.clone(), action));
            state.play(action);
        }
    }
}

/// The terminal draws what every game draws of itself, fits narrow terminals, and has room for numbers on usual ones.
#[test]
fn boards_are_those_of_the_games() {
    for_every_game(Drawn);
}

/// Only a terminal that has colours and is asked for none gets them, and a hint draws the visits where moves are cells.
#[cfg(target_os = "linux")]
#[test]
fn colours_and_visits_are_where_they_belong() {
    let dir = tempfile::tempdir().unwrap();
    let shown = |setup: &str, game: &str| {
        let play = format!("'{{lockstep}}' play --run rollout --game {game} --simulations 60");
        crate::on_terminal(dir.path(), &format!("unset NO_COLOR; {setup}; printf 'hint\\nq\\n' | {play}"))
    };
    let connect_four = "connect_four --moves '4 4 4 4'";
    for (setup, has_colours) in [
        ("export TERM=xterm; stty cols 80 rows 40", true),
        ("export TERM=xterm NO_COLOR=; stty cols 80 rows 40", true),
        ("export TERM=xterm NO_COLOR=1 CLICOLOR_FORCE=1; stty cols 80 rows 40", false),
        ("export TERM=dumb; stty cols 80 rows 40", false),
        ("unset TERM; stty cols 80 rows 40", false),
    ] {
        let shown = shown(setup, connect_four);
        assert_eq!(shown.contains('\x1b'), has_colours, "{setup}: {shown:?}");
        let words = match has_colours {
            true => ["(\x1b[36m\x1b[1mo\x1b[0m)", "\x1b[31mx\x1b[0m", "\x1b[2m 1 2 3"],
            false => ["(o)", " x ", " 1 2 3"],
        };
        words.iter().for_each(|words| assert!(shown.contains(words), "{setup}: {words:?} in {shown:?}"));
    }
    for game in NAMES {
        let shown = shown("export TERM=dumb; stty cols 80 rows 40", game);
        // A board is below the names of its columns.
        let is_header = |line: &&str| ["abc", "123"].iter().any(|names| line.replace(' ', "").starts_with(names));
        let boards = shown.lines().filter(is_header).count();
        let from_to = ["breakthrough", "breakthrough6", "clobber"].contains(game);
        assert_eq!(boards, if from_to { 1 } else { 2 }, "{shown}");
        assert!(shown.contains("  move  visits   share   prior  value\n"), "{shown}");
    }
}
