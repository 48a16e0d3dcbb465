use crate::{
    board::{Cells, images, stone},
    game::{Action, BoardKind, Game, Outcome, Side},
};

/// Gomoku, free style: five or more in a row, in any direction, win. A full board is a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gomoku<const SIZE: usize> {
    /// Stones of the player to move.
    mine: Cells<4>,
    theirs: Cells<4>,
}

impl<const SIZE: usize> Gomoku<SIZE> {
    const CELLS: usize = SIZE * SIZE;
    const BOARD: Cells<4> = Cells::first(Self::CELLS);
    const IMAGES: [[u16; 256]; 8] = images(SIZE, SIZE, 8);

    const INNER: [Cells<4>; 2] = Cells::inner(SIZE, SIZE);

    fn five_in_a_row(stones: Cells<4>) -> bool {
        let [not_first, not_last] = Self::INNER;
        // To the right, down, down to the right, down to the left: how far, and where such a step can end.
        let ways = [(1, not_first), (SIZE, Self::BOARD), (SIZE + 1, not_first), (SIZE - 1, not_last)];
        ways.into_iter().any(|(by, ends)| !(1..5).fold(stones, |row, _| row.later(by) & ends & stones).is_empty())
    }
}

impl<const SIZE: usize> Game for Gomoku<SIZE> {
    type Key = Self;

    const NAME: &'static str = if SIZE == 15 { "gomoku" } else { "gomoku9" };
    const TITLE: &'static str = if SIZE == 15 { "Gomoku" } else { "Gomoku 9x9" };
    const PLANES: usize = 2;
    const HEIGHT: usize = SIZE;
    const WIDTH: usize = SIZE;
    const ACTIONS: usize = Self::CELLS;
    const MAX_PLIES: usize = Self::CELLS;
    const SYMMETRIES: usize = 8;
    const BOARD: BoardKind = BoardKind::Points;

    fn start() -> Self {
        Self { mine: Cells::NONE, theirs: Cells::NONE }
    }

    fn of_key(key: Self) -> Self {
        key
    }

    fn key(&self) -> Self {
        *self
    }

    fn to_move(&self) -> Side {
        if self.mine.len() == self.theirs.len() { Side::First } else { Side::Second }
    }

    fn moves(key: Self) -> impl Iterator<Item = Action> {
        (!(key.mine | key.theirs) & Self::BOARD).iter()
    }

    fn play(&mut self, action: Action) {
        self.mine.insert(action.into());
        std::mem::swap(&mut self.mine, &mut self.theirs);
    }

    fn outcome(&self) -> Option<Outcome> {
        if Self::five_in_a_row(self.theirs) {
            Some(Outcome::Loss)
        } else if self.mine | self.theirs == Self::BOARD {
            Some(Outcome::Draw)
        } else {
            None
        }
    }

    fn encode(key: Self, planes: &mut [f32]) {
        let (mine, theirs) = planes.split_at_mut(Self::CELLS);
        key.mine.write(mine);
        key.theirs.write(theirs);
    }

    fn transform(key: Self, symmetry: usize) -> Self {
        let image = |cells: Cells<4>| cells.moved(&Self::IMAGES[symmetry]);
        Self { mine: image(key.mine), theirs: image(key.theirs) }
    }

    fn cell(&self, row: usize, column: usize) -> char {
        let cell = row * SIZE + column;
        stone(self.mine.has(cell), self.theirs.has(cell), self.to_move())
    }
}
