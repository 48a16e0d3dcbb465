//! How busy the search keeps a device: `cargo bench --bench overlap`, or `cargo bench --bench overlap -- "2048 lanes"` for
//! the lines with these words alone.
//!
//! The device is made up. It computes one batch after another, never two at once, each in the same time, and takes nothing
//! from the host meanwhile. What is printed is the share of the time in which it had a batch to compute, for 2 threads, and
//! the simulations per second.

use lockstep::{device, prelude::*, systems};
use lockstep_systems::{Error, Workers};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// A device with a queue of batches.
#[derive(Clone)]
struct Device {
    queue: Sender<Sender<()>>,
    /// Nanoseconds in which it has computed.
    busy: Arc<AtomicU64>,
}

impl Device {
    fn new(time: Duration) -> Self {
        let (queue, batches) = channel::<Sender<()>>();
        let busy = Arc::new(AtomicU64::new(0));
        let own = busy.clone();
        thread::spawn(move || {
            for done in batches {
                let start = Instant::now();
                thread::sleep(time);
                own.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
                // The evaluator may be gone at the end.
                done.send(()).ok();
            }
        });
        Self { queue, busy }
    }
}

/// Gives equal priors and no value, when the device has computed.
struct OnDevice {
    device: Device,
    rows: usize,
    done: Option<Mutex<Receiver<()>>>,
}

impl Evaluator for OnDevice {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        let (done, wait) = channel();
        self.device.queue.send(done).expect("the device is there");
        (self.rows, self.done) = (batch.rows, Some(Mutex::new(wait)));
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        let wait = self.done.take().expect("a batch was submitted").into_inner().expect("nothing panics with it");
        wait.recv().expect("the device is there");
        out.logits.fill(0.0);
        out.values.fill(0.0);
        out.computed = self.rows;
        Ok(())
    }
}

fn busy(rows: u32, time: Duration, in_flight: u32, cache_mb: u32) -> (f64, f64, f64) {
    let device = Device::new(time);
    let of_device = device.clone();
    let make = move || OnDevice { device: of_device.clone(), rows: 0, done: None };
    let workers = Workers::new(in_flight as usize, ConnectFour::ACTIONS, make);
    let search = SearchConfig { simulations: 64, cache_mb, opening_plies: 12, ..SearchConfig::default() };
    let lanes = LanesConfig { count: rows * in_flight, cohort: rows, in_flight, ..LanesConfig::default() };
    let mut world = Setup::self_play(AnyGame::of::<ConnectFour>(), Searcher::new(workers, search)).lanes(lanes).build();
    let mut run = |time: Duration| {
        let (start, before) = (Instant::now(), device.busy.load(Ordering::Relaxed));
        let stats = |world: &World| (world.resource::<Stats>().simulations, world.resource::<Stats>().evaluations);
        let counted = stats(&world);
        while start.elapsed() < time {
            systems::run_tick(&mut world).expect("a sound schedule");
        }
        let seconds = start.elapsed().as_secs_f64();
        let (simulations, evaluations) = stats(&world);
        let busy = (device.busy.load(Ordering::Relaxed) - before) as f64 / 1e9;
        (busy / seconds, (simulations - counted.0) as f64 / seconds, (evaluations - counted.1) as f64 / seconds)
    };
    run(Duration::from_secs(3));
    run(Duration::from_secs(5))
}

fn main() {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    device::with_threads(2, || {
        println!("Connect Four, 64 simulations, 2 threads");
        for (rows, milliseconds) in [(1024, 5), (2048, 1), (4096, 1)] {
            for cache_mb in [64, 0] {
                for in_flight in [1, 2, 3, 4, 8] {
                    let name = format!(
                        "{rows} lanes a batch in {milliseconds} ms, cache {cache_mb} MB, {in_flight} in flight"
                    );
                    if !words.iter().all(|words| name.contains(words)) {
                        continue;
                    }
                    let time = Duration::from_millis(milliseconds);
                    let (busy, simulations, evaluations) = busy(rows, time, in_flight, cache_mb);
                    println!(
                        "{name}: busy {:.1} %, {:.2} M simulations/s, {:.2} M evaluations/s",
                        100.0 * busy,
                        simulations / 1e6,
                        evaluations / 1e6
                    );
                }
            }
        }
        Ok(())
    })
    .expect("a pool of 2 threads");
}
