//! Games as values: the one place that leads from a game which is known by name to its type.

use crate::{
    Batch, Evaluator, Rollouts,
    agent::Inference,
    pass::{Parts, pass},
    setup::Bounds,
    tick::{Acts, tick_schedule},
};
use bevy_ecs::{prelude::*, system::RunSystemOnce};
use lockstep_components::{
    Action, Cache, Config, Game, GameInfo, Leaf, Position, ReplayBuffer, Start, State,
    config::{GameConfig, OutOfRange},
    solver,
};
use std::fmt;

/// The name of a recipe, and its text: a configuration.
pub type Recipe = (&'static str, &'static str);

/// A game as a value: its constants, and a function for each task that needs its rules.
///
/// The functions are compiled where [`AnyGame::of`] names the type, once for each game; nothing else in the program has a
/// game for a type parameter.
#[derive(Resource, Clone, Copy)]
pub struct AnyGame {
    /// The constants of the game.
    pub info: GameInfo,
    /// The recipes to train the game with: see [`AnyGame::with_recipes`].
    pub recipes: &'static [Recipe],
    start: fn(&GameConfig) -> Result<State, OutOfRange>,
    bounds: fn(&Config) -> Bounds,
    cache_positions: fn(usize) -> usize,
    buffer: fn(&State, usize) -> ReplayBuffer,
    batch: fn(&[State]) -> Batch,
    rollouts: fn(u64, u32) -> Box<dyn Evaluator>,
    solve: fn(&State, u64, usize, &mut dyn FnMut(u64)) -> Option<Vec<(Action, i32)>>,
    /// Makes the components of a lane whose type depends on the game; the functions below make other parts of a world.
    pub(crate) lane: fn(&mut EntityWorldMut, &State),
    pub(crate) leaf: fn(&mut EntityWorldMut),
    pub(crate) agent: fn(&mut EntityWorldMut, Box<dyn Evaluator>, usize, usize),
    pub(crate) begins_with: fn(&mut World, &State),
    pub(crate) schedule: fn(Acts) -> Schedule,
    pub(crate) begin_games: fn(&mut World),
}

/// A state as its own type.
fn typed<G: Game>(state: &State) -> &G {
    let found = || panic!("{:?} is asked about a state of {:?}", GameInfo::of::<G>(), state.info());
    state.get().unwrap_or_else(found)
}

impl AnyGame {
    /// The game of the type `G`, without recipes.
    pub const fn of<G: Game>() -> Self {
        Self {
            info: GameInfo::of::<G>(),
            recipes: &[],
            start: |rules| G::start_with(rules).map(State::of),
            bounds: Bounds::of::<G>,
            cache_positions: Cache::<G>::positions,
            buffer: |start, window| ReplayBuffer::new(typed::<G>(start).clone(), window),
            batch: |states| Batch::of::<G>(&states.iter().map(|state| typed::<G>(state).key()).collect::<Vec<_>>()),
            rollouts: |seed, games| Box::new(Rollouts::<G>::new(seed, games)),
            solve: |state, nodes, table, watch| solver::scores(typed::<G>(state), nodes, table, watch),
            lane: |lane, start| _ = lane.insert(Position(typed::<G>(start).clone())),
            leaf: |leaf| _ = leaf.insert(Leaf::<G>::default()),
            agent: |agent, evaluator, capacity, cache_bytes| {
                agent.insert((Cache::<G>::new(cache_bytes), Inference::new::<G>(evaluator, capacity)));
            },
            begins_with: |world, start| world.insert_resource(Start(typed::<G>(start).clone())),
            schedule: tick_schedule::<G>,
            begin_games: |world| {
                world.run_system_once(pass::<G>(Parts::BEGIN_GAMES)).expect("a system without conditions runs");
            },
        }
    }

    /// Sets the recipes to train the game with: configurations that name the game, and whose first comment says what to
    /// expect. The recipe with the name of the game is taken where only the game is named.
    #[must_use]
    pub const fn with_recipes(self, recipes: &'static [Recipe]) -> Self {
        Self { recipes, ..self }
    }

    /// The state before the first move, under the rules that are set in `[game]`.
    ///
    /// # Errors
    /// When a key is set that the game does not have, or its value is out of range.
    pub fn start(&self, rules: &GameConfig) -> Result<State, OutOfRange> {
        (self.start)(rules)
    }

    /// The state before the first move under the usual rules.
    ///
    /// # Panics
    /// If the game refuses the rules that are the default.
    pub fn usual_start(&self) -> State {
        self.start(&GameConfig::default()).expect("a game has its usual rules")
    }

    /// The state that the games of a run with this configuration begin with.
    ///
    /// # Panics
    /// If [`AnyGame::check`] refuses the configuration.
    pub fn start_of(&self, config: &Config) -> State {
        self.start(&config.game).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Checks the values of a configuration whose range depends on the game.
    ///
    /// # Errors
    /// The first value that is out of range, with its key and its bound.
    pub fn check(&self, config: &Config) -> Result<(), OutOfRange> {
        self.start(&config.game)?;
        config.check_for(&self.info)
    }

    /// The most bytes that the world of a run with this configuration occupies.
    pub fn bounds(&self, config: &Config) -> Bounds {
        (self.bounds)(config)
    }

    /// Number of positions that a cache of at most `bytes` bytes has room for.
    pub fn cache_positions(&self, bytes: usize) -> usize {
        (self.cache_positions)(bytes)
    }

    /// An empty replay buffer for the last `window` positions of games from `start`.
    ///
    /// # Panics
    /// If the state is one of another game.
    pub fn replay(&self, start: &State, window: usize) -> ReplayBuffer {
        (self.buffer)(start, window)
    }

    /// A batch of these positions, to be evaluated.
    ///
    /// # Panics
    /// If a state is one of another game.
    pub fn batch(&self, states: &[State]) -> Batch {
        (self.batch)(states)
    }

    /// An evaluator that plays positions to their end at random: see [`Rollouts`].
    pub fn rollouts(&self, seed: u64, games: u32) -> Box<dyn Evaluator> {
        (self.rollouts)(seed, games)
    }

    /// The exact result of each legal move, if it can be found within `nodes` nodes and a table of `table` bytes: see
    /// [`solver::scores`].
    ///
    /// # Panics
    /// If the state is one of another game.
    pub fn solve(
        &self,
        state: &State,
        nodes: u64,
        table: usize,
        mut watch: impl FnMut(u64),
    ) -> Option<Vec<(Action, i32)>> {
        (self.solve)(state, nodes, table, &mut watch)
    }
}

impl fmt::Debug for AnyGame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.fmt(f)
    }
}
