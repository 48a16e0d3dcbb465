//! The statistics of a run.

use crate::{record::GameRecord, tree::Counts};
use bevy_ecs::prelude::*;
use rustc_hash::{FxHashSet, FxHasher};
use std::hash::{Hash, Hasher};

/// Counts since the last reset, filled by the tick in row order, so they are the same for any number of threads.
///
/// The counts of [`Stats::of`] are made from finished games instead, and are the same however the games were played.
#[derive(Resource, Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Ticks that were run.
    pub ticks: u64,
    /// Simulations: descents that ended in a backup.
    pub simulations: u64,
    /// Simulations that ended in a finished game or a proven result, and needed no evaluation.
    pub terminals: u64,
    /// Simulations and new roots whose evaluation was in the cache.
    pub cache_hits: u64,
    /// Leaves that shared the row of an equal one in the same batch.
    pub duplicates: u64,
    /// Complete searches.
    pub searches: u64,
    /// Complete searches whose root was proven, in the search or before it began.
    pub proven: u64,
    /// Complete searches that ended because their tree was full.
    pub full: u64,
    /// Batches that were evaluated.
    pub batches: u64,
    /// Rows of the batches: positions that the evaluators were asked for.
    pub evaluations: u64,
    /// Rows that the devices computed, padding included.
    pub computed: u64,
    /// Sum of the depths of all descents, in plies.
    pub depth_sum: u64,
    /// Searched moves of the finished games.
    pub moves: u64,
    /// Searched moves of the finished games that have a policy target, that is, those after a full search.
    pub recorded: u64,
    /// Finished games.
    pub games: u64,
    /// Plies of the finished games, openings included.
    pub plies: u64,
    /// Finished games won by the first player, drawn, won by the second.
    pub results: [u64; 3],
    /// Sum of the policy targets' entropies over recorded moves of finished games, in nats.
    pub entropy_sum: f64,
    /// Finished games with different lists of moves; only [`Stats::of`] counts them.
    pub distinct_games: u64,
}

impl Stats {
    /// Counts finished games and their searches. Ticks, batches, evaluations and cache hits stay 0, because a game does
    /// not record them.
    ///
    /// # Panics
    /// If a game is not finished.
    pub fn of<'a>(games: impl IntoIterator<Item = &'a GameRecord>) -> Self {
        let mut stats = Self::default();
        let mut seen = FxHashSet::default();
        for game in games {
            stats.add_game(game);
            stats.add(game.counts, game.plies.len() as u64);
            let mut hasher = FxHasher::default();
            game.moves().for_each(|action| action.hash(&mut hasher));
            seen.insert(hasher.finish());
        }
        stats.distinct_games = seen.len() as u64;
        stats
    }

    /// Adds the counts of `searches` complete searches.
    pub fn add(&mut self, counts: Counts, searches: u64) {
        self.searches += searches;
        self.simulations += u64::from(counts.simulations);
        self.terminals += u64::from(counts.terminals);
        self.proven += u64::from(counts.proofs);
        self.full += u64::from(counts.full);
        self.depth_sum += counts.depth_sum;
    }

    /// Adds a finished game without the counts of its searches, for which there is [`Stats::add`].
    ///
    /// # Panics
    /// If the game is not finished.
    pub fn add_game(&mut self, game: &GameRecord) {
        let outcome = game.finished.expect("a finished game");
        self.games += 1;
        self.moves += game.plies.len() as u64;
        self.plies += game.len() as u64;
        self.results[(1.0 - outcome.value()) as usize] += 1;
        self.entropy_sum += f64::from(game.entropy_sum);
        self.recorded += game.plies.iter().filter(|ply| ply.policy_len > 0).count() as u64;
    }

    /// Share of the searches whose root was proven.
    pub fn proven_share(&self) -> f64 {
        ratio(self.proven as f64, self.searches)
    }

    /// Share of the searches that ended because their tree was full.
    pub fn full_share(&self) -> f64 {
        ratio(self.full as f64, self.searches)
    }

    /// Share of the rows computed by the devices that carried a position; 1 means that no row was padding.
    pub fn batch_fill(&self) -> f64 {
        ratio(self.evaluations as f64, self.computed)
    }

    /// Mean number of rows in a batch.
    pub fn mean_batch(&self) -> f64 {
        ratio(self.evaluations as f64, self.batches)
    }

    /// Mean number of plies of a finished game, openings included.
    pub fn mean_length(&self) -> f64 {
        ratio(self.plies as f64, self.games)
    }

    /// Mean result of the first player, 1 for a win, 0.5 for a draw.
    pub fn first_player_score(&self) -> f64 {
        ratio(self.results[0] as f64 + 0.5 * self.results[1] as f64, self.games)
    }

    /// Mean entropy of the policy targets of the recorded moves, in nats.
    pub fn mean_entropy(&self) -> f64 {
        ratio(self.entropy_sum, self.recorded)
    }

    /// Mean depth of a descent, in plies.
    pub fn mean_depth(&self) -> f64 {
        ratio(self.depth_sum as f64, self.simulations)
    }
}

fn ratio(sum: f64, n: u64) -> f64 {
    if n == 0 { 0.0 } else { sum / n as f64 }
}
