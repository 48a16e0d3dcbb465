//! The state of all lanes between two ticks, as a checkpoint keeps it.

use crate::{Error, FinishedGames};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Game, Lane, LaneRng, Position, Replay, SearchBudget, Seats, Stats, Trajectory, Tree, tree::TreeSnapshot,
};
use serde::{Deserialize, Serialize};

/// Everything of a world that the next tick depends on, save the agents.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Snapshot<G: Game> {
    lanes: Vec<(G, LaneRng, Trajectory<G>, Seats)>,
    trees: Vec<(TreeSnapshot, SearchBudget)>,
    stats: Stats,
    finished: FinishedGames,
}

impl<G: Game> Snapshot<G> {
    /// Taken between two ticks, when no leaf is in flight.
    pub fn take(world: &mut World) -> Self {
        let lanes = world
            .query_filtered::<(&Position<G>, &LaneRng, &Trajectory<G>, &Seats), With<Lane>>()
            .iter(world)
            .map(|(position, rng, game, seats)| (position.0, rng.clone(), game.clone(), *seats))
            .collect();
        let trees =
            world.query::<(&Tree, &SearchBudget)>().iter(world).map(|(t, budget)| (t.snapshot(), *budget)).collect();
        let stats = world.resource::<Stats>().clone();
        Self { lanes, trees, stats, finished: world.resource::<FinishedGames>().clone() }
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
        world.insert_resource(self.stats);
        world.insert_resource(self.finished);
        Ok(())
    }
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
