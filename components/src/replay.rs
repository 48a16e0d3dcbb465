//! Finished games as compact positions, and the dataset that training batches are drawn from.

use crate::{
    config::{Merge, ReplayConfig},
    game::{Action, Game},
    info::GameInfo,
    lane::LaneRng,
    record::{GameRecord, for_first},
};
use bevy_ecs::prelude::*;
use rustc_hash::FxHashMap;
use std::{
    any::Any,
    collections::VecDeque,
    ops::{Deref, DerefMut},
};

/// One position of a finished game.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<K> {
    /// The key of the position.
    pub key: K,
    /// How the game ended for the player to move at the position: 1, 0 or -1.
    pub outcome: i8,
    /// Value of the root after the search, for the player to move at the position.
    pub root_value: f32,
    /// How often the position is drawn, beside one of weight 1.
    pub weight: f32,
    /// Plies from the position to the end of the game.
    pub plies_left: u16,
    /// Entries of the position's policy; 0 after a fast search, which teaches the value alone.
    policy_len: u16,
}

/// The replay buffer of the game `G`: the last positions played, in order. Samples and sparse policies lie in two
/// rings, so nothing is allocated for a sample and the bound of the memory is known in advance. The ring of policies
/// has room for [`Game::ROOM`] moves a position; where positions have more on average, the window holds fewer.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay<G: Game> {
    samples: VecDeque<Sample<G::Key>>,
    policies: VecDeque<(Action, u16)>,
    window: usize,
    /// Positions added since the start of the run.
    pub added: u64,
}

impl<G: Game> Replay<G> {
    /// An empty buffer for the last `window` positions.
    pub fn new(window: usize) -> Self {
        let mut replay = Self { samples: VecDeque::new(), policies: VecDeque::new(), window, added: 0 };
        replay.reserve();
        replay
    }

    /// Reserves room for the window and for the game that is added before the oldest positions leave. Rings that grow
    /// by themselves would take up to twice as much, and three times while they grow. Pages that are not used yet take
    /// no memory.
    fn reserve(&mut self) {
        let samples = self.window + G::MAX_PLIES;
        let moves = Self::moves(self.window) + G::MAX_PLIES * G::MAX_LEGAL;
        self.samples.reserve_exact(samples.saturating_sub(self.samples.len()));
        self.policies.reserve_exact(moves.saturating_sub(self.policies.len()));
    }

    /// The most entries of the policies of a window.
    fn moves(window: usize) -> usize {
        window * G::ROOM
    }

    /// The most bytes that a buffer with this window occupies.
    pub fn bytes(window: usize) -> usize {
        let moves = Self::moves(window) + G::MAX_PLIES * G::MAX_LEGAL;
        (window + G::MAX_PLIES) * size_of::<Sample<G::Key>>() + moves * size_of::<(Action, u16)>()
    }

    /// Adds the searched positions of a finished game from `start`. The oldest positions leave when the window is full.
    ///
    /// # Panics
    /// If the game is not finished, or is not a game from `start`.
    pub fn push(&mut self, start: &G, game: &GameRecord) {
        let first = game.finished.expect("only finished games are learned from");
        for (i, (position, ply, policy)) in game.iter(start.clone()).enumerate() {
            self.samples.push_back(Sample {
                key: position.key(),
                // From the first player's view to that of the player to move: the same change in both directions.
                outcome: for_first(&position, first).value() as i8,
                root_value: ply.root_value,
                weight: ply.weight,
                plies_left: (game.plies.len() - i) as u16,
                policy_len: ply.policy_len,
            });
            self.policies.extend(policy);
            self.added += 1;
        }
        self.trim();
    }

    /// Positions in the buffer.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// How many of the positions a buffer with this window would hold.
    pub fn within(&self, window: usize) -> usize {
        let mut moves = 0;
        let newest = self.samples.iter().rev().take(window);
        let fit = newest.take_while(|sample| {
            moves += usize::from(sample.policy_len);
            moves <= Self::moves(window)
        });
        fit.count()
    }

    /// Iterates over the samples with their policies, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&Sample<G::Key>, impl Iterator<Item = (Action, u16)>)> {
        let mut start = 0;
        self.samples.iter().map(move |sample| {
            let end = start + sample.policy_len as usize;
            let policy = self.policies.range(start..end).copied();
            start = end;
            (sample, policy)
        })
    }

    /// Changes the window; the oldest positions leave when it is smaller.
    pub fn set_window(&mut self, window: usize) {
        self.window = window;
        self.trim();
        self.reserve();
    }

    fn trim(&mut self) {
        while self.samples.len() > self.window || self.policies.len() > Self::moves(self.window) {
            let old = self.samples.pop_front().expect("not empty");
            self.policies.drain(..old.policy_len as usize);
        }
    }
}

/// One entry of a [`Dataset`]: a position, or all samples of positions that are equal up to symmetry.
#[derive(Clone, Copy, Debug)]
pub struct Merged<K> {
    /// The key, in canonical form when equal positions are merged.
    pub key: K,
    /// Shares of won, drawn and lost games, for the player to move.
    pub outcomes: [f32; 3],
    /// Mean value of the root after the searches, for the player to move.
    pub root_value: f32,
    /// Mean number of plies to the end of the game.
    pub plies_left: f32,
    /// Share of the samples that carry a policy; the policy loss is weighted with it.
    pub policy_weight: f32,
    /// The sum of the weights of the samples. All shares and means are weighted with the weights of the samples.
    pub weight: f32,
    /// How many samples were merged.
    pub count: u32,
    policy: (u32, u32),
}

/// The entries that training batches are drawn from: the positions of a replay buffer, with equal ones averaged.
#[derive(Clone, Debug)]
pub struct Dataset<G: Game> {
    entries: Vec<Merged<G::Key>>,
    /// The policies of the entries, one after another.
    policies: Vec<(Action, f32)>,
    /// Running sums of the weights with which the entries are drawn.
    cumulative: Vec<f64>,
    /// The index of the entry of each key.
    index: FxHashMap<G::Key, u32>,
    /// While the dataset is built: the samples, sorted by their entries.
    sorted: Vec<Sorted>,
}

/// A sample on its way to its entry.
#[derive(Clone, Copy, Debug, Default)]
struct Sorted {
    entry: u32,
    symmetry: u8,
    /// Where the policy of the sample begins.
    policy: u32,
    /// Number of entries of the sample's policy.
    moves: u16,
    /// The weight of the sample.
    weight: f32,
}

impl<G: Game> Dataset<G> {
    /// Makes the dataset of the positions of a buffer that are within `config.window`.
    ///
    /// With [`Merge::None`] each sample is an entry of its own. Otherwise samples whose positions are equal up to
    /// symmetry become one entry, with outcomes, values and policies averaged, as in AlphaZero.jl; the weight with
    /// which the entry is drawn depends on `config.merge`.
    pub fn new(replay: &Replay<G>, config: &ReplayConfig) -> Self {
        let (entries, policies, cumulative, sorted) = Default::default();
        let mut dataset = Self { entries, policies, cumulative, index: FxHashMap::default(), sorted };
        dataset.rebuild(replay, config);
        dataset
    }

    /// The most bytes that the dataset of a window occupies.
    pub fn bytes(window: usize) -> usize {
        let moves = Replay::<G>::moves(window) * size_of::<(Action, f32)>();
        // The table is at most seven eighths full, and a power of two.
        let slots = (window * 8 / 7).next_power_of_two();
        window * (size_of::<Merged<G::Key>>() + size_of::<f64>() + size_of::<Sorted>())
            + moves
            + slots * (size_of::<(G::Key, u32)>() + 1)
    }

    /// Makes the dataset anew, as [`Dataset::new`] does, in the memory that it has.
    pub fn rebuild(&mut self, replay: &Replay<G>, config: &ReplayConfig) {
        let Self { entries, policies, cumulative, index, sorted } = self;
        entries.clear();
        policies.clear();
        cumulative.clear();
        index.clear();
        sorted.clear();
        // Reserved for the whole window at once: memory that grows is twice there while it does.
        let window = config.window.min(replay.window);
        entries.reserve_exact(window);
        policies.reserve_exact(Replay::<G>::moves(window));
        cumulative.reserve_exact(window);
        sorted.reserve_exact(window);
        let merge = config.merge != Merge::None;
        if merge {
            index.reserve(window);
        }
        // The buffer may be kept larger, for rounds to come.
        let older = replay.len() - replay.within(window);
        let mut start = replay.samples.range(..older).map(|sample| u32::from(sample.policy_len)).sum();
        for sample in replay.samples.range(older..) {
            let (key, symmetry) = if merge { G::canonical(sample.key) } else { (sample.key, 0) };
            let new = entries.len() as u32;
            let at = if merge { *index.entry(key).or_insert(new) } else { new };
            if at == new {
                entries.push(Merged {
                    key,
                    outcomes: [0.0; 3],
                    root_value: 0.0,
                    plies_left: 0.0,
                    policy_weight: 0.0,
                    weight: 0.0,
                    count: 0,
                    policy: (0, 0),
                });
            }
            let entry = &mut entries[at as usize];
            let weight = sample.weight;
            entry.count += 1;
            entry.weight += weight;
            entry.outcomes[(1 - sample.outcome) as usize] += weight;
            entry.root_value += weight * sample.root_value;
            entry.plies_left += weight * f32::from(sample.plies_left);
            entry.policy_weight += if sample.policy_len > 0 { weight } else { 0.0 };
            let (symmetry, moves) = (symmetry as u8, sample.policy_len);
            sorted.push(Sorted { entry: at, symmetry, policy: start, moves, weight });
            start += u32::from(sample.policy_len);
        }
        if merge {
            // Those of an entry stay in the order in which they were played.
            sorted.sort_unstable_by_key(|sample| (sample.entry, sample.policy));
        }
        // The sum of each move of one entry, and which moves have one.
        let mut sums = vec![0.0f32; G::ACTIONS];
        let mut samples = sorted.iter().peekable();
        let mut total = 0.0;
        for (at, entry) in entries.iter_mut().enumerate() {
            let first = policies.len();
            while let Some(sample) = samples.next_if(|sample| sample.entry as usize == at) {
                let policy = sample.policy as usize..sample.policy as usize + usize::from(sample.moves);
                for &(action, share) in replay.policies.range(policy) {
                    let action = G::transform_action(action, sample.symmetry.into());
                    let sum = &mut sums[usize::from(action)];
                    // Shares are above 0, so a sum is 0 only before the first.
                    if *sum == 0.0 {
                        policies.push((action, 0.0));
                    }
                    *sum += sample.weight * (f32::from(share) / 65_535.0);
                }
            }
            let own = &mut policies[first..];
            own.iter_mut().for_each(|(action, sum)| *sum = std::mem::take(&mut sums[usize::from(*action)]));
            let whole: f32 = own.iter().map(|(_, sum)| sum).sum();
            own.iter_mut().for_each(|(_, sum)| *sum /= whole);
            entry.policy = (first as u32, policies.len() as u32);
            let n = entry.weight;
            entry.outcomes.iter_mut().for_each(|x| *x /= n);
            entry.root_value /= n;
            entry.plies_left /= n;
            entry.policy_weight /= n;
            let count = f64::from(entry.count);
            let chance = match config.merge {
                Merge::None | Merge::Count => count,
                Merge::Log => 1.0 + count.log2(),
                Merge::Equal => 1.0,
            };
            total += chance * (f64::from(n) / count);
            cumulative.push(total);
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at `index` and its policy, whose shares sum to 1; the policy is empty when no sample had one.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn get(&self, index: usize) -> (&Merged<G::Key>, &[(Action, f32)]) {
        let entry = &self.entries[index];
        (entry, &self.policies[entry.policy.0 as usize..entry.policy.1 as usize])
    }

    /// Draws the index of an entry, with a chance in proportion to its weight.
    ///
    /// # Panics
    /// If the dataset is empty.
    pub fn draw(&self, rng: &mut LaneRng) -> usize {
        let total = *self.cumulative.last().expect("an empty dataset has nothing to draw");
        // 53 bits: enough to reach every entry of any window that fits into memory.
        let unit = (rand::Rng::next_u64(&mut rng.0) >> 11) as f64 / (1u64 << 53) as f64;
        self.cumulative.partition_point(|&c| c <= unit * total).min(self.entries.len() - 1)
    }
}

/// The replay buffer of a run and the dataset that is made of it, whatever the game. What can be asked of it is in
/// [`AnyBuffer`].
#[derive(Resource)]
pub struct ReplayBuffer(Box<dyn AnyBuffer>);

/// The targets of one row of a training batch, beside its policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Targets {
    /// Shares of won, drawn and lost games: [`Merged::outcomes`].
    pub outcomes: [f32; 3],
    /// Mean value of the root: [`Merged::root_value`].
    pub root_value: f32,
    /// Mean number of plies to the end of the game, [`Merged::plies_left`], as a share of [`Game::MAX_PLIES`].
    pub length: f32,
    /// Weight of the policy loss: [`Merged::policy_weight`].
    pub policy_weight: f32,
}

/// What a replay buffer of any game does.
pub trait AnyBuffer: Any + Send + Sync {
    /// What is known of the game without its rules.
    fn info(&self) -> &'static GameInfo;
    /// Adds a finished game: see [`Replay::push`].
    ///
    /// # Panics
    /// If the game is not finished.
    fn push(&mut self, game: &GameRecord);
    /// Positions in the buffer.
    fn len(&self) -> usize;
    /// Whether the buffer has no position.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// How many of the positions a buffer with this window would hold.
    fn within(&self, window: usize) -> usize;
    /// Changes the window; the oldest positions leave when it is smaller.
    fn set_window(&mut self, window: usize);
    /// Positions added since the start of the run, to be read or set.
    fn total(&mut self) -> &mut u64;
    /// Makes the dataset of the positions in the window: see [`Dataset::new`].
    fn prepare(&mut self, config: &ReplayConfig);
    /// Entries of the dataset; 0 before the first one was prepared.
    fn distinct(&self) -> usize;
    /// Draws an entry of the dataset: see [`Dataset::draw`].
    ///
    /// # Panics
    /// If no dataset was prepared, or it is empty.
    fn draw(&self, rng: &mut LaneRng) -> usize;
    /// Writes an entry under a symmetry: its planes, which are overwritten; the shares of its policy and zeros for its legal
    /// moves, each at its place among all actions, where other numbers stay.
    ///
    /// # Panics
    /// If no dataset was prepared, or it has no such entry.
    fn row(&self, entry: usize, symmetry: usize, planes: &mut [f32], policy: &mut [f32], legal: &mut [f32]) -> Targets;
}

/// The contents of a [`ReplayBuffer`] of the game `G`.
struct Typed<G: Game> {
    start: G,
    replay: Replay<G>,
    dataset: Option<Dataset<G>>,
}

impl<G: Game> AnyBuffer for Typed<G> {
    fn info(&self) -> &'static GameInfo {
        &const { GameInfo::of::<G>() }
    }

    fn push(&mut self, game: &GameRecord) {
        self.replay.push(&self.start, game);
    }

    fn len(&self) -> usize {
        self.replay.len()
    }

    fn within(&self, window: usize) -> usize {
        self.replay.within(window)
    }

    fn set_window(&mut self, window: usize) {
        self.replay.set_window(window);
    }

    fn total(&mut self) -> &mut u64 {
        &mut self.replay.added
    }

    fn prepare(&mut self, config: &ReplayConfig) {
        match &mut self.dataset {
            Some(dataset) => dataset.rebuild(&self.replay, config),
            None => self.dataset = Some(Dataset::new(&self.replay, config)),
        }
    }

    fn distinct(&self) -> usize {
        self.dataset.as_ref().map_or(0, Dataset::len)
    }

    fn draw(&self, rng: &mut LaneRng) -> usize {
        self.dataset.as_ref().expect("it was prepared").draw(rng)
    }

    fn row(&self, entry: usize, symmetry: usize, planes: &mut [f32], policy: &mut [f32], legal: &mut [f32]) -> Targets {
        let (entry, shares) = self.dataset.as_ref().expect("it was prepared").get(entry);
        let key = G::transform(entry.key, symmetry);
        G::encode(key, planes);
        for &(action, share) in shares {
            policy[G::transform_action(action, symmetry) as usize] = share;
        }
        for action in G::moves(key) {
            legal[action as usize] = 0.0;
        }
        let Merged { outcomes, root_value, plies_left, policy_weight, .. } = *entry;
        Targets { outcomes, root_value, length: plies_left / G::MAX_PLIES as f32, policy_weight }
    }
}

impl ReplayBuffer {
    /// An empty buffer for the last `window` positions of games from `start`.
    pub fn new<G: Game>(start: G, window: usize) -> Self {
        Self(Box::new(Typed { start, replay: Replay::new(window), dataset: None }))
    }

    /// The samples, for whoever knows the game; `None` if it is another one.
    pub fn samples<G: Game>(&self) -> Option<&Replay<G>> {
        self.typed().map(|typed| &typed.replay)
    }

    /// The dataset that was prepared last, as one of the game `G`; `None` if the buffer is one of another game, or no
    /// dataset was prepared.
    pub fn dataset<G: Game>(&self) -> Option<&Dataset<G>> {
        self.typed()?.dataset.as_ref()
    }

    fn typed<G: Game>(&self) -> Option<&Typed<G>> {
        (&*self.0 as &dyn Any).downcast_ref()
    }
}

impl Deref for ReplayBuffer {
    type Target = dyn AnyBuffer;

    fn deref(&self) -> &dyn AnyBuffer {
        &*self.0
    }
}

impl DerefMut for ReplayBuffer {
    fn deref_mut(&mut self) -> &mut dyn AnyBuffer {
        &mut *self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{game::Outcome, games::TicTacToe, record::Ply};

    fn game(moves: &[Action], outcome: Outcome) -> GameRecord {
        let mut game = GameRecord { finished: Some(outcome), ..Default::default() };
        for &action in moves {
            game.policies.extend([(action, 65_535)]);
            game.plies.push(Ply { action, root_value: 0.5, weight: 1.0, policy_len: 1 });
        }
        game
    }

    #[test]
    fn the_window_holds_and_outcomes_alternate() {
        let mut replay = Replay::<TicTacToe>::new(7);
        replay.push(&TicTacToe::start(), &game(&[0, 3, 1, 4, 2], Outcome::Win));
        let ends: Vec<_> = replay.iter().map(|(s, _)| (s.outcome, s.plies_left)).collect();
        assert_eq!(ends, [(1, 5), (-1, 4), (1, 3), (-1, 2), (1, 1)]);
        replay.push(&TicTacToe::start(), &game(&[8, 3, 7, 4, 6], Outcome::Win));
        assert_eq!((replay.len(), replay.added), (7, 10));
        let (sample, policy) = replay.iter().nth(1).unwrap();
        let played = TicTacToe::parse("a1 a2 b1 b2").unwrap();
        assert_eq!((sample.key, policy.last()), (played, Some((2, 65_535))));
    }

    /// What is drawn from depends on the window that it is drawn with, and not on the size of the buffer.
    #[test]
    fn a_larger_buffer_is_drawn_from_alike() {
        let mut rng = LaneRng::new(5, 1);
        let sizes = [9, 20, 1_000];
        let mut buffers = sizes.map(Replay::<TicTacToe>::new);
        for _ in 0..40 {
            let mut record = GameRecord { finished: Some(Outcome::Draw), ..Default::default() };
            let mut board = TicTacToe::start();
            while board.outcome().is_none() && record.plies.len() < 6 {
                let legal: Vec<Action> = board.legal().collect();
                let action = legal[rng.below(legal.len())];
                // Long policies, so that not all of a window fit into its ring.
                record.policies.extend(legal.iter().map(|&action| (action, 9_000)));
                record.plies.push(Ply { action, root_value: 0.5, weight: 1.0, policy_len: legal.len() as u16 });
                board.play(action);
            }
            buffers.iter_mut().for_each(|buffer| buffer.push(&TicTacToe::start(), &record));
            for (i, &window) in sizes.iter().enumerate() {
                let config = ReplayConfig { window, merge: Merge::Count };
                let own = Dataset::new(&buffers[i], &config);
                for larger in &buffers[i..] {
                    assert_eq!(larger.within(window), buffers[i].len());
                    let drawn = Dataset::new(larger, &config);
                    assert_eq!((drawn.len(), &drawn.cumulative), (own.len(), &own.cumulative));
                    assert_eq!(
                        (&drawn.policies, drawn.entries.last().unwrap().key),
                        (&own.policies, own.entries.last().unwrap().key)
                    );
                }
            }
        }
    }

    #[test]
    fn equal_positions_are_averaged_under_symmetry() {
        let mut replay = Replay::<TicTacToe>::new(100);
        // The first moves 0 and 8 are the same corner; the games end differently.
        replay.push(&TicTacToe::start(), &game(&[0], Outcome::Win));
        replay.push(&TicTacToe::start(), &game(&[8], Outcome::Draw));
        let config = ReplayConfig { merge: Merge::Count, ..Default::default() };
        let data = Dataset::new(&replay, &config);
        assert_eq!(data.len(), 1);
        let (entry, policy) = data.get(0);
        assert_eq!((entry.count, entry.outcomes), (2, [0.5, 0.5, 0.0]));
        assert!((policy.iter().map(|p| p.1).sum::<f32>() - 1.0).abs() < 1e-6);
        let apart = Dataset::new(&replay, &ReplayConfig { merge: Merge::None, ..config });
        assert_eq!(apart.len(), 2);
    }

    /// A sample of weight 3 does what three samples of weight 1 do.
    #[test]
    fn a_weight_is_so_many_samples() {
        let (mut weighed, mut repeated) = (Replay::<TicTacToe>::new(100), Replay::<TicTacToe>::new(100));
        let games = [(game(&[0], Outcome::Win), 3), (game(&[8], Outcome::Draw), 1), (game(&[4, 1], Outcome::Loss), 2)];
        for (mut game, weight) in games {
            (0..weight).for_each(|_| repeated.push(&TicTacToe::start(), &game));
            game.plies.iter_mut().for_each(|ply| ply.weight = weight as f32);
            weighed.push(&TicTacToe::start(), &game);
        }
        let config = ReplayConfig { merge: Merge::Count, ..Default::default() };
        let (weighed, repeated) = (Dataset::new(&weighed, &config), Dataset::new(&repeated, &config));
        assert_eq!((weighed.len(), &weighed.cumulative), (repeated.len(), &repeated.cumulative));
        for at in 0..weighed.len() {
            let ((a, policy), (b, other)) = (weighed.get(at), repeated.get(at));
            let far = |a: f32, b: f32| (a - b).abs() > 1e-6;
            assert!(a.outcomes.iter().zip(b.outcomes).all(|(&a, b)| !far(a, b)) && !far(a.plies_left, b.plies_left));
            assert!(policy.iter().zip(other).all(|(a, b)| a.0 == b.0 && !far(a.1, b.1)), "{policy:?} {other:?}");
        }
    }

    #[test]
    fn drawing_follows_the_weights() {
        let mut replay = Replay::<TicTacToe>::new(1_000);
        for _ in 0..9 {
            replay.push(&TicTacToe::start(), &game(&[0], Outcome::Win));
        }
        replay.push(&TicTacToe::start(), &game(&[0, 1], Outcome::Win));
        let mut rng = LaneRng::new(1, 1);
        for (merge, expected) in [(Merge::Count, 10.0 / 11.0), (Merge::Equal, 0.5), (Merge::Log, 4.32 / 5.32)] {
            let data = Dataset::new(&replay, &ReplayConfig { merge, ..Default::default() });
            let hits = (0..10_000).filter(|_| data.get(data.draw(&mut rng)).0.count == 10).count();
            assert!((hits as f64 / 10_000.0 - expected).abs() < 0.02, "{merge:?}: {hits}");
        }
    }
}
