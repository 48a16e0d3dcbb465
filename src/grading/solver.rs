//! Exact results by brute force.

use lockstep_components::{Action, Game};
use rustc_hash::FxHashMap;

/// The result of each legal move under best play, for the player to move: 1, 0 or -1. None if it takes more nodes than
/// allowed.
///
/// Alpha-beta with a table of what is known of each key up to symmetry, so it is for games in which nothing decides that a
/// key does not hold. Moves that have cut off most come first (the history heuristic, Schaeffer 1989).
pub fn scores<G: Game>(state: &G, nodes: u64) -> Option<Vec<(Action, i32)>> {
    let mut solver = Solver::<G> { known: FxHashMap::default(), cut_off: vec![0; G::ACTIONS], left: nodes };
    let legal: Vec<Action> = state.legal().collect();
    let of_move = |action| {
        let next = played(state, action);
        Some((action, solver.value_for(state, &next, -1, 1)?))
    };
    legal.into_iter().map(of_move).collect()
}

fn played<G: Game>(state: &G, action: Action) -> G {
    let mut next = state.clone();
    next.play(action);
    next
}

struct Solver<G: Game> {
    /// The least and the most that a key in canonical form can be worth to the player to move.
    known: FxHashMap<G::Key, (i8, i8)>,
    /// How often each move was enough.
    cut_off: Vec<u64>,
    left: u64,
}

impl<G: Game> Solver<G> {
    /// The value of a state to the player who moves at the one before it, exact within the window and a bound outside.
    fn value_for(&mut self, before: &G, state: &G, alpha: i32, beta: i32) -> Option<i32> {
        let same = state.to_move() == before.to_move();
        if same { self.value(state, alpha, beta) } else { Some(-self.value(state, -beta, -alpha)?) }
    }

    /// The least and the most that is known of a state, without a search.
    fn bounds(&self, state: &G) -> (i32, i32) {
        match state.outcome() {
            Some(outcome) => (outcome.value() as i32, outcome.value() as i32),
            None => self
                .known
                .get(&G::canonical(state.key()).0)
                .map_or((-1, 1), |&(least, most)| (least.into(), most.into())),
        }
    }

    fn value(&mut self, state: &G, mut alpha: i32, mut beta: i32) -> Option<i32> {
        let (least, most) = self.bounds(state);
        (alpha, beta) = (alpha.max(least), beta.min(most));
        if alpha >= beta {
            return Some(if least >= beta { least } else { most });
        }
        self.left = self.left.checked_sub(1)?;
        let mut states: Vec<(Action, G)> = state.legal().map(|action| (action, played(state, action))).collect();
        states.sort_by_key(|(action, _)| std::cmp::Reverse(self.cut_off[usize::from(*action)]));
        // What is known already may be enough.
        let known_of = |solver: &Self, next: &G| {
            let (least, most) = solver.bounds(next);
            if next.to_move() == state.to_move() { least } else { -most }
        };
        let mut best = states.iter().map(|(_, next)| known_of(self, next)).max().expect("a position in play has moves");
        if best < beta {
            for (action, next) in &states {
                best = best.max(self.value_for(state, next, alpha.max(best), beta)?);
                if best >= beta {
                    self.cut_off[usize::from(*action)] += 1;
                    break;
                }
            }
        }
        let known = self.known.entry(G::canonical(state.key()).0).or_insert((-1, 1));
        if best > alpha {
            known.0 = known.0.max(best as i8);
        }
        if best < beta {
            known.1 = known.1.min(best as i8);
        }
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle;
    use lockstep_components::games::{ConnectFour, TicTacToe};

    #[test]
    fn it_agrees_with_what_is_known() {
        for labelled in oracle::decisions::<TicTacToe>() {
            assert_eq!(scores(&labelled.position, 1 << 20), Some(labelled.scores));
        }
        let sets = oracle::built_in::<ConnectFour>();
        let late = sets.iter().find(|set| set.name == "end_easy").expect("a set of that name");
        let mut solved = 0;
        for labelled in &late.positions[..100] {
            let Some(found) = scores(&labelled.position, 100_000) else { continue };
            let signs: Vec<_> = labelled.scores.iter().map(|&(action, score)| (action, score.signum())).collect();
            assert_eq!(found, signs);
            solved += 1;
        }
        assert!(solved > 50, "{solved}");
    }
}
