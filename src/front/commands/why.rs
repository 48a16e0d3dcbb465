use crate::{
    Error,
    cli::WhyArgs,
    data, device, display,
    insight::why::{OfRound, Question, Through, Why, why},
    say,
    text::number,
};
use serde_json::json;

/// The most lines of the table of rounds: more rounds share a line.
const LINES: usize = 16;

/// Carries out `lockstep why`.
pub fn run(args: WhyArgs) -> Result<(), Error> {
    let question = Question {
        moves: args.moves.clone(),
        about: args.about.clone(),
        simulations: args.simulations,
        device: args.device,
    };
    let bar = display::bar(0, "asking");
    let found =
        device::with_threads(args.threads, || why(&args.run, &question, |what| bar.set_message(what.to_string())));
    bar.finish_and_clear();
    let mut found = found?;
    let listed = found.games.len().saturating_sub(args.games);
    let games = found.games.split_off(listed);
    if args.json {
        let mut line = json!(found);
        line["games"] = json!(games);
        data!("{line}");
        return Ok(());
    }
    tell(&found, &games);
    Ok(())
}

/// Prints what is known of a position, and these games that came through it.
fn tell(found: &Why, games: &[Through]) {
    let after = match &found.moves[..] {
        [] => "The start of the game".into(),
        moves => format!("After {}", moves.join(" ")),
    };
    say!("{after}, the {} player to move:", found.to_move);
    let Some(about) = &found.about else {
        say!("  no checkpoint is kept, and no game of the log came through this position");
        return;
    };
    if !found.generations.is_empty() {
        let (network, search) = (format!("network: {about}"), format!("search: {about}"));
        let wide = network.chars().count().max(12);
        say!("  {:>10}  {network:>wide$}  value  {search:>wide$}  value  plays", "generation");
        for seen in &found.generations {
            let [of_network, of_search] = [seen.network, seen.search].map(|share| format!("{:.1} %", 100.0 * share));
            say!(
                "  {:>10}  {of_network:>wide$}  {:+.2}  {of_search:>wide$}  {:+.2}  {}{}",
                seen.generation,
                seen.network_value,
                seen.value,
                seen.plays,
                if seen.proven { " (proven)" } else { "" }
            );
        }
        say!("{}", since(found, about));
    }
    rounds(found, about);
    for game in games {
        let value = game.value.map_or("in the random opening".into(), |value| format!("value {value:+.2}"));
        let target = game.target.map_or(String::new(), |share| format!(", target {:.0} %", 100.0 * share));
        let result = ["won", "drawn", "lost"][(1 - game.result) as usize];
        say!(
            "  round {}, game {}, ply {}: {}, {result} ({value}{target})",
            game.round,
            game.number,
            game.ply,
            game.played
        );
    }
}

/// Returns since when the move is played, as a sentence.
fn since(found: &Why, about: &str) -> String {
    let same = match &found.same[..] {
        [] => String::new(),
        same => format!(" (or {}, which is the same mirrored or turned)", same.join(", ")),
    };
    let last = found.generations.last().map_or(0, |seen| seen.generation);
    let plays = |generation: u64| {
        let seen = found.generations.iter().find(|seen| seen.generation == generation);
        seen.map_or("", |seen| &seen.plays)
    };
    let simulations = number(found.simulations.into(), "simulation");
    match (found.since, found.until) {
        (Some(since), None) => {
            format!("With {simulations} every kept generation plays {about}{same}, from generation {since} on.")
        }
        (Some(since), Some(until)) => format!(
            "With {simulations} the kept generations play {about}{same} since generation {since}; generation {until} plays {}.",
            plays(until)
        ),
        (None, _) => format!("With {simulations} generation {last} does not play {about}{same}, but {}.", plays(last)),
    }
}

/// Prints a table of the games that came through the position, and when they were learned from.
fn rounds(found: &Why, about: &str) {
    let Some([first, last]) = found.log else {
        say!("The log has no games.");
        return;
    };
    let mut total = OfRound::default();
    found.rounds.iter().for_each(|round| total.merge(round));
    let of_log = format!("of the log, which has rounds {first} to {last}");
    if total.games == 0 {
        say!("No game {of_log}, came through this position.");
        return;
    }
    let [won, drawn, lost] = total.results;
    say!(
        "{} {of_log}, came through this position, mirrored and turned ones included: {won} won, {drawn} drawn and {lost} lost \
         for the player to move.",
        number(total.games, "game")
    );
    let played = format!("played {about}");
    let wide = played.chars().count().max(8);
    say!(
        "  {:>13}  {:>7}  {:>20}  {played:>wide$}  {:>6}  {:>6}",
        "rounds",
        "games",
        "won drawn lost",
        "value",
        "target"
    );
    for lines in found.rounds.chunks(found.rounds.len().div_ceil(LINES)) {
        let mut line = OfRound::default();
        lines.iter().for_each(|round| line.merge(round));
        let (first, last) = (lines[0].round, lines[lines.len() - 1].round);
        let name = if first == last { first.to_string() } else { format!("{first} to {last}") };
        let [won, drawn, lost] = line.results;
        let value = line.value().map_or("-".into(), |value| format!("{value:+.2}"));
        let target = line.target().map_or("-".into(), |share| format!("{:.0} %", 100.0 * share));
        let share = match line.searched {
            0 => "-".into(),
            searched => format!("{:.0} %", 100.0 * line.played as f64 / searched as f64),
        };
        let results = format!("{won} {drawn} {lost}");
        say!("  {name:>13}  {:>7}  {results:>20}  {share:>wide$}  {value:>6}  {target:>6}", line.games);
    }
    let span = |[from, to]: &[u64; 2]| if from == to { from.to_string() } else { format!("{from} to {to}") };
    let spans: Vec<String> = found.learned.iter().map(span).collect();
    match (&spans[..], found.forgotten) {
        ([], _) => say!("No generation has learned from it."),
        (spans, Some(forgotten)) => say!(
            "It was in the replay window of the generations {}, and was forgotten with generation {forgotten}, the first one \
             without it.",
            spans.join(", ")
        ),
        (spans, None) => {
            say!("It was in the replay window of the generations {}, and still is.", spans.join(", "))
        }
    }
}
