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
    /// `visits` are the finished ones of the node, its own evaluation included, so there is at least 1; `in_flight` are
    /// the descents through it whose values are not known yet, those of its edges together. `value` is the node's
    /// mean value for the player to move there, as are the values of the edges.
    ///
    /// With several leaves per tree, a rule that does not count what is in flight sends all descents of a group to one leaf.
    ///
    /// There is at least one edge; an index that is none of theirs ends the tick with [`crate::Error::NoSuchEdge`].
    fn select(&self, edges: &[Edge], visits: u32, in_flight: u32, value: f32) -> usize;
}

/// Predictor and upper confidence bound on trees, as in AlphaZero (Silver et al. 2018): the edge with the largest
/// `Q + c * P * sqrt(N) / (1 + n)`, the first one among equals.
///
/// `N` are the visits of the node, its own evaluation included, so that priors decide from the first descent on.
/// A move without visits has the value that [`Fpu`] says. With a solver, moves that are known to lose are not followed.
///
/// Descents in flight count in `N` and `n`, and have no part in `Q` and in the value of moves without visits ("Watch the
/// Unobserved", Liu et al. 2020): they make a move less urgent, and say nothing about how good it is.
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
    fn select(&self, edges: &[Edge], visits: u32, in_flight: u32, value: f32) -> usize {
        // Nothing is ever in flight here with one leaf per tree: that search does not pay for it.
        if in_flight == 0 {
            self.best::<false>(edges, visits, value)
        } else {
            self.best_in_flight(edges, visits + in_flight, value)
        }
    }
}

impl Puct {
    #[inline(never)]
    fn best_in_flight(&self, edges: &[Edge], visits: u32, value: f32) -> usize {
        self.best::<true>(edges, visits, value)
    }

    #[inline(always)]
    fn best<const IN_FLIGHT: bool>(&self, edges: &[Edge], visits: u32, value: f32) -> usize {
        // All moves without visits have the same value, so the one of them with the largest prior is known before that
        // value is: one pass over the edges is enough, and only visited ones are divided for. Those that are in flight for
        // the first time have that value too, and are rare enough for a pass of their own.
        let scale = self.c * (visits as f32).sqrt();
        let mut seen = 0.0;
        let (mut best, mut best_score) = (0, f32::NEG_INFINITY);
        let (mut new, mut new_prior) = (0, -1.0);
        let mut first_in_flight = false;
        for (i, edge) in edges.iter().enumerate() {
            let prior = edge.prior();
            if edge.visits() == 0 {
                if IN_FLIGHT && edge.in_flight() > 0 {
                    first_in_flight = true;
                } else if prior > new_prior {
                    (new, new_prior) = (i, prior);
                }
                continue;
            }
            seen += prior;
            let finished = edge.visits() as f32;
            let n = if IN_FLIGHT { (edge.visits() + edge.in_flight()) as f32 } else { finished };
            let score = edge.value_sum / finished + scale * prior / (1.0 + n);
            if score > best_score && !(self.solver && edge.is_lost()) {
                (best, best_score) = (i, score);
            }
        }
        if new_prior < 0.0 && !first_in_flight {
            return best;
        }
        let unvisited = match self.fpu {
            Fpu::Absolute(value) => value,
            Fpu::Reduction(reduction) => value - reduction * seen.sqrt(),
        };
        let mut consider = |i, score| {
            if score > best_score || score == best_score && i < best {
                (best, best_score) = (i, score);
            }
        };
        if new_prior >= 0.0 {
            consider(new, unvisited + scale * new_prior);
        }
        if first_in_flight {
            for (i, edge) in edges.iter().enumerate().filter(|(_, e)| e.visits() == 0 && e.in_flight() > 0) {
                consider(i, unvisited + scale * edge.prior() / (1.0 + edge.in_flight() as f32));
            }
        }
        best
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
            edge.set_visits(visits, 0);
            edge.value_sum = value_sum;
            edge
        };
        let edges = [edge(0, 0.5, 3, 0.6), edge(1, 0.25, 1, 0.5), edge(2, 0.25, 0, 0.0)];
        let select = |fpu| Puct { c: 1.5, fpu, solver: true }.select(&edges, 5, 0, 0.22);
        assert_eq!(select(Fpu::Reduction(0.2)), 1);
        assert_eq!(select(Fpu::Reduction(0.1)), 2);
        assert_eq!(select(Fpu::Absolute(0.0)), 1);
        assert_eq!(select(Fpu::Absolute(0.1)), 2);
        // With a large constant the prior decides: a has 33.54 * 0.125, b 33.54 * 0.125 + 0.3 more value, c 33.54 * 0.25.
        assert_eq!(Puct { c: 15.0, fpu: Fpu::Absolute(-1.0), solver: true }.select(&edges, 5, 0, 0.22), 2);
        assert_eq!(Puct { c: 0.0, fpu: Fpu::Absolute(-1.0), solver: true }.select(&edges, 5, 0, 0.22), 1);
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
            Puct { c: 1.5, fpu, solver: true }.select(&edges, 5, 4, 0.22)
        };
        assert_eq!(select([0, 4, 0], Fpu::Reduction(0.2)), 2);
        assert_eq!(select([0, 2, 2], Fpu::Reduction(0.2)), 1);
        assert_eq!(select([0, 2, 2], Fpu::Absolute(0.40)), 1);
        assert_eq!(select([0, 2, 2], Fpu::Absolute(0.41)), 2);
        assert_eq!(select([0, 3, 1], Fpu::Reduction(0.1)), 0);
        assert_eq!(select([0, 3, 1], Fpu::Absolute(0.19)), 0);
        assert_eq!(select([0, 3, 1], Fpu::Absolute(0.21)), 2);
    }
}
