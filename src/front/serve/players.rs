//! Who can be played against: the checkpoints of the runs, a file of weights, and for every game a player that has
//! learned nothing. A table is opened when the first session asks for its player.

use crate::{
    Error,
    analyst::{Contender, Untrained},
    checkpoint,
    folder::Folder,
    games, memory,
    session::{Room, Session, Table},
    settings::{self, Source},
};
use lockstep_components::{
    Config, State,
    config::{DeviceKind, GameConfig},
};
use lockstep_systems::AnyGame;
use serde_json::{Value, json};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The most sessions of a table. A player whose table is full has another one, so that little memory is taken while few
/// play.
const PLACES: u32 = 4;

/// The tables that there may be beside those that all sessions need if they have one player. One that nobody sits at
/// makes place for another.
const TABLES: usize = 4;

/// The time after which a table that nobody sits at is closed.
const IDLE: Duration = Duration::from_secs(600);

/// The fewest simulations for which a table is opened, if the user does not ask for fewer.
const FEWEST: u32 = 400;

/// A run whose players and games are shown.
pub struct Run {
    /// The folder of the run.
    pub folder: Folder,
    /// The game that the run learns.
    pub game: AnyGame,
    /// The name of the run for people.
    pub name: String,
    /// The position that its games begin with.
    pub start: State,
    config: Config,
}

impl Run {
    /// Opens a run.
    ///
    /// # Errors
    /// When there is no run in the folder, or its settings cannot be used.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let folder = Folder::of_run(path)?;
        let config = settings::load(Source::File(&folder.config()), &[])?;
        let game = games::named(&config.game.name)?;
        let start = game.start(&config.game).map_err(|error| Error::Usage(error.to_string()))?;
        let name = path.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let name = name.unwrap_or_else(|| path.display().to_string());
        Ok(Self { folder, game, name, start, config })
    }

    /// Returns what a page shows of the run: how far it has come, and which checkpoints it has.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn shown(&self) -> Result<Value, Error> {
        let generations = checkpoint::generations(&self.folder)?;
        Ok(json!({
            "name": self.name, "game": self.game.info.name, "title": self.start.title(),
            "checkpoints": generations, "generations": self.config.run.generations,
        }))
    }
}

/// The name of a player in requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The player of a run, by its number, as it was after a generation: `0@12`. Without a generation the newest one.
    Run(usize, Option<u64>),
    /// The file of weights that the server was started with: `weights`.
    Weights,
    /// A player of a game that has learned nothing: `rollout:hex7`.
    Untrained(Untrained, String),
}

impl Key {
    /// Reads the name of a player.
    ///
    /// # Errors
    /// When no player has such a name.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let unknown = || Error::Usage("there is no such player; /api/players lists those that there are".into());
        if text == "weights" {
            return Ok(Self::Weights);
        }
        if let Some((kind, game)) = text.split_once(':') {
            return Ok(Self::Untrained(Untrained::named(Path::new(kind)).ok_or_else(unknown)?, game.into()));
        }
        let (run, generation) = match text.split_once('@') {
            Some((run, generation)) => (run, Some(generation.parse().map_err(|_| unknown())?)),
            None => (text, None),
        };
        Ok(Self::Run(run.parse().map_err(|_| unknown())?, generation))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(run, None) => write!(f, "{run}"),
            Self::Run(run, Some(generation)) => write!(f, "{run}@{generation}"),
            Self::Weights => f.write_str("weights"),
            Self::Untrained(Untrained::Uniform, game) => write!(f, "uniform:{game}"),
            Self::Untrained(Untrained::Rollout, game) => write!(f, "rollout:{game}"),
        }
    }
}

/// A table with the name of its player.
pub struct Desk {
    /// The player's name in requests, with its generation.
    pub name: String,
    key: Key,
    /// The folder of the run that the player is from, if it is from one.
    pub run: Option<PathBuf>,
    /// Where the networks run; as in the run without it.
    pub device: Option<DeviceKind>,
    table: Table,
    /// The most simulations of a search.
    pub most: u32,
    bytes: u64,
    /// When somebody has sat down here last.
    used: Mutex<Instant>,
}

impl Desk {
    fn is_free(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
    }

    fn since(&self) -> Duration {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// All players.
pub struct Players {
    /// The runs.
    pub runs: Vec<Run>,
    /// The file of weights, and the game that its player plays.
    weights: Option<(PathBuf, AnyGame)>,
    device: Option<DeviceKind>,
    /// The room of a table.
    room: Room,
    /// The most tables at the same time.
    most: usize,
    /// The tables that are open.
    desks: Mutex<Vec<Arc<Desk>>>,
}

impl Players {
    /// Returns the players of some runs and of a file of weights, with this room for sessions at all tables together.
    ///
    /// # Errors
    /// When the file cannot be read, or has no player.
    pub fn new(
        runs: Vec<Run>,
        weights: Option<PathBuf>,
        device: Option<DeviceKind>,
        room: Room,
    ) -> Result<Self, Error> {
        let of = |path: PathBuf| Ok::<_, Error>((path.clone(), Contender::trained(&path, device)?.game));
        let weights = weights.map(of).transpose()?;
        let most = room.sessions.div_ceil(PLACES) as usize + TABLES;
        let room = Room { sessions: room.sessions.min(PLACES), ..room };
        Ok(Self { runs, weights, device, room, most, desks: Mutex::default() })
    }

    /// Returns the list of all players, as pages show it.
    ///
    /// # Errors
    /// When the folder of a run cannot be read.
    pub fn shown(&self) -> Result<Value, Error> {
        let runs = self.runs.iter().map(Run::shown).collect::<Result<Vec<_>, _>>()?;
        let games = games::all().iter().map(|game| json!({"name": game.info.name, "title": game.info.title}));
        let weights = self.weights.as_ref().map(|(path, game)| {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            json!({"name": name, "game": game.info.name, "title": game.info.title})
        });
        Ok(json!({"runs": runs, "weights": weights, "games": games.collect::<Vec<_>>()}))
    }

    /// Returns the run with this number.
    ///
    /// # Errors
    /// When there is none.
    pub fn run(&self, number: usize) -> Result<&Run, Error> {
        self.runs.get(number).ok_or_else(|| Error::Usage("there is no run with this number".into()))
    }

    /// Returns a new session with a player, and its table, which is opened if none of the player has a free place.
    ///
    /// # Errors
    /// When there is no such player, all tables are taken, or the memory does not suffice.
    pub fn sit(&self, key: Key) -> Result<(Arc<Desk>, Session), Error> {
        let key = match key {
            Key::Run(number, None) => Key::Run(number, checkpoint::generations(&self.run(number)?.folder)?.pop()),
            key => key,
        };
        let mut desks = self.desks();
        for desk in desks.iter().filter(|desk| desk.key == key) {
            if let Some(session) = desk.table.session() {
                *desk.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                return Ok((desk.clone(), session));
            }
        }
        let contender = self.contender(&key)?;
        let mut room = self.room.clone();
        room.simulations = room.simulations.min(FEWEST);
        room.simulations = Table::largest(&contender, &room, self.room.simulations)?;
        room.leaves_per_tree = room.leaves_per_tree.min(room.simulations);
        let bytes = Table::bound(&contender, &room)?.beside_program();
        // Tables that nobody sits at go first, the one that was left longest ago before the others.
        loop {
            let taken: u64 = desks.iter().map(|desk| desk.bytes).sum();
            let fits = if desks.len() < self.most {
                memory::room_for(taken + bytes, "this player", "--sessions or --simulations, or close pages")
            } else {
                Err(Error::Usage(format!("{} tables are in use: close a page to let go of a player", self.most)))
            };
            let Err(error) = fits else { break };
            let free = (0..desks.len()).filter(|&number| desks[number].is_free());
            let free = free.min_by_key(|&number| std::cmp::Reverse(desks[number].since())).ok_or(error)?;
            desks.swap_remove(free);
        }
        let table = Table::open(&contender, room.clone())?;
        let session = table.session().expect("a new table has a place");
        let used = Mutex::new(Instant::now());
        let run = match key {
            Key::Run(number, _) => Some(self.run(number)?.folder.path().to_path_buf()),
            Key::Weights | Key::Untrained(..) => None,
        };
        let (name, device, most) = (key.to_string(), self.device, room.simulations);
        let desk = Arc::new(Desk { name, key, run, device, table, most, bytes, used });
        desks.push(desk.clone());
        Ok((desk, session))
    }

    /// Closes the tables that nobody has sat at for long.
    pub fn close_idle(&self) {
        // A table that is being opened is waited for by whoever asks for it, and not here.
        if let Ok(mut desks) = self.desks.try_lock() {
            desks.retain(|desk| !desk.is_free() || desk.since() < IDLE);
        }
    }

    fn desks(&self) -> MutexGuard<'_, Vec<Arc<Desk>>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contender(&self, key: &Key) -> Result<Contender, Error> {
        match key {
            Key::Run(number, generation) => {
                let mut path = self.run(*number)?.folder.path().as_os_str().to_owned();
                if let Some(generation) = generation {
                    path.push(format!("@{generation}"));
                }
                Contender::trained(Path::new(&path), self.device)
            }
            Key::Weights => {
                let none = || Error::Usage("this server was started without --weights".into());
                Contender::trained(&self.weights.as_ref().ok_or_else(none)?.0, self.device)
            }
            Key::Untrained(kind, game) => {
                Contender::untrained(*kind, GameConfig { name: game.clone(), ..GameConfig::default() })
            }
        }
    }
}
