//! What the games of the registry and the search promise each other.

use lockstep::{analyst::Analyst, oracle::Labelled, prelude::*};
use lockstep_components::games::{GameVisitor, visit};

/// Returns the exact value of a state for the player to move, with its history and without a table; `None` if it takes
/// too long.
fn brute_force<G: Game>(state: &G, nodes: &mut u32) -> Option<i32> {
    if let Some(outcome) = state.outcome() {
        return Some(outcome.value() as i32);
    }
    *nodes = nodes.checked_sub(1)?;
    let mut best = -1;
    for action in state.legal().collect::<Vec<_>>() {
        best = best.max(after(state, action, nodes)?);
        if best == 1 {
            break;
        }
    }
    Some(best)
}

/// Returns the value of a move for the player who makes it.
fn after<G: Game>(state: &G, action: Action, nodes: &mut u32) -> Option<i32> {
    let mut next = state.clone();
    next.play(action);
    let value = brute_force(&next, nodes)?;
    Some(if next.to_move() == state.to_move() { value } else { -value })
}

/// Returns a state of a random game, up to so many plies before its end.
fn late<G: Game>(rng: &mut LaneRng, plies: usize) -> G {
    let (mut game, mut states) = (G::start(), vec![]);
    while game.outcome().is_none() {
        states.push(game.clone());
        game.play(rng.legal_move(&game));
    }
    let back = 1 + rng.below(states.len().min(plies));
    states.swap_remove(states.len() - back)
}

/// Searches so many states whose exact values can be had, of random games up to so many plies before their ends, and
/// returns how many roots were proven of how many. Whatever a search has proven must be so.
fn check_proofs<G: Game>(count: usize, plies: usize, leaves_per_tree: u32, cache_mb: u32) -> (usize, usize) {
    let mut rng = LaneRng::new(5, leaves_per_tree.into());
    let mut labelled = vec![];
    // Some games have few.
    for _ in 0..10 * count {
        if labelled.len() == count {
            break;
        }
        let state = late::<G>(&mut rng, plies);
        let legal: Vec<Action> = state.legal().collect();
        let mut nodes = 20_000;
        let score = |action| Some((action, after(&state, action, &mut nodes)?));
        let scores: Option<Vec<(Action, i32)>> = legal.into_iter().map(score).collect();
        if let Some(scores) = scores {
            labelled.push(Labelled { position: State::of(state), scores });
        }
    }
    let lanes = LanesConfig { count: 64, leaves_per_tree, ..Default::default() };
    let search = SearchConfig { cache_mb, ..SearchConfig::default() };
    let mut analyst = Analyst::new(AnyGame::of::<G>(), Rollouts::<G>::new(1, 1), &search, lanes, 600);
    let answers = analyst.ask(labelled.iter().map(|l| l.position.clone()).collect(), |_| true).unwrap();
    let proven = crate::search::check_proofs(&labelled, &answers);
    (proven, labelled.len())
}

/// Passes, second moves in a row, histories and longest lengths are what proofs can get wrong.
#[test]
fn what_is_proven_is_so_with_its_history() {
    let mut of_game = vec![];
    for (leaves, cache_mb) in [(1, 0), (4, 1)] {
        of_game.extend([
            check_proofs::<Othello<6>>(700, 6, leaves, cache_mb),
            check_proofs::<DotsAndBoxes<2>>(700, 6, leaves, cache_mb),
            check_proofs::<DotsAndBoxes<3>>(700, 6, leaves, cache_mb),
            check_proofs::<Go<2>>(700, 6, leaves, cache_mb),
            check_proofs::<Go<3>>(700, 6, leaves, cache_mb),
            check_proofs::<Hex<4>>(700, 6, leaves, cache_mb),
            check_proofs::<Breakthrough<4, 3>>(700, 6, leaves, cache_mb),
            check_proofs::<TicTacToe>(300, 6, leaves, cache_mb),
        ]);
    }
    assert!(of_game.iter().all(|(proven, count)| 2 * proven > *count), "{of_game:?}");
    assert!(of_game.iter().map(|(_, count)| count).sum::<usize>() >= 10_000, "{of_game:?}");
}

/// What is proven of a few late states of each game that is short enough for brute force is so.
#[test]
fn what_is_proven_of_short_games_is_so() {
    #[derive(Clone, Copy)]
    struct Proofs;
    impl GameVisitor for Proofs {
        type Output = ();
        fn visit<G: Game>(self) {
            if G::MAX_PLIES <= 50 {
                let (proven, count) = check_proofs::<G>(50, 3, 1, 1);
                assert!(count >= 10 && 2 * proven > count, "{}: {proven} of {count}", G::TITLE);
            }
        }
    }
    crate::for_every_game(Proofs);
}

/// From rules to a network that has learned: a generation of a small run of every game.
#[test]
fn every_game_trains() {
    #[derive(Clone, Copy)]
    struct Train;
    impl GameVisitor for Train {
        type Output = ();
        fn visit<G: Game>(self) {
            let name = format!("game.name={}", G::NAME);
            let small =
                ["network.kind=resnet", "network.channels=8", "network.blocks=1", "lanes.count=8", "run.games=8"];
            let short = ["run.generations=1", "search.simulations=4", "search.opening_plies=1", "learn.batch_size=16"];
            let config = crate::small(&[&[name.as_str()], &small[..], &short[..]].concat());
            let mut run =
                Trainer::new(AnyGame::of::<G>(), &config, &device::place(DeviceKind::Cpu).unwrap(), &Hooks::default());
            while !run.is_finished() {
                if let lockstep::trainer::Event::Generation(metrics, games) = run.advance().unwrap() {
                    assert_eq!((metrics.games, games.len()), (8, 8), "{}", G::TITLE);
                    assert!(metrics.policy_loss.is_finite() && metrics.value_loss.is_finite() && metrics.steps > 0);
                }
            }
        }
    }
    crate::for_every_game(Train);
}

fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn digest(h: u64, text: &str) -> u64 {
    text.bytes().fold(h, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// Plays the random game of a number as `scripts/game_reference.py` does, and returns its digest.
fn digest_of_game<G: Game>(number: u64) -> u64 {
    let (mut rng, mut h) = (mix(number), 0xCBF2_9CE4_8422_2325);
    let mut game = G::start();
    while game.outcome().is_none() {
        let mut moves: Vec<(String, Action)> = game.legal().map(|action| (game.action_text(action), action)).collect();
        moves.sort();
        let texts: Vec<&str> = moves.iter().map(|(text, _)| text.as_str()).collect();
        h = digest(h, &format!("{} {}\n", game.to_move().index(), texts.join(" ")));
        rng = mix(rng);
        game.play(moves[((u128::from(rng) * moves.len() as u128) >> 64) as usize].1);
    }
    let outcome = components::record::for_first(&game, game.outcome().unwrap());
    digest(h, ["win", "draw", "loss"][(1.0 - outcome.value()) as usize])
}

/// The rules of an independent program, move by move: see `scripts/game_reference.py`, which made the digests.
#[test]
fn random_games_are_those_of_another_program() {
    const GROUP: u64 = 250;
    struct Group(u64);
    impl GameVisitor for Group {
        type Output = u64;
        fn visit<G: Game>(self) -> u64 {
            (self.0..self.0 + GROUP).fold(0, |h, number| mix(h ^ digest_of_game::<G>(number)))
        }
    }
    let lines: Vec<&str> = include_str!("golden/games.csv").lines().skip(1).collect();
    assert!(lines.len() >= 300);
    lines.par_iter().for_each(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        let found =
            visit(cells[0], Group(cells[1].parse().unwrap())).unwrap_or_else(|_| panic!("{line}: no such game"));
        assert_eq!(format!("{found:016x}"), cells[2], "{line}");
    });
}
