//! The command line of lockstep; see `lockstep --help`.

use clap::Parser;
use lockstep::{cli::Cli, out, tell};

fn main() {
    let cli = Cli::parse();
    let saves = cli.saves();
    if let Err(error) = lockstep::commands::run(cli) {
        tell!("error: {error}");
        std::process::exit(error.exit_code());
    }
    // A run is in its folder whether anybody read about it or not; the other commands have nothing but what they print.
    if out::failed() && !saves {
        std::process::exit(1);
    }
}
