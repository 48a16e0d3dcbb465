//! How good a player is.
//!
//! - [`analyst`]: a trained player, and searches of single positions with it;
//! - [`oracle`]: positions with the exact score of every move;
//! - [`accuracy`]: evaluations beside those in double precision.

pub mod accuracy;
pub mod analyst;
pub mod oracle;
