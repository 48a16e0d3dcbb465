//! What can be seen of a run: strength and diagnosis, read from its log, its checkpoints and its metrics. Nothing here
//! changes a bit of a run.
//!
//! - [`compare`]: whether one run is better than another;
//! - [`diagnosis`]: rules that tell why a player does not learn;
//! - [`examiner`]: measuring the player of a run while it trains;
//! - [`fork`]: a run that goes on from a checkpoint of another one;
//! - [`met`]: the matches that runs have played against each other;
//! - [`paired`]: intervals for differences;
//! - [`report`]: all that is known of a run, on one page for a browser;
//! - [`runs`]: the runs of a folder, and what can be removed of one;
//! - [`strength`]: how strong the player is, and what its network has learned;
//! - [`tensorboard`]: the numbers of a run as event files of TensorBoard;
//! - [`why`]: what a run has to say of one position.

pub mod compare;
pub mod diagnosis;
pub mod examiner;
pub mod fork;
pub mod met;
pub mod paired;
pub mod report;
pub mod runs;
pub mod strength;
pub mod tensorboard;
pub mod why;
