//! `TickSystems::Act`: complete searches play their move, and finished games make room for new ones.

use crate::{Agents, columns::*};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Action, Game, GameRecord, LaneRng, Outcome, Player, Ply, Position, Replay, SearchBudget, Seats, Stats, Trajectory,
    Tree, TreeState, config::SearchConfig,
};
use rayon::prelude::*;
use rustc_hash::{FxHashSet, FxHasher};
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};

/// Games that have ended since they were last taken.
#[derive(Resource, Clone, Debug, Default, Serialize, Deserialize)]
pub struct FinishedGames {
    /// The first ones, up to the limit, and who sat where.
    pub records: Vec<(GameRecord, Seats)>,
    /// How many records are kept; further games are only counted.
    pub limit: usize,
    /// Hashes of all lists of moves: their number is that of different games.
    seen: FxHashSet<u64>,
}

impl FinishedGames {
    /// Keeps the records of the first `limit` games.
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Default::default() }
    }

    /// Takes the records and forgets which games were seen.
    pub fn take(&mut self) -> Vec<(GameRecord, Seats)> {
        self.seen.clear();
        std::mem::take(&mut self.records)
    }
}

/// Plays the moves of complete searches, records them, and begins new games where one has ended.
pub fn act<G: Game>(
    mut lanes: Query<(&mut Position<G>, &mut LaneRng, &mut Trajectory<G>, &mut Seats)>,
    mut trees: Query<(&mut Tree, &SearchBudget)>,
    agents: Res<Agents>,
    mut replay: Option<ResMut<Replay<G>>>,
    mut finished: ResMut<FinishedGames>,
    mut stats: ResMut<Stats>,
) {
    let (mut positions, mut rngs, mut games, mut seats) = only(lanes.contiguous_iter_mut());
    let positions = positions.bypass_change_detection();
    let rngs = rngs.bypass_change_detection();
    let games = games.bypass_change_detection();
    let seats = seats.bypass_change_detection();
    let (mut trees, budgets) = only(trees.contiguous_iter_mut());
    let trees = trees.bypass_change_detection();
    let per_lane = agents.0.len();
    let min_len = lanes_per_task(positions.len());
    positions
        .par_iter_mut()
        .zip(rngs.par_iter_mut())
        .zip(games.par_iter_mut())
        .zip(seats.par_iter())
        .zip(trees.par_chunks_mut(per_lane))
        .zip(budgets.par_chunks(per_lane))
        .with_min_len(min_len)
        .for_each(|(((((position, rng), game), seats), trees), budgets)| {
            let seat = seats.of(position.0.to_move());
            if trees[seat].state == TreeState::Complete {
                let search = &agents.0[seat].search;
                play_move(&mut position.0, rng, game, *seats, trees, budgets[seat].full, search);
            }
        });

    // What lanes share is written in row order.
    for (lane, game) in games.iter_mut().enumerate() {
        let trees = &mut trees[lane * per_lane..(lane + 1) * per_lane];
        for tree in trees.iter_mut() {
            stats.take_from(tree);
        }
        if let Some(outcome) = game.finished {
            count(&mut stats, &mut finished, game, outcome, seats[lane]);
            if let Some(replay) = &mut replay {
                replay.push(game);
            }
            if per_lane > 1 {
                seats[lane].0.reverse();
            }
            let search = &agents.0[seats[lane].0[0] as usize].search;
            begin_game(&mut positions[lane].0, &mut rngs[lane], game, seats[lane], trees, search);
        }
    }
}

/// Starts a game with up to `opening_plies` random moves.
pub fn begin_game<G: Game>(
    position: &mut G,
    rng: &mut LaneRng,
    game: &mut Trajectory<G>,
    seats: Seats,
    trees: &mut [Tree],
    search: &SearchConfig,
) {
    let plies = if search.opening_plies > 0 { rng.below(search.opening_plies as usize + 1) } else { 0 };
    loop {
        *position = G::start();
        game.clear();
        while game.opening.len() < plies && position.outcome().is_none() {
            let choice = rng.below(position.legal().count());
            let action = position.legal().nth(choice).expect("a game in play has moves");
            game.opening.push(action);
            position.play(action);
        }
        // An opening that ends the game teaches nothing.
        if position.outcome().is_none() {
            break;
        }
    }
    trees.iter_mut().for_each(Tree::clear);
    wake(trees, seats.of(position.to_move()));
}

/// Only the tree of the player to move searches.
fn wake(trees: &mut [Tree], active: usize) {
    for (i, tree) in trees.iter_mut().enumerate() {
        tree.state = match (i == active, tree.is_empty()) {
            (false, _) => TreeState::Idle,
            (true, true) => TreeState::Empty,
            (true, false) => TreeState::Expanded,
        };
    }
}

fn play_move<G: Game>(
    position: &mut G,
    rng: &mut LaneRng,
    game: &mut Trajectory<G>,
    seats: Seats,
    trees: &mut [Tree],
    full: bool,
    search: &SearchConfig,
) {
    let tree = &trees[seats.of(position.to_move())];
    let ply = game.opening.len() + game.plies.len();
    let warm = ply < search.temperature_plies as usize;
    let temperature = if warm { search.temperature } else { search.final_temperature };
    let action = choose(tree, temperature, rng);
    if full {
        game.entropy_sum += record_policy(tree, &mut game.policies);
    }
    game.plies.push(Ply {
        position: *position,
        action,
        root_value: tree.root_value(),
        recorded: full,
        policy_end: game.policies.len() as u32,
    });
    position.play(action);
    if let Some(outcome) = position.outcome() {
        game.finished = Some(if position.to_move() == Player::First { outcome } else { outcome.reversed() });
        return;
    }
    for tree in trees.iter_mut() {
        if search.keep_subtree { tree.keep_subtree(action) } else { tree.clear() }
    }
    wake(trees, seats.of(position.to_move()));
}

/// Chooses a root move with a chance in proportion to `visits ^ (1 / temperature)`; at temperature 0 the most visited
/// one, of these the one with the highest value, of these the first.
pub fn choose(tree: &Tree, temperature: f32, rng: &mut LaneRng) -> Action {
    let edges = tree.root_edges();
    let best = edges
        .iter()
        .reduce(|a, b| {
            let key = |e: &lockstep_components::Edge| (e.visits, e.value_or(f32::NEG_INFINITY));
            if key(b) > key(a) { b } else { a }
        })
        .expect("a root has moves");
    if temperature == 0.0 {
        return best.action();
    }
    let weight = |visits: u32| (visits as f32 / best.visits as f32).powf(1.0 / temperature);
    let total: f32 = edges.iter().map(|e| weight(e.visits)).sum();
    let mut left = rng.unit() * total;
    for edge in edges.iter().filter(|e| e.visits > 0) {
        left -= weight(edge.visits);
        if left < 0.0 {
            return edge.action();
        }
    }
    // The weights were summed in the same order, but rounding can leave a little over.
    best.action()
}

/// Appends the shares of the root's visits, and returns their entropy in nats.
fn record_policy(tree: &Tree, policies: &mut Vec<(Action, u16)>) -> f32 {
    let edges = tree.root_edges();
    let total: u32 = edges.iter().map(|e| e.visits).sum();
    let mut entropy = 0.0;
    for edge in edges {
        let share = edge.visits as f32 / total as f32;
        let rounded = (share * 65_535.0).round() as u16;
        if rounded > 0 {
            policies.push((edge.action(), rounded));
            entropy -= share * share.ln();
        }
    }
    entropy
}

fn count<G: Game>(
    stats: &mut Stats,
    finished: &mut FinishedGames,
    game: &Trajectory<G>,
    outcome: Outcome,
    seats: Seats,
) {
    stats.games += 1;
    stats.moves += game.plies.len() as u64;
    stats.plies += (game.opening.len() + game.plies.len()) as u64;
    stats.results[(1.0 - outcome.value()) as usize] += 1;
    stats.entropy_sum += f64::from(game.entropy_sum);
    stats.recorded += game.plies.iter().filter(|p| p.recorded).count() as u64;
    let moves = || game.opening.iter().copied().chain(game.plies.iter().map(|p| p.action));
    let mut hasher = FxHasher::default();
    moves().for_each(|action| action.hash(&mut hasher));
    stats.distinct_games += u64::from(finished.seen.insert(hasher.finish()));
    if finished.records.len() < finished.limit {
        let record =
            GameRecord { moves: moves().collect(), opening: game.opening.len() as u16, result: outcome.value() as i8 };
        finished.records.push((record, seats));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_components::tree::ROOT;

    #[test]
    fn temperature_weighs_the_visits() {
        let mut tree = Tree::new(1, 3);
        tree.push_node(0, ROOT, 0..3);
        for (edge, visits) in tree.edges_mut(0).iter_mut().zip([0, 30, 10]) {
            edge.visits = visits;
        }
        let mut rng = LaneRng::new(1, 2);
        for (temperature, expected) in [(1.0, 0.75), (0.5, 0.9), (2.0, 0.634), (0.0, 1.0)] {
            let hits = (0..10_000).filter(|_| choose(&tree, temperature, &mut rng) == 1).count();
            assert!((hits as f32 / 10_000.0 - expected).abs() < 0.02, "temperature {temperature}: {hits}");
        }
        let mut policies = vec![];
        let entropy = record_policy(&tree, &mut policies);
        assert_eq!(policies, [(1, 49_151), (2, 16_384)]);
        assert!((entropy - 0.5623).abs() < 1e-3);
    }
}
