//! `TickSystems::Expand`: evaluations become nodes, and their values are backed up.

use crate::{Evaluations, agent::Inference};
use lockstep_components::{
    Action, Edge, Evaluation, Game, Leaf, LeafState, Outcome, SearchBudget, Tree, TreeState,
    tree::{Child, ROOT},
};

/// Resolves the group of leaves of one tree: expands the leaves and backs up their values, in their order. Marks the
/// search if it is complete.
#[inline]
pub fn expand_tree<G: Game>(tree: &mut Tree, budget: SearchBudget, leaves: &mut [Leaf<G>], inference: &Inference) {
    for leaf in leaves {
        match leaf.state {
            LeafState::Pending { row } => {
                let Evaluations { logits, values, .. } = &inference.evaluations;
                let row = row as usize;
                expand_leaf(tree, leaf, &logits[row * G::ACTIONS..(row + 1) * G::ACTIONS], values[row]);
            }
            LeafState::Known { .. } => expand_known(tree, leaf),
            LeafState::Idle | LeafState::Selected => continue,
        }
        leaf.state = LeafState::Idle;
    }
    if tree.state != TreeState::Searching {
        return;
    }
    if tree.simulations_at_root() >= budget.simulations || tree.proven.is_some() {
        tree.counts.proofs += u32::from(tree.proven.is_some());
        tree.state = TreeState::Complete;
    } else if tree.free_nodes(G::MAX_LEGAL) == 0 {
        tree.counts.full += 1;
        tree.state = TreeState::Complete;
    }
}

/// Adds the node of a leaf and backs up its value. `logits`, one for each action, and `value` are the evaluation of
/// [`Leaf::asked`], for the player to move there.
pub fn expand_leaf<G: Game>(tree: &mut Tree, leaf: &Leaf<G>, logits: &[f32], value: f32) {
    let node = tree.push_node(leaf.node, leaf.edge, leaf.turn, value, G::moves(leaf.position.key()));
    let logit = |action| logits[G::transform_action(action, leaf.symmetry.into()) as usize];
    set_priors(tree.edges_mut(node), logit);
    restrict(tree, node, &leaf.position);
    link(tree, leaf, node, value);
}

/// Removes the edges of a node that the path does not allow, and scales the priors of the others to the sum 1.
#[inline]
fn restrict<G: Game>(tree: &mut Tree, node: u32, state: &G) {
    if tree.retain_edges(node, |action| state.allows(action)) {
        let edges = tree.edges_mut(node);
        let sum: f32 = edges.iter().map(Edge::prior).sum();
        let (scale, equal) = (1.0 / sum, 1.0 / edges.len() as f32);
        // Priors below the smallest number are 0, and may be all that is left.
        edges.iter_mut().for_each(|edge| edge.set_prior(if sum > 0.0 { edge.prior() * scale } else { equal }));
    }
}

/// Adds the node of a leaf whose evaluation was found in the cache, because the cache may no longer hold it when the
/// group is resolved. The edge stays pending until [`expand_known`].
pub fn add_known<G: Game>(tree: &mut Tree, leaf: &mut Leaf<G>, evaluation: Evaluation) {
    let moves = G::moves(leaf.position.key());
    let node = tree.push_node(leaf.node, leaf.edge, leaf.turn, evaluation.value, moves);
    let edges = tree.edges_mut(node);
    if leaf.symmetry == 0 {
        for (i, edge) in edges.iter_mut().enumerate() {
            edge.set_prior(evaluation.prior(i));
        }
    } else if G::ACTIONS <= 64 {
        set_cached::<G>(edges, leaf, evaluation, &mut [0.0; 64]);
    } else {
        set_cached::<G>(edges, leaf, evaluation, &mut vec![0.0; G::ACTIONS]);
    }
    restrict(tree, node, &leaf.position);
    tree.cache_hits += 1;
    leaf.state = LeafState::Known { node, value: evaluation.value };
}

/// Gives edges the priors of a cached evaluation, which are in the order of the asked key's moves. `of_action` has room
/// for all actions.
#[inline]
fn set_cached<G: Game>(edges: &mut [Edge], leaf: &Leaf<G>, evaluation: Evaluation, of_action: &mut [f32]) {
    for (i, action) in G::moves(leaf.asked).enumerate() {
        of_action[usize::from(action)] = evaluation.prior(i);
    }
    for edge in edges {
        edge.set_prior(of_action[usize::from(G::transform_action(edge.action(), leaf.symmetry.into()))]);
    }
}

/// Makes the edge of a leaf in [`LeafState::Known`] lead to its node, and backs up its value. Does nothing with other
/// leaves.
#[inline]
pub fn expand_known<G: Game>(tree: &mut Tree, leaf: &Leaf<G>) {
    if let LeafState::Known { node, value } = leaf.state {
        link(tree, leaf, node, value);
    }
}

/// Makes the edge of a leaf lead to its node and backs up its value, or makes the node the root.
#[inline]
fn link<G: Game>(tree: &mut Tree, leaf: &Leaf<G>, node: u32, value: f32) {
    if leaf.edge == ROOT {
        tree.root_visits = 1;
        tree.root_value_sum = value;
        tree.state = TreeState::Expanded;
    } else {
        tree.edge_mut(leaf.edge).set_child(Child::Node(node));
        backup(tree, leaf.node, leaf.edge, leaf.turn.value(value));
    }
}

/// Sets the priors of edges to the softmax of their logits.
///
/// The priors must not depend on the symmetric form of a position, and so on the order of its moves. The sum is
/// therefore one of whole numbers, which is the same in any order.
#[inline]
pub(crate) fn set_priors(edges: &mut [Edge], logit: impl Fn(Action) -> f32) {
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
pub(crate) fn exp(x: f32) -> f32 {
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
/// `value` is for the player who chooses `edge` at `node`; its sign changes on the way up where the turn has passed.
#[inline]
pub(crate) fn backup(tree: &mut Tree, mut node: u32, mut edge: u32, mut value: f32) {
    loop {
        tree.edge_mut(edge).finish(value);
        let turn = tree.turn(node);
        (node, edge) = tree.parent(node);
        if edge == ROOT {
            return finish_at_root(tree, value);
        }
        value = turn.value(value);
    }
}

/// Finishes a descent at the root, with a value for the player to move there.
#[inline]
fn finish_at_root(tree: &mut Tree, value: f32) {
    tree.root_in_flight -= 1;
    tree.root_visits += 1;
    tree.root_value_sum += value;
}

/// Backs up a result that has just become known behind `edge`, for the player who chooses it, and proves what follows
/// from it: a node with a move that wins is won, and a node whose moves are all known has the best of their results
/// (MCTS-Solver, Winands et al. 2008). Above a proven node, its result is backed up in place of the value.
pub(crate) fn prove(tree: &mut Tree, mut node: u32, mut edge: u32, mut outcome: Outcome) {
    loop {
        let value = outcome.value();
        tree.edge_mut(edge).finish(value);
        let known = tree.known(node);
        let turn = tree.turn(node);
        let (parent, parent_edge) = tree.parent(node);
        match known {
            Some(known) if parent_edge == ROOT => {
                finish_at_root(tree, known.value());
                tree.proven = Some(known);
                return;
            }
            Some(known) => {
                outcome = turn.outcome(known);
                tree.edge_mut(parent_edge).set_child(Child::Terminal(outcome));
                (node, edge) = (parent, parent_edge);
            }
            None if parent_edge == ROOT => return finish_at_root(tree, value),
            None => return backup(tree, parent, parent_edge, turn.value(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_components::tree::Turn;

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
        let mut tree = Tree::with_moves(1, 3, 3);
        tree.push_node(0, ROOT, Turn::SAME, 0.0, [0, 2, 3].into_iter());
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
