//! A run and its folder.
//!
//! - [`trainer`]: the lanes and the learner of a run, advanced step by step;
//! - [`folder`]: where its files lie, and how they are written;
//! - [`checkpoint`]: everything that it needs to go on;
//! - [`history`]: the settings that it was made with;
//! - [`metrics`]: a line for each generation;
//! - [`memory`]: what it takes at most;
//! - [`stages`]: where its time goes.

pub mod checkpoint;
pub mod folder;
pub mod history;
pub mod memory;
pub mod metrics;
pub mod stages;
pub mod trainer;
