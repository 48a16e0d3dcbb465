//! The data of lockstep: what a run is made of.
//!
//! This crate knows no tensors, files, clocks or threads; behaviour lives in `lockstep-systems`.
//!
//! # The kinds of entities
//!
//! | entity | how many | components |
//! |---|---|---|
//! | lane: one slot in which games are played one after another | `lanes.count` | [`Position`], [`LaneRng`], [`GameRecord`], [`Seats`], [`Slot`] |
//! | tree: one search | one per lane, or one per player in a match | [`Tree`], [`SearchBudget`] |
//! | leaf: one pending evaluation | `lanes.leaves_per_tree` per tree | [`Leaf`] |
//! | agent: one way to play | one, two in a match, one for each generation in play | [`config::SearchConfig`], [`Cache`], and what `lockstep-systems` adds |
//!
//! All of them are spawned once, at set-up, in lane order.
//! Nothing is spawned, despawned, inserted or removed afterwards, so lane `i` belongs with the trees from
//! `i * trees` on and the leaves from `i * trees * leaves` on, and the hot path walks the three as
//! zipped slices.
//!
//! # Where to find what
//!
//! | module | contents |
//! |---|---|
//! | [`game`] | the [`Game`] trait: rules, keys, planes, actions, symmetries, text |
//! | [`info`] | what is known of a game without its rules |
//! | [`state`] | a state of a game whose type is not known |
//! | [`board`] | helpers for boards: sets of cells, symmetries, planes, coordinates |
//! | [`games`] | the games, and the registry that finds them by name |
//! | [`lane`] | the components of a lane |
//! | [`record`] | games in play and finished, and which are still to be begun |
//! | [`tree`] | the search tree: nodes and edges packed in one slab |
//! | [`leaf`] | a pending evaluation |
//! | [`cache`] | evaluations of positions that may come again |
//! | [`replay`] | finished games as compact positions, and the dataset drawn from them |
//! | [`solver`] | exact results by brute force |
//! | [`config`] | every key of a configuration, its default and its bounds |
//! | [`stats`] | what a run counts |

#![forbid(unsafe_code)]

pub mod board;
pub mod cache;
pub mod config;
pub mod game;
pub mod games;
pub mod info;
pub mod lane;
pub mod leaf;
pub mod record;
pub mod replay;
pub mod solver;
pub mod state;
pub mod stats;
pub mod tree;

pub use cache::{Cache, Evaluation};
pub use config::Config;
pub use game::{Action, Game, Outcome, Side};
pub use info::GameInfo;
pub use lane::{LaneRng, Position, Seats, Slot, Start};
pub use leaf::{Leaf, LeafState};
pub use record::{GameFinished, GameId, GameRecord, NextGame, Ply, Round, Rounds};
pub use replay::{AnyBuffer, Dataset, Replay, ReplayBuffer, Sample};
pub use state::{AnyState, State};
pub use stats::Stats;
pub use tree::{Edge, SearchBudget, Tree, TreeState};
