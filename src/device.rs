//! Choosing where the network runs.

use crate::Error;
use burn::tensor::Device;
use lockstep_components::{
    Game,
    config::{Config, DeviceKind, LanesConfig},
};
use lockstep_systems::{BurnEvaluator, EvaluatorFactory, FusedEvaluator, Learner, setup::cohorts_of};

/// Where the network runs, and how that place wants its batches.
#[derive(Clone, Debug)]
pub struct Place {
    /// Burn's device, for tensors without gradients.
    pub device: Device,
    /// Its name for people.
    pub name: &'static str,
    /// How positions are evaluated, and the network trained, there.
    pub evaluation: Evaluation,
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

/// The place that a configuration asks for.
///
/// # Errors
/// When this program was built without it.
pub fn place(kind: DeviceKind) -> Result<Place, Error> {
    let missing = |feature: &str| {
        Error::Usage(format!(
            "run.device = \"{feature}\", but this program was built without it; \
             build it with `cargo build --release --features {feature}`, or set run.device = \"cpu\""
        ))
    };
    match kind {
        DeviceKind::Cuda => cuda().ok_or_else(|| missing("cuda")),
        DeviceKind::Vulkan => vulkan().ok_or_else(|| missing("vulkan")),
        DeviceKind::Cpu => cpu().ok_or_else(|| missing("flex")),
        DeviceKind::Flex => {
            let flex = cpu().ok_or_else(|| missing("flex"))?;
            Ok(Place { name: "CPU (burn)", evaluation: Evaluation::Burn, ..flex })
        }
        DeviceKind::Auto => cuda().or_else(vulkan).or_else(cpu).ok_or_else(|| missing("flex")),
    }
}

#[cfg(feature = "flex")]
fn cpu() -> Option<Place> {
    Some(Place { device: Device::flex(), name: "CPU", evaluation: Evaluation::Fused })
}

#[cfg(not(feature = "flex"))]
fn cpu() -> Option<Place> {
    None
}

#[cfg(feature = "cuda")]
fn cuda() -> Option<Place> {
    Some(Place { device: Device::cuda(0), name: "CUDA", evaluation: Evaluation::BurnPadded })
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Option<Place> {
    None
}

#[cfg(feature = "vulkan")]
fn vulkan() -> Option<Place> {
    use burn::tensor::DeviceKind::DefaultDevice;
    Some(Place { device: Device::vulkan(DefaultDevice), name: "Vulkan", evaluation: Evaluation::BurnPadded })
}

#[cfg(not(feature = "vulkan"))]
fn vulkan() -> Option<Place> {
    None
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
            Evaluation::Fused => learner.with_fused_gradients::<G>(&config.network),
            Evaluation::Burn | Evaluation::BurnPadded => learner,
        }
    }

    /// How evaluators are made from networks here, for batches of at most `capacity` rows.
    pub fn evaluators<G: Game>(&self, capacity: usize) -> EvaluatorFactory {
        let place = self.clone();
        EvaluatorFactory(Box::new(move |network| {
            let weights = network.frozen::<G>();
            let burn = |sizes| BurnEvaluator::new(&weights, &place.device, sizes);
            match place.evaluation {
                Evaluation::Fused => Box::new(FusedEvaluator::new(&weights)),
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
/// Those of `work`, and when the threads cannot be started.
pub fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| Error::Usage(format!("cannot start {threads} threads: {e}")))?.install(work)
}
