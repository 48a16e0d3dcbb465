//! Synthetic workers: as many as are asked for speak to a learner, and play nothing. They show what a place and a learner
//! can carry.
//!
//! ```sh
//! lockstep train tictactoe --run many --fleet PLACE --no-play --set run.games=1000000 --set fleet.audit=0 --set run.grade_share=0
//! cargo bench --bench fleet -- PLACE 500 30
//! ```
//!
//! Each worker asks for its orders at the pace of the place, and hands in a span of games with each report: the same game of
//! tic-tac-toe under the numbers that were ordered, which passes as long as nothing is audited.

use lockstep::{
    components::{GameId, GameRecord, config::SearchConfig, games::TicTacToe},
    fleet::{
        Address,
        message::{Board, Orders, Report, orders_key, pack, report_key, seal, unseal},
        store,
    },
    prelude::*,
};
use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

/// How many workers share a thread.
const OF_A_THREAD: usize = 50;

fn main() {
    // What cargo adds is no argument of ours.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [place, count, seconds] = &args[..] else {
        println!("usage: cargo bench --bench fleet -- PLACE WORKERS SECONDS");
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
