//! What a person sees while a run goes on: a line for each generation, and on a terminal a live display below them.

use crate::{
    advice::Advice,
    machine::Monitor,
    metrics::{Metrics, count},
    say,
    stages::StageTimes,
    tell,
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lockstep_components::{Config, Stats};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Shows a run.
pub struct Display {
    generations: u64,
    games: u64,
    /// Rules whose advice was printed.
    advised: BTreeSet<String>,
    live: Option<Live>,
}

struct Live {
    all: MultiProgress,
    run: ProgressBar,
    work: ProgressBar,
    now: ProgressBar,
    shared: ProgressBar,
    time: ProgressBar,
    machine: ProgressBar,
    drawn: Instant,
    since: Instant,
    began_at: u64,
}

/// How a bar is drawn.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a template written here").progress_chars("=> ")
}

impl Display {
    /// For a run that stands at this generation.
    pub fn new(config: &Config, generation: u64) -> Self {
        let live = draws().then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            let add = |length, template: &str| all.add(ProgressBar::new(length).with_style(style(template)));
            let run = add(config.run.generations, "generation {pos:>4}/{len:<4} [{bar:30}] {elapsed} spent, {msg}");
            run.set_position(generation);
            run.set_message("time left: known after the first generation");
            Live {
                work: add(config.run.games, "  {prefix:<8} {pos:>5}/{len:<5} [{bar:30}]"),
                now: add(1, "  now   {msg}"),
                shared: add(1, "  tree  {msg}"),
                time: add(1, "  time  {msg}"),
                machine: add(1, "  here  {msg}"),
                run,
                all,
                drawn: Instant::now() - Duration::from_secs(1),
                since: Instant::now(),
                began_at: generation,
            }
        });
        Self { generations: config.run.generations, games: config.run.games, advised: BTreeSet::new(), live }
    }

    /// After each tick, with the games of the round that have ended; redraws a few times a second.
    pub fn playing(&mut self, played: u64, stats: &Stats, seconds: f64, stages: &StageTimes, monitor: &Monitor) {
        let games = self.games;
        let Some(live) = self.live.as_mut().filter(|l| l.drawn.elapsed() > Duration::from_millis(100)) else { return };
        live.drawn = Instant::now();
        live.work.set_prefix("games");
        live.work.set_length(games);
        live.work.set_position(played);
        let per_second = |n: u64| count(n as f64 / seconds.max(1e-9));
        live.now.set_message(format!(
            "{} simulations/s  {} evaluations/s  batch {:.0} ({:.0} % full)  length {:.1}  first player {:.2}",
            per_second(stats.simulations),
            per_second(stats.evaluations),
            stats.mean_batch(),
            100.0 * stats.batch_fill(),
            stats.mean_length(),
            stats.first_player_score(),
        ));
        let share = |part: u64, all: u64| 100.0 * part as f64 / all.max(1) as f64;
        live.shared.set_message(format!(
            "depth {:.1}  ends {:.0} %  cache hits {:.0} %  duplicates {:.0} %  proven roots {:.0} %{}",
            stats.mean_depth(),
            share(stats.terminals, stats.simulations),
            share(stats.cache_hits, stats.simulations),
            share(stats.duplicates, stats.evaluations + stats.duplicates),
            share(stats.proven, stats.moves),
            if stats.full > 0 {
                format!("  full trees {:.1} %", share(stats.full, stats.moves))
            } else {
                String::new()
            },
        ));
        live.time.set_message(stages.shares());
        live.machine.set_message(monitor.peek().to_string());
    }

    /// After each step of the optimiser.
    pub fn learning(&mut self, progress: (u64, u64)) {
        let Some(live) = self.live.as_mut().filter(|l| l.drawn.elapsed() > Duration::from_millis(100)) else { return };
        live.drawn = Instant::now();
        live.work.set_prefix("learning");
        live.work.set_length(progress.1);
        live.work.set_position(progress.0);
    }

    /// At the end of each generation.
    pub fn generation(&mut self, metrics: &Metrics) {
        let new: Vec<_> = metrics.advice.iter().filter(|advice| self.advised.insert(advice.rule.clone())).collect();
        let print = || {
            say!("{}", metrics.line(self.generations));
            for Advice { rule, text } in new {
                say!("  advice ({rule}): {text}");
            }
        };
        let Some(live) = &mut self.live else { return print() };
        // Above the bars, where it stays.
        live.all.suspend(print);
        live.run.set_position(metrics.generation);
        let done = metrics.generation.saturating_sub(live.began_at).max(1);
        let left = self.generations.saturating_sub(metrics.generation);
        let seconds = live.since.elapsed().as_secs_f64() / done as f64 * left as f64;
        live.run.set_message(format!("about {} left", duration(seconds)));
    }

    /// Something that happened to the run, on the standard error.
    pub fn tell(&self, text: &str) {
        let print = || tell!("{text}");
        match &self.live {
            None => print(),
            Some(live) => live.all.suspend(print),
        }
    }

    /// Takes the display down, so that other text can follow.
    pub fn close(self) {
        if let Some(live) = self.live {
            let _ = live.all.clear();
        }
    }
}

/// Whether standard error is a terminal that can redraw lines, and wide enough for them.
fn draws() -> bool {
    let width = console::Term::stderr().size_checked().map_or(0, |(_, columns)| columns);
    !ProgressDrawTarget::stderr().is_hidden() && width >= 40
}

/// A bar for work whose length is known; hidden where there is no terminal.
pub fn bar(length: u64, what: &'static str) -> ProgressBar {
    let target = if draws() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    bar.with_style(style("{prefix} {pos}/{len} [{bar:30}] {eta} left")).with_prefix(what)
}

/// Seconds for people: `42 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}
