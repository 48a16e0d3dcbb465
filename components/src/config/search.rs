//! `[search]`: how agents search.

use super::{keys, section, short};
use bevy_ecs::component::Component;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most simulations of a search.
const MAX_SIMULATIONS: u32 = 1_000_000;

section! {
    /// `[search]`: how an agent searches. A component of an agent.
    #[derive(Component)]
    SearchConfig {
        /// How moves are chosen in the tree and at its root. Each way has keys of its own.
        policy: PolicyKind = PolicyKind::Puct;
        /// Simulations of a full search, those of a kept sub-tree included. More make stronger moves and better targets, and
        /// take longer.
        simulations: u32 = 64, from 1 to MAX_SIMULATIONS, role Fixed;
        /// Simulations of a fast search; with 0 every search is a full one. Fast searches play on without teaching the policy:
        /// more games for the value head at the same cost (playout cap randomisation, Wu 2019, section 3.1).
        fast_simulations: u32 = 0, from 0 to MAX_SIMULATIONS, at most "search.simulations";
        /// Chance of a full search, where there are fast ones. Higher teaches the policy more and finishes fewer games.
        #[serde(serialize_with = "short")]
        full_search_chance: f32 = 0.25, from 1e-6 to 1.0;
        /// Weight of the prior against the value. Higher explores more.
        #[serde(serialize_with = "short")]
        c_puct: f32 = 1.5, from 0.0 to 100.0, policy Puct;
        /// First-play urgency: the value of a move that has no visit.
        fpu: Fpu = Fpu::Reduction(0.2), policy Puct;
        /// Share of Dirichlet noise in the priors of the root of full searches. Higher tries more moves.
        #[serde(serialize_with = "short")]
        noise_share: f32 = 0.25, from 0.0 to 1.0, policy Puct;
        /// Concentration of the Dirichlet noise at the root over all legal moves together; each move gets this divided by their
        /// number. Lower puts the noise on fewer moves.
        #[serde(serialize_with = "short")]
        noise_concentration: f32 = 10.0, from 0.01 to 1_000.0, policy Puct;
        /// Temperature of the choice among visits at the beginning of a game. 0 always plays the most visited move; higher plays
        /// more varied games.
        #[serde(serialize_with = "short")]
        temperature: f32 = 1.0, from 0.0 to 10.0, policy Puct;
        /// Temperature of the choice among visits after `temperature_plies`. Higher plays more varied games to their end.
        #[serde(serialize_with = "short")]
        final_temperature: f32 = 0.25, from 0.0 to 10.0, policy Puct;
        /// Plies (moves of one player) that are played at `temperature`. More make games differ for longer.
        temperature_plies: u32 = 8, from 0 to 10_000, policy Puct;
        /// Up to so many uniformly random moves open each game, drawn evenly; they must be fewer than the plies of the longest
        /// game. They are not learned from; more show the network positions that good play never reaches.
        opening_plies: u32 = 0, from 0 to 1_000;
        /// Whether the sub-tree of the move played is kept for the next search.
        keep_subtree: bool = true, policy Puct;
        /// Moves that a search considers at first. Half of them are dropped after each phase, so more cost simulations that the
        /// best ones then lack.
        considered_moves: u32 = 16, from 1 to 65_535, policy Gumbel;
        /// Scale of the noise that draws the moves considered; with 1 they are a sample of the network's policy. Grading and play
        /// take 0.
        #[serde(serialize_with = "short")]
        gumbel_scale: f32 = 1.0, from 0.0 to 100.0, policy Gumbel;
        /// Weight of values against the logits of the priors, multiplied by `value_visits` and the most visits of a move
        /// together. Higher trusts values more.
        #[serde(serialize_with = "short")]
        value_scale: f32 = 0.1, from 0.0 to 100.0, policy Gumbel;
        /// Visits that are added to those of the most visited move where `value_scale` is multiplied by them. More make values
        /// count from the first simulations on.
        #[serde(serialize_with = "short")]
        value_visits: f32 = 50.0, from 0.0 to 1e6, policy Gumbel;
        /// Whether wins, draws and losses that the search has proven go up the tree: proven moves are played or avoided, and a
        /// search ends when its root is proven (MCTS-Solver, Winands et al. 2008).
        solver: bool = true;
        /// Megabytes of evaluations that are kept for positions that come again, until the network changes. With 0 every leaf is
        /// evaluated, and equal leaves of a batch do not share a row either.
        cache_mb: u32 = 64, from 0 to 1_000_000, role Upkeep;
    }
}

/// How moves are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// AlphaZero's: a predictor and upper confidence bounds on trees (Silver et al. 2018).
    #[default]
    Puct,
    /// Gumbel top-k and sequential halving at the root, completed values below (Danihelka et al. 2022): it learns something from
    /// every search, however few simulations that has.
    Gumbel,
}

impl PolicyKind {
    /// The other way to choose moves.
    pub fn other(self) -> Self {
        match self {
            Self::Puct => Self::Gumbel,
            Self::Gumbel => Self::Puct,
        }
    }

    /// The keys of `[search]` that only the other way to choose moves knows.
    pub fn foreign_keys(self) -> impl Iterator<Item = &'static str> {
        keys::all().iter().filter(move |key| key.policy == Some(self.other())).map(|key| key.name)
    }
}

/// First-play urgency: the value that PUCT gives to a move without visits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fpu {
    /// Every move without visits has this value.
    Absolute(
        #[serde(serialize_with = "short")]
        #[schemars(range(min = -10.0, max = 10.0))]
        f32,
    ),
    /// The node's own value, less this much times the square root of the prior that is already visited (as in
    /// KataGo and Leela Chess Zero). 0 takes the node's value as it is.
    Reduction(
        #[serde(serialize_with = "short")]
        #[schemars(range(min = 0.0, max = 10.0))]
        f32,
    ),
}

impl SearchConfig {
    /// The same search for playing to win: no noise, no random moves, the most visited move.
    pub fn to_win(&self, simulations: u32) -> Self {
        Self {
            simulations,
            fast_simulations: 0,
            noise_share: 0.0,
            temperature: 0.0,
            final_temperature: 0.0,
            gumbel_scale: 0.0,
            opening_plies: 0,
            ..self.clone()
        }
    }

    /// Whether the same position is always answered by the same move: its policy draws nothing, and every search is full.
    pub fn is_deterministic(&self) -> bool {
        let draws = match self.policy {
            PolicyKind::Puct => [self.noise_share, self.temperature, self.final_temperature].iter().any(|&x| x > 0.0),
            PolicyKind::Gumbel => self.gumbel_scale > 0.0,
        };
        !draws && self.fast_simulations == 0
    }
}
