//! The command line of lockstep; see `lockstep --help`.

fn main() -> std::process::ExitCode {
    lockstep::main_with(&[], Default::default())
}
