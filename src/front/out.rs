//! Printing that never ends a program: standard output may be closed, a pipe whose reader has left, or a full disk.
//!
//! What cannot be printed is dropped. Work that can be saved goes on; [`failed`] tells the others that nobody reads them.

use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write},
    sync::OnceLock,
    thread,
    time::Duration,
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
    if let Err(error) = write_all(&mut io::stdout().lock(), text)
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
    let _ = write_all(&mut io::stderr().lock(), text);
}

/// Writes all of it, however long the reader takes: a pipe that does not block says so when it is full.
fn write_all(to: &mut impl Write, text: Arguments<'_>) -> io::Result<()> {
    let text = text.to_string();
    let mut left = text.as_bytes();
    while !left.is_empty() {
        match patiently(|| to.write(left))? {
            0 => return Err(ErrorKind::WriteZero.into()),
            written => left = &left[written..],
        }
    }
    patiently(|| to.flush())
}

/// Tries again until it can be done.
fn patiently<T>(mut done: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match done() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Whether standard output could not be written.
pub fn failed() -> bool {
    FAILED.get().is_some()
}
