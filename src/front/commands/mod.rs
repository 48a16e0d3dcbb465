//! What the command line's commands do.

mod bench;
mod games;
mod grade;
mod matches;
mod play;
mod train;
mod verify;

pub use grade::{Basis, Graded, Grading, grade};
pub use train::interrupted;

use crate::{
    Error,
    cli::{Cli, Command, TrainArgs},
};
use lockstep_components::games::{GameVisitor, NAMES, visit};

/// Carries out a command line.
///
/// # Errors
/// What the user should be told.
pub fn run(cli: Cli) -> Result<(), Error> {
    match cli.command.unwrap_or_else(|| Command::Train(TrainArgs::default())) {
        Command::Train(args) => train::run(args),
        Command::Grade(args) => grade::run(args),
        Command::Match(args) => matches::run(args),
        Command::Play(args) => play::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Games(args) => games::run(args),
        Command::Verify(args) => verify::run(args),
    }
}

/// Does something with the game of that name.
fn with_game<V: GameVisitor<Output = Result<(), Error>>>(name: &str, visitor: V) -> Result<(), Error> {
    visit(name, visitor)
        .unwrap_or_else(|_| Err(Error::Usage(format!("unknown game '{name}'; the games are {}", NAMES.join(", ")))))
}
