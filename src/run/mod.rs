//! A run and its folder.
//!
//! - [`trainer`]: the lanes and the learner of a run, advanced step by step;
//! - [`folder`]: where its files lie, and how they are written;
//! - [`checkpoint`]: what it has learned;
//! - [`log`]: the games that were played;
//! - [`history`]: the settings that it was made with;
//! - [`metrics`]: a line for each generation;
//! - [`memory`]: what it takes at most;
//! - [`probe`]: what a machine computes, in one number;
//! - [`stages`]: where its time goes.

pub mod checkpoint;
pub mod folder;
pub mod history;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod probe;
pub mod stages;
pub mod trainer;
