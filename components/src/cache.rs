//! A cache of evaluations for positions that come again.

use crate::{game::Game, tree::bfloat16};
use bevy_ecs::prelude::*;
use std::hash::{Hash, Hasher};

/// Slots of a bucket, in any of which a key may lie.
const WAYS: usize = 4;

/// A bounded table from keys to priors and values, a component of an agent.
///
/// A key lies in one of four neighbouring slots; a new key replaces the oldest of them. Keys are compared as a whole,
/// so an evaluation is never taken for that of another key. Priors are kept as bfloat16, for the key's moves alone, one
/// after another in a ring of which the oldest are overwritten. An edge has the same format, so a node is the same
/// whether its evaluation came from the cache or from the network.
///
/// The cache consists of independent parts, so that several threads can fill them at once; each key belongs to one
/// part.
///
/// A component of an agent.
#[derive(Component, Clone, Debug)]
pub struct Cache<G: Game> {
    parts: Vec<CachePart<G>>,
}

/// A part of a [`Cache`].
#[derive(Clone, Debug)]
pub struct CachePart<G: Game> {
    slots: Vec<Entry<G::Key>>,
    priors: Vec<u16>,
    /// Where the next priors go, counted without end; the ring is entered in its second round.
    head: u64,
    /// The value of `head` when the part was last cleared: slots filled before it are forgotten.
    cleared: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry<K> {
    key: K,
    value: f32,
    moves: u32,
    /// Where the priors of the slot begin, in the count of `head`; 0 if the slot was never filled.
    at: u64,
}

/// An evaluation in a [`Cache`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation<'a> {
    /// The value of the position for the player to move.
    pub value: f32,
    /// The priors of the key's moves, in ascending order of the moves, as bfloat16 bits.
    pub priors: &'a [u16],
}

impl Evaluation<'_> {
    /// The prior of the move at `index` in the list of the key's moves.
    #[inline]
    pub fn prior(&self, index: usize) -> f32 {
        f32::from_bits(u32::from(self.priors[index]) << 16)
    }
}

/// Number of parts of a cache that is large enough to have several.
const PARTS: usize = 16;

/// The fewest bytes of a part in a cache of several parts.
const LEAST: usize = 1 << 16;

/// A hash of a key whose upper bits are well mixed.
#[inline]
fn hash_of(key: &impl Hash) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    key.hash(&mut hasher);
    hasher.finish().wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl<G: Game> Cache<G> {
    /// A cache that occupies at most `bytes` bytes. It holds nothing if they do not suffice for a bucket and the priors
    /// of one position.
    pub fn new(bytes: usize) -> Self {
        let parts = Self::count(bytes);
        Self { parts: (0..parts).map(|_| CachePart::new(bytes / parts)).collect() }
    }

    fn count(bytes: usize) -> usize {
        if bytes < PARTS * LEAST { 1 } else { PARTS }
    }

    /// Bytes that a cache made by [`Cache::new`] with this limit occupies.
    pub fn bytes(bytes: usize) -> usize {
        let parts = Self::count(bytes);
        parts * CachePart::<G>::bytes(bytes / parts)
    }

    /// Number of positions that a cache of at most `bytes` bytes has room for.
    pub fn positions(bytes: usize) -> usize {
        let parts = Self::count(bytes);
        parts * CachePart::<G>::sizes(bytes / parts).0
    }

    /// Whether the cache has room for anything.
    pub fn is_on(&self) -> bool {
        !self.parts[0].slots.is_empty()
    }

    /// Number of keys in the cache, found by looking at every slot.
    pub fn len(&self) -> usize {
        self.parts.iter().map(CachePart::len).sum()
    }

    /// Whether the cache holds no keys.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(CachePart::is_empty)
    }

    /// Forgets all keys, in constant time.
    pub fn clear(&mut self) {
        self.parts.iter_mut().for_each(|part| part.cleared = part.head);
    }

    /// The index of the part that a key belongs to, as in [`Cache::parts`].
    #[inline]
    pub fn part_of(&self, key: &G::Key) -> usize {
        self.part(hash_of(key))
    }

    #[inline]
    fn part(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.parts.len() as u128) >> 64) as usize
    }

    /// Mutable access to the parts, each to be filled with the keys that belong to it.
    pub fn parts(&mut self) -> &mut [CachePart<G>] {
        &mut self.parts
    }

    /// The evaluation of a key, if the cache holds it.
    #[inline]
    pub fn get(&self, key: &G::Key) -> Option<Evaluation<'_>> {
        let hash = hash_of(key);
        self.parts[self.part(hash)].get(key, hash)
    }

    /// Adds the evaluation of a key; `priors` are those of the key's moves, in ascending order of the moves. Does
    /// nothing if the cache has no room for anything or holds the key already.
    pub fn insert(&mut self, key: &G::Key, value: f32, priors: impl ExactSizeIterator<Item = f32>) {
        let part = self.part_of(key);
        self.parts[part].insert(key, value, priors);
    }
}

impl<G: Game> CachePart<G> {
    fn new(bytes: usize) -> Self {
        let (slots, priors) = Self::sizes(bytes);
        let empty = Entry { key: G::start().key(), value: 0.0, moves: 0, at: 0 };
        let head = priors.max(1) as u64;
        Self { slots: vec![empty; slots], priors: vec![0; priors], head, cleared: head }
    }

    /// Numbers of slots and of priors in the ring of a part of at most `bytes` bytes.
    fn sizes(bytes: usize) -> (usize, usize) {
        let slots = (bytes / (size_of::<Entry<G::Key>>() + 2 * G::ROOM)).min(u32::MAX as usize) / WAYS * WAYS;
        if slots * G::ROOM < G::MAX_LEGAL { (0, 0) } else { (slots, slots * G::ROOM) }
    }

    fn bytes(bytes: usize) -> usize {
        let (slots, priors) = Self::sizes(bytes);
        slots * size_of::<Entry<G::Key>>() + 2 * priors
    }

    fn len(&self) -> usize {
        self.slots.iter().filter(|slot| self.holds(slot)).count()
    }

    fn is_empty(&self) -> bool {
        self.head == self.cleared
    }

    /// Whether a slot was filled since the part was last cleared and its priors are not overwritten.
    #[inline]
    fn holds(&self, slot: &Entry<G::Key>) -> bool {
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

    /// The slot of a key in the bucket that begins at slot `first`.
    fn find(&self, first: usize, key: &G::Key) -> Option<usize> {
        (first..first + WAYS).find(|&i| self.slots[i].key == *key && self.holds(&self.slots[i]))
    }

    /// Adds the evaluation of a key that belongs to this part: see [`Cache::insert`].
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
            // The priors of a key lie together, so the rest of the ring is skipped.
            self.head += left;
        }
        let first = (self.head % ring) as usize;
        for (kept, prior) in self.priors[first..first + moves].iter_mut().zip(priors) {
            *kept = bfloat16(prior);
        }
        self.slots[oldest] = Entry { key: *key, value, moves: moves as u32, at: self.head };
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
