//! The tick as a plain loop over structs, without an ECS: what the schedules and columns cost is the difference to it.
//!
//! It calls the same kernels and does the same work for each lane, in the fewest passes there can be: one for everything
//! before the evaluation and one for everything after it.

use lockstep::prelude::*;
use lockstep_systems::{
    act::{Players, begin_game, play_move, wake},
    expand::expand_leaf,
    policy::PolicyState,
    puct::begin,
    select::select_leaves,
};

struct LaneGame<G: Game> {
    position: G,
    rng: LaneRng,
    game: GameRecord,
    tree: [Tree; 1],
    state: [PolicyState; 1],
    budget: SearchBudget,
    leaf: [Leaf<G>; 1],
}

/// Lanes, their batch, and its evaluations.
pub struct Plain<G: Game> {
    lanes: Vec<LaneGame<G>>,
    planes: Vec<f32>,
    logits: Vec<f32>,
    values: Vec<f32>,
    search: SearchConfig,
    policy: SearchPolicy,
}

impl<G: Game> LaneGame<G> {
    fn begin(&mut self) {
        self.game.begin(None);
        begin_game(&G::start(), &mut self.position, &mut self.rng, &mut self.game, 0);
        self.tree[0].clear();
        wake(&mut self.tree, 0);
    }
}

impl<G: Game> Plain<G> {
    pub fn new(count: usize, search: &SearchConfig) -> Self {
        let lane = |i| {
            let mut lane = LaneGame {
                position: G::start(),
                rng: LaneRng::new(1, i as u64),
                game: GameRecord::default(),
                tree: [Tree::new::<G>(search.simulations)],
                state: [PolicyState::default()],
                budget: SearchBudget::default(),
                leaf: [Leaf::default()],
            };
            lane.begin();
            lane
        };
        Self {
            lanes: (0..count).map(lane).collect(),
            planes: vec![0.0; count * G::INPUT],
            logits: vec![0.0; count * G::ACTIONS],
            values: vec![0.0; count],
            search: search.clone(),
            policy: SearchPolicy::of(search),
        }
    }

    pub fn tick(&mut self) {
        let Self { search, policy, .. } = self;
        let (search, policy) = (&*search, &*policy);
        let min_len = (self.lanes.len() / (4 * rayon::current_num_threads())).max(1);
        self.lanes.par_iter_mut().zip(self.planes.par_chunks_mut(G::INPUT)).with_min_len(min_len).for_each(
            |(lane, planes)| {
                let [tree] = &mut lane.tree;
                if tree.state == TreeState::Expanded {
                    lane.budget = begin(search, tree, &mut lane.rng);
                    tree.state = TreeState::Searching;
                }
                let how = Search { settings: search, state: &mut lane.state[0], rng: &mut lane.rng };
                let budget = lane.budget.simulations;
                _ = select_leaves(tree, &lane.position, budget, &mut lane.leaf, policy, how, None);
                if lane.leaf[0].state == components::LeafState::Selected {
                    G::encode(lane.leaf[0].position.key(), planes);
                }
            },
        );
        // The trivial evaluator.
        self.logits.fill(0.0);
        self.values.fill(0.0);
        let evaluations = self.logits.par_chunks(G::ACTIONS).zip(&self.values);
        self.lanes.par_iter_mut().zip(evaluations).with_min_len(min_len).for_each(|(lane, (logits, value))| {
            let [tree] = &mut lane.tree;
            if lane.leaf[0].state == components::LeafState::Selected {
                expand_leaf(tree, &lane.leaf[0], logits, *value);
                lane.leaf[0].state = components::LeafState::Idle;
            }
            let spent = tree.simulations_at_root() >= lane.budget.simulations || tree.proven.is_some();
            if tree.state == TreeState::Searching && spent {
                tree.state = TreeState::Complete;
            }
            if tree.state == TreeState::Complete {
                let (agents, seats) = (&[(search, policy)][..], Seats([0, 0]));
                let players = Players { agents, first: 0, seats, states: &mut lane.state };
                let (position, budgets) = (&mut lane.position, &[lane.budget]);
                play_move(position, &mut lane.rng, &mut lane.game, &mut lane.tree, budgets, players).unwrap();
                if lane.game.finished.is_some() {
                    lane.begin();
                }
            }
        });
    }
}
