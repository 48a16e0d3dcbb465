//! The learner's thread that reads what workers write, and writes what they read.

use super::{
    Address,
    learner::{BOARD_EVERY, OpenRound, Shared, epoch_key, epochs, lock},
    ledger::LEARNER,
    message::{
        self, Board, Epoch, Games, MOST_OF_REPORT, Phase, REPORTS_AT_ONCE, Report, Status, is_worker, orders_key, seal,
        unseal, weights_key,
    },
    store::{Found, Store},
};
use crate::{Error, tell};
use lockstep_components::GameRecord;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How often the status is written.
const STATUS_EVERY: (u32, Duration) = (20, Duration::from_secs(2));
/// How often the place is asked whether it still has the weights, and whether another learner has come; and after how long
/// orders that a worker does not seem to have read are written again.
const LOOK_EVERY: (u32, Duration) = (100, Duration::from_secs(10));
/// How long the place is left alone when it does not work.
const REST: (u32, Duration) = (20, Duration::from_secs(2));
/// The most reports that are read at a time.
const REPORTS: usize = 256;

/// The thread that reads what workers write, and writes what they read.
pub(super) struct Postman {
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
    pub(super) fn new(address: Address, store: Box<dyn Store>, shared: Arc<Shared>, own: Epoch, board: Board) -> Self {
        Self { address, store, shared, own, board, told: None, pending: BTreeMap::new(), kept: BTreeSet::new() }
    }

    /// Works until it is told to stop, or another learner has come.
    pub(super) fn run(mut self) {
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
            let ledger = lock(&self.shared.ledger);
            self.board.phase = ledger.phase();
            self.board.pace = ledger.pace(self.store.answers());
            drop(ledger);
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
        for keys in keys.chunks(REPORTS_AT_ONCE) {
            for Found { key, bytes } in self.store.get(keys, MOST_OF_REPORT)? {
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
