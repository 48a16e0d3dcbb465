//! Tests that every game passes, and exact counts where they are known.

use super::*;
use crate::{
    State,
    config::{GameConfig, Komi},
    game::{Action, Outcome, Side},
};
use proptest::prelude::*;
use std::collections::HashSet;

/// Plays `choices` as indices into the legal moves, and checks what holds at each state on the way. Returns how many moves
/// keys had, and how many keys there were.
fn check_playout<G: Game>(choices: &[u16]) -> Result<(usize, usize), TestCaseError> {
    let mut game = G::start();
    let mut images: Vec<G> =
        (0..G::SYMMETRIES).map(|symmetry| G::of_key(G::transform(G::start().key(), symmetry))).collect();
    let (mut text, mut keys_moves, mut copy) = (String::new(), 0, G::start());
    prop_assert_eq!(game.to_move(), Side::First);
    for plies in 0.. {
        check_state(&game)?;
        copy.clone_from(&game);
        prop_assert_eq!((copy.key(), copy.to_move(), copy.outcome()), (game.key(), game.to_move(), game.outcome()));
        if let Some(outcome) = game.outcome() {
            if let Some(score) = game.score() {
                let for_first = crate::record::for_first(&game, outcome).value();
                prop_assert_eq!(score.partial_cmp(&0.0), for_first.partial_cmp(&0.0), "the score decides");
            }
            prop_assert!(!game.is_legal(0) && G::parse(&(text + " x")).is_err());
            return Ok((keys_moves, plies));
        }
        prop_assert!(plies < G::MAX_PLIES, "games end");
        let of_key: Vec<Action> = G::moves(game.key()).collect();
        let legal: Vec<Action> = game.legal().collect();
        prop_assert!(copy.legal().eq(legal.iter().copied()), "a copy in the memory of another state has its history");
        keys_moves += of_key.len();
        prop_assert!(!legal.is_empty() && of_key.len() <= G::MAX_LEGAL, "{of_key:?} in {game:?}");
        prop_assert!(of_key.is_sorted_by(|a, b| a < b), "ascending and without repeats");
        prop_assert!(of_key.iter().all(|&a| (a as usize) < G::ACTIONS));
        prop_assert!(legal.iter().all(|a| of_key.contains(a)));
        for action in 0..G::ACTIONS as Action {
            prop_assert_eq!(game.is_legal(action), legal.contains(&action));
        }
        let texts: HashSet<String> = legal.iter().map(|&a| game.action_text(a)).collect();
        prop_assert_eq!(texts.len(), legal.len(), "moves are told apart");
        let action = legal[choices.get(plies).copied().unwrap_or(0) as usize % legal.len()];
        prop_assert_eq!(game.parse_action(&game.action_text(action)), Ok(action));
        text += &format!("{} ", game.action_text(action));
        let cells: HashSet<Vec<usize>> = legal.iter().map(|&a| game.cells_of(a)).collect();
        prop_assert_eq!(cells.len(), legal.len(), "moves are told apart by their cells");
        let (touched, before) = (game.cells_of(action), State::of(game.clone()).cells());
        game.play(action);
        for (symmetry, image) in images.iter_mut().enumerate() {
            let moves: HashSet<Action> = legal.iter().map(|&a| G::transform_action(a, symmetry)).collect();
            prop_assert_eq!(moves, image.legal().collect::<HashSet<_>>(), "legal moves commute with symmetry");
            image.play(G::transform_action(action, symmetry));
            prop_assert_eq!(image.key(), G::transform(game.key(), symmetry), "playing commutes with symmetry");
            prop_assert_eq!((image.outcome(), image.to_move()), (game.outcome(), game.to_move()));
        }
        let read = G::parse(&text);
        prop_assert!(read.as_ref().is_ok_and(|read| read.key() == game.key()), "{text}: {read:?}");
        let after = State::of(game.clone()).cells();
        match (touched.last(), changed(&before, &after)) {
            (Some(&cell), changed) => {
                prop_assert!(changed.contains(&cell), "{action} changes cell {cell}: {before} {after}");
                prop_assert_eq!(game.render(Some(cell)).matches('(').count(), 1);
            }
            (None, changed) => prop_assert!(changed.is_empty(), "a pass changes nothing: {before} {after}"),
        }
    }
    unreachable!("the loop returns")
}

/// Returns the cells whose characters differ.
fn changed(before: &str, after: &str) -> Vec<usize> {
    before.chars().zip(after.chars()).enumerate().filter(|(_, (a, b))| a != b).map(|(cell, _)| cell).collect()
}

fn check_state<G: Game>(game: &G) -> Result<(), TestCaseError> {
    let encoded = |key: G::Key| {
        let mut planes = vec![f32::NAN; G::INPUT];
        G::encode(key, &mut planes);
        planes
    };
    let key = game.key();
    if !G::HISTORY {
        let alone = G::of_key(key);
        prop_assert_eq!(alone.outcome(), game.outcome(), "the key says whether the game is over");
        prop_assert!(game.outcome().is_some() || alone.legal().eq(game.legal()), "the key says which moves there are");
    }
    let planes = encoded(key);
    prop_assert!(planes.iter().all(|x| x.is_finite()), "every number of the planes is written");
    prop_assert_eq!(G::transform(key, 0), key, "symmetry 0 is the identity");
    prop_assert_eq!(G::of_key(key).key(), key);
    let (canonical, to_canonical) = G::canonical(key);
    prop_assert_eq!(G::transform(key, to_canonical), canonical);
    for symmetry in 0..G::SYMMETRIES {
        let image = G::transform(key, symmetry);
        prop_assert_eq!(G::canonical(image).0, canonical, "one canonical form for all images");
        prop_assert!(canonical <= image, "it is the smallest of them");
        // A symmetry permutes the cells: each plane keeps its sum.
        let sums = |p: &[f32]| p.chunks(G::HEIGHT * G::WIDTH).map(|c| c.iter().sum()).collect::<Vec<f32>>();
        prop_assert_eq!(sums(&encoded(image)), sums(&planes));
        if image != key {
            prop_assert_ne!(encoded(image), planes.clone(), "different keys look different");
        }
    }
    prop_assert!(game.render(None).lines().count() > G::HEIGHT);
    Ok(())
}

/// Every game of the registry, on a thread each.
fn for_every_game(check: impl GameVisitor<Output = ()> + Copy + Send) {
    std::thread::scope(|scope| {
        for name in NAMES {
            scope.spawn(move || visit(name, check).unwrap_or_else(|_| panic!("{name} is not found")));
        }
    });
}

#[test]
fn every_game_is_sound() {
    #[derive(Clone, Copy)]
    struct Sound;
    impl GameVisitor for Sound {
        type Output = ();
        fn visit<G: Game>(self) {
            let config = ProptestConfig {
                cases: (5_000 / G::MAX_PLIES as u32).clamp(16, 256),
                failure_persistence: None,
                ..Default::default()
            };
            let choices = (prop::collection::vec(any::<u16>(), G::MAX_PLIES), ".{0,12}");
            let totals = std::cell::RefCell::new((0, 0));
            let run = proptest::test_runner::TestRunner::new(config).run(&choices, |(choices, text)| {
                let (moves, plies) = check_playout::<G>(&choices)?;
                let mut totals = totals.borrow_mut();
                *totals = (totals.0 + moves, totals.1 + plies);
                // Any text is a state or an error, never a panic.
                if let Ok(game) = G::parse(&text) {
                    check_state(&game)?;
                }
                let _ = G::start().parse_action(&text);
                Ok(())
            });
            if let Err(error) = run {
                panic!("{}: {error}", G::TITLE);
            }
            let (moves, keys) = totals.into_inner();
            let mean = moves as f64 / keys as f64;
            assert!(mean <= 1.25 * G::MEAN_LEGAL as f64, "{}: {mean} moves in the mean", G::TITLE);
        }
    }
    for_every_game(Sound);
}

#[test]
fn names_are_told_apart() {
    let names: HashSet<_> = NAMES.iter().collect();
    assert_eq!(names.len(), NAMES.len());
    for_every_game(Names);
    #[derive(Clone, Copy)]
    struct Names;
    impl GameVisitor for Names {
        type Output = ();
        fn visit<G: Game>(self) {
            assert!(G::NAME.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{}", G::NAME);
            assert!(G::MEAN_LEGAL <= G::MAX_LEGAL && G::MAX_LEGAL <= G::ACTIONS);
        }
    }
    assert!(visit("chess", Names).is_err());
}

/// The different keys after each number of plies.
fn reachable<G: Game>(plies: usize) -> Vec<HashSet<G::Key>> {
    let mut levels = vec![HashSet::from([G::start().key()])];
    for _ in 0..plies {
        let games = levels[levels.len() - 1].iter().map(|&key| G::of_key(key)).filter(|game| game.outcome().is_none());
        let after = games.flat_map(|game| {
            let play = |action| {
                let mut next = game.clone();
                next.play(action);
                next.key()
            };
            game.legal().map(play).collect::<Vec<_>>()
        });
        let next = after.collect();
        levels.push(next);
    }
    levels
}

#[test]
fn tictactoe_has_5478_positions_and_255168_games() {
    let positions: usize = reachable::<TicTacToe>(9).iter().map(HashSet::len).sum();
    assert_eq!(positions, 5_478);

    fn games(position: TicTacToe, ended: &mut [usize; 3]) {
        match position.outcome() {
            Some(Outcome::Draw) => ended[2] += 1,
            Some(_) => ended[position.to_move().other().index()] += 1,
            None => position.legal().for_each(|a| {
                let mut next = position;
                next.play(a);
                games(next, ended);
            }),
        }
    }
    let mut ended = [0; 3];
    games(TicTacToe::start(), &mut ended);
    assert_eq!(ended, [131_184, 77_904, 46_080], "won by x, won by o, drawn");
    assert_eq!(ended.iter().sum::<usize>(), 255_168);
}

/// OEIS A212693: legal 7 x 6 Connect Four positions after n plies.
#[test]
fn connect_four_positions_after_n_plies() {
    let counts: Vec<usize> = reachable::<ConnectFour>(8).iter().map(HashSet::len).collect();
    assert_eq!(counts, [1, 7, 49, 238, 1_120, 4_263, 16_422, 54_859, 184_275]);
}

#[test]
fn connect_four_sees_all_directions() {
    for (moves, name) in [
        ("1212121", "vertical"),
        ("1122334", "horizontal"),
        ("1223733474644", "diagonal /"),
        ("7665155414244", "diagonal \\"),
    ] {
        let position = ConnectFour::parse(moves).unwrap();
        assert_eq!(position.outcome(), Some(Outcome::Loss), "{name}");
        let before = ConnectFour::parse(&moves[..moves.len() - 1]).unwrap();
        assert_eq!(before.outcome(), None, "{name}");
    }
    let refused = ConnectFour::parse("1111111").unwrap_err().0;
    assert!(refused.contains("move 7") && refused.ends_with("is not legal; legal moves are 2 3 4 5 6 7"), "{refused}");
    assert!(ConnectFour::parse("12121212").unwrap_err().0.contains("after the end"));
}

/// Ways to play so many moves.
fn perft<G: Game>(game: &G, plies: usize) -> u64 {
    if plies == 0 || game.outcome().is_some() {
        return u64::from(plies == 0);
    }
    let after = |action| {
        let mut next = game.clone();
        next.play(action);
        perft(&next, plies - 1)
    };
    game.legal().map(after).sum()
}

/// Figures that independent programs agree on.
#[test]
fn moves_are_as_many_as_they_should_be() {
    fn check<G: Game>(expected: &[u64]) {
        let found: Vec<u64> = (1..=expected.len()).map(|plies| perft(&G::start(), plies)).collect();
        assert_eq!(found, expected, "{}", G::TITLE);
    }
    check::<Othello<8>>(&[4, 12, 56, 244, 1_396, 8_200, 55_092]);
    check::<DotsAndBoxes<2>>(&[12, 132]);
    check::<Go<5>>(&[26, 651, 15_650]);
    check::<Hex<5>>(&[25, 600, 13_800]);
    check::<Breakthrough<8, 8>>(&[22, 484, 11_132]);
    check::<Clobber>(&[49, 2_116, 80_063]);
}

/// A descent copies the root's state into that of a leaf, which has room for the longest history.
#[test]
fn copies_of_go_take_no_new_memory() {
    let (mut game, mut leaf) = (Go::<5>::start(), Go::<5>::start());
    let room = leaf.room();
    while game.outcome().is_none() {
        leaf.clone_from(&game);
        let action = game.legal().next().unwrap();
        game.play(action);
        leaf.play(action);
        assert_eq!((leaf.room(), &leaf), (room, &game));
    }
}

/// John Tromp's numbers of legal positions: every group of stones has a liberty.
#[test]
fn legal_positions_of_go() {
    assert_eq!(Go::<2>::legal_boards(), 57);
    assert_eq!(Go::<3>::legal_boards(), 12_675);
}

#[test]
fn komi_decides_an_empty_board() {
    let rules = |points| GameConfig { name: "go5".into(), komi: Komi::Points(points) };
    for (points, expected) in [(0.5, Outcome::Loss), (0.0, Outcome::Draw), (-0.5, Outcome::Win), (60.0, Outcome::Loss)]
    {
        let start = Go::<5>::start_with(&rules(points)).unwrap();
        let end = start.clone().after("pass pass").unwrap();
        assert_eq!((end.outcome(), end.score()), (Some(expected), Some(-points)));
        let planes = |game: &Go<5>| {
            let mut planes = [0.0; Go::<5>::INPUT];
            Go::<5>::encode(game.key(), &mut planes);
            planes
        };
        assert_ne!(planes(&start), planes(&Go::start()), "the network sees it");
    }
    for points in [0.3, 60.5, -61.0, f32::NAN, f32::INFINITY] {
        assert!(Go::<5>::start_with(&rules(points)).is_err(), "{points}");
    }
    assert!(TicTacToe::start_with(&rules(0.5)).is_err());
}

#[test]
fn full_boards_of_hex_have_one_winner() {
    let mut rng = crate::LaneRng::new(3, 3);
    for _ in 0..2_000 {
        let mut cells: Vec<u16> = (0..49).collect();
        for i in (1..49).rev() {
            cells.swap(i, rng.below(i + 1));
        }
        let [first, second] = [&cells[..25], &cells[25..]];
        let [by_first, by_second] = Hex::<7>::connected(first, second);
        assert_ne!(by_first, by_second, "{first:?}");
    }
}

#[test]
fn games_with_rules_of_their_own() {
    // A player without a move passes; the last move of these games is no pass.
    let mut passes = 0;
    let mut rng = crate::LaneRng::new(1, 9);
    for _ in 0..200 {
        let mut game = Othello::<6>::start();
        while game.outcome().is_none() {
            let legal: Vec<_> = game.legal().collect();
            assert!(legal == [36] || !legal.contains(&36), "whoever has a move must make it");
            passes += usize::from(legal == [36]);
            game.play(legal[rng.below(legal.len())]);
        }
    }
    assert!(passes > 20, "{passes}");
    // The fourth line of a box.
    let game = DotsAndBoxes::<3>::parse("b1 a2 c2 a4").unwrap();
    assert_eq!((game.to_move(), game.score()), (Side::First, Some(0.0)));
    let game = DotsAndBoxes::<3>::parse("b1 a2 c2 a4 b3").unwrap();
    assert_eq!((game.to_move(), game.score()), (Side::First, Some(1.0)));
    // A stone takes the last liberty of another, which may not be taken back at once, nor by a longer way round.
    let ko = Go::<5>::parse("b3 c3 a2 d2 b1 c1 c2 b2").unwrap();
    assert_eq!(ko.cell(3, 2), '.', "{}", ko.render(None));
    assert!(ko.parse_action("c2").is_err(), "ko");
    let later = Go::<5>::parse("b3 c3 a2 d2 b1 c1 c2 b2 e5 e4").unwrap();
    assert!(later.parse_action("c2").is_ok(), "the board is another one by now");
    let suicide = Go::<5>::parse("b1 e5 a2").unwrap();
    assert!(suicide.parse_action("a1").is_err());
    let counted = Go::<5>::parse("c1 pass c2 pass c3 pass c4 pass c5 pass pass").unwrap();
    assert_eq!((counted.score(), counted.outcome()), (Some(0.5), Some(Outcome::Loss)));
    // A pawn takes diagonally, and wins at the other end.
    let taken = Breakthrough::<6, 5>::parse("a2a3 b5b4 a3xb4").unwrap();
    assert_eq!(taken.outcome(), None);
    assert!(taken.parse_action("a5xb4").is_ok() && taken.parse_action("b6b5").is_ok());
    let won = Breakthrough::<6, 5>::parse("a2a3 b5b4 a3xb4 e5e4 b4xa5 e4e3 a5xb6").unwrap();
    assert_eq!(won.outcome(), Some(Outcome::Loss));
    // Five in a row, in every direction and across no edge.
    for moves in [
        "a1 i9 b1 i8 c1 i7 d1 i6 e1",
        "a1 i9 a2 i8 a3 i7 a4 i6 a5",
        "a1 i9 b2 i8 c3 i7 d4 i6 e5",
        "i1 a9 h2 a8 g3 a7 f4 a6 e5",
    ] {
        let won = Gomoku::<9>::parse(moves).unwrap();
        assert_eq!(won.outcome(), Some(Outcome::Loss), "{}", won.render(None));
    }
    assert_eq!(Gomoku::<9>::parse("g1 a9 h1 b9 i1 d9 a2 e9 b2").unwrap().outcome(), None);
    assert!(Hex::<5>::parse("c1 a1 c2 a2 c3 a3 c4 a4 c5").unwrap().outcome() == Some(Outcome::Loss));
}
