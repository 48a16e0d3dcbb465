//! Gumbel AlphaZero: policy improvement with few simulations (Danihelka et al. 2022, "Policy improvement by planning with
//! Gumbel").

use crate::{
    expand::exp,
    policy::{Decision, Node, Policy, Search, draw_budget},
};
use lockstep_components::{Action, Edge, LaneRng, Outcome, SearchBudget, Tree, config::SearchConfig};

/// The policy of Gumbel AlphaZero. At the root, moves are drawn without replacement from the network's policy by the
/// Gumbel top-k trick, and sequential halving spends the simulations on those that look best. Below, the visits follow
/// the improved policy, which is also what the network learns: the softmax of the logits plus the values of the moves,
/// where a move without visits has the value of the node, mixed from its evaluation and the values of the others.
///
/// For one leaf per tree and without proofs it is the same as `gumbel_muzero_policy` of mctx, which the tests compare
/// it with. With more leaves, descents in flight count as visits. Moves that are known to lose are dropped, and a move
/// that is known to win is played and learned.
#[derive(Clone, Copy, Debug)]
pub struct Gumbel;

/// What the policy [`Gumbel`] keeps for a tree.
#[derive(Clone, Debug, Default)]
pub struct GumbelState {
    /// For each edge of the root, the sum of the logit of its prior and its Gumbel noise. Moves are considered in
    /// descending order.
    pub urgencies: Vec<f32>,
    /// The number of simulations in the budget of the search.
    pub simulations: u32,
}

impl Policy for Gumbel {
    type State = GumbelState;

    fn begin(&self, search: &mut Search<GumbelState>, tree: &mut Tree) -> SearchBudget {
        let budget = draw_budget(search.settings, search.rng);
        search.state.simulations = budget.simulations;
        search.state.urgencies.clear();
        let scale = search.settings.gumbel_scale;
        search.state.urgencies.extend(tree.root_edges().iter().map(|edge| {
            let noise = if scale > 0.0 { scale * gumbel(search.rng) } else { 0.0 };
            edge.prior().max(f32::MIN_POSITIVE).ln() + noise
        }));
        budget
    }

    fn root(&self, search: &mut Search<GumbelState>, root: Node) -> usize {
        let edges = root.edges();
        let open = Open::of(edges, search.settings.solver);
        let moves = edges.iter().filter(|edge| open.has(edge)).count() as u32;
        let made = edges.iter().map(visits).sum();
        let level = level(search.settings.considered_moves.min(moves), search.state.simulations, made);
        let values = Values::of(search.settings, edges, root.raw_value());
        // Descents that were taken back, and moves that are known to lose, can leave no move with just so many visits.
        let closest = |edge: &Edge| -((2 * visits(edge).abs_diff(level) + u32::from(visits(edge) < level)) as f32);
        let urgency = |i: usize| search.state.urgencies[i] + values.of_edge(&edges[i]);
        first_best(edges, open, |i, edge| (closest(edge), urgency(i)))
    }

    fn inner(&self, search: &mut Search<GumbelState>, node: Node) -> usize {
        let edges = node.edges();
        let open = Open::of(edges, search.settings.solver);
        let values = Values::of(search.settings, edges, node.raw_value());
        let weight = |edge: &Edge| edge.prior() * exp(values.of_edge(edge) - values.highest);
        let sum: f32 = edges.iter().map(weight).sum();
        let all: u32 = edges.iter().map(visits).sum();
        first_best(edges, open, |_, edge| (weight(edge) / sum - visits(edge) as f32 / (1 + all) as f32, 0.0))
    }

    fn decide(
        &self,
        search: &mut Search<GumbelState>,
        tree: &Tree,
        _ply: usize,
        target: &mut Vec<(Action, f32)>,
    ) -> Decision {
        let edges = tree.root_edges();
        let wins = |edge: &&Edge| edge.known() == Some(Outcome::Win);
        if let Some(win) = edges.iter().find(wins).filter(|_| search.settings.solver) {
            return Decision::of(win.action(), tree);
        }
        let open = Open::of(edges, search.settings.solver);
        let values = Values::of(search.settings, edges, tree.raw_value(0));
        target.extend(
            edges
                .iter()
                .filter(|edge| open.has(edge))
                .map(|edge| (edge.action(), edge.prior() * exp(values.of_edge(edge) - values.highest))),
        );
        let urgency = |i: usize| search.state.urgencies[i] + values.of_edge(&edges[i]);
        Decision::of(edges[first_best(edges, open, |i, edge| (edge.visits() as f32, urgency(i)))].action(), tree)
    }

    /// Returns false: each search begins from an empty root, because the simulations of a phase are counted from there.
    fn keeps_subtree(&self, _: &SearchConfig) -> bool {
        false
    }
}

/// A draw from the standard Gumbel distribution.
fn gumbel(rng: &mut LaneRng) -> f32 {
    // In the middle between two numbers that `unit` gives, so never 0; nor 1, which the last one is rounded to.
    let unit = rng.unit() + 0.5 / (1u32 << 24) as f32;
    -(-unit.min(1.0f32.next_down()).ln()).ln()
}

/// Number of visits of an edge, descents in flight included.
fn visits(edge: &Edge) -> u32 {
    edge.visits() + edge.in_flight()
}

/// Which moves are in question: those that are not known to lose, or all if all lose.
#[derive(Clone, Copy)]
struct Open {
    lost_too: bool,
}

impl Open {
    fn of(edges: &[Edge], solver: bool) -> Self {
        Self { lost_too: !solver || edges.iter().all(Edge::is_lost) }
    }

    fn has(self, edge: &Edge) -> bool {
        self.lost_too || !edge.is_lost()
    }
}

/// The index of the first open edge with the highest key.
fn first_best(edges: &[Edge], open: Open, key: impl Fn(usize, &Edge) -> (f32, f32)) -> usize {
    let keys = edges.iter().enumerate().filter(|(_, edge)| open.has(edge)).map(|(i, edge)| (i, key(i, edge)));
    keys.reduce(|best, new| if new.1 > best.1 { new } else { best }).map_or(0, |(i, _)| i)
}

/// The number of visits of the move that sequential halving visits next, after `made` of `simulations` simulations.
/// Each phase visits its moves equally often, and the next phase has half as many moves, but at least two.
fn level(moves: u32, simulations: u32, made: u32) -> u32 {
    if moves <= 1 {
        return made;
    }
    let phases = u32::BITS - (moves - 1).leading_zeros();
    let (mut moves, mut begun, mut visits) = (moves, 0, 0);
    loop {
        let rounds = (simulations / (phases * moves)).max(1);
        if made < begun + rounds * moves {
            return visits + (made - begun) / moves;
        }
        (begun, visits) = (begun + rounds * moves, visits + rounds);
        moves = (moves / 2).max(2);
    }
}

/// The completed values of a node's moves, transformed so that they can be added to logits (equation 8, with the
/// visits of the most visited move).
struct Values {
    /// The value of moves without visits (equation 33).
    mixed: f32,
    lowest: f32,
    scale: f32,
    /// The transformed value of the best move.
    highest: f32,
}

impl Values {
    #[inline]
    fn of(settings: &SearchConfig, edges: &[Edge], raw_value: f32) -> Self {
        let (mut all, mut most, mut priors, mut weighted) = (0, 0, 0.0, 0.0);
        let (mut lowest, mut highest) = (f32::INFINITY, f32::NEG_INFINITY);
        let mut unvisited = false;
        for edge in edges {
            let n = edge.visits();
            if n == 0 {
                unvisited = true;
                continue;
            }
            let value = edge.value_sum / n as f32;
            let prior = edge.prior().max(f32::MIN_POSITIVE);
            (lowest, highest) = (lowest.min(value), highest.max(value));
            (all, most) = (all + n, most.max(n));
            (priors, weighted) = (priors + prior, weighted + prior * value);
        }
        let mut mixed = raw_value;
        if all > 0 {
            mixed = (raw_value + all as f32 * (weighted / priors)) / (all + 1) as f32;
        }
        if unvisited {
            (lowest, highest) = (lowest.min(mixed), highest.max(mixed));
        }
        let scale = settings.value_scale * (settings.value_visits + most as f32) / (highest - lowest).max(1e-8);
        Self { mixed, lowest, scale, highest: (highest - lowest) * scale }
    }

    #[inline]
    fn of_edge(&self, edge: &Edge) -> f32 {
        (edge.value_or(self.mixed) - self.lowest) * self.scale
    }
}
