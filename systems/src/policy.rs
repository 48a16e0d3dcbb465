//! What decides in a search: a value that an agent has.

use crate::{
    Gumbel, Puct, puct,
    select::{Descent, descend},
};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Action, Edge, LaneRng, SearchBudget, Tree,
    config::{PolicyKind, SearchConfig},
};
use std::any::Any;

/// How a search goes: the four decisions in it.
///
/// Implement it for a type of your own, and give it to a player: `Searcher::new(..).with_policy(SearchPolicy::new(MyPolicy))`.
/// Only [`Policy::inner`] has to be written: [`Policy::root`] then does the same, and the rest is as with [`Puct`]. (mctx
/// passes functions for the root and for inner nodes in the same way.)
///
/// A search is to be a pure function of position, settings, generator and evaluations: a policy keeps what it needs in its
/// [`Policy::State`], which belongs to one tree, and draws from [`Search::rng`] alone.
pub trait Policy: Send + Sync + 'static {
    /// What it keeps for each tree. It is made once and stays from search to search and game to game: it is
    /// [`Policy::begin`]'s to reset. Systems read it with [`PolicyState::get`].
    type State: Default + Send + Sync + 'static;

    /// A search begins: the root has its edges. Decides how many simulations it takes, and may change the root's priors.
    ///
    /// A budget above [`Tree::room`] ends the tick with [`crate::Error::NoRoom`].
    fn begin(&self, search: &mut Search<Self::State>, tree: &mut Tree) -> SearchBudget {
        puct::begin(search.settings, tree, search.rng)
    }

    /// The index of the edge to follow at the root.
    fn root(&self, search: &mut Search<Self::State>, root: Node) -> usize {
        self.inner(search, root)
    }

    /// The index of the edge to follow at a node below the root.
    ///
    /// There is at least one edge; an index that is none of theirs ends the tick with [`crate::Error::NoSuchEdge`].
    /// With a solver, edges that are known to lose should not be followed: what is behind them is known. With several leaves
    /// per tree, a policy that does not count what is in flight sends all descents of a group to one leaf.
    fn inner(&self, search: &mut Search<Self::State>, node: Node) -> usize;

    /// What a complete search has decided, and in `target` what the network's policy is to learn from it: moves with weights of
    /// any scale. If there is none with a weight, the move itself is learned.
    ///
    /// `ply` counts the moves of the game so far. The priors of [`Tree::raw_priors`] are the network's, without the noise that
    /// [`Policy::begin`] has mixed into those of the edges. A move that is not at the root ends the tick with
    /// [`crate::Error::NoSuchMove`].
    fn decide(
        &self,
        search: &mut Search<Self::State>,
        tree: &Tree,
        ply: usize,
        target: &mut Vec<(Action, f32)>,
    ) -> Decision {
        Decision::of(puct::decide(search.settings, tree, ply, search.rng, target), tree)
    }

    /// Whether the sub-tree of the move played is kept for the next search. One that is proven is kept in any case, so that a
    /// proof is not made again.
    fn keeps_subtree(&self, settings: &SearchConfig) -> bool {
        settings.keep_subtree
    }
}

/// What a policy makes of a complete search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The move to be played.
    pub action: Action,
    /// The value that is recorded for the position, for the player to move there, -1 to 1: a part of the value target where
    /// `learn.search_value_share` is above 0.
    pub value: f32,
}

impl Decision {
    /// This move, and the value of the root as the search has it: see [`Tree::root_value`].
    pub fn of(action: Action, tree: &Tree) -> Self {
        Self { action, value: tree.root_value() }
    }
}

/// What a policy decides with.
#[derive(Debug)]
pub struct Search<'a, S> {
    /// Of its agent.
    pub settings: &'a SearchConfig,
    /// Of the tree.
    pub state: &'a mut S,
    /// The game's generator: the only source of chance.
    pub rng: &'a mut LaneRng,
}

impl<'a> Search<'a, PolicyState> {
    /// The same search, lent for one call.
    #[inline]
    pub(crate) fn lent(&mut self) -> Search<'_, PolicyState> {
        Search { settings: self.settings, state: self.state, rng: self.rng }
    }

    /// With the state as a policy knows it.
    #[inline]
    fn typed<S: Default + Send + Sync + 'static>(self) -> Search<'a, S> {
        Search { settings: self.settings, state: self.state.of(), rng: self.rng }
    }
}

/// A node on the way down. All values are for the player to move there.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// The tree that it is in.
    pub tree: &'a Tree,
    /// Its cell.
    pub cell: u32,
    /// Moves from the root.
    pub depth: u32,
    /// Finished visits, its own evaluation included: at least 1.
    pub visits: u32,
    /// Descents through it whose values are not known yet, those of its edges together.
    pub in_flight: u32,
    /// Its mean value.
    pub value: f32,
}

impl<'a> Node<'a> {
    /// Its moves, in ascending order of the actions.
    #[inline]
    pub fn edges(&self) -> &'a [Edge] {
        self.tree.edges(self.cell)
    }

    /// The value that its own evaluation gave.
    #[inline]
    pub fn raw_value(&self) -> f32 {
        self.tree.raw_value(self.cell)
    }
}

/// The policy of an agent, whatever its game.
#[derive(Component)]
pub struct SearchPolicy(pub(crate) Box<dyn Erased>);

impl SearchPolicy {
    /// This one.
    pub fn new(policy: impl Policy) -> Self {
        Self(Box::new(policy))
    }

    /// The one that settings name.
    pub fn of(settings: &SearchConfig) -> Self {
        match settings.policy {
            PolicyKind::Puct => Self::new(Puct),
            PolicyKind::Gumbel => Self::new(Gumbel),
        }
    }

    /// Whether a tree goes on behind a move, or begins anew.
    pub(crate) fn keeps(&self, settings: &SearchConfig, tree: &Tree, action: Action) -> bool {
        let proven = || tree.root_edges().iter().any(|edge| edge.action() == action && edge.known().is_some());
        self.0.keeps_subtree(settings) || proven()
    }
}

/// What a policy keeps for a tree.
#[derive(Component)]
pub struct PolicyState(Box<dyn Any + Send + Sync>);

impl Default for PolicyState {
    fn default() -> Self {
        Self(Box::new(()))
    }
}

impl PolicyState {
    /// Bytes that one of ours takes at most beside itself, in a game with so many moves.
    pub(crate) fn bytes(max_legal: usize) -> usize {
        64 + 8 * max_legal
    }

    /// What a policy with this state keeps, to be read by a system; none before its first search.
    pub fn get<S: 'static>(&self) -> Option<&S> {
        self.0.downcast_ref()
    }

    /// As a policy knows it. Trees are set up before they have a policy, and with another one it is made anew.
    #[inline]
    fn of<S: Default + Send + Sync + 'static>(&mut self) -> &mut S {
        if !self.0.is::<S>() {
            self.0 = Box::new(S::default());
        }
        self.0.downcast_mut().expect("just made so")
    }
}

/// A policy whose type nobody knows, so that agents with different ones can play in one world. It is called once for a
/// descent; inside, each policy is compiled into the way through the tree, which no game has a part in.
pub(crate) trait Erased: Send + Sync {
    fn begin(&self, search: Search<PolicyState>, tree: &mut Tree) -> SearchBudget;
    fn descend(&self, search: Search<PolicyState>, tree: &mut Tree) -> Descent;
    fn decide(&self, search: Search<PolicyState>, tree: &Tree, ply: usize, target: &mut Vec<(Action, f32)>)
    -> Decision;
    fn keeps_subtree(&self, settings: &SearchConfig) -> bool;
}

impl<P: Policy> Erased for P {
    fn begin(&self, search: Search<PolicyState>, tree: &mut Tree) -> SearchBudget {
        Policy::begin(self, &mut search.typed(), tree)
    }

    fn descend(&self, search: Search<PolicyState>, tree: &mut Tree) -> Descent {
        descend(tree, self, &mut search.typed())
    }

    fn decide(
        &self,
        search: Search<PolicyState>,
        tree: &Tree,
        ply: usize,
        target: &mut Vec<(Action, f32)>,
    ) -> Decision {
        Policy::decide(self, &mut search.typed(), tree, ply, target)
    }

    fn keeps_subtree(&self, settings: &SearchConfig) -> bool {
        Policy::keeps_subtree(self, settings)
    }
}

/// A full search, or a fast one (playout cap randomisation, Wu 2019).
pub fn draw_budget(settings: &SearchConfig, rng: &mut LaneRng) -> SearchBudget {
    let full = settings.fast_simulations == 0 || rng.unit() < settings.full_search_chance;
    let simulations = if full { settings.simulations } else { settings.fast_simulations };
    SearchBudget { simulations, full, asked: None }
}
