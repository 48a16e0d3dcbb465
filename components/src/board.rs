//! Helpers for the boards of games: sets of cells, symmetries, planes, coordinates.
//!
//! Cells are numbered from 0, row by row from the top left.

use crate::game::{Action, BoardKind, Game, Side};
use std::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, BitXor, Not};

/// A set of cells of a board that has at most `64 * WORDS` cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cells<const WORDS: usize>(pub [u64; WORDS]);

impl<const WORDS: usize> Default for Cells<WORDS> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<const WORDS: usize> Cells<WORDS> {
    /// The empty set.
    pub const NONE: Self = Self([0; WORDS]);

    /// The set of the first `count` cells.
    pub const fn first(count: usize) -> Self {
        let mut words = [0; WORDS];
        let mut cell = 0;
        while cell < count {
            words[cell / 64] |= 1 << (cell % 64);
            cell += 1;
        }
        Self(words)
    }

    /// The cells of a board without its first column, where a step to the right can end, and those without its last
    /// column, where a step to the left can end.
    pub const fn inner(height: usize, width: usize) -> [Self; 2] {
        let (mut not_first, mut not_last) = (Self::first(height * width), Self::first(height * width));
        let mut row = 0;
        while row < height {
            not_first.remove(row * width);
            not_last.remove(row * width + width - 1);
            row += 1;
        }
        [not_first, not_last]
    }

    /// The set of one cell.
    #[inline]
    pub const fn one(cell: usize) -> Self {
        let mut words = [0; WORDS];
        words[cell / 64] = 1 << (cell % 64);
        Self(words)
    }

    /// Whether a cell is in the set.
    #[inline]
    pub const fn has(&self, cell: usize) -> bool {
        self.0[cell / 64] >> (cell % 64) & 1 != 0
    }

    /// Adds a cell to the set.
    #[inline]
    pub const fn insert(&mut self, cell: usize) {
        self.0[cell / 64] |= 1 << (cell % 64);
    }

    /// Removes a cell from the set.
    #[inline]
    pub const fn remove(&mut self, cell: usize) {
        self.0[cell / 64] &= !(1 << (cell % 64));
    }

    /// Number of cells in the set.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the set is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Iterates over the cells of the set in ascending order: the usual form of [`Game::moves`].
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = Action> {
        let mut words = self.0;
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < WORDS && words[at] == 0 {
                at += 1;
            }
            let word = words.get_mut(at)?;
            let bit = word.trailing_zeros();
            *word &= *word - 1;
            Some((64 * at as u32 + bit) as Action)
        })
    }

    /// The set with every cell moved up by `by` numbers; cells beyond `64 * WORDS` drop out.
    #[inline]
    pub fn later(self, by: usize) -> Self {
        let (words, bits) = (by / 64, by % 64);
        Self(std::array::from_fn(|i| {
            let word = |back: usize| i.checked_sub(words + back).map_or(0, |i| self.0[i]);
            if bits == 0 { word(0) } else { word(0) << bits | word(1) >> (64 - bits) }
        }))
    }

    /// The set with every cell moved down by `by` numbers; cells below 0 drop out.
    #[inline]
    pub fn earlier(self, by: usize) -> Self {
        let (words, bits) = (by / 64, by % 64);
        Self(std::array::from_fn(|i| {
            let word = |ahead: usize| self.0.get(i + words + ahead).copied().unwrap_or(0);
            if bits == 0 { word(0) } else { word(0) >> bits | word(1) << (64 - bits) }
        }))
    }

    /// The set with every cell moved to where `table` takes it.
    #[inline]
    pub fn moved(self, table: &[u16]) -> Self {
        let mut image = Self::NONE;
        self.iter().for_each(|cell| image.insert(table[usize::from(cell)].into()));
        image
    }

    /// Writes a plane of as many numbers as the board has cells: 1 for the cells of the set, 0 for the others.
    #[inline]
    pub fn write(self, plane: &mut [f32]) {
        for (chunk, word) in plane.chunks_mut(64).zip(self.0) {
            for (i, number) in chunk.iter_mut().enumerate() {
                *number = (word >> i & 1) as f32;
            }
        }
    }
}

impl<const WORDS: usize> FromIterator<usize> for Cells<WORDS> {
    fn from_iter<I: IntoIterator<Item = usize>>(cells: I) -> Self {
        let mut set = Self::NONE;
        cells.into_iter().for_each(|cell| set.insert(cell));
        set
    }
}

macro_rules! operators {
    ($($trait:ident::$function:ident, $operator:tt;)*) => {$(
        impl<const WORDS: usize> $trait for Cells<WORDS> {
            type Output = Self;

            #[inline]
            fn $function(self, other: Self) -> Self {
                Self(std::array::from_fn(|i| self.0[i] $operator other.0[i]))
            }
        }
    )*};
}

operators! {
    BitAnd::bitand, &;
    BitOr::bitor, |;
    BitXor::bitxor, ^;
}

impl<const WORDS: usize> BitOrAssign for Cells<WORDS> {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl<const WORDS: usize> BitAndAssign for Cells<WORDS> {
    #[inline]
    fn bitand_assign(&mut self, other: Self) {
        *self = *self & other;
    }
}

/// The complement within all `64 * WORDS` cells, including those that are beyond the board.
impl<const WORDS: usize> Not for Cells<WORDS> {
    type Output = Self;

    #[inline]
    fn not(self) -> Self {
        Self(self.0.map(|word| !word))
    }
}

/// The cell to which a symmetry takes a cell. Of 8 symmetries, those of a square, the ones from 4 on exchange left and
/// right, and then `symmetry % 4` quarter turns follow. Of 4, bit 0 exchanges left and right, and bit 1 top and bottom.
/// Of 2, symmetry 1 exchanges left and right.
#[inline]
pub const fn image(height: usize, width: usize, symmetries: usize, symmetry: usize, cell: usize) -> usize {
    let (mut row, mut column) = (cell / width, cell % width);
    if symmetries == 8 {
        if symmetry >= 4 {
            column = width - 1 - column;
        }
        let mut turn = 0;
        while turn < symmetry % 4 {
            (row, column) = (column, width - 1 - row);
            turn += 1;
        }
    } else {
        if symmetry & 1 != 0 {
            column = width - 1 - column;
        }
        if symmetry & 2 != 0 {
            row = height - 1 - row;
        }
    }
    row * width + column
}

/// Tables for [`Cells::moved`]: the [`image`] of every cell of a board of `CELLS` cells under each of its symmetries.
pub const fn images<const CELLS: usize>(height: usize, width: usize, symmetries: usize) -> [[u16; CELLS]; 8] {
    let mut table = [[0; CELLS]; 8];
    let mut symmetry = 0;
    while symmetry < symmetries {
        let mut cell = 0;
        while cell < height * width {
            table[symmetry][cell] = image(height, width, symmetries, symmetry, cell) as u16;
            cell += 1;
        }
        symmetry += 1;
    }
    table
}

/// The text of a cell, its column and row, as in `c4`. Rows are counted from the bottom if `rows_up`, else from the
/// top.
pub fn cell_text(height: usize, width: usize, rows_up: bool, cell: usize) -> String {
    format!("{}{}", column_text(cell % width), row_number(height, rows_up, cell / width))
}

/// The character of a cell for [`Game::cell`]: `x` for a stone of the first player, `o` for one of the second, `.` for
/// none. `mine` and `theirs` tell whether a stone of the player to move, or of the other player, is there.
pub fn stone(mine: bool, theirs: bool, to_move: Side) -> char {
    match (mine || theirs, mine == (to_move == Side::First)) {
        (false, _) => '.',
        (true, true) => 'x',
        (true, false) => 'o',
    }
}

/// The letter of a column, from `a`.
pub fn column_text(column: usize) -> char {
    (b'a' + column as u8) as char
}

/// The number of a row, counted from 1, from the bottom if `rows_up`, else from the top.
pub fn row_number(height: usize, rows_up: bool, row: usize) -> usize {
    if rows_up { height - row } else { row + 1 }
}

/// The name of each column of a game's board, from the left.
pub fn column_names<G: Game>() -> Vec<String> {
    let name = |column: usize| match G::BOARD {
        BoardKind::Columns => (column + 1).to_string(),
        _ => column_text(column).to_string(),
    };
    (0..G::WIDTH).map(name).collect()
}

/// The name of each row of a game's board, from the top; empty where rows have no names.
pub fn row_names<G: Game>() -> Vec<String> {
    let name = |row| match G::BOARD {
        BoardKind::Columns => String::new(),
        _ => row_number(G::HEIGHT, G::ROWS_UP, row).to_string(),
    };
    (0..G::HEIGHT).map(name).collect()
}

/// The board as text, with a marked cell in brackets, each column under its name and each row behind its own. See
/// [`Game::cell`] and [`Game::BOARD`].
pub fn render<G: Game>(game: &G, marked: Option<usize>) -> String {
    let rows = row_names::<G>();
    let margin = rows.iter().map(String::len).max().unwrap_or(0);
    let mut text = format!("{:margin$} {}\n", "", column_names::<G>().join(" "));
    for (row, name) in rows.iter().enumerate() {
        let indent = if G::BOARD == BoardKind::Hexagons { row } else { 0 };
        text += &format!("{:indent$}{name:>margin$}", "");
        let mut closing = ' ';
        for column in 0..G::WIDTH {
            let is_marked = marked == Some(row * G::WIDTH + column);
            text.push(if is_marked { '(' } else { closing });
            text.push(game.cell(row, column));
            closing = if is_marked { ')' } else { ' ' };
        }
        text += if closing == ')' { ")\n" } else { "\n" };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn sets_of_cells_are_sets() {
        let mut rng = crate::LaneRng::new(1, 1);
        for _ in 0..200 {
            let mut draw = || (0..rng.below(40)).map(|_| rng.below(150)).collect::<BTreeSet<usize>>();
            let (a, b) = (draw(), draw());
            let [x, y] = [&a, &b].map(|set| set.iter().copied().collect::<Cells<3>>());
            let cells = |set: Cells<3>| set.iter().map(usize::from).collect::<BTreeSet<_>>();
            assert_eq!((cells(x), x.len(), x.is_empty()), (a.clone(), a.len(), a.is_empty()));
            assert_eq!(cells(x & y), &a & &b);
            assert_eq!(cells(x | y), &a | &b);
            assert_eq!(cells(x ^ y), &a ^ &b);
            assert_eq!(cells(!x & Cells::first(150)), (0..150).filter(|cell| !a.contains(cell)).collect());
            for by in [0, 1, 15, 63, 64, 65, 130] {
                assert_eq!(cells(x.later(by)), a.iter().map(|c| c + by).filter(|&c| c < 192).collect());
                assert_eq!(cells(x.earlier(by)), a.iter().filter_map(|c| c.checked_sub(by)).collect());
            }
            let mut plane = [f32::NAN; 150];
            x.write(&mut plane);
            assert!(plane.iter().enumerate().all(|(cell, &number)| number == f32::from(u8::from(a.contains(&cell)))));
        }
    }

    /// The numbering of the symmetries is the one that docs/games.md describes.
    #[test]
    fn symmetries_go_where_they_say() {
        // The first corner of 3x3: quarter turns to the right, and the same of the mirrored board.
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(|symmetry| image(3, 3, 8, symmetry, 0)), [0, 2, 8, 6, 2, 8, 6, 0]);
        // Of 2x3: left and right, top and bottom, both.
        assert_eq!([0, 1, 2, 3].map(|symmetry| image(2, 3, 4, symmetry, 0)), [0, 2, 3, 5]);
        assert_eq!([0, 1].map(|symmetry| image(2, 3, 2, symmetry, 0)), [0, 2]);
    }

    #[test]
    fn symmetries_form_groups() {
        for (height, width, symmetries) in [(5, 5, 8), (3, 4, 4), (6, 7, 2)] {
            let cells = height * width;
            let table: Vec<Vec<usize>> = (0..symmetries)
                .map(|s| (0..cells).map(|cell| image(height, width, symmetries, s, cell)).collect())
                .collect();
            assert_eq!(table.iter().collect::<BTreeSet<_>>().len(), symmetries, "all of them differ");
            assert!(table[0].iter().copied().eq(0..cells));
            for (a, b) in table.iter().flat_map(|a| table.iter().map(move |b| (a, b))) {
                let both: Vec<usize> = (0..cells).map(|cell| a[b[cell]]).collect();
                assert!(table.contains(&both), "two in turn are one of them");
            }
        }
    }
}
