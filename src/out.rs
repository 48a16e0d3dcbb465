//! Printing that never ends a program: standard output may be closed, a pipe whose reader has left, or a full disk.
//!
//! Text that cannot be printed is dropped. Work that can be saved goes on; [`failed`] tells other work that nobody
//! reads its output.
//!
//! What terminals can show is decided here as well: the width of their lines, and whether they have colours.

use console::{Style, measure_text_width};
use indicatif::ProgressBar;
use std::{
    collections::BTreeSet,
    env,
    fmt::{Arguments, Display},
    io::{self, ErrorKind, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

/// The first failure of standard output.
static FAILED: OnceLock<ErrorKind> = OnceLock::new();

/// The live display, if one is drawn, above which other text is printed.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Prints a line for people to standard output, as `println!` does; on a terminal it is [`folded`](crate::out::folded).
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::out::print($crate::out::Stream::Out, format_args!($($text)*)) };
}

/// Prints a line for people to standard error, as `eprintln!` does, and drops it where that fails; on a terminal it is
/// [`folded`](crate::out::folded).
#[macro_export]
macro_rules! tell {
    ($($text:tt)*) => { $crate::out::print($crate::out::Stream::Error, format_args!($($text)*)) };
}

/// Prints a line for programs to standard output: it is the same everywhere.
#[macro_export]
macro_rules! data {
    ($($text:tt)*) => { $crate::out::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints text with a line break behind it; see [`crate::say`] and [`crate::tell`].
pub fn print(stream: Stream, text: Arguments<'_>) {
    let text = folded(&text.to_string(), width(stream));
    match stream {
        Stream::Out => write(format_args!("{text}\n")),
        Stream::Error => write_error(format_args!("{text}\n")),
    }
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

/// The fewest columns that are believed to be a terminal's: nobody reads what is narrower.
const NARROWEST: u16 = 10;

/// Returns the number of columns of the terminal that a stream goes to, and no bound (`usize::MAX`) where there is no
/// terminal, or one that does not know.
pub fn width(stream: Stream) -> usize {
    let term = if stream == Stream::Out { console::Term::stdout() } else { console::Term::stderr() };
    term.size_checked().filter(|(_, columns)| *columns >= NARROWEST).map_or(usize::MAX, |(_, columns)| columns.into())
}

/// Returns text in a style, as it is to be printed to standard output: without the style where that is no terminal or a
/// dumb one, and where `NO_COLOR` is set to something.
pub fn styled(text: impl Display, style: &Style) -> String {
    static COLOURS: LazyLock<bool> = LazyLock::new(|| {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        io::stdout().is_terminal() && !console::is_dumb() && !unwanted
    });
    style.clone().force_styling(*COLOURS).apply_to(text).to_string()
}

/// Returns a text with lines of at most `width` columns: a longer one breaks between words, and goes on below, indented
/// further than it began.
pub fn folded(text: &str, width: usize) -> String {
    text.split('\n').map(|line| folded_line(line, width)).collect::<Vec<_>>().join("\n")
}

fn folded_line(text: &str, width: usize) -> String {
    let begins = text.len() - text.trim_start_matches(' ').len();
    let indent = (begins + 2).min(width / 2);
    let (mut folded, mut column) = (String::new(), 0);
    for word in text.split_inclusive(' ') {
        let length = measure_text_width(word.trim_end());
        if column > indent && column + length > width {
            folded.truncate(folded.trim_end().len());
            folded += &format!("\n{:indent$}", "");
            column = indent;
        }
        folded += word;
        column += measure_text_width(word);
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
        assert_eq!(folded("one two\n  three four", 10), "one two\n  three\n    four");
    }
}
