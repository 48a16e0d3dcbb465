use crate::{
    board::{images, stone},
    game::{Action, Bits, Game, Oracle, Outcome, Side},
};

/// Tic-tac-toe. Cells are numbered 0 to 8 by rows from the top left; people write them `a1` to `c3`, column and row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TicTacToe {
    /// Stones of the player to move, one bit a cell.
    mine: u16,
    /// Stones of the other player.
    theirs: u16,
}

const FULL: u16 = 0b111_111_111;
const LINES: [u16; 8] = [0o007, 0o070, 0o700, 0o111, 0o222, 0o444, 0o421, 0o124];

/// The cell that each symmetry takes a cell to.
const IMAGES: [[u16; 9]; 8] = images(3, 3, 8);

fn won(stones: u16) -> bool {
    // No early exit: eight independent tests are faster than eight branches.
    LINES.iter().fold(false, |won, &line| won | (stones & line == line))
}

/// The symmetric forms of each set of cells, with the symmetry in the lowest three bits.
static FORMS: [[i16; 8]; FULL as usize + 1] = {
    let mut table = [[0; 8]; FULL as usize + 1];
    let mut bits = 0;
    while bits < table.len() {
        let mut s = 0;
        while s < 8 {
            table[bits][s] = s as i16;
            let mut cell = 0;
            while cell < 9 {
                table[bits][s] |= ((bits >> cell & 1) as i16) << (IMAGES[s][cell] + 3);
                cell += 1;
            }
            s += 1;
        }
        bits += 1;
    }
    table
};

/// A number above all of those where a form of a set of cells is not its smallest one, else 0.
static LARGER: [[i16; 8]; FULL as usize + 1] = {
    let mut table = [[0; 8]; FULL as usize + 1];
    let mut bits = 0;
    while bits < table.len() {
        let mut i = 0;
        while i < 64 {
            if FORMS[bits][i / 8] >> 3 > FORMS[bits][i % 8] >> 3 {
                table[bits][i / 8] = 1 << 12;
            }
            i += 1;
        }
        bits += 1;
    }
    table
};

impl Game for TicTacToe {
    type Key = Self;

    const NAME: &'static str = "tictactoe";
    const TITLE: &'static str = "Tic-tac-toe";
    const PLANES: usize = 2;
    const HEIGHT: usize = 3;
    const WIDTH: usize = 3;
    const ACTIONS: usize = 9;
    const MAX_PLIES: usize = 9;
    const SYMMETRIES: usize = 8;
    const ORACLE: Oracle = Oracle::Everything;

    fn start() -> Self {
        Self::default()
    }

    fn of_key(key: Self) -> Self {
        key
    }

    #[inline]
    fn key(&self) -> Self {
        *self
    }

    #[inline]
    fn to_move(&self) -> Side {
        if self.mine.count_ones() == self.theirs.count_ones() { Side::First } else { Side::Second }
    }

    #[inline]
    fn moves(key: Self) -> impl Iterator<Item = Action> {
        Bits((!(key.mine | key.theirs) & FULL).into())
    }

    #[inline]
    fn play(&mut self, action: Action) {
        debug_assert!(self.is_legal(action), "{action} is not legal in {self:?}");
        (self.mine, self.theirs) = (self.theirs, self.mine | 1 << action);
    }

    #[inline]
    fn outcome(&self) -> Option<Outcome> {
        if won(self.theirs) {
            Some(Outcome::Loss)
        } else if self.mine | self.theirs == FULL {
            Some(Outcome::Draw)
        } else {
            None
        }
    }

    fn encode(key: Self, planes: &mut [f32]) {
        let (mine, theirs) = planes.split_at_mut(9);
        for cell in 0..9 {
            mine[cell] = f32::from(key.mine >> cell & 1);
            theirs[cell] = f32::from(key.theirs >> cell & 1);
        }
    }

    fn transform(key: Self, symmetry: usize) -> Self {
        let form = |cells: u16| (FORMS[cells as usize][symmetry] >> 3) as u16;
        Self { mine: form(key.mine), theirs: form(key.theirs) }
    }

    #[inline]
    fn canonical(key: Self) -> (Self, usize) {
        // Every leaf of a search is asked for it. The smallest of eight numbers of 16 bits takes a handful of
        // instructions and no branch.
        let (larger, theirs) = (&LARGER[key.mine as usize], &FORMS[key.theirs as usize]);
        let keys: [i16; 8] = std::array::from_fn(|s| larger[s] | theirs[s]);
        let symmetry = keys.iter().fold(i16::MAX, |smallest, &key| smallest.min(key)) as usize & 7;
        (Self::transform(key, symmetry), symmetry)
    }

    #[inline]
    fn transform_action(action: Action, symmetry: usize) -> Action {
        IMAGES[symmetry][action as usize]
    }

    fn cell(&self, row: usize, column: usize) -> char {
        let bit = 1 << (3 * row + column);
        stone(self.mine & bit != 0, self.theirs & bit != 0, self.to_move())
    }
}
