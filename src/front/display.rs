//! What a person sees while a run goes on: a line for each generation, and below them on a terminal a live display,
//! elsewhere a line now and then; and a summary at its end.

use crate::{
    Error,
    advice::Advice,
    folder::Folder,
    insight::strength::{Mistakes, Played, Strength},
    machine::Machine,
    metrics::{self, Metrics},
    out::{self, Stream},
    say, tell,
    text::{count, duration, number, quoted},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// How often the live display is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(100);
/// How often a line is printed where the display cannot be drawn.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// How soon a line is printed for the first time where the display cannot be drawn.
const TOLD_FIRST: Duration = Duration::from_secs(2);

/// The seconds of play in a generation from which on its own rates are shown instead of those of the one before.
const LONG_ENOUGH: f64 = 0.5;

/// Shows a run while it goes on.
pub struct Display {
    generations: u64,
    /// When the run will be stopped, finished or not.
    until: Option<Instant>,
    /// The rules whose advice was printed.
    advised: BTreeSet<String>,
    /// The text that is drawn again and again, on a terminal.
    live: Option<ProgressBar>,
    /// When to show something next.
    due: Instant,
    since: Instant,
    began_at: u64,
    /// The number of generations that have ended.
    ended: u64,
    rates: Rates,
    /// The strength of the generations that were measured, for the live display.
    strength: Vec<String>,
    /// The losses of the policy and of the value, generation after generation.
    losses: [Vec<f64>; 2],
    /// How the machine was used when it was last seen.
    here: Vec<String>,
}

/// What is shown of games that are under way or have just ended, most important first.
#[derive(Clone, Debug, Default)]
struct Rates {
    now: Vec<String>,
    tree: Vec<String>,
    time: Vec<String>,
}

impl Display {
    /// Begins to show a run of so many generations that has these behind it, and will be stopped at `until` if a time
    /// is given.
    pub fn new(generations: u64, behind: &[Metrics], until: Option<Instant>) -> Self {
        let generation = behind.last().map_or(0, |last| last.generation);
        let now = Instant::now();
        let live = draws().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            let bar = bar.with_style(style("{msg}"));
            out::draw(Some(bar.clone()));
            bar
        });
        Self {
            generations,
            until,
            advised: BTreeSet::new(),
            due: if live.is_some() { now } else { now + TOLD_FIRST },
            live,
            since: now,
            began_at: generation,
            ended: generation,
            rates: Rates::default(),
            strength: vec![],
            losses: losses(behind),
            here: vec![],
        }
    }

    /// Whether it is time to show what goes on.
    pub fn is_due(&self) -> bool {
        Instant::now() >= self.due
    }

    /// Shows how many games of the round have ended, of how many, and what they come to so far.
    pub fn playing(&mut self, progress: (u64, u64), so_far: &Metrics, machine: &Machine) {
        if so_far.play_seconds >= LONG_ENOUGH || self.rates.now.is_empty() {
            self.rates = Rates::of(so_far);
        }
        self.here = machine.fields();
        self.show("games", progress);
    }

    /// Shows how many steps of the optimiser are done, of how many.
    pub fn learning(&mut self, progress: (u64, u64)) {
        self.show("steps", progress);
    }

    /// Draws the whole display at once, so that nothing is seen beside what it does not belong to.
    fn show(&mut self, what: &str, (done, all): (u64, u64)) {
        let (generation, generations) = (self.ended + 1, self.generations);
        let spent = duration(self.since.elapsed().as_secs_f64());
        let left = self.left();
        let Some(live) = &self.live else {
            self.due = Instant::now() + TOLD_EVERY;
            let rates = self.rates.now.iter().take(2).cloned();
            let fields = [format!("{what} {done}/{all}")].into_iter().chain(rates).chain([left]);
            say!("{}", stays(&format!("  in generation {generation}:"), &fields.collect::<Vec<_>>()));
            return;
        };
        self.due = Instant::now() + DRAWN_EVERY;
        let width = out::width(Stream::Error);
        let gauge = |done, all| gauge(done, all, (width / 4).clamp(10, 30));
        let run = format!("generation {generation:>5}/{generations:<5} {}", gauge(self.ended, generations));
        let work = format!("  {what:<8} {done:>5}/{all:<5} {}", gauge(done, all));
        let Rates { now, tree, time } = &self.rates;
        let losses = &self.losses_now();
        let mut lines = vec![fit(&run, &[format!("{spent} spent"), left], width), fit(&work, &[], width)];
        for (name, fields) in [
            ("now", now),
            ("tree", tree),
            ("time", time),
            ("loss", losses),
            ("play", &self.strength),
            ("here", &self.here),
        ] {
            if !fields.is_empty() {
                lines.push(fit(&format!("  {name:<4}"), fields, width));
            }
        }
        live.set_message(lines.join("\n"));
    }

    /// Returns the losses of the generations that have ended, for the live display.
    fn losses_now(&self) -> Vec<String> {
        let now =
            |(name, losses): (&str, &Vec<f64>)| Some(format!("{name} {} {:.3}", sparkline(losses), losses.last()?));
        ["policy", "value"].into_iter().zip(&self.losses).filter_map(now).collect()
    }

    /// Returns the time that remains: of the recipe, or of the time that was given if that is less.
    fn left(&self) -> String {
        let done = self.ended - self.began_at;
        let each = self.since.elapsed().as_secs_f64() / done.max(1) as f64;
        let needed = (done > 0).then(|| each * self.generations.saturating_sub(self.ended) as f64);
        let given = self.until.map(|until| until.saturating_duration_since(Instant::now()).as_secs_f64());
        match (needed, given) {
            (needed, Some(given)) if needed.is_none_or(|needed| needed > given) => {
                format!("{} left of --minutes", duration(given))
            }
            (Some(needed), _) => format!("about {} left", duration(needed)),
            (None, _) => "time left not known yet".into(),
        }
    }

    /// Prints the line of a generation that has ended, with its new advice.
    pub fn generation(&mut self, metrics: &Metrics) {
        if let [start, fields @ ..] = &metrics.fields(self.generations)[..] {
            self.line(&stays(start, fields), &metrics.advice);
        }
        self.losses.iter_mut().zip(losses(std::slice::from_ref(metrics))).for_each(|(all, new)| all.extend(new));
        self.ended = metrics.generation;
        self.rates = Rates::of(metrics);
        self.due = Instant::now() + if self.live.is_some() { DRAWN_EVERY } else { TOLD_EVERY };
    }

    /// Prints a line with its new advice above the live display, where they stay.
    fn line(&mut self, line: &str, advice: &[Advice]) {
        let new: Vec<_> = advice.iter().filter(|advice| self.advised.insert(advice.rule.clone())).collect();
        let print = || {
            say!("{line}");
            for Advice { rule, text } in new {
                say!("  advice ({rule}): {text}");
            }
        };
        match &self.live {
            Some(live) => live.suspend(print),
            None => print(),
        }
    }

    /// Prints the strength of the last of these generations, and shows how it has become what it is.
    pub fn strength(&mut self, lines: &[Strength]) {
        let Some(last) = lines.last() else { return };
        let fields = last.fields();
        let start = format!("  strength of generation {}:", last.generation);
        self.line(&stays(&start, &fields), &last.advice);
        self.strength = [strengths(lines)].into_iter().chain(fields).collect();
    }

    /// Prints something that happened to the run to standard error.
    pub fn tell(&self, text: &str) {
        tell!("{text}");
    }

    /// Takes the display down, so that other text can follow.
    pub fn close(self) {
        if let Some(live) = self.live {
            out::draw(None);
            live.finish_and_clear();
        }
    }
}

impl Rates {
    /// Returns what is shown of a generation; nothing is said of what there is nothing yet.
    fn of(metrics: &Metrics) -> Self {
        let percent = |name: &str, share: f64| format!("{name} {:.0} %", 100.0 * share);
        let mut rates = Self::default();
        if metrics.simulations_per_second > 0.0 {
            rates.now.push(format!("{} simulations/s", count(metrics.simulations_per_second)));
            rates.now.push(format!("{} evaluations/s", count(metrics.evaluations_per_second)));
        }
        rates.now.extend(metrics.fleet.map(|fleet| fleet.to_string()));
        if metrics.mean_batch > 0.0 {
            rates.now.push(format!("batch {:.0} ({:.0} % full)", metrics.mean_batch, 100.0 * metrics.batch_fill));
        }
        if metrics.games > 0 {
            rates.now.push(format!("length {:.1}", metrics.mean_length));
            rates.now.push(format!("first player {:.2}", metrics.first_player_score));
        }
        if metrics.simulations > 0 {
            rates.tree.push(format!("depth {:.1}", metrics.mean_depth));
            rates.tree.push(percent("cache hits", metrics.cache_hits));
            rates.tree.push(percent("ends", metrics.terminal_share));
            rates.tree.push(percent("duplicates", metrics.duplicates));
        }
        if metrics.positions > 0 {
            rates.tree.push(percent("proven roots", metrics.proven));
            if metrics.full_trees > 0.0 {
                rates.tree.push(percent("full trees", metrics.full_trees));
            }
        }
        let stages = metrics.stages;
        if stages.total() > 0.0 {
            let named = [("collect", stages.collect), ("evaluate", stages.evaluate), ("search", stages.search)];
            rates.time = named.map(|(name, seconds)| percent(name, seconds / stages.total())).into();
        }
        rates
    }
}

/// Prints what has become of a run in a few lines that stay: what it took, how strong its player is, its losses, where
/// they are kept, and what can be done next. Nothing is printed of a run that has no generation.
///
/// # Errors
/// When the metrics or the strength cannot be read.
pub fn summary(folder: &Folder) -> Result<(), Error> {
    let generations = metrics::load(&folder.metrics())?;
    let strength = Strength::load(folder)?;
    let Some(last) = generations.last() else { return Ok(()) };
    let sum = |of: fn(&Metrics) -> f64| generations.iter().map(of).sum::<f64>();
    let total = |of: fn(&Metrics) -> u64| generations.iter().map(of).sum::<u64>();
    let writing = sum(|line| line.write_seconds);
    let writing =
        (writing > 1.0_f64.max(0.1 * last.seconds)).then(|| format!(" ({} of it writing)", duration(writing)));
    say!(
        "Trained {} in {}{}, {} of CPU time: {}, {}",
        number(last.generation, "generation"),
        duration(last.seconds),
        writing.unwrap_or_default(),
        duration(sum(Metrics::cpu_seconds) + strength.iter().map(|line| line.grading_seconds).sum::<f64>()),
        number(total(|line| line.games), "game"),
        number(total(|line| line.positions), "position"),
    );
    if let [first, .., last] = &strength[..] {
        let from = match (first.graded(), &first.played) {
            (Some(graded), _) => graded.mistakes.to_string(),
            (None, played) => format!("{:.0}", played.as_ref().map_or(0.0, |played| played.elo)),
        };
        let fields = last.fields();
        say!("Player  {} {from} -> {}", strengths(&strength), fields[..2].join(" "));
    } else if let [only] = &strength[..] {
        say!("Player  {}", only.fields()[..2].join(" "));
    }
    let [policy, value] = losses(&generations)
        .map(|losses| format!("{} {:.3} -> {:.3}", sparkline(&losses), losses[0], losses[losses.len() - 1]));
    say!("Losses  policy {policy}, value {value}");
    let newest = folder.checkpoints().join(last.generation.to_string());
    say!("Saved   {} and {}", newest.display(), folder.report().display());
    say!("Next    lockstep play --run{0}", quoted(folder.path()));
    say!("        lockstep serve{0}", quoted(folder.path()));
    Ok(())
}

/// Returns the losses of the policy and of the value in these generations.
fn losses(generations: &[Metrics]) -> [Vec<f64>; 2] {
    let of = |loss: fn(&Metrics) -> f64| generations.iter().map(loss).collect();
    [of(|line| line.policy_loss), of(|line| line.value_loss)]
}

/// Returns the strength of generations as a row of bars; higher is better.
fn strengths(lines: &[Strength]) -> String {
    let height = |line: &Strength| match (line.graded(), &line.played) {
        (Some(Mistakes { mistakes, positions, .. }), _) => -(*mistakes as f64) / *positions as f64,
        (None, Some(Played { elo, .. })) => *elo,
        (None, None) => 0.0,
    };
    sparkline(&lines.iter().map(height).collect::<Vec<_>>())
}

/// The most bars of a row: of more numbers, neighbours share one.
const MOST_BARS: usize = 12;

/// Returns numbers as a row of bars of eight heights.
fn sparkline(numbers: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shared = numbers.chunks(numbers.len().div_ceil(MOST_BARS).max(1));
    let numbers: Vec<f64> = shared.map(|of| of.iter().sum::<f64>() / of.len() as f64).collect();
    let [least, most] = [f64::min, f64::max].map(|of| numbers.iter().copied().reduce(of).unwrap_or(0.0));
    let height =
        |number: &f64| if most > least { (7.0 * (number - least) / (most - least)).round() as usize } else { 3 };
    numbers.iter().map(|number| BARS[height(number)]).collect()
}

/// Returns a line that stays, which has one field at least: where there is no room for it, the line is to be folded.
fn stays(start: &str, fields: &[String]) -> String {
    let least = start.chars().count() + 2 + fields.first().map_or(0, |field| field.chars().count());
    fit(start, fields, out::width(Stream::Out).max(least))
}

/// Returns a line that has these fields behind its start, as many as there is room for.
fn fit(start: &str, fields: &[String], width: usize) -> String {
    let mut line = start.to_string();
    for field in fields {
        if line.chars().count() + 2 + field.chars().count() > width {
            break;
        }
        line += &format!("  {field}");
    }
    line
}

/// Returns a gauge such as `[====>    ]`.
fn gauge(done: u64, all: u64, width: usize) -> String {
    let filled = (width as u64 * done.min(all) / all.max(1)) as usize;
    let head = if filled < width && done > 0 { ">" } else { "" };
    format!("[{:<width$}]", format!("{}{head}", "=".repeat(filled)))
}

/// Returns the style of a bar with this template of indicatif.
///
/// # Panics
/// If the template is not valid.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a template written here").progress_chars("=> ")
}

/// Whether standard error is a terminal that can redraw lines, and wide enough for them.
fn draws() -> bool {
    !ProgressDrawTarget::stderr().is_hidden() && (40..usize::MAX).contains(&out::width(Stream::Error))
}

/// Returns a bar for work whose length is known; it is hidden where there is no terminal.
pub fn bar(length: u64, what: &'static str) -> ProgressBar {
    let target = if draws() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    bar.with_style(style("{prefix} {pos}/{len} [{wide_bar}] {eta} left")).with_prefix(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_of_whole_fields() {
        let fields = ["12 s".to_string(), "games 500".into(), "length 9.1".into()];
        assert_eq!(fit("generation 1/2", &fields, usize::MAX), "generation 1/2  12 s  games 500  length 9.1");
        assert_eq!(fit("generation 1/2", &fields, 31), "generation 1/2  12 s  games 500");
        assert_eq!(fit("generation 1/2", &fields, 30), "generation 1/2  12 s");
        assert_eq!([sparkline(&[3.0, 1.0, 2.0]), sparkline(&[5.0])], ["█▁▅", "▄"]);
        let falling: Vec<f64> = (0..100).rev().map(f64::from).collect();
        assert_eq!(sparkline(&falling), "█▇▇▆▅▅▄▃▃▂▁▁");
        assert_eq!([gauge(0, 0, 4), gauge(2, 4, 4), gauge(9, 4, 4)], ["[    ]", "[==> ]", "[====]"]);
    }
}
