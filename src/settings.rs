//! Reading configurations: TOML files, `--set` overrides, and errors that name the key.

use crate::Error;
use lockstep_components::{Config, games};
use std::path::Path;
use toml::{Table, Value};

/// The built-in recipe: `configs/tictactoe.toml`.
pub const DEFAULT_RECIPE: &str = include_str!("../configs/tictactoe.toml");

/// A configuration from a file, or the built-in recipe, with overrides `section.key=value` applied in order.
///
/// # Errors
/// When the file cannot be read, a key is unknown, or a value is of the wrong kind or out of range. The message names
/// the file or override, the key, and what would be right.
pub fn load(file: Option<&Path>, overrides: &[String]) -> Result<Config, Error> {
    match file {
        None => parse(DEFAULT_RECIPE, "the built-in recipe", overrides),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
            parse(&text, &path.display().to_string(), overrides)
        }
    }
}

/// A configuration from text; `origin` is named in errors.
///
/// # Errors
/// As for [`load`].
pub fn parse(text: &str, origin: &str, overrides: &[String]) -> Result<Config, Error> {
    let fail = |message: String| Error::Config { origin: origin.into(), message };
    let mut table: Table = text.parse().map_err(|e: toml::de::Error| fail(e.to_string().trim_end().into()))?;
    check_keys(&table).map_err(fail)?;
    // From the text and not the table, so that the message shows the line.
    toml::from_str::<Config>(text).map_err(|e| fail(e.to_string().trim_end().into()))?;
    for text in overrides {
        apply(&mut table, text)?;
    }
    let config: Config = table.try_into().map_err(|e: toml::de::Error| fail(e.message().into()))?;
    config.check().map_err(|e| fail(e.to_string()))?;
    if !games::NAMES.contains(&config.game.name.as_str()) {
        return Err(fail(format!(
            "game.name = \"{}\" is unknown{}; the games are {}",
            config.game.name,
            nearest(&config.game.name, games::NAMES.iter().copied()),
            games::NAMES.join(", ")
        )));
    }
    Ok(config)
}

/// The configuration as a file.
pub fn to_text(config: &Config) -> String {
    toml::to_string(config).expect("a configuration is plain data")
}

/// All keys with their defaults.
fn known() -> Table {
    Table::try_from(Config::default()).expect("a configuration is plain data")
}

fn check_keys(table: &Table) -> Result<(), String> {
    let known = known();
    for (section, value) in table {
        let Some(Value::Table(keys)) = known.get(section) else {
            let hint = nearest(section, known.keys().map(String::as_str));
            return Err(format!("unknown section [{section}]{hint}"));
        };
        let Value::Table(given) = value else {
            return Err(format!("'{section}' is a section: write [{section}] and its keys below"));
        };
        if let Some(key) = given.keys().find(|key| !keys.contains_key(*key)) {
            return Err(unknown_key(section, key, &known));
        }
    }
    Ok(())
}

fn unknown_key(section: &str, key: &str, known: &Table) -> String {
    let keys: Vec<(&str, &str)> = known
        .iter()
        .flat_map(|(s, v)| v.as_table().into_iter().flatten().map(move |(k, _)| (s.as_str(), k.as_str())))
        .collect();
    // A key of another section is the likeliest mistake of all.
    let elsewhere: Vec<_> = keys.iter().filter(|(_, k)| *k == key).map(|(s, k)| format!("{s}.{k}")).collect();
    let hint = match elsewhere.first() {
        Some(found) => format!("; did you mean {found}?"),
        None => nearest(key, keys.iter().filter(|(s, _)| *s == section).map(|(_, k)| *k)),
    };
    format!("unknown key {section}.{key}{hint}")
}

/// `; did you mean ...?` for the most similar candidate, or nothing if none is similar.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    candidates
        .map(|c| (strsim::jaro_winkler(name, c), c))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity > 0.7)
        .map(|(_, c)| format!("; did you mean {c}?"))
        .unwrap_or_default()
}

/// Applies one `section.key=value`. The value is TOML; a bare word is taken as a string.
fn apply(table: &mut Table, text: &str) -> Result<(), Error> {
    let fail = |message: String| Error::Config { origin: format!("--set {text}"), message };
    let Some(((section, key), value)) = text.split_once('=').and_then(|(k, v)| Some((k.trim().split_once('.')?, v)))
    else {
        return Err(fail("write section.key=value, for example --set search.simulations=100".into()));
    };
    let known = known();
    if known.get(section).is_none_or(|s| s.get(key).is_none()) {
        let hint = nearest(section, known.keys().map(String::as_str));
        return Err(fail(match known.get(section) {
            None => format!("unknown section [{section}]{hint}"),
            Some(_) => unknown_key(section, key, &known),
        }));
    }
    let value = format!("value = {}", value.trim())
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("value"))
        .unwrap_or_else(|| Value::String(value.trim().into()));
    let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    entry.as_table_mut().expect("checked to be a section").insert(key.into(), value);
    // A value of the wrong kind is this override's fault: say so here, where the key is known.
    match table.clone().try_into::<Config>() {
        Ok(_) => Ok(()),
        Err(e) => Err(fail(format!("{section}.{key}: {}", e.message()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(text: &str, set: &[&str]) -> String {
        let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
        parse(text, "test.toml", &set).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_named() {
        for (text, set, expected) in [
            ("[serch]", &[][..], "unknown section [serch]; did you mean search?"),
            ("[search]\nsimulatons = 3", &[], "unknown key search.simulatons; did you mean simulations?"),
            ("[search]\nchannels = 3", &[], "did you mean network.channels?"),
            ("[search]\nsimulations = \"many\"", &[], "line 2"),
            ("[search]\nsimulations = 0", &[], "search.simulations = 0 is out of range: it must be from 1 to 1000000"),
            ("[search]\nfpu = { reductoin = 1.0 }", &[], "reductoin"),
            ("[game]\nname = \"tictactoo\"", &[], "did you mean tictactoe?"),
            ("search = 1", &[], "'search' is a section"),
            ("[search", &[], "line 1"),
            ("", &["search.simulation=3"], "--set search.simulation=3: unknown key search.simulation; did you mean"),
            ("", &["simulations=3"], "write section.key=value"),
            ("", &["search.simulations=x"], "search.simulations: invalid type"),
            ("", &["search.c_puct=-1"], "search.c_puct = -1 is out of range"),
        ] {
            let message = message(text, set);
            assert!(message.contains(expected), "{text:?} {set:?} gave {message:?}, not {expected:?}");
        }
    }

    #[test]
    fn overrides_win_and_texts_round_trip() {
        let set = ["search.simulations=33", "network.kind=mlp", "search.fpu={ absolute = 0.5 }", "run.seed=9"];
        let config = parse("[search]\nsimulations = 12", "x", &set.map(String::from)).unwrap();
        assert_eq!((config.search.simulations, config.run.seed), (33, 9));
        assert_eq!(parse(&to_text(&config), "y", &[]).unwrap(), config);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\[(search|run|learn|x)\\]\n)?[a-z_]{1,12} = [-0-9a-z.\"{}=\\[\\], ]{0,20}", set in ".{0,30}") {
            let _ = parse(&text, "x", &[]);
            let _ = parse("", "x", &[set]);
        }
    }
}
