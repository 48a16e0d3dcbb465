//! The log of a run: its games, a segment for each round.
//!
//! `log/000007.part` is written while round 7 is played: a game is appended when it ends, so that it is never played
//! twice, whatever ends the program. `log/000007.games` takes its place when all games have ended: the games in the
//! order of their numbers, compressed, with a digest at the end. That file is the same, byte for byte, however the
//! games were played.
//!
//! The replay buffer is filled from the segments when a run is taken up, and `games/` is written from the same records.

use crate::{
    Error,
    error::Fault,
    folder::{Folder, or_warn, write_file},
    history, settings,
};
use lockstep_components::{Config, GameRecord, State, config::MAX_LAG};
use lockstep_systems::AnyGame;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// The version of the format, raised when it changes. Files of format 2 are read as well: see [`format2`].
const FORMAT: u32 = 3;

/// The header that a segment begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    format: u32,
    game: String,
    /// The number of the round, counted from 1.
    pub round: u64,
    /// The settings that decide what is played and learned, as TOML: see [`crate::settings::essence`].
    pub settings: String,
    /// The number of searched positions of all games; 0 while the round is played.
    pub positions: u64,
}

impl Header {
    /// Returns the header of a round that is to be played with these settings.
    pub fn new(game: AnyGame, round: u64, settings: String) -> Self {
        Self { format: FORMAT, game: game.info.name.into(), round, settings, positions: 0 }
    }

    /// Returns the settings of the round, which is one of a run with the settings `config`; `path` is named in errors.
    ///
    /// # Errors
    /// When the settings cannot be read, or differ from those of the run in a key that cannot change within a run.
    pub fn settings_of(&self, config: &Config, path: &Path) -> Result<Config, Error> {
        let own = settings::with_essence(config, &self.settings)?;
        match history::unchangeable(config, &own) {
            None => Ok(own),
            Some(history::Change { key, from, to, .. }) => {
                let message = format!("its games were played with {key} = {to}, and those of the run with {from}");
                Err(stored(path, Fault::Unfit, message))
            }
        }
    }

    fn of_game(self, game: AnyGame, path: &Path) -> Result<Self, Error> {
        if self.game == game.info.name {
            return Ok(self);
        }
        Err(stored(path, Fault::Unfit, format!("it has games of '{}', not of '{}'", self.game, game.info.name)))
    }
}

/// What is known of a round: its games that have ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// The header of the segment.
    pub header: Header,
    /// The games of the round: in the order of their numbers if all of them have ended, else in that of their ends.
    pub games: Vec<GameRecord>,
    /// Whether all games of the round have ended.
    pub whole: bool,
    /// The file of the segment.
    pub path: PathBuf,
}

/// The log of a run folder. Only the holder of the folder's lock may write.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    /// The files of the segments that are being written, by their rounds.
    parts: BTreeMap<u64, (PathBuf, File)>,
}

/// Bytes in front of an entry: its length, and the first bytes of its digest.
const FRAME: usize = 4 + SUM;
/// Bytes of an entry's digest that stand in front of it.
const SUM: usize = 8;
/// Bytes of a whole digest.
const DIGEST: usize = 32;

impl Log {
    /// Returns the log of a run folder.
    pub fn of(folder: &Folder) -> Self {
        Self { dir: folder.log(), parts: BTreeMap::new() }
    }

    fn path(&self, round: u64, kind: &str) -> PathBuf {
        self.dir.join(name_of(round, kind))
    }

    /// Returns the path of the file of a round whose games have all ended; it need not exist.
    pub fn whole(&self, round: u64) -> PathBuf {
        self.path(round, "games")
    }

    /// Returns the rounds whose games have all ended, in ascending order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn rounds(&self) -> Result<Vec<u64>, Error> {
        self.found("games")
    }

    /// Returns the rounds with a file that a run can have begun whose newest checkpoint is of this generation, in
    /// ascending order. As many as can be in play ([`MAX_LAG`]) may be missing between two of them: what is further off
    /// was numbered by nobody.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn known(&self, generation: u64) -> Result<Vec<u64>, Error> {
        // A round that ends meanwhile is found the second time.
        let mut rounds = [self.found("part")?, self.found("games")?].concat();
        rounds.sort_unstable();
        rounds.dedup();
        let mut reached = generation;
        rounds.retain(|&round| {
            let follows = round <= reached.saturating_add(MAX_LAG);
            if follows {
                reached = reached.max(round);
            }
            follows
        });
        Ok(rounds)
    }

    /// Returns the known rounds after this generation: see [`Log::known`].
    fn begun(&self, generation: u64) -> Result<impl Iterator<Item = u64> + use<>, Error> {
        Ok(self.known(generation)?.into_iter().filter(move |&round| round > generation))
    }

    /// Returns the names of what lies in the folder and, by its name or its number, is no file of a run whose newest
    /// checkpoint is of this generation.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn strays(&self, generation: u64) -> Result<Vec<String>, Error> {
        let last = self.known(generation)?.last().copied();
        let is_own = |name: &String| {
            let round = ["games", "part"].iter().find_map(|kind| round_of(name, kind));
            round.is_some_and(|round| Some(round) <= last) || round_of(name, "partial").is_some()
        };
        Ok(self.names()?.into_iter().filter(|name| !is_own(name)).collect())
    }

    /// Gives other names to the segments that a run whose newest checkpoint is of this generation cannot have begun, so
    /// that the run does not take them for its own when it comes to their numbers. Returns what the user should know.
    /// Only the holder of the folder's lock may call this.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn set_aside(&self, generation: u64) -> Result<Vec<String>, Error> {
        let mut notices = vec![];
        for name in self.strays(generation)? {
            if ["games", "part"].iter().all(|kind| round_of(&name, kind).is_none()) {
                continue;
            }
            let path = self.dir.join(&name);
            let aside = (1u64..).map(|k| format!("{name}.aside-{k}")).find(|aside| !self.dir.join(aside).exists());
            let aside = self.dir.join(aside.expect("not all names are taken"));
            let done = match fs::rename(&path, &aside) {
                Ok(()) => format!("it is set aside as {}", aside.display()),
                Err(e) => format!("it cannot be set aside ({e}): remove it before the run comes to its number"),
            };
            let path = path.display();
            notices.push(format!("{path}: the run has not come to this round; {done}"));
        }
        Ok(notices)
    }

    fn found(&self, kind: &str) -> Result<Vec<u64>, Error> {
        let mut rounds: Vec<u64> = self.names()?.iter().filter_map(|name| round_of(name, kind)).collect();
        rounds.sort_unstable();
        Ok(rounds)
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let list = || -> std::io::Result<Vec<String>> {
            let names = fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.collect()
        };
        match list() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
            names => names.map_err(Error::io("read", &self.dir)),
        }
    }

    /// Opens the file of a round, and returns it with its path and whether all games of the round have ended; `None` if
    /// there is no file.
    fn open(&self, round: u64) -> Result<Option<(PathBuf, File, bool)>, Error> {
        // A round that ends meanwhile has its last file before it loses the other.
        for kind in ["games", "part", "games"] {
            let path = self.path(round, kind);
            match File::open(&path) {
                Ok(file) => return Ok(Some((path, file, kind == "games"))),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("read", &path)(e)),
            }
        }
        Ok(None)
    }

    /// Reads what is known of a round; `None` if none of its games has ended.
    ///
    /// # Errors
    /// When the file of the round cannot be read, is damaged, of another version or of another game.
    pub fn read(&self, game: AnyGame, round: u64) -> Result<Option<Segment>, Error> {
        let Some((path, file, whole)) = self.open(round)? else { return Ok(None) };
        let bytes = read_all(file, &path)?;
        if whole {
            let (header, games) = read_whole(game, &bytes, &path, round)?;
            return Ok(Some(Segment { header, games, whole, path }));
        }
        let Some((header, games)) = read_part(game, &bytes, &path, round)? else { return Ok(None) };
        Ok((!games.is_empty()).then_some(Segment { header, games, whole, path }))
    }

    /// Reads the header of a round, of whatever game, and returns it with its file; `None` if no game of the round has
    /// ended.
    fn header(&self, round: u64) -> Result<Option<(PathBuf, Header)>, Error> {
        let Some((path, file, whole)) = self.open(round)? else { return Ok(None) };
        if whole {
            let header = header_of(file, &path, round)?;
            return Ok(Some((path, header)));
        }
        let bytes = read_all(file, &path)?;
        let Some((first, rest)) = entry(&bytes) else { return Ok(None) };
        let header = checked_header(postcard::from_bytes(first).ok(), &path, round)?;
        Ok(entry(rest).map(|_| (path, header)))
    }

    /// Returns the error of a round whose games are missing.
    pub fn missing(&self, round: u64) -> Error {
        stored(&self.whole(round), Fault::Missing, "the games of a round")
    }

    /// Returns the digest of a round whose games have all ended, as its file has it, in hexadecimal digits.
    ///
    /// # Errors
    /// When the file is missing or cannot be read.
    pub fn digest(&self, round: u64) -> Result<String, Error> {
        let path = self.whole(round);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(self.missing(round)),
            bytes => bytes.map_err(Error::io("read", &path))?,
        };
        Ok(bytes.last_chunk::<DIGEST>().map_or(String::new(), |digest| hex(digest)))
    }

    /// Begins to write a round, or goes on with it behind its last game that is whole.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is damaged.
    pub fn begin(&mut self, game: AnyGame, header: &Header) -> Result<(), Error> {
        let path = self.path(header.round, "part");
        let found = match fs::read(&path) {
            Ok(bytes) => read_part(game, &bytes, &path, header.round)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::io("read", &path)(e)),
        };
        match found {
            // With the settings that they were played with.
            Some((own, games)) if !games.is_empty() => write_part(&path, &own, &games)?,
            // A round without a game has not begun.
            _ => write_part(&path, header, &[])?,
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(Error::io("write", &path))?;
        self.parts.insert(header.round, (path, file));
        Ok(())
    }

    /// Appends games that have ended to a round that is being written; for any other round it does nothing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, round: u64, games: &[GameRecord]) -> Result<(), Error> {
        let Some((path, file)) = self.parts.get_mut(&round) else { return Ok(()) };
        let bytes: Vec<u8> = games.iter().flat_map(framed).collect();
        file.write_all(&bytes).map_err(Error::io("write", path))
    }

    /// Writes the games of a round that have ended anew, without some that were there: see [`Log::append`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn rewrite(&mut self, header: &Header, games: &[GameRecord]) -> Result<(), Error> {
        let Some((path, file)) = self.parts.get_mut(&header.round) else { return Ok(()) };
        write_part(path, header, games)?;
        *file = OpenOptions::new().append(true).open(&*path).map_err(Error::io("write", path))?;
        Ok(())
    }

    /// Ends a round with all of its games, which are in the order of their numbers.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(&mut self, header: &Header, games: &[GameRecord]) -> Result<(), Error> {
        let positions = games.iter().map(|game| game.plies.len() as u64).sum();
        let mut encoder = zstd::Encoder::new(vec![], 1).expect("a level that there is");
        postcard::to_io(&Header { positions, ..header.clone() }, &mut encoder).expect("plain data");
        postcard::to_io(games, &mut encoder).expect("plain data");
        let mut bytes = encoder.finish().expect("writing to memory");
        let digest = blake3::hash(&bytes);
        bytes.extend(digest.as_bytes());
        write_file(&self.whole(header.round), &bytes)?;
        self.parts.remove(&header.round);
        self.remove(&self.path(header.round, "part"));
        Ok(())
    }

    /// Removes a file that has had its use. One that cannot be removed does no harm, and is told.
    fn remove(&self, path: &Path) {
        match fs::remove_file(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            done => or_warn(&self.dir, done.map_err(Error::io("remove", path))),
        }
    }

    /// Changes the settings of all rounds from `first` on that have a finished game. No checkpoint may name these
    /// rounds yet.
    ///
    /// # Errors
    /// When a segment cannot be used or written.
    pub fn amend(&mut self, game: AnyGame, first: u64, change: impl Fn(&mut Config)) -> Result<(), Error> {
        for round in self.begun(first.saturating_sub(1))? {
            let Some(Segment { header, games, whole, .. }) = self.read(game, round)? else { continue };
            let mut config = settings::with_essence(&Config::default(), &header.settings)?;
            change(&mut config);
            let header = Header { settings: settings::essence(&config), ..header };
            if whole {
                self.finish(&header, &games)?;
            } else {
                write_part(&self.path(round, "part"), &header, &games)?;
            }
        }
        Ok(())
    }

    /// Removes what a killed program has left of rounds whose games have all ended.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn mend(&self) -> Result<(), Error> {
        for round in self.found("part")? {
            if self.whole(round).exists() {
                self.remove(&self.path(round, "part"));
            }
        }
        Ok(())
    }

    /// Returns the headers of the known rounds from `first` on that have a finished game, each with its file.
    ///
    /// # Errors
    /// The errors of [`Log::read`].
    pub fn headers(&self, game: AnyGame, first: u64) -> Result<Vec<(PathBuf, Header)>, Error> {
        let mut headers = vec![];
        for round in self.begun(first.saturating_sub(1))? {
            if let Some((path, header)) = self.header(round)? {
                let header = header.of_game(game, &path)?;
                headers.push((path, header));
            }
        }
        Ok(headers)
    }

    /// Returns the header of the first round of a run without a checkpoint, and its file; `None` if no game has ended.
    ///
    /// # Errors
    /// The errors of [`Log::read`].
    pub fn first(&self) -> Result<Option<(PathBuf, Header)>, Error> {
        for round in self.begun(0)? {
            if let Some(found) = self.header(round)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Returns the rounds that fill a replay buffer of `positions` positions after `round`, oldest first. They begin
    /// behind the last one that is gone and not `needed`: a run that keeps no games that it has no use for may find a
    /// use for them later.
    ///
    /// # Errors
    /// When a segment that is needed is missing, or a segment cannot be used.
    pub fn window(
        &self,
        game: AnyGame,
        round: u64,
        positions: usize,
        needed: impl Fn(u64) -> bool,
    ) -> Result<Vec<u64>, Error> {
        let (mut rounds, mut left) = (vec![], positions as u64);
        for round in (1..=round).rev() {
            if left == 0 {
                break;
            }
            let (path, file) = match self.open(round)? {
                Some((path, file, true)) => (path, file),
                _ if needed(round) => return Err(self.missing(round)),
                _ => break,
            };
            let header = header_of(file, &path, round)?.of_game(game, &path)?;
            left = left.saturating_sub(header.positions);
            rounds.push(round);
        }
        rounds.reverse();
        Ok(rounds)
    }

    /// Removes the games of the rounds before `first`, as far as that goes.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn thin(&self, first: u64) -> Result<(), Error> {
        self.rounds()?.into_iter().filter(|&round| round < first).for_each(|round| self.remove(&self.whole(round)));
        Ok(())
    }
}

fn name_of(round: u64, kind: &str) -> String {
    format!("{round:06}.{kind}")
}

/// Returns the round of a file of this kind by its name: `+7` and `7` are numbers too, and no names that a segment has.
fn round_of(name: &str, kind: &str) -> Option<u64> {
    let round = name.split_once('.')?.0.parse().ok()?;
    (round > 0 && name == name_of(round, kind)).then_some(round)
}

fn read_all(mut file: File, path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![];
    file.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

fn stored(path: &Path, fault: Fault, message: impl Into<String>) -> Error {
    Error::Log { path: path.into(), fault, message: message.into() }
}

/// Writes the file of a round that is being played, with the games of it that have ended.
fn write_part(path: &Path, header: &Header, games: &[GameRecord]) -> Result<(), Error> {
    let entries: Vec<u8> = games.iter().flat_map(framed).collect();
    write_file(path, &[framed(header), entries].concat())
}

/// Returns an entry as it stands in a segment that is being written.
fn framed(entry: &impl Serialize) -> Vec<u8> {
    let bytes = postcard::to_stdvec(entry).expect("plain data");
    let sum = blake3::hash(&bytes);
    [&(bytes.len() as u32).to_le_bytes()[..], &sum.as_bytes()[..SUM], &bytes].concat()
}

/// Returns the entry at the front and what is behind it; `None` if the entry is not whole.
fn entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (frame, rest) = bytes.split_at_checked(FRAME)?;
    let (length, sum) = frame.split_at(4);
    let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
    let (entry, rest) = rest.split_at_checked(length)?;
    (blake3::hash(entry).as_bytes()[..SUM] == *sum).then_some((entry, rest))
}

/// Reads a segment that is being written, its header and its games; `None` if not even the header is whole. What is behind the last whole game is what a killed program was writing; a game that is lost
/// so is played again, and is the same.
fn read_part(game: AnyGame, bytes: &[u8], path: &Path, round: u64) -> Result<Option<(Header, Vec<GameRecord>)>, Error> {
    let Some((first, mut rest)) = entry(bytes) else { return Ok(None) };
    let mut header = checked_header(postcard::from_bytes(first).ok(), path, round)?.of_game(game, path)?;
    let start = start_of(game, &header, path)?;
    let mut games: Vec<GameRecord> = vec![];
    while let Some((game, behind)) = entry(rest) {
        let game = match header.format {
            2 => postcard::from_bytes::<format2::Game>(game).map(GameRecord::from),
            _ => postcard::from_bytes(game),
        };
        let game = game.map_err(|e| stored(path, Fault::Damaged, format!("an entry is no game ({e})")))?;
        check_game(&start, &game, path, round)?;
        games.push(game);
        rest = behind;
    }
    let mut numbers: Vec<_> = games.iter().map(|game| game.id).collect();
    numbers.sort_unstable();
    if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(stored(path, Fault::Damaged, "a game is there twice"));
    }
    header.format = FORMAT;
    Ok(Some((header, games)))
}

fn read_whole(game: AnyGame, bytes: &[u8], path: &Path, round: u64) -> Result<(Header, Vec<GameRecord>), Error> {
    let damaged = |message: String| stored(path, Fault::Damaged, message);
    let Some((bytes, digest)) = bytes.split_last_chunk::<DIGEST>() else {
        return Err(damaged("it is cut off".into()));
    };
    if blake3::hash(bytes) != *digest {
        return Err(damaged("its digest is not that of its contents".into()));
    }
    let bytes = zstd::decode_all(bytes).map_err(|e| damaged(e.to_string()))?;
    let (mut header, rest) = match postcard::take_from_bytes::<Header>(&bytes) {
        Ok((header, rest)) => (checked_header(Some(header), path, round)?.of_game(game, path)?, rest),
        Err(_) => return Err(checked_header(None, path, round).expect_err("there is none")),
    };
    let games = match header.format {
        2 => postcard::from_bytes(rest).map(|games: Vec<format2::Game>| games.into_iter().map(Into::into).collect()),
        _ => postcard::from_bytes::<Vec<GameRecord>>(rest),
    };
    let games = games.map_err(|e| damaged(e.to_string()))?;
    header.format = FORMAT;
    let start = start_of(game, &header, path)?;
    for (number, game) in games.iter().enumerate() {
        check_game(&start, game, path, round)?;
        if game.id.is_none_or(|id| id.number != number as u64) {
            return Err(damaged(format!("game {number} is not where it belongs")));
        }
    }
    if games.iter().map(|game| game.plies.len() as u64).sum::<u64>() != header.positions {
        return Err(damaged("it has not as many positions as it says".into()));
    }
    Ok((header, games))
}

/// Reads the header of a whole segment alone, without looking at the digest.
fn header_of(file: File, path: &Path, round: u64) -> Result<Header, Error> {
    let read = || -> std::io::Result<Option<Header>> {
        // The digest behind the frame is none of it.
        let (mut decoder, mut bytes) = (zstd::Decoder::new(file)?.single_frame(), vec![]);
        // Settings are some kilobytes, mostly.
        while decoder.by_ref().take(1 << 16).read_to_end(&mut bytes)? > 0 {
            if let Ok((header, _)) = postcard::take_from_bytes(&bytes) {
                return Ok(Some(header));
            }
        }
        Ok(None)
    };
    let header = read().map_err(|e| stored(path, Fault::Damaged, e.to_string()))?;
    checked_header(header, path, round)
}

fn checked_header(header: Option<Header>, path: &Path, round: u64) -> Result<Header, Error> {
    let Some(header) = header else { return Err(stored(path, Fault::Damaged, "it does not begin as a segment")) };
    if !(2..=FORMAT).contains(&header.format) {
        let message = format!("it has format {}, and this version reads formats 2 to {FORMAT}", header.format);
        return Err(stored(path, Fault::Version, message));
    }
    if header.round != round {
        return Err(stored(path, Fault::Damaged, format!("it is named {round} and has the games of {}", header.round)));
    }
    Ok(header)
}

/// Returns the position that the games of a segment begin with.
fn start_of(game: AnyGame, header: &Header, path: &Path) -> Result<State, Error> {
    let config = settings::with_essence(&Config::default(), &header.settings);
    config.map(|config| game.start_of(&config)).map_err(|e| stored(path, Fault::Damaged, e.to_string()))
}

fn check_game(start: &State, game: &GameRecord, path: &Path, round: u64) -> Result<(), Error> {
    start.check(game).map_err(|message| stored(path, Fault::Damaged, format!("a game in it is none: {message}")))?;
    if game.id.is_none_or(|id| id.round != round) {
        return Err(stored(path, Fault::Damaged, "a game in it is of another round"));
    }
    Ok(())
}

/// Returns bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the digest of each of these rounds, for the manifest of a checkpoint.
///
/// # Errors
/// When a segment is missing or cannot be read.
pub fn digests(log: &Log, rounds: &[u64]) -> Result<BTreeMap<u64, String>, Error> {
    rounds.iter().map(|&round| Ok((round, log.digest(round)?))).collect()
}

/// Games as format 2 has them: their positions have no weights, which are 1.
mod format2 {
    use lockstep_components::{Action, GameId, GameRecord, Outcome, Ply, tree::Counts};
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[cfg_attr(test, derive(serde::Serialize))]
    pub struct Game {
        pub id: Option<GameId>,
        pub opening: Vec<Action>,
        /// The move, the value of the root and the number of the policy's entries of each searched position.
        pub plies: Vec<(Action, f32, u16)>,
        pub policies: Vec<(Action, u16)>,
        pub entropy_sum: f32,
        pub counts: Counts,
        pub finished: Option<Outcome>,
    }

    impl From<Game> for GameRecord {
        fn from(game: Game) -> Self {
            let Game { id, opening, plies, policies, entropy_sum, counts, finished } = game;
            let ply = |(action, root_value, policy_len)| Ply { action, root_value, weight: 1.0, policy_len };
            let plies = plies.into_iter().map(ply).collect();
            Self { id, opening, plies, policies, entropy_sum, counts, finished }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_components::{GameId, Outcome, Ply, games::TicTacToe};

    fn game(number: u64) -> GameRecord {
        let ply = |action| Ply { action, root_value: 0.25, weight: 1.0, policy_len: 1 };
        GameRecord {
            id: Some(GameId { round: 7, number }),
            opening: vec![0],
            plies: [3, 1, 4, 2].map(ply).to_vec(),
            policies: [3, 1, 4, 2].map(|action| (action, 65_535)).to_vec(),
            finished: Some(Outcome::Win),
            ..Default::default()
        }
    }

    fn as_format2(game: GameRecord) -> format2::Game {
        let GameRecord { id, opening, plies, policies, entropy_sum, counts, finished } = game;
        let plies = plies.iter().map(|ply| (ply.action, ply.root_value, ply.policy_len)).collect();
        format2::Game { id, opening, plies, policies, entropy_sum, counts, finished }
    }

    /// A log of the format before this one is read, and a round that was begun in it is ended in this one.
    #[test]
    fn format_2_is_read_and_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let tictactoe = AnyGame::of::<TicTacToe>();
        let mut log = Log { dir: dir.path().into(), parts: BTreeMap::new() };
        let settings = settings::essence(&Config::default());
        let header = Header { format: 2, ..Header::new(tictactoe, 7, settings) };
        let part = [framed(&header), framed(&as_format2(game(1))), vec![9, 9]].concat();
        fs::write(log.path(7, "part"), part).unwrap();
        let begun = log.read(tictactoe, 7).unwrap().unwrap();
        assert_eq!((&begun.games[..], begun.whole), (&[game(1)][..], false));
        log.begin(tictactoe, &Header { settings: "# of a round that was not begun".into(), ..header.clone() }).unwrap();
        let heavy = |mut game: GameRecord| {
            game.plies[0].weight = 4.0;
            game
        };
        log.append(7, &[heavy(game(0))]).unwrap();
        let on = log.read(tictactoe, 7).unwrap().unwrap();
        assert_eq!((&on.games[..], &on.header), (&[game(1), heavy(game(0))][..], &begun.header));

        let mut bytes = postcard::to_stdvec(&Header { positions: 8, ..header }).unwrap();
        bytes.extend(postcard::to_stdvec(&[as_format2(game(0)), as_format2(game(1))].as_slice()).unwrap());
        let bytes = zstd::encode_all(&bytes[..], 1).unwrap();
        let digest = blake3::hash(&bytes);
        fs::write(log.whole(7), [&bytes, &digest.as_bytes()[..]].concat()).unwrap();
        let whole = log.read(tictactoe, 7).unwrap().unwrap();
        assert_eq!((&whole.games[..], whole.whole), (&[game(0), game(1)][..], true));
        // What is written again is of this format.
        log.finish(&whole.header, &whole.games).unwrap();
        assert_eq!(log.read(tictactoe, 7).unwrap().unwrap(), whole);
        assert_ne!(fs::read(log.whole(7)).unwrap()[..bytes.len()], bytes);
    }
}
