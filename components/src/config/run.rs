//! `[run]`: the run as a whole.

use super::section;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most threads that may be asked for: far more than help, and few enough that every machine can start them.
pub const MAX_THREADS: usize = 1_024;

/// The most rounds that can be in play at once.
pub const MAX_LAG: u64 = 4;

section! {
    /// `[run]`
    RunConfig {
        /// Generations of the run: games, then learning, then new weights for the games. More learn for longer.
        generations: u64 = 40, from 1 to 10_000_000, role Upkeep;
        /// Games of each generation, which the network then learns from. More take longer and make the weights of one generation
        /// learn from more.
        games: u64 = 200, from 1 to 100_000_000;
        /// How many generations the games of a round are behind. With 1 they are played with the newest weights, and the lanes
        /// run dry while the last of them end. With 2 the lanes go on with the next round meanwhile, with the weights before the
        /// newest: for devices that need large batches.
        lag: u64 = 1, from 1 to MAX_LAG, role Fixed;
        /// Seed of every random choice. The same seed, configuration and kind of machine give the same run.
        seed: u64 = 1, from 0 to i64::MAX, role Fixed;
        /// Threads; 0 takes as many as the machine has cores. They change the speed, never the result.
        threads: usize = 0, from 0 to MAX_THREADS, role Machine;
        /// Where the network runs: "cpu"; "flex", the CPU without the fused network, to compare with; "cuda" or "vulkan", with the
        /// number of a device behind them if there are several, as in "cuda:1"; or "auto", a GPU if the program was built for
        /// one, the machine has one, and an evaluation takes a million multiplications or more, and else the CPU.
        device: DeviceKind = DeviceKind::Auto, role Machine;
        /// The numbers in which positions are evaluated, in games, grading and play. Fewer bits are faster and a little less exact.
        /// The CPU has f32 and int16, CUDA tf32, bf16 and f16, other devices f32 and, if they have them, bf16 and f16. With "auto"
        /// a run keeps what it begins with.
        precision: Precision = Precision::Auto;
        /// How a GPU computes a convolution when it evaluates.
        tower: Tower = Tower::Auto, role Machine;
        /// The vectors of the processor that the CPU's kernels use. Other ones than the best are slower, and compute what a
        /// processor without the better ones would.
        vectors: Vectors = Vectors::Auto, role Machine;
        /// Whether the kernels that a GPU back end has tuned are kept in the run's folder, in `kernels/`, and not for all runs of
        /// this user. Tuning then takes its minutes once for each run, which goes on with the kernels that it began with.
        own_kernels: bool = false, role Machine;
        /// Generations from one checkpoint to the next; the last generation has one as well. One that is made in between, where
        /// a run is stopped, goes when the next one is there. More write less, and lose more where a machine fails.
        checkpoint_every: u64 = 10, from 1 to 1_000_000, role Upkeep;
        /// Checkpoints kept, the newest ones; beside them the first one, and at most as many at equal distances over the whole
        /// run: those of generations that are `checkpoint_every` times a multiple of 2, 4, 8, .. as the run becomes longer. Each
        /// takes about three times the weights on the disk.
        checkpoints: usize = 3, from 1 to 1_000_000, role Upkeep;
        /// Games of each generation that are written to `games/`. More take more of the disk.
        recorded_games: usize = 10, from 0 to 1_000_000, role Upkeep;
        /// Whether all games stay in `log/`. With false those go that none of the newest `checkpoints` needs any more: older ones
        /// can be played, graded and matched, and not be gone on with.
        keep_log: bool = true, role Upkeep;
        /// Simulations for each move when the player is graded. More make a stronger player and take longer.
        grade_simulations: u32 = 64, from 1 to 1_000_000, role Upkeep;
        /// Share of the time of the run that may go into measuring how strong its player is and what its network has learned,
        /// generation after generation, for `strength.jsonl`. More measure more generations; 0 measures none.
        grade_share: f64 = 0.03, from 0.0 to 1.0, role Upkeep;
        /// Whether the numbers of each generation are also written for TensorBoard, into the folder `tensorboard/` of the run.
        tensorboard: bool = false, role Upkeep;
        /// Generations from one that may be measured to the next. Those between are left out even where there is time.
        grade_every: u64 = 1, from 1 to 1_000_000, role Upkeep;
    }
}

/// Where the network runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    with = "String",
    extend("pattern" = "^(auto|cpu|flex|(cuda|vulkan)(:[0-9]{1,3}|:10[01][0-9]|:102[0-3])?)$")
)]
pub enum DeviceKind {
    /// A GPU if the program was built for one and the network is worth it, else the CPU.
    Auto,
    /// The CPU: positions are evaluated and the network is trained by fused kernels.
    Cpu,
    /// Burn's CPU back end for both, to compare with.
    Flex,
    /// The NVIDIA GPU of this number.
    Cuda(usize),
    /// The device of this number of the Vulkan drivers.
    Vulkan(usize),
}

impl TryFrom<String> for DeviceKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (kind, number) = text.split_once(':').map_or((&text[..], None), |(kind, number)| (kind, Some(number)));
        let device = number.map_or(Some(0), |number| number.parse().ok().filter(|device| *device < 1_024));
        match (kind, device, number) {
            ("auto", _, None) => Ok(Self::Auto),
            ("cpu", _, None) => Ok(Self::Cpu),
            ("flex", _, None) => Ok(Self::Flex),
            ("cuda", Some(device), _) => Ok(Self::Cuda(device)),
            ("vulkan", Some(device), _) => Ok(Self::Vulkan(device)),
            _ => Err(format!(
                "\"{text}\" is no device: it must be auto, cpu, flex, cuda or vulkan, the last two with the number of a device \
                 behind them if need be, as cuda:1"
            )),
        }
    }
}

impl From<DeviceKind> for String {
    fn from(kind: DeviceKind) -> Self {
        kind.to_string()
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Flex => f.write_str("flex"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(device) => write!(f, "cuda:{device}"),
            Self::Vulkan(0) => f.write_str("vulkan"),
            Self::Vulkan(device) => write!(f, "vulkan:{device}"),
        }
    }
}

/// The numbers in which positions are evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// What the place is known to be good at: int16 for a resnet on a CPU with AVX2 or more (narrow
    /// networks on large boards are computed in f32 all the same), bf16 with CUDA, f32 elsewhere.
    #[default]
    Auto,
    /// Floats of 32 bits.
    F32,
    /// Floats of 32 bits, rounded to 10 bits of mantissa where they are multiplied.
    Tf32,
    /// Floats of 16 bits with the range of 32.
    Bf16,
    /// Floats of 16 bits.
    F16,
    /// Integers of 16 bits in the residual tower, where most of the time goes.
    Int16,
}

impl Precision {
    /// The name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Int16 => "int16",
        }
    }
}

/// How convolutions are computed where burn evaluates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tower {
    /// Convolutions are computed as products of matrices on boards of up to 9 cells, and else as convolutions.
    #[default]
    Auto,
    /// Convolutions are computed as such.
    Conv,
    /// Convolutions are computed as products of matrices over the whole board, which cost no more on the smallest
    /// boards.
    Board,
}

/// The vectors of the processor that the fused kernels use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vectors {
    /// The best vectors that the processor has.
    #[default]
    Auto,
    /// AVX-512, with dot products of integers if there are any.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// NEON.
    Neon,
    /// No vectors: plain code.
    Portable,
}

impl Vectors {
    /// The name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_numbers() {
        let read = |text: &str| DeviceKind::try_from(text.to_string());
        for text in ["auto", "cpu", "flex", "cuda", "cuda:3", "vulkan", "vulkan:1"] {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
        assert_eq!(read("cuda:0").unwrap(), DeviceKind::Cuda(0));
        for text in ["", "gpu", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "cuda:99999", "vulkan:1:2"] {
            assert!(read(text).unwrap_err().contains("cuda:1"), "{text}");
        }
    }
}
