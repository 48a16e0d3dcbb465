use crate::{
    Error,
    analyst::{Contender, Untrained},
    checkpoint,
    cli::MatchArgs,
    data, device, display,
    elo::{Duel, Elo, Hypothesis, Sprt, ladder},
    folder::Folder,
    matches::{Match, Score},
    say, settings,
    text::{json_number, number},
};
use lockstep_components::{
    Config,
    config::{GameConfig, RunConfig, SearchConfig},
};
use serde_json::json;
use std::path::PathBuf;

/// Carries out `lockstep match`.
pub fn run(args: MatchArgs) -> Result<(), Error> {
    let (names, labels): (Vec<PathBuf>, Vec<String>) = match (&args.ladder, &args.run) {
        (true, Some(run)) => {
            let generations = checkpoint::generations(&Folder::of_run(run)?)?;
            if generations.len() < 2 {
                let message = "a ladder needs two checkpoints, and one is written every run.checkpoint_every generations \
                               and at the end";
                return Err(Error::Run { path: run.clone(), message: message.into() });
            }
            let name = |generation: &u64| {
                let mut name = run.clone().into_os_string();
                name.push(format!("@{generation}"));
                (name.into(), format!("generation {generation}"))
            };
            generations.iter().map(name).unzip()
        }
        (true, None) => return Err(Error::Usage("name the run whose generations are to play with --run DIR".into())),
        (false, _) if args.players.len() != 2 => {
            let message = "name two players: a run folder, one with a generation (runs/connect_four@100), \
                           uniform, or rollout; or a run with --run DIR --ladder";
            return Err(Error::Usage(message.into()));
        }
        (false, _) => args.players.iter().map(|name| (name.clone(), name.display().to_string())).unzip(),
    };
    let trained = |name: &PathBuf| match Untrained::named(name) {
        None => Contender::trained(name, args.device).map(Some),
        Some(_) => Ok(None),
    };
    let trained = names.iter().map(trained).collect::<Result<Vec<_>, _>>()?;
    let mut games = trained.iter().flatten().map(|side| side.rules.clone());
    let rules = match (games.next(), &args.game) {
        (Some(game), Some(name)) if game.name != *name => {
            return Err(Error::Usage(format!("--game {name}: a player of a run of {game} is named")));
        }
        (Some(game), _) => game,
        (None, Some(name)) => GameConfig { name: name.clone(), ..GameConfig::default() },
        (None, None) => {
            return Err(Error::Usage("name the game with --game: neither player is of a run".into()));
        }
    };
    if let Some(other) = games.find(|other| *other != rules) {
        return Err(Error::Usage(format!("one of them plays {rules}, the other {other}")));
    }
    let own = trained.iter().flatten().filter_map(|side| Some(side.player()?.config.run.grade_simulations)).max();
    let simulations = args.simulations.or(own).unwrap_or(RunConfig::default().grade_simulations);
    let mut sides = vec![];
    for (number, (side, name)) in trained.into_iter().zip(&names).enumerate() {
        let untrained = || Contender::untrained(Untrained::named(name).unwrap_or(Untrained::Uniform), rules.clone());
        let mut side = side.map_or_else(untrained, Ok)?;
        // In a ladder nothing is set.
        let (option, set) = if number == 0 { ("--a-set", &args.a_set) } else { ("--b-set", &args.b_set) };
        let config = side.player().map_or_else(Config::default, |player| player.config.clone());
        side.search = to_win(config, simulations, option, set)?;
        sides.push(side);
    }
    device::with_threads(args.threads, || play(&sides, &labels, &args))
}

/// Returns the search of a configuration with so many simulations and without anything that makes games differ, but for
/// what is set.
fn to_win(config: Config, simulations: u32, option: &str, set: &[String]) -> Result<SearchConfig, Error> {
    for text in set {
        let message = match settings::key_of(text) {
            "search.opening_plies" => "both games of a pair have the same opening: give --opening-plies in its place",
            key if key.starts_with("search.") => continue,
            _ => "only keys of [search] can be set for a player: search.key=value",
        };
        return Err(Error::Config { origin: format!("{option} {text}"), message: message.into() });
    }
    let search = config.search.to_win(simulations);
    Ok(settings::with_overrides(&Config { search, ..config }, option, set)?.search)
}

/// Plays each of the sides against each other one, and prints the scores.
fn play(sides: &[Contender], labels: &[String], args: &MatchArgs) -> Result<(), Error> {
    let game = sides[0].game;
    let most = (game.info.max_plies - 1) as u32;
    let opening_plies = args.opening_plies.unwrap_or((game.info.max_plies as u32 / 4).min(6));
    if opening_plies > most {
        let message = format!("--opening-plies {opening_plies}: from 0 to {most} in {}", game.info.title);
        return Err(Error::Usage(message));
    }
    let sprt = args.sprt.as_ref().map(|bounds| Sprt { elo0: bounds[0], elo1: bounds[1], alpha: 0.05, beta: 0.05 });
    if let Some(Sprt { elo0, elo1, .. }) = sprt.filter(|s| !(s.elo0 < s.elo1 && s.elo0 > -4e3 && s.elo1 < 4e3)) {
        return Err(Error::Usage(format!("--sprt {elo0} {elo1}: the first must be below the second, within 4000")));
    }
    let matched = Match { pairs: args.pairs, opening_plies, seed: args.seed, leaves: args.leaves, sprt };
    let mut duels = vec![];
    for a in 0..sides.len() {
        for b in a + 1..sides.len() {
            let settings = [&sides[a].search, &sides[b].search];
            let bar = display::bar(args.pairs, "pairs");
            let score = matched.between([&sides[a], &sides[b]], |pairs| bar.set_position(pairs));
            bar.finish_and_clear();
            let score = score?;
            if args.json {
                data!("{}", line(&matched, [&labels[a], &labels[b]], settings, &score));
            } else {
                tell_score(&matched, [&labels[a], &labels[b]], settings, &score, most);
            }
            duels.push(Duel { a, b, pairs: score.pairs });
        }
    }
    if args.ladder {
        let ratings = ladder(&duels, sides.len());
        for (label, Elo { value, low, high }) in labels.iter().zip(&ratings) {
            if args.json {
                data!("{}", json!({ "player": label, "elo": value, "low": low, "high": high }));
            } else {
                say!("  {label:<20} {value:>+7.0}   95 %: {low:+.0} to {high:+.0}");
            }
        }
    }
    Ok(())
}

fn policy(search: &SearchConfig) -> String {
    let simulations = number(search.simulations.into(), "simulation");
    format!("{}, {simulations}", json!(search.policy).as_str().unwrap_or_default())
}

/// Prints the score of a match for people. `most` is the number of plies of the longest opening of the game.
fn tell_score(game: &Match, names: [&str; 2], settings: [&SearchConfig; 2], score: &Score, most: u32) {
    let Score { pairs, results: [won, drawn, lost], repeated, verdict } = score;
    let Elo { value, low, high } = pairs.elo();
    say!("{} ({}) against {} ({}):", names[0], policy(settings[0]), names[1], policy(settings[1]));
    say!(
        "  {}, each opening of {} from both sides: {won} won, {drawn} drawn, {lost} lost, {:.1} %",
        number(pairs.games(), "game"),
        number(game.opening_plies.into(), "random move"),
        100.0 * pairs.score(),
    );
    say!("  Elo {value:+.0} (95 %: {low:+.0} to {high:+.0})");
    // The longest openings leave few positions.
    let other = if game.opening_plies < most { "raise --opening-plies" } else { "lower --opening-plies" };
    if *repeated > 0 {
        let advice = match score.has_used_up_openings() {
            true => {
                let plies = game.opening_plies;
                format!("few other openings of {plies} moves are left: {other} in place of more --pairs")
            }
            false => format!("{other} to have fewer of them"),
        };
        say!(
            "  {repeated} more games begin where earlier ones did, mirrored or not, say nothing new and do not count; \
             {advice}"
        );
    }
    if let Some(sprt) = &game.sprt {
        let Sprt { elo0, elo1, .. } = sprt;
        let verdict = match verdict {
            Some(Hypothesis::H0) => format!("{elo0:+} Elo rather than {elo1:+}"),
            Some(Hypothesis::H1) => format!("{elo1:+} Elo rather than {elo0:+}"),
            None if score.has_used_up_openings() => format!("undecided; {other}"),
            None => "undecided; give it more --pairs".into(),
        };
        let (lower, upper) = sprt.bounds();
        say!("  sequential test: {verdict} (log-likelihood ratio {:.2} in {lower:.2} to {upper:.2})", sprt.llr(pairs));
    }
}

fn line(game: &Match, names: [&str; 2], settings: [&SearchConfig; 2], score: &Score) -> serde_json::Value {
    let Elo { value, low, high } = score.pairs.elo();
    json!({
        "a": names[0],
        "b": names[1],
        "policies": settings.map(|settings| settings.policy),
        "simulations": settings.map(|settings| settings.simulations),
        "opening_plies": game.opening_plies,
        "seed": game.seed,
        "games": score.pairs.games(),
        "won_drawn_lost": score.results,
        "pairs": score.pairs.counts,
        "score": score.pairs.score(),
        "elo": json_number(value),
        "elo_low": json_number(low),
        "elo_high": json_number(high),
        "repeated": score.repeated,
        "llr": game.sprt.map(|sprt| sprt.llr(&score.pairs)),
        "verdict": score.verdict.map(|verdict| format!("{verdict:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_components::config::PolicyKind;

    #[test]
    fn players_search_to_win_unless_they_are_told_otherwise() {
        let set = |set: &[&str]| {
            let mut config = Config::default();
            config.search.noise_share = 0.5;
            to_win(config, 30, "--b-set", &set.iter().map(|s| s.to_string()).collect::<Vec<_>>())
        };
        let plain = set(&[]).unwrap();
        assert_eq!((plain.simulations, plain.noise_share, plain.temperature), (30, 0.0, 0.0));
        let noisy = set(&["search.noise_share=0.25", "search.simulations=12"]).unwrap();
        assert_eq!((noisy.simulations, noisy.noise_share, noisy.temperature), (12, 0.25, 0.0));
        let gumbel = set(&["search.policy=gumbel"]).unwrap();
        assert_eq!((gumbel.policy, gumbel.gumbel_scale), (PolicyKind::Gumbel, 0.0));
        let drawn = set(&["search.policy=gumbel", "search.gumbel_scale=0.5"]).unwrap();
        assert_eq!(drawn.gumbel_scale, 0.5);
        let deterministic = [&plain, &noisy, &gumbel, &drawn].map(SearchConfig::is_deterministic);
        assert_eq!(deterministic, [true, false, true, false]);
        for (text, word) in [
            ("lanes.count=3", "only keys of [search]"),
            ("search.simulatons=3", "did you mean"),
            ("search.opening_plies=3", "--opening-plies"),
            ("search.gumbel_scale=0.5", "search.policy"),
            ("search.c_puct=-1", "out of range"),
        ] {
            let message = set(&[text]).unwrap_err().to_string();
            assert!(message.starts_with(&format!("--b-set {text}: ")) && message.contains(word), "{message}");
        }
    }
}
