//! What a user meets.
//!
//! - [`cli`]: the command line;
//! - [`commands`]: what its commands do;
//! - [`display`]: how a run is shown;
//! - [`out`]: printing that cannot end a run.

pub mod cli;
pub mod commands;
pub mod display;
pub mod out;
