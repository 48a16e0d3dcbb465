//! Reading configurations: TOML files, `--set` overrides, and errors that name the key.

mod explain;
mod identity;

pub use explain::{commented, explain, names, schema};
pub use identity::{essence, of_player, to_text, with_essence};

use crate::{Error, games};
use lockstep_components::{
    Config,
    config::{
        OutOfRange, PolicyKind,
        keys::{self, Key, written},
    },
};
use serde_json::Value as Json;
use std::{fmt, path::Path};
use toml::{Table, Value};

/// Where a configuration comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A recipe of one of the games, by its name.
    Recipe(&'a str),
    /// A configuration file.
    File(&'a Path),
}

impl Default for Source<'_> {
    /// Returns the recipe that is taken when none is named, whose run is done in seconds.
    fn default() -> Self {
        Self::Recipe("tictactoe")
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recipe(name) => write!(f, "the recipe {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Source<'_> {
    /// Returns the text of the configuration.
    ///
    /// # Errors
    /// When there is no recipe of that name, or the file cannot be read.
    pub fn text(self) -> Result<String, Error> {
        match self {
            Self::File(path) => std::fs::read_to_string(path).map_err(Error::io("read", path)),
            Self::Recipe(name) => {
                let recipes = games::recipes();
                match recipes.iter().find(|(known, _)| *known == name) {
                    Some((_, text)) => Ok((*text).into()),
                    None => {
                        let names: Vec<_> = recipes.iter().map(|(name, _)| *name).collect();
                        let hint = did_you_mean(nearest(name, names.iter().copied()));
                        let file = if name.ends_with(".toml") { "; a file is named with --config" } else { "" };
                        let names = names.join(", ");
                        Err(Error::Usage(format!("there is no recipe '{name}'{hint}{file}; the recipes are {names}")))
                    }
                }
            }
        }
    }
}

/// Loads a configuration, and applies overrides `section.key=value` in order.
///
/// # Errors
/// When the source cannot be read, a key is unknown, or a value is of the wrong kind or out of range. The message names
/// the source or the override that is to blame, the key, and what would be right.
pub fn load(source: Source, overrides: &[String]) -> Result<Config, Error> {
    parse(&source.text()?, &source.to_string(), overrides)
}

/// Parses a configuration, and applies overrides in order; `origin` names the text in errors.
///
/// # Errors
/// When the text or an override cannot be used: the errors of [`load`] but for reading the source.
pub fn parse(text: &str, origin: &str, overrides: &[String]) -> Result<Config, Error> {
    let fail = |message: String| Error::Config { origin: origin.into(), message };
    let table: Table = text.parse().map_err(|e: toml::de::Error| fail(e.to_string().trim_end().into()))?;
    check_keys(&table).map_err(fail)?;
    // From the text and not the table, so that the message shows the line.
    toml::from_str::<Config>(text).map_err(|e| fail(e.to_string().trim_end().into()))?;
    let mut changed = overridden(&table, SET, overrides)?;
    // Keys of the search policy that is not in use are a mistake of the file, unless an override has chosen the other policy.
    let (policy, of_file) = (policy_of(&changed), policy_of(&table));
    if let Some(Value::Table(search)) = changed.get_mut("search") {
        for key in policy.foreign_keys() {
            if search.remove(key).is_some() && policy == of_file {
                return Err(fail(foreign(key, policy)));
            }
        }
    }
    checked(table, changed, origin, SET, overrides)
}

/// The option that overrides are given with in most commands.
const SET: &str = "--set";

/// Returns a configuration with overrides, which were given with the option `option`. Every key that they do not name
/// keeps its value, those of the search policy that is not in use included.
///
/// # Errors
/// When an override cannot be used. The message names the override.
pub fn with_overrides(config: &Config, option: &str, overrides: &[String]) -> Result<Config, Error> {
    let table = Table::try_from(config).expect("a configuration is plain data");
    let changed = overridden(&table, option, overrides)?;
    checked(table, changed, "the settings", option, overrides)
}

/// Returns a table with overrides applied in order. An override of a key for a search policy that is not in use after
/// all of them is refused.
fn overridden(table: &Table, option: &str, overrides: &[String]) -> Result<Table, Error> {
    let fail = |text: &String, message| Error::Config { origin: format!("{option} {text}"), message };
    let mut changed = table.clone();
    for text in overrides {
        apply(&mut changed, text).map_err(|message| fail(text, message))?;
    }
    let policy = policy_of(&changed);
    for key in policy.foreign_keys() {
        let name = format!("search.{key}");
        if let Some(text) = overrides.iter().find(|text| key_of(text) == name) {
            return Err(fail(text, foreign(key, policy)));
        }
    }
    Ok(changed)
}

/// Returns the configuration that `table` has become by overrides, which is `changed`, if every value of it is allowed.
fn checked(table: Table, changed: Table, origin: &str, option: &str, overrides: &[String]) -> Result<Config, Error> {
    let fail = |origin: String, message| Err(Error::Config { origin, message });
    let config: Config = match changed.try_into() {
        Ok(config) => config,
        Err(e) => return fail(origin.into(), e.message().into()),
    };
    match check(&config) {
        Ok(()) => Ok(config),
        Err((key, message)) => match culprit(table, overrides, key) {
            Some(text) => fail(format!("{option} {text}"), message),
            None => fail(origin.into(), message),
        },
    }
}

/// Returns the key that an override sets: what stands before the `=`, or an empty text without one.
pub fn key_of(text: &str) -> &str {
    text.split_once('=').map_or("", |(key, _)| key.trim())
}

fn policy_of(table: &Table) -> PolicyKind {
    table.clone().try_into::<Config>().map_or(PolicyKind::Puct, |config| config.search.policy)
}

/// Returns what is wrong with a key of `[search]` that is for another policy than this one.
fn foreign(key: &str, policy: PolicyKind) -> String {
    format!(
        "search.{key} is for another way to search than search.policy = {}: leave it out, or choose search.policy = {}",
        quoted(policy),
        quoted(policy.other()),
    )
}

fn quoted(policy: PolicyKind) -> Value {
    Value::try_from(policy).expect("a name")
}

/// Checks that every value is one that its key and the game allow. The error is the key and what is wrong with it.
fn check(config: &Config) -> Result<(), (&'static str, String)> {
    let out_of_range = |e: OutOfRange| (e.key, e.to_string());
    config.check().map_err(out_of_range)?;
    let name = &config.game.name;
    let unknown = || {
        let hint = did_you_mean(nearest(name, games::names()));
        ("game.name", format!("game.name = \"{name}\" is unknown{hint}; the games are {}", games::list()))
    };
    games::find(name).ok_or_else(unknown)?.check(config).map_err(out_of_range)
}

/// Returns the override to blame for a value that is not allowed: the last one of that very key, else the one that made
/// it so by changing another key, as a smaller `search.simulations` does to `search.fast_simulations`. Returns `None`
/// if the file is to blame.
fn culprit<'a>(mut table: Table, overrides: &'a [String], key: &str) -> Option<&'a String> {
    let sets_it = |text: &&String| {
        // A key may have keys of its own: search.fpu sets search.fpu.reduction.
        key.strip_prefix(key_of(text)).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if let Some(text) = overrides.iter().rfind(sets_it) {
        return Some(text);
    }
    let sound = |table: &Table| table.clone().try_into::<Config>().is_ok_and(|config| check(&config).is_ok());
    let (mut was_sound, mut culprit) = (sound(&table), None);
    for text in overrides {
        apply(&mut table, text).ok()?;
        let is_sound = sound(&table);
        if was_sound && !is_sound {
            culprit = Some(text);
        }
        was_sound = is_sound;
    }
    culprit
}

/// Returns what to tell the user when a configuration is for another game than the recipe that it was made from, as
/// with nothing but `--set game.name=connect_four`: all other keys are then those of the recipe's game.
pub fn recipe_warning(source: Source, config: &Config) -> Option<String> {
    let recipe = load(source, &[]).ok()?.game.name;
    let name = &config.game.name;
    if recipe == *name {
        return None;
    }
    let has_one = games::recipes().iter().any(|(recipe, _)| recipe == name);
    let better = if has_one { format!("; there is a recipe for it: lockstep train {name}") } else { String::new() };
    Some(format!(
        "game.name = \"{name}\", but all keys that were not set are those of {source}, which is made for {recipe}{better}"
    ))
}

/// Returns the names of all keys, each with its section: `search.c_puct`.
pub fn keys() -> Vec<String> {
    keys::all().iter().map(Key::to_string).collect()
}

fn is_section(name: &str) -> bool {
    keys::all().iter().any(|key| key.section == name)
}

fn check_keys(table: &Table) -> Result<(), String> {
    for (section, value) in table {
        if !is_section(section) {
            return Err(unknown(section, None));
        }
        let Value::Table(given) = value else {
            return Err(format!("'{section}' is a section: write [{section}] and its keys below"));
        };
        if let Some(key) = given.keys().find(|key| keys::find(&format!("{section}.{key}")).is_none()) {
            return Err(unknown(section, Some(key)));
        }
    }
    Ok(())
}

/// Returns what is wrong with a section, or with a key of one, that does not exist, and what was probably meant.
fn unknown(section: &str, key: Option<&str>) -> String {
    // A key of another section, or without one, is the likeliest mistake of all.
    let elsewhere = |name: &str| keys::all().iter().find(|key| key.name == name).map(Key::to_string);
    let (what, meant) = match key.filter(|_| is_section(section)) {
        Some(key) => {
            let names = keys::all().iter().filter(|key| key.section == section).map(|key| key.name);
            let similar = || nearest(key, names).map(|name| format!("{section}.{name}"));
            (format!("key {section}.{key}"), elsewhere(key).or_else(similar))
        }
        None => {
            let similar = || nearest(section, keys::all().iter().map(|key| key.section)).map(String::from);
            (format!("section [{section}]"), elsewhere(section).or_else(similar))
        }
    };
    format!("unknown {what}{}", did_you_mean(meant.as_deref()))
}

/// Returns `; did you mean ...?`, or an empty text without a candidate.
fn did_you_mean(candidate: Option<&str>) -> String {
    candidate.map(|c| format!("; did you mean {c}?")).unwrap_or_default()
}

/// Returns the most similar candidate, or `None` if no candidate is similar.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|c| (strsim::jaro_winkler(name, c), c))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity > 0.7)
        .map(|(_, c)| c)
}

/// Applies one override `section.key=value` to a table. The value is TOML; a bare word is taken as a string. The error
/// says what is wrong with the override.
fn apply(table: &mut Table, text: &str) -> Result<(), String> {
    let Some(((section, key), value)) = text.split_once('=').and_then(|(k, v)| Some((k.trim().split_once('.')?, v)))
    else {
        return Err("write section.key=value, for example search.simulations=100".into());
    };
    let name = format!("{section}.{key}");
    if keys::find(&name).is_none() {
        return Err(unknown(section, Some(key)));
    }
    if let Some(bound) = keys::bounds().iter().find(|bound| bound.key == name && is_beyond(bound.least, value.trim())) {
        let range = format!("from {} to {}", written(bound.least), written(bound.most));
        return Err(format!("{name} = {} is out of range: it must be {range}", value.trim()));
    }
    let value = format!("value = {}", value.trim())
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("value"))
        .unwrap_or_else(|| Value::String(value.trim().into()));
    let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    entry.as_table_mut().expect("checked to be a section").insert(key.into(), value);
    // A value of the wrong kind is this override's fault: say so here, where the key is known.
    table.clone().try_into::<Config>().map(|_| ()).map_err(|e| format!("{name}: {}", e.message()))
}

/// Whether a text is a whole number that TOML cannot hold, or one below the least: the parser would only call a
/// negative number a value of the wrong kind.
fn is_beyond(least: &Json, value: &str) -> bool {
    let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
    let is_whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let least = least.as_i64().unwrap_or(i64::MIN);
    is_whole && !value.replace('_', "").parse().is_ok_and(|number: i64| number >= least)
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
            ("[search]\nsimulatons = 3", &[], "unknown key search.simulatons; did you mean search.simulations?"),
            ("[search]\nchannels = 3", &[], "did you mean network.channels?"),
            ("[search]\nsimulations = \"many\"", &[], "line 2"),
            ("[search]\nsimulations = 0", &[], "search.simulations = 0 is out of range: it must be from 1 to 1000000"),
            ("[search]\nfpu = { reductoin = 1.0 }", &[], "reductoin"),
            ("[game]\nname = \"tictactoo\"", &[], "did you mean tictactoe?"),
            ("search = 1", &[], "'search' is a section"),
            ("[search", &[], "line 1"),
            (
                "",
                &["search.simulation=3"],
                "--set search.simulation=3: unknown key search.simulation; did you mean search.simulations?",
            ),
            ("", &["simulations=3"], "write section.key=value"),
            ("", &["search.simulations=x"], "search.simulations: invalid type"),
            ("", &["search.c_puct=-1"], "search.c_puct = -1 is out of range"),
            (
                "[search]\npolicy = \"gumbel\"\nnoise_share = 0.1",
                &[],
                "test.toml: search.noise_share is for another way",
            ),
            ("", &["search.value_scale=1"], "--set search.value_scale=1: search.value_scale is for another way"),
            ("", &["search.policy=gumbel", "search.fpu={ absolute = 0.0 }"], "choose search.policy = \"puct\""),
            ("", &["search.policy=alphabeta"], "gumbel"),
        ] {
            let message = message(text, set);
            assert!(message.contains(expected), "{text:?} {set:?} gave {message:?}, not {expected:?}");
        }
    }

    #[test]
    fn every_key_is_explained() {
        let all = explain(None).unwrap();
        for key in keys::all() {
            let name = key.to_string();
            let text = explain(Some(&name)).unwrap();
            assert!(text.starts_with(&name) && text.lines().count() > 2 && all.contains(&text), "{name}: {text}");
            assert!(explain(Some(key.section)).unwrap().contains(&text));
        }
        for (wrong, expected) in
            [("c_puct", "search.c_puct?"), ("search.c_put", "search.c_puct?"), ("serch.x", "search?")]
        {
            let message = explain(Some(wrong)).unwrap_err().to_string();
            assert!(message.contains(expected), "{wrong}: {message}");
        }
    }

    #[test]
    fn overrides_win_and_texts_round_trip() {
        let set = ["search.simulations=33", "network.kind=mlp", "search.fpu={ absolute = 0.5 }", "run.seed=9"];
        let config = parse("[search]\nsimulations = 12", "x", &set.map(String::from)).unwrap();
        assert_eq!((config.search.simulations, config.run.seed), (33, 9));
        assert_eq!(parse(&to_text(&config), "y", &[]).unwrap(), config);
        // A policy that is chosen in the place of the file's leaves the file's keys for it behind.
        let puct = "[search]\nnoise_share = 0.1\nsimulations = 12";
        let gumbel = parse(puct, "x", &["search.policy=gumbel".into(), "search.considered_moves=4".into()]).unwrap();
        assert_eq!(
            (gumbel.search.noise_share, gumbel.search.simulations, gumbel.search.considered_moves),
            (0.25, 12, 4)
        );
        let text = to_text(&gumbel);
        assert_eq!(parse(&text, "y", &[]).unwrap(), gumbel);
        assert!(!text.contains("noise_share") && !to_text(&config).contains("gumbel_scale"));
        let other = with_essence(&config, &essence(&gumbel)).unwrap();
        assert_eq!(essence(&other), essence(&gumbel));
        // What a text leaves out is not taken from elsewhere.
        let mut other = parse("[game]\nname = \"go5\"\nkomi = 3.5\n[lanes]\ncount = 7", "z", &[]).unwrap();
        let usual = parse("[game]\nname = \"go5\"", "z", &[]).unwrap();
        other = with_essence(&other, &essence(&usual)).unwrap();
        assert_eq!((other.game, other.lanes.count), (usual.game, 7));
    }

    #[test]
    fn the_override_is_blamed_for_what_it_did() {
        let recipe = "[search]\nfast_simulations = 10\n";
        for (text, set, expected) in [
            ("", &["search.c_puct=-1"][..], "--set search.c_puct=-1: search.c_puct = -1 is out of range"),
            ("", &["search.c_puct=-1", "run.seed=3"], "--set search.c_puct=-1: search.c_puct = -1"),
            ("", &["search.c_puct=-1", "search.c_puct=-2"], "--set search.c_puct=-2: search.c_puct = -2"),
            ("", &["search.fpu={ reduction = -1.0 }"], "--set search.fpu={ reduction = -1.0 }: search.fpu.reduction"),
            (
                "",
                &["game.komi=5"],
                "--set game.komi=5: game.komi = 5 is out of range: it must be left out: Tic-tac-toe",
            ),
            ("[game]\nname = \"go5\"", &["game.komi=0.3"], "--set game.komi=0.3: game.komi = 0.3 is out of range"),
            ("", &["game.komi=much"], "--set game.komi=much: game.komi: it must be a number of points or"),
            ("", &["game.name=chess"], "--set game.name=chess: game.name = \"chess\" is unknown"),
            // Through another key.
            (
                recipe,
                &["run.seed=3", "search.simulations=8"],
                "--set search.simulations=8: search.fast_simulations = 10",
            ),
            ("[run]\nvectors = \"avx2\"", &["run.device=flex"], "--set run.device=flex: run.vectors"),
            // The file's own mistakes stay its own.
            ("[search]\nc_puct = -1", &["run.seed=3"], "test.toml: search.c_puct = -1 is out of range"),
            ("[game]\nname = \"chess\"", &["run.seed=3"], "test.toml: game.name = \"chess\" is unknown"),
        ] {
            let message = message(text, set);
            assert!(message.starts_with(expected), "{text:?} {set:?} gave {message:?}, not {expected:?}");
        }
    }

    #[test]
    fn ranges_depend_on_the_game() {
        for (game, plies) in [("tictactoe", 9), ("connect_four", 42)] {
            let text = |plies: u32| format!("[game]\nname = \"{game}\"\n[search]\nopening_plies = {plies}\n");
            assert_eq!(parse(&text(plies - 1), "x", &[]).unwrap().search.opening_plies, plies - 1);
            let expected = format!("test.toml: search.opening_plies = {plies} is out of range: it must be from 0 to ");
            let refused = message(&text(plies), &[]);
            assert!(refused.starts_with(&format!("{expected}{} in ", plies - 1)), "{refused}");
        }
        let other = message("[game]\nname = \"connect_four\"\n[search]\nopening_plies = 12", &["game.name=tictactoe"]);
        assert!(other.starts_with("--set game.name=tictactoe: search.opening_plies = 12 is out of range"), "{other}");
    }

    #[test]
    fn seeds_end_where_toml_does() {
        let most = i64::MAX as u64;
        assert_eq!(parse("", "x", &[format!("run.seed={most}")]).unwrap().run.seed, most);
        for seed in ["9223372036854775808", "18446744073709551615", "99999999999999999999999999", "-1"] {
            let refused = message("", &[&format!("run.seed={seed}")]);
            let expected = format!("run.seed = {seed} is out of range: it must be from 0 to {most}");
            assert_eq!(refused, format!("--set run.seed={seed}: {expected}"));
            let refused = message(&format!("[run]\nseed = {seed}"), &[]);
            assert!(refused.contains("test.toml") && refused.contains("line 2"), "{refused}");
        }
        let mut config = Config::default();
        config.run.seed = most + 1;
        assert_eq!(config.check().unwrap_err().key, "run.seed");
        for number in ["99999999999999999999", "-3"] {
            let refused = message("", &[&format!("search.simulations={number}")]);
            assert!(
                refused.ends_with(&format!("= {number} is out of range: it must be from 1 to 1000000")),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_recipe_for_another_game_is_told() {
        let source = Source::default();
        let load_with = |set: &[&str]| load(source, &set.iter().map(|s| s.to_string()).collect::<Vec<_>>()).unwrap();
        assert_eq!(recipe_warning(source, &load_with(&["run.seed=2"])), None);
        let warning = recipe_warning(source, &load_with(&["game.name=connect_four"])).unwrap();
        for words in ["game.name = \"connect_four\"", "the recipe tictactoe", "lockstep train connect_four"] {
            assert!(warning.contains(words), "'{words}' is missing in: {warning}");
        }
        for name in games::names() {
            let own: Vec<_> = games::recipes().into_iter().filter(|(recipe, _)| recipe.starts_with(name)).collect();
            for (recipe, _) in own {
                let config = load(Source::Recipe(recipe), &[]).unwrap();
                assert_eq!(recipe_warning(Source::Recipe(recipe), &config), None, "{recipe}");
            }
        }
        let refused = load(Source::Recipe("conect_four"), &[]).unwrap_err().to_string();
        assert!(refused.contains("did you mean connect_four?") && refused.contains("tictactoe_guide"), "{refused}");
    }

    /// Values as people write them, and those at the ends of what can be written.
    fn value() -> impl Strategy<Value = Value> {
        let words = [
            "tictactoe",
            "connect_four",
            "mlp",
            "resnet",
            "scalar",
            "wdl",
            "none",
            "count",
            "log",
            "equal",
            "adam_w",
            "sgd",
            "constant",
            "auto",
            "cpu",
            "flex",
            "cuda",
            "f32",
            "int16",
            "avx2",
            "",
            "\u{0}",
            "é",
        ];
        let integers = [i64::MIN, -1, 0, 1, 2, 8, 9, 41, 42, 1_000, 1_024, 1_025, 65_536, 1 << 31, 1 << 32, i64::MAX];
        let floats = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1e-300, 0.25, 1.0, 1e39, f64::MAX];
        let number = prop_oneof![
            prop::sample::select(integers.to_vec()).prop_map(Value::Integer),
            any::<i64>().prop_map(Value::Integer),
            (0i64..2_000).prop_map(Value::Integer),
            prop::sample::select(floats.to_vec()).prop_map(Value::Float),
            (-1.0..20.0f64).prop_map(Value::Float),
        ];
        let inner = ["reduction", "absolute", "reuse", "batches", "warm_up", "last", "at", "factor", "x"];
        let table = prop::collection::vec((prop::sample::select(inner.to_vec()), number.clone()), 0..3)
            .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect::<Table>());
        let outer = (prop::sample::select(vec!["cosine", "steps"]), table.clone());
        prop_oneof![
            4 => number.clone(),
            2 => prop::sample::select(words.to_vec()).prop_map(|word| Value::String(word.into())),
            1 => any::<bool>().prop_map(Value::Boolean),
            1 => table.prop_map(Value::Table),
            1 => outer.prop_map(|(key, table)| Value::Table(Table::from_iter([(key.to_string(), Value::Table(table))]))),
            1 => prop::collection::vec(number, 0..3).prop_map(Value::Array),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Sound recipes with a few keys changed get past the parser, to the checks.
        #[test]
        fn no_changed_recipe_panics(
            recipe in prop::sample::select(games::recipes().into_iter().map(|(_, text)| text).collect::<Vec<_>>()),
            changes in prop::collection::vec((any::<prop::sample::Index>(), value(), any::<bool>()), 1..4),
        ) {
            let mut table: Table = recipe.parse().unwrap();
            let mut overrides = vec![];
            for (index, value, set) in changes {
                let key = index.get(keys::all());
                if set {
                    overrides.push(format!("{key}={value}"));
                } else {
                    let section = table.entry(key.section).or_insert_with(|| Value::Table(Table::new()));
                    section.as_table_mut().unwrap().insert(key.name.into(), value);
                }
            }
            if let Ok(config) = parse(&toml::to_string(&table).unwrap(), "x", &overrides) {
                prop_assert_eq!(check(&config), Ok(()));
                prop_assert_eq!(parse(&to_text(&config), "y", &[]).unwrap(), config);
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\[(search|run|learn|x)\\]\n)?[a-z_]{1,12} = [-0-9a-z.\"{}=\\[\\], ]{0,20}", set in ".{0,30}") {
            let _ = parse(&text, "x", &[]);
            let _ = parse("", "x", &[set]);
        }
    }
}
