//! The tick as a plain loop over structs, without an ECS: what the schedules and columns cost is the difference to it.
//!
//! It calls the same kernels and does the same work for each lane, in the fewest passes there can be: one for everything
//! before the evaluation and one for everything after it.

use lockstep::prelude::*;
use lockstep_components::SearchBudget;
use lockstep_systems::{
    act::{begin_game, play_move},
    expand::expand_leaf,
    root::begin,
    select::{Descents, select_leaves},
};
use rayon::prelude::*;

struct Slot<G: Game> {
    position: G,
    rng: LaneRng,
    game: components::GameRecord,
    tree: [Tree; 1],
    budget: SearchBudget,
    leaf: [Leaf<G>; 1],
}

/// Lanes, their batch, and its evaluations.
pub struct Plain<G: Game> {
    lanes: Vec<Slot<G>>,
    planes: Vec<f32>,
    logits: Vec<f32>,
    values: Vec<f32>,
    search: SearchConfig,
    rule: Puct,
}

const SELF_PLAY: components::Seats = components::Seats([0, 0]);

impl<G: Game> Plain<G> {
    pub fn new(count: usize, search: &SearchConfig) -> Self {
        let lane = |i| {
            let mut lane = Slot {
                position: G::start(),
                rng: LaneRng::new(1, i as u64),
                game: components::GameRecord::with_room::<G>(),
                tree: [Tree::new(search.simulations, G::MAX_LEGAL)],
                budget: SearchBudget::default(),
                leaf: [Leaf::default()],
            };
            begin_game(&mut lane.position, &mut lane.rng, &mut lane.game, SELF_PLAY, &mut lane.tree, search);
            lane
        };
        Self {
            lanes: (0..count).map(lane).collect(),
            planes: vec![0.0; count * G::INPUT],
            logits: vec![0.0; count * G::ACTIONS],
            values: vec![0.0; count],
            search: search.clone(),
            rule: Puct::new(search),
        }
    }

    pub fn tick(&mut self) {
        let Self { search, rule, .. } = self;
        let descents = Descents { solver: search.solver, cache: None };
        let min_len = (self.lanes.len() / (4 * rayon::current_num_threads())).max(1);
        self.lanes.par_iter_mut().zip(self.planes.par_chunks_mut(G::INPUT)).with_min_len(min_len).for_each(
            |(lane, planes)| {
                let [tree] = &mut lane.tree;
                if tree.state == TreeState::Expanded {
                    lane.budget = begin(tree, &mut lane.rng, search);
                }
                select_leaves(tree, &lane.position, lane.budget.simulations, &mut lane.leaf, rule, descents);
                if lane.leaf[0].state == components::LeafState::Selected {
                    lane.leaf[0].position.encode(planes);
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
            }
            let spent = tree.simulations_at_root() >= lane.budget.simulations || tree.proven.is_some();
            if tree.state == TreeState::Searching && spent {
                tree.state = TreeState::Complete;
                let full = lane.budget.full;
                play_move(&mut lane.position, &mut lane.rng, &mut lane.game, SELF_PLAY, &mut lane.tree, full, search);
            }
            if lane.game.finished.is_some() {
                lane.game.begin(None);
                begin_game(&mut lane.position, &mut lane.rng, &mut lane.game, SELF_PLAY, &mut lane.tree, search);
            }
        });
    }
}
