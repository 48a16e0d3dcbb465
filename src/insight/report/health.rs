//! How a run goes, in words for somebody who does not know it.

use crate::{
    insight::strength::{Mistakes, Strength},
    metrics::Metrics,
};
use serde::Serialize;

/// How a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing can be said yet.
    Early,
    /// Nothing looks wrong.
    Good,
    /// Something should be looked at.
    Watch,
    /// Something is broken.
    Broken,
}

/// How a run goes, and why that is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// How the run goes.
    pub level: Level,
    /// The reasons, in sentences, most important first.
    pub reasons: Vec<String>,
}

/// Rules of the advice that say that something is broken.
const BROKEN: [&str; 6] =
    ["equal_games", "skipped_steps", "nothing_recorded", "collapsed_policy", "inverted_value", "harmful_search"];
/// Rules of the advice that ask for a look. All others are about speed, which harms nothing.
const WATCH: [&str; 9] = [
    "drawn_games",
    "slow_learning",
    "memory_nearly_full",
    "device_memory_nearly_full",
    "few_openings",
    "unsteady_network",
    "small_network",
    "lagging_network",
    "search_adds_nothing",
];
/// What a perfect player of a small game does as well: it plays the same drawn games again and learns nothing more.
const PERFECT: [&str; 4] = ["equal_games", "collapsed_policy", "drawn_games", "slow_learning"];

/// The number of generations before which nothing can be said.
const EARLY: usize = 3;
/// The generation before which a network need not have learned anything.
const LEARNED: u64 = 10;

impl Health {
    /// Returns how a run with these metrics and these measurements of its strength goes, each in the order of the
    /// generations. The mistakes with `simulations` simulations are its strength.
    pub fn of(metrics: &[Metrics], strength: &[Strength], simulations: u32) -> Self {
        let Some(last) = metrics.last() else {
            return Self { level: Level::Early, reasons: vec!["No generation has ended yet.".into()] };
        };
        let perfect = strength
            .last()
            .is_some_and(|line| line.mistakes.last().is_some_and(|most| most.positions > 0 && most.mistakes == 0));
        let mut found: Vec<(Level, String)> = vec![];
        let measured = strength.last().map_or(&[][..], |line| &line.advice);
        for advice in last.advice.iter().chain(measured) {
            let rule = advice.rule.as_str();
            let level = match rule {
                _ if perfect && PERFECT.contains(&rule) => continue,
                _ if BROKEN.contains(&rule) => Level::Broken,
                _ if WATCH.contains(&rule) => Level::Watch,
                _ => continue,
            };
            found.push((level, sentence(&advice.text)));
        }
        found.extend(weaker(strength, simulations).map(|text| (Level::Watch, text)));
        found.extend(strength.last().into_iter().flat_map(learned).map(|text| (Level::Watch, text)));
        found.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
        let level = match found.first() {
            Some((level, _)) => *level,
            None if metrics.len() < EARLY => Level::Early,
            None => Level::Good,
        };
        let mut reasons: Vec<String> = found.into_iter().map(|(_, text)| text).collect();
        reasons.extend(progress(metrics, strength, simulations));
        if level == Level::Good && !last.advice.is_empty() {
            reasons.push("There is advice that would make it faster, or that a perfect player may ignore.".into());
        }
        Self { level, reasons }
    }
}

/// Returns the share of mistakes in percent.
fn percent(mistakes: &Mistakes) -> f64 {
    100.0 * mistakes.mistakes as f64 / mistakes.positions as f64
}

/// Says if the player has become weaker than it was, beyond chance.
fn weaker(strength: &[Strength], simulations: u32) -> Option<String> {
    let (now, before) = strength.split_last()?;
    if let Some(now) = now.with(simulations) {
        let best = before.iter().filter_map(|line| Some((line.generation, line.with(simulations)?)));
        let (generation, best) = best.min_by(|a, b| a.1.interval[1].total_cmp(&b.1.interval[1]))?;
        return (now.interval[0] > best.interval[1]).then(|| {
            let [now, then] = [now, best].map(percent);
            format!("It errs more often than in generation {generation}: in {now:.1} % of the positions, then in {then:.1} %.")
        });
    }
    let elo = now.played.as_ref()?;
    let best = before.iter().filter_map(|line| Some((line.generation, line.played.as_ref()?)));
    let (generation, best) = best.max_by(|a, b| a.1.interval[0].total_cmp(&b.1.interval[0]))?;
    (elo.interval[1] < best.interval[0])
        .then(|| format!("It plays weaker than in generation {generation}: {:.0} Elo, then {:.0}.", elo.elo, best.elo))
}

/// Says what a network that has been trained for a while should have learned and has not.
fn learned(line: &Strength) -> Vec<String> {
    if line.generation < LEARNED {
        return vec![];
    }
    let mut found = vec![];
    if line.explained_variance <= 0.0 {
        found.push("The network's value explains nothing of the results of new games.".into());
    }
    if line.relative_entropy > 0.98 {
        found.push("The network's policy is hardly different from equal chances for all moves.".into());
    }
    found
}

/// Says what has become better since the beginning.
fn progress(metrics: &[Metrics], strength: &[Strength], simulations: u32) -> Option<String> {
    let share = |line: &Strength| line.with(simulations).map(percent);
    if let [first, .., last] = strength {
        if let (Some(from), Some(to)) = (share(first), share(last)) {
            let (then, now) = (first.generation, last.generation);
            return Some(match to < from {
                true => format!("Mistakes have fallen from {from:.1} % in generation {then} to {to:.1} % in {now}."),
                false => format!("Mistakes were {from:.1} % in generation {then} and are {to:.1} % in {now}."),
            });
        }
        if let (Some(from), Some(to)) = (&first.played, &last.played) {
            let (then, now) = (first.generation, last.generation);
            return Some(format!(
                "Its strength was {:.0} Elo in generation {then} and is {:.0} Elo in {now}.",
                from.elo, to.elo
            ));
        }
    }
    let (first, last) = (metrics.first()?, metrics.last()?);
    let [from, to] = [first, last].map(|line| (line.policy_loss - line.policy_floor).max(0.0));
    (metrics.len() >= EARLY).then(|| {
        format!(
            "The policy loss was {from:.2} nats above its floor in generation {} and is {to:.2} nats above it in {}.",
            first.generation, last.generation
        )
    })
}

/// Returns a text as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::Advice;

    fn graded(generation: u64, mistakes: u64, interval: [f64; 2]) -> Strength {
        let mistakes = vec![Mistakes { simulations: 64, positions: 100, mistakes, interval }];
        Strength { generation, mistakes, explained_variance: 0.5, relative_entropy: 0.5, ..Strength::default() }
    }

    fn made(generations: u64, advice: &[&str]) -> Vec<Metrics> {
        let mut metrics: Vec<Metrics> =
            (1..=generations).map(|generation| Metrics { generation, ..Metrics::default() }).collect();
        let said = advice.iter().map(|rule| Advice { rule: (*rule).into(), text: format!("says {rule}") });
        metrics.last_mut().unwrap().advice = said.collect();
        metrics
    }

    #[test]
    fn what_is_broken_comes_before_what_is_slow_and_a_perfect_player_is_no_broken_one() {
        let level = |metrics: &[Metrics], strength: &[Strength]| Health::of(metrics, strength, 64).level;
        assert_eq!(level(&[], &[]), Level::Early);
        assert_eq!(level(&made(2, &[]), &[]), Level::Early);
        assert_eq!(level(&made(5, &[]), &[]), Level::Good);
        assert_eq!(level(&made(5, &["slow_network"]), &[]), Level::Good);
        let broken = Health::of(&made(1, &["slow_learning", "equal_games"]), &[], 64);
        assert_eq!((broken.level, &*broken.reasons[0]), (Level::Broken, "Says equal_games."));
        let perfect = graded(5, 0, [0.0, 0.04]);
        assert_eq!(level(&made(5, &["slow_learning", "equal_games"]), &[perfect]), Level::Good);
    }

    #[test]
    fn a_player_that_has_become_weaker_beyond_chance_is_to_be_looked_at() {
        let strong = graded(5, 10, [0.06, 0.17]);
        let weaker = graded(9, 40, [0.31, 0.5]);
        let same = graded(9, 14, [0.09, 0.22]);
        let metrics = made(9, &[]);
        assert_eq!(Health::of(&metrics, &[strong.clone(), same], 64).level, Level::Good);
        let health = Health::of(&metrics, &[strong, weaker], 64);
        assert_eq!(health.level, Level::Watch);
        assert!(health.reasons[0].contains("than in generation 5: in 40.0 %"), "{health:?}");
    }
}
