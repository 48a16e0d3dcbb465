//! The passes over the lanes that move their trees: `Expand`, `Act`, `Root` and `Select`, each by itself or all in one, with the
//! same games either way.

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

/// What a pass does with each lane, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Resolves the group of leaves.
    expand: bool,
    /// Plays the move of a complete search. A lane whose game has ended gets the next one after the pass.
    act: bool,
    /// Begins the search of a root that has its edges.
    root: bool,
    /// Selects the next group of leaves.
    select: bool,
    /// Gives all lanes that are free the next game, and does nothing else.
    begin_games: bool,
}

impl Parts {
    const NONE: Self = Self { expand: false, act: false, root: false, select: false, begin_games: false };
    pub(crate) const EXPAND: Self = Self { expand: true, ..Self::NONE };
    pub(crate) const ACT: Self = Self { act: true, ..Self::NONE };
    pub(crate) const ROOT: Self = Self { root: true, ..Self::NONE };
    pub(crate) const SELECT: Self = Self { select: true, ..Self::NONE };
    /// All four in one pass, in which each tree is brought into the processor's cache once.
    pub(crate) const ALL: Self = Self { expand: true, act: true, root: true, select: true, begin_games: false };
    pub(crate) const BEGIN_GAMES: Self = Self { begin_games: true, ..Self::NONE };
}

type PassRows<'w, 's, G> = Rows<
    'w,
    's,
    GameColumns<G>,
    (&'static mut Tree, &'static mut SearchBudget, &'static mut PolicyState),
    &'static mut Leaf<G>,
>;

type PassAgents<'w, 's, G> = Query<
    'w,
    's,
    (&'static Agent, (&'static SearchConfig, &'static SearchPolicy, &'static Cache<G>, &'static Inference)),
>;

/// The system that makes such a pass. All of them are one type, which is compiled once for each game.
pub(crate) fn pass<G: Game>(
    parts: Parts,
) -> impl FnMut(PassRows<G>, PassAgents<G>, Res<Cohorts>, EndOfGames<G>) + Send + Sync + 'static {
    move |rows: PassRows<G>, agents: PassAgents<G>, cohorts: Res<Cohorts>, end: EndOfGames<G>| {
        make(parts, rows, agents, cohorts.is_selecting(), end);
    }
}

fn make<G: Game>(parts: Parts, mut rows: PassRows<G>, agents: PassAgents<G>, selecting: bool, mut end: EndOfGames<G>) {
    if parts.begin_games {
        return end.begin_games(rows.all().map(|(row, trees)| (row, trees.rows.0)));
    }
    let agents = in_order(agents.iter());
    let players: Vec<_> = agents.iter().map(|&(settings, policy, ..)| (settings, policy)).collect();
    let acted = rows.answered().tasks(HEAVY, |first_lane, lanes| {
        let mut acted = Acted::default();
        for (lane, (row, own)) in lanes.enumerate() {
            let (position, rng, game, seats, slot) = row;
            let TreesOf { rows: (trees, budgets, states), leaves, leaves_per_tree, .. } = own;
            let first = usize::from(slot.0);
            if parts.expand {
                let each = trees.iter_mut().zip(&*budgets).zip(leaves.chunks_mut(leaves_per_tree));
                for (((tree, budget), leaves), agent) in each.zip(&agents[first..]) {
                    expand_tree(tree, *budget, leaves, agent.3);
                }
            }
            if parts.act {
                let in_game = Players { agents: &players[first..], first, seats: *seats, states };
                if !act_in(first_lane + lane, &mut position.0, rng, game, trees, budgets, in_game, &mut acted) {
                    continue;
                }
            }
            if !selecting || !(parts.root || parts.select) {
                continue;
            }
            let each = trees.iter_mut().zip(budgets).zip(states).zip(leaves.chunks_mut(leaves_per_tree));
            let agents = agents.iter().enumerate().skip(first);
            for ((((tree, budget), state), leaves), (agent, (settings, policy, cache, _))) in each.zip(agents) {
                let mut done = Ok(());
                if parts.root {
                    let search = Search { settings, state, rng };
                    done = begin(agent, tree, &position.0, policy, search, cache, budget);
                }
                if parts.select && done.is_ok() {
                    let cache = cache.is_on().then_some(*cache);
                    let search = Search { settings, state, rng };
                    done = select_leaves(tree, &position.0, budget.simulations, leaves, policy, search, cache)
                        .map_err(|e| e.of(agent));
                }
                if let Err(error) = done {
                    acted.error = acted.error.take().or(Some(error));
                }
            }
        }
        acted
    });
    let acted = acted.into_iter().fold(Acted::default(), Acted::and);
    if parts.act {
        end.begin_next(rows.answered(), |trees| trees.rows.0, acted);
    } else {
        end.fail(acted);
    }
}
