//! The front end: what a user meets, all of which is [`main_with`].
//!
//! - [`board`]: a board in a terminal;
//! - [`cli`]: the command line;
//! - [`commands`]: what its commands do;
//! - [`display`]: how a run is shown;
//! - `serve`: boards in a browser, with the feature `serve`.

pub mod board;
pub mod cli;
pub mod commands;
pub mod display;
#[cfg(feature = "serve")]
pub mod serve;

use crate::{
    games::{self, AnyGame},
    hooks::{self, Hooks},
    out, tell,
};
use clap::Parser;
use std::process::ExitCode;

/// Runs the whole program, with games of your own beside those that come with lockstep, and with runs that have these
/// hooks: the command line is that of the process, and what is returned is for `main` to return.
/// [`AnyGame::with_recipes`] gives a game recipes.
///
/// ```no_run
/// use lockstep::{AnyGame, Hooks, components::games::Go};
///
/// fn main() -> std::process::ExitCode {
///     lockstep::main_with(&[AnyGame::of::<Go<3>>()], Hooks::default())
/// }
/// ```
pub fn main_with(own: &[AnyGame], hooks: Hooks) -> ExitCode {
    let cli = cli::Cli::parse();
    let saves = cli.saves();
    if let Err(error) = games::add(own).and_then(|()| hooks::add(hooks)).and_then(|()| commands::run(cli)) {
        tell!("error: {error}");
        return ExitCode::from(error.exit_code());
    }
    // A run is in its folder whether anybody read about it or not; the other commands have nothing but what they print.
    ExitCode::from(u8::from(out::failed() && !saves))
}
