//! Exact answers for positions, against which players are graded. Never used in training.

use crate::Error;
use lockstep_components::{
    Action, GameInfo, State,
    game::{Oracle, ParseError},
};
use lockstep_systems::AnyGame;
use std::{collections::HashMap, io::Read, path::Path};

/// A position with the exact score of each legal move, for the player to move: above 0 wins, 0 draws, below 0 loses.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// The position, in which the game goes on.
    pub position: State,
    /// The score of each legal move.
    pub scores: Vec<(Action, i32)>,
}

impl Labelled {
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

/// A named set of labelled positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// The name of the set, such as `begin_hard` or `decisions`.
    pub name: String,
    /// The labelled positions.
    pub positions: Vec<Labelled>,
}

/// Returns the sets that come with lockstep for a game, as its [`Game::ORACLE`](lockstep_components::Game::ORACLE)
/// says: an empty list for a game without any.
pub fn built_in(game: AnyGame) -> Vec<Set> {
    match game.info.oracle {
        Oracle::None => vec![],
        Oracle::Everything => vec![Set { name: "decisions".into(), positions: decisions(game) }],
        Oracle::Positions(compressed) => {
            let text = zstd::decode_all(compressed).expect("the data that comes with lockstep is sound");
            let name = format!("{}.csv", game.info.name);
            read_csv(&game.usual_start(), &text[..], Path::new(&name))
                .expect("the data that comes with lockstep is sound")
        }
    }
}

/// Returns every position of a small game in which there is a move to choose, with the result of each move under best
/// play. What the history of a game may forbid is left out of account.
pub fn decisions(game: AnyGame) -> Vec<Labelled> {
    fn value(position: &State, known: &mut HashMap<State, i32>, found: &mut Vec<Labelled>) -> i32 {
        if let Some(outcome) = position.outcome() {
            return outcome.value() as i32;
        }
        if let Some(&value) = known.get(position) {
            return value;
        }
        let score = |action| {
            let after = position.played(action);
            let value = value(&after, known, found);
            (action, if after.to_move() == position.to_move() { value } else { -value })
        };
        let scores: Vec<(Action, i32)> = position.legal().into_iter().map(score).collect();
        let best = scores.iter().map(|s| s.1).max().expect("a position in play has moves");
        known.insert(position.clone(), best);
        found.push(Labelled { position: position.clone(), scores });
        best
    }
    let mut found = vec![];
    value(&game.usual_start(), &mut HashMap::new(), &mut found);
    found
}

/// Reads a file of labelled positions, which are given by the moves that lead there from `start`.
///
/// # Errors
/// When the file cannot be read, or a line of it is not a labelled position; see [`read_csv`].
pub fn read_file(start: &State, path: &Path) -> Result<Vec<Set>, Error> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    read_csv(start, &bytes[..], path)
}

/// Reads labelled positions from CSV with the header `set,moves,score,c1,c2,..`: the name of the set, the moves that
/// lead from `start` to the position, the score of the position, and the score of each move for the player to move,
/// empty where the move is not legal. The header may also be `set,moves,score,scores`: the last cell then has all legal
/// moves with their scores, as in `d3=4 c4=-2`. The score of the position must be the best one of its moves.
///
/// # Errors
/// When a line is not a labelled position. The message names `path`, the line, counted from 1 with the header, and the
/// cell that cannot be used.
pub fn read_csv(start: &State, input: impl Read, path: &Path) -> Result<Vec<Set>, Error> {
    let GameInfo { title, actions, .. } = *start.info();
    let fail = |line: u64, message: String| Error::Positions { path: path.into(), line, message };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let expected: Vec<String> =
        ["set", "moves", "score"].map(String::from).into_iter().chain((1..=actions).map(|i| format!("c{i}"))).collect();
    const IN_ONE: [&str; 4] = ["set", "moves", "score", "scores"];
    let header = reader.headers().map_err(|e| fail(1, e.to_string()))?;
    let in_one = header.iter().map(str::trim).eq(IN_ONE);
    if !in_one && !header.iter().map(str::trim).eq(expected.iter().map(String::as_str)) {
        let found = header.iter().collect::<Vec<_>>().join(",");
        let expected = if actions <= 20 { expected.join(",") } else { format!("set,moves,score,c1,..,c{actions}") };
        let or = IN_ONE.join(",");
        return Err(fail(1, format!("the header is '{found}', and for {title} it must be '{expected}' or '{or}'")));
    }
    let cells = if in_one { IN_ONE.len() } else { expected.len() };
    let mut sets: Vec<Set> = vec![];
    for record in reader.records() {
        let record = record.map_err(|e| fail(e.position().map_or(0, csv::Position::line), e.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != cells {
            return Err(fail(line, format!("it has {} cells, and {cells} are needed", record.len())));
        }
        let position = start.after(&record[1]).map_err(|e| fail(line, e.0))?;
        if position.outcome().is_some() {
            return Err(fail(line, format!("the game is over in '{}': there is no move to choose", &record[1])));
        }
        let scores = match in_one {
            true => scores_in_one(&position, &record[3]).map_err(|message| fail(line, message))?,
            false => scores_by_column(&position, &expected[3..], record.iter().skip(3)).map_err(|m| fail(line, m))?,
        };
        let (score, best) = (record[2].trim(), scores.iter().map(|s| s.1).max());
        let best = best.ok_or_else(|| fail(line, format!("there is no move in '{}'", &record[1])))?;
        if whole_number("score", score).map_err(|message| fail(line, message))? != best {
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

fn whole_number(name: &str, cell: &str) -> Result<i32, String> {
    cell.parse().map_err(|_| format!("{name} is '{cell}', not a whole number"))
}

/// Reads the score of each legal move from cells, one for each move of the policy.
fn scores_by_column<'a>(
    position: &State,
    names: &[String],
    cells: impl Iterator<Item = &'a str>,
) -> Result<Vec<(Action, i32)>, String> {
    let mut scores = vec![];
    for (action, (name, cell)) in names.iter().zip(cells.map(str::trim)).enumerate() {
        match (cell.is_empty(), position.is_legal(action as Action)) {
            (true, false) => {}
            (true, true) => return Err(format!("{name} is empty, but the move is legal")),
            (false, false) => return Err(format!("{name} is '{cell}', but the move is not legal")),
            (false, true) => scores.push((action as Action, whole_number(name, cell)?)),
        }
    }
    Ok(scores)
}

/// Reads the score of each legal move from a cell of pairs of moves and scores.
fn scores_in_one(position: &State, cell: &str) -> Result<Vec<(Action, i32)>, String> {
    let mut scores = vec![];
    for pair in cell.split_whitespace() {
        let (text, score) = pair.split_once('=').ok_or_else(|| format!("'{pair}' is not move=score"))?;
        let action = position.parse_action(text).map_err(|ParseError(message)| message)?;
        if scores.iter().any(|&(known, _)| known == action) {
            return Err(format!("{text} has two scores"));
        }
        scores.push((action, whole_number(text, score)?));
    }
    if let Some(missing) = position.legal().into_iter().find(|action| scores.iter().all(|(known, _)| known != action)) {
        return Err(format!("{} has no score, but the move is legal", position.action_text(missing)));
    }
    scores.sort_by_key(|&(action, _)| action);
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::games;
    use lockstep_components::{
        Game,
        games::{ConnectFour, TicTacToe},
    };
    use proptest::prelude::*;

    #[test]
    fn tictactoe_is_a_draw_with_4520_decisions() {
        let found = decisions(AnyGame::of::<TicTacToe>());
        assert_eq!(found.len(), 4_520);
        let start = found.iter().find(|p| p.position == State::of(TicTacToe::start())).unwrap();
        assert!(start.scores.iter().all(|(_, score)| *score == 0), "every first move draws");
        // After a corner only the centre draws.
        let corner = State::of(TicTacToe::parse("a1").unwrap());
        let answers = &found.iter().find(|p| p.position == corner).unwrap().scores;
        assert!(answers.iter().all(|&(action, score)| score == if action == 4 { 0 } else { -1 }));
    }

    #[test]
    fn the_pons_sets_are_whole() {
        let sets = built_in(AnyGame::of::<ConnectFour>());
        assert_eq!(sets.len(), 6);
        assert!(sets.iter().all(|s| s.positions.len() == 1_000));
        // An immediate win is the best move wherever there is one.
        for labelled in sets.iter().flat_map(|s| &s.positions) {
            for action in labelled.position.legal() {
                if labelled.position.played(action).outcome() == Some(lockstep_components::Outcome::Loss) {
                    assert!(!labelled.is_mistake(action), "{:?}", labelled.position);
                }
            }
        }
    }

    /// Positions that were made by `lockstep label` have the results that a solver gives them.
    #[test]
    fn what_comes_with_a_game_is_right() {
        let solved = |game: &AnyGame| {
            let mut solved = 0;
            for labelled in built_in(*game).iter().flat_map(|set| set.positions.iter().step_by(20)) {
                let Some(found) = game.solve(&labelled.position, 200_000, 32 << 20, |_| ()) else { continue };
                let signs: Vec<_> = labelled.scores.iter().map(|&(action, score)| (action, score.signum())).collect();
                assert_eq!(found, signs, "{}: {:?}", game.info.title, labelled.position);
                solved += 1;
            }
            solved
        };
        let solved: Vec<usize> = games::all().iter().map(solved).collect();
        assert!(solved.iter().filter(|&&count| count >= 20).count() >= 5, "{solved:?}");
    }

    /// The solver agrees with exhaustive search of a small game, and with another program's scores.
    #[test]
    fn the_solver_agrees_with_what_is_known() {
        let small = AnyGame::of::<TicTacToe>();
        for labelled in decisions(small) {
            assert_eq!(small.solve(&labelled.position, 1 << 20, 16 << 20, |_| ()), Some(labelled.scores));
        }
        let game = AnyGame::of::<ConnectFour>();
        let sets = built_in(game);
        let late = sets.iter().find(|set| set.name == "end_easy").expect("a set of that name");
        let mut solved = 0;
        for labelled in &late.positions[..100] {
            let Some(found) = game.solve(&labelled.position, 100_000, 16 << 20, |_| ()) else { continue };
            let signs: Vec<_> = labelled.scores.iter().map(|&(action, score)| (action, score.signum())).collect();
            assert_eq!(found, signs);
            solved += 1;
        }
        assert!(solved > 50, "{solved}");
    }

    #[test]
    fn bad_lines_are_named() {
        let header = "set,moves,score,c1,c2,c3,c4,c5,c6,c7\n";
        let message = |body: &str| {
            read_csv(&State::of(ConnectFour::start()), format!("{header}{body}").as_bytes(), Path::new("x.csv"))
                .unwrap_err()
                .to_string()
        };
        assert!(message("").contains("no positions"));
        assert!(message("a,44,1,1,1,1,1,1,1\n").contains("line 2: it has 9 cells"));
        assert!(message("a,48,1,1,1,1,1,1,1,1\n").contains("move 2, '8', is not legal"));
        let in_one = |body: &str| {
            let text = format!("set,moves,score,scores\n{body}");
            read_csv(&State::of(TicTacToe::start()), text.as_bytes(), Path::new("x.csv")).map_err(|e| e.to_string())
        };
        let drawn = "a,a1 b2 c3 a3 c1,0,b1=-1 a2=-1 c2=-1 b3=0\n";
        let set = in_one(drawn).unwrap();
        assert_eq!(set[0].positions[0].scores, [(1, -1), (3, -1), (5, -1), (7, 0)]);
        assert!(in_one(&drawn.replace("b3=0", "")).unwrap_err().contains("b3 has no score"));
        assert!(in_one(&drawn.replace("b3=0", "b3")).unwrap_err().contains("'b3' is not move=score"));
        assert!(in_one(&drawn.replace("a2=-1", "b3=0")).unwrap_err().contains("b3 has two scores"));
        assert!(in_one(&drawn.replace("b3=0", "b2=0")).unwrap_err().contains("'b2' is not a legal move"));
        assert!(message("a,44,1,1,1,x,1,1,1,1\n").contains("c3 is 'x'"));
        assert!(message("a,44,1,1,1,,1,1,1,1\n").contains("c3 is empty"));
        assert!(message("a,44,,1,1,1,1,1,1,1\n").contains("line 2: score is '', not a whole number"));
        assert!(message("a,44,1.5,1,1,1,1,1,1,1\n").contains("score is '1.5', not a whole number"));
        let wrong = message("a,44,1,1,1,1,1,1,1,1\na,44,2,-3,1,1,1,1,1,1\n");
        assert!(wrong.contains("x.csv, line 3: score is 2, but the best of the moves has 1"), "{wrong}");
        assert!(message("a,44,-3,-3,1,1,1,1,1,1\n").contains("the best of the moves has 1"));
        assert!(message("a,1212121,1,1,1,1,1,1,1,1\n").contains("game is over"));
        assert!(message("a,111111,1,1,1,1,1,1,1,1\n").contains("c1 is '1', but the move is not legal"));
        let error = read_csv(&State::of(ConnectFour::start()), "moves\n".as_bytes(), Path::new("x.csv")).unwrap_err();
        assert!(error.to_string().contains("x.csv, line 1: the header is"));
    }

    proptest! {
        #[test]
        fn no_file_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), rows in "([a-z0-9,\n-]{0,30}\n){0,3}") {
            let _ = read_csv(&State::of(ConnectFour::start()), &bytes[..], Path::new("x"));
            let text = format!("set,moves,score,c1,c2,c3,c4,c5,c6,c7\n{rows}");
            let _ = read_csv(&State::of(ConnectFour::start()), text.as_bytes(), Path::new("x"));
        }
    }
}
