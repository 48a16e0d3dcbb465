//! Explains the keys of configurations to people and to their editors, with what stands at the fields and nothing else.

use super::{policy_of, unknown};
use crate::{Error, games};
use lockstep_components::config::{
    PolicyKind,
    keys::{self, Key, Role, resolved, written},
};
use serde_json::{Value as Json, json};
use toml::Value;

/// The most columns of a line of explanations.
const WIDTH: usize = 116;

/// Returns an explanation of a key, of each key of a section, or of every key if `asked` is `None`: its meaning, its
/// range, its default, and when it may change.
///
/// # Errors
/// When there is no such section or key.
pub fn explain(asked: Option<&str>) -> Result<String, Error> {
    let is_asked = |key: &&Key| asked.is_none_or(|asked| asked == key.section || asked == key.to_string());
    let explained = keys::all().iter().filter(is_asked).map(|key| {
        let lines = meaning(key).into_iter().map(|line| format!("    {line}\n"));
        format!("{key}\n{}", lines.collect::<String>())
    });
    let explained: String = explained.collect();
    match asked.filter(|_| explained.is_empty()) {
        None => Ok(explained),
        Some(asked) => {
            let (section, key) = asked.split_once('.').map_or((asked, None), |(section, key)| (section, Some(key)));
            Err(Error::Usage(unknown(section, key)))
        }
    }
}

/// Returns the text of a recipe with the meaning of each key above it, and what the recipe itself says of the key below
/// that. `all` adds the keys that the recipe leaves out, with their defaults; those of the search policy that is not in
/// use are added as comments.
pub fn commented(text: &str, all: bool) -> String {
    let policy = policy_of(&text.parse().unwrap_or_default());
    let comments = |key: &Key| meaning(key).into_iter().map(|line| format!("# {line}"));
    let by_default = |key: &Key| {
        let off = if key.policy.is_some_and(|own| own != policy) { "# " } else { "" };
        comments(key).chain([format!("{off}{} = {}", key.name, default(key))]).collect::<Vec<_>>()
    };
    let text = format!("\n{text}");
    let mut sections = text.split("\n[");
    let mut shown = sections.next().unwrap_or_default().trim_start().to_string();
    let mut missing: Vec<&Key> = keys::all().iter().filter(|_| all).collect();
    for text in sections {
        let (section, text) = text.split_once(']').unwrap_or((text, ""));
        missing.retain(|key| key.section != section);
        let mut left_out: Vec<&Key> = keys::all().iter().filter(|key| key.section == section).collect();
        let (mut lines, mut own) = (vec![], vec![]);
        for line in text.trim_end().lines() {
            if line.starts_with('#') {
                own.push(line.to_string());
                continue;
            }
            let name = line.split('=').next().unwrap_or_default().trim();
            if let Some(at) = left_out.iter().position(|key| key.name == name) {
                let before = left_out.drain(..if all { at } else { 0 });
                lines.extend(before.flat_map(by_default));
                lines.extend(comments(left_out.remove(if all { 0 } else { at })));
            }
            lines.append(&mut own);
            lines.push(line.into());
        }
        lines.append(&mut own);
        lines.extend(left_out.into_iter().filter(|_| all).flat_map(by_default));
        shown += &format!("\n[{section}]{}\n", lines.join("\n"));
    }
    for keys in missing.chunk_by(|one, other| one.section == other.section) {
        let lines: Vec<String> = keys.iter().copied().flat_map(by_default).collect();
        shown += &format!("\n[{}]\n{}\n", keys[0].section, lines.join("\n"));
    }
    shown
}

/// Returns lines that tell what a key means, the values that it may have, its default, and when it may change.
fn meaning(key: &Key) -> Vec<String> {
    let mut lines = wrapped(&about(key.schema));
    for kind in kinds(key.schema) {
        lines.extend(wrapped(&format!("{}: {}", form(kind), about(kind))));
    }
    let range = match kinds(key.schema).is_empty().then(|| form(key.schema)) {
        Some(range) if !range.is_empty() => match key.schema.get("x-at-most").and_then(Json::as_str) {
            Some(other) => format!("{range} and at most {other}, default"),
            None => format!("{range}, default"),
        },
        _ => "Default".into(),
    };
    let policy = key.policy.map_or(String::new(), |policy| format!(" Only with search.policy = {}.", json!(policy)));
    let role = match key.role {
        Role::Learning => "It may change within a run, from the next round on.",
        Role::Fixed => "It cannot change within a run.",
        Role::Upkeep => "It may change within a run, whose rounds are the same whatever it is.",
        Role::Machine => "It may change at any time: it is no part of what a run was made with.",
    };
    lines.extend(wrapped(&format!("{range} {}.{policy} {role}", default(key))));
    lines
}

/// Returns what the comment in a part of the schema says.
fn about(part: &'static Json) -> String {
    let text = part.get("description").or(resolved(part).get("description")).and_then(Json::as_str);
    text.unwrap_or_default().replace('\n', " ")
}

/// Returns the kinds of values that a part of the schema allows, or nothing if there is only one kind.
fn kinds(part: &'static Json) -> &'static [Json] {
    let part = resolved(part);
    part.get("oneOf").or(part.get("anyOf")).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// Returns how a value is written, with the bounds of its numbers; an empty text where any text or a truth value is
/// meant.
fn form(part: &'static Json) -> String {
    let part = resolved(part);
    if let Some(name) = part.get("const") {
        return name.to_string();
    }
    if let (Some(least), Some(most)) = (part.get("minimum"), part.get("maximum")) {
        return format!("{} to {}", written(least), written(most));
    }
    if let Some(keys) = part.get("properties").and_then(Json::as_object) {
        let keys: Vec<String> = keys.iter().map(|(key, part)| format!("{key} = {}", form(part))).collect();
        return format!("{{ {} }}", keys.join(", "));
    }
    match part.get("maxItems") {
        Some(most) => format!("[up to {most} numbers]"),
        None => kinds(part).iter().map(form).collect::<Vec<_>>().join(" or "),
    }
}

/// Returns the default of a key as it stands in a file.
fn default(key: &Key) -> Value {
    Value::try_from(&key.schema["default"]).expect("a default is plain data")
}

/// Returns a text in lines of at most [`WIDTH`] columns, where its words allow it.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => *line += &format!(" {word}"),
            _ => lines.push(word.into()),
        }
    }
    lines
}

/// Returns the JSON schema of configurations, with the names of the games. A bound that depends on the game, or on the
/// value of another key, is not in it.
pub fn schema() -> Json {
    let mut schema = keys::schema().clone();
    schema["$defs"]["GameConfig"]["properties"]["name"]["enum"] = json!(games::names().collect::<Vec<_>>());
    // Each policy refuses the keys of the other one.
    let refused = |policy: PolicyKind| {
        let keys: serde_json::Map<String, Json> = policy.foreign_keys().map(|key| (key.into(), false.into())).collect();
        json!({ "properties": keys })
    };
    let search = &mut schema["$defs"]["SearchConfig"];
    search["if"] = json!({ "properties": { "policy": { "const": PolicyKind::Gumbel } }, "required": ["policy"] });
    (search["then"], search["else"]) = (refused(PolicyKind::Gumbel), refused(PolicyKind::Puct));
    schema
}

/// Returns the names that a key can be set to: an empty list for a key that takes numbers or any text.
pub fn names(key: &str) -> Vec<String> {
    let kinds = keys::find(key).map_or(&[][..], |key| kinds(key.schema));
    kinds.iter().filter_map(|kind| Some(kind.get("const")?.as_str()?.to_string())).collect()
}
