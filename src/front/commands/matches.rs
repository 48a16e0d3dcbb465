use crate::{
    Error,
    analyst::Player,
    checkpoint,
    cli::MatchArgs,
    device, display,
    elo::{Duel, Elo, Hypothesis, Sprt, ladder},
    folder::Folder,
    matches::{Match, Score},
    relief::with_fewer_lanes,
    say, settings,
};
use lockstep_components::{
    Config, Game,
    config::{GameConfig, LanesConfig, SearchConfig},
    games::GameVisitor,
};
use lockstep_systems::{Player as Searcher, Rollouts, Uniform};
use serde_json::json;
use std::path::Path;

/// `lockstep match`
pub fn run(args: MatchArgs) -> Result<(), Error> {
    let (sides, labels) = match (&args.ladder, &args.run) {
        (true, Some(run)) => {
            let generations = checkpoint::generations(&Folder::of_run(run)?)?;
            if generations.len() < 2 {
                let message = "a ladder needs two checkpoints; this run keeps run.checkpoints of them, \
                               one every run.checkpoint_every generations";
                return Err(Error::Run { path: run.clone(), message: message.into() });
            }
            let names = generations.iter().map(|generation| format!("{}@{generation}", run.display()));
            let labels = generations.iter().map(|generation| format!("generation {generation}")).collect();
            (names.map(|name| Side::of(&name, &args, &[])).collect::<Result<Vec<_>, _>>()?, labels)
        }
        (true, None) => return Err(Error::Usage("name the run whose generations are to play with --run DIR".into())),
        (false, _) => {
            let [a, b] = &args.players[..] else {
                let message = "name two players: a run folder, one with a generation (runs/connect_four@100), \
                               uniform, or rollout; or a run with --run DIR --ladder";
                return Err(Error::Usage(message.into()));
            };
            let sides = vec![Side::of(a, &args, &args.a_set)?, Side::of(b, &args, &args.b_set)?];
            (sides, vec![a.clone(), b.clone()])
        }
    };
    let mut games = sides.iter().filter_map(|side| Some(side.player.as_ref()?.config.game.clone()));
    let game = match (games.next(), &args.game) {
        (Some(game), Some(name)) if game.name != *name => {
            return Err(Error::Usage(format!("--game {name}: a player of a run of {game} is named")));
        }
        (Some(game), _) => game,
        (None, Some(name)) => GameConfig { name: name.clone(), ..GameConfig::default() },
        (None, None) => {
            return Err(Error::Usage("name the game with --game: neither player is of a run".into()));
        }
    };
    if let Some(other) = games.find(|other| *other != game) {
        return Err(Error::Usage(format!("one of them plays {game}, the other {other}")));
    }
    let name = game.name.clone();
    device::with_threads(args.threads, || super::with_game(&name, Play { sides, labels, game, args }))
}

/// A player as it was named.
struct Side {
    /// Of a run; without one it knows nothing.
    player: Option<Player>,
    rollouts: bool,
    search: SearchConfig,
}

impl Side {
    fn of(name: &str, args: &MatchArgs, set: &[String]) -> Result<Self, Error> {
        let player = match name {
            "uniform" | "rollout" => None,
            run => {
                // A path may have an @ of its own.
                let (path, generation) = match run.rsplit_once('@').filter(|_| !Path::new(run).exists()) {
                    None => (run, None),
                    Some((path, number)) => match number.parse() {
                        Ok(generation) => (path, Some(generation)),
                        Err(_) => {
                            let message = format!("'{run}': behind the @ stands the number of a generation");
                            return Err(Error::Usage(message));
                        }
                    },
                };
                Some(Player::open(Path::new(path), generation)?.on(args.device))
            }
        };
        let config = player.as_ref().map_or_else(Config::default, |player| player.config.clone());
        Ok(Self { search: to_win(config, args.simulations, set)?, player, rollouts: name == "rollout" })
    }

    fn searcher<G: Game>(&self, rows: usize) -> Result<Searcher<G>, Error> {
        let search = self.search.clone();
        Ok(match &self.player {
            Some(player) => Searcher::new(player.evaluator::<G>(&player.place()?, rows)?, search),
            None if self.rollouts => Searcher::new(Rollouts::<G>::new(1, 1), search),
            None => Searcher::new(Uniform::default(), search),
        })
    }
}

/// The search of a configuration without anything that makes games differ, but for what is set.
fn to_win(config: Config, simulations: Option<u32>, set: &[String]) -> Result<SearchConfig, Error> {
    let key_of = |text: &String| text.split_once('=').map_or("", |(key, _)| key.trim()).to_string();
    if let Some(text) = set.iter().find(|text| !key_of(text).starts_with("search.")) {
        let message = "only keys of [search] can be set for a player: search.key=value".into();
        return Err(Error::Config { origin: format!("'{text}'"), message });
    }
    let simulations = simulations.unwrap_or(config.run.grade_simulations);
    let with = |config: &Config| settings::parse(&settings::to_text(config), "the player's settings", set);
    // Those of training have no part in it, and may not fit what is set.
    let search = SearchConfig { fast_simulations: 0, ..config.search };
    let config = Config { search, ..config };
    // What is set may name another policy, which comes with its own chance: that goes, and what is set counts once more.
    let chosen = with(&config)?;
    Ok(with(&Config { search: chosen.search.to_win(simulations), ..chosen })?.search)
}

struct Play {
    sides: Vec<Side>,
    labels: Vec<String>,
    game: GameConfig,
    args: MatchArgs,
}

impl GameVisitor for Play {
    type Output = Result<(), Error>;

    fn visit<G: Game>(self) -> Result<(), Error> {
        let Self { sides, labels, game, args } = self;
        let start = Config { game, ..Config::default() }.start::<G>();
        let most = (G::MAX_PLIES - 1) as u32;
        let opening_plies = args.opening_plies.unwrap_or((G::MAX_PLIES as u32 / 4).min(6));
        if opening_plies > most {
            let message = format!("--opening-plies {opening_plies}: from 0 to {most} in {}", G::TITLE);
            return Err(Error::Usage(message));
        }
        let sprt = args.sprt.as_ref().map(|bounds| Sprt { elo0: bounds[0], elo1: bounds[1], alpha: 0.05, beta: 0.05 });
        if let Some(Sprt { elo0, elo1, .. }) = sprt.filter(|s| !(s.elo0 < s.elo1 && s.elo0 > -4e3 && s.elo1 < 4e3)) {
            return Err(Error::Usage(format!("--sprt {elo0} {elo1}: the first must be below the second, within 4000")));
        }
        let game = Match { pairs: args.pairs, opening_plies, seed: args.seed, leaves: args.leaves, sprt };
        let mut duels = vec![];
        for a in 0..sides.len() {
            for b in a + 1..sides.len() {
                let settings = [&sides[a].search, &sides[b].search];
                let lanes = game.lanes::<G>(settings);
                let score = with_fewer_lanes(lanes.count, |count| {
                    let rows = (count * args.leaves) as usize;
                    let players =
                        [(sides[a].searcher::<G>(rows)?, settings[0]), (sides[b].searcher::<G>(rows)?, settings[1])];
                    let bar = display::bar(args.pairs, "pairs");
                    let lanes = LanesConfig { count, ..lanes.clone() };
                    let score = game.play(start.clone(), players, lanes, |pairs| bar.set_position(pairs));
                    bar.finish_and_clear();
                    score
                })?;
                if args.json {
                    say!("{}", line(&game, [&labels[a], &labels[b]], settings, &score));
                } else {
                    tell_score(&game, [&labels[a], &labels[b]], settings, &score);
                }
                duels.push(Duel { a, b, pairs: score.pairs });
            }
        }
        if args.ladder {
            let ratings = ladder(&duels, sides.len());
            for (label, Elo { value, low, high }) in labels.iter().zip(&ratings) {
                if args.json {
                    say!("{}", json!({ "player": label, "elo": value, "low": low, "high": high }));
                } else {
                    say!("  {label:<20} {value:>+7.0}   95 %: {low:+.0} to {high:+.0}");
                }
            }
        }
        Ok(())
    }
}

fn policy(search: &SearchConfig) -> String {
    let simulations = crate::out::number(search.simulations.into(), "simulation");
    format!("{}, {simulations}", json!(search.policy).as_str().unwrap_or_default())
}

fn tell_score(game: &Match, names: [&str; 2], settings: [&SearchConfig; 2], score: &Score) {
    let Score { pairs, results: [won, drawn, lost], repeated, verdict } = score;
    let Elo { value, low, high } = pairs.elo();
    say!("{} ({}) against {} ({}):", names[0], policy(settings[0]), names[1], policy(settings[1]));
    say!(
        "  {}, each opening of {} from both sides: {won} won, {drawn} drawn, {lost} lost, {:.1} %",
        crate::out::number(pairs.games(), "game"),
        crate::out::number(game.opening_plies.into(), "random move"),
        100.0 * pairs.score(),
    );
    say!("  Elo {value:+.0} (95 %: {low:+.0} to {high:+.0})");
    if *repeated > 0 {
        say!(
            "  {repeated} more games repeat earlier ones move by move, say nothing new and do not count; raise --opening-plies"
        );
    }
    if let Some(sprt) = &game.sprt {
        let Sprt { elo0, elo1, .. } = sprt;
        let verdict = match verdict {
            Some(Hypothesis::H0) => format!("{elo0:+} Elo rather than {elo1:+}"),
            Some(Hypothesis::H1) => format!("{elo1:+} Elo rather than {elo0:+}"),
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
        "elo": value,
        "elo_low": low,
        "elo_high": high,
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
            to_win(config, Some(30), &set.iter().map(|s| s.to_string()).collect::<Vec<_>>())
        };
        let plain = set(&[]).unwrap();
        assert_eq!((plain.simulations, plain.noise_share, plain.temperature), (30, 0.0, 0.0));
        let noisy = set(&["search.noise_share=0.25", "search.simulations=12"]).unwrap();
        assert_eq!((noisy.simulations, noisy.noise_share, noisy.temperature), (12, 0.25, 0.0));
        let gumbel = set(&["search.policy=gumbel"]).unwrap();
        assert_eq!((gumbel.policy, gumbel.gumbel_scale), (PolicyKind::Gumbel, 0.0));
        assert_eq!(set(&["search.policy=gumbel", "search.gumbel_scale=0.5"]).unwrap().gumbel_scale, 0.5);
        assert!(set(&["lanes.count=3"]).unwrap_err().to_string().contains("only keys of [search]"));
        assert!(set(&["search.simulatons=3"]).unwrap_err().to_string().contains("did you mean"));
    }
}
