#![doc = include_str!("../examples/README.md")]

pub use lockstep_components as components;
pub use lockstep_fused as fused;
pub use lockstep_systems as systems;

pub mod accuracy;
pub mod analyst;
pub mod checkpoint;
pub mod cli;
pub mod commands;
pub mod device;
pub mod display;
mod error;
pub mod folder;
pub mod history;
pub mod memory;
pub mod metrics;
pub mod oracle;
pub mod out;
pub mod settings;
pub mod stages;
pub mod trainer;

pub use error::Error;

/// What most experiments need, with bevy_ecs and burn at the versions that lockstep uses.
pub mod prelude {
    pub use crate::{device, trainer::Trainer};
    pub use bevy_ecs;
    pub use bevy_ecs::prelude::*;
    pub use burn;
    pub use lockstep_components::{
        self as components, Config, Edge, Game, Lane, LaneRng, Leaf, Position, Replay, Stats, Trajectory, Tree,
        TreeState, config::*, games::*,
    };
    pub use lockstep_systems::{
        self as systems, Agents, Evaluator, EvaluatorFactory, Learn, LearnSystems, Learner, Network, Puct, Rollouts,
        SelectionRule, Tick, TickSystems, Uniform, insert_lanes, learn, run_learn, run_tick, tick::search_schedule,
        tick_schedule,
    };
}
