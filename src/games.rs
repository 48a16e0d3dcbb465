//! The games that the program knows by name: those that come with lockstep, and those of whoever calls
//! [`main_with`](crate::main_with).
//!
//! Each is a table of what is done with a game whose type is known by its name alone, so that the commands are compiled once
//! for each game, in the crate that names its type.

use crate::{Error, commands::Task};
use lockstep_components::{
    Config, Game,
    config::{NetworkConfig, OutOfRange},
    games::{self, GameVisitor},
};
use lockstep_fused::Description;
use lockstep_systems::network::describe;
use std::{
    collections::BTreeSet,
    sync::{LazyLock, OnceLock},
};

/// A game as the program knows it.
#[derive(Clone, Copy, Debug)]
pub struct AnyGame {
    /// Its [`Game::NAME`].
    pub name: &'static str,
    /// Its [`Game::RECIPES`].
    pub recipes: &'static [(&'static str, &'static str)],
    check: fn(&Config) -> Result<(), OutOfRange>,
    describe: fn(&NetworkConfig) -> Description,
    carry_out: fn(Task) -> Result<(), Error>,
}

impl AnyGame {
    /// The one of this type.
    pub const fn of<G: Game>() -> Self {
        Self {
            name: G::NAME,
            recipes: G::RECIPES,
            check: |config| config.check_for::<G>(),
            describe: describe::<G>,
            carry_out: Task::carry_out::<G>,
        }
    }

    /// Whether the settings are in the ranges of this game.
    pub(crate) fn check(&self, config: &Config) -> Result<(), OutOfRange> {
        (self.check)(config)
    }

    /// Does with it what a command asks for.
    pub(crate) fn carry_out(&self, task: Task) -> Result<(), Error> {
        (self.carry_out)(task)
    }
}

/// Those that come with lockstep.
static BUILT_IN: LazyLock<Vec<AnyGame>> = LazyLock::new(|| {
    struct Any;
    impl GameVisitor for Any {
        type Output = AnyGame;
        fn visit<G: Game>(self) -> AnyGame {
            AnyGame::of::<G>()
        }
    }
    games::NAMES.iter().filter_map(|name| games::visit(name, Any).ok()).collect()
});

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
        if !names.insert(game.name) {
            return Err(Error::Usage(format!("two games are called '{}'; give one another Game::NAME", game.name)));
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
    all().iter().find(|game| game.name == name).copied()
}

/// The names of all games.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().iter().map(|game| game.name)
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
    find(&config.game.name).map(|game| (game.describe)(&config.network))
}
