//! Searching positions to play or to grade them, with the same schedule that plays the games of a run.

use crate::{
    Error, Fault, checkpoint,
    device::{self, Place},
    folder::Folder,
    games::{self, description_of},
    memory::Footprint,
    settings,
};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Action, Config, State,
    config::{DeviceKind, GameConfig, LanesConfig, LearnPrecision, Precision, SearchConfig},
};
use lockstep_systems::{
    Answer, AnyGame, EVALUATING, Evaluations, Evaluator, Network, Questions, Searcher, Setup, Uniform,
    network::{NamedTensor, check_tensors},
    run_tick,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Answers questions about positions with one network and one way to search.
pub struct Analyst {
    /// The world whose lanes search: add systems to its schedule, or read what they write.
    pub world: World,
}

impl Analyst {
    /// Returns an analyst that searches up to `lanes.count` positions at once, each with `simulations` simulations and
    /// no randomness.
    pub fn new(
        game: AnyGame,
        evaluator: impl Evaluator + 'static,
        search: &SearchConfig,
        lanes: LanesConfig,
        simulations: u32,
    ) -> Self {
        Self::of(game, Searcher::new(evaluator, search.to_win(simulations)), lanes)
    }

    /// Returns an analyst that searches with a player of your own, as the player's settings say.
    pub fn of(game: AnyGame, player: Searcher, lanes: LanesConfig) -> Self {
        Self { world: Setup::analysis(game, player).lanes(lanes).seed(0).build() }
    }

    /// Searches these positions, and returns the answers in their order. `watch` gets the number of positions that are
    /// answered, after every tick, and stops the search by returning false.
    ///
    /// # Errors
    /// When the network fails; [`Error::Stopped`] when `watch` has stopped the search.
    pub fn ask(&mut self, positions: Vec<State>, mut watch: impl FnMut(usize) -> bool) -> Result<Vec<Answer>, Error> {
        self.world.insert_resource(Questions::new(positions));
        while !self.world.resource::<Questions>().done() {
            run_tick(&mut self.world)?;
            if !watch(self.world.resource::<Questions>().answered()) {
                return Err(Error::Stopped);
            }
        }
        Ok(self.world.remove_resource::<Questions>().expect("inserted above").into_answers())
    }
}

/// The network's evaluation of a position, without a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// The probability of each legal move, in ascending order of the moves; together they are 1.
    pub policy: Vec<(Action, f32)>,
    /// The value of the position for the player to move, from -1 to 1.
    pub value: f32,
}

impl Evaluated {
    /// Returns the most likely move, the first one among equals.
    ///
    /// # Panics
    /// If there is no move.
    pub fn preferred(&self) -> Action {
        let best = self.policy.iter().copied().reduce(|best, other| if other.1 > best.1 { other } else { best });
        best.expect("a position in play has moves").0
    }
}

/// Evaluates positions of games that are not over, without a search, in one batch. The network is asked about the
/// canonical form of each, as searches ask it.
///
/// # Errors
/// When the device fails.
pub fn evaluate(
    game: AnyGame,
    evaluator: &mut dyn Evaluator,
    states: &[State],
) -> Result<Vec<Evaluated>, lockstep_systems::Error> {
    let actions = game.info.actions;
    let mut out = Evaluations::new(states.len(), actions);
    let forms: Vec<State> = states.iter().map(|state| state.canonical()).collect();
    evaluator.evaluate(&game.batch(&forms), &mut out)?;
    let of_state = |((state, logits), &value): ((&State, &[f32]), &f32)| {
        let legal = state.legal();
        let logit = |&action: &Action| logits[usize::from(state.canonical_action(action))];
        let highest = legal.iter().map(logit).fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = legal.iter().map(|action| (logit(action) - highest).exp()).collect();
        let sum: f32 = weights.iter().sum();
        Evaluated { policy: legal.into_iter().zip(weights.into_iter().map(|weight| weight / sum)).collect(), value }
    };
    Ok(states.iter().zip(out.logits.chunks_exact(actions)).zip(&out.values).map(of_state).collect())
}

/// Who plays or searches: a trained player, or one that has learned nothing.
#[derive(Clone)]
pub struct Contender {
    /// The game that is played.
    pub game: AnyGame,
    /// The rules of the game.
    pub rules: GameConfig,
    /// The settings of the search.
    pub search: SearchConfig,
    /// What evaluates the positions.
    pub evaluates: Evaluates,
}

/// What evaluates positions for a [`Contender`].
#[derive(Clone)]
pub enum Evaluates {
    /// The network of a trained player evaluates.
    Network(Arc<Player>),
    /// Something that has learned nothing evaluates.
    Untrained(Untrained),
}

/// An evaluator that has learned nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Untrained {
    /// Equal priors and value 0
    Uniform,
    /// Equal priors and the result of one random game
    Rollout,
}

impl Contender {
    /// Returns a trained player, who searches as its configuration says.
    pub fn of(player: Player) -> Self {
        let Config { game: rules, search, .. } = player.config.clone();
        Self { game: player.game, rules, search, evaluates: Evaluates::Network(Arc::new(player)) }
    }

    /// Returns a player that has learned nothing.
    ///
    /// # Errors
    /// When there is no such game, or the game refuses the rules.
    pub fn untrained(kind: Untrained, rules: GameConfig) -> Result<Self, Error> {
        let game = games::named(&rules.name)?;
        let contender = Self { game, rules, search: SearchConfig::default(), evaluates: Evaluates::Untrained(kind) };
        contender.start().map(|_| contender)
    }

    /// Returns plain Monte-Carlo tree search under the usual rules of a game.
    pub fn rollouts(game: AnyGame) -> Self {
        let rules = GameConfig { name: game.info.name.into(), ..GameConfig::default() };
        let evaluates = Evaluates::Untrained(Untrained::Rollout);
        Self { game, rules, search: SearchConfig::default(), evaluates }
    }

    /// Opens the trained player of a name: the folder of a run, with `@GENERATION` behind it for an older checkpoint,
    /// or a file of weights. It runs on `device`, or on the device of its configuration if none is named.
    ///
    /// # Errors
    /// The errors of [`Player::open`], and an error when what stands behind the `@` is no number.
    pub fn trained(name: &Path, device: Option<DeviceKind>) -> Result<Self, Error> {
        let (path, generation) = with_generation(name)?;
        Ok(Self::of(Player::open(&path, generation)?.on(device)))
    }

    /// Returns the state that the games begin with.
    ///
    /// # Errors
    /// When the game refuses the rules.
    pub fn start(&self) -> Result<State, Error> {
        self.game.start(&self.rules).map_err(|error| Error::Usage(error.to_string()))
    }

    /// Returns the trained player, or `None` if this one has learned nothing.
    pub fn player(&self) -> Option<&Player> {
        match &self.evaluates {
            Evaluates::Network(player) => Some(player),
            Evaluates::Untrained(_) => None,
        }
    }

    /// Returns the memory that the network takes where it runs, in batches of at most `rows` rows, or `None` without a
    /// network.
    ///
    /// # Errors
    /// The errors of [`Player::place`].
    pub fn footprint(&self, rows: usize) -> Result<Option<Footprint>, Error> {
        self.player().map(|player| player.footprint(rows)).transpose()
    }

    /// Returns what searches for this player in a world, with these settings and batches of at most `rows` rows.
    ///
    /// # Errors
    /// When the weights do not fit the network, or the device cannot be used.
    pub fn searcher(&self, rows: usize, search: SearchConfig) -> Result<Searcher, Error> {
        let evaluator: Box<dyn Evaluator> = match &self.evaluates {
            Evaluates::Network(player) => player.evaluator(&player.place()?, rows)?,
            Evaluates::Untrained(Untrained::Rollout) => self.game.rollouts(1, 1),
            Evaluates::Untrained(Untrained::Uniform) => Box::new(Uniform::default()),
        };
        Ok(Searcher::new(evaluator, search))
    }
}

impl Untrained {
    /// Returns the evaluator of a name on command lines, `uniform` or `rollout`, or `None` for any other name.
    pub fn named(name: &Path) -> Option<Self> {
        match name.to_str()? {
            "uniform" => Some(Self::Uniform),
            "rollout" => Some(Self::Rollout),
            _ => None,
        }
    }
}

/// Splits the name of a player, `RUN` or `RUN@GENERATION`, into the path and the generation, if one is named. A path that
/// exists is a path, whatever it is called.
///
/// # Errors
/// When what stands behind the `@` is no number.
pub fn with_generation(name: &Path) -> Result<(PathBuf, Option<u64>), Error> {
    let Some((path, number)) = split_at_sign(name).filter(|_| !name.exists()) else { return Ok((name.into(), None)) };
    let message = || format!("'{}': behind the @ stands the number of a generation", name.display());
    let generation = number.parse().map_err(|_| Error::Usage(message()))?;
    Ok((path, Some(generation)))
}

/// Splits a name at its last @ into what stands before it and behind it; `None` without an @.
#[cfg(unix)]
fn split_at_sign(name: &Path) -> Option<(PathBuf, String)> {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let bytes = name.as_os_str().as_bytes();
    let at = bytes.iter().rposition(|&byte| byte == b'@')?;
    let path = OsStr::from_bytes(&bytes[..at]);
    Some((path.into(), String::from_utf8_lossy(&bytes[at + 1..]).into_owned()))
}

/// Splits a name at its last @ into what stands before it and behind it; `None` without an @.
#[cfg(not(unix))]
fn split_at_sign(name: &Path) -> Option<(PathBuf, String)> {
    let (path, generation) = name.to_str()?.rsplit_once('@')?;
    Some((path.into(), generation.into()))
}

/// A trained player as it lies in a run folder.
pub struct Player {
    /// The game that the player plays.
    pub game: AnyGame,
    /// The configuration of the player.
    pub config: Config,
    /// The folder of the checkpoint, or the file of weights.
    pub checkpoint: PathBuf,
    /// The weights as they were when the player was opened: a run in progress removes its older checkpoints.
    pub weights: Vec<NamedTensor>,
}

impl Player {
    /// Opens the checkpoint of a generation of a run, or its newest one; or a file of weights, which has no
    /// generations.
    ///
    /// # Errors
    /// When there is no such run, checkpoint or file, when it is damaged, or when a generation of a file is asked for.
    pub fn open(path: &Path, generation: Option<u64>) -> Result<Self, Error> {
        if path.is_file() {
            return match generation {
                None => Self::of_file(path),
                Some(generation) => Err(Error::Usage(format!(
                    "{}: it is one file of weights and has no generation {generation}; name the folder of its run",
                    path.display()
                ))),
            };
        }
        let folder = Folder::of_run(path)?;
        let mut config = settings::load(settings::Source::File(&folder.config()), &[])?;
        let checkpoint = checkpoint::find(&folder, generation)?;
        // What the weights belong to is what they were made with, whatever the file in the run folder says by now.
        let made_with = checkpoint::read_config(&checkpoint);
        let read = made_with.and_then(|made_with| Ok((made_with, checkpoint::read_weights(&checkpoint)?)));
        let (made_with, weights) = match read {
            // The run has removed it meanwhile, and has a newer one.
            Err(_) if generation.is_none() && !checkpoint.is_dir() => return Self::open(path, None),
            read => read?,
        };
        config.game = made_with.game;
        config.network = made_with.network;
        let game = games::named(&config.game.name)?;
        Ok(Self { game, config, checkpoint, weights })
    }

    /// Opens a file of weights: the `weights.safetensors` of a checkpoint, wherever it lies by now.
    fn of_file(path: &Path) -> Result<Self, Error> {
        let about = checkpoint::read_about(path)?;
        let config = settings::parse(&about.settings, &path.display().to_string(), &[])?;
        if description_of(&config).as_ref() != Some(&about.network) {
            let message = "its network is not the one that this version makes of its settings".into();
            return Err(Error::Run { path: path.into(), message });
        }
        let weights = checkpoint::read_weights(path)?;
        // Before anything is made that is as large as the network says it is.
        check_tensors(&about.network, &weights)
            .map_err(|e| Error::Run { path: path.into(), message: format!("it is no player: {e}") })?;
        let game = games::named(&config.game.name)?;
        Ok(Self { game, config, checkpoint: path.into(), weights })
    }

    /// Returns the same player on this device, or as it is if no device is named.
    #[must_use]
    pub fn on(mut self, device: Option<DeviceKind>) -> Self {
        self.config.run.device = device.unwrap_or(self.config.run.device);
        self
    }

    /// Returns an evaluator of the player's network at a place, for batches of at most `capacity` rows. Memory that
    /// others have left there is given back first.
    ///
    /// # Errors
    /// When the weights do not fit the network, or the device fails.
    pub fn evaluator(&self, place: &Place, capacity: usize) -> Result<Box<dyn Evaluator>, Error> {
        place.device.memory_cleanup();
        Ok(place.evaluators(self.game, capacity).make(&self.network(place)?)?)
    }

    /// Returns the memory that the network takes where it runs, in batches of at most `rows` rows.
    ///
    /// # Errors
    /// The errors of [`Player::place`].
    pub fn footprint(&self, rows: usize) -> Result<Footprint, Error> {
        Ok(Footprint::of(self.game, &self.config.network, &self.place()?, rows))
    }

    /// Returns the player's network at a place.
    ///
    /// # Errors
    /// When the weights do not fit the network, or the device fails.
    pub fn network(&self, place: &Place) -> Result<Network, Error> {
        let make = || {
            Network::init(&self.game.info, &self.config.network, 0, &place.device).with_tensors(self.weights.clone())
        };
        lockstep_systems::Error::guard(EVALUATING, make).map_err(|e| match e {
            lockstep_systems::Error::Weights(_) => {
                let (path, fault) = (self.checkpoint.clone(), Fault::Unfit);
                Error::Checkpoint { path, fault, message: e.to_string() }
            }
            e => e.into(),
        })
    }

    /// Returns the place where the player runs. If the place lacks the precision of the configuration, as when a run is
    /// asked for on another device, the player runs there in the place's own precision.
    ///
    /// # Errors
    /// When this program was built without the device, the machine has no such device, or the processor lacks the
    /// vector instructions.
    pub fn place(&self) -> Result<Place, Error> {
        let mut config = self.config.clone();
        // The player learns no more.
        config.learn.precision = LearnPrecision::F32;
        device::place_of(&config).or_else(|_| {
            config.run.precision = Precision::Auto;
            device::place_of(&config)
        })
    }
}
