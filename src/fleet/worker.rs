//! A worker of a fleet: it plays what a learner gives to it, and needs nothing but the place where they meet.

use super::{
    Address,
    ledger::as_spans,
    message::{
        Board, Effort, Games, MOST, Orders, Phase, REPORTED_BYTES, Report, Span, WorkNotice, digest, drawn, orders_key,
        pack, report_key, seal, shown, unseal, weights_key,
    },
    store::Store,
};
use crate::{
    Error,
    checkpoint::from_safetensors,
    device::{self, Place},
    games::{self, AnyGame},
    hooks,
    log::hex,
    memory::{self, MemoryBound},
    run::probe::probe,
    settings,
    source::{GameSource, Lanes},
    tell,
};
use lockstep_components::{Config, GameRecord, config::DeviceKind};
use lockstep_systems::{Network, network::NamedTensor};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How often a worker is heard of at least: in looks at the place, and at most.
const BEAT: (u32, Duration) = (20, Duration::from_secs(5));
/// How often a worker reads the board at least.
const BOARD_EVERY: (u32, Duration) = (100, Duration::from_secs(10));
/// How long the place is left alone when it does not work.
const REST: (u32, Duration) = (20, Duration::from_secs(2));
/// How many paces of the place lie between two reports with games, so that they are packed.
const PACKED: u32 = 5;
/// The most games of a report.
const REPORTED: usize = 512;
/// The most seconds between two looks that a learner can ask for.
const SLOWEST: f64 = 30.0;
/// How long a worker with nothing to play waits for news at a time.
const WAIT: Duration = Duration::from_millis(50);

/// What a worker is told by its user.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name by which others see it.
    pub name: String,
    /// Where the network runs; what the learner's settings say where nothing is said here.
    pub device: Option<DeviceKind>,
    /// Games at a time; as many as the learner's settings say where nothing is said here.
    pub lanes: Option<u32>,
    /// How long to wait for a learner that says nothing.
    pub patience: Duration,
}

/// What a worker has done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Games that it has handed in.
    pub games: u64,
    /// Simulations.
    pub simulations: u64,
    /// Seconds of having nothing to play.
    pub waited: f64,
    /// Seconds altogether.
    pub seconds: f64,
    /// Games that it holds.
    pub holds: u64,
    /// The round that it plays.
    pub round: u64,
}

/// A round that can be played here.
struct Loaded {
    notice: WorkNotice,
    config: Config,
    tensors: Vec<NamedTensor>,
}

/// What the thread that plays and the one that reads and writes have in common.
#[derive(Default)]
struct Desk {
    board: Option<Board>,
    orders: Option<Orders>,
    /// Whether the thread that plays has not seen the orders.
    is_new: bool,
    loaded: HashMap<String, Loaded>,
    /// Games that have ended and are to be handed in.
    outbox: Vec<(String, GameRecord)>,
    /// Games that were put into reports: round, number, and the number of the report.
    sent: Vec<(String, u64, u64)>,
    /// What the worker holds, and how much it can hold.
    holds: Vec<Span>,
    capacity: u64,
    effort: Effort,
    /// The number of the last report.
    number: u64,
    probe: Option<String>,
    /// Whether everything is to be handed in now, and whether that was done.
    leaves: bool,
    has_left: bool,
    error: Option<Error>,
}

struct Worker<'a> {
    address: &'a Address,
    store: &'a dyn Store,
    options: &'a Options,
    id: String,
    desk: Mutex<Desk>,
    news: Condvar,
}

/// Plays for a fleet until its run has ended or `stop` says so; what it has played by then is handed in. `tells` is told what
/// was done, now and then.
///
/// # Errors
/// When the place cannot be used, the learner refuses this worker or is silent for too long, or the device fails.
pub fn work(
    address: &Address,
    store: &dyn Store,
    options: &Options,
    stop: &dyn Fn() -> bool,
    tells: &mut dyn FnMut(&Summary),
) -> Result<Summary, Error> {
    let worker = Worker {
        address,
        store,
        options,
        id: hex(&drawn()?[..8]),
        desk: Mutex::new(Desk::default()),
        news: Condvar::new(),
    };
    thread::scope(|scope| {
        let courier = thread::Builder::new().name("courier".into()).spawn_scoped(scope, || worker.carry());
        let courier = courier.map_err(|e| address.error(format!("cannot start a thread: {e}")))?;
        let done = worker.play(stop, tells);
        worker.desk().leaves = true;
        courier.thread().unpark();
        // What it could not do is on the desk.
        let _ = courier.join();
        match worker.desk().error.take() {
            Some(error) => Err(error),
            None => done,
        }
    })
}

/// A report that is to be written, by its key, and whether it is the last one.
struct Pending {
    key: String,
    bytes: Vec<u8>,
    leaves: bool,
}

/// What a worker plays with.
struct Table {
    game: AnyGame,
    lanes: Lanes,
    place: Place,
    /// The settings that the lanes were made for.
    config: Config,
    /// The rounds that were prepared, each with its identity and its network.
    rounds: BTreeMap<u64, (String, Network)>,
}

/// Where a game is that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    /// A lane plays it, or is about to.
    InPlay,
    /// It has ended.
    Ended,
    /// It is in the report of this number.
    Reported(u64),
}

/// The games that were begun, by round and number.
type Known = BTreeMap<String, BTreeMap<u64, Begun>>;

impl Worker<'_> {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plays what is ordered.
    fn play(&self, stop: &dyn Fn() -> bool, tells: &mut dyn FnMut(&Summary)) -> Result<Summary, Error> {
        let (began, mut heard) = (Instant::now(), Instant::now());
        let (mut lap, mut summary) = (began, Summary::default());
        let mut table: Option<Table> = None;
        let (mut known, mut queue, mut last) = (Known::new(), vec![], (0, 0));
        while !stop() {
            let mut desk = self.desk();
            if desk.error.is_some() || desk.has_ended() {
                break;
            }
            for (work, number, report) in std::mem::take(&mut desk.sent) {
                known.entry(work).or_default().insert(number, Begun::Reported(report));
            }
            if std::mem::take(&mut desk.is_new) {
                heard = Instant::now();
                if let Some(orders) = desk.orders.as_ref().filter(|orders| (orders.epoch, orders.beat) > last) {
                    if orders.epoch > last.0 {
                        // What was handed in to another learner may be lost: this one says what it misses.
                        known.values_mut().for_each(|games| games.retain(|_, begun| *begun == Begun::InPlay));
                    }
                    last = (orders.epoch, orders.beat);
                    queue = to_begin(&mut known, orders);
                }
            }
            if desk.probe.is_none() {
                // Said before anything is played: the learner may refuse it.
                let notice = desk.board.as_ref().and_then(|board| board.works.last().cloned());
                if let Some(notice) = notice {
                    drop(desk);
                    let config = self.config_of(&notice)?;
                    let probe = probe(games::named(&config.game.name)?, &device::place_of(&config)?)?;
                    desk = self.desk();
                    (desk.probe, desk.capacity) = (Some(probe), config.lanes.count.into());
                }
            }
            let next = queue.iter().find_map(|span: &Span| desk.loaded.get(&span.work));
            let is_loading = !queue.is_empty() && next.is_none();
            if let Some(next) = next.filter(|next| !table.as_ref().is_some_and(|table| table.fits(next)))
                && table.as_ref().is_none_or(|table| table.lanes.in_play() == 0)
            {
                let config = next.config.clone();
                drop(desk);
                // Two would take twice the memory.
                drop(table.take());
                table = Some(Table::new(config)?);
                desk = self.desk();
            }
            if let Some(table) = &mut table {
                summary.round = table.begin(&mut queue, &mut known, &desk)?.unwrap_or(summary.round);
                desk.capacity = capacity(table.config.lanes.count.into(), &summary, pace_of(&desk, self.store));
                desk.holds = held(&known);
                summary.holds = desk.holds.iter().map(|span| span.to - span.from).sum();
            }
            let playing = table.as_mut().filter(|table| table.lanes.in_play() > 0);
            let mut effort = Effort::default();
            let is_idle = playing.is_none();
            match playing {
                None => drop(self.news.wait_timeout(desk, WAIT).unwrap_or_else(PoisonError::into_inner)),
                Some(table) => {
                    drop(desk);
                    let games = table.ended(&mut known)?;
                    effort = Effort::of(&table.lanes.take().stats);
                    summary.games += games.len() as u64;
                    self.desk().outbox.extend(games);
                }
            }
            effort.seconds = lap.elapsed().as_secs_f64();
            lap = Instant::now();
            if is_idle {
                *(if is_loading { &mut effort.loading } else { &mut effort.waited }) = effort.seconds;
                summary.waited += effort.seconds;
            }
            summary.simulations += effort.simulations;
            summary.seconds = began.elapsed().as_secs_f64();
            self.desk().effort.add(&effort);
            tells(&summary);
            if heard.elapsed() > self.options.patience && is_idle {
                let minutes = self.options.patience.as_secs_f64() / 60.0;
                return Err(self.address.error(format!(
                    "no learner was heard of for {minutes:.0} minutes; begin one with lockstep train --fleet, or wait longer with --wait"
                )));
            }
        }
        Ok(summary)
    }

    /// Returns the settings of a round, with what this worker is told by its user.
    fn config_of(&self, notice: &WorkNotice) -> Result<Config, Error> {
        let mut config = settings::parse(&notice.settings, "the settings of the learner", &[])?;
        config.run.device = self.options.device.unwrap_or(config.run.device);
        config.lanes.count = self.options.lanes.unwrap_or(config.lanes.count);
        Ok(config)
    }

    /// Reads orders, weights and the board, and writes reports, until the other thread is done.
    fn carry(&self) {
        let (mut board_read, mut reported) = (None::<Instant>, None::<Instant>);
        let mut told: Option<String> = None;
        // A report that could not be written.
        let mut pending: Option<Pending> = None;
        let mut tries = 0;
        loop {
            let began = Instant::now();
            let leaves = self.desk().leaves;
            let done = self.read(&mut board_read).and_then(|()| self.write(&mut pending, &mut reported, leaves));
            match (&done, &told) {
                (Err(error), None) => tell!("{error}; trying again."),
                (Ok(()), Some(_)) => tell!("{} can be reached again.", self.address),
                _ => {}
            }
            told = done.err().map(|error| error.to_string());
            let desk = self.desk();
            tries += u32::from(leaves && told.is_some());
            if desk.error.is_some() || (leaves && (desk.has_left || tries > 3)) {
                return;
            }
            drop(desk);
            self.news.notify_all();
            let rest = told.is_some() && !leaves;
            let pace = if rest { self.store.paces(REST) } else { pace_of(&self.desk(), self.store) };
            thread::park_timeout(pace.saturating_sub(began.elapsed()).max(Duration::from_millis(1)));
        }
    }

    /// Reads what the learner says.
    fn read(&self, board_read: &mut Option<Instant>) -> Result<(), Error> {
        let orders = self.get::<Orders>(&orders_key(&self.id))?;
        let mut desk = self.desk();
        if let Some(orders) = orders
            && desk.orders.as_ref().is_none_or(|old| (old.epoch, old.beat) < (orders.epoch, orders.beat))
        {
            if let Some(reason) = &orders.refused {
                desk.error = Some(self.address.error(format!("the learner refuses this worker: {}", shown(reason))));
            }
            desk.orders = Some(orders);
            desk.is_new = true;
        }
        let wanted: BTreeSet<String> =
            desk.orders.iter().flat_map(|orders| orders.spans.iter().map(|span| span.work.clone())).collect();
        // Before the first round there is nothing by which a worker can introduce itself.
        let is_there = |board: &Board, work: &String| board.works.iter().any(|notice| notice.id == *work);
        let is_known = |board: &Board| !board.works.is_empty() && wanted.iter().all(|work| is_there(board, work));
        let is_old = board_read.is_none_or(|when| when.elapsed() > self.store.paces(BOARD_EVERY));
        if is_old || !desk.board.as_ref().is_some_and(is_known) {
            drop(desk);
            let board = self.get::<Board>("board")?;
            *board_read = Some(Instant::now());
            desk = self.desk();
            // A learner that was fenced off may write once more.
            let old = desk.board.as_ref().map_or((0, 0), |old| (old.epoch, old.beat));
            if let Some(board) = board.filter(|board| (board.epoch, board.beat) > old) {
                desk.is_new |= board.phase == Phase::Training;
                desk.board = Some(board);
            }
        }
        let Some(board) = &desk.board else { return Ok(()) };
        let works = board.works.clone();
        desk.loaded.retain(|id, _| works.iter().any(|notice| notice.id == *id));
        let missing: Vec<WorkNotice> = works
            .into_iter()
            .filter(|notice| wanted.contains(&notice.id) && !desk.loaded.contains_key(&notice.id))
            .collect();
        drop(desk);
        for notice in missing {
            match self.load(&notice) {
                Ok(None) => {}
                Ok(Some(loaded)) => drop(self.desk().loaded.insert(notice.id, loaded)),
                Err(error @ Error::Fleet { .. }) => return Err(error),
                // Nothing that time mends.
                Err(error) => self.desk().error = Some(error),
            }
        }
        Ok(())
    }

    /// Reads the object under a key. One that is damaged is none: it is written again.
    fn get<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        match self.store.get_one(key, MOST)?.map(|bytes| unseal::<T>(&bytes).map(|(object, _)| object)) {
            None => Ok(None),
            Some(Ok(object)) => Ok(Some(object)),
            Some(Err(message)) => Err(self.address.error(format!("{key}: {message}"))),
        }
    }

    /// Reads the weights of a round; `None` if they are not there yet.
    fn load(&self, notice: &WorkNotice) -> Result<Option<Loaded>, Error> {
        let config = self.config_of(notice)?;
        memory::room_for(3 * notice.bytes, "reading weights", "the size of the network")?;
        let key = weights_key(&notice.weights);
        let Some(bytes) = self.store.get_one(&key, notice.bytes)? else { return Ok(None) };
        if digest(&bytes) != notice.weights {
            return Err(self.address.error(format!("{key}: the digest is not that of the contents")));
        }
        let tensors = from_safetensors(&bytes).map_err(|e| self.address.error(format!("{key}: {e}")))?;
        Ok(Some(Loaded { notice: notice.clone(), config, tensors }))
    }

    /// Writes a report if one is due.
    fn write(&self, pending: &mut Option<Pending>, reported: &mut Option<Instant>, leaves: bool) -> Result<(), Error> {
        if pending.is_none() {
            let mut desk = self.desk();
            let Some(epoch) = desk.board.as_ref().filter(|_| !desk.has_ended()).map(|board| board.epoch) else {
                // Nobody reads it.
                desk.has_left |= leaves;
                return Ok(());
            };
            let (since, pace) = (reported.map(|when| when.elapsed()), pace_of(&desk, self.store));
            let is_full = desk.outbox.len() >= REPORTED || (desk.holds.is_empty() && !desk.outbox.is_empty());
            let is_due = since.is_none_or(|since| {
                since > self.store.paces(BEAT) || is_full || (!desk.outbox.is_empty() && since > PACKED * pace)
            });
            if (!is_due && !leaves) || desk.probe.is_none() {
                desk.has_left |= leaves;
                return Ok(());
            }
            desk.number += 1;
            let (count, number) = (of_a_report(&desk.outbox), desk.number);
            let mut games: BTreeMap<String, Vec<GameRecord>> = BTreeMap::new();
            for (work, game) in desk.outbox.drain(..count).collect::<Vec<_>>() {
                desk.sent.extend(game.id.map(|id| (work.clone(), id.number, number)));
                games.entry(work).or_default().push(game);
            }
            let report = Report {
                epoch,
                worker: self.id.clone(),
                name: self.options.name.clone(),
                number: desk.number,
                version: env!("CARGO_PKG_VERSION").into(),
                probe: desk.probe.clone().unwrap_or_default(),
                capacity: desk.capacity,
                holds: desk.holds.clone(),
                leaving: leaves && desk.outbox.is_empty(),
                effort: std::mem::take(&mut desk.effort),
            };
            let body = if games.is_empty() { vec![] } else { pack(&games.into_iter().collect::<Games>()) };
            let key = report_key(&self.id, report.number);
            *pending = Some(Pending { key, bytes: seal(&report, &body), leaves: report.leaving });
        }
        if let Some(Pending { key, bytes, leaves }) = pending {
            // Where it is there already, an earlier try was better than it seemed.
            self.store.create(key, bytes.clone())?;
            self.desk().has_left |= *leaves;
        }
        *pending = None;
        *reported = Some(Instant::now());
        Ok(())
    }
}

impl Desk {
    /// Whether the run has ended.
    fn has_ended(&self) -> bool {
        // Whichever is of the newest learner.
        let orders = self.orders.as_ref().map(|orders| (orders.epoch, orders.phase));
        let board = self.board.as_ref().map(|board| (board.epoch, board.phase));
        let newest = orders.into_iter().chain(board).max_by_key(|(epoch, _)| *epoch);
        newest.is_some_and(|(_, phase)| phase == Phase::Finished)
    }
}

impl Table {
    /// Returns lanes for rounds with these settings.
    fn new(config: Config) -> Result<Self, Error> {
        let game = games::named(&config.game.name)?;
        let place = device::place_of(&config)?;
        MemoryBound::of_worker(game, &config, &place).check()?;
        let lanes = Lanes::new(game, &config, &place, &hooks::of_program());
        Ok(Self { game, lanes, place, config, rounds: BTreeMap::new() })
    }

    /// Whether the lanes can play games of this round.
    fn fits(&self, Loaded { notice, config, .. }: &Loaded) -> bool {
        let of = |config: &Config| {
            let Config { game, lanes, search, network, run, .. } = config.clone();
            (game, lanes, search, network, run.seed, run.precision, run.lag)
        };
        let other = self.rounds.get(&notice.round).is_some_and(|(work, _)| *work != notice.id);
        of(&self.config) == of(config) && !other
    }

    /// Begins games as far as there are lanes for them, and returns the round that was begun last.
    fn begin(&mut self, queue: &mut Vec<Span>, known: &mut Known, desk: &Desk) -> Result<Option<u64>, Error> {
        let (mut begun, count) = (None, u64::from(self.config.lanes.count));
        while self.lanes.in_play() < count {
            let Some(at) = queue.iter().position(|span| desk.loaded.contains_key(&span.work)) else { break };
            let span = &mut queue[at];
            let loaded = &desk.loaded[&span.work];
            if !self.fits(loaded) {
                break;
            }
            let Loaded { notice, config, tensors } = loaded;
            if !self.rounds.contains_key(&notice.round) {
                let network = Network::init(&self.game.info, &config.network, 0, &self.place.device);
                self.rounds.retain(|round, _| round + 2 * config.run.lag > notice.round);
                self.rounds.insert(notice.round, (span.work.clone(), network.with_tensors(tensors.clone())?));
            }
            if !self.lanes.prepare(notice.round, config, &self.rounds[&notice.round].1)? {
                break;
            }
            let to = span.to.min(span.from + count - self.lanes.in_play());
            self.lanes.begin(notice.round, vec![span.from..to]);
            let games = known.entry(span.work.clone()).or_default();
            games.extend((span.from..to).map(|number| (number, Begun::InPlay)));
            begun = Some(notice.round);
            span.from = to;
            if span.from == span.to {
                queue.remove(at);
            }
        }
        Ok(begun)
    }

    /// Plays a tick, and returns the games that have ended, each with the identity of its round.
    fn ended(&mut self, known: &mut Known) -> Result<Vec<(String, GameRecord)>, Error> {
        let mut ended = vec![];
        for game in self.lanes.poll()? {
            let Some(id) = game.id else { continue };
            // A round that is long over is not known any more.
            let Some((work, _)) = self.rounds.get(&id.round) else { continue };
            known.entry(work.clone()).or_default().insert(id.number, Begun::Ended);
            ended.push((work.clone(), game));
        }
        Ok(ended)
    }
}

/// Returns the games of orders that were not begun, as spans, and forgets those that were handed in by then: whoever still
/// waits for one of them has lost it.
fn to_begin(known: &mut Known, orders: &Orders) -> Vec<Span> {
    for games in known.values_mut() {
        games.retain(|_, begun| !matches!(begun, Begun::Reported(report) if *report <= orders.heard));
    }
    known.retain(|_, games| !games.is_empty());
    let mut queue = vec![];
    for Span { work, from, to } in &orders.spans {
        let mut next = *from;
        for number in known.get(work).into_iter().flat_map(|games| games.range(*from..*to)).map(|(number, _)| *number) {
            if number > next {
                queue.push(Span { work: work.clone(), from: next, to: number });
            }
            next = number + 1;
        }
        if next < *to {
            queue.push(Span { work: work.clone(), from: next, to: *to });
        }
    }
    queue
}

/// Returns the games in play as spans.
fn held(known: &Known) -> Vec<Span> {
    let of_round = |(work, games): (&String, &BTreeMap<u64, Begun>)| {
        let in_play = games.iter().filter(|(_, begun)| **begun == Begun::InPlay);
        as_spans(work, in_play.map(|(number, _)| *number))
    };
    known.iter().flat_map(of_round).collect()
}

/// Returns how many of these games, the first ones, go into a report.
pub fn of_a_report(outbox: &[(String, GameRecord)]) -> usize {
    let mut bytes = 0;
    let fits = |(_, game): &&(String, GameRecord)| {
        let first = bytes == 0;
        bytes += game.size();
        first || bytes <= REPORTED_BYTES
    };
    outbox.iter().take(REPORTED).take_while(fits).count()
}

/// Returns the time from one look at the place to the next: the pace of the place, or what the learner asks for where there are
/// many workers.
fn pace_of(desk: &Desk, store: &dyn Store) -> Duration {
    let asked = desk.board.as_ref().map_or(0.0, |board| board.pace.clamp(0.0, SLOWEST));
    store.pace().max(Duration::from_secs_f64(asked))
}

/// Returns the games that a worker can hold: its lanes, and what they end in the time that a message takes there and back.
fn capacity(lanes: u64, summary: &Summary, pace: Duration) -> u64 {
    let rate = summary.games as f64 / summary.seconds.max(1.0);
    let ahead = rate * f64::from(PACKED + 3) * pace.as_secs_f64();
    lanes + (ahead.ceil() as u64).clamp(lanes / 8, 4 * lanes).max(1)
}
