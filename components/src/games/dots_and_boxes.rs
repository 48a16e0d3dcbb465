use crate::{
    board::{Cells, cell_text, images},
    game::{Action, BoardKind, Game, Oracle, Outcome, Side},
};

/// Dots and Boxes on a square of boxes. A player draws a line between two neighbouring dots; whoever draws the fourth line of a
/// box owns it and moves again. More boxes win.
///
/// The network sees the grid of dots, lines and boxes, `2 * BOXES + 1` cells wide, and moves are written as its cells: `b1` is
/// the line between the first two dots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DotsAndBoxes<const BOXES: usize> {
    /// Cells of the grid.
    lines: u64,
    /// The boxes of both players, cells of the grid.
    owned: [u64; 2],
    to_move: Side,
}

/// The key of [`DotsAndBoxes`]: the lines, and by how many boxes the player to move is ahead. Who owns which box does
/// not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lines {
    lines: u64,
    ahead: i8,
}

impl<const BOXES: usize> DotsAndBoxes<BOXES> {
    const SIDE: usize = 2 * BOXES + 1;
    const GRID: usize = Self::SIDE * Self::SIDE;
    const IMAGES: [[u16; 64]; 8] = images(Self::SIDE, Self::SIDE, 8);

    /// The cell of each move in ascending order, and the move of each cell that is a line.
    const CELLS: ([u8; 64], [u8; 64]) = {
        let (mut of_move, mut of_cell, mut count, mut cell) = ([0; 64], [0; 64], 0, 0);
        while cell < Self::GRID {
            if (cell / Self::SIDE + cell % Self::SIDE) % 2 == 1 {
                of_move[count] = cell as u8;
                of_cell[cell] = count as u8;
                count += 1;
            }
            cell += 1;
        }
        (of_move, of_cell)
    };

    fn cell_of(action: Action) -> usize {
        Self::CELLS.0[usize::from(action)].into()
    }

    /// The boxes whose four lines are there.
    fn boxes(lines: u64) -> u64 {
        let side = Self::SIDE;
        (0..BOXES * BOXES)
            .map(|i| (2 * (i / BOXES) + 1) * side + 2 * (i % BOXES) + 1)
            .filter(|&at| [at - side, at - 1, at + 1, at + side].iter().all(|line| lines >> line & 1 != 0))
            .fold(0, |boxes, at| boxes | 1 << at)
    }

    fn ahead(&self) -> i8 {
        let [first, second] = self.owned.map(|boxes| boxes.count_ones() as i8);
        first - second
    }
}

impl<const BOXES: usize> Game for DotsAndBoxes<BOXES> {
    type Key = Lines;

    const NAME: &'static str = if BOXES == 3 { "dots_and_boxes" } else { "dots_and_boxes2" };
    const TITLE: &'static str = if BOXES == 3 { "Dots and Boxes" } else { "Dots and Boxes 2x2" };
    const PLANES: usize = 3;
    const HEIGHT: usize = Self::SIDE;
    const WIDTH: usize = Self::SIDE;
    const ACTIONS: usize = 2 * BOXES * (BOXES + 1);
    const MEAN_LEGAL: usize = Self::ACTIONS * 2 / 3;
    const MAX_PLIES: usize = Self::ACTIONS;
    const SYMMETRIES: usize = 8;
    const BOARD: BoardKind = BoardKind::Dots;

    /// Positions of random games with 12 to 16 lines left, solved exactly.
    const ORACLE: Oracle = match BOXES {
        3 => Oracle::Positions(include_bytes!("../../data/dots_and_boxes.csv.zst")),
        _ => Oracle::None,
    };

    fn start() -> Self {
        Self { lines: 0, owned: [0; 2], to_move: Side::First }
    }

    fn of_key(Lines { lines, ahead }: Lines) -> Self {
        // Any boxes, as long as the first player is ahead by so many.
        let boxes = Self::boxes(lines);
        let mut owned = [0, 0];
        for (i, at) in Cells([boxes]).iter().enumerate() {
            let first = 2 * i as i32 + 2 <= boxes.count_ones() as i32 + i32::from(ahead);
            owned[usize::from(!first)] |= 1 << at;
        }
        Self { lines, owned, to_move: Side::First }
    }

    fn key(&self) -> Lines {
        let ahead = self.ahead();
        Lines { lines: self.lines, ahead: if self.to_move == Side::First { ahead } else { -ahead } }
    }

    fn to_move(&self) -> Side {
        self.to_move
    }

    fn moves(Lines { lines, .. }: Lines) -> impl Iterator<Item = Action> {
        (0..Self::ACTIONS as Action).filter(move |&action| lines >> Self::cell_of(action) & 1 == 0)
    }

    fn play(&mut self, action: Action) {
        let before = Self::boxes(self.lines);
        self.lines |= 1 << Self::cell_of(action);
        let new = Self::boxes(self.lines) & !before;
        if new == 0 {
            self.to_move = self.to_move.other();
        } else {
            self.owned[self.to_move.index()] |= new;
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        let is_over = self.lines.count_ones() as usize == Self::ACTIONS;
        is_over.then(|| Outcome::of(self.key().ahead.cmp(&0)))
    }

    fn score(&self) -> Option<f32> {
        Some(self.ahead().into())
    }

    fn encode(Lines { lines, ahead }: Lines, planes: &mut [f32]) {
        let mut planes = planes.chunks_mut(Self::GRID);
        let mut next = || planes.next().expect("three planes");
        Cells([lines]).write(next());
        Cells([Self::boxes(lines)]).write(next());
        next().fill(f32::from(ahead) / (BOXES * BOXES) as f32);
    }

    fn transform(Lines { lines, ahead }: Lines, symmetry: usize) -> Lines {
        Lines { lines: Cells([lines]).moved(&Self::IMAGES[symmetry]).0[0], ahead }
    }

    fn transform_action(action: Action, symmetry: usize) -> Action {
        Self::CELLS.1[usize::from(Self::IMAGES[symmetry][Self::cell_of(action)])].into()
    }

    fn action_text(&self, action: Action) -> String {
        cell_text(Self::SIDE, Self::SIDE, false, Self::cell_of(action))
    }

    fn cells_of(&self, action: Action) -> Vec<usize> {
        vec![Self::cell_of(action)]
    }

    fn cell(&self, row: usize, column: usize) -> char {
        let is_in = |cells: u64| cells >> (row * Self::SIDE + column) & 1 != 0;
        match (row % 2, column % 2) {
            (0, 0) => '+',
            (0, 1) if is_in(self.lines) => '-',
            (1, 0) if is_in(self.lines) => '|',
            (1, 1) if is_in(self.owned[0]) => 'x',
            (1, 1) if is_in(self.owned[1]) => 'o',
            _ => ' ',
        }
    }
}
