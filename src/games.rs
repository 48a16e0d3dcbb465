//! The games that the program knows by name: those that come with lockstep, and those of whoever calls
//! [`main_with`](crate::main_with).

use crate::Error;
use lockstep_components::Config;
use lockstep_fused::Description;
pub use lockstep_systems::AnyGame;
use lockstep_systems::network::describe;
use std::{
    collections::BTreeSet,
    sync::{LazyLock, OnceLock},
};

/// Those that come with lockstep.
static BUILT_IN: LazyLock<Vec<AnyGame>> = LazyLock::new(lockstep_games::built_in);

/// All of them, where somebody has added some.
static ALL: OnceLock<Vec<AnyGame>> = OnceLock::new();

/// Adds games to those that come with lockstep, before any is asked for.
///
/// # Errors
/// When two games or recipes have the same name.
pub(crate) fn add(own: &[AnyGame]) -> Result<(), Error> {
    let games = [&BUILT_IN[..], own].concat();
    let (mut names, mut recipes) = (BTreeSet::new(), BTreeSet::new());
    for game in &games {
        let name = game.info.name;
        if !names.insert(name) {
            return Err(Error::Usage(format!("two games are called '{name}'; give one another Game::NAME")));
        }
        if let Some((name, _)) = game.recipes.iter().find(|(name, _)| !recipes.insert(*name)) {
            return Err(Error::Usage(format!("two recipes are called '{name}'; change one in Game::RECIPES")));
        }
    }
    ALL.set(games).map_err(|_| Error::Usage("games can be added to the program once only".into()))
}

/// All games, those that come with lockstep first.
pub fn all() -> &'static [AnyGame] {
    ALL.get().unwrap_or(&BUILT_IN)
}

/// The game of that name, if there is one.
pub fn find(name: &str) -> Option<AnyGame> {
    all().iter().find(|game| game.info.name == name).copied()
}

/// The game of that name.
///
/// # Errors
/// When there is none; the message lists those that there are.
pub fn named(name: &str) -> Result<AnyGame, Error> {
    find(name).ok_or_else(|| Error::Usage(format!("unknown game '{name}'; the games are {}", list())))
}

/// The names of all games.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().iter().map(|game| game.info.name)
}

/// The names of all games, for people.
pub(crate) fn list() -> String {
    names().collect::<Vec<_>>().join(", ")
}

/// The names of all recipes, each with its text, game by game.
pub fn recipes() -> Vec<(&'static str, &'static str)> {
    all().iter().flat_map(|game| game.recipes).copied().collect()
}

/// The network of a whole configuration, for the game that it names; none if there is no such game.
pub fn description_of(config: &Config) -> Option<Description> {
    find(&config.game.name).map(|game| describe(&game.info, &config.network))
}
