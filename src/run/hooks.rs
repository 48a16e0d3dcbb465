//! What an experiment adds to a run.

use crate::Error;
use bevy_ecs::{component::Mutable, prelude::*};
use lockstep_components::config::SearchConfig;
use lockstep_systems::{
    Evaluator, SearchPolicy, Setup,
    rows::{column, set_column},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// What an experiment adds to a run: a policy, whatever belongs to the lanes, systems of learning, and what is kept
/// with checkpoints. It is a value that runs are made with, so that a run that is opened again, or played again by
/// `verify`, is made with the same hooks.
///
/// ```
/// use lockstep::prelude::*;
///
/// #[derive(Component, Clone, Default)]
/// struct Searches(u32);
///
/// fn count(mut rows: Rows<&mut Searches, &Tree>) {
///     for (searches, mut trees) in rows.answered() {
///         searches.0 += u32::from(trees.any(|(tree, ())| tree.state == TreeState::Complete));
///     }
/// }
///
/// let hooks = Hooks::default()
///     .lanes(|setup| setup.lane_component(Searches::default()).system(count.in_set(TickSystems::Act)))
///     .learning(|world| world.resource_mut::<Learner>().config.symmetries = false);
/// ```
#[derive(Clone, Default)]
pub struct Hooks {
    policy: Option<Arc<dyn Fn(&SearchConfig) -> SearchPolicy + Send + Sync>>,
    evaluator: Option<Arc<dyn Fn(Box<dyn Evaluator>) -> Box<dyn Evaluator> + Send + Sync>>,
    lanes: Vec<Arc<dyn Fn(Setup) -> Setup + Send + Sync>>,
    learning: Vec<Arc<dyn Fn(&mut World) + Send + Sync>>,
    kept: Vec<Kept>,
}

/// The hooks of the program, whose commands make runs with them.
static OF_PROGRAM: OnceLock<Hooks> = OnceLock::new();

/// Sets the hooks of the program, before any run is made.
///
/// # Errors
/// When they were set before.
pub(crate) fn add(hooks: Hooks) -> Result<(), Error> {
    OF_PROGRAM.set(hooks).map_err(|_| Error::Usage("hooks can be added to the program once only".into()))
}

/// Returns the hooks of the program, which add nothing unless some were set.
pub fn of_program() -> Hooks {
    OF_PROGRAM.get().cloned().unwrap_or_default()
}

/// Something of an experiment that checkpoints keep, under a name.
#[derive(Clone)]
struct Kept {
    name: String,
    read: fn(&mut World) -> serde_json::Result<Option<Vec<u8>>>,
    write: fn(&mut World, &[u8]) -> serde_json::Result<()>,
}

impl Hooks {
    /// Sets the search policy of the games of a round, which is made from the round's settings.
    #[must_use]
    pub fn policy(mut self, policy: impl Fn(&SearchConfig) -> SearchPolicy + Send + Sync + 'static) -> Self {
        self.policy = Some(Arc::new(policy));
        self
    }

    /// Puts an evaluator of your own around that of each round's network.
    #[must_use]
    pub fn evaluator(
        mut self,
        wrap: impl Fn(Box<dyn Evaluator>) -> Box<dyn Evaluator> + Send + Sync + 'static,
    ) -> Self {
        self.evaluator = Some(Arc::new(wrap));
        self
    }

    /// Adds to the world of the lanes: components, systems, plugins.
    #[must_use]
    pub fn lanes(mut self, change: impl Fn(Setup) -> Setup + Send + Sync + 'static) -> Self {
        self.lanes.push(Arc::new(change));
        self
    }

    /// Adds to the world that learns, which has [`crate::systems::Learner`], the replay buffer, and the schedule
    /// [`crate::systems::Learn`].
    #[must_use]
    pub fn learning(mut self, change: impl Fn(&mut World) + Send + Sync + 'static) -> Self {
        self.learning.push(Arc::new(change));
        self
    }

    /// Keeps a resource, of the world that plays or of the one that learns, with every checkpoint, as JSON under this
    /// name. Where a run goes on from a checkpoint, what was kept takes the place of the resource that set-up has
    /// inserted.
    ///
    /// # Panics
    /// If the name is empty or has anything but letters, digits and `_`.
    #[must_use]
    pub fn keep_resource<R: Resource + Serialize + DeserializeOwned>(self, name: &str) -> Self {
        self.keep(
            name,
            |world| world.get_resource::<R>().map(serde_json::to_vec).transpose(),
            |world, bytes| {
                let resource = serde_json::from_slice::<R>(bytes)?;
                if world.contains_resource::<R>() {
                    world.insert_resource(resource);
                }
                Ok(())
            },
        )
    }

    /// Keeps a component of lanes, trees or leaves with every checkpoint, in the order of their rows: see
    /// [`Hooks::keep_resource`].
    ///
    /// # Panics
    /// If the name is empty or has anything but letters, digits and `_`.
    #[must_use]
    pub fn keep_component<C>(self, name: &str) -> Self
    where
        C: Component<Mutability = Mutable> + Serialize + DeserializeOwned,
    {
        self.keep(
            name,
            |world| {
                let column = column::<C>(world);
                (!column.is_empty()).then(|| serde_json::to_vec(&column)).transpose()
            },
            |world, bytes| serde_json::from_slice::<Vec<C>>(bytes).map(|values| set_column(world, values)),
        )
    }

    fn keep(
        mut self,
        name: &str,
        read: fn(&mut World) -> serde_json::Result<Option<Vec<u8>>>,
        write: fn(&mut World, &[u8]) -> serde_json::Result<()>,
    ) -> Self {
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        assert!(is_name, "'{name}' is no name to keep something under: take letters, digits and _");
        self.kept.push(Kept { name: name.into(), read, write });
        self
    }

    /// Returns the search policy of agents with these settings.
    pub(crate) fn policy_of(&self, settings: &SearchConfig) -> SearchPolicy {
        self.policy.as_ref().map_or_else(|| SearchPolicy::of(settings), |policy| policy(settings))
    }

    /// Returns the evaluator of a round's network as games are played with it.
    pub(crate) fn wrapped(&self, evaluator: Box<dyn Evaluator>) -> Box<dyn Evaluator> {
        match &self.evaluator {
            None => evaluator,
            Some(wrap) => wrap(evaluator),
        }
    }

    /// Adds to the set-up of the lanes what [`Hooks::lanes`] was given.
    pub(crate) fn set_up(&self, setup: Setup) -> Setup {
        self.lanes.iter().fold(setup, |setup, change| change(setup))
    }

    /// Adds to the world that learns what [`Hooks::learning`] was given.
    pub(crate) fn add_learning(&self, world: &mut World) {
        self.learning.iter().for_each(|change| change(world));
    }

    /// Returns what these worlds keep with a checkpoint, by name, as JSON.
    ///
    /// # Errors
    /// When something cannot be written as JSON.
    pub(crate) fn kept(&self, worlds: &mut [&mut World]) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let mut kept = BTreeMap::new();
        for Kept { name, read, .. } in &self.kept {
            let fail = |e| Error::Usage(format!("{name} cannot be kept with the checkpoint: {e}"));
            for world in worlds.iter_mut() {
                kept.extend(read(world).map_err(fail)?.map(|bytes| (name.clone(), bytes)));
            }
        }
        Ok(kept)
    }

    /// Puts back what a checkpoint has kept, as far as its names are known here, into those of the worlds that have
    /// such a thing.
    ///
    /// # Errors
    /// When something else was kept under the same name.
    pub(crate) fn put_back(&self, worlds: &mut [&mut World], kept: &BTreeMap<String, Vec<u8>>) -> Result<(), Error> {
        for Kept { name, write, .. } in &self.kept {
            let Some(bytes) = kept.get(name) else { continue };
            let fail = |e| Error::Usage(format!("what the checkpoint keeps under '{name}' is of another kind: {e}"));
            for world in worlds.iter_mut() {
                write(world, bytes).map_err(fail)?;
            }
        }
        Ok(())
    }
}
