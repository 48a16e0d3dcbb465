//! `TickSystems::Act` for answering questions: each lane searches one position after another and reports what it found.

use crate::{
    Agent, SearchPolicy,
    policy::{Decision, PolicyState, Search},
    rows::Rows,
};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Action, Edge, Game, LaneRng, Outcome, Position, State, Stats, Tree, TreeState, config::SearchConfig,
};

/// What a search found about one root move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MoveStats {
    /// The move.
    pub action: Action,
    /// The network's probability.
    pub prior: f32,
    /// Simulations through it.
    pub visits: u32,
    /// Mean value for the player to move at the root; `None` without visits.
    pub value: Option<f32>,
    /// The result that the search has proven for the player to move at the root.
    pub proven: Option<Outcome>,
}

impl MoveStats {
    /// What a search has found about the move of an edge.
    pub fn of(edge: &Edge) -> Self {
        Self {
            action: edge.action(),
            prior: edge.prior(),
            visits: edge.visits(),
            value: (edge.visits() > 0).then(|| edge.value_or(0.0)),
            proven: edge.known(),
        }
    }
}

/// What a search found about one position.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The move it would play: the most visited one, or one that is proven to be better.
    pub action: Action,
    /// Value of the root for the player to move: its result if it is proven, else the mean.
    pub value: f32,
    /// The result of the root for the player to move, if the search has proven it.
    pub proven: Option<Outcome>,
    /// Every legal move.
    pub moves: Vec<MoveStats>,
}

/// Positions to be searched, and what was found. Lanes take them in order.
#[derive(Resource, Clone, Debug)]
pub struct Questions {
    positions: Vec<State>,
    answers: Vec<Option<Answer>>,
    next: usize,
    open: usize,
}

impl Questions {
    /// Asks about these positions, none of them finished.
    ///
    /// # Panics
    /// If one of the games is over.
    pub fn new(positions: Vec<State>) -> Self {
        assert!(positions.iter().all(|p| p.outcome().is_none()), "a finished game has no move to search for");
        Self { answers: vec![None; positions.len()], open: positions.len(), positions, next: 0 }
    }

    /// Whether every position has its answer.
    pub fn done(&self) -> bool {
        self.open == 0
    }

    /// How many have one.
    pub fn answered(&self) -> usize {
        self.positions.len() - self.open
    }

    /// The answers in the order of the positions.
    ///
    /// # Panics
    /// If some are still open.
    pub fn into_answers(self) -> Vec<Answer> {
        self.answers.into_iter().map(|a| a.expect("ticks ran until all were answered")).collect()
    }
}

/// What a lane of an analysis is to do, in this order, at the end of its present search.
#[derive(Component, Debug, Default)]
pub struct Orders(pub Vec<Order>);

/// One thing that a lane of an analysis is to do.
#[derive(Clone, Debug)]
pub enum Order {
    /// Take this position, without a tree.
    Set(State),
    /// Play this legal move, and keep the sub-tree behind it if the policy keeps any.
    Play(Action),
    /// Search the position that it has. A game that is over is left alone.
    Search,
}

/// Which of the questions a lane searches.
#[derive(Component, Clone, Copy, Debug, Default)]
pub struct Asked(Option<usize>);

/// Takes the answers of complete searches, and gives each free lane the next position.
pub fn answer(
    mut rows: Rows<(&mut LaneRng, &mut Asked, &mut Orders), (&mut Tree, &mut PolicyState)>,
    questions: Option<ResMut<Questions>>,
    mut stats: ResMut<Stats>,
    agent: Single<(&SearchConfig, &SearchPolicy), With<Agent>>,
) {
    let Some(mut questions) = questions else { return };
    let (settings, policy) = *agent;
    let questions = &mut *questions;
    for ((rng, asked, orders), trees) in rows.answered() {
        let (tree, state) = (&mut trees.rows.0[0], &mut trees.rows.1[0]);
        if tree.state == TreeState::Complete {
            let asked = asked.0.take().expect("a complete search was asked for");
            stats.add(std::mem::take(&mut tree.counts), 1);
            stats.cache_hits += u64::from(std::mem::take(&mut tree.cache_hits));
            questions.answers[asked] = Some(Answer::of(tree, policy, Search { settings, state, rng }));
            questions.open -= 1;
        } else if asked.0.is_some() {
            continue;
        }
        tree.clear();
        tree.state = TreeState::Idle;
        if let Some(next) = questions.positions.get(questions.next) {
            orders.0.extend([Order::Set(next.clone()), Order::Search]);
            asked.0 = Some(questions.next);
            questions.next += 1;
        }
    }
}

/// Does what the lanes are ordered to, where no search is under way.
pub fn obey<G: Game>(
    mut rows: Rows<(&mut Position<G>, &mut Orders), &mut Tree>,
    agent: Single<(&SearchConfig, &SearchPolicy), With<Agent>>,
) {
    let (settings, policy) = *agent;
    for ((position, orders), trees) in rows.answered() {
        let tree = &mut trees.rows[0];
        if tree.state == TreeState::Searching {
            continue;
        }
        for order in orders.0.drain(..) {
            match order {
                Order::Set(state) => {
                    position.0.clone_from(state.get().expect("a state of this game"));
                    tree.clear();
                }
                Order::Play(action) => {
                    position.0.play(action);
                    if policy.keeps(settings, tree, action) { tree.keep_subtree(action) } else { tree.clear() }
                }
                Order::Search if position.0.outcome().is_none() => {
                    tree.state = if tree.is_empty() { TreeState::Empty } else { TreeState::Expanded };
                    continue;
                }
                Order::Search => {}
            }
            tree.state = TreeState::Idle;
        }
    }
}

impl Answer {
    /// What a policy says of a tree that has a root, whether its search is complete or not.
    pub fn of(tree: &Tree, policy: &SearchPolicy, search: Search<PolicyState>) -> Self {
        let Decision { action, value } = policy.0.decide(search, tree, 0, &mut vec![]);
        let moves = tree.root_edges().iter().map(MoveStats::of).collect();
        Self { action, value, proven: tree.proven, moves }
    }
}

/// What a lane has found by now, whether its search goes on or not. The tree has a root.
pub fn answer_of(world: &mut World, lane: Entity, tree: Entity) -> Answer {
    fn look(
        In((lane, tree)): In<(Entity, Entity)>,
        agent: Single<(&SearchConfig, &SearchPolicy), With<Agent>>,
        lanes: Query<&LaneRng>,
        mut trees: Query<(&Tree, &mut PolicyState)>,
    ) -> Answer {
        let (settings, policy) = *agent;
        // What is drawn for this is not missing later.
        let mut rng = lanes.get(lane).expect("a lane").clone();
        let (tree, mut state) = trees.get_mut(tree).expect("a tree");
        Answer::of(tree, policy, Search { settings, state: &mut state, rng: &mut rng })
    }
    world.run_system_cached_with(look, (lane, tree)).expect("a system without conditions runs")
}
