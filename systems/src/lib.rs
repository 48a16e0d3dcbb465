//! The behaviour of lockstep: what happens to the data of [`lockstep_components`].
//!
//! This crate opens no file, reads no clock, prints nothing and picks no device.
//!
//! # Two schedules
//!
//! [`Setup`] makes a world in which [`Tick`] advances the lanes of a cohort by at least one simulation. Its sets run in this order:
//!
//! | set | system | reads | writes |
//! |---|---|---|---|
//! | [`TickSystems::Begin`] | | | whose turn it is |
//! | [`TickSystems::Collect`] | [`collect::collect`] | leaves | leaves' rows, the agents' batches |
//! | [`TickSystems::Evaluate`] | [`evaluate::evaluate`] | batches | evaluations, caches |
//! | [`TickSystems::Expand`] | a pass over the lanes: [`expand::expand_tree`] | leaves, evaluations | trees |
//! | [`TickSystems::Act`] | a pass over the lanes: [`act::play_move`]; or [`analyse::answer`] and [`analyse::obey`] | trees, policies | positions, games in play, [`GameFinished`](lockstep_components::GameFinished), statistics |
//! | [`TickSystems::Root`] | a pass over the lanes | policies, caches | trees, budgets, lane generators |
//! | [`TickSystems::Select`] | a pass over the lanes: [`select::select_leaves`] | positions, budgets, policies, caches | trees, leaves |
//! | [`TickSystems::End`] | | | whose turn it is |
//!
//! From `Expand` to `Select` a tree has only to do with its own lane, so all four are one pass over the lanes as long as
//! nothing else stands between them.
//!
//! [`Learn`] takes one step of the optimiser; the last step of a generation publishes the network. [`Learning`] adds it.
//!
//! | set | system | reads | writes |
//! |---|---|---|---|
//! | [`LearnSystems::Sample`] | [`learn::sample`] | replay buffer | its dataset, training batch |
//! | [`LearnSystems::Step`] | [`learn::step`] | training batch | learner |
//! | [`LearnSystems::Publish`] | [`learn::publish`] | learner | an agent's evaluator and cache, [`Published`] |
//!
//! Schedules run on one thread; the parallelism is inside the systems, over lanes, on the current rayon pool.
//! A system that can fail puts its first error into [`Failure`], no system that comes later runs, whoever has added it, and
//! [`run_tick`] and [`run_learn`] return it.

pub mod act;
pub mod agent;
pub mod analyse;
pub mod cohorts;
pub mod collect;
mod error;
pub mod evaluate;
pub mod evaluator;
pub mod expand;
mod game;
pub mod gumbel;
pub mod learn;
pub mod network;
mod pass;
pub mod policy;
pub mod puct;
pub mod root;
pub mod rows;
pub mod select;
pub mod setup;
pub mod tick;
mod workers;

pub use agent::{Agent, Inference, Searcher};
pub use analyse::{Answer, MoveStats, Order, Orders, Questions};
pub use cohorts::Cohorts;
pub use error::{EVALUATING, Error, Failure, SETTING_UP, TRAINING};
pub use evaluator::{Batch, Capabilities, Evaluations, Evaluator, Rollouts, Uniform};
pub use game::{AnyGame, Recipe};
pub use gumbel::Gumbel;
pub use learn::{EvaluatorFactory, Learn, LearnSystems, Learner, Learning, Published, run_learn};
pub use lockstep_fused::Level;
pub use network::{BurnEvaluator, BurnOptions, FusedEvaluator, Network};
pub use policy::{Decision, Node, Policy, PolicyState, Search, SearchPolicy};
pub use puct::Puct;
pub use rows::{Lane, LeafRow, Rows, TreeRow};
pub use setup::{Bounds, Plugin, Setup, open_round};
pub use tick::{Advance, Tick, TickSystems, drain, play_games, run_tick, settle};
pub use workers::Workers;
