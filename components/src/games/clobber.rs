use crate::{
    board::{Cells, cell_text, images, stone},
    game::{Action, Game, Outcome, Side},
};

/// Clobber. Stones of both players fill the board as a checkerboard. A move takes an own stone onto a neighbouring one of
/// the other player, which is removed. Whoever cannot move loses.
///
/// A move is one of four ways and the cell it begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Clobber {
    /// Stones of the player to move.
    mine: Cells<1>,
    theirs: Cells<1>,
}

const ROWS: usize = 5;
const COLUMNS: usize = 6;
const CELLS: usize = ROWS * COLUMNS;

impl Clobber {
    const IMAGES: [[u16; CELLS]; 8] = images(ROWS, COLUMNS, 4);
    const INNER: [Cells<1>; 2] = Cells::inner(ROWS, COLUMNS);
    /// What each way adds to a cell, plus one row: left, right, up, down.
    const STEPS: [usize; 4] = [COLUMNS - 1, COLUMNS + 1, 0, 2 * COLUMNS];

    /// The cells at which a move begins and ends.
    fn from_to(action: Action) -> (usize, usize) {
        let (way, from) = (usize::from(action) / CELLS, usize::from(action) % CELLS);
        (from, from + Self::STEPS[way] - COLUMNS)
    }
}

impl Game for Clobber {
    type Key = Self;

    const NAME: &'static str = "clobber";
    const TITLE: &'static str = "Clobber 5x6";
    const PLANES: usize = 2;
    const HEIGHT: usize = ROWS;
    const WIDTH: usize = COLUMNS;
    const ACTIONS: usize = 4 * CELLS;
    /// The moves at the start, where every pair of neighbouring cells is one.
    const MAX_LEGAL: usize = 2 * CELLS - ROWS - COLUMNS;
    const MEAN_LEGAL: usize = 20;
    /// Every move removes a stone, and one is always left.
    const MAX_PLIES: usize = CELLS - 1;
    const SYMMETRIES: usize = 4;
    const ROWS_UP: bool = true;

    fn start() -> Self {
        let of = |player| (0..CELLS).filter(|cell| (cell / COLUMNS + cell % COLUMNS) % 2 == player).collect();
        Self { mine: of(0), theirs: of(1) }
    }

    fn of_key(key: Self) -> Self {
        key
    }

    fn key(&self) -> Self {
        *self
    }

    fn to_move(&self) -> Side {
        if (self.mine | self.theirs).len() % 2 == CELLS % 2 { Side::First } else { Side::Second }
    }

    fn moves(Self { mine, theirs }: Self) -> impl Iterator<Item = Action> {
        let [not_first, not_last] = Self::INNER;
        let sideways = [theirs.later(1) & not_first, theirs.earlier(1) & not_last];
        let ways = [sideways[0], sideways[1], theirs.later(COLUMNS), theirs.earlier(COLUMNS)];
        (0..4).flat_map(move |way| (ways[way] & mine).iter().map(move |cell| (way * CELLS) as Action + cell))
    }

    fn play(&mut self, action: Action) {
        let (from, to) = Self::from_to(action);
        self.mine.remove(from);
        self.mine.insert(to);
        self.theirs.remove(to);
        std::mem::swap(&mut self.mine, &mut self.theirs);
    }

    fn outcome(&self) -> Option<Outcome> {
        Self::moves(*self).next().is_none().then_some(Outcome::Loss)
    }

    fn encode(Self { mine, theirs }: Self, planes: &mut [f32]) {
        let (of_mine, of_theirs) = planes.split_at_mut(CELLS);
        mine.write(of_mine);
        theirs.write(of_theirs);
    }

    fn transform(Self { mine, theirs }: Self, symmetry: usize) -> Self {
        let table = &Self::IMAGES[symmetry];
        Self { mine: mine.moved(table), theirs: theirs.moved(table) }
    }

    fn transform_action(action: Action, symmetry: usize) -> Action {
        let (way, from) = (usize::from(action) / CELLS, usize::from(action) % CELLS);
        let opposite = symmetry >> (way / 2) & 1;
        ((way ^ opposite) * CELLS) as Action + Self::IMAGES[symmetry][from]
    }

    fn action_text(&self, action: Action) -> String {
        let (from, to) = Self::from_to(action);
        [from, to].map(|cell| cell_text(ROWS, COLUMNS, true, cell)).concat()
    }

    fn cells_of(&self, action: Action) -> Vec<usize> {
        let (from, to) = Self::from_to(action);
        vec![from, to]
    }

    fn cell(&self, row: usize, column: usize) -> char {
        let cell = row * COLUMNS + column;
        stone(self.mine.has(cell), self.theirs.has(cell), self.to_move())
    }
}
