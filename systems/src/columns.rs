//! Columns of components as slices.

use std::ops::Range;

/// The one table that a query of a fixed archetype matches.
///
/// # Panics
/// If the query matches no table or more than one: then something was inserted on some of the entities only, and rows
/// of lanes, trees and leaves would no longer belong together.
pub(crate) fn only<T, E: std::fmt::Debug>(tables: Result<impl Iterator<Item = T>, E>) -> T {
    let mut tables = tables.expect("the components of lanes, trees and leaves are stored in tables");
    let table = tables.next().expect("set up the lanes with insert_lanes first");
    assert!(
        tables.next().is_none(),
        "lanes, trees and leaves must stay in one table each: insert a component on all of them or on none"
    );
    table
}

/// The rows of a table with `n` rows for each of these lanes.
pub(crate) fn times(lanes: &Range<usize>, n: usize) -> Range<usize> {
    lanes.start * n..lanes.end * n
}

/// How many rows a task takes at least: a few tasks per thread balance the load, more cost more than they bring. A task is
/// handed over in about a microsecond, so `least` rows should be worth that.
pub(crate) fn rows_per_task(rows: usize, least: usize) -> usize {
    (rows / (4 * rayon::current_num_threads())).max(least)
}

/// The least rows of a task that descends or expands a tree for each.
pub(crate) const HEAVY: usize = 16;

/// The least rows of a task that does something for few of them.
pub(crate) const LIGHT: usize = 32;
