//! `TickSystems::Act`: complete searches play their move, and finished games make room for new ones.

use crate::{Agents, Cohorts, columns::*};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Action, Edge, Game, GameRecord, LaneRng, Outcome, Ply, Position, Rounds, SearchBudget, Seats, Slot, Stats, Tree,
    TreeState, config::SearchConfig, record::for_first,
};
use rayon::prelude::*;

/// Games that have ended since they were last taken, in the order of the ticks and of their lanes.
#[derive(Resource, Clone, Debug, Default)]
pub struct FinishedGames {
    /// The first ones, up to the limit.
    pub games: Vec<GameRecord>,
    /// How many are kept; further games are only counted.
    pub limit: usize,
}

impl FinishedGames {
    /// Keeps the first `limit` games.
    pub fn new(limit: usize) -> Self {
        Self { games: vec![], limit }
    }

    /// Takes the games.
    pub fn take(&mut self) -> Vec<GameRecord> {
        std::mem::take(&mut self.games)
    }
}

/// Plays the moves of complete searches, records them, and gives lanes whose game has ended the next one.
pub fn act<G: Game>(
    mut lanes: Query<(&mut Position<G>, &mut LaneRng, &mut GameRecord, &mut Seats, &mut Slot)>,
    mut trees: Query<(&mut Tree, &SearchBudget)>,
    agents: Res<Agents>,
    mut rounds: ResMut<Rounds>,
    mut finished: ResMut<FinishedGames>,
    mut stats: ResMut<Stats>,
    cohorts: Res<Cohorts>,
) {
    let range = cohorts.answered();
    let (mut positions, mut rngs, mut games, mut seats, mut slots) = only(lanes.contiguous_iter_mut());
    let positions = &mut positions.bypass_change_detection()[range.clone()];
    let rngs = &mut rngs.bypass_change_detection()[range.clone()];
    let games = &mut games.bypass_change_detection()[range.clone()];
    let seats = &mut seats.bypass_change_detection()[range.clone()];
    let slots = slots.bypass_change_detection();
    let (mut trees, budgets) = only(trees.contiguous_iter_mut());
    let trees = trees.bypass_change_detection();
    let per_lane = trees.len() / slots.len();
    let slots = &mut slots[range.clone()];
    let rows = times(&range, per_lane);
    let trees = &mut trees[rows.clone()];
    let finished_lanes = positions
        .par_iter_mut()
        .zip(rngs.par_iter_mut())
        .zip(games.par_iter_mut())
        .zip(seats.par_iter())
        .zip(slots.par_iter())
        .zip(trees.par_chunks_mut(per_lane))
        .zip(budgets[rows].par_chunks(per_lane))
        .with_min_len(rows_per_task(range.len(), LIGHT))
        .enumerate()
        .filter_map(|(lane, ((((((position, rng), game), seats), slot), trees), budgets))| {
            if trees.iter().all(|tree| tree.state != TreeState::Complete) {
                return None;
            }
            // Only the tree of the player to move searches.
            let seat = seats.of(position.0.to_move());
            let search = &agents.0[usize::from(slot.0) + seat].search;
            play_move(&mut position.0, rng, game, *seats, trees, budgets[seat].full, search);
            game.finished.map(|_| lane)
        })
        .collect::<Vec<_>>();

    // What lanes share is written in row order.
    for lane in finished_lanes {
        let game = &mut games[lane];
        stats.add_game(game);
        if finished.games.len() < finished.limit {
            finished.games.push(game.clone());
        }
        let trees = &mut trees[lane * per_lane..(lane + 1) * per_lane];
        let (position, seats, slot) = (&mut positions[lane].0, &mut seats[lane], &mut slots[lane]);
        next_game(&mut rounds, &agents, position, &mut rngs[lane], game, seats, slot, trees);
    }
}

/// Gives every lane that is free the next game, if there is one. Run when lanes are set up, and when a round is opened.
pub fn begin_games<G: Game>(
    mut lanes: Query<(&mut Position<G>, &mut LaneRng, &mut GameRecord, &mut Seats, &mut Slot)>,
    mut trees: Query<&mut Tree>,
    agents: Res<Agents>,
    mut rounds: ResMut<Rounds>,
) {
    let mut trees = only(trees.contiguous_iter_mut());
    let per_lane = trees.len() / lanes.iter().len();
    let trees = trees.bypass_change_detection().chunks_mut(per_lane);
    for ((mut position, mut rng, mut game, mut seats, mut slot), trees) in lanes.iter_mut().zip(trees) {
        if game.id.is_none() {
            let position = &mut position.0;
            next_game(&mut rounds, &agents, position, &mut rng, &mut game, &mut seats, &mut slot, trees);
        }
    }
}

/// Begins the next game in a lane, or leaves it free.
fn next_game<G: Game>(
    rounds: &mut Rounds,
    agents: &Agents,
    position: &mut G,
    rng: &mut LaneRng,
    game: &mut GameRecord,
    seats: &mut Seats,
    slot: &mut Slot,
    trees: &mut [Tree],
) {
    let next = rounds.take();
    game.begin(next.map(|(id, _)| id));
    let Some((id, next_slot)) = next else {
        for tree in trees {
            tree.clear();
            tree.state = TreeState::Idle;
        }
        return;
    };
    *rng = LaneRng::of_game(rounds.seed, id);
    *seats = Seats::of_game(trees.len(), id.number);
    *slot = next_slot;
    let first = usize::from(slot.0) + usize::from(seats.0[0]);
    begin_game(position, rng, game, *seats, trees, &agents.0[first].search);
}

/// How often an opening is drawn again because it has ended the game. Far above what an opening needs that can be drawn at
/// all, and a bound for those that cannot.
const ATTEMPTS: usize = 1_000;

/// Starts a game with up to `opening_plies` random moves, fewer where so many always end the game.
pub fn begin_game<G: Game>(
    position: &mut G,
    rng: &mut LaneRng,
    game: &mut GameRecord,
    seats: Seats,
    trees: &mut [Tree],
    search: &SearchConfig,
) {
    let plies = if search.opening_plies > 0 { rng.below(search.opening_plies as usize + 1) } else { 0 };
    for _ in 0..ATTEMPTS {
        *position = G::start();
        game.opening.clear();
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
    if position.outcome().is_some() {
        // Games of this length are too rare, or there are none. Before its last move the last one was still going on.
        game.opening.pop();
        *position = G::start();
        game.opening.iter().for_each(|&action| position.play(action));
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

/// Plays the move that a complete search has chosen, records it, and keeps its sub-tree. `full` says whether the search's
/// visits become a policy target.
pub fn play_move<G: Game>(
    position: &mut G,
    rng: &mut LaneRng,
    game: &mut GameRecord,
    seats: Seats,
    trees: &mut [Tree],
    full: bool,
    search: &SearchConfig,
) {
    let tree = &mut trees[seats.of(position.to_move())];
    game.counts = game.counts + std::mem::take(&mut tree.counts);
    let warm = game.len() < search.temperature_plies as usize;
    let temperature = if warm { search.temperature } else { search.final_temperature };
    let weights = Weights::of(tree, search.solver);
    let action = weights.choose(temperature, rng);
    let before = game.policies.len();
    if full {
        game.entropy_sum += weights.record(&mut game.policies);
    }
    let policy_len = (game.policies.len() - before) as u16;
    game.plies.push(Ply { action, root_value: tree.root_value(), policy_len });
    position.play(action);
    if let Some(outcome) = position.outcome() {
        game.finished = Some(for_first(position, outcome));
        return;
    }
    for tree in trees.iter_mut() {
        if search.keep_subtree { tree.keep_subtree(action) } else { tree.clear() }
    }
    wake(trees, seats.of(position.to_move()));
}

/// What a search says about the moves at its root.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    edges: &'a [Edge],
    mode: Mode,
}

/// Which moves are in question, and what they are weighed by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// All, by visits.
    All,
    /// Those that are known to win, by visits.
    Winning,
    /// Those that are not known to lose, by visits.
    NotLosing,
    /// Those that are not known to lose, by priors: none of them was visited.
    Untried,
}

impl<'a> Weights<'a> {
    /// The visits of the root's moves. With a solver, moves that are known to win are the only ones if there are any, and
    /// moves that are known to lose have no weight unless all lose.
    ///
    /// # Panics
    /// If the tree is empty.
    pub fn of(tree: &'a Tree, solver: bool) -> Self {
        let edges = tree.root_edges();
        assert!(!edges.is_empty(), "a root has moves");
        let mut mode = Mode::All;
        if solver {
            if edges.iter().any(|e| e.known() == Some(Outcome::Win)) {
                mode = Mode::Winning;
            } else if edges.iter().any(Edge::is_lost) && !edges.iter().all(Edge::is_lost) {
                let tried = edges.iter().any(|e| !e.is_lost() && e.visits() > 0);
                mode = if tried { Mode::NotLosing } else { Mode::Untried };
            }
        }
        Self { edges, mode }
    }

    /// The weight of a move.
    pub fn weight(&self, edge: &Edge) -> f32 {
        match self.mode {
            Mode::Winning if edge.known() != Some(Outcome::Win) => 0.0,
            Mode::NotLosing | Mode::Untried if edge.is_lost() => 0.0,
            Mode::Untried => edge.prior(),
            _ => edge.visits() as f32,
        }
    }

    /// Chooses a move with a chance in proportion to `weight ^ (1 / temperature)`; at temperature 0 the one with the
    /// highest weight, of these the one with the highest value, of these the first.
    pub fn choose(&self, temperature: f32, rng: &mut LaneRng) -> Action {
        let key = |e: &Edge| (self.weight(e), e.value_or(f32::NEG_INFINITY));
        let best = self.edges.iter().reduce(|a, b| if key(b) > key(a) { b } else { a }).expect("a root has moves");
        if temperature == 0.0 {
            return best.action();
        }
        let most = self.weight(best);
        let weight = |e: &Edge| (self.weight(e) / most).powf(1.0 / temperature);
        let total: f32 = self.edges.iter().map(weight).sum();
        let mut left = rng.unit() * total;
        for edge in self.edges.iter().filter(|e| self.weight(e) > 0.0) {
            left -= weight(edge);
            if left < 0.0 {
                return edge.action();
            }
        }
        // The weights were summed in the same order, but rounding can leave a little over.
        best.action()
    }

    /// Appends the moves' shares of the weight, and returns their entropy in nats.
    fn record(&self, policies: &mut Vec<(Action, u16)>) -> f32 {
        let total: f32 = self.edges.iter().map(|e| self.weight(e)).sum();
        let mut entropy = 0.0;
        for edge in self.edges {
            let share = self.weight(edge) / total;
            let rounded = (share * 65_535.0).round() as u16;
            if rounded > 0 {
                policies.push((edge.action(), rounded));
                entropy -= share * share.ln();
            }
        }
        entropy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_components::tree::{Child, ROOT};

    fn weights(tree: &Tree) -> Weights<'_> {
        Weights::of(tree, true)
    }

    #[test]
    fn temperature_weighs_the_visits() {
        let mut tree = Tree::new(1, 3);
        tree.push_node(0, ROOT, 0..3);
        for (edge, visits) in tree.edges_mut(0).iter_mut().zip([0, 30, 10]) {
            edge.set_visits(visits, 0);
        }
        let mut rng = LaneRng::new(1, 2);
        for (temperature, expected) in [(1.0, 0.75), (0.5, 0.9), (2.0, 0.634), (0.0, 1.0)] {
            let hits = (0..10_000).filter(|_| weights(&tree).choose(temperature, &mut rng) == 1).count();
            assert!((hits as f32 / 10_000.0 - expected).abs() < 0.02, "temperature {temperature}: {hits}");
        }
        let mut policies = vec![];
        let entropy = weights(&tree).record(&mut policies);
        assert_eq!(policies, [(1, 49_151), (2, 16_384)]);
        assert!((entropy - 0.5623).abs() < 1e-3);
    }

    #[test]
    fn openings_that_end_every_game_are_cut_short() {
        use lockstep_components::games::TicTacToe;
        let search = SearchConfig { opening_plies: 1_000, ..SearchConfig::default() };
        let (mut position, mut game) = (TicTacToe::start(), GameRecord::default());
        let mut longest = 0;
        for lane in 0..20 {
            let (mut rng, mut trees) = (LaneRng::new(1, lane), [Tree::new(1, 9)]);
            begin_game(&mut position, &mut rng, &mut game, Seats([0, 0]), &mut trees, &search);
            assert_eq!(position.outcome(), None);
            let mut replayed = TicTacToe::start();
            game.opening.iter().for_each(|&action| replayed.play(action));
            assert_eq!(replayed, position, "the opening is what led to the position");
            longest = longest.max(game.opening.len());
        }
        assert!(longest >= 4, "openings are cut by one move, not dropped: {longest}");
    }

    #[test]
    fn known_results_come_before_visits() {
        let mut tree = Tree::new(1, 3);
        tree.push_node(0, ROOT, 0..3);
        let mut rng = LaneRng::new(1, 2);
        let mut choose = |known: [Option<Outcome>; 3], visits: [u32; 3], solver| {
            for (i, edge) in tree.edges_mut(0).iter_mut().enumerate() {
                edge.set_child(known[i].map_or(Child::Unexpanded, |o| Child::Terminal(o.reversed())));
                edge.set_visits(visits[i], 0);
                edge.set_prior([0.2, 0.3, 0.5][i]);
            }
            let weights = Weights::of(&tree, solver);
            let mut policies = vec![];
            weights.record(&mut policies);
            (weights.choose(0.0, &mut rng), policies.iter().map(|p| p.0).collect::<Vec<_>>())
        };
        use Outcome::{Loss, Win};
        assert_eq!(choose([None, Some(Win), None], [9, 1, 5], true), (1, vec![1]), "the win is played");
        assert_eq!(choose([None, Some(Win), None], [9, 1, 5], false), (0, vec![0, 1, 2]), "without a solver it is not");
        assert_eq!(choose([Some(Loss), None, None], [9, 1, 5], true), (2, vec![1, 2]), "the loss is avoided");
        assert_eq!(choose([Some(Loss), None, None], [9, 0, 0], true), (2, vec![1, 2]), "priors decide");
        assert_eq!(choose([Some(Loss); 3], [9, 1, 5], true), (0, vec![0, 1, 2]), "all lose");
    }
}
