//! Choosing where the network runs.

use crate::Error;
use burn::tensor::Device;
use lockstep_components::{
    Game,
    config::{Config, DeviceKind},
};
use lockstep_systems::{BurnEvaluator, EvaluatorFactory};

/// Where the network runs, and how that place wants its batches.
#[derive(Clone, Debug)]
pub struct Place {
    /// Burn's device, for tensors without gradients.
    pub device: Device,
    /// Its name for people.
    pub name: &'static str,
    /// Whether batches are padded to one of a few sizes: a GPU back end compiles again for each new shape.
    pub padded: bool,
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
        DeviceKind::Auto => cuda().or_else(vulkan).or_else(cpu).ok_or_else(|| missing("flex")),
    }
}

#[cfg(feature = "flex")]
fn cpu() -> Option<Place> {
    Some(Place { device: Device::flex(), name: "CPU", padded: false })
}

#[cfg(not(feature = "flex"))]
fn cpu() -> Option<Place> {
    None
}

#[cfg(feature = "cuda")]
fn cuda() -> Option<Place> {
    Some(Place { device: Device::cuda(0), name: "CUDA", padded: true })
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Option<Place> {
    None
}

#[cfg(feature = "vulkan")]
fn vulkan() -> Option<Place> {
    use burn::tensor::DeviceKind::DefaultDevice;
    Some(Place { device: Device::vulkan(DefaultDevice), name: "Vulkan", padded: true })
}

#[cfg(not(feature = "vulkan"))]
fn vulkan() -> Option<Place> {
    None
}

impl Place {
    /// How evaluators are made from networks here, for batches of at most `capacity` rows.
    pub fn evaluators<G: Game>(&self, capacity: usize) -> EvaluatorFactory {
        let place = self.clone();
        let sizes = if self.padded { padded_sizes(capacity) } else { vec![] };
        EvaluatorFactory(Box::new(move |network| {
            Box::new(BurnEvaluator::new(&network.frozen::<G>(), &place.device, sizes.clone()))
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
pub fn batch_capacity(config: &Config) -> usize {
    config.lanes.count as usize * config.lanes.leaves_per_tree as usize
}

/// Sets up the threads of the whole program; 0 takes as many as the machine has cores. Later calls change nothing.
pub fn use_threads(threads: usize) {
    // Fails only when the pool exists already, which embedders and tests may have made themselves.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
}
