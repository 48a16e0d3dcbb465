//! Exact results by brute force.

use crate::game::{Action, Game};
use rustc_hash::FxHashMap;

/// The result of each legal move under best play: 1, 0 or -1 for a win, a draw or a loss of the player to move. Returns
/// `None` if the search needs more than `nodes` nodes, or a larger table than one of `table` bytes. `watch` is called
/// now and then with the number of nodes searched since its last call.
///
/// Depth-first proof-number search (Nagai 2002) with a table of what is known of each key up to symmetry. It is right
/// only for games without [`Game::HISTORY`], where the key alone decides the result.
pub fn scores<G: Game>(state: &G, nodes: u64, table: usize, watch: impl FnMut(u64)) -> Option<Vec<(Action, i32)>> {
    let room = room(table, size_of::<((G::Key, Goal), Effort)>());
    let mut solver = Solver::<G, _> { known: FxHashMap::default(), room, left: nodes, told: nodes, watch };
    let legal: Vec<Action> = state.legal().collect();
    let of_move = |action| {
        let next = played(state, action);
        let mut gets = |goal: Goal| {
            let same = next.to_move() == state.to_move();
            Some(if same { solver.reaches(&next, goal)? } else { !solver.reaches(&next, goal.of_other())? })
        };
        let score = if gets(Goal::Win)? {
            1
        } else if gets(Goal::Draw)? {
            0
        } else {
            -1
        };
        Some((action, score))
    };
    let scores = legal.into_iter().map(of_move).collect();
    solver.tell();
    scores
}

/// Entries of `entry` bytes that a hash table has room for within `bytes` bytes. The number of places is a power of 2,
/// with one byte more for each. At most seven of eight are taken before the table doubles, and the old table exists
/// until the new one is filled.
fn room(bytes: usize, entry: usize) -> usize {
    let places = bytes / 3 * 2 / (entry + 1);
    if places < 8 { 0 } else { (1 << places.ilog2()) / 8 * 7 }
}

fn played<G: Game>(state: &G, action: Action) -> G {
    let mut next = state.clone();
    next.play(action);
    next
}

/// The least result that the player to move tries to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Goal {
    Win,
    Draw,
}

impl Goal {
    /// The least result that the other player reaches if the player to move does not reach this goal.
    fn of_other(self) -> Self {
        match self {
            Self::Win => Self::Draw,
            Self::Draw => Self::Win,
        }
    }
}

/// The proof number and the disproof number: about how many positions are still to be searched to prove that the player
/// to move reaches the goal, and that the player does not. When the answer is known, one is 0 and the other [`NEVER`].
type Effort = (u32, u32);

const NEVER: u32 = 1 << 30;

struct Solver<G: Game, W> {
    known: FxHashMap<(G::Key, Goal), Effort>,
    /// The most entries of `known`.
    room: usize,
    left: u64,
    /// The value of `left` when `watch` was last called.
    told: u64,
    watch: W,
}

/// Nodes between two calls of `watch`: some milliseconds.
const SILENT: u64 = 1 << 14;

impl<G: Game, W: FnMut(u64)> Solver<G, W> {
    fn tell(&mut self) {
        (self.watch)(self.told - self.left);
        self.told = self.left;
    }

    fn reaches(&mut self, state: &G, goal: Goal) -> Option<bool> {
        let (prove, refute) = self.effort(state, goal);
        if prove != 0 && refute != 0 {
            self.search(state, goal, (NEVER, NEVER))?;
        }
        Some(self.effort(state, goal).0 == 0)
    }

    fn effort(&self, state: &G, goal: Goal) -> Effort {
        match state.outcome() {
            Some(outcome) if outcome.value() as i32 >= i32::from(goal == Goal::Win) => (0, NEVER),
            Some(_) => (NEVER, 0),
            None => self.known.get(&(G::canonical(state.key()).0, goal)).copied().unwrap_or((1, 1)),
        }
    }

    /// Searches a state until either of its two numbers reaches its limit.
    fn search(&mut self, state: &G, goal: Goal, limits: Effort) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        if self.told - self.left == SILENT {
            self.tell();
        }
        let moves: Vec<(G, bool)> = state
            .legal()
            .map(|action| {
                let next = played(state, action);
                let same = next.to_move() == state.to_move();
                (next, same)
            })
            .collect();
        loop {
            // The player to move needs one move that works, the other one has to refute all of them.
            let (mut prove, mut second, mut refute, mut best) = (NEVER, NEVER, 0u32, 0);
            let mut of_best = 0;
            for (i, (next, same)) in moves.iter().enumerate() {
                let own = if *same {
                    self.effort(next, goal)
                } else {
                    let (prove, refute) = self.effort(next, goal.of_other());
                    (refute, prove)
                };
                if own.0 < prove {
                    (second, prove, best, of_best) = (prove, own.0, i, own.1);
                } else {
                    second = second.min(own.0);
                }
                refute = (refute + own.1).min(NEVER);
            }
            if prove >= limits.0 || refute >= limits.1 {
                let of = (G::canonical(state.key()).0, goal);
                if self.known.len() == self.room && !self.known.contains_key(&of) {
                    return None;
                }
                self.known.insert(of, (prove, refute));
                return Some(());
            }
            let (next, same) = &moves[best];
            let for_prove = limits.0.min(second + 1 + second / 4);
            let for_refute = (limits.1 - refute) + of_best;
            if *same {
                self.search(next, goal, (for_prove, for_refute))?;
            } else {
                self.search(next, goal.of_other(), (for_refute, for_prove))?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::games::TicTacToe;

    const TABLE: usize = 16 << 20;

    /// A position that needs more than the table has room for is given up, and the table is no larger than it was to be.
    #[test]
    fn a_table_keeps_its_size() {
        let start = TicTacToe::start();
        let known: FxHashMap<u32, u64> = (0..room(100_000, 16) as u32).map(|key| (key, 0)).collect();
        // 4096 places of 17 bytes beside 2048 are 104,448 bytes, and half of that fits.
        assert_eq!((known.len(), known.capacity()), (1792, 1792));
        assert!(scores(&start, 1 << 20, TABLE, |_| ()).is_some());
        assert_eq!(scores(&start, 1 << 20, 2048, |_| ()), None);
        assert_eq!(scores(&start, 1 << 20, 0, |_| ()), None);
    }
}
