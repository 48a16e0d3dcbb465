use crate::{
    Error,
    cli::CompareArgs,
    data, device, display,
    insight::{
        compare::{Basis, Comparing, Comparison, Difference, Known, Matched, Method, More, Picked, compare},
        paired::Interval,
    },
    say,
    text::number,
};
use serde_json::json;
use std::time::Duration;

/// Carries out `lockstep compare`.
pub fn run(args: CompareArgs) -> Result<(), Error> {
    let how = Comparing {
        simulations: args.simulations,
        limit: args.positions,
        pairs: args.pairs,
        time: Duration::from_secs_f64(60.0 * args.minutes),
        device: args.device,
    };
    let bar = display::bar(0, "comparing");
    let progress = |what: &str, done: usize, all: usize| {
        bar.set_message(what.to_string());
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let found = device::with_threads(args.threads, || compare(&args.runs, &how, progress));
    bar.finish_and_clear();
    let found = found?;
    if args.json {
        data!("{}", json!(found));
    } else {
        tell(&found);
    }
    Ok(())
}

fn tell(found: &Comparison) {
    let simulations = match found.simulations {
        0 => "the network's most likely move".into(),
        n => number(n.into(), "simulation") + " a move",
    };
    match found.positions {
        0 => say!("Players of {}, {simulations}; there is no exact solver for it here.", found.game),
        n => say!("Players of {}, {simulations}, in {n} positions with exact results.", found.game),
    }
    let clock = if found.is_cpu_time { "CPU seconds" } else { "seconds" };
    let mut told = None;
    for difference in &found.differences {
        let Difference { basis, first, second, .. } = difference;
        if told != Some(*basis) {
            told = Some(*basis);
            table(found, *basis, clock);
        }
        let names = [first, second].map(|group| name_of(group));
        if let Some(more) = &difference.mistakes {
            say!("{}", in_words(more, &names, *basis, clock, found.positions));
            noise(more, &names);
        }
        if let Some(matched) = &difference.matched {
            say!("{}", match_in_words(matched, &names));
        }
    }
    if !found.curve.is_empty() {
        let names: Vec<String> = found.groups.iter().map(|group| group_name(&group[0], group.len())).collect();
        say!("Over time, in {clock}, each with its generation:");
        let wide = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(24);
        let header: Vec<String> = names.iter().map(|name| format!("{name:>wide$}")).collect();
        say!("  {:>9}  {}", "until", header.join("  "));
        for point in &found.curve {
            let mut runs = &point.runs[..];
            let cells = found.groups.iter().map(|group| {
                let (own, rest) = runs.split_at(group.len());
                runs = rest;
                let known: Vec<&Known> = own.iter().flatten().collect();
                format!("{:>wide$}", if known.len() == group.len() { known_text(&known) } else { "-".into() })
            });
            say!("  {:>9.1}  {}", point.seconds, cells.collect::<Vec<_>>().join("  "));
        }
    }
    found.left_out.iter().for_each(|what| say!("Left out: {what}."));
}

/// Prints the players of all groups.
fn table(found: &Comparison, basis: Basis, clock: &str) {
    let of_basis = found.differences.iter().filter(|difference| difference.basis == basis);
    let mut players: Vec<&Picked> = vec![];
    for (number, difference) in of_basis.enumerate() {
        let first = difference.first.iter().filter(|_| number == 0);
        players.extend(first.chain(&difference.second));
    }
    match basis {
        Basis::Newest => say!("The newest players, or those that are named:"),
        Basis::EqualTime => say!("The players at equal time:"),
    }
    let wide = players.iter().map(|player| player.run.chars().count()).max().unwrap_or(0).max(3);
    say!("  {:<wide$}  {:>10}  {clock:>11}  {:>8}", "run", "generation", "mistakes");
    for Picked { run, generation, seconds, mistakes } in players {
        let seconds = seconds.map_or("-".into(), |seconds| format!("{seconds:.1}"));
        let mistakes = mistakes.map_or("-".into(), |mistakes| mistakes.to_string());
        say!("  {run:<wide$}  {generation:>10}  {seconds:>11}  {mistakes:>8}");
    }
}

/// Returns the name of a group: that of its first run, with the number of seeds if there are several.
fn group_name(first: &str, runs: usize) -> String {
    if runs == 1 { first.into() } else { format!("{first} ({runs} seeds)") }
}

fn name_of(group: &[Picked]) -> String {
    group_name(&group[0].run, group.len())
}

/// Returns a difference in mistakes as a sentence.
fn in_words(more: &More, names: &[String; 2], basis: Basis, clock: &str, positions: usize) -> String {
    let [first, second] = names;
    let when = match basis {
        Basis::Newest => String::new(),
        Basis::EqualTime => format!(" after as many {clock}"),
    };
    let Interval { value, low, high } = more.difference;
    let digits = usize::from(more.method != Method::ExactMcnemar);
    // As fewer mistakes, whichever way that is.
    let (less, low, high) = (-value, -high + 0.0, -low + 0.0);
    let method = match more.method {
        Method::ExactMcnemar => "exact, by the positions in which they differ; another seed may do otherwise",
        Method::PairedSeeds => "by the differences of runs of the same seed",
        Method::Seeds => "by what runs of other seeds vary",
    };
    if value == 0.0 && low == 0.0 && high == 0.0 {
        return format!("{second} and {first} make the same mistakes{when}, in all of {positions} positions.");
    }
    let verdict = match more.difference.is_certain() {
        true if value < 0.0 => format!("{second} is better than {first}{when}"),
        true => format!("{second} is worse than {first}{when}"),
        false => format!("Neither of {first} and {second} is certain to be better{when}: {second} makes"),
    };
    let join = if more.difference.is_certain() { ": " } else { " " };
    match value <= 0.0 {
        true => format!(
            "{verdict}{join}{less:.digits$} fewer mistakes of {positions}, 95 % interval {low:.digits$} to {high:.digits$} \
             ({method})."
        ),
        false => format!(
            "{verdict}{join}{value:.digits$} more mistakes of {positions}, 95 % interval {:.digits$} to {:.digits$} \
             ({method}).",
            -high, -low
        ),
    }
}

/// Prints how much seeds matter, where that is known.
fn noise(more: &More, names: &[String; 2]) {
    for (name, deviation) in names.iter().zip(more.between_seeds) {
        if let Some(deviation) = deviation {
            say!("  Between its seeds, {name} varies by {deviation:.1} mistakes (standard deviation).");
        }
    }
    if let (Some(same), Some(any)) = (more.same_seed, more.any_seed) {
        let ratio = if same > 0.0 { format!(": {:.1} times as much", any / same) } else { String::new() };
        say!("  The difference varies by {same:.1} within a seed, and by {any:.1} between any seeds{ratio}.");
    }
}

fn match_in_words(matched: &Matched, [first, second]: &[String; 2]) -> String {
    let Matched { results: [won, drawn, lost], elo, low, high } = matched;
    format!(
        "In a match {second} has won {won}, drawn {drawn} and lost {lost} games against {first}: Elo {elo:+.0} (95 %, by the \
         games alone: {low:+.0} to {high:+.0})."
    )
}

/// Returns how good the players of a group were, on average.
fn known_text(known: &[&Known]) -> String {
    let mean = |of: fn(&Known) -> Option<f64>| -> Option<f64> {
        let all = known.iter().map(|known| of(known)).collect::<Option<Vec<f64>>>()?;
        Some(all.iter().sum::<f64>() / all.len() as f64)
    };
    let measured = match (mean(|known| known.mistakes), mean(|known| known.elo)) {
        (Some(share), _) => format!("{:.2} % mistakes", 100.0 * share),
        (None, Some(elo)) => format!("Elo {elo:+.0}"),
        (None, None) => "-".into(),
    };
    let generations = known.iter().map(|known| known.generation);
    match (generations.clone().min(), generations.max()) {
        (Some(first), Some(last)) if first < last => format!("{measured} ({first} to {last})"),
        (_, last) => format!("{measured} ({})", last.unwrap_or(0)),
    }
}
