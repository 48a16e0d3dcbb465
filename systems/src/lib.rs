//! The behaviour of lockstep: what happens to the data of [`lockstep_components`].
//!
//! This crate opens no file, reads no clock, prints nothing and picks no device.
//!
//! # Two schedules
//!
//! [`Tick`] advances every lane by at least one simulation. Its sets run in this order, listed in one place in
//! [`tick::tick_schedule`]:
//!
//! | set | system | reads | writes |
//! |---|---|---|---|
//! | [`TickSystems::Root`] | [`root::root`] | agents, caches | trees, budgets, lane generators |
//! | [`TickSystems::Select`] | [`select::select`] | positions, budgets, rules, caches | trees, leaves |
//! | [`TickSystems::Collect`] | [`collect::collect`] | leaves | leaves' rows, the agents' batches |
//! | [`TickSystems::Evaluate`] | [`evaluate::evaluate`] | batches | evaluations |
//! | [`TickSystems::Expand`] | [`expand::expand`] | leaves, evaluations | trees, caches |
//! | [`TickSystems::Act`] | [`act::act`], or [`analyse::answer`] | trees | positions, games in play and finished, statistics |
//!
//! [`Learn`] takes one step of the optimiser; the last step of a generation publishes the network:
//!
//! | set | system | reads | writes |
//! |---|---|---|---|
//! | [`LearnSystems::Sample`] | [`learn::sample`] | replay | dataset, training batch |
//! | [`LearnSystems::Step`] | [`learn::step`] | training batch | learner |
//! | [`LearnSystems::Publish`] | [`learn::publish`] | learner | agents' evaluators |
//!
//! Schedules run on one thread; the parallelism is inside the systems, over lanes, on the current rayon pool.
//! A system that can fail puts its first error into [`Failure`], later sets do not run, and [`run_tick`] and
//! [`run_learn`] return it.

pub mod act;
mod advance;
pub mod agent;
pub mod analyse;
pub mod cohorts;
pub mod collect;
mod error;
pub mod evaluate;
pub mod evaluator;
pub mod expand;
pub mod gumbel;
pub mod learn;
pub mod network;
pub mod policy;
pub mod puct;
pub mod root;
pub mod rows;
pub mod select;
pub mod setup;
pub mod tick;

pub use agent::{Agent, Inference, Player};
pub use analyse::{Answer, Questions};
pub use cohorts::Cohorts;
pub use error::{Error, Failure};
pub use evaluator::{Batch, Evaluations, Evaluator, Rollouts, Uniform};
pub use gumbel::Gumbel;
pub use learn::{EvaluatorFactory, Learn, LearnSystems, Learner, Learning, Published, run_learn};
pub use lockstep_fused::Level;
pub use network::{BurnEvaluator, FusedEvaluator, Network};
pub use policy::{Node, Policy, Search, SearchPolicy};
pub use puct::Puct;
pub use rows::Rows;
pub use setup::{Bounds, Plugin, Setup};
pub use tick::{Advance, Tick, TickSystems, drain, play_games, run_tick};
