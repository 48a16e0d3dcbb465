//! Games of the log, to be replayed on a drawn board.

use crate::{Error, log::Log};
use lockstep_components::{GameRecord, Outcome, Side, State, config::MAX_LAG};
use lockstep_systems::AnyGame;
use serde::Serialize;
use std::collections::BTreeMap;

/// The number of games that are shown of the newest round, and of each earlier one.
const SHOWN: [usize; 2] = [8, 2];

/// What the games of a round look like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Round {
    /// The number of the round.
    pub round: u64,
    /// The number of its games.
    pub games: u64,
    /// The number of games that the first player has won, drawn and lost.
    pub results: [u64; 3],
    /// The numbers of moves that games had, each with the number of those games.
    pub lengths: Vec<(usize, u64)>,
    /// The first moves that a search has chosen: the action, the number of games, and the mean result of the first player,
    /// from 0 for a loss to 1 for a win. Games that random moves have opened are left out.
    pub first_moves: Vec<(u16, u64, f64)>,
}

/// A game to be replayed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replay {
    /// The round of the game.
    pub round: u64,
    /// The number of the game within its round.
    pub number: u64,
    /// The number of moves that were drawn at random to open it.
    pub opening: usize,
    /// The result for the first player: 1, 0 or -1.
    pub result: i8,
    /// By how much the first player was ahead at the end, in games that count points.
    pub score: Option<f32>,
    /// The moves.
    pub plies: Vec<Played>,
}

/// A move of a game that is replayed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Played {
    /// The move as people write it.
    pub text: String,
    /// Who made it: 0 for the first player, 1 for the second.
    pub by: usize,
    /// The cells that it touched, the one where it ended last.
    pub last: Vec<usize>,
    /// The characters of all cells behind the move: see [`View::cells`](crate::view::View::cells).
    pub cells: String,
    /// What the search expected of the game before the move, for the first player, from -1 to 1; `None` where the move
    /// was drawn at random.
    pub value: Option<f32>,
}

/// Returns what the newest whole round of the log up to this one looks like, and games of it and of earlier ones, newest
/// first.
///
/// # Errors
/// When the log cannot be read, or a game in it is none of this game from this start.
pub fn of_log(game: AnyGame, start: &State, log: &Log, reached: u64) -> Result<(Option<Round>, Vec<Replay>), Error> {
    let mut rounds = log.rounds()?;
    // What lies beyond was numbered by nobody.
    rounds.retain(|&round| round <= reached.saturating_add(MAX_LAG));
    let Some(&newest) = rounds.last() else { return Ok((None, vec![])) };
    let mut shown = vec![newest, rounds[rounds.len() / 2], rounds[0]];
    shown.dedup();
    let (mut about, mut replays) = (None, vec![]);
    for round in shown {
        let Some(segment) = log.read(game, round)? else { continue };
        let count = if about.is_none() { SHOWN[0] } else { SHOWN[1] };
        // Those with the fewest random moves show most of the player.
        let mut games: Vec<&GameRecord> = segment.games.iter().collect();
        games.sort_by_key(|game| game.opening.len());
        games.truncate(count);
        for record in games {
            start.check(record).map_err(|message| Error::Run {
                path: segment.path.clone(),
                message: format!("a game in it cannot be played with the rules of config.toml: {message}"),
            })?;
            replays.push(replay(start, round, record));
        }
        about.get_or_insert_with(|| summary(round, &segment.games));
    }
    Ok((about, replays))
}

fn summary(round: u64, games: &[GameRecord]) -> Round {
    let mut results = [0; 3];
    let (mut lengths, mut first) = (BTreeMap::new(), BTreeMap::<u16, (u64, f64)>::new());
    for game in games {
        let index = match game.finished {
            Some(Outcome::Win) => 0,
            Some(Outcome::Draw) => 1,
            Some(Outcome::Loss) => 2,
            None => continue,
        };
        results[index] += 1;
        *lengths.entry(game.len()).or_default() += 1;
        if let (true, Some(ply)) = (game.opening.is_empty(), game.plies.first()) {
            let found = first.entry(ply.action).or_default();
            found.0 += 1;
            found.1 += [1.0, 0.5, 0.0][index];
        }
    }
    let mut first_moves: Vec<(u16, u64, f64)> =
        first.into_iter().map(|(action, (games, score))| (action, games, score / games as f64)).collect();
    first_moves.sort_by_key(|found| std::cmp::Reverse(found.1));
    Round { round, games: games.len() as u64, results, lengths: lengths.into_iter().collect(), first_moves }
}

fn replay(start: &State, round: u64, record: &GameRecord) -> Replay {
    let mut state = start.clone();
    let opening = record.opening.len();
    let plies = record.moves().enumerate().map(|(at, action)| {
        let (text, by, last) = (state.action_text(action), state.to_move(), state.cells_of(action));
        state.play(action);
        // Values are for the player to move.
        let sign = if by == Side::First { 1.0 } else { -1.0 };
        let value = at.checked_sub(opening).map(|at| sign * record.plies[at].root_value);
        Played { text, by: by.index(), last, cells: state.cells(), value }
    });
    let plies = plies.collect();
    Replay {
        round,
        number: record.id.map_or(0, |id| id.number),
        opening,
        result: record.finished.map_or(0, |outcome| outcome.value() as i8),
        score: state.score(),
        plies,
    }
}
