//! How much memory a command takes at most: computed before anything large is allocated, and refused when the machine
//! has less.

use crate::{
    Error,
    device::{self, Backend, Place},
    fleet,
    text::bytes,
};
use lockstep_components::{
    Config, GameRecord,
    config::{LanesConfig, NetworkConfig, OptimizerKind, ReplayConfig, SearchConfig},
};
use lockstep_fused::{Description, Op};
use lockstep_systems::{
    AnyGame, Bounds, BurnOptions, FusedEvaluator, Learner, SETTING_UP, network::describe, setup::policy_moves,
};
use std::{fs, hint::black_box};
use sysinfo::{Process, ProcessRefreshKind, ProcessesToUpdate, System};

/// The most memory that a command takes, in bytes of each part.
#[derive(Clone, Debug)]
pub struct MemoryBound {
    parts: Vec<Part>,
    /// The bytes that are needed besides while a checkpoint is written or read, or a report is written.
    saving: u64,
}

/// A part of the memory, named by what it is for.
#[derive(Clone, Debug)]
struct Part {
    name: &'static str,
    bytes: u64,
    /// The keys that the size of the part depends on.
    keys: &'static str,
}

/// The bytes that the allocator keeps without using them.
const SLACK: u64 = 12_000_000;

/// The bytes that a report takes while it is written, beside the games of a round.
const REPORT: u64 = 12_000_000;

/// The bytes that a thread takes beside what it works in.
const OF_THREAD: u64 = 200_000;

/// The memory that a network takes where it evaluates, in bytes of this process: from its description, before any of it
/// is made.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Bytes of the network's parameters, once.
    parameters: u64,
    /// Bytes of an evaluator, with its weights as the place reads them.
    evaluator: u64,
    /// Bytes that are there besides while an evaluator is made.
    making: u64,
    /// Bytes that the threads work in.
    scratch: u64,
}

impl Footprint {
    /// Returns the memory of a configuration's network at a place, in batches of at most `rows` rows.
    pub fn of(game: AnyGame, network: &NetworkConfig, place: &Place, rows: usize) -> Self {
        Self::of_description(&describe(&game.info, network), place, rows)
    }

    fn of_description(net: &Description, place: &Place, rows: usize) -> Self {
        let parameters = 4 * net.parameter_count() as u64;
        // Itself, its weights with the norms folded in, and these in the order of the layers.
        let making = 3 * parameters;
        let fused = place.evaluation == Backend::Fused;
        let fused = fused.then(|| FusedEvaluator::footprint(net, place.precision, place.level, rows));
        if let Some(fused) = fused.flatten() {
            let [evaluator, packing, scratch] = [fused.weights, fused.packing, fused.scratch].map(|n| n as u64);
            return Self { parameters, evaluator, making: making + packing, scratch };
        }
        if place.evaluation != Backend::BurnPadded {
            let scratch = 2 * rows.min(BurnOptions::PART) as u64 * activations(net) + products(net);
            return Self { parameters, evaluator: parameters, making, scratch };
        }
        // Each batch in flight has its own, and the first ones are held against the network in `f64`.
        let workers = u64::from(place.in_flight);
        let board = if place.board { over_the_board(net) } else { 0 };
        let making = making + 4 * parameters + workers * (parameters + board);
        Self { parameters, evaluator: workers * parameters, making, scratch: 0 }
    }

    /// Returns this memory with that of the same network in `f64` beside it, twice over, and of what the threads of
    /// that network work in.
    #[must_use]
    pub fn with_exact(self, game: AnyGame, network: &NetworkConfig) -> Self {
        let threads = rayon::current_num_threads() as u64;
        let scratch = self.scratch + 2 * threads * activations(&describe(&game.info, network));
        Self { evaluator: self.evaluator + 4 * self.parameters, scratch, ..self }
    }

    fn total(self) -> u64 {
        self.evaluator + self.making + self.scratch
    }
}

/// Returns the bytes of all values of one row.
fn activations(net: &Description) -> u64 {
    4 * net.forms().into_iter().map(|form| net.size(form)).sum::<usize>() as u64
}

/// Returns the bytes of what burn's CPU back end makes of the weights and the rows of one layer for a product: a copy
/// of the weights, and on each thread as many rows of the product's inputs as it takes at a time. The layer is the one
/// that takes the most.
fn products(net: &Description) -> u64 {
    const ROWS: u64 = 512;
    let forms = net.forms();
    let of_step = |step: usize| {
        let weight = net.parameters(step, &forms).swap_remove(0);
        let (all, outputs) = (weight.iter().product::<usize>() as u64, net.size(forms[step + 1]) as u64);
        let inputs = if weight.len() == 4 { weight[1..].iter().product() } else { weight[0] } as u64;
        4 * (all + rayon::current_num_threads() as u64 * ROWS * (inputs + outputs.min(all / inputs)))
    };
    let layers = (0..net.steps.len()).filter(|&step| matches!(net.steps[step].op, Op::Conv { .. } | Op::Dense { .. }));
    layers.map(of_step).max().unwrap_or(0)
}

/// Returns the bytes of the largest convolution as a product over the whole board.
fn over_the_board(net: &Description) -> u64 {
    let forms = net.forms();
    let of_step = |(step, of): (usize, &lockstep_fused::Step)| match of.op {
        Op::Conv { .. } => 4 * (net.size(forms[of.from[0]]) * net.size(forms[step + 1])) as u64,
        _ => 0,
    };
    net.steps.iter().enumerate().map(of_step).max().unwrap_or(0)
}

impl MemoryBound {
    /// Returns the bound of a whole run, computed from its configuration. On a GPU, of whose driver only what it has
    /// taken is known, a learner and an evaluator are made for it once.
    ///
    /// # Errors
    /// When these do not fit into the memory, or the device fails.
    pub fn of_run(game: AnyGame, config: &Config, place: &Place) -> Result<Self, Error> {
        let process = program();
        let net = describe(&game.info, &config.network);
        let Footprint { parameters, .. } = Self::footprint(game, config, place);
        let moments = if config.learn.optimizer == OptimizerKind::AdamW { 2 } else { 1 };
        // The mean of the weights now, before the generation that is learned, and while a step moves it.
        let means = if config.learn.average > 0.0 { 3 } else { 0 };
        // Parameters as the optimiser holds them, as the kernels read them, their gradients three times on the way, the
        // moments, of which a step makes new ones, and both as they were before the generation that is learned.
        let learner = parameters * (7 + 3 * moments + means);
        let rows = config.learn.batch_size as u64;
        let part = rows.div_ceil(config.learn.accumulation as u64);
        let fused = place.evaluation == Backend::Fused;
        let fused = fused.then(|| Learner::footprint(&net, &config.learn, place.level)).flatten();
        let kernels = match (fused, place.evaluation) {
            (Some(bytes), _) => bytes as u64,
            // Burn keeps them for the way back, has their gradients on it, and takes as much for what a step works with.
            (None, Backend::Fused | Backend::Burn) => 3 * part * activations(&net) + products(&net),
            (None, Backend::BurnPadded) => 0,
        };
        let batch = 4 * rows * (game.info.input() + 2 * game.info.actions + 8) as u64;
        let mut parts = Self::of_play(game, config, place, process, learner);
        let records = parts.last().expect("it has some").bytes;
        parts.extend([
            Part { name: "training", bytes: kernels + batch, keys: "learn.batch_size; raise learn.accumulation" },
            Part { name: "replay", bytes: game.bounds(config).replay as u64, keys: "replay.window" },
        ]);
        // Weights and optimiser as numbers and as files, and the serialised games of a round.
        let saving = parameters * (3 + 3 * moments + means) + records;
        // A report reads the games of one round at a time, as they are stored and as records.
        let saving = saving.max(REPORT + 2 * records / config.run.lag);
        let mut bound = Self { parts, saving };
        if place.evaluation == Backend::BurnPadded {
            bound.check()?;
            let capacity = device::batch_capacity(game, config, place);
            let make = || {
                let learner = place.learner(game, config);
                let evaluator = place.evaluators(game, capacity).make(&learner.network)?;
                Ok((program(), learner, evaluator))
            };
            let taken = match lockstep_systems::Error::guard(SETTING_UP, make) {
                Ok((taken, ..)) => taken,
                // The memory of the device ran out: the rehearsal tells what to do.
                Err(lockstep_systems::Error::OutOfMemory { .. }) => program(),
                Err(error) => return Err(error.into()),
            };
            bound.parts.push(Part {
                name: "the device's driver",
                bytes: taken.saturating_sub(process),
                keys: "run.device",
            });
        }
        Ok(bound)
    }

    /// Returns the bound of a worker of a fleet, which plays and does not learn. What the driver of a GPU takes is not in it.
    pub fn of_worker(game: AnyGame, config: &Config, place: &Place) -> Self {
        Self { parts: Self::of_play(game, config, place, program(), 0), saving: 0 }.with_fleet(game, config)
    }

    /// Returns the bound with what a process of a fleet holds besides: the weights of the rounds that others may ask for, and
    /// the reports on their way.
    #[must_use]
    pub fn with_fleet(mut self, game: AnyGame, config: &Config) -> Self {
        let parameters = 4 * describe(&game.info, &config.network).parameter_count() as u64;
        let bytes = fleet::bound(config, parameters);
        self.parts.push(Part { name: "the fleet", bytes, keys: "network.channels, network.blocks" });
        self
    }

    fn footprint(game: AnyGame, config: &Config, place: &Place) -> Footprint {
        Footprint::of(game, &config.network, place, device::batch_capacity(game, config, place))
    }

    /// Returns the parts that play takes, beside those of the program and of a learner with its network; the games of a round
    /// are the last one.
    fn of_play(game: AnyGame, config: &Config, place: &Place, program: u64, learner: u64) -> Vec<Part> {
        let Footprint { parameters, evaluator, making, scratch } = Self::footprint(game, config, place);
        // One for each generation in play, whose weights are kept too, and the next one before it takes the place of another.
        let lag = config.run.lag;
        let evaluators = (lag + 1) * evaluator + (lag - 1) * parameters + making + lag * scratch;
        let bounds = game.bounds(config);
        // All of a round are there until it is learned from, and as many rounds are in play as the run lags behind.
        let records =
            lag * config.run.games * GameRecord::bytes(&game.info, policy_moves(&game.info, &config.search)) as u64;
        let part = |name, bytes, keys| Part { name, bytes, keys };
        vec![
            part("the program", program, "run.threads"),
            part("the network", learner + evaluators, "network.channels, network.blocks"),
            part("trees", bounds.trees as u64, "search.simulations, lanes.count"),
            part("lanes and batches", bounds.lanes as u64, "lanes.count, lanes.leaves_per_tree"),
            part("the cache", bounds.cache as u64, "search.cache_mb"),
            part("games of a round", records, "run.games"),
        ]
    }

    /// Returns the bound of a run in which rounds have begun with a replay window of `window` positions.
    ///
    /// # Errors
    /// The errors of [`MemoryBound::of_run`].
    pub fn of_rounds(game: AnyGame, config: &Config, window: usize, place: &Place) -> Result<Self, Error> {
        let replay = ReplayConfig { window, ..config.replay.clone() };
        Self::of_run(game, &Config { replay, ..config.clone() }, place)
    }

    /// Returns the bound of searches alone, those of each player: a tree for each lane and a cache, beside the networks
    /// that evaluate.
    pub fn of_searches(game: AnyGame, players: &[&SearchConfig], lanes: &LanesConfig, networks: &[Footprint]) -> Self {
        // All trees of a world have room for the largest search.
        let simulations = players.iter().map(|search| search.simulations).max().unwrap_or(1);
        let of = |search: &&SearchConfig| bounds_of(game, &SearchConfig { simulations, ..(*search).clone() }, lanes);
        let bounds: Vec<Bounds> = players.iter().map(of).collect();
        let part = |name, of: fn(&Bounds) -> usize, keys| {
            let bytes = bounds.iter().map(|bounds| of(bounds) as u64).sum();
            Part { name, bytes, keys }
        };
        let Self { mut parts, saving } = Self::of_networks(networks);
        parts.extend([
            part("trees", |bounds| bounds.trees, "the number of simulations and of lanes"),
            part("lanes and batches", |bounds| bounds.lanes, "the number of lanes and of leaves"),
            part("the cache", |bounds| bounds.cache, "search.cache_mb"),
        ]);
        Self { parts, saving }
    }

    /// Returns the bound of networks that evaluate, and nothing else but the program.
    pub fn of_networks(networks: &[Footprint]) -> Self {
        let network = |network: &Footprint| Part {
            name: "the network",
            bytes: network.total(),
            keys: "network.channels, network.blocks (or take a player with a smaller network)",
        };
        let program = Part { name: "the program", bytes: program(), keys: "the number of threads" };
        Self { parts: [program].into_iter().chain(networks.iter().map(network)).collect(), saving: 0 }
    }

    /// Returns the bound with that of searches which are made beside it by the same program, as one part.
    #[must_use]
    pub fn with(mut self, name: &'static str, searches: &Self, keys: &'static str) -> Self {
        let bytes = searches.parts.iter().skip(1).map(|part| part.bytes).sum();
        self.parts.push(Part { name, bytes, keys });
        self
    }

    /// Returns the bytes of all parts together, but for what saving a checkpoint adds.
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Returns the bytes of all parts but the program itself.
    pub fn beside_program(&self) -> u64 {
        self.parts.iter().skip(1).map(|part| part.bytes).sum()
    }

    /// Checks that the machine has so much memory, what saving a checkpoint adds included.
    ///
    /// # Errors
    /// When the machine has less. The message names the largest part and the keys to lower.
    pub fn check(&self) -> Result<(), Error> {
        let needed = self.total() + self.saving;
        // Nobody can lower what the program itself takes, but for its threads.
        let largest = self.parts.iter().skip(1).max_by_key(|part| part.bytes);
        let largest = largest.filter(|part| part.bytes > self.parts[0].bytes / 4).unwrap_or(&self.parts[0]);
        fits(needed, || (format!("this needs up to {} of memory ({self})", bytes(needed as usize)), largest.keys))
    }
}

impl std::fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = |part: &Part| format!("{} for {}", bytes(part.bytes as usize), part.name);
        f.write_str(&self.parts.iter().map(part).collect::<Vec<_>>().join(", "))?;
        if self.saving > 0 {
            write!(f, "; and {} while a checkpoint or the report is written", bytes(self.saving as usize))?;
        }
        Ok(())
    }
}

/// Returns the number of lanes, with `leaves` leaves for each tree, that take half of the memory that these networks
/// leave: one at least, and `most` at most.
pub fn lanes_that_fit(game: AnyGame, search: &SearchConfig, leaves: u32, most: u32, networks: &[Footprint]) -> u32 {
    let one = bounds_of(game, search, &LanesConfig { count: 1, leaves_per_tree: leaves, ..LanesConfig::default() });
    let left = limit().0.saturating_sub(MemoryBound::of_networks(networks).total());
    let fit = left / 2 / (one.trees + one.lanes) as u64;
    (fit.min(u64::from(most)) as u32).max(1)
}

fn bounds_of(game: AnyGame, search: &SearchConfig, lanes: &LanesConfig) -> Bounds {
    game.bounds(&Config { search: search.clone(), lanes: lanes.clone(), ..Config::default() })
}

/// Checks that there is the memory for `more` bytes beside what the program takes now.
///
/// # Errors
/// When there is not. The message says what the bytes are for, which is `what`, and what to lower, which is `lower`.
pub fn room_for(more: u64, what: &str, lower: &str) -> Result<(), Error> {
    let needed = resident() + SLACK + more;
    fits(needed, || (format!("{what} takes up to {} of memory", bytes(needed as usize)), lower))
}

fn fits<'a>(needed: u64, say: impl FnOnce() -> (String, &'a str)) -> Result<(), Error> {
    let (limit, of) = limit();
    if needed <= limit {
        return Ok(());
    }
    let (what, lower) = say();
    Err(Error::Usage(format!("{what}, and {of} has {}; lower {lower}, or give it more memory", bytes(limit as usize))))
}

/// Returns the bytes that the program takes now, and what its threads and the allocator may take besides.
fn program() -> u64 {
    resident() + SLACK + OF_THREAD * rayon::current_num_threads() as u64
}

/// Returns the bytes of the machine's memory, or of what this process may have of it, and the name of whichever it is.
pub fn limit() -> (u64, &'static str) {
    let mut system = System::new();
    system.refresh_memory();
    let machine = (system.total_memory(), "this machine");
    let group = system.cgroup_limits().map(|limits| (limits.total_memory, "this process's control group"));
    let all = [
        Some(machine),
        group,
        address_space().map(|bytes| (bytes, "this process (ulimit -v, less what is set aside for its threads)")),
    ];
    all.into_iter().flatten().filter(|(bytes, _)| *bytes > 0).min_by_key(|(bytes, _)| *bytes).unwrap_or((u64::MAX, ""))
}

/// Returns the bytes that the limit on addresses leaves, where there is one: it counts memory that is reserved and not
/// used as well, such as what an allocator sets aside for each thread.
fn address_space() -> Option<u64> {
    /// Bytes that are set aside for the threads of the display and the monitor: stacks and, by glibc, 64 MiB for each.
    const OTHERS: u64 = 2 * (66 << 20);
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max address space"))?;
    let most: u64 = line.split_whitespace().nth(3)?.parse().ok()?;
    if rayon::current_thread_index().is_some() {
        // So that it is set aside for all threads of the pool by now.
        rayon::broadcast(|_| black_box(vec![0u8; 64]));
    }
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmSize"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(most.saturating_sub(kilobytes * 1024 + OTHERS) + resident())
}

/// Returns the bytes of this process that are in memory now; 0 where the system does not tell.
pub fn resident() -> u64 {
    this_process(Process::memory).unwrap_or(0)
}

/// Returns what `of` takes from that which the system tells of this process, if it does.
pub fn this_process<T>(of: impl FnOnce(&Process) -> T) -> Option<T> {
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = System::new();
    let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
    system.process(pid).map(of)
}
