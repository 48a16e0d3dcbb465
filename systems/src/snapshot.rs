//! The state of all lanes between two ticks, as a checkpoint keeps it.

use crate::{Agents, Cohorts, Error, FinishedGames, collect::LeavesPerTree, columns::*};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Caches, Game, Lane, LaneRng, Leaf, LeafState, Position, Replay, SearchBudget, Seats, Stats, Trajectory, Tree,
    cache::CacheSnapshot, tree::TreeSnapshot,
};
use serde::{Deserialize, Serialize};

/// Everything of a world that the next tick depends on, save the agents.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Snapshot<G: Game> {
    lanes: Vec<(G, LaneRng, Trajectory<G>, Seats)>,
    trees: Vec<(TreeSnapshot, SearchBudget)>,
    caches: Vec<CacheSnapshot<G>>,
    cohorts: Cohorts,
    /// Leaves of the lanes whose batch is in flight.
    waiting: Vec<Leaf<G>>,
    stats: Stats,
    finished: FinishedGames,
}

impl<G: Game> Snapshot<G> {
    /// Taken between two ticks. A batch that is in flight is not waited for: it is submitted again on restoring.
    pub fn take(world: &mut World) -> Self {
        let lanes = world
            .query_filtered::<(&Position<G>, &LaneRng, &Trajectory<G>, &Seats), With<Lane>>()
            .iter(world)
            .map(|(position, rng, game, seats)| (position.0, rng.clone(), game.clone(), *seats))
            .collect();
        let trees =
            world.query::<(&Tree, &SearchBudget)>().iter(world).map(|(t, budget)| (t.snapshot(), *budget)).collect();
        let caches = world.resource::<Caches<G>>().0.iter().map(|cache| cache.snapshot()).collect();
        let cohorts = world.resource::<Cohorts>().clone();
        let rows = leaf_rows(world, &cohorts);
        let waiting = world.query::<&Leaf<G>>().iter(world).skip(rows.start).take(rows.len()).copied().collect();
        let stats = world.resource::<Stats>().clone();
        let finished = world.resource::<FinishedGames>().clone();
        Self { lanes, trees, caches, cohorts, waiting, stats, finished }
    }

    /// Puts it into a world that was set up with the same configuration.
    ///
    /// # Errors
    /// When it does not fit; the world is then unusable.
    pub fn restore(self, world: &mut World) -> Result<(), Error> {
        let no_fit = |why: &str| Error::Snapshot(why.into());
        let mut lanes = world.query::<(&mut Position<G>, &mut LaneRng, &mut Trajectory<G>, &mut Seats)>();
        let mut trees = world.query::<(&mut Tree, &mut SearchBudget)>();
        if lanes.iter(world).len() != self.lanes.len() || trees.iter(world).len() != self.trees.len() {
            return Err(no_fit("it has another number of lanes; lanes.count cannot change within a run"));
        }
        for (mut lane, saved) in lanes.iter_mut(world).zip(self.lanes) {
            if saved.0.outcome().is_some() || !is_sound(&saved.2) {
                return Err(no_fit("a game in it is not one of this game"));
            }
            (lane.0.0, *lane.1, *lane.2, *lane.3) = saved;
        }
        for ((mut tree, mut budget), saved) in trees.iter_mut(world).zip(self.trees) {
            if !tree.restore(&saved.0) {
                return Err(no_fit("a tree in it is damaged or larger than search.simulations allows"));
            }
            *budget = saved.1;
        }
        let mut caches = world.resource_mut::<Caches<G>>();
        if caches.0.len() != self.caches.len()
            || !caches.0.iter_mut().zip(self.caches).all(|(cache, saved)| cache.restore(saved))
        {
            return Err(no_fit("its cache is damaged or of another size; search.cache_mb cannot change within a run"));
        }
        let rows = leaf_rows(world, &self.cohorts);
        if self.cohorts.fits(world.resource::<Cohorts>()) {
            if rows.len() != self.waiting.len() {
                return Err(no_fit("a batch in it is damaged"));
            }
            world.insert_resource(self.cohorts);
        } else if !rows.is_empty() {
            return Err(no_fit(
                "a batch of other cohorts is in flight; go on to the end of the generation with the old \
                 lanes.cohort, lanes.in_flight and run.device before you change them",
            ));
        }
        world.insert_resource(self.stats);
        world.insert_resource(self.finished);
        let mut leaves = world.query::<&mut Leaf<G>>();
        for (mut leaf, saved) in leaves.iter_mut(world).skip(rows.start).zip(&self.waiting) {
            *leaf = *saved;
        }
        submit_again(world, &self.waiting)
    }
}

/// Rows of the leaf table that belong to the batch in flight.
fn leaf_rows(world: &World, cohorts: &Cohorts) -> std::ops::Range<usize> {
    times(&cohorts.waiting(), world.resource::<Agents>().0.len() * world.resource::<LeavesPerTree>().0)
}

/// Makes each agent's batch of these leaves again and submits it.
fn submit_again<G: Game>(world: &mut World, leaves: &[Leaf<G>]) -> Result<(), Error> {
    let per_tree = world.resource::<LeavesPerTree>().0;
    let first_lane = world.resource::<Cohorts>().waiting().start;
    let agents = &mut world.resource_mut::<Agents>().0;
    let players = agents.len();
    for (player, agent) in agents.iter_mut().enumerate() {
        // Rows were given in the order of the leaves, so a row that is not known yet is the next one.
        let own = leaves.chunks(per_tree).skip(player).step_by(players).flatten();
        agent.batch.fill::<G>(|positions| {
            for leaf in own {
                if leaf.state == (LeafState::Pending { row: positions.len() as u32 }) {
                    positions.push(leaf.asked);
                }
            }
        });
        if agent.batch.rows > 0 {
            agent.submit(first_lane)?;
        }
    }
    Ok(())
}

fn is_sound<G: Game>(game: &Trajectory<G>) -> bool {
    game.plies.len() <= G::MAX_PLIES
        && game.plies.iter().all(|p| p.policy_end as usize <= game.policies.len())
        && game.plies.is_sorted_by_key(|p| p.policy_end)
        && game.policies.iter().all(|&(a, _)| (a as usize) < G::ACTIONS)
}

/// A replay buffer read from a checkpoint, or why it is none.
///
/// # Errors
/// When it is damaged.
pub fn check_replay<G: Game>(mut replay: Replay<G>, window: usize) -> Result<Replay<G>, Error> {
    if !replay.is_sound() {
        return Err(Error::Snapshot("its replay buffer is damaged".into()));
    }
    replay.set_window(window);
    Ok(replay)
}
