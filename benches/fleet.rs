//! What a fleet can carry: synthetic workers at a real place, and a plan for more machines than there are.
//!
//! Synthetic workers speak to a learner, as many as are asked for, and play nothing. They show what a place and a learner can
//! carry:
//!
//! ```sh
//! lockstep train tictactoe --run many --fleet PLACE --no-play --set run.games=1000000 --set fleet.audit=0 --set run.grade_share=0
//! cargo bench --bench fleet -- PLACE 500 30
//! ```
//!
//! Each worker asks for its orders at the pace of the place, and hands in a span of games with each report: the same game of
//! tic-tac-toe under the numbers that were ordered, which passes as long as nothing is audited.
//!
//! A plan simulates the messages of a fleet in virtual time, with the ledger of a real learner. It shows how long workers of
//! which speed wait in rounds of which size, and what the ledger costs:
//!
//! ```sh
//! cargo bench --bench fleet -- plan workers=10000 games=1000000 cost=0.5 lanes=32 learning=60 lag=2 pace=1 answers=4000
//! ```

use lockstep::{
    components::{
        GameId, GameRecord, Outcome,
        config::{FleetConfig, SearchConfig},
        games::TicTacToe,
    },
    fleet::{
        Address,
        ledger::Ledger,
        message::{Board, Orders, Report, orders_key, pack, report_key, seal, unseal},
        store,
    },
    prelude::*,
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    thread,
    time::{Duration, Instant},
};

/// How many workers share a thread.
const OF_A_THREAD: usize = 50;

fn main() {
    // What cargo adds is no argument of ours.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == "plan") {
        return plan(&Plan::of(&args[1..]));
    }
    let [place, count, seconds] = &args[..] else {
        println!("usage: cargo bench --bench fleet -- PLACE WORKERS SECONDS");
        println!(
            "       cargo bench --bench fleet -- plan [workers=N] [games=N] [cost=SECONDS] [lanes=N] [learning=SECONDS]"
        );
        println!("                                    [lag=N] [pace=SECONDS] [answers=N]");
        return;
    };
    let place: Address = place.parse().expect("a place");
    let (count, seconds): (usize, f64) = (count.parse().expect("a number"), seconds.parse().expect("seconds"));
    let game = {
        let search = SearchConfig { simulations: 16, cache_mb: 0, ..SearchConfig::default() };
        let setup = Setup::self_play(AnyGame::of::<TicTacToe>(), Searcher::new(Uniform::default(), search));
        play_games(&mut setup.build(), 1).expect("a game").remove(0)
    };
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let threads = (0..count.div_ceil(OF_A_THREAD)).map(|k| {
        let (place, game) = (place.clone(), game.clone());
        let own = OF_A_THREAD.min(count - k * OF_A_THREAD);
        thread::spawn(move || work(&place, &game, k, own, until))
    });
    let threads: Vec<_> = threads.collect();
    let (mut reports, mut games, mut slowest) = (0, 0, Duration::ZERO);
    for thread in threads {
        let (more, of_these, round) = thread.join().expect("a thread that ends");
        (reports, games, slowest) = (reports + more, games + of_these, slowest.max(round));
    }
    println!(
        "{count} workers at {place}: {:.0} reports/s, {:.0} games/s; the slowest look at all orders of a thread took {:.0} ms",
        reports as f64 / seconds,
        games as f64 / seconds,
        1e3 * slowest.as_secs_f64()
    );
}

/// Speaks for some workers, and returns their reports, their games, and the time of the slowest round.
fn work(place: &Address, game: &GameRecord, thread: usize, own: usize, until: Instant) -> (u64, u64, Duration) {
    let store = store::open(place).expect("a place that can be reached");
    let ids: Vec<String> = (0..own).map(|k| format!("{thread:08x}{k:08x}")).collect();
    let keys: Vec<String> = ids.iter().map(|id| orders_key(id)).collect();
    let mut numbers: HashMap<String, u64> = HashMap::new();
    let mut seen: HashMap<String, u64> = HashMap::new();
    let (mut reports, mut games, mut slowest) = (0, 0, Duration::ZERO);
    let mut board: Option<Board> = None;
    while Instant::now() < until {
        let began = Instant::now();
        let found = store.get(&["board".into()], 1 << 26).ok().and_then(|mut found| found.pop()?.bytes);
        board = found.and_then(|bytes| unseal(&bytes).ok().map(|(board, _)| board)).or(board);
        let Some(board) = &board else { continue };
        let mut orders: HashMap<String, Orders> = HashMap::new();
        for found in store.get(&keys, 1 << 26).unwrap_or_default() {
            let read = found.bytes.as_deref().and_then(|bytes| unseal::<Orders>(bytes).ok());
            orders.extend(read.map(|(orders, _)| (found.key["out/".len()..].to_string(), orders)));
        }
        for id in &ids {
            let new = orders.get(id).filter(|orders| seen.insert(id.clone(), orders.beat) != Some(orders.beat));
            let number = numbers.entry(id.clone()).or_insert(0);
            if new.is_none_or(|orders| orders.spans.is_empty()) && *number > 0 {
                continue;
            }
            *number += 1;
            let mut played = vec![];
            for span in new.map_or(&[][..], |orders| &orders.spans) {
                let Some(work) = board.works.iter().find(|work| work.id == span.work) else { continue };
                let of = |number| GameRecord { id: Some(GameId { round: work.round, number }), ..game.clone() };
                played.push((span.work.clone(), (span.from..span.to).map(of).collect::<Vec<_>>()));
            }
            games += played.iter().map(|(_, games)| games.len() as u64).sum::<u64>();
            let report = Report {
                epoch: board.epoch,
                worker: id.clone(),
                name: format!("synthetic {id}"),
                number: *number,
                version: board.version.clone(),
                probe: board.probe.clone(),
                capacity: 64,
                ..Report::default()
            };
            let body = if played.is_empty() { vec![] } else { pack(&played) };
            reports += u64::from(store.create(&report_key(id, report.number), seal(&report, &body)).unwrap_or(false));
        }
        slowest = slowest.max(began.elapsed());
        thread::sleep(store.pace().saturating_sub(began.elapsed()));
    }
    (reports, games, slowest)
}

/// A fleet that is simulated.
struct Plan {
    workers: usize,
    /// Games of a round.
    games: u64,
    /// Seconds of a worker that a game takes.
    cost: f64,
    /// Games that a worker plays at a time, so that each of them takes as many times its cost.
    lanes: usize,
    /// Seconds that the learner learns for a round.
    learning: f64,
    lag: u64,
    /// Seconds between two looks of the learner, and of a worker at least.
    pace: f64,
    /// Looks of all workers that the place answers in a second.
    answers: f64,
}

impl Plan {
    fn of(args: &[String]) -> Self {
        let number = |key: &str, default: f64| {
            let value = args.iter().find_map(|arg| arg.strip_prefix(key)?.strip_prefix('='));
            value.map_or(default, |value| value.parse().expect("a number"))
        };
        Self {
            workers: number("workers", 10_000.0) as usize,
            games: number("games", 1e6) as u64,
            cost: number("cost", 0.5),
            lanes: number("lanes", 32.0) as usize,
            learning: number("learning", 60.0),
            lag: number("lag", 2.0) as u64,
            pace: number("pace", 1.0),
            answers: number("answers", 4_000.0),
        }
    }
}

/// A worker that is simulated.
#[derive(Default)]
struct Machine {
    id: String,
    /// Games that it is to begin, and all that it was ever told to play of the rounds in play.
    queue: VecDeque<(u64, u64)>,
    known: HashSet<(u64, u64)>,
    in_play: usize,
    ended: Vec<(u64, u64)>,
    number: u64,
    /// When it looks next, and when it last reported.
    looks: f64,
    reported: f64,
    /// Seconds of lanes without a game.
    idle: f64,
}

/// Plays five rounds of a plan in virtual time, and prints what they took after the first one, which begins with idle workers.
fn plan(plan: &Plan) {
    const ROUNDS: u64 = 5;
    let base = Instant::now();
    let at = |seconds: f64| base + Duration::from_secs_f64(seconds);
    let mut ledger = Ledger::new(1, FleetConfig::default(), "v".into(), "p".into(), [1; 32]);
    let mut machines: Vec<Machine> = (0..plan.workers)
        .map(|k| Machine {
            id: format!("{k:016x}"),
            looks: plan.pace * k as f64 / plan.workers as f64,
            reported: -1e9,
            ..Machine::default()
        })
        .collect();
    let mut orders: HashMap<String, Orders> = HashMap::new();
    let mut reports: Vec<(Report, Vec<(String, Vec<GameRecord>)>)> = vec![];
    // Games in play by the time of their end, in microseconds.
    let mut playing: BinaryHeap<Reverse<(u64, usize, u64, u64)>> = BinaryHeap::new();
    let (mut time, mut busy, mut ticks, mut messages, mut drawn) = (0.0, Duration::ZERO, 0u64, 0u64, 1u64);
    let (mut opened, mut learned, mut learns_until) = (0u64, 0u64, None::<f64>);
    let mut done: HashMap<u64, u64> = HashMap::new();
    let mut since = None::<f64>;
    while learned < ROUNDS {
        // The learner: its rounds, then its look at the place.
        while opened < ROUNDS + plan.lag && opened < learned + plan.lag {
            opened += 1;
            ledger.open(&format!("w{opened}"), opened, plan.games, &[0..plan.games], at(time));
        }
        let began = Instant::now();
        for (report, games) in reports.drain(..) {
            ledger.report(&report, games, at(time));
        }
        ledger.tick(at(time));
        for (worker, new) in ledger.take_orders(at(time), Duration::from_secs_f64(10.0 * plan.pace)) {
            messages += 1;
            orders.insert(worker, new);
        }
        for game in ledger.take().1 {
            *done.entry(game.id.expect("it has one").round).or_insert(0) += 1;
        }
        busy += began.elapsed();
        ticks += 1;
        match learns_until {
            Some(end) if end <= time => {
                learned += 1;
                learns_until = None;
                if learned == 1 {
                    since = Some(time);
                    machines.iter_mut().for_each(|machine| machine.idle = 0.0);
                    (busy, ticks, messages) = (Duration::ZERO, 0, 0);
                }
            }
            None if done.get(&(learned + 1)) == Some(&plan.games) => learns_until = Some(time + plan.learning),
            _ => {}
        }
        // The workers, until the learner's next look.
        let next = time + plan.pace;
        while let Some(&Reverse((end, k, round, number))) = playing.peek()
            && end as f64 * 1e-6 <= next
        {
            playing.pop();
            let machine = &mut machines[k];
            machine.ended.push((round, number));
            machine.in_play -= 1;
            begin(plan, machine, k, end as f64 * 1e-6, &mut playing, &mut drawn);
        }
        let pace = ledger.pace(plan.answers).max(plan.pace);
        for (k, machine) in machines.iter_mut().enumerate() {
            machine.idle += plan.pace * (plan.lanes - machine.in_play) as f64;
            if machine.looks > next {
                continue;
            }
            machine.looks += pace;
            if let Some(orders) = orders.remove(&machine.id) {
                for span in &orders.spans {
                    let round = span.work[1..].parse().expect("its number");
                    let fresh = (span.from..span.to).map(|number| (round, number));
                    machine.queue.extend(fresh.filter(|game| machine.known.insert(*game)));
                }
                machine.known.retain(|(round, _)| *round > learned);
                begin(plan, machine, k, next, &mut playing, &mut drawn);
            }
            let since = next - machine.reported;
            if since > f64::max(5.0, 20.0 * pace).min(10.0) || (!machine.ended.is_empty() && since > 5.0 * pace) {
                machine.number += 1;
                machine.reported = next;
                messages += 1;
                let mut games: HashMap<u64, Vec<GameRecord>> = HashMap::new();
                for (round, number) in machine.ended.drain(..) {
                    let id = Some(GameId { round, number });
                    let game = GameRecord { id, finished: Some(Outcome::Draw), ..GameRecord::default() };
                    games.entry(round).or_default().push(game);
                }
                let report = Report {
                    worker: machine.id.clone(),
                    name: machine.id.clone(),
                    number: machine.number,
                    version: "v".into(),
                    probe: "p".into(),
                    // What it plays, and what ends while messages are on their way.
                    capacity: plan.lanes as u64
                        + ((8.0 * pace / plan.cost) as u64).clamp(plan.lanes as u64 / 8, 4 * plan.lanes as u64).max(1),
                    ..Report::default()
                };
                reports.push((report, games.into_iter().map(|(round, of)| (format!("w{round}"), of)).collect()));
            }
        }
        time = next;
    }
    let seconds = time - since.expect("a round has ended");
    let idle: f64 =
        machines.iter().map(|machine| machine.idle).sum::<f64>() / (seconds * (plan.workers * plan.lanes) as f64);
    println!(
        "{} workers, {} games a round at {} s each, {} lanes, {} s of learning, lag {}, pace {} s: a round in {:.0} s, lanes {:.1} % \
         without a game, {:.0} games/s, {:.0} messages/s, {:.0} looks/s; the ledger takes {:.1} % of a core ({:.0} ms a look, \
         {:.2} us a game)",
        plan.workers,
        plan.games,
        plan.cost,
        plan.lanes,
        plan.learning,
        plan.lag,
        plan.pace,
        seconds / (ROUNDS - 1) as f64,
        100.0 * idle,
        (plan.games * (ROUNDS - 1)) as f64 / seconds,
        messages as f64 / seconds,
        plan.workers as f64 / ledger.pace(plan.answers).max(plan.pace),
        100.0 * busy.as_secs_f64() / seconds,
        1e3 * busy.as_secs_f64() / ticks as f64,
        1e6 * busy.as_secs_f64() / (plan.games * (ROUNDS - 1)) as f64,
    );
}

/// Begins the games that a machine has room for.
fn begin(
    plan: &Plan,
    machine: &mut Machine,
    k: usize,
    time: f64,
    playing: &mut BinaryHeap<Reverse<(u64, usize, u64, u64)>>,
    drawn: &mut u64,
) {
    while machine.in_play < plan.lanes
        && let Some((round, number)) = machine.queue.pop_front()
    {
        *drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Games are half as long as the mean at least, and half as long again at most.
        let length = plan.cost * plan.lanes as f64 * (0.5 + (*drawn >> 33) as f64 / (1u64 << 31) as f64);
        playing.push(Reverse((((time + length) * 1e6) as u64, k, round, number)));
        machine.in_play += 1;
    }
}
