//! Evaluators, which give policies and values for positions: the seam between the search and any model.

use crate::{
    Error,
    rows::{each, rows_per_task},
};
use lockstep_components::{Game, GameInfo, LaneRng, config::Precision};
use std::{any::Any, collections::VecDeque, marker::PhantomData};

/// The positions of one tick that wait for the evaluation of one agent.
pub struct Batch {
    /// Number of rows in use.
    pub rows: usize,
    /// Number of floats in the planes of a row.
    pub input: usize,
    /// Planes, height and width of a row.
    pub shape: [usize; 3],
    /// The planes of all rows, `[capacity, planes, height, width]`; the first `rows` are in use.
    pub planes: Vec<f32>,
    /// The positions of the rows as keys: a `Vec<G::Key>`.
    pub(crate) keys: Box<dyn Any + Send + Sync>,
}

impl Batch {
    /// An empty batch of the game `G` with room for `capacity` rows.
    pub fn new<G: Game>(capacity: usize) -> Self {
        Self {
            rows: 0,
            input: G::INPUT,
            shape: [G::PLANES, G::HEIGHT, G::WIDTH],
            planes: vec![0.0; capacity * G::INPUT],
            keys: Box::new(Vec::<G::Key>::with_capacity(capacity)),
        }
    }

    /// An empty batch with room for the planes of `capacity` rows and without keys, to be filled in by the caller.
    pub fn empty(game: &GameInfo, capacity: usize) -> Self {
        let planes = vec![0.0; capacity * game.input()];
        Self { rows: 0, input: game.input(), shape: game.shape(), planes, keys: Box::new(()) }
    }

    /// A full batch of random planes, which belong to no positions; it is the same batch every time.
    pub fn random(game: &GameInfo, rows: usize) -> Self {
        let mut batch = Self { rows, ..Self::empty(game, rows) };
        let mut rng = LaneRng::new(1, 1);
        batch.planes.iter_mut().for_each(|x| *x = if rng.unit() < 0.3 { 1.0 } else { 0.0 });
        batch
    }

    /// A batch of the positions with these keys.
    pub fn of<G: Game>(keys: &[G::Key]) -> Self {
        let mut batch = Self::new::<G>(keys.len());
        batch.fill::<G>(true, |all| all.extend(keys));
        batch
    }

    /// An empty batch without keys, for evaluators that read planes alone.
    pub(crate) fn without_keys() -> Self {
        Self { rows: 0, input: 0, shape: [0; 3], planes: vec![], keys: Box::new(()) }
    }

    /// Copies the rows in use of another batch, without their keys.
    pub(crate) fn copy_planes(&mut self, other: &Self) {
        (self.rows, self.input, self.shape) = (other.rows, other.input, other.shape);
        self.planes.clear();
        self.planes.extend_from_slice(other.planes());
    }

    /// Makes the rows anew: `push` fills the list of keys, which is empty when it is called, and the keys are then
    /// encoded, if somebody reads the planes.
    pub(crate) fn fill<G: Game>(&mut self, reads_planes: bool, push: impl FnOnce(&mut Vec<G::Key>)) {
        let keys = self.keys.downcast_mut::<Vec<G::Key>>().expect("the batch holds keys of this game");
        keys.clear();
        push(keys);
        self.rows = keys.len();
        if !reads_planes {
            return;
        }
        let few = rows_per_task(self.rows, 128);
        let planes = self.planes[..self.rows * G::INPUT].chunks_mut(few * G::INPUT);
        each(planes.zip(keys.chunks(few)).collect(), |(planes, keys): (&mut [f32], &[G::Key])| {
            planes.chunks_exact_mut(G::INPUT).zip(keys).for_each(|(planes, &key)| G::encode(key, planes));
        });
    }

    /// The planes of the rows in use, `[rows, planes, height, width]`.
    pub fn planes(&self) -> &[f32] {
        &self.planes[..self.rows * self.input]
    }

    /// The keys of the rows in use.
    ///
    /// # Panics
    /// If the batch is one of another game, or has no keys.
    pub fn keys<G: Game>(&self) -> &[G::Key] {
        self.keys.downcast_ref::<Vec<G::Key>>().expect("the batch holds keys of this game")
    }
}

/// The answer of an evaluator to a batch: a policy and a value for each row.
#[derive(Clone, Debug, Default)]
pub struct Evaluations {
    /// The logits of the policies, `[rows, actions]`. Those of legal moves must be finite; those of illegal moves are
    /// ignored, and may be anything, such as `-inf` for a mask.
    pub logits: Vec<f32>,
    /// The values for the player to move, `[rows]`: finite, from -1 to 1.
    pub values: Vec<f32>,
    /// Number of rows that the device computed, padding included.
    pub computed: usize,
}

impl Evaluations {
    /// Room for the evaluations of `capacity` rows in a game with `actions` actions.
    pub fn new(capacity: usize, actions: usize) -> Self {
        Self { logits: vec![0.0; capacity * actions], values: vec![0.0; capacity], computed: 0 }
    }
}

/// What an evaluator can do, and which batches suit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Number of batches that the evaluator works on at the same time: this many may be submitted before the first is
    /// received.
    pub in_flight: u32,
    /// Sizes of batches that the evaluator computes, in ascending order; others are padded to the next size. Empty if
    /// batches are computed at their own size.
    pub batch_sizes: Vec<usize>,
    /// The numbers in which the evaluator computes.
    pub precision: Precision,
    /// Bytes of the evaluator's weights, where they lie; 0 if it has none.
    pub weights: usize,
    /// Whether the answer for a row depends on its position alone, and not in a single bit on the other rows of its
    /// batch, their number, or the row's place among them.
    ///
    /// A search is then the same whichever other searches it shares a batch with. Kernels that are chosen by the size
    /// of a batch, as on most devices, do not give that.
    pub rows_are_independent: bool,
    /// Whether the evaluator reads [`Batch::planes`]. Those of one that does not, because it reads the keys alone, hold
    /// anything.
    pub reads_planes: bool,
}

impl Default for Capabilities {
    /// The capabilities of an evaluator that does not state them: one batch in flight, batches of any size, `f32`, no
    /// promise that rows are independent, and planes that are read.
    fn default() -> Self {
        Self {
            in_flight: 1,
            batch_sizes: vec![],
            precision: Precision::F32,
            weights: 0,
            rows_are_independent: false,
            reads_planes: true,
        }
    }
}

/// A source of policies and values for batches of positions.
///
/// Submitting and receiving are separate, so that a device can work on some batches while the host prepares the next:
/// with `lanes.in_flight = 2` a second batch is submitted before the first is received.
pub trait Evaluator: Send + Sync {
    /// Submits the rows in use of a batch, which the caller may change afterwards.
    ///
    /// # Errors
    /// When the device fails.
    fn submit(&mut self, batch: &Batch) -> Result<(), Error>;

    /// Writes the evaluations of the oldest batch that was submitted and not received yet, and waits for them if need
    /// be. `out` has room for the rows of that batch.
    ///
    /// # Errors
    /// When the device fails.
    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error>;

    /// Submits a batch and waits for its evaluations, where no other batch is in flight.
    ///
    /// # Errors
    /// When the device fails.
    fn evaluate(&mut self, batch: &Batch, out: &mut Evaluations) -> Result<(), Error> {
        self.submit(batch)?;
        self.receive(out)
    }

    /// What the evaluator can do.
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

/// An evaluator that knows nothing: it gives equal priors and the value 0.
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
        Capabilities { rows_are_independent: true, reads_planes: false, ..Capabilities::default() }
    }
}

/// An evaluator that plays each position to the end with random moves, for plain Monte-Carlo tree search without any
/// learning.
///
/// The moves are drawn from a generator that is seeded by the key, so the value of a position does not depend on when
/// it is asked for, or together with which others. Moves that a history forbids are not known to the evaluator.
#[derive(Clone, Debug)]
pub struct Rollouts<G> {
    seed: u64,
    games: u32,
    values: VecDeque<Vec<f32>>,
    game: PhantomData<fn() -> G>,
}

impl<G: Game> Rollouts<G> {
    /// Gives each position the mean result of `games` random games, at least one, and equal priors.
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
        let few = batch.keys::<G>().chunks(8).collect();
        let values = each(few, |keys: &[G::Key]| keys.iter().map(|&key| self.value(key)).collect::<Vec<_>>());
        self.values.push_back(values.concat());
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
        Capabilities { rows_are_independent: true, reads_planes: false, ..Capabilities::default() }
    }
}
