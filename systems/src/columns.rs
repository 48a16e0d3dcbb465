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

/// How many lanes a task takes at least: a few tasks per thread balance the load, more cost more than they bring.
pub(crate) fn lanes_per_task(lanes: usize) -> usize {
    (lanes / (4 * rayon::current_num_threads())).max(1)
}
