//! Whole search trees against stored ones.
//!
//! A golden tree is that of one lane after a fixed number of simulations from a fixed position, with the uniform
//! evaluator and a fixed seed. To renew them after a change of meaning, delete the file and run the test twice; the
//! first run writes it and fails.

use lockstep::prelude::*;
use std::{fmt::Write, path::Path};

fn dump(tree: &Tree, node: u32, depth: usize, out: &mut String) {
    for edge in tree.edges(node) {
        write!(
            out,
            "{:indent$}{} visits {} value_sum {:?} prior {:?}",
            "",
            edge.action(),
            edge.visits(),
            edge.value_sum,
            edge.prior(),
            indent = 2 * depth
        )
        .unwrap();
        match edge.child() {
            components::tree::Child::Node(child) => {
                out.push('\n');
                dump(tree, child, depth + 1, out);
            }
            // As the player sees it who is to move then.
            components::tree::Child::Terminal(outcome) => writeln!(out, " {:?}", outcome.reversed()).unwrap(),
            _ => out.push('\n'),
        }
    }
}

fn check<G: Game>(name: &str, position: &str, leaves_per_tree: u32, solver: bool) {
    let search = SearchConfig { simulations: 120, solver, cache_mb: 0, ..Default::default() };
    let lanes = LanesConfig { count: 1, leaves_per_tree, ..Default::default() };
    let mut world =
        Setup::search_only(AnyGame::of::<G>(), Searcher::new(Uniform::default(), search)).lanes(lanes).seed(11).build();
    let position = G::parse(position).unwrap();
    world.query::<&mut Position<G>>().single_mut(&mut world).unwrap().0 = position;
    let mut trees = world.query::<&Tree>();
    while trees.single(&world).unwrap().state != TreeState::Complete {
        run_tick(&mut world).unwrap();
    }
    let tree = trees.single(&world).unwrap();
    assert!(tree.simulations_at_root() == 120 || tree.proven.is_some());
    let visits: u32 = tree.root_edges().iter().map(|e| e.visits()).sum();
    assert_eq!(visits, tree.simulations_at_root(), "every simulation passes through one root edge");
    let mut found = format!("root visits {} value_sum {:?}\n", tree.root_visits, tree.root_value_sum);
    if let Some(outcome) = tree.proven {
        found += &format!("proven {outcome:?}\n");
    }
    dump(tree, 0, 0, &mut found);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let Ok(expected) = std::fs::read_to_string(&path) else {
        std::fs::write(&path, found).unwrap();
        panic!("{} was missing and is now written: check it and run again", path.display());
    };
    assert!(found == expected, "the tree differs from {}:\n{found}", path.display());
}

#[test]
fn tictactoe_one_leaf() {
    check::<TicTacToe>("tictactoe.txt", "a1 b2", 1, false);
}

#[test]
fn tictactoe_eight_leaves() {
    check::<TicTacToe>("tictactoe_8_leaves.txt", "a1 b2", 8, false);
}

#[test]
fn connect_four_one_leaf() {
    check::<ConnectFour>("connect_four.txt", "4444326555", 1, false);
}

#[test]
fn tictactoe_with_a_solver() {
    check::<TicTacToe>("tictactoe_solver.txt", "a1 b2 c3", 1, true);
}
