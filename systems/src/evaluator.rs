//! What evaluates positions: the seam between the search and any model.

use crate::{Error, rows::rows_per_task};
use lockstep_components::{Game, GameInfo, LaneRng, config::Precision};
use rayon::prelude::*;
use std::{any::Any, collections::VecDeque, marker::PhantomData};

/// The positions of one tick that wait for one agent's evaluation.
pub struct Batch {
    /// Rows in use.
    pub rows: usize,
    /// Numbers in a row.
    pub input: usize,
    /// Planes, height and width of a row.
    pub shape: [usize; 3],
    /// `[capacity, planes, height, width]`; the first `rows` are in use.
    pub planes: Vec<f32>,
    /// The same positions as keys: a `Vec<G::Key>`.
    pub(crate) keys: Box<dyn Any + Send + Sync>,
}

impl Batch {
    /// An empty batch with room for so many rows.
    pub fn new<G: Game>(capacity: usize) -> Self {
        Self {
            rows: 0,
            input: G::INPUT,
            shape: [G::PLANES, G::HEIGHT, G::WIDTH],
            planes: vec![0.0; capacity * G::INPUT],
            keys: Box::new(Vec::<G::Key>::with_capacity(capacity)),
        }
    }

    /// An empty batch with room for so many rows, for whoever fills in planes alone.
    pub fn empty(game: &GameInfo, capacity: usize) -> Self {
        let planes = vec![0.0; capacity * game.input()];
        Self { rows: 0, input: game.input(), shape: game.shape(), planes, keys: Box::new(()) }
    }

    /// A batch of the positions with these keys.
    pub fn of<G: Game>(keys: &[G::Key]) -> Self {
        let mut batch = Self::new::<G>(keys.len());
        batch.fill::<G>(|all| all.extend(keys));
        batch
    }

    /// An empty batch for whoever reads planes alone.
    pub(crate) fn without_keys() -> Self {
        Self { rows: 0, input: 0, shape: [0; 3], planes: vec![], keys: Box::new(()) }
    }

    /// Takes over the rows in use of another batch, without their keys.
    pub(crate) fn copy_planes(&mut self, other: &Self) {
        (self.rows, self.input, self.shape) = (other.rows, other.input, other.shape);
        self.planes.clear();
        self.planes.extend_from_slice(other.planes());
    }

    /// Makes the rows anew: `push` fills the list of keys, which is empty, and they are encoded.
    pub(crate) fn fill<G: Game>(&mut self, push: impl FnOnce(&mut Vec<G::Key>)) {
        let keys = self.keys.downcast_mut::<Vec<G::Key>>().expect("the batch holds keys of this game");
        keys.clear();
        push(keys);
        self.rows = keys.len();
        self.planes[..self.rows * G::INPUT]
            .par_chunks_exact_mut(G::INPUT)
            .zip(keys.par_iter())
            .with_min_len(rows_per_task(self.rows, 128))
            .for_each(|(planes, &key)| G::encode(key, planes));
    }

    /// The planes of the rows in use, `[rows, planes, height, width]`.
    pub fn planes(&self) -> &[f32] {
        &self.planes[..self.rows * self.input]
    }

    /// The keys of the rows in use.
    ///
    /// # Panics
    /// If the batch belongs to another game.
    pub fn keys<G: Game>(&self) -> &[G::Key] {
        self.keys.downcast_ref::<Vec<G::Key>>().expect("the batch holds keys of this game")
    }
}

/// What comes back: for each row of the batch a policy and a value.
#[derive(Clone, Debug, Default)]
pub struct Evaluations {
    /// `[rows, actions]`, logits; those of illegal moves are ignored, so they may be anything, such as `-inf` for a mask.
    /// Those of legal moves must be finite.
    pub logits: Vec<f32>,
    /// `[rows]`, -1 to 1, for the player to move; finite.
    pub values: Vec<f32>,
    /// Rows that the device computed, padding included.
    pub computed: usize,
}

impl Evaluations {
    /// Room for so many rows.
    pub fn new(capacity: usize, actions: usize) -> Self {
        Self { logits: vec![0.0; capacity * actions], values: vec![0.0; capacity], computed: 0 }
    }
}

/// What an evaluator can do, and how it likes to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Batches that it works on at the same time: so many may be submitted before the first is received.
    pub in_flight: u32,
    /// Sizes of batches that it computes, in ascending order: others are padded to the next one. Empty if it takes them as
    /// they come.
    pub batch_sizes: Vec<usize>,
    /// The numbers that it computes in.
    pub precision: Precision,
    /// Bytes of its weights, where they lie; 0 if it has none.
    pub weights: usize,
    /// Whether a row's answer depends on its position alone: not in a single bit on the other rows of its batch, their
    /// number, or its place among them.
    ///
    /// A search is then the same whichever others it shares a batch with. Kernels that are chosen by the size of a batch,
    /// as those of most devices are, do not give that.
    pub rows_are_independent: bool,
}

impl Default for Capabilities {
    /// Nothing that could be wrong.
    fn default() -> Self {
        Self { in_flight: 1, batch_sizes: vec![], precision: Precision::F32, weights: 0, rows_are_independent: false }
    }
}

/// Gives policies and values for batches of positions.
///
/// Submitting and receiving are apart, so that a device can work on some batches while the host prepares the next: with
/// `lanes.in_flight = 2` a second batch is submitted before the first is received.
pub trait Evaluator: Send + Sync {
    /// Takes the rows in use of a batch, which the caller then uses again.
    ///
    /// # Errors
    /// When the device fails.
    fn submit(&mut self, batch: &Batch) -> Result<(), Error>;

    /// Writes the evaluations of the oldest batch that was not received yet, and waits for them if need be.
    ///
    /// # Errors
    /// When the device fails.
    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error>;

    /// What it can do.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
}

impl<E: Evaluator + ?Sized> Evaluator for Box<E> {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        (**self).submit(batch)
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        (**self).receive(out)
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }
}

/// Knows nothing: equal priors, value 0.
#[derive(Clone, Debug, Default)]
pub struct Uniform {
    rows: VecDeque<usize>,
}

impl Evaluator for Uniform {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        self.rows.push_back(batch.rows);
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        let rows = self.rows.pop_front().expect("a batch was submitted");
        let actions = out.logits.len() / out.values.len();
        out.logits[..rows * actions].fill(0.0);
        out.values[..rows].fill(0.0);
        out.computed = rows;
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { rows_are_independent: true, ..Capabilities::default() }
    }
}

/// Plays each position to the end with random moves: plain Monte-Carlo tree search, without any learning.
///
/// Each position's moves are drawn from a generator seeded by its key, so its value does not depend on when or beside which
/// others it is asked for. What a history forbids is not known to it.
#[derive(Clone, Debug)]
pub struct Rollouts<G> {
    seed: u64,
    games: u32,
    values: VecDeque<Vec<f32>>,
    game: PhantomData<fn() -> G>,
}

impl<G: Game> Rollouts<G> {
    /// Takes the mean result of so many random games from each position.
    pub fn new(seed: u64, games: u32) -> Self {
        Self { seed, games: games.max(1), values: VecDeque::new(), game: PhantomData }
    }

    fn value(&self, key: G::Key) -> f32 {
        use std::hash::{Hash, Hasher};
        let mut hasher = rustc_hash::FxHasher::default();
        key.hash(&mut hasher);
        let mut rng = LaneRng::new(self.seed, hasher.finish());
        let position = G::of_key(key);
        let mover = position.to_move();
        let total: f32 = (0..self.games)
            .map(|_| {
                let mut end = position.clone();
                loop {
                    if let Some(outcome) = end.outcome() {
                        return if end.to_move() == mover { outcome.value() } else { -outcome.value() };
                    }
                    end.play(rng.legal_move(&end));
                }
            })
            .sum();
        total / self.games as f32
    }
}

impl<G: Game> Evaluator for Rollouts<G> {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        self.values.push_back(batch.keys::<G>().par_iter().map(|&key| self.value(key)).collect());
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        let values = self.values.pop_front().expect("a batch was submitted");
        let rows = values.len();
        out.logits[..rows * G::ACTIONS].fill(0.0);
        out.values[..rows].copy_from_slice(&values);
        out.computed = rows;
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { rows_are_independent: true, ..Capabilities::default() }
    }
}
