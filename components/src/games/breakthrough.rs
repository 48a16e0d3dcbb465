use crate::{
    board::{Cells, cell_text, stone},
    game::{Action, Game, Oracle, Outcome, Side},
};

/// Breakthrough. A pawn moves one row forward, straight or diagonally to an empty cell, and takes diagonally. Whoever reaches the
/// other end, or takes all pawns of the other player, wins. There is always a move.
///
/// The first player begins at the bottom. The network sees every position with the player to move going up, and a move is the
/// cell it begins at as that player sees it, and one of three ways: left, straight, right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breakthrough<const ROWS: usize, const COLUMNS: usize> {
    pawns: Pawns,
    to_move: Side,
}

/// The key of [`Breakthrough`]: the pawns of the player to move, who goes up, and of the other player.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pawns {
    mine: u64,
    theirs: u64,
}

impl<const ROWS: usize, const COLUMNS: usize> Breakthrough<ROWS, COLUMNS> {
    const CELLS: usize = ROWS * COLUMNS;
    const ROW: u64 = (1 << COLUMNS) - 1;
    /// The first cells of all rows.
    const LEFT: u64 = {
        let (mut cells, mut row) = (0, 0);
        while row < ROWS {
            cells |= 1 << (row * COLUMNS);
            row += 1;
        }
        cells
    };

    /// The cells with the rows in reverse order, as the other player sees them.
    fn turned(cells: u64) -> u64 {
        (0..ROWS).fold(0, |turned, row| turned | (cells >> (row * COLUMNS) & Self::ROW) << ((ROWS - 1 - row) * COLUMNS))
    }

    /// The cells with the columns in reverse order.
    fn mirrored(cells: u64) -> u64 {
        let column = |i: usize| cells >> i & Self::LEFT;
        (0..COLUMNS).fold(0, |mirrored, i| mirrored | column(i) << (COLUMNS - 1 - i))
    }

    /// The cells at which a move begins and ends, as the player to move sees them.
    fn from_to(action: Action) -> (usize, usize) {
        let (from, way) = (usize::from(action) / 3, usize::from(action) % 3);
        (from, from + way - COLUMNS - 1)
    }

    /// Converts a cell as a player sees it to the cell on the board, and back.
    fn absolute(player: Side, cell: usize) -> usize {
        let row = cell / COLUMNS;
        if player == Side::First { cell } else { (ROWS - 1 - row) * COLUMNS + cell % COLUMNS }
    }
}

impl<const ROWS: usize, const COLUMNS: usize> Game for Breakthrough<ROWS, COLUMNS> {
    type Key = Pawns;

    const NAME: &'static str = if ROWS == 8 { "breakthrough" } else { "breakthrough6" };
    const TITLE: &'static str = if ROWS == 8 { "Breakthrough" } else { "Breakthrough 6x5" };
    const PLANES: usize = 2;
    const HEIGHT: usize = ROWS;
    const WIDTH: usize = COLUMNS;
    const ACTIONS: usize = 3 * Self::CELLS;
    const MAX_LEGAL: usize = 6 * COLUMNS;
    const MEAN_LEGAL: usize = 3 * COLUMNS;
    /// All rows that the pawns have in front of them at the start: every move brings a pawn one row further.
    const MAX_PLIES: usize = 2 * COLUMNS * (2 * ROWS - 3);
    const SYMMETRIES: usize = 2;
    const ORACLE: Oracle = if ROWS == 8 {
        Oracle::None
    } else {
        Oracle::Positions(include_bytes!("../../data/breakthrough6.csv.zst"))
    };
    const ROWS_UP: bool = true;

    fn start() -> Self {
        let two = Self::ROW | Self::ROW << COLUMNS;
        Self::of_key(Pawns { mine: two << (Self::CELLS - 2 * COLUMNS), theirs: two })
    }

    fn of_key(pawns: Pawns) -> Self {
        Self { pawns, to_move: Side::First }
    }

    fn key(&self) -> Pawns {
        self.pawns
    }

    fn to_move(&self) -> Side {
        self.to_move
    }

    fn moves(Pawns { mine, theirs }: Pawns) -> impl Iterator<Item = Action> {
        // Where pawns are that can go each way.
        let (left, right) = (Self::LEFT, Self::LEFT << (COLUMNS - 1));
        let straight = mine & !((mine | theirs) << COLUMNS);
        let ways = [mine & !left & !(mine << (COLUMNS + 1)), straight, mine & !right & !(mine << (COLUMNS - 1))];
        let any = (ways[0] | ways[1] | ways[2]) & !Self::ROW;
        let cells = crate::game::Bits(any);
        cells.flat_map(move |cell| (0..3).filter(move |&way| ways[way as usize] >> cell & 1 != 0).map(move |way| 3 * cell + way))
    }

    fn play(&mut self, action: Action) {
        let Pawns { mine, theirs } = self.pawns;
        let (from, to) = Self::from_to(action);
        let (mine, theirs) = (mine & !(1 << from) | 1 << to, theirs & !(1 << to));
        self.pawns = Pawns { mine: Self::turned(theirs), theirs: Self::turned(mine) };
        self.to_move = self.to_move.other();
    }

    fn outcome(&self) -> Option<Outcome> {
        let last_row = Self::ROW << (Self::CELLS - COLUMNS);
        (self.pawns.theirs & last_row != 0 || self.pawns.mine == 0).then_some(Outcome::Loss)
    }

    fn encode(Pawns { mine, theirs }: Pawns, planes: &mut [f32]) {
        let (of_mine, of_theirs) = planes.split_at_mut(Self::CELLS);
        Cells([mine]).write(of_mine);
        Cells([theirs]).write(of_theirs);
    }

    fn transform(pawns: Pawns, symmetry: usize) -> Pawns {
        if symmetry == 0 {
            return pawns;
        }
        Pawns { mine: Self::mirrored(pawns.mine), theirs: Self::mirrored(pawns.theirs) }
    }

    fn transform_action(action: Action, symmetry: usize) -> Action {
        if symmetry == 0 {
            return action;
        }
        let (from, way) = (usize::from(action) / 3, usize::from(action) % 3);
        (3 * (from + COLUMNS - 1 - 2 * (from % COLUMNS)) + 2 - way) as Action
    }

    fn action_text(&self, action: Action) -> String {
        let (from, to) = Self::from_to(action);
        let text = |cell| cell_text(ROWS, COLUMNS, true, Self::absolute(self.to_move, cell));
        let takes = if self.pawns.theirs >> to & 1 != 0 { "x" } else { "" };
        format!("{}{takes}{}", text(from), text(to))
    }

    fn cells_of(&self, action: Action) -> Vec<usize> {
        let (from, to) = Self::from_to(action);
        [from, to].map(|cell| Self::absolute(self.to_move, cell)).to_vec()
    }

    fn cell(&self, row: usize, column: usize) -> char {
        let cell = Self::absolute(self.to_move, row * COLUMNS + column);
        stone(self.pawns.mine >> cell & 1 != 0, self.pawns.theirs >> cell & 1 != 0, self.to_move)
    }
}
