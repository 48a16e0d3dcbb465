//! The learner's end of a fleet: a source of games whose lanes are on many machines.

use super::{
    Address,
    ledger::{LEARNER, Ledger},
    message::{
        self, Board, Effort, Epoch, Games, MOST, Phase, Report, Span, Status, WorkNotice, digest, drawn, is_worker,
        orders_key, seal, unseal, weights_key,
    },
    store::{Found, Store},
};
use crate::{
    Error, checkpoint,
    folder::{Folder, write_file},
    log::hex,
    settings,
    source::{Counts, FleetMetrics, GameSource, Lanes, Played, Work},
    tell,
};
use bevy_ecs::prelude::*;
use lockstep_components::{Config, GameId, GameRecord, State};
use lockstep_systems::{AnyGame, Network};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How often the board is written at least, by which others see that somebody learns here: in looks at the place, and at most.
const BOARD_EVERY: (u32, Duration) = (50, Duration::from_secs(5));
/// How often the status is written.
const STATUS_EVERY: (u32, Duration) = (20, Duration::from_secs(2));
/// How often the place is asked whether it still has the weights, and whether another learner has come; and after how long
/// orders that a worker does not seem to have read are written again.
const LOOK_EVERY: (u32, Duration) = (100, Duration::from_secs(10));
/// How long the place is left alone when it does not work.
const REST: (u32, Duration) = (20, Duration::from_secs(2));
/// How long the source of games waits for news when it has nothing to play itself.
const WAIT: Duration = Duration::from_millis(50);
/// The most reports that are read at a time.
const REPORTS: usize = 256;
/// How many of them are in memory at a time.
const AT_ONCE: usize = 32;
/// How many rounds have their weights at the place beside those in play.
const BEHIND: usize = 2;

/// What a thread that talks to the workers shares with the run.
struct Shared {
    ledger: Mutex<Ledger>,
    /// Wakes the source when games have come.
    news: Condvar,
    rounds: Mutex<VecDeque<Arc<OpenRound>>>,
    /// Why the learner must end, if it must.
    fenced: Mutex<Option<String>>,
    stop: AtomicBool,
}

/// A round that is in play, or was just before.
struct OpenRound {
    notice: WorkNotice,
    weights: Vec<u8>,
    start: State,
}

/// The place where a run meets its workers, for as long as it trains.
pub struct Link {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    address: Address,
    plays: bool,
}

impl Link {
    /// Joins a fleet as its learner. `probe` is what this machine computes, and `plays` says whether the learner plays too.
    ///
    /// # Errors
    /// When the place cannot be reached, or another run trains there.
    pub fn open(
        address: &Address,
        store: Box<dyn Store>,
        folder: &Folder,
        config: &Config,
        probe: String,
        plays: bool,
    ) -> Result<Self, Error> {
        let path = std::path::absolute(folder.path()).unwrap_or_else(|_| folder.path().into());
        let name = format!("{} on {}", path.display(), super::host());
        let own = Epoch { run: run_id(folder)?, name };
        let epoch = begin_epoch(address, &*store, &own)?;
        let version = env!("CARGO_PKG_VERSION").to_string();
        let ledger = Ledger::new(epoch, config.fleet.clone(), version.clone(), probe.clone(), drawn()?);
        let shared = Arc::new(Shared {
            ledger: Mutex::new(ledger),
            news: Condvar::new(),
            rounds: Mutex::new(VecDeque::new()),
            fenced: Mutex::new(None),
            stop: AtomicBool::new(false),
        });
        let board = Board {
            epoch,
            beat: 0,
            run: own.run.clone(),
            name: own.name.clone(),
            version,
            probe,
            phase: Phase::Training,
            works: vec![],
        };
        let postman = Postman {
            address: address.clone(),
            store,
            shared: shared.clone(),
            own,
            board,
            told: None,
            pending: BTreeMap::new(),
            kept: BTreeSet::new(),
        };
        let thread = thread::Builder::new().name("fleet".into()).spawn(move || postman.run());
        let thread = thread.map_err(|e| address.error(format!("cannot start a thread: {e}")))?;
        Ok(Self { shared, thread: Some(thread), address: address.clone(), plays })
    }

    /// Returns the games of the fleet as a source, with lanes of this process beside the workers: they play what is disputed,
    /// and if the learner plays, whatever they have room for.
    pub fn source(&self, lanes: Lanes, game: AnyGame, config: &Config) -> Fleet {
        Fleet {
            lanes,
            game,
            capacity: if self.plays { u64::from(config.lanes.count) } else { 0 },
            shared: self.shared.clone(),
            address: self.address.clone(),
            rounds: BTreeMap::new(),
            waiting: VecDeque::new(),
            withdrawn: vec![],
            effort: Effort::default(),
            before: lock(&self.shared.ledger).counts(),
        }
    }

    /// Returns what the fleet has counted.
    pub fn counts(&self) -> Counts {
        lock(&self.shared.ledger).counts()
    }

    /// Tells the workers what has become of the run, and leaves the place.
    pub fn close(mut self, phase: Phase) {
        lock(&self.shared.ledger).end(phase);
        self.leave();
    }

    fn leave(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // What went wrong there was told there.
            let _ = thread.join();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.thread.is_some() {
            lock(&self.shared.ledger).end(Phase::Stopped);
            self.leave();
        }
    }
}

/// Returns what a mutex holds: what is in it is sound even where somebody has panicked, since it is changed by whole steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the identity of a run, which it gets when it first joins a fleet.
fn run_id(folder: &Folder) -> Result<String, Error> {
    let path = folder.path().join(".fleet");
    if let Ok(text) = std::fs::read_to_string(&path)
        && is_worker(text.trim())
    {
        return Ok(text.trim().into());
    }
    let id = hex(&drawn()?[..8]);
    write_file(&path, id.as_bytes())?;
    Ok(id)
}

/// Becomes the learner of a place, and returns the number of the epoch. A learner of the same run that was there before is
/// fenced off; that of another run must have ended.
fn begin_epoch(address: &Address, store: &dyn Store, own: &Epoch) -> Result<u64, Error> {
    let last = epochs(store)?.last().copied().unwrap_or(0);
    let before =
        store.get_one(&epoch_key(last), MOST)?.and_then(|bytes| unseal::<Epoch>(&bytes).ok().map(|(epoch, _)| epoch));
    if let Some(before) = before.filter(|before| before.run != own.run) {
        let board = || -> Result<Option<Board>, Error> {
            Ok(store.get_one("board", MOST)?.and_then(|bytes| unseal::<Board>(&bytes).ok().map(|(board, _)| board)))
        };
        let seen = board()?;
        if seen.as_ref().is_some_and(|board| board.phase == Phase::Training) {
            tell!(
                "{address}: another run was trained here ({}); looking whether it still is.",
                message::shown(&before.name)
            );
            let began = Instant::now();
            while began.elapsed() < 3 * store.paces(BOARD_EVERY) {
                thread::sleep(Duration::from_millis(500));
                if board()?.map(|board| board.beat) != seen.as_ref().map(|board| board.beat) {
                    let message = "is trained here; each run needs a place of its own: name another one with --fleet";
                    return Err(address.error(format!("the run {} {message}", message::shown(&before.name))));
                }
            }
        }
    }
    // Orders of learners before this one: it writes its own.
    store.remove(store.list("out/")?)?;
    if !store.create(&epoch_key(last + 1), seal(own, &[]))? {
        return Err(address.error("another learner has begun here at this moment; see which one, and try again"));
    }
    Ok(last + 1)
}

fn epoch_key(number: u64) -> String {
    format!("epoch/{number:08}")
}

/// Returns the numbers of the epochs that are noted at a place, in ascending order.
fn epochs(store: &dyn Store) -> Result<Vec<u64>, Error> {
    let keys = store.list("epoch/")?;
    let mut numbers: Vec<u64> = keys.iter().filter_map(|key| key.strip_prefix("epoch/")?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The thread that reads what workers write, and writes what they read.
struct Postman {
    address: Address,
    store: Box<dyn Store>,
    shared: Arc<Shared>,
    own: Epoch,
    board: Board,
    /// What went wrong at the place, if it does not work.
    told: Option<String>,
    /// What is to be written, by key.
    pending: BTreeMap<String, Vec<u8>>,
    /// The weights that are at the place, by their digests.
    kept: BTreeSet<String>,
}

impl Postman {
    fn run(mut self) {
        let (mut board_due, mut status_due, mut look_due) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            // Looked at before the last round, so that the last words are written.
            let ends = self.shared.stop.load(Ordering::Relaxed);
            let now = Instant::now();
            let (looks, told_of) = (now >= look_due, self.shows(now >= board_due || ends, now >= status_due || ends));
            let done = self.round(now, looks, told_of);
            if told_of.0 {
                board_due = now + self.store.paces(BOARD_EVERY);
            }
            if told_of.1 {
                status_due = now + self.store.paces(STATUS_EVERY);
            }
            if looks && done.is_ok() {
                look_due = now + self.store.paces(LOOK_EVERY);
            }
            self.tell(done);
            if ends && self.board.phase == Phase::Finished {
                let cleared = self.clear();
                self.tell(cleared);
            }
            if ends || lock(&self.shared.fenced).is_some() {
                return;
            }
            let pace = if self.told.is_some() { self.store.paces(REST) } else { self.store.pace() };
            thread::park_timeout(pace.saturating_sub(now.elapsed()).max(Duration::from_millis(1)));
        }
    }

    /// Returns whether the board and the status are to be written.
    fn shows(&self, board: bool, status: bool) -> (bool, bool) {
        let rounds = lock(&self.shared.rounds);
        let is_new = !rounds.iter().map(|round| &round.notice).eq(&self.board.works);
        (board || is_new, status)
    }

    /// Tells people what has happened, once.
    fn tell(&mut self, done: Result<(), Error>) {
        for text in lock(&self.shared.ledger).take_told() {
            tell!("fleet: {text}.");
        }
        match (done, &self.told) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                tell!("fleet: {} can be reached again.", self.address);
                self.told = None;
            }
            (Err(error), told) => {
                let text = error.to_string();
                if told.is_none() {
                    tell!("fleet: {text}; the learner goes on with what it has and tries again.");
                }
                self.told = Some(text);
            }
        }
    }

    /// Reads and writes what there is.
    fn round(&mut self, now: Instant, looks: bool, (board, status): (bool, bool)) -> Result<(), Error> {
        if looks {
            self.look()?;
        }
        // Weights first: whoever reads of a round may ask for them at once.
        let rounds: Vec<_> = lock(&self.shared.rounds).iter().cloned().collect();
        for round in &rounds {
            let digest = &round.notice.weights;
            if !self.kept.contains(digest) {
                self.store.create(&weights_key(digest), round.weights.clone())?;
                self.kept.insert(digest.clone());
            }
        }
        // Whatever goes wrong there, workers are told what to play.
        let read = self.read();
        let again = self.store.paces(LOOK_EVERY);
        let mut ledger = lock(&self.shared.ledger);
        ledger.tick(now);
        for (worker, orders) in ledger.take_orders(now, again) {
            self.pending.insert(orders_key(&worker), seal(&orders, &[]));
        }
        drop(ledger);
        self.shared.news.notify_all();
        if board {
            self.board.beat += 1;
            self.board.works = rounds.iter().map(|round| round.notice.clone()).collect();
            self.board.phase = lock(&self.shared.ledger).phase();
            self.pending.insert("board".into(), seal(&self.board, &[]));
        }
        if status {
            let status = self.status(now);
            self.pending.insert("status".into(), seal(&status, &[]));
        }
        if !self.pending.is_empty() {
            // What fails is written the next time, unless there is something newer by then.
            self.store.replace(self.pending.iter().map(|(key, bytes)| (key.clone(), bytes.clone())).collect())?;
            self.pending.clear();
        }
        read
    }

    /// Removes what nobody needs after the run: what is left says that it has ended, and orders say so to each worker.
    fn clear(&self) -> Result<(), Error> {
        let parts = ["weights/", "in/"].iter().map(|part| self.store.list(part));
        self.store.remove(parts.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// Looks whether another learner has come, and puts back what is gone from the place.
    fn look(&mut self) -> Result<(), Error> {
        let epochs = epochs(&*self.store)?;
        if let Some(newer) = epochs.iter().find(|epoch| **epoch > self.board.epoch) {
            let reason = format!("another learner of this run has begun epoch {newer} here, so this one ends");
            *lock(&self.shared.fenced) = Some(reason);
            self.shared.news.notify_all();
            return Ok(());
        }
        if !epochs.contains(&self.board.epoch) {
            self.store.create(&epoch_key(self.board.epoch), seal(&self.own, &[]))?;
        }
        let old = epochs.into_iter().filter(|epoch| epoch + 1 < self.board.epoch).map(epoch_key).collect();
        self.store.remove(old)?;
        let rounds = lock(&self.shared.rounds);
        let wanted: BTreeSet<String> = rounds.iter().map(|round| round.notice.weights.clone()).collect();
        drop(rounds);
        let there = self.store.list("weights/")?;
        self.kept = there.iter().filter_map(|key| Some(key.strip_prefix("weights/")?.to_string())).collect();
        let old: Vec<String> = self.kept.difference(&wanted).map(|digest| weights_key(digest)).collect();
        self.store.remove(old)?;
        self.kept.retain(|digest| wanted.contains(digest));
        Ok(())
    }

    /// Reads the reports that have come.
    fn read(&mut self) -> Result<(), Error> {
        let listed = self.store.list("in/")?;
        let ledger = lock(&self.shared.ledger);
        let has_read = |key: &String| {
            let mut parts = key.split('/').skip(1);
            let (worker, number) =
                (parts.next().unwrap_or_default(), parts.next().and_then(|number| number.parse().ok()));
            number.is_some_and(|number| ledger.has_read(worker, number))
        };
        // Some places list what is gone.
        let (old, mut keys): (Vec<_>, Vec<_>) = listed.into_iter().partition(has_read);
        drop(ledger);
        // By their numbers first, so that nobody who writes many keeps others waiting.
        keys.sort_by(|one, other| one.rsplit('/').cmp(other.rsplit('/')));
        keys.truncate(REPORTS);
        // A place that does not remove is slow, and no more.
        let mut removed = self.store.remove(old);
        for keys in keys.chunks(AT_ONCE) {
            for Found { key, bytes } in self.store.get(keys, MOST)? {
                match bytes.ok_or("it is larger than a report may be".into()).and_then(|bytes| opened(&key, &bytes)) {
                    Ok((report, games)) => self.take(report, games),
                    Err(message) => lock(&self.shared.ledger).damaged(&key, &message),
                }
            }
            removed = removed.and(self.store.remove(keys.to_vec()));
            self.shared.news.notify_all();
        }
        removed
    }

    /// Takes a report into the ledger, with the games of it that are of use.
    fn take(&self, report: Report, mut games: Games) {
        let rounds = lock(&self.shared.rounds).clone();
        games.retain(|(work, _)| rounds.iter().any(|round| round.notice.id == *work));
        let mut wrong = None;
        for (work, games) in &games {
            let round = rounds.iter().find(|round| round.notice.id == *work).expect("the others are gone");
            wrong = wrong.or(games.iter().find_map(|game| sound(round, game).err()));
        }
        let now = Instant::now();
        let mut ledger = lock(&self.shared.ledger);
        match wrong {
            None => ledger.report(&report, games, now),
            Some(message) => {
                ledger.report(&report, vec![], now);
                ledger.reject(&report.worker, &format!("it has handed in what is no game: {message}"), now);
            }
        }
    }

    fn status(&self, now: Instant) -> Status {
        let mut ledger = lock(&self.shared.ledger);
        let (rounds, workers, rejected) = ledger.status(now);
        let free: u64 = rounds.iter().map(|round| round.free).sum();
        let others = workers.iter().filter(|worker| worker.worker != LEARNER).count();
        let waits = match (rounds.is_empty(), free, others) {
            (true, ..) => "The workers wait for the learner, which learns",
            (false, 0, _) => "The learner waits for the last games of the round",
            (false, _, 0) => "The games of the round wait for workers",
            (false, ..) => "The games of the round are played",
        };
        Status {
            epoch: self.board.epoch,
            name: self.own.name.clone(),
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            phase: ledger.phase(),
            waits: waits.into(),
            rounds,
            workers,
            counts: ledger.counts(),
            rejected,
        }
    }
}

/// Returns the report under a key and its games.
fn opened(key: &str, bytes: &[u8]) -> Result<(Report, Games), String> {
    let parts: Vec<&str> = key.split('/').collect();
    let [_, worker, number] = parts[..] else { return Err("it is no report by its key".into()) };
    let (mut report, body) = unseal::<Report>(bytes)?;
    for text in [&mut report.name, &mut report.version, &mut report.probe] {
        *text = message::shown(text);
    }
    if report.worker != worker || !is_worker(worker) || number.parse() != Ok(report.number) {
        return Err("it is not the report that its key says".into());
    }
    Ok((report, message::unpack(body)?))
}

/// Checks that a game is one of the round, by playing it through.
fn sound(round: &OpenRound, game: &GameRecord) -> Result<(), String> {
    round.start.check(game)?;
    if game.id.is_none_or(|id| id.round != round.notice.round) {
        return Err("it is a game of another round".into());
    }
    // Whatever these count, their sums are to stay numbers.
    if !(-1.0..1e9).contains(&game.entropy_sum) || game.counts.depth_sum > 1 << 44 {
        return Err("its counts are none of a game".into());
    }
    Ok(())
}

/// The games of a run whose lanes are on many machines.
pub struct Fleet {
    lanes: Lanes,
    game: AnyGame,
    /// The games that the learner holds itself.
    capacity: u64,
    shared: Arc<Shared>,
    address: Address,
    /// What the learner itself can play, by the identity of its round.
    rounds: BTreeMap<String, (u64, Config, Network)>,
    /// What it is to play and has not begun.
    waiting: VecDeque<Span>,
    withdrawn: Vec<GameId>,
    /// What the workers have done since that was last taken.
    effort: Effort,
    before: Counts,
}

impl Fleet {
    /// Begins what the learner itself is to play, as far as its lanes are ready for it.
    fn begin_own(&mut self) -> Result<(), Error> {
        for _ in 0..self.waiting.len() {
            let Some(span) = self.waiting.pop_front() else { break };
            let Some((round, config, network)) = self.rounds.get(&span.work) else { continue };
            if self.lanes.prepare(*round, config, network)? {
                self.lanes.begin(*round, vec![span.from..span.to]);
            } else {
                self.waiting.push_back(span);
            }
        }
        Ok(())
    }

    /// Returns what workers have done since it was last taken.
    fn fleet(&self) -> FleetMetrics {
        let Effort { waited, loading, seconds, .. } = self.effort;
        let share = |part: f64| if seconds > 0.0 { (part / seconds).clamp(0.0, 1.0) } else { 0.0 };
        let counts = lock(&self.shared.ledger).counts().since(self.before);
        FleetMetrics { counts, waited: share(waited), loading: share(loading) }
    }
}

impl GameSource for Fleet {
    fn open(&mut self, Work { round, config, generation, network, missing }: Work) -> Result<(), Error> {
        let tensors = lockstep_systems::Error::guard("reading the weights", || Ok(network.tensors()))?;
        let weights = checkpoint::to_safetensors(&tensors, None);
        let digest = digest(&weights);
        let id = message::work_id(round, &settings::essence(config), &digest);
        let notice = WorkNotice {
            id: id.clone(),
            round,
            generation,
            settings: settings::to_text(config),
            weights: digest,
            bytes: weights.len() as u64,
        };
        let kept = config.run.lag + BEHIND as u64;
        self.rounds.retain(|_, (other, ..)| *other + kept > round && *other != round);
        self.rounds.insert(id.clone(), (round, config.clone(), network.snapshot()));
        let mut rounds = lock(&self.shared.rounds);
        rounds.retain(|other| other.notice.round != round);
        rounds.push_back(Arc::new(OpenRound { notice, weights, start: self.game.start_of(config) }));
        while rounds.len() > config.run.lag as usize + BEHIND {
            rounds.pop_front();
        }
        drop(rounds);
        lock(&self.shared.ledger).open(&id, round, config.run.games, &missing, Instant::now());
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<GameRecord>, Error> {
        if let Some(reason) = &*lock(&self.shared.fenced) {
            return Err(self.address.error(reason));
        }
        let mut ledger = lock(&self.shared.ledger);
        ledger.set_own_capacity(self.capacity, Instant::now());
        self.waiting.extend(ledger.take_own());
        drop(ledger);
        self.begin_own()?;
        let mut own = vec![];
        if self.lanes.in_play() > 0 {
            let id_of = |round| self.rounds.iter().find(|(_, (other, ..))| *other == round).map(|(id, _)| id.clone());
            for game in self.lanes.poll()? {
                own.extend(game.id.and_then(|id| id_of(id.round)).map(|id| (id, game)));
            }
        }
        let mut ledger = lock(&self.shared.ledger);
        ledger.own_games(own, Instant::now());
        let (withdrawn, mut games) = ledger.take();
        if games.is_empty() && withdrawn.is_empty() && self.lanes.in_play() == 0 && self.waiting.is_empty() {
            ledger = self.shared.news.wait_timeout(ledger, WAIT).unwrap_or_else(PoisonError::into_inner).0;
            let (gone, more) = ledger.take();
            self.withdrawn.extend(gone);
            games = more;
        }
        self.withdrawn.extend(withdrawn);
        self.effort.add(&ledger.take_effort());
        Ok(games)
    }

    fn withdrawn(&mut self) -> Vec<GameId> {
        std::mem::take(&mut self.withdrawn)
    }

    fn so_far(&mut self) -> Played {
        let mut played = self.lanes.so_far();
        self.effort.add_to(&mut played.stats);
        Played { fleet: Some(self.fleet()), ..played }
    }

    fn take(&mut self) -> Played {
        let mut played = self.lanes.take();
        self.effort.add_to(&mut played.stats);
        let fleet = self.fleet();
        self.before = lock(&self.shared.ledger).counts();
        self.effort = Effort::default();
        Played { fleet: Some(fleet), ..played }
    }

    fn world(&mut self) -> Option<&mut World> {
        self.lanes.world()
    }
}
