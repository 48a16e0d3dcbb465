//! The command line of lockstep; see `lockstep --help`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    lockstep::main_with(&[], Default::default())
}
