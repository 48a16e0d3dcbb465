//! `Expand`, `Act`, `Root` and `Select` in one pass over the lanes, with the same results, so that each tree is brought
//! into the processor's cache once in a tick.

use crate::{
    Agent, Cohorts, SearchPolicy,
    act::{Acted, EndOfGames, GameColumns, Players, act_in},
    agent::{Inference, in_order},
    expand::expand_tree,
    policy::{PolicyState, Search},
    root::begin,
    rows::{HEAVY, Rows, TreesOf},
    select::select_leaves,
};
use bevy_ecs::prelude::*;
use lockstep_components::{Cache, Game, Leaf, SearchBudget, Tree, config::SearchConfig};
use rayon::prelude::*;

/// Resolves the groups of all lanes, plays the moves of complete searches, begins the next ones, and selects their leaves.
/// Lanes whose game has ended get the next one, whose search begins with the next tick.
///
/// This system takes the place of the four systems in a schedule that has nothing else between them; see
/// [`crate::tick`].
pub fn advance<G: Game>(
    mut rows: Rows<GameColumns<G>, (&mut Tree, &mut SearchBudget, &mut PolicyState), &mut Leaf<G>>,
    agents: Query<(&Agent, (&SearchConfig, &SearchPolicy, &Cache<G>, &Inference))>,
    cohorts: Res<Cohorts>,
    mut end: EndOfGames<G>,
) {
    let agents = in_order(agents.iter());
    let players: Vec<_> = agents.iter().map(|&(settings, policy, ..)| (settings, policy)).collect();
    let tasks = rows.answered().par_tasks(HEAVY).map(|(first_lane, lanes)| {
        let mut acted = Acted::default();
        for (lane, (row, own)) in lanes.enumerate() {
            let (position, rng, game, seats, slot) = row;
            let TreesOf { rows: (trees, budgets, states), leaves, leaves_per_tree, .. } = own;
            let first = usize::from(slot.0);
            let each = trees.iter_mut().zip(&*budgets).zip(leaves.chunks_mut(leaves_per_tree));
            for (((tree, budget), leaves), agent) in each.zip(&agents[first..]) {
                expand_tree(tree, *budget, leaves, agent.3);
            }
            let in_game = Players { agents: &players[first..], first, seats: *seats, states };
            let goes_on = act_in(first_lane + lane, &mut position.0, rng, game, trees, budgets, in_game, &mut acted);
            if !goes_on || !cohorts.is_selecting() {
                continue;
            }
            let each = trees.iter_mut().zip(budgets).zip(states).zip(leaves.chunks_mut(leaves_per_tree));
            let agents = agents.iter().enumerate().skip(first);
            for ((((tree, budget), state), leaves), (agent, (settings, policy, cache, _))) in each.zip(agents) {
                let search = Search { settings, state, rng };
                let mut selected = begin(agent, tree, &position.0, policy, search, cache, budget);
                if selected.is_ok() {
                    let cache = cache.is_on().then_some(*cache);
                    let search = Search { settings, state, rng };
                    selected = select_leaves(tree, &position.0, budget.simulations, leaves, policy, search, cache)
                        .map_err(|e| e.of(agent));
                }
                if let Err(error) = selected {
                    acted.error = acted.error.take().or(Some(error));
                }
            }
        }
        acted
    });
    let acted = tasks.reduce(Acted::default, Acted::and);
    end.begin_next(rows.answered(), |trees| trees.rows.0, acted);
}
