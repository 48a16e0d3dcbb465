//! Choosing where the network runs.

use crate::Error;
use burn::tensor::Device;
use lockstep_components::{
    Game,
    config::{Config, DeviceKind, LanesConfig, MAX_THREADS, Precision, RunConfig, Vectors},
};
use lockstep_systems::{BurnEvaluator, EvaluatorFactory, FusedEvaluator, Learner, Level, setup::cohorts_of};

/// Where the network runs, and how that place wants its batches.
#[derive(Clone, Debug)]
pub struct Place {
    /// Burn's device, for tensors without gradients.
    pub device: Device,
    /// Its name for people.
    pub name: String,
    /// How positions are evaluated, and the network trained, there.
    pub evaluation: Evaluation,
    /// The numbers of fused evaluation.
    pub precision: Precision,
    /// The vectors of the fused kernels.
    pub level: Level,
}

/// How positions are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluation {
    /// By the fused kernels on the CPU.
    Fused,
    /// By burn, batches as they come.
    Burn,
    /// By burn, batches padded to one of a few sizes: a GPU back end compiles again for each new shape.
    BurnPadded,
}

/// The place, the precision and the vectors that a configuration asks for.
///
/// # Errors
/// When this program was built without it, the place has no other precision than `f32`, or the processor no such vectors.
pub fn place_of(run: &RunConfig) -> Result<Place, Error> {
    let place = place(run.device)?;
    if place.evaluation != Evaluation::Fused {
        let only_cpu = |key: &str, value: &str, other: &str| {
            Err(Error::Usage(format!(
                "run.{key} = \"{value}\" is for the CPU, and run.device = \"auto\" takes {} here; \
                 set run.device = \"cpu\", or run.{key} = \"{other}\"",
                place.name
            )))
        };
        if run.precision != Precision::F32 {
            return only_cpu("precision", "int16", "f32");
        }
        if run.vectors != Vectors::Auto {
            return only_cpu("vectors", run.vectors.name(), "auto");
        }
    }
    Ok(Place { precision: run.precision, level: level(run.vectors)?, ..place })
}

fn level(vectors: Vectors) -> Result<Level, Error> {
    let levels = Level::available();
    let wanted = levels.iter().find(|level| vectors == Vectors::Auto || level.name() == vectors.name());
    wanted.copied().ok_or_else(|| {
        let names: Vec<&str> = levels.iter().map(|level| level.name()).collect();
        Error::Usage(format!(
            "run.vectors = \"{}\", but this processor has {}; set run.vectors = \"auto\"",
            vectors.name(),
            names.join(", ")
        ))
    })
}

/// A place, with `f32` for its precision.
///
/// # Errors
/// When this program was built without it, or the machine has none.
pub fn place(kind: DeviceKind) -> Result<Place, Error> {
    let (key, built, found) = match kind {
        DeviceKind::Auto => {
            let gpu = cuda().or_else(|| vulkan().filter(is_hardware));
            return gpu.map_or_else(|| place(DeviceKind::Cpu), Ok);
        }
        DeviceKind::Cpu => ("flex", cfg!(feature = "flex"), cpu()),
        DeviceKind::Flex => {
            let flex = |cpu: Place| Place { name: "CPU (burn)".into(), evaluation: Evaluation::Burn, ..cpu };
            ("flex", cfg!(feature = "flex"), cpu().map(flex))
        }
        DeviceKind::Cuda => ("cuda", cfg!(feature = "cuda"), cuda()),
        DeviceKind::Vulkan => ("vulkan", cfg!(feature = "vulkan"), vulkan()),
    };
    found.ok_or_else(|| {
        Error::Usage(if built {
            format!(
                "run.device = \"{key}\", but no driver for it has a device here; install one, or set run.device = \"cpu\""
            )
        } else {
            format!(
                "run.device = \"{key}\", but this program was built without it; \
                 build it with `cargo build --release --features {key}`, or set run.device = \"cpu\""
            )
        })
    })
}

#[cfg(feature = "flex")]
fn cpu() -> Option<Place> {
    let (device, name) = (Device::flex(), "CPU".into());
    let (precision, level) = (Precision::F32, Level::default());
    Some(Place { device, name, evaluation: Evaluation::Fused, precision, level })
}

#[cfg(not(feature = "flex"))]
fn cpu() -> Option<Place> {
    None
}

#[cfg(feature = "cuda")]
fn cuda() -> Option<Place> {
    gpu("CUDA", burn::tensor::DeviceType::Cuda)
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Option<Place> {
    None
}

#[cfg(feature = "vulkan")]
fn vulkan() -> Option<Place> {
    gpu("Vulkan", burn::tensor::DeviceType::Vulkan)
}

#[cfg(not(feature = "vulkan"))]
fn vulkan() -> Option<Place> {
    None
}

/// The first device of this type, discrete GPUs before others.
#[cfg(any(feature = "cuda", feature = "vulkan"))]
fn gpu(api: &str, devices: burn::tensor::DeviceType) -> Option<Place> {
    let device = Device::enumerate(devices).into_iter().next()?;
    let name = device.identity().map_or(api.into(), |identity| format!("{api}: {}", identity.name));
    let (precision, level) = (Precision::F32, Level::default());
    Some(Place { device, name, evaluation: Evaluation::BurnPadded, precision, level })
}

/// Whether this is a card, and not a driver that computes on the CPU, which the kernels for the CPU do better.
#[cfg(any(feature = "cuda", feature = "vulkan"))]
fn is_hardware(place: &Place) -> bool {
    place.device.identity().is_some_and(|identity| identity.physical.is_some())
}

#[cfg(not(any(feature = "cuda", feature = "vulkan")))]
fn is_hardware(_: &Place) -> bool {
    false
}

impl Place {
    /// The same lanes with as many batches in flight as are best here, unless the configuration says how many.
    pub fn lanes(&self, lanes: &LanesConfig) -> LanesConfig {
        let best = if self.evaluation == Evaluation::BurnPadded { 2 } else { 1 };
        LanesConfig { in_flight: if lanes.in_flight == 0 { best } else { lanes.in_flight }, ..lanes.clone() }
    }

    /// A learner with a new network here.
    pub fn learner<G: Game>(&self, config: &Config) -> Learner {
        let learner = Learner::new::<G>(config, &self.device);
        match self.evaluation {
            Evaluation::Fused => learner.with_fused_gradients(self.level),
            Evaluation::Burn | Evaluation::BurnPadded => learner,
        }
    }

    /// How evaluators are made from networks here, for batches of at most `capacity` rows.
    pub fn evaluators<G: Game>(&self, capacity: usize) -> EvaluatorFactory {
        let place = self.clone();
        EvaluatorFactory(Box::new(move |network| {
            let frozen = network.frozen();
            let burn = |sizes| BurnEvaluator::new(&frozen, &place.device, sizes);
            match place.evaluation {
                Evaluation::Fused => match FusedEvaluator::with_options(&frozen, place.precision, place.level) {
                    Some(fused) => Box::new(fused),
                    None => Box::new(burn(vec![])),
                },
                Evaluation::Burn => Box::new(burn(vec![])),
                Evaluation::BurnPadded => Box::new(burn(padded_sizes(capacity))),
            }
        }))
    }
}

/// A quarter, a half and the whole of the capacity.
fn padded_sizes(capacity: usize) -> Vec<usize> {
    let mut sizes = vec![capacity.div_ceil(4), capacity.div_ceil(2), capacity];
    sizes.dedup();
    sizes
}

/// Rows of a batch at most.
pub fn batch_capacity<G: Game>(config: &Config, place: &Place) -> usize {
    let lanes = place.lanes(&config.lanes);
    cohorts_of::<G>(&lanes, &config.search).size() * config.lanes.leaves_per_tree as usize
}

/// Runs `work` on a pool of so many threads; 0 takes as many as the machine has cores.
///
/// The caller's part of the work runs on a thread of the pool, so that handing a system's lanes to the others costs
/// a tenth of a microsecond instead of waking and waiting for a stranger.
///
/// # Errors
/// Those of `work`, and when the threads are more than [`MAX_THREADS`] or cannot be started.
pub fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    if threads > MAX_THREADS {
        return Err(Error::Usage(format!(
            "{threads} threads are too many: run.threads and --threads must be from 0 to {MAX_THREADS}; \
             0 takes as many as there are cores"
        )));
    }
    // Counted here: rayon would take any number from the environment.
    let cores = || std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let threads = if threads == 0 { cores() } else { threads };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| Error::Usage(format!("cannot start {threads} threads: {e}")))?.install(work)
}
