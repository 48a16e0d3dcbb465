use crate::game::{Action, Bits, Game, Outcome, ParseError, Player};
use std::{fmt, str::FromStr};

/// Tic-tac-toe. Cells are numbered 0 to 8 by rows from the top left; people write them `a1` to `c3`, column and row.
///
/// Its text is the board by rows, `x` and `o` with `.` for empty cells, `/` between rows: `x.o/.x./...`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TicTacToe {
    /// Stones of the player to move, one bit a cell.
    mine: u16,
    /// Stones of the other player.
    theirs: u16,
}

const FULL: u16 = 0b111_111_111;
const LINES: [u16; 8] = [0o007, 0o070, 0o700, 0o111, 0o222, 0o444, 0o421, 0o124];

/// The cell that each symmetry takes cell `i` to: the four rotations, then the same after a mirror.
const TRANSFORMS: [[u8; 9]; 8] = {
    let mut table = [[0; 9]; 8];
    let mut s = 0;
    while s < 8 {
        let mut i = 0;
        while i < 9 {
            let (mut row, mut column) = (i / 3, i % 3);
            if s >= 4 {
                column = 2 - column;
            }
            let mut turn = 0;
            while turn < s % 4 {
                (row, column) = (column, 2 - row);
                turn += 1;
            }
            table[s][i] = (row * 3 + column) as u8;
            i += 1;
        }
        s += 1;
    }
    table
};

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
                table[bits][s] |= ((bits >> cell & 1) as i16) << (TRANSFORMS[s][cell] + 3);
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
    const NAME: &'static str = "tictactoe";
    const TITLE: &'static str = "Tic-tac-toe";
    const PLANES: usize = 2;
    const HEIGHT: usize = 3;
    const WIDTH: usize = 3;
    const ACTIONS: usize = 9;
    const MAX_LEGAL: usize = 9;
    const MAX_PLIES: usize = 9;
    const SYMMETRIES: usize = 8;

    fn start() -> Self {
        Self::default()
    }

    #[inline]
    fn to_move(&self) -> Player {
        if self.mine.count_ones() == self.theirs.count_ones() { Player::First } else { Player::Second }
    }

    #[inline]
    fn legal(&self) -> impl Iterator<Item = Action> {
        Bits((!(self.mine | self.theirs) & FULL).into())
    }

    #[inline]
    fn play(&mut self, action: Action) {
        debug_assert!(self.is_legal(action), "{action} is not legal in {self}");
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

    fn encode(&self, planes: &mut [f32]) {
        let (mine, theirs) = planes[..Self::INPUT].split_at_mut(9);
        for cell in 0..9 {
            mine[cell] = f32::from(self.mine >> cell & 1);
            theirs[cell] = f32::from(self.theirs >> cell & 1);
        }
    }

    fn transform(&self, symmetry: usize) -> Self {
        let form = |cells: u16| (FORMS[cells as usize][symmetry] >> 3) as u16;
        Self { mine: form(self.mine), theirs: form(self.theirs) }
    }

    #[inline]
    fn canonical(&self) -> (Self, usize) {
        // Every leaf of a search is asked for it. The smallest of eight numbers of 16 bits takes a handful of
        // instructions and no branch.
        let (larger, theirs) = (&LARGER[self.mine as usize], &FORMS[self.theirs as usize]);
        let keys: [i16; 8] = std::array::from_fn(|s| larger[s] | theirs[s]);
        let symmetry = keys.iter().fold(i16::MAX, |smallest, &key| smallest.min(key)) as usize & 7;
        (self.transform(symmetry), symmetry)
    }

    #[inline]
    fn transform_action(action: Action, symmetry: usize) -> Action {
        TRANSFORMS[symmetry][action as usize].into()
    }

    fn action_text(&self, action: Action) -> String {
        format!("{}{}", (b'a' + (action % 3) as u8) as char, action / 3 + 1)
    }

    fn render(&self) -> String {
        let text = self.to_string();
        let mut board = String::from("  a b c\n");
        for (row, cells) in text.split('/').enumerate() {
            board += &format!("{}", row + 1);
            for cell in cells.chars() {
                board += &format!(" {cell}");
            }
            board.push('\n');
        }
        board
    }
}

impl fmt::Display for TicTacToe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (x, o) = match self.to_move() {
            Player::First => (self.mine, self.theirs),
            Player::Second => (self.theirs, self.mine),
        };
        for cell in 0..9 {
            if cell == 3 || cell == 6 {
                f.write_str("/")?;
            }
            f.write_str(match (x >> cell & 1, o >> cell & 1) {
                (1, _) => "x",
                (_, 1) => "o",
                _ => ".",
            })?;
        }
        Ok(())
    }
}

impl FromStr for TicTacToe {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fail = |why: &str| {
            Err(ParseError(format!("'{text}' is not a tic-tac-toe position: {why}; write three rows like x.o/.x./...")))
        };
        let rows: Vec<&str> = text.trim().split('/').collect();
        if rows.len() != 3 || rows.iter().any(|row| row.chars().count() != 3) {
            return fail("it needs three rows of three cells");
        }
        let (mut x, mut o) = (0u16, 0u16);
        for (cell, c) in rows.concat().chars().enumerate() {
            match c {
                'x' | 'X' => x |= 1 << cell,
                'o' | 'O' => o |= 1 << cell,
                '.' | '-' | '_' => {}
                _ => return fail("a cell is x, o or ."),
            }
        }
        let position = match x.count_ones() as i32 - o.count_ones() as i32 {
            0 => Self { mine: x, theirs: o },
            1 => Self { mine: o, theirs: x },
            _ => return fail("x begins and the players alternate, so x has as many stones as o or one more"),
        };
        if won(position.mine) {
            return fail("the player to move has already won");
        }
        Ok(position)
    }
}
