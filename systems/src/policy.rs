//! Policies, which make the decisions of a search: values that agents have.

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

/// The decisions of a search: its budget, the edges to follow at the root and below it, and the move.
///
/// A type of your own that implements it is given to an agent with
/// `Searcher::new(..).with_policy(SearchPolicy::new(MyPolicy))`. Only [`Policy::inner`] is required: the provided
/// [`Policy::root`] calls it, and the other provided methods do the same as with [`Puct`]. (mctx passes functions for
/// the root and for inner nodes in the same way.)
///
/// A search has to be a pure function of position, settings, generator and evaluations: a policy keeps what it needs in
/// its [`Policy::State`], which belongs to one tree, and draws from [`Search::rng`] alone.
pub trait Policy: Send + Sync + 'static {
    /// What the policy keeps for each tree. It is made once and stays from search to search and game to game;
    /// [`Policy::begin`] has to reset it. Systems read it with [`PolicyState::get`].
    type State: Default + Send + Sync + 'static;

    /// Begins a search, when the root has its edges: decides how many simulations it takes, and may change the root's
    /// priors.
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
    /// There is at least one edge; an index that is no edge ends the tick with [`crate::Error::NoSuchEdge`]. With a
    /// solver, edges that are known to lose should not be followed, because what is behind them is known. With several
    /// leaves per tree, a policy that does not count descents in flight sends all descents of a group to one leaf.
    fn inner(&self, search: &mut Search<Self::State>, node: Node) -> usize;

    /// Decides for a move after a complete search, and appends to `target` what the network's policy is to learn from
    /// the search: moves in ascending order with weights of any scale. If no move has a weight, the chosen move is
    /// learned.
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

    /// Whether the sub-tree of the move played is kept for the next search. The sub-tree of a proven move is kept in
    /// any case, so that a proof is not made again.
    fn keeps_subtree(&self, settings: &SearchConfig) -> bool {
        settings.keep_subtree
    }
}

/// The decision of a policy after a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The move to be played.
    pub action: Action,
    /// The value that is recorded for the position, for the player to move there, -1 to 1: a part of the value target where
    /// `learn.search_value_share` is above 0.
    pub value: f32,
    /// How often the position is drawn for training, beside one of weight 1, within
    /// [`lockstep_components::Ply::WEIGHTS`]: a policy can let the network see more of what surprised it, as in KataGo.
    pub weight: f32,
}

impl Decision {
    /// The decision for a move, with the value of the root that the search has found ([`Tree::root_value`]), and with
    /// weight 1.
    pub fn of(action: Action, tree: &Tree) -> Self {
        Self { action, value: tree.root_value(), weight: 1.0 }
    }
}

/// The settings, the state and the generator with which a policy decides.
#[derive(Debug)]
pub struct Search<'a, S> {
    /// The settings of the agent that searches.
    pub settings: &'a SearchConfig,
    /// What the policy keeps for the tree.
    pub state: &'a mut S,
    /// The generator of the lane's game, the only source of chance.
    pub rng: &'a mut LaneRng,
}

impl<'a> Search<'a, PolicyState> {
    /// The same search, lent for one call.
    #[inline]
    pub(crate) fn lent(&mut self) -> Search<'_, PolicyState> {
        Search { settings: self.settings, state: self.state, rng: self.rng }
    }

    /// The same search with the state as the policy's own type.
    #[inline]
    fn typed<S: Default + Send + Sync + 'static>(self) -> Search<'a, S> {
        Search { settings: self.settings, state: self.state.of(), rng: self.rng }
    }
}

/// A node on the way of a descent. All values are for the player to move there.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// The tree that the node is in.
    pub tree: &'a Tree,
    /// The cell of the node in the tree.
    pub cell: u32,
    /// Number of moves from the root.
    pub depth: u32,
    /// Finished visits of the node, its own evaluation included: at least 1.
    pub visits: u32,
    /// Descents in flight through the node, which is the sum of those of its edges.
    pub in_flight: u32,
    /// The mean value of the node.
    pub value: f32,
}

impl<'a> Node<'a> {
    /// The edges of the node, in ascending order of their actions.
    #[inline]
    pub fn edges(&self) -> &'a [Edge] {
        self.tree.edges(self.cell)
    }

    /// The value that the evaluation of the node gave.
    #[inline]
    pub fn raw_value(&self) -> f32 {
        self.tree.raw_value(self.cell)
    }
}

/// The policy of an agent, whatever the policy's type.
#[derive(Component)]
pub struct SearchPolicy(pub(crate) Box<dyn Erased>);

impl SearchPolicy {
    /// Wraps a policy.
    pub fn new(policy: impl Policy) -> Self {
        Self(Box::new(policy))
    }

    /// The policy that settings name.
    pub fn of(settings: &SearchConfig) -> Self {
        match settings.policy {
            PolicyKind::Puct => Self::new(Puct),
            PolicyKind::Gumbel => Self::new(Gumbel),
        }
    }

    /// Whether the sub-tree behind a move is kept for the next search, by the policy or because the move is proven.
    pub(crate) fn keeps(&self, settings: &SearchConfig, tree: &Tree, action: Action) -> bool {
        let proven = || tree.root_edges().iter().any(|edge| edge.action() == action && edge.known().is_some());
        self.0.keeps_subtree(settings) || proven()
    }
}

/// What an agent's policy keeps for a tree, as a component of the tree: a [`Policy::State`] of any type.
#[derive(Component)]
pub struct PolicyState(Box<dyn Any + Send + Sync>);

impl Default for PolicyState {
    fn default() -> Self {
        Self(Box::new(()))
    }
}

impl PolicyState {
    /// The most bytes that the state of a policy of this crate takes beside itself, in a game with at most `max_legal`
    /// moves.
    pub(crate) fn bytes(max_legal: usize) -> usize {
        64 + 8 * max_legal
    }

    /// The state of a policy whose [`Policy::State`] is `S`, to be read by a system; `None` before the first search of
    /// such a policy.
    pub fn get<S: 'static>(&self) -> Option<&S> {
        self.0.downcast_ref()
    }

    /// The state as the policy's own type. It is made anew at the first search of a tree, and when the policy's type
    /// has changed.
    #[inline]
    fn of<S: Default + Send + Sync + 'static>(&mut self) -> &mut S {
        if !self.0.is::<S>() {
            self.0 = Box::new(S::default());
        }
        self.0.downcast_mut().expect("just made so")
    }
}

/// A policy of any type, so that agents with different policies can play in one world. It is called once for each
/// descent, and the policy's own methods are inlined into the descent.
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

/// Draws the budget of a full search or of a fast one, with the chance in the settings (playout cap randomisation, Wu
/// 2019).
pub fn draw_budget(settings: &SearchConfig, rng: &mut LaneRng) -> SearchBudget {
    let full = settings.fast_simulations == 0 || rng.unit() < settings.full_search_chance;
    let simulations = if full { settings.simulations } else { settings.fast_simulations };
    SearchBudget { simulations, full, asked: None }
}
