//! Printing that never ends a program: standard output may be closed, a pipe whose reader has left, or a full disk.
//!
//! What cannot be printed is dropped. Work that can be saved goes on; [`failed`] tells the others that nobody reads them.

use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write},
    sync::OnceLock,
};

/// The first failure of standard output.
static FAILED: OnceLock<ErrorKind> = OnceLock::new();

/// Prints a line to standard output, as `println!` does; see [`out`](crate::out).
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::out::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints a line to standard error, as `eprintln!` does, and drops it where that fails.
#[macro_export]
macro_rules! tell {
    ($($text:tt)*) => { $crate::out::write_error(format_args!("{}\n", format_args!($($text)*))) };
}

/// Writes to standard output and flushes it. The first failure is kept and, unless the reader has just left, told on
/// standard error; nothing is tried after it.
pub fn write(text: Arguments<'_>) {
    if failed() {
        return;
    }
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush())
        && FAILED.set(error.kind()).is_ok()
        && error.kind() != ErrorKind::BrokenPipe
    {
        write_error(format_args!(
            "warning: standard output cannot be written ({error}); nothing more is printed there\n"
        ));
    }
}

/// Writes to standard error, if that can be.
pub fn write_error(text: Arguments<'_>) {
    // Nobody is left to be told.
    let _ = io::stderr().lock().write_fmt(text);
}

/// Whether standard output could not be written.
pub fn failed() -> bool {
    FAILED.get().is_some()
}

/// A number as JSON, which has none without end: that is the text `"inf"` or `"-inf"`.
pub fn number(x: f64) -> serde_json::Value {
    if x.is_finite() { x.into() } else { x.to_string().into() }
}
