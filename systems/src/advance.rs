//! `Expand`, `Act`, `Root` and `Select` in one pass: the same for each lane, whose tree is then looked up once in a tick.

use crate::{
    Agent, Cohorts, Error, SearchPolicy,
    act::{Acted, EndOfGames, GameColumns, Players, play_move},
    agent::{Inference, in_order},
    expand::expand_tree,
    policy::{Descents, PolicyState, Search},
    root::begin,
    rows::{HEAVY, Rows, TreesOf},
    select::Selected,
};
use bevy_ecs::prelude::*;
use lockstep_components::{Cache, Game, Leaf, SearchBudget, Tree, config::SearchConfig};
use rayon::prelude::*;

/// Resolves the groups of all lanes, plays the moves of complete searches, begins the next ones, and selects their leaves.
/// Lanes whose game has ended get the next one, whose search begins with the next tick.
///
/// It takes the place of the four systems in a schedule that has nothing else between them; see [`crate::tick`].
pub fn advance<G: Game>(
    mut rows: Rows<GameColumns<G>, (&mut Tree, &mut SearchBudget, &mut PolicyState), &mut Leaf<G>>,
    agents: Query<(&Agent, (&SearchConfig, &SearchPolicy<G>, &Cache<G>, &Inference))>,
    cohorts: Res<Cohorts>,
    mut end: EndOfGames,
) {
    let agents = in_order(agents.iter());
    let players: Vec<_> = agents.iter().map(|&(settings, policy, ..)| (settings, policy)).collect();
    let lanes = rows.answered().par_rows(HEAVY).enumerate();
    let advanced = lanes.fold(Advanced::default, |mut advanced, (lane, (row, own))| {
        let (position, rng, game, seats, slot) = row;
        let TreesOf { rows: (trees, budgets, states), leaves, leaves_per_tree, .. } = own;
        let first = usize::from(slot.0);
        for (((tree, budget), leaves), agent) in
            trees.iter_mut().zip(&*budgets).zip(leaves.chunks_mut(leaves_per_tree)).zip(&agents[first..])
        {
            expand_tree(tree, *budget, leaves, agent.3);
        }
        let in_game = Players { agents: &players[first..], seats: *seats, states };
        let played = play_move(&mut position.0, rng, game, trees, |seat| budgets[seat].full, in_game);
        let goes_on = played == Ok(false) && !cohorts.draining;
        advanced.acted.take(lane, *slot, played);
        if !goes_on {
            return advanced;
        }
        let own = trees.iter_mut().zip(budgets).zip(states).zip(leaves.chunks_mut(leaves_per_tree));
        let agents = agents.iter().enumerate().skip(first);
        for ((((tree, budget), state), leaves), (agent, (settings, policy, cache, _))) in own.zip(agents) {
            let search = Search { settings, state, rng };
            if let Err(simulations) = begin(tree, &position.0, policy, search, cache, budget) {
                advanced.no_room = advanced.no_room.or(Some((agent, simulations, tree.room())));
                continue;
            }
            let search = Search { settings, state, rng };
            advanced.selected.descend(tree, agent, |tree| {
                let cache = cache.is_on().then_some(*cache);
                policy.select(search, Descents { tree, root: &position.0, budget: budget.simulations, leaves, cache })
            });
        }
        advanced
    });
    let Advanced { acted, selected, no_room } = advanced.reduce(Advanced::default, Advanced::and);
    end.begin_next(rows.answered().map(|(lane, trees)| (lane, trees.rows.0)), acted);
    selected.tell(&mut end.stats, &mut end.failure);
    if let Some((agent, simulations, room)) = no_room {
        end.failure.set(Error::NoRoom { agent, simulations, room });
    }
}

/// What the lanes of a task come to.
#[derive(Default)]
struct Advanced {
    acted: Acted,
    selected: Selected,
    no_room: Option<(usize, u32, u32)>,
}

impl Advanced {
    /// With the lanes behind.
    fn and(self, other: Self) -> Self {
        Self {
            acted: self.acted.and(other.acted),
            selected: self.selected.and(other.selected),
            no_room: self.no_room.or(other.no_room),
        }
    }
}
