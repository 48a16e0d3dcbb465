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

/// The name of a recipe, and its text.
pub type Recipe = (&'static str, &'static str);

/// Those of `configs/`, each behind the game that it names.
static CONFIGS: LazyLock<Vec<(String, Recipe)>> = LazyLock::new(|| {
    let game = |text: &str| Some(text.parse::<toml::Table>().ok()?.get("game")?.get("name")?.as_str()?.to_string());
    let files: &[Recipe] = &include!(concat!(env!("OUT_DIR"), "/recipes.rs"));
    files.iter().filter_map(|recipe| Some((game(recipe.1)?, *recipe))).collect()
});

/// A game as the program knows it.
#[derive(Clone, Copy, Debug)]
pub struct AnyGame {
    /// Its [`Game::NAME`].
    pub name: &'static str,
    recipes: &'static [Recipe],
    check: fn(&Config) -> Result<(), OutOfRange>,
    describe: fn(&NetworkConfig) -> Description,
    carry_out: fn(Task) -> Result<(), Error>,
}

impl AnyGame {
    /// The one of this type.
    pub const fn of<G: Game>() -> Self {
        Self {
            name: G::NAME,
            recipes: &[],
            check: |config| config.check_for::<G>(),
            describe: describe::<G>,
            carry_out: Task::carry_out::<G>,
        }
    }

    /// The same with recipes to train it with: configurations that name the game, whose first comment says what to expect. The
    /// one that is called as the game is taken where the game is named alone.
    #[must_use]
    pub const fn with_recipes(self, recipes: &'static [Recipe]) -> Self {
        Self { recipes, ..self }
    }

    /// Its recipes, the one that is called as the game first.
    fn all_recipes(&self) -> Vec<Recipe> {
        let of_configs = CONFIGS.iter().filter(|(game, _)| game == self.name).map(|(_, recipe)| *recipe);
        let mut all: Vec<Recipe> = of_configs.chain(self.recipes.iter().copied()).collect();
        all.sort_by_key(|(name, _)| *name != self.name);
        all
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
        if let Some((name, _)) = game.all_recipes().into_iter().find(|(name, _)| !recipes.insert(*name)) {
            return Err(Error::Usage(format!(
                "two recipes are called '{name}'; give one another name in with_recipes"
            )));
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

/// All recipes, game by game: those of `configs/`, and those that came with games.
pub fn recipes() -> Vec<Recipe> {
    all().iter().flat_map(AnyGame::all_recipes).collect()
}

/// The network of a whole configuration, for the game that it names; none if there is no such game.
pub fn description_of(config: &Config) -> Option<Description> {
    find(&config.game.name).map(|game| (game.describe)(&config.network))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in `configs/` is all that a recipe takes: each is listed once, below its game, and can be used.
    #[test]
    fn every_file_of_configs_is_a_recipe() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/configs")).unwrap();
        let files: BTreeSet<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        let listed: Vec<String> = recipes().iter().map(|(name, _)| format!("{name}.toml")).collect();
        assert_eq!((listed.iter().cloned().collect(), listed.len()), (files.clone(), files.len()));
        let mut games: Vec<String> = vec![];
        for (name, text) in recipes() {
            let game = crate::settings::parse(text, name, &[]).unwrap().game.name;
            assert!(text.starts_with("# "), "{name} does not begin by saying what to expect");
            if !games.contains(&game) {
                assert_eq!(name, game, "the first recipe of a game is called as the game");
                games.push(game);
            }
        }
        assert!(games.iter().eq(names().filter(|name| games.iter().any(|game| game == name))), "{games:?}");
        let treblecross = AnyGame { name: "treblecross", ..all()[0] };
        let own = treblecross.with_recipes(&[("small", ""), ("treblecross", "")]).all_recipes();
        assert_eq!(own.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["treblecross", "small"]);
    }

    /// What the comments of a recipe say of the share of fast searches is what it has.
    #[test]
    fn recipes_have_the_shares_that_they_tell() {
        let number =
            |word: &str| ["one", "two", "three", "four", "five"].iter().position(|known| *known == word).unwrap() + 1;
        let mut told = 0;
        for (name, text) in recipes() {
            let behind = |words: &str| text.split_once(words).map(|(_, rest)| rest.split_whitespace().next().unwrap());
            let Some(all) = behind("searches of ") else { continue };
            let chance: f64 = behind("full_search_chance = ").unwrap().parse().unwrap();
            let fast = text.split_once(" searches of").unwrap().0.rsplit(' ').next().unwrap().to_lowercase();
            let share = number(&fast) as f64 / number(all) as f64;
            assert!((1.0 - chance - share).abs() < 0.01, "{name}: {fast} searches of {all} are fast beside {chance}");
            told += 1;
        }
        assert!(told > 0);
    }
}
