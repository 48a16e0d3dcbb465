//! A run: lanes that play, a learner that learns from them, and the folder that they are kept in.

use crate::{
    Error,
    checkpoint::{self, Checkpoint, Seconds},
    device::{self, Place},
    folder::{Folder, write_file},
    memory,
    metrics::{self, Learned, Metrics},
    stages::{StageTimes, time_stages},
    tell,
};
use bevy_ecs::prelude::*;
use lockstep_components::{Config, Dataset, Game, GameRecord, Replay, Stats};
use lockstep_systems::{
    Batch, Evaluations, EvaluatorFactory, FinishedGames, Learner, Puct, insert_lanes,
    learn::{Sampling, TrainingBatch, learn_schedule},
    run_learn, run_tick,
    snapshot::{Snapshot, check_replay},
    tick_schedule,
};
use std::{marker::PhantomData, time::Instant};

/// A world with the lanes and the learner of a run, advanced one tick or one optimiser step at a time.
///
/// The world is public: add systems to its schedules, or read what they write.
pub struct Trainer<G: Game> {
    /// Lanes, trees, leaves, learner, and both schedules.
    pub world: World,
    config: Config,
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
    /// A new run.
    pub fn new(config: &Config, place: &Place) -> Self {
        let mut world = World::new();
        let learner = place.learner::<G>(config);
        let lanes = place.lanes(&config.lanes);
        let factory = place.evaluators::<G>(device::batch_capacity::<G>(config, place));
        let evaluator = factory.0(&learner.network);
        let agents = vec![(evaluator, config.search.clone())];
        insert_lanes::<G, Puct>(&mut world, &lanes, config.run.seed, agents);
        world.insert_resource(FinishedGames::new(config.run.recorded_games));
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
        Self { world, config: config.clone(), seconds: Seconds::default(), game: PhantomData }
    }

    /// The run that a checkpoint was made of.
    ///
    /// # Errors
    /// When the checkpoint does not fit the configuration.
    pub fn resume(config: &Config, place: &Place, checkpoint: Checkpoint<G>) -> Result<Self, Error> {
        let mut run = Self::new(config, place);
        let Checkpoint { tensors, optimizer, learner: state, replay, lanes, seconds, .. } = checkpoint;
        let replay = check_replay(replay, config.replay.window)?;
        run.world.insert_resource(replay);
        run.world.resource_scope(|world, mut learner: Mut<Learner>| -> Result<(), Error> {
            learner.network = learner.network.clone().with_tensors(tensors)?;
            learner.restore(state, optimizer)?;
            let factory = world.resource::<EvaluatorFactory>();
            let evaluator = factory.0(&learner.network);
            world.resource_mut::<lockstep_systems::Agents>().0[0].evaluator = evaluator;
            Ok(())
        })?;
        // After the network, which a batch in flight is given to again.
        lanes.restore(&mut run.world)?;
        run.world.resource_mut::<FinishedGames>().limit = config.run.recorded_games;
        run.seconds = seconds;
        Ok(run)
    }

    /// Plays one tick, or learns one step when enough games have ended.
    ///
    /// # Errors
    /// When a schedule fails.
    pub fn advance(&mut self) -> Result<Advance, Error> {
        let start = Instant::now();
        let learning = !self.world.resource::<Learner>().is_idle();
        if !learning && self.world.resource::<Stats>().games < self.config.run.games {
            run_tick(&mut self.world)?;
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
        let stats = std::mem::take(&mut *self.world.resource_mut::<Stats>());
        let games = self.world.resource_mut::<FinishedGames>().take();
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
        let mut metrics = Metrics::new(generation, &stats, &learned, self.seconds, stages);
        metrics.resident = memory::resident();
        (self.seconds.this_play, self.seconds.this_learn) = (0.0, 0.0);
        Ok(Advance::Generation(Box::new(metrics), games.into_iter().map(|(record, _)| record).collect()))
    }

    /// Generations that have ended.
    pub fn generation(&self) -> u64 {
        self.world.resource::<Learner>().generation()
    }

    /// Whether the last generation of the configuration has ended.
    pub fn is_finished(&self) -> bool {
        self.generation() >= self.config.run.generations
    }

    /// Time spent so far.
    pub fn seconds(&self) -> Seconds {
        self.seconds
    }

    /// Everything that the run needs to go on.
    ///
    /// # Errors
    /// When the network, what it evaluates, its optimiser or its losses are not finite.
    pub fn checkpoint(&mut self) -> Result<Checkpoint<G>, Error> {
        let lanes = Snapshot::take(&mut self.world);
        let replay = self.world.resource::<Replay<G>>().clone();
        let (tensors, state, optimizer) = self.world.resource_mut::<Learner>().save()?;
        self.evaluate_once()?;
        let config = self.config.clone();
        Ok(Checkpoint { config, tensors, optimizer, learner: state, replay, lanes, seconds: self.seconds })
    }

    /// Evaluates the start of the game with the network as it is, as the next generation will: weights can be finite and
    /// what they compute not.
    fn evaluate_once(&self) -> Result<(), Error> {
        let learner = self.world.resource::<Learner>();
        let mut evaluator = self.world.resource::<EvaluatorFactory>().0(&learner.network);
        let mut out = Evaluations::new(1, G::ACTIONS);
        evaluator.submit(&Batch::of(&[G::start()]))?;
        evaluator.receive(&mut out)?;
        if out.logits.iter().chain(&out.values).all(|x| x.is_finite()) {
            return Ok(());
        }
        Err(learner.diverged("the network's evaluation of the start").into())
    }

    /// Writes a checkpoint into a run folder.
    ///
    /// # Errors
    /// When that fails.
    pub fn save(&mut self, folder: &Folder) -> Result<(), Error> {
        let keep = self.config.run.checkpoints;
        self.checkpoint()?.write(folder, keep)?;
        folder.mark_saved()
    }
}

/// Starts a run in a folder, or takes up the one that is there. What is wrong with its metrics goes to the standard
/// error. Nothing is written for a run that is finished. Only for the holder of the folder's lock.
///
/// # Errors
/// When the folder cannot be used, its newest checkpoint does not fit, or the checkpoints that it had are gone.
pub fn open<G: Game>(config: &Config, place: &Place, folder: &Folder) -> Result<Trainer<G>, Error> {
    folder.create()?;
    checkpoint::mend(folder)?;
    let run = match checkpoint::newest(folder)? {
        None => {
            metrics::check_new(folder, config)?;
            Trainer::new(config, place)
        }
        Some(path) => Trainer::resume(config, place, Checkpoint::read(&path)?).map_err(|e| match e {
            Error::Systems(e) => Error::Checkpoint { path, message: e.to_string() },
            e => e,
        })?,
    };
    // What a finished run was made with stays, and so does all else, whatever it is looked at with.
    let notices = if run.is_finished() && folder.is_run() {
        metrics::check(&folder.metrics(), run.generation())?
    } else {
        write_file(&folder.config(), crate::settings::to_text(config).as_bytes())?;
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
        for (ply, &action) in game.moves.iter().enumerate() {
            let move_text = position.action_text(action);
            moves.push(if ply < game.opening as usize { format!("[{move_text}]") } else { move_text });
            position.play(action);
        }
        let result = ["0-1", "1/2", "1-0"][(game.result + 1) as usize];
        text += &format!("{result} {}\n", moves.join(" "));
    }
    write_file(&folder.games().join(format!("{generation:06}.txt")), text.as_bytes())
}
