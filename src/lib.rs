#![doc = include_str!("../examples/README.md")]
#![forbid(unsafe_code)]

pub use lockstep_components as components;
pub use lockstep_fused as fused;
pub use lockstep_systems as systems;

pub mod device;
mod error;
pub mod fleet;
pub mod front;
pub mod games;
pub mod grading;
pub mod insight;
pub mod out;
pub mod run;
pub mod session;
pub mod settings;
pub mod text;
pub mod view;

pub use front::{board, cli, commands, display};
pub use grading::{accuracy, analyst, elo, grade, matches, oracle};
pub use run::{
    advice, checkpoint, folder, history, hooks, log, machine, measure, memory, metrics, rehearsal, relief, source,
    stages, trainer,
};

pub use error::{Error, Fault};
pub use front::main_with;
pub use games::AnyGame;
pub use hooks::Hooks;

/// The names that most experiments need, with bevy_ecs and burn at the versions that lockstep uses.
pub mod prelude {
    pub use crate::{AnyGame, Hooks, device, main_with, trainer::Trainer};
    pub use bevy_ecs;
    pub use bevy_ecs::prelude::*;
    pub use burn;
    pub use lockstep_components::{
        self as components, Action, Config, Edge, Game, GameFinished, GameInfo, GameRecord, LaneRng, Leaf, Outcome,
        Position, ReplayBuffer, SearchBudget, Seats, Side, State, Stats, Tree, TreeState, config::*, games::*,
    };
    pub use lockstep_systems::{
        self as systems, Agent, Batch, Capabilities, Decision, Evaluations, Evaluator, EvaluatorFactory, Gumbel,
        Inference, Lane, Learn, LearnSystems, Learner, Learning, Network, Node, Plugin, Policy, PolicyState, Published,
        Puct, Rollouts, Rows, Search, SearchPolicy, Searcher, Setup, Tick, TickSystems, Uniform, learn, play_games,
        run_learn, run_tick,
    };
    pub use rayon::prelude::*;
}
