use crate::{
    board,
    game::{Action, Bits, BoardKind, Game, Oracle, Outcome, Side},
};

/// Connect Four on the usual board of 7 columns and 6 rows. A move is a column, 0 to 6; people write 1 to 7, and a position
/// as the columns played, `44256`, as in Pascal Pons' solver and test sets.
///
/// The board is one bit a cell, 7 bits a column from the bottom with an empty sentinel on top, after John Tromp's
/// Fhourstones: a line of four is then found with two shifts in each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectFour {
    /// Stones of the player to move.
    mine: u64,
    /// Stones of both players.
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

/// A factor that moves bit `7 c` to bit `42 + c` without carries, for the seven columns at once.
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

impl Game for ConnectFour {
    type Key = Self;

    const NAME: &'static str = "connect_four";
    const TITLE: &'static str = "Connect Four";
    const PLANES: usize = 2;
    const HEIGHT: usize = ROWS;
    const WIDTH: usize = COLUMNS;
    const ACTIONS: usize = COLUMNS;
    const MAX_PLIES: usize = COLUMNS * ROWS;
    const SYMMETRIES: usize = 2;
    const BOARD: BoardKind = BoardKind::Columns;
    /// The positions of Pascal Pons' test sets.
    const ORACLE: Oracle = Oracle::Positions(include_bytes!("../../data/connect_four_pons.csv.zst"));

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
        if self.all.count_ones().is_multiple_of(2) { Side::First } else { Side::Second }
    }

    #[inline]
    fn moves(key: Self) -> impl Iterator<Item = Action> {
        let free = (!key.all & TOP) >> (ROWS - 1);
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

    fn encode(key: Self, planes: &mut [f32]) {
        let (mine, theirs) = planes.split_at_mut(ROWS * COLUMNS);
        for (plane, stones) in [(mine, key.mine), (theirs, key.all ^ key.mine)] {
            for (i, row) in plane.as_chunks_mut::<COLUMNS>().0.iter_mut().enumerate() {
                let cells = stones >> (ROWS - 1 - i) & BOTTOM;
                *row = ROW_PLANES[(cells.wrapping_mul(GATHER) >> 42 & 0x7f) as usize];
            }
        }
    }

    fn transform(key: Self, symmetry: usize) -> Self {
        if symmetry == 0 { key } else { Self { mine: mirror(key.mine), all: mirror(key.all) } }
    }

    #[inline]
    fn canonical(own: Self) -> (Self, usize) {
        // Which form is smaller is as good as random, so a branch would be guessed wrong half of the time.
        let (mine, all) = (mirror(own.mine), mirror(own.all));
        let key = |mine: u64, all: u64| u128::from(mine) << 64 | u128::from(all);
        let smaller = key(mine, all) < key(own.mine, own.all);
        let image = u64::from(smaller).wrapping_neg();
        let pick = |own: u64, mirrored: u64| own ^ (own ^ mirrored) & image;
        (Self { mine: pick(own.mine, mine), all: pick(own.all, all) }, smaller.into())
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

    fn cell(&self, row: usize, column: usize) -> char {
        let bit = 1u64 << (column * STRIDE + ROWS - 1 - row);
        board::stone(self.mine & bit != 0, (self.all ^ self.mine) & bit != 0, self.to_move())
    }

    fn cells_of(&self, action: Action) -> Vec<usize> {
        let column = usize::from(action);
        let height = (self.all >> (column * STRIDE) & ((1 << ROWS) - 1)).count_ones() as usize;
        vec![(ROWS - 1 - height) * COLUMNS + column]
    }
}
