//! A run and its folder: training a player, and all that is kept of it.
//!
//! - [`trainer`]: a run, advanced step by step;
//! - [`source`]: where its games come from;
//! - [`hooks`]: what an experiment adds to it;
//! - [`folder`]: where its files lie, and how they are written;
//! - [`checkpoint`]: what it has learned;
//! - [`log`]: the games that were played;
//! - [`history`]: the settings that it was made with;
//! - [`metrics`]: a line for each generation;
//! - [`machine`]: what it is made on, and how that is used;
//! - [`advice`]: what to change, by rules over the metrics;
//! - [`rehearsal`]: what it will do, done once before it begins;
//! - [`relief`]: what to change when a device runs out of memory;
//! - [`measure`]: rates of its parts;
//! - [`memory`]: what it takes at most;
//! - [`probe`]: what a machine computes, in one number;
//! - [`stages`]: where its time goes.

pub mod advice;
pub mod checkpoint;
pub mod folder;
pub mod history;
pub mod hooks;
pub mod log;
pub mod machine;
pub mod measure;
pub mod memory;
pub mod metrics;
pub mod probe;
pub mod rehearsal;
pub mod relief;
pub mod source;
pub mod stages;
pub mod trainer;
