//! What a run reports of each generation.

mod file;

pub use file::{append, check, check_new, load, load_lines, truncate};

use crate::{
    advice::Advice, checkpoint::Seconds, machine::Machine, source::FleetMetrics, stages::StageSeconds, text::count,
};
use lockstep_components::Stats;
use lockstep_systems::learn::Losses;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One line of `metrics.jsonl`. What comes before the evaluations is the same in every run with the same seed and
/// settings, however its games were played; from there on it tells what this process did for them, and how long that
/// took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// The number of the generation, counted from 1.
    pub generation: u64,
    /// The number of games that were finished.
    pub games: u64,
    /// The number of positions that these games added to the replay buffer.
    pub positions: u64,
    /// The number of positions of these games that have a policy target.
    pub recorded: u64,
    /// The number of positions in the replay buffer.
    pub replay: u64,
    /// The number of different positions in the replay buffer, up to symmetry, when equal positions are merged.
    pub distinct_positions: u64,
    /// Share of the games that differ in their moves.
    pub distinct_games: f64,
    /// Mean number of plies of a game.
    pub mean_length: f64,
    /// Mean result of the first player: 1 for a win, 0.5 for a draw.
    pub first_player_score: f64,
    /// Share of drawn games.
    pub draws: f64,
    /// Mean entropy of the policy targets, in nats.
    pub policy_entropy: f64,
    /// The number of simulations.
    pub simulations: u64,
    /// Share of the searches whose root was proven: in the search, or before it began.
    #[serde(default)]
    pub proven: f64,
    /// Share of the searches that ended early because their tree was full.
    #[serde(default)]
    pub full_trees: f64,
    /// Share of the simulations that ended at the end of a game or in a proven result.
    pub terminal_share: f64,
    /// Mean depth of a simulation, in plies.
    pub mean_depth: f64,
    /// The number of steps of the optimiser.
    pub steps: u64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Mean cross-entropy between search and policy, in nats.
    pub policy_loss: f64,
    /// The policy loss that is left when the policy is perfect, in nats.
    pub policy_floor: f64,
    /// Mean loss of the value: the squared error, or the cross-entropy of win, draw and loss in nats.
    pub value_loss: f64,
    /// Mean losses of the heads beside policy and value, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other_losses: BTreeMap<String, f64>,
    /// Mean norm of the whole gradient of a step, before it was clipped.
    #[serde(default)]
    pub gradient_norm: f64,
    /// The number of steps that were left out because a loss or a gradient was not finite.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_steps: u64,
    /// The number of positions that the network evaluated.
    pub evaluations: u64,
    /// Share of the simulations whose evaluation was in the cache.
    #[serde(default)]
    pub cache_hits: f64,
    /// Share of the leaves of batches that shared the row of an equal one.
    #[serde(default)]
    pub duplicates: f64,
    /// Share of the computed rows that carried a position.
    pub batch_fill: f64,
    /// Mean number of rows of a batch.
    pub mean_batch: f64,
    /// Seconds of playing the games of the generation.
    pub play_seconds: f64,
    /// Seconds of learning the generation.
    pub learn_seconds: f64,
    /// Seconds that the run has spent so far.
    pub seconds: f64,
    /// Simulations per second of playing.
    pub simulations_per_second: f64,
    /// Evaluations per second of playing.
    pub evaluations_per_second: f64,
    /// Seconds of each stage of the ticks.
    #[serde(default)]
    pub stages: StageSeconds,
    /// Bytes of memory that the program has in use at the end of the generation; 0 where the system does not tell.
    #[serde(default)]
    pub resident: u64,
    /// Seconds that went into writing: the games of the generation, and the metrics and the checkpoint of the one
    /// before.
    #[serde(default)]
    pub write_seconds: f64,
    /// The machine that the generation was made on, and how it was used.
    #[serde(default)]
    pub machine: Machine,
    /// What workers on other machines have done for the generation, if there could be any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetMetrics>,
    /// The advice on what to change, if there is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<Advice>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What was learned in a generation, which [`Metrics::new`] needs beside the counts.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// The number of steps of the generation.
    pub steps: u64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Mean losses of the generation.
    pub losses: Losses,
    /// The number of positions in the replay buffer.
    pub replay: usize,
    /// The number of entries of the dataset: different positions, when equal ones are merged.
    pub distinct: usize,
}

impl Metrics {
    /// Returns the metrics of a generation: `stats` are the counts of its games, and `ticks` those of what this process
    /// did for them.
    pub fn new(
        generation: u64,
        stats: &Stats,
        ticks: &Stats,
        learned: &Learned,
        seconds: Seconds,
        stages: StageSeconds,
    ) -> Self {
        let games = stats.games.max(1) as f64;
        let per_second = |n: u64| n as f64 / seconds.this_play.max(1e-9);
        let other = learned.losses.heads.iter().filter(|(name, _)| !["policy", "value"].contains(*name));
        Self {
            generation,
            games: stats.games,
            positions: stats.moves,
            recorded: stats.recorded,
            replay: learned.replay as u64,
            distinct_positions: learned.distinct as u64,
            distinct_games: stats.distinct_games as f64 / games,
            mean_length: stats.mean_length(),
            first_player_score: stats.first_player_score(),
            draws: stats.results[1] as f64 / games,
            policy_entropy: stats.mean_entropy(),
            simulations: stats.simulations,
            proven: stats.proven_share(),
            full_trees: stats.full_share(),
            terminal_share: stats.terminals as f64 / stats.simulations.max(1) as f64,
            mean_depth: stats.mean_depth(),
            steps: learned.steps,
            learning_rate: learned.learning_rate,
            policy_loss: learned.losses.of("policy"),
            policy_floor: learned.losses.policy_floor,
            value_loss: learned.losses.of("value"),
            other_losses: other.map(|(name, loss)| ((*name).into(), *loss)).collect(),
            gradient_norm: learned.losses.gradient_norm,
            skipped_steps: learned.losses.skipped,
            evaluations: ticks.evaluations,
            cache_hits: ticks.cache_hits as f64 / ticks.simulations.max(1) as f64,
            duplicates: ticks.duplicates as f64 / (ticks.evaluations + ticks.duplicates).max(1) as f64,
            batch_fill: ticks.batch_fill(),
            mean_batch: ticks.mean_batch(),
            play_seconds: seconds.this_play,
            learn_seconds: seconds.this_learn,
            seconds: seconds.total(),
            simulations_per_second: per_second(ticks.simulations),
            evaluations_per_second: per_second(ticks.evaluations),
            stages,
            resident: 0,
            write_seconds: seconds.this_write,
            machine: Machine::default(),
            fleet: None,
            advice: vec![],
        }
    }

    /// Returns the seconds for which processors have worked for the generation, as far as the system tells.
    pub fn cpu_seconds(&self) -> f64 {
        (self.play_seconds + self.learn_seconds + self.write_seconds) * self.machine.cores_busy
    }

    /// Returns what is printed of a generation, most important first; `generations` is the number of all of them.
    pub fn fields(&self, generations: u64) -> Vec<String> {
        let seconds = self.play_seconds + self.learn_seconds + self.write_seconds;
        let is_notable = self.write_seconds > 0.1_f64.max(0.1 * seconds);
        let losses = [
            format!("generation {}/{generations}", self.generation),
            format!("{seconds:.1} s"),
            format!("policy loss {:.3} (floor {:.3})", self.policy_loss, self.policy_floor),
            format!("value loss {:.3}", self.value_loss),
        ];
        let writing = is_notable.then(|| format!("writing {:.1} s", self.write_seconds));
        let others = [
            format!("games {}", self.games),
            format!("length {:.1}", self.mean_length),
            format!("first player {:.2}", self.first_player_score),
            format!("draws {:.2}", self.draws),
            format!("{} simulations/s", count(self.simulations_per_second)),
            format!("{} evaluations/s", count(self.evaluations_per_second)),
            format!("batch {:.0} ({:.0} % full)", self.mean_batch, 100.0 * self.batch_fill),
            format!("cache {:.0} %", 100.0 * self.cache_hits),
        ];
        let fleet = self.fleet.map(|fleet| fleet.to_string());
        losses.into_iter().chain(writing).chain(others).chain(fleet).collect()
    }
}
