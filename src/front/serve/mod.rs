//! `lockstep serve`: boards to play on in a browser, against any player and with everything that the search finds.
//!
//! - `api`: what can be asked;
//! - `guard`: who may ask;
//! - `players`: against whom one plays, and the tables that are open;
//! - `seats`: the sessions of the pages, each with a thread of its own;
//! - `events`: what the server tells unasked;
//! - `archive`: the games of a run;
//! - `report`: what is known of the runs, as it grows;
//! - `net`: connections and their bounds.
//!
//! Searching is done by the sessions' threads and those of rayon. The threads that answer connections only pass
//! messages, so that no page waits for another one's search.

mod api;
mod archive;
mod events;
mod guard;
mod net;
mod players;
mod report;
mod seats;

pub use players::{Players, Run};

use crate::{Error, checkpoint, say};
use events::Hub;
use guard::Guard;
use seats::Seats;
use serde_json::json;
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::sync_channel},
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, runtime, sync::Semaphore, time::sleep};

/// The time between two looks at the runs' folders while a page listens.
const LOOK: Duration = Duration::from_secs(2);

/// The most threads for what may take long, such as reading games.
const APART: usize = 4;

/// All that the server has.
struct Site {
    guard: Guard,
    players: Players,
    seats: Seats,
    hub: Arc<Hub>,
    /// One place: games are looked for by one request at a time.
    scans: Arc<Semaphore>,
    /// One place: the history of a position asks every kept network and reads the whole log.
    histories: Arc<Semaphore>,
    /// The rate of the requests that belong to no session.
    rate: Mutex<Bucket>,
}

impl Site {
    fn rate(&self) -> MutexGuard<'_, Bucket> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what changes when a run goes on.
    fn progress(&self) -> Vec<Option<u64>> {
        let newest = |run: &Run| checkpoint::generations(&run.folder).ok()?.pop();
        self.players.runs.iter().map(newest).collect()
    }
}

/// Serves these players at an address until Ctrl-C. The address is printed; with port 0 the system chooses the port.
/// `names` are names of this machine that may stand in the place of its address, and `sessions` is how many sessions
/// there may be at the same time.
///
/// # Errors
/// When the address cannot be used, or threads cannot be started.
pub fn serve(address: SocketAddr, names: Vec<String>, players: Players, sessions: usize) -> Result<(), Error> {
    let (stop, stopped) = sync_channel(1);
    let handler = move || _ = stop.try_send(());
    ctrlc::set_handler(handler).map_err(|e| Error::Usage(format!("cannot start threads to listen to Ctrl-C: {e}")))?;
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(APART).enable_all().build();
    let runtime = runtime.map_err(|e| Error::Usage(format!("cannot start threads to listen: {e}")))?;
    let listener =
        runtime.block_on(TcpListener::bind(address)).and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = listener.map_err(|e| {
        Error::Usage(format!("cannot listen at {address} ({e}); choose another --port, or 0 for any that is free"))
    })?;
    let site = Arc::new(Site {
        guard: Guard::new(address, names),
        players,
        seats: Seats::new(sessions),
        hub: Arc::default(),
        scans: Arc::new(Semaphore::new(1)),
        histories: Arc::new(Semaphore::new(1)),
        rate: Mutex::new(Bucket::new(40.0, 10.0)),
    });
    let token = site.guard.token().map_or(String::new(), |token| format!("#token={token}"));
    let mut shown = address;
    if address.ip().is_unspecified() {
        shown.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    say!("Open http://{shown}/{token}");
    if shown != address {
        say!("On other machines: with the address of this one in the place of {}.", shown.ip());
    }
    if !token.is_empty() {
        say!("Who knows this address can use the server; what goes over the network is not encrypted.");
    }
    say!("Ctrl-C ends it.");
    runtime.spawn(net::answer(listener, api::pages(site.clone())));
    runtime.spawn(watch(site));
    // The handler that could hang up lives as long as the process.
    let _ = stopped.recv();
    runtime.shutdown_background();
    Ok(())
}

/// Closes sessions that nobody uses, and tells the pages when a run has a new checkpoint.
async fn watch(site: Arc<Site>) {
    let mut before = site.progress();
    loop {
        sleep(LOOK).await;
        site.seats.close_idle();
        site.players.close_idle();
        if site.hub.count() == 0 {
            continue;
        }
        let looking = site.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || looking.progress()).await else { continue };
        if now != before {
            site.hub.send(None, &json!({"runs": now}));
            before = now;
        }
    }
}

/// Returns a text that nobody can guess: 128 bits in hexadecimal digits.
///
/// # Panics
/// If the system has no source of random numbers.
fn secret() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has a source of random numbers");
    crate::log::hex(&bytes)
}

/// A bound on the rate of requests: some at once, and then so many in a second.
struct Bucket {
    left: f64,
    most: f64,
    each_second: f64,
    at: Instant,
}

impl Bucket {
    fn new(most: f64, each_second: f64) -> Self {
        Self { left: most, most, each_second, at: Instant::now() }
    }

    /// Takes the right to one request, if there is one.
    fn take(&mut self) -> bool {
        let since = self.at.elapsed().as_secs_f64();
        self.at = Instant::now();
        self.left = (self.left + since * self.each_second).min(self.most);
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}
