//! What to change when a run does not go as it could: rules over its metrics, each with its evidence and the key to
//! change. `docs/gpu.md` explains them one by one.

use crate::{
    games::description_of,
    machine::Machine,
    metrics::Metrics,
    text::{bytes, count, number},
};
use lockstep_components::config::{Config, PolicyKind, Precision};
use serde::{Deserialize, Serialize};

/// A piece of advice, as it stands in the metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// The rule that gives it: one of [`RULES`].
    pub rule: String,
    /// The evidence, and what to change.
    pub text: String,
}

/// A rule: returns what it has to say of the last of some generations, whose predecessors come before it, or `None`.
type Rule = fn(&Config, &[Metrics]) -> Option<String>;

/// All rules by name: first what looks broken, then what could be faster, then what may run out.
pub const RULES: [(&str, Rule); 18] = [
    ("equal_games", equal_games),
    ("drawn_games", drawn_games),
    ("skipped_steps", skipped_steps),
    ("nothing_recorded", nothing_recorded),
    ("collapsed_policy", collapsed_policy),
    ("slow_learning", slow_learning),
    ("idle_device", idle_device),
    ("full_device", full_device),
    ("slow_network", |config, all| slow_network(config, &all.last()?.machine)),
    ("slow_precision", slow_precision),
    ("busy_machine", busy_machine),
    ("small_batch", small_batch),
    ("padded_batch", padded_batch),
    ("small_cache", small_cache),
    ("too_many_threads", too_many_threads),
    ("slow_disk", slow_disk),
    ("memory_nearly_full", memory_nearly_full),
    ("device_memory_nearly_full", device_memory_nearly_full),
];

/// Returns what the rules have to say of the last of these generations, which are those of one run in their order.
pub fn advice(config: &Config, generations: &[Metrics]) -> Vec<Advice> {
    let apply = |(name, rule): &(&str, Rule)| Some(Advice { rule: (*name).into(), text: rule(config, generations)? });
    RULES.iter().filter_map(apply).collect()
}

/// The number of generations that rules about learning, cores and the disk look back upon.
pub const WINDOW: usize = 20;

/// The seconds of ticks below which the shares of a generation's time say nothing.
const LONG_ENOUGH: f64 = 0.5;

/// Returns the share of the ticks' time in which the network's answers were computed or waited for; `None` where the
/// time was too short to tell.
fn evaluating(metrics: &Metrics) -> Option<f64> {
    let all = metrics.stages.total();
    (all > LONG_ENOUGH).then_some(metrics.stages.evaluate / all)
}

/// Returns the last of some generations, as many as there are up to [`WINDOW`].
fn window(all: &[Metrics]) -> &[Metrics] {
    &all[all.len().saturating_sub(WINDOW)..]
}

/// Returns the seconds of a generation, writing included.
fn seconds(metrics: &Metrics) -> f64 {
    metrics.play_seconds + metrics.learn_seconds + metrics.write_seconds
}

/// Returns the keys of the search that make games differ.
pub fn keys_of_variety(config: &Config) -> &'static str {
    match config.search.policy {
        PolicyKind::Puct => "search.temperature, search.temperature_plies, search.opening_plies or search.noise_share",
        PolicyKind::Gumbel => "search.gumbel_scale or search.opening_plies",
    }
}

fn equal_games(config: &Config, all: &[Metrics]) -> Option<String> {
    let last = all.last()?;
    // A perfect player of a drawn game repeats itself: judge by games only where there are enough of them.
    (last.games >= 50 && last.distinct_games < 0.05).then(|| {
        format!(
            "nearly all games are equal ({:.0} different ones of {}): raise {}",
            last.distinct_games * last.games as f64,
            last.games,
            keys_of_variety(config)
        )
    })
}

fn drawn_games(config: &Config, all: &[Metrics]) -> Option<String> {
    let last = all.last()?;
    (last.games >= 50 && last.draws > 0.98 && last.distinct_games < 0.5).then(|| {
        format!(
            "nearly all games are drawn ({:.0} %): a perfect player of a drawn game does so; one that has only begun to learn \
             needs more variety: raise {}",
            100.0 * last.draws,
            keys_of_variety(config)
        )
    })
}

fn skipped_steps(_: &Config, all: &[Metrics]) -> Option<String> {
    let last = all.last()?;
    (last.skipped_steps > 0).then(|| {
        format!(
            "{} of {} steps were left out because a loss or a gradient was not finite: lower learn.learning_rate",
            last.skipped_steps, last.steps
        )
    })
}

/// Tells that no position was recorded: only full searches teach the policy.
fn nothing_recorded(config: &Config, all: &[Metrics]) -> Option<String> {
    let last = all.last()?;
    (last.positions > 0 && last.recorded == 0).then(|| {
        format!(
            "none of the {} positions was recorded, so the policy learns nothing: every search was a fast one; raise \
             search.full_search_chance (now {}), or set search.fast_simulations = 0",
            last.positions, config.search.full_search_chance
        )
    })
}

fn collapsed_policy(config: &Config, all: &[Metrics]) -> Option<String> {
    let last = all.last()?;
    let keys = match config.search.policy {
        PolicyKind::Puct => "raise search.c_puct or search.noise_share",
        PolicyKind::Gumbel => "lower search.value_scale, or raise search.considered_moves",
    };
    (last.recorded > 50 && last.policy_entropy < 0.02).then(|| {
        format!(
            "the search puts all its weight on one move (entropy {:.3} nats): {keys}, or lower learn.learning_rate if the \
             policy loss jumped",
            last.policy_entropy
        )
    })
}

/// Tells that neither loss has fallen over the second half of the window.
fn slow_learning(_: &Config, all: &[Metrics]) -> Option<String> {
    let window = &all[all.len().checked_sub(WINDOW)?..];
    let (before, after) = window.split_at(WINDOW / 2);
    let mean = |part: &[Metrics], of: fn(&Metrics) -> f64| part.iter().map(of).sum::<f64>() / part.len() as f64;
    let gap: fn(&Metrics) -> f64 = |metrics| metrics.policy_loss - metrics.policy_floor;
    let value: fn(&Metrics) -> f64 = |metrics| metrics.value_loss;
    let fell = |of| mean(after, of) < 0.99 * mean(before, of);
    let far = mean(after, gap);
    (far > 0.05 && !fell(gap) && !fell(value)).then(|| {
        format!(
            "for {} generations neither loss has fallen: the policy's stays {far:.2} nats above its floor, the value's is \
             {:.2}. If the player does not get stronger either (lockstep match --ladder tells), lower learn.learning_rate \
             (now {:.1e}), or begin a new run with more search.simulations, for better targets, or a larger network",
            WINDOW / 2,
            mean(after, value),
            window[WINDOW - 1].learning_rate,
        )
    })
}

fn idle_device(config: &Config, all: &[Metrics]) -> Option<String> {
    let last = all.last()?;
    if !last.machine.is_gpu {
        return None;
    }
    let share = evaluating(last)?;
    let waits = match last.machine.gpu {
        Some(gpu) if gpu.utilisation < 0.6 => 1.0 - gpu.utilisation,
        // Where nobody tells how busy it is: a host that hardly ever waits for its answers is what it waits for.
        None if share < 0.2 => 1.0 - share,
        _ => return None,
    };
    Some(format!(
        "the device waits about {:.0} % of the time for the trees: raise lanes.in_flight (now {}), lanes.count ({}) or \
         run.threads ({})",
        100.0 * waits,
        match config.lanes.in_flight {
            0 => "0, which takes 2".into(),
            n => n.to_string(),
        },
        config.lanes.count,
        last.machine.threads,
    ))
}

/// Tells that the network takes nearly all of the time, which is how it should be unless it could be evaluated in a
/// faster precision.
fn full_device(_: &Config, all: &[Metrics]) -> Option<String> {
    let last = all.last()?;
    let share = evaluating(last)?;
    let full = last.machine.gpu.map_or(share, |gpu| gpu.utilisation);
    // Fast enough is fast enough.
    if full < 0.9 || share < 0.5 || last.play_seconds < 10.0 {
        return None;
    }
    let own = last.machine.precision;
    let faster = match last.machine {
        Machine { could_be_int16: true, .. } if own != Precision::Int16 => Precision::Int16,
        Machine { could_be_bf16: true, .. } if matches!(own, Precision::F32 | Precision::Tf32) => Precision::Bf16,
        _ => return None,
    };
    Some(format!(
        "the network takes {:.0} % of the time of play, in {}: run.precision = \"{}\" should be faster here; lockstep grade \
         --accuracy tells what it costs",
        100.0 * full,
        own.name(),
        faster.name(),
    ))
}

/// Tells that most of the time goes into learning, and that it could be done in a faster precision.
fn slow_precision(_: &Config, all: &[Metrics]) -> Option<String> {
    let last = all.last()?;
    let share = last.learn_seconds / seconds(last).max(1e-9);
    (last.machine.could_learn_in_bf16 && share > 0.5 && last.learn_seconds > 1.0).then(|| {
        format!(
            "learning takes {:.0} % of the time, in f32: a new run with learn.precision = \"bf16\" learns 1.4 to 2 times as fast on \
             this processor, which has AMX",
            100.0 * share
        )
    })
}

/// Tells that burn computes a network that the fused kernels do not know, several times as slowly as they would:
/// docs/gpu.md has the measurement.
pub fn slow_network(config: &Config, machine: &Machine) -> Option<String> {
    let how = match (machine.burn_plays, machine.burn_trains) {
        (true, true) => "plays and trains",
        (true, false) => "plays",
        (false, true) => "trains",
        (false, false) => return None,
    };
    let lacks = description_of(config).and_then(|network| network.unfused().or_else(|| network.unfused_training()));
    let (why, instead) = match lacks {
        Some(lacks) => (lacks.to_string(), "take another network.kind, or another shape of it, for a new run"),
        None => {
            let why = "in bf16 they train the convolutions of residual networks alone";
            (why.into(), "begin a new run with learn.precision = \"f32\"")
        }
    };
    Some(format!(
        "burn {how} this network on the CPU, 6 to 12 times as slowly as the fused kernels would ({why}): unless it is worth that, \
         {instead}"
    ))
}

/// Tells that other programs take the cores: of the last generations together, because short ones are over before the
/// cores were looked at.
fn busy_machine(_: &Config, all: &[Metrics]) -> Option<String> {
    let window = window(all);
    let time: f64 = window.iter().map(seconds).sum();
    let mean = |of: fn(&Machine) -> f64| {
        window.iter().map(|metrics| seconds(metrics) * of(&metrics.machine)).sum::<f64>() / time.max(1e-9)
    };
    let machine = Machine {
        cores_busy: mean(|machine| machine.cores_busy),
        cores_others: mean(|machine| machine.cores_others),
        cores_idle: mean(|machine| machine.cores_idle),
        ..window.last()?.machine.clone()
    };
    let (had, wanted) = machine.crowded().filter(|_| time > 2.0)?;
    Some(format!(
        "other programs take the cores: the run had {had:.1} of {wanted}, others had {:.1}, and {:.1} were idle. No key changes \
         that: end the others, or expect it to take {:.1} times as long",
        machine.cores_others,
        machine.cores_idle,
        wanted as f64 / had.max(0.1)
    ))
}

fn small_batch(config: &Config, all: &[Metrics]) -> Option<String> {
    let last = all.last()?;
    let enough = if last.machine.is_gpu { 256.0 } else { 8.0 };
    (evaluating(last)? > 0.3 && last.mean_batch > 0.0 && last.mean_batch < enough).then(|| {
        format!(
            "a batch has {:.0} rows on average, and this device wants {enough:.0} or more: raise lanes.count (now {}) and \
             run.games ({}), or lanes.leaves_per_tree ({}) for a new run",
            last.mean_batch, config.lanes.count, config.run.games, config.lanes.leaves_per_tree
        )
    })
}

fn padded_batch(config: &Config, all: &[Metrics]) -> Option<String> {
    let last = all.last()?;
    (last.machine.is_gpu && evaluating(last)? > 0.5 && last.batch_fill < 0.5).then(|| {
        format!(
            "only {:.0} % of the computed rows carried a position: the lanes run dry at the end of each round; raise run.games \
             (now {}), lower lanes.count ({}), or begin a new run with more run.lag ({})",
            100.0 * last.batch_fill,
            config.run.games,
            config.lanes.count,
            config.run.lag
        )
    })
}

fn small_cache(config: &Config, all: &[Metrics]) -> Option<String> {
    let last = all.last()?;
    let room = last.machine.cache_positions as f64;
    let wanted = last.evaluations as f64;
    // What is never asked for again needs no room.
    (room > 0.0 && wanted > 1.5 * room && last.cache_hits > 0.05 && evaluating(last)? > 0.3).then(|| {
        format!(
            "the cache has room for {} positions, and {} were evaluated in this generation: raise search.cache_mb (now {}) \
             to {} if there is memory",
            count(room),
            count(wanted),
            config.search.cache_mb,
            (f64::from(config.search.cache_mb) * wanted / room).ceil()
        )
    })
}

fn too_many_threads(_: &Config, all: &[Metrics]) -> Option<String> {
    let machine = &all.last()?.machine;
    (machine.cores > 0 && machine.threads > machine.cores).then(|| {
        format!(
            "{} threads share {}, and wait for each other in every tick: set run.threads = 0, which takes as many as there \
             are cores",
            machine.threads,
            number(machine.cores as u64, "core")
        )
    })
}

/// Tells that writing takes too long: of the last generations together, because each of many small ones writes little,
/// and some write a checkpoint.
fn slow_disk(config: &Config, all: &[Metrics]) -> Option<String> {
    let window = window(all);
    let spent: f64 = window.iter().map(seconds).sum();
    let wrote: f64 = window.iter().map(|metrics| metrics.write_seconds).sum();
    (wrote > 1.0 && wrote > 0.1 * spent).then(|| {
        format!(
            "{wrote:.1} s of the last {spent:.1} s went into writing: put the run on a faster disk (--run), or raise \
             run.checkpoint_every (now {}) and run.games ({}), and set run.recorded_games = 0",
            config.run.checkpoint_every, config.run.games
        )
    })
}

fn memory_nearly_full(_: &Config, all: &[Metrics]) -> Option<String> {
    let machine = &all.last()?.machine;
    // Drivers of GPUs take some memory that no bound knows of.
    let most = if machine.is_gpu { 1.1 } else { 1.0 } * machine.bound as f64;
    let over = machine.bound > 0 && machine.resident as f64 > most;
    let tight = machine.memory > 0 && machine.bound as f64 > 0.9 * machine.memory as f64;
    let [resident, bound, memory] = [machine.resident, machine.bound, machine.memory].map(|n| bytes(n as usize));
    (over || tight).then(|| {
        format!(
            "{resident} of memory are in use, the bound is {bound}, and there are {memory}: lower replay.window, \
             search.cache_mb or lanes.count, so that nothing else on this machine pushes the run out"
        )
    })
}

fn device_memory_nearly_full(config: &Config, all: &[Metrics]) -> Option<String> {
    let gpu = all.last()?.machine.gpu?;
    (gpu.memory_total > 0 && gpu.memory as f64 > 0.92 * gpu.memory_total as f64).then(|| {
        format!(
            "{} of the device's {} are in use: raise learn.accumulation (now {}), or lower lanes.cohort; when it runs out, \
             lockstep does so itself",
            bytes(gpu.memory as usize),
            bytes(gpu.memory_total as usize),
            config.learn.accumulation
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device::sensors::GpuUse, machine::Machine, stages::StageSeconds};

    /// Returns the metrics of a generation of which there is nothing to say.
    fn healthy() -> Metrics {
        let machine = Machine {
            threads: 2,
            cores: 2,
            bound: 1_000_000_000,
            resident: 800_000_000,
            memory: 8_000_000_000,
            cache_positions: 500_000,
            ..Machine::default()
        };
        Metrics {
            games: 100,
            distinct_games: 0.9,
            draws: 0.2,
            positions: 900,
            recorded: 500,
            policy_entropy: 0.8,
            policy_loss: 1.5,
            policy_floor: 1.0,
            value_loss: 0.5,
            steps: 10,
            evaluations: 400_000,
            cache_hits: 0.3,
            mean_batch: 600.0,
            batch_fill: 0.9,
            play_seconds: 100.0,
            learn_seconds: 10.0,
            stages: StageSeconds { collect: 5.0, evaluate: 60.0, search: 35.0 },
            machine,
            ..Metrics::default()
        }
    }

    fn rules(all: &[Metrics]) -> Vec<String> {
        advice(&Config::default(), all).into_iter().map(|advice| advice.rule).collect()
    }

    type Case = (&'static str, Box<dyn Fn(&mut Metrics)>);

    /// Returns changes to a healthy generation, each with the one rule that sees it.
    fn cases() -> Vec<Case> {
        let gpu = |gpu: GpuUse| move |m: &mut Metrics| (m.machine.is_gpu, m.machine.gpu) = (true, Some(gpu));
        let busy = GpuUse { utilisation: 0.8, memory: 10, memory_total: 100, watts: 300.0, celsius: 60.0 };
        vec![
            ("equal_games", Box::new(|m| m.distinct_games = 0.02)),
            ("drawn_games", Box::new(|m| (m.draws, m.distinct_games) = (1.0, 0.3))),
            ("skipped_steps", Box::new(|m| m.skipped_steps = 1)),
            ("nothing_recorded", Box::new(|m| m.recorded = 0)),
            ("collapsed_policy", Box::new(|m| m.policy_entropy = 0.001)),
            ("idle_device", Box::new(gpu(GpuUse { utilisation: 0.38, ..busy }))),
            ("idle_device", Box::new(|m| (m.machine.is_gpu, m.stages.search) = (true, 900.0))),
            ("full_device", Box::new(|m| (m.stages.evaluate, m.machine.could_be_int16) = (900.0, true))),
            (
                "full_device",
                Box::new(move |m| {
                    gpu(GpuUse { utilisation: 0.99, ..busy })(m);
                    (m.machine.could_be_bf16, m.machine.precision) = (true, Precision::F32);
                }),
            ),
            ("slow_network", Box::new(|m| m.machine.burn_trains = true)),
            ("slow_network", Box::new(|m| (m.machine.burn_plays, m.machine.burn_trains) = (true, true))),
            ("slow_precision", Box::new(|m| (m.machine.could_learn_in_bf16, m.learn_seconds) = (true, 300.0))),
            (
                "busy_machine",
                Box::new(|m| (m.machine.cores_busy, m.machine.cores_others, m.machine.cores_idle) = (0.5, 1.4, 0.1)),
            ),
            ("small_batch", Box::new(|m| m.mean_batch = 3.0)),
            ("padded_batch", Box::new(move |m| (gpu(busy)(m), m.batch_fill = 0.3).0)),
            ("small_cache", Box::new(|m| m.evaluations = 2_000_000)),
            ("too_many_threads", Box::new(|m| m.machine.threads = 64)),
            ("slow_disk", Box::new(|m| m.write_seconds = 40.0)),
            ("memory_nearly_full", Box::new(|m| m.machine.memory = 1_050_000_000)),
            ("memory_nearly_full", Box::new(|m| m.machine.resident = 1_050_000_000)),
            ("device_memory_nearly_full", Box::new(gpu(GpuUse { memory: 95, ..busy }))),
        ]
    }

    #[test]
    fn each_rule_sees_its_case_and_no_other() {
        assert!(rules(&[healthy()]).is_empty());
        let cases = cases();
        for (rule, change) in &cases {
            let mut metrics = healthy();
            change(&mut metrics);
            assert_eq!(rules(&[metrics]), [*rule]);
        }
        for (rule, _) in RULES.iter().filter(|(rule, _)| *rule != "slow_learning") {
            assert!(cases.iter().any(|(case, _)| case == rule), "{rule} has no case");
        }
    }

    /// There is no advice for a network that takes all of the time in the fastest precision, for cores that nobody has
    /// taken, and for other programs that take what is left over.
    #[test]
    fn what_is_as_it_should_be_gets_no_advice() {
        let usual: [fn(&mut Metrics); 5] = [
            |m| m.stages.evaluate = 900.0,
            |m| (m.stages.evaluate, m.machine.could_be_int16, m.machine.precision) = (900.0, true, Precision::Int16),
            |m| {
                let gpu = GpuUse { utilisation: 0.99, ..GpuUse::default() };
                (m.machine.is_gpu, m.machine.gpu, m.machine.precision) = (true, Some(gpu), Precision::Bf16);
                m.machine.could_be_bf16 = true;
            },
            |m| (m.machine.cores_busy, m.machine.cores_idle) = (0.5, 1.5),
            |m| (m.machine.cores_busy, m.machine.cores_others, m.machine.cores_idle) = (0.9, 8.0, 3.0),
        ];
        for (case, change) in usual.into_iter().enumerate() {
            let mut metrics = healthy();
            change(&mut metrics);
            assert_eq!(rules(&[metrics]), [""; 0], "case {case}");
        }
    }

    /// Whatever a rule says can be done: keys are those of the policy in use, and what a run keeps is for a new one.
    #[test]
    fn advice_names_keys_that_can_be_set() {
        let fixed = ["lanes.leaves_per_tree", "search.simulations", "run.lag", "network.", "learn.precision"];
        for policy in [PolicyKind::Puct, PolicyKind::Gumbel] {
            let mut config = Config::default();
            (config.search.policy, config.network.squeeze) = (policy, 4);
            for (rule, change) in cases() {
                let mut metrics = healthy();
                change(&mut metrics);
                let text = advice(&config, &[metrics]).remove(0).text;
                for key in policy.foreign_keys() {
                    assert!(!text.contains(&format!("search.{key}")), "{rule} with {policy:?}: {text}");
                }
                assert!(!fixed.iter().any(|key| text.contains(key)) || text.contains("new run"), "{rule}: {text}");
            }
        }
    }

    /// Generations that are too short, or write too little, each for itself are judged together.
    #[test]
    fn small_generations_are_seen_together() {
        let small = |change: fn(&mut Metrics)| -> Vec<Metrics> {
            let mut metrics = Metrics { play_seconds: 0.2, learn_seconds: 0.0, ..healthy() };
            metrics.stages = StageSeconds { collect: 0.0, evaluate: 0.1, search: 0.1 };
            change(&mut metrics);
            vec![metrics; WINDOW / 2]
        };
        let writing = small(|m| m.write_seconds = 0.15);
        assert_eq!(rules(&writing), ["slow_disk"]);
        assert!(rules(&writing[..4]).is_empty(), "too little to tell");
        let crowded = small(|m| (m.machine.cores_busy, m.machine.cores_others, m.machine.cores_idle) = (0.5, 1.4, 0.1));
        assert!(rules(&crowded[..9]).is_empty(), "too little to tell");
        assert_eq!(rules(&[&crowded[1..], &crowded].concat()), ["busy_machine"]);
    }

    #[test]
    fn learning_is_slow_when_no_loss_falls() {
        let learned = |step: f64| -> Vec<Metrics> {
            let of = |k: usize| Metrics { policy_loss: 1.5 - step * k as f64, ..healthy() };
            (0..WINDOW).map(of).collect()
        };
        assert_eq!(rules(&learned(0.0)), ["slow_learning"]);
        assert!(rules(&learned(0.01)).is_empty());
        assert!(rules(&learned(0.0)[1..]).is_empty(), "too few generations to tell");
    }
}
