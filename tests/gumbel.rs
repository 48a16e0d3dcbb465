//! Gumbel search against mctx's, on a made-up game: see `scripts/gumbel_reference.py`, which made the numbers.

use lockstep::prelude::*;
use lockstep_systems::gumbel::GumbelState;
use std::collections::VecDeque;

const STATES: u64 = 512;

fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A state of a game without an end, in which some actions may be illegal, and whether the second player is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Maze<const MASKED: bool>(u16, bool);

impl<const MASKED: bool> Maze<MASKED> {
    fn number(self, action: u16, what: u64) -> u64 {
        mix(u64::from(self.0) * 64 + u64::from(action) * 8 + what)
    }

    /// The prior of each action, in parts of 256.
    fn priors(self) -> [u64; 6] {
        let mut parts = [0; 6];
        let weight = |action: u16| 1 + self.number(action, 2) % 100;
        let total: u64 = self.legal().map(weight).sum();
        let spare = 256 - self.legal().count() as u64;
        self.legal().for_each(|action| parts[action as usize] = 1 + spare * weight(action) / total);
        let first = self.legal().next().unwrap() as usize;
        parts[first] += 256 - parts.iter().sum::<u64>();
        parts
    }

    fn value(self) -> f32 {
        ((self.number(0, 3) % 2049) as f32 - 1024.0) / 1024.0
    }
}

impl<const MASKED: bool> Game for Maze<MASKED> {
    type Key = Self;

    const NAME: &'static str = "maze";
    const TITLE: &'static str = "Maze";
    const PLANES: usize = 1;
    const HEIGHT: usize = 1;
    const WIDTH: usize = 1;
    const ACTIONS: usize = 6;
    const MAX_PLIES: usize = 1_000;

    fn start() -> Self {
        Self(0, false)
    }

    fn of_key(key: Self) -> Self {
        key
    }

    fn key(&self) -> Self {
        *self
    }

    fn to_move(&self) -> Side {
        if self.1 { Side::Second } else { Side::First }
    }

    fn moves(key: Self) -> impl Iterator<Item = Action> {
        (0..6).filter(move |&action| !MASKED || !key.number(action, 1).is_multiple_of(4) || action == key.0 % 6)
    }

    fn play(&mut self, action: Action) {
        *self = Self((self.number(action, 0) % STATES) as u16, !self.1);
    }

    fn outcome(&self) -> Option<Outcome> {
        None
    }

    fn encode(key: Self, planes: &mut [f32]) {
        planes[0] = key.value();
    }

    fn transform(key: Self, _: usize) -> Self {
        key
    }

    fn cell(&self, _: usize, _: usize) -> char {
        '.'
    }
}

#[derive(Default)]
struct Known<const MASKED: bool>(VecDeque<Vec<Maze<MASKED>>>);

impl<const MASKED: bool> Evaluator for Known<MASKED> {
    fn submit(&mut self, batch: &Batch) -> Result<(), systems::Error> {
        self.0.push_back(batch.keys::<Maze<MASKED>>().to_vec());
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), systems::Error> {
        let positions = self.0.pop_front().expect("a batch was submitted");
        for (row, position) in positions.iter().enumerate() {
            out.values[row] = position.value();
            let logits = position.priors().map(|part| (part as f32 / 256.0).ln());
            out.logits[6 * row..6 * row + 6].copy_from_slice(&logits);
        }
        Ok(())
    }
}

/// Gumbel search with noise that is given.
struct WithNoise(Vec<f32>);

impl Policy for WithNoise {
    type State = GumbelState;

    fn begin(&self, search: &mut Search<GumbelState>, tree: &mut Tree) -> SearchBudget {
        let budget = Gumbel.begin(search, tree);
        let noise = tree.root_edges().iter().map(|edge| self.0[edge.action() as usize]);
        search.state.urgencies.iter_mut().zip(noise).for_each(|(urgency, noise)| *urgency += noise);
        budget
    }

    fn root(&self, search: &mut Search<GumbelState>, root: Node) -> usize {
        Gumbel.root(search, root)
    }

    fn inner(&self, search: &mut Search<GumbelState>, node: Node) -> usize {
        Gumbel.inner(search, node)
    }
}

/// Searches each case of a file, and returns how many there were and the largest error of the weights and of the root's
/// value. Visits and moves must be the same.
fn compare<const MASKED: bool>(file: &str) -> (usize, f64, f64) {
    let (mut cases, mut of_weights, mut of_value) = (0, 0f64, 0f64);
    for line in file.lines().skip(1) {
        let cells: Vec<f64> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
        let noise: Vec<f32> = cells[3..9].iter().map(|&x| x as f32).collect();
        let settings = SearchConfig {
            policy: PolicyKind::Gumbel,
            simulations: cells[1] as u32,
            considered_moves: cells[2] as u32,
            gumbel_scale: 0.0,
            cache_mb: 0,
            ..Default::default()
        };
        let policy = SearchPolicy::new(WithNoise(noise.clone()));
        let player = Searcher::new(Known::<MASKED>::default(), settings.clone()).with_policy(policy);
        let lanes = LanesConfig { count: 1, ..Default::default() };
        let mut world = Setup::search_only(AnyGame::of::<Maze<MASKED>>(), player).lanes(lanes).build();
        world.query::<&mut Position<Maze<MASKED>>>().single_mut(&mut world).unwrap().0 = Maze(cells[0] as u16, false);
        let mut trees = world.query::<&Tree>();
        while trees.single(&world).unwrap().state != TreeState::Complete {
            run_tick(&mut world).unwrap();
        }
        let tree = trees.single(&world).unwrap();
        let urgency = |edge: &Edge| edge.prior().ln() + noise[edge.action() as usize];
        let mut state =
            GumbelState { urgencies: tree.root_edges().iter().map(urgency).collect(), ..Default::default() };
        let mut search = Search { settings: &settings, state: &mut state, rng: &mut LaneRng::new(1, 1) };
        let mut target = vec![];
        let Decision { action, value, .. } = Gumbel.decide(&mut search, tree, 0, &mut target);
        let (mut visits, mut weights) = ([0.0; 6], [0.0; 6]);
        tree.root_edges().iter().for_each(|edge| visits[edge.action() as usize] = f64::from(edge.visits()));
        let sum: f32 = target.iter().map(|(_, weight)| weight).sum();
        target.iter().for_each(|&(action, weight)| weights[action as usize] = f64::from(weight / sum));
        assert_eq!((f64::from(action), &visits[..]), (cells[9], &cells[10..16]), "{line}");
        let errors = weights.iter().zip(&cells[16..22]).map(|(found, expected)| (found - expected).abs());
        of_weights = errors.fold(of_weights, f64::max);
        of_value = of_value.max((f64::from(value) - cells[22]).abs());
        cases += 1;
    }
    (cases, of_weights, of_value)
}

#[test]
fn gumbel_is_that_of_mctx() {
    let (cases, of_weights, of_value) = compare::<false>(include_str!("golden/gumbel.csv"));
    assert!(cases > 80 && of_weights < 1e-5 && of_value < 1e-5, "{cases} cases, errors {of_weights} and {of_value}");
    // mctx scales values as if illegal moves were there without visits, so its weights differ a little.
    let (cases, of_weights, _) = compare::<true>(include_str!("golden/gumbel_masked.csv"));
    assert!(cases > 80 && of_weights > 1e-5, "{cases} cases, {of_weights}");
}
