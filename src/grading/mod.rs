//! How good a player is.
//!
//! - [`analyst`]: a trained player, and searches of single positions with it;
//! - [`oracle`]: positions with the exact score of every move;
//! - [`mod@grade`]: how often it errs in them;
//! - [`accuracy`]: evaluations beside those in double precision;
//! - [`mod@matches`]: games of two players;
//! - [`elo`]: what their results say.

pub mod accuracy;
pub mod analyst;
pub mod elo;
pub mod grade;
pub mod matches;
pub mod oracle;
