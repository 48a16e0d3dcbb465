//! A fleet is the run of one machine, bit for bit, whatever becomes of its workers, of its place, and of its messages.

use crate::{attacks, lockstep, small, text};
use lockstep::{
    AnyGame, Error, Hooks, device,
    fleet::{
        Address,
        learner::Link,
        ledger::{LEARNER, Ledger},
        message::{
            self, Board, Effort, Orders, Report, Span, digest_of, orders_key, pack, report_key, seal, unpack, unseal,
        },
        store::{self, Found, Store},
        worker::{self, Options},
    },
    folder::Folder,
    games,
    run::probe::probe,
    source::{Counts, GameSource, Lanes},
    trainer::{self, Event},
};
use lockstep_components::{Config, GameId, GameRecord, Outcome, config::FleetConfig};
use proptest::{prelude::*, strategy::ValueTree};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Returns the places that transports are tested at: a folder, and those that the environment names.
fn places(dir: &Path) -> Vec<Address> {
    let named = std::env::var("LOCKSTEP_PLACES").unwrap_or_default();
    let folder = format!("folder:{}", dir.join("place").display());
    named.split_whitespace().chain([&folder[..]]).map(|place| place.parse().unwrap()).collect()
}

#[test]
fn every_place_does_what_a_fleet_needs() {
    let dir = tempfile::tempdir().unwrap();
    for place in places(dir.path()) {
        let store = store::open(&place).unwrap();
        let get = |key: &str, most| store.get(&[key.into()], most).unwrap().pop().map(|found| found.bytes);
        let (large, larger) = (vec![7; 2_000_000], vec![8; 1_500_001]);
        store.remove(store.list("suite/").unwrap()).unwrap();
        assert_eq!((store.list("suite/").unwrap(), get("suite/a", 9)), (vec![], None), "{place}");
        // Of many that create at once, one succeeds, and what it has written stays.
        let others: Vec<_> = (0..8).map(|_| store::open(&place).unwrap()).collect();
        let created: Vec<bool> = thread::scope(|scope| {
            let tries: Vec<_> = (0u8..)
                .zip(&others)
                .map(|(k, other)| scope.spawn(move || other.create("suite/one", vec![k; 3]).unwrap()))
                .collect();
            tries.into_iter().map(|tried| tried.join().unwrap()).collect()
        });
        let first = created.iter().position(|&created| created).expect("one is the first") as u8;
        assert_eq!(created.iter().filter(|&&created| created).count(), 1, "{place}: {created:?}");
        assert_eq!(get("suite/one", 9), Some(Some(vec![first; 3])), "{place}");
        store.replace(vec![("suite/one".into(), b"two".to_vec()), ("suite/b/c".into(), large.clone())]).unwrap();
        assert!(!store.create("suite/b/c", vec![1]).unwrap(), "{place}");
        store.replace(vec![("suite/b/d".into(), larger.clone())]).unwrap();
        assert_eq!(get("suite/one", 3), Some(Some(b"two".to_vec())), "{place}");
        // What is larger than was asked for is not read, and not missing.
        assert_eq!((get("suite/one", 2), get("suite/b/c", 1_999_999)), (Some(None), Some(None)), "{place}");
        let keys = ["suite/b/d", "suite/none", "suite/b/c"].map(String::from);
        let found = |key: &str, bytes: &[u8]| Found { key: key.into(), bytes: Some(bytes.to_vec()) };
        let both = vec![found("suite/b/d", &larger), found("suite/b/c", &large)];
        assert!(store.get(&keys, 3_000_000).unwrap() == both, "{place}");
        let listed = |part| store.list(part).unwrap().into_iter().collect::<BTreeSet<_>>();
        assert_eq!(listed("suite/"), ["suite/b/c", "suite/b/d", "suite/one"].map(String::from).into(), "{place}");
        assert_eq!(listed("suite/b/"), ["suite/b/c", "suite/b/d"].map(String::from).into(), "{place}");
        // A key that was removed is free again.
        store.remove(vec!["suite/one".into(), "suite/none".into(), "suite/b/d".into()]).unwrap();
        assert!(get("suite/one", 9).is_none() && store.create("suite/one", vec![3]).unwrap(), "{place}");
        assert_eq!(listed("suite/"), ["suite/b/c", "suite/one"].map(String::from).into(), "{place}");
        store.remove(store.list("suite/").unwrap()).unwrap();
    }
}

/// Returns a game that stands for the one of this number, as an honest or another player has played it.
fn played(round: u64, number: u64, honest: bool) -> GameRecord {
    let entropy_sum = if honest { number as f32 } else { -1.0 };
    let id = Some(GameId { round, number });
    GameRecord { id, entropy_sum, finished: Some(Outcome::Draw), ..GameRecord::default() }
}

/// Lets a fleet live through a fate that `draws` decide, and returns what it came to.
fn fate(mut draws: impl FnMut(u64) -> u64, has_liar: bool) {
    const WORKERS: u64 = 5;
    let rules = FleetConfig { audit: 0.3, ..FleetConfig::default() };
    let mut ledger = Ledger::new(1, rules, "v".into(), "p".into(), [9; 32]);
    let mut now = Instant::now();
    let name = |k: u64| format!("{k:016x}");
    let mut orders: BTreeMap<String, Orders> = BTreeMap::new();
    let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
    let mut own: Vec<Span> = vec![];
    for round in 1..=3 {
        let (work, games) = (format!("w{round}"), 40 + draws(100));
        let there = draws(games);
        ledger.open(&work, round, games, &[0..there, there + 1..games], now);
        let mut run: BTreeMap<u64, GameRecord> = BTreeMap::new();
        for step in 0.. {
            assert!(step < 20_000, "the fleet comes to no end");
            match draws(10) {
                0 => now += Duration::from_secs(draws(100)),
                1 | 2 => {
                    ledger.tick(now);
                    for (worker, new) in ledger.take_orders(now, Duration::from_secs(10)) {
                        // Some are lost on their way.
                        if draws(5) > 0 {
                            orders.insert(worker, new);
                        }
                    }
                }
                3 => {
                    ledger.set_own_capacity(20, now);
                    own.extend(ledger.take_own());
                    // Those of rounds that are long over are left.
                    let some = own.drain(..own.len().min(draws(3) as usize)).collect::<Vec<_>>();
                    let round_of = |work: &str| work[1..].parse().unwrap();
                    let games = some.iter().flat_map(|span| {
                        (span.from..span.to)
                            .map(|number| (span.work.clone(), played(round_of(&span.work), number, true)))
                    });
                    ledger.own_games(games.collect(), now);
                }
                _ => {
                    let k = draws(WORKERS);
                    let worker = name(k);
                    let number = numbers.entry(worker.clone()).or_insert(0);
                    // One that is read twice, or never.
                    *number += [0, 1, 1, 1, 1, 2][draws(6) as usize];
                    let number = *number;
                    let mut games: BTreeMap<String, Vec<GameRecord>> = BTreeMap::new();
                    for span in orders.get(&worker).map_or(&[][..], |orders| &orders.spans) {
                        for game in span.from..span.to {
                            if draws(3) > 0 {
                                let round = span.work[1..].parse().unwrap();
                                let game = played(round, game, !(has_liar && k == 0));
                                games.entry(span.work.clone()).or_default().push(game);
                            }
                        }
                    }
                    let leaving = draws(40) == 0;
                    let (version, probe) = (if k == 4 { "other" } else { "v" }.into(), "p".into());
                    let report = Report {
                        worker,
                        name: k.to_string(),
                        number,
                        version,
                        probe,
                        capacity: 30,
                        leaving,
                        ..Report::default()
                    };
                    ledger.report(&report, games.into_iter().collect(), now);
                }
            }
            let (withdrawn, new) = ledger.take();
            for id in withdrawn {
                assert!(id.round == round && run.remove(&id.number).is_some(), "what the run has not is not withdrawn");
            }
            for game in new {
                let id = game.id.unwrap();
                assert_eq!(id.round, round);
                assert!(id.number != there && run.insert(id.number, game).is_none(), "game {} comes twice", id.number);
            }
            if run.len() as u64 == games - 1 {
                break;
            }
        }
        let is_true = |(number, game): (&u64, &GameRecord)| digest_of(game) == digest_of(&played(round, *number, true));
        assert!(has_liar || run.iter().all(is_true));
        let (_, _, rejected) = ledger.status(now);
        if rejected.iter().any(|(name, _)| name == "0") {
            assert!(round < 3 || ledger.take_told().iter().any(|text| text.contains("0 is set aside")));
        }
    }
    let (.., rejected) = ledger.status(now);
    assert!(has_liar || rejected.iter().all(|(name, _)| name == "4"), "{rejected:?}");
    assert!(ledger.counts().games > 0 || ledger.counts().workers == 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_game_comes_once_whatever_becomes_of_workers_and_messages(seed: u64, has_liar: bool) {
        let mut state = seed;
        let draws = |n: u64| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (mixed ^ (mixed >> 27)) % n
        };
        fate(draws, has_liar);
    }
}

/// Returns the settings of the runs here, whose games take a moment.
fn config() -> Config {
    small(&["run.games=70", "run.generations=4", "run.grade_share=0", "fleet.lease=3", "fleet.audit=0.2"])
}

/// Trains a run with a source of games, and returns the digests of its segments and its weights.
fn train<S: GameSource>(
    dir: &Path,
    config: &Config,
    source: impl FnOnce() -> S,
) -> Result<(Vec<String>, String), Error> {
    let (game, place) = (games::named(&config.game.name)?, device::place_of(config)?);
    let folder = Folder::at(dir);
    folder.create()?;
    let mut run = trainer::open_with(game, config, &place, &folder, None, &Hooks::default(), source)?;
    while !run.is_finished() {
        if let Event::Generation(..) = run.advance()? {
            run.save(&folder)?;
        }
    }
    let log = lockstep::log::Log::of(&folder);
    let digests = (1..=config.run.generations).map(|round| log.digest(round)).collect::<Result<_, _>>()?;
    Ok((digests, message::digest(&fs::read(dir.join("checkpoints/4/weights.safetensors")).unwrap())))
}

fn lanes(config: &Config) -> (AnyGame, Lanes) {
    let game = games::named(&config.game.name).unwrap();
    (game, Lanes::new(game, config, &device::place_of(config).unwrap(), &Hooks::default()))
}

/// What one machine makes of the settings.
fn alone(config: &Config) -> (Vec<String>, String) {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), config, || lanes(config).1).unwrap()
}

fn options(name: &str) -> Options {
    Options { name: name.into(), device: None, lanes: None, patience: Duration::from_secs(60) }
}

/// Trains with workers in threads of this process, each with a store of its own, until the run has ended.
fn with_workers(
    config: &Config,
    plays: bool,
    store: impl Fn(usize) -> Box<dyn Store>,
    workers: usize,
) -> (Vec<String>, String, Counts) {
    let dir = tempfile::tempdir().unwrap();
    let place: Address = "folder:nowhere".parse().unwrap();
    let (game, lanes) = lanes(config);
    fs::create_dir_all(dir.path()).unwrap();
    let probe = probe(game, &device::place_of(config).unwrap()).unwrap();
    let link = Link::open(&place, store(0), &Folder::at(dir.path()), config, probe, plays).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for k in 1..=workers {
            let (place, stop, store) = (&place, &stop, store(k));
            scope.spawn(move || {
                let stop = || stop.load(Ordering::Relaxed);
                // Whoever is refused ends, as it should.
                let _ = worker::work(place, &*store, &options(&format!("worker {k}")), &stop, &mut |_| {});
            });
        }
        let (segments, weights) = train(dir.path(), config, || link.source(lanes, game, config)).unwrap();
        let counts = link.counts();
        link.close(message::Phase::Finished);
        stop.store(true, Ordering::Relaxed);
        (segments, weights, counts)
    })
}

/// A place that is as bad as one may be: it shows what is written late, lists what is gone and not what is there, fails, and
/// damages what is read.
struct Bad {
    inner: Box<dyn Store>,
    calls: AtomicU64,
    /// What was written or removed, and is to be seen later.
    late: Mutex<Vec<(Instant, Late)>>,
    stale: Mutex<Vec<String>>,
}

enum Late {
    Put(Vec<(String, Vec<u8>)>),
    Remove(Vec<String>),
}

impl Bad {
    fn new(inner: Box<dyn Store>) -> Self {
        Self { inner, calls: AtomicU64::new(0), late: Mutex::default(), stale: Mutex::default() }
    }

    /// Does what is late by now, fails now and then, and returns a number for what else is to go wrong.
    fn fate(&self) -> Result<u64, Error> {
        let mut late = self.late.lock().unwrap();
        let due: Vec<_> = late.extract_if(.., |(when, _)| *when <= Instant::now()).collect();
        drop(late);
        for (_, what) in due {
            match what {
                Late::Put(objects) => self.inner.replace(objects)?,
                Late::Remove(keys) => self.inner.remove(keys)?,
            }
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let drawn = u64::from_str_radix(&message::digest(&call.to_le_bytes())[..8], 16).unwrap();
        if drawn.is_multiple_of(17) {
            return Err(out_of_order());
        }
        Ok(drawn / 17)
    }

    fn later(&self, what: Late) -> Result<(), Error> {
        self.late.lock().unwrap().push((Instant::now() + Duration::from_millis(300), what));
        Ok(())
    }
}

fn out_of_order() -> Error {
    Error::Fleet { place: "a bad place".into(), message: "it is out of order".into() }
}

impl Store for Bad {
    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<bool, Error> {
        if self.fate()?.is_multiple_of(11) {
            // It succeeds, and nobody hears of it.
            self.inner.create(key, bytes)?;
            return Err(out_of_order());
        }
        self.inner.create(key, bytes)
    }

    fn replace(&self, objects: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        if self.fate()?.is_multiple_of(3) { self.later(Late::Put(objects)) } else { self.inner.replace(objects) }
    }

    fn get(&self, keys: &[String], most: u64) -> Result<Vec<Found>, Error> {
        let drawn = self.fate()?;
        let mut found = self.inner.get(keys, most)?;
        if drawn.is_multiple_of(5)
            && let Some(bytes) =
                found.iter_mut().find_map(|found| found.bytes.as_mut()).filter(|bytes| !bytes.is_empty())
        {
            let at = (drawn / 5) as usize % bytes.len();
            bytes[at] ^= 1 << (drawn % 8);
        }
        Ok(found)
    }

    fn list(&self, part: &str) -> Result<Vec<String>, Error> {
        let drawn = self.fate()?;
        let mut keys = self.inner.list(part)?;
        keys.extend(self.stale.lock().unwrap().iter().filter(|key| key.starts_with(part)).cloned());
        keys.retain(|key| !(drawn + key.len() as u64).is_multiple_of(4));
        Ok(keys)
    }

    fn remove(&self, keys: Vec<String>) -> Result<(), Error> {
        self.stale.lock().unwrap().extend(keys.iter().take(3).cloned());
        if self.fate()?.is_multiple_of(2) { self.later(Late::Remove(keys)) } else { self.inner.remove(keys) }
    }

    fn pace(&self) -> Duration {
        Duration::from_millis(10)
    }

    fn answers(&self) -> f64 {
        // Workers are asked to leave a quarter of a second.
        8.0
    }
}

#[test]
fn a_bad_place_changes_no_bit() {
    let (dir, config) = (tempfile::tempdir().unwrap(), config());
    let place: Address = format!("folder:{}", dir.path().display()).parse().unwrap();
    let (segments, weights, counts) =
        with_workers(&config, false, |_| Box::new(Bad::new(store::open(&place).unwrap())), 2);
    assert_eq!((segments, weights), alone(&config));
    assert!(counts.games > 0 && counts.rejected == 0, "{counts:?}");
}

/// A place at which a worker's games are changed on their way, by somebody who knows how to seal them, and who may say that the
/// machine computes something else.
struct Forged(Box<dyn Store>, Option<&'static str>);

impl Store for Forged {
    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<bool, Error> {
        let Ok((mut report, body)) = unseal::<Report>(&bytes) else { return self.0.create(key, bytes) };
        report.probe = self.1.map_or(report.probe, String::from);
        let mut games = unpack(body).unwrap();
        for game in games.iter_mut().flat_map(|(_, games)| games) {
            // Sound by its moves, and not what the search has said.
            game.plies.iter_mut().for_each(|ply| ply.root_value = 0.25);
        }
        self.0.create(key, seal(&report, &pack(&games)))
    }

    fn replace(&self, objects: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        self.0.replace(objects)
    }

    fn get(&self, keys: &[String], most: u64) -> Result<Vec<Found>, Error> {
        self.0.get(keys, most)
    }

    fn list(&self, part: &str) -> Result<Vec<String>, Error> {
        self.0.list(part)
    }

    fn remove(&self, keys: Vec<String>) -> Result<(), Error> {
        self.0.remove(keys)
    }

    fn pace(&self) -> Duration {
        self.0.pace()
    }

    fn answers(&self) -> f64 {
        self.0.answers()
    }
}

#[test]
fn forged_games_are_found_by_the_audit_and_played_again() {
    let dir = tempfile::tempdir().unwrap();
    // All is audited; a round is long enough for an audit to come back before it has ended.
    let mut config = config();
    (config.fleet.audit, config.run.games, config.lanes.count) = (1.0, 300, 16);
    let place: Address = format!("folder:{}", dir.path().display()).parse().unwrap();
    let store = |k| match (k, store::open(&place).unwrap()) {
        (1, store) => Box::new(Forged(store, None)) as Box<dyn Store>,
        (_, store) => store,
    };
    let (segments, _, counts) = with_workers(&config, false, store, 2);
    assert!(counts.rejected > 0, "{counts:?}");
    // It was set aside in the first round, of which nothing of it is left.
    assert_eq!(segments[1..], alone(&config).0[1..], "{counts:?}");
}

#[test]
fn machines_of_other_kinds_take_part_where_the_run_need_not_repeat() {
    let mut config = config();
    for exact in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        config.fleet.exact = exact;
        let place: Address = format!("folder:{}", dir.path().display()).parse().unwrap();
        let store = |k| match (k, store::open(&place).unwrap()) {
            (1, store) => Box::new(Forged(store, Some("another kind"))) as Box<dyn Store>,
            (_, store) => store,
        };
        // Where it is refused, the learner plays; where it is not, nobody else does.
        let (segments, _, counts) = with_workers(&config, exact, store, 1);
        assert_eq!((segments == alone(&config).0, counts.games == 0, counts.rejected), (exact, exact, 0), "{counts:?}");
    }
}

#[test]
fn a_report_has_a_bounded_size_and_one_game_at_least() {
    let game = |plies| GameRecord { policies: vec![(0, 0); plies], ..GameRecord::default() };
    let outbox: Vec<_> = [1 << 20, 1 << 10, 1, 1 << 17, 1 << 17, 9].map(|plies| ("w".to_string(), game(plies))).into();
    assert_eq!([0, 1, 2, 3, 4].map(|from| worker::of_a_report(&outbox[from..])), [1, 3, 2, 1, 2]);
}

/// Returns what a damaged object is read as, whatever it may be.
fn read(bytes: &[u8]) -> usize {
    let report = unseal::<Report>(bytes).map(|(_, body)| unpack(body).map_or(0, |games| games.len()));
    report.unwrap_or(0)
        + usize::from(unseal::<Board>(bytes).is_ok())
        + usize::from(unseal::<Orders>(bytes).is_ok())
        + usize::from(unseal::<message::Status>(bytes).is_ok())
}

#[test]
fn damaged_messages_are_refused() {
    let games = vec![("w".to_string(), (0..20).map(|number| played(1, number, true)).collect())];
    let report =
        Report { worker: "0123456789abcdef".into(), number: 3, effort: Effort::default(), ..Report::default() };
    let sound = seal(&report, &pack(&games));
    assert_eq!(read(&sound), 1);
    assert_eq!(unpack(unseal::<Report>(&sound).unwrap().1).unwrap(), games);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut draw = |n: usize| (0..n).new_tree(&mut runner).unwrap().current();
    for _ in 0..2_000 * attacks() {
        let mut bytes = sound.clone();
        match draw(4) {
            0 => bytes.truncate(draw(sound.len())),
            1 => drop(bytes.splice(draw(sound.len()).., (0..draw(64)).map(|k| k as u8).collect::<Vec<_>>())),
            2 => bytes.insert(draw(sound.len()), draw(256) as u8),
            _ => {
                let at = draw(sound.len());
                bytes[at] ^= 1 << draw(8);
            }
        }
        assert!(bytes == sound || read(&bytes) == 0);
        // Sealed by somebody who knows how, with a body that is none.
        let mut body = pack(&games);
        let at = draw(body.len());
        body[at] ^= 1 << draw(8);
        let sealed = seal(&report, &body);
        // Whatever is read of it is checked as a game is.
        let _ = unpack(unseal::<Report>(&sealed).unwrap().1);
    }
}

const RUN: [&str; 18] = [
    "--set",
    "run.generations=4",
    "--set",
    "run.games=200",
    "--set",
    "search.simulations=100",
    "--set",
    "lanes.count=16",
    "--set",
    "network.channels=8",
    "--set",
    "network.blocks=1",
    "--set",
    "run.grade_share=0",
    "--set",
    "run.checkpoint_every=1",
    "--set",
    "fleet.lease=2",
];

fn start(dir: &Path, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log.txt")).unwrap();
    command.current_dir(dir).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// Returns whether two runs have the same games and the same weights.
fn assert_same(one: &Path, other: &Path) {
    for file in ["log/000001.games", "log/000004.games", "checkpoints/4/weights.safetensors"] {
        assert!(fs::read(one.join(file)).unwrap() == fs::read(other.join(file)).unwrap(), "{file}");
    }
    let lines = |run: &Path| -> Vec<String> {
        let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        // What comes before the evaluations repeats.
        text.lines().map(|line| line.split("\"evaluations\"").next().unwrap().to_string()).collect()
    };
    assert_eq!(lines(one), lines(other));
}

#[test]
fn learner_and_workers_may_be_killed_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let run = [&["train", "--run", "one", "--threads", "1"][..], &RUN].concat();
    assert!(lockstep(dir.path(), &run).status.success());
    for (k, place) in places(dir.path()).into_iter().enumerate() {
        let (place, name) = (place_of(&place), format!("fleet-{k}"));
        let learner = [&["train", "--run", &name, "--threads", "1", "--fleet", &place, "--no-play"][..], &RUN].concat();
        let worker = ["worker", "--fleet", &place, "--threads", "1", "--wait", "1"];
        let mut processes: Vec<Child> = vec![start(dir.path(), &learner)];
        processes.extend((0..4).map(|_| start(dir.path(), &worker)));
        let (began, mut state) = (Instant::now(), 1u64);
        for _ in 0..8 * attacks() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            thread::sleep(Duration::from_millis((state >> 33) % 400));
            let victim = ((state >> 40) % processes.len() as u64) as usize;
            if processes[0].try_wait().unwrap().is_some() {
                break;
            }
            processes[victim].kill().unwrap();
            processes[victim].wait().unwrap();
            processes[victim] = start(dir.path(), if victim == 0 { &learner } else { &worker });
        }
        let ended = loop {
            match processes[0].try_wait().unwrap() {
                Some(ended) => break ended,
                None if began.elapsed() > Duration::from_secs(300) => {
                    processes.iter_mut().for_each(|process| drop(process.kill()));
                    panic!("the run does not end: {}", fs::read_to_string(dir.path().join("log.txt")).unwrap());
                }
                None => thread::sleep(Duration::from_millis(20)),
            }
        };
        assert!(ended.success(), "{}", fs::read_to_string(dir.path().join("log.txt")).unwrap());
        // The workers end with the run.
        for process in &mut processes[1..] {
            assert!(process.wait().unwrap().success(), "{}", fs::read_to_string(dir.path().join("log.txt")).unwrap());
        }
        assert_same(&dir.path().join("one"), &dir.path().join(&name));
        let status = lockstep(dir.path(), &["fleet", "status", &place]);
        assert!(text(&status.stdout).contains("has ended"), "{status:?}");
    }
}

/// Returns an address with all that is in it, for a command.
fn place_of(place: &Address) -> String {
    let mark = if place.scheme() == "folder" { ":" } else { "://" };
    format!("{}{mark}{}", place.scheme(), place.rest())
}

#[test]
fn who_does_not_fit_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| lockstep(dir.path(), args);
    let complains = |args: &[&str], words: &[&str]| {
        let out = run(args);
        let error = text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {error}");
        assert!(words.iter().all(|word| error.contains(word)), "{args:?}: {error}");
    };
    complains(&["worker", "--fleet", "here"], &["folder:PATH", "nats://HOST"]);
    complains(&["fleet", "status", "folder:empty"], &["folder:empty", "no fleet has met here yet"]);
    complains(
        &["worker", "--fleet", "folder:empty", "--wait", "0"],
        &["folder:empty", "no learner was heard of", "--wait"],
    );
    complains(&["train", "tictactoe", "--no-play"], &["--fleet"]);
    fs::write(dir.path().join("file"), "").unwrap();
    complains(&["train", "tictactoe", "--run", "a", "--fleet", "folder:file"], &["file"]);
    if cfg!(not(feature = "nats")) {
        complains(&["worker", "--fleet", "nats://me:secret@host"], &["nats://..@host", "--features nats"]);
    }
    // Another run at the place of one that trains.
    let long = ["--set", "run.generations=1000", "--set", "run.grade_share=0"];
    let mut first =
        start(dir.path(), &[&["train", "tictactoe", "--run", "a", "--fleet", "folder:place"][..], &long].concat());
    let began = Instant::now();
    while !dir.path().join("place/status").exists() && began.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(50));
    }
    complains(
        &["train", "tictactoe", "--run", "b", "--fleet", "folder:place"],
        &["is trained here", "a place of its own"],
    );
    // A worker of another version, as the learner sees it.
    let store = store::open(&format!("folder:{}", dir.path().join("place").display()).parse().unwrap()).unwrap();
    let id = "00112233445566aa";
    let report = Report { worker: id.into(), number: 1, version: "0.0.0".into(), capacity: 8, ..Report::default() };
    assert!(store.create(&report_key(id, 1), seal(&report, &[])).unwrap());
    let refused = loop {
        let orders = store.get(&[orders_key(id)], 1 << 20).unwrap().pop().and_then(|found| found.bytes);
        if let Some(bytes) = orders {
            break unseal::<Orders>(&bytes).unwrap().0.refused;
        }
        assert!(began.elapsed() < Duration::from_secs(90));
        thread::sleep(Duration::from_millis(20));
    };
    assert!(refused.is_some_and(|reason| reason.contains("lockstep 0.0.0")));
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn the_learner_is_no_worker() {
    assert!(!message::is_worker(LEARNER));
}
