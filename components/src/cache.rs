//! Evaluations that are kept for positions that come again.

use crate::{
    game::{Action, Game},
    tree::bfloat16,
};
use bevy_ecs::prelude::*;
use std::hash::Hasher;

/// Slots that a position may lie in.
const WAYS: usize = 4;

/// A bounded table from positions to priors and values.
///
/// A position lies in one of four neighbouring slots; a new one takes the place of the oldest of them. Positions are
/// compared as a whole, so an evaluation is never taken for that of another position. Priors are kept as bfloat16, which
/// is what an edge keeps, so a node is the same whether its evaluation came from here or from the network.
///
/// A component of an agent.
#[derive(Component, Clone, Debug)]
pub struct Cache<G: Game> {
    slots: Vec<Slot<G>>,
    /// `[slots, G::ACTIONS]`
    priors: Vec<u16>,
    /// Insertions so far.
    clock: u64,
    /// Slots stamped up to here are empty.
    cleared: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot<G: Game> {
    position: G,
    value: f32,
    /// When it was filled; 0 for never.
    stamp: u64,
}

/// What a [`Cache`] knows about a position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation<'a> {
    /// Mean value for the player to move.
    pub value: f32,
    priors: &'a [u16],
}

impl Evaluation<'_> {
    /// The prior of a move.
    #[inline]
    pub fn prior(&self, action: Action) -> f32 {
        f32::from_bits(u32::from(self.priors[action as usize]) << 16)
    }
}

impl<G: Game> Cache<G> {
    /// A cache of at most so many bytes; one that holds nothing if they do not suffice for one bucket.
    pub fn new(bytes: usize) -> Self {
        let slots = Self::slots(bytes);
        let empty = Slot { position: G::start(), value: 0.0, stamp: 0 };
        Self { slots: vec![empty; slots], priors: vec![0; slots * G::ACTIONS], clock: 0, cleared: 0 }
    }

    fn slots(bytes: usize) -> usize {
        (bytes / (size_of::<Slot<G>>() + 2 * G::ACTIONS)).min(u32::MAX as usize) / WAYS * WAYS
    }

    /// Bytes that a cache of at most so many really occupies.
    pub fn bytes(bytes: usize) -> usize {
        Self::slots(bytes) * (size_of::<Slot<G>>() + 2 * G::ACTIONS)
    }

    /// Whether it can hold anything.
    pub fn is_on(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Positions in it.
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.stamp > self.cleared).count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.clock == self.cleared
    }

    /// Forgets all positions, in no time.
    pub fn clear(&mut self) {
        self.cleared = self.clock;
    }

    fn bucket(&self, position: &G) -> usize {
        let mut hasher = rustc_hash::FxHasher::default();
        position.hash(&mut hasher);
        // The upper bits of a product with the number of buckets: no division.
        let buckets = (self.slots.len() / WAYS) as u128;
        // The hash is strong in its upper half only after another round.
        let mixed = hasher.finish().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((u128::from(mixed) * buckets) >> 64) as usize * WAYS
    }

    /// What is known about a position.
    #[inline]
    pub fn get(&self, position: &G) -> Option<Evaluation<'_>> {
        if self.is_empty() {
            return None;
        }
        let at = self.find(self.bucket(position), position)?;
        let priors = &self.priors[at * G::ACTIONS..(at + 1) * G::ACTIONS];
        Some(Evaluation { value: self.slots[at].value, priors })
    }

    /// The slot of a position in its bucket.
    fn find(&self, first: usize, position: &G) -> Option<usize> {
        (first..first + WAYS).find(|&i| self.slots[i].stamp > self.cleared && self.slots[i].position == *position)
    }

    /// Keeps an evaluation; `priors` gives moves and their chances. Does nothing if the cache is off or has it already.
    pub fn insert(&mut self, position: &G, value: f32, priors: impl Iterator<Item = (Action, f32)>) {
        if !self.is_on() {
            return;
        }
        let first = self.bucket(position);
        if self.find(first, position).is_some() {
            return;
        }
        let oldest = (first..first + WAYS).min_by_key(|&slot| self.slots[slot].stamp).expect("a bucket has slots");
        self.clock += 1;
        self.slots[oldest] = Slot { position: *position, value, stamp: self.clock };
        for (action, prior) in priors {
            self.priors[oldest * G::ACTIONS + action as usize] = bfloat16(prior);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::games::TicTacToe;

    /// Some positions, all different.
    fn positions() -> Vec<TicTacToe> {
        let mut all = vec![TicTacToe::start()];
        for i in 0..60 {
            let from: TicTacToe = all[i];
            let after = |action| {
                let mut next = from;
                next.play(action);
                next
            };
            all.extend(from.legal().map(after).filter(|p| p.outcome().is_none()));
        }
        all.sort();
        all.dedup();
        all
    }

    #[test]
    fn it_returns_what_was_put_in_and_only_that() {
        let positions = positions();
        let prior = |i: usize, a: Action| (1.0 + a as f32) / (i + 64) as f32;
        let mut cache = Cache::<TicTacToe>::new(1 << 20);
        for (i, position) in positions.iter().enumerate() {
            assert!(cache.get(position).is_none());
            cache.insert(position, i as f32, position.legal().map(|a| (a, prior(i, a))));
        }
        assert!(cache.len() > 50 && cache.len() == positions.len());
        for (i, position) in positions.iter().enumerate() {
            let cached = cache.get(position).expect("there is room for all");
            assert_eq!(cached.value, i as f32);
            assert!(position.legal().all(|a| (cached.prior(a) / prior(i, a) - 1.0).abs() < 0.01));
        }
        cache.clear();
        assert!(positions.iter().all(|p| cache.get(p).is_none()) && cache.is_empty());
    }

    #[test]
    fn a_small_one_keeps_the_newest_and_a_missing_one_nothing() {
        let mut cache = Cache::<TicTacToe>::new(200);
        assert!(Cache::<TicTacToe>::bytes(200) <= 200 && cache.is_on());
        for (i, position) in positions().iter().enumerate() {
            cache.insert(position, i as f32, std::iter::empty());
            assert_eq!(cache.get(position).unwrap().value, i as f32);
            assert!(cache.len() <= WAYS);
        }
        let mut off = Cache::<TicTacToe>::new(0);
        off.insert(&TicTacToe::start(), 1.0, std::iter::empty());
        assert!(off.get(&TicTacToe::start()).is_none() && !off.is_on());
    }
}
