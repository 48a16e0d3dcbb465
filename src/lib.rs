#![doc = include_str!("../examples/README.md")]

pub use lockstep_components as components;
pub use lockstep_fused as fused;
pub use lockstep_systems as systems;

pub mod check;
pub mod device;
mod error;
pub mod front;
pub mod games;
pub mod grading;
pub mod run;
pub mod settings;

pub use front::{cli, commands, display, out};
pub use grading::{accuracy, analyst, elo, matches, oracle, solver};
pub use run::{
    advice, checkpoint, folder, history, log, machine, measure, memory, metrics, rehearsal, relief, stages, trainer,
};

pub use error::{Error, Fault};
pub use front::main_with;
pub use games::AnyGame;

/// What most experiments need, with bevy_ecs and burn at the versions that lockstep uses.
pub mod prelude {
    pub use crate::{AnyGame, device, main_with, trainer::Trainer};
    pub use bevy_ecs;
    pub use bevy_ecs::prelude::*;
    pub use burn;
    pub use lockstep_components::{
        self as components, Action, Config, Edge, Game, GameFinished, GameRecord, Lane, LaneRng, Leaf, Outcome,
        Position, Replay, SearchBudget, Seats, Stats, Tree, TreeState, config::*, games::*,
    };
    pub use lockstep_systems::{
        self as systems, Agent, Batch, Capabilities, Evaluations, Evaluator, EvaluatorFactory, Gumbel, Inference,
        Learn, LearnSystems, Learner, Learning, Network, Node, Player, Plugin, Policy, PolicyState, Published, Puct,
        Rollouts, Rows, Search, SearchPolicy, Setup, Tick, TickSystems, Uniform, learn, play_games, run_learn,
        run_tick,
    };
    pub use rayon::prelude::*;
}
