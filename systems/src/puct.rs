//! The selection rule: which edge a descent follows.

use lockstep_components::{
    Edge,
    config::{Fpu, SearchConfig},
};

/// Chooses among the edges of a node. Replace it to experiment with the search: implement this for a type of your own
/// and build the schedule with `tick_schedule::<G, MyRule>()`.
pub trait SelectionRule: Send + Sync + 'static {
    /// The rule with an agent's settings.
    fn new(config: &SearchConfig) -> Self;

    /// The index of the edge to follow.
    ///
    /// `visits` are those of the node, its own evaluation included, so it is at least 1. `value` is the node's mean
    /// value for the player to move there, as are the values of the edges. There is at least one edge; an index that is
    /// none of theirs ends the tick with [`crate::Error::NoSuchEdge`].
    fn select(&self, edges: &[Edge], visits: u32, value: f32) -> usize;
}

/// Predictor and upper confidence bound on trees, as in AlphaZero (Silver et al. 2018): the edge with the largest
/// `Q + c * P * sqrt(N) / (1 + n)`, the first one among equals.
///
/// `N` are the visits of the node, its own evaluation included, so that priors decide from the first descent on.
/// A move without visits has the value that [`Fpu`] says. With a solver, moves that are known to lose are not followed.
#[derive(Clone, Copy, Debug)]
pub struct Puct {
    c: f32,
    fpu: Fpu,
    solver: bool,
}

impl SelectionRule for Puct {
    fn new(config: &SearchConfig) -> Self {
        Self { c: config.c_puct, fpu: config.fpu, solver: config.solver }
    }

    #[inline]
    fn select(&self, edges: &[Edge], visits: u32, value: f32) -> usize {
        // All moves without visits have the same value, so the one of them with the largest prior is known before that
        // value is: one pass over the edges is enough, and only visited ones are divided for.
        let scale = self.c * (visits as f32).sqrt();
        let mut seen = 0.0;
        let (mut best, mut best_score) = (0, f32::NEG_INFINITY);
        let (mut new, mut new_prior) = (0, -1.0);
        for (i, edge) in edges.iter().enumerate() {
            let prior = edge.prior();
            if edge.visits == 0 {
                if prior > new_prior {
                    (new, new_prior) = (i, prior);
                }
                continue;
            }
            seen += prior;
            let n = edge.visits as f32;
            let score = edge.value_sum / n + scale * prior / (1.0 + n);
            if score > best_score && !(self.solver && edge.is_lost()) {
                (best, best_score) = (i, score);
            }
        }
        if new_prior < 0.0 {
            return best;
        }
        let unvisited = match self.fpu {
            Fpu::Absolute(value) => value,
            Fpu::Reduction(reduction) => value - reduction * seen.sqrt(),
        };
        let new_score = unvisited + scale * new_prior;
        if new_score > best_score || new_score == best_score && new < best { new } else { best }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (edge.visits, edge.value_sum) = (visits, value_sum);
            edge
        };
        let edges = [edge(0, 0.5, 3, 0.6), edge(1, 0.25, 1, 0.5), edge(2, 0.25, 0, 0.0)];
        let select = |fpu| Puct { c: 1.5, fpu, solver: true }.select(&edges, 5, 0.22);
        assert_eq!(select(Fpu::Reduction(0.2)), 1);
        assert_eq!(select(Fpu::Reduction(0.1)), 2);
        assert_eq!(select(Fpu::Absolute(0.0)), 1);
        assert_eq!(select(Fpu::Absolute(0.1)), 2);
        // With a large constant the prior decides: a has 33.54 * 0.125, b 33.54 * 0.125 + 0.3 more value, c 33.54 * 0.25.
        assert_eq!(Puct { c: 15.0, fpu: Fpu::Absolute(-1.0), solver: true }.select(&edges, 5, 0.22), 2);
        assert_eq!(Puct { c: 0.0, fpu: Fpu::Absolute(-1.0), solver: true }.select(&edges, 5, 0.22), 1);
    }
}
