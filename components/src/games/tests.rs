//! Every game passes these, and exact counts where they are known.

use super::*;
use crate::game::{Action, Outcome, Player};
use proptest::prelude::*;
use std::collections::HashSet;

/// Plays `choices` as indices into the legal moves, and checks what holds at each position on the way.
fn check_playout<G: Game>(choices: &[u16]) -> Result<(), TestCaseError> {
    let mut position = G::start();
    let mut plies = 0;
    prop_assert_eq!(position.to_move(), Player::First);
    loop {
        check_position(&position)?;
        if position.outcome().is_some() {
            return Ok(());
        }
        let legal: Vec<Action> = position.legal().collect();
        prop_assert!(!legal.is_empty() && legal.len() <= G::MAX_LEGAL, "{legal:?} in {position}");
        prop_assert!(legal.is_sorted_by(|a, b| a < b), "ascending and without repeats");
        prop_assert!(legal.iter().all(|&a| (a as usize) < G::ACTIONS));
        for action in 0..G::ACTIONS as Action {
            prop_assert_eq!(position.is_legal(action), legal.contains(&action));
        }
        let action = legal[choices.get(plies).copied().unwrap_or(0) as usize % legal.len()];
        prop_assert_eq!(position.parse_action(&position.action_text(action)), Ok(action));
        for symmetry in 0..G::SYMMETRIES {
            let mut image = position.transform(symmetry);
            let moves: HashSet<Action> = legal.iter().map(|&a| G::transform_action(a, symmetry)).collect();
            prop_assert_eq!(moves, image.legal().collect::<HashSet<_>>(), "legal moves commute with symmetry");
            image.play(G::transform_action(action, symmetry));
            let mut after = position;
            after.play(action);
            prop_assert_eq!(image, after.transform(symmetry), "playing commutes with symmetry");
            prop_assert_eq!(image.outcome(), after.outcome());
        }
        let mover = position.to_move();
        position.play(action);
        plies += 1;
        prop_assert_eq!(position.to_move(), mover.other(), "the players alternate");
        prop_assert!(plies <= G::MAX_PLIES, "games end");
    }
}

fn check_position<G: Game>(position: &G) -> Result<(), TestCaseError> {
    let encoded = |p: &G| {
        let mut planes = vec![f32::NAN; G::INPUT];
        p.encode(&mut planes);
        planes
    };
    let planes = encoded(position);
    prop_assert!(planes.iter().all(|x| x.is_finite()), "every number of the planes is written");
    prop_assert_eq!(position.transform(0), *position, "symmetry 0 is the identity");
    for symmetry in 0..G::SYMMETRIES {
        let image = position.transform(symmetry);
        prop_assert_eq!(image.canonical().0, position.canonical().0, "one canonical form for all images");
        prop_assert!(position.canonical().0 <= image, "it is the smallest of them");
        prop_assert_eq!(position.transform(position.canonical().1), position.canonical().0);
        // A symmetry permutes the cells: each plane keeps its sum.
        let sums = |p: &[f32]| p.chunks(G::HEIGHT * G::WIDTH).map(|c| c.iter().sum()).collect::<Vec<f32>>();
        prop_assert_eq!(sums(&encoded(&image)), sums(&planes));
        if image != *position {
            prop_assert_ne!(encoded(&image), planes.clone(), "different positions look different");
        }
    }
    if position.outcome().is_none() {
        let text = position.to_string();
        prop_assert_eq!(text.parse::<G>(), Ok(*position), "{}", text);
        prop_assert!(!position.render().is_empty());
    }
    Ok(())
}

macro_rules! properties {
    ($($name:ident: $game:ty,)*) => { proptest! { $(
        #[test]
        fn $name(choices in prop::collection::vec(any::<u16>(), <$game>::MAX_PLIES), text in ".{0,12}") {
            check_playout::<$game>(&choices)?;
            // Any text is a position or an error, never a panic.
            if let Ok(position) = text.parse::<$game>() {
                check_position(&position)?;
            }
            let _ = <$game>::start().parse_action(&text);
        }
    )* } };
}

properties! {
    tictactoe_is_sound: TicTacToe,
    connect_four_is_sound: ConnectFour,
}

#[test]
fn registry_finds_every_game() {
    struct Name;
    impl GameVisitor for Name {
        type Output = &'static str;
        fn visit<G: Game>(self) -> &'static str {
            G::NAME
        }
    }
    for name in NAMES {
        assert_eq!(visit(name, Name).ok(), Some(*name));
    }
    assert!(visit("chess", Name).is_err());
}

fn reachable<G: Game>(plies: usize) -> Vec<HashSet<G>> {
    let mut levels = vec![HashSet::from([G::start()])];
    for _ in 0..plies {
        let next = levels[levels.len() - 1]
            .iter()
            .filter(|p| p.outcome().is_none())
            .flat_map(|p| {
                p.legal().map(|a| {
                    let mut q = *p;
                    q.play(a);
                    q
                })
            })
            .collect();
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
        let position: ConnectFour = moves.parse().unwrap();
        assert_eq!(position.outcome(), Some(Outcome::Loss), "{name}");
        let before: ConnectFour = moves[..moves.len() - 1].parse().unwrap();
        assert_eq!(before.outcome(), None, "{name}");
    }
    assert!("1111111".parse::<ConnectFour>().unwrap_err().0.contains("full column"));
    assert!("12121212".parse::<ConnectFour>().unwrap_err().0.contains("after the end"));
}
