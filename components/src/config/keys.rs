//! What is known of each key, read from the schema that derives from the fields.

use super::{
    Config, FleetConfig, GameConfig, LanesConfig, LearnConfig, NetworkConfig, PolicyKind, ReplayConfig, RunConfig,
    SearchConfig,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value as Json;
use std::{cmp::Ordering, fmt, sync::LazyLock};

/// What a key decides, and when it may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// What is played and learned. It may change within a run, from the next round on.
    #[default]
    Learning,
    /// What is played and learned, for the whole of a run. It cannot change within one.
    Fixed,
    /// How fast a run is computed, how long it goes on, or what is kept of it: games and learning are the same whatever it is.
    /// It may change within a run.
    Upkeep,
    /// Where a run is computed: that is no part of what it was made with. It may change at any time.
    Machine,
}

impl Role {
    /// Whether games and learning are other ones when the key is.
    pub fn decides(self) -> bool {
        matches!(self, Self::Learning | Self::Fixed)
    }
}

/// A key of a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The section that it is in.
    pub section: &'static str,
    /// What it is called there.
    pub name: &'static str,
    /// What it decides, and when it may change.
    pub role: Role,
    /// The only way to search that knows it, if there is one.
    pub policy: Option<PolicyKind>,
    /// What the schema says of it.
    pub schema: &'static Json,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.section, self.name)
    }
}

/// The least and the most that a number of a configuration may be. A key may have several numbers, as `learn.steps` has.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// Section and key, and what else leads to the number.
    pub key: String,
    /// The least that is allowed.
    pub least: &'static Json,
    /// The most that is allowed.
    pub most: &'static Json,
    /// The key whose value may not be less.
    pub at_most: Option<&'static str>,
}

/// The JSON schema of configurations, as it derives from their fields.
pub fn schema() -> &'static Json {
    static SCHEMA: LazyLock<Json> = LazyLock::new(|| schemars::schema_for!(Config).to_value());
    &SCHEMA
}

/// What a part of the schema refers to, or the part itself.
pub fn resolved(part: &'static Json) -> &'static Json {
    let reference = part.get("$ref").and_then(Json::as_str);
    reference.and_then(|reference| schema().pointer(reference.strip_prefix('#')?)).unwrap_or(part)
}

/// All keys, as they stand in their sections.
pub fn all() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
        let sections = [
            ("game", GameConfig::KEYS),
            ("lanes", LanesConfig::KEYS),
            ("search", SearchConfig::KEYS),
            ("network", NetworkConfig::KEYS),
            ("replay", ReplayConfig::KEYS),
            ("learn", LearnConfig::KEYS),
            ("run", RunConfig::KEYS),
            ("fleet", FleetConfig::KEYS),
        ];
        let keys = sections.into_iter().flat_map(|(section, names)| names.iter().map(move |name| (section, *name)));
        keys.map(|(section, name)| {
            let of_section = resolved(&schema()["properties"][section]);
            let schema = &of_section["properties"][name];
            let role = said(schema, "x-role").or(said(of_section, "x-role")).unwrap_or_default();
            Key { section, name, role, policy: said(schema, "x-policy"), schema }
        })
        .collect()
    });
    &KEYS
}

/// The key of that name with its section before it, as in `search.c_puct`.
pub fn find(name: &str) -> Option<&'static Key> {
    let name = name.split_once('.')?;
    all().iter().find(|key| (key.section, key.name) == name)
}

/// What a part of the schema says by a name of its own.
fn said<T: DeserializeOwned>(part: &Json, name: &str) -> Option<T> {
    part.get(name).map(|said| T::deserialize(said).unwrap_or_else(|e| panic!("{name} = {said}: {e}")))
}

/// All bounds, in the order of the keys. They are as wide as other keys and the game let them be.
pub fn bounds() -> &'static [Bound] {
    static BOUNDS: LazyLock<Vec<Bound>> = LazyLock::new(|| {
        let mut found = vec![];
        all().iter().for_each(|key| add_bounds(key.to_string(), key.schema, &mut found));
        found
    });
    &BOUNDS
}

/// Adds those of a part of the schema and of what is in it.
fn add_bounds(key: String, part: &'static Json, found: &mut Vec<Bound>) {
    let part = resolved(part);
    for (inner, part) in part["properties"].as_object().into_iter().flatten() {
        add_bounds(format!("{key}.{inner}"), part, found);
    }
    for kind in part["oneOf"].as_array().into_iter().flatten() {
        add_bounds(key.clone(), kind, found);
    }
    if let (Some(least), Some(most)) = (part.get("minimum"), part.get("maximum")) {
        found.push(Bound { key, least, most, at_most: part.get("x-at-most").and_then(Json::as_str) });
    }
}

/// Which of two numbers is larger; none where one is infinite or no number, which JSON cannot say.
pub(super) fn compare(a: &Json, b: &Json) -> Option<Ordering> {
    match (a.as_u64(), b.as_u64()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// A number as people write it: 100, and not 100.0.
pub fn written(number: &Json) -> String {
    match (number.as_u64(), number.as_f64()) {
        (Some(whole), _) => whole.to_string(),
        (None, Some(real)) => real.to_string(),
        (None, None) => "inf or nan".into(),
    }
}
