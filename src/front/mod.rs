//! What a user meets; [`main_with`] is all of it.
//!
//! - [`cli`]: the command line;
//! - [`commands`]: what its commands do;
//! - [`display`]: how a run is shown;
//! - [`out`]: printing that cannot end a run.

pub mod cli;
pub mod commands;
pub mod display;
pub mod out;

use crate::{
    games::{self, AnyGame},
    tell,
};
use clap::Parser;
use std::process::ExitCode;

/// The whole program, with games of one's own beside those that come with lockstep: its command line is that of the process,
/// and what it returns is for `main` to return. [`AnyGame::with_recipes`] gives a game recipes.
///
/// ```no_run
/// use lockstep::{AnyGame, components::games::Go};
///
/// fn main() -> std::process::ExitCode {
///     lockstep::main_with(&[AnyGame::of::<Go<3>>()])
/// }
/// ```
pub fn main_with(own: &[AnyGame]) -> ExitCode {
    let cli = cli::Cli::parse();
    let saves = cli.saves();
    if let Err(error) = games::add(own).and_then(|()| commands::run(cli)) {
        tell!("error: {error}");
        return ExitCode::from(error.exit_code());
    }
    // A run is in its folder whether anybody read about it or not; the other commands have nothing but what they print.
    ExitCode::from(u8::from(out::failed() && !saves))
}
