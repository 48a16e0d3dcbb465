//! What can be seen of a run: strength and diagnosis, read from its log, its checkpoints and its metrics. Nothing here
//! changes a bit of a run.
//!
//! - [`strength`]: how strong the player is, and what its network has learned;
//! - [`report`]: all that is known of a run, on one page for a browser.

pub mod report;
pub mod strength;
