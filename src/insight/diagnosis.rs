//! Why a player does not learn: rules over the lines of `strength.jsonl`. Each says what it has seen and what to change.

use super::{
    examiner::{FEW, mean},
    strength::{Calibration, Mistakes, Strength},
};
use crate::{
    advice::{Advice, keys_of_variety},
    games::description_of,
    text::count,
};
use lockstep_components::{Config, config::NetworkConfig};

/// A rule: returns what it has to say of the last of some lines, whose predecessors come before it, or `None`.
type Rule = fn(&Config, &[Strength]) -> Option<String>;

/// All rules by name: first what looks broken, then what has come to its end.
pub const RULES: [(&str, Rule); 7] = [
    ("inverted_value", inverted_value),
    ("harmful_search", harmful_search),
    ("few_openings", few_openings),
    ("unsteady_network", unsteady_network),
    ("small_network", small_network),
    ("lagging_network", lagging_network),
    ("search_adds_nothing", search_adds_nothing),
];

/// Returns what the rules have to say of the last of these lines, which are those of one run in their order.
pub fn diagnosis(config: &Config, lines: &[Strength]) -> Vec<Advice> {
    let apply = |(name, rule): &(&str, Rule)| Some(Advice { rule: (*name).into(), text: rule(config, lines)? });
    RULES.iter().filter_map(apply).collect()
}

/// Returns the slope of the value targets over the network's value, by its bins, and the number of standard errors that
/// it is away from 0; `None` where the value says nearly the same everywhere.
fn slope(bins: &[Calibration]) -> Option<(f64, f64)> {
    let all: f64 = bins.iter().map(|bin| bin.positions as f64).sum();
    let mean = |of: fn(&Calibration) -> f64| bins.iter().map(|bin| bin.positions as f64 * of(bin)).sum::<f64>() / all;
    let (value, result) = (mean(|bin| bin.value), mean(|bin| bin.result));
    let sum = |of: &dyn Fn(&Calibration) -> f64| bins.iter().map(|bin| bin.positions as f64 * of(bin)).sum::<f64>();
    let spread = sum(&|bin| (bin.value - value).powi(2));
    if all < 200.0 || spread / all < 0.01 {
        return None;
    }
    let slope = sum(&|bin| (bin.value - value) * (bin.result - result)) / spread;
    // The positions of one game are not independent of each other: about eight of them count as one.
    let error = (8.0 / spread).sqrt();
    Some((slope, slope / error))
}

/// Tells that positions end the worse, the better the network takes them for.
fn inverted_value(_: &Config, lines: &[Strength]) -> Option<String> {
    let last = lines.last()?;
    let (_, errors) = slope(&last.calibration)?;
    (errors < -1.5 && last.explained_variance < -0.2).then(|| {
        format!(
            "the better the network takes a position for, the worse it ends (it explains {:.0} % of the variance): the value targets \
             have the wrong sign, or are seen from the wrong side. Look at what changes the batches of learning, and at encode, \
             to_move and outcome of a game of your own",
            100.0 * last.explained_variance
        )
    })
}

/// The fewest openings that the games of a round should have between them.
const OPENINGS: f64 = 12.0;

/// Tells that nearly all games begin alike.
fn few_openings(config: &Config, lines: &[Strength]) -> Option<String> {
    let last = lines.last()?;
    let games = config.run.games;
    let openings = last.distinct_openings * games as f64;
    let is_perfect = last.graded().is_some_and(|graded| graded.mistakes == 0);
    (games >= 100 && last.opening_plies > 0 && openings < OPENINGS && !is_perfect).then(|| {
        format!(
            "the {games} games of a round begin in {openings:.0} ways (their first {} moves), so that the network sees one line of \
             play: raise {}",
            last.opening_plies,
            keys_of_variety(config)
        )
    })
}

/// Whether one number of mistakes is above another one by more than chance explains.
fn more(mistakes: &Mistakes, than: &Mistakes) -> bool {
    let [(a, n), (b, m)] =
        [mistakes, than].map(|mistakes| (mistakes.mistakes as f64, mistakes.positions.max(1) as f64));
    let share = (a + b) / (n + m);
    let error = (share * (1.0 - share) * (1.0 / n + 1.0 / m)).sqrt();
    a / n - b / m > 1.64 * error && a > b
}

/// Tells that the search plays worse than the network alone.
fn harmful_search(_: &Config, lines: &[Strength]) -> Option<String> {
    let last = lines.last()?;
    let (alone, graded) = (last.mistakes.first()?, last.graded()?);
    let (_, errors) = slope(&last.calibration).unwrap_or((0.0, 0.0));
    (graded.simulations > 0 && more(graded, alone)).then(|| {
        let why = if errors < -2.0 { "its values have the wrong sign" } else { "its values mislead it" };
        format!(
            "with {} simulations the player makes {} mistakes in {} positions, and without any {}: the search makes it worse, \
             because {why}; compare by_distance and calibration with a run that learns",
            graded.simulations, graded.mistakes, graded.positions, alone.mistakes
        )
    })
}

/// Tells that the network goes on changing its mind.
fn unsteady_network(_: &Config, lines: &[Strength]) -> Option<String> {
    let newest = &lines[lines.len().checked_sub(3)?..];
    let agreements: Vec<f64> = newest.iter().filter_map(|line| line.agreement).collect();
    let steady = agreements.iter().copied().fold(0.0, f64::max);
    (agreements.len() == 3 && newest[0].generation >= 5 && steady < 0.5).then(|| {
        format!(
            "from one measurement to the next the network prefers another move in {:.0} % of the same positions: lower \
             learn.learning_rate, or raise learn.batch_size or replay.window",
            100.0 * (1.0 - agreements[2])
        )
    })
}

/// The parameters of the blocks for each cell of the board below which a network has no room for a game. Those of all
/// recipes have several times as many.
const PARAMETERS: usize = 100;

/// Tells that the network has hardly any parameters, and the player is not perfect.
fn small_network(config: &Config, lines: &[Strength]) -> Option<String> {
    let last = lines.last()?;
    let with = |blocks| {
        let network = NetworkConfig { blocks, ..config.network.clone() };
        description_of(&Config { network, ..config.clone() })
    };
    let blocks = config.network.blocks;
    let (network, larger) = (with(blocks)?, with(blocks + 1)?);
    // What a block more adds, for all of them: heads may be large whatever the rest is.
    let parameters = blocks * (larger.parameter_count() - network.parameter_count());
    let [_, height, width] = network.input;
    let is_perfect = last.graded().is_some_and(|graded| graded.mistakes == 0);
    (parameters < PARAMETERS * height * width && !is_perfect).then(|| {
        format!(
            "the network has {} parameters below its heads for a board of {} cells, which are soon used up: begin a new run with \
             more network.channels (now {}) or network.blocks ({blocks})",
            count(parameters as f64),
            height * width,
            config.network.channels,
        )
    })
}

/// The number of lines over which a rule looks for progress, half of them against the other half.
const WINDOW: usize = 8;

/// Tells that the network has stopped to take up what the search finds.
fn lagging_network(_: &Config, lines: &[Strength]) -> Option<String> {
    let (before, after) = lines[lines.len().checked_sub(WINDOW)?..].split_at(WINDOW / 2);
    let [was, is] = [before, after].map(|lines| mean(lines, |line| line.divergence));
    // With any number of simulations: the network may gain what the search has had before.
    let mistakes = |line: &Strength| line.mistakes.iter().take(2 + FEW.len()).map(|of| of.mistakes as f64).sum::<f64>();
    let [earlier, now] = [before, after].map(|lines| mean(lines, mistakes));
    let is_better = lines.last()?.played.is_some() || now < 0.95 * earlier;
    (is > 0.25 && is > 0.95 * was && !is_better).then(|| {
        format!(
            "for {WINDOW} measurements the search has said something else than the network ({is:.2} nats), and the network does not \
             come nearer: it is too small for what the search finds (network.channels, network.blocks, in a new run), or it \
             learns too slowly (learn.steps, learn.learning_rate)"
        )
    })
}

/// Tells that the search says what the network has said before it.
fn search_adds_nothing(_: &Config, lines: &[Strength]) -> Option<String> {
    let newest = &lines[lines.len().checked_sub(3)?..];
    let most = newest.iter().map(|line| line.divergence).fold(0.0, f64::max);
    let last = newest.last()?;
    let is_perfect = last.graded().is_some_and(|graded| graded.mistakes == 0);
    let with_and_without = last.mistakes.first().zip(last.graded());
    let differs = with_and_without.is_some_and(|(alone, graded)| more(alone, graded) || more(graded, alone));
    (most < 0.05 && !is_perfect && !differs).then(|| {
        format!(
            "the search no longer changes what the network says ({most:.3} nats): more simulations or noise of this size will not \
             help. What is left are games that go elsewhere (search.temperature_plies, search.opening_plies) and a larger network \
             in a new run"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{games, settings};
    use lockstep_components::config::NetworkKind;

    fn line(generation: u64, change: impl Fn(&mut Strength)) -> Strength {
        let bin = |value, result| Calibration { value, result, positions: 300 };
        let of = |simulations, mistakes| Mistakes { simulations, positions: 240, mistakes, interval: [0.0, 1.0] };
        let mut line = Strength {
            generation,
            mistakes: vec![of(0, 60), of(10, 40), of(100, 20)],
            divergence: 0.3 / generation as f64,
            agreement: Some(0.8),
            explained_variance: 0.4,
            calibration: vec![bin(-0.7, -0.6), bin(0.0, 0.1), bin(0.7, 0.6)],
            ..Strength::default()
        };
        change(&mut line);
        line
    }

    /// Every rule speaks of the run that it is made for, and of no other one; a run that learns hears nothing.
    #[test]
    fn each_illness_has_its_rule() {
        type Change = Box<dyn Fn(&mut Strength)>;
        let ill: Vec<(&[&str], Change)> = vec![
            (&[], Box::new(|_| {})),
            (
                &["inverted_value"],
                Box::new(|line| {
                    line.calibration.iter_mut().for_each(|bin| bin.result = -bin.result);
                    line.explained_variance = -0.5;
                }),
            ),
            (&["harmful_search"], Box::new(|line| line.mistakes[2].mistakes = 90)),
            (&["few_openings"], Box::new(|line| (line.opening_plies, line.distinct_openings) = (5, 0.01))),
            (&["unsteady_network"], Box::new(|line| line.agreement = Some(0.3))),
            (&["lagging_network"], Box::new(|line| line.divergence = 0.6)),
            (
                &["search_adds_nothing"],
                Box::new(|line| {
                    line.divergence = 0.01;
                    line.mistakes.iter_mut().for_each(|of| of.mistakes = 9);
                }),
            ),
        ];
        for (expected, change) in ill {
            let lines: Vec<Strength> = (1..=12).map(|generation| line(generation, &change)).collect();
            let found = diagnosis(&Config::default(), &lines);
            let names: Vec<&str> = found.iter().map(|advice| &advice.rule[..]).collect();
            assert_eq!(names, expected, "{found:?}");
            // Nothing is said before there is enough to see, and nothing panics.
            for count in 0..lines.len() {
                diagnosis(&Config::default(), &lines[..count]);
            }
            let early = ["inverted_value", "harmful_search", "few_openings"];
            assert!(diagnosis(&Config::default(), &lines[..1]).iter().all(|advice| early.contains(&&advice.rule[..])));
        }
    }

    /// A network without room for a game is seen at once, and that of no recipe is one.
    #[test]
    fn small_networks_are_those_of_no_recipe() {
        let lines = [line(1, |_| {})];
        let found = |config: &Config| {
            let advice = diagnosis(config, &lines);
            advice.iter().map(|advice| advice.rule.clone()).collect::<Vec<_>>()
        };
        let mut config = Config::default();
        (config.game.name, config.network.kind) = ("connect_four".into(), NetworkKind::Resnet);
        (config.network.channels, config.network.blocks, config.network.head_channels) = (4, 2, 2);
        assert_eq!(found(&config), ["small_network"]);
        for (name, _) in games::recipes() {
            let config = settings::load(settings::Source::Recipe(name), &[]).unwrap();
            assert!(found(&config).is_empty(), "{name}");
        }
    }

    #[test]
    fn a_perfect_player_needs_no_advice() {
        let perfect = |line: &mut Strength| {
            line.divergence = 0.0;
            line.mistakes.iter_mut().for_each(|of| of.mistakes = 0);
        };
        let lines: Vec<Strength> = (1..=12).map(|generation| line(generation, perfect)).collect();
        assert_eq!(diagnosis(&Config::default(), &lines), []);
    }
}
