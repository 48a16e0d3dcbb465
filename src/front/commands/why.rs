use crate::{
    Error,
    cli::WhyArgs,
    data, device, display,
    insight::why::{OfRound, Question, Why, why},
    say,
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
        games: args.games,
    };
    let bar = display::bar(0, "asking");
    let progress = |what: &str| {
        bar.set_message(what.to_string());
        true
    };
    let found = device::with_threads(args.threads, || why(&args.run, &question, progress));
    bar.finish_and_clear();
    let found = found?.expect("nobody has stopped it");
    if args.json {
        data!("{}", json!(found));
    } else {
        tell(&found);
    }
    Ok(())
}

/// Prints what is known of a position.
fn tell(found: &Why) {
    let after = match &found.moves[..] {
        [] => "The start of the game".into(),
        moves => format!("After {}", moves.join(" ")),
    };
    say!("{after}, the {} player to move:", found.to_move);
    let about = found.about.as_deref().unwrap_or_default();
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
    }
    rounds(&found.rounds, about);
    found.sentences().iter().for_each(|sentence| say!("{sentence}"));
    for game in &found.games {
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

/// Prints a table of the games that came through the position.
fn rounds(rounds: &[OfRound], about: &str) {
    if rounds.is_empty() {
        return;
    }
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
    for lines in rounds.chunks(rounds.len().div_ceil(LINES)) {
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
}
