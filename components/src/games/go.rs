use crate::{
    board::{Cells, images, stone},
    config::{GameConfig, KOMI, Komi, OutOfRange},
    game::{Action, BoardKind, Game, Outcome, Side},
};

/// Go with area scoring: stones and the empty cells that only they reach count, and the second player gets komi. No move may
/// repeat a former position of the board (positional superko); a pass may. Suicide is not allowed. Two passes end the game, and
/// so does its longest length, whatever stands on the board.
#[derive(Debug, PartialEq, Eq)]
pub struct Go<const SIZE: usize> {
    key: Board,
    to_move: Side,
    plies: u16,
    over: bool,
    /// The most stones that any board so far has had.
    most: u16,
    /// Every board so far, the stones of the first player in front.
    history: Vec<[Cells<2>; 2]>,
}

impl<const SIZE: usize> Clone for Go<SIZE> {
    fn clone(&self) -> Self {
        Self { history: self.history.clone(), ..*self }
    }

    /// Reuses the memory of the history, because each descent begins with a copy of the root's state.
    fn clone_from(&mut self, other: &Self) {
        let mut history = std::mem::take(&mut self.history);
        history.clone_from(&other.history);
        *self = Self { history, ..*other };
    }
}

/// The key of [`Go`]: the stones of both players, and all else but the history that the rest of the game depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Board {
    mine: Cells<2>,
    theirs: Cells<2>,
    /// The cell that would take back the stone that has just taken one: empty, or one cell.
    ko: Cells<2>,
    /// Whether the other player has just passed, so that a pass ends the game.
    passed: bool,
    /// Half points that the player to move has beside the board: komi, or minus komi.
    komi: i8,
}

impl<const SIZE: usize> Go<SIZE> {
    const CELLS: usize = SIZE * SIZE;
    const PASS: Action = Self::CELLS as Action;
    const BOARD: Cells<2> = Cells::first(Self::CELLS);
    const IMAGES: [[u16; 128]; 8] = images(SIZE, SIZE, 8);
    /// Half points: what the board is worth to the first player under best play, less half a point.
    const KOMI: i8 = match SIZE {
        5 => 49,
        7 => 17,
        _ => 13,
    };
    const INNER: [Cells<2>; 2] = Cells::inner(SIZE, SIZE);

    /// An empty board.
    fn with_komi(half_points: i8) -> Self {
        Self::of_key(Board { mine: Cells::NONE, theirs: Cells::NONE, ko: Cells::NONE, passed: false, komi: -half_points })
    }

    /// The neighbours of cells.
    #[inline]
    fn around(cells: Cells<2>) -> Cells<2> {
        let [not_first, not_last] = Self::INNER;
        let sides = (cells & not_last).later(1) | (cells & not_first).earlier(1);
        (sides | cells.later(SIZE) | cells.earlier(SIZE)) & Self::BOARD
    }

    /// The cells of a set that are connected with some of its cells.
    fn connected(from: Cells<2>, within: Cells<2>) -> Cells<2> {
        let mut reached = from & within;
        loop {
            let more = (reached | Self::around(reached)) & within;
            if more == reached {
                return reached;
            }
            reached = more;
        }
    }

    /// The stones of a colour that have no empty cell beside their group.
    fn taken(near: Cells<2>, stones: Cells<2>, others: Cells<2>) -> Cells<2> {
        let empty = !(stones | others) & Self::BOARD;
        let mut taken = Cells::NONE;
        let mut left = near & stones;
        while let Some(cell) = left.iter().next() {
            let group = Self::connected(Cells::one(cell.into()), stones);
            if (Self::around(group) & empty).is_empty() {
                taken |= group;
            }
            left &= !group;
        }
        taken
    }

    /// Both players' stones after one of the first is put on a cell, or none if that is suicide.
    fn placed(mine: Cells<2>, theirs: Cells<2>, cell: usize) -> Option<(Cells<2>, Cells<2>)> {
        let stone = Cells::one(cell);
        let mine = mine | stone;
        let around = Self::around(stone);
        if !(around & !(mine | theirs)).is_empty() {
            // It has a liberty of its own.
            return Some((mine, theirs & !Self::taken(around, theirs, mine)));
        }
        let theirs = theirs & !Self::taken(around, theirs, mine);
        Self::taken(stone, mine, theirs).is_empty().then_some((mine, theirs))
    }

    /// A board with the first player's stones in front.
    fn absolute(player: Side, mine: Cells<2>, theirs: Cells<2>) -> [Cells<2>; 2] {
        if player == Side::First { [mine, theirs] } else { [theirs, mine] }
    }

    /// Half points by which the player to move is ahead, komi included.
    fn ahead(&self) -> i32 {
        let Board { mine, theirs, komi, .. } = self.key;
        let empty = !(mine | theirs) & Self::BOARD;
        let reach = |stones: Cells<2>| Self::connected(Self::around(stones), empty);
        let (of_mine, of_theirs) = (reach(mine), reach(theirs));
        let area = |stones: Cells<2>, own: Cells<2>, other: Cells<2>| (stones.len() + (own & !other).len()) as i32;
        2 * (area(mine, of_mine, of_theirs) - area(theirs, of_theirs, of_mine)) + i32::from(komi)
    }
}

impl<const SIZE: usize> Game for Go<SIZE> {
    type Key = Board;

    const NAME: &'static str = match SIZE {
        5 => "go5",
        7 => "go7",
        9 => "go9",
        _ => "go_other",
    };
    const TITLE: &'static str = match SIZE {
        5 => "Go 5x5",
        7 => "Go 7x7",
        9 => "Go 9x9",
        _ => "Go of another size",
    };
    const PLANES: usize = 5;
    const HEIGHT: usize = SIZE;
    const WIDTH: usize = SIZE;
    const ACTIONS: usize = Self::CELLS + 1;
    /// Together with the margin of a quarter this is room for all moves, because a search near the start meets few
    /// stones.
    const MEAN_LEGAL: usize = Self::ACTIONS * 4 / 5 + 1;
    const MAX_PLIES: usize = 3 * Self::CELLS;
    const SYMMETRIES: usize = 8;
    const BOARD: BoardKind = BoardKind::Points;
    const ROWS_UP: bool = true;
    const HISTORY: bool = true;
    const HEAP: usize = (Self::MAX_PLIES + 1) * size_of::<[Cells<2>; 2]>();

    fn start() -> Self {
        Self::with_komi(Self::KOMI)
    }

    fn start_with(rules: &GameConfig) -> Result<Self, OutOfRange> {
        let Komi::Points(points) = rules.komi else { return Ok(Self::start()) };
        // NaN is in no range.
        if (-KOMI..=KOMI).contains(&points) && (2.0 * points).fract() == 0.0 {
            return Ok(Self::with_komi((2.0 * points) as i8));
        }
        Err(OutOfRange {
            key: "game.komi",
            value: points.to_string(),
            bound: format!("from -{KOMI} to {KOMI} in steps of 0.5"),
        })
    }

    fn of_key(key: Board) -> Self {
        let mut history = Vec::with_capacity(Self::MAX_PLIES + 1);
        history.push([key.mine, key.theirs]);
        let most = (key.mine.len() + key.theirs.len()) as u16;
        Self { key, to_move: Side::First, plies: 0, over: false, most, history }
    }

    fn key(&self) -> Board {
        self.key
    }

    fn to_move(&self) -> Side {
        self.to_move
    }

    fn moves(Board { mine, theirs, ko, .. }: Board) -> impl Iterator<Item = Action> {
        let empty = !(mine | theirs) & Self::BOARD;
        // A stone beside an empty cell is no suicide.
        let free = Self::around(empty);
        let legal =
            move |&cell: &Action| free.has(cell.into()) || Self::placed(mine, theirs, cell.into()).is_some();
        (empty & !ko).iter().filter(legal).chain([Self::PASS])
    }

    fn allows(&self, action: Action) -> bool {
        if action == Self::PASS {
            return true;
        }
        let Board { mine, theirs, .. } = self.key;
        let after = Self::placed(mine, theirs, action.into());
        // A board with more stones than any before it is a new one.
        after.is_some_and(|(mine, theirs)| {
            mine.len() + theirs.len() > self.most.into()
                || !self.history.contains(&Self::absolute(self.to_move, mine, theirs))
        })
    }

    fn play(&mut self, action: Action) {
        let Board { mine, theirs, passed, komi, .. } = self.key;
        let (mut after, mut ko) = ((mine, theirs), Cells::NONE);
        let passes = action == Self::PASS;
        if !passes {
            let stone = Cells::one(action.into());
            after = Self::placed(mine, theirs, action.into()).expect("a legal move is no suicide");
            let taken = theirs & !after.1;
            let alone = (Self::around(stone) & after.0).is_empty();
            let liberties = Self::around(stone) & !(after.0 | after.1);
            if alone && taken.len() == 1 && liberties == taken {
                ko = taken;
            }
            self.history.push(Self::absolute(self.to_move, after.0, after.1));
            self.most = self.most.max((after.0.len() + after.1.len()) as u16);
        }
        self.plies += 1;
        self.over = passes && passed || usize::from(self.plies) >= Self::MAX_PLIES;
        self.key = Board { mine: after.1, theirs: after.0, ko, passed: passes, komi: -komi };
        self.to_move = self.to_move.other();
    }

    fn outcome(&self) -> Option<Outcome> {
        self.over.then(|| Outcome::of(self.ahead().cmp(&0)))
    }

    fn score(&self) -> Option<f32> {
        let ahead = self.ahead() as f32 / 2.0;
        Some(if self.to_move == Side::First { ahead } else { -ahead })
    }

    fn komi(&self) -> Option<f32> {
        let komi = f32::from(self.key.komi) / 2.0;
        Some(if self.to_move == Side::First { -komi } else { komi })
    }

    fn encode(Board { mine, theirs, ko, passed, komi }: Board, planes: &mut [f32]) {
        let mut planes = planes.chunks_mut(Self::CELLS);
        let mut next = || planes.next().expect("five planes");
        mine.write(next());
        theirs.write(next());
        ko.write(next());
        next().fill(f32::from(u8::from(passed)));
        next().fill(f32::from(komi) / Self::CELLS as f32);
    }

    fn transform(board: Board, symmetry: usize) -> Board {
        let image = |cells: Cells<2>| cells.moved(&Self::IMAGES[symmetry]);
        Board { mine: image(board.mine), theirs: image(board.theirs), ko: image(board.ko), ..board }
    }

    fn cell(&self, row: usize, column: usize) -> char {
        let cell = row * SIZE + column;
        stone(self.key.mine.has(cell), self.key.theirs.has(cell), self.to_move)
    }
}

#[cfg(test)]
impl<const SIZE: usize> Go<SIZE> {
    /// Where the history lies, and how long it may become there.
    pub(super) fn room(&self) -> (*const [Cells<2>; 2], usize) {
        (self.history.as_ptr(), self.history.capacity())
    }

    /// Boards on which every group has a liberty.
    pub(super) fn legal_boards() -> usize {
        let board = |mut number: usize| {
            let mut stones = [Cells::NONE; 3];
            for cell in 0..Self::CELLS {
                stones[number % 3].insert(cell);
                number /= 3;
            }
            stones
        };
        let is_legal = |[_, black, white]: &[Cells<2>; 3]| {
            Self::taken(*black, *black, *white).is_empty() && Self::taken(*white, *white, *black).is_empty()
        };
        (0..3usize.pow(Self::CELLS as u32)).map(board).filter(is_legal).count()
    }
}
