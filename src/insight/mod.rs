//! What can be seen of a run: strength and diagnosis, read from its log, its checkpoints and its metrics. Nothing here
//! changes a bit of a run.
//!
//! - [`compare`]: whether one run is better than another;
//! - [`fork`]: a run that goes on from a checkpoint of another one;
//! - [`paired`]: intervals for differences;
//! - [`runs`]: the runs of a folder, and what can be removed of one;
//! - [`strength`]: how strong the player is, and what its network has learned;
//! - [`why`]: what a run has to say of one position.

pub mod compare;
pub mod fork;
pub mod paired;
pub mod runs;
pub mod strength;
pub mod why;
