//! A position as a picture needs it, whatever the game.

use lockstep_components::{State, game::BoardKind};
use serde::Serialize;

/// A position with its board, its legal moves and whose turn it is, to be drawn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// What the board looks like.
    pub board: BoardKind,
    /// The names of the columns, from the left: as many as the board has.
    pub columns: Vec<String>,
    /// The names of the rows, from the top, as many as the board has; empty where rows have no names.
    pub rows: Vec<String>,
    /// The character of each cell, row by row: `x` for the first player, `o` for the second, `.` or a space for nobody;
    /// `+`, `-` and `|` for dots and lines.
    pub cells: String,
    /// Who is to move: 0 for the first player, 1 for the second.
    pub to_move: usize,
    /// The legal moves; none when the game is over.
    pub legal: Vec<LegalMove>,
    /// The cells that the last move has touched, the one where it ended last.
    pub last: Vec<usize>,
    /// The result for the first player when the game is over: 1, 0 or -1.
    pub result: Option<i8>,
    /// By how much the first player is ahead, in games that count points.
    pub score: Option<f32>,
}

/// A legal move of a [`View`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LegalMove {
    /// The number of the move in the policy.
    pub action: u16,
    /// The move as people write it.
    pub text: String,
    /// The cells that the move touches: the one that it fills, or where it begins and where it ends; none for a pass.
    pub cells: Vec<usize>,
}

impl View {
    /// Returns the view of a position, to which the last move has led from `before` if there was one.
    pub fn of(state: &State, before: Option<(&State, u16)>) -> Self {
        let [columns, rows] = state.names();
        let to_move = state.to_move().index();
        let legal = |action| LegalMove { action, text: state.action_text(action), cells: state.cells_of(action) };
        Self {
            board: state.info().board,
            columns,
            rows,
            cells: state.cells(),
            to_move,
            legal: state.legal().into_iter().map(legal).collect(),
            last: before.map(|(before, action)| before.cells_of(action)).unwrap_or_default(),
            result: state.outcome().map(|outcome| {
                let value = outcome.value() as i8;
                if to_move == 0 { value } else { -value }
            }),
            score: state.score(),
        }
    }
}
