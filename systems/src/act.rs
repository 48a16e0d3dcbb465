//! `TickSystems::Act`: complete searches play their move, and finished games make room for new ones.

use crate::{
    Error, Failure, SearchPolicy,
    policy::{Decision, PolicyState, Search},
};
use bevy_ecs::{prelude::*, system::SystemParam};
use lockstep_components::{
    Action, Game, GameFinished, GameRecord, LaneRng, NextGame, Ply, Position, Rounds, SearchBudget, Seats, Slot, Start,
    Stats, Tree, TreeState, config::SearchConfig, record::for_first, tree::Counts,
};

/// The components of lanes that belong to their games, as a query.
pub(crate) type GameColumns<G> =
    (&'static mut Position<G>, &'static mut LaneRng, &'static mut GameRecord, &'static mut Seats, &'static mut Slot);

/// The components of one lane that belong to its game.
type GameRow<'a, G> = (&'a mut Position<G>, &'a mut LaneRng, &'a mut GameRecord, &'a mut Seats, &'a mut Slot);

/// The results of the lanes of one parallel task.
#[derive(Default)]
pub(crate) struct Acted {
    /// The lanes whose game has ended, in ascending order, counted from the first lane that is answered.
    finished: Vec<usize>,
    /// Complete searches.
    searches: u64,
    /// Counts of the complete searches.
    counts: Counts,
    cache_hits: u64,
    /// The error of the first lane that has one.
    pub(crate) error: Option<Error>,
}

impl Acted {
    /// Joins the results with those of the lanes that follow.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.finished.extend(other.finished);
        Self {
            finished: self.finished,
            searches: self.searches + other.searches,
            counts: self.counts + other.counts,
            cache_hits: self.cache_hits + other.cache_hits,
            error: self.error.or(other.error),
        }
    }
}

/// The resources that lanes share when their games end. They are written in row order.
#[derive(SystemParam)]
pub struct EndOfGames<'w, G: Game> {
    start: Res<'w, Start<G>>,
    rounds: ResMut<'w, Rounds>,
    finished: MessageWriter<'w, GameFinished>,
    stats: ResMut<'w, Stats>,
    failure: Res<'w, Failure>,
}

impl<G: Game> EndOfGames<'_, G> {
    /// Records the error of lanes of which none has acted.
    pub(crate) fn fail(&mut self, acted: Acted) {
        self.failure.set_first(acted.error.into_iter().collect());
    }

    /// Gives every lane that is free the next game, if there is one: when lanes are set up, and when a round is opened.
    pub(crate) fn begin_games<'a>(&mut self, lanes: impl Iterator<Item = (GameRow<'a, G>, &'a mut [Tree])>) {
        for (row, trees) in lanes.filter(|(row, _)| row.2.id.is_none()) {
            next_game(&self.start.0, &mut self.rounds, row, trees);
        }
    }

    /// Sends the games that have ended as messages, and begins the next ones in their lanes.
    pub(crate) fn begin_next<'a, T>(
        &mut self,
        mut lanes: impl Iterator<Item = (GameRow<'a, G>, T)>,
        trees_of: impl Fn(T) -> &'a mut [Tree],
        acted: Acted,
    ) {
        let mut passed = 0;
        for lane in acted.finished {
            // `View::nth` skips lanes in one step.
            let (row, trees) = lanes.nth(lane - passed).expect("a lane that has acted");
            passed = lane + 1;
            self.stats.add_game(row.2);
            self.finished.write(GameFinished(row.2.take()));
            next_game(&self.start.0, &mut self.rounds, row, trees_of(trees));
        }
        self.stats.add(acted.counts, acted.searches);
        self.stats.cache_hits += acted.cache_hits;
        self.failure.set_first(acted.error.into_iter().collect());
    }
}

/// Begins the next game in a lane, or leaves it free.
fn next_game<G: Game>(start: &G, rounds: &mut Rounds, row: GameRow<G>, trees: &mut [Tree]) {
    let (position, rng, game, seats, slot) = row;
    let next = rounds.take();
    game.begin(next.map(|next| next.id));
    let Some(NextGame { id, slot: next_slot, opening_plies }) = next else {
        for tree in trees {
            tree.clear();
            tree.state = TreeState::Idle;
        }
        return;
    };
    *rng = LaneRng::of_game(rounds.seed, id);
    (*seats, *slot) = (Seats::of_game(trees.len(), id.number), next_slot);
    if trees.len() == 2 {
        // In a match two games have the same opening, with the players on either side.
        let mut of_pair = LaneRng::of_opening(rounds.seed, id.round, id.number / 2);
        begin_game(start, &mut position.0, &mut of_pair, game, opening_plies as usize);
    } else {
        let plies = if opening_plies > 0 { rng.below(opening_plies as usize + 1) } else { 0 };
        begin_game(start, &mut position.0, rng, game, plies);
    }
    trees.iter_mut().for_each(Tree::clear);
    wake(trees, seats.of(position.0.to_move()));
}

/// How often an opening is drawn before it is cut short, if each of them ends the game. It is far above what an opening
/// needs that can be drawn at all.
const ATTEMPTS: usize = 1_000;

/// Begins a game with an opening of `plies` uniformly random moves, or fewer if that many always end the game.
pub fn begin_game<G: Game>(start: &G, position: &mut G, rng: &mut LaneRng, game: &mut GameRecord, plies: usize) {
    for _ in 0..ATTEMPTS {
        position.clone_from(start);
        game.opening.clear();
        while game.opening.len() < plies && position.outcome().is_none() {
            let action = rng.legal_move(position);
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
        position.clone_from(start);
        game.opening.iter().for_each(|&action| position.play(action));
    }
}

/// Lets tree number `active` search and makes the other trees of the lane idle.
pub fn wake(trees: &mut [Tree], active: usize) {
    for (i, tree) in trees.iter_mut().enumerate() {
        tree.state = match (i == active, tree.is_empty()) {
            (false, _) => TreeState::Idle,
            (true, true) => TreeState::Empty,
            (true, false) => TreeState::Expanded,
        };
    }
}

/// The players of a lane's game: an agent for each of its trees, and what the agent's policy keeps for the tree.
pub struct Players<'a> {
    /// The settings and the policy of the agent of each tree.
    pub agents: &'a [(&'a SearchConfig, &'a SearchPolicy)],
    /// The number of the first of these agents.
    pub first: usize,
    /// Which of the trees moves for which player.
    pub seats: Seats,
    /// The policy's state for each tree.
    pub states: &'a mut [PolicyState],
}

/// Plays the move in a lane if its search is complete. Returns whether the lane may go on, which it may not when its
/// game has ended or failed.
#[inline]
pub(crate) fn act_in<G: Game>(
    lane: usize,
    position: &mut G,
    rng: &mut LaneRng,
    game: &mut GameRecord,
    trees: &mut [Tree],
    budgets: &[SearchBudget],
    players: Players,
    acted: &mut Acted,
) -> bool {
    let Some(searched) = trees.iter_mut().find(|tree| tree.state == TreeState::Complete) else { return true };
    acted.searches += 1;
    acted.counts = acted.counts + searched.counts;
    acted.cache_hits += u64::from(std::mem::take(&mut searched.cache_hits));
    match play_move(position, rng, game, trees, budgets, players) {
        Ok(()) if game.finished.is_none() => return true,
        Ok(()) => acted.finished.push(lane),
        Err(error) => acted.error = acted.error.take().or(Some(error)),
    }
    false
}

/// Plays and records the move that the policy decides for after a complete search of the player to move. If the game
/// goes on, the sub-tree behind the move is kept where the policy keeps it, and the tree of the next player is woken.
///
/// # Errors
/// [`Error::NoSuchMove`], [`Error::NoSuchValue`] or [`Error::NoSuchWeight`] if the policy decided for a move that is not
/// at the root, a value that is not from -1 to 1, or a weight that is not within [`Ply::WEIGHTS`].
pub fn play_move<G: Game>(
    position: &mut G,
    rng: &mut LaneRng,
    game: &mut GameRecord,
    trees: &mut [Tree],
    budgets: &[SearchBudget],
    players: Players,
) -> Result<(), Error> {
    let Players { agents, first, seats, states } = players;
    // Only the tree of the player to move searches.
    let seat = seats.of(position.to_move());
    let ((settings, policy), tree) = (agents[seat], &mut trees[seat]);
    game.counts = game.counts + std::mem::take(&mut tree.counts);
    let mut target = Vec::with_capacity(tree.root_edges().len());
    let search = Search { settings, state: &mut states[seat], rng };
    let Decision { action, value, weight } = policy.0.decide(search, tree, game.len(), &mut target);
    if tree.root_edges().iter().all(|edge| edge.action() != action) {
        return Err(Error::NoSuchMove { agent: first + seat, action });
    }
    // A mean of many values may be a rounding beyond the ends.
    if !(-1.001..=1.001).contains(&value) {
        return Err(Error::NoSuchValue { agent: first + seat, value });
    }
    if !Ply::WEIGHTS.contains(&weight) {
        return Err(Error::NoSuchWeight { agent: first + seat, weight });
    }
    let before = game.policies.len();
    game.reserve(target.len());
    if budgets[seat].full {
        game.entropy_sum += record(&mut target, action, &mut game.policies);
    }
    let policy_len = (game.policies.len() - before) as u16;
    game.plies.push(Ply { action, root_value: value, weight, policy_len });
    position.play(action);
    if let Some(outcome) = position.outcome() {
        game.finished = Some(for_first(position, outcome));
        return Ok(());
    }
    for (tree, (settings, policy)) in trees.iter_mut().zip(agents) {
        if policy.keeps(settings, tree, action) { tree.keep_subtree(action) } else { tree.clear() }
    }
    wake(trees, seats.of(position.to_move()));
    Ok(())
}

/// Appends the share of the weight of each move to the policies, and returns the entropy of the shares in nats. If the
/// weights sum to nothing usable, the move that was played gets everything.
fn record(target: &mut Vec<(Action, f32)>, played: Action, policies: &mut Vec<(Action, u16)>) -> f32 {
    let mut total: f32 = target.iter().map(|(_, weight)| weight).sum();
    if !(total > 0.0 && total.is_finite()) {
        *target = vec![(played, 1.0)];
        total = 1.0;
    }
    let mut entropy = 0.0;
    for &(action, weight) in &*target {
        let share = weight / total;
        let rounded = (share * 65_535.0).round() as u16;
        if rounded > 0 {
            policies.push((action, rounded));
            entropy -= share * share.ln();
        }
    }
    entropy
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_components::games::TicTacToe;

    #[test]
    fn targets_are_shares_of_the_weight() {
        let mut policies = vec![];
        let entropy = record(&mut vec![(0, 0.0), (1, 30.0), (2, 10.0)], 1, &mut policies);
        assert_eq!(policies, [(1, 49_151), (2, 16_384)]);
        assert!((entropy - 0.5623).abs() < 1e-3);
        for empty in [vec![], vec![(3, 0.0), (4, 0.0)], vec![(3, f32::INFINITY), (4, 1.0)]] {
            policies.clear();
            assert_eq!(record(&mut empty.clone(), 4, &mut policies), 0.0);
            assert_eq!(policies, [(4, 65_535)]);
        }
    }

    #[test]
    fn openings_that_end_every_game_are_cut_short() {
        let (mut position, mut game) = (TicTacToe::start(), GameRecord::default());
        let mut longest = 0;
        for lane in 0..20 {
            begin_game(&TicTacToe::start(), &mut position, &mut LaneRng::new(1, lane), &mut game, 1_000);
            assert_eq!(position.outcome(), None);
            let mut replayed = TicTacToe::start();
            game.opening.iter().for_each(|&action| replayed.play(action));
            assert_eq!(replayed, position, "the opening is what led to the position");
            longest = longest.max(game.opening.len());
        }
        assert!(longest >= 4, "openings are cut by one move, not dropped: {longest}");
    }
}
