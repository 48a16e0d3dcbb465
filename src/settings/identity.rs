//! Settings of a run or of a player as text that can be kept and compared.

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

/// Returns a configuration as the text of a file.
pub fn to_text(config: &Config) -> String {
    text(config, |_| true)
}

/// Returns the settings that decide what is played and learned, as TOML.
pub fn essence(config: &Config) -> String {
    text(config, |key| key.role.decides())
}

/// Returns the settings of a player, as TOML: the game, its network, the search that it was trained for, and how many
/// simulations it is graded with.
pub fn of_player(config: &Config) -> String {
    text(config, |key| match key.section {
        "game" | "network" => true,
        "search" => key.role.decides(),
        _ => key.name == "grade_simulations",
    })
}

/// Returns the wanted keys of a configuration, as TOML. The keys of a search policy that is not in use are left out,
/// and so is `game.komi` where the komi is the game's own.
fn text(config: &Config, is_wanted: impl Fn(&Key) -> bool) -> String {
    let mut table = Table::try_from(config).expect("a configuration is plain data");
    let is_used = |key: &Key| {
        key.policy.is_none_or(|policy| policy == config.search.policy)
            && (key.name != "komi" || config.game.komi != Komi::default())
    };
    for key in keys::all().iter().filter(|key| !is_used(key) || !is_wanted(key)) {
        table[key.section].as_table_mut().expect("a section").remove(key.name);
    }
    table.retain(|_, keys| keys.as_table().is_some_and(|keys| !keys.is_empty()));
    toml::to_string(&table).expect("plain data")
}

/// Returns a configuration with these settings for what is played and learned. Keys that do not decide that keep their
/// values from `config`, and keys that do and are left out have their defaults.
///
/// # Errors
/// When the text has no valid settings, as [`essence`] returns them.
pub fn with_essence(config: &Config, essence: &str) -> Result<Config, Error> {
    let fail = |message: String| Error::Config { origin: "the settings in the log".into(), message };
    let own = Table::try_from(config).expect("a configuration is plain data");
    let mut table: Table = essence.parse().map_err(|e: toml::de::Error| fail(e.to_string()))?;
    for Key { section, name, .. } in keys::all().iter().filter(|key| !key.role.decides()) {
        let keys = table.entry(*section).or_insert_with(|| Value::Table(Table::new())).as_table_mut();
        let keys = keys.ok_or_else(|| fail(format!("'{section}' is a section")))?;
        keys.insert((*name).into(), own[*section][*name].clone());
    }
    let config: Config = table.try_into().map_err(|e: toml::de::Error| fail(e.message().into()))?;
    check(&config).map_err(|(_, message)| fail(message))?;
    Ok(config)
}
