use crate::{
    Error,
    cli::TuneArgs,
    device::{self, Backend, Place},
    games::{self, AnyGame},
    machine::{Machine, Monitor},
    measure::{self, Ticks, median},
    memory::MemoryBound,
    relief::more_parts,
    say,
    settings::{self, Source},
    stages::Timing,
    tell,
    text::{count, duration, number},
};
use lockstep_components::{
    Config,
    config::{LearnPrecision, Precision, Steps},
};
use lockstep_systems::network::describe;
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

/// What runs of the built-in recipes take, as a table: numbers that are about the same on every machine.
const WORK: &str = include_str!("work.csv");

/// Carries out `lockstep tune`.
pub fn run(args: TuneArgs) -> Result<(), Error> {
    let recipe = args.recipe.clone().unwrap_or("tictactoe".into());
    let source = args.config.as_deref().map_or(Source::Recipe(&recipe), Source::File);
    let mut overrides = args.set.clone();
    overrides.extend(args.device.map(|device| format!("run.device={device}")));
    let config = settings::load(source, &overrides)?;
    let name =
        args.config.as_deref().and_then(Path::file_stem).map_or(recipe.clone(), |name| name.to_string_lossy().into());
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}-tuned.toml")));
    // Before it takes its minutes.
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        let message = "there is no such folder to write the settings to; make it, or name another file with --out";
        return Err(Error::Usage(format!("{}: {message}", folder.display())));
    }
    create(&out)?;
    std::fs::remove_file(&out).map_err(Error::io("remove", &out))?;
    let work = if args.config.is_none() { RunWork::of(&recipe, &config) } else { None };
    let game = games::named(&config.game.name)?;
    let tune = Tune { config, out, work, seconds: 60.0 * args.minutes, evaluations: 1.0, reasons: BTreeMap::new() };
    device::with_threads(tune.config.run.threads, || tune.all(game))
}

/// Creates the file for the settings, which must not be there yet.
fn create(out: &Path) -> Result<File, Error> {
    OpenOptions::new().write(true).create_new(true).open(out).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Error::Usage(format!("{}: it is there already; name another file with --out, or remove it", out.display()))
        }
        _ => Error::Usage(format!(
            "cannot write {}: {error}; name another file for the settings with --out",
            out.display()
        )),
    })
}

struct Tune {
    /// The best settings so far.
    config: Config,
    out: PathBuf,
    work: Option<RunWork>,
    /// The seconds of all measurements together.
    seconds: f64,
    /// Evaluations per second of the network alone, in the precision that was chosen.
    evaluations: f64,
    /// The reason of each key that has another value.
    reasons: BTreeMap<&'static str, String>,
}

/// The work of a whole run, however fast it is made.
#[derive(Clone, Copy, Debug, PartialEq)]
struct RunWork {
    simulations: f64,
    evaluations: f64,
    samples: f64,
}

impl RunWork {
    /// Returns the work of a recipe whose keys are unchanged, but for the number of generations; `None` if it is not
    /// known.
    fn of(recipe: &str, config: &Config) -> Option<Self> {
        let own = settings::load(Source::Recipe(recipe), &[]).ok()?;
        let line = WORK.lines().skip(1).find(|line| line.split(',').next() == Some(recipe))?;
        let numbers: Vec<f64> = line.split(',').skip(1).filter_map(|number| number.parse().ok()).collect();
        let &[generations, simulations, evaluations, samples] = &numbers[..] else { return None };
        let share = config.run.generations as f64 / generations;
        let work =
            Self { simulations: simulations * share, evaluations: evaluations * share, samples: samples * share };
        (settings::essence(&own) == settings::essence(config)).then_some(work)
    }

    /// Returns the work of a run as far as the games of a measurement let expect.
    fn guess(game: AnyGame, config: &Config, ticks: &Ticks) -> Self {
        let stats = &ticks.stats;
        // Where no game has ended in the time, half of the longest one.
        let length = if stats.games > 0 { stats.mean_length() } else { game.info.max_plies as f64 / 2.0 };
        let moves = config.run.generations as f64 * config.run.games as f64 * length;
        let simulations = moves * f64::from(config.search.simulations);
        let batch = config.learn.batch_size as f64;
        let samples = match config.learn.steps {
            Steps::Reuse(times) => moves * times,
            Steps::Batches(n) => config.run.generations as f64 * n as f64 * batch,
        };
        let evaluations = simulations * stats.evaluations as f64 / stats.simulations.max(1) as f64;
        Self { simulations, evaluations, samples }
    }

    /// Returns the seconds that the work takes at the rates of a measurement, and at those of the network and of
    /// training alone.
    fn seconds(self, ticks: &Ticks, evaluations_per_second: f64, samples_per_second: f64) -> f64 {
        let stage = |name| ticks.stages.iter().find(|(stage, _)| *stage == name).map_or(0.0, |(_, seconds)| *seconds);
        let trees = (ticks.seconds - stage("evaluate")) / ticks.stats.simulations.max(1) as f64;
        // Where the cache answers nearly all, what is left of a batch tells nothing of the network.
        let network = match ticks.stats.mean_batch() {
            rows if rows >= 8.0 => stage("evaluate") / ticks.stats.evaluations.max(1) as f64,
            _ => 1.0 / evaluations_per_second,
        };
        self.simulations * trees + self.evaluations * network + self.samples / samples_per_second
    }
}

/// A key, and the values of it to try.
type Trial = (&'static str, Vec<u32>, fn(&mut Config) -> &mut u32);

/// How often each candidate is measured, in turn with what it is compared to, because a machine's speed drifts.
const ROUNDS: usize = 4;

/// Quantile of Student's t for [`ROUNDS`] measurements: 19 of 20 times the true ratio of two rates lies above the lower
/// bound that it gives.
const STUDENT: f64 = 2.353;

/// How many times as fast something is as something else, from measurements in turn.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ratio {
    mean: f64,
    /// How far the true ratio may lie from the mean, as a share of it.
    spread: f64,
}

impl Ratio {
    /// Returns the ratio of rates before and after, which were measured round by round.
    fn of(before: &[f64], after: &[f64]) -> Self {
        let logs: Vec<f64> = before.iter().zip(after).map(|(before, after)| (after / before).ln()).collect();
        let n = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / n;
        let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Self { mean: mean.exp(), spread: STUDENT * (variance / n).sqrt() }
    }

    /// Whether the ratio is above `worth`, and not by chance.
    fn is_above(self, worth: f64) -> bool {
        self.mean * (-self.spread).exp() > worth
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} times as many (+- {:.0} %)", self.mean, 100.0 * self.spread)
    }
}

impl Tune {
    /// Measures settings, and writes the best ones.
    fn all(mut self, game: AnyGame) -> Result<(), Error> {
        let recipe = self.config.clone();
        let place = device::place_of(&recipe)?;
        // What cannot be trained here needs no tuning.
        MemoryBound::of_run(game, &recipe, &place)?.check()?;
        let threads = rayon::current_num_threads();
        let with = number(threads as u64, "thread");
        say!("Tuning {} on {} with {with}, for about {}.", game.info.title, place.name, duration(self.seconds));
        let mut monitor = Monitor::new(Machine { threads, cores: device::cores(), ..Machine::default() }, &place);
        self.precision(game, &place)?;
        let trials = self.trials(&place);
        let measurements = ROUNDS * (trials.iter().map(|(_, values, _)| values.len() + 1).sum::<usize>() + 2);
        let each = 0.75 * self.seconds / measurements as f64;
        for trial in trials {
            self.key(game, trial, each)?;
        }
        // The whole against the recipe.
        let (mut before, mut after, mut last) = (vec![], vec![], None);
        for _ in 0..ROUNDS {
            before.push(rate(game, &recipe, each)?.simulations_per_second);
            let ticks = rate(game, &self.config, each)?;
            after.push(ticks.simulations_per_second);
            last = Some(ticks);
        }
        let ratio = Ratio::of(&before, &after);
        let mut ticks = last.expect("it was measured");
        if self.reasons.is_empty() {
            say!("all of it: {} simulations/s; nothing is clearly better than the recipe", count(median(after)));
        } else if ratio.is_above(1.0) {
            say!("all of it: {} simulations/s, {ratio} as the recipe", count(median(after)));
        } else {
            // What looked better was noise.
            say!("all of it: {ratio} as the recipe, which is within the noise: its lanes and cache are kept");
            self.config.lanes = recipe.lanes.clone();
            self.config.search.cache_mb = recipe.search.cache_mb;
            self.reasons.retain(|key, _| key.starts_with("run."));
            ticks = rate(game, &self.config, each)?;
        }
        let place = device::place_of(&self.config)?;
        let work = self.work.unwrap_or_else(|| RunWork::guess(game, &self.config, &ticks));
        let steps = work.samples / (self.config.run.generations * self.config.learn.batch_size as u64) as f64;
        let seconds = (0.1 * self.seconds).max(1.0);
        let samples = loop {
            let steps = steps.ceil().max(1.0) as u64;
            match measure::generations(game, &self.config, &place, steps, seconds) {
                // As a run would go on.
                Err(Error::Systems(error @ lockstep_systems::Error::OutOfMemory { .. }))
                    if more_parts(&self.config.learn) > self.config.learn.accumulation =>
                {
                    self.config.learn.accumulation = more_parts(&self.config.learn);
                    tell!("training: {error}; with learn.accumulation = {} instead", self.config.learn.accumulation);
                    let reason = "a step in less parts does not fit into the memory of the device";
                    self.reasons.insert("learn.accumulation", reason.into());
                    place.device.memory_cleanup();
                }
                measured => break measured?,
            }
        };
        say!("training: {} samples/s", count(samples));
        if device::could_learn_in_bf16(&describe(&game.info, &self.config.network), &self.config, &place) {
            let mut config = self.config.clone();
            config.learn.precision = LearnPrecision::Bf16;
            let faster = measure::generations(game, &config, &place, steps.ceil().max(1.0) as u64, seconds)?;
            say!(
                "training with learn.precision = \"bf16\": {} samples/s, {:.2} times as many; it is for you to choose, since what is \
                 learned differs in its last digits",
                count(faster),
                faster / samples
            );
        }
        let seconds = work.seconds(&ticks, self.evaluations, samples);
        let basis = match self.work {
            Some(_) => "from what the recipe takes",
            None => "a rough guess, from games with random weights",
        };
        let generations = self.config.run.generations;
        let line =
            format!("{} will take about {} here ({basis})", number(generations, "generation"), duration(seconds));
        say!("{line}.");
        let machine = monitor.take();
        let crowded = machine.crowded().map(|(had, wanted)| {
            format!(
                "other programs had {:.1} cores meanwhile, and the tuning {had:.1} of {wanted}: tune again when the machine is free",
                machine.cores_others
            )
        });
        if let Some(crowded) = &crowded {
            tell!("warning: {crowded}");
        }
        self.write(&line, crowded.as_deref())?;
        say!("To train with it: lockstep train --config {}", self.out.display());
        Ok(())
    }

    /// Measures batches of each size in each precision; the fastest precision is taken if the recipe leaves it open.
    fn precision(&mut self, game: AnyGame, place: &Place) -> Result<(), Error> {
        let capacity = device::batch_capacity(game, &self.config, place);
        let sizes: Vec<usize> =
            [64, 256, 1024, 4096].into_iter().filter(|&rows| rows <= 2 * capacity.max(32)).collect();
        let precisions =
            if self.config.run.precision == Precision::Auto { place.precisions() } else { vec![place.precision] };
        let each = 0.1 * self.seconds / (ROUNDS * sizes.len() * precisions.len()) as f64;
        // The rates of each precision and size, round by round.
        let mut jobs = vec![];
        for precision in precisions {
            let place = Place { precision, ..place.clone() };
            for &rows in &sizes {
                let evaluator = measure::evaluator(game, &self.config, &place, rows)?;
                // The kernels may not know the network in this precision.
                if evaluator.capabilities().precision == precision || place.evaluation != Backend::Fused {
                    jobs.push((precision, rows, evaluator, vec![]));
                }
            }
        }
        for _ in 0..ROUNDS {
            let mut refused = vec![];
            for (precision, rows, evaluator, rates) in &mut jobs {
                let measured = measure::evaluations(game, &mut **evaluator, *rows, each);
                let what = format!("network, {}, batches of {rows}", precision.name());
                match unless_refused(&what, place, measured)? {
                    Some(rate) => rates.push(rate),
                    None => refused.push((*precision, *rows)),
                }
            }
            jobs.retain(|(precision, rows, ..)| !refused.contains(&(*precision, *rows)));
        }
        // The rates of the size that suits each precision best.
        let mut measured: Vec<(Precision, Vec<f64>)> = vec![];
        for (precision, rows, _, rates) in jobs {
            let rate = median(rates.clone());
            say!("network, {}, batches of {rows}: {} evaluations/s", precision.name(), count(rate));
            match measured.iter_mut().find(|(known, _)| *known == precision) {
                Some((_, best)) if median(best.clone()) < rate => *best = rates,
                Some(_) => {}
                None => measured.push((precision, rates)),
            }
        }
        let Some((_, own)) = measured.iter().find(|(precision, _)| *precision == place.precision) else {
            return Ok(());
        };
        self.evaluations = median(own.clone());
        let others = measured.iter().filter(|(precision, _)| *precision != place.precision);
        let others = others.map(|(precision, rates)| (*precision, Ratio::of(own, rates), median(rates.clone())));
        let better = others.filter(|(_, ratio, _)| ratio.is_above(1.05));
        if let Some((fastest, ratio, rate)) = better.max_by(|(_, a, _), (_, b, _)| a.mean.total_cmp(&b.mean)) {
            let reason = format!(
                "{ratio} evaluations as {}; `lockstep grade --accuracy` tells what it costs",
                place.precision.name()
            );
            self.config.run.precision = fastest;
            self.evaluations = rate;
            self.reasons.insert("run.precision", reason);
        }
        Ok(())
    }

    /// Returns the keys to try, one after another, with their values: none of these but the leaves changes what is
    /// played or learned.
    fn trials(&self, place: &Place) -> Vec<Trial> {
        let games = (self.config.run.games * self.config.run.lag).min(65_536) as u32;
        let is_gpu = place.evaluation == Backend::BurnPadded;
        let lanes = if is_gpu { vec![256, 1024, 4096, 16_384] } else { vec![32, 128, 256, 512, 1024] };
        // More lanes than games stay empty.
        let lanes = lanes.into_iter().map(|count: u32| count.min(games)).collect();
        let mut trials: Vec<Trial> = vec![("lanes.count", lanes, |config| &mut config.lanes.count)];
        if is_gpu {
            trials.push(("lanes.in_flight", vec![1, 2, 3, 4], |config| &mut config.lanes.in_flight));
        } else {
            trials.push(("lanes.cohort", vec![0, 64, 128, 256], |config| &mut config.lanes.cohort));
        }
        trials.push(("search.cache_mb", vec![0, 64, 256], |config| &mut config.search.cache_mb));
        trials.push(("lanes.leaves_per_tree", vec![1, 4, 8], |config| &mut config.lanes.leaves_per_tree));
        trials
    }

    /// Tries the values of a key, and takes the best one of those that are clearly better than its own.
    fn key(&mut self, game: AnyGame, (key, mut values, of): Trial, seconds: f64) -> Result<(), Error> {
        let own = *of(&mut self.config);
        values.sort_unstable();
        values.dedup();
        let mut candidates = vec![];
        for value in values.into_iter().filter(|value| *value != own) {
            let mut config = self.config.clone();
            *of(&mut config) = value;
            // What cannot be is not tried.
            if config.lanes.cohort > config.lanes.count {
                continue;
            }
            let place = device::place_of(&config)?;
            if MemoryBound::of_run(game, &config, &place).and_then(|bound| bound.check()).is_err() {
                tell!("{key} = {value}: not enough memory");
                continue;
            }
            candidates.push((value, config, place, vec![]));
        }
        let mut base = vec![];
        for _ in 0..ROUNDS {
            base.push(rate(game, &self.config, seconds)?.simulations_per_second);
            let mut refused = vec![];
            for (value, config, place, rates) in &mut candidates {
                match unless_refused(&format!("{key} = {value}"), place, rate(game, config, seconds))? {
                    Some(ticks) => rates.push(ticks.simulations_per_second),
                    None => refused.push(*value),
                }
            }
            candidates.retain(|(value, ..)| !refused.contains(value));
        }
        say!("{key} = {own}: {} simulations/s", count(median(base.clone())));
        // Several leaves at once cost a little strength, so they must be worth it.
        let worth = if key == "lanes.leaves_per_tree" { 1.15 } else { 1.03 };
        let mut best: Option<(u32, Ratio)> = None;
        for (value, _, _, rates) in candidates {
            let ratio = Ratio::of(&base, &rates);
            say!("{key} = {value}: {} simulations/s, {ratio}", count(median(rates)));
            if ratio.is_above(worth) && best.is_none_or(|(_, best)| ratio.mean > best.mean) {
                best = Some((value, ratio));
            }
        }
        let Some((value, ratio)) = best else {
            say!("{key} stays {own}: no other value is better beyond the noise");
            return Ok(());
        };
        *of(&mut self.config) = value;
        let mut reason = format!("{ratio} simulations as {own}");
        if key == "lanes.leaves_per_tree" {
            reason += "; it changes what is played, and costs a little strength";
        }
        self.reasons.insert(key, reason);
        Ok(())
    }

    /// Writes the settings to the file, with the reasons as comments.
    fn write(&self, estimate: &str, warning: Option<&str>) -> Result<(), Error> {
        let mut text = format!(
            "# Tuned by `lockstep tune` for the machine that it ran on, {}: {estimate}.\n\
             # Keys that it changed have their reasons above them.\n",
            number(rayon::current_num_threads() as u64, "thread")
        );
        if let Some(warning) = warning {
            text += &format!("# Warning: {warning}.\n");
        }
        let mut section = String::new();
        for line in settings::to_text(&self.config).lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name.into();
            }
            let key = line.split('=').next().unwrap_or_default().trim();
            if let Some(reason) = self.reasons.get(&*format!("{section}.{key}")) {
                text += &format!("# {reason}\n");
            }
            text += &format!("{line}\n");
        }
        create(&self.out)?.write_all(text.as_bytes()).map_err(Error::io("write", &self.out))
    }
}

/// Returns what was measured, or `None`, and tells why, where the device has not enough memory for it or computes it
/// wrongly.
fn unless_refused<T>(what: &str, place: &Place, measured: Result<T, Error>) -> Result<Option<T>, Error> {
    match measured {
        Err(Error::Systems(error)) => {
            tell!("{what}: {error}");
            place.device.memory_cleanup();
            Ok(None)
        }
        measured => measured.map(Some),
    }
}

/// Measures self-play with a new network for `seconds` seconds.
fn rate(game: AnyGame, config: &Config, seconds: f64) -> Result<Ticks, Error> {
    let place = device::place_of(config)?;
    // On a GPU it has evaluated a batch of each size by now, with which kernels are tuned: before, and not while, it is measured.
    let rows = device::batch_capacity(game, config, &place);
    let evaluator = measure::evaluator(game, config, &place, rows)?;
    measure::ticks(game, config, &place, evaluator, Timing::coarse(), seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_is_not_better() {
        let base = [100.0, 80.0, 110.0, 90.0];
        let times = |factors: [f64; ROUNDS]| -> Vec<f64> { base.iter().zip(factors).map(|(b, f)| b * f).collect() };
        // A machine that drifts says nothing of what is measured in turn.
        let steady = Ratio::of(&base, &times([1.2, 1.2, 1.2, 1.2]));
        assert!(steady.is_above(1.19) && !steady.is_above(1.21), "{steady:?}");
        assert_eq!(steady.to_string(), "1.20 times as many (+- 0 %)");
        // One measurement that others disturbed may have made all of the difference.
        let noisy = Ratio::of(&base, &times([1.0, 1.0, 1.8, 1.0]));
        assert!(noisy.mean > 1.15 && !noisy.is_above(1.0), "{noisy:?}");
        assert!(Ratio::of(&base, &times([1.18, 1.22, 1.21, 1.19])).is_above(1.15));
    }

    #[test]
    fn the_work_of_recipes_is_that_of_their_keys() {
        for line in WORK.lines().skip(1) {
            let recipe = line.split(',').next().unwrap();
            let config = settings::load(Source::Recipe(recipe), &[]).unwrap_or_else(|e| panic!("{recipe}: {e}"));
            let work = RunWork::of(recipe, &config).unwrap_or_else(|| panic!("{line}"));
            assert!(work.simulations >= work.evaluations && work.samples > 0.0, "{line}");
            let half = |key: &str| settings::load(Source::Recipe(recipe), &[key.into()]).unwrap();
            let longer = half(&format!("run.generations={}", 2 * config.run.generations));
            assert_eq!(RunWork::of(recipe, &longer).unwrap().samples, 2.0 * work.samples);
            assert_eq!(RunWork::of(recipe, &half("search.c_puct=0.7")), None, "other keys, other work");
        }
    }
}
