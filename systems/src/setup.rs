//! Spawning the lanes, trees and leaves of a world, once.

use crate::{
    Agents, Cohorts, Evaluator, Failure, SelectionRule,
    act::{FinishedGames, begin_games},
    collect::{LeavesPerTree, SharedRows},
    evaluate::Agent,
    evaluator::{Batch, Evaluations},
    select::Rules,
};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Cache, Caches, Config, Dataset, Game, GameRecord, Lane, LaneRng, Leaf, LeafOf, Position, Replay, Rounds,
    SearchBudget, Seats, Slot, Stats, Tree, TreeOf,
    config::{LanesConfig, SearchConfig},
};

/// How many bytes a run occupies at most, known before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Search trees.
    pub trees: usize,
    /// Lanes with their games, leaves, and the staging of batches.
    pub lanes: usize,
    /// Evaluations of positions that may come again.
    pub cache: usize,
    /// Replay buffer and the dataset made from it.
    pub replay: usize,
}

impl Bounds {
    /// Of a run with this configuration.
    pub fn of<G: Game>(config: &Config) -> Self {
        let lanes = config.lanes.count as usize;
        let leaves = lanes * config.lanes.leaves_per_tree as usize;
        Self {
            trees: lanes * Tree::bytes(config.search.simulations, G::MAX_LEGAL),
            // Each row of a batch has its planes, its answer twice over, its position, and a slot of the table that lets
            // equal ones share it.
            lanes: lanes * (GameRecord::bytes::<G>() + 64)
                + leaves * (size_of::<Leaf<G>>() + 4 * (size_of::<G>() + 8) + 4 * (G::INPUT + 2 * (G::ACTIONS + 4))),
            cache: config.run.lag as usize * Cache::<G>::bytes(cache_bytes(&config.search)),
            replay: Replay::<G>::bytes(config.replay.window) + Dataset::<G>::bytes(config.replay.window),
        }
    }

    /// All of it.
    pub fn total(self) -> usize {
        self.trees + self.lanes + self.cache + self.replay
    }
}

fn cache_bytes(search: &SearchConfig) -> usize {
    search.cache_mb as usize * 1_000_000
}

/// The cohorts of self-play with this configuration.
pub fn cohorts_of<G: Game>(lanes: &LanesConfig, search: &SearchConfig) -> Cohorts {
    Cohorts::new(lanes, Tree::bytes(search.simulations, G::MAX_LEGAL), search.simulations)
}

/// Spawns lanes, trees and leaves with the resources that the tick needs.
///
/// One agent plays against itself; two play a match, in which lanes with odd numbers begin with the second.
/// Every lane begins a game: the next one of [`Rounds`] if the world has them already, else of games without an end,
/// numbered from 0 and drawn from generators of this seed.
///
/// # Example
///
/// ```
/// use bevy_ecs::prelude::*;
/// use lockstep_components::{Stats, config::*, games::TicTacToe};
/// use lockstep_systems::{Puct, Uniform, insert_lanes, run_tick, tick_schedule};
///
/// let mut world = World::new();
/// let lanes = LanesConfig { count: 8, ..Default::default() };
/// insert_lanes::<TicTacToe, Puct>(&mut world, &lanes, 1, vec![(Box::new(Uniform::default()), SearchConfig::default())]);
/// world.add_schedule(tick_schedule::<TicTacToe, Puct>());
/// while world.resource::<Stats>().games < 8 {
///     run_tick(&mut world)?;
/// }
/// # Ok::<(), lockstep_systems::Error>(())
/// ```
///
/// # Panics
/// Without agents, with more than two, or if the world has lanes already.
pub fn insert_lanes<G: Game, R: SelectionRule>(
    world: &mut World,
    lanes: &LanesConfig,
    seed: u64,
    agents: Vec<(Box<dyn Evaluator>, SearchConfig)>,
) {
    let players = agents.len();
    assert!((1..=2).contains(&players), "one agent for self-play or two for a match, not {players}");
    spawn::<G, R>(world, lanes, seed, agents, players);
}

/// The same for self-play with several agents, each of which plays games of its own: those of its [`Slot`].
///
/// # Panics
/// Without agents, with more than 256, or if the world has lanes already.
pub fn insert_self_play<G: Game, R: SelectionRule>(
    world: &mut World,
    lanes: &LanesConfig,
    seed: u64,
    agents: Vec<(Box<dyn Evaluator>, SearchConfig)>,
) {
    assert!((1..=256).contains(&agents.len()), "from 1 to 256 agents, not {}", agents.len());
    spawn::<G, R>(world, lanes, seed, agents, 1);
}

fn spawn<G: Game, R: SelectionRule>(
    world: &mut World,
    lanes: &LanesConfig,
    seed: u64,
    agents: Vec<(Box<dyn Evaluator>, SearchConfig)>,
    trees_per_lane: usize,
) {
    assert!(world.query::<&Lane>().iter(world).next().is_none(), "the world has lanes already");
    let per_tree = lanes.leaves_per_tree as usize;
    let mut lane_entities = vec![];
    for lane in 0..lanes.count {
        let bundle = (
            Lane(lane),
            Position(G::start()),
            LaneRng::new(seed, u64::from(lane)),
            GameRecord::with_room::<G>(),
            Seats([0, 0]),
            Slot(0),
        );
        lane_entities.push(world.spawn(bundle).id());
    }
    let mut tree_entities = vec![];
    for &lane in &lane_entities {
        for (_, search) in &agents[..trees_per_lane] {
            let tree = Tree::new(search.simulations, G::MAX_LEGAL);
            tree_entities.push(world.spawn((TreeOf(lane), tree, SearchBudget::default())).id());
        }
    }
    for &tree in &tree_entities {
        for _ in 0..per_tree {
            world.spawn((LeafOf(tree), Leaf::<G>::default()));
        }
    }
    // The relationships moved lanes and trees to other tables; the kernels rely on the order of the rows.
    assert!(world.query_filtered::<Entity, With<Lane>>().iter(world).eq(lane_entities.iter().copied()));
    assert!(world.query_filtered::<Entity, With<Tree>>().iter(world).eq(tree_entities.iter().copied()));

    let simulations = agents.iter().map(|(_, search)| search.simulations).max().expect("there are agents");
    let of_lane = &agents[..trees_per_lane];
    let bytes = of_lane.iter().map(|(_, search)| Tree::bytes(search.simulations, G::MAX_LEGAL)).sum();
    let cohorts = Cohorts::new(lanes, bytes, simulations);
    let capacity = cohorts.size() * per_tree;
    world.insert_resource(cohorts);
    let caches = agents.iter().map(|(_, search)| Cache::new(cache_bytes(search))).collect();
    world.insert_resource(Caches::<G>(caches));
    world.insert_resource(SharedRows::<G>::new(capacity));
    world.insert_resource(Rules(agents.iter().map(|(_, search)| R::new(search)).collect::<Vec<R>>()));
    world.insert_resource(LeavesPerTree(per_tree));
    world.insert_resource(Agents(
        agents
            .into_iter()
            .map(|(evaluator, search)| Agent {
                evaluator,
                search,
                batch: Batch::new::<G>(capacity),
                evaluations: Evaluations::new(capacity, G::ACTIONS),
                in_flight: Default::default(),
                check_legal: false,
            })
            .collect(),
    ));
    if !world.contains_resource::<Rounds>() {
        world.insert_resource(Rounds::endless(seed));
    }
    world.init_resource::<Failure>();
    world.init_resource::<Stats>();
    world.init_resource::<FinishedGames>();
    world.run_system_cached(begin_games::<G>).expect("a system without conditions runs");
}
