//! Games, in play and finished.

use crate::{
    game::{Action, Game, Outcome, Side},
    info::GameInfo,
    lane::Slot,
    tree::Counts,
};
use bevy_ecs::prelude::*;
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, ops::Range};

/// Which game of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GameId {
    /// The round, counted from 1. Its games are played with the weights of the generation before.
    pub round: u64,
    /// The number within the round, counted from 0.
    pub number: u64,
}

/// One searched move.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ply {
    /// The move played.
    pub action: Action,
    /// Value of the root after the search, for the player to move.
    pub root_value: f32,
    /// Entries of its policy in [`GameRecord::policies`]; 0 for a fast search, which teaches the value alone.
    pub policy_len: u16,
}

/// All that is known of a game: the one that a lane plays, or one that is finished.
#[derive(Component, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GameRecord {
    /// Which game it is; none in a lane that is free.
    pub id: Option<GameId>,
    /// Uniformly random moves that opened the game; they are not in `plies`.
    pub opening: Vec<Action>,
    /// The searched moves.
    pub plies: Vec<Ply>,
    /// Visit shares of all full searches one after another, sparse: the move and its share of 65,535.
    pub policies: Vec<(Action, u16)>,
    /// Entropy of the visit shares, summed over full searches, in nats.
    pub entropy_sum: f32,
    /// What its searches have counted.
    pub counts: Counts,
    /// The outcome for the first player, once the game is over.
    pub finished: Option<Outcome>,
}

impl GameRecord {
    /// Entries by which a list grows at least, so that short games do not grow with every move.
    const STEP: usize = 32;
    /// Bytes of that.
    pub const ROOM: usize = Self::STEP * (size_of::<Ply>() + size_of::<(Action, u16)>());

    /// Bytes that a finished game occupies at most whose policies have at most so many moves. While it is played it may have
    /// room for a quarter more, and for [`GameRecord::ROOM`] bytes.
    pub fn bytes(game: &GameInfo, moves: usize) -> usize {
        size_of::<Self>() + game.max_plies * (size_of::<Ply>() + size_of::<Action>() + 4 * moves.min(game.max_legal))
    }

    /// Becomes the beginning of a game, in the memory that it has.
    pub fn begin(&mut self, id: Option<GameId>) {
        self.id = id;
        self.opening.clear();
        self.plies.clear();
        self.policies.clear();
        self.entropy_sum = 0.0;
        self.counts = Counts::default();
        self.finished = None;
    }

    /// Hands over a game that has ended, in no more memory than it needs.
    pub fn take(&mut self) -> Self {
        let mut game = std::mem::take(self);
        game.opening.shrink_to_fit();
        game.plies.shrink_to_fit();
        game.policies.shrink_to_fit();
        game
    }

    /// Makes room for the policy of one more move: for a quarter more than there are, where there is none left.
    pub fn reserve(&mut self, moves: usize) {
        fn reserve<T>(list: &mut Vec<T>, more: usize) {
            if list.capacity() - list.len() < more {
                list.reserve_exact(more.max(list.len() / 4).max(GameRecord::STEP));
            }
        }
        reserve(&mut self.plies, 1);
        reserve(&mut self.policies, moves);
    }

    /// All moves, those of the opening first.
    pub fn moves(&self) -> impl Iterator<Item = Action> {
        self.opening.iter().copied().chain(self.plies.iter().map(|ply| ply.action))
    }

    /// Plies so far, those of the opening included.
    pub fn len(&self) -> usize {
        self.opening.len() + self.plies.len()
    }

    /// Whether no move has been made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each searched move of a game from this start with the position before it and its policy.
    ///
    /// # Panics
    /// If it is no game of this kind, which [`GameRecord::check`] tells.
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

    /// Whether it is a whole game from this start: its moves are legal and end it, with the result that it names, and its
    /// policies are over legal moves.
    ///
    /// # Errors
    /// What is wrong with it.
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
                let Ply { policy_len, root_value, .. } = self.plies[searched];
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

/// The outcome as the first player sees it.
pub fn for_first<G: Game>(position: &G, outcome: Outcome) -> Outcome {
    if position.to_move() == Side::First { outcome } else { outcome.reversed() }
}

/// The games that are still to be begun. Lanes that are free take them in order.
#[derive(Resource, Clone, Debug)]
pub struct Rounds {
    /// The seed of the run.
    pub seed: u64,
    /// Their spans in descending order.
    open: VecDeque<Round>,
}

/// A game has ended. A message of the schedule that plays games, in the order of the ticks and of their lanes; it can be read
/// until the end of the next tick.
#[derive(Message, Clone, Debug, PartialEq)]
pub struct GameFinished(pub GameRecord);

/// Games that are played with the same agents.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// The number of the round.
    pub round: u64,
    /// Its agents.
    pub slot: Slot,
    /// The numbers of the games that are to be played, in ascending order.
    pub missing: Vec<Range<u64>>,
    /// Up to so many uniformly random moves open each game, drawn evenly; in a match exactly so many, the same for the two
    /// games of a pair.
    pub opening_plies: u32,
}

/// The next game, as a lane needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextGame {
    /// Which one it is.
    pub id: GameId,
    /// Its agents.
    pub slot: Slot,
    /// As in [`Round`].
    pub opening_plies: u32,
}

impl Rounds {
    /// Round 0, without an end.
    pub fn endless(seed: u64, opening_plies: u32) -> Self {
        let mut rounds = Self::none(seed);
        rounds.open(Round { missing: vec![0..u64::MAX], opening_plies, ..Round::default() });
        rounds
    }

    /// No games.
    pub fn none(seed: u64) -> Self {
        Self { seed, open: VecDeque::new() }
    }

    /// Adds the games of a round.
    pub fn open(&mut self, mut round: Round) {
        // So that the next span is the last.
        round.missing.reverse();
        self.open.push_back(round);
    }

    /// Whether all games have been begun.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The next game, if there is one.
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
        let ply = |action| Ply { action, root_value: 0.5, policy_len: 1 };
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
        bad(|game| game.finished = Some(Outcome::Draw), "not over, or");
        bad(|game| game.plies.truncate(3), "more policies");
        bad(|game| game.plies.push(Ply { action: 8, root_value: 0.0, policy_len: 0 }), "after its end");
    }
}
