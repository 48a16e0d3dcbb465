//! The sessions of pages. Each has a thread of its own, which carries out one order after another; what it shows can be
//! read at any time.

use super::{Bucket, api::Refusal, events::Hub, players::Desk, secret};
use crate::{
    Error,
    insight::why::{Question, why},
    session::{Ended, Found, Limit, Session},
    view::View,
};
use axum::http::StatusCode;
use lockstep_components::{Action, Outcome, config::PolicyKind};
use lockstep_systems::MoveStats;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering::SeqCst},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// The time after which a session that nobody asks for anything is closed.
const IDLE: Duration = Duration::from_secs(600);

/// The time after which a session that nobody asks for anything makes place for another one.
const SPARE: Duration = Duration::from_secs(60);

/// The most orders that wait for a session's thread.
const ORDERS: usize = 8;

/// The most games that the history of a position lists.
const GAMES: usize = 50;

/// The shortest time between two reports of a search.
const REPORT: Duration = Duration::from_millis(100);

/// What a session is to do.
#[derive(Debug)]
pub enum Order {
    /// Play a move, given as people write it.
    Play(String),
    /// Take back some moves.
    Back(usize),
    /// Take the position behind some moves from the start.
    Set(String),
    /// Ask the network about the position, without a search.
    Evaluate,
    /// Look into the tree, behind some moves from the position.
    Look(Vec<Action>),
    /// Search, and play what was found if `play` is set.
    Search {
        /// The number of simulations.
        simulations: u32,
        /// Whether they are to be made beside those that the tree has.
        more: bool,
        /// Whether the move that is found is played.
        play: bool,
    },
    /// Tell the history of the position in the run that the player is from, as `lockstep why` does.
    Why {
        /// The move that is asked about; without one it is that of the newest generation.
        about: Option<String>,
        /// The right to look into the history of a run, which few have at the same time.
        right: OwnedSemaphorePermit,
    },
}

type Reply = oneshot::Sender<Result<Value, Error>>;

/// What a search is told.
mod word {
    /// Go on.
    pub const ON: u8 = 0;
    /// End, and keep what was found.
    pub const STOP: u8 = 1;
    /// End, and play nothing.
    pub const LEAVE: u8 = 2;
    /// There is no search.
    pub const NONE: u8 = 3;
}

/// What a session's thread has in common with those who ask.
struct Shared {
    id: String,
    browser: String,
    /// What the search is told, or that there is none.
    word: AtomicU8,
    /// What the page shows of the session.
    shown: Mutex<Value>,
}

/// A session as those who ask know it.
pub struct Seat {
    shared: Arc<Shared>,
    orders: SyncSender<(Order, Reply)>,
    used: Mutex<Instant>,
    rate: Mutex<Bucket>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seat {
    /// Hands an order to the session. An order that changes the position ends a search that is under way, which then
    /// plays nothing.
    ///
    /// # Errors
    /// When the order cannot be carried out during a search, or the session has too much to do.
    pub fn give(&self, order: Order) -> Result<oneshot::Receiver<Result<Value, Error>>, Refusal> {
        let searching = || Refusal::new(StatusCode::CONFLICT, "a search is under way in this session: stop it first");
        let word = &self.shared.word;
        match order {
            Order::Search { .. } | Order::Why { .. } => {
                word.compare_exchange(word::NONE, word::ON, SeqCst, SeqCst).map_err(|_| searching())?;
            }
            Order::Evaluate | Order::Look(_) if word.load(SeqCst) != word::NONE => return Err(searching()),
            Order::Evaluate | Order::Look(_) => {}
            Order::Play(_) | Order::Back(_) | Order::Set(_) => self.tell(word::LEAVE),
        }
        let is_search = matches!(order, Order::Search { .. } | Order::Why { .. });
        let (reply, answer) = oneshot::channel();
        self.orders.try_send((order, reply)).map_err(|error| {
            if is_search {
                word.store(word::NONE, SeqCst);
            }
            match error {
                TrySendError::Full(_) => Refusal::slower(),
                TrySendError::Disconnected(_) => Refusal::closed(),
            }
        })?;
        Ok(answer)
    }

    /// Stops the search that is under way, if there is one. What it has found is kept, and played if it was to play.
    pub fn stop(&self) {
        self.tell(word::STOP);
    }

    fn tell(&self, told: u8) {
        // A search that is to play nothing is not told otherwise.
        let told = |before| (before < told).then_some(told);
        let _ = self.shared.word.fetch_update(SeqCst, SeqCst, told);
    }

    /// Returns what the page shows of the session.
    pub fn shown(&self) -> Value {
        lock(&self.shared.shown).clone()
    }

    fn is_idle(&self, time: Duration) -> bool {
        self.shared.word.load(SeqCst) == word::NONE && lock(&self.used).elapsed() >= time
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.tell(word::LEAVE);
    }
}

/// All sessions.
pub struct Seats {
    all: Mutex<HashMap<String, Arc<Seat>>>,
    most: usize,
}

impl Seats {
    /// Returns room for this many sessions.
    pub fn new(most: usize) -> Self {
        Self { all: Mutex::default(), most }
    }

    /// Returns the session with this name, for one request.
    ///
    /// # Errors
    /// When there is no such session, or it is asked for too much.
    pub fn of(&self, id: &str) -> Result<Arc<Seat>, Refusal> {
        let seat = lock(&self.all).get(id).cloned();
        let seat = seat.ok_or_else(Refusal::closed)?;
        if !lock(&seat.rate).take() {
            return Err(Refusal::slower());
        }
        *lock(&seat.used) = Instant::now();
        Ok(seat)
    }

    /// Closes a session, if there is one with this name.
    pub fn close(&self, id: &str) {
        lock(&self.all).remove(id);
    }

    /// Closes the sessions that nobody has asked for anything for long.
    pub fn close_idle(&self) {
        lock(&self.all).retain(|_, seat| !seat.is_idle(IDLE));
    }

    /// Checks that there is room for one more session.
    ///
    /// # Errors
    /// When all sessions are in use.
    pub fn check(&self) -> Result<(), Error> {
        self.spare(&lock(&self.all)).map(|_| ())
    }

    /// Returns the session that makes place for another one, if one has to.
    fn spare(&self, all: &HashMap<String, Arc<Seat>>) -> Result<Option<String>, Error> {
        let most = self.most;
        if all.len() < most {
            return Ok(None);
        }
        let spare = all.iter().filter(|(_, seat)| seat.is_idle(SPARE)).min_by_key(|(_, seat)| *lock(&seat.used));
        let none = || {
            Error::Usage(format!(
                "all {most} sessions are in use: close a page, wait a minute, or start the server with more --sessions"
            ))
        };
        spare.map(|(id, _)| Some(id.clone())).ok_or_else(none)
    }

    /// Opens a session for a browser, after some moves, and returns what a page shows of it.
    ///
    /// # Errors
    /// When a move is not legal, or all sessions are in use.
    pub fn open(
        &self,
        (desk, mut session): (Arc<Desk>, Session),
        browser: &str,
        moves: &str,
        hub: &Arc<Hub>,
    ) -> Result<Value, Error> {
        session.set(moves)?;
        let mut all = lock(&self.all);
        if let Some(spare) = self.spare(&all)? {
            all.remove(&spare);
        }
        let (orders, receiver) = sync_channel(ORDERS);
        let shared = Arc::new(Shared {
            id: secret(),
            browser: browser.into(),
            word: AtomicU8::new(word::NONE),
            shown: Mutex::default(),
        });
        let mut worker =
            Worker { shared: shared.clone(), hub: hub.clone(), desk, session, found: None, network: None, serial: 0 };
        let shown = worker.show();
        let started = std::thread::Builder::new().name("session".into()).spawn(move || worker.work(&receiver));
        started.map_err(|e| Error::Usage(format!("cannot start a thread for this session: {e}")))?;
        let seat = Seat { shared, orders, used: Mutex::new(Instant::now()), rate: Mutex::new(Bucket::new(60.0, 30.0)) };
        all.insert(seat.shared.id.clone(), Arc::new(seat));
        Ok(shown)
    }
}

/// What a session's thread has.
struct Worker {
    shared: Arc<Shared>,
    hub: Arc<Hub>,
    desk: Arc<Desk>,
    session: Session,
    /// What the last search of the position has found.
    found: Option<Value>,
    /// What the network says of the position.
    network: Option<Value>,
    /// How often something has changed: what a page hears late it can tell by that.
    serial: u64,
}

impl Worker {
    fn work(mut self, orders: &Receiver<(Order, Reply)>) {
        while let Ok((order, reply)) = orders.recv() {
            let answer = match order {
                Order::Search { simulations, more, play } => {
                    self.search(simulations, more, play, reply);
                    continue;
                }
                Order::Why { about, right } => {
                    let answer = self.why(about);
                    self.shared.word.store(word::NONE, SeqCst);
                    drop(right);
                    answer
                }
                Order::Play(text) => self.change(|session| session.play(&text).map(|_| ())),
                Order::Back(moves) => self.change(|session| {
                    session.take_back(moves);
                    Ok(())
                }),
                Order::Set(moves) => self.change(|session| session.set(&moves)),
                Order::Evaluate => self.evaluate().map(|()| self.show()),
                Order::Look(path) => self.look(&path),
            };
            // Who has gone needs no answer.
            let _ = reply.send(answer);
        }
    }

    /// Changes the position.
    fn change(&mut self, change: impl FnOnce(&mut Session) -> Result<(), Error>) -> Result<Value, Error> {
        change(&mut self.session)?;
        (self.found, self.network) = (None, None);
        Ok(self.show())
    }

    fn evaluate(&mut self) -> Result<(), Error> {
        if self.network.is_none() {
            let evaluated = self.session.evaluate()?;
            let policy = evaluated.policy.iter().map(|(action, share)| json!({"action": action, "share": share}));
            self.network = Some(json!({"value": evaluated.value, "policy": policy.collect::<Vec<_>>()}));
        }
        Ok(())
    }

    fn look(&mut self, path: &[Action]) -> Result<Value, Error> {
        let (mut state, mut before, mut texts) = (self.session.state().clone(), None, vec![]);
        for &action in path {
            if !state.is_legal(action) {
                return Err(Error::Usage(format!("move {action} of the path is not legal there")));
            }
            texts.push(state.action_text(action));
            let next = state.played(action);
            before = Some((std::mem::replace(&mut state, next), action));
        }
        let view = match &before {
            Some((before, action)) => View::of(&state, Some((before, *action))),
            None => self.session.view(),
        };
        let moves = self.session.look(path)?;
        let moves = moves.map(|moves| moves.iter().map(statistics).collect::<Vec<_>>());
        Ok(json!({"path": path, "texts": texts, "view": view, "moves": moves}))
    }

    /// Returns the history of the position, or `null` if it was told to stop.
    fn why(&self, about: Option<String>) -> Result<Value, Error> {
        let none = || Error::Usage("this player is from no run: there is no history of what it has learned".into());
        let run = self.desk.run.as_ref().ok_or_else(none)?;
        let moves = self.session.texts().join(" ");
        let question = Question { moves, about, simulations: None, device: self.desk.device, games: GAMES };
        let mut reported = Instant::now();
        let found = why(run, &question, |what| {
            if reported.elapsed() >= REPORT {
                reported = Instant::now();
                self.tell(&json!({"session": self.shared.id, "asking": what}));
            }
            self.shared.word.load(SeqCst) == word::ON
        })?;
        Ok(found.map_or(Value::Null, |found| json!({"why": found, "sentences": found.sentences()})))
    }

    /// Tells the pages of the session's browser something.
    fn tell(&self, event: &Value) {
        self.hub.send(Some(&self.shared.browser), event);
    }

    fn search(&mut self, simulations: u32, more: bool, play: bool, reply: Reply) {
        let is_gumbel = self.session.settings().policy == PolicyKind::Gumbel;
        let limit = match more && !is_gumbel {
            true => Limit { nodes: Some(simulations), ..Limit::default() },
            false => Limit::simulations(simulations),
        };
        if self.session.state().outcome().is_some() {
            self.shared.word.store(word::NONE, SeqCst);
            let _ = reply.send(Err(Error::Usage("the game is over: there is no move to search for".into())));
            return;
        }
        let _ = reply.send(Ok(self.show()));
        let (shared, hub) = (self.shared.clone(), self.hub.clone());
        let texts = Texts::of(&self.session);
        let mut reported = Instant::now();
        let watch = |found: &Found| {
            if reported.elapsed() >= REPORT {
                reported = Instant::now();
                hub.send(Some(&shared.browser), &json!({"session": shared.id, "found": texts.found(found)}));
            }
            shared.word.load(SeqCst) == word::ON
        };
        // The network's own words stand beside those of the search.
        let found = self.evaluate().and_then(|()| self.session.search(&limit, watch));
        let left = self.shared.word.swap(word::NONE, SeqCst) == word::LEAVE;
        let failed = match found {
            Ok(found) => {
                let shown = texts.found(&found);
                self.tell(&json!({"session": self.shared.id, "found": shown}));
                self.found = Some(shown);
                let played = if play && !left {
                    self.change(|session| session.play_action(found.action)).map(|_| ())
                } else {
                    Ok(())
                };
                played.err()
            }
            Err(error) => Some(error),
        };
        let error = failed.map(|error| error.to_string());
        let state = self.show();
        self.tell(&json!({"session": self.shared.id, "state": state, "error": error}));
    }

    /// Makes what the page shows of the session, keeps it for those who ask, and returns it.
    fn show(&mut self) -> Value {
        self.serial += 1;
        let session = &self.session;
        let searching = self.shared.word.load(SeqCst) != word::NONE;
        let shown = json!({
            "id": self.shared.id,
            "serial": self.serial,
            "player": self.desk.name,
            "game": session.game().name,
            "title": session.state().title(),
            "policy": session.settings().policy,
            "most": self.desk.most,
            "view": session.view(),
            "moves": session.texts(),
            "turns": session.states().iter().map(|state| state.to_move().index()).collect::<Vec<_>>(),
            "searching": searching,
            "network": self.network,
            "found": self.found,
        });
        *lock(&self.shared.shown) = shown.clone();
        shown
    }
}

impl Drop for Worker {
    /// However the thread ends, nobody waits for a search of it.
    fn drop(&mut self) {
        self.shared.word.store(word::NONE, SeqCst);
    }
}

fn statistics(of: &MoveStats) -> Value {
    let MoveStats { action, prior, visits, value, proven } = *of;
    json!({"action": action, "prior": prior, "visits": visits, "value": value, "proven": proven.map(Outcome::value)})
}

/// What the results of a search are written with, while the session is busy with it.
struct Texts {
    state: lockstep_components::State,
    moves: String,
}

impl Texts {
    fn of(session: &Session) -> Self {
        Self { state: session.state().clone(), moves: session.texts().join(" ") }
    }

    fn found(&self, found: &Found) -> Value {
        let mut state = self.state.clone();
        let line = found.line.iter().map(|&action| {
            let text = state.action_text(action);
            state.play(action);
            text
        });
        let line: Vec<String> = line.collect();
        let ended = match found.ended {
            Ended::NotYet => "not_yet",
            Ended::Limit => "limit",
            Ended::Proven => "proven",
            Ended::Full => "full",
            Ended::Stopped => "stopped",
        };
        json!({
            "after": self.moves,
            "action": found.action,
            "value": found.value,
            "proven": found.proven.map(Outcome::value),
            "moves": found.moves.iter().map(statistics).collect::<Vec<_>>(),
            "line": line,
            "simulations": found.simulations,
            "reused": found.reused,
            "milliseconds": found.time.as_millis() as u64,
            "ended": ended,
        })
    }
}
