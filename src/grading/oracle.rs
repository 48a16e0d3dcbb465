//! Exact answers for positions, against which players are graded. Never used in training.

use crate::Error;
use lockstep_components::{
    Action, Game,
    games::{ConnectFour, TicTacToe},
};
use std::{collections::HashMap, io::Read, path::Path};

/// A position with the exact score of each legal move, for the player to move: above 0 wins, 0 draws, below 0 loses.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled<G: Game> {
    /// The position.
    pub position: G,
    /// Score of each legal move.
    pub scores: Vec<(Action, i32)>,
}

impl<G: Game> Labelled<G> {
    /// Whether a move gives away the result: the sign of its score is below the best one's.
    ///
    /// # Panics
    /// If the move is not legal.
    pub fn is_mistake(&self, action: Action) -> bool {
        let best = self.scores.iter().map(|(_, s)| s.signum()).max().expect("a position in play has moves");
        let chosen = self.scores.iter().find(|(a, _)| *a == action).expect("players choose legal moves");
        chosen.1.signum() < best
    }
}

/// Positions under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Set<G: Game> {
    /// `begin_hard`, `decisions`, ...
    pub name: String,
    /// The positions.
    pub positions: Vec<Labelled<G>>,
}

/// Pascal Pons' test sets for Connect Four with the score of every move, as CSV, compressed.
const PONS: &[u8] = include_bytes!("../../data/connect_four_pons.csv.zst");

/// The sets that come with lockstep for this game: all 4,520 decisions of tic-tac-toe; for Connect Four the six test
/// sets of Pascal Pons. Empty for a game without.
pub fn built_in<G: Game>() -> Vec<Set<G>> {
    match G::NAME {
        TicTacToe::NAME => {
            let positions = tictactoe_decisions().into_iter().map(|(position, scores)| Labelled {
                position: position.to_string().parse().expect("both are tic-tac-toe"),
                scores,
            });
            vec![Set { name: "decisions".into(), positions: positions.collect() }]
        }
        ConnectFour::NAME => {
            let text = zstd::decode_all(PONS).expect("the data that comes with lockstep is sound");
            read_csv(&text[..], Path::new("connect_four_pons.csv")).expect("the data that comes with lockstep is sound")
        }
        _ => vec![],
    }
}

/// Every position of tic-tac-toe in which there is a move to choose, with the result of each move under best play.
pub fn tictactoe_decisions() -> Vec<(TicTacToe, Vec<(Action, i32)>)> {
    fn value(
        position: TicTacToe,
        known: &mut HashMap<TicTacToe, i32>,
        found: &mut Vec<(TicTacToe, Vec<(Action, i32)>)>,
    ) -> i32 {
        if let Some(outcome) = position.outcome() {
            return outcome.value() as i32;
        }
        if let Some(&value) = known.get(&position) {
            return value;
        }
        let scores: Vec<(Action, i32)> = position
            .legal()
            .map(|action| {
                let mut after = position;
                after.play(action);
                (action, -value(after, known, found))
            })
            .collect();
        let best = scores.iter().map(|s| s.1).max().expect("a position in play has moves");
        known.insert(position, best);
        found.push((position, scores));
        best
    }
    let mut found = vec![];
    value(TicTacToe::start(), &mut HashMap::new(), &mut found);
    found
}

/// Reads a file of labelled positions.
///
/// # Errors
/// When it cannot be read, or a line of it is not a labelled position; see [`read_csv`].
pub fn read_file<G: Game>(path: &Path) -> Result<Vec<Set<G>>, Error> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    read_csv(&bytes[..], path)
}

/// Reads CSV with the header `set,moves,score,c1,c2,..`: name of the set, position in the game's text form, score of
/// the position, and the score of each move for the player to move, empty where the move is not legal. The score of the
/// position must be the best one of its moves.
///
/// # Errors
/// Names the line, counted from 1 with the header, and the cell that cannot be used.
pub fn read_csv<G: Game>(input: impl Read, path: &Path) -> Result<Vec<Set<G>>, Error> {
    let fail = |line: u64, message: String| Error::Positions { path: path.into(), line, message };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let expected: Vec<String> = ["set", "moves", "score"]
        .map(String::from)
        .into_iter()
        .chain((1..=G::ACTIONS).map(|i| format!("c{i}")))
        .collect();
    let header = reader.headers().map_err(|e| fail(1, e.to_string()))?;
    if !header.iter().map(str::trim).eq(expected.iter().map(String::as_str)) {
        let found = header.iter().collect::<Vec<_>>().join(",");
        let expected = expected.join(",");
        return Err(fail(1, format!("the header is '{found}', and for {} it must be '{expected}'", G::TITLE)));
    }
    let mut sets: Vec<Set<G>> = vec![];
    for record in reader.records() {
        let record = record.map_err(|e| fail(e.position().map_or(0, csv::Position::line), e.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != expected.len() {
            return Err(fail(line, format!("it has {} cells, and {} are needed", record.len(), expected.len())));
        }
        let position: G = record[1].parse().map_err(|e: lockstep_components::game::ParseError| fail(line, e.0))?;
        if position.outcome().is_some() {
            return Err(fail(line, format!("the game is over in '{}': there is no move to choose", &record[1])));
        }
        let mut scores = vec![];
        for action in 0..G::ACTIONS {
            let (name, cell) = (&expected[3 + action], record[3 + action].trim());
            let legal = position.is_legal(action as Action);
            match (cell.is_empty(), legal) {
                (true, false) => continue,
                (true, true) => return Err(fail(line, format!("{name} is empty, but the move is legal"))),
                (false, false) => return Err(fail(line, format!("{name} is '{cell}', but the move is not legal"))),
                (false, true) => {
                    let score = cell
                        .parse::<i32>()
                        .map_err(|_| fail(line, format!("{name} is '{cell}', not a whole number")))?;
                    scores.push((action as Action, score));
                }
            }
        }
        let (score, best) = (record[2].trim(), scores.iter().map(|s| s.1).max());
        let best = best.ok_or_else(|| fail(line, format!("there is no move in '{}'", &record[1])))?;
        if score.parse::<i32>().map_err(|_| fail(line, format!("score is '{score}', not a whole number")))? != best {
            return Err(fail(line, format!("score is {score}, but the best of the moves has {best}")));
        }
        let name = record[0].trim();
        let set = match sets.iter_mut().position(|s| s.name == name) {
            Some(found) => &mut sets[found],
            None => {
                sets.push(Set { name: name.into(), positions: vec![] });
                sets.last_mut().expect("just pushed")
            }
        };
        set.positions.push(Labelled { position, scores });
    }
    if sets.is_empty() {
        return Err(fail(2, "there are no positions below the header".into()));
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tictactoe_is_a_draw_with_4520_decisions() {
        let found = tictactoe_decisions();
        assert_eq!(found.len(), 4_520);
        let start = found.iter().find(|(p, _)| *p == TicTacToe::start()).unwrap();
        assert!(start.1.iter().all(|(_, score)| *score == 0), "every first move draws");
        // After a corner only the centre draws.
        let corner: TicTacToe = "x../.../...".parse().unwrap();
        let answers = &found.iter().find(|(p, _)| *p == corner).unwrap().1;
        assert!(answers.iter().all(|&(action, score)| score == if action == 4 { 0 } else { -1 }));
    }

    #[test]
    fn the_pons_sets_are_whole() {
        let sets = built_in::<ConnectFour>();
        assert_eq!(sets.len(), 6);
        assert!(sets.iter().all(|s| s.positions.len() == 1_000));
        // An immediate win is the best move wherever there is one.
        for labelled in sets.iter().flat_map(|s| &s.positions) {
            for action in labelled.position.legal() {
                let mut after = labelled.position;
                after.play(action);
                if after.outcome() == Some(lockstep_components::Outcome::Loss) {
                    assert!(!labelled.is_mistake(action), "{}", labelled.position);
                }
            }
        }
    }

    #[test]
    fn bad_lines_are_named() {
        let header = "set,moves,score,c1,c2,c3,c4,c5,c6,c7\n";
        let message = |body: &str| {
            read_csv::<ConnectFour>(format!("{header}{body}").as_bytes(), Path::new("x.csv")).unwrap_err().to_string()
        };
        assert!(message("").contains("no positions"));
        assert!(message("a,44,1,1,1,1,1,1,1\n").contains("line 2: it has 9 cells"));
        assert!(message("a,48,1,1,1,1,1,1,1,1\n").contains("not a column"));
        assert!(message("a,44,1,1,1,x,1,1,1,1\n").contains("c3 is 'x'"));
        assert!(message("a,44,1,1,1,,1,1,1,1\n").contains("c3 is empty"));
        assert!(message("a,44,,1,1,1,1,1,1,1\n").contains("line 2: score is '', not a whole number"));
        assert!(message("a,44,1.5,1,1,1,1,1,1,1\n").contains("score is '1.5', not a whole number"));
        let wrong = message("a,44,1,1,1,1,1,1,1,1\na,44,2,-3,1,1,1,1,1,1\n");
        assert!(wrong.contains("x.csv, line 3: score is 2, but the best of the moves has 1"), "{wrong}");
        assert!(message("a,44,-3,-3,1,1,1,1,1,1\n").contains("the best of the moves has 1"));
        assert!(message("a,1212121,1,1,1,1,1,1,1,1\n").contains("game is over"));
        assert!(message("a,111111,1,1,1,1,1,1,1,1\n").contains("c1 is '1', but the move is not legal"));
        let error = read_csv::<ConnectFour>("moves\n".as_bytes(), Path::new("x.csv")).unwrap_err();
        assert!(error.to_string().contains("x.csv, line 1: the header is"));
    }

    proptest! {
        #[test]
        fn no_file_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), rows in "([a-z0-9,\n-]{0,30}\n){0,3}") {
            let _ = read_csv::<ConnectFour>(&bytes[..], Path::new("x"));
            let text = format!("set,moves,score,c1,c2,c3,c4,c5,c6,c7\n{rows}");
            let _ = read_csv::<ConnectFour>(text.as_bytes(), Path::new("x"));
        }
    }
}
