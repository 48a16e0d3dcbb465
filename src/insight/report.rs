//! The report of a run: all that is known of it, on one page that a browser shows without a network.
//!
//! [`data`] reads a run folder, and [`page`] writes the page. The page draws itself from the JSON that [`json()`] makes of
//! the data, by the function `showReport` of [`SCRIPT`]: whoever shows a run live calls that function again with newer
//! data. Only files are read, and no lock is taken, so that a run may train meanwhile.

mod games;
mod health;
mod wrong;

pub use games::{Replay, Round};
pub use health::{Health, Level};
pub use wrong::{Move, Wrong, WrongPosition, wrong};

use crate::{
    Error, checkpoint,
    folder::{Folder, write_file},
    games as known_games,
    history::{Change, Origin},
    insight::{met::Met, strength::Strength},
    log::Log,
    metrics::Metrics,
    settings::{self, Source},
    view::View,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use lockstep_components::{Config, config::keys};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// The style sheet of the page, for light and dark, screen and paper.
pub const STYLE: &str =
    concat!(include_str!("../page/base.css"), include_str!("../page/charts.css"), include_str!("../page/report.css"));

/// The script of the page: it draws the report that stands in the element `data`, and defines `showReport`, which draws
/// another one.
pub const SCRIPT: &str =
    concat!(include_str!("../page/board.js"), include_str!("../page/charts.js"), include_str!("../page/report.js"));

/// The most bytes of a page.
pub const MOST_BYTES: usize = 1_000_000;

/// The most runs on one page.
pub const MOST_RUNS: usize = 8;

/// The most points of a curve.
const POINTS: usize = 600;
/// The most lines of the strength, and how many of them keep their tables.
const LINES: (usize, usize) = (300, 12);
/// The most bytes of the games to replay, as they stand in the page.
const GAMES: usize = 250_000;
/// The most matches of a run.
const MATCHES: usize = 50;
/// The most positions with a mistake.
const WRONG: usize = 24;

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The run trains while the report is written.
    Training,
    /// The run was stopped and can go on.
    Stopped,
    /// The run has not come to its last generation; whether it trains is not known.
    Unfinished,
    /// The last generation has ended.
    Finished,
}

/// All that a report shows of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Data {
    /// The name of the run: that of its folder.
    pub name: String,
    /// The name of the game.
    pub game: String,
    /// The name of the game for people.
    pub title: String,
    /// Whether the run goes on.
    pub state: State,
    /// The last generation that has ended.
    pub generation: u64,
    /// The number of generations of the run.
    pub generations: u64,
    /// When the data were read, in seconds since 1970.
    pub read: u64,
    /// The version of the program.
    pub version: &'static str,
    /// What of the run could not be read, and what is missing.
    pub notices: Vec<String>,
    /// How the run goes, in words.
    pub health: Health,
    /// The number of simulations whose mistakes are the strength of the run.
    pub grade_simulations: u32,
    /// The settings of the run.
    pub settings: Vec<Setting>,
    /// The run that it was forked from, with its generation.
    pub forked_from: Option<String>,
    /// What was changed after the run had begun.
    pub changes: Vec<Change>,
    /// What the rules of the advice have said.
    pub advice: Vec<Said>,
    /// How the finished player was graded: the lines of `verdict.jsonl`.
    pub verdict: Vec<Value>,
    /// The metrics of all generations, in their order. The page has them as columns, thinned out.
    #[serde(skip)]
    pub metrics: Vec<Metrics>,
    /// What was measured of the generations that were graded.
    pub strength: Vec<Strength>,
    /// The newest matches that were played against other runs.
    #[serde(skip)]
    pub matches: Vec<Met>,
    /// The position that the games begin with; `None` if this program does not know the game.
    pub start: Option<View>,
    /// What the games of the newest round look like.
    pub round: Option<Round>,
    /// Games to replay, those of the newest round first.
    pub games: Vec<Replay>,
    /// The graded positions that the player gets wrong, if they were looked for.
    pub wrong: Option<Wrong>,
}

/// A setting of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The section and the key.
    pub key: String,
    /// The value as TOML.
    pub value: String,
    /// The default as TOML, where it is another value.
    pub usual: Option<String>,
}

/// What a rule of the advice has said of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// The rule.
    pub rule: String,
    /// What it said last.
    pub text: String,
    /// The number of generations of which it had something to say.
    pub count: usize,
    /// The first and the last generation of each stretch of which it had something to say.
    pub spans: Vec<[u64; 2]>,
}

/// Reads all that a report shows of a run. What cannot be read is left out and named in [`Data::notices`].
///
/// # Errors
/// When there is no run in the folder, or its settings cannot be read.
pub fn data(path: &Path) -> Result<Data, Error> {
    let folder = Folder::of_run(path)?;
    let config = settings::load(Source::File(&folder.config()), &[])?.settled();
    let mut notices = vec![];
    let mut metrics: Vec<Metrics> = lines(&folder.metrics(), &mut notices);
    // A generation that stands there twice was made twice, and the last one counts.
    let by_generation: BTreeMap<u64, Metrics> = metrics.drain(..).map(|line| (line.generation, line)).collect();
    metrics.extend(by_generation.into_values());
    let last = metrics.last().map_or(0, |line| line.generation);
    let missing = last.saturating_sub(metrics.len() as u64);
    if missing > 0 {
        notices
            .push(format!("metrics.jsonl has no lines of {missing} of the {last} generations: totals leave them out"));
    }
    let mut strength: Vec<Strength> = lines(&folder.strength(), &mut notices);
    strength.sort_by_key(|line| line.generation);
    let reached = checkpoint::generations(&folder).ok().and_then(|all| all.last().copied()).unwrap_or(0).max(last);
    let (mut changes, mut origins) = (vec![], vec![]);
    for entry in lines(&folder.history(), &mut notices) {
        match entry {
            Entry::Changed(change) => changes.push(change),
            Entry::Forked(Origin { forked_from, .. }) => origins.push(forked_from),
        }
    }
    let mut matches: Vec<Met> = lines(&folder.matches(), &mut notices);
    let mut data = Data {
        name: name_of(path),
        game: config.game.name.clone(),
        title: config.game.name.clone(),
        state: if reached >= config.run.generations { State::Finished } else { State::Unfinished },
        generation: reached,
        generations: config.run.generations,
        read: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        version: env!("CARGO_PKG_VERSION"),
        health: Health::of(&metrics, &strength, config.run.grade_simulations),
        grade_simulations: config.run.grade_simulations,
        settings: settings_of(&config),
        forked_from: origins.pop(),
        changes,
        advice: said(&metrics, &strength),
        verdict: lines(&folder.verdict(), &mut notices).into_iter().filter(Value::is_object).collect(),
        metrics,
        strength,
        matches: matches.split_off(matches.len().saturating_sub(MATCHES)),
        start: None,
        round: None,
        games: vec![],
        wrong: None,
        notices,
    };
    let Some(game) = known_games::find(&config.game.name) else {
        data.notices.push(format!("This program does not know the game '{}'; its games are not shown.", data.game));
        return Ok(data);
    };
    match game.start(&config.game) {
        Err(error) => data.notices.push(format!("The games are not shown: {error}")),
        Ok(start) => {
            data.title = start.title();
            data.start = Some(View::of(&start, None));
            match games::of_log(game, &start, &Log::of(&folder), reached) {
                Ok((round, games)) => (data.round, data.games) = (round, games),
                Err(error) => data.notices.push(format!("The games are not shown: {error}")),
            }
        }
    }
    Ok(data)
}

/// Writes the report of a run into its folder. `state` says whether the run goes on, for whoever knows.
///
/// # Errors
/// The errors of [`data`], and an error when the file cannot be written.
pub fn write(folder: &Folder, state: State) -> Result<(), Error> {
    let mut data = data(folder.path())?;
    if data.state != State::Finished {
        data.state = state;
    }
    write_file(&folder.report(), page(&[data]).as_bytes())
}

/// Returns a page with these runs, of at most [`MOST_BYTES`] bytes for up to [`MOST_RUNS`] runs. It loads nothing, and its
/// policy keeps any text of a run from loading or running something.
pub fn page(runs: &[Data]) -> String {
    filled(runs, "", SCRIPT, "")
}

/// Returns the page as a server shows it: `head` is what stands above it, an element `live` with the address of newer
/// data, and the page asks there and nowhere else.
pub fn live_page(runs: &[Data], head: &str) -> String {
    filled(runs, " connect-src 'self';", &[SCRIPT, include_str!("../page/live.js")].concat(), head)
}

fn filled(runs: &[Data], connect: &str, script: &str, head: &str) -> String {
    let hash = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
    let rest = include_str!("../page/report.html")
        .replace("{script-hash}", &hash(script))
        .replace("{style-hash}", &hash(STYLE))
        .replace("{connect}", connect)
        .replace("{live}", head)
        .replace("{style}", STYLE)
        .replace("{script}", script);
    let data = json(runs, MOST_BYTES.saturating_sub(rest.len()));
    // Last, so that nothing in a text of a run is taken for a place to fill.
    let (before, behind) = rest.split_once("{data}").expect("the page has a place for the data");
    format!("{before}{data}{behind}")
}

/// Returns the data of some runs as JSON for `showReport`, which can stand in an HTML element: curves are thinned out and
/// games left out until it has at most `most` bytes, as far as that goes.
pub fn json(runs: &[Data], most: usize) -> String {
    let meanings: Map<String, Value> = keys::all()
        .iter()
        .filter_map(|key| {
            let own = key.schema.get("description").or_else(|| keys::resolved(key.schema).get("description"));
            Some((key.to_string(), own?.clone()))
        })
        .collect();
    let mut share = runs.len().max(1);
    loop {
        let runs: Vec<Value> = runs.iter().map(|run| run.thinned(share)).collect();
        let mut all = json!({"runs": runs, "meanings": meanings});
        round_numbers(&mut all);
        // No text of a run can then end the element that it stands in, or begin another one.
        let text = all.to_string().replace('<', "\\u003c");
        if text.len() <= most || share > 256 {
            return text;
        }
        share *= 2;
    }
}

impl Data {
    /// Returns the data as JSON, of which curves, games and tables have the given part of what a page has room for.
    fn thinned(&self, share: usize) -> Value {
        let mut left = GAMES / share;
        let fits = |game: &&Replay| {
            let bytes = serde_json::to_string(game).expect("plain data").len();
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        };
        let games = self.games.iter().take_while(fits).cloned().collect();
        let wrong = self.wrong.clone().map(|mut wrong| {
            wrong.shown.truncate((WRONG / share).max(1));
            wrong
        });
        let mut strength: Vec<Strength> = spread(&self.strength, LINES.0 / share);
        let detailed: BTreeSet<u64> =
            spread(&self.strength, LINES.1 / share).iter().map(|line| line.generation).collect();
        for line in strength.iter_mut().filter(|line| !detailed.contains(&line.generation)) {
            (line.calibration, line.by_ply, line.by_distance) = (vec![], vec![], vec![]);
        }
        let data = Self { strength, games, wrong, metrics: vec![], ..self.clone() };
        let mut value = serde_json::to_value(&data).expect("plain data");
        // Which of the mistakes are the strength of the run is decided here, and not by the page.
        for (line, shown) in data.strength.iter().zip(value["strength"].as_array_mut().into_iter().flatten()) {
            shown["graded"] = json!(line.with(self.grade_simulations));
        }
        value["matches"] = self.matches.iter().map(Met::line).collect();
        value["columns"] = columns(&self.metrics, POINTS / share);
        value["machine"] = json!(self.metrics.last().map(|line| &line.machine));
        value
    }
}

/// Returns at most `most` of some things, and at least two, evenly spread from the first to the last.
fn spread<T: Clone>(all: &[T], most: usize) -> Vec<T> {
    let most = most.max(2);
    if all.len() <= most {
        return all.to_vec();
    }
    (0..most).map(|k| all[k * (all.len() - 1) / (most - 1)].clone()).collect()
}

/// Returns every number of the metrics as a column, by its name: those of a part are called as in `stages.evaluate`.
/// `total.games`, `total.positions` and `total.cpu_seconds` are what the run has come to by then.
fn columns(metrics: &[Metrics], most: usize) -> Value {
    fn numbers(value: &Value, name: &str, row: &mut BTreeMap<String, Value>) {
        match value {
            Value::Number(_) => drop(row.insert(name.into(), value.clone())),
            Value::Object(parts) => parts.iter().for_each(|(key, value)| {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                numbers(value, &name, row);
            }),
            _ => {}
        }
    }
    let (mut games, mut positions, mut cpu) = (0u64, 0u64, 0.0);
    let rows = metrics.iter().map(|line| {
        games = line.games.saturating_add(games);
        positions = line.positions.saturating_add(positions);
        cpu += line.cpu_seconds();
        (line, games, positions, cpu)
    });
    let rows: Vec<BTreeMap<String, Value>> = spread(&rows.collect::<Vec<_>>(), most)
        .into_iter()
        .map(|(line, games, positions, cpu)| {
            let mut row = BTreeMap::new();
            numbers(&serde_json::to_value(line).expect("plain data"), "", &mut row);
            row.insert("total.games".into(), games.into());
            row.insert("total.positions".into(), positions.into());
            row.insert("total.cpu_seconds".into(), cpu.into());
            row
        })
        .collect();
    let names: BTreeSet<&String> = rows.iter().flat_map(BTreeMap::keys).collect();
    let column = |name: &String| rows.iter().map(|row| row.get(name).cloned().unwrap_or(Value::Null)).collect();
    Value::Object(names.into_iter().map(|name| (name.clone(), Value::Array(column(name)))).collect())
}

/// Rounds all numbers that are not whole to six digits, which are more than a curve shows.
fn round_numbers(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(round_numbers),
        Value::Object(all) => all.values_mut().for_each(round_numbers),
        Value::Number(number) if number.is_f64() => {
            let rounded = number.as_f64().and_then(|x| format!("{x:.5e}").parse::<f64>().ok());
            *value = rounded.map_or(Value::Null, Value::from);
        }
        _ => {}
    }
}

/// Returns the lines of a file, each a JSON object, as far as they are understood; none if there is no such file. What is
/// not understood is told in `notices`.
fn lines<T: DeserializeOwned>(path: &Path, notices: &mut Vec<String>) -> Vec<T> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return vec![],
        Err(error) => {
            notices.push(format!("{file} cannot be read ({error})"));
            return vec![];
        }
        Ok(bytes) => bytes,
    };
    let (mut found, mut damaged) = (vec![], vec![]);
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(line) => found.push(line),
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(_) => damaged.push((index + 1).to_string()),
        }
    }
    match &damaged[..] {
        [] => {}
        [line] => notices.push(format!("line {line} of {file} cannot be read and is left out")),
        all => notices.push(format!("lines {} of {file} cannot be read and are left out", all.join(", "))),
    }
    found
}

/// A line of the history of a run.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Changed(Change),
    Forked(Origin),
}

/// Returns the name of a run: that of its folder, wherever it is named from.
fn name_of(path: &Path) -> String {
    let named = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let real = || Some(path.canonicalize().ok()?.file_name()?.to_string_lossy().into_owned());
    named.or_else(real).unwrap_or_else(|| "run".into())
}

/// Returns the settings of a run, in the order of their keys, with the defaults that they differ from.
fn settings_of(config: &Config) -> Vec<Setting> {
    #[derive(Deserialize)]
    struct Sections(BTreeMap<String, BTreeMap<String, toml::Value>>);
    let sections = |config: &Config| {
        let table = toml::Table::try_from(config).expect("a configuration is plain data");
        table.try_into().map_or_else(|_| BTreeMap::new(), |Sections(sections)| sections)
    };
    let usual = sections(&Config::default().settled());
    let own = sections(config);
    let setting = |key: &keys::Key| {
        let value = own.get(key.section)?.get(key.name)?;
        let usual = usual.get(key.section).and_then(|keys| keys.get(key.name)).filter(|usual| *usual != value);
        Some(Setting { key: key.to_string(), value: value.to_string(), usual: usual.map(toml::Value::to_string) })
    };
    keys::all().iter().filter_map(setting).collect()
}

/// Returns what the rules of the advice have said, in the order in which they first had something to say.
fn said(metrics: &[Metrics], strength: &[Strength]) -> Vec<Said> {
    let mut all: Vec<Said> = vec![];
    // What is apart by less than a hundredth of the run is one stretch.
    let apart = 1 + metrics.len() as u64 / 100;
    let of_strength = strength.iter().map(|line| (line.generation, &line.advice));
    let mut lines: Vec<_> = metrics.iter().map(|line| (line.generation, &line.advice)).chain(of_strength).collect();
    lines.sort_by_key(|(generation, _)| *generation);
    for (generation, advice) in lines {
        for advice in advice {
            let at = all.iter().position(|said| said.rule == advice.rule).unwrap_or_else(|| {
                all.push(Said { rule: advice.rule.clone(), text: String::new(), count: 0, spans: vec![] });
                all.len() - 1
            });
            let said = &mut all[at];
            said.text.clone_from(&advice.text);
            said.count += 1;
            match said.spans.last_mut() {
                Some(span) if generation <= span[1].saturating_add(apart) => span[1] = generation,
                _ => said.spans.push([generation; 2]),
            }
        }
    }
    all
}
