//! The graded positions that a player gets wrong, with what network, search and oracle say of them.

use crate::{
    Error,
    analyst::{Player, evaluate},
    grade::{Grading, answers, sets_of},
    view::View,
};
use lockstep_components::{Action, State};
use lockstep_systems::Answer;
use serde::Serialize;

/// The most positions of each set, where there are several.
const OF_EACH_SET: usize = 100;
/// The most positions with a mistake that are kept.
const KEPT: usize = super::WRONG;

/// The positions in which a player gives a result away.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Wrong {
    /// The name of the checkpoint that was asked: its generation.
    pub checkpoint: String,
    /// The number of simulations for each move.
    pub simulations: u32,
    /// The number of positions that were looked at.
    pub positions: usize,
    /// The number of those in which the player gives a result away.
    pub mistakes: usize,
    /// Some of these, worst first.
    pub shown: Vec<WrongPosition>,
}

/// A position in which a player gives a result away.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrongPosition {
    /// The name of the set that it is from.
    pub set: String,
    /// The position.
    pub view: View,
    /// The move that the player chooses.
    pub chosen: Action,
    /// The network's value, for the player to move, from -1 to 1.
    pub network: f32,
    /// The search's value, for the player to move, from -1 to 1.
    pub search: f32,
    /// All legal moves, in ascending order of the actions.
    pub moves: Vec<Move>,
}

/// What is known of a legal move.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Move {
    /// The move.
    pub action: Action,
    /// The network's probability of the move.
    pub prior: f32,
    /// The number of the search's simulations through the move.
    pub visits: u32,
    /// The search's value of the move for the player to move; `None` without a simulation through it.
    pub value: Option<f32>,
    /// The exact score of the move for the player to move: above 0 wins, 0 draws, below 0 loses.
    pub score: i32,
}

/// Looks for the positions that a player gets wrong, among those that `grading` names. Returns `None` when there are no
/// graded positions. `progress` gets how many of how many positions are searched.
///
/// # Errors
/// The errors of [`grade`](crate::grade::grade).
pub fn wrong(player: &Player, grading: &Grading, progress: impl FnMut(usize, usize)) -> Result<Option<Wrong>, Error> {
    let grading = Grading { limit: Some(OF_EACH_SET), ..grading.clone() };
    let sets = sets_of(player, &grading)?;
    if sets.is_empty() {
        return Ok(None);
    }
    let found = answers(player, &grading, &sets, progress)?;
    let positions = sets.iter().flat_map(|set| set.positions.iter().map(move |position| (&set.name, position)));
    let mut wrong: Vec<_> =
        positions.zip(&found).filter(|((_, position), answer)| position.is_mistake(answer.action)).collect();
    let mistakes = wrong.len();
    wrong.sort_by(|a, b| {
        let [a, b] = [a, b].map(|((_, position), answer)| badness(&position.scores, answer));
        b.0.cmp(&a.0).then(b.1.total_cmp(&a.1))
    });
    wrong.truncate(KEPT);
    let states: Vec<State> = wrong.iter().map(|((_, labelled), _)| labelled.position.clone()).collect();
    let evaluated = match states.len() {
        0 => vec![],
        rows => evaluate(player.game, &mut *player.evaluator(&player.place()?, rows)?, &states)?,
    };
    let shown = wrong.into_iter().zip(evaluated).map(|(((set, labelled), answer), network)| {
        let score = |action| labelled.scores.iter().find(|(own, _)| *own == action).map_or(0, |(_, score)| *score);
        let moves = answer.moves.iter().map(|edge| Move {
            action: edge.action,
            prior: edge.prior,
            visits: edge.visits,
            value: edge.value,
            score: score(edge.action),
        });
        WrongPosition {
            set: set.clone(),
            view: View::of(&labelled.position, None),
            chosen: answer.action,
            network: network.value,
            search: answer.value,
            moves: moves.collect(),
        }
    });
    Ok(Some(Wrong {
        checkpoint: player.checkpoint.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        simulations: grading.simulations,
        positions: found.len(),
        mistakes,
        shown: shown.collect(),
    }))
}

/// Returns how much of the result the chosen move gives away, 1 or 2, and how far the search's value is from the truth.
fn badness(scores: &[(Action, i32)], answer: &Answer) -> (i32, f32) {
    let best = scores.iter().map(|(_, score)| score.signum()).max().unwrap_or(0);
    let chosen = scores.iter().find(|(action, _)| *action == answer.action).map_or(best, |(_, score)| score.signum());
    (best - chosen, (answer.value - best as f32).abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_win_that_is_lost_is_worse_than_one_that_is_drawn() {
        let scores = [(0, 3), (1, 0), (2, -1)];
        let answer = |action, value| Answer { action, value, proven: None, target: vec![], moves: vec![] };
        assert_eq!(badness(&scores, &answer(2, 0.5)), (2, 0.5));
        assert_eq!(badness(&scores, &answer(1, 1.0)), (1, 0.0));
        assert_eq!(badness(&scores, &answer(0, 1.0)), (0, 0.0));
    }
}
