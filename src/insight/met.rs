//! The matches that runs have played against each other: the lines of `matches.jsonl`, which `lockstep compare` adds.

use crate::{Error, elo::Pairs, folder::Folder, history::append, text::json_number};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A match between the players of two runs. Each of the two has a line of it, from its own side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// When the match had ended, in milliseconds since 1970: by this the two runs know that it is the same match, whatever
    /// their folders are called.
    pub played: u64,
    /// The generation of the run's own player.
    pub generation: u64,
    /// The folder of the other run, as it was named.
    pub against: String,
    /// The generation of the other player.
    pub against_generation: u64,
    /// The number of simulations for each move of both players.
    pub simulations: u32,
    /// The number of games that the own player has won, drawn and lost.
    pub results: [u64; 3],
    /// The number of pairs of games in which the own player got 0, 0.5, 1, 1.5 and 2 points.
    pub pairs: [u64; 5],
}

impl Met {
    /// Returns the match as the other run sees it, whose opponent was named so.
    #[must_use]
    pub fn turned(&self, against: String) -> Self {
        let mut turned =
            Self { generation: self.against_generation, against, against_generation: self.generation, ..self.clone() };
        turned.results.reverse();
        turned.pairs.reverse();
        turned
    }

    /// Returns the match as JSON, with what follows from the results of the pairs: the score, and by how much the own player
    /// is stronger, in Elo with an interval of 95 %, each a number or the text `inf` or `-inf`.
    pub fn line(&self) -> Value {
        let pairs = Pairs { counts: self.pairs };
        let elo = pairs.elo();
        let mut line = json!(self);
        line["score"] = json!(pairs.score());
        for (key, value) in [("elo", elo.value), ("low", elo.low), ("high", elo.high)] {
            line[key] = json_number(value);
        }
        line
    }

    /// Adds the match to those of the own run.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, folder: &Folder) -> Result<(), Error> {
        append(&folder.matches(), &[self.line().to_string()])
    }
}
