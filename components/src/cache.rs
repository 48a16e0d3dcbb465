//! Evaluations that are kept for positions that come again.

use crate::{game::Game, tree::bfloat16};
use bevy_ecs::prelude::*;
use std::hash::{Hash, Hasher};

/// Slots that a key may lie in.
const WAYS: usize = 4;

/// A bounded table from keys to priors and values.
///
/// A key lies in one of four neighbouring slots; a new one takes the place of the oldest of them. Keys are compared as a
/// whole, so an evaluation is never taken for that of another one. Priors are kept of the key's moves alone, one after
/// another in a ring of which the oldest are overwritten, as bfloat16: that is what an edge keeps, so a node is the same
/// whether its evaluation came from here or from the network.
///
/// It has parts that know nothing of each other, so that several threads can fill them at once; a key belongs to one of them.
///
/// A component of an agent.
#[derive(Component, Clone, Debug)]
pub struct Cache<G: Game> {
    parts: Vec<CachePart<G>>,
}

/// A part of a [`Cache`].
#[derive(Clone, Debug)]
pub struct CachePart<G: Game> {
    slots: Vec<Slot<G::Key>>,
    priors: Vec<u16>,
    /// Where the next priors go, counted without end; the ring is entered in its second round.
    head: u64,
    /// What lies before is forgotten.
    cleared: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot<K> {
    key: K,
    value: f32,
    moves: u32,
    /// Where its priors begin; 0 for never filled.
    at: u64,
}

/// What a [`Cache`] knows about a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation<'a> {
    /// Mean value for the player to move.
    pub value: f32,
    /// The priors of the key's moves, in their order, as the upper halves of their bits.
    pub priors: &'a [u16],
}

impl Evaluation<'_> {
    /// The prior of the key's move of this index.
    #[inline]
    pub fn prior(&self, index: usize) -> f32 {
        f32::from_bits(u32::from(self.priors[index]) << 16)
    }
}

/// Parts of a cache that is not small.
const PARTS: usize = 16;

/// Bytes of a part at least, where there are several.
const LEAST: usize = 1 << 16;

/// A hash of a key that is strong in its upper bits.
#[inline]
fn hash_of(key: &impl Hash) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    key.hash(&mut hasher);
    hasher.finish().wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl<G: Game> Cache<G> {
    /// A cache of at most so many bytes; one that holds nothing if they do not suffice for one bucket and one position.
    pub fn new(bytes: usize) -> Self {
        let parts = Self::count(bytes);
        Self { parts: (0..parts).map(|_| CachePart::new(bytes / parts)).collect() }
    }

    fn count(bytes: usize) -> usize {
        if bytes < PARTS * LEAST { 1 } else { PARTS }
    }

    /// Bytes that a cache of at most so many really occupies.
    pub fn bytes(bytes: usize) -> usize {
        let parts = Self::count(bytes);
        parts * CachePart::<G>::bytes(bytes / parts)
    }

    /// Positions that one of at most so many bytes has room for.
    pub fn positions(bytes: usize) -> usize {
        let parts = Self::count(bytes);
        parts * CachePart::<G>::sizes(bytes / parts).0
    }

    /// Whether it can hold anything.
    pub fn is_on(&self) -> bool {
        !self.parts[0].slots.is_empty()
    }

    /// Keys in it.
    pub fn len(&self) -> usize {
        self.parts.iter().map(CachePart::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(CachePart::is_empty)
    }

    /// Forgets all keys, in no time.
    pub fn clear(&mut self) {
        self.parts.iter_mut().for_each(|part| part.cleared = part.head);
    }

    /// The number of the part that a key belongs to.
    #[inline]
    pub fn part_of(&self, key: &G::Key) -> usize {
        self.part(hash_of(key))
    }

    #[inline]
    fn part(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.parts.len() as u128) >> 64) as usize
    }

    /// Its parts, each to be filled with the keys that belong to it.
    pub fn parts(&mut self) -> &mut [CachePart<G>] {
        &mut self.parts
    }

    /// What is known about a key.
    #[inline]
    pub fn get(&self, key: &G::Key) -> Option<Evaluation<'_>> {
        let hash = hash_of(key);
        self.parts[self.part(hash)].get(key, hash)
    }

    /// Keeps an evaluation; `priors` gives those of the key's moves in their order. Does nothing if the cache is off or has
    /// it already.
    pub fn insert(&mut self, key: &G::Key, value: f32, priors: impl ExactSizeIterator<Item = f32>) {
        let part = self.part_of(key);
        self.parts[part].insert(key, value, priors);
    }
}

impl<G: Game> CachePart<G> {
    fn new(bytes: usize) -> Self {
        let (slots, priors) = Self::sizes(bytes);
        let empty = Slot { key: G::start().key(), value: 0.0, moves: 0, at: 0 };
        let head = priors.max(1) as u64;
        Self { slots: vec![empty; slots], priors: vec![0; priors], head, cleared: head }
    }

    /// Slots, and priors in the ring.
    fn sizes(bytes: usize) -> (usize, usize) {
        let slots = (bytes / (size_of::<Slot<G::Key>>() + 2 * G::ROOM)).min(u32::MAX as usize) / WAYS * WAYS;
        if slots * G::ROOM < G::MAX_LEGAL { (0, 0) } else { (slots, slots * G::ROOM) }
    }

    fn bytes(bytes: usize) -> usize {
        let (slots, priors) = Self::sizes(bytes);
        slots * size_of::<Slot<G::Key>>() + 2 * priors
    }

    fn len(&self) -> usize {
        self.slots.iter().filter(|slot| self.holds(slot)).count()
    }

    fn is_empty(&self) -> bool {
        self.head == self.cleared
    }

    /// Whether a slot's priors are still there.
    #[inline]
    fn holds(&self, slot: &Slot<G::Key>) -> bool {
        slot.at >= self.cleared && slot.at + self.priors.len() as u64 >= self.head
    }

    fn bucket(&self, hash: u64) -> usize {
        // The upper bits of a product with the number of buckets: no division. The highest have named the part.
        let buckets = (self.slots.len() / WAYS) as u128;
        ((u128::from(hash.rotate_left(PARTS.ilog2())) * buckets) >> 64) as usize * WAYS
    }

    #[inline]
    fn get(&self, key: &G::Key, hash: u64) -> Option<Evaluation<'_>> {
        if self.is_empty() {
            return None;
        }
        let slot = &self.slots[self.find(self.bucket(hash), key)?];
        let first = (slot.at % self.priors.len() as u64) as usize;
        Some(Evaluation { value: slot.value, priors: &self.priors[first..first + slot.moves as usize] })
    }

    /// The slot of a key in its bucket.
    fn find(&self, first: usize, key: &G::Key) -> Option<usize> {
        (first..first + WAYS).find(|&i| self.slots[i].key == *key && self.holds(&self.slots[i]))
    }

    /// Keeps the evaluation of a key that belongs here: see [`Cache::insert`].
    pub fn insert(&mut self, key: &G::Key, value: f32, priors: impl ExactSizeIterator<Item = f32>) {
        if self.slots.is_empty() {
            return;
        }
        let bucket = self.bucket(hash_of(key));
        if self.find(bucket, key).is_some() {
            return;
        }
        let oldest = (bucket..bucket + WAYS).min_by_key(|&slot| self.slots[slot].at).expect("a bucket has slots");
        let (moves, ring) = (priors.len(), self.priors.len() as u64);
        let left = ring - self.head % ring;
        if (moves as u64) > left {
            // They lie together: what is left of this round stays empty.
            self.head += left;
        }
        let first = (self.head % ring) as usize;
        for (kept, prior) in self.priors[first..first + moves].iter_mut().zip(priors) {
            *kept = bfloat16(prior);
        }
        self.slots[oldest] = Slot { key: *key, value, moves: moves as u32, at: self.head };
        self.head += moves.max(1) as u64;
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
        let prior = |i: usize, move_index: usize| (1.0 + move_index as f32) / (i + 64) as f32;
        let mut cache = Cache::<TicTacToe>::new(1 << 20);
        for (i, position) in positions.iter().enumerate() {
            assert!(cache.get(position).is_none());
            let moves = position.legal().count();
            cache.insert(position, i as f32, (0..moves).map(|at| prior(i, at)));
        }
        assert!(cache.len() > 50 && cache.len() == positions.len());
        for (i, position) in positions.iter().enumerate() {
            let cached = cache.get(position).expect("there is room for all");
            assert_eq!((cached.value, cached.priors.len()), (i as f32, position.legal().count()));
            assert!((0..cached.priors.len()).all(|at| (cached.prior(at) / prior(i, at) - 1.0).abs() < 0.01));
        }
        cache.clear();
        assert!(positions.iter().all(|p| cache.get(p).is_none()) && cache.is_empty());
    }

    #[test]
    fn a_small_one_keeps_the_newest_and_a_missing_one_nothing() {
        for bytes in [200, 500, 2_000] {
            let mut cache = Cache::<TicTacToe>::new(bytes);
            assert!(Cache::<TicTacToe>::bytes(bytes) <= bytes && cache.is_on());
            for (i, position) in positions().iter().enumerate() {
                let moves = position.legal().count();
                cache.insert(position, i as f32, (0..moves).map(|_| 1.0 / (i + 1) as f32));
                // What is found is whole, however far the ring has gone over older priors.
                for (j, older) in positions().iter().enumerate() {
                    let Some(found) = cache.get(older) else { continue };
                    assert_eq!((found.value, found.priors.len()), (j as f32, older.legal().count()));
                    assert!(
                        j <= i
                            && (0..found.priors.len()).all(|at| (found.prior(at) * (j + 1) as f32 - 1.0).abs() < 0.01)
                    );
                }
                assert!(cache.get(position).is_some() && cache.len() <= bytes / 40);
            }
        }
        let mut off = Cache::<TicTacToe>::new(0);
        off.insert(&TicTacToe::start(), 1.0, [0.5].into_iter());
        assert!(off.get(&TicTacToe::start()).is_none() && !off.is_on());
    }
}
