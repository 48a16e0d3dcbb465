//! Formats numbers for people, and for JSON, and paths for shells.

use std::path::Path;

/// Returns a number of things as text: `1 thread`, `2 threads`.
pub fn number(n: u64, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// Returns a time in seconds as text for people: `42 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

/// Returns a number as text for people: `950`, `12.3 k`, `4.5 M`.
pub fn count(n: f64) -> String {
    match n {
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e4 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// Returns a number of bytes as text for people: `950 kB`, `12.3 MB`, `4.5 GB`.
pub fn bytes(n: usize) -> String {
    match n as f64 {
        n if n >= 1e9 => format!("{:.1} GB", n / 1e9),
        n if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        n => format!("{:.0} kB", n / 1e3),
    }
}

/// Returns a number as JSON, which has no infinity and no NaN: they become the texts `"inf"`, `"-inf"` and `"NaN"`.
pub fn json_number(x: f64) -> serde_json::Value {
    if x.is_finite() { x.into() } else { x.to_string().into() }
}

/// Returns a path behind an option, for a shell: ` DIR`, or `=-DIR` where it could be taken for an option itself.
pub fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let quoted = shlex::try_quote(&text).unwrap_or(text.clone());
    if text.starts_with('-') { format!("={quoted}") } else { format!(" {quoted}") }
}
