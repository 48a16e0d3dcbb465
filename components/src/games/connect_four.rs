use crate::game::{Action, Bits, Game, Outcome, ParseError, Player};
use std::{fmt, str::FromStr};

/// Connect Four on the usual board of 7 columns and 6 rows. A move is a column, 0 to 6; people write 1 to 7.
///
/// Its text is the list of columns played, `44256`, as in Pascal Pons' solver and test sets. A position that is not
/// known by its moves is written as one list of moves that leads to it.
///
/// The board is one bit a cell, 7 bits a column from the bottom with an empty sentinel on top, after John Tromp's
/// Fhourstones: a line of four is then found with two shifts in each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectFour {
    /// Stones of the player to move.
    mine: u64,
    /// Stones of both.
    all: u64,
}

const COLUMNS: usize = 7;
const ROWS: usize = 6;
/// Distance of two columns in bits.
const STRIDE: usize = ROWS + 1;
/// The lowest cell of each column.
const BOTTOM: u64 = 0x0000_0408_1020_4081;
/// The highest cell of each column.
const TOP: u64 = BOTTOM << (ROWS - 1);

/// A product with it moves bit `7 c` to bit `42 + c` without carries, for the seven columns at once.
const GATHER: u64 = 0x0000_0410_4104_1040;

/// The seven numbers of a row for each of its 128 fillings: looking them up is four times as fast as shifting.
static ROW_PLANES: [[f32; COLUMNS]; 1 << COLUMNS] = {
    let mut table = [[0.0; COLUMNS]; 1 << COLUMNS];
    let mut row = 0;
    while row < table.len() {
        let mut column = 0;
        while column < COLUMNS {
            table[row][column] = (row >> column & 1) as f32;
            column += 1;
        }
        row += 1;
    }
    table
};

#[inline]
fn four_in_line(stones: u64) -> bool {
    let mut found = 0;
    for shift in [1, STRIDE - 1, STRIDE, STRIDE + 1] {
        let pairs = stones & (stones >> shift);
        found |= pairs & (pairs >> (2 * shift));
    }
    found != 0
}

/// Exchanges the columns of these cells with those so many columns to their right.
#[inline]
fn exchange(stones: u64, cells: u64, columns: usize) -> u64 {
    let shift = columns * STRIDE;
    stones >> shift & cells | (stones & cells) << shift | stones & !(cells | cells << shift)
}

/// Columns 0 to 2 with 4 to 6 as blocks, then the outer two of each block.
#[inline]
fn mirror(stones: u64) -> u64 {
    const COLUMN: u64 = (1 << STRIDE) - 1;
    const BLOCK: u64 = (1 << (3 * STRIDE)) - 1;
    exchange(exchange(stones, BLOCK, 4), COLUMN | COLUMN << (4 * STRIDE), 2)
}

impl ConnectFour {
    /// The stone at a cell, `row` counted from the bottom.
    fn stone(&self, column: usize, row: usize) -> Option<Player> {
        let bit = 1u64 << (column * STRIDE + row);
        match (self.all & bit != 0, self.mine & bit != 0) {
            (false, _) => None,
            (true, true) => Some(self.to_move()),
            (true, false) => Some(self.to_move().other()),
        }
    }

    /// Some list of moves from the start to this position, found by taking stones off again. Depth-first with the
    /// dead ends remembered: a position has few heights at which the search can fail.
    fn moves(&self) -> Vec<Action> {
        fn back(position: ConnectFour, line: &mut Vec<Action>, dead: &mut std::collections::HashSet<u64>) -> bool {
            if position.all == 0 {
                return true;
            }
            if !dead.insert(position.all) {
                return false;
            }
            let mover = position.all ^ position.mine;
            for column in 0..COLUMNS {
                let stones = position.all >> (column * STRIDE) & ((1 << ROWS) - 1);
                let height = stones.count_ones() as usize;
                let Some(row) = height.checked_sub(1) else { continue };
                let bit = 1u64 << (column * STRIDE + row);
                let before = ConnectFour { mine: mover & !bit, all: position.all & !bit };
                // The last stone belongs to the player who has just moved, and the game was not over before.
                if mover & bit != 0 && before.outcome().is_none() && !four_in_line(before.mine) {
                    line.push(column as Action);
                    if back(before, line, dead) {
                        return true;
                    }
                    line.pop();
                }
            }
            false
        }
        let mut line = vec![];
        let found = back(*self, &mut line, &mut Default::default());
        debug_assert!(found, "every position in play was reached by moves");
        line.reverse();
        line
    }
}

impl Game for ConnectFour {
    const NAME: &'static str = "connect_four";
    const TITLE: &'static str = "Connect Four";
    const PLANES: usize = 2;
    const HEIGHT: usize = ROWS;
    const WIDTH: usize = COLUMNS;
    const ACTIONS: usize = COLUMNS;
    const MAX_LEGAL: usize = COLUMNS;
    const MAX_PLIES: usize = COLUMNS * ROWS;
    const SYMMETRIES: usize = 2;

    fn start() -> Self {
        Self::default()
    }

    #[inline]
    fn to_move(&self) -> Player {
        if self.all.count_ones().is_multiple_of(2) { Player::First } else { Player::Second }
    }

    #[inline]
    fn legal(&self) -> impl Iterator<Item = Action> {
        let free = (!self.all & TOP) >> (ROWS - 1);
        Bits(free.wrapping_mul(GATHER) >> 42 & 0x7f)
    }

    #[inline]
    fn play(&mut self, action: Action) {
        debug_assert!(self.is_legal(action), "column {action} is not legal in {self:?}");
        self.mine ^= self.all;
        self.all |= self.all + (1 << (action as usize * STRIDE));
    }

    #[inline]
    fn outcome(&self) -> Option<Outcome> {
        if four_in_line(self.all ^ self.mine) {
            Some(Outcome::Loss)
        } else if self.all & TOP == TOP {
            Some(Outcome::Draw)
        } else {
            None
        }
    }

    fn encode(&self, planes: &mut [f32]) {
        let (mine, theirs) = planes[..Self::INPUT].split_at_mut(ROWS * COLUMNS);
        for (plane, stones) in [(mine, self.mine), (theirs, self.all ^ self.mine)] {
            for (i, row) in plane.as_chunks_mut::<COLUMNS>().0.iter_mut().enumerate() {
                let cells = stones >> (ROWS - 1 - i) & BOTTOM;
                *row = ROW_PLANES[(cells.wrapping_mul(GATHER) >> 42 & 0x7f) as usize];
            }
        }
    }

    fn transform(&self, symmetry: usize) -> Self {
        if symmetry == 0 { *self } else { Self { mine: mirror(self.mine), all: mirror(self.all) } }
    }

    #[inline]
    fn canonical(&self) -> (Self, usize) {
        // Which form is smaller is as good as random, so a branch would be guessed wrong half of the time.
        let (mine, all) = (mirror(self.mine), mirror(self.all));
        let key = |mine: u64, all: u64| u128::from(mine) << 64 | u128::from(all);
        let smaller = key(mine, all) < key(self.mine, self.all);
        let image = u64::from(smaller).wrapping_neg();
        let pick = |own: u64, mirrored: u64| own ^ (own ^ mirrored) & image;
        (Self { mine: pick(self.mine, mine), all: pick(self.all, all) }, smaller.into())
    }

    #[inline]
    fn transform_action(action: Action, symmetry: usize) -> Action {
        // Without a branch, as in `canonical`: 6 - a is a + (6 - 2 a).
        let to_image = ((COLUMNS - 1) as Action).wrapping_sub(2 * action);
        action.wrapping_add((symmetry as Action).wrapping_mul(to_image))
    }

    fn action_text(&self, action: Action) -> String {
        (action + 1).to_string()
    }

    fn render(&self) -> String {
        let mut board = String::from(" 1 2 3 4 5 6 7\n");
        for row in (0..ROWS).rev() {
            for column in 0..COLUMNS {
                board += match self.stone(column, row) {
                    None => " .",
                    Some(Player::First) => " x",
                    Some(Player::Second) => " o",
                };
            }
            board.push('\n');
        }
        board
    }
}

impl fmt::Display for ConnectFour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.moves().iter().try_for_each(|column| write!(f, "{}", column + 1))
    }
}

impl FromStr for ConnectFour {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut position = Self::start();
        for (i, c) in text.trim().chars().enumerate() {
            let fail = |why: String| {
                Err(ParseError(format!("'{}' is not a Connect Four position: move {}, '{c}', {why}", text.trim(), i + 1)))
            };
            let Some(column @ 1..=7) = c.to_digit(10) else {
                return fail("is not a column from 1 to 7".into());
            };
            if position.outcome().is_some() {
                return fail("comes after the end of the game".into());
            }
            if !position.is_legal(column as Action - 1) {
                return fail("is a full column".into());
            }
            position.play(column as Action - 1);
        }
        Ok(position)
    }
}
