use crate::{
    board::{self, Cells, cell_text},
    game::{Action, BoardKind, Game, Oracle, Outcome, Side},
};

/// Hex on a rhombus. Each player puts a stone on any empty cell; the first player wins by connecting top and bottom,
/// the second by connecting left and right. There are no draws.
///
/// The network sees every position as if the player to move connected top and bottom: for the second player rows and columns
/// are exchanged, in the moves too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex<const SIZE: usize> {
    stones: Stones,
    to_move: Side,
    /// Whether the last move has connected.
    won: bool,
}

/// The key of [`Hex`]: the stones of the player to move, who connects top and bottom, and of the other player.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stones {
    mine: Cells<2>,
    theirs: Cells<2>,
}

impl<const SIZE: usize> Hex<SIZE> {
    const CELLS: usize = SIZE * SIZE;
    const BOARD: Cells<2> = Cells::first(Self::CELLS);
    const TOP: Cells<2> = Cells::first(SIZE);

    const INNER: [Cells<2>; 2] = Cells::inner(SIZE, SIZE);

    /// Where the exchange of rows and columns takes each cell.
    const EXCHANGED: [u16; 128] = {
        let (mut table, mut cell) = ([0; 128], 0);
        while cell < Self::CELLS {
            table[cell] = (cell % SIZE * SIZE + cell / SIZE) as u16;
            cell += 1;
        }
        table
    };

    /// Whether stones connect top and bottom.
    fn connects(stones: Cells<2>) -> bool {
        let [not_first, not_last] = Self::INNER;
        let mut reached = stones & Self::TOP;
        loop {
            // Neighbours: left and right, above and to the right of that, below and to the left of that.
            let (from_left, from_right) = (reached & not_first, reached & not_last);
            let around = reached.later(SIZE)
                | reached.earlier(SIZE)
                | from_left.earlier(1)
                | from_right.later(1)
                | from_left.later(SIZE - 1)
                | from_right.earlier(SIZE - 1);
            let more = reached | around & stones;
            if more == reached {
                return !(reached & Self::TOP.later(Self::CELLS - SIZE)).is_empty();
            }
            reached = more;
        }
    }

    /// A cell of the board as it lies, from one as the player to move sees it, and back.
    fn absolute(&self, cell: usize) -> usize {
        if self.to_move == Side::First { cell } else { Self::EXCHANGED[cell].into() }
    }
}

impl<const SIZE: usize> Game for Hex<SIZE> {
    type Key = Stones;

    const NAME: &'static str = match SIZE {
        5 => "hex5",
        7 => "hex7",
        11 => "hex",
        _ => "hex_other",
    };
    const TITLE: &'static str = match SIZE {
        5 => "Hex 5x5",
        7 => "Hex 7x7",
        11 => "Hex",
        _ => "Hex of another size",
    };
    const PLANES: usize = 2;
    const HEIGHT: usize = SIZE;
    const WIDTH: usize = SIZE;
    const ACTIONS: usize = Self::CELLS;
    /// Together with the margin of a quarter this is room for all moves, because a search near the start meets few
    /// stones.
    const MEAN_LEGAL: usize = Self::ACTIONS * 4 / 5 + 1;
    const MAX_PLIES: usize = Self::CELLS;
    const SYMMETRIES: usize = 2;
    const BOARD: BoardKind = BoardKind::Hexagons;

    /// On the smallest board: the start, the positions after each first move, and positions 6 to 9 plies before the end
    /// of random games.
    const ORACLE: Oracle = match SIZE {
        5 => Oracle::Positions(include_bytes!("../../data/hex5.csv.zst")),
        _ => Oracle::None,
    };

    fn start() -> Self {
        Self::of_key(Stones { mine: Cells::NONE, theirs: Cells::NONE })
    }

    fn of_key(stones: Stones) -> Self {
        Self { stones, to_move: Side::First, won: Self::connects(stones.theirs.moved(&Self::EXCHANGED)) }
    }

    fn key(&self) -> Stones {
        self.stones
    }

    fn to_move(&self) -> Side {
        self.to_move
    }

    fn moves(Stones { mine, theirs }: Stones) -> impl Iterator<Item = Action> {
        (!(mine | theirs) & Self::BOARD).iter()
    }

    fn play(&mut self, action: Action) {
        let Stones { mut mine, theirs } = self.stones;
        mine.insert(action.into());
        self.won = Self::connects(mine);
        self.stones = Stones { mine: theirs.moved(&Self::EXCHANGED), theirs: mine.moved(&Self::EXCHANGED) };
        self.to_move = self.to_move.other();
    }

    fn outcome(&self) -> Option<Outcome> {
        self.won.then_some(Outcome::Loss)
    }

    fn encode(Stones { mine, theirs }: Stones, planes: &mut [f32]) {
        let (of_mine, of_theirs) = planes.split_at_mut(Self::CELLS);
        mine.write(of_mine);
        theirs.write(of_theirs);
    }

    /// Symmetry 1 turns the board by half a turn.
    fn transform(stones: Stones, symmetry: usize) -> Stones {
        let image = |cells: Cells<2>| {
            // All bits in reverse, and then moved back to the beginning.
            let [low, high] = cells.0;
            Cells([high.reverse_bits(), low.reverse_bits()]).earlier(128 - Self::CELLS)
        };
        if symmetry == 0 { stones } else { Stones { mine: image(stones.mine), theirs: image(stones.theirs) } }
    }

    fn transform_action(action: Action, symmetry: usize) -> Action {
        if symmetry == 0 { action } else { (Self::CELLS - 1) as Action - action }
    }

    fn action_text(&self, action: Action) -> String {
        cell_text(SIZE, SIZE, false, self.absolute(action.into()))
    }

    fn cells_of(&self, action: Action) -> Vec<usize> {
        vec![self.absolute(action.into())]
    }

    fn cell(&self, row: usize, column: usize) -> char {
        let cell = self.absolute(row * SIZE + column);
        board::stone(self.stones.mine.has(cell), self.stones.theirs.has(cell), self.to_move)
    }
}

#[cfg(test)]
impl<const SIZE: usize> Hex<SIZE> {
    /// Whether the first player connects top and bottom, and whether the second connects left and right.
    pub(super) fn connected(first: &[u16], second: &[u16]) -> [bool; 2] {
        let [first, second] = [first, second].map(|cells| cells.iter().map(|&cell| usize::from(cell)).collect());
        [Self::connects(first), Self::connects(Cells::<2>::moved(second, &Self::EXCHANGED))]
    }
}
