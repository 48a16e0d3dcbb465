//! Matches of two players: pairs of games from the same opening, with the players on either side.

use crate::{
    Error,
    analyst::Contender,
    elo::{Hypothesis, Pairs, Sprt},
    memory::{self, Footprint, MemoryBound},
    relief::with_fewer_lanes,
};
use bevy_ecs::prelude::*;
use lockstep_components::{
    GameFinished, GameRecord, Round, Rounds, State,
    config::{LanesConfig, SearchConfig},
};
use lockstep_systems::{AnyGame, Searcher, Setup, run_tick};
use std::collections::{BTreeMap, HashSet};

/// How a match is played.
#[derive(Clone, Debug)]
pub struct Match {
    /// The number of pairs of games; the most pairs with a sequential test.
    pub pairs: u64,
    /// The number of uniformly random moves that open both games of a pair.
    pub opening_plies: u32,
    /// The seed of the openings, and of whatever the players draw.
    pub seed: u64,
    /// The number of leaves that each tree evaluates at once.
    pub leaves: u32,
    /// The sequential test that ends the match as soon as it has decided, after a pair in the order of their numbers.
    pub sprt: Option<Sprt>,
}

/// What a match came to. It is the same for the same players and match on machines that compute alike, whatever their
/// threads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// The results of the pairs, from the first player's point of view.
    pub pairs: Pairs,
    /// The number of games that the first player won, drew and lost.
    pub results: [u64; 3],
    /// The number of games that are counted nowhere else, because neither player draws anything at random and the
    /// opening of their pair leads to where an earlier pair has begun, in another order of moves or mirrored as may be:
    /// that position decides what follows.
    pub repeated: u64,
    /// What the sequential test has decided, if it has.
    pub verdict: Option<Hypothesis>,
}

impl Score {
    /// Whether more games repeat earlier ones than count: hardly any openings are left then, and more pairs would say
    /// little.
    pub fn has_used_up_openings(&self) -> bool {
        self.repeated > self.pairs.games()
    }
}

impl Match {
    /// Returns the most games that are in play at once.
    pub fn most_lanes(&self) -> u32 {
        (2 * self.pairs).min(512) as u32
    }

    /// Returns lanes for searches with these settings and networks: as many games at once as the match has and as fit
    /// into the memory.
    pub fn lanes(&self, game: AnyGame, settings: [&SearchConfig; 2], networks: &[Footprint]) -> LanesConfig {
        let most = 2 * self.most_lanes();
        let fit = settings.map(|settings| memory::lanes_that_fit(game, settings, self.leaves, most, networks));
        let count = (fit.into_iter().min().unwrap_or(1) / 2).max(1);
        LanesConfig { count, leaves_per_tree: self.leaves, ..LanesConfig::default() }
    }

    /// Plays the match between two players of the same game, with as many games at once as fit into the memory; `progress`
    /// gets the number of pairs that have ended.
    ///
    /// # Errors
    /// When the memory does not suffice, or a player's device or weights cannot be used.
    pub fn between(&self, sides: [&Contender; 2], progress: impl Fn(u64)) -> Result<Score, Error> {
        let (game, start) = (sides[0].game, sides[0].start()?);
        let settings = sides.map(|side| &side.search);
        let mut networks = vec![];
        for side in sides {
            networks.extend(side.footprint((self.most_lanes() * self.leaves) as usize)?);
        }
        let lanes = self.lanes(game, settings, &networks);
        MemoryBound::of_searches(game, &settings, &lanes, &networks).check()?;
        with_fewer_lanes(lanes.count, |count| {
            let rows = (count * self.leaves) as usize;
            let [first, second] = sides.map(|side| Ok((side.searcher(rows, side.search.clone())?, &side.search)));
            let players: [Result<_, Error>; 2] = [first, second];
            let [first, second] = players;
            let lanes = LanesConfig { count, ..lanes.clone() };
            self.play(game, start.clone(), [first?, second?], lanes, |pairs| {
                progress(pairs);
                true
            })
        })
    }

    /// Plays the match from this start. `watch` gets the number of pairs that have ended, after every tick, and stops the
    /// match by returning false.
    ///
    /// # Errors
    /// When the memory does not suffice, or an evaluator fails; [`Error::Stopped`] when `watch` has stopped the match.
    pub fn play(
        &self,
        game: AnyGame,
        start: State,
        players: [(Searcher, &SearchConfig); 2],
        lanes: LanesConfig,
        mut watch: impl FnMut(u64) -> bool,
    ) -> Result<Score, Error> {
        let [(first, of_first), (second, of_second)] = players;
        MemoryBound::of_searches(game, &[of_first, of_second], &lanes, &[]).check()?;
        let same_again = of_first.is_deterministic() && of_second.is_deterministic();
        let mut rounds = Rounds::none(self.seed);
        let opening_plies = self.opening_plies;
        rounds.open(Round { missing: vec![0..2 * self.pairs], opening_plies, ..Round::default() });
        let mut world = Setup::match_of(game, first, second).lanes(lanes).rounds(rounds).start(start.clone()).build();
        let (mut score, mut begun) = (Score::default(), HashSet::<State>::new());
        let (mut waiting, mut ended) = (BTreeMap::<u64, GameRecord>::new(), 0);
        let mut next = 0;
        // Pairs count in the order of their numbers, so that the end of a sequential test does not depend on who is fast.
        while next < self.pairs && score.verdict.is_none() {
            run_tick(&mut world)?;
            for GameFinished(game) in world.resource_mut::<Messages<GameFinished>>().drain() {
                waiting.insert(game.id.expect("a game of a round").number, game);
                ended += 1;
            }
            if !watch(ended / 2) {
                return Err(Error::Stopped);
            }
            while score.verdict.is_none() {
                let numbers = [2 * next, 2 * next + 1];
                if !numbers.iter().all(|number| waiting.contains_key(number)) {
                    break;
                }
                let games = numbers.map(|number| waiting.remove(&number).expect("it is there"));
                next += 1;
                let mut opened = start.clone();
                games[0].opening.iter().for_each(|&action| opened.play(action));
                if !begun.insert(opened.canonical()) && same_again {
                    score.repeated += 2;
                    continue;
                }
                let half_points = [(&games[0], 1.0), (&games[1], -1.0)].map(|(game, side)| {
                    let result = side * game.finished.expect("it has ended").value();
                    score.results[(1.0 - result) as usize] += 1;
                    (result + 1.0) as usize
                });
                score.pairs.add(half_points[0] + half_points[1]);
                score.verdict = self.sprt.and_then(|sprt| sprt.verdict(&score.pairs));
            }
        }
        Ok(score)
    }
}
