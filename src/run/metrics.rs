//! What a run reports of each generation, and what it warns of.

use crate::{
    Error,
    checkpoint::Seconds,
    folder::{Folder, sync_dir, write_file},
    stages::StageSeconds,
};
use lockstep_components::{Config, Stats};
use lockstep_systems::learn::Losses;
use serde::{Deserialize, Serialize};
use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

/// One line of `metrics.jsonl`. What comes before the evaluations is the same in every run with the same seed and settings,
/// however its games were played; from there on it tells what this process did for them, and how long that took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Generation, from 1.
    pub generation: u64,
    /// Games finished.
    pub games: u64,
    /// Positions that these games added to the replay buffer.
    pub positions: u64,
    /// Of these, the ones with a policy target.
    pub recorded: u64,
    /// Positions in the replay buffer.
    pub replay: u64,
    /// Different positions in it, up to symmetry, when equal positions are merged.
    pub distinct_positions: u64,
    /// Share of the games that differ in their moves.
    pub distinct_games: f64,
    /// Mean plies of a game.
    pub mean_length: f64,
    /// Mean result of the first player: 1 for a win, 0.5 for a draw.
    pub first_player_score: f64,
    /// Share of drawn games.
    pub draws: f64,
    /// Mean entropy of the policy targets, in nats.
    pub policy_entropy: f64,
    /// Simulations.
    pub simulations: u64,
    /// Share of the searches whose root was proven.
    #[serde(default)]
    pub proven: f64,
    /// Share of the simulations that ended at the end of a game or in a proven result.
    pub terminal_share: f64,
    /// Mean depth of a simulation, in plies.
    pub mean_depth: f64,
    /// Optimiser steps.
    pub steps: u64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Mean cross-entropy between search and policy, in nats.
    pub policy_loss: f64,
    /// What is left of it when the policy is perfect.
    pub policy_floor: f64,
    /// Mean squared error, or cross-entropy of win, draw and loss in nats.
    pub value_loss: f64,
    /// Warnings, if any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Positions evaluated by the network.
    pub evaluations: u64,
    /// Share of the simulations whose evaluation was in the cache.
    #[serde(default)]
    pub cache_hits: f64,
    /// Share of the leaves of batches that shared the row of an equal one.
    #[serde(default)]
    pub duplicates: f64,
    /// Share of the computed rows that carried a position.
    pub batch_fill: f64,
    /// Mean rows of a batch.
    pub mean_batch: f64,
    /// Seconds of this generation's games.
    pub play_seconds: f64,
    /// Seconds of its learning.
    pub learn_seconds: f64,
    /// Seconds of the run so far.
    pub seconds: f64,
    /// Simulations per second of playing.
    pub simulations_per_second: f64,
    /// Evaluations per second of playing.
    pub evaluations_per_second: f64,
    /// Seconds of each stage of the ticks.
    #[serde(default)]
    pub stages: StageSeconds,
    /// Bytes of memory that the program has in use at the end of the generation; 0 where the system does not tell.
    #[serde(default)]
    pub resident: u64,
}

/// What [`Metrics::new`] needs beside the counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Learned {
    /// Steps of the generation.
    pub steps: u64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Mean losses.
    pub losses: Losses,
    /// Positions in the replay buffer.
    pub replay: usize,
    /// Entries of the dataset.
    pub distinct: usize,
}

impl Metrics {
    /// Those of a generation: `stats` of its games, and `ticks` of what this process did for them.
    pub fn new(
        generation: u64,
        stats: &Stats,
        ticks: &Stats,
        learned: &Learned,
        seconds: Seconds,
        stages: StageSeconds,
    ) -> Self {
        let games = stats.games.max(1) as f64;
        let per_second = |n: u64| n as f64 / seconds.this_play.max(1e-9);
        let mut metrics = Self {
            generation,
            games: stats.games,
            positions: stats.moves,
            recorded: stats.recorded,
            replay: learned.replay as u64,
            distinct_positions: learned.distinct as u64,
            distinct_games: stats.distinct_games as f64 / games,
            mean_length: stats.mean_length(),
            first_player_score: stats.first_player_score(),
            draws: stats.results[1] as f64 / games,
            policy_entropy: stats.mean_entropy(),
            simulations: stats.simulations,
            proven: stats.proven as f64 / stats.moves.max(1) as f64,
            terminal_share: stats.terminals as f64 / stats.simulations.max(1) as f64,
            mean_depth: stats.mean_depth(),
            steps: learned.steps,
            learning_rate: learned.learning_rate,
            policy_loss: learned.losses.policy,
            policy_floor: learned.losses.policy_floor,
            value_loss: learned.losses.value,
            warnings: vec![],
            evaluations: ticks.evaluations,
            cache_hits: ticks.cache_hits as f64 / ticks.simulations.max(1) as f64,
            duplicates: ticks.duplicates as f64 / (ticks.evaluations + ticks.duplicates).max(1) as f64,
            batch_fill: ticks.batch_fill(),
            mean_batch: ticks.mean_batch(),
            play_seconds: seconds.this_play,
            learn_seconds: seconds.this_learn,
            seconds: seconds.play + seconds.learn,
            simulations_per_second: per_second(ticks.simulations),
            evaluations_per_second: per_second(ticks.evaluations),
            stages,
            resident: 0,
        };
        metrics.warnings = metrics.warn(stats);
        metrics
    }

    /// What looks broken, with its likely cause.
    fn warn(&self, stats: &Stats) -> Vec<String> {
        let mut warnings = vec![];
        // A perfect player of a drawn game repeats itself: judge by games only where there are enough of them.
        let enough = self.games >= 50;
        if enough && self.distinct_games < 0.05 {
            warnings.push(format!(
                "nearly all games are equal ({} different ones of {}): raise search.temperature, \
                 search.temperature_plies, search.opening_plies or search.noise_share",
                stats.distinct_games, self.games
            ));
        }
        if enough && self.draws > 0.98 && self.distinct_games < 0.5 {
            warnings.push(format!(
                "nearly all games are drawn ({:.0} %): a perfect player of a drawn game does so; \
                 a new one needs more noise or random openings (search.opening_plies)",
                100.0 * self.draws
            ));
        }
        if stats.recorded > 50 && self.policy_entropy < 0.02 {
            warnings.push(format!(
                "the search puts all its visits on one move (entropy {:.3} nats): raise search.c_puct or \
                 search.noise_share, or lower learn.learning_rate if the policy loss jumped",
                self.policy_entropy
            ));
        }
        warnings
    }

    /// The line that is printed where there is no terminal to draw on.
    pub fn line(&self, generations: u64) -> String {
        format!(
            "generation {}/{generations}  games {}  length {:.1}  first player {:.2}  draws {:.2}  \
             policy loss {:.3} (floor {:.3})  value loss {:.3}  batch {:.0} ({:.0} % full)  cache {:.0} %  \
             {} simulations/s  {} evaluations/s  {:.1} s",
            self.generation,
            self.games,
            self.mean_length,
            self.first_player_score,
            self.draws,
            self.policy_loss,
            self.policy_floor,
            self.value_loss,
            self.mean_batch,
            100.0 * self.batch_fill,
            100.0 * self.cache_hits,
            count(self.simulations_per_second),
            count(self.evaluations_per_second),
            self.play_seconds + self.learn_seconds,
        )
    }
}

/// A number for people: `950`, `12.3 k`, `4.5 M`.
pub fn count(n: f64) -> String {
    match n {
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e4 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// Bytes for people.
pub fn bytes(n: usize) -> String {
    match n as f64 {
        n if n >= 1e9 => format!("{:.1} GB", n / 1e9),
        n if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        n => format!("{:.0} kB", n / 1e3),
    }
}

/// Appends a line, and returns when it is on the disk: the checkpoint of its generation comes after it.
///
/// # Errors
/// When the file cannot be written.
pub fn append(path: &Path, metrics: &Metrics) -> Result<(), Error> {
    let line = serde_json::to_string(metrics).expect("plain data") + "\n";
    let write = || {
        let is_new = !path.exists();
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        if is_new { sync_dir(path.parent().unwrap_or(Path::new("."))) } else { Ok(()) }
    };
    write().map_err(Error::io("write", path))
}

/// Drops what a killed run has written after the checkpoint that it resumes from: the lines of later generations,
/// which will be written again, and a last line that was cut off. If another line is not understood, the file as it was
/// is set aside first. Returns what the user should know.
///
/// # Errors
/// When the file cannot be read or written.
pub fn truncate(path: &Path, generation: u64) -> Result<Vec<String>, Error> {
    let Some(bytes) = read(path)? else { return Ok(missing(path, generation)) };
    let found = Found::of(&bytes, generation);
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

/// What [`truncate`] would say, without writing anything.
///
/// # Errors
/// When the file cannot be read.
pub fn check(path: &Path, generation: u64) -> Result<Vec<String>, Error> {
    let Some(bytes) = read(path)? else { return Ok(missing(path, generation)) };
    let found = Found::of(&bytes, generation);
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

/// Checks that a run without a checkpoint may begin: it may if it was stopped before its first one, and not if that one
/// must have existed. It must if a note says so, if the run was graded, or if its metrics go on after the generation in
/// which it was due. They may end there: the line is written first, and the run can be killed between the two.
///
/// # Errors
/// When checkpoints are gone, or the files cannot be read.
pub fn check_new(folder: &Folder, config: &Config) -> Result<(), Error> {
    let written = read(&folder.metrics())?.map(|bytes| Found::of(&bytes, u64::MAX));
    let last = written.and_then(|found| found.generations.into_iter().max());
    // The run's own settings, and not those that it is to go on with.
    let stored = if folder.is_run() { crate::settings::load(Some(&folder.config()), &[])? } else { config.clone() };
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
struct Found {
    /// The lines up to the generation, as they were.
    kept: Vec<u8>,
    /// Generations of these, in their order.
    generations: Vec<u64>,
    /// Lines that are not understood, counted from 1.
    damaged: Vec<usize>,
    /// Whether the last line is not whole.
    cut_off: bool,
}

impl Found {
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

    /// Generations that are missing up to this one, and lines that are not in their order.
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
    Found::of(&[], generation).order(path, generation)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        bytes => Ok(Some(bytes.map_err(Error::io("read", path))?)),
    }
}

/// Copies that are kept beside a file at most.
const COPIES: usize = 1_000;

/// Keeps these bytes beside the file, under a name that nothing else has.
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
        let mut write = || {
            file.write_all(bytes)?;
            file.sync_all()?;
            sync_dir(path.parent().unwrap_or(Path::new(".")))
        };
        return match write() {
            Ok(()) => Ok(aside),
            Err(e) => {
                // Best effort: half a copy helps nobody, and the file itself is untouched.
                let _ = std::fs::remove_file(&aside);
                Err(Error::io("write", &aside)(e))
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
    fn warnings_name_the_cause() {
        let healthy = Stats {
            games: 100,
            distinct_games: 90,
            results: [40, 20, 40],
            recorded: 500,
            entropy_sum: 400.0,
            ..Stats::default()
        };
        let learned = Learned { steps: 1, learning_rate: 0.1, losses: Losses::default(), replay: 1, distinct: 1 };
        let warnings = |stats: &Stats| {
            Metrics::new(1, stats, stats, &learned, Seconds::default(), StageSeconds::default()).warnings
        };
        assert!(warnings(&healthy).is_empty());
        let warned = |stats: Stats, word: &str| assert!(warnings(&stats)[0].contains(word), "{word}");
        warned(Stats { distinct_games: 2, ..healthy.clone() }, "games are equal");
        warned(Stats { distinct_games: 30, results: [0, 100, 0], ..healthy.clone() }, "are drawn");
        warned(Stats { entropy_sum: 1.0, ..healthy.clone() }, "entropy");
    }

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
            Found::of(text.as_bytes(), generation).order(Path::new("m"), generation).join("\n")
        };
        assert_eq!(notices(&[1, 2, 3], 3), "");
        assert_eq!(notices(&[], 0), "");
        assert_eq!(notices(&[3, 6], 8), "m: there are no lines of these generations: 1 to 2, 4 to 5, 7 to 8");
        assert!(notices(&[1, 3, 2], 3).contains("that of 2 is repeated or comes late"));
        assert!(notices(&[1, 1], 1).contains("that of 1"));
    }
}
