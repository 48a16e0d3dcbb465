//! How much memory a command takes at most: computed before anything large is allocated, and refused when the machine has
//! less.

use crate::{
    Error,
    device::{self, Evaluation, Place},
    metrics::bytes,
};
use lockstep_components::{
    Config, Game, GameRecord,
    config::{LanesConfig, OptimizerKind, ReplayConfig, SearchConfig},
};
use lockstep_fused::FusedNetwork;
use lockstep_systems::{Bounds, BurnOptions, network::describe, setup::policy_moves};
use std::fs;
use sysinfo::{Process, ProcessRefreshKind, ProcessesToUpdate, System};

/// Bytes at most, by part.
#[derive(Clone, Debug)]
pub struct Bound {
    parts: Vec<Part>,
    /// Besides, while a checkpoint is written or read.
    saving: u64,
}

/// What some of the memory is for.
#[derive(Clone, Debug)]
struct Part {
    name: &'static str,
    bytes: u64,
    /// The keys that it depends on.
    keys: &'static str,
}

/// What the allocator keeps without using it, and the stacks of threads.
const SLACK: u64 = 12_000_000;

impl Bound {
    /// Of a whole run. A learner and an evaluator are made once for it, because only they know what they take, after a
    /// look at the size of the network.
    ///
    /// # Errors
    /// When the network alone does not fit.
    pub fn of_run<G: Game>(config: &Config, place: &Place) -> Result<Self, Error> {
        let process = resident();
        let parameters = 4 * describe::<G>(&config.network).parameter_count() as u64;
        let moments = if config.learn.optimizer == OptimizerKind::AdamW { 2 } else { 1 };
        // The mean of the weights now, before the generation that is learned, and while a step moves it.
        let means = if config.learn.average > 0.0 { 3 } else { 0 };
        // Parameters as the optimiser holds them, as the kernels read them, their gradients three times on the way, the
        // moments, of which a step makes new ones, and both as they were before the generation that is learned.
        let network = Part {
            name: "the network",
            bytes: parameters * (6 + 3 * moments + means),
            keys: "network.channels, network.blocks",
        };
        let at_least = Self { parts: vec![network.clone()], saving: 0 };
        at_least.check()?;
        let learner = place.learner::<G>(config);
        let learning = resident();
        let evaluator = place.evaluators::<G>(device::batch_capacity::<G>(config, place)).0(&learner.network);
        // One for each generation in play, whose weights are kept too, and the next one before it takes the place of another.
        let evaluators = (config.run.lag + 1) * resident().saturating_sub(learning) + (config.run.lag - 1) * parameters;
        let measured = learning.saturating_sub(process) + evaluators;
        let rows = config.learn.batch_size as u64;
        let on_host = place.evaluation != Evaluation::BurnPadded;
        // Of one row, after all steps of the network.
        let activations = || {
            let network = describe::<G>(&config.network);
            4 * network.forms().into_iter().map(|form| network.size(form)).sum::<usize>() as u64
        };
        // What a step works with, and what an evaluator works in.
        let (kernels, scratch) = match learner.is_fused() {
            true => (learner.bytes() as u64, (FusedNetwork::SCRATCH * rayon::current_num_threads()) as u64),
            // Burn keeps them for the way back, has their gradients on it, and takes as much for what a step works with.
            false if on_host => {
                let part = rows.div_ceil(config.learn.accumulation as u64);
                (3 * part * activations(), 2 * BurnOptions::PART as u64 * activations())
            }
            false => (0, 0),
        };
        drop((evaluator, learner));
        let batch = 4 * rows * (G::INPUT + 2 * G::ACTIONS + 8) as u64;
        let bounds = Bounds::of::<G>(config);
        // All of a round are there until it is learned from, and as many rounds are in play as the run lags behind.
        let records =
            config.run.lag * config.run.games * GameRecord::bytes::<G>(policy_moves::<G>(&config.search)) as u64;
        let parts = vec![
            Part { name: "the program", bytes: process + SLACK, keys: "run.threads" },
            Part { bytes: network.bytes + measured + config.run.lag * scratch, ..network },
            Part { name: "training", bytes: kernels + batch, keys: "learn.batch_size; raise learn.accumulation" },
            Part { name: "trees", bytes: bounds.trees as u64, keys: "search.simulations, lanes.count" },
            Part { name: "lanes and batches", bytes: bounds.lanes as u64, keys: "lanes.count, lanes.leaves_per_tree" },
            Part { name: "the cache", bytes: bounds.cache as u64, keys: "search.cache_mb" },
            Part { name: "replay", bytes: bounds.replay as u64, keys: "replay.window" },
            Part { name: "games of a round", bytes: records, keys: "run.games" },
        ];
        // Weights and optimiser as numbers and as files, and the serialised games of a round.
        let saving = parameters * (3 + 3 * moments + means) + records;
        Ok(Self { parts, saving })
    }

    /// Of a run in which rounds have begun with a window of so many positions.
    ///
    /// # Errors
    /// As [`Bound::of_run`].
    pub fn of_rounds<G: Game>(config: &Config, window: usize, place: &Place) -> Result<Self, Error> {
        let replay = ReplayConfig { window, ..config.replay.clone() };
        Self::of_run::<G>(&Config { replay, ..config.clone() }, place)
    }

    /// Of searches alone: a tree for each lane, beside an evaluator and a cache.
    pub fn of_searches<G: Game>(search: &SearchConfig, lanes: &LanesConfig) -> Self {
        let bounds = bounds_of::<G>(search, lanes);
        let parts = vec![
            Part { name: "the program", bytes: resident() + SLACK, keys: "the number of threads" },
            Part { name: "trees", bytes: bounds.trees as u64, keys: "the number of simulations and of lanes" },
            Part { name: "lanes and batches", bytes: bounds.lanes as u64, keys: "the number of lanes and of leaves" },
            Part { name: "the cache", bytes: bounds.cache as u64, keys: "search.cache_mb" },
        ];
        Self { parts, saving: 0 }
    }

    /// All parts together, but for what saving a checkpoint adds.
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Whether the machine has so much.
    ///
    /// # Errors
    /// When it has not. The message names the largest part and the keys to lower.
    pub fn check(&self) -> Result<(), Error> {
        let (limit, of) = limit();
        let needed = self.total() + self.saving;
        if needed <= limit {
            return Ok(());
        }
        let largest = self.parts.iter().max_by_key(|part| part.bytes).expect("a bound has parts");
        Err(Error::Usage(format!(
            "this needs up to {} of memory ({self}), and {of} has {}; lower {}",
            bytes(needed as usize),
            bytes(limit as usize),
            largest.keys,
        )))
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = |part: &Part| format!("{} for {}", bytes(part.bytes as usize), part.name);
        f.write_str(&self.parts.iter().map(part).collect::<Vec<_>>().join(", "))?;
        if self.saving > 0 {
            write!(f, "; and {} while a checkpoint is written or read", bytes(self.saving as usize))?;
        }
        Ok(())
    }
}

/// As many lanes with so many leaves as take half of the machine's memory, one at least and `most` at most.
pub fn lanes_that_fit<G: Game>(search: &SearchConfig, leaves: u32, most: u32) -> u32 {
    let one = bounds_of::<G>(search, &LanesConfig { count: 1, leaves_per_tree: leaves, ..LanesConfig::default() });
    let fit = limit().0 / 2 / (one.trees + one.lanes) as u64;
    (fit.min(u64::from(most)) as u32).max(1)
}

fn bounds_of<G: Game>(search: &SearchConfig, lanes: &LanesConfig) -> Bounds {
    Bounds::of::<G>(&Config { search: search.clone(), lanes: lanes.clone(), ..Config::default() })
}

/// The memory of the machine, or what this process may have of it, and which of these it is.
pub fn limit() -> (u64, &'static str) {
    let mut system = System::new();
    system.refresh_memory();
    let machine = (system.total_memory(), "this machine");
    let group = system.cgroup_limits().map(|limits| (limits.total_memory, "this process's control group"));
    let all = [Some(machine), group, address_space().map(|bytes| (bytes, "this process (ulimit -v)"))];
    all.into_iter().flatten().filter(|(bytes, _)| *bytes > 0).min_by_key(|(bytes, _)| *bytes).unwrap_or((u64::MAX, ""))
}

/// What the limit on addresses leaves, where there is one: it counts memory that is reserved and not used as well.
fn address_space() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max address space"))?;
    let most: u64 = line.split_whitespace().nth(3)?.parse().ok()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmSize"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(most.saturating_sub(kilobytes * 1024) + resident())
}

/// Bytes of this process that are in memory now; 0 where the system does not tell.
pub fn resident() -> u64 {
    this_process(Process::memory).unwrap_or(0)
}

/// What the system tells of this process, if it does.
pub fn this_process<T>(of: impl FnOnce(&Process) -> T) -> Option<T> {
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = System::new();
    let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
    system.process(pid).map(of)
}
