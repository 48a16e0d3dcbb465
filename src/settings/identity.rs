//! What a run or a player was made with, as text that can be kept and compared.

use super::check;
use crate::Error;
use lockstep_components::{
    Config,
    config::{
        Komi,
        keys::{self, Key},
    },
};
use toml::{Table, Value};

/// The configuration as a file.
pub fn to_text(config: &Config) -> String {
    toml::to_string(&in_use(config)).expect("a configuration is plain data")
}

/// All keys but those of a search policy that is not used, and those that games have which leave them as they are.
fn in_use(config: &Config) -> Table {
    let mut table = Table::try_from(config).expect("a configuration is plain data");
    if config.game.komi == Komi::default() {
        table["game"].as_table_mut().expect("a section").remove("komi");
    }
    let search = table["search"].as_table_mut().expect("a section");
    for key in config.search.policy.foreign_keys() {
        search.remove(key);
    }
    table
}

/// Keys that decide nothing of what is played and learned.
fn incidental() -> impl Iterator<Item = &'static Key> {
    keys::all().iter().filter(|key| !key.role.decides())
}

/// The settings that decide what is played and learned, as TOML.
pub fn essence(config: &Config) -> String {
    let mut table = in_use(config);
    for key in incidental() {
        table[key.section].as_table_mut().expect("a section").remove(key.name).expect("a key that there is");
    }
    toml::to_string(&table).expect("plain data")
}

/// The settings of a player, as TOML: the game, its network, the search that it was trained for, and how many simulations it
/// is graded with.
pub fn of_player(config: &Config) -> String {
    let mut table = in_use(config);
    for (section, keys) in table.iter_mut() {
        let keys = keys.as_table_mut().expect("a section");
        keys.retain(|key, _| match &section[..] {
            "game" | "network" => true,
            "search" => incidental().all(|incidental| (incidental.section, incidental.name) != ("search", key)),
            _ => section == "run" && key == "grade_simulations",
        });
    }
    table.retain(|_, keys| keys.as_table().is_some_and(|keys| !keys.is_empty()));
    toml::to_string(&table).expect("plain data")
}

/// The same configuration with these settings for what is played and learned: those that decide nothing are its own, and what
/// is in neither is as by default.
///
/// # Errors
/// When the text is none of [`essence`].
pub fn with_essence(config: &Config, essence: &str) -> Result<Config, Error> {
    let fail = |message: String| Error::Config { origin: "the settings in the log".into(), message };
    let own = Table::try_from(config).expect("a configuration is plain data");
    let mut table: Table = essence.parse().map_err(|e: toml::de::Error| fail(e.to_string()))?;
    for Key { section, name, .. } in incidental() {
        let keys = table.entry(*section).or_insert_with(|| Value::Table(Table::new())).as_table_mut();
        let keys = keys.ok_or_else(|| fail(format!("'{section}' is a section")))?;
        keys.insert((*name).into(), own[*section][*name].clone());
    }
    let config: Config = table.try_into().map_err(|e: toml::de::Error| fail(e.message().into()))?;
    check(&config).map_err(|(_, message)| fail(message))?;
    Ok(config)
}
