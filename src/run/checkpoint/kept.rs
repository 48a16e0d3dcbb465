//! Which checkpoints stay: a function of their generations, the newest one and the settings, whatever happened in
//! between.

use lockstep_components::config::RunConfig;

/// Whether the checkpoint of a generation stays when that of `newest` has been written. The newest `run.checkpoints`
/// stay, at most as many at equal distances over the whole of the run, and the first one. Distances only ever double,
/// so that what a longer run keeps has always been there.
pub fn is_kept(generation: u64, newest: u64, run: &RunConfig) -> bool {
    let number = |generation: u64| generation / run.checkpoint_every;
    let mut distance = 1;
    while number(newest) / distance > run.checkpoints as u64 {
        distance *= 2;
    }
    let spread = number(generation) <= 1 || number(generation).is_multiple_of(distance);
    is_recent(generation, newest, run) || is_regular(generation, run) && spread
}

/// Whether a run can go on from the checkpoint of a generation, which must be one of the newest `run.checkpoints`.
/// Older ones are players; their games may be gone.
pub fn is_recent(generation: u64, newest: u64, run: &RunConfig) -> bool {
    let behind = (newest / run.checkpoint_every).saturating_sub(generation / run.checkpoint_every);
    generation >= newest || is_regular(generation, run) && behind < run.checkpoints as u64
}

/// Whether a checkpoint of this generation is written as `run.checkpoint_every` says. Others are made where a run is
/// stopped or ends, and stay until the next one: a run that was never stopped has none.
fn is_regular(generation: u64, run: &RunConfig) -> bool {
    generation.is_multiple_of(run.checkpoint_every)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{self, Source};
    use lockstep_components::Config;

    fn run(checkpoint_every: u64, checkpoints: usize) -> RunConfig {
        RunConfig { checkpoint_every, checkpoints, ..Config::default().run }
    }

    fn kept(newest: u64, run: &RunConfig) -> Vec<u64> {
        (0..=newest).filter(|&generation| is_kept(generation, newest, run)).collect()
    }

    #[test]
    fn few_stay_and_are_spread_over_the_whole_run() {
        assert_eq!(kept(20, &run(1, 3)), [0, 1, 8, 16, 18, 19, 20]);
        assert_eq!(kept(27, &run(10, 1)), [0, 10, 20, 27]);
        for every in [1, 4] {
            for checkpoints in 1..8 {
                let run = run(every, checkpoints);
                for newest in 0..200 {
                    let kept = kept(newest, &run);
                    // Those of generation 0 and of the place where it was stopped besides.
                    assert!(kept.len() <= 2 * checkpoints + 3, "{newest}, {run:?}: {kept:?}");
                    assert_eq!(kept.last(), Some(&newest));
                    let recent = kept.iter().filter(|&&generation| is_recent(generation, newest, &run)).count();
                    assert!(recent >= checkpoints.min((newest / every + 1) as usize), "{newest}, {run:?}: {kept:?}");
                }
            }
        }
    }

    /// What was removed is never asked for again, wherever the run was stopped meanwhile.
    #[test]
    fn what_stays_was_there_before() {
        for every in [1, 3] {
            for checkpoints in [1, 2, 3, 7, 10] {
                let run = run(every, checkpoints);
                for newest in 0..500 {
                    for generation in kept(newest + 1, &run) {
                        let there = generation > newest || is_kept(generation, newest, &run);
                        // Only one that is made where a run is stopped goes.
                        assert!(there, "{generation} after {newest}, {run:?}");
                    }
                }
            }
        }
    }

    /// README and help name players by their generations.
    #[test]
    fn named_generations_are_kept() {
        let mut named = 0;
        for text in [include_str!("../../../README.md"), include_str!("../../front/cli.rs")] {
            for part in text.split("runs/").skip(1) {
                let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(rest) = part.strip_prefix(&*name).and_then(|rest| rest.strip_prefix('@')) else { continue };
                let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
                let Ok(generation) = number.parse() else { continue };
                let config = settings::load(Source::Recipe(&name), &[]).expect("a recipe is named");
                let run = config.run;
                assert!(is_regular(generation, &run) && is_kept(generation, run.generations, &run), "{name}@{number}");
                named += 1;
            }
        }
        assert!(named >= 2);
    }
}
