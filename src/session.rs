//! Sessions, in which positions are searched for somebody: what every front end stands on, whatever the game.
//!
//! A [`Table`] is one player with room for some sessions, which share its batches; a [`Session`] is one game at it: a
//! position, the moves that have led there, and the tree of its search, which stays from move to move.
//!
//! ```
//! use lockstep::{games, session::{Limit, Room, Table}, analyst::Contender};
//!
//! let table = Table::open(&Contender::rollouts(games::named("connect_four")?), Room::default())?;
//! let mut session = table.session().expect("a free place");
//! session.play("4")?;
//! let found = session.search(&Limit::simulations(200), |_| true)?;
//! println!("{} with {} simulations", session.text(found.action), found.simulations);
//! session.play_action(found.action)?;
//! # Ok::<(), lockstep::Error>(())
//! ```
//!
//! A search whose limit is a number of simulations or nodes depends on the weights, the position, the settings and the
//! sub-tree that it begins with, and on nothing else: not on the other sessions, the threads, or the time. (Limits as
//! objects, and reports while the search goes on, follow Leela Chess Zero's search interface and KataGo's asynchronous
//! bot.)

use crate::{
    Error,
    analyst::{Contender, Evaluated, evaluate},
    memory::{MemoryBound, lanes_that_fit},
    view::View,
};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Action, GameInfo, Outcome, SearchBudget, State, Tree, TreeState,
    config::{LanesConfig, PolicyKind, SearchConfig},
    tree::{Child, Counts},
};
use lockstep_systems::{
    Answer, AnyGame, Inference, Lane, MoveStats, Order, Orders, Setup, analyse::answer_of, rows::entities, run_tick,
    settle,
};
use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The size of a [`Table`]: how many sessions it has room for, and what searches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The most sessions at the same time, from 1 to 65,536.
    pub sessions: u32,
    /// The most simulations of a search, from 1 to 1,000,000.
    pub simulations: u32,
    /// The number of leaves that each tree sends to the network at once, from 1 to 256.
    pub leaves_per_tree: u32,
}

impl Default for Room {
    /// Returns room for one session with searches of up to 10,000 simulations and eight leaves for each tree.
    fn default() -> Self {
        Self { sessions: 1, simulations: 10_000, leaves_per_tree: 8 }
    }
}

impl Room {
    fn lanes(&self) -> LanesConfig {
        let Self { sessions: count, leaves_per_tree, .. } = *self;
        LanesConfig { count, leaves_per_tree, cohort: count, ..LanesConfig::default() }
    }
}

/// The limits of a search, which goes on until one of them is reached, the result of the position is proven, its tree
/// is full, or somebody stops it. Without any limit it goes on until one of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// The most simulations through the root, those of the sub-tree that was kept from the search before included.
    /// Gumbel search needs this limit.
    pub simulations: Option<u32>,
    /// The most simulations of this search alone. Gumbel search does not take this limit.
    pub nodes: Option<u32>,
    /// The most time that the search takes. Gumbel search, which plans all of its simulations when it begins, does not
    /// take this limit.
    pub time: Option<Duration>,
}

impl Limit {
    /// Returns a limit of this many simulations, those of the sub-tree that was kept included.
    pub fn simulations(simulations: u32) -> Self {
        Self { simulations: Some(simulations), ..Self::default() }
    }

    /// Returns a limit of this much time.
    pub fn time(time: Duration) -> Self {
        Self { time: Some(time), ..Self::default() }
    }
}

/// Why a search has ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The search goes on.
    NotYet,
    /// A limit was reached.
    Limit,
    /// The result of the position is proven.
    Proven,
    /// The tree has room for no more nodes.
    Full,
    /// Whoever watches the search has stopped it.
    Stopped,
}

/// What a search has found by now.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The move that the search would play.
    pub action: Action,
    /// The value of the position for the player to move, from -1 to 1: the result if it is proven, else the mean of the
    /// simulations.
    pub value: f32,
    /// The result for the player to move, if the search has proven it.
    pub proven: Option<Outcome>,
    /// The statistics of every legal move, in ascending order of the actions.
    pub moves: Vec<MoveStats>,
    /// The principal variation: `action`, and then the move with the most visits in each position that follows.
    pub line: Vec<Action>,
    /// The number of simulations through the root, those that were kept included.
    pub simulations: u32,
    /// The number of simulations in the sub-tree that was kept from the search before.
    pub reused: u32,
    /// The time since the search began.
    pub time: Duration,
    /// Why the search has ended, or that it goes on.
    pub ended: Ended,
}

/// A player with room for sessions, which share its batches. A clone is the same table.
#[derive(Clone)]
pub struct Table(Arc<Shared>);

struct Shared {
    game: AnyGame,
    start: State,
    search: SearchConfig,
    /// The entities of each place: a lane and its tree.
    places: Vec<(Entity, Entity)>,
    world: Mutex<Searches>,
    queue: Mutex<Queue>,
    /// Tells those who wait that somebody else has the turn.
    passed: Condvar,
}

/// Those who wait for a turn with the world. They have it in the order in which they came, whatever the system makes of
/// their threads: a mutex alone would let the one that runs have it again before another one wakes up, hundreds of times.
#[derive(Default)]
struct Queue {
    /// How many have come.
    came: u64,
    /// How many have had their turn.
    had: u64,
}

/// A turn with the world of a table.
struct Turn<'a> {
    shared: &'a Shared,
    searches: MutexGuard<'a, Searches>,
}

impl Deref for Turn<'_> {
    type Target = Searches;

    fn deref(&self) -> &Searches {
        &self.searches
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Searches {
        &mut self.searches
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.shared.queue().had += 1;
        self.shared.passed.notify_all();
    }
}

/// The world that sessions take turns with: each tick searches for all of them.
struct Searches {
    world: World,
    /// The places that no session has.
    free: Vec<usize>,
}

impl Table {
    /// Opens a table with this player, who plays to win: without noise and random moves.
    ///
    /// # Errors
    /// When a number of `room` is out of range, the memory does not suffice, the game refuses the rules, or the
    /// player's device or weights cannot be used.
    pub fn open(contender: &Contender, room: Room) -> Result<Self, Error> {
        Self::bound(contender, &room)?.check()?;
        let (game, start) = (contender.game, contender.start()?);
        let Room { sessions, simulations, leaves_per_tree } = room;
        let search = contender.search.to_win(simulations);
        let searcher = contender.searcher((sessions * leaves_per_tree) as usize, search.clone())?;
        let mut world = Setup::analysis(game, searcher).lanes(room.lanes()).start(start.clone()).seed(0).build();
        let places: Vec<_> = entities::<Lane>(&mut world).into_iter().zip(entities::<Tree>(&mut world)).collect();
        let free = (0..places.len()).rev().collect();
        let world = Mutex::new(Searches { world, free });
        let (queue, passed) = (Mutex::default(), Condvar::new());
        Ok(Self(Arc::new(Shared { game, start, search, places, world, queue, passed })))
    }

    /// Returns the most memory that a table with this player takes, before anything of it is allocated.
    ///
    /// # Errors
    /// When a number of `room` is out of range, or the player's device cannot be used.
    pub fn bound(contender: &Contender, room: &Room) -> Result<MemoryBound, Error> {
        let Room { sessions, simulations, leaves_per_tree } = *room;
        for (what, value, most) in [
            ("sessions", sessions, 65_536),
            ("simulations", simulations, 1_000_000),
            ("leaves of a tree", leaves_per_tree, 256),
        ] {
            if !(1..=most).contains(&value) {
                return Err(Error::Usage(format!("{value} {what}: from 1 to {most}")));
            }
        }
        let networks: Vec<_> = contender.footprint((sessions * leaves_per_tree) as usize)?.into_iter().collect();
        let search = contender.search.to_win(simulations);
        Ok(MemoryBound::of_searches(contender.game, &[&search], &room.lanes(), &networks))
    }

    /// Returns how many simulations of a search there is memory for with this player and the sessions of `room`:
    /// `most`, halved until they fit, but never less than `room.simulations`.
    ///
    /// # Errors
    /// The errors of [`Contender::footprint`].
    pub fn largest(contender: &Contender, room: &Room, most: u32) -> Result<u32, Error> {
        let networks: Vec<_> =
            contender.footprint((room.sessions * room.leaves_per_tree) as usize)?.into_iter().collect();
        let fits = |simulations: u32| {
            let search = contender.search.to_win(simulations);
            lanes_that_fit(contender.game, &search, room.leaves_per_tree, room.sessions, &networks) == room.sessions
        };
        let mut simulations = most;
        while simulations > room.simulations && !fits(simulations) {
            simulations = (simulations / 2).max(room.simulations);
        }
        Ok(simulations)
    }

    /// Returns a new session at the start of the game, or `None` if all places are taken.
    pub fn session(&self) -> Option<Session> {
        let place = self.0.lock().free.pop()?;
        let start = self.0.start.clone();
        let orders = vec![Order::Set(start.clone())];
        Some(Session { shared: self.0.clone(), place, states: vec![start], moves: vec![], orders })
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn with the world.
    fn lock(&self) -> Turn<'_> {
        let mut queue = self.queue();
        let number = queue.came;
        queue.came += 1;
        drop(self.passed.wait_while(queue, |queue| queue.had != number).unwrap_or_else(PoisonError::into_inner));
        // A tick that has panicked leaves a world that nobody can rely on; but it says so by its error from then on.
        Turn { shared: self, searches: self.world.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

/// One game at a [`Table`]: a position with the moves that have led there, and the tree of its search.
pub struct Session {
    shared: Arc<Shared>,
    place: usize,
    /// The positions of the game from its start: one at least, with `moves` between them.
    states: Vec<State>,
    moves: Vec<Action>,
    /// The orders that the lane has not been given yet.
    orders: Vec<Order>,
}

impl Session {
    /// Returns the description of the game.
    pub fn game(&self) -> &GameInfo {
        &self.shared.game.info
    }

    /// Returns the settings of this session's searches.
    pub fn settings(&self) -> &SearchConfig {
        &self.shared.search
    }

    /// Returns the present position.
    pub fn state(&self) -> &State {
        self.states.last().expect("a game has its start")
    }

    /// Returns the positions of the game from its start, the present one last.
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// Returns the moves of the game.
    pub fn moves(&self) -> &[Action] {
        &self.moves
    }

    /// Returns the present position as a picture needs it.
    pub fn view(&self) -> View {
        let before = self.states.iter().rev().nth(1).zip(self.moves.last().copied());
        View::of(self.state(), before)
    }

    /// Returns the cell that the last move has changed, if there was a move and it has changed one.
    pub fn last_cell(&self) -> Option<usize> {
        let before = self.states.iter().rev().nth(1)?;
        before.cells_of(*self.moves.last()?).pop()
    }

    /// Returns the moves of the game as people write them.
    pub fn texts(&self) -> Vec<String> {
        self.states.iter().zip(&self.moves).map(|(before, &action)| before.action_text(action)).collect()
    }

    /// Returns a move in the present position as people write it.
    pub fn text(&self, action: Action) -> String {
        self.state().action_text(action)
    }

    /// Returns moves that follow one another from the present position, as people write them.
    pub fn line_text(&self, line: &[Action]) -> Vec<String> {
        let mut state = self.state().clone();
        let text = |&action: &Action| {
            let text = state.action_text(action);
            state.play(action);
            text
        };
        line.iter().map(text).collect()
    }

    /// Returns the legal moves with their texts: an empty list when the game is over.
    pub fn legal(&self) -> Vec<(Action, String)> {
        self.state().legal().into_iter().map(|action| (action, self.text(action))).collect()
    }

    /// Goes back to the start of the game.
    pub fn restart(&mut self) {
        self.states.truncate(1);
        self.moves.clear();
        self.orders = self.anew();
    }

    /// Sets the position to the one after these moves from the start of the game, as people write them. An empty text
    /// sets it to the start.
    ///
    /// # Errors
    /// When a move is not legal; the session then stays as it is.
    pub fn set(&mut self, moves: &str) -> Result<(), Error> {
        let (states, moves) = self.shared.start.line(moves).map_err(|error| Error::Usage(error.0))?;
        (self.states, self.moves) = (states, moves);
        self.orders = self.anew();
        Ok(())
    }

    /// Plays a move that is given as people write it, and returns its action.
    ///
    /// # Errors
    /// When the text is no legal move in the present position; the message lists what is expected.
    pub fn play(&mut self, text: &str) -> Result<Action, Error> {
        let action = self.state().parse_action(text).map_err(|error| Error::Usage(error.0))?;
        self.play_action(action)?;
        Ok(action)
    }

    /// Plays a move. The sub-tree behind it is kept for the next search, if the policy keeps any.
    ///
    /// # Errors
    /// When the move is not legal in the present position.
    pub fn play_action(&mut self, action: Action) -> Result<(), Error> {
        if !self.state().is_legal(action) {
            return Err(Error::Usage(format!("move {action} is not legal here")));
        }
        self.orders.push(Order::Play(action));
        self.states.push(self.state().played(action));
        self.moves.push(action);
        Ok(())
    }

    /// Returns the orders after which the lane has the present position, without a tree.
    fn anew(&self) -> Vec<Order> {
        vec![Order::Set(self.state().clone())]
    }

    /// Takes back this many moves, or as many as there are, and returns how many it has taken back.
    pub fn take_back(&mut self, moves: usize) -> usize {
        let taken = moves.min(self.moves.len());
        if taken > 0 {
            self.moves.truncate(self.moves.len() - taken);
            self.states.truncate(self.moves.len() + 1);
            self.orders = self.anew();
        }
        taken
    }

    /// Checks that searches of this player can have this limit.
    ///
    /// # Errors
    /// When the policy is Gumbel's and the limit is none of simulations alone.
    pub fn check(&self, limit: &Limit) -> Result<(), Error> {
        let is_gumbel = self.shared.search.policy == PolicyKind::Gumbel;
        if !is_gumbel || limit.simulations.is_some() && limit.nodes.is_none() && limit.time.is_none() {
            return Ok(());
        }
        let message =
            "Gumbel search plans its simulations when it begins: limit it by simulations, and not by time or nodes";
        Err(Error::Usage(message.into()))
    }

    /// Searches the present position. `watch` gets what was found after every tick that does not end the search, and
    /// stops the search by returning false: what is on its way to the network is then waited for, nothing of the tree
    /// is lost, and the next search goes on with it.
    ///
    /// One simulation is made in any case.
    ///
    /// # Errors
    /// When the game is over, the policy does not take such a limit, or the network fails.
    pub fn search(&mut self, limit: &Limit, mut watch: impl FnMut(&Found) -> bool) -> Result<Found, Error> {
        let began = Instant::now();
        if self.state().outcome().is_some() {
            return Err(Error::Usage("the game is over: there is no move to search for".into()));
        }
        let room = self.shared.search.simulations;
        self.check(limit)?;
        let most = limit.simulations.map_or(room, |simulations| simulations.clamp(1, room));
        self.orders.push(Order::Search);
        let (lane, tree) = self.shared.places[self.place];
        {
            let world = &mut self.shared.lock().world;
            world.entity_mut(lane).get_mut::<Orders>().expect("an analysis").0.append(&mut self.orders);
            world.entity_mut(tree).get_mut::<SearchBudget>().expect("a tree").asked = Some(most);
            world.entity_mut(tree).get_mut::<Tree>().expect("a tree").counts = Counts::default();
        }
        let mut begun = false;
        loop {
            // Whoever has the lock ticks for all; then the others have their turn.
            let world = &mut self.shared.lock().world;
            if let Err(error) = run_tick(world) {
                self.orders = self.anew();
                return Err(error.into());
            }
            let mut searching = world.entity_mut(tree);
            let (here, mut budget) =
                searching.get_components_mut::<(&Tree, &mut SearchBudget)>().expect("a tree has a budget");
            // The root is on its way to the network, or the turn is that of others.
            if !matches!(here.state, TreeState::Searching | TreeState::Complete) {
                continue;
            }
            if !std::mem::replace(&mut begun, true)
                && let Some(nodes) = limit.nodes
            {
                budget.simulations = kept(here).saturating_add(nodes.max(1)).min(most);
            }
            let ended = match here.state {
                TreeState::Complete if here.proven.is_some() => Ended::Proven,
                TreeState::Complete if here.simulations_at_root() < budget.simulations => Ended::Full,
                TreeState::Complete => Ended::Limit,
                _ if here.simulations_at_root() == 0 => continue,
                _ => Ended::NotYet,
            };
            let late = limit.time.is_some_and(|time| began.elapsed() >= time);
            let is_under_way = ended == Ended::NotYet;
            let ended = match ended {
                Ended::NotYet if late => Ended::Limit,
                Ended::NotYet if !watch(&self.found(world, began, ended)) => Ended::Stopped,
                Ended::NotYet => continue,
                ended => ended,
            };
            if is_under_way {
                settle(world)?;
            }
            world.entity_mut(tree).get_mut::<Tree>().expect("a tree").state = TreeState::Idle;
            return Ok(self.found(world, began, ended));
        }
    }

    /// Returns the network's evaluation of the present position, without a search.
    ///
    /// # Errors
    /// When the game is over, or the network fails.
    pub fn evaluate(&mut self) -> Result<Evaluated, Error> {
        let (game, state) = (self.shared.game, self.state().clone());
        if state.outcome().is_some() {
            return Err(Error::Usage("the game is over: the network is not asked about it".into()));
        }
        let world = &mut self.shared.lock().world;
        // Batches come back in the order in which they were submitted.
        settle(world)?;
        let mut agents = world.query::<&mut Inference>();
        let mut agent = agents.single_mut(world).expect("one player");
        Ok(evaluate(game, &mut *agent.evaluator, &[state])?.pop().expect("one position was asked about"))
    }

    /// Returns the moves of the position behind these moves from the present one, as the tree has them: in ascending
    /// order, with visits, priors and values for the player to move there. Returns `None` where the tree does not
    /// reach.
    ///
    /// # Errors
    /// When the network fails.
    pub fn look(&mut self, path: &[Action]) -> Result<Option<Vec<MoveStats>>, Error> {
        let (lane, tree) = self.shared.places[self.place];
        let world = &mut self.shared.lock().world;
        if !self.orders.is_empty() {
            world.entity_mut(lane).get_mut::<Orders>().expect("an analysis").0.append(&mut self.orders);
            settle(world)?;
        }
        let tree = world.entity(tree).get::<Tree>().expect("a tree");
        let mut node = 0;
        if tree.is_empty() {
            return Ok(None);
        }
        for action in path {
            let edge = tree.edges(node).iter().find(|edge| edge.action() == *action);
            let Some(Child::Node(child)) = edge.map(|edge| edge.child()) else { return Ok(None) };
            node = child;
        }
        Ok(Some(tree.edges(node).iter().map(MoveStats::of).collect()))
    }

    fn found(&self, world: &mut World, began: Instant, ended: Ended) -> Found {
        let (lane, tree) = self.shared.places[self.place];
        let Answer { action, value, proven, moves, .. } = answer_of(world, lane, tree);
        let tree = world.entity(tree).get::<Tree>().expect("a tree");
        let (simulations, reused) = (tree.simulations_at_root(), kept(tree));
        Found {
            action,
            value,
            proven,
            moves,
            line: line(tree, action),
            simulations,
            reused,
            time: began.elapsed(),
            ended,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (lane, tree) = self.shared.places[self.place];
        let mut searches = self.shared.lock();
        searches.free.push(self.place);
        searches.world.entity_mut(lane).get_mut::<Orders>().expect("an analysis").0.clear();
        searches.world.entity_mut(tree).get_mut::<Tree>().expect("a tree").state = TreeState::Idle;
    }
}

/// Returns the simulations of a tree that were there before its counts began: those of the sub-tree that was kept.
fn kept(tree: &Tree) -> u32 {
    (tree.simulations_at_root() + tree.root_in_flight).saturating_sub(tree.counts.simulations)
}

/// Returns the moves with the most visits from the root on, beginning with `first`.
fn line(tree: &Tree, first: Action) -> Vec<Action> {
    let mut line = vec![];
    let mut next = tree.root_edges().iter().find(|edge| edge.action() == first);
    while let Some(edge) = next {
        line.push(edge.action());
        let Child::Node(child) = edge.child() else { break };
        next = tree.edges(child).iter().filter(|edge| edge.visits() > 0).max_by_key(|edge| edge.visits());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::games;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

    fn table(game: &str, room: Room) -> Table {
        Table::open(&Contender::rollouts(games::named(game).unwrap()), room).unwrap()
    }

    /// A search is a function of the position, the limit and the sub-tree, whoever shares its batches and however it
    /// was watched.
    #[test]
    fn sessions_do_not_see_each_other() {
        let alone = {
            let mut session = table("connect_four", Room { simulations: 300, ..Room::default() }).session().unwrap();
            session.set("444").unwrap();
            let first = session.search(&Limit::simulations(300), |_| true).unwrap();
            session.play_action(first.action).unwrap();
            let second = session.search(&Limit { nodes: Some(100), ..Limit::default() }, |_| true).unwrap();
            assert_eq!((first.simulations, first.reused, first.ended), (300, 0, Ended::Limit));
            assert!(second.reused > 0 && second.simulations == second.reused + 100, "{second:?}");
            [first, second].map(|found| (found.action, found.moves, found.line))
        };
        let shared = table("connect_four", Room { sessions: 4, simulations: 300, ..Room::default() });
        let play = |opening: &str, nodes: u32| {
            let mut session = shared.session().unwrap();
            session.set(opening).unwrap();
            let first = session.search(&Limit::simulations(300), |_| true).unwrap();
            session.play_action(first.action).unwrap();
            let second = session.search(&Limit { nodes: Some(nodes), ..Limit::default() }, |_| true).unwrap();
            [first, second].map(|found| (found.action, found.moves, found.line))
        };
        std::thread::scope(|scope| {
            let others: Vec<_> =
                ["", "1", "44"].into_iter().map(|opening| scope.spawn(move || play(opening, 170))).collect();
            assert_eq!(play("444", 100), alone);
            others.into_iter().for_each(|other| _ = other.join().unwrap());
        });
        let mut all: Vec<_> = std::iter::from_fn(|| shared.session()).collect();
        assert_eq!(all.len(), 4, "places are given back");
        assert_eq!(all[0].take_back(1), 0);
    }

    #[test]
    fn a_search_ends_as_it_is_told() {
        let mut session = table("othello6", Room { simulations: 5_000, ..Room::default() }).session().unwrap();
        let stopped = session.search(&Limit::default(), |found| found.simulations < 50).unwrap();
        assert_eq!((stopped.ended, stopped.simulations >= 50 && stopped.simulations < 100), (Ended::Stopped, true));
        let on = session.search(&Limit::simulations(200), |_| true).unwrap();
        assert_eq!((on.reused, on.simulations), (stopped.simulations, 200));
        let late = session.search(&Limit::time(Duration::ZERO), |_| true).unwrap();
        assert_eq!(late.ended, Ended::Limit);
        let found = session.look(&[]).unwrap().unwrap();
        assert_eq!(found.iter().map(|of| of.visits).sum::<u32>(), late.simulations);
        let below = session.look(&late.line[..1]).unwrap().unwrap();
        assert!(below.iter().map(|of| of.visits).sum::<u32>() > 0 && session.look(&[0, 0, 0]).unwrap().is_none());
        // A mistake changes nothing.
        let before = session.moves().len();
        assert!(session.play("z9").is_err() && session.set("a1 b2 z9").is_err());
        assert_eq!(session.moves().len(), before);
        session.play_action(late.action).unwrap();
        let policy = session.evaluate().unwrap().policy;
        assert!((policy.iter().map(|(_, share)| share).sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(policy.len(), session.legal().len());
    }

    /// Those who wait have their turn in the order in which they came, before whoever has just had one and is awake.
    #[test]
    fn turns_are_had_in_order() {
        let shared = table("tictactoe", Room::default()).0;
        let had = Mutex::new(vec![]);
        let turn = shared.lock();
        let before = shared.queue().came;
        std::thread::scope(|scope| {
            for number in 0..3 {
                let (shared, had) = (&shared, &had);
                scope.spawn(move || {
                    let _turn = shared.lock();
                    had.lock().unwrap().push(number);
                });
                // The next one comes when this one waits.
                while shared.queue().came <= before + number {
                    std::thread::yield_now();
                }
            }
            drop(turn);
            let _turn = shared.lock();
            assert_eq!(*had.lock().unwrap(), [0, 1, 2]);
        });
    }

    /// Who has a short search does not wait for those with long ones: searching is shared alike.
    #[test]
    fn a_short_search_is_answered_among_long_ones() {
        let shared = table("othello6", Room { sessions: 4, simulations: 50_000, ..Room::default() });
        let (made, over) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let (mut long, made, over) = (shared.session().unwrap(), &made, &over);
                scope.spawn(move || {
                    loop {
                        let mut seen = 0;
                        let watch = |found: &Found| {
                            made.fetch_add((found.simulations - seen).into(), SeqCst);
                            seen = found.simulations;
                            !over.load(SeqCst)
                        };
                        if long.search(&Limit::default(), watch).unwrap().ended == Ended::Stopped {
                            break;
                        }
                        long.restart();
                    }
                });
            }
            let mut short = shared.session().unwrap();
            let mut of_the_others = || {
                short.restart();
                // The others are searching.
                let rest = made.load(SeqCst) + 200;
                while made.load(SeqCst) < rest {
                    std::thread::yield_now();
                }
                let before = made.load(SeqCst);
                short.search(&Limit::simulations(80), |_| true).unwrap();
                made.load(SeqCst) - before
            };
            // A thread that the system holds up before it asks comes later, and on a busy machine most are: what is unfair is so
            // in a quiet moment too.
            let mut median = u64::MAX;
            for _ in 0..100 {
                let mut others: Vec<u64> = (0..21).map(|_| of_the_others()).collect();
                others.sort_unstable();
                median = median.min(others[10]);
                if median <= 3 * 2 * 80 {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            over.store(true, SeqCst);
            // As many simulations for each of the three, and once more as many for what they had not told before and what
            // they make until the answer is seen.
            assert!(median <= 3 * 2 * 80, "{median}");
        });
    }

    #[test]
    fn proofs_end_a_search_and_gumbel_wants_a_budget() {
        let mut session = table("tictactoe", Room::default()).session().unwrap();
        session.set("a1 b1 a2 b2").unwrap();
        let won = session.search(&Limit::default(), |_| true).unwrap();
        assert_eq!((won.ended, won.proven, won.value), (Ended::Proven, Some(Outcome::Win), 1.0));
        assert_eq!(session.line_text(&won.line), ["a3"]);
        session.play_action(won.action).unwrap();
        assert!(session.search(&Limit::default(), |_| true).unwrap_err().to_string().contains("over"));
        let mut contender = Contender::rollouts(games::named("tictactoe").unwrap());
        contender.search.policy = PolicyKind::Gumbel;
        let mut session = Table::open(&contender, Room::default()).unwrap().session().unwrap();
        assert_eq!(session.search(&Limit::simulations(40), |_| true).unwrap().simulations, 40);
        for limit in
            [Limit::default(), Limit::time(Duration::from_secs(1)), Limit { nodes: Some(3), ..Limit::default() }]
        {
            assert!(session.search(&limit, |_| true).unwrap_err().to_string().contains("Gumbel"), "{limit:?}");
        }
    }
}
