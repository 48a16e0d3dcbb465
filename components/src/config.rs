//! Every key of a configuration, its default and its bounds, in one place.
//!
//! A configuration is TOML with the sections of [`Config`]; the recipe `tictactoe` comments every key.
//! Unknown keys are refused, and [`Config::check`] names the key and the bound of a value out of range.

use crate::Game;
use bevy_ecs::component::Component;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// The most threads that may be asked for: far more than help, and few enough that every machine can start them.
pub const MAX_THREADS: usize = 1_024;

/// The most rounds that can be in play at once.
pub const MAX_LAG: u64 = 4;

/// The most generations that `learn.schedule` may name: settings are kept with every round and every checkpoint.
const MAX_RATE_STEPS: usize = 1_000;

/// The most simulations of a search.
const MAX_SIMULATIONS: u32 = 1_000_000;

/// The most positions of an optimiser step.
const MAX_BATCH: usize = 1_000_000;

/// A value out of range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{key} = {value} is out of range: it must be {bound}")]
pub struct OutOfRange {
    /// Section and key.
    pub key: &'static str,
    /// What was given.
    pub value: String,
    /// What is allowed.
    pub bound: String,
}

/// A number in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum Number {
    /// A whole one.
    Whole(u64),
    /// Any other one.
    Real(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::Real(number) => write!(f, "{number}"),
        }
    }
}

macro_rules! numbers {
    ($($number:ty => $kind:ident($into:expr);)*) => {$(
        impl From<$number> for Number {
            fn from(number: $number) -> Self {
                Self::$kind($into(number))
            }
        }
    )*};
}

numbers! {
    u32 => Whole(u64::from);
    u64 => Whole(u64::from);
    usize => Whole(|number: usize| number as u64);
    f32 => Real(widened);
    f64 => Real(f64::from);
}

/// A float of 32 bits in 64 as people write it: 0.3, and not 0.30000001192092896.
fn widened(number: f32) -> f64 {
    let written = number.to_string().parse().ok();
    written.filter(|&written: &f64| written as f32 == number).unwrap_or(number.into())
}

/// How floats of 32 bits are written into files.
fn short<S: Serializer>(number: &f32, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(widened(*number))
}

/// The bounds of a key, and the value that it has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Section and key.
    pub key: &'static str,
    /// What the configuration has.
    pub value: Number,
    /// The least that is allowed.
    pub least: Number,
    /// The most that is allowed.
    pub most: Number,
}

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which game.
    pub game: GameConfig,
    /// How many games at once.
    pub lanes: LanesConfig,
    /// The tree search.
    pub search: SearchConfig,
    /// The network.
    pub network: NetworkConfig,
    /// The replay buffer.
    pub replay: ReplayConfig,
    /// Training.
    pub learn: LearnConfig,
    /// The run as a whole.
    pub run: RunConfig,
}

/// `[game]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GameConfig {
    /// The game's name, one of those that `lockstep games` lists. Default `"tictactoe"`.
    pub name: String,
    /// In Go: points that the second player gets beside the board, -60 to 60 in steps of 0.5. Default `"default"`, the usual
    /// ones for the board. More help the second player; with half points no game is a draw.
    pub komi: Komi,
}

/// The most points of [`GameConfig::komi`], either way.
pub(crate) const KOMI: f32 = 60.0;

/// Points that the second player gets beside the board.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "it must be a number of points or \"default\"")]
pub enum Komi {
    /// So many.
    Points(
        #[serde(serialize_with = "short")]
        #[schemars(range(min = -KOMI, max = KOMI), extend("multipleOf" = 0.5))]
        f32,
    ),
    /// Those of the game.
    Usual(Usual),
}

/// `"default"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Usual {
    /// What the game has.
    #[default]
    Default,
}

impl Default for Komi {
    fn default() -> Self {
        Self::Usual(Usual::Default)
    }
}

/// `[lanes]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LanesConfig {
    /// Games in play at the same time, 1 to 65,536. Default 256.
    /// More fill a device better and use more memory; games then last longer in wall time.
    pub count: u32,
    /// Leaves that each tree sends to the network in one tick, 1 to 256. Default 1.
    /// More fill the batch when there are few lanes; the search then decides before the values of the others are known.
    pub leaves_per_tree: u32,
    /// Lanes that advance together before the next ones have their turn, 0 to 65,536. Default 0: as many as keep their
    /// trees in the processor's cache, or all of them divided by the batches in flight when there are several. They share a
    /// batch, so fewer make smaller batches.
    pub cohort: u32,
    /// Batches on their way at the same time, 0 to 8. Default 0: 2 on a GPU, which works on one while the next is
    /// prepared; 1 on the CPU, which does both itself. More keep a GPU busy that is faster than the host, with smaller batches.
    pub in_flight: u32,
}

/// `[search]`: how an agent searches. A component of an agent.
#[derive(Component, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SearchConfig {
    /// How moves are chosen in the tree and at its root: `"puct"` (AlphaZero, Silver et al. 2018) or `"gumbel"` (Danihelka et
    /// al. 2022), which learns from a few simulations. Default `"puct"`. Each has keys of its own.
    pub policy: PolicyKind,
    /// Simulations of a full search, those of a kept sub-tree included, 1 to 1,000,000. Default 64.
    /// More make stronger moves and better targets, and take longer.
    pub simulations: u32,
    /// Simulations of a fast search, 0 to `simulations`. Default 0: every search is full.
    /// Fast searches play on without teaching the policy (playout cap randomisation, Wu 2019, section 3.1).
    pub fast_simulations: u32,
    /// Chance of a full search when `fast_simulations` is not 0, above 0 to 1. Default 0.25.
    #[serde(serialize_with = "short")]
    pub full_search_chance: f32,
    /// With PUCT: weight of the prior against the value, 0 to 100. Default 1.5. Higher explores more.
    #[serde(serialize_with = "short")]
    pub c_puct: f32,
    /// With PUCT: value of a move that has no visit. Default `{ reduction = 0.2 }`.
    pub fpu: Fpu,
    /// With PUCT: share of Dirichlet noise in the priors of the root, 0 to 1. Default 0.25. Higher tries more moves.
    #[serde(serialize_with = "short")]
    pub noise_share: f32,
    /// With PUCT: concentration of the noise over all legal moves together, 0.01 to 1,000. Default 10.
    /// Each move gets this divided by the number of legal moves. Lower puts the noise on fewer moves.
    #[serde(serialize_with = "short")]
    pub noise_concentration: f32,
    /// With PUCT: temperature of the choice among visits at the beginning of a game, 0 to 10. Default 1.
    /// 0 always plays the most visited move; higher plays more varied games.
    #[serde(serialize_with = "short")]
    pub temperature: f32,
    /// With PUCT: temperature after `temperature_plies`, 0 to 10. Default 0.25.
    #[serde(serialize_with = "short")]
    pub final_temperature: f32,
    /// With PUCT: plies played at `temperature`, 0 to 10,000. Default 8.
    pub temperature_plies: u32,
    /// Up to so many uniformly random moves open each game, 0 to 1,000 and fewer than the game's [`Game::MAX_PLIES`],
    /// drawn evenly. Default 0.
    /// They are not learned from; more show the network positions that good play never reaches.
    pub opening_plies: u32,
    /// With PUCT: whether the sub-tree of the move played is kept for the next search. Default true.
    pub keep_subtree: bool,
    /// With Gumbel: moves that a search considers at first, 1 to 65,535. Default 16. Half of them are dropped after each
    /// phase, so more cost simulations that the best ones then lack.
    pub considered_moves: u32,
    /// With Gumbel: scale of the noise that draws the moves considered, 0 to 100. Default 1, with which the moves are a sample
    /// of the network's policy. Grading and play take 0.
    #[serde(serialize_with = "short")]
    pub gumbel_scale: f32,
    /// With Gumbel: weight of values against the logits of the priors, 0 to 100, multiplied by `value_visits` and the most
    /// visits of a move together. Default 0.1. Higher trusts values more.
    #[serde(serialize_with = "short")]
    pub value_scale: f32,
    /// With Gumbel: visits that are added to the most visited move's in that weight, 0 to 1,000,000. Default 50.
    #[serde(serialize_with = "short")]
    pub value_visits: f32,
    /// Whether wins, draws and losses that the search has proven go up the tree: proven moves are played or avoided,
    /// and a search ends when its root is proven (MCTS-Solver, Winands et al. 2008). Default true.
    pub solver: bool,
    /// Megabytes of evaluations that are kept for positions that come again, 0 to 1,000,000. Default 64.
    /// With 0 every leaf is evaluated, and equal leaves of a batch do not share a row either.
    pub cache_mb: u32,
}

/// How moves are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// Predictor and upper confidence bound on trees.
    #[default]
    Puct,
    /// Gumbel top-k and sequential halving at the root, completed values below.
    Gumbel,
}

impl PolicyKind {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Puct => Self::Gumbel,
            Self::Gumbel => Self::Puct,
        }
    }

    /// The keys of `[search]` that are for the other one.
    pub fn foreign_keys(self) -> &'static [&'static str] {
        match self {
            Self::Puct => &["considered_moves", "gumbel_scale", "value_scale", "value_visits"],
            Self::Gumbel => &[
                "c_puct",
                "fpu",
                "noise_share",
                "noise_concentration",
                "temperature",
                "final_temperature",
                "temperature_plies",
                "keep_subtree",
            ],
        }
    }
}

/// First-play urgency: the value that PUCT gives to a move without visits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fpu {
    /// This value.
    Absolute(#[serde(serialize_with = "short")] f32),
    /// The node's own value, less this much times the square root of the prior that is already visited (as in
    /// KataGo and Leela Chess Zero). 0 takes the node's value as it is.
    Reduction(#[serde(serialize_with = "short")] f32),
}

/// `[network]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// `"resnet"` or `"mlp"`. Default `"resnet"`.
    pub kind: NetworkKind,
    /// Channels of the residual tower, or width of the hidden layers, 1 to 4,096. Default 64.
    /// More can learn more; the cost grows with the square.
    pub channels: usize,
    /// Residual blocks of two convolutions, or hidden layers, 1 to 100. Default 4.
    pub blocks: usize,
    /// Channels of the 1x1 convolution before each head of a resnet, 1 to 4,096. Default 16.
    pub head_channels: usize,
    /// Width of the gate at the end of each block of a resnet (squeeze and excitation, Hu et al. 2018), 0 to 4,096. Default 0:
    /// there is none. A gate sees the whole board and weighs the channels by it.
    pub squeeze: usize,
    /// Whether it also learns to tell how long the game will last, which the search does not ask for: one more thing to know
    /// about a position. Default false.
    pub length_head: bool,
    /// `"scalar"`: one number through tanh; `"wdl"`: chances to win, draw and lose. Default `"wdl"`.
    pub value_head: ValueHead,
}

/// The architecture of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkKind {
    /// Convolutions with batch norm and residual connections, as in AlphaGo Zero.
    Resnet,
    /// Fully connected layers: enough for the smallest boards, and fast.
    Mlp,
}

/// What the value head predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValueHead {
    /// One number in -1 to 1; the loss is the squared error.
    Scalar,
    /// Logits of win, draw and loss; the loss is the cross-entropy, the value is win minus loss.
    Wdl,
}

/// `[replay]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayConfig {
    /// Positions kept, 1 to 1,000,000,000. Default 50,000.
    /// More keep older, weaker games in the data; fewer forget and overfit.
    pub window: usize,
    /// What becomes of positions that are equal up to symmetry. Default `"count"`.
    pub merge: Merge,
}

/// What becomes of positions that are equal up to symmetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// Nothing: each is drawn by itself.
    None,
    /// Averaged, and drawn as often as all of them together.
    Count,
    /// Averaged, and drawn in proportion to 1 + log2 of their number.
    Log,
    /// Averaged, and drawn as often as any other position.
    Equal,
}

/// `[learn]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LearnConfig {
    /// Positions of one optimiser step, 1 to 1,000,000. Default 256.
    pub batch_size: usize,
    /// Steps of a generation: `{ reuse = 4.0 }`, so that each new position is drawn 4 times on average, or
    /// `{ batches = 10 }`. Default `{ reuse = 4.0 }`. More learn faster from the same games, until they overfit.
    pub steps: Steps,
    /// Parts in which a batch goes through the network, 1 to 1,000. Default 1.
    /// More need less memory for the same step; batch norm then sees smaller batches.
    pub accumulation: usize,
    /// `"adam_w"` or `"sgd"` (momentum 0.9). Default `"adam_w"`.
    pub optimizer: OptimizerKind,
    /// Largest learning rate, above 0 to 10. Default 0.002.
    pub learning_rate: f64,
    /// How the learning rate changes over the run. Default `"constant"`.
    pub schedule: RateSchedule,
    /// Decay of the weights at each step, relative to the learning rate, 0 to 1. Default 1e-4. Biases and norms have none.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient, 0 to 1,000,000; 0 does not clip. Default 5.
    pub gradient_clip: f64,
    /// Weight of the value loss beside the policy loss, 0 to 100. Default 1.
    #[serde(serialize_with = "short")]
    pub value_weight: f32,
    /// Weight of the loss of `network.length_head`, 0 to 100. Default 0.2.
    #[serde(serialize_with = "short")]
    pub length_weight: f32,
    /// Share of the search's own value in the value target, beside the game's outcome, 0 to 1. Default 0.
    /// Higher is less noisy and more biased.
    #[serde(serialize_with = "short")]
    pub search_value_share: f32,
    /// `"f32"` or `"bf16"`: the numbers in which the products of convolutions and dense layers are computed. Weights, optimiser,
    /// norms and losses stay `f32`. `"bf16"` is for GPUs that have it; on the CPU it rounds the same way and is slower, because
    /// the fused kernels do not know it. With CUDA products of `f32` are those of `tf32` where its tensor cores compute them.
    /// Default `"f32"`; it cannot change within a run.
    pub precision: LearnPrecision,
    /// Whether each sample is seen under a random symmetry. Default true.
    pub symmetries: bool,
    /// Share that the mean of the weights keeps at each step, 0 to 0.99999. Default 0: the weights of the last step play. With
    /// 0.999 the mean of about the last 1,000 steps does, which is steadier and a little behind.
    pub average: f64,
}

/// How many steps a generation takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Steps {
    /// Each new position is drawn so many times on average, above 0 to 10,000.
    Reuse(f64),
    /// So many batches, 1 to 1,000,000.
    Batches(u64),
}

impl Steps {
    /// Steps of a generation that added so many positions; at least one.
    pub fn count(self, added: u64, batch_size: usize) -> u64 {
        match self {
            Self::Reuse(times) => ((added as f64 * times / batch_size as f64).round() as u64).max(1),
            Self::Batches(n) => n,
        }
    }
}

/// The optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    AdamW,
    /// Stochastic gradient descent with momentum 0.9.
    Sgd,
}

/// The numbers in which products are computed when the network is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LearnPrecision {
    /// Floats of 32 bits.
    #[default]
    F32,
    /// Floats of 16 bits with the range of 32 ("Mixed Precision Training", Micikevicius et al. 2018).
    Bf16,
}

/// How the learning rate changes with the generations of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RateSchedule {
    /// It stays as it is.
    Constant,
    /// Rises from 0 over the first `warm_up` generations, falls along half a cosine to `last` times its height at
    /// generation `over`, and stays there.
    Cosine {
        /// Generations.
        warm_up: u64,
        /// Share that is left at the end.
        last: f64,
        /// Generations from the start of the run to the end of the curve, 1 to 10,000,000. Default `run.generations` as it
        /// is when the run begins, so that a run that is made longer keeps the curve that it had.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<u64>,
    },
    /// Multiplied by `factor` at each of these generations.
    Steps {
        /// Generations, at most 1,000.
        at: Vec<u64>,
        /// Multiplier.
        factor: f64,
    },
}

impl RateSchedule {
    /// Multiplier of the learning rate at a moment of the run, counted in generations with fractions.
    pub fn factor(&self, generation: f64, generations: u64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Steps { at, factor } => factor.powi(at.iter().filter(|&&g| g as f64 <= generation).count() as i32),
            Self::Cosine { warm_up, last, over } => {
                let warm = *warm_up as f64;
                if generation < warm {
                    return (generation / warm).max(1e-3);
                }
                let left = (over.unwrap_or(generations) as f64 - warm).max(1.0);
                let along = ((generation - warm) / left).clamp(0.0, 1.0);
                last + (1.0 - last) * 0.5 * (1.0 + (std::f64::consts::PI * along).cos())
            }
        }
    }
}

/// `[run]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Generations of the run, 1 to 10,000,000. Default 40.
    pub generations: u64,
    /// Games of each generation, which the network then learns from, 1 to 100,000,000. Default 200.
    pub games: u64,
    /// How many generations the games of a round are behind, 1 to 4. Default 1: they are played with the newest weights, and
    /// the lanes run dry while the last of them end. With 2 the lanes go on with the next round meanwhile, with the weights
    /// before the newest: for devices that need large batches.
    pub lag: u64,
    /// Seed of every random choice, 0 to 9,223,372,036,854,775,807, the largest whole number of TOML. The same seed,
    /// configuration and kind of machine give the same run. Default 1.
    pub seed: u64,
    /// Threads, 0 to 1,024; 0 takes as many as the machine has cores. Default 0.
    pub threads: usize,
    /// `"auto"`, `"cpu"`, `"flex"`, `"cuda"` or `"vulkan"`, the last two with the number of a device behind them if there are
    /// several: `"cuda:1"`. Default `"auto"`: a GPU if the program was built for one, the machine has one, and an evaluation
    /// takes a million multiplications or more; else the CPU.
    pub device: DeviceKind,
    /// The numbers in which positions are evaluated, in games, grading and play: `"auto"`, `"f32"`, `"tf32"`, `"bf16"`, `"f16"`
    /// or `"int16"`. Fewer bits are faster and a little less exact. The fused kernels on the CPU have `f32` and `int16`, CUDA
    /// `tf32` (`f32` rounded to 10 bits where it is multiplied), `bf16` and `f16`, the others `f32` and, if the device has them,
    /// `bf16` and `f16`. Default `"auto"`: `int16` for a resnet on a CPU with AVX2 or more (narrow
    /// networks on large boards are computed in `f32` all the same), `bf16` with CUDA, `f32` elsewhere. A run keeps what it
    /// begins with.
    pub precision: Precision,
    /// How a GPU computes a convolution when it evaluates: `"conv"`; `"board"`, as one product of matrices over the whole board,
    /// which costs no more on the smallest boards; or `"auto"`, which takes that on boards of up to 9 cells. Default `"auto"`.
    pub tower: Tower,
    /// `"auto"`, `"avx512"`, `"avx2"`, `"neon"` or `"portable"`: the vectors of the fused kernels. Other ones than the best
    /// that the processor has are slower, and compute what a processor without the better ones would. Default `"auto"`.
    pub vectors: Vectors,
    /// Whether the kernels that a GPU back end has tuned are kept in the run's folder, in `kernels/`, and not for all runs of this
    /// user. Tuning then takes its minutes once for each run, which goes on with the kernels that it began with. Default false.
    pub own_kernels: bool,
    /// A checkpoint after every so many generations, 1 to 1,000,000, and after the last. One that is made in between, where a run
    /// is stopped, goes when the next one is there. Default 10.
    pub checkpoint_every: u64,
    /// Checkpoints kept, the newest ones, 1 to 1,000,000; beside them the first one, and at most as many at equal distances over
    /// the whole run: those of generations that are `checkpoint_every` times a multiple of 2, 4, 8, .. as the run becomes
    /// longer. Each takes about three times the weights on the disk. Default 3.
    pub checkpoints: usize,
    /// Games of each generation that are written to `games/`, 0 to 1,000,000. Default 10.
    pub recorded_games: usize,
    /// Whether all games stay in `log/`. Default true. Without it those go that none of the newest `checkpoints` needs any more:
    /// older ones can be played, graded and matched, and not be gone on with.
    pub keep_log: bool,
    /// Simulations for each move when the finished player is graded, 1 to 1,000,000. Default 64.
    pub grade_simulations: u32,
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
    /// What the place is known to be good at.
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
    /// As it stands in a configuration.
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
    /// What suits the board and the device.
    #[default]
    Auto,
    /// As convolutions.
    Conv,
    /// As products of matrices over the whole board.
    Board,
}

/// The vectors of the processor that the fused kernels use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vectors {
    /// The best ones that there are.
    #[default]
    Auto,
    /// AVX-512, with dot products of integers if there are any.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// NEON.
    Neon,
    /// None: plain code.
    Portable,
}

impl Vectors {
    /// As it stands in a configuration.
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

impl Default for GameConfig {
    fn default() -> Self {
        Self { name: "tictactoe".into(), komi: Komi::default() }
    }
}

impl fmt::Display for GameConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.komi {
            Komi::Points(komi) => write!(f, "{} with komi {komi}", self.name),
            Komi::Usual(_) => f.write_str(&self.name),
        }
    }
}

impl Default for LanesConfig {
    fn default() -> Self {
        Self { count: 256, leaves_per_tree: 1, cohort: 0, in_flight: 0 }
    }
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            policy: PolicyKind::Puct,
            simulations: 64,
            fast_simulations: 0,
            full_search_chance: 0.25,
            c_puct: 1.5,
            fpu: Fpu::Reduction(0.2),
            noise_share: 0.25,
            noise_concentration: 10.0,
            temperature: 1.0,
            final_temperature: 0.25,
            temperature_plies: 8,
            opening_plies: 0,
            keep_subtree: true,
            considered_moves: 16,
            gumbel_scale: 1.0,
            value_scale: 0.1,
            value_visits: 50.0,
            solver: true,
            cache_mb: 64,
        }
    }
}

impl SearchConfig {
    /// The same search for playing to win: no noise, no random moves, the most visited move.
    pub fn to_win(&self, simulations: u32) -> Self {
        Self {
            simulations,
            fast_simulations: 0,
            noise_share: 0.0,
            temperature: 0.0,
            final_temperature: 0.0,
            gumbel_scale: 0.0,
            opening_plies: 0,
            ..self.clone()
        }
    }

    /// Whether the same position is always answered by the same move: its policy draws nothing, and every search is full.
    pub fn is_deterministic(&self) -> bool {
        let draws = match self.policy {
            PolicyKind::Puct => [self.noise_share, self.temperature, self.final_temperature].iter().any(|&x| x > 0.0),
            PolicyKind::Gumbel => self.gumbel_scale > 0.0,
        };
        !draws && self.fast_simulations == 0
    }
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            kind: NetworkKind::Resnet,
            channels: 64,
            blocks: 4,
            head_channels: 16,
            squeeze: 0,
            length_head: false,
            value_head: ValueHead::Wdl,
        }
    }
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self { window: 50_000, merge: Merge::Count }
    }
}

impl Default for LearnConfig {
    fn default() -> Self {
        Self {
            batch_size: 256,
            steps: Steps::Reuse(4.0),
            accumulation: 1,
            optimizer: OptimizerKind::AdamW,
            learning_rate: 0.002,
            schedule: RateSchedule::Constant,
            weight_decay: 1e-4,
            gradient_clip: 5.0,
            value_weight: 1.0,
            length_weight: 0.2,
            search_value_share: 0.0,
            precision: LearnPrecision::F32,
            symmetries: true,
            average: 0.0,
        }
    }
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            generations: 40,
            games: 200,
            lag: 1,
            seed: 1,
            threads: 0,
            device: DeviceKind::Auto,
            precision: Precision::Auto,
            tower: Tower::Auto,
            vectors: Vectors::Auto,
            own_kernels: false,
            checkpoint_every: 10,
            checkpoints: 3,
            recorded_games: 10,
            keep_log: true,
            grade_simulations: 64,
        }
    }
}

impl Config {
    /// The same configuration with what it leaves to the length of the run written out, as a run keeps it.
    #[must_use]
    pub fn settled(mut self) -> Self {
        if let RateSchedule::Cosine { over, .. } = &mut self.learn.schedule {
            over.get_or_insert(self.run.generations);
        }
        self
    }

    /// Whether every value is within its bounds.
    ///
    /// # Errors
    /// The first value that is not, with its key and its bound.
    pub fn check(&self) -> Result<(), OutOfRange> {
        for Range { key, value, least, most } in self.ranges() {
            // NaN is in no range.
            if !(least <= value && value <= most) {
                return Err(OutOfRange { key, value: value.to_string(), bound: format!("from {least} to {most}") });
            }
        }
        if let RateSchedule::Steps { at, .. } = &self.learn.schedule
            && at.len() > MAX_RATE_STEPS
        {
            let (value, bound) = (format!("{} generations", at.len()), format!("at most {MAX_RATE_STEPS}"));
            return Err(OutOfRange { key: "learn.schedule.steps.at", value, bound });
        }
        let run = &self.run;
        if !matches!(run.device, DeviceKind::Cpu | DeviceKind::Auto) && run.vectors != Vectors::Auto {
            let bound = "\"auto\" unless run.device is \"cpu\" or \"auto\"".into();
            return Err(OutOfRange { key: "run.vectors", value: format!("\"{}\"", run.vectors.name()), bound });
        }
        Ok(())
    }

    /// The bounds of all keys that have some, each as wide as other keys let it be, whatever the game.
    pub fn bounds() -> Vec<Range> {
        let with = |steps, schedule, fpu| {
            let search = SearchConfig { simulations: MAX_SIMULATIONS, fpu, ..SearchConfig::default() };
            let learn = LearnConfig { batch_size: MAX_BATCH, steps, schedule, ..LearnConfig::default() };
            Self { search, learn, ..Self::default() }.ranges()
        };
        let cosine = RateSchedule::Cosine { warm_up: 0, last: 0.0, over: None };
        let steps = RateSchedule::Steps { at: vec![], factor: 1.0 };
        let mut all = with(Steps::Reuse(1.0), cosine, Fpu::Absolute(0.0));
        for range in with(Steps::Batches(1), steps, Fpu::Reduction(0.0)) {
            if all.iter().all(|known| known.key != range.key) {
                all.push(range);
            }
        }
        all
    }

    /// The values that have bounds.
    fn ranges(&self) -> Vec<Range> {
        fn within<T: Into<Number>>(key: &'static str, value: T, least: T, most: T) -> Range {
            Range { key, value: value.into(), least: least.into(), most: most.into() }
        }
        let Self { lanes, search, network, replay, learn, run, .. } = self;
        let mut all = vec![
            within("lanes.count", lanes.count, 1, 65_536),
            within("lanes.leaves_per_tree", lanes.leaves_per_tree, 1, 256),
            within("lanes.cohort", lanes.cohort, 0, 65_536),
            within("lanes.in_flight", lanes.in_flight, 0, 8),
            within("search.simulations", search.simulations, 1, MAX_SIMULATIONS),
            within("search.fast_simulations", search.fast_simulations, 0, search.simulations),
            within("search.full_search_chance", search.full_search_chance, 1e-6, 1.0),
            within("search.c_puct", search.c_puct, 0.0, 100.0),
            within("search.noise_share", search.noise_share, 0.0, 1.0),
            within("search.noise_concentration", search.noise_concentration, 0.01, 1_000.0),
            within("search.temperature", search.temperature, 0.0, 10.0),
            within("search.final_temperature", search.final_temperature, 0.0, 10.0),
            within("search.temperature_plies", search.temperature_plies, 0, 10_000),
            within("search.opening_plies", search.opening_plies, 0, 1_000),
            within("search.considered_moves", search.considered_moves, 1, 65_535),
            within("search.gumbel_scale", search.gumbel_scale, 0.0, 100.0),
            within("search.value_scale", search.value_scale, 0.0, 100.0),
            within("search.value_visits", search.value_visits, 0.0, 1e6),
            within("search.cache_mb", search.cache_mb, 0, 1_000_000),
            within("network.channels", network.channels, 1, 4_096),
            within("network.blocks", network.blocks, 1, 100),
            within("network.head_channels", network.head_channels, 1, 4_096),
            within("network.squeeze", network.squeeze, 0, 4_096),
            within("replay.window", replay.window, 1, 1_000_000_000),
            within("learn.batch_size", learn.batch_size, 1, MAX_BATCH),
            within("learn.accumulation", learn.accumulation, 1, learn.batch_size.min(1_000)),
            within("learn.learning_rate", learn.learning_rate, 1e-12, 10.0),
            within("learn.weight_decay", learn.weight_decay, 0.0, 1.0),
            within("learn.gradient_clip", learn.gradient_clip, 0.0, 1e6),
            within("learn.value_weight", learn.value_weight, 0.0, 100.0),
            within("learn.length_weight", learn.length_weight, 0.0, 100.0),
            within("learn.search_value_share", learn.search_value_share, 0.0, 1.0),
            within("learn.average", learn.average, 0.0, 0.99999),
            within("run.generations", run.generations, 1, 10_000_000),
            within("run.games", run.games, 1, 100_000_000),
            within("run.lag", run.lag, 1, MAX_LAG),
            within("run.seed", run.seed, 0, i64::MAX as u64),
            within("run.threads", run.threads, 0, MAX_THREADS),
            within("run.checkpoint_every", run.checkpoint_every, 1, 1_000_000),
            within("run.checkpoints", run.checkpoints, 1, 1_000_000),
            within("run.recorded_games", run.recorded_games, 0, 1_000_000),
            within("run.grade_simulations", run.grade_simulations, 1, 1_000_000),
        ];
        all.push(match search.fpu {
            Fpu::Absolute(value) => within("search.fpu.absolute", value, -10.0, 10.0),
            Fpu::Reduction(value) => within("search.fpu.reduction", value, 0.0, 10.0),
        });
        all.push(match learn.steps {
            Steps::Reuse(times) => within("learn.steps.reuse", times, 1e-6, 10_000.0),
            Steps::Batches(n) => within("learn.steps.batches", n, 1, 1_000_000),
        });
        match &learn.schedule {
            RateSchedule::Constant => {}
            RateSchedule::Cosine { warm_up, last, over } => all.extend([
                within("learn.schedule.cosine.over", over.unwrap_or(1), 1, 10_000_000),
                within("learn.schedule.cosine.warm_up", *warm_up, 0, 1_000_000),
                within("learn.schedule.cosine.last", *last, 0.0, 1.0),
            ]),
            RateSchedule::Steps { factor, .. } => all.push(within("learn.schedule.steps.factor", *factor, 0.0, 10.0)),
        }
        all
    }

    /// What its games begin with.
    ///
    /// # Panics
    /// If [`Config::check_for`] refuses it.
    pub fn start<G: Game>(&self) -> G {
        G::start_with(&self.game).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Whether the values whose range depends on the game are within it.
    ///
    /// # Errors
    /// The first value that is not, with its key and its bound.
    pub fn check_for<G: Game>(&self) -> Result<(), OutOfRange> {
        G::start_with(&self.game)?;
        // Policies are found by numbers of 32 bits.
        let (window, most) = (self.replay.window, (u32::MAX as usize - G::MAX_PLIES * G::MAX_LEGAL) / G::ROOM);
        if window > most {
            let bound = format!("at most {most} in {}", G::TITLE);
            return Err(OutOfRange { key: "replay.window", value: window.to_string(), bound });
        }
        // An opening as long as the game leaves nothing to search.
        let (plies, most) = (self.search.opening_plies, G::MAX_PLIES.saturating_sub(1));
        if plies as usize <= most {
            return Ok(());
        }
        Err(OutOfRange {
            key: "search.opening_plies",
            value: plies.to_string(),
            bound: format!("from 0 to {most} in {}, whose games have at most {} plies", G::TITLE, G::MAX_PLIES),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range_and_bad_values_are_named() {
        let mut config = Config::default();
        config.check().unwrap();
        config.search.c_puct = f32::NAN;
        assert_eq!(config.check().unwrap_err().key, "search.c_puct");
        config.search.c_puct = 1.0;
        config.search.fast_simulations = 65;
        assert!(config.check().unwrap_err().to_string().contains("from 0 to 64"));
        config.search.fast_simulations = 0;
        config.run.device = DeviceKind::Flex;
        config.run.vectors = Vectors::Avx2;
        assert_eq!(config.check().unwrap_err().key, "run.vectors");
    }

    #[test]
    fn numbers_are_written_as_people_write_them() {
        for number in [0.3, 0.1, 1e-6, 0.99999, 123.456, 1e6, -0.0, 16_777_216.0, f32::MIN_POSITIVE] {
            let written = widened(number);
            assert_eq!((written as f32).to_bits(), number.to_bits());
            assert_eq!(written.to_string(), number.to_string());
        }
        assert!(widened(f32::NAN).is_nan() && widened(f32::INFINITY).is_infinite());
    }

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

    #[test]
    fn schedules_begin_and_end_where_they_say() {
        let cosine = RateSchedule::Cosine { warm_up: 2, last: 0.1, over: None };
        assert_eq!(cosine.factor(1.0, 10), 0.5);
        assert!((cosine.factor(2.0, 10) - 1.0).abs() < 1e-12);
        assert!((cosine.factor(10.0, 10) - 0.1).abs() < 1e-12);
        let longer = RateSchedule::Cosine { warm_up: 2, last: 0.1, over: Some(10) };
        assert_eq!(longer.factor(5.0, 20), cosine.factor(5.0, 10));
        assert!((longer.factor(15.0, 20) - 0.1).abs() < 1e-12);
        let steps = RateSchedule::Steps { at: vec![3, 6], factor: 0.1 };
        assert_eq!((steps.factor(2.9, 10), steps.factor(3.0, 10)), (1.0, 0.1));
        assert!((steps.factor(7.0, 10) - 0.01).abs() < 1e-12);
    }
}
