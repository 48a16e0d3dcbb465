//! The file of the metrics: a line is added when a generation ends, and none that was written is lost.

use super::Metrics;
use crate::{
    Error,
    folder::{Folder, sync, sync_dir, write_file},
};
use lockstep_components::Config;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

/// Appends a line of JSON, as of the metrics of a generation, and returns when it is on the disk: the checkpoint of the
/// generation comes after it.
///
/// # Errors
/// When the file cannot be written.
pub fn append(path: &Path, line: &impl Serialize) -> Result<(), Error> {
    let line = serde_json::to_string(line).expect("plain data") + "\n";
    let is_new = !path.exists();
    let file = OpenOptions::new().create(true).append(true).open(path);
    let mut file = file.map_err(Error::io("write", path))?;
    file.write_all(line.as_bytes()).map_err(Error::io("write", path))?;
    sync(&file, path)?;
    if is_new { sync_dir(path.parent().unwrap_or(Path::new("."))) } else { Ok(()) }
}

/// Returns the metrics in a file, as far as its lines are understood: an empty list if the file is not there.
///
/// # Errors
/// When the file cannot be read.
pub fn load(path: &Path) -> Result<Vec<Metrics>, Error> {
    load_lines(path)
}

/// Returns the lines of a file, each an object of JSON, as far as they are understood: an empty list if the file is not
/// there.
///
/// # Errors
/// When the file cannot be read.
pub fn load_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let bytes = read(path)?.unwrap_or_default();
    Ok(bytes.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// Drops what a killed run has written after the checkpoint that it resumes from: the lines of later generations,
/// which will be written again, and a last line that was cut off. If another line is not understood, the file as it was
/// is set aside first. Returns what the user should know.
///
/// # Errors
/// When the file cannot be read or written.
pub fn truncate(path: &Path, generation: u64) -> Result<Vec<String>, Error> {
    let Some(bytes) = read(path)? else { return Ok(missing(path, generation)) };
    let found = Contents::of(&bytes, generation);
    let mut notices = vec![];
    if found.cut_off {
        notices.push(format!("{}: the last line was cut off and is dropped", path.display()));
    }
    if !found.damaged.is_empty() {
        let aside = set_aside(path, &bytes)?;
        notices.push(format!(
            "{}: {} cannot be read; the file as it was is kept as {}, and all other lines stay",
            path.display(),
            lines(&found.damaged),
            aside.display()
        ));
    }
    if found.kept != bytes {
        write_file(path, &found.kept)?;
    }
    notices.extend(found.order(path, generation));
    Ok(notices)
}

/// Returns what [`truncate`] would say, without writing anything.
///
/// # Errors
/// When the file cannot be read.
pub fn check(path: &Path, generation: u64) -> Result<Vec<String>, Error> {
    let Some(bytes) = read(path)? else { return Ok(missing(path, generation)) };
    let found = Contents::of(&bytes, generation);
    let mut notices = vec![];
    if found.cut_off {
        notices.push(format!("{}: the last line is cut off; nothing was changed", path.display()));
    }
    if !found.damaged.is_empty() {
        let damaged = lines(&found.damaged);
        notices.push(format!("{}: {damaged} cannot be read; nothing was changed", path.display()));
    }
    notices.extend(found.order(path, generation));
    Ok(notices)
}

/// Checks that a run without a checkpoint may begin: it may if it was stopped before its first checkpoint, and not if
/// there must have been one. There must if a note says so, if the run was graded, or if its metrics go on after the
/// generation in which the first checkpoint was due. They may end there: the line is written first, and the run can be
/// killed between the two.
///
/// # Errors
/// When checkpoints are gone, or the files cannot be read.
pub fn check_new(folder: &Folder, config: &Config) -> Result<(), Error> {
    let written = read(&folder.metrics())?.map(|bytes| Contents::of(&bytes, u64::MAX));
    let last = written.and_then(|found| found.generations.into_iter().max());
    // The run's own settings, and not those that it is to go on with.
    let stored = if folder.is_run() {
        crate::settings::load(crate::settings::Source::File(&folder.config()), &[])?
    } else {
        config.clone()
    };
    let beyond = last.is_some_and(|last| last > stored.run.checkpoint_every);
    let graded = last.is_some() && folder.verdict().exists();
    if folder.was_saved() || graded || beyond { Err(folder.checkpoints_are_gone()) } else { Ok(()) }
}

/// All that has to be known of a line to keep it, so that lines of other versions stay.
#[derive(Deserialize)]
struct Line {
    generation: u64,
}

/// What is in a file of metrics.
struct Contents {
    /// The lines up to a generation, as they were.
    kept: Vec<u8>,
    /// The generations of the kept lines, in the order of the lines.
    generations: Vec<u64>,
    /// The numbers of lines that are not understood, counted from 1.
    damaged: Vec<usize>,
    /// Whether the last line is not whole.
    cut_off: bool,
}

impl Contents {
    fn of(bytes: &[u8], generation: u64) -> Self {
        let mut found = Self { kept: vec![], generations: vec![], damaged: vec![], cut_off: false };
        for (index, text) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
            let line = std::str::from_utf8(text).ok().and_then(|text| serde_json::from_str::<Line>(text).ok());
            let is_whole = text.ends_with(b"\n");
            match line {
                Some(line) if line.generation > generation => {}
                Some(line) => {
                    found.generations.push(line.generation);
                    found.kept.extend(text);
                    if !is_whole {
                        found.kept.push(b'\n');
                    }
                }
                // Lines are written with their ends, so that only one that was cut off has none.
                None if !is_whole => found.cut_off = true,
                None => found.damaged.push(index + 1),
            }
        }
        found
    }

    /// Returns notices of generations that are missing up to this one, and of lines that are not in their order.
    fn order(&self, path: &Path, generation: u64) -> Vec<String> {
        let mut notices = vec![];
        let mut last = 0;
        if let Some(&early) = self.generations.iter().find(|&&g| g <= std::mem::replace(&mut last, g)) {
            notices.push(format!(
                "{}: the generations are not in order: that of {early} is repeated or comes late",
                path.display()
            ));
        }
        let mut sorted = self.generations.clone();
        sorted.sort_unstable();
        let mut gaps = vec![];
        let mut next = 1;
        for present in sorted.into_iter().chain([generation.saturating_add(1)]) {
            if present > next {
                gaps.push(if present - 1 == next { next.to_string() } else { format!("{next} to {}", present - 1) });
            }
            next = next.max(present.saturating_add(1));
        }
        if !gaps.is_empty() {
            let gaps = gaps.join(", ");
            notices.push(format!("{}: there are no lines of these generations: {gaps}", path.display()));
        }
        notices
    }
}

fn lines(damaged: &[usize]) -> String {
    let numbers = damaged.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    if damaged.len() == 1 { format!("line {numbers}") } else { format!("lines {numbers}") }
}

fn missing(path: &Path, generation: u64) -> Vec<String> {
    Contents::of(&[], generation).order(path, generation)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        bytes => Ok(Some(bytes.map_err(Error::io("read", path))?)),
    }
}

/// The most copies that are kept beside a file.
const COPIES: usize = 1_000;

/// Keeps these bytes beside the file, under a name that nothing else has, and returns the path.
fn set_aside(path: &Path, bytes: &[u8]) -> Result<PathBuf, Error> {
    for k in 1..=COPIES {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".damaged-{k}"));
        let aside = PathBuf::from(aside);
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&aside) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                // A program that was killed after this very copy finds it again.
                match std::fs::read(&aside) {
                    Ok(before) if before == bytes => return Ok(aside),
                    _ => continue,
                }
            }
            Err(e) => return Err(Error::io("create", &aside)(e)),
        };
        let written = file.write_all(bytes).map_err(Error::io("write", &aside));
        let written = written.and_then(|()| sync(&file, &aside));
        let written = written.and_then(|()| sync_dir(path.parent().unwrap_or(Path::new("."))));
        return match written {
            Ok(()) => Ok(aside),
            Err(error) => {
                // Best effort: half a copy helps nobody, and the file itself is untouched.
                let _ = std::fs::remove_file(&aside);
                Err(error)
            }
        };
    }
    Err(Error::Usage(format!(
        "{} cannot be read in full, and {COPIES} copies of it lie beside it; move some of {}.damaged-* away",
        path.display(),
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_again_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        for generation in 1..=3 {
            append(&path, &Metrics { generation, ..Default::default() }).unwrap();
        }
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"genera\xff").unwrap();
        let notices = truncate(&path, 2).unwrap();
        assert!(notices.len() == 1 && notices[0].contains("cut off"), "{notices:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        assert!(truncate(&path, 2).unwrap().is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_line_without_its_end_is_whole_if_it_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, "{\"generation\": 1}\n{\"generation\": 2}").unwrap();
        assert!(truncate(&path, 2).unwrap().is_empty());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"generation\": 1}\n{\"generation\": 2}\n");
    }

    #[test]
    fn gaps_and_disorder_are_named() {
        let notices = |generations: &[u64], generation| {
            let text: String = generations.iter().map(|g| format!("{{\"generation\": {g}}}\n")).collect();
            Contents::of(text.as_bytes(), generation).order(Path::new("m"), generation).join("\n")
        };
        assert_eq!(notices(&[1, 2, 3], 3), "");
        assert_eq!(notices(&[], 0), "");
        assert_eq!(notices(&[3, 6], 8), "m: there are no lines of these generations: 1 to 2, 4 to 5, 7 to 8");
        assert!(notices(&[1, 3, 2], 3).contains("that of 2 is repeated or comes late"));
        assert!(notices(&[1, 1], 1).contains("that of 1"));
    }
}
