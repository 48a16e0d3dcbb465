//! Where the network runs: choosing a device and checking what it computes.
//!
//! What only GPUs have lies here too: [`sensors`] and the kernels that a back end tunes ([`keep_kernels`]).

pub mod check;
mod kernels;
pub mod sensors;

pub use kernels::keep_kernels;

use crate::{Error, games::description_of};
use burn::tensor::{DType, Device};
use check::{Known, Refused};
use lockstep_components::config::{
    Config, DeviceKind, LanesConfig, LearnPrecision, MAX_THREADS, Precision, Tower, Vectors,
};
use lockstep_fused::{Description, TrainingNetwork, TrainingPrecision};
use lockstep_systems::{
    AnyGame, BurnEvaluator, BurnOptions, EvaluatorFactory, FusedEvaluator, Learner, Level, Workers, setup::cohorts_of,
};

/// The prefix of the names of CUDA's devices.
const CUDA: &str = "CUDA";

/// Where the network runs, and how that place wants its batches.
#[derive(Clone, Debug)]
pub struct Place {
    /// Burn's device, for tensors without gradients.
    pub device: Device,
    /// The name of the place, for people.
    pub name: String,
    /// How positions are evaluated, and the network trained, at this place.
    pub evaluation: Backend,
    /// The type of the numbers in which the network is evaluated.
    pub precision: Precision,
    /// Whether burn computes convolutions as products over the whole board, which it does on a GPU alone.
    pub board: bool,
    /// The vector instructions that the fused kernels use.
    pub level: Level,
    /// The number of batches in flight: the one of the configuration, or else the best one for this place.
    pub in_flight: u32,
}

/// How positions are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The fused kernels evaluate on the CPU.
    Fused,
    /// Burn evaluates, with batches as they come.
    Burn,
    /// Burn evaluates, with batches padded to one of a few sizes: a GPU back end compiles again for each new shape.
    BurnPadded,
}

/// The number of multiplications of an evaluation from which on a GPU is worth the way there and back.
const WORTH_A_GPU: usize = 1_000_000;

/// Returns the place that a configuration asks for, with its precision and its vector instructions.
///
/// # Errors
/// When this program was built without the device, the machine has no such device, the device lacks the precision of
/// evaluation or of learning, or the processor lacks the vector instructions.
pub fn place_of(config: &Config) -> Result<Place, Error> {
    let run = &config.run;
    let for_cpu = run.precision == Precision::Int16 || run.vectors != Vectors::Auto;
    let network = description_of(config);
    let worth_it = || network.as_ref().is_some_and(|network| network.operations() >= WORTH_A_GPU);
    let place = match run.device {
        DeviceKind::Auto if for_cpu || !worth_it() => place(DeviceKind::Cpu)?,
        kind => place(kind)?,
    };
    let is_tower = network.as_ref().is_some_and(Description::is_fused_tower);
    let level = level(run.vectors)?;
    let precision = match run.precision {
        Precision::Auto if place.evaluation != Backend::Fused => place.precisions()[0],
        Precision::Auto if is_tower && level.has_fast_integers() => Precision::Int16,
        Precision::Auto => Precision::F32,
        named => named,
    };
    if !place.precisions().contains(&precision) {
        let names: Vec<_> = place.precisions().iter().map(|precision| precision.name()).collect();
        return Err(Error::Usage(format!(
            "run.precision = \"{}\", but run.device = \"{}\" ({}) has {}; set run.precision = \"auto\", or another run.device",
            precision.name(),
            run.device,
            place.name,
            names.join(", "),
        )));
    }
    if config.learn.precision == LearnPrecision::Bf16 && !place.device.supports_dtype(DType::BF16) {
        return Err(Error::Usage(format!(
            "learn.precision = \"bf16\", and {} does not compute in it; set learn.precision = \"f32\"",
            place.name
        )));
    }
    let board = match run.tower {
        Tower::Auto => network.is_some_and(|network| network.cells() <= 9),
        Tower::Conv => false,
        Tower::Board => true,
    };
    let in_flight = place.lanes(&config.lanes).in_flight;
    Ok(Place { precision, level, board, in_flight, ..place })
}

/// Returns whether a network is trained in `f32` on kernels that would train it in `bf16` in less time.
pub fn could_learn_in_bf16(network: &Description, config: &Config, place: &Place) -> bool {
    config.learn.precision == LearnPrecision::F32
        && place.evaluation == Backend::Fused
        && place.level.has_bf16_tiles()
        && TrainingNetwork::new(network, 0.0, place.level, TrainingPrecision::Bf16).is_ok()
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

/// Returns the place of a device, with `f32` for its precision.
///
/// # Errors
/// When this program was built without the device, or the machine has no such device.
pub fn place(kind: DeviceKind) -> Result<Place, Error> {
    let (feature, built, found) = match kind {
        DeviceKind::Auto => {
            let gpu = cuda(0).or_else(|| vulkan(0).filter(is_hardware));
            return gpu.map_or_else(|| place(DeviceKind::Cpu), Ok);
        }
        DeviceKind::Cpu => ("flex", cfg!(feature = "flex"), cpu()),
        DeviceKind::Flex => {
            let flex = |cpu: Place| Place { name: "CPU (burn)".into(), evaluation: Backend::Burn, ..cpu };
            ("flex", cfg!(feature = "flex"), cpu().map(flex))
        }
        DeviceKind::Cuda(number) => ("cuda", cfg!(feature = "cuda"), cuda(number)),
        DeviceKind::Vulkan(number) => ("vulkan", cfg!(feature = "vulkan"), vulkan(number)),
    };
    found.ok_or_else(|| {
        Error::Usage(if built {
            format!(
                "run.device = \"{kind}\", but no driver for it has such a device here; install one, or set run.device = \"cpu\""
            )
        } else {
            format!(
                "run.device = \"{kind}\", but this program was built without it; \
                 build it with `cargo build --release --features {feature}`, or set run.device = \"cpu\""
            )
        })
    })
}

#[cfg(feature = "flex")]
fn cpu() -> Option<Place> {
    let (device, name) = (Device::flex(), "CPU".into());
    let (precision, level) = (Precision::F32, Level::default());
    Some(Place { device, name, evaluation: Backend::Fused, precision, board: false, level, in_flight: 1 })
}

#[cfg(not(feature = "flex"))]
fn cpu() -> Option<Place> {
    None
}

#[cfg(feature = "cuda")]
fn cuda(number: usize) -> Option<Place> {
    gpu(CUDA, burn::tensor::DeviceType::Cuda, number)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Option<Place> {
    None
}

#[cfg(feature = "vulkan")]
fn vulkan(number: usize) -> Option<Place> {
    gpu("Vulkan", burn::tensor::DeviceType::Vulkan, number)
}

#[cfg(not(feature = "vulkan"))]
fn vulkan(_: usize) -> Option<Place> {
    None
}

/// Returns the device with this number among those of a type, counted from 0, discrete GPUs before others.
#[cfg(any(feature = "cuda", feature = "vulkan"))]
fn gpu(api: &str, devices: burn::tensor::DeviceType, number: usize) -> Option<Place> {
    let device = Device::enumerate(devices).into_iter().nth(number)?;
    let name = device.identity().map_or(api.into(), |identity| format!("{api}: {}", identity.name));
    let (precision, level) = (Precision::F32, Level::default());
    Some(Place { device, name, evaluation: Backend::BurnPadded, precision, board: false, level, in_flight: 2 })
}

/// Whether a place is a graphics card, and not a driver that computes on the CPU, where the kernels for the CPU are
/// faster.
#[cfg(any(feature = "cuda", feature = "vulkan"))]
fn is_hardware(place: &Place) -> bool {
    place.device.identity().is_some_and(|identity| identity.physical.is_some())
}

#[cfg(not(any(feature = "cuda", feature = "vulkan")))]
fn is_hardware(_: &Place) -> bool {
    false
}

impl Place {
    /// Returns the precisions that this place evaluates in, the one to choose first at the front.
    pub fn precisions(&self) -> Vec<Precision> {
        if self.evaluation == Backend::Fused {
            return vec![Precision::F32, Precision::Int16];
        }
        let has = |dtype| self.device.supports_dtype(dtype);
        let half = [(Precision::Bf16, has(DType::BF16)), (Precision::F16, has(DType::F16))];
        let half = half.into_iter().filter_map(|(precision, has)| has.then_some(precision));
        // Products of `f32` are computed by tensor cores, in TF32, whenever tuning finds these faster.
        if self.name.starts_with(CUDA) {
            return half.chain([Precision::Tf32]).collect();
        }
        [Precision::F32].into_iter().chain(half).collect()
    }

    /// Returns the same place with this precision, or `None` if it is the place's own or the place lacks it.
    pub fn for_precision(&self, precision: Precision) -> Option<Self> {
        let other = precision != self.precision && self.precisions().contains(&precision);
        other.then(|| Self { precision, ..self.clone() })
    }

    /// Returns the bytes of the device's memory that burn has reserved, or `None` where it does not tell, as on the
    /// CPU.
    pub fn reserved(&self) -> Option<u64> {
        self.device.memory_pool_usage().map(|usage| usage.bytes_reserved)
    }

    /// Returns these lanes with as many batches in flight as this place has, unless the configuration says how many.
    pub fn lanes(&self, lanes: &LanesConfig) -> LanesConfig {
        LanesConfig { in_flight: if lanes.in_flight == 0 { self.in_flight } else { lanes.in_flight }, ..lanes.clone() }
    }

    /// Returns a learner with a new network at this place.
    ///
    /// On a GPU the first gradient of its kind in this process is compared with that of the CPU. If it is off, products
    /// of matrices are computed as convolutions; if these are off too, the first step of the learner fails and says so.
    pub fn learner(&self, game: AnyGame, config: &Config) -> Learner {
        let learner = Learner::new(&game.info, config, &self.device);
        match self.evaluation {
            Backend::Fused => learner.with_fused_gradients(self.level),
            Backend::Burn => learner,
            Backend::BurnPadded => match check::learning(game, config, self) {
                Ok(pointwise) => learner.with_pointwise(pointwise),
                Err(error) => learner.refused(error),
            },
        }
    }

    /// Returns a factory that makes evaluators of networks at this place, for batches of at most `capacity` rows.
    ///
    /// On a GPU the first evaluator of its kind in this process is compared with the network in `f64`, with each kernel
    /// that it will use. If it is off, products of matrices are computed as convolutions, which have other kernels; if
    /// these are off too, the evaluator answers every batch with an error that says so.
    pub fn evaluators(&self, game: AnyGame, capacity: usize) -> EvaluatorFactory {
        let place = self.clone();
        EvaluatorFactory(Box::new(move |network| {
            let frozen = network.frozen();
            if place.evaluation == Backend::Fused
                && let Some(fused) = FusedEvaluator::with_options(&frozen, place.precision, place.level)
            {
                return Box::new(fused);
            }
            let gpu = place.evaluation == Backend::BurnPadded;
            let batch_sizes = if gpu { padded_sizes(capacity) } else { vec![] };
            let board = place.board && gpu;
            let part = if gpu { 0 } else { BurnOptions::PART };
            let options = BurnOptions { batch_sizes, precision: place.precision, board, pointwise: false, part };
            if !gpu {
                return Box::new(BurnEvaluator::new(&frozen, &place.device, options));
            }
            let workers = |(board, pointwise)| {
                let (device, network) = (place.device.clone(), frozen.clone());
                let options = BurnOptions { board, pointwise, ..options.clone() };
                let make = move || BurnEvaluator::new(&network, &device, options.clone());
                Workers::new(place.in_flight as usize, game.info.actions, make)
            };
            let asked = (place.name.clone(), options.clone(), frozen.description.clone());
            let ways = [(board, false), (board, true), (false, false), (false, true)];
            let ways = &ways[..if board { 4 } else { 2 }];
            let right = |way| check::evaluation(game, &mut workers(way), &frozen, &place);
            match check::first_right(&CHECKED, asked, ways, right) {
                Ok(way) => Box::new(workers(way)),
                Err(error) => Box::new(Refused(error)),
            }
        }))
    }
}

/// What evaluators were checked in this process: for a device, options and a network, whether convolutions are computed
/// as products over the whole board, and whether dense layers are computed as convolutions.
static CHECKED: Known<(String, BurnOptions, Description), (bool, bool)> = Known::new(vec![]);

/// Returns the batch sizes of a GPU: a quarter, a half and the whole of the capacity.
fn padded_sizes(capacity: usize) -> Vec<usize> {
    let mut sizes = vec![capacity.div_ceil(4), capacity.div_ceil(2), capacity];
    sizes.dedup();
    sizes
}

/// Returns the most rows that a batch of this configuration has at a place.
pub fn batch_capacity(game: AnyGame, config: &Config, place: &Place) -> usize {
    let lanes = place.lanes(&config.lanes);
    cohorts_of(&game.info, &lanes, &config.search).size() * config.lanes.leaves_per_tree as usize
}

/// Runs `work` on a pool of `threads` threads; 0 takes as many as there are cores.
///
/// The caller's part of the work runs on a thread of the pool, so that handing a system's lanes to the others costs a
/// tenth of a microsecond instead of waking and waiting for a thread outside of it.
///
/// # Errors
/// The errors of `work`, and an error when the threads are more than [`MAX_THREADS`] or cannot be started.
pub fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    if threads > MAX_THREADS {
        return Err(Error::Usage(format!(
            "{threads} threads are too many: run.threads and --threads must be from 0 to {MAX_THREADS}; \
             0 takes as many as there are cores"
        )));
    }
    // Counted here: rayon would take any number from the environment.
    let threads = if threads == 0 { cores().min(MAX_THREADS) } else { threads };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| Error::Usage(format!("cannot start {threads} threads: {e}")))?.install(work)
}

/// Returns the number of cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
