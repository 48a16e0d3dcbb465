//! How strong the player of a run is, and what its network has learned, generation after generation: the lines of
//! `strength.jsonl`.

use crate::{Error, advice::Advice, elo::Z95, folder::Folder, metrics::load_lines, text::number};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One line of `strength.jsonl`: what was measured of a generation. Which generations are measured depends on the time
/// that [`Config`](lockstep_components::Config) gives to it; what is measured depends on the weights, the positions and
/// the settings alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Strength {
    /// The number of the generation.
    pub generation: u64,
    /// The generations before it that were due and were skipped, because the share of the time was used up.
    pub skipped: Vec<u64>,
    /// The number of games of the run so far.
    pub games: u64,
    /// The number of positions that these games had.
    pub positions: u64,
    /// The seconds of the run so far, without those of measuring its strength.
    pub seconds: f64,
    /// The seconds for which processors have worked for the run so far, with those of measuring its strength.
    pub cpu_seconds: f64,
    /// The seconds that this line took.
    pub grading_seconds: f64,
    /// The mistakes in positions whose results are known, with each number of simulations, in ascending order; empty for a
    /// game without an oracle. The one with `run.grade_simulations` simulations is the strength of the run.
    pub mistakes: Vec<Mistakes>,
    /// The short match that was played, in a game without an oracle.
    pub played: Option<Played>,
    /// How much the search changes, with each number of simulations.
    pub search: Vec<Searched>,
    /// Mean divergence of the search's policy from the network's, in nats, on positions of this run that stay the same
    /// from one line to the next: what the search adds.
    pub divergence: f64,
    /// The round whose games the positions of `divergence`, `search` and `agreement` come from.
    pub positions_of_round: u64,
    /// Share of these positions in which the network prefers the same move as in the line before.
    pub agreement: Option<f64>,
    /// Mean entropy of the network's policy, as a share of that of equal chances.
    pub relative_entropy: f64,
    /// Share of the variance of the value targets that the network's value explains, in games that it had not learned
    /// from. Below 0 it is worse than the mean of the targets would be.
    pub explained_variance: f64,
    /// The network's value against the value targets of these games, in ten bins of the value from -1 to 1.
    pub calibration: Vec<Calibration>,
    /// Losses by the number of moves that were made, in these games.
    pub by_ply: Vec<Losses>,
    /// Errors of the value by the number of moves to the end, in these games.
    pub by_distance: Vec<ValueError>,
    /// Share of the games of the round that differ in their first `opening_plies` moves.
    pub distinct_openings: f64,
    /// The number of moves that count as an opening in `distinct_openings`.
    pub opening_plies: u64,
    /// What the rules of [`super::diagnosis`] have to say of this line and those before it.
    pub advice: Vec<Advice>,
}

impl Strength {
    /// Reads the lines of a run, oldest first, as far as they are understood: an empty list if there is no file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load(folder: &Folder) -> Result<Vec<Self>, Error> {
        load_lines(&folder.strength())
    }

    /// Returns the line with all numbers rounded to six decimals, which is what the file has, or `None` if a number is not
    /// finite.
    pub fn rounded(&self) -> Option<Self> {
        fn round(value: &mut Value) {
            match value {
                Value::Number(number) if number.is_f64() => {
                    *value = json!((1e6 * number.as_f64().unwrap_or(0.0)).round() / 1e6);
                }
                Value::Array(values) => values.iter_mut().for_each(round),
                Value::Object(values) => values.values_mut().for_each(round),
                _ => {}
            }
        }
        let mut value = serde_json::to_value(self).ok()?;
        round(&mut value);
        serde_json::from_value(value).ok()
    }

    /// Returns what is printed of the line, most important first.
    pub fn fields(&self) -> Vec<String> {
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let mut fields = vec![];
        if let Some(graded @ Mistakes { mistakes, positions, simulations, interval: [low, high] }) = self.graded() {
            fields.push(format!(
                "{} in {positions} positions ({} to {})",
                number(*mistakes, "mistake"),
                percent(*low),
                percent(*high)
            ));
            fields.push(format!("with {simulations} simulations"));
            let alone = self.mistakes.first().filter(|alone| *alone != graded);
            fields.extend(alone.map(|alone| format!("network alone {}", alone.mistakes)));
        }
        if let Some(Played { against, results: [won, drawn, lost], elo, interval: [low, high] }) = &self.played {
            fields.push(format!("{elo:.0} Elo ({low:.0} to {high:.0})"));
            fields.push(format!("+{won} ={drawn} -{lost} against {against}"));
        }
        fields.push(format!("search adds {:.2} nats", self.divergence));
        fields.push(format!("value explains {}", percent(self.explained_variance.max(0.0))));
        fields
    }

    /// Returns the mistakes with as many simulations as `run.grade_simulations` was: of the numbers that every line has,
    /// the largest. `None` for a game without an oracle.
    pub fn graded(&self) -> Option<&Mistakes> {
        let most = self.mistakes.iter().map(|mistakes| mistakes.positions).max()?;
        self.mistakes.iter().rfind(|mistakes| mistakes.positions == most)
    }

    /// Returns the mistakes with this many simulations, or else those of [`Strength::graded`]; `None` without positions.
    pub fn with(&self, simulations: u32) -> Option<&Mistakes> {
        let found = self.mistakes.iter().find(|mistakes| mistakes.simulations == simulations).or_else(|| self.graded());
        found.filter(|mistakes| mistakes.positions > 0)
    }
}

/// Returns the 95 % interval of a share of which `count` of `all` were seen (Wilson 1927).
pub fn wilson(count: u64, all: u64) -> [f64; 2] {
    if all == 0 {
        return [0.0, 1.0];
    }
    let (n, share) = (all as f64, count as f64 / all as f64);
    let middle = share + Z95 * Z95 / (2.0 * n);
    let half = Z95 * (share * (1.0 - share) / n + Z95 * Z95 / (4.0 * n * n)).sqrt();
    [-half, half].map(|side| ((middle + side) / (1.0 + Z95 * Z95 / n)).clamp(0.0, 1.0))
}

/// How often a player errs with one number of simulations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mistakes {
    /// The number of simulations; 0 takes the network's most likely move.
    pub simulations: u32,
    /// The number of positions.
    pub positions: u64,
    /// The number of positions in which the move gave away a result.
    pub mistakes: u64,
    /// The 95 % interval of the share of mistakes (Wilson's).
    pub interval: [f64; 2],
}

/// A short match against a player whose strength stands on the same scale.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Played {
    /// The opponent: `rollout` (plain Monte-Carlo tree search, which is 0 Elo) or `generation 12`.
    pub against: String,
    /// The number of games that the player won, drew and lost.
    pub results: [u64; 3],
    /// The strength in Elo, on a scale on which `rollout` is 0.
    pub elo: f64,
    /// The 95 % interval of the strength, given that of the opponent.
    pub interval: [f64; 2],
}

/// What a search with some simulations makes of positions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Searched {
    /// The number of simulations; 0 takes the network's most likely move.
    pub simulations: u32,
    /// The mean value that its move gives away against the best one, as the search with the most simulations sees both.
    pub regret: f64,
    /// Share of the positions in which its move is the one of the search with the most simulations.
    pub same_move: f64,
}

/// One bin of the network's value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Mean value in the bin, -1 to 1.
    pub value: f64,
    /// Mean value target of the positions in the bin, -1 to 1: the result of the game, or the share of it that the search's
    /// value leaves (`learn.search_value_share`).
    pub result: f64,
    /// The number of positions in the bin.
    pub positions: u64,
}

/// The losses of positions after some number of moves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// The fewest moves that were made.
    pub ply: u64,
    /// Mean cross-entropy between search and network, in nats.
    pub policy: f64,
    /// The policy loss that would be left with a perfect policy, in nats.
    pub floor: f64,
    /// Mean squared error of the value.
    pub value: f64,
    /// The number of positions.
    pub positions: u64,
}

/// The error of the value of positions with some number of moves to the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValueError {
    /// The fewest moves to the end.
    pub plies_left: u64,
    /// Root of the mean squared error of the value.
    pub rms: f64,
    /// The number of positions.
    pub positions: u64,
}
