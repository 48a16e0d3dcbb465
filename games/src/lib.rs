//! The games that come with lockstep, each compiled into the search, the replay buffer and the solver.
//!
//! Code that is generic over the game is compiled in this crate, so that a change elsewhere in the program does not
//! compile it again.

#![forbid(unsafe_code)]

use lockstep_components::{
    Game,
    games::{GameVisitor, NAMES, visit},
};
use lockstep_systems::AnyGame;

/// The built-in games, in the order of the registry.
pub fn built_in() -> Vec<AnyGame> {
    struct Any;
    impl GameVisitor for Any {
        type Output = AnyGame;
        fn visit<G: Game>(self) -> AnyGame {
            AnyGame::of::<G>()
        }
    }
    NAMES.iter().filter_map(|name| visit(name, Any).ok()).collect()
}
