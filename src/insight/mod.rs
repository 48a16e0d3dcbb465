//! What can be seen of a run: strength and diagnosis, read from its log, its checkpoints and its metrics. Nothing here
//! changes a bit of a run.
//!
//! - [`diagnosis`]: rules that tell why a player does not learn;
//! - [`examiner`]: measuring the player of a run while it trains;
//! - [`report`]: all that is known of a run, on one page for a browser;
//! - [`strength`]: how strong the player is, and what its network has learned.

pub mod diagnosis;
pub mod examiner;
pub mod report;
pub mod strength;
