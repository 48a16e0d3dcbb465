//! Grading: how good a player is.
//!
//! - [`analyst`]: a trained player, and searches of single positions with it;
//! - [`oracle`]: positions with the exact score of every move;
//! - [`mod@grade`]: how often a player errs in such positions;
//! - [`accuracy`]: how far evaluations are from those in double precision;
//! - [`mod@matches`]: games of two players;
//! - [`elo`]: the strength of players from the results of games.

pub mod accuracy;
pub mod analyst;
pub mod elo;
pub mod grade;
pub mod matches;
pub mod oracle;
