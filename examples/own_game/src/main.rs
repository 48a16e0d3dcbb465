//! A game in a crate of its own, and a program that is lockstep with this game in it.
//!
//! Treblecross: both players mark a cell of a strip with the same mark, and whoever makes three in a row wins.

use lockstep::{
    AnyGame, Hooks,
    components::{Side, game::Oracle},
    prelude::{Action, Game, Outcome},
};

const CELLS: usize = 11;

/// A bit for each marked cell: that is all there is to know, so the state is its own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Treblecross(u16);

impl Game for Treblecross {
    type Key = Self;

    const NAME: &'static str = "treblecross";
    const TITLE: &'static str = "Treblecross";
    const PLANES: usize = 1;
    const HEIGHT: usize = 1;
    const WIDTH: usize = CELLS;
    const ACTIONS: usize = CELLS;
    const MAX_PLIES: usize = CELLS;
    const SYMMETRIES: usize = 2;
    const ORACLE: Oracle = Oracle::Everything;

    fn start() -> Self {
        Self(0)
    }

    fn of_key(key: Self) -> Self {
        key
    }

    fn key(&self) -> Self {
        *self
    }

    fn to_move(&self) -> Side {
        if self.0.count_ones().is_multiple_of(2) { Side::First } else { Side::Second }
    }

    fn moves(key: Self) -> impl Iterator<Item = Action> {
        (0..CELLS as Action).filter(move |cell| key.0 >> cell & 1 == 0)
    }

    fn play(&mut self, cell: Action) {
        self.0 |= 1 << cell;
    }

    fn outcome(&self) -> Option<Outcome> {
        // For the player to move: the other one has just made three.
        (self.0 & self.0 >> 1 & self.0 >> 2 != 0).then_some(Outcome::Loss)
    }

    fn encode(key: Self, planes: &mut [f32]) {
        planes.iter_mut().enumerate().for_each(|(cell, x)| *x = f32::from(key.0 >> cell & 1));
    }

    fn transform(key: Self, symmetry: usize) -> Self {
        if symmetry == 0 { key } else { Self(key.0.reverse_bits() >> (16 - CELLS)) }
    }

    fn cell(&self, _row: usize, column: usize) -> char {
        if self.0 >> column & 1 == 1 { 'x' } else { '.' }
    }
}

fn main() -> std::process::ExitCode {
    let recipes = &[("treblecross", include_str!("../treblecross.toml"))];
    lockstep::main_with(&[AnyGame::of::<Treblecross>().with_recipes(recipes)], Hooks::default())
}
