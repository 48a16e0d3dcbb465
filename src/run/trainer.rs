//! A run: lanes that play, a learner that learns from them, and the folder that they are kept in.

mod saving;

use crate::{
    Error,
    checkpoint::{self, Checkpoint, Seconds},
    device::Place,
    folder::{Folder, write_file},
    hooks::Hooks,
    log::{Header, Log, Segment},
    memory,
    metrics::{self, Learned, Metrics},
    run::probe::probe,
    settings,
    source::{GameSource, Lanes, Played, Work, missing},
    tell,
};
use bevy_ecs::prelude::*;
use lockstep_components::{Config, GameId, GameRecord, Outcome, ReplayBuffer, State, Stats, config::SearchConfig};
use lockstep_systems::{
    AnyGame, EVALUATING, Learner, Learning, Network, Plugin, SETTING_UP, learn::Sampling, network::NamedTensor,
    run_learn,
};
use saving::does_not_fit;
pub use saving::{first_needed, widest_window};
use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    time::Instant,
};

/// A run: a source of games and a learner, advanced one tick or one optimiser step at a time.
///
/// Round `k` is `run.games` games, numbered, that are played with the weights of generation `k - run.lag`; generation
/// `k` is learned from them and those before. Each game draws from a generator of its own, and the replay buffer takes
/// them in the order of their numbers, so a run does not depend on who plays them, or on when.
pub struct Trainer<S = Lanes> {
    /// What plays the games.
    pub source: S,
    /// The world that learns from the games, with the learner, the replay buffer, and the schedule
    /// [`lockstep_systems::Learn`].
    pub learning: World,
    game: AnyGame,
    hooks: Hooks,
    /// The settings of rounds that begin from now on.
    config: Config,
    /// The rounds in play: the one after the last generation, and the next ones if `run.lag` is more than 1.
    rounds: VecDeque<RoundInPlay>,
    /// The networks of the last generations that have ended, oldest first: as many as rounds are behind.
    networks: VecDeque<(u64, Network)>,
    log: Option<Log>,
    /// The first round that the replay buffer has games of.
    oldest: u64,
    /// The place where the network plays and learns.
    place: Place,
    /// What an experiment has kept with the checkpoint that the run goes on from.
    kept: BTreeMap<String, Vec<u8>>,
    /// Whether the games of the log are played again and compared, instead of gone on with.
    replays: bool,
    /// The settings of the searches that were learned from last, or are to be learned from first.
    search: SearchConfig,
    /// Whether the run began with weights that it was given, and not with random ones.
    from_weights: bool,
    seconds: Seconds,
    /// The position that every game begins with.
    start: State,
}

/// A round in play.
struct RoundInPlay {
    /// The settings of the round.
    config: Config,
    /// The games of the round that have ended.
    played: Vec<GameRecord>,
    /// The counts of the round's games, once all of them have ended.
    ended: Option<Stats>,
}

/// What [`Trainer::advance`] has just done.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// One tick was played.
    Played,
    /// One step of the optimiser was taken.
    Learned,
    /// The last step of a generation was taken, whose metrics and first `run.recorded_games` games these are.
    Generation(Box<Metrics>, Vec<GameRecord>),
}

impl Trainer {
    /// Returns a new run, in memory alone, whose games are played by lanes of this process.
    ///
    /// # Panics
    /// If the game refuses the rules that the configuration sets.
    pub fn new(game: AnyGame, config: &Config, place: &Place, hooks: &Hooks) -> Self {
        let mut run = Self::of_lanes(game, config, place, hooks);
        run.open_rounds().expect("nothing is read without a log");
        run
    }

    /// Returns a run without a round.
    fn of_lanes(game: AnyGame, config: &Config, place: &Place, hooks: &Hooks) -> Self {
        Self::with_source(game, config, place, hooks, Lanes::new(game, config, place, hooks))
    }

    /// Returns the run that a checkpoint was made of, or the beginning of one, to play and learn again what is in the
    /// log: a round that ends otherwise is an error of [`Trainer::advance`]. Nothing is written.
    ///
    /// # Errors
    /// The errors of [`Trainer::resume`].
    pub fn replay(
        game: AnyGame,
        config: &Config,
        place: &Place,
        hooks: &Hooks,
        checkpoint: Option<(PathBuf, Checkpoint)>,
        log: Log,
    ) -> Result<Self, Error> {
        set_up(|| {
            let mut run = Self::of_lanes(game, config, place, hooks);
            match checkpoint {
                None => run.fill_replay(&log, 0, &BTreeMap::new())?,
                Some((path, checkpoint)) => run.restore(checkpoint, &log).map_err(|e| does_not_fit(e, path))?,
            }
            (run.log, run.replays) = (Some(log), true);
            run.open_rounds()?;
            Ok(run)
        })
    }

    /// Returns the run that a checkpoint was made of, without the games that it has learned from: to look at, and not
    /// to go on with.
    ///
    /// # Errors
    /// When the checkpoint does not fit the configuration.
    pub fn without_games(
        game: AnyGame,
        config: &Config,
        place: &Place,
        path: PathBuf,
        checkpoint: Checkpoint,
    ) -> Result<Self, Error> {
        let mut run = Self::of_lanes(game, config, place, &Hooks::default());
        run.restore_learned(checkpoint).map_err(|e| does_not_fit(e, path))?;
        Ok(run)
    }
}

impl<S: GameSource> Trainer<S> {
    fn with_source(game: AnyGame, config: &Config, place: &Place, hooks: &Hooks, source: S) -> Self {
        let learner = place.learner(game, config);
        let networks = VecDeque::from([(0, learner.playing().snapshot())]);
        let start = game.start_of(config);
        let mut learning = World::new();
        let buffer = game.replay(&start, config.replay.window);
        Learning { learner, factory: place.evaluators(game, 1), buffer, replay: config.replay.clone() }
            .build(&mut learning);
        hooks.add_learning(&mut learning);
        Self {
            source,
            learning,
            game,
            hooks: hooks.clone(),
            config: config.clone(),
            rounds: VecDeque::new(),
            networks,
            log: None,
            oldest: 1,
            place: place.clone(),
            kept: BTreeMap::new(),
            replays: false,
            search: config.search.clone(),
            from_weights: false,
            seconds: Seconds::default(),
            start,
        }
    }

    /// Takes up the run that a checkpoint was made of, whose games are in this log. Rounds after the checkpoint that
    /// have finished games go on with the settings that they began with.
    ///
    /// # Errors
    /// When the checkpoint or the log does not fit the configuration, or a part of them is damaged or missing.
    pub fn resume(mut self, checkpoint: Checkpoint, log: Log) -> Result<Self, Error> {
        self.restore(checkpoint, &log)?;
        self.log = Some(log);
        self.open_rounds()?;
        Ok(self)
    }

    /// Begins the rounds that can be played with the weights that there are, or goes on with them where the log ends.
    fn open_rounds(&mut self) -> Result<(), Error> {
        let lag = self.config.run.lag;
        let last = (self.generation() + lag).min(self.config.run.generations);
        for round in self.generation() + 1 + self.rounds.len() as u64..=last {
            let found = match &self.log {
                Some(log) => log.read(self.game, round)?,
                None => None,
            };
            let (config, played, whole) = match found {
                None => (self.config.clone(), vec![], false),
                Some(Segment { header, games, whole, path }) => {
                    let config = header.settings_of(&self.config, &path)?;
                    (config, if self.replays { vec![] } else { games }, whole)
                }
            };
            if let Some(log) = self.log.as_mut().filter(|_| !whole && !self.replays) {
                let began = Instant::now();
                log.begin(self.game, &Header::new(self.game, round, settings::essence(&config)))?;
                self.wrote(began.elapsed());
            }
            let generation = round.saturating_sub(lag);
            let network = self.networks.iter().find(|(kept, _)| *kept == generation).map(|(_, network)| network);
            let network = network.ok_or_else(|| {
                Error::Usage(format!("run.lag = {lag}: the weights of generation {generation} are missing"))
            })?;
            let numbers = played.iter().filter_map(|game| Some(game.id?.number)).collect();
            let missing = missing(config.run.games, numbers);
            if !missing.is_empty() {
                self.source.open(Work { round, config: &config, generation, network, missing })?;
            }
            self.rounds.push_back(RoundInPlay { config, played, ended: None });
            self.end_round_if_played(self.rounds.len() - 1)?;
        }
        Ok(())
    }

    /// Hands the games of the first round in play to the learner, with the settings that they were played with.
    fn begin_learning(&mut self) -> Result<(), Error> {
        let Some(RoundInPlay { config, played, .. }) = self.rounds.front() else { return Ok(()) };
        let mut buffer = self.learning.resource_mut::<ReplayBuffer>();
        played.iter().for_each(|game| buffer.push(game));
        self.learning.resource_mut::<Sampling>().0 = config.replay.clone();
        Ok(self.learning.resource_mut::<Learner>().learn_with(config.learn.clone())?)
    }

    /// Plays one tick, or learns one step when all games of the round have ended.
    ///
    /// # Errors
    /// When the run is finished, a schedule fails, the log cannot be read or written, or a round that is played again
    /// ends otherwise.
    pub fn advance(&mut self) -> Result<Event, Error> {
        let (start, wrote) = (Instant::now(), self.seconds.write);
        let Some(round) = self.rounds.front() else {
            return Err(Error::Usage("the last generation of the run has ended".into()));
        };
        if round.ended.is_none() {
            let games = self.source.poll()?;
            let withdrawn = self.source.withdrawn();
            self.forget_games(&withdrawn)?;
            self.take_games(games)?;
            self.played_for(start, wrote);
            return Ok(Event::Played);
        }
        if self.learning.resource::<Learner>().is_idle() {
            self.begin_learning()?;
        }
        let (steps, learning_rate) = {
            let learner = self.learning.resource::<Learner>();
            (learner.progress().1, learner.learning_rate())
        };
        let ended = run_learn(&mut self.learning)?;
        let spent = start.elapsed().as_secs_f64();
        self.seconds.learn += spent;
        self.seconds.this_learn += spent;
        if !ended {
            return Ok(Event::Learned);
        }
        let RoundInPlay { config, played: mut first, ended: games } =
            self.rounds.pop_front().expect("it was learned from");
        let games = games.expect("all of its games have ended");
        let Played { stats: ticks, stages, fleet } = self.source.take();
        let learner = self.learning.resource::<Learner>();
        let learned = Learned {
            steps: steps.max(1),
            learning_rate,
            losses: learner.losses().clone(),
            replay: self.learning.resource::<ReplayBuffer>().within(config.replay.window),
            distinct: self.learning.resource::<ReplayBuffer>().distinct(),
        };
        let generation = learner.generation();
        let network = lockstep_systems::Error::guard(EVALUATING, || Ok(learner.playing().snapshot()))?;
        self.networks.push_back((generation, network));
        while self.networks.len() as u64 > self.config.run.lag {
            self.networks.pop_front();
        }
        let mut metrics = Metrics::new(generation, &games, &ticks, &learned, self.seconds, stages);
        (metrics.resident, metrics.fleet) = (memory::resident(), fleet);
        self.seconds = Seconds { this_play: 0.0, this_learn: 0.0, this_write: 0.0, ..self.seconds };
        self.search = config.search;
        first.truncate(self.config.run.recorded_games);
        let (start, wrote) = (Instant::now(), self.seconds.write);
        self.open_rounds()?;
        self.played_for(start, wrote);
        Ok(Event::Generation(Box::new(metrics), first))
    }

    /// Counts the time since `since` as time of play, but for what went into writing: `wrote` is the seconds of writing
    /// that were counted by then.
    fn played_for(&mut self, since: Instant, wrote: f64) {
        let spent = since.elapsed().as_secs_f64() - (self.seconds.write - wrote);
        self.seconds.play += spent;
        self.seconds.this_play += spent;
    }

    /// Returns the metrics of the generation under way: of what this process has done for it so far, searches and games
    /// that have not ended included. What they say of learning is missing.
    pub fn so_far(&mut self) -> Metrics {
        let Played { stats, stages, fleet } = self.source.so_far();
        let metrics = Metrics::new(self.generation() + 1, &stats, &stats, &Learned::default(), self.seconds, stages);
        Metrics { fleet, ..metrics }
    }

    /// Forgets games of rounds in play, which come again.
    fn forget_games(&mut self, withdrawn: &[GameId]) -> Result<(), Error> {
        let first = self.generation() + 1;
        for (round, RoundInPlay { config, played, .. }) in (first..).zip(&mut self.rounds) {
            let before = played.len();
            played.retain(|game| game.id.is_none_or(|id| !withdrawn.contains(&id)));
            if let Some(log) = self.log.as_mut().filter(|_| played.len() < before) {
                log.rewrite(&Header::new(self.game, round, settings::essence(config)), played)?;
            }
        }
        Ok(())
    }

    /// Sorts the games that have just ended by their rounds, and writes them to the log.
    fn take_games(&mut self, mut games: Vec<GameRecord>) -> Result<(), Error> {
        let first = self.generation() + 1;
        for index in 0..self.rounds.len() {
            let round = first + index as u64;
            let of_round: Vec<GameRecord> =
                games.extract_if(.., |game| game.id.is_some_and(|id| id.round == round)).collect();
            if of_round.is_empty() {
                continue;
            }
            if let Some(log) = &mut self.log {
                let began = Instant::now();
                log.append(round, &of_round)?;
                self.wrote(began.elapsed());
            }
            self.rounds[index].played.extend(of_round);
            self.end_round_if_played(index)?;
        }
        Ok(())
    }

    /// Ends a round when all of its games have ended, whose order is that of their numbers from here on: writes its
    /// segment, or compares the games with it if they are played again.
    fn end_round_if_played(&mut self, index: usize) -> Result<(), Error> {
        let number = self.generation() + 1 + index as u64;
        let round = &mut self.rounds[index];
        if (round.played.len() as u64) < round.config.run.games {
            return Ok(());
        }
        round.played.sort_unstable_by_key(|game| game.id);
        round.ended = Some(Stats::of(&round.played));
        let Some(log) = &mut self.log else { return Ok(()) };
        if !self.replays {
            if !log.whole(number).exists() {
                let began = Instant::now();
                log.finish(&Header::new(self.game, number, settings::essence(&round.config)), &round.played)?;
                self.wrote(began.elapsed());
            }
            return Ok(());
        }
        let stored = log.read(self.game, number)?.ok_or_else(|| log.missing(number))?.games;
        let same = round.played.iter().zip(&stored).take_while(|(played, stored)| played == stored).count();
        if same < round.played.len().max(stored.len()) {
            return Err(Error::Usage(format!("round {number}, game {same} is another one when it is played again")));
        }
        Ok(())
    }

    /// Returns the network of the last generation that has ended.
    pub fn network(&self) -> &Network {
        &self.networks.back().expect("a run has the network that it began with").1
    }

    /// Returns the number of generations that have ended.
    pub fn generation(&self) -> u64 {
        self.learning.resource::<Learner>().generation()
    }

    /// Whether the last generation of the configuration has ended.
    pub fn is_finished(&self) -> bool {
        self.generation() >= self.config.run.generations
    }

    /// Returns the number of games that have ended of the round after the last generation.
    pub fn played(&self) -> usize {
        self.rounds.front().map_or(0, |round| round.played.len())
    }

    /// Returns the number of all games of the round after the last generation.
    pub fn games(&self) -> u64 {
        self.rounds.front().map_or(0, |round| round.config.run.games)
    }

    /// Returns the first round without a finished game, which is the first to be played with the settings that were
    /// given last.
    pub fn next_round(&self) -> u64 {
        let begun = self.rounds.iter().take_while(|round| !round.played.is_empty()).count();
        self.generation() + 1 + begun as u64
    }

    /// Returns the time that the run has spent so far.
    pub fn seconds(&self) -> Seconds {
        self.seconds
    }
}

/// Works with a device of burn, most of whose operations panic where they fail, and returns such a panic as an error.
fn set_up<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    lockstep_systems::Error::guard(SETTING_UP, || Ok(work()))?
}

/// Starts a run in a folder, with the weights `from` if there are any, or takes up the run that is there. What is wrong
/// with its log or its metrics goes to standard error. The configuration and the metrics of a finished run stay as they
/// are. Only the holder of the folder's lock may call this.
///
/// # Errors
/// When the folder cannot be used, its newest checkpoint or its log does not fit, or the checkpoints that it had are
/// gone.
pub fn open(
    game: AnyGame,
    config: &Config,
    place: &Place,
    folder: &Folder,
    from: Option<Vec<NamedTensor>>,
    hooks: &Hooks,
) -> Result<Trainer, Error> {
    open_with(game, config, place, folder, from, hooks, || Lanes::new(game, config, place, hooks))
}

/// Starts a run or takes it up as [`open`] does, with games of a source that `source` makes.
///
/// # Errors
/// The errors of [`open`].
pub fn open_with<S: GameSource>(
    game: AnyGame,
    config: &Config,
    place: &Place,
    folder: &Folder,
    from: Option<Vec<NamedTensor>>,
    hooks: &Hooks,
    source: impl FnOnce() -> S,
) -> Result<Trainer<S>, Error> {
    folder.create()?;
    checkpoint::mend(folder)?;
    let log = Log::of(folder);
    log.mend()?;
    let newest = checkpoint::newest(folder)?;
    for notice in log.set_aside(checkpoint::generations(folder)?.last().copied().unwrap_or(0))? {
        tell!("{notice}");
    }
    let run = match newest {
        None => {
            metrics::check_new(folder, config)?;
            set_up(|| {
                let mut run = Trainer::with_source(game, config, place, hooks, source());
                run.fill_replay(&log, 0, &BTreeMap::new())?;
                run.log = Some(log);
                if let Some(tensors) = from {
                    let mut learner = run.learning.resource_mut::<Learner>();
                    learner.network = learner.network.with_tensors(tensors)?;
                    run.networks = VecDeque::from([(0, learner.playing().snapshot())]);
                    run.from_weights = true;
                    // What it began with is its checkpoint 0.
                    run.save(folder)?;
                }
                run.open_rounds()?;
                Ok(run)
            })?
        }
        Some(path) => {
            let checkpoint = Checkpoint::read(game, &path)?;
            if checkpoint.manifest.probe != set_up(|| probe(game, place))? {
                tell!(
                    "{}: it was made on a machine, or with settings of it, that computes other last bits than this one: \
                     the run goes on, but not bit for bit as it would have there",
                    path.display()
                );
            }
            set_up(|| Trainer::with_source(game, config, place, hooks, source()).resume(checkpoint, log))
                .map_err(|e| does_not_fit(e, path))?
        }
    };
    // What a finished run was made with stays, and so does all else, whatever it is looked at with.
    let notices = if run.is_finished() && folder.is_run() {
        metrics::check(&folder.metrics(), run.generation())?
    } else {
        write_file(&folder.config(), settings::to_text(config).as_bytes())?;
        metrics::truncate(&folder.metrics(), run.generation())?
    };
    for notice in notices {
        tell!("{notice}");
    }
    Ok(run)
}

/// Writes the records of some games of a generation as text: a line for each game.
///
/// # Errors
/// When the file cannot be written.
pub fn write_games(folder: &Folder, start: &State, generation: u64, games: &[GameRecord]) -> Result<(), Error> {
    if games.is_empty() {
        return Ok(());
    }
    let mut text = format!(
        "# {}, generation {generation}: result of the first player, then the moves; [..] were drawn at random\n",
        start.title()
    );
    games.iter().for_each(|game| text += &(game_text(start, game) + "\n"));
    write_file(&folder.games().join(format!("{generation:06}.txt")), text.as_bytes())
}

/// Returns a game as a line of text: the result of the first player, then the moves; those in brackets were drawn at
/// random.
pub fn game_text(start: &State, game: &GameRecord) -> String {
    let mut position = start.clone();
    let text = |(ply, action)| {
        let text = position.action_text(action);
        position.play(action);
        if ply < game.opening.len() { format!("[{text}]") } else { text }
    };
    let moves: Vec<String> = game.moves().enumerate().map(text).collect();
    format!("{} {}", result_text(game.finished), moves.join(" "))
}

/// Returns the result of a game for the first player as people write it.
pub fn result_text(finished: Option<Outcome>) -> &'static str {
    match finished {
        Some(Outcome::Win) => "1-0",
        Some(Outcome::Draw) => "1/2",
        Some(Outcome::Loss) => "0-1",
        None => "*",
    }
}
