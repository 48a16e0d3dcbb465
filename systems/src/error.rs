use bevy_ecs::{
    prelude::*,
    schedule::{BoxedCondition, ConditionWithAccess, SystemKey},
};
use std::sync::OnceLock;

/// What can go wrong inside a schedule.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The network returned NaN or infinity.
    #[error(
        "the network returned {count} numbers that are not finite among {rows} evaluations; \
         go on from an earlier checkpoint with a lower learn.learning_rate"
    )]
    EvaluationNotFinite {
        /// How many numbers.
        count: usize,
        /// Rows of the batch.
        rows: usize,
    },
    /// A policy chose an edge that there is not.
    #[error(
        "the policy of agent {agent} chose edge {index} of a node that has {edges}; \
         Policy::root and Policy::inner must return an index below edges.len()"
    )]
    NoSuchEdge {
        /// The agent whose policy it is.
        agent: usize,
        /// What the policy returned.
        index: usize,
        /// Edges of the node.
        edges: usize,
    },
    /// A policy decided for a move that there is not.
    #[error(
        "the policy of agent {agent} decided for move {action}, which is none of the root's; \
         Policy::decide must return the action of one of tree.root_edges()"
    )]
    NoSuchMove {
        /// The agent whose policy it is.
        agent: usize,
        /// What the policy returned.
        action: u16,
    },
    /// A policy decided for a value that is none.
    #[error(
        "the policy of agent {agent} decided for the value {value}; \
         Policy::decide must return a value from -1 to 1, for the player to move at the root"
    )]
    NoSuchValue {
        /// The agent whose policy it is.
        agent: usize,
        /// What the policy returned.
        value: f32,
    },
    /// A policy asked for a search that is too large.
    #[error(
        "the policy of agent {agent} wants {simulations} simulations, and its trees have room for {room}; \
         Policy::begin must return a budget of at most search.simulations"
    )]
    NoRoom {
        /// The agent whose policy it is.
        agent: usize,
        /// What the policy returned.
        simulations: u32,
        /// What there is room for.
        room: u32,
    },
    /// Lanes, trees or leaves do not have what a system asks them for.
    #[error(
        "a system asks for {wanted} of the {what}, and none of them has it in a table; put the component on all of them before \
         the first tick, as Setup::lane_component does, and do not store it as a sparse set"
    )]
    NotOnRows {
        /// `"lanes"`, `"trees"` or `"leaves"`.
        what: &'static str,
        /// What the system asks for, as a query.
        wanted: &'static str,
    },
    /// Lanes, trees or leaves are not where set-up has put them.
    #[error(
        "the rows of the {what} are not in the order of the lanes any more, so that trees would search the positions of \
         other lanes; insert a component on all lanes, trees or leaves in the order of their rows, before the first tick \
         (Setup::lane_component does), and remove none"
    )]
    RowsOutOfOrder {
        /// `"lanes"`, `"trees"` or `"leaves"`.
        what: &'static str,
    },
    /// Steps whose losses or gradients are NaN or infinity, one after another.
    #[error(
        "the losses or their gradients are not finite: {skipped} steps in a row were left out up to step {steps} of \
         generation {generation} (the last losses: {losses}); go on from the last checkpoint with {advice}"
    )]
    StepsNotFinite {
        /// Step within the generation.
        steps: u64,
        /// Steps left out.
        skipped: u64,
        /// The losses of the last one, by the names of the heads.
        losses: String,
        /// Generation that was being trained.
        generation: u64,
        /// Which keys to change, and how.
        advice: String,
    },
    /// The learner's state is NaN or infinity: nothing can be learned from it any more.
    #[error(
        "the training has diverged: '{what}' is not finite after generation {generation}, so that no checkpoint was \
         written; go on from the last one with {advice}"
    )]
    Diverged {
        /// A tensor of the network or of the optimiser.
        what: String,
        /// Generations that had ended.
        generation: u64,
        /// Which keys to change, and how.
        advice: String,
    },
    /// The device failed.
    #[error("the device failed while {doing}: {message}")]
    Device {
        /// What it was asked for.
        doing: &'static str,
        /// What it answered.
        message: String,
    },
    /// The device has not enough memory. Less at once is the way out: see [`Error::of_device`].
    #[error("the device ran out of memory while {doing}: {message}")]
    OutOfMemory {
        /// What it was asked for.
        doing: &'static str,
        /// What it answered.
        message: String,
    },
    /// There is nothing to learn from.
    #[error("the replay buffer is empty: let games finish before the first Learn")]
    NothingToLearn,
    /// Weights that are not those of this network.
    #[error("the weights do not fit the network: {0}")]
    Weights(String),
    /// An optimiser's record that cannot be used or made.
    #[error("the optimiser's record cannot be used: {0}")]
    Optimizer(String),
}

/// What a device does for the learner: what [`Error::OutOfMemory`] then says.
pub const TRAINING: &str = "training";

/// What a device does for the search.
pub const EVALUATING: &str = "evaluating a batch";

/// What a device does before either: it takes up the weights of what is to learn and to play.
pub const SETTING_UP: &str = "setting up the run";

impl Error {
    /// That a device failed. Back ends say by words alone when it was for want of memory, somewhere in a report of many lines.
    pub fn of_device(doing: &'static str, message: String) -> Self {
        const WORDS: [&str; 5] = ["out of device memory", "out of memory", "out-of-memory", "OutOfMemory", "too big"];
        let of_memory = |line: &&str| WORDS.iter().any(|words| line.contains(words));
        const EMPTY: [&str; 4] = ["", "Caused by:", "Asked at:", "No backtrace available"];
        let lines = || message.lines().map(str::trim).filter(|line| !EMPTY.contains(line));
        match lines().find(of_memory) {
            Some(line) => Self::OutOfMemory { doing, message: line.into() },
            None => Self::Device { doing, message: lines().collect::<Vec<_>>().join("; ") },
        }
    }

    /// Does something with a device of burn, most of whose operations panic where they fail.
    ///
    /// # Errors
    /// Those of `work`, and its panics.
    pub fn guard<T>(doing: &'static str, work: impl FnOnce() -> Result<T, Self>) -> Result<T, Self> {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.unwrap_or_else(|panic| Err(Self::of_device(doing, text_of(&*panic))))
    }
}

/// What a panic says.
fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why").into()
}

/// The first error of a schedule. While there is one, no system of [`crate::Tick`] and [`crate::Learn`] runs, whoever has added
/// it. A system takes it as `Res<Failure>`.
#[derive(Resource, Debug, Default)]
pub struct Failure(OnceLock<Error>);

impl Failure {
    /// Keeps the error, unless there is an earlier one.
    pub fn set(&self, error: Error) {
        self.0.get_or_init(|| error);
    }

    /// Keeps the first of these errors, if there are any: that of the first lane, whatever the threads.
    pub(crate) fn set_first(&self, errors: Vec<Error>) {
        errors.into_iter().take(1).for_each(|error| self.set(error));
    }

    /// The error, if there is one.
    pub fn get(&self) -> Option<&Error> {
        self.0.get()
    }

    /// The error, if there is one, as what a schedule has come to.
    pub(crate) fn result(&self) -> Result<(), Error> {
        self.get().cloned().map_or(Ok(()), Err)
    }
}

/// A run condition: nothing has failed.
fn healthy(failure: Res<Failure>) -> bool {
    failure.get().is_none()
}

/// Lets all systems of a schedule run only while nothing has failed: those that it had, and those that somebody has added since
/// it was built.
pub(crate) fn gate(schedule: &mut Schedule) {
    if !schedule.is_changed() {
        return;
    }
    let systems = &mut schedule.graph_mut().systems;
    // Those that have been built are no longer in the graph, and have the condition.
    let added: Vec<SystemKey> = systems.iter().map(|(key, ..)| key).collect();
    for key in added {
        let healthy: BoxedCondition = Box::new(IntoSystem::into_system(healthy));
        let conditions = systems.get_conditions_mut(key).expect("a system has a list of conditions");
        if conditions.iter().all(|condition| condition.system_type() != healthy.system_type()) {
            conditions.push(ConditionWithAccess::new(healthy));
        }
    }
}
