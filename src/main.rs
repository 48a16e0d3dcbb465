//! The command line of lockstep; see `lockstep --help`.

use clap::Parser;
use lockstep::cli::Cli;

fn main() {
    if let Err(error) = lockstep::commands::run(Cli::parse()) {
        eprintln!("error: {error}");
        std::process::exit(error.exit_code());
    }
}
