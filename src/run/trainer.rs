//! A run: lanes that play, a learner that learns from them, and the folder that they are kept in.

use crate::{
    Error,
    checkpoint::{self, Checkpoint, Manifest, Seconds},
    device::{self, Place},
    error::Fault,
    folder::{Folder, write_file},
    log::{self, Header, Log},
    memory,
    metrics::{self, Learned, Metrics},
    run::probe::probe,
    settings,
    stages::{StageTimes, time_stages},
    tell,
};
use bevy_ecs::prelude::*;
use lockstep_components::{Config, Dataset, Game, GameRecord, Outcome, Replay, Rounds, Stats};
use lockstep_systems::{
    Agents, Batch, Evaluations, EvaluatorFactory, FinishedGames, Learner, Network, Puct, SelectionRule,
    act::begin_games,
    insert_lanes,
    learn::{Sampling, Saved, TrainingBatch, learn_schedule},
    network::NamedTensor,
    run_learn, run_tick,
    select::Rules,
    tick_schedule,
};
use std::{collections::BTreeMap, marker::PhantomData, path::PathBuf, time::Instant};

/// A world with the lanes and the learner of a run, advanced one tick or one optimiser step at a time.
///
/// Round `k` is `run.games` games, numbered, that are played with the weights of generation `k - 1`; generation `k` is
/// learned from them and those before. Each game draws from a generator of its own, and the replay buffer takes them in
/// the order of their numbers, so a run does not depend on how many lanes play them, or on when.
///
/// The world is public: add systems to its schedules, or read what they write.
pub struct Trainer<G: Game> {
    /// Lanes, trees, leaves, learner, and both schedules.
    pub world: World,
    /// The settings of rounds that begin from now on.
    config: Config,
    /// The settings of this round.
    round: Config,
    /// The games of this round that have ended.
    played: Vec<GameRecord>,
    /// What they come to, once all have.
    ended: Option<Stats>,
    log: Option<Log>,
    /// Whether the games of the log are played again and compared, instead of gone on with.
    replays: bool,
    seconds: Seconds,
    game: PhantomData<fn() -> G>,
}

/// What [`Trainer::advance`] has just done.
#[derive(Clone, Debug, PartialEq)]
pub enum Advance {
    /// One tick.
    Played,
    /// One step of the optimiser.
    Learned,
    /// The last step of a generation, whose metrics and first games these are.
    Generation(Box<Metrics>, Vec<GameRecord>),
}

impl<G: Game> Trainer<G> {
    /// A new run, in memory alone.
    pub fn new(config: &Config, place: &Place) -> Self {
        let mut run = Self::without_round(config, place);
        run.open_round().expect("nothing is read without a log");
        run
    }

    fn without_round(config: &Config, place: &Place) -> Self {
        let mut world = World::new();
        let learner = place.learner::<G>(config);
        let lanes = place.lanes(&config.lanes);
        let factory = place.evaluators::<G>(device::batch_capacity::<G>(config, place));
        let evaluator = factory.0(&learner.network);
        let agents = vec![(evaluator, config.search.clone())];
        world.insert_resource(Rounds::none(config.run.seed));
        insert_lanes::<G, Puct>(&mut world, &lanes, config.run.seed, agents);
        world.insert_resource(FinishedGames::new(usize::MAX));
        world.insert_resource(Replay::<G>::new(config.replay.window));
        world.insert_resource(Sampling(config.replay.clone()));
        world.insert_resource(TrainingBatch::default());
        world.insert_resource(learner);
        world.insert_resource(factory);
        let mut tick = tick_schedule::<G, Puct>();
        time_stages(&mut tick);
        world.add_schedule(tick);
        world.init_resource::<StageTimes>();
        world.add_schedule(learn_schedule::<G>());
        Self {
            world,
            config: config.clone(),
            round: config.clone(),
            played: vec![],
            ended: None,
            log: None,
            replays: false,
            seconds: Seconds::default(),
            game: PhantomData,
        }
    }

    /// The run that a checkpoint was made of, whose games are in this log. Rounds after it that have finished games go on
    /// with the settings that they began with.
    ///
    /// # Errors
    /// When the checkpoint or the log does not fit the configuration, or a part of them is damaged or missing.
    pub fn resume(config: &Config, place: &Place, checkpoint: Checkpoint, log: Log) -> Result<Self, Error> {
        let mut run = Self::without_round(config, place);
        run.restore(checkpoint, &log)?;
        run.log = Some(log);
        if !run.is_finished() {
            run.open_round()?;
        }
        Ok(run)
    }

    /// The run that a checkpoint was made of, or the beginning of one, to play and learn again what is in the log: a round
    /// that ends otherwise is an error. Nothing is written.
    ///
    /// # Errors
    /// As [`Trainer::resume`].
    pub fn replay(
        config: &Config,
        place: &Place,
        checkpoint: Option<(PathBuf, Checkpoint)>,
        log: Log,
    ) -> Result<Self, Error> {
        let mut run = Self::without_round(config, place);
        if let Some((path, checkpoint)) = checkpoint {
            run.restore(checkpoint, &log).map_err(|e| does_not_fit(e, path))?;
        }
        (run.log, run.replays) = (Some(log), true);
        run.open_round()?;
        Ok(run)
    }

    fn restore(&mut self, checkpoint: Checkpoint, log: &Log) -> Result<(), Error> {
        let Checkpoint { manifest: Manifest { progress, seconds, segments, .. }, tensors, optimizer, .. } = checkpoint;
        self.fill_replay(log, progress.generation, &segments)?;
        self.world.resource_mut::<Replay<G>>().added = progress.positions;
        self.load(tensors)?;
        self.world.resource_mut::<Learner>().restore(progress, optimizer)?;
        self.seconds = seconds;
        Ok(())
    }

    /// Puts the games of the last rounds into the replay buffer.
    fn fill_replay(&mut self, log: &Log, round: u64, segments: &BTreeMap<u64, String>) -> Result<(), Error> {
        let rounds = log.window::<G>(round, self.config.replay.window)?;
        let mut replay = self.world.resource_mut::<Replay<G>>();
        for round in rounds {
            let segment = log.read::<G>(round)?.filter(|segment| segment.whole);
            let path = log.whole(round);
            let segment = segment.ok_or_else(|| Error::Log {
                path: path.clone(),
                fault: Fault::Missing,
                message: "its games".into(),
            })?;
            let own = log.digest(round)?;
            if segments.get(&round).is_some_and(|digest| *digest != own) {
                let message = "they are not the games that the checkpoint has learned from".into();
                return Err(Error::Log { path, fault: Fault::Damaged, message });
            }
            segment.games.iter().for_each(|game| replay.push(game));
        }
        Ok(())
    }

    /// Takes these weights for those that play and are learned from here on.
    fn load(&mut self, tensors: Vec<NamedTensor>) -> Result<(), Error> {
        self.world.resource_scope(|world, mut learner: Mut<Learner>| -> Result<(), Error> {
            learner.network = learner.network.clone().with_tensors(tensors)?;
            let evaluator = world.resource::<EvaluatorFactory>().0(&learner.network);
            world.resource_mut::<Agents>().0[0].evaluator = evaluator;
            Ok(())
        })
    }

    /// Begins the round after the last generation, or goes on with it where the log ends.
    fn open_round(&mut self) -> Result<(), Error> {
        let round = self.generation() + 1;
        let found = match &self.log {
            Some(log) => log.read::<G>(round)?,
            None => None,
        };
        let (config, played, whole) = match found {
            None => (self.config.clone(), vec![], false),
            Some(segment) => {
                let config = settings::with_essence(&self.config, &segment.header.settings)?;
                (config, if self.replays { vec![] } else { segment.games }, segment.whole)
            }
        };
        if config != self.round {
            self.apply(&config);
        }
        if let Some(log) = self.log.as_mut().filter(|_| !whole && !self.replays) {
            log.begin::<G>(&Header::new::<G>(round, settings::essence(&config)))?;
        }
        let numbers = played.iter().filter_map(|game| Some(game.id?.number)).collect();
        self.played = played;
        self.ended = None;
        self.world.resource_mut::<Rounds>().open(round, config.run.games, numbers);
        self.end_round_if_played()?;
        if self.ended.is_none() {
            self.world.run_system_cached(begin_games::<G>).expect("a system without conditions runs");
        }
        Ok(())
    }

    /// Goes on with other settings.
    fn apply(&mut self, config: &Config) {
        self.world.resource_mut::<Agents>().0[0].search = config.search.clone();
        self.world.resource_mut::<Rules<Puct>>().0 = vec![Puct::new(&config.search)];
        self.world.resource_mut::<Sampling>().0 = config.replay.clone();
        self.world.resource_mut::<Replay<G>>().set_window(config.replay.window);
        self.world.resource_mut::<Learner>().config = config.learn.clone();
        self.round = config.clone();
    }

    /// Plays one tick, or learns one step when all games of the round have ended.
    ///
    /// # Errors
    /// When a schedule fails, or the log cannot be written.
    pub fn advance(&mut self) -> Result<Advance, Error> {
        let start = Instant::now();
        if self.ended.is_none() {
            run_tick(&mut self.world)?;
            let games = self.world.resource_mut::<FinishedGames>().take();
            if let Some(log) = self.log.as_mut().filter(|_| !games.is_empty()) {
                log.append(&games)?;
            }
            self.played.extend(games);
            self.end_round_if_played()?;
            let spent = start.elapsed().as_secs_f64();
            self.seconds.play += spent;
            self.seconds.this_play += spent;
            return Ok(Advance::Played);
        }
        let (steps, learning_rate) = {
            let learner = self.world.resource::<Learner>();
            (learner.progress().1, learner.learning_rate())
        };
        let ended = run_learn(&mut self.world)?;
        let spent = start.elapsed().as_secs_f64();
        self.seconds.learn += spent;
        self.seconds.this_learn += spent;
        if !ended {
            return Ok(Advance::Learned);
        }
        let games = self.ended.take().expect("it has");
        let ticks = std::mem::take(&mut *self.world.resource_mut::<Stats>());
        let learner = self.world.resource::<Learner>();
        let learned = Learned {
            steps: steps.max(1),
            learning_rate,
            losses: learner.losses(),
            replay: self.world.resource::<Replay<G>>().len(),
            distinct: self.world.get_resource::<Dataset<G>>().map_or(0, Dataset::len),
        };
        let generation = learner.generation();
        let stages = self.world.resource_mut::<StageTimes>().take();
        let mut metrics = Metrics::new(generation, &games, &ticks, &learned, self.seconds, stages);
        metrics.resident = memory::resident();
        (self.seconds.this_play, self.seconds.this_learn) = (0.0, 0.0);
        let mut first = std::mem::take(&mut self.played);
        first.truncate(self.config.run.recorded_games);
        if !self.is_finished() {
            self.open_round()?;
        }
        Ok(Advance::Generation(Box::new(metrics), first))
    }

    /// When all games of the round have ended: their order is that of their numbers from here on.
    fn end_round_if_played(&mut self) -> Result<(), Error> {
        if (self.played.len() as u64) < self.round.run.games {
            return Ok(());
        }
        self.played.sort_unstable_by_key(|game| game.id);
        if let Some(log) = &mut self.log {
            let round = self.played[0].id.map_or(0, |id| id.round);
            if self.replays {
                let stored = log.read::<G>(round)?.map_or(vec![], |segment| segment.games);
                let same = self.played.iter().zip(&stored).take_while(|(played, stored)| played == stored).count();
                if same < self.played.len().max(stored.len()) {
                    let message = format!("round {round}, game {same} is another one when it is played again");
                    return Err(Error::Usage(message));
                }
            } else if !log.whole(round).exists() {
                log.finish(&Header::new::<G>(round, settings::essence(&self.round)), &self.played)?;
            }
        }
        let mut replay = self.world.resource_mut::<Replay<G>>();
        self.played.iter().for_each(|game| replay.push(game));
        self.ended = Some(Stats::of(&self.played));
        Ok(())
    }

    /// Generations that have ended.
    pub fn generation(&self) -> u64 {
        self.world.resource::<Learner>().generation()
    }

    /// Whether the last generation of the configuration has ended.
    pub fn is_finished(&self) -> bool {
        self.generation() >= self.config.run.generations
    }

    /// Games of this round that have ended.
    pub fn played(&self) -> usize {
        self.played.len()
    }

    /// The round that is the first to be played with the settings that were given last.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn next_round(&self) -> Result<u64, Error> {
        let last = self.log.as_ref().map_or(Ok(None), Log::last)?;
        Ok((self.generation() + 1).max(last.map_or(0, |last| last + u64::from(self.has_games_of(last)))))
    }

    fn has_games_of(&self, round: u64) -> bool {
        round > self.generation() + 1 || !self.played.is_empty()
    }

    /// Time spent so far.
    pub fn seconds(&self) -> Seconds {
        self.seconds
    }

    /// What has been learned by the end of the last generation, though the next one may be learned already.
    ///
    /// # Errors
    /// When the network, what it evaluates, its optimiser or its losses are not finite.
    pub fn saved(&mut self) -> Result<Saved, Error> {
        let saved = self.world.resource_mut::<Learner>().save()?;
        self.evaluate_once(self.world.resource::<Learner>().playing())?;
        Ok(saved)
    }

    /// Evaluates the start of the game with a network, as the games will: weights can be finite and what they compute not.
    fn evaluate_once(&self, network: &Network) -> Result<(), Error> {
        let mut evaluator = self.world.resource::<EvaluatorFactory>().0(network);
        let mut out = Evaluations::new(1, G::ACTIONS);
        evaluator.submit(&Batch::of(&[G::start()]))?;
        evaluator.receive(&mut out)?;
        if out.logits.iter().chain(&out.values).all(|x| x.is_finite()) {
            return Ok(());
        }
        let learner = self.world.resource::<Learner>();
        Err(learner.diverged("the network's evaluation of the start").into())
    }

    /// Writes a checkpoint of the last generation that has ended into a run folder, unless it is there already, and removes
    /// what is not needed any more.
    ///
    /// # Errors
    /// When that fails.
    pub fn save(&mut self, folder: &Folder, place: &Place) -> Result<(), Error> {
        if checkpoint::of_generation(folder, self.generation()).is_some() {
            return Ok(());
        }
        let saved = self.saved()?;
        let segments = match &self.log {
            None => BTreeMap::new(),
            Some(log) => log::digests(log, &log.window::<G>(saved.progress.generation, self.config.replay.window)?)?,
        };
        let config = self.config.clone();
        let checkpoint = Checkpoint::new::<G>(saved, config, self.seconds, segments, probe::<G>(place)?);
        checkpoint.write(folder, self.config.run.checkpoints)?;
        folder.mark_saved()?;
        self.thin(folder)
    }

    /// Removes the games that no checkpoint needs, unless all are to be kept.
    fn thin(&self, folder: &Folder) -> Result<(), Error> {
        let (Some(log), false) = (&self.log, self.config.run.keep_log) else { return Ok(()) };
        let Some(&oldest) = checkpoint::generations(folder)?.first() else { return Ok(()) };
        let needed = log.window::<G>(oldest, self.config.replay.window)?;
        log.thin(needed.first().copied().unwrap_or(oldest + 1))
    }
}

/// The error of a checkpoint whose parts are sound, and not of this network.
fn does_not_fit(error: Error, path: PathBuf) -> Error {
    match error {
        Error::Systems(e) => Error::Checkpoint { path, fault: Fault::Unfit, message: e.to_string() },
        e => e,
    }
}

/// Starts a run in a folder, from these weights if there are any, or takes up the one that is there. What is wrong with its metrics goes to the standard
/// error. Nothing is written for a run that is finished. Only for the holder of the folder's lock.
///
/// # Errors
/// When the folder cannot be used, its newest checkpoint does not fit, or the checkpoints that it had are gone.
pub fn open<G: Game>(
    config: &Config,
    place: &Place,
    folder: &Folder,
    from: Option<Vec<NamedTensor>>,
) -> Result<Trainer<G>, Error> {
    folder.create()?;
    checkpoint::mend(folder)?;
    let log = Log::of(folder);
    log.mend()?;
    let run = match checkpoint::newest(folder)? {
        None => {
            metrics::check_new(folder, config)?;
            let mut run = Trainer::without_round(config, place);
            run.log = Some(log);
            if let Some(tensors) = from {
                // What it began with is its checkpoint 0.
                run.load(tensors)?;
                run.save(folder, place)?;
            }
            run.open_round()?;
            run
        }
        Some(path) => {
            let checkpoint = Checkpoint::read::<G>(&path)?;
            if checkpoint.manifest.probe != probe::<G>(place)? {
                tell!(
                    "{}: it was made on a machine, or with settings of it, that computes other last bits than this one: \
                     the run goes on, but not bit for bit as it would have there",
                    path.display()
                );
            }
            Trainer::resume(config, place, checkpoint, log).map_err(|e| does_not_fit(e, path))?
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
pub fn write_games<G: Game>(folder: &Folder, generation: u64, games: &[GameRecord]) -> Result<(), Error> {
    if games.is_empty() {
        return Ok(());
    }
    let mut text = format!(
        "# {}, generation {generation}: result of the first player, then the moves; [..] were drawn at random\n",
        G::TITLE
    );
    for game in games {
        let mut position = G::start();
        let mut moves = vec![];
        for (ply, action) in game.moves().enumerate() {
            let move_text = position.action_text(action);
            moves.push(if ply < game.opening.len() { format!("[{move_text}]") } else { move_text });
            position.play(action);
        }
        let result = match game.finished {
            Some(Outcome::Win) => "1-0",
            Some(Outcome::Draw) => "1/2",
            Some(Outcome::Loss) => "0-1",
            None => "*",
        };
        text += &format!("{result} {}\n", moves.join(" "));
    }
    write_file(&folder.games().join(format!("{generation:06}.txt")), text.as_bytes())
}
