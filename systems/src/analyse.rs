//! `TickSystems::Act` for analyses: each lane searches one position after another and reports what it found, or obeys
//! orders.

use crate::{
    Agent, SearchPolicy,
    policy::{Decision, PolicyState, Search},
    rows::Rows,
};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Action, Edge, Game, LaneRng, Outcome, Position, State, Stats, Tree, TreeState, config::SearchConfig,
};

/// What a search found about one move of the root.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MoveStats {
    /// The move.
    pub action: Action,
    /// The prior of the move, mixed with noise if the search had any.
    pub prior: f32,
    /// Number of finished simulations through the move.
    pub visits: u32,
    /// Mean value of the move for the player to move at the root; `None` without visits.
    pub value: Option<f32>,
    /// The result of the move for the player to move at the root, if the search has proven it.
    pub proven: Option<Outcome>,
}

impl MoveStats {
    /// What a search has found about the action of an edge.
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
    /// The move that the policy decides for, as at the first ply of a game.
    pub action: Action,
    /// The value that the policy decides for, for the player to move: usually [`Tree::root_value`].
    pub value: f32,
    /// The result of the root for the player to move, if the search has proven it.
    pub proven: Option<Outcome>,
    /// What the network's policy would learn from the search: moves in ascending order, with weights of any scale; empty
    /// if nothing but the move would be learned.
    pub target: Vec<(Action, f32)>,
    /// What was found about every edge of the root.
    pub moves: Vec<MoveStats>,
}

/// Positions to be searched, and the answers. Lanes take the positions in order.
#[derive(Resource, Clone, Debug)]
pub struct Questions {
    positions: Vec<State>,
    answers: Vec<Option<Answer>>,
    next: usize,
    open: usize,
}

impl Questions {
    /// Asks about positions, none of which may be finished.
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

    /// Number of positions that have their answer.
    pub fn answered(&self) -> usize {
        self.positions.len() - self.open
    }

    /// The answers in the order of the positions.
    ///
    /// # Panics
    /// If a position has no answer yet.
    pub fn into_answers(self) -> Vec<Answer> {
        self.answers.into_iter().map(|a| a.expect("ticks ran until all were answered")).collect()
    }
}

/// What a lane of an analysis is to do, in this order, as soon as it is not searching.
#[derive(Component, Debug, Default)]
pub struct Orders(pub Vec<Order>);

/// One thing that a lane of an analysis is to do.
#[derive(Clone, Debug)]
pub enum Order {
    /// Take this position and clear the tree.
    Set(State),
    /// Play this legal move, and keep the sub-tree behind it if the policy keeps sub-trees.
    Play(Action),
    /// Search the position that the lane has. If its game is over, nothing is searched.
    Search,
}

/// The index of the question that a lane searches, if any.
#[derive(Component, Clone, Copy, Debug, Default)]
pub struct Asked(Option<usize>);

/// Takes the answers of complete searches, and orders each free lane to search the next position of [`Questions`].
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

/// Carries out the [`Orders`] of the lanes that are not searching.
///
/// # Panics
/// If a lane is ordered to take a state of another game.
pub fn obey<G: Game>(
    mut rows: Rows<(&mut Position<G>, &mut Orders), &mut Tree>,
    agent: Single<(&SearchConfig, &SearchPolicy), With<Agent>>,
) {
    let (settings, policy) = *agent;
    for ((position, orders), trees) in rows.answered() {
        let tree = &mut trees.rows[0];
        if !matches!(tree.state, TreeState::Idle | TreeState::Complete) {
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
    /// The answer that a policy gives from a tree with a root, whether its search is complete or not.
    pub fn of(tree: &Tree, policy: &SearchPolicy, search: Search<PolicyState>) -> Self {
        let mut target = vec![];
        let Decision { action, value, .. } = policy.0.decide(search, tree, 0, &mut target);
        let moves = tree.root_edges().iter().map(MoveStats::of).collect();
        Self { action, value, proven: tree.proven, target, moves }
    }
}

/// The answer that a lane can give now, whether its search is complete or not. The lane's generator is not advanced.
///
/// # Panics
/// If `lane` is not a lane or `tree` not a tree. The tree must have a root.
pub fn answer_of(world: &mut World, lane: Entity, tree: Entity) -> Answer {
    fn look(
        In((lane, tree)): In<(Entity, Entity)>,
        agent: Single<(&SearchConfig, &SearchPolicy), With<Agent>>,
        lanes: Query<&LaneRng>,
        mut trees: Query<(&Tree, &mut PolicyState)>,
    ) -> Answer {
        let (settings, policy) = *agent;
        // A copy, so that what is drawn for the answer does not change the search.
        let mut rng = lanes.get(lane).expect("a lane").clone();
        let (tree, mut state) = trees.get_mut(tree).expect("a tree");
        Answer::of(tree, policy, Search { settings, state: &mut state, rng: &mut rng })
    }
    world.run_system_cached_with(look, (lane, tree)).expect("a system without conditions runs")
}
