//! The machine that a run is made on, and how well it is used: watched by a thread of its own, because neither systems
//! nor trainer read such things.

use crate::{
    device::{
        Place,
        sensors::{Card, GpuUse},
    },
    memory,
};
use lockstep_components::config::Precision;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use sysinfo::{CpuRefreshKind, System};

/// The machine that a generation was made on, and how it was used meanwhile: a part of the generation's metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// The name of the place where the network runs, for people.
    pub device: String,
    /// Whether the network runs on a GPU, which works while the processor does something else.
    pub is_gpu: bool,
    /// The type of the numbers in which the network is evaluated.
    pub precision: Precision,
    /// Whether the residual tower could be evaluated in integers, faster.
    pub could_be_int16: bool,
    /// Whether the GPU has `bf16`.
    pub could_be_bf16: bool,
    /// Whether burn evaluates on the CPU what the fused kernels do not know.
    pub burn_plays: bool,
    /// Whether burn trains on the CPU what the fused kernels do not know.
    pub burn_trains: bool,
    /// Whether it learns in `f32` what this processor would learn in `bf16` in less time.
    pub could_learn_in_bf16: bool,
    /// The number of threads of the program.
    pub threads: usize,
    /// The number of cores that the program may use.
    pub cores: usize,
    /// The number of cores that were busy with the program on average; 0 where the system does not tell.
    pub cores_busy: f64,
    /// The number of the machine's cores that were busy with other programs in the last second that was looked at; 0
    /// where the system does not tell.
    pub cores_others: f64,
    /// The number of the machine's cores that nobody used in the last second that was looked at; as many as it has
    /// where the system does not tell.
    pub cores_idle: f64,
    /// The most bytes of memory that the program had in use, of samples each second.
    pub resident: u64,
    /// The bound in bytes that was printed before the run began.
    pub bound: u64,
    /// The bytes of memory that the machine has, or its control group or another limit leaves to the program.
    pub memory: u64,
    /// The number of positions that the cache has room for.
    pub cache_positions: u64,
    /// How the GPU was used, where its driver tells of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuUse>,
}

/// How often the machine is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Watches the machine while a run is made.
pub struct Monitor {
    fixed: Machine,
    watched: Arc<Mutex<Watched>>,
    cores: Arc<Mutex<CoreUse>>,
    since: (Instant, Duration),
    stop: Option<(Sender<()>, JoinHandle<()>)>,
}

/// How the cores of the machine were used in the last second: by this program, by others, and by nobody.
#[derive(Clone, Copy, Debug, Default)]
struct CoreUse {
    /// The number of cores that this program used; `None` in the first second.
    own: Option<f64>,
    others: f64,
    idle: f64,
}

/// Measures how all cores of the machine are used.
struct Cores {
    system: System,
    since: (Instant, Duration),
}

impl Cores {
    fn new() -> Self {
        let mut system = System::new();
        system.refresh_cpu_usage();
        Self { system, since: (Instant::now(), cpu_time()) }
    }

    /// Returns how the cores were used since this was last called.
    fn usage(&mut self) -> CoreUse {
        let now = (Instant::now(), cpu_time());
        self.system.refresh_cpu_usage();
        let cores = self.system.cpus().len() as f64;
        let busy = cores * f64::from(self.system.global_cpu_usage()) / 100.0;
        let seconds = (now.0 - self.since.0).as_secs_f64().max(1e-3);
        let own = now.1.saturating_sub(self.since.1).as_secs_f64() / seconds;
        self.since = now;
        CoreUse { own: Some(own), others: (busy - own).max(0.0), idle: cores - busy }
    }
}

/// What the thread has seen since [`Monitor::take`] was last called.
#[derive(Debug, Default)]
struct Watched {
    resident: u64,
    gpu: Option<GpuUse>,
    samples: u32,
}

impl Watched {
    fn add(&mut self, resident: u64, gpu: Option<GpuUse>) {
        self.resident = self.resident.max(resident);
        let n = f64::from(self.samples);
        self.samples += 1;
        let Some(new) = gpu else { return };
        let old = self.gpu.unwrap_or_default();
        let mean = |old: f64, new: f64| (old * n + new) / (n + 1.0);
        self.gpu = Some(GpuUse {
            utilisation: mean(old.utilisation, new.utilisation),
            memory: old.memory.max(new.memory),
            memory_total: new.memory_total,
            watts: mean(old.watts, new.watts),
            celsius: old.celsius.max(new.celsius),
        });
    }
}

impl Monitor {
    /// Begins to watch the machine. `fixed` has the fields that do not change.
    pub fn new(fixed: Machine, place: &Place) -> Self {
        let watched = Arc::new(Mutex::new(Watched::default()));
        // Until something is known, all cores are free.
        let shared = Arc::new(Mutex::new(CoreUse { own: None, others: 0.0, idle: fixed.cores as f64 }));
        let (stop, stopped) = channel();
        let (seen, card) = (watched.clone(), if fixed.is_gpu { Card::of(place) } else { None });
        let seen_cores = shared.clone();
        let watch = move || {
            let mut cores = Cores::new();
            loop {
                let (resident, gpu) = (memory::resident(), card.as_ref().and_then(Card::usage));
                seen.lock().unwrap_or_else(PoisonError::into_inner).add(resident, gpu);
                if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                *seen_cores.lock().unwrap_or_else(PoisonError::into_inner) = cores.usage();
            }
        };
        // Without the thread the numbers are missing, and nothing else.
        let thread = std::thread::Builder::new().name("monitor".into()).spawn(watch);
        let stop = thread.ok().map(|thread| (stop, thread));
        Self { fixed, watched, cores: shared, since: (Instant::now(), cpu_time()), stop }
    }

    /// Returns how the machine was used since this was last called, and begins anew.
    pub fn take(&mut self) -> Machine {
        let machine = self.peek();
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) = Watched::default();
        self.since = (Instant::now(), cpu_time());
        machine
    }

    /// Returns how the machine was used since the last call of [`Monitor::take`], which will return it as well.
    pub fn peek(&self) -> Machine {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, spent) = self.since;
        let elapsed = began.elapsed();
        let busy = cpu_time().saturating_sub(spent).as_secs_f64() / elapsed.as_secs_f64().max(0.1);
        let resident = watched.resident.max(memory::resident());
        let CoreUse { own, others, idle } = *self.cores.lock().unwrap_or_else(PoisonError::into_inner);
        Machine {
            // The system counts in hundredths of a second, of which a short time has too few.
            cores_busy: own.filter(|_| elapsed < EVERY).unwrap_or(busy),
            cores_others: others,
            cores_idle: idle,
            resident,
            gpu: watched.gpu,
            ..self.fixed.clone()
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.stop.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

impl Machine {
    /// Returns how the machine is used, as texts for people.
    pub fn fields(&self) -> Vec<String> {
        let bytes = |n: u64| crate::text::bytes(n as usize);
        let mut fields = vec![format!("cores busy {:.1} of {}", self.cores_busy, self.cores)];
        if let Some(GpuUse { utilisation, memory, memory_total, watts, celsius }) = self.gpu {
            let (memory, total) = (bytes(memory), bytes(memory_total));
            fields
                .push(format!("GPU {:.0} %, {memory} of {total}, {watts:.0} W, {celsius:.0} °C", 100.0 * utilisation));
        }
        fields.push(format!("memory {} of {}", bytes(self.resident), bytes(self.bound)));
        if self.cores_others >= 0.1 {
            fields.push(format!("other programs {:.1}", self.cores_others));
        }
        fields
    }

    /// Returns the number of cores that the program had, and that it could have had, if it lacked some because other
    /// programs took them; `None` otherwise.
    pub fn crowded(&self) -> Option<(f64, usize)> {
        let wanted = self.threads.min(self.cores);
        let lacks = self.cores_busy < 0.75 * wanted as f64 && self.cores_idle < 0.1 * wanted as f64;
        (lacks && self.cores_others > 0.2 * wanted as f64).then_some((self.cores_busy, wanted))
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.fields().join("  "))
    }
}

/// Returns the name of the processor's model, as the system tells it.
pub fn processor() -> String {
    let mut system = System::new();
    system.refresh_cpu_list(CpuRefreshKind::nothing());
    let name = system.cpus().first().map_or("", |cpu| cpu.brand().trim());
    if name.is_empty() { format!("a processor of {}", std::env::consts::ARCH) } else { name.into() }
}

/// Returns the time that the processor has worked for this process.
fn cpu_time() -> Duration {
    memory::this_process(|process| Duration::from_millis(process.accumulated_cpu_time())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_become_means_and_peaks() {
        let mut watched = Watched::default();
        for (k, utilisation) in [0.2, 0.4, 0.9].into_iter().enumerate() {
            let gpu = GpuUse { utilisation, memory: 10 * k as u64, celsius: 50.0 - k as f64, ..GpuUse::default() };
            watched.add(100 - k as u64, Some(gpu));
        }
        let gpu = watched.gpu.unwrap();
        assert!((gpu.utilisation - 0.5).abs() < 1e-12);
        assert_eq!((watched.resident, gpu.memory, gpu.celsius), (100, 20, 50.0));
    }
}
