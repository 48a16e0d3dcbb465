//! Searching positions to play or to grade them, with the same schedule that plays the games of a run.

use crate::{
    Error, Fault, checkpoint,
    device::{self, Place},
    folder::Folder,
    games::description_of,
    memory::Footprint,
    settings,
};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Config, Game,
    config::{DeviceKind, LanesConfig, LearnPrecision, Precision, SearchConfig},
};
use lockstep_systems::{
    Answer, EVALUATING, Evaluator, Network, Player as Searcher, Questions, Setup,
    network::{NamedTensor, check_tensors},
    run_tick,
};
use std::{
    marker::PhantomData,
    path::{Path, PathBuf},
};

/// Answers questions about positions with one network and one way to search.
pub struct Analyst<G: Game> {
    /// The lanes that search: add systems to its schedule, or read what they write.
    pub world: World,
    game: PhantomData<fn() -> G>,
}

impl<G: Game> Analyst<G> {
    /// Searches up to `lanes` positions at once, each with so many simulations and no randomness.
    pub fn new(
        evaluator: impl Evaluator + 'static,
        search: &SearchConfig,
        lanes: LanesConfig,
        simulations: u32,
    ) -> Self {
        let search = search.to_win(simulations);
        Self::of(Searcher::new(evaluator, search), lanes)
    }

    /// The same with a player of your own, who searches as its settings say.
    pub fn of(player: Searcher<G>, lanes: LanesConfig) -> Self {
        Self { world: Setup::analysis(player).lanes(lanes).seed(0).build(), game: PhantomData }
    }

    /// Searches these positions; `progress` hears how many are answered.
    ///
    /// # Errors
    /// When the network fails.
    pub fn ask(&mut self, positions: Vec<G>, mut progress: impl FnMut(usize)) -> Result<Vec<Answer>, Error> {
        self.world.insert_resource(Questions::new(positions));
        while !self.world.resource::<Questions<G>>().done() {
            run_tick(&mut self.world)?;
            progress(self.world.resource::<Questions<G>>().answered());
        }
        let questions = self.world.remove_resource::<Questions<G>>().expect("inserted above");
        Ok(questions.into_answers())
    }
}

/// A trained player as it lies in a run folder.
pub struct Player {
    /// Its configuration.
    pub config: Config,
    /// The folder of the checkpoint, or its file of weights.
    pub checkpoint: PathBuf,
    /// Its weights, as they were when it was opened: a run in progress removes its older checkpoints.
    pub weights: Vec<NamedTensor>,
}

impl Player {
    /// The checkpoint of a generation of a run, or its newest one; or a file of weights, which has no generations.
    ///
    /// # Errors
    /// When there is none.
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
        let none = |message: &str| Error::Run { path: path.into(), message: message.into() };
        let mut config = settings::load(settings::Source::File(&folder.config()), &[])?;
        let newest = checkpoint::newest(&folder)?.ok_or_else(|| {
            none("this run has no checkpoint yet; let it train until the first one (run.checkpoint_every)")
        })?;
        let checkpoint = match generation {
            None => Some(newest),
            Some(generation) => checkpoint::of_generation(&folder, generation),
        };
        let Some(checkpoint) = checkpoint else {
            let kept = checkpoint::generations(&folder)?;
            let kept = kept.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            return Err(none(&format!("there is no checkpoint of that generation; there are those of {kept}")));
        };
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
        Ok(Self { config, checkpoint, weights })
    }

    /// `weights.safetensors` of a checkpoint, wherever it lies by now.
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
        Ok(Self { config, checkpoint: path.into(), weights })
    }

    /// The same player where this device is, if one is named.
    #[must_use]
    pub fn on(mut self, device: Option<DeviceKind>) -> Self {
        self.config.run.device = device.unwrap_or(self.config.run.device);
        self
    }

    /// Its evaluator at a place, for batches of at most `capacity` rows. Memory that others have left there is free for it.
    ///
    /// # Errors
    /// When the weights do not fit.
    pub fn evaluator<G: Game>(&self, place: &Place, capacity: usize) -> Result<Box<dyn Evaluator>, Error> {
        place.device.memory_cleanup();
        Ok(place.evaluators::<G>(capacity).make(&self.network::<G>(place)?)?)
    }

    /// What its network takes where it runs, in batches of at most so many rows.
    ///
    /// # Errors
    /// As [`Player::place`].
    pub fn footprint<G: Game>(&self, rows: usize) -> Result<Footprint, Error> {
        Ok(Footprint::of::<G>(&self.config.network, &self.place()?, rows))
    }

    /// Its network at a place.
    ///
    /// # Errors
    /// When the weights do not fit.
    pub fn network<G: Game>(&self, place: &Place) -> Result<Network, Error> {
        let make = || Network::init::<G>(&self.config.network, 0, &place.device).with_tensors(self.weights.clone());
        lockstep_systems::Error::guard(EVALUATING, make).map_err(|e| match e {
            lockstep_systems::Error::Weights(_) => {
                let (path, fault) = (self.checkpoint.clone(), Fault::Unfit);
                Error::Checkpoint { path, fault, message: e.to_string() }
            }
            e => e.into(),
        })
    }

    /// The place where it runs. What a run has begun with on one device can be asked for on another, in that one's numbers.
    ///
    /// # Errors
    /// When this program was built without it, or the processor has not its vectors.
    pub fn place(&self) -> Result<Place, Error> {
        let mut config = self.config.clone();
        // It learns no more.
        config.learn.precision = LearnPrecision::F32;
        device::place_of(&config).or_else(|_| {
            config.run.precision = Precision::Auto;
            device::place_of(&config)
        })
    }
}
