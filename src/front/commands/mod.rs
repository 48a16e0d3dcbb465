//! What the command line's commands do.

mod bench;
mod compare;
mod config;
mod devices;
mod doctor;
mod fleet;
mod fork;
mod games;
mod grade;
mod label;
mod matches;
mod play;
mod report;
mod runs;
mod serve;
mod shell;
mod train;
mod tune;
mod verify;
mod why;

pub use train::interrupted;

use crate::{
    Error,
    cli::{Cli, Command, TrainArgs},
    device, out,
};

/// Carries out a command line.
///
/// # Errors
/// When the command fails: the error is what the user should be told.
pub fn run(cli: Cli) -> Result<(), Error> {
    let command = cli.command.unwrap_or_else(|| Command::Train(TrainArgs::default()));
    // A run may have its own: to make it, and to make it again.
    if !matches!(command, Command::Train(_) | Command::Verify(_)) {
        device::keep_kernels(None);
    }
    match command {
        Command::Train(args) => train::run(args),
        Command::Grade(args) => grade::run(args),
        Command::Match(args) => matches::run(args),
        Command::Worker(args) => fleet::work(args),
        Command::Fleet(args) => fleet::run(args),
        Command::Play(args) => play::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Tune(args) => tune::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Report(args) => report::run(args),
        Command::Fork(args) => fork::run(args),
        Command::Games(args) => games::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Why(args) => why::run(args),
        Command::Runs(args) => runs::run(args),
        Command::Prune(args) => runs::prune(args),
        Command::Compare(args) => compare::run(args),
        Command::Recipes(args) => config::recipes(args),
        Command::Config(args) => config::run(args),
        Command::Label(args) => label::run(args),
        Command::Completions { shell } => shell::completions(shell),
        Command::Man { command } => shell::man(&command),
    }
}

fn print(text: &[u8]) -> Result<(), Error> {
    out::write(format_args!("{}", String::from_utf8_lossy(text)));
    Ok(())
}
