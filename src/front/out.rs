//! Printing that never ends a program: standard output may be closed, a pipe whose reader has left, or a full disk.
//!
//! What cannot be printed is dropped. Work that can be saved goes on; [`failed`] tells the others that nobody reads them.

use indicatif::MultiProgress;
use std::{
    collections::BTreeSet,
    fmt::Arguments,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

/// The first failure of standard output.
static FAILED: OnceLock<ErrorKind> = OnceLock::new();

/// The live display that other text goes above of, if one is drawn.
static DRAWN: Mutex<Option<MultiProgress>> = Mutex::new(None);

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
        print_error(format_args!(
            "warning: standard output cannot be written ({error}); nothing more is printed there\n"
        ));
    }
}

/// Writes to standard error, if that can be, above what is drawn there.
pub fn write_error(text: Arguments<'_>) {
    let drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match drawn {
        None => print_error(text),
        Some(drawn) => drawn.suspend(|| print_error(text)),
    }
}

fn print_error(text: Arguments<'_>) {
    // Nobody is left to be told.
    let _ = io::stderr().lock().write_fmt(text);
}

/// Has text for standard error go above this from now on.
pub fn draw(display: Option<MultiProgress>) {
    *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = display;
}

/// Tells of something that goes on nevertheless, the first time that it happens to this file or folder.
pub fn warn_once(path: &Path, text: &str) {
    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(path.into()) {
        write_error(format_args!("warning: {text}\n"));
    }
}

/// Whether standard output could not be written.
pub fn failed() -> bool {
    FAILED.get().is_some()
}

/// A number as JSON, which has none without end: that is the text `"inf"` or `"-inf"`.
pub fn number(x: f64) -> serde_json::Value {
    if x.is_finite() { x.into() } else { x.to_string().into() }
}
