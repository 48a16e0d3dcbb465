//! `TickSystems::Root`: searches begin.

use crate::{
    Agent, Error, Failure, SearchPolicy,
    agent::in_order,
    expand::{add_known, expand_known},
    policy::{PolicyState, Search},
    rows::{LIGHT, Rows},
};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Cache, Game, LaneRng, Leaf, Position, SearchBudget, Slot, Tree, TreeState, config::SearchConfig,
};
use rayon::prelude::*;

/// Begins the search of every tree whose root has its edges and whose search has not begun. A root whose evaluation is
/// in the cache gets its edges here.
pub fn root<G: Game>(
    mut rows: Rows<(&Position<G>, &mut LaneRng, &Slot), (&mut Tree, &mut SearchBudget, &mut PolicyState)>,
    agents: Query<(&Agent, (&SearchConfig, &SearchPolicy, &Cache<G>))>,
    failure: Res<Failure>,
) {
    let agents = in_order(agents.iter());
    let no_room = rows.answered().par_rows(LIGHT).filter_map(|((position, rng, slot), trees)| {
        let agents = agents.iter().enumerate().skip(slot.0.into());
        let mut no_room = None;
        for (((tree, budget, state), ()), (agent, (settings, policy, cache))) in trees.zip(agents) {
            let search = Search { settings, state, rng };
            no_room = no_room.or(begin(agent, tree, &position.0, policy, search, cache, budget).err());
        }
        no_room
    });
    failure.set_first(no_room.collect());
}

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
