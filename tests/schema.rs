//! `lockstep config schema` and the program allow the same.

use crate::{lockstep, text};
use lockstep::{
    components::{
        Config,
        config::{
            PolicyKind,
            keys::{self, Bound, written},
        },
    },
    settings,
};
use serde_json::{Value as Json, json};
use toml::{Table, Value};

/// Whether a value is one that a schema describes, as far as schemas of configurations go.
fn allows(root: &Json, schema: &Json, value: &Json) -> bool {
    let Json::Object(keys) = schema else { return schema.as_bool().unwrap() };
    let is = |kind: &Json| match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("{other}"),
    };
    let of_properties = |allowed: &dyn Fn(&str, &Json) -> bool| {
        value.as_object().is_none_or(|value| value.iter().all(|(key, value)| allowed(key, value)))
    };
    keys.iter().all(|(key, rule)| match key.as_str() {
        "$schema" | "$defs" | "title" | "description" | "default" | "format" | "then" | "else" => true,
        "$ref" => allows(root, root.pointer(&rule.as_str().unwrap()[1..]).unwrap(), value),
        "type" => rule.as_array().map_or_else(|| is(rule), |kinds| kinds.iter().any(is)),
        "const" => value == rule,
        "enum" => rule.as_array().unwrap().contains(value),
        "minimum" => value.as_f64().is_none_or(|value| value >= rule.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|value| value <= rule.as_f64().unwrap()),
        "multipleOf" => value.as_f64().is_none_or(|value| (value / rule.as_f64().unwrap()).fract() == 0.0),
        "oneOf" => rule.as_array().unwrap().iter().filter(|one| allows(root, one, value)).count() == 1,
        "anyOf" => rule.as_array().unwrap().iter().any(|one| allows(root, one, value)),
        "maxItems" => value.as_array().is_none_or(|values| values.len() as u64 <= rule.as_u64().unwrap()),
        "items" => value.as_array().is_none_or(|values| values.iter().all(|value| allows(root, rule, value))),
        "properties" => of_properties(&|key, value| rule.get(key).is_none_or(|rule| allows(root, rule, value))),
        "additionalProperties" => of_properties(&|key, _| rule != false || keys["properties"].get(key).is_some()),
        "required" => rule.as_array().unwrap().iter().all(|key| value.get(key.as_str().unwrap()).is_some()),
        "if" => allows(root, &schema[if allows(root, rule, value) { "then" } else { "else" }], value),
        // The only one: it has a test of its own.
        "pattern" => {
            value.as_str().is_some_and(|device| settings::parse(&format!("run.device = '{device}'"), "", &[]).is_ok())
        }
        // What the program itself reads of a key.
        other => other.starts_with("x-") || panic!("{other}"),
    })
}

/// Returns a configuration in which nothing but its own value can be wrong with a key: it is for a game with komi, and
/// what bounds other keys is as wide as can be.
fn with(key: &str, value: Value) -> Table {
    let mut table: Table =
        "game.name = \"go5\"\nsearch.simulations = 1000000\nlearn.batch_size = 1000000".parse().unwrap();
    let sound =
        [("cosine", "{ cosine = { warm_up = 1, last = 0.5 } }"), ("steps", "{ steps = { at = [3], factor = 0.5 } }")];
    if let Some((_, schedule)) = sound.iter().find(|(kind, _)| key.starts_with(&format!("learn.schedule.{kind}."))) {
        table["learn"].as_table_mut().unwrap().extend(format!("schedule = {schedule}").parse::<Table>().unwrap());
    }
    let (path, last) = key.rsplit_once('.').unwrap();
    let mut here = &mut table;
    for key in path.split('.') {
        here = here.entry(key).or_insert_with(|| Value::Table(Table::new())).as_table_mut().unwrap();
    }
    here.insert(last.into(), value);
    table
}

/// Returns values at the bounds of a key and beyond them.
fn around(Bound { least, most, .. }: &Bound) -> Vec<Value> {
    match (least.as_u64(), most.as_u64()) {
        (Some(least), Some(most)) => {
            let ends = [i128::from(least) - 1, least.into(), most.into(), i128::from(most) + 1];
            ends.into_iter().filter_map(|end| Some(Value::Integer(end.try_into().ok()?))).collect()
        }
        _ => {
            let [least, most] = [least, most].map(|end| end.as_f64().unwrap());
            let below = if least > 0.0 { least / 2.0 } else { least - 0.1 };
            [below, least, most, most + 0.1].map(Value::Float).to_vec()
        }
    }
}

#[test]
fn the_schema_refuses_what_the_program_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let schema: Json = serde_json::from_str(&text(&lockstep(dir.path(), &["config", "schema"]).stdout)).unwrap();
    let mut values: Vec<(String, Value)> = vec![];
    for bound in keys::bounds() {
        values.extend(around(bound).into_iter().map(|value| (bound.key.clone(), value)));
    }
    let words = ["", "x", "go5", "chess", "default", "gumbel", "cpu", "cuda:1", "cuda:1024", "gpu", "constant", "f32"];
    let numbers =
        ["-1", "0", "1", "1.5", "-60.5", "60.5", "0.3", "true", "[]", "[1]", "{}", "{ x = 1 }", "{ reuse = 2.0 }"];
    for key in settings::keys() {
        values.extend(words.map(|word| (key.clone(), Value::String(word.into()))));
        values.extend(settings::names(&key).into_iter().map(|name| (key.clone(), Value::String(name))));
        values.extend(
            numbers.map(|text| (key.clone(), format!("value = {text}").parse::<Table>().unwrap()["value"].clone())),
        );
    }
    let mut tables: Vec<Table> = values.into_iter().map(|(key, value)| with(&key, value)).collect();
    for generations in [1_000, 1_001] {
        tables.push(with("learn.schedule.steps.at", vec![1; generations].into()));
    }
    tables.extend(["search.simulation", "serch.simulations", "learn.steps.again"].map(|key| with(key, 3.into())));
    for key in PolicyKind::Gumbel.foreign_keys().chain(PolicyKind::Puct.foreign_keys()) {
        for policy in ["puct", "gumbel"] {
            let known = &Table::try_from(Config::default()).unwrap()["search"][key];
            let mut table = with(&format!("search.{key}"), known.clone());
            table["search"].as_table_mut().unwrap().insert("policy".into(), policy.into());
            tables.push(table);
        }
    }
    let (mut taken, mut refused) = (0, 0);
    for table in tables {
        let json = serde_json::to_value(&table).unwrap();
        let result = settings::parse(&toml::to_string(&table).unwrap(), "x", &[]);
        // What depends on the game the schema cannot know.
        if result.as_ref().is_err_and(|error| error.to_string().contains(" in Go 5x5")) {
            continue;
        }
        assert_eq!(allows(&schema, &schema, &json), result.is_ok(), "{json} is {result:?}");
        *if result.is_ok() { &mut taken } else { &mut refused } += 1;
    }
    assert!(taken > 200 && refused > 500, "{taken} {refused}");
}

/// No key has a number without both of its bounds, or more digits than it was written with.
#[test]
fn every_number_of_the_schema_has_bounds() {
    fn check(at: &str, schema: &Json, found: &mut usize) {
        let kind = schema.get("type").map_or(String::new(), Json::to_string);
        // The generations of a schedule are whatever they are.
        if (kind.contains("number") || kind.contains("integer")) && !at.ends_with("/at/items") {
            *found += 1;
            assert!(schema["minimum"].is_number() && schema["maximum"].is_number(), "{at}: {schema}");
        }
        match schema {
            Json::Object(keys) => keys.iter().for_each(|(key, value)| check(&format!("{at}/{key}"), value, found)),
            Json::Array(values) => values.iter().for_each(|value| check(at, value, found)),
            Json::Number(number) => {
                let fraction = number.to_string().split_once('.').map_or(0, |(_, digits)| digits.len());
                assert!(fraction < 10, "{at}: {number}");
            }
            _ => {}
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let schema: Json = serde_json::from_str(&text(&lockstep(dir.path(), &["config", "schema"]).stdout)).unwrap();
    let mut found = 0;
    check("", &schema, &mut found);
    assert!(found >= keys::bounds().len(), "{found}");
    assert_eq!(schema["$defs"]["Fpu"]["oneOf"][0]["properties"]["absolute"]["maximum"], json!(10.0));
}

/// What people read of a key has its bounds and its default, and says when it may change; and all of it is true.
#[test]
fn what_is_known_of_a_key_is_explained() {
    let text = |key: &str| settings::explain(Some(key)).unwrap().replace("\n    ", " ");
    for Bound { key, least, most, at_most } in keys::bounds() {
        let own = key.split('.').take(2).collect::<Vec<_>>().join(".");
        let expected = format!(
            "{} to {}{}",
            written(least),
            written(most),
            at_most.map_or(String::new(), |other| format!(" and at most {other}"))
        );
        assert!(text(&own).contains(&expected), "{key} is {expected}, and not as this says: {}", text(&own));
    }
    for (section, keys) in Table::try_from(Config::default()).unwrap() {
        for (name, value) in keys.as_table().unwrap() {
            let text = text(&format!("{section}.{name}")).replace(", default ", " Default ");
            assert!(
                text.contains(&format!("Default {value}. ")),
                "{section}.{name} is {value} by default, and not as in {text}"
            );
        }
    }
    for (key, words) in [
        ("network.kind", "cannot change within a run"),
        ("search.c_puct", "Only with search.policy = \"puct\". It may change within a run"),
        ("run.threads", "may change at any time"),
        ("run.keep_log", "whose rounds are the same whatever it is"),
    ] {
        assert!(text(key).contains(words), "{words} is not in {}", text(key));
    }
}

/// The recipe to begin with is shown with all keys that there are, each below its meaning and with its value.
#[test]
fn recipes_are_shown_with_the_meanings_of_their_keys() {
    let dir = tempfile::tempdir().unwrap();
    let shown = |recipe: &str| text(&lockstep(dir.path(), &["config", "show", recipe]).stdout);
    for (recipe, set) in [("tictactoe", ""), ("connect_four", "search.simulations")] {
        let (text, source) = (shown(recipe), settings::Source::Recipe(recipe));
        assert_eq!(settings::parse(&text, "x", &[]).unwrap(), settings::load(source, &[]).unwrap(), "{text}");
        for key in settings::keys().iter().filter(|key| set.is_empty() || *key == set) {
            let meaning = settings::explain(Some(key)).unwrap();
            let meaning: Vec<String> = meaning.lines().skip(1).map(|line| format!("# {}", line.trim())).collect();
            let name = key.split_once('.').unwrap().1;
            let below = text.split_once(&meaning.join("\n")).unwrap_or_else(|| panic!("{key} is not in {text}")).1;
            let line = below.lines().skip(1).find(|line| line.contains(" = ")).unwrap();
            assert_eq!(line.trim_start_matches("# ").split(" = ").next(), Some(name), "{text}");
        }
    }
    let text = shown("connect_four");
    assert!(!text.contains("cache_mb = "), "what a recipe leaves out has its default: {text}");
    let own = text.lines().position(|line| line.starts_with("# Two searches of three")).unwrap();
    assert_eq!(text.lines().nth(own + 1), Some("fast_simulations = 32"), "its own comments stay: {text}");
}

/// Whatever the type of a key, a number is written as it was read; and what earlier versions wrote is the same number.
#[test]
fn numbers_are_written_as_they_were_read() {
    for (section, keys) in Table::try_from(Config::default()).unwrap() {
        for (key, _) in keys.as_table().unwrap().iter().filter(|(_, value)| value.is_float()) {
            let policy = if PolicyKind::Puct.foreign_keys().any(|foreign| foreign == key) { "gumbel" } else { "puct" };
            let text = format!("search.policy = \"{policy}\"\n{section}.{key} = 0.7\n");
            let written = settings::to_text(&settings::parse(&text, "x", &[]).unwrap());
            assert!(written.lines().any(|line| line == format!("{key} = 0.7")), "{key} in {written}");
        }
    }
    for set in ["search.fpu={ reduction = 0.7 }", "search.fpu={ absolute = 0.7 }", "learn.steps={ reuse = 0.7 }"] {
        let written = settings::to_text(&settings::parse("", "x", &[set.into()]).unwrap());
        assert!(written.contains(" = 0.7\n"), "{set} in {written}");
    }
    let dir = tempfile::tempdir().unwrap();
    let train = |more: &[&str]| {
        let small = ["train", "tictactoe", "--run", "run", "--set", "run.games=4", "--set", "search.simulations=2"];
        let sets = ["--set", "run.grade_simulations=1", "--set", "run.generations=1"];
        let output = lockstep(dir.path(), &[&small, &sets[..if more.is_empty() { 4 } else { 2 }], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout) + &text(&output.stderr)
    };
    train(&[]);
    let file = dir.path().join("run/config.toml");
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("reduction = 0.2\n"), "{written}");
    std::fs::write(&file, written.replace("reduction = 0.2\n", "reduction = 0.20000000298023224\n")).unwrap();
    let shown = train(&["--set", "run.generations=2", "--set", "search.noise_share=0.3"]);
    assert!(shown.contains("search.noise_share 0.25 -> 0.3") && !shown.contains("fpu"), "{shown}");
}
