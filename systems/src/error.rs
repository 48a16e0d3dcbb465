use bevy_ecs::{
    prelude::*,
    schedule::{BoxedCondition, ConditionWithAccess, SystemKey},
};
use std::sync::OnceLock;

/// An error of a schedule, or of the devices and records that it works with.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The evaluator returned NaN or infinity.
    #[error(
        "the network returned {count} numbers that are not finite among {rows} evaluations; \
         go on from an earlier checkpoint with a lower learn.learning_rate"
    )]
    EvaluationNotFinite {
        /// How many numbers are not finite.
        count: usize,
        /// Rows of the batch.
        rows: usize,
    },
    /// A policy chose an edge that does not exist.
    #[error(
        "the policy of agent {agent} chose edge {index} of a node that has {edges}; \
         Policy::root and Policy::inner must return an index below edges.len()"
    )]
    NoSuchEdge {
        /// The agent whose policy it is.
        agent: usize,
        /// The index that the policy returned.
        index: usize,
        /// Number of edges of the node.
        edges: usize,
    },
    /// A policy decided for a move that is not at the root.
    #[error(
        "the policy of agent {agent} decided for move {action}, which is none of the root's; \
         Policy::decide must return the action of one of tree.root_edges()"
    )]
    NoSuchMove {
        /// The agent whose policy it is.
        agent: usize,
        /// The move that the policy returned.
        action: u16,
    },
    /// A policy decided for a value that is not from -1 to 1.
    #[error(
        "the policy of agent {agent} decided for the value {value}; \
         Policy::decide must return a value from -1 to 1, for the player to move at the root"
    )]
    NoSuchValue {
        /// The agent whose policy it is.
        agent: usize,
        /// The value that the policy returned.
        value: f32,
    },
    /// A policy decided for a weight that no position can have.
    #[error(
        "the policy of agent {agent} decided for the weight {weight}; Policy::decide must return a weight from 1/1024 to 1024"
    )]
    NoSuchWeight {
        /// The agent whose policy it is.
        agent: usize,
        /// The weight that the policy returned.
        weight: f32,
    },
    /// A policy asked for a search for which the trees have no room.
    #[error(
        "the policy of agent {agent} wants {simulations} simulations, and its trees have room for {room}; \
         Policy::begin must return a budget of at most search.simulations"
    )]
    NoRoom {
        /// The agent whose policy it is.
        agent: usize,
        /// The simulations of the budget that the policy returned.
        simulations: u32,
        /// The simulations that the trees have room for.
        room: u32,
    },
    /// Lanes, trees or leaves do not have the components that a system asks for.
    #[error(
        "a system asks for {wanted} of the {what}, and none of them has it in a table; put the component on all of them before \
         the first tick, as Setup::lane_component does, and do not store it as a sparse set"
    )]
    NotOnRows {
        /// `"lanes"`, `"trees"` or `"leaves"`.
        what: &'static str,
        /// The query data that the system asks for.
        wanted: &'static str,
    },
    /// Lanes, trees or leaves are no longer in the rows where set-up has put them.
    #[error(
        "the rows of the {what} are not in the order of the lanes any more, so that trees would search the positions of \
         other lanes; insert a component on all lanes, trees or leaves in the order of their rows, before the first tick \
         (Setup::lane_component does), and remove none"
    )]
    RowsOutOfOrder {
        /// `"lanes"`, `"trees"` or `"leaves"`.
        what: &'static str,
    },
    /// The losses or gradients of too many steps in a row were NaN or infinity.
    #[error(
        "the losses or their gradients are not finite: {skipped} steps in a row were left out up to step {steps} of \
         generation {generation} (the last losses: {losses}); go on from the last checkpoint with {advice}"
    )]
    StepsNotFinite {
        /// The step within the generation.
        steps: u64,
        /// Number of steps in a row that were left out.
        skipped: u64,
        /// The losses of the last step, by the names of the heads.
        losses: String,
        /// The generation that was being trained.
        generation: u64,
        /// Which keys to change, and how.
        advice: String,
    },
    /// The learner's weights or optimiser hold NaN or infinity, so nothing can be learned any more.
    #[error(
        "the training has diverged: '{what}' is not finite after generation {generation}, so that no checkpoint was \
         written; go on from the last one with {advice}"
    )]
    Diverged {
        /// The name of a tensor of the network or of the optimiser.
        what: String,
        /// Number of generations that had ended.
        generation: u64,
        /// Which keys to change, and how.
        advice: String,
    },
    /// The device failed.
    #[error("the device failed while {doing}: {message}")]
    Device {
        /// What the device was asked to do.
        doing: &'static str,
        /// The message of the device.
        message: String,
    },
    /// The device ran out of memory, as far as [`Error::of_device`] can tell from its message. Less work at once needs
    /// less.
    #[error("the device ran out of memory while {doing}: {message}")]
    OutOfMemory {
        /// What the device was asked to do.
        doing: &'static str,
        /// The message of the device.
        message: String,
    },
    /// The replay buffer is empty.
    #[error("the replay buffer is empty: let games finish before the first Learn")]
    NothingToLearn,
    /// The weights do not belong to this network.
    #[error("the weights do not fit the network: {0}")]
    Weights(String),
    /// An optimiser's record cannot be used or made.
    #[error("the optimiser's record cannot be used: {0}")]
    Optimizer(String),
}

/// What a device is doing, for [`Error::Device`] and [`Error::OutOfMemory`], when it works for the learner.
pub const TRAINING: &str = "training";

/// What a device is doing, for [`Error::Device`] and [`Error::OutOfMemory`], when it works for the search.
pub const EVALUATING: &str = "evaluating a batch";

/// What a device is doing, for [`Error::Device`] and [`Error::OutOfMemory`], when it takes up weights before learning
/// or search begins.
pub const SETTING_UP: &str = "setting up the run";

impl Error {
    /// The error of a device that failed with this message: [`Error::OutOfMemory`] if a line of it says so, else
    /// [`Error::Device`]. Back ends tell a lack of memory by words alone, somewhere in a message of many lines.
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

    /// Runs work on a device of burn, most of whose operations panic when they fail, and turns a panic into an error.
    ///
    /// # Errors
    /// The errors of `work`, and its panics as [`Error::of_device`] reads them.
    pub fn guard<T>(doing: &'static str, work: impl FnOnce() -> Result<T, Self>) -> Result<T, Self> {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.unwrap_or_else(|panic| Err(Self::of_device(doing, text_of(&*panic))))
    }
}

/// The message of a panic.
fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why").into()
}

/// The first error of a schedule. While there is an error, no system of [`crate::Tick`] or [`crate::Learn`] runs,
/// including systems that others have added. A system takes this resource as `Res<Failure>`.
#[derive(Resource, Debug, Default)]
pub struct Failure(OnceLock<Error>);

impl Failure {
    /// Keeps the error, unless there is an earlier one.
    pub fn set(&self, error: Error) {
        self.0.get_or_init(|| error);
    }

    /// Keeps the first of these errors, which is that of the first lane, unless there is an earlier error.
    pub(crate) fn set_first(&self, errors: Vec<Error>) {
        errors.into_iter().take(1).for_each(|error| self.set(error));
    }

    /// The error, if there is one.
    pub fn get(&self) -> Option<&Error> {
        self.0.get()
    }

    /// The result of a schedule: the error, if there is one.
    pub(crate) fn result(&self) -> Result<(), Error> {
        self.get().cloned().map_or(Ok(()), Err)
    }
}

/// The run condition that nothing has failed.
fn healthy(failure: Res<Failure>) -> bool {
    failure.get().is_none()
}

/// Lets all systems of a schedule run only while nothing has failed, including the systems that were added since the
/// schedule was built.
pub(crate) fn gate(schedule: &mut Schedule) {
    if !schedule.is_changed() {
        return;
    }
    let systems = &mut schedule.graph_mut().systems;
    // Systems that have been built are no longer in the graph, and have the condition already.
    let added: Vec<SystemKey> = systems.iter().map(|(key, ..)| key).collect();
    for key in added {
        let healthy: BoxedCondition = Box::new(IntoSystem::into_system(healthy));
        let conditions = systems.get_conditions_mut(key).expect("a system has a list of conditions");
        if conditions.iter().all(|condition| condition.system_type() != healthy.system_type()) {
            conditions.push(ConditionWithAccess::new(healthy));
        }
    }
}
