//! `TickSystems::Root`: searches that begin get their budget, and their root its noise.

use crate::{
    Agents, Cohorts,
    columns::*,
    expand::{add_known, expand_known},
};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Caches, Game, LaneRng, Leaf, Position, SearchBudget, Slot, Tree, TreeState, config::SearchConfig, tree::ROOT,
};
use rand_distr::{Distribution, Gamma};
use rayon::prelude::*;

/// Prepares every tree whose root has its edges and whose search has not begun. A root whose evaluation is in the cache
/// gets its edges here.
pub fn root<G: Game>(
    mut lanes: Query<(&Position<G>, &mut LaneRng, &Slot)>,
    mut trees: Query<(&mut Tree, &mut SearchBudget)>,
    agents: Res<Agents>,
    caches: Res<Caches<G>>,
    cohorts: Res<Cohorts>,
) {
    // Without a turn every system would do nothing, and whoever waits for games would wait for ever.
    assert!(cohorts.begun(), "Tick was run by itself: call run_tick(&mut world), which gives the lanes their turn");
    let range = cohorts.selecting();
    let (positions, mut rngs, slots) = only(lanes.contiguous_iter_mut());
    let (mut trees, mut budgets) = only(trees.contiguous_iter_mut());
    let per_lane = trees.len() / positions.len();
    let rows = times(&range, per_lane);
    positions[range.clone()]
        .par_iter()
        .zip(&mut rngs.bypass_change_detection()[range.clone()])
        .zip(&slots[range.clone()])
        .zip(trees.bypass_change_detection()[rows.clone()].par_chunks_mut(per_lane))
        .zip(budgets.bypass_change_detection()[rows].par_chunks_mut(per_lane))
        .with_min_len(rows_per_task(range.len(), LIGHT))
        .for_each(|((((position, rng), slot), trees), budgets)| {
            let agents = agents.0.iter().zip(&caches.0).skip(slot.0.into());
            for ((tree, budget), (agent, cache)) in trees.iter_mut().zip(budgets).zip(agents) {
                if tree.state == TreeState::Empty && cache.is_on() {
                    let mut leaf = Leaf::new(position.0, 0, ROOT);
                    if let Some(cached) = cache.get(&leaf.asked) {
                        add_known(tree, &mut leaf, cached);
                        expand_known(tree, &leaf);
                    }
                }
                if tree.state == TreeState::Expanded {
                    *budget = begin(tree, rng, &agent.search);
                }
            }
        });
}

/// Draws the budget of a search, and mixes the noise into the root's priors if it is a full one.
pub fn begin(tree: &mut Tree, rng: &mut LaneRng, search: &SearchConfig) -> SearchBudget {
    tree.state = TreeState::Searching;
    let full = search.fast_simulations == 0 || rng.unit() < search.full_search_chance;
    if full && search.noise_share > 0.0 {
        add_noise(tree, rng, search.noise_share, search.noise_concentration);
    }
    SearchBudget { simulations: if full { search.simulations } else { search.fast_simulations }, full }
}

/// Mixes Dirichlet noise into the priors of the root: `(1 - share) * prior + share * noise`, with a concentration of
/// `concentration / moves` for each move (Silver et al. 2018 scale it so with the typical number of legal moves).
///
/// A Dirichlet draw is one of independent Gamma variables divided by their sum.
fn add_noise(tree: &mut Tree, rng: &mut LaneRng, share: f32, concentration: f32) {
    let edges = tree.edges_mut(0);
    let gamma = Gamma::new(concentration / edges.len() as f32, 1.0).expect("a positive concentration");
    let mut on_stack = [0.0f32; 64];
    let mut on_heap = vec![];
    // Nothing is allocated for games with few moves.
    let drawn = if edges.len() <= on_stack.len() {
        &mut on_stack[..edges.len()]
    } else {
        on_heap.resize(edges.len(), 0.0);
        &mut on_heap[..]
    };
    let mut sum = 0.0;
    for draw in drawn.iter_mut() {
        *draw = gamma.sample(&mut rng.0);
        sum += *draw;
    }
    // All draws can underflow to 0 for a tiny concentration; the priors then stay as they are.
    if sum > 0.0 {
        for (edge, draw) in edges.iter_mut().zip(drawn) {
            edge.set_prior((1.0 - share) * edge.prior() + share * *draw / sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_components::tree::ROOT;

    #[test]
    fn noise_keeps_the_priors_a_distribution() {
        let mut rng = LaneRng::new(3, 0);
        for moves in [1u16, 7, 9, 40] {
            let mut tree = Tree::new(1, 40);
            tree.push_node(0, ROOT, 0..moves);
            tree.edges_mut(0).iter_mut().for_each(|e| e.set_prior(1.0 / f32::from(moves)));
            add_noise(&mut tree, &mut rng, 0.25, 10.0);
            let priors: Vec<f32> = tree.root_edges().iter().map(|e| e.prior()).collect();
            assert!((priors.iter().sum::<f32>() - 1.0).abs() < 0.01, "{priors:?}");
            assert!(priors.iter().all(|&p| p >= 0.74 / f32::from(moves)));
            assert!(moves == 1 || priors.iter().any(|&p| p > 1.01 / f32::from(moves)));
        }
    }
}
