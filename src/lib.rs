#![doc = include_str!("../examples/README.md")]

pub use lockstep_components as components;
pub use lockstep_fused as fused;
pub use lockstep_systems as systems;

pub mod device;
mod error;
pub mod front;
pub mod grading;
pub mod run;
pub mod settings;

pub use front::{cli, commands, display, out};
pub use grading::{accuracy, analyst, oracle};
pub use run::{checkpoint, folder, history, log, memory, metrics, stages, trainer};

pub use error::{Error, Fault};

/// What most experiments need, with bevy_ecs and burn at the versions that lockstep uses.
pub mod prelude {
    pub use crate::{device, trainer::Trainer};
    pub use bevy_ecs;
    pub use bevy_ecs::prelude::*;
    pub use burn;
    pub use lockstep_components::{
        self as components, Config, Edge, Game, GameRecord, Lane, LaneRng, Leaf, Position, Replay, Stats, Tree,
        TreeState, config::*, games::*,
    };
    pub use lockstep_systems::{
        self as systems, Agents, Evaluator, EvaluatorFactory, Learn, LearnSystems, Learner, Network, Puct, Rollouts,
        SelectionRule, Tick, TickSystems, Uniform, insert_lanes, learn, run_learn, run_tick, tick::search_schedule,
        tick_schedule,
    };
}
