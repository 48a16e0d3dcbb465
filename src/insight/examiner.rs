//! Measuring the player of a run while it trains, within a share of the time: what becomes a line of `strength.jsonl`.
//!
//! Nothing here is read by the run: it has worlds, evaluators and random numbers of its own.

use super::diagnosis::diagnosis;
use super::strength::{Calibration, Losses, Mistakes, Played, Searched, Strength, ValueError, wilson};
use crate::{
    Error,
    analyst::{Analyst, Evaluated, evaluate},
    checkpoint,
    device::Place,
    elo::Elo,
    folder::{Folder, write_file},
    log::Log,
    matches::Match,
    memory::{Footprint, MemoryBound},
    metrics::{self, Metrics},
    oracle::{self, Labelled},
    source::GameSource,
    trainer::Trainer,
};
use lockstep_components::{
    Action, Config, GameRecord, State,
    config::{LanesConfig, SearchConfig},
};
use lockstep_systems::{Answer, AnyGame, EVALUATING, Network, Searcher};
use std::{cell::OnceCell, collections::HashSet, fs, time::Instant};

/// The most positions with known results that are searched for a line.
const LABELLED: usize = 240;
/// The most of them that are searched with [`DEEP`] simulations.
const DEEPLY_LABELLED: usize = 80;
/// The number of positions of the run's own games that stay the same from line to line.
const FROZEN: usize = 64;
/// The most positions of new games in which policy and value are compared with what came.
const EXAMPLES: usize = 2_000;
/// The simulations of the deepest search, and how many lines there are for one that has it.
const DEEP: u32 = 800;
const LINES_FOR_A_DEEP_ONE: usize = 8;
/// The numbers of simulations, beside those of the run, with which the player is measured.
pub(super) const FEW: [u32; 1] = [10];
/// The lanes of all searches.
const LANES: u32 = 32;
/// The most rows of a batch without a search.
const ROWS: usize = 256;
/// The pairs of games of a short match, and the random moves that open each.
const PAIRS: u64 = 16;
const OPENING: u32 = 4;
/// The score of a match from which on later generations play against the one that has won it.
const OUTGROWN: f64 = 0.75;
/// The first lines come early, so that what is wrong shows at once: as many as these may together take this share of the
/// time so far, whatever the share of all lines is.
const EARLY: (usize, f64) = (3, 0.2);

/// Measures the generations of a run.
pub struct Examiner {
    game: AnyGame,
    folder: Folder,
    place: Place,
    start: State,
    /// Positions with known results: made when the first line is considered, because a run may measure nothing.
    labelled: OnceCell<Vec<Labelled>>,
    lines: Vec<Strength>,
    /// Games, positions and CPU seconds of the run so far.
    so_far: (u64, u64, f64),
    /// The round whose games the frozen positions come from, and the positions.
    frozen: (u64, Vec<State>),
    /// The moves that the network of the last line prefers in the frozen positions.
    preferred: Vec<Action>,
    /// The network before the generation that is next: it has not learned from the games of that generation's round.
    before: Network,
}

impl Examiner {
    /// Returns the examiner of a run that stands in this folder. Lines of generations that the run makes again are
    /// dropped.
    ///
    /// # Errors
    /// When a file of the folder cannot be read or written.
    pub fn open<S: GameSource>(
        game: AnyGame,
        config: &Config,
        place: &Place,
        folder: &Folder,
        run: &Trainer<S>,
    ) -> Result<Self, Error> {
        let all = Strength::load(folder)?;
        let known = all.len();
        let lines: Vec<Strength> = all.into_iter().filter(|line| line.generation <= run.generation()).collect();
        if lines.len() < known {
            let text: String =
                lines.iter().map(|line| serde_json::to_string(line).expect("plain data") + "\n").collect();
            write_file(&folder.strength(), text.as_bytes())?;
        }
        // A generation that is made again may become another one.
        for anchor in anchors(folder).into_iter().filter(|&anchor| anchor > run.generation()) {
            let path = folder.anchor(anchor);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        let mut examiner = Self {
            game,
            folder: folder.clone(),
            place: place.clone(),
            start: game.start_of(config),
            labelled: OnceCell::new(),
            lines,
            so_far: (0, 0, 0.0),
            frozen: (0, vec![]),
            preferred: vec![],
            before: run.network().snapshot(),
        };
        metrics::load(&folder.metrics())?.iter().for_each(|metrics| examiner.count(metrics));
        Ok(examiner)
    }

    /// Returns the memory that measuring takes at most, beside the program.
    pub fn bound(game: AnyGame, config: &Config, place: &Place) -> MemoryBound {
        let simulations = simulations(config).into_iter().chain([DEEP]).max().unwrap_or(DEEP);
        let search = search(config, simulations);
        let rows = Footprint::of(game, &config.network, place, ROWS);
        MemoryBound::of_searches(game, &[&search, &search], &lanes(), &[rows, rows])
    }

    /// Returns the lines so far, oldest first.
    pub fn lines(&self) -> &[Strength] {
        &self.lines
    }

    /// Takes note of a generation that has ended, and measures it if the share of the time allows that: returns the line
    /// that was written, if one was. `stop` is asked after every tick whether to give up, which leaves no line.
    ///
    /// # Errors
    /// When the device fails, or a file cannot be read or written. The run can go on.
    pub fn generation<S: GameSource>(
        &mut self,
        run: &Trainer<S>,
        config: &Config,
        metrics: &Metrics,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<&Strength>, Error> {
        self.count(metrics);
        let is_due = config.run.grade_share > 0.0 && metrics.generation.is_multiple_of(config.run.grade_every);
        let measured = if is_due && self.has_time(config, metrics) {
            match self.measure(run.network(), config, metrics, stop) {
                Err(Error::Stopped) => Ok(None),
                line => line.map(Some),
            }
        } else {
            Ok(None)
        };
        self.before = run.network().snapshot();
        let Some(line) = measured? else { return Ok(None) };
        self.lines.push(line);
        let advice = diagnosis(config, &self.lines);
        let line = self.lines.last_mut().expect("it was pushed");
        line.advice = advice;
        metrics::append(&self.folder.strength(), line)?;
        Ok(self.lines.last())
    }

    fn labelled(&self) -> &[Labelled] {
        self.labelled.get_or_init(|| {
            let all: Vec<Labelled> = oracle::built_in(self.game).into_iter().flat_map(|set| set.positions).collect();
            evenly(all.len(), LABELLED).map(|at| all[at].clone()).collect()
        })
    }

    fn count(&mut self, metrics: &Metrics) {
        self.so_far.0 += metrics.games;
        self.so_far.1 += metrics.positions;
        self.so_far.2 += metrics.cpu_seconds();
    }

    /// Whether one more line is within the share of the time. It is taken to last as long as the one before, or as its
    /// simulations take at the rate of the run's games.
    fn has_time(&self, config: &Config, metrics: &Metrics) -> bool {
        let spent: f64 = self.lines.iter().map(|line| line.grading_seconds).sum();
        let is_deep = self.is_deep();
        let share = config.run.grade_share.max(if self.lines.len() < EARLY.0 { EARLY.1 } else { 0.0 });
        if let Some(last) = self.lines.iter().rev().find(|line| line.search.is_empty() != is_deep) {
            return spent + last.grading_seconds <= share * metrics.seconds;
        }
        let each: u32 = simulations(config).iter().sum();
        let searched = if is_deep { DEEP as usize * (DEEPLY_LABELLED + FROZEN) } else { 0 }
            + self.labelled().len() * each as usize
            + FROZEN * config.search.simulations as usize
            + EXAMPLES;
        let expected = searched as f64 / metrics.simulations_per_second.max(1.0);
        spent + expected <= share * metrics.seconds
    }

    /// Whether the next line has a deep search.
    fn is_deep(&self) -> bool {
        self.lines.len() % LINES_FOR_A_DEEP_ONE == LINES_FOR_A_DEEP_ONE - 1
    }

    fn measure(
        &mut self,
        network: &Network,
        config: &Config,
        metrics: &Metrics,
        stop: &dyn Fn() -> bool,
    ) -> Result<Strength, Error> {
        let began = Instant::now();
        let generation = metrics.generation;
        let round = Log::of(&self.folder).read(self.game, generation)?;
        let games = round.map(|segment| segment.games).unwrap_or_default();
        self.freeze(config, generation, &games)?;
        let last = self.lines.last().map_or(0, |line| line.generation);
        let every = config.run.grade_every;
        let mut line = Strength {
            generation,
            skipped: (last + 1..generation).filter(|skipped| skipped.is_multiple_of(every)).collect(),
            games: self.so_far.0,
            positions: self.so_far.1,
            seconds: metrics.seconds,
            cpu_seconds: self.so_far.2 + self.lines.iter().map(|line| line.grading_seconds).sum::<f64>(),
            positions_of_round: self.frozen.0,
            ..Strength::default()
        };
        let is_deep = self.is_deep();
        self.mistakes(&mut line, network, config, is_deep, stop)?;
        if self.labelled().is_empty() {
            line.played = Some(self.play(network, config, generation, stop)?);
        }
        self.search(&mut line, network, config, is_deep, stop)?;
        self.compare(&mut line, config, &games, stop)?;
        line.grading_seconds = began.elapsed().as_secs_f64();
        line.cpu_seconds += line.grading_seconds;
        line.rounded().ok_or_else(|| {
            let message = "what the network computes is not finite, so that nothing can be measured".into();
            Error::Run { path: self.folder.strength(), message }
        })
    }

    /// Chooses the frozen positions: from the first round at the beginning, and for good from a round in which the games
    /// are games of a player that has learned something.
    fn freeze(&mut self, config: &Config, generation: u64, games: &[GameRecord]) -> Result<(), Error> {
        let settled = (config.run.generations / 20).max(1);
        let wanted = if generation < settled { 1 } else { settled };
        if self.frozen.0 == wanted {
            return Ok(());
        }
        let log = Log::of(&self.folder);
        // The games of a round that is gone for good are not to be had: the newest ones take their place.
        let of_round = log.read(self.game, wanted)?.filter(|segment| segment.whole).map(|segment| segment.games);
        let (round, games) = of_round.as_ref().map_or((generation, games), |games| (wanted, &games[..]));
        let mut seen = HashSet::new();
        let states = evenly(games.len(), FROZEN).filter_map(|number| {
            let game = &games[number];
            // Another ply of each game, all of them alike in number.
            let ply = number.wrapping_mul(7_919) % game.len().max(1);
            let mut state = self.start.clone();
            game.moves().take(ply).for_each(|action| state.play(action));
            seen.insert(state.clone()).then_some(state)
        });
        self.frozen = (round, states.collect());
        self.preferred.clear();
        Ok(())
    }

    /// Returns the mistakes in positions with known results.
    fn mistakes(
        &self,
        line: &mut Strength,
        network: &Network,
        config: &Config,
        is_deep: bool,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        if self.labelled().is_empty() {
            return Ok(());
        }
        let mut add = |simulations, labelled: &[&Labelled], moves: Vec<Action>| {
            let wrong = labelled.iter().zip(moves).filter(|(position, action)| position.is_mistake(*action)).count();
            let (mistakes, positions) = (wrong as u64, labelled.len() as u64);
            let interval = wilson(mistakes, positions);
            line.mistakes.push(Mistakes { simulations, positions, mistakes, interval });
        };
        let all: Vec<&Labelled> = self.labelled().iter().collect();
        let states =
            |labelled: &[&Labelled]| labelled.iter().map(|position| position.position.clone()).collect::<Vec<_>>();
        let alone = self.evaluate(network, &states(&all), stop)?;
        add(0, &all, alone.iter().map(Evaluated::preferred).collect());
        for simulations in simulations(config) {
            let answers = self.ask(network, config, simulations, states(&all), stop)?;
            add(simulations, &all, answers.iter().map(|answer| answer.action).collect());
        }
        if is_deep && config.run.grade_simulations != DEEP {
            let some: Vec<&Labelled> = evenly(all.len(), DEEPLY_LABELLED).map(|at| all[at]).collect();
            let answers = self.ask(network, config, DEEP, states(&some), stop)?;
            add(DEEP, &some, answers.iter().map(|answer| answer.action).collect());
        }
        line.mistakes.sort_by_key(|mistakes| mistakes.simulations);
        Ok(())
    }

    /// Plays a short match against plain Monte-Carlo tree search, or the newest generation that later ones are measured
    /// against.
    fn play(
        &self,
        network: &Network,
        config: &Config,
        generation: u64,
        stop: &dyn Fn() -> bool,
    ) -> Result<Played, Error> {
        let search = search(config, config.run.grade_simulations);
        let anchor = self.anchor();
        let rows = LANES as usize;
        let other = match anchor {
            Some((anchor, _)) => {
                let tensors = checkpoint::read_weights_file(&self.folder.anchor(anchor))?;
                let make =
                    || Network::init(&self.game.info, &config.network, 0, &self.place.device).with_tensors(tensors);
                let network = lockstep_systems::Error::guard(EVALUATING, make)?;
                self.place.evaluators(self.game, rows).make(&network)?
            }
            None => self.game.rollouts(1, 1),
        };
        let own = self.place.evaluators(self.game, rows).make(network)?;
        let matched = Match { pairs: PAIRS, opening_plies: OPENING, seed: generation, leaves: 1, sprt: None };
        let players = [own, other].map(|evaluator| (Searcher::new(evaluator, search.clone()), &search));
        let score = matched.play(self.game, self.start.clone(), players, lanes(), |_| !stop())?;
        let (against, base) =
            anchor.map_or(("rollout".into(), 0.0), |(anchor, elo)| (format!("generation {anchor}"), elo));
        let Elo { value, low, high } = score.pairs.elo();
        // Where all games were won or lost, the end of the interval that is known stands for the strength.
        let value = if value.is_finite() {
            value
        } else if low.is_finite() {
            low
        } else {
            high
        };
        let end = |end: f64| if end.is_finite() { base + end } else { base + value };
        let played = Played { against, results: score.results, elo: base + value, interval: [end(low), end(high)] };
        if score.pairs.score() >= OUTGROWN && score.pairs.pairs() > 0 {
            let tensors = lockstep_systems::Error::guard("reading the weights", || Ok(network.tensors()))?;
            checkpoint::write_weights(&self.folder.anchor(generation), self.game, config, &tensors)?;
        }
        Ok(played)
    }

    /// Returns the newest generation against which others are measured, with its strength in Elo.
    fn anchor(&self) -> Option<(u64, f64)> {
        let lines = self.lines.iter().rev();
        let mut played = lines.filter_map(|line| Some((line.generation, line.played.as_ref()?.elo)));
        played.find(|&(generation, _)| self.folder.anchor(generation).exists())
    }

    /// Returns what the search makes of the frozen positions.
    fn search(
        &mut self,
        line: &mut Strength,
        network: &Network,
        config: &Config,
        is_deep: bool,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let states = self.frozen.1.clone();
        if states.is_empty() {
            return Ok(());
        }
        let alone = self.evaluate(network, &states, stop)?;
        let preferred: Vec<Action> = alone.iter().map(Evaluated::preferred).collect();
        let same =
            |a: &[Action], b: &[Action]| a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len().max(1) as f64;
        line.agreement = (self.preferred.len() == preferred.len()).then(|| same(&self.preferred, &preferred));
        let played = self.ask(network, config, config.search.simulations, states.clone(), stop)?;
        let diverges = alone.iter().zip(&played).map(|(alone, answer)| divergence(answer, &alone.policy));
        line.divergence = diverges.sum::<f64>() / states.len() as f64;
        if is_deep {
            let deep = self.ask(network, config, DEEP, states.clone(), stop)?;
            let best: Vec<Action> = deep.iter().map(|answer| answer.action).collect();
            let mut add = |simulations, moves: &[Action]| {
                let regret = deep.iter().zip(moves).map(|(answer, &action)| regret(answer, action)).sum::<f64>();
                let (regret, same_move) = (regret / moves.len() as f64, same(moves, &best));
                line.search.push(Searched { simulations, regret, same_move });
            };
            add(0, &preferred);
            for simulations in simulations(config).into_iter().filter(|&simulations| simulations < DEEP) {
                let answers = self.ask(network, config, simulations, states.clone(), stop)?;
                add(simulations, &answers.iter().map(|answer| answer.action).collect::<Vec<_>>());
            }
            add(DEEP, &best);
        }
        self.preferred = preferred;
        Ok(())
    }

    /// Compares what the network said before it had seen the newest games with what is learned from them.
    fn compare(
        &self,
        line: &mut Strength,
        config: &Config,
        games: &[GameRecord],
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let examples = examples(&self.start, games, config.learn.search_value_share);
        let states: Vec<State> = examples.iter().map(|example| example.state.clone()).collect();
        let evaluated = self.evaluate(&self.before, &states, stop)?;
        let all: Vec<(&Example, &Evaluated)> = examples.iter().zip(&evaluated).collect();
        let count = all.len().max(1) as f64;
        let choices = all.iter().filter(|(_, evaluated)| evaluated.policy.len() > 1);
        let entropies: Vec<f64> = choices
            .map(|(_, evaluated)| {
                let policy = evaluated.policy.iter().filter(|(_, p)| *p > 0.0);
                -policy.map(|&(_, p)| f64::from(p) * f64::from(p).ln()).sum::<f64>()
                    / (evaluated.policy.len() as f64).ln()
            })
            .collect();
        line.relative_entropy = entropies.iter().sum::<f64>() / entropies.len().max(1) as f64;
        let error = |(example, evaluated): &(&Example, &Evaluated)| example.result - f64::from(evaluated.value);
        line.explained_variance = {
            let variance = |numbers: &dyn Fn(&(&Example, &Evaluated)) -> f64| {
                let mean = all.iter().map(numbers).sum::<f64>() / count;
                all.iter().map(|pair| (numbers(pair) - mean).powi(2)).sum::<f64>() / count
            };
            let of_results = variance(&|(example, _)| example.result);
            if of_results > 0.0 { 1.0 - variance(&error) / of_results } else { 0.0 }
        };
        let bins = binned(&all, |(_, evaluated)| ((f64::from(evaluated.value) + 1.0) * 5.0).clamp(0.0, 9.0) as u64, 1);
        line.calibration = bins
            .iter()
            .map(|(_, bin)| Calibration {
                value: mean(bin, |(_, evaluated)| evaluated.value.into()),
                result: mean(bin, |(example, _)| example.result),
                positions: bin.len() as u64,
            })
            .collect();
        let longest = examples.iter().map(|example| example.ply.max(example.left)).max().unwrap_or(0);
        let width = (longest / 12 + 1) as u64;
        line.by_ply = binned(&all, |(example, _)| example.ply as u64, width)
            .iter()
            .map(|(ply, bin)| {
                let taught: Vec<_> = bin.iter().copied().filter(|(example, _)| !example.target.is_empty()).collect();
                Losses {
                    ply: *ply,
                    policy: mean(&taught, |(example, evaluated)| cross_entropy(&example.target, &evaluated.policy)),
                    floor: mean(&taught, |(example, _)| cross_entropy(&example.target, &example.target)),
                    value: mean(bin, |pair| error(pair).powi(2)),
                    positions: bin.len() as u64,
                }
            })
            .collect();
        line.by_distance = binned(&all, |(example, _)| example.left as u64, width)
            .iter()
            .map(|(left, bin)| ValueError {
                plies_left: *left,
                rms: mean(bin, |pair| error(pair).powi(2)).sqrt(),
                positions: bin.len() as u64,
            })
            .collect();
        let length = games.iter().map(GameRecord::len).sum::<usize>() / games.len().max(1);
        let plies = (length / 4).clamp(2, 8);
        let openings: HashSet<Vec<Action>> = games.iter().map(|game| game.moves().take(plies).collect()).collect();
        line.opening_plies = plies as u64;
        line.distinct_openings = openings.len() as f64 / games.len().max(1) as f64;
        Ok(())
    }

    /// Searches positions without randomness.
    fn ask(
        &self,
        network: &Network,
        config: &Config,
        simulations: u32,
        states: Vec<State>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<Answer>, Error> {
        let evaluator = self.place.evaluators(self.game, LANES as usize).make(network)?;
        let mut analyst = Analyst::new(self.game, evaluator, &search(config, simulations), lanes(), simulations);
        analyst.ask(states, |_| !stop())
    }

    /// Evaluates positions without a search.
    fn evaluate(&self, network: &Network, states: &[State], stop: &dyn Fn() -> bool) -> Result<Vec<Evaluated>, Error> {
        let mut evaluator = self.place.evaluators(self.game, ROWS).make(network)?;
        let mut evaluated = Vec::with_capacity(states.len());
        for states in states.chunks(ROWS) {
            if stop() {
                return Err(Error::Stopped);
            }
            evaluated.extend(evaluate(self.game, &mut *evaluator, states)?);
        }
        Ok(evaluated)
    }
}

/// Returns the generations of a run against which others are measured, as far as their weights are there, in ascending
/// order.
pub fn anchors(folder: &Folder) -> Vec<u64> {
    let dir = folder.anchor(0);
    let entries = dir.parent().and_then(|dir| fs::read_dir(dir).ok()).into_iter().flatten().flatten();
    let number = |name: String| name.strip_suffix(".safetensors")?.parse().ok();
    let mut found: Vec<u64> =
        entries.filter_map(|entry| number(entry.file_name().to_string_lossy().into_owned())).collect();
    found.sort_unstable();
    found
}

/// A position of a finished game and what is learned from it, for the player to move there.
struct Example {
    state: State,
    /// The number of moves that were made.
    ply: usize,
    /// The number of moves to the end.
    left: usize,
    /// The shares of the moves that the policy learns, which sum to 1; empty after a fast search.
    target: Vec<(Action, f32)>,
    /// The value that is learned: the result of the game, or the share of it that the search's value leaves.
    result: f64,
}

/// Returns the searched positions of some games, as many games as have about [`EXAMPLES`] positions.
fn examples(start: &State, games: &[GameRecord], search_value_share: f32) -> Vec<Example> {
    let positions: usize = games.iter().map(|game| game.plies.len()).sum();
    let wanted = (games.len() * EXAMPLES).div_ceil(positions.max(1)).min(games.len());
    let mut examples = vec![];
    for game in evenly(games.len(), wanted).map(|number| &games[number]) {
        let mut state = start.clone();
        game.opening.iter().for_each(|&action| state.play(action));
        let mut shares = game.policies.iter();
        let first = examples.len();
        for (searched, ply) in game.plies.iter().enumerate() {
            let own: Vec<(Action, f32)> = shares
                .by_ref()
                .take(ply.policy_len.into())
                .map(|&(action, share)| (action, f32::from(share)))
                .collect();
            let made = game.opening.len() + searched;
            let left = game.plies.len() - searched;
            let of_search = f64::from(search_value_share * ply.root_value);
            examples.push(Example {
                state: state.clone(),
                ply: made,
                left,
                target: normalised(own),
                result: of_search,
            });
            state.play(ply.action);
        }
        let outcome = state.outcome().map_or(0.0, |outcome| f64::from(outcome.value()));
        for example in &mut examples[first..] {
            let sign = if example.state.to_move() == state.to_move() { 1.0 } else { -1.0 };
            example.result += f64::from(1.0 - search_value_share) * sign * outcome;
        }
    }
    examples
}

/// Returns weights scaled so that they sum to 1; an empty list where they have no sum.
fn normalised(mut weights: Vec<(Action, f32)>) -> Vec<(Action, f32)> {
    let sum: f32 = weights.iter().map(|(_, weight)| weight).sum();
    if !(sum > 0.0 && sum.is_finite()) {
        return vec![];
    }
    weights.iter_mut().for_each(|(_, weight)| *weight /= sum);
    weights
}

/// Returns the cross-entropy between a target and a policy that has all of its moves, in nats.
fn cross_entropy(target: &[(Action, f32)], policy: &[(Action, f32)]) -> f64 {
    let of = |action| policy.iter().find(|(other, _)| *other == action).map_or(0.0, |&(_, p)| f64::from(p));
    // What a policy holds for impossible is as far off as a float can tell.
    target
        .iter()
        .filter(|(_, share)| *share > 0.0)
        .map(|&(action, share)| -f64::from(share) * of(action).max(1e-12).ln())
        .sum()
}

/// Returns the divergence of what a search would teach from a policy, in nats.
fn divergence(answer: &Answer, policy: &[(Action, f32)]) -> f64 {
    let target = match normalised(answer.target.clone()) {
        target if target.is_empty() => vec![(answer.action, 1.0)],
        target => target,
    };
    cross_entropy(&target, policy) - cross_entropy(&target, &target)
}

/// Returns by how much the value of a move is below the best one's in a search. A move that the search has not visited
/// is taken for the worst one that it has.
fn regret(answer: &Answer, action: Action) -> f64 {
    let value = |action| {
        let of_move = answer.moves.iter().find(|found| found.action == action)?;
        of_move.proven.map(lockstep_components::Outcome::value).or(of_move.value)
    };
    let worst = answer.moves.iter().filter_map(|found| value(found.action)).fold(1.0, f32::min);
    let [best, own] = [answer.action, action].map(|action| value(action).unwrap_or(worst));
    f64::from(best - own).max(0.0)
}

/// Sorts items into bins of a number, each `width` wide, and returns the bins that are not empty with their least
/// numbers, in ascending order.
fn binned<T: Copy>(items: &[T], number: impl Fn(&T) -> u64, width: u64) -> Vec<(u64, Vec<T>)> {
    let mut bins = std::collections::BTreeMap::<u64, Vec<T>>::new();
    for item in items {
        bins.entry(number(item) / width * width).or_default().push(*item);
    }
    bins.into_iter().collect()
}

/// Returns the mean of a number over some items; 0 without any.
pub(super) fn mean<T>(items: &[T], number: impl Fn(&T) -> f64) -> f64 {
    items.iter().map(number).sum::<f64>() / items.len().max(1) as f64
}

/// Returns up to `most` of the indices below `count`, at equal distances.
fn evenly(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let taken = count.min(most);
    (0..taken).map(move |k| k * count / taken)
}

/// Returns the numbers of simulations with which the player is measured in every line, in ascending order.
fn simulations(config: &Config) -> Vec<u32> {
    let own = config.run.grade_simulations;
    let mut all: Vec<u32> = FEW.into_iter().filter(|&few| few < own).chain([own]).collect();
    all.dedup();
    all
}

/// Returns the settings of a search that plays to win, with a small cache: it lasts for one measurement.
fn search(config: &Config, simulations: u32) -> SearchConfig {
    let search = config.search.to_win(simulations);
    SearchConfig { cache_mb: search.cache_mb.min(8), ..search }
}

fn lanes() -> LanesConfig {
    LanesConfig { count: LANES, leaves_per_tree: 1, ..LanesConfig::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_components::{GameId, Outcome, Ply, games::TicTacToe};
    use lockstep_systems::MoveStats;

    #[test]
    fn examples_are_the_positions_of_games() {
        let ply = |action| Ply { action, root_value: 0.5, weight: 1.0, policy_len: if action == 1 { 0 } else { 1 } };
        let game = GameRecord {
            id: Some(GameId { round: 1, number: 0 }),
            opening: vec![0],
            plies: [3, 1, 4, 2].map(ply).to_vec(),
            policies: [3, 4, 2].map(|action| (action, 65_535)).to_vec(),
            finished: Some(Outcome::Win),
            ..Default::default()
        };
        let start = AnyGame::of::<TicTacToe>().usual_start();
        let found = examples(&start, std::slice::from_ref(&game), 0.25);
        let seen: Vec<_> = found.iter().map(|e| (e.ply, e.left, e.target.clone(), e.result)).collect();
        // The first player has won; the second moves first behind the opening.
        let (lost, won) = (0.25 * 0.5 - 0.75, 0.25 * 0.5 + 0.75);
        let one = |action| vec![(action, 1.0)];
        assert_eq!(seen, [(1, 4, one(3), lost), (2, 3, vec![], won), (3, 2, one(4), lost), (4, 1, one(2), won)]);
        assert_eq!(found[2].state, start.after("a1 a2 b1").unwrap());
    }

    #[test]
    fn regret_is_what_a_move_gives_away() {
        let of = |action, visits, value, proven| MoveStats { action, prior: 0.2, visits, value, proven };
        let moves = vec![
            of(0, 60, Some(0.5), None),
            of(1, 30, Some(0.2), None),
            of(2, 9, Some(0.1), Some(Outcome::Loss)),
            of(3, 0, None, None),
        ];
        let answer = Answer { action: 0, value: 0.4, proven: None, target: vec![(0, 60.0), (1, 30.0)], moves };
        let found = [0, 1, 2, 3].map(|action| (100.0 * regret(&answer, action)).round());
        assert_eq!(found, [0.0, 30.0, 150.0, 150.0]);
        let policy = [(0, 2.0 / 3.0), (1, 1.0 / 3.0), (2, 0.0), (3, 0.0)];
        assert!(divergence(&answer, &policy).abs() < 1e-6);
        let equal = [0, 1, 2, 3].map(|action| (action, 0.25f32));
        let expected = 4f64.ln() - (3f64.ln() - 2.0 / 3.0 * 2f64.ln());
        assert!((divergence(&answer, &equal) - expected).abs() < 1e-6);
    }

    #[test]
    fn intervals_hold_the_share() {
        // Wilson's interval of 10 in 100, from its definition.
        let [low, high] = wilson(10, 100);
        assert!((low - 0.0552).abs() < 1e-4 && (high - 0.1744).abs() < 1e-4, "{low} {high}");
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
        assert!(wilson(0, 10)[0].abs() < 1e-9 && (wilson(10, 10)[1] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn indices_are_spread_evenly() {
        assert_eq!(evenly(10, 4).collect::<Vec<_>>(), [0, 2, 5, 7]);
        assert_eq!((evenly(3, 9).count(), evenly(0, 4).count()), (3, 0));
        assert_eq!(binned(&[0u64, 4, 5, 12], |&n| n, 5), [(0, vec![0, 4]), (5, vec![5]), (10, vec![12])]);
    }
}
