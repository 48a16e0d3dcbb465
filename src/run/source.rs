//! Where the games of a run come from: the lanes of this process, or whatever else plays them.

use crate::{
    Error,
    device::{self, Place},
    hooks::Hooks,
    measure,
    stages::{StageSeconds, StageTimes, Timing},
    text::number,
};
use bevy_ecs::prelude::*;
use lockstep_components::{Config, GameFinished, GameId, GameRecord, Round, Rounds, Slot, Stats, config::SearchConfig};
use lockstep_systems::{
    Agent, AnyGame, EvaluatorFactory, Inference, Network, SearchPolicy, Searcher, Setup, Uniform, drain, open_round,
    run_tick,
};
use serde::{Deserialize, Serialize};
use std::{fmt, ops::Range};

/// Games of one round that are to be played.
#[derive(Debug)]
pub struct Work<'a> {
    /// The number of the round, counted from 1.
    pub round: u64,
    /// The settings of the round.
    pub config: &'a Config,
    /// The generation whose weights play the round: `run.lag` before it, or 0.
    pub generation: u64,
    /// The network with the weights of that generation.
    pub network: &'a Network,
    /// The numbers of the games that are missing, in ascending order.
    pub missing: Vec<Range<u64>>,
}

/// What a source has done since [`GameSource::take`] was last called.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Played {
    /// The counts of its searches and games.
    pub stats: Stats,
    /// The seconds of each stage of its ticks.
    pub stages: StageSeconds,
    /// What workers elsewhere have done, if there can be any.
    pub fleet: Option<FleetMetrics>,
}

/// What the workers of a fleet have done for a generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetMetrics {
    /// What was counted.
    #[serde(flatten)]
    pub counts: Counts,
    /// Share of their time in which workers had nothing to play because the learner had nothing.
    pub waited: f64,
    /// Share of their time in which workers waited for weights.
    pub loading: f64,
}

impl fmt::Display for FleetMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts: Counts { workers, games, .. }, waited, loading } = self;
        write!(f, "{} ({games} games, waited {:.0} %)", number(*workers, "worker"), 100.0 * (waited + loading))
    }
}

/// What a fleet counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Workers that are there: the learner is none of them.
    pub workers: u64,
    /// Games that workers have played, and the run has taken.
    pub games: u64,
    /// Games that have come a second time, and were the same.
    pub duplicates: u64,
    /// Games of these that were compared because the learner had wanted to.
    pub audited: u64,
    /// Games that were refused: damaged, no games, or others than the learner has played itself.
    pub rejected: u64,
    /// Games that were given to others because their worker was not heard of any more, or has left.
    pub returned: u64,
    /// Reports that could not be read.
    pub damaged: u64,
}

impl Counts {
    /// Returns what was counted since an earlier time, but for the workers, who are counted now.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            workers: self.workers,
            games: self.games - before.games,
            duplicates: self.duplicates - before.duplicates,
            audited: self.audited - before.audited,
            rejected: self.rejected - before.rejected,
            returned: self.returned - before.returned,
            damaged: self.damaged - before.damaged,
        }
    }
}

/// A source of games. A game is a function of weights, settings, seed, round and number, so it does not matter who
/// plays it, in which order games come back, or whether a game is played twice.
pub trait GameSource {
    /// Begins to play the missing games of a round. Several rounds may be open at a time.
    ///
    /// # Errors
    /// When the device fails.
    fn open(&mut self, work: Work) -> Result<(), Error>;

    /// Plays on for a moment, and returns the games that have ended meanwhile, of any round, in any order.
    ///
    /// # Errors
    /// When a game cannot be played.
    fn poll(&mut self) -> Result<Vec<GameRecord>, Error>;

    /// Returns the games that were returned before and are to be forgotten, since the last call of this: they come again, of
    /// rounds of which not all games have been returned.
    fn withdrawn(&mut self) -> Vec<GameId> {
        vec![]
    }

    /// Returns what was done since the last call of [`GameSource::take`], searches and games that are under way
    /// included.
    fn so_far(&mut self) -> Played;

    /// Returns what was done since the last call of this, and begins to count anew.
    fn take(&mut self) -> Played;

    /// Returns the world in which the games are played, if it is one of this process.
    fn world(&mut self) -> Option<&mut World> {
        None
    }
}

impl<S: GameSource + ?Sized> GameSource for Box<S> {
    fn open(&mut self, work: Work) -> Result<(), Error> {
        (**self).open(work)
    }

    fn poll(&mut self) -> Result<Vec<GameRecord>, Error> {
        (**self).poll()
    }

    fn withdrawn(&mut self) -> Vec<GameId> {
        (**self).withdrawn()
    }

    fn so_far(&mut self) -> Played {
        (**self).so_far()
    }

    fn take(&mut self) -> Played {
        (**self).take()
    }

    fn world(&mut self) -> Option<&mut World> {
        (**self).world()
    }
}

/// Lanes of this process, which play on the threads of rayon's pool.
pub struct Lanes {
    /// The world that plays: the lanes with their trees, leaves and agents, and the schedule.
    pub world: World,
    place: Place,
    factory: EvaluatorFactory,
    hooks: Hooks,
    /// The rounds that can be in play at once, each of which has an agent of its own: what each plays, and the games that it
    /// has not returned.
    slots: Vec<Playing>,
}

/// What an agent of lanes plays.
#[derive(Clone, Default)]
struct Playing {
    round: u64,
    opening_plies: u32,
    games: u64,
}

impl Lanes {
    /// Returns lanes for runs with this configuration, with nothing to play yet.
    ///
    /// # Panics
    /// If the game refuses the rules that the configuration sets.
    pub fn new(game: AnyGame, config: &Config, place: &Place, hooks: &Hooks) -> Self {
        // Each gets the evaluator and the policy of its round.
        let player = |_| Searcher::new(Uniform::default(), config.search.clone());
        let setup = Setup::self_play_of(game, (0..config.run.lag).map(player).collect())
            .lanes(place.lanes(&config.lanes))
            .rounds(Rounds::none(config.run.seed))
            .start(game.start_of(config))
            .plugin(Timing::coarse());
        Self {
            world: hooks.set_up(setup).build(),
            place: place.clone(),
            factory: place.evaluators(game, device::batch_capacity(game, config, place)),
            hooks: hooks.clone(),
            slots: vec![Playing::default(); config.run.lag as usize],
        }
    }

    fn slot(&mut self, round: u64) -> &mut Playing {
        let count = self.slots.len() as u64;
        &mut self.slots[(round % count) as usize]
    }

    /// Returns the games that were begun or are to be begun and have not been returned.
    pub fn in_play(&self) -> u64 {
        self.slots.iter().map(|playing| playing.games).sum()
    }

    /// Gets ready for games of this round, with its settings and its network, and returns whether that was possible: games of
    /// an earlier round may have its place. Nothing is done where it is ready.
    ///
    /// # Errors
    /// When the device fails.
    pub fn prepare(&mut self, round: u64, config: &Config, network: &Network) -> Result<bool, Error> {
        let playing = self.slot(round);
        if playing.round == round || playing.games > 0 {
            return Ok(playing.round == round);
        }
        // Nobody may wait for what the network before has in flight.
        drain(&mut self.world)?;
        let evaluator = match self.place.for_precision(config.run.precision) {
            None => self.factory.make(network)?,
            Some(place) => {
                let game = *self.world.resource::<AnyGame>();
                let capacity = device::batch_capacity(game, config, &place);
                place.evaluators(game, capacity).make(network)?
            }
        };
        let slot = (round % self.slots.len() as u64) as usize;
        let mut agents = self.world.query::<(&Agent, &mut SearchConfig, &mut SearchPolicy, &mut Inference)>();
        let own = agents.iter_mut(&mut self.world).find(|(agent, ..)| agent.number() == slot);
        let (_, mut settings, mut policy, mut inference) = own.expect("an agent for each slot");
        (*settings, *policy) = (config.search.clone(), self.hooks.policy_of(&config.search));
        inference.replace(self.hooks.wrapped(evaluator));
        self.slots[slot] = Playing { round, opening_plies: config.search.opening_plies, games: 0 };
        Ok(true)
    }

    /// Adds games of a round that [`Lanes::prepare`] is ready for.
    pub fn begin(&mut self, round: u64, missing: Vec<Range<u64>>) {
        let slot = Slot((round % self.slots.len() as u64) as u8);
        let playing = self.slot(round);
        playing.games += missing.iter().map(|range| range.end - range.start).sum::<u64>();
        let opening_plies = playing.opening_plies;
        open_round(&mut self.world, Round { round, slot, missing, opening_plies });
    }
}

impl GameSource for Lanes {
    fn open(&mut self, Work { round, config, network, missing, .. }: Work) -> Result<(), Error> {
        let ready = self.prepare(round, config, network)?;
        assert!(ready, "as many rounds are open as there are agents");
        self.begin(round, missing);
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<GameRecord>, Error> {
        run_tick(&mut self.world)?;
        let mut ended = self.world.resource_mut::<Messages<GameFinished>>();
        let games: Vec<GameRecord> = ended.drain().map(|GameFinished(game)| game).collect();
        for id in games.iter().filter_map(|game| game.id) {
            self.slot(id.round).games -= 1;
        }
        Ok(games)
    }

    fn so_far(&mut self) -> Played {
        let stats = measure::counts(&mut self.world);
        Played { stats, stages: StageSeconds::of(self.world.resource::<StageTimes>()), fleet: None }
    }

    fn take(&mut self) -> Played {
        let stats = std::mem::take(&mut *self.world.resource_mut::<Stats>());
        Played { stats, stages: StageSeconds::take(&mut self.world.resource_mut::<StageTimes>()), fleet: None }
    }

    fn world(&mut self) -> Option<&mut World> {
        Some(&mut self.world)
    }
}

/// Returns the numbers below `games` that are not among `played`, as ranges.
pub fn missing(games: u64, mut played: Vec<u64>) -> Vec<Range<u64>> {
    played.sort_unstable();
    let (mut spans, mut next) = (vec![], 0);
    for number in played.into_iter().chain([games]) {
        let end = number.min(games);
        if end > next {
            spans.push(next..end);
        }
        next = next.max(number.saturating_add(1));
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_what_is_not_there() {
        for (games, played, expected) in [
            (6, vec![4, 0, 1, 1, 9], vec![2..4, 5..6]),
            (3, vec![], vec![0..3]),
            (3, vec![2, 1, 0], vec![]),
            (0, vec![], vec![]),
            (4, vec![3], vec![0..3]),
        ] {
            assert_eq!(missing(games, played), expected);
        }
    }
}
