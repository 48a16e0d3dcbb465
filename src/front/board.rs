//! A board in a terminal.

use crate::{out::styled, view::View};
use console::Style;
use lockstep_components::{Side, game::BoardKind};
use std::collections::BTreeMap;

/// The columns from one cell to the next: with room for a number, as text usually has them, and on narrow terminals.
const PITCHES: [usize; 3] = [4, 2, 1];

/// Returns the board of a view as lines of text, in the colours of the players and with the cell in brackets where the
/// last move has ended, or `None` if a line has more columns than `room`. Cells that are in `numbers` show their number.
///
/// Without numbers it is the text of [`AnyState::render`](lockstep_components::state::AnyState::render), unless only a
/// board without spaces and brackets has the room.
pub fn draw(view: &View, numbers: &BTreeMap<usize, u32>, room: usize) -> Option<String> {
    let margin = view.rows.iter().map(String::len).max().unwrap_or(0);
    let indent = |row: usize, pitch| if view.board == BoardKind::Hexagons { row * pitch / 2 } else { 0 };
    let columns = view.columns.len();
    let fits = |pitch: &usize| indent(view.rows.len() - 1, *pitch) + margin + 1 + pitch * columns <= room;
    let pitches = if numbers.is_empty() { &PITCHES[1..] } else { &PITCHES[..1] };
    // The narrowest one is there for whoever has no room for any.
    let pitch = *pitches.iter().find(|pitch| fits(pitch)).or(numbers.is_empty().then_some(&1))?;
    let (gap, wide) = if pitch == 1 { ("", 1) } else { (" ", pitch - 1) };
    let dim = Style::new().dim();
    let names: Vec<String> = view.columns.iter().map(|name| format!("{name:^wide$}")).collect();
    let mut text = styled(format!("{:margin$} {}", "", names.join(gap)).trim_end(), &dim) + "\n";
    let cells: Vec<char> = view.cells.chars().collect();
    for (row, (name, cells)) in view.rows.iter().zip(cells.chunks(columns)).enumerate() {
        text += &styled(format!("{:1$}{name:>margin$}", "", indent(row, pitch)), &dim);
        let mut before = " ";
        for (column, &cell) in cells.iter().enumerate() {
            let index = row * columns + column;
            let is_last = pitch > 1 && view.last.last() == Some(&index);
            text += if is_last { "(" } else { before };
            let number = numbers.get(&index).map(u32::to_string);
            let style = if number.is_some() { Style::new().green() } else { style_of(cell) };
            let style = if view.last.contains(&index) { style.bold() } else { style };
            text += &styled(format!("{:^wide$}", number.unwrap_or(cell.into())), &style);
            before = if is_last { ")" } else { gap };
        }
        text += if before == ")" { ")\n" } else { "\n" };
    }
    Some(text)
}

/// Returns the character that stands for a player's stones, in the colour that they have.
pub fn stone(side: Side) -> String {
    let stone = if side == Side::First { 'x' } else { 'o' };
    styled(stone, &style_of(stone))
}

fn style_of(cell: char) -> Style {
    match cell {
        'x' => Style::new().red(),
        'o' => Style::new().cyan(),
        // What belongs to somebody, or divides boxes, stands out from what is empty.
        '-' | '|' => Style::new(),
        _ => Style::new().dim(),
    }
}
