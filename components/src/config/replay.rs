//! `[replay]`: the positions that are learned from.

use super::section;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

section! {
    /// `[replay]`
    ReplayConfig {
        /// Positions kept. More keep older, weaker games among the data; fewer forget and overfit.
        window: usize = 50_000, from 1 to 1_000_000_000;
        /// What becomes of positions that are equal up to symmetry.
        merge: Merge = Merge::Count;
    }
}

/// What becomes of positions that are equal up to symmetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// Equal positions stay apart: each is drawn by itself.
    None,
    /// Equal positions are averaged, and drawn as often as all of them together.
    Count,
    /// Equal positions are averaged, and drawn in proportion to 1 + log2 of their number.
    Log,
    /// Equal positions are averaged, and drawn as often as any other position.
    Equal,
}
