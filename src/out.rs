//! Printing that never ends a program: standard output may be closed, a pipe whose reader has left, or a full disk.
//!
//! Text that cannot be printed is dropped. Work that can be saved goes on; [`failed`] tells other work that nobody
//! reads its output.

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

/// The live display, if one is drawn, above which other text is printed.
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

/// Writes text to standard output and flushes it. The first failure is kept and, unless the reader has just left, told
/// on standard error; nothing is written to standard output after it.
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

/// Writes text to standard error, above the live display if one is drawn; text that cannot be written is dropped.
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

/// Writes the whole text, however long the reader takes: a pipe that does not block fails while it is full.
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

/// Repeats an operation that would block or is interrupted until it succeeds or fails otherwise.
fn patiently<T>(mut done: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match done() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Sets the live display above which text for standard error goes from now on; `None` means that there is none.
pub fn draw(display: Option<ProgressBar>) {
    *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = display;
}

/// Prints a warning to standard error the first time that this is called for a file or folder: the work goes on.
pub fn warn_once(path: &Path, text: &str) {
    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(path.into()) {
        write_error(format_args!("warning: {text}\n"));
    }
}

/// A standard stream that text is printed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
}

/// Returns the number of columns of the terminal that a stream goes to, and no bound (`usize::MAX`) where there is no
/// terminal.
pub fn width(stream: Stream) -> usize {
    let term = if stream == Stream::Out { console::Term::stdout() } else { console::Term::stderr() };
    term.size_checked().map_or(usize::MAX, |(_, columns)| columns.into())
}

/// Prints a long text to standard output, with lines that break between words on a terminal.
pub fn text(text: &str) {
    say!("{}", folded(text, width(Stream::Out)));
}

/// Returns a text with lines of at most `width` columns, which break between words and are indented from the second one
/// on.
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

/// Whether writing to standard output has failed.
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
