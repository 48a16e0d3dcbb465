//! How often a player errs in positions whose exact scores are known.

use crate::{
    Error,
    analyst::{Analyst, Player, Untrained},
    memory::{self, MemoryBound},
    oracle::{self, Set},
    relief::with_fewer_lanes,
};
use lockstep_components::{
    Action, Outcome, Side, State,
    config::{LanesConfig, SearchConfig},
    game::Oracle,
};
use lockstep_systems::{Answer, Evaluator, Uniform};
use rustc_hash::FxHasher;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    path::PathBuf,
};

/// How a player is graded.
#[derive(Clone, Debug, Default)]
pub struct Grading {
    /// The number of simulations for each move; 0 takes the network's most likely move.
    pub simulations: u32,
    /// A file of labelled positions, instead of those that come with lockstep.
    pub positions: Option<PathBuf>,
    /// An evaluator without learning that is graded instead of the network.
    pub instead: Option<Untrained>,
    /// The number of leaves that each tree evaluates at once; 0 stands for 1.
    pub leaves: u32,
    /// The most positions of each set, where there are several sets. A single set is graded as a whole.
    pub limit: Option<usize>,
}

/// All that a grade depends on: two grades with equal bases are equal. Hashes are in hexadecimal digits.
#[derive(Clone, Debug, PartialEq)]
pub struct Basis {
    /// The name of the checkpoint's folder, or of the file of weights.
    pub checkpoint: String,
    /// The number of simulations for each move; 0 takes the network's most likely move.
    pub simulations: u32,
    /// Hash of the names, shapes and numbers of the network's tensors.
    pub weights: String,
    /// Hash of the settings of the network and of the search, of the leaves, and of what is graded instead of the
    /// network.
    pub settings: String,
    /// Hash of the game's name and of the sets, their positions and scores, as many as are graded.
    pub positions: String,
    /// The place where positions are evaluated, with its precision and its vector instructions.
    pub place: String,
    /// The version of the program.
    pub version: String,
}

impl Basis {
    /// Returns what the grade of this player depends on.
    ///
    /// # Errors
    /// When the positions or the player's place cannot be used.
    pub fn of(player: &Player, grading: &Grading) -> Result<Self, Error> {
        let mut weights = FxHasher::default();
        let mut tensors = player.weights.clone();
        // The tensors come in any order.
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        for tensor in tensors {
            (&tensor.name, &tensor.shape).hash(&mut weights);
            tensor.data.iter().for_each(|x| weights.write_u32(x.to_bits()));
        }
        let search = search_of(player, grading);
        let settings = json!([player.config.network, search, grading.leaves.max(1), format!("{:?}", grading.instead)]);
        let mut positions = FxHasher::default();
        player.game.info.name.hash(&mut positions);
        for set in sets_of(player, grading)? {
            set.name.hash(&mut positions);
            set.positions.iter().for_each(|p| (&p.position, &p.scores).hash(&mut positions));
        }
        let place = player.place()?;
        let hex = |hasher: FxHasher| format!("{:016x}", hasher.finish());
        Ok(Self {
            checkpoint: player.checkpoint.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            simulations: grading.simulations,
            weights: hex(weights),
            settings: {
                let mut hasher = FxHasher::default();
                settings.to_string().hash(&mut hasher);
                hex(hasher)
            },
            positions: hex(positions),
            place: format!("{}, {:?}, {:?}, {}", place.name, place.evaluation, place.precision, place.level.name()),
            version: env!("CARGO_PKG_VERSION").into(),
        })
    }

    /// Returns the name and the value of each part that [`Graded::json`] does not write.
    fn named(&self) -> [(&'static str, &str); 6] {
        [
            ("checkpoint", &self.checkpoint),
            ("weights", &self.weights),
            ("settings", &self.settings),
            ("graded_positions", &self.positions),
            ("place", &self.place),
            ("version", &self.version),
        ]
    }
}

/// How often a player erred.
#[derive(Clone, Debug, PartialEq)]
pub enum Graded {
    /// Mistakes in the positions of a set.
    Set {
        /// The name of the set.
        set: String,
        /// The number of positions.
        positions: usize,
        /// The number of positions in which the move gave away a result.
        mistakes: usize,
        /// The number of simulations for each move; 0 took the network's most likely move.
        simulations: u32,
    },
    /// Losses along all lines of play.
    LinesOfPlay {
        /// The number of games, one for each way in which the opponent can play, as either side.
        games: usize,
        /// The number of games that the player lost.
        lost: usize,
        /// The number of simulations for each move; 0 took the network's most likely move.
        simulations: u32,
    },
}

impl Graded {
    /// Returns the grade as a JSON object.
    pub fn json(&self) -> Value {
        match self {
            Self::Set { set, positions, mistakes, simulations } => {
                let rate = *mistakes as f64 / *positions as f64;
                json!({"set": set, "positions": positions, "mistakes": mistakes, "rate": rate, "simulations": simulations})
            }
            Self::LinesOfPlay { games, lost, simulations } => {
                json!({"set": "lines_of_play", "games": games, "lost": lost, "simulations": simulations})
            }
        }
    }

    fn of_json(value: &Value) -> Option<Self> {
        let number = |key: &str| value.get(key)?.as_u64().map(|n| n as usize);
        let simulations = number("simulations")? as u32;
        Some(match value.get("set")?.as_str()? {
            "lines_of_play" => Self::LinesOfPlay { games: number("games")?, lost: number("lost")?, simulations },
            set => Self::Set {
                set: set.into(),
                positions: number("positions")?,
                mistakes: number("mistakes")?,
                simulations,
            },
        })
    }

    /// Returns grades as text, one JSON object a line. Each line has what was graded and how, its number from 1, and
    /// the number of lines.
    pub fn to_lines(graded: &[Self], basis: &Basis) -> String {
        let line = |(index, g): (usize, &Self)| {
            let mut value = g.json();
            for (key, part) in basis.named() {
                value[key] = part.into();
            }
            value["line"] = (index + 1).into();
            value["lines"] = graded.len().into();
            value.to_string() + "\n"
        };
        graded.iter().enumerate().map(line).collect()
    }

    /// Reads grades that [`Graded::to_lines`] has written; `None` unless all lines are there and rest on the same
    /// basis.
    pub fn from_lines(text: &str, basis: &Basis) -> Option<Vec<Self>> {
        let count = text.lines().count();
        let read = |(index, line): (usize, &str)| {
            let value: Value = serde_json::from_str(line).ok()?;
            let fits = basis.named().into_iter().all(|(key, part)| value[key] == part)
                && value["simulations"] == basis.simulations
                && value["line"] == index + 1
                && value["lines"] == count;
            fits.then(|| Self::of_json(&value)).flatten()
        };
        let graded = text.lines().enumerate().map(read).collect::<Option<Vec<_>>>()?;
        (!graded.is_empty()).then_some(graded)
    }

    /// Whether the player gave nothing away.
    pub fn is_perfect(&self) -> bool {
        matches!(self, Self::Set { mistakes: 0, .. } | Self::LinesOfPlay { lost: 0, .. })
    }
}

/// Grades a player in sets of positions and, where these are all positions of the game, along all lines of play.
/// Returns an empty list when there is nothing to grade it with. `progress` gets how many of how many positions are
/// searched.
///
/// # Errors
/// When the positions or the checkpoint cannot be used, the memory does not suffice, or the device fails.
pub fn grade(player: &Player, grading: &Grading, progress: impl FnMut(usize, usize)) -> Result<Vec<Graded>, Error> {
    let (sets, choices) = choices(player, grading, progress)?;
    let mut left = choices.iter();
    let mut graded: Vec<Graded> = sets
        .iter()
        .map(|set| Graded::Set {
            set: set.name.clone(),
            positions: set.positions.len(),
            mistakes: set
                .positions
                .iter()
                .filter(|p| p.is_mistake(*left.next().expect("a move for each position")))
                .count(),
            simulations: grading.simulations,
        })
        .collect();
    if player.game.info.oracle == Oracle::Everything && grading.positions.is_none() {
        let positions = sets.iter().flat_map(|set| &set.positions).map(|p| p.position.clone());
        let choices = positions.zip(choices).collect();
        let [first, second] = [Side::First, Side::Second]
            .map(|side| lines_of_play(&player.game.start_of(&player.config), side, &choices));
        graded.push(Graded::LinesOfPlay {
            games: first.0 + second.0,
            lost: first.1 + second.1,
            simulations: grading.simulations,
        });
    }
    Ok(graded)
}

/// Tells of each position that a player is graded in whether its move is a mistake there. The positions are those of all
/// sets, one set after another: the same for players of the same game. Returns an empty list when there is nothing to grade
/// it with.
///
/// # Errors
/// The errors of [`grade`].
pub fn mistakes(player: &Player, grading: &Grading, progress: impl FnMut(usize, usize)) -> Result<Vec<bool>, Error> {
    let (sets, choices) = choices(player, grading, progress)?;
    let positions = sets.iter().flat_map(|set| &set.positions);
    Ok(positions.zip(choices).map(|(position, action)| position.is_mistake(action)).collect())
}

/// Returns the sets of positions that a player is graded in, and the move that it chooses in each position of them.
fn choices(
    player: &Player,
    grading: &Grading,
    mut progress: impl FnMut(usize, usize),
) -> Result<(Vec<Set>, Vec<Action>), Error> {
    let sets = sets_of(player, grading)?;
    if sets.is_empty() {
        return Ok((sets, vec![]));
    }
    let answers = answers(player, grading, &sets, &mut progress)?;
    Ok((sets, answers.into_iter().map(|answer| answer.action).collect()))
}

/// Searches the positions of some sets as a player is graded, and returns the answers in their order. `progress` gets how
/// many of how many positions are searched.
///
/// # Errors
/// When the checkpoint cannot be used, the memory does not suffice, or the device fails.
pub fn answers(
    player: &Player,
    grading: &Grading,
    sets: &[Set],
    mut progress: impl FnMut(usize, usize),
) -> Result<Vec<Answer>, Error> {
    let game = player.game;
    let positions: Vec<State> = sets.iter().flat_map(|s| s.positions.iter().map(|p| p.position.clone())).collect();
    // One simulation goes to the move with the highest prior: all moves are unvisited and weigh the same otherwise.
    let simulations = grading.simulations.max(1);
    let leaves_per_tree = grading.leaves.max(1);
    let search = SearchConfig { simulations, ..search_of(player, grading) };
    let most = positions.len().min(1024) as u32;
    let networks = match grading.instead {
        None => vec![player.footprint((most * leaves_per_tree) as usize)?],
        Some(_) => vec![],
    };
    let count = memory::lanes_that_fit(game, &search, leaves_per_tree, most, &networks);
    let lanes = LanesConfig { count, leaves_per_tree, ..LanesConfig::default() };
    MemoryBound::of_searches(game, &[&search], &lanes, &networks).check()?;
    with_fewer_lanes(count, |count| {
        let lanes = LanesConfig { count, leaves_per_tree, ..LanesConfig::default() };
        let evaluator: Box<dyn Evaluator> = match grading.instead {
            None => player.evaluator(&player.place()?, (count * leaves_per_tree) as usize)?,
            Some(Untrained::Uniform) => Box::new(Uniform::default()),
            Some(Untrained::Rollout) => game.rollouts(1, 1),
        };
        let mut analyst = Analyst::new(game, evaluator, &search, lanes, simulations);
        analyst.ask(positions.clone(), |done| {
            progress(done, positions.len());
            true
        })
    })
}

/// Returns the sets of positions to grade a player in: an empty list where there are none.
///
/// # Errors
/// When the file of positions cannot be used.
pub fn sets_of(player: &Player, grading: &Grading) -> Result<Vec<Set>, Error> {
    let mut sets: Vec<Set> = match &grading.positions {
        Some(path) => oracle::read_file(&player.game.start_of(&player.config), path)?,
        None => oracle::built_in(player.game),
    };
    if let Some(limit) = grading.limit.filter(|_| sets.len() > 1) {
        sets.iter_mut().for_each(|set| set.positions.truncate(limit));
    }
    Ok(sets)
}

/// Returns how a player searches the positions: to win, so that what makes games differ is of no account.
fn search_of(player: &Player, grading: &Grading) -> SearchConfig {
    // The network alone proves nothing.
    let solver = grading.simulations > 0 && player.config.search.solver;
    SearchConfig { solver, ..player.config.search.to_win(grading.simulations.max(1)) }
}

/// Returns the games, and the lost ones of them, when `side` plays the chosen moves and the other side plays every
/// legal move.
fn lines_of_play(position: &State, side: Side, choices: &HashMap<State, Action>) -> (usize, usize) {
    if let Some(outcome) = position.outcome() {
        let own = if position.to_move() == side { outcome } else { outcome.reversed() };
        return (1, usize::from(own == Outcome::Loss));
    }
    let after = |action| lines_of_play(&position.played(action), side, choices);
    if position.to_move() == side {
        return after(choices[position]);
    }
    position.legal().into_iter().map(after).fold((0, 0), |sum, line| (sum.0 + line.0, sum.1 + line.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_components::{Game, games::TicTacToe};
    use lockstep_systems::AnyGame;

    #[test]
    fn the_solver_loses_no_line_and_the_first_legal_move_many() {
        let decisions = oracle::decisions(AnyGame::of::<TicTacToe>());
        let best =
            decisions.iter().map(|p| (p.position.clone(), p.scores.iter().max_by_key(|s| s.1).unwrap().0)).collect();
        let first = decisions.iter().map(|p| (p.position.clone(), p.scores[0].0)).collect();
        let start = State::of(TicTacToe::start());
        for side in [Side::First, Side::Second] {
            let (games, lost) = lines_of_play(&start, side, &best);
            assert!(games > 50 && lost == 0);
            assert!(lines_of_play(&start, side, &first).1 > 0);
        }
    }

    #[test]
    fn verdicts_round_trip() {
        let graded = vec![
            Graded::Set { set: "a".into(), positions: 3, mistakes: 1, simulations: 7 },
            Graded::LinesOfPlay { games: 5, lost: 0, simulations: 7 },
        ];
        let basis = Basis {
            checkpoint: "12".into(),
            simulations: 7,
            weights: "a".into(),
            settings: "b".into(),
            positions: "c".into(),
            place: "d".into(),
            version: "e".into(),
        };
        let text = Graded::to_lines(&graded, &basis);
        assert_eq!(Graded::from_lines(&text, &basis), Some(graded));
        let other = || String::from("other");
        for differs in [
            Basis { checkpoint: other(), ..basis.clone() },
            Basis { simulations: 8, ..basis.clone() },
            Basis { weights: other(), ..basis.clone() },
            Basis { settings: other(), ..basis.clone() },
            Basis { positions: other(), ..basis.clone() },
            Basis { place: other(), ..basis.clone() },
            Basis { version: other(), ..basis.clone() },
        ] {
            assert_eq!(Graded::from_lines(&text, &differs), None);
        }
        // Cut off anywhere it is not whole, but for the end of the last line.
        for end in 0..text.len() - 1 {
            assert_eq!(Graded::from_lines(&text[..end], &basis), None, "{}", &text[..end]);
        }
    }
}
