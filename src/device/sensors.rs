//! How a GPU is used, as its driver tells.

use super::Place;
use serde::{Deserialize, Serialize};

/// How a GPU was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuUse {
    /// The mean share of the time in which the GPU computed anything, from 0 to 1.
    pub utilisation: f64,
    /// The most bytes of the GPU's memory that were in use, by all programs.
    pub memory: u64,
    /// The bytes of memory that the GPU has.
    pub memory_total: u64,
    /// The mean power in watts; 0 without a sensor.
    pub watts: f64,
    /// The highest temperature in degrees Celsius; 0 without a sensor.
    pub celsius: f64,
}

/// An NVIDIA GPU, as its management library knows it.
pub struct Card {
    #[cfg(feature = "cubecl")]
    nvml: nvml_wrapper::Nvml,
    #[cfg(feature = "cubecl")]
    index: u32,
}

#[cfg(feature = "cubecl")]
impl Card {
    /// Returns the card of a place, if the management library is there and knows the card. The library is loaded at run
    /// time.
    pub fn of(place: &Place) -> Option<Self> {
        let library = if cfg!(windows) { "nvml.dll" } else { "libnvidia-ml.so.1" };
        let nvml = nvml_wrapper::Nvml::builder().lib_path(library.as_ref()).init().ok()?;
        // Equal cards have equal names; where it sits is a card's own, however it is counted.
        let address = place.device.identity()?.physical?.pci_address?.to_string();
        let index = nvml.device_by_pci_bus_id(address).and_then(|card| card.index()).ok()?;
        Some(Self { nvml, index })
    }

    /// Returns how the card is used now; `None` where the library does not tell.
    pub fn usage(&self) -> Option<GpuUse> {
        let card = self.nvml.device_by_index(self.index).ok()?;
        let memory = card.memory_info().ok()?;
        let sensor = nvml_wrapper::enum_wrappers::device::TemperatureSensor::Gpu;
        Some(GpuUse {
            utilisation: f64::from(card.utilization_rates().ok()?.gpu) / 100.0,
            memory: memory.used,
            memory_total: memory.total,
            // Not every card has the sensors.
            watts: card.power_usage().map_or(0.0, |milliwatts| f64::from(milliwatts) / 1e3),
            celsius: card.temperature(sensor).map_or(0.0, f64::from),
        })
    }
}

#[cfg(not(feature = "cubecl"))]
impl Card {
    /// Returns `None`, because this program has no back end for GPUs.
    pub fn of(_: &Place) -> Option<Self> {
        None
    }

    /// Returns `None`, because this program has no back end for GPUs.
    pub fn usage(&self) -> Option<GpuUse> {
        None
    }
}
