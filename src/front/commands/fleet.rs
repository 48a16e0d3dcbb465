use super::train::{interrupted, listen, set_at_work};
use crate::{
    Error,
    cli::{FleetArgs, FleetCommand, WorkerArgs},
    data, device,
    fleet::{
        self, Address,
        ledger::LEARNER,
        message::{MOST, Phase, Status, shown, unseal},
        store,
        worker::{self, Options, Summary},
    },
    say,
    text::{count, duration, number},
};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a worker says what it does.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Carries out `lockstep worker`.
pub fn work(args: WorkerArgs) -> Result<(), Error> {
    listen()?;
    let options = Options {
        name: args.name.unwrap_or_else(fleet::host),
        device: args.device,
        lanes: args.lanes,
        patience: Duration::from_secs_f64(60.0 * args.wait),
    };
    device::with_threads(args.threads, || {
        let store = store::open(&args.fleet)?;
        say!("Playing for the learner at {}. Ctrl-C hands in what has ended and stops.", args.fleet);
        set_at_work(true);
        let (mut said, mut before) = (Instant::now(), Summary::default());
        let mut shown = |summary: &Summary| {
            if said.elapsed() >= SAID_EVERY {
                say!("  {}", line(summary, &before));
                (said, before) = (Instant::now(), *summary);
            }
        };
        let done = worker::work(&args.fleet, &*store, &options, &interrupted, &mut shown)?;
        say!(
            "Handed in {} in {}, of which it had nothing to play for {}.",
            number(done.games, "game"),
            duration(done.seconds),
            duration(done.waited)
        );
        Ok(())
    })
}

/// Returns what a worker has done since an earlier time, as a line.
fn line(summary: &Summary, before: &Summary) -> String {
    let seconds = (summary.seconds - before.seconds).max(1e-3);
    let games = (summary.games - before.games) as f64 / seconds;
    let simulations = (summary.simulations - before.simulations) as f64 / seconds;
    let waited = 100.0 * (summary.waited - before.waited) / seconds;
    if summary.round == 0 {
        return "waiting for games".into();
    }
    format!(
        "round {}  games {}  {games:.1} games/s  {} simulations/s  in play {}  waited {waited:.0} %",
        summary.round,
        summary.games,
        count(simulations),
        summary.holds
    )
}

/// Carries out `lockstep fleet`.
pub fn run(FleetArgs { command: FleetCommand::Status { place, json } }: FleetArgs) -> Result<(), Error> {
    let status = status(&place)?;
    if json {
        data!("{}", serde_json::to_string(&status).expect("plain data"));
        return Ok(());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let age = now.saturating_sub(status.time);
    let phase = match status.phase {
        Phase::Training if age > 30 => "is not heard of any more: it was killed, or cannot reach this place",
        Phase::Training => "trains",
        Phase::Stopped => "was stopped, and may come back",
        Phase::Finished => "has ended",
    };
    say!("The run {} {phase}. Written {} ago.", status.name, duration(age as f64));
    if status.phase == Phase::Training {
        say!("{}.", status.waits);
    }
    for round in &status.rounds {
        say!(
            "Round {}: {} of {} games are back, {} are held by nobody.",
            round.round,
            round.done,
            round.games,
            round.free
        );
    }
    let counts = status.counts;
    say!(
        "{}; {} from them, {} came twice and were the same ({} of them audited), {} were given to others, {} refused, {} \
         reports damaged.",
        number(counts.workers, "worker"),
        number(counts.games, "game"),
        counts.duplicates,
        counts.audited,
        counts.returned,
        counts.rejected,
        counts.damaged
    );
    for (name, reason) in &status.rejected {
        say!("{name} was refused: {reason}.");
    }
    if status.workers.is_empty() {
        return Ok(());
    }
    let wide = status.workers.iter().map(|worker| worker.name.chars().count()).max().unwrap_or(0).max(6);
    say!(
        "{:<wide$}  {:<16}  {:>8}  {:>7}  {:>9}  {:>7}  {:>13}  {:>6}",
        "worker",
        "id",
        "heard of",
        "holds",
        "games",
        "games/s",
        "simulations/s",
        "waited"
    );
    for worker in &status.workers {
        let id = if worker.worker == LEARNER { "" } else { &worker.worker };
        say!(
            "{:<wide$}  {id:<16}  {:>6.0} s  {:>7}  {:>9}  {:>7.1}  {:>13}  {:>4.0} %",
            worker.name,
            worker.age,
            worker.holds,
            worker.games,
            worker.games_per_second,
            count(worker.simulations_per_second),
            100.0 * worker.waited
        );
    }
    Ok(())
}

/// Returns what the learner has last written about a fleet.
fn status(place: &Address) -> Result<Status, Error> {
    let store = store::open(place)?;
    let found = store.get_one("status", MOST)?;
    let found = found
        .ok_or_else(|| place.error("no fleet has met here yet; begin one with lockstep train RECIPE --fleet PLACE"))?;
    let (mut status, _) = unseal::<Status>(&found).map_err(|e| place.error(format!("status: {e}")))?;
    let names = status.workers.iter_mut().map(|worker| &mut worker.name);
    let texts = names.chain(status.rejected.iter_mut().flat_map(|(name, reason)| [name, reason]));
    texts.chain([&mut status.name, &mut status.waits]).for_each(|text| *text = shown(text));
    Ok(status)
}
