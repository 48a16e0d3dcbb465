//! Printing that never ends a program: standard output may be closed, a pipe whose reader has left, or a full disk.
//!
//! What cannot be printed is dropped. Work that can be saved goes on; [`failed`] tells the others that nobody reads them.

use indicatif::ProgressBar;
use std::{
    collections::BTreeSet,
    fmt::Arguments,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

/// The first failure of standard output.
static FAILED: OnceLock<ErrorKind> = OnceLock::new();

/// The live display that other text goes above of, if one is drawn.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

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

/// Has text for standard error go above this from now on.
pub fn draw(display: Option<ProgressBar>) {
    *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = display;
}

/// Tells of something that goes on nevertheless, the first time that it happens to this file or folder.
pub fn warn_once(path: &Path, text: &str) {
    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(path.into()) {
        write_error(format_args!("warning: {text}\n"));
    }
}

/// Where something is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
}

/// Columns of the terminal that it goes to; no bound elsewhere.
pub fn width(stream: Stream) -> usize {
    let term = if stream == Stream::Out { console::Term::stdout() } else { console::Term::stderr() };
    term.size_checked().map_or(usize::MAX, |(_, columns)| columns.into())
}

/// Prints a long text, whose lines break between words on a terminal.
pub fn text(text: &str) {
    say!("{}", folded(text, width(Stream::Out)));
}

/// A text with lines of at most so many columns, which break between words, and are indented from the second one on.
pub fn folded(text: &str, width: usize) -> String {
    let (mut folded, mut column) = (String::new(), 0);
    for word in text.split_inclusive(' ') {
        let length = word.trim_end().chars().count();
        if column > 2 && column + length > width {
            folded.truncate(folded.trim_end().len());
            folded += "\n  ";
            column = 2;
        }
        folded += word;
        column += word.chars().count();
    }
    folded
}

/// Whether standard output could not be written.
pub fn failed() -> bool {
    FAILED.get().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_break_between_words() {
        let text = "Memory at most 12.3 MB: trees 4 MB, replay 2 MB.";
        assert_eq!(folded(text, usize::MAX), text);
        let lines = folded(text, 20);
        assert_eq!(lines, "Memory at most 12.3\n  MB: trees 4 MB,\n  replay 2 MB.");
        assert_eq!(folded("a/path/that/is/too/long b", 10), "a/path/that/is/too/long\n  b");
    }
}
