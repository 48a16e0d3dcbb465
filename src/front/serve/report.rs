//! The reports of the runs, which grow while somebody looks at them.

use super::Run;
use crate::{
    Error,
    insight::report::{self, Data, MOST_BYTES, MOST_RUNS},
};
use std::fs;

/// Returns the runs of a report: the one of this number, or with `all` as many as a page has room for, with what is there
/// to be read of each.
///
/// # Errors
/// When there is no such run.
fn chosen<'a>(runs: &'a [Run], which: &str) -> Result<&'a [Run], Error> {
    if which == "all" && !runs.is_empty() {
        return Ok(&runs[..runs.len().min(MOST_RUNS)]);
    }
    let number = which.parse().ok().filter(|&number: &usize| number < runs.len());
    let number = number.ok_or_else(|| Error::Usage("there is no such run".into()))?;
    Ok(&runs[number..=number])
}

/// Returns a stamp that changes when something is written to the files of these runs.
fn stamp(runs: &[Run]) -> String {
    let files = runs
        .iter()
        .flat_map(|run| [run.folder.metrics(), run.folder.strength(), run.folder.matches(), run.folder.config()]);
    let lengths = files.map(|path| fs::metadata(path).map_or(0, |file| file.len()));
    lengths.map(|length| format!("{length:x}")).collect::<Vec<_>>().join("-")
}

fn data(runs: &[Run]) -> Result<Vec<Data>, Error> {
    runs.iter().map(|run| report::data(run.folder.path())).collect()
}

/// Returns a text as HTML.
fn escaped(text: &str) -> String {
    let letter = |letter: char| match letter {
        '<' | '>' | '&' | '"' | '\'' | '{' => format!("&#{};", u32::from(letter)),
        other => other.into(),
    };
    text.chars().map(letter).collect()
}

/// Returns the page of a report.
///
/// # Errors
/// When there is no such run, or it cannot be read.
pub fn page(runs: &[Run], which: &str) -> Result<String, Error> {
    let chosen = chosen(runs, which)?;
    let stamp = stamp(chosen);
    let which = if which == "all" { "all".to_string() } else { which.parse::<usize>().unwrap_or(0).to_string() };
    let links: String = match runs.len() {
        0 | 1 => String::new(),
        _ => {
            let link =
                |(number, run): (usize, &Run)| format!(" <a href=\"/report/{number}\">{}</a>", escaped(&run.name));
            runs.iter().enumerate().map(link).collect()
        }
    };
    let head = format!(
        "<nav id=\"live\" data-which=\"{which}\" data-stamp=\"{stamp}\"><a href=\"/\">Board</a> \
         <a href=\"/report\">Report</a>{links} <span role=\"status\"></span></nav>\n"
    );
    Ok(report::live_page(&data(chosen)?, &head))
}

/// Returns the data of a report with their stamp, or `None` if they are those of the stamp that was seen.
///
/// # Errors
/// When there is no such run, or it cannot be read.
pub fn newer(runs: &[Run], which: &str, seen: &str) -> Result<Option<(String, String)>, Error> {
    let chosen = chosen(runs, which)?;
    let stamp = stamp(chosen);
    if stamp == seen {
        return Ok(None);
    }
    Ok(Some((stamp, report::json(&data(chosen)?, MOST_BYTES))))
}
