//! A fleet: one learner, and workers on any number of machines that play its games.
//!
//! - [`store`]: the places where a fleet meets;
//! - [`message`]: what is written there;
//! - [`ledger`]: which games are played by whom, and which have come back;
//! - [`learner`]: the learner's end, which is a source of games for its run, and `postman`, its thread that reads and writes;
//! - [`worker`]: the other end.
//!
//! A game is a function of weights, settings, seed, round and number. So nothing has to be kept that is on its way: the
//! ledger of the learner says which games are missing, and a game that does not come back is played again and is the same.
//! Learner and workers never meet; they read and write objects at a [`store::Store`]:
//!
//! ```text
//! epoch/00000003        who learns here: the one with the highest number, made by conditional creation
//! board                 the rounds in play, with their settings, and the digests of their weights
//! status                what `lockstep fleet status` shows
//! weights/<digest>      the weights of a round
//! out/<worker>          the spans of games that a worker is to play: all of them, rewritten when they change
//! in/<worker>/00000017  a report of a worker, with the games that have ended: created once, removed when it is read
//! ```

mod address;
pub mod learner;
pub mod ledger;
pub mod message;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "fleet")]
mod object;
mod postman;
pub mod store;
pub mod worker;

pub use address::Address;

use lockstep_components::Config;

/// Returns the bytes that a learner or a worker holds at most beside what it plays and learns with, from the bytes of the
/// network's parameters: the weights of the rounds that are kept, as they are sent and as a network, one more while it is read,
/// and the reports on their way.
pub fn bound(config: &Config, parameters: u64) -> u64 {
    let rounds = config.run.lag + learner::BEHIND as u64 + 1;
    2 * rounds * parameters + (message::REPORTS_AT_ONCE as u64 + 3) * message::REPORTED_BYTES as u64
}

/// Returns the name of this machine.
pub fn host() -> String {
    sysinfo::System::host_name().unwrap_or_else(|| "a machine without a name".into())
}
