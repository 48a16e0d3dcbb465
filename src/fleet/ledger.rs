//! The ledger of a fleet: which games of the rounds in play are held by whom, and which have come back.
//!
//! It is the truth of a fleet. It reads no clock and no message by itself, so whatever happens to a fleet can be made to
//! happen to it in a test.

use super::message::{Effort, Orders, Phase, Report, RoundStatus, Span, WorkerStatus, digest_of};
use crate::source::Counts;
use lockstep_components::{GameId, GameRecord, config::FleetConfig};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    ops::Range,
    time::{Duration, Instant},
};

/// The name of the learner among those who hold games. No worker can have it.
pub const LEARNER: &str = "learner";

/// The least and the most games of a span.
const SPANS: (u64, u64) = (16, 64);
/// For how many seconds a span is held at least before a worker that has nothing else to do plays it too.
const PATIENCE: f64 = 5.0;
/// How many rounds that have ended are remembered, for games that come late.
const REMEMBERED: u64 = 4;
/// The most workers of a fleet.
const MOST_WORKERS: usize = 100_000;
/// For how many leases a worker that is not heard of is shown.
const SHOWN: u32 = 10;

/// The ledger of a fleet.
pub struct Ledger {
    epoch: u64,
    rules: FleetConfig,
    /// The version of lockstep that may take part.
    version: String,
    /// What the learner's machine computes: see [`crate::run::probe`].
    probe: String,
    phase: Phase,
    workers: BTreeMap<String, Worker>,
    works: BTreeMap<String, Work>,
    /// Games for the run, and those that it is to forget.
    accepted: Vec<GameRecord>,
    withdrawn: Vec<GameId>,
    /// Spans that the learner itself is to play and has not begun.
    own: Vec<Span>,
    /// What the workers have done since it was last asked.
    effort: Effort,
    counts: Counts,
    /// What people should know.
    told: Vec<String>,
    rejected: Vec<(String, String)>,
    /// What workers cannot foresee.
    secret: [u8; 32],
    drawn: u64,
    /// Seconds for which a span is held until its games have come back, lately.
    typical: f64,
}

/// What is known of a worker.
#[derive(Clone, Debug)]
struct Worker {
    name: String,
    capacity: u64,
    heard: Instant,
    /// The number of its last report.
    number: u64,
    /// Whether it has left, or is not heard of any more.
    gone: bool,
    refused: Option<String>,
    games: u64,
    /// Games, and what went into them, since the time that is the last part: of late, and halved now and then.
    lately: (f64, Effort, Instant),
    /// The spans of the orders that were written last, the report that they answer, and when that was.
    written: Option<(Vec<Span>, u64, Instant)>,
    beat: u64,
}

/// A round in play, or just behind.
#[derive(Debug)]
struct Work {
    round: u64,
    /// The games that were missing when the round was opened.
    games: u64,
    done: u64,
    spans: BTreeMap<u64, Open>,
    /// Who has played each game, and its digest.
    claims: BTreeMap<u64, Claim>,
    audits: Vec<Audit>,
    /// Games that two have played differently, until the learner has played them.
    disputes: BTreeMap<u64, Vec<(String, u128)>>,
    /// Games that wait for the end of the disputes.
    waiting: Vec<GameRecord>,
    /// Whether the run has all of its games.
    ended: bool,
}

/// A span of which games are missing.
#[derive(Clone, Debug)]
struct Open {
    to: u64,
    left: u64,
    holders: Vec<(String, Instant)>,
}

#[derive(Clone, Debug)]
struct Claim {
    digest: u128,
    by: String,
}

/// A span that is to be played a second time.
#[derive(Clone, Debug)]
struct Audit {
    span: Range<u64>,
    /// Who plays it first.
    first: String,
    second: Option<String>,
    /// The games of the second that have not come.
    left: BTreeSet<u64>,
}

impl Ledger {
    /// Returns the ledger of a learner that has begun this epoch. `secret` is drawn, and decides what is audited.
    pub fn new(epoch: u64, rules: FleetConfig, version: String, probe: String, secret: [u8; 32]) -> Self {
        Self {
            epoch,
            rules,
            version,
            probe,
            phase: Phase::Training,
            workers: BTreeMap::new(),
            works: BTreeMap::new(),
            accepted: vec![],
            withdrawn: vec![],
            own: vec![],
            effort: Effort::default(),
            counts: Counts::default(),
            told: vec![],
            rejected: vec![],
            secret,
            drawn: 0,
            typical: 0.0,
        }
    }

    /// Begins a round, of which these games are missing; one that is there already begins anew.
    pub fn open(&mut self, id: &str, round: u64, games: u64, missing: &[Range<u64>], now: Instant) {
        self.works.retain(|_, work| work.round + REMEMBERED >= round && work.round != round);
        self.own.retain(|span| span.work != id);
        // Each worker should get some of them, so that those who are fast get more.
        let players = 32.max(4 * self.workers.values().filter(|worker| worker.is_there()).count() as u64);
        let size = (games / players).clamp(SPANS.0, SPANS.1);
        let mut spans = BTreeMap::new();
        for range in missing {
            let mut from = range.start;
            while from < range.end {
                let to = range.end.min((from / size + 1) * size);
                spans.insert(from, Open { to, left: to - from, holders: vec![] });
                from = to;
            }
        }
        let games = missing.iter().map(|range| range.end - range.start).sum();
        let work = Work {
            round,
            games,
            done: 0,
            spans,
            claims: BTreeMap::new(),
            audits: vec![],
            disputes: BTreeMap::new(),
            waiting: vec![],
            ended: false,
        };
        self.works.insert(id.into(), work);
        self.deal(now);
    }

    /// Lets the learner itself hold so many games.
    pub fn set_own_capacity(&mut self, capacity: u64, now: Instant) {
        self.workers.entry(LEARNER.into()).or_insert_with(|| Worker::new(LEARNER.into(), now)).capacity = capacity;
        self.deal(now);
    }

    /// Returns the seconds that a worker should leave between two looks at a place that is to answer so many in a second. They
    /// leave it time to be heard of before its lease ends.
    pub fn pace(&self, answers: f64) -> f64 {
        (self.counts.workers as f64 / answers).min(self.rules.lease / 6.0)
    }

    /// Returns the spans that the learner itself is to play and has not been told yet.
    pub fn take_own(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.own)
    }

    /// Takes a report, unless it or a later one of its worker was read before. Games of rounds that are not known are left out.
    pub fn report(&mut self, report: &Report, games: Vec<(String, Vec<GameRecord>)>, now: Instant) {
        if !self.workers.contains_key(&report.worker) && self.workers.len() >= MOST_WORKERS {
            return;
        }
        let refusal = self.refusal(report);
        let worker = self.workers.entry(report.worker.clone()).or_insert_with(|| Worker::new(report.name.clone(), now));
        if report.number <= worker.number {
            return;
        }
        worker.number = report.number;
        worker.heard = now;
        let is_new = worker.written.is_none();
        worker.capacity = report.capacity.min(1 << 20);
        if let (None, Some(reason)) = (&worker.refused, refusal) {
            self.told.push(format!("{} is refused: {reason}", report.name));
            self.rejected.push((report.name.clone(), reason.clone()));
            worker.refused = Some(reason);
        }
        if worker.refused.is_some() {
            // It has to be told.
            worker.written = None;
            return;
        }
        let came_back = std::mem::replace(&mut worker.gone, report.leaving);
        worker.lately.1.add(&report.effort);
        self.effort.add(&report.effort);
        for (work, games) in games {
            for game in games {
                self.take_game(&work, game, &report.worker, now);
            }
        }
        if report.leaving {
            self.give_back(&report.worker);
        } else if is_new || came_back {
            self.adopt(&report.worker, &report.holds, now);
        }
    }

    /// Whether a report of this number, or a later one, of this worker was read.
    pub fn has_read(&self, worker: &str, number: u64) -> bool {
        self.workers.get(worker).is_some_and(|worker| number <= worker.number)
    }

    /// Returns why a worker cannot take part, if it cannot.
    fn refusal(&self, report: &Report) -> Option<String> {
        if report.version != self.version {
            return Some(format!("it is lockstep {}, and the learner is {}", report.version, self.version));
        }
        if self.rules.exact && report.probe != self.probe {
            return Some(format!(
                "its machine computes other last bits ({}) than the learner's ({}); with fleet.exact = false such machines \
                 may take part, and the run does not repeat then",
                report.probe, self.probe
            ));
        }
        None
    }

    /// Notes that a worker holds these spans, which an earlier learner has given to it.
    fn adopt(&mut self, worker: &str, holds: &[Span], now: Instant) {
        for span in holds {
            let Some(work) = self.works.get_mut(&span.work).filter(|work| !work.ended) else { continue };
            let overlap = work.spans.iter_mut().filter(|(from, open)| **from < span.to && open.to > span.from);
            for (_, open) in overlap.filter(|(_, open)| open.holders.is_empty()) {
                open.holders.push((worker.into(), now));
            }
        }
    }

    /// Counts a report that could not be read, or games that are none.
    pub fn damaged(&mut self, key: &str, message: &str) {
        self.counts.damaged += 1;
        if self.counts.damaged.is_power_of_two() {
            self.told.push(format!("{key}: {message}; it is thrown away ({} so far)", self.counts.damaged));
        }
    }

    /// Refuses a worker that has handed in something that is no game.
    pub fn reject(&mut self, worker: &str, reason: &str, now: Instant) {
        self.counts.rejected += 1;
        self.set_aside(worker, reason, now);
    }

    /// Takes games that the learner has played itself.
    pub fn own_games(&mut self, games: Vec<(String, GameRecord)>, now: Instant) {
        if games.is_empty() {
            return;
        }
        for (work, game) in games {
            self.take_game(&work, game, LEARNER, now);
        }
        self.deal(now);
    }

    fn take_game(&mut self, id: &str, game: GameRecord, by: &str, now: Instant) {
        let Some(number) = game.id.map(|id| id.number) else { return };
        if !self.works.contains_key(id) {
            return;
        }
        let digest = digest_of(&game);
        if by == LEARNER {
            self.settle(id, number, digest, now);
        }
        let work = self.works.get_mut(id).expect("it was looked for");
        let mut is_audit = false;
        for audit in work.audits.iter_mut().filter(|audit| audit.span.contains(&number)) {
            is_audit = true;
            if audit.second.as_deref() == Some(by) {
                audit.left.remove(&number);
            }
        }
        match work.claims.get(&number) {
            None => {
                // Others were there when the round was opened.
                let Some(open) = span_of(&mut work.spans, number) else { return };
                open.left -= 1;
                if let Some((_, since)) = open.holders.iter().find(|(holder, _)| open.left == 0 && holder == by) {
                    let took = now.saturating_duration_since(*since).as_secs_f64();
                    self.typical = if self.typical == 0.0 { took } else { 0.9 * self.typical + 0.1 * took };
                }
                work.claims.insert(number, Claim { digest, by: by.into() });
                work.done += 1;
                if let Some(worker) = self.workers.get_mut(by) {
                    worker.games += 1;
                    worker.lately.0 += 1.0;
                }
                self.counts.games += u64::from(by != LEARNER);
                work.waiting.push(game);
            }
            Some(claim) if claim.digest == digest || !self.rules.exact => {
                self.counts.duplicates += 1;
                self.counts.audited += u64::from(is_audit && claim.by != by);
            }
            // The round has ended with it, or it is the learner's own.
            Some(_) if by == LEARNER => {}
            Some(claim) => {
                // The learner plays it itself, and the round does not end before that.
                let round = work.round;
                let held = self.accepted.extract_if(.., |game| game.id.is_some_and(|id| id.round == round));
                work.waiting.extend(held);
                let first = (claim.by.clone(), claim.digest);
                work.disputes.entry(number).or_insert_with(|| vec![first]).push((by.into(), digest));
                hold(&mut self.own, LEARNER, id, number..number + 1);
            }
        }
        if work.disputes.is_empty() {
            self.accepted.append(&mut work.waiting);
        }
    }

    /// Holds a game that the learner has played against what others have handed in: whoever has played another one is set
    /// aside.
    fn settle(&mut self, id: &str, number: u64, digest: u128, now: Instant) {
        let work = self.works.get_mut(id).expect("it was looked for");
        let mut claims = work.disputes.remove(&number).unwrap_or_default();
        claims.extend(work.claims.get(&number).map(|claim| (claim.by.clone(), claim.digest)));
        let (round, exact) = (work.round, self.rules.exact);
        claims.retain(|(by, other)| *other != digest && by != LEARNER);
        for (by, _) in claims.iter().filter(|_| exact) {
            self.counts.rejected += 1;
            self.set_aside(
                by,
                &format!("game {number} of round {round} is another one when the learner plays it"),
                now,
            );
        }
    }

    /// Takes a game back, wherever it is on its way to the run.
    fn forget(&mut self, id: &str, number: u64) {
        let work = self.works.get_mut(id).expect("it is there");
        let own = GameId { round: work.round, number };
        let before = work.waiting.len() + self.accepted.len();
        work.waiting.retain(|game| game.id != Some(own));
        self.accepted.retain(|game| game.id != Some(own));
        if before == work.waiting.len() + self.accepted.len() {
            self.withdrawn.push(own);
        }
    }

    /// Refuses a worker from now on. Its games of rounds that have not ended are played again.
    fn set_aside(&mut self, worker: &str, reason: &str, now: Instant) {
        let Some(known) = self.workers.get_mut(worker).filter(|known| known.refused.is_none()) else { return };
        known.refused = Some(reason.into());
        known.written = None;
        let name = known.name.clone();
        self.rejected.push((name.clone(), reason.into()));
        let mut told = format!("{name} is set aside: {reason}. Its games of rounds in play are played again");
        let ids: Vec<String> = self.works.keys().cloned().collect();
        let mut learned = vec![];
        for id in ids {
            let work = self.works.get_mut(&id).expect("it is there");
            let of_it = |(number, claim): (&u64, &Claim)| (claim.by == worker).then_some(*number);
            let numbers: Vec<u64> = work.claims.iter().filter_map(of_it).collect();
            if work.ended {
                learned.extend((!numbers.is_empty()).then(|| work.round.to_string()));
                continue;
            }
            for &number in &numbers {
                work.claims.remove(&number);
                work.done -= 1;
                span_of(&mut work.spans, number).expect("it was one of these").left += 1;
            }
            // What it played in a dispute with others is none any more.
            for claims in work.disputes.values_mut() {
                claims.retain(|(by, _)| by != worker);
            }
            numbers.iter().for_each(|&number| self.forget(&id, number));
        }
        if !learned.is_empty() {
            told += &format!(
                "; generations {} have been learned from games of it, as far as is known here: go on from a checkpoint before \
                 them if they are not to be trusted",
                learned.join(", ")
            );
        }
        self.told.push(told);
        self.give_back(worker);
        self.deal(now);
    }

    /// Gives what a worker holds to nobody.
    fn give_back(&mut self, worker: &str) {
        for work in self.works.values_mut() {
            for open in work.spans.values_mut() {
                let before = open.holders.len();
                open.holders.retain(|(holder, _)| holder != worker);
                if open.holders.len() < before && open.holders.is_empty() {
                    self.counts.returned += open.left;
                }
            }
            for audit in &mut work.audits {
                if audit.second.as_deref() == Some(worker) {
                    (audit.second, audit.left) = (None, audit.span.clone().collect());
                }
            }
        }
    }

    /// Lets time pass: gives what is free to those who have room, and what is held too long to others.
    pub fn tick(&mut self, now: Instant) {
        let lease = Duration::from_secs_f64(self.rules.lease);
        let is_late = |worker: &Worker| !worker.gone && now.saturating_duration_since(worker.heard) > lease;
        if let Some(learner) = self.workers.get_mut(LEARNER) {
            learner.heard = now;
        }
        let late: Vec<String> =
            self.workers.iter().filter(|(_, worker)| is_late(worker)).map(|(id, _)| id.clone()).collect();
        for id in late {
            let worker = self.workers.get_mut(&id).expect("it is there");
            worker.gone = true;
            self.told.push(format!(
                "{} was not heard of for {:.0} s: its games go to others",
                worker.name, self.rules.lease
            ));
            self.give_back(&id);
        }
        self.workers.retain(|_, worker| {
            !worker.gone || worker.refused.is_some() || now.saturating_duration_since(worker.heard) < SHOWN * lease
        });
        self.deal(now);
        self.counts.workers =
            self.workers.iter().filter(|(id, worker)| *id != LEARNER && worker.is_there()).count() as u64;
    }

    /// Gives spans to those who have room for them, those with the largest share of it first.
    fn deal(&mut self, now: Instant) {
        let held = self.held();
        let mut takers: BinaryHeap<(Reverse<u64>, Reverse<String>)> = BinaryHeap::new();
        let mut rooms: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (id, worker) in self.workers.iter().filter(|(_, worker)| worker.is_there() && worker.capacity > 0) {
            let holds = held.get(id).copied().unwrap_or(0);
            if holds < worker.capacity {
                takers.push((Reverse(holds * 1024 / worker.capacity), Reverse(id.clone())));
            }
            rooms.insert(id.clone(), (holds, worker.capacity));
        }
        let mut rounds: Vec<(u64, String)> = self.works.iter().map(|(id, work)| (work.round, id.clone())).collect();
        rounds.sort_unstable();
        for (_, id) in &rounds {
            let work = self.works.get_mut(id).expect("it is there");
            // A second player for what is to be compared, first: it should come back before the round ends.
            for audit in work.audits.iter_mut().filter(|audit| audit.second.is_none()) {
                let size = audit.span.end - audit.span.start;
                // Drawn, so that nobody can choose whom to meet there.
                let mut others: Vec<_> = rooms
                    .iter_mut()
                    .filter(|(id, (holds, capacity))| **id != audit.first && *holds + size <= *capacity)
                    .collect();
                if others.is_empty() {
                    continue;
                }
                self.drawn += 1;
                let (other, (holds, _)) = others.swap_remove(draw(&self.secret, self.drawn) as usize % others.len());
                audit.second = Some(other.clone());
                *holds += size;
                hold(&mut self.own, other, id, audit.span.clone());
            }
            if work.ended {
                continue;
            }
            for (&from, open) in work.spans.iter_mut().filter(|(_, open)| open.left > 0 && open.holders.is_empty()) {
                let Some((_, Reverse(taker))) = takers.pop() else { break };
                open.holders.push((taker.clone(), now));
                let (holds, capacity) = rooms.get_mut(&taker).expect("all takers have one");
                *holds += open.left;
                if *holds < *capacity {
                    takers.push((Reverse(*holds * 1024 / *capacity), Reverse(taker.clone())));
                }
                hold(&mut self.own, &taker, id, from..open.to);
                if taker != LEARNER {
                    self.drawn += 1;
                    let drawn = draw(&self.secret, self.drawn) as f64;
                    if drawn < self.rules.audit * u64::MAX as f64 && self.rules.exact {
                        work.audits.push(Audit {
                            span: from..open.to,
                            first: taker,
                            second: None,
                            left: (from..open.to).collect(),
                        });
                    }
                }
            }
        }
        // Whoever has nothing left to do plays what others have had for long: it may be that they are slow.
        for (_, id) in &rounds {
            let work = self.works.get_mut(id).expect("it is there");
            if work.ended || work.spans.values().any(|open| open.left > 0 && open.holders.is_empty()) {
                continue;
            }
            for (&from, open) in work.spans.iter_mut().filter(|(_, open)| open.left > 0 && open.holders.len() == 1) {
                let (holder, since) = &open.holders[0];
                let held = now.saturating_duration_since(*since).as_secs_f64();
                if held < PATIENCE.max(3.0 * self.typical) {
                    continue;
                }
                let has_room = |holds: u64, capacity: u64| holds + open.left <= capacity;
                let idle =
                    rooms.iter_mut().find(|(id, (holds, capacity))| *id != holder && has_room(*holds, *capacity));
                let Some((idle, (holds, _))) = idle else { break };
                open.holders.push((idle.clone(), now));
                *holds += open.left;
                hold(&mut self.own, idle, id, from..open.to);
            }
        }
    }

    /// Returns how many games each worker holds.
    fn held(&self) -> BTreeMap<String, u64> {
        let mut held: BTreeMap<String, u64> = BTreeMap::new();
        for work in self.works.values() {
            let spans = work.spans.values().filter(|open| !work.ended && open.left > 0);
            let spans = spans.flat_map(|open| open.holders.iter().map(|(holder, _)| (holder, open.left)));
            let audits = work.audits.iter().filter_map(|audit| Some((audit.second.as_ref()?, audit.left.len() as u64)));
            for (holder, left) in spans.chain(audits).filter(|(_, left)| *left > 0) {
                match held.get_mut(holder) {
                    Some(sum) => *sum += left,
                    None => drop(held.insert(holder.clone(), left)),
                }
            }
        }
        held
    }

    /// Returns the games that each worker is to play, as spans: those alone that have not come.
    fn spans(&self) -> BTreeMap<String, Vec<Span>> {
        let mut of: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for (id, work) in &self.works {
            let is_held = |open: &Open| !work.ended && open.left > 0 && !open.holders.is_empty();
            for (&from, open) in work.spans.iter().filter(|(_, open)| is_held(open)) {
                let left = match open.left == open.to - from {
                    true => vec![Span { work: id.clone(), from, to: open.to }],
                    false => as_spans(id, (from..open.to).filter(|number| !work.claims.contains_key(number))),
                };
                for (holder, _) in &open.holders {
                    of.entry(holder.clone()).or_default().extend_from_slice(&left);
                }
            }
            for audit in work.audits.iter().filter(|audit| !audit.left.is_empty()) {
                if let Some(second) = &audit.second {
                    of.entry(second.clone()).or_default().extend(as_spans(id, audit.left.iter().copied()));
                }
            }
        }
        of
    }

    /// Returns the orders that are to be written now, with their workers: those that have changed, those that answer a report,
    /// and those that were written so long ago as `again` and are not followed.
    pub fn take_orders(&mut self, now: Instant, again: Duration) -> Vec<(String, Orders)> {
        let of = self.spans();
        let mut orders = vec![];
        for (id, worker) in self.workers.iter_mut().filter(|(id, _)| *id != LEARNER) {
            let spans = of.get(id).cloned().unwrap_or_default();
            let is_written = worker.written.as_ref().is_some_and(|(written, heard, when)| {
                let is_late = *heard < worker.number || now.saturating_duration_since(*when) > again;
                *written == spans && (!is_late || spans.is_empty())
            });
            if is_written || (worker.gone && worker.refused.is_none()) {
                continue;
            }
            worker.beat += 1;
            worker.written = Some((spans.clone(), worker.number, now));
            orders.push((
                id.clone(),
                Orders {
                    epoch: self.epoch,
                    beat: worker.beat,
                    heard: worker.number,
                    spans,
                    refused: worker.refused.clone(),
                    phase: self.phase,
                },
            ));
        }
        orders
    }

    /// Notes that the learner stops, or that its run has ended: all workers are told.
    pub fn end(&mut self, phase: Phase) {
        self.phase = phase;
        self.workers.values_mut().for_each(|worker| worker.written = None);
    }

    /// Returns the games that the run is to forget, and after them those that are new to it.
    pub fn take(&mut self) -> (Vec<GameId>, Vec<GameRecord>) {
        for work in self.works.values_mut() {
            work.ended |= work.done == work.games && work.disputes.is_empty() && work.waiting.is_empty();
        }
        (std::mem::take(&mut self.withdrawn), std::mem::take(&mut self.accepted))
    }

    /// Returns what the workers have done since this was last called.
    pub fn take_effort(&mut self) -> Effort {
        std::mem::take(&mut self.effort)
    }

    /// Returns what the learner is at.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns what people should know and have not been told yet.
    pub fn take_told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// Returns what the fleet has counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns what is known of the rounds, and of those who play them.
    pub fn status(&mut self, now: Instant) -> (Vec<RoundStatus>, Vec<WorkerStatus>, Vec<(String, String)>) {
        let held = self.held();
        let of_round = |work: &Work| {
            let free = work.spans.values().filter(|open| open.holders.is_empty()).map(|open| open.left).sum();
            RoundStatus { round: work.round, games: work.games, done: work.done, free }
        };
        let mut rounds: Vec<_> = self.works.values().filter(|work| !work.ended).map(of_round).collect();
        rounds.sort_by_key(|round| round.round);
        let of_worker = |(id, worker): (&String, &mut Worker)| {
            let (games, effort, since) = worker.lately;
            let seconds = now.saturating_duration_since(since).as_secs_f64().max(1e-3);
            if seconds > 20.0 {
                // Half of the time counts half as much.
                let effort = Effort {
                    simulations: effort.simulations / 2,
                    waited: effort.waited / 2.0,
                    seconds: effort.seconds / 2.0,
                    ..effort
                };
                worker.lately = (games / 2.0, effort, now - Duration::from_secs_f64(seconds / 2.0));
            }
            WorkerStatus {
                worker: id.clone(),
                name: worker.name.clone(),
                age: now.saturating_duration_since(worker.heard).as_secs_f64(),
                holds: held.get(id).copied().unwrap_or(0),
                games: worker.games,
                games_per_second: games / seconds,
                simulations_per_second: effort.simulations as f64 / seconds,
                waited: if effort.seconds > 0.0 { (effort.waited / effort.seconds).clamp(0.0, 1.0) } else { 0.0 },
            }
        };
        let there = self.workers.iter_mut().filter(|(_, worker)| worker.refused.is_none());
        (rounds, there.map(of_worker).collect(), self.rejected.clone())
    }
}

/// Returns the span that a game is in, if it is in one.
fn span_of(spans: &mut BTreeMap<u64, Open>, number: u64) -> Option<&mut Open> {
    spans.range_mut(..=number).next_back().map(|(_, open)| open).filter(|open| open.to > number)
}

/// Notes a span that is given to the learner, of which it has to be told.
fn hold(own: &mut Vec<Span>, taker: &str, work: &str, span: Range<u64>) {
    if taker == LEARNER {
        own.push(Span { work: work.into(), from: span.start, to: span.end });
    }
}

/// Returns the number of a draw that nobody can foresee who does not know the secret.
fn draw(secret: &[u8; 32], number: u64) -> u64 {
    let hash = blake3::keyed_hash(secret, &number.to_le_bytes());
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("it is longer"))
}

/// Returns numbers in ascending order as spans of a round.
pub(super) fn as_spans(work: &str, numbers: impl Iterator<Item = u64>) -> Vec<Span> {
    let mut spans: Vec<Span> = vec![];
    for number in numbers {
        match spans.last_mut() {
            Some(span) if span.to == number => span.to += 1,
            _ => spans.push(Span { work: work.into(), from: number, to: number + 1 }),
        }
    }
    spans
}

impl Worker {
    fn new(name: String, now: Instant) -> Self {
        Self {
            name,
            capacity: 0,
            heard: now,
            number: 0,
            gone: false,
            refused: None,
            games: 0,
            lately: (0.0, Effort::default(), now),
            written: None,
            beat: 0,
        }
    }

    fn is_there(&self) -> bool {
        !self.gone && self.refused.is_none()
    }
}
