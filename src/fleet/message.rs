//! What learner and workers write at the place where they meet.
//!
//! An object is a line with the version of the protocol and the digest of all that follows, a line of JSON, and, where
//! there are games or weights, their bytes. `head -n 2` shows what it says.

use crate::source::Counts;
use lockstep_components::{GameRecord, Stats};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::Read;

/// The version of the protocol, raised when it changes.
const PROTOCOL: u32 = 1;
const MAGIC: &str = "lockstep-fleet";

/// The most bytes of an object without weights.
pub const MOST: u64 = 64 << 20;
/// The most bytes of a report.
pub const MOST_OF_REPORT: u64 = 8 << 20;
/// The most bytes of the games of a report when they are unpacked.
const MOST_UNPACKED: u64 = 64 << 20;
/// The bytes of games from which on a worker puts no more of them into a report.
pub const REPORTED_BYTES: usize = 1 << 20;
/// How many reports a learner has in memory at a time.
pub const REPORTS_AT_ONCE: usize = 32;

/// Who learns at a place: the object `epoch/<number>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// The identity of the run, which is drawn when it first joins a fleet.
    pub run: String,
    /// The folder of the run and the host that it is on, for people.
    pub name: String,
}

/// What the learner is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It trains.
    Training,
    /// It was stopped, and may come back.
    Stopped,
    /// The run has ended.
    Finished,
}

/// The rounds that are in play: the object `board`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// The epoch of the learner.
    pub epoch: u64,
    /// A number that grows with every writing.
    pub beat: u64,
    /// The identity of the run.
    pub run: String,
    /// The folder of the run and its host, for people.
    pub name: String,
    /// The version of lockstep that learns.
    pub version: String,
    /// What its machine computes: see [`crate::run::probe`].
    pub probe: String,
    /// What the learner is at.
    pub phase: Phase,
    /// The rounds in play, and those just before.
    pub works: Vec<WorkNotice>,
    /// Seconds that a worker should leave between two looks, where the place's own pace is faster: the more workers there are,
    /// the more.
    #[serde(default)]
    pub pace: f64,
}

/// A round that is to be played.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkNotice {
    /// The identity of all that decides its games: see [`work_id`].
    pub id: String,
    /// The number of the round.
    pub round: u64,
    /// The generation whose weights play it.
    pub generation: u64,
    /// Its settings, as a configuration file.
    pub settings: String,
    /// The digest of its weights.
    pub weights: String,
    /// The bytes of its weights.
    pub bytes: u64,
}

/// Returns the identity of a round's games: the digest of what they are a function of, as 16 hexadecimal digits. `essence`
/// is the settings that decide what is played, seed and game among them.
pub fn work_id(round: u64, essence: &str, weights: &str) -> String {
    digest(format!("{round}\n{weights}\n{essence}").as_bytes())[..16].into()
}

/// Returns the digest of bytes as hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Games of a round with numbers from `from` to below `to`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// The round: see [`WorkNotice::id`].
    pub work: String,
    /// The first number.
    pub from: u64,
    /// The number behind the last one.
    pub to: u64,
}

/// What a worker is to play: the object `out/<worker>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Orders {
    /// The epoch of the learner.
    pub epoch: u64,
    /// A number that grows with every writing.
    pub beat: u64,
    /// The number of the last report that the learner has read.
    pub heard: u64,
    /// All spans that the worker is to play. What is not in here any more nobody waits for.
    pub spans: Vec<Span>,
    /// Why the worker is refused, if it is.
    pub refused: Option<String>,
    /// What the learner is at.
    pub phase: Phase,
}

/// What a worker tells: the object `in/<worker>/<number>`, with games behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The epoch of the learner that the worker has read of.
    pub epoch: u64,
    /// The identity of the worker, which it has drawn.
    pub worker: String,
    /// Its name, for people: the host, unless its user says otherwise.
    pub name: String,
    /// The number of the report, counted from 1.
    pub number: u64,
    /// The version of lockstep that plays.
    pub version: String,
    /// What the machine computes: see [`crate::run::probe`].
    pub probe: String,
    /// The number of games that it can hold: those that fill its lanes, and some for the time that a message takes.
    pub capacity: u64,
    /// The spans that it holds, of which not all games have ended.
    pub holds: Vec<Span>,
    /// Whether it leaves: what it holds goes to others.
    pub leaving: bool,
    /// What it has done since its last report.
    pub effort: Effort,
}

/// The work that went into games.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Effort {
    /// Simulations.
    pub simulations: u64,
    /// Positions that the network evaluated.
    pub evaluations: u64,
    /// Rows that the device computed.
    pub computed: u64,
    /// Batches.
    pub batches: u64,
    /// Simulations whose evaluation was in the cache.
    pub cache_hits: u64,
    /// Leaves that shared the row of an equal one.
    pub duplicates: u64,
    /// Seconds of having nothing to play, because the learner had nothing.
    pub waited: f64,
    /// Seconds of having nothing to play, because the weights were not there yet.
    pub loading: f64,
    /// Seconds altogether.
    pub seconds: f64,
}

impl Effort {
    /// Returns what lanes have done.
    pub fn of(stats: &Stats) -> Self {
        let &Stats { simulations, evaluations, computed, batches, cache_hits, duplicates, .. } = stats;
        Self { simulations, evaluations, computed, batches, cache_hits, duplicates, ..Self::default() }
    }

    /// Adds what else was done.
    pub fn add(&mut self, more: &Self) {
        let mut stats = Stats::default();
        self.add_to(&mut stats);
        more.add_to(&mut stats);
        let sum = |own: f64, more: f64| own + if more.is_finite() { more.clamp(0.0, 1e6) } else { 0.0 };
        *self = Self {
            waited: sum(self.waited, more.waited),
            loading: sum(self.loading, more.loading),
            seconds: sum(self.seconds, more.seconds),
            ..Self::of(&stats)
        };
    }

    /// Adds the counts to others.
    pub fn add_to(&self, stats: &mut Stats) {
        let pairs = [
            (&mut stats.simulations, self.simulations),
            (&mut stats.evaluations, self.evaluations),
            (&mut stats.computed, self.computed),
            (&mut stats.batches, self.batches),
            (&mut stats.cache_hits, self.cache_hits),
            (&mut stats.duplicates, self.duplicates),
        ];
        // Whoever writes here may write anything.
        pairs.into_iter().for_each(|(sum, more)| *sum = sum.saturating_add(more.min(1 << 48)));
    }
}

/// What is known of a fleet: the object `status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The epoch of the learner.
    pub epoch: u64,
    /// The folder of the run and its host.
    pub name: String,
    /// Seconds since 1970 by the clock of the learner.
    pub time: u64,
    /// What the learner is at.
    pub phase: Phase,
    /// What it is waiting for, as a sentence.
    pub waits: String,
    /// The rounds in play.
    pub rounds: Vec<RoundStatus>,
    /// The workers, the learner among them if it plays.
    pub workers: Vec<WorkerStatus>,
    /// What is counted since the learner has begun.
    pub counts: Counts,
    /// Workers that were set aside, and why.
    pub rejected: Vec<(String, String)>,
}

/// What is known of a round in play.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundStatus {
    /// The number of the round.
    pub round: u64,
    /// Games that were missing when it began.
    pub games: u64,
    /// Games of these that have come back.
    pub done: u64,
    /// Games of these that nobody holds.
    pub free: u64,
}

/// What is known of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its identity.
    pub worker: String,
    /// Its name.
    pub name: String,
    /// Seconds since it was heard of.
    pub age: f64,
    /// Games that it holds.
    pub holds: u64,
    /// Games that have come from it.
    pub games: u64,
    /// Games per second, lately.
    pub games_per_second: f64,
    /// Simulations per second, lately.
    pub simulations_per_second: f64,
    /// Share of the time in which it had nothing to play, lately.
    pub waited: f64,
}

/// Returns an object with this head and these bytes behind it.
pub fn seal(head: &impl Serialize, body: &[u8]) -> Vec<u8> {
    let mut rest = serde_json::to_vec(head).expect("plain data");
    rest.push(b'\n');
    rest.extend_from_slice(body);
    let mut bytes = first_line(&rest).into_bytes();
    bytes.push(b'\n');
    bytes.extend(rest);
    bytes
}

/// Returns the line that stands before these bytes in an object.
fn first_line(rest: &[u8]) -> String {
    format!("{MAGIC} {PROTOCOL} {}", digest(rest))
}

/// Returns the head of an object and the bytes behind it.
///
/// # Errors
/// What is wrong with the object: it is damaged, none of a fleet, or of another version.
pub fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), String> {
    let line = |bytes: &[u8]| bytes.iter().position(|&byte| byte == b'\n');
    let end = line(&bytes[..bytes.len().min(128)]).ok_or("it is no message of a fleet")?;
    let first = std::str::from_utf8(&bytes[..end]).map_err(|_| "it is no message of a fleet")?;
    let mut words = first.split(' ');
    let (magic, protocol) = (words.next(), words.next());
    if magic != Some(MAGIC) {
        return Err("it is no message of a fleet".into());
    }
    if protocol.and_then(|protocol| protocol.parse().ok()) != Some(PROTOCOL) {
        let theirs = protocol.unwrap_or_default();
        return Err(format!(
            "it has version {theirs} of the fleet's protocol, and this program has version {PROTOCOL}"
        ));
    }
    let rest = &bytes[end + 1..];
    if first != first_line(rest) {
        return Err("its digest is not that of its contents".into());
    }
    let end = line(rest).ok_or("it has no head")?;
    let head = serde_json::from_slice(&rest[..end]).map_err(|e| format!("its head cannot be read: {e}"))?;
    Ok((head, &rest[end + 1..]))
}

/// Games of rounds, each list with the identity of its round.
pub type Games = Vec<(String, Vec<GameRecord>)>;

/// Returns games as the bytes behind a report.
pub fn pack(games: &Games) -> Vec<u8> {
    zstd::encode_all(&postcard::to_stdvec(games).expect("plain data")[..], 1).expect("writing to memory")
}

/// Returns the games behind a report.
///
/// # Errors
/// When the bytes are no games, or more than are allowed.
pub fn unpack(bytes: &[u8]) -> Result<Games, String> {
    if bytes.is_empty() {
        return Ok(vec![]);
    }
    let (mut all, decoder) = (vec![], zstd::Decoder::new(bytes).map_err(|e| e.to_string())?);
    decoder.take(MOST_UNPACKED + 1).read_to_end(&mut all).map_err(|e| format!("its games are damaged: {e}"))?;
    if all.len() as u64 > MOST_UNPACKED {
        return Err("its games are more than a report may have".into());
    }
    let (games, rest) = postcard::take_from_bytes(&all).map_err(|e| format!("its games are damaged: {e}"))?;
    if rest.is_empty() { Ok(games) } else { Err("there is something behind its games".into()) }
}

/// Returns the digest of a game, which two records share if they are the same bit for bit.
pub fn digest_of(game: &GameRecord) -> u128 {
    let hash = blake3::hash(&postcard::to_stdvec(game).expect("plain data"));
    u128::from_le_bytes(*hash.as_bytes().first_chunk().expect("it is longer"))
}

/// Returns a text of somebody else as it can be shown on a terminal: at most 500 characters, and none that controls it.
pub fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

/// Whether a text can be the name that a worker has drawn.
pub fn is_worker(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Returns the key of what a worker is to play.
pub fn orders_key(worker: &str) -> String {
    format!("out/{worker}")
}

/// Returns the key of a report.
pub fn report_key(worker: &str, number: u64) -> String {
    format!("in/{worker}/{number:08}")
}

/// Returns the key of weights.
pub fn weights_key(digest: &str) -> String {
    format!("weights/{digest}")
}

/// Returns bytes that nobody can foresee.
///
/// # Errors
/// When the system has no random numbers.
pub fn drawn() -> Result<[u8; 32], crate::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| crate::Error::Usage(format!("the system has no random numbers: {e}")))?;
    Ok(bytes)
}
