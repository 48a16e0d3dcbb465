//! Every key of a configuration, with its meaning, default, bounds and role beside its field.
//!
//! A configuration is TOML with the sections of [`Config`], one file here for each. What is known of a key stands once, at its
//! field, and everything else derives from there: [`keys`] reads it from the schema of the fields, and [`Config::check`],
//! `lockstep config` and the rules of a run's settings read it from [`keys`].

mod fleet;
mod game;
pub mod keys;
mod lanes;
mod learn;
mod network;
mod replay;
mod run;
mod search;
mod section;

pub use fleet::FleetConfig;
pub(crate) use game::KOMI;
pub use game::{GameConfig, Komi, Usual};
pub use lanes::LanesConfig;
pub use learn::{LearnConfig, LearnPrecision, OptimizerKind, RateSchedule, Steps};
pub use network::{NetworkConfig, NetworkKind, ValueHead};
pub use replay::{Merge, ReplayConfig};
pub use run::{DeviceKind, MAX_LAG, MAX_THREADS, Precision, RunConfig, Tower, Vectors};
pub use search::{Fpu, PolicyKind, SearchConfig};

use crate::GameInfo;
use keys::{Bound, compare, written};
use learn::MAX_RATE_STEPS;
use schemars::JsonSchema;
use section::section;
use serde::{Deserialize, Serialize, Serializer};
use std::cmp::Ordering;

/// A value out of range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{key} = {value} is out of range: it must be {bound}")]
pub struct OutOfRange {
    /// Section and key.
    pub key: &'static str,
    /// What was given.
    pub value: String,
    /// What is allowed.
    pub bound: String,
}

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which game.
    pub game: GameConfig,
    /// How many games at once.
    pub lanes: LanesConfig,
    /// The tree search.
    pub search: SearchConfig,
    /// The network.
    pub network: NetworkConfig,
    /// The replay buffer.
    pub replay: ReplayConfig,
    /// Training.
    pub learn: LearnConfig,
    /// The run as a whole.
    pub run: RunConfig,
    /// The workers on other machines.
    pub fleet: FleetConfig,
}

impl Config {
    /// The same configuration with what it leaves to the length of the run written out, as a run keeps it.
    #[must_use]
    pub fn settled(mut self) -> Self {
        if let RateSchedule::Cosine { over, .. } = &mut self.learn.schedule {
            over.get_or_insert(self.run.generations);
        }
        self
    }

    /// Whether every value is within its bounds.
    ///
    /// # Errors
    /// The first value that is not, with its key and its bound.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let values = serde_json::to_value(self).expect("a configuration is plain data");
        let value_of = |key: &str| values.pointer(&format!("/{}", key.replace('.', "/")));
        for Bound { key, least, most, at_most } in keys::bounds() {
            // A key of several kinds has the numbers of one of them.
            let Some(value) = value_of(key) else { continue };
            let other = at_most.and_then(value_of).filter(|other| compare(other, most) == Some(Ordering::Less));
            let most = other.unwrap_or(most);
            let is_allowed = |order: Option<Ordering>, beyond| order.is_some_and(|order| order != beyond);
            if !is_allowed(compare(value, least), Ordering::Less)
                || !is_allowed(compare(value, most), Ordering::Greater)
            {
                let bound = format!("from {} to {}", written(least), written(most));
                return Err(OutOfRange { key, value: written(value), bound });
            }
        }
        if let RateSchedule::Steps { at, .. } = &self.learn.schedule
            && at.len() > MAX_RATE_STEPS
        {
            let (value, bound) = (format!("{} generations", at.len()), format!("at most {MAX_RATE_STEPS}"));
            return Err(OutOfRange { key: "learn.schedule.steps.at", value, bound });
        }
        let run = &self.run;
        if !matches!(run.device, DeviceKind::Cpu | DeviceKind::Auto) && run.vectors != Vectors::Auto {
            let bound = "\"auto\" unless run.device is \"cpu\" or \"auto\"".into();
            return Err(OutOfRange { key: "run.vectors", value: format!("\"{}\"", run.vectors.name()), bound });
        }
        Ok(())
    }

    /// Whether the values whose range depends on the game are within it.
    ///
    /// # Errors
    /// The first value that is not, with its key and its bound.
    pub fn check_for(&self, game: &GameInfo) -> Result<(), OutOfRange> {
        let GameInfo { title, max_plies, max_legal, room, .. } = *game;
        // Policies are found by numbers of 32 bits.
        let (window, most) = (self.replay.window, (u32::MAX as usize - max_plies * max_legal) / room);
        if window > most {
            let bound = format!("at most {most} in {title}");
            return Err(OutOfRange { key: "replay.window", value: window.to_string(), bound });
        }
        // An opening as long as the game leaves nothing to search.
        let (plies, most) = (self.search.opening_plies, max_plies.saturating_sub(1));
        if plies as usize <= most {
            return Ok(());
        }
        Err(OutOfRange {
            key: "search.opening_plies",
            value: plies.to_string(),
            bound: format!("from 0 to {most} in {title}, whose games have at most {max_plies} plies"),
        })
    }
}

/// How floats of 32 bits are written into files.
fn short<S: Serializer>(number: &f32, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(widened(*number))
}

/// A float of 32 bits in 64 as people write it: 0.3, and not 0.30000001192092896.
fn widened(number: f32) -> f64 {
    let written = number.to_string().parse().ok();
    written.filter(|&written: &f64| written as f32 == number).unwrap_or(number.into())
}

#[cfg(test)]
mod tests {
    use super::{
        keys::{Key, Role, find, resolved, schema},
        *,
    };

    #[test]
    fn defaults_are_in_range_and_bad_values_are_named() {
        let mut config = Config::default();
        config.check().unwrap();
        for wrong in [f32::NAN, f32::INFINITY, -0.1, 100.1] {
            config.search.c_puct = wrong;
            assert_eq!(config.check().unwrap_err().key, "search.c_puct");
        }
        config.search.c_puct = 1.0;
        config.search.fast_simulations = 65;
        assert!(config.check().unwrap_err().to_string().contains("from 0 to 64"));
        config.search.fast_simulations = 0;
        (config.learn.batch_size, config.learn.accumulation) = (8, 9);
        assert!(config.check().unwrap_err().to_string().contains("from 1 to 8"));
        (config.learn.batch_size, config.learn.accumulation) = (2_000, 1_001);
        assert!(config.check().unwrap_err().to_string().contains("from 1 to 1000"));
        config.learn.accumulation = 1;
        config.learn.steps = Steps::Reuse(0.0);
        assert_eq!(config.check().unwrap_err().key, "learn.steps.reuse");
        config.learn.steps = Steps::Batches(1);
        config.run.device = DeviceKind::Flex;
        config.run.vectors = Vectors::Avx2;
        assert_eq!(config.check().unwrap_err().key, "run.vectors");
    }

    /// Every field is a key that says what it means, and nothing else is one; and what a field says by a name of its own is
    /// read under that name.
    #[test]
    fn a_key_stands_once() {
        let of_schema: Vec<(&String, &String)> = schema()["properties"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(section, part)| {
                resolved(part)["properties"].as_object().unwrap().keys().map(move |key| (section, key))
            })
            .collect();
        let mut of_keys: Vec<_> = keys::all().iter().map(|key| (key.section, key.name)).collect();
        of_keys.sort();
        assert!(of_schema.iter().map(|(section, key)| (&section[..], &key[..])).eq(of_keys), "{of_schema:?}");
        for Key { section, name, role, policy, schema } in keys::all() {
            let about = schema["description"].as_str().unwrap_or_else(|| panic!("{section}.{name} has no comment"));
            assert!(
                about.ends_with('.') && !about.contains("efault"),
                "{section}.{name}: the default stands in {about}"
            );
            assert!(schema.get("default").is_some(), "{section}.{name} has no default");
            assert!(policy.is_none() || *section == "search" && *role == Role::Learning, "{section}.{name}");
            for said in schema.as_object().unwrap().keys().filter(|said| said.starts_with("x-")) {
                assert!(
                    ["x-role", "x-policy", "x-at-most"].contains(&&said[..]),
                    "{section}.{name}: {said} is not read"
                );
            }
        }
        for Bound { key, at_most, .. } in keys::bounds() {
            assert!(at_most.is_none_or(|other| find(other).is_some()), "{key} is at most {at_most:?}, which is no key");
        }
        let role = |name| find(name).unwrap().role;
        assert_eq!(role("network.kind"), Role::Fixed, "that of its section");
        assert_eq!((role("run.games"), role("run.threads")), (Role::Learning, Role::Machine));
        assert_eq!(PolicyKind::Puct.foreign_keys().next(), Some("considered_moves"));
    }

    #[test]
    fn numbers_are_written_as_people_write_them() {
        for number in [0.3, 0.1, 1e-6, 0.99999, 123.456, 1e6, -0.0, 16_777_216.0, f32::MIN_POSITIVE] {
            let widened = widened(number);
            assert_eq!((widened as f32).to_bits(), number.to_bits());
            assert_eq!(widened.to_string(), number.to_string());
        }
        assert!(widened(f32::NAN).is_nan() && widened(f32::INFINITY).is_infinite());
        assert_eq!(
            ["100.0", "-0.5", "1e-6", "7"].map(|text| written(&text.parse().unwrap())),
            ["100", "-0.5", "0.000001", "7"]
        );
    }
}
