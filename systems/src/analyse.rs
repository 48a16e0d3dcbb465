//! `TickSystems::Act` for answering questions: each lane searches one position after another and reports what it found.

use crate::{
    Agent, SearchPolicy,
    policy::{PolicyState, Search},
    rows::Rows,
};
use bevy_ecs::prelude::*;
use lockstep_components::{Action, Game, LaneRng, Outcome, Position, Stats, Tree, TreeState, config::SearchConfig};

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
pub struct Questions<G: Game> {
    positions: Vec<G>,
    answers: Vec<Option<Answer>>,
    next: usize,
    open: usize,
}

impl<G: Game> Questions<G> {
    /// Asks about these positions, none of them finished.
    ///
    /// # Panics
    /// If one of the games is over.
    pub fn new(positions: Vec<G>) -> Self {
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

/// Takes the answers of complete searches, and gives each free lane the next position.
pub fn answer<G: Game>(
    mut rows: Rows<(&mut Position<G>, &mut LaneRng, &mut Asked), (&mut Tree, &mut PolicyState)>,
    mut questions: ResMut<Questions<G>>,
    mut stats: ResMut<Stats>,
    agent: Single<(&SearchConfig, &SearchPolicy<G>), With<Agent>>,
) {
    let (settings, policy) = *agent;
    let questions = &mut *questions;
    for ((position, rng, asked), trees) in rows.answered() {
        let (tree, state) = (&mut trees.rows.0[0], &mut trees.rows.1[0]);
        if tree.state == TreeState::Complete {
            let asked = asked.0.take().expect("a complete search was asked for");
            stats.add(std::mem::take(&mut tree.counts), 1);
            stats.cache_hits += u64::from(std::mem::take(&mut tree.cache_hits));
            let action = policy.0.decide(Search { settings, state, rng }, tree, 0, &mut vec![]);
            questions.answers[asked] = Some(report(tree, action));
            questions.open -= 1;
        } else if asked.0.is_some() {
            continue;
        }
        tree.clear();
        tree.state = TreeState::Idle;
        if let Some(next) = questions.positions.get(questions.next) {
            position.0.clone_from(next);
            tree.state = TreeState::Empty;
            asked.0 = Some(questions.next);
            questions.next += 1;
        }
    }
}

/// Which of the questions a lane searches.
#[derive(Component, Clone, Copy, Debug, Default)]
pub struct Asked(Option<usize>);

fn report(tree: &Tree, action: Action) -> Answer {
    let moves = tree.root_edges().iter().map(|edge| MoveStats {
        action: edge.action(),
        prior: edge.prior(),
        visits: edge.visits(),
        value: (edge.visits() > 0).then(|| edge.value_or(0.0)),
        proven: edge.known(),
    });
    Answer { action, value: tree.root_value(), proven: tree.proven, moves: moves.collect() }
}
