//! The records of games, in play and finished, and the games that are still to be begun.

use crate::{
    game::{Action, Game, Outcome, Side},
    info::GameInfo,
    lane::Slot,
    tree::Counts,
};
use bevy_ecs::prelude::*;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    ops::{Range, RangeInclusive},
};

/// Identifies a game of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GameId {
    /// The round, counted from 1. Its games are played with the weights of the generation that is `run.lag` before it.
    pub round: u64,
    /// The number of the game within its round, counted from 0.
    pub number: u64,
}

/// One searched move.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ply {
    /// The move that was played.
    pub action: Action,
    /// Value of the root after the search, for the player to move.
    pub root_value: f32,
    /// How often the position is drawn for training, beside one of weight 1: within [`Ply::WEIGHTS`].
    pub weight: f32,
    /// Number of entries of the move's policy in [`GameRecord::policies`]; 0 after a fast search, which teaches the
    /// value alone.
    pub policy_len: u16,
}

impl Ply {
    /// The weights that a position can have.
    pub const WEIGHTS: RangeInclusive<f32> = 1.0 / 1024.0..=1024.0;
}

/// The record of a game: of the one that a lane plays, or of one that is finished.
#[derive(Component, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GameRecord {
    /// The identity of the game; `None` in a lane that is free.
    pub id: Option<GameId>,
    /// Uniformly random moves that opened the game; they are not in `plies`.
    pub opening: Vec<Action>,
    /// The searched moves.
    pub plies: Vec<Ply>,
    /// The policies of all full searches one after another, sparse: the moves in ascending order, each with its share
    /// of 65,535.
    pub policies: Vec<(Action, u16)>,
    /// Sum of the entropies of the policies, in nats.
    pub entropy_sum: f32,
    /// Counts of the game's searches.
    pub counts: Counts,
    /// The outcome for the first player; `None` while the game goes on.
    pub finished: Option<Outcome>,
}

impl GameRecord {
    /// The fewest entries by which a list grows, so that the lists of short games do not grow with every move.
    const STEP: usize = 32;
    /// The fewest bytes by which the two lists of a record grow together.
    pub const ROOM: usize = Self::STEP * (size_of::<Ply>() + size_of::<(Action, u16)>());

    /// Bytes that a finished game occupies at most if its policies have at most `moves` entries each. While the game is
    /// played, its lists may have room for a quarter more, and for [`GameRecord::ROOM`] bytes.
    pub fn bytes(game: &GameInfo, moves: usize) -> usize {
        size_of::<Self>() + game.max_plies * (size_of::<Ply>() + size_of::<Action>() + 4 * moves.min(game.max_legal))
    }

    /// Bytes that this game occupies.
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&self.opening[..])
            + size_of_val(&self.plies[..])
            + size_of_val(&self.policies[..])
    }

    /// Resets the record to the beginning of a game, and keeps the memory of its lists.
    pub fn begin(&mut self, id: Option<GameId>) {
        self.id = id;
        self.opening.clear();
        self.plies.clear();
        self.policies.clear();
        self.entropy_sum = 0.0;
        self.counts = Counts::default();
        self.finished = None;
    }

    /// Takes the record out, in no more memory than it needs, and leaves an empty one.
    pub fn take(&mut self) -> Self {
        let mut game = std::mem::take(self);
        game.opening.shrink_to_fit();
        game.plies.shrink_to_fit();
        game.policies.shrink_to_fit();
        game
    }

    /// Makes room for one more searched move and a policy of `moves` entries. A list that is full grows by a quarter.
    pub fn reserve(&mut self, moves: usize) {
        fn reserve<T>(list: &mut Vec<T>, more: usize) {
            if list.capacity() - list.len() < more {
                list.reserve_exact(more.max(list.len() / 4).max(GameRecord::STEP));
            }
        }
        reserve(&mut self.plies, 1);
        reserve(&mut self.policies, moves);
    }

    /// All moves of the game, those of the opening first.
    pub fn moves(&self) -> impl Iterator<Item = Action> {
        self.opening.iter().copied().chain(self.plies.iter().map(|ply| ply.action))
    }

    /// Number of moves of the game so far, those of the opening included.
    pub fn len(&self) -> usize {
        self.opening.len() + self.plies.len()
    }

    /// Whether no move was made yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Iterates over the searched moves of a game from `start`: the position before the move, the move, and its policy.
    ///
    /// # Panics
    /// If the record is not a game from `start`, which [`GameRecord::check`] tells.
    pub fn iter<G: Game>(&self, start: G) -> impl Iterator<Item = (G, &Ply, &[(Action, u16)])> {
        let mut position = start;
        self.opening.iter().for_each(|&action| position.play(action));
        let mut start = 0;
        self.plies.iter().map(move |ply| {
            let before = position.clone();
            position.play(ply.action);
            let policy = &self.policies[start..start + usize::from(ply.policy_len)];
            start += usize::from(ply.policy_len);
            (before, ply, policy)
        })
    }

    /// Checks that the record is a whole game from `start`: its moves are legal and end the game, with the outcome that
    /// the record names, and its policies are over legal moves.
    ///
    /// # Errors
    /// A description of what is wrong with the record.
    pub fn check<G: Game>(&self, start: G) -> Result<(), String> {
        let mut position = start;
        let mut policies = &self.policies[..];
        // Looked for once in each position.
        let mut legal: Vec<Action> = vec![];
        for (ply, action) in self.moves().enumerate() {
            if position.outcome().is_some() {
                return Err(format!("it goes on after its end, at ply {ply}"));
            }
            legal.clear();
            legal.extend(position.legal());
            if let Some(searched) = ply.checked_sub(self.opening.len()) {
                let Ply { policy_len, root_value, weight, .. } = self.plies[searched];
                let Some((own, rest)) = policies.split_at_checked(policy_len.into()) else {
                    return Err(format!("the policy of ply {ply} is cut off"));
                };
                policies = rest;
                // Both ascend.
                let mut others = legal.iter();
                if !own.iter().all(|&(action, share)| share > 0 && others.any(|&other| other == action)) {
                    return Err(format!("the policy of ply {ply} is none of its position"));
                }
                if !(-1.001..=1.001).contains(&root_value) {
                    return Err(format!("the value of ply {ply} is {root_value}"));
                }
                if !Ply::WEIGHTS.contains(&weight) {
                    return Err(format!("the weight of ply {ply} is {weight}"));
                }
            }
            if legal.binary_search(&action).is_err() {
                return Err(format!("move {action} at ply {ply} is not legal"));
            }
            position.play(action);
        }
        if !policies.is_empty() {
            return Err("it has more policies than moves".into());
        }
        let outcome = position.outcome().map(|outcome| for_first(&position, outcome));
        if outcome.is_none() || outcome != self.finished || self.id.is_none() || !self.entropy_sum.is_finite() {
            return Err("it is not over, or not with the result that it names".into());
        }
        Ok(())
    }
}

/// Converts an outcome for the player to move at a position to the outcome for the first player, or back.
pub fn for_first<G: Game>(position: &G, outcome: Outcome) -> Outcome {
    if position.to_move() == Side::First { outcome } else { outcome.reversed() }
}

/// The games that are still to be begun. Free lanes take them in order.
#[derive(Resource, Clone, Debug)]
pub struct Rounds {
    /// The seed of the run.
    pub seed: u64,
    /// The rounds with games to be begun; the spans of each are in descending order.
    open: VecDeque<Round>,
}

/// The message that a game has ended, with its record. The schedule that plays games sends it in the order of the ticks
/// and of the lanes, and it can be read until the end of the next tick.
#[derive(Message, Clone, Debug, PartialEq)]
pub struct GameFinished(pub GameRecord);

/// The games of a round, which are played by the same agents.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// The number of the round.
    pub round: u64,
    /// The number of the first agent that plays its games.
    pub slot: Slot,
    /// The numbers of the games that are still to be begun, as spans in ascending order.
    pub missing: Vec<Range<u64>>,
    /// The most uniformly random moves that open a game, whose number is drawn evenly; in a match each game has exactly
    /// this number, and the two games of a pair have the same moves.
    pub opening_plies: u32,
}

/// The game that a lane begins next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextGame {
    /// The identity of the game.
    pub id: GameId,
    /// The number of the first agent that plays the game.
    pub slot: Slot,
    /// The random moves that open the game: see [`Round::opening_plies`].
    pub opening_plies: u32,
}

impl Rounds {
    /// Games of round 0, without an end.
    pub fn endless(seed: u64, opening_plies: u32) -> Self {
        let mut rounds = Self::none(seed);
        rounds.open(Round { missing: vec![0..u64::MAX], opening_plies, ..Round::default() });
        rounds
    }

    /// No games, until [`Rounds::open`] adds some.
    pub fn none(seed: u64) -> Self {
        Self { seed, open: VecDeque::new() }
    }

    /// Adds the games of a round.
    pub fn open(&mut self, mut round: Round) {
        // The next span is the last one, which can be popped.
        round.missing.reverse();
        self.open.push_back(round);
    }

    /// Whether no game is left to be begun. After the last game this is true as soon as [`Rounds::take`] has found no
    /// other.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes the next game to be begun, if there is one.
    pub fn take(&mut self) -> Option<NextGame> {
        while let Some(open) = self.open.front_mut() {
            while let Some(span) = open.missing.last_mut() {
                if let Some(number) = span.next() {
                    let id = GameId { round: open.round, number };
                    return Some(NextGame { id, slot: open.slot, opening_plies: open.opening_plies });
                }
                open.missing.pop();
            }
            self.open.pop_front();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::games::TicTacToe;

    #[test]
    fn rounds_have_what_is_missing() {
        let mut rounds = Rounds::none(1);
        assert_eq!(rounds.take(), None);
        rounds.open(Round { round: 3, slot: Slot(1), missing: vec![2..4, 4..4, 5..6], opening_plies: 0 });
        rounds.open(Round { round: 4, missing: vec![0..1], ..Round::default() });
        let taken: Vec<_> =
            std::iter::from_fn(|| rounds.take()).map(|next| (next.id.round, next.id.number, next.slot.0)).collect();
        assert_eq!(taken, [(3, 2, 1), (3, 3, 1), (3, 5, 1), (4, 0, 0)]);
        assert_eq!(Rounds::endless(1, 0).take().map(|next| next.id), Some(GameId { round: 0, number: 0 }));
    }

    #[test]
    fn only_whole_games_are_sound() {
        let ply = |action| Ply { action, root_value: 0.5, weight: 1.0, policy_len: 1 };
        let good = GameRecord {
            id: Some(GameId::default()),
            opening: vec![0],
            plies: [3, 1, 4, 2].map(ply).to_vec(),
            policies: [3, 1, 4, 2].map(|action| (action, 65_535)).to_vec(),
            finished: Some(Outcome::Win),
            ..Default::default()
        };
        good.check(TicTacToe::start()).unwrap();
        assert_eq!(good.iter(TicTacToe::start()).last().unwrap().0, TicTacToe::parse("a1a2b1b2").unwrap());
        let bad = |change: fn(&mut GameRecord), word: &str| {
            let mut game = good.clone();
            change(&mut game);
            let message = game.check(TicTacToe::start()).unwrap_err();
            assert!(message.contains(word), "{message}");
        };
        bad(|game| game.plies[1].action = 0, "move 0 at ply 2 is not legal");
        bad(|game| game.plies[1].action = 600, "not legal");
        bad(|game| game.policies[2].0 = 1, "policy of ply 3");
        bad(|game| game.policies[1].1 = 0, "policy of ply 2");
        bad(
            |game| {
                game.plies[0].policy_len = 2;
                game.policies.insert(0, (5, 1));
            },
            "policy of ply 1",
        );
        bad(|game| game.policies.truncate(2), "cut off");
        bad(|game| game.plies[0].policy_len = 0, "policy of ply 2");
        bad(|game| game.plies[0].root_value = f32::NAN, "value of ply 1");
        bad(|game| game.plies[2].weight = 0.0, "weight of ply 3");
        bad(|game| game.finished = Some(Outcome::Draw), "not over, or");
        bad(|game| game.plies.truncate(3), "more policies");
        bad(|game| game.plies.push(Ply { action: 8, root_value: 0.0, weight: 1.0, policy_len: 0 }), "after its end");
    }
}
