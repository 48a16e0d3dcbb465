//! Whether one run is better than another: by position, by match, and at equal time.
//!
//! Runs that differ in their seed alone are one group, and groups are compared. Between two runs the interval of the
//! difference is that of the positions in which they differ; between groups with several runs it is that of the seeds, which
//! is the wider one: another seed of the same settings is another player.

use crate::{
    Error,
    analyst::{Contender, Player, with_generation},
    checkpoint,
    elo::{Elo, Pairs},
    folder::Folder,
    grade::{Grading, mistakes},
    history,
    insight::{
        met::Met,
        paired::{Interval, between, mean_and_variance, mean_of, more_mistakes},
        strength::Strength,
    },
    matches::{Match, Score},
    metrics,
    out::warn_once,
    settings::{self, Source},
    text::json_number,
};
use lockstep_components::{
    Config,
    config::{DeviceKind, keys},
};
use serde::{Serialize, Serializer};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How runs are compared.
#[derive(Clone, Debug)]
pub struct Comparing {
    /// The number of simulations for each move, the same for all; 0 takes the network's most likely move. Without it the
    /// largest `run.grade_simulations` of the runs.
    pub simulations: Option<u32>,
    /// The most positions of each set, where a game has several sets.
    pub limit: usize,
    /// The number of pairs of games between two groups; 0 leaves matches out.
    pub pairs: u64,
    /// The time after which no more matches and no more points of the curve are begun.
    pub time: Duration,
    /// Where the networks run; as in the runs without it.
    pub device: Option<DeviceKind>,
}

/// What comes of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// The name of the game.
    pub game: String,
    /// The number of simulations for each move.
    pub simulations: u32,
    /// The number of positions in which the players were graded; 0 in a game without an oracle.
    pub positions: usize,
    /// Whether the times are seconds of processors, and not of clocks: some run does not tell how busy its processors were.
    pub is_cpu_time: bool,
    /// The groups: the names of runs that differ in their seed alone. The others are compared with the first one.
    pub groups: Vec<Vec<String>>,
    /// The differences that were found.
    pub differences: Vec<Difference>,
    /// How good the runs were earlier, at some times.
    pub curve: Vec<Point>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// Which players of the runs are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The newest ones, or those that were named.
    Newest,
    /// The last ones that the runs had when each had taken as much time as the shortest one of them has taken by now, or up to
    /// 5 % more, as far as they are kept.
    EqualTime,
}

/// A difference between two groups.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Which players are compared.
    pub basis: Basis,
    /// The players of the first group.
    pub first: Vec<Picked>,
    /// The players of the second group.
    pub second: Vec<Picked>,
    /// How many more mistakes the second group makes; `None` without an oracle.
    pub mistakes: Option<More>,
    /// A match of the second group against the first one; `None` if none was played.
    pub matched: Option<Matched>,
}

/// A player of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Picked {
    /// The run, as it was named.
    pub run: String,
    /// The generation of the player.
    pub generation: u64,
    /// The time that the run had taken by then; `None` where its metrics do not tell.
    pub seconds: Option<f64>,
    /// The mistakes that the player makes; `None` without an oracle.
    pub mistakes: Option<u64>,
}

/// How many more mistakes a group makes than another one, per run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct More {
    /// The difference with its interval of 95 %; below 0 the second group makes fewer.
    pub difference: Interval,
    /// Where the interval comes from.
    pub method: Method,
    /// How much runs of the same group differ, as a standard deviation of their mistakes: of the first and of the second
    /// group, where it has several runs.
    pub between_seeds: [Option<f64>; 2],
    /// How much the difference varies between runs of one seed, as a standard deviation; `None` unless both groups have the
    /// same seeds.
    pub same_seed: Option<f64>,
    /// How much it would vary between runs of any seeds, as a standard deviation; `None` unless both groups have several runs.
    pub any_seed: Option<f64>,
}

/// Where an interval comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// From the positions in which two players differ: the exact interval of McNemar's test. It says nothing of other seeds.
    ExactMcnemar,
    /// From the differences between runs of the same seed, by Student.
    PairedSeeds,
    /// From the runs of both groups, by Welch; where one group has a single run, that is taken to vary as those of the other.
    Seeds,
}

/// The result of a match.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matched {
    /// The number of games that the second group won, drew and lost.
    pub results: [u64; 3],
    /// By how much the second group is stronger, in Elo.
    #[serde(serialize_with = "number")]
    pub elo: f64,
    /// The lower end of its interval of 95 %, which is that of the games alone.
    #[serde(serialize_with = "number")]
    pub low: f64,
    /// The upper end of that interval.
    #[serde(serialize_with = "number")]
    pub high: f64,
}

/// How good each run was after some time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The time.
    pub seconds: f64,
    /// What is known of each run, in the order of the groups; `None` where it had no player yet, or none is kept.
    pub runs: Vec<Option<Known>>,
}

/// How good a player was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Known {
    /// The generation of the player.
    pub generation: u64,
    /// The share of positions with a mistake; `None` without an oracle.
    pub mistakes: Option<f64>,
    /// The strength in Elo above plain Monte-Carlo tree search, where it was measured.
    pub elo: Option<f64>,
}

/// The time that a run may have taken more than another one and count as having taken as much: times are never equal to the
/// last digit, and a checkpoint is only kept now and then.
const NEARLY: f64 = 1.05;

fn number<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    json_number(*x).serialize(serializer)
}

/// A run that is compared.
struct Entry {
    name: String,
    folder: Folder,
    config: Config,
    /// The generation that was named.
    named: Option<u64>,
    kept: Vec<u64>,
    /// The seconds of processors, and of clocks, by each generation.
    times: BTreeMap<u64, [f64; 2]>,
}

impl Entry {
    fn open(name: &Path) -> Result<Self, Error> {
        let (path, named) = with_generation(name)?;
        let folder = Folder::of_run(&path)?;
        let config = settings::load(Source::File(&folder.config()), &[])?;
        checkpoint::find(&folder, named)?;
        let kept = checkpoint::generations(&folder)?;
        let (mut times, mut sum) = (BTreeMap::new(), [0.0; 2]);
        for line in metrics::load(&folder.metrics())? {
            let spent = line.play_seconds + line.learn_seconds + line.write_seconds;
            sum = [sum[0] + line.cpu_seconds(), sum[1] + spent];
            times.insert(line.generation, [if line.machine.cores_busy > 0.0 { sum[0] } else { f64::NAN }, sum[1]]);
            if line.machine.cores_busy <= 0.0 {
                sum[0] = f64::NAN;
            }
        }
        Ok(Self { name: name.display().to_string(), folder, config, named, kept, times })
    }

    fn newest(&self) -> u64 {
        self.named.or(self.kept.last().copied()).unwrap_or(0)
    }

    /// Returns the time by a generation, of processors or of clocks. A run begins at 0.
    fn time(&self, generation: u64, of_cpu: bool) -> Option<f64> {
        if generation == 0 {
            return Some(0.0);
        }
        self.times.get(&generation).map(|times| times[usize::from(!of_cpu)]).filter(|time| time.is_finite())
    }

    /// Returns the last kept generation that the run had by this time.
    fn by(&self, time: f64, of_cpu: bool) -> Option<u64> {
        let had = |&generation: &u64| self.time(generation, of_cpu).is_some_and(|own| own <= time);
        self.kept.iter().copied().filter(had).max()
    }
}

/// Compares runs, `RUN` or `RUN@GENERATION`. `progress` gets what is done, and how much of how much of it.
///
/// # Errors
/// When there are fewer than two runs, one has no checkpoint, they are of different games, or a device fails.
pub fn compare(
    names: &[PathBuf],
    how: &Comparing,
    mut progress: impl FnMut(&str, usize, usize),
) -> Result<Comparison, Error> {
    let end = Instant::now() + how.time;
    let mut entries = names.iter().map(|name| Entry::open(name)).collect::<Result<Vec<_>, _>>()?;
    let [first, rest @ ..] = &entries[..] else { return Err(Error::Usage("name two runs or more".into())) };
    if rest.is_empty() {
        return Err(Error::Usage(format!("name two runs or more: there is nothing to compare {} with", first.name)));
    }
    if let Some(other) = rest.iter().find(|other| other.config.game != first.config.game) {
        let [one, two] = [first, other].map(|entry| format!("{} plays {}", entry.name, entry.config.game));
        return Err(Error::Usage(format!("{one}, and {two}: only runs of one game can be compared")));
    }
    let groups = group(&mut entries)?;
    let largest = entries.iter().map(|entry| entry.config.run.grade_simulations).max().unwrap_or(1);
    let simulations = how.simulations.unwrap_or(largest);
    let newest: Vec<u64> = entries.iter().map(Entry::newest).collect();
    let is_cpu_time = entries.iter().zip(&newest).all(|(entry, &newest)| entry.time(newest, true).is_some());
    let mut found = Comparison {
        game: entries[0].config.game.name.clone(),
        simulations,
        is_cpu_time,
        groups: groups.iter().map(|of| of.iter().map(|&at| entries[at].name.clone()).collect()).collect(),
        ..Comparison::default()
    };
    let mut graded = Graded { how, simulations, known: BTreeMap::new() };

    let mut chosen = vec![(Basis::Newest, newest.clone())];
    let times: Option<Vec<f64>> =
        entries.iter().zip(&newest).map(|(entry, &newest)| entry.time(newest, is_cpu_time)).collect();
    let shortest = times.map(|times| times.into_iter().fold(f64::INFINITY, f64::min));
    match shortest {
        _ if entries.iter().any(|entry| entry.named.is_some()) => {}
        None => found.left_out.push("equal time: the metrics of some run do not tell how long it took".into()),
        Some(shortest) => {
            let by: Option<Vec<u64>> = entries.iter().map(|entry| entry.by(NEARLY * shortest, is_cpu_time)).collect();
            match by {
                Some(by) if by == newest => chosen[0].0 = Basis::EqualTime,
                Some(by) => chosen.insert(0, (Basis::EqualTime, by)),
                None => found.left_out.push(format!(
                    "equal time: some run has no checkpoint left of its first {shortest:.0} s, the time that the shortest \
                     one has taken"
                )),
            }
        }
    }
    for (basis, generations) in chosen {
        for (entry, &generation) in entries.iter().zip(&generations) {
            found.positions = graded.mistakes(entry, generation, &mut progress)?.len();
        }
        for second in 1..groups.len() {
            let pair = [&groups[0], &groups[second]];
            let couples = couples(&entries, pair);
            let [of_first, of_second] = pair.map(|group| {
                group.iter().map(|&at| picked(&entries[at], generations[at], is_cpu_time, &graded)).collect::<Vec<_>>()
            });
            let lists = |group: &[usize]| -> Vec<&[bool]> {
                group.iter().map(|&at| graded.of(&entries[at], generations[at])).collect()
            };
            let more = (found.positions > 0).then(|| more(&lists(pair[0]), &lists(pair[1]), couples.is_by_seed));
            let mut difference =
                Difference { basis, first: of_first, second: of_second, mistakes: more, matched: None };
            if how.pairs > 0 && Instant::now() < end {
                let played = graded.play(&entries, &generations, &couples.couples, &mut progress)?;
                difference.matched = Some(played);
            } else if how.pairs > 0 {
                found.left_out.push("a match: the time was over (--minutes)".into());
            }
            found.differences.push(difference);
        }
    }
    if let Some(shortest) = shortest.filter(|_| entries.iter().all(|entry| entry.named.is_none())) {
        let in_order: Vec<&Entry> = groups.iter().flatten().map(|&at| &entries[at]).collect();
        let (curve, is_whole) = graded.curve(&in_order, shortest, is_cpu_time, end, &mut progress)?;
        found.curve = curve;
        if !is_whole {
            found.left_out.push("some points of the curve: the time was over (--minutes)".into());
        }
    }
    Ok(found)
}

/// Sorts runs into groups that differ in their seeds alone, those of a group in the order of their seeds. If all are one
/// group, each is one of its own.
///
/// # Errors
/// When two runs of a group have the same seed: they are the same run.
fn group(entries: &mut [Entry]) -> Result<Vec<Vec<usize>>, Error> {
    let mut keys = vec![];
    let mut groups: Vec<Vec<usize>> = vec![];
    for (at, entry) in entries.iter_mut().enumerate() {
        let mut config = entry.config.clone();
        config.run.seed = 0;
        let mut changes = history::changes(&entry.folder);
        changes.retain(|change| keys::find(&change.key).is_some_and(|key| key.role.decides()));
        let key = (settings::essence(&config), changes, entry.named);
        let group = keys.iter().position(|known| *known == key).unwrap_or_else(|| {
            keys.push(key);
            groups.push(vec![]);
            groups.len() - 1
        });
        groups[group].push(at);
    }
    if groups.len() == 1 {
        return Ok((0..entries.len()).map(|at| vec![at]).collect());
    }
    for group in &mut groups {
        group.sort_by_key(|&at| entries[at].config.run.seed);
        for two in group.windows(2).map(|two| [&entries[two[0]], &entries[two[1]]]) {
            let seed = two[0].config.run.seed;
            if seed == two[1].config.run.seed {
                let names = two.map(|entry| &entry.name[..]).join(" and ");
                return Err(Error::Usage(format!(
                    "{names} have the same settings and the same seed ({seed}), so that they say the same: name one of them"
                )));
            }
        }
    }
    Ok(groups)
}

/// Which runs of two groups meet each other.
struct Couples {
    couples: Vec<[usize; 2]>,
    /// Whether each run meets that of its own seed.
    is_by_seed: bool,
}

/// Lets runs of the same seed meet if both groups have several runs and the same seeds, and else each run any other.
fn couples(entries: &[Entry], groups: [&Vec<usize>; 2]) -> Couples {
    let seed = |&at: &usize| entries[at].config.run.seed;
    let seeds = groups.map(|group| group.iter().map(seed).collect::<BTreeSet<_>>());
    let is_by_seed = seeds[0].len() > 1 && seeds[0] == seeds[1];
    let [first, second] = groups;
    let meets = |a: usize, b: usize| !is_by_seed || seed(&a) == seed(&b);
    let all = first.iter().flat_map(|&a| second.iter().map(move |&b| [a, b]));
    Couples { couples: all.filter(|&[a, b]| meets(a, b)).collect(), is_by_seed }
}

fn picked(entry: &Entry, generation: u64, of_cpu: bool, graded: &Graded) -> Picked {
    let list = graded.of(entry, generation);
    Picked {
        run: entry.name.clone(),
        generation,
        seconds: entry.time(generation, of_cpu),
        mistakes: (!list.is_empty()).then(|| count(list) as u64),
    }
}

fn count(mistakes: &[bool]) -> usize {
    mistakes.iter().filter(|mistake| **mistake).count()
}

/// Returns how many more mistakes the second group makes.
fn more(first: &[&[bool]], second: &[&[bool]], is_by_seed: bool) -> More {
    let counts = [first, second].map(|group| group.iter().map(|list| count(list) as f64).collect::<Vec<_>>());
    let variances = counts.each_ref().map(|counts| mean_and_variance(counts).map(|(_, variance)| variance));
    let mut found = More {
        difference: Interval::default(),
        method: Method::Seeds,
        between_seeds: variances.map(|variance| variance.map(f64::sqrt)),
        same_seed: None,
        any_seed: variances[0].zip(variances[1]).map(|(a, b)| (a + b).sqrt()),
    };
    if is_by_seed {
        // Both are in the order of their seeds.
        let differences: Vec<f64> = counts[0].iter().zip(&counts[1]).map(|(a, b)| b - a).collect();
        found.difference = mean_of(&differences).expect("several seeds");
        found.same_seed = mean_and_variance(&differences).map(|(_, variance)| variance.sqrt());
        found.method = Method::PairedSeeds;
    } else if let Some(difference) = between(&counts[0], &counts[1]) {
        found.difference = difference;
    } else {
        found.difference = more_mistakes(first[0], second[0]);
        found.method = Method::ExactMcnemar;
    }
    found
}

/// The mistakes of the players that were graded, by run and generation.
struct Graded<'a> {
    how: &'a Comparing,
    simulations: u32,
    known: BTreeMap<(PathBuf, u64), Vec<bool>>,
}

impl Graded<'_> {
    /// Returns the mistakes of a player that was graded.
    fn of(&self, entry: &Entry, generation: u64) -> &[bool] {
        self.known.get(&(entry.folder.path().into(), generation)).map_or(&[], |list| list)
    }

    /// Returns the mistakes of a player, which is graded unless it was before: an empty list in a game without an oracle.
    fn mistakes(
        &mut self,
        entry: &Entry,
        generation: u64,
        progress: &mut impl FnMut(&str, usize, usize),
    ) -> Result<&[bool], Error> {
        let key = (entry.folder.path().to_path_buf(), generation);
        if !self.known.contains_key(&key) {
            let what = format!("grading {}, generation {generation}", entry.name);
            let player = Player::open(entry.folder.path(), Some(generation))?.on(self.how.device);
            let grading = Grading { simulations: self.simulations, limit: Some(self.how.limit), ..Grading::default() };
            let list = mistakes(&player, &grading, |done, all| progress(&what, done, all))?;
            self.known.insert(key.clone(), list);
        }
        Ok(&self.known[&key])
    }

    /// Lets these couples of runs play, the second ones against the first ones.
    fn play(
        &self,
        entries: &[Entry],
        generations: &[u64],
        couples: &[[usize; 2]],
        progress: &mut impl FnMut(&str, usize, usize),
    ) -> Result<Matched, Error> {
        let pairs = self.how.pairs.div_ceil(couples.len() as u64);
        let (mut all, mut results) = (Pairs::default(), [0; 3]);
        for (number, couple) in couples.iter().enumerate() {
            let contender = |at: usize| -> Result<Contender, Error> {
                let player = Player::open(entries[at].folder.path(), Some(generations[at]))?.on(self.how.device);
                let mut contender = Contender::of(player);
                contender.search = contender.search.to_win(self.simulations.max(1));
                Ok(contender)
            };
            let [first, second] = couple.map(contender);
            let (first, second) = (first?, second?);
            let opening_plies = (first.game.info.max_plies as u32 / 4).min(6);
            // Couples do not begin with each other's openings.
            let matched = Match { pairs, opening_plies, seed: 1 + number as u64, leaves: 1, sprt: None };
            progress("playing", number * pairs as usize, couples.len() * pairs as usize);
            let score = matched.between([&second, &first], |_| ())?;
            self.keep(couple.map(|at| (&entries[at], generations[at])), &score);
            (0..5).for_each(|i| all.counts[i] += score.pairs.counts[i]);
            (0..3).for_each(|i| results[i] += score.results[i]);
        }
        let Elo { value, low, high } = all.elo();
        Ok(Matched { results, elo: value, low, high })
    }

    /// Lets both runs keep a match, which was that of the second one against the first one.
    fn keep(&self, [(first, of_first), (second, of_second)]: [(&Entry, u64); 2], score: &Score) {
        let [one, two] = [first, second].map(|entry| entry.folder.path());
        if score.pairs.pairs() == 0 || one.canonicalize().ok() == two.canonicalize().ok() {
            return;
        }
        let met = Met {
            played: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64),
            generation: of_second,
            against: one.display().to_string(),
            against_generation: of_first,
            simulations: self.simulations.max(1),
            results: score.results,
            pairs: score.pairs.counts,
        };
        for (folder, met) in [(&second.folder, met.clone()), (&first.folder, met.turned(two.display().to_string()))] {
            if let Err(error) = met.save(folder) {
                warn_once(folder.path(), &format!("{error}; `lockstep report` will not show this match"));
            }
        }
    }

    /// Returns how good the runs were at a quarter, a half and all of this time, and whether all of it is known: by their
    /// `strength.jsonl` if each has one, and else by their checkpoints, which are graded until the time is over.
    fn curve(
        &mut self,
        entries: &[&Entry],
        time: f64,
        of_cpu: bool,
        end: Instant,
        progress: &mut impl FnMut(&str, usize, usize),
    ) -> Result<(Vec<Point>, bool), Error> {
        let lines: Vec<Vec<Strength>> =
            entries.iter().map(|entry| Strength::load(&entry.folder).unwrap_or_default()).collect();
        let is_measured = lines.iter().all(|lines| !lines.is_empty());
        let (mut curve, mut is_whole) = (vec![], true);
        for seconds in [0.25, 0.5, 1.0].map(|share| share * time) {
            let mut runs = vec![];
            for (entry, lines) in entries.iter().zip(&lines) {
                let measured = lines
                    .iter()
                    .rev()
                    .find(|line| entry.time(line.generation, of_cpu).is_some_and(|own| own <= NEARLY * seconds));
                let Some(generation) = entry.by(NEARLY * seconds, of_cpu).filter(|_| !is_measured) else {
                    runs.push(measured.filter(|_| is_measured).map(|line| known(line, &entry.config)));
                    continue;
                };
                if self.of(entry, generation).is_empty() && Instant::now() >= end {
                    is_whole = false;
                    runs.push(None);
                    continue;
                }
                let list = self.mistakes(entry, generation, progress)?;
                let share = count(list) as f64 / list.len() as f64;
                runs.push((!list.is_empty()).then_some(Known { generation, mistakes: Some(share), elo: None }));
            }
            curve.push(Point { seconds, runs });
        }
        curve.retain(|point| point.runs.iter().any(Option::is_some));
        Ok((curve, is_whole))
    }
}

fn known(line: &Strength, config: &Config) -> Known {
    let mistakes = line.with(config.run.grade_simulations);
    Known {
        generation: line.generation,
        mistakes: mistakes.map(|of| of.mistakes as f64 / of.positions.max(1) as f64),
        elo: line.played.as_ref().map(|played| played.elo),
    }
}
