//! The learner's end of a fleet: a source of games whose lanes are on many machines.

use super::{
    Address,
    ledger::Ledger,
    message::{self, Board, Effort, Epoch, MOST, Phase, Span, WorkNotice, digest, drawn, is_worker, seal, unseal},
    postman::Postman,
    store::Store,
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
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often the board is written at least, by which others see that somebody learns here: in looks at the place, and at most.
pub(super) const BOARD_EVERY: (u32, Duration) = (50, Duration::from_secs(5));
/// How long the source of games waits for news when it has nothing to play itself.
const WAIT: Duration = Duration::from_millis(50);
/// How many rounds have their weights at the place beside those in play.
pub(super) const BEHIND: usize = 2;

/// What the thread that talks to the workers shares with the run.
pub(super) struct Shared {
    pub(super) ledger: Mutex<Ledger>,
    /// Wakes the source when games have come.
    pub(super) news: Condvar,
    pub(super) rounds: Mutex<VecDeque<Arc<OpenRound>>>,
    /// Why the learner must end, if it must.
    pub(super) fenced: Mutex<Option<String>>,
    pub(super) stop: AtomicBool,
}

/// A round that is in play, or was just before.
pub(super) struct OpenRound {
    pub(super) notice: WorkNotice,
    pub(super) weights: Vec<u8>,
    /// The beginning of its games.
    pub(super) start: State,
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
            pace: 0.0,
        };
        let postman = Postman::new(address.clone(), store, shared.clone(), own, board);
        let thread = thread::Builder::new().name("fleet".into()).spawn(move || postman.run());
        let thread = thread.map_err(|e| address.error(format!("cannot start a thread: {e}")))?;
        Ok(Self { shared, thread: Some(thread), address: address.clone(), plays })
    }

    /// Returns the games of the fleet as a source, with lanes of this process beside the workers: they play what is disputed,
    /// and if the learner plays, whatever they have room for.
    pub fn source(&self, lanes: Lanes, game: AnyGame, config: &Config) -> Fleet {
        let capacity = if self.plays { config.lanes.count } else { 0 };
        lock(&self.shared.ledger).set_own_capacity(capacity.into(), Instant::now());
        Fleet {
            lanes,
            game,
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
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

pub(super) fn epoch_key(number: u64) -> String {
    format!("epoch/{number:08}")
}

/// Returns the numbers of the epochs that are noted at a place, in ascending order.
pub(super) fn epochs(store: &dyn Store) -> Result<Vec<u64>, Error> {
    let keys = store.list("epoch/")?;
    let mut numbers: Vec<u64> = keys.iter().filter_map(|key| key.strip_prefix("epoch/")?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The games of a run whose lanes are on many machines.
pub struct Fleet {
    lanes: Lanes,
    game: AnyGame,
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
        self.waiting.extend(lock(&self.shared.ledger).take_own());
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
