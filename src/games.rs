//! The games that the program knows by name: those that come with lockstep, and those of whoever calls
//! [`main_with`](crate::main_with).

use crate::Error;
use lockstep_components::Config;
use lockstep_fused::Description;
use lockstep_systems::network::describe;
pub use lockstep_systems::{AnyGame, Recipe};
use std::{
    collections::BTreeSet,
    sync::{LazyLock, OnceLock},
};

/// The recipes of `configs/`, each with the name of its game.
static CONFIGS: LazyLock<Vec<(String, Recipe)>> = LazyLock::new(|| {
    let game = |text: &str| Some(text.parse::<toml::Table>().ok()?.get("game")?.get("name")?.as_str()?.to_string());
    let files: &[Recipe] = &include!(concat!(env!("OUT_DIR"), "/recipes.rs"));
    files.iter().filter_map(|recipe| Some((game(recipe.1)?, *recipe))).collect()
});

/// The games that come with lockstep.
static BUILT_IN: LazyLock<Vec<AnyGame>> = LazyLock::new(lockstep_games::built_in);

/// All games of the program, once [`add`] has set them.
static ALL: OnceLock<Vec<AnyGame>> = OnceLock::new();

/// Sets the games of the program: those that come with lockstep, and `own`. It must be called before any game is asked
/// for.
///
/// # Errors
/// When two games or recipes have the same name, or when games were added before.
pub(crate) fn add(own: &[AnyGame]) -> Result<(), Error> {
    // Recipes are read only where a game could bring one of the same name.
    if own.is_empty() {
        return Ok(());
    }
    let games = [&BUILT_IN[..], own].concat();
    let (mut names, mut recipes) = (BTreeSet::new(), BTreeSet::new());
    for game in &games {
        let name = game.info.name;
        if !names.insert(name) {
            return Err(Error::Usage(format!("two games are called '{name}'; give one another Game::NAME")));
        }
        if let Some((name, _)) = recipes_of(game).into_iter().find(|(name, _)| !recipes.insert(*name)) {
            let message = format!("two recipes are called '{name}'; give one another name in with_recipes");
            return Err(Error::Usage(message));
        }
    }
    ALL.set(games).map_err(|_| Error::Usage("games can be added to the program once only".into()))
}

/// Returns all games, those that come with lockstep first.
pub fn all() -> &'static [AnyGame] {
    ALL.get().unwrap_or(&BUILT_IN)
}

/// Returns the game with this name, if there is one.
pub fn find(name: &str) -> Option<AnyGame> {
    all().iter().find(|game| game.info.name == name).copied()
}

/// Returns the game with this name.
///
/// # Errors
/// When there is no such game; the message lists the games that there are.
pub fn named(name: &str) -> Result<AnyGame, Error> {
    find(name).ok_or_else(|| Error::Usage(format!("unknown game '{name}'; the games are {}", list())))
}

/// Returns the names of all games.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().iter().map(|game| game.info.name)
}

/// Returns the names of all games as a text for people.
pub(crate) fn list() -> String {
    names().collect::<Vec<_>>().join(", ")
}

/// Returns the recipes of a game, those of `configs/` and those that came with it. A recipe with the name of the game
/// comes first.
pub fn recipes_of(game: &AnyGame) -> Vec<Recipe> {
    let name = game.info.name;
    let of_configs = CONFIGS.iter().filter(|(game, _)| game == name).map(|(_, recipe)| *recipe);
    let mut all: Vec<Recipe> = of_configs.chain(game.recipes.iter().copied()).collect();
    all.sort_by_key(|(recipe, _)| *recipe != name);
    all
}

/// Returns all recipes, game by game.
pub fn recipes() -> Vec<Recipe> {
    all().iter().flat_map(recipes_of).collect()
}

/// Returns the description of the network of a configuration for the game that it names, or `None` if there is no such
/// game.
pub fn description_of(config: &Config) -> Option<Description> {
    find(&config.game.name).map(|game| describe(&game.info, &config.network))
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
        let mut treblecross = all()[0].with_recipes(&[("small", ""), ("treblecross", "")]);
        treblecross.info.name = "treblecross";
        let own = recipes_of(&treblecross);
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
