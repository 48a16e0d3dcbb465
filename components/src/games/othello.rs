use crate::{
    board::{Cells, images, stone},
    game::{Action, Game, Oracle, Outcome, Side},
};

/// Othello on a square board, also called Reversi. A player without a move passes while the other one has some; the game ends
/// when neither has. More discs win.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Othello<const SIZE: usize> {
    discs: Discs,
    to_move: Side,
}

/// The key of [`Othello`]: the discs of the player to move and of the other player. A position and the one with the
/// colours exchanged have the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Discs {
    mine: u64,
    theirs: u64,
}

impl<const SIZE: usize> Othello<SIZE> {
    const CELLS: usize = SIZE * SIZE;
    const PASS: Action = Self::CELLS as Action;
    const BOARD: u64 = Cells::<1>::first(Self::CELLS).0[0];
    const IMAGES: [[u16; 64]; 8] = images(SIZE, SIZE, 8);

    /// Distances to the neighbours of a cell, with those cells of the board that have such a neighbour before them.
    const WAYS: [(i32, u64); 8] = {
        let [Cells([from_left]), Cells([from_right])] = Cells::<1>::inner(SIZE, SIZE);
        let n = SIZE as i32;
        [
            (1, from_left),
            (-1, from_right),
            (n, Self::BOARD),
            (-n, Self::BOARD),
            (n + 1, from_left),
            (-n - 1, from_right),
            (n - 1, from_right),
            (1 - n, from_left),
        ]
    };

    /// The neighbours of cells in one way.
    #[inline]
    fn next(cells: u64, (by, mask): (i32, u64)) -> u64 {
        mask & if by > 0 { cells << by } else { cells >> -by }
    }

    /// The discs of the other player that lie in lines from these cells, each followed by more of them.
    #[inline]
    fn line(from: u64, theirs: u64, way: (i32, u64)) -> u64 {
        let mut line = Self::next(from, way) & theirs;
        for _ in 3..SIZE {
            line |= Self::next(line, way) & theirs;
        }
        line
    }

    /// The empty cells that the first of two sets of discs can be put on.
    fn places(mine: u64, theirs: u64) -> u64 {
        let all = Self::WAYS.iter().fold(0, |all, &way| all | Self::next(Self::line(mine, theirs, way), way));
        all & !(mine | theirs) & Self::BOARD
    }

    fn count(&self) -> (u32, u32) {
        (self.discs.mine.count_ones(), self.discs.theirs.count_ones())
    }
}

impl<const SIZE: usize> Game for Othello<SIZE> {
    type Key = Discs;

    const NAME: &'static str = if SIZE == 8 { "othello" } else { "othello6" };
    const TITLE: &'static str = if SIZE == 8 { "Othello" } else { "Othello 6x6" };
    const PLANES: usize = 2;
    const HEIGHT: usize = SIZE;
    const WIDTH: usize = SIZE;
    const ACTIONS: usize = Self::CELLS + 1;
    const MAX_LEGAL: usize = Self::CELLS - 4;
    const MEAN_LEGAL: usize = SIZE + 2;
    /// Every pass is followed by a move that adds a disc.
    const MAX_PLIES: usize = 2 * (Self::CELLS - 4);
    const SYMMETRIES: usize = 8;

    /// Positions of random games with 12 to 14 plies (10 to 14 on the small board) left, solved exactly.
    const ORACLE: Oracle = Oracle::Positions(if SIZE == 8 {
        include_bytes!("../../data/othello.csv.zst")
    } else {
        include_bytes!("../../data/othello6.csv.zst")
    });

    fn start() -> Self {
        let cell = |row: usize, column: usize| 1 << ((SIZE / 2 - 1 + row) * SIZE + SIZE / 2 - 1 + column);
        Self::of_key(Discs { mine: cell(0, 1) | cell(1, 0), theirs: cell(0, 0) | cell(1, 1) })
    }

    fn of_key(discs: Discs) -> Self {
        Self { discs, to_move: Side::First }
    }

    fn key(&self) -> Discs {
        self.discs
    }

    fn to_move(&self) -> Side {
        self.to_move
    }

    fn moves(Discs { mine, theirs }: Discs) -> impl Iterator<Item = Action> {
        let places = Self::places(mine, theirs);
        Cells([places]).iter().chain((places == 0).then_some(Self::PASS))
    }

    fn play(&mut self, action: Action) {
        let Discs { mine, theirs } = self.discs;
        let mut turned = 0;
        if action != Self::PASS {
            let disc = 1 << action;
            turned = disc;
            for way in Self::WAYS {
                let line = Self::line(disc, theirs, way);
                turned |= if Self::next(line, way) & mine != 0 { line } else { 0 };
            }
        }
        self.discs = Discs { mine: theirs & !turned, theirs: mine | turned };
        self.to_move = self.to_move.other();
    }

    fn outcome(&self) -> Option<Outcome> {
        let Discs { mine, theirs } = self.discs;
        if Self::places(mine, theirs) != 0 || Self::places(theirs, mine) != 0 {
            return None;
        }
        let (mine, theirs) = self.count();
        Some(Outcome::of(mine.cmp(&theirs)))
    }

    fn score(&self) -> Option<f32> {
        let (mine, theirs) = self.count();
        let ahead = mine as f32 - theirs as f32;
        Some(if self.to_move == Side::First { ahead } else { -ahead })
    }

    fn encode(discs: Discs, planes: &mut [f32]) {
        let (mine, theirs) = planes.split_at_mut(Self::CELLS);
        Cells([discs.mine]).write(mine);
        Cells([discs.theirs]).write(theirs);
    }

    fn transform(discs: Discs, symmetry: usize) -> Discs {
        let image = |cells: u64| Cells([cells]).moved(&Self::IMAGES[symmetry]).0[0];
        Discs { mine: image(discs.mine), theirs: image(discs.theirs) }
    }

    fn cell(&self, row: usize, column: usize) -> char {
        let bit = 1 << (row * SIZE + column);
        stone(self.discs.mine & bit != 0, self.discs.theirs & bit != 0, self.to_move)
    }
}
