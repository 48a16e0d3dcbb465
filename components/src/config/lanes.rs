//! `[lanes]`: how many games at once.

use super::section;

section! {
    /// `[lanes]`
    LanesConfig {
        /// Games in play at the same time. More fill a device better and use more memory; each game then takes longer.
        count: u32 = 256, from 1 to 65_536, role Upkeep;
        /// Leaves that each tree sends to the network in one tick. More fill the batch when there are few lanes, and weaken the
        /// search a little: it decides before the values of the others are known.
        leaves_per_tree: u32 = 1, from 1 to 256, role Fixed;
        /// Lanes that advance together before the next ones have their turn. 0 takes as many as keep their trees in the
        /// processor's cache, or all lanes divided by the batches in flight when there are several. The lanes of a cohort share
        /// a batch, so fewer make smaller batches.
        cohort: u32 = 0, from 0 to 65_536, role Upkeep;
        /// Batches on their way at the same time. 0 takes 2 on a GPU, which works on one while the next is prepared, and 1 on a
        /// CPU, which does both itself. More keep a GPU busy that is faster than the host, with smaller batches.
        in_flight: u32 = 0, from 0 to 8, role Upkeep;
    }
}
