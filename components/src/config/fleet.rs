//! `[fleet]`: how a run is shared with workers on other machines.

use super::section;

section! {
    /// `[fleet]`
    FleetConfig, role Upkeep {
        /// Whether a game that two machines have played must be the same bit for bit. With false machines of other kinds may take
        /// part, whose last bits differ: the run then does not repeat, and forged games are not found by comparing.
        exact: bool = true;
        /// Share of the spans of games that are given to two workers and compared. More find forged games sooner, and play more
        /// games twice.
        audit: f64 = 0.01, from 0.0 to 1.0;
        /// Seconds after which the games of a worker that is not heard of go to others. Less waits less for workers that have died;
        /// more gives slow networks the time that they need.
        lease: f64 = 60.0, from 0.1 to 86_400.0;
    }
}
