//! `TickSystems::Root`: searches begin.

use crate::{
    Error, SearchPolicy,
    expand::{add_known, expand_known},
    policy::{PolicyState, Search},
};
use bevy_ecs::prelude::*;
use lockstep_components::{Cache, Game, Leaf, SearchBudget, Tree, TreeState, config::SearchConfig};

/// Begins the search of a tree whose root has its edges, or gets them from the cache, and whose search has not begun.
///
/// # Errors
/// [`Error::NoRoom`] if the policy's budget is larger than the tree has room for.
#[inline]
pub(crate) fn begin<G: Game>(
    agent: usize,
    tree: &mut Tree,
    position: &G,
    policy: &SearchPolicy,
    search: Search<PolicyState>,
    cache: &Cache<G>,
    budget: &mut SearchBudget,
) -> Result<(), Error> {
    if tree.state == TreeState::Empty && cache.is_on() {
        let mut leaf = Leaf::of_root(position.clone());
        if let Some(cached) = cache.get(&leaf.asked) {
            add_known(tree, &mut leaf, cached);
            expand_known(tree, &leaf);
        }
    }
    if tree.state == TreeState::Expanded {
        tree.keep_raw_priors();
        let own;
        let Search { mut settings, state, rng } = search;
        if let Some(simulations) = budget.asked {
            own = SearchConfig { simulations, fast_simulations: 0, ..settings.clone() };
            settings = &own;
        }
        *budget = SearchBudget { asked: budget.asked, ..policy.0.begin(Search { settings, state, rng }, tree) };
        tree.state = TreeState::Searching;
        if budget.simulations > tree.room() {
            return Err(Error::NoRoom { agent, simulations: budget.simulations, room: tree.room() });
        }
    }
    Ok(())
}
