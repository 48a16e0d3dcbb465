//! The policy of AlphaZero: PUCT in the tree, noise in the priors of the root, moves and targets by visits.

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx2;

use crate::policy::{Node, Policy, Search, draw_budget};
use lockstep_components::{
    Action, Edge, LaneRng, Outcome, SearchBudget, Tree,
    config::{Fpu, SearchConfig},
};
use rand_distr::{Distribution, Gamma};

/// Predictor and upper confidence bound on trees, as in AlphaZero (Silver et al. 2018): the edge with the largest
/// `Q + c * P * sqrt(N) / (1 + n)`, the first one among equals.
///
/// `N` is the number of visits of the node, its own evaluation included, so that priors decide from the first descent
/// on. A move without visits has the value that [`Fpu`] gives. With a solver, moves that are known to lose are not
/// followed.
///
/// Descents in flight count in `N` and `n`, but not in `Q` or in the value of moves without visits ("Watch the
/// Unobserved", Liu et al. 2020): they make a move less urgent, and say nothing about how good it is.
#[derive(Clone, Copy, Debug)]
pub struct Puct;

impl Policy for Puct {
    type State = ();

    #[inline]
    fn inner(&self, search: &mut Search<()>, node: Node) -> usize {
        select(search.settings, node.edges(), node.visits, node.in_flight, node.value)
    }
}

/// The index of the edge that PUCT follows.
#[inline]
fn select(settings: &SearchConfig, edges: &[Edge], visits: u32, in_flight: u32, value: f32) -> usize {
    let of = Scan { scale: settings.c_puct * ((visits + in_flight) as f32).sqrt(), solver: settings.solver };
    let Best { best, new, seen } = fastest(edges, of);
    if new.0 == f32::NEG_INFINITY {
        return best.1;
    }
    let unvisited = match settings.fpu {
        Fpu::Absolute(value) => value,
        Fpu::Reduction(reduction) => value - reduction * seen.sqrt(),
    };
    let score = unvisited + new.0;
    if score > best.0 || score == best.0 && new.1 < best.1 { new.1 } else { best.1 }
}

/// What the edges of a node are scanned with.
#[derive(Clone, Copy, Debug)]
struct Scan {
    /// The constant of PUCT times the root of the node's visits.
    scale: f32,
    /// Whether edges that are known to lose are left out.
    solver: bool,
}

/// What a scan of a node's edges has found.
///
/// All moves without visits have the same value, so the most urgent of them is known before that value is: one pass over
/// the edges is enough.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Best {
    /// The highest score among the edges with visits, and the first edge that has it; minus infinity if there is none.
    best: (f32, usize),
    /// The highest score, but for the value, among the edges without visits, and the first edge that has it; minus infinity
    /// if there is none.
    new: (f32, usize),
    /// The sum of the priors of the edges with visits, in the order of [`scan`].
    seen: f32,
}

/// The fewest edges for which vectors are worth it: what they take for fewer is longer than what they save.
#[cfg(target_arch = "x86_64")]
const MANY: usize = 17;

/// Scans edges in the fastest way that the processor has: the result is the same with all of them.
#[inline]
fn fastest(edges: &[Edge], of: Scan) -> Best {
    #[cfg(target_arch = "x86_64")]
    if edges.len() >= MANY
        && let Some(best) = avx2::scan(edges, of)
    {
        return best;
    }
    scan(edges, of)
}

/// Scans edges one by one.
///
/// Priors are summed by eights, as vectors do: the sum of floats depends on their order.
#[inline]
fn scan(edges: &[Edge], of: Scan) -> Best {
    let none = (f32::NEG_INFINITY, 0);
    let (mut best, mut new, mut seen) = (none, none, [0.0; 8]);
    for (i, edge) in edges.iter().enumerate() {
        let urge = of.scale * edge.prior() / (1.0 + (edge.visits() + edge.in_flight()) as f32);
        if edge.visits() == 0 {
            new = if urge > new.0 { (urge, i) } else { new };
            continue;
        }
        seen[i % 8] += edge.prior();
        let score = edge.value_sum / edge.visits() as f32 + urge;
        if score > best.0 && !(of.solver && edge.is_lost()) {
            best = (score, i);
        }
    }
    let pair = |i: usize| seen[i] + seen[i + 1];
    Best { best, new, seen: (pair(0) + pair(4)) + (pair(2) + pair(6)) }
}

/// Begins a search: draws its budget, as a full or a fast search, and mixes Dirichlet noise into the root's priors if
/// it is a full one.
pub fn begin(settings: &SearchConfig, tree: &mut Tree, rng: &mut LaneRng) -> SearchBudget {
    let budget = draw_budget(settings, rng);
    if budget.full && settings.noise_share > 0.0 {
        add_noise(tree, rng, settings.noise_share, settings.noise_concentration);
    }
    budget
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

/// Chooses the move of a complete search by visits, at the temperature of the ply, and appends every move of the root
/// with its weight to the target.
///
/// # Panics
/// If the tree is empty.
pub fn decide(
    settings: &SearchConfig,
    tree: &Tree,
    ply: usize,
    rng: &mut LaneRng,
    target: &mut Vec<(Action, f32)>,
) -> Action {
    let warm = ply < settings.temperature_plies as usize;
    let weights = Weights::of(tree, settings.solver);
    target.extend(tree.root_edges().iter().map(|edge| (edge.action(), weights.weight(edge))));
    weights.choose(if warm { settings.temperature } else { settings.final_temperature }, rng)
}

/// The weights that a search gives the moves at its root.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    edges: &'a [Edge],
    mode: Mode,
}

/// Which moves have a weight, and whether it is their visits or their priors.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// Every move, by visits.
    All,
    /// The moves that are known to win, by visits.
    Winning,
    /// The moves that are not known to lose, by visits.
    NotLosing,
    /// The moves that are not known to lose, by priors, because none of them was visited.
    Untried,
}

impl<'a> Weights<'a> {
    /// Weighs the root's moves by visits. With a solver, only moves that are known to win have a weight if there are
    /// any, and moves that are known to lose have none unless all lose; if only losing moves were visited, the others
    /// are weighed by their priors.
    ///
    /// # Panics
    /// If the tree is empty.
    pub fn of(tree: &'a Tree, solver: bool) -> Self {
        let edges = tree.root_edges();
        assert!(!edges.is_empty(), "a root has moves");
        let mut mode = Mode::All;
        if solver {
            if edges.iter().any(|e| e.known() == Some(Outcome::Win)) {
                mode = Mode::Winning;
            } else if edges.iter().any(Edge::is_lost) && !edges.iter().all(Edge::is_lost) {
                let tried = edges.iter().any(|e| !e.is_lost() && e.visits() > 0);
                mode = if tried { Mode::NotLosing } else { Mode::Untried };
            }
        }
        Self { edges, mode }
    }

    /// The weight of a move of the root.
    pub fn weight(&self, edge: &Edge) -> f32 {
        match self.mode {
            Mode::Winning if edge.known() != Some(Outcome::Win) => 0.0,
            Mode::NotLosing | Mode::Untried if edge.is_lost() => 0.0,
            Mode::Untried => edge.prior(),
            _ => edge.visits() as f32,
        }
    }

    /// Chooses a move with a chance in proportion to `weight ^ (1 / temperature)`. At temperature 0 it is the move with
    /// the highest weight; among equals the one with the highest value, and then the first.
    pub fn choose(&self, temperature: f32, rng: &mut LaneRng) -> Action {
        let key = |e: &Edge| (self.weight(e), e.value_or(f32::NEG_INFINITY));
        let best = self.edges.iter().reduce(|a, b| if key(b) > key(a) { b } else { a }).expect("a root has moves");
        if temperature == 0.0 {
            return best.action();
        }
        let most = self.weight(best);
        let weight = |e: &Edge| (self.weight(e) / most).powf(1.0 / temperature);
        let total: f32 = self.edges.iter().map(weight).sum();
        let mut left = rng.unit() * total;
        for edge in self.edges.iter().filter(|e| self.weight(e) > 0.0) {
            left -= weight(edge);
            if left < 0.0 {
                return edge.action();
            }
        }
        // The weights were summed in the same order, but rounding can leave a little over.
        best.action()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_components::tree::{Child, ROOT, Turn};

    /// Priors 0.5, 0.25, 0.25; visits 3, 1, 0; value sums 0.6, 0.5, 0; node visits 5, value 0.22; c = 1.5.
    ///
    /// scale = 1.5 * sqrt(5) = 3.354102
    /// a: 0.2 + 3.354102 * 0.5 / 4 = 0.619263
    /// b: 0.5 + 3.354102 * 0.25 / 2 = 0.919263
    /// c: u + 3.354102 * 0.25 = u + 0.838525, so it wins exactly when u > 0.080737
    ///    reduction 0.2: u = 0.22 - 0.2 * sqrt(0.75) = 0.046795: b
    ///    reduction 0.1: u = 0.133397: c
    ///    absolute 0: b; absolute 0.1: c
    #[test]
    fn a_hand_computed_example() {
        let edge = |action, prior, visits, value_sum| {
            let mut edge = Edge::new(action, prior);
            edge.set_visits(visits, 0);
            edge.value_sum = value_sum;
            edge
        };
        let edges = [edge(0, 0.5, 3, 0.6), edge(1, 0.25, 1, 0.5), edge(2, 0.25, 0, 0.0)];
        let settings = |c_puct, fpu| SearchConfig { c_puct, fpu, ..Default::default() };
        let select = |fpu| super::select(&settings(1.5, fpu), &edges, 5, 0, 0.22);
        assert_eq!(select(Fpu::Reduction(0.2)), 1);
        assert_eq!(select(Fpu::Reduction(0.1)), 2);
        assert_eq!(select(Fpu::Absolute(0.0)), 1);
        assert_eq!(select(Fpu::Absolute(0.1)), 2);
        // With a large constant the prior decides: a has 33.54 * 0.125, b 33.54 * 0.125 + 0.3 more value, c 33.54 * 0.25.
        assert_eq!(super::select(&settings(15.0, Fpu::Absolute(-1.0)), &edges, 5, 0, 0.22), 2);
        assert_eq!(super::select(&settings(0.0, Fpu::Absolute(-1.0)), &edges, 5, 0, 0.22), 1);
    }

    /// The same with 4 descents in flight, of which edge b has `b`, edge c `c`, and edge a the rest:
    ///
    /// scale = 1.5 * sqrt(5 + 4) = 4.5
    /// a: 0.2 + 4.5 * 0.5 / (1 + 3 + a) = 0.2 + 2.25 / (4 + a)
    /// b: 0.5 + 4.5 * 0.25 / (1 + 1 + b) = 0.5 + 1.125 / (2 + b)
    /// c: u + 4.5 * 0.25 / (1 + c) = u + 1.125 / (1 + c), with u as above: what is in flight is not seen yet
    ///    a 0, b 4, c 0: 0.7625, 0.6875, u + 1.125: c
    ///    a 0, b 2, c 2: 0.7625, 0.78125, u + 0.375: b with u = 0.046795, c with u > 0.40625
    ///    a 0, b 3, c 1: 0.7625, 0.725, u + 0.5625: a with u = 0.133397; c with u > 0.2
    #[test]
    fn descents_in_flight_count_and_have_no_value() {
        let select = |in_flight: [u32; 3], fpu| {
            let edge = |i: usize, prior, visits, value_sum| {
                let mut edge = Edge::new(i as u16, prior);
                edge.set_visits(visits, in_flight[i]);
                edge.value_sum = value_sum;
                edge
            };
            let edges = [edge(0, 0.5, 3, 0.6), edge(1, 0.25, 1, 0.5), edge(2, 0.25, 0, 0.0)];
            super::select(&SearchConfig { c_puct: 1.5, fpu, ..Default::default() }, &edges, 5, 4, 0.22)
        };
        assert_eq!(select([0, 4, 0], Fpu::Reduction(0.2)), 2);
        assert_eq!(select([0, 2, 2], Fpu::Reduction(0.2)), 1);
        assert_eq!(select([0, 2, 2], Fpu::Absolute(0.40)), 1);
        assert_eq!(select([0, 2, 2], Fpu::Absolute(0.41)), 2);
        assert_eq!(select([0, 3, 1], Fpu::Reduction(0.1)), 0);
        assert_eq!(select([0, 3, 1], Fpu::Absolute(0.19)), 0);
        assert_eq!(select([0, 3, 1], Fpu::Absolute(0.21)), 2);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn vectors_choose_as_single_edges_do() {
        let mut rng = LaneRng::new(5, 5);
        for round in 0..40_000 {
            // Few different numbers, so that there are many equals.
            let edges: Vec<Edge> = (0..rng.below(if round % 8 == 0 { 230 } else { 20 }))
                .map(|i| {
                    let mut edge = Edge::new(i as u16, 0.125 * rng.below(9) as f32);
                    edge.set_visits(
                        rng.below(3) as u32 * rng.below(400) as u32,
                        rng.below(3) as u32 * rng.below(2) as u32,
                    );
                    edge.value_sum = if edge.visits() == 0 { 0.0 } else { 0.25 * rng.below(9) as f32 - 1.0 };
                    let outcomes = [Outcome::Win, Outcome::Draw, Outcome::Loss];
                    if edge.visits() > 0 && rng.below(3) == 0 {
                        edge.set_child(Child::Terminal(outcomes[rng.below(3)]));
                    } else if rng.below(2) == 0 {
                        edge.set_child(Child::Node(rng.below(1 << 20) as u32));
                    }
                    edge
                })
                .collect();
            let of = Scan { scale: 0.5 * rng.below(5) as f32, solver: rng.below(2) == 0 };
            let Some(vectors) = avx2::scan(&edges, of) else { return };
            assert_eq!(vectors, scan(&edges, of), "{edges:?}");
        }
    }

    fn weights(tree: &Tree) -> Weights<'_> {
        Weights::of(tree, true)
    }

    #[test]
    fn temperature_weighs_the_visits() {
        let mut tree = Tree::with_moves(1, 3, 3);
        tree.push_node(0, ROOT, Turn::SAME, 0.0, 0..3);
        for (edge, visits) in tree.edges_mut(0).iter_mut().zip([0, 30, 10]) {
            edge.set_visits(visits, 0);
        }
        let mut rng = LaneRng::new(1, 2);
        for (temperature, expected) in [(1.0, 0.75), (0.5, 0.9), (2.0, 0.634), (0.0, 1.0)] {
            let hits = (0..10_000).filter(|_| weights(&tree).choose(temperature, &mut rng) == 1).count();
            assert!((hits as f32 / 10_000.0 - expected).abs() < 0.02, "temperature {temperature}: {hits}");
        }
        let (settings, mut target) = (SearchConfig::default(), vec![]);
        super::decide(&settings, &tree, 0, &mut rng, &mut target);
        assert_eq!(target, [(0, 0.0), (1, 30.0), (2, 10.0)]);
    }

    #[test]
    fn known_results_come_before_visits() {
        let mut tree = Tree::with_moves(1, 3, 3);
        tree.push_node(0, ROOT, Turn::SAME, 0.0, 0..3);
        let mut rng = LaneRng::new(1, 2);
        let mut choose = |known: [Option<Outcome>; 3], visits: [u32; 3], solver| {
            for (i, edge) in tree.edges_mut(0).iter_mut().enumerate() {
                edge.set_child(known[i].map_or(Child::Unexpanded, Child::Terminal));
                edge.set_visits(visits[i], 0);
                edge.set_prior([0.2, 0.3, 0.5][i]);
            }
            let weights = Weights::of(&tree, solver);
            let learned = tree.root_edges().iter().filter(|edge| weights.weight(edge) > 0.0);
            (weights.choose(0.0, &mut rng), learned.map(|edge| edge.action()).collect::<Vec<_>>())
        };
        use Outcome::{Loss, Win};
        assert_eq!(choose([None, Some(Win), None], [9, 1, 5], true), (1, vec![1]), "the win is played");
        assert_eq!(choose([None, Some(Win), None], [9, 1, 5], false), (0, vec![0, 1, 2]), "without a solver it is not");
        assert_eq!(choose([Some(Loss), None, None], [9, 1, 5], true), (2, vec![1, 2]), "the loss is avoided");
        assert_eq!(choose([Some(Loss), None, None], [9, 0, 0], true), (2, vec![1, 2]), "priors decide");
        assert_eq!(choose([Some(Loss); 3], [9, 1, 5], true), (0, vec![0, 1, 2]), "all lose");
    }

    #[test]
    fn noise_keeps_the_priors_a_distribution() {
        let mut rng = LaneRng::new(3, 0);
        for moves in [1u16, 7, 9, 40] {
            let mut tree = Tree::with_moves(1, 40, 40);
            tree.push_node(0, ROOT, Turn::SAME, 0.0, 0..moves);
            tree.edges_mut(0).iter_mut().for_each(|e| e.set_prior(1.0 / f32::from(moves)));
            add_noise(&mut tree, &mut rng, 0.25, 10.0);
            let priors: Vec<f32> = tree.root_edges().iter().map(|e| e.prior()).collect();
            assert!((priors.iter().sum::<f32>() - 1.0).abs() < 0.01, "{priors:?}");
            assert!(priors.iter().all(|&p| p >= 0.74 / f32::from(moves)));
            assert!(moves == 1 || priors.iter().any(|&p| p > 1.01 / f32::from(moves)));
        }
    }
}
