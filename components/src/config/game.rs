//! `[game]`: what is played.

use super::{section, short};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

section! {
    /// `[game]`
    GameConfig, role Fixed {
        /// The game, by one of the names that `lockstep games` lists.
        name: String = "tictactoe".into();
        /// In Go: the points that the second player gets beside the board. More of them help the second player, and with half
        /// points no game is a draw. Other games have no such key.
        komi: Komi = Komi::Usual(Usual::Default);
    }
}

/// The most points of [`GameConfig::komi`], either way.
pub(crate) const KOMI: f32 = 60.0;

/// Points that the second player gets beside the board.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "it must be a number of points or \"default\"")]
pub enum Komi {
    /// This number of points, in steps of 0.5.
    Points(
        #[serde(serialize_with = "short")]
        #[schemars(range(min = -KOMI, max = KOMI), extend("multipleOf" = 0.5))]
        f32,
    ),
    /// The usual points for the game's board.
    Usual(Usual),
}

/// `"default"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Usual {
    /// The usual points for the board.
    #[default]
    Default,
}

impl Default for Komi {
    fn default() -> Self {
        Self::Usual(Usual::Default)
    }
}

impl fmt::Display for GameConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.komi {
            Komi::Points(komi) => write!(f, "{} with komi {komi}", self.name),
            Komi::Usual(_) => f.write_str(&self.name),
        }
    }
}
