//! `TickSystems::Expand`: evaluations become nodes and go up the trees.

use crate::{Agents, Cohorts, Error, Failure, columns::*};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Action, Cache, Caches, Game, Leaf, LeafState, Outcome, SearchBudget, Slot, Tree, TreeState,
    cache::Cached,
    tree::{Child, Edge, ROOT},
};
use rayon::prelude::*;

/// Resolves every group of leaves: expands them and backs their values up, in their order. Marks the searches that are
/// complete, and fills the cache.
pub fn expand<G: Game>(
    lanes: Query<&Slot>,
    mut trees: Query<(&mut Tree, &SearchBudget)>,
    mut leaves: Query<&mut Leaf<G>>,
    agents: Res<Agents>,
    mut caches: ResMut<Caches<G>>,
    cohorts: Res<Cohorts>,
    mut failure: ResMut<Failure>,
) {
    let range = cohorts.answered();
    let (mut trees, budgets) = only(trees.contiguous_iter_mut());
    let mut leaves = only(leaves.contiguous_iter_mut());
    let leaves = leaves.bypass_change_detection();
    let slots = only(lanes.contiguous_iter());
    let per_lane = budgets.len() / slots.len();
    let per_tree = leaves.len() / budgets.len();
    let rows = times(&range, per_lane);
    let trees = &mut trees.bypass_change_detection()[rows.clone()];
    let leaves = &mut leaves[times(&range, per_lane * per_tree)];
    let slots = &slots[range.clone()];
    for (i, agent) in agents.0.iter().enumerate().filter(|(_, agent)| agent.check_legal) {
        let own = leaves.par_chunks(per_lane * per_tree).zip(slots);
        let own = own.filter_map(|(leaves, slot)| leaves.chunks(per_tree).nth(i.checked_sub(slot.0.into())?));
        if let Some(error) = not_finite(own, &agent.evaluations.logits) {
            return failure.set(error);
        }
    }
    trees
        .par_chunks_mut(per_lane)
        .zip(budgets[rows].par_chunks(per_lane))
        .zip(leaves.par_chunks_mut(per_lane * per_tree))
        .zip(slots)
        .with_min_len(rows_per_task(range.len(), HEAVY))
        .for_each(|(((trees, budgets), leaves), slot)| {
            let rows = trees.iter_mut().zip(budgets).zip(leaves.chunks_mut(per_tree));
            for (((tree, budget), leaves), agent) in rows.zip(agents.0.iter().skip(slot.0.into())) {
                for leaf in leaves {
                    if let LeafState::Pending { row } = leaf.state {
                        let row = row as usize;
                        let logits = &agent.evaluations.logits[row * G::ACTIONS..(row + 1) * G::ACTIONS];
                        expand_leaf(tree, leaf, logits, agent.evaluations.values[row]);
                    } else {
                        expand_known(tree, leaf);
                    }
                }
                let spent = tree.simulations_at_root() >= budget.simulations;
                if tree.state == TreeState::Searching && (spent || tree.proven.is_some()) {
                    tree.state = TreeState::Complete;
                }
            }
        });
    if !caches.0.iter().any(Cache::is_on) {
        return;
    }
    // What lanes share is written in row order.
    for ((trees, leaves), slot) in trees.chunks(per_lane).zip(leaves.chunks(per_lane * per_tree)).zip(slots) {
        let agents = caches.0.iter_mut().zip(&agents.0).skip(slot.0.into());
        for ((tree, leaves), (cache, agent)) in trees.iter().zip(leaves.chunks(per_tree)).zip(agents) {
            for leaf in leaves {
                if let LeafState::Pending { row } = leaf.state {
                    let value = agent.evaluations.values[row as usize];
                    let node = if leaf.edge == ROOT { 0 } else { child_of(tree, leaf) };
                    let action = |edge: &Edge| G::transform_action(edge.action(), leaf.symmetry.into());
                    cache.insert(&leaf.asked, value, tree.edges(node).iter().map(|e| (action(e), e.prior())));
                }
            }
        }
    }
}

/// The error of logits that are not finite though their moves are legal, if there are any.
fn not_finite<'a, G: Game>(leaves: impl ParallelIterator<Item = &'a [Leaf<G>]>, logits: &[f32]) -> Option<Error> {
    // Leaves may share a row.
    let mut rows: Vec<(u32, usize)> = leaves
        .flat_map_iter(|leaves| leaves)
        .filter_map(|leaf| {
            let LeafState::Pending { row } = leaf.state else { return None };
            let logits = &logits[row as usize * G::ACTIONS..];
            Some((row, leaf.asked.legal().filter(|&action| !logits[action as usize].is_finite()).count()))
        })
        .collect();
    rows.par_sort_unstable();
    rows.dedup();
    let count = rows.iter().map(|(_, count)| count).sum();
    (count > 0).then_some(Error::EvaluationNotFinite { count, rows: rows.len() })
}

fn child_of<G: Game>(tree: &Tree, leaf: &Leaf<G>) -> u32 {
    match tree.edge(leaf.edge).child() {
        Child::Node(node) => node,
        other => unreachable!("a leaf that was expanded has a node, not {other:?}"),
    }
}

/// Adds the node of a leaf and backs its value up. `logits` and `value` are those of [`Leaf::asked`], for the player to
/// move there.
pub fn expand_leaf<G: Game>(tree: &mut Tree, leaf: &Leaf<G>, logits: &[f32], value: f32) {
    let node = tree.push_node(leaf.node, leaf.edge, leaf.position.legal());
    let edges = tree.edges_mut(node);
    set_priors(edges, |action| logits[G::transform_action(action, leaf.symmetry.into()) as usize]);
    finish(tree, leaf.node, leaf.edge, value);
}

/// Adds the node of a leaf whose evaluation is in the cache, which may have lost it when the group is complete. Its edge
/// stays pending until [`expand_known`].
pub fn add_known<G: Game>(tree: &mut Tree, leaf: &mut Leaf<G>, cached: Cached) {
    let node = tree.push_node(leaf.node, leaf.edge, leaf.position.legal());
    for edge in tree.edges_mut(node) {
        edge.set_prior(cached.prior(G::transform_action(edge.action(), leaf.symmetry.into())));
    }
    if leaf.edge != ROOT {
        tree.edge_mut(leaf.edge).set_child(Child::Pending);
    }
    tree.cache_hits += 1;
    leaf.state = LeafState::Known { node, value: cached.value };
}

/// Makes the edge of such a leaf lead to its node, and backs its value up. Does nothing with other leaves.
#[inline]
pub fn expand_known<G: Game>(tree: &mut Tree, leaf: &Leaf<G>) {
    if let LeafState::Known { node, value } = leaf.state {
        if leaf.edge != ROOT {
            tree.edge_mut(leaf.edge).set_child(Child::Node(node));
        }
        finish(tree, leaf.node, leaf.edge, value);
    }
}

/// Takes the value of a new node in.
#[inline]
fn finish(tree: &mut Tree, node: u32, edge: u32, value: f32) {
    if edge == ROOT {
        tree.root_visits = 1;
        tree.root_value_sum = value;
        tree.state = TreeState::Expanded;
    } else {
        backup(tree, node, edge, value);
    }
}

/// The softmax over the legal moves' logits becomes their priors.
///
/// They must not depend on which of its symmetric forms a position has, so the sum is one of whole numbers: it is the same
/// in any order.
#[inline]
fn set_priors(edges: &mut [Edge], logit: impl Fn(Action) -> f32) {
    // The value sum of a new edge is free to hold the logit and then the numerator for a moment.
    let mut highest = f32::NEG_INFINITY;
    for edge in edges.iter_mut() {
        edge.value_sum = logit(edge.action());
        highest = if edge.value_sum > highest { edge.value_sum } else { highest };
    }
    // Adding 2 rounds a number from 0 to 1 to a multiple of 2^-22, and writes how often it has that into the lowest bits.
    const UNIT: f32 = 1.0 / 4_194_304.0;
    let mut sum = 0;
    for edge in edges.iter_mut() {
        edge.value_sum = exp(edge.value_sum - highest);
        sum += u64::from((edge.value_sum + 2.0).to_bits() - 2f32.to_bits());
    }
    let scale = 1.0 / (sum as f32 * UNIT);
    for edge in edges {
        edge.set_prior(edge.value_sum * scale);
        edge.value_sum = 0.0;
    }
}

/// `e^x` for `x <= 0`, within 3 parts in 10^7, without calls or branches.
///
/// `2^n * 2^f` with `n` whole and `f` in -0.5 to 0.5; `2^f` is its Taylor polynomial in `f ln 2`, which is good to
/// 2e-8 at degree 6, and `n` goes straight into the exponent.
#[inline]
fn exp(x: f32) -> f32 {
    let scaled = x.max(-87.0) * std::f32::consts::LOG2_E;
    // Adding and taking away 1.5 * 2^23 rounds to the nearest whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = scaled + ROUND;
    let n = shifted - ROUND;
    // In two steps, so that the product with ln 2 loses nothing.
    let t = (x.max(-87.0) - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let t2 = t * t;
    // The terms in pairs (Estrin's scheme): a shorter chain than Horner's.
    let p = (1.0 + t) + t2 * ((0.5 + t * (1.0 / 6.0)) + t2 * ((1.0 / 24.0 + t * (1.0 / 120.0)) + t2 * (1.0 / 720.0)));
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1f32.to_bits()));
    if x > -87.0 { p * power } else { 0.0 }
}

/// Finishes a descent: adds its value to every edge from a leaf to the root.
///
/// `value` is for the player to move behind `edge`, who is the opponent of the one who chooses at `node`; the sign
/// changes at each step up.
#[inline]
pub(crate) fn backup(tree: &mut Tree, mut node: u32, mut edge: u32, value: f32) {
    let mut value = -value;
    loop {
        tree.edge_mut(edge).finish(value);
        (node, edge) = tree.parent(node);
        if edge == ROOT {
            return finish_at_root(tree, value);
        }
        value = -value;
    }
}

/// The end of a descent at the root, with a value for the player to move there.
#[inline]
fn finish_at_root(tree: &mut Tree, value: f32) {
    tree.root_in_flight -= 1;
    tree.root_visits += 1;
    tree.root_value_sum += value;
}

/// Backs up a result that has just become known behind `edge`, for the player to move there, and proves what follows
/// from it: a node with a move that wins is won, and one whose moves are all known is worth the best of them
/// (MCTS-Solver, Winands et al. 2008). From a proven node upwards, its result takes the place of the value.
pub(crate) fn settle(tree: &mut Tree, mut node: u32, mut edge: u32, mut outcome: Outcome) {
    loop {
        let value = -outcome.value();
        tree.edge_mut(edge).finish(value);
        let known = tree.known(node);
        let (parent, parent_edge) = tree.parent(node);
        match known {
            Some(known) if parent_edge == ROOT => {
                finish_at_root(tree, known.value());
                tree.proven = Some(known);
                tree.counts.proofs += 1;
                return;
            }
            Some(known) => {
                tree.edge_mut(parent_edge).set_child(Child::Terminal(known));
                (node, edge, outcome) = (parent, parent_edge, known);
            }
            None if parent_edge == ROOT => return finish_at_root(tree, value),
            None => return backup(tree, parent, parent_edge, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_one() {
        for i in 0..=200_000 {
            let x = i as f32 * -0.0005;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs();
            assert!(error <= exact * 3e-7 + 1e-37, "exp({x}) is off by {error:e}");
        }
        assert_eq!((exp(0.0), exp(f32::NEG_INFINITY)), (1.0, 0.0));
    }

    #[test]
    fn priors_are_the_softmax_of_legal_logits() {
        let mut tree = Tree::new(1, 3);
        tree.push_node(0, ROOT, [0, 2, 3].into_iter());
        let mut set = |logits: [f32; 4]| {
            set_priors(tree.edges_mut(0), |action| logits[action as usize]);
            tree.root_edges().iter().map(|e| e.prior()).collect::<Vec<_>>()
        };
        let priors = set([1.0, 100.0, 2.0, 3.0]);
        for (prior, expected) in priors.iter().zip([0.090_03, 0.244_73, 0.665_24]) {
            assert!((prior - expected).abs() < 2e-3, "{priors:?}");
        }
        assert_eq!(set([-3e38, 0.0, -3e38, 3e38])[2], 1.0, "extreme logits do not overflow");
    }

    #[test]
    fn priors_do_not_depend_on_the_order_of_the_moves() {
        let mut rng = lockstep_components::LaneRng::new(1, 1);
        let mut edges: Vec<Edge> = (0..7).map(|action| Edge::new(action, 0.0)).collect();
        for _ in 0..200_000 {
            let logits: [f32; 7] = std::array::from_fn(|_| 4.0 * rng.unit());
            let mut priors = || {
                set_priors(&mut edges, |action| logits[action as usize]);
                edges.reverse();
                edges.iter().map(|e| e.prior().to_bits()).collect::<Vec<_>>()
            };
            let (reversed, mut given) = (priors(), priors());
            given.reverse();
            assert_eq!(given, reversed, "{logits:?}");
        }
    }
}
