//! A fleet: one learner, and workers on any number of machines that play its games.
//!
//! - [`store`]: the places where a fleet meets;
//! - [`message`]: what is written there;
//! - [`ledger`]: which games are played by whom, and which have come back;
//! - [`learner`]: the learner's end, which is a source of games for its run;
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
pub mod store;
pub mod worker;

pub use address::Address;

/// Returns the name of this machine.
pub fn host() -> String {
    sysinfo::System::host_name().unwrap_or_else(|| "a machine without a name".into())
}
