//! Setting up a world: its lanes, trees, leaves and agents are spawned once.

use crate::{
    Agent, AnyGame, Cohorts, Failure, Searcher,
    analyse::{Asked, Orders},
    collect::SharedRows,
    error::gate,
    policy::PolicyState,
    rows::{Lane, Layout, LeafRow, TreeRow},
    tick::{Acts, Passes, Tick},
};
use bevy_ecs::{prelude::*, system::ScheduleSystem};
use lockstep_components::{
    Cache, Config, Dataset, Game, GameFinished, GameInfo, GameRecord, LaneRng, Leaf, Replay, Round, Rounds,
    SearchBudget, Seats, Slot, State, Stats, Tree, TreeState,
    config::{LanesConfig, PolicyKind, SearchConfig},
};

/// Something that is added to a world when it is set up: systems, resources, whole schedules. Every function of `&mut
/// World` is a plugin.
pub trait Plugin {
    /// Adds the plugin to a world. [`Setup`] calls this after it has added lanes, agents and [`crate::Tick`].
    fn build(self, world: &mut World);
}

impl<F: FnOnce(&mut World)> Plugin for F {
    fn build(self, world: &mut World) {
        self(world);
    }
}

/// A builder of worlds in which games are played or positions are searched.
///
/// # Example
///
/// ```
/// use lockstep_components::{Stats, config::*, games::TicTacToe};
/// use lockstep_systems::{AnyGame, Searcher, Setup, Uniform, run_tick};
///
/// let player = Searcher::new(Uniform::default(), SearchConfig::default());
/// let lanes = LanesConfig { count: 8, ..Default::default() };
/// let mut world = Setup::self_play(AnyGame::of::<TicTacToe>(), player).lanes(lanes).build();
/// while world.resource::<Stats>().games < 8 {
///     run_tick(&mut world)?;
/// }
/// # Ok::<(), lockstep_systems::Error>(())
/// ```
pub struct Setup {
    game: AnyGame,
    players: Vec<Searcher>,
    trees_per_lane: usize,
    acts: Acts,
    lanes: LanesConfig,
    rounds: Option<Rounds>,
    start: Option<State>,
    seed: u64,
    lane_components: Vec<Box<dyn Fn(&mut EntityWorldMut)>>,
    plugins: Vec<Box<dyn FnOnce(&mut World)>>,
}

impl Setup {
    /// Sets up games of a player against itself.
    pub fn self_play(game: AnyGame, player: Searcher) -> Self {
        Self::new(game, vec![player], 1, Acts::Play)
    }

    /// Sets up games of several players, each against itself: the games of a round are played by the player that the
    /// round's [`Slot`] names.
    ///
    /// # Panics
    /// If there are no players, or more than 256.
    pub fn self_play_of(game: AnyGame, players: Vec<Searcher>) -> Self {
        assert!((1..=256).contains(&players.len()), "from 1 to 256 players, not {}", players.len());
        Self::new(game, players, 1, Acts::Play)
    }

    /// Sets up games between two players. The first player has the first move in games with even numbers. The next game
    /// has the same opening with the sides exchanged: exactly as many random moves as the first player's
    /// `opening_plies`.
    pub fn match_of(game: AnyGame, first: Searcher, second: Searcher) -> Self {
        Self::new(game, vec![first, second], 2, Acts::Play)
    }

    /// Sets up searches of positions that [`crate::Orders`] put into the lanes, or that [`crate::Questions`] ask about.
    pub fn analysis(game: AnyGame, player: Searcher) -> Self {
        Self::new(game, vec![player], 1, Acts::Answer)
    }

    /// Sets up searches of the start of the game, or of positions that are put into the lanes. Nothing is done with
    /// complete searches.
    pub fn search_only(game: AnyGame, player: Searcher) -> Self {
        Self::new(game, vec![player], 1, Acts::Not)
    }

    fn new(game: AnyGame, players: Vec<Searcher>, trees_per_lane: usize, acts: Acts) -> Self {
        Self {
            game,
            players,
            trees_per_lane,
            acts,
            lanes: LanesConfig::default(),
            rounds: None,
            start: None,
            seed: 1,
            lane_components: vec![],
            plugins: vec![],
        }
    }

    /// Sets the numbers of lanes, leaves per tree and batches in flight, and the size of cohorts.
    #[must_use]
    pub fn lanes(self, lanes: LanesConfig) -> Self {
        Self { lanes, ..self }
    }

    /// Sets the seed, which is 1 otherwise, of games without an end, numbered from 0. [`Setup::rounds`] brings a seed
    /// of its own.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets the rounds whose games are played, in place of games without an end.
    #[must_use]
    pub fn rounds(self, rounds: Rounds) -> Self {
        Self { rounds: Some(rounds), ..self }
    }

    /// Sets the state that games begin with: see [`AnyGame::start`]. Otherwise they begin under the usual rules.
    #[must_use]
    pub fn start(self, start: State) -> Self {
        Self { start: Some(start), ..self }
    }

    /// Adds a component of your own to every lane.
    #[must_use]
    pub fn lane_component<C: Component + Clone>(mut self, component: C) -> Self {
        self.lane_components.push(Box::new(move |lane| {
            lane.insert(component.clone());
        }));
        self
    }

    /// Adds systems of your own to [`crate::Tick`], whose place is given with `after(TickSystems::..)` and
    /// `before(TickSystems::..)`.
    #[must_use]
    pub fn system<M>(self, system: impl IntoScheduleConfigs<ScheduleSystem, M> + 'static) -> Self {
        self.plugin(move |world: &mut World| {
            world.resource_mut::<Schedules>().add_systems(Tick, system);
        })
    }

    /// Adds a plugin, which is built after everything else.
    #[must_use]
    pub fn plugin(mut self, plugin: impl Plugin + 'static) -> Self {
        self.plugins.push(Box::new(move |world| plugin.build(world)));
        self
    }

    /// Builds a new world.
    pub fn build(self) -> World {
        let mut world = World::new();
        self.build_in(&mut world);
        world
    }

    /// Adds the lanes, trees, leaves, agents and schedule to a world, which may have other entities with any
    /// components.
    ///
    /// # Panics
    /// If the world has lanes already.
    pub fn build_in(self, world: &mut World) {
        assert!(world.query::<&Lane>().iter(world).next().is_none(), "the world has lanes already");
        let Self { game, players, trees_per_lane, acts, lanes, rounds, start, seed, lane_components, plugins } = self;
        let start = start.unwrap_or_else(|| game.usual_start());
        // An evaluator knows how many batches it works on at a time.
        let asked = players.iter().map(|player| player.evaluator.capabilities().in_flight).min().unwrap_or(1);
        let lanes = LanesConfig { in_flight: if lanes.in_flight == 0 { asked } else { lanes.in_flight }, ..lanes };
        let simulations = players.iter().map(|player| player.settings.simulations).max().expect("there are players");
        let leaves_per_tree = lanes.leaves_per_tree as usize;
        let tree_bytes = Tree::bytes(&game.info, simulations);
        let cohorts = Cohorts::new(&lanes, trees_per_lane * tree_bytes, simulations);
        let capacity = cohorts.size() * leaves_per_tree;
        let layout = Layout { lanes: lanes.count as usize, trees_per_lane, leaves_per_tree };
        let opening_plies = players[0].settings.opening_plies;

        // Kind by kind, so that the rows of each lie in the order of the lanes.
        for lane in 0..layout.lanes as u32 {
            let of_game = (LaneRng::new(seed, lane.into()), GameRecord::default());
            let mut entity = world.spawn((Lane(lane), of_game, Seats([0, 0]), Slot(0)));
            (game.lane)(&mut entity, &start);
            if acts == Acts::Answer {
                entity.insert((Asked::default(), Orders::default()));
            }
            lane_components.iter().for_each(|insert| insert(&mut entity));
        }
        let trees = layout.lanes * trees_per_lane;
        for row in 0..trees as u32 {
            let mut tree = Tree::with_moves(simulations, game.info.room, game.info.max_legal);
            tree.state = TreeState::Idle;
            world.spawn((TreeRow(row), tree, SearchBudget::default(), PolicyState::default()));
        }
        for row in 0..(trees * leaves_per_tree) as u32 {
            (game.leaf)(&mut world.spawn(LeafRow(row)));
        }
        for (number, Searcher { evaluator, settings, policy }) in players.into_iter().enumerate() {
            let cache_bytes = settings.cache_mb as usize * 1_000_000;
            let mut agent = world.spawn((Agent(number as u8), settings, policy));
            (game.agent)(&mut agent, evaluator, capacity, cache_bytes);
        }
        (game.begins_with)(world, &start);
        world.insert_resource(game);
        world.insert_resource(layout);
        world.insert_resource(cohorts);
        world.insert_resource(SharedRows::new(capacity));
        world.init_resource::<Messages<GameFinished>>();
        world.init_resource::<Failure>();
        world.init_resource::<Passes>();
        world.init_resource::<Stats>();
        world.insert_resource(rounds.unwrap_or_else(|| Rounds::endless(seed, opening_plies)));
        if acts != Acts::Answer {
            (game.begin_games)(world);
        }
        world.add_schedule((game.schedule)(acts));
        plugins.into_iter().for_each(|plugin| plugin(world));
        world.schedule_scope(Tick, |_, schedule| gate(schedule));
    }
}

/// Opens a round in a world that plays games, and begins its games in the free lanes.
pub fn open_round(world: &mut World, round: Round) {
    world.resource_mut::<Rounds>().open(round);
    let game = *world.resource::<AnyGame>();
    (game.begin_games)(world);
}

/// The most bytes that the world of a run occupies, known before the run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the search trees.
    pub trees: usize,
    /// Bytes of the lanes with their games, of the leaves, and of the staging of batches.
    pub lanes: usize,
    /// Bytes of the caches of evaluations.
    pub cache: usize,
    /// Bytes of the replay buffer and of the dataset made from it.
    pub replay: usize,
}

impl Bounds {
    /// The bounds of a run of the game `G` with this configuration.
    pub fn of<G: Game>(config: &Config) -> Self {
        let lanes = config.lanes.count as usize;
        let leaves = lanes * config.lanes.leaves_per_tree as usize;
        // A game in play has a quarter more room than it needs.
        let game = GameRecord::bytes(&GameInfo::of::<G>(), policy_moves(&GameInfo::of::<G>(), &config.search));
        let games = game + game / 4 + GameRecord::ROOM;
        Self {
            trees: lanes
                * (Tree::bytes(&GameInfo::of::<G>(), config.search.simulations) + PolicyState::bytes(G::MAX_LEGAL)),
            // A lane's history has grown by itself, which may be to twice as much. Each row of a batch has its planes, its answer
            // twice over, its position in a few lists, and a slot of the table that lets equal ones share it.
            lanes: lanes * (games + 64 + 2 * G::HEAP)
                + leaves
                    * (size_of::<Leaf<G>>()
                        + G::HEAP
                        + 4 * (size_of::<G::Key>() + 8)
                        + 4 * (G::INPUT + 2 * (G::ACTIONS + 4))),
            cache: config.run.lag as usize * Cache::<G>::bytes(config.search.cache_mb as usize * 1_000_000),
            replay: Replay::<G>::bytes(config.replay.window) + Dataset::<G>::bytes(config.replay.window),
        }
    }

    /// The sum of all parts, in bytes.
    pub fn total(self) -> usize {
        self.trees + self.lanes + self.cache + self.replay
    }
}

/// The most moves in the policy of a searched position. The policy of PUCT has the moves that were visited.
pub fn policy_moves(game: &GameInfo, search: &SearchConfig) -> usize {
    match search.policy {
        PolicyKind::Puct => game.max_legal.min(search.simulations as usize),
        PolicyKind::Gumbel => game.max_legal,
    }
}

/// The cohorts of self-play with these settings.
pub fn cohorts_of(game: &GameInfo, lanes: &LanesConfig, search: &SearchConfig) -> Cohorts {
    Cohorts::new(lanes, Tree::bytes(game, search.simulations), search.simulations)
}
