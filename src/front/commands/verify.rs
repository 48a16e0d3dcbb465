use crate::{
    Error,
    checkpoint::{self, Checkpoint, Manifest},
    cli::VerifyArgs,
    device::{self, Place},
    display::bar,
    error::Fault,
    folder::Folder,
    games::{self, AnyGame},
    history::{self, Change},
    hooks,
    log::{Log, Segment},
    metrics,
    run::memory::MemoryBound,
    say, settings,
    text::{bytes, number},
    trainer::{Event, Trainer},
};
use lockstep_components::Config;
use lockstep_systems::network::NamedTensor;
use std::collections::BTreeMap;

/// Carries out `lockstep verify`.
pub fn run(args: VerifyArgs) -> Result<(), Error> {
    let folder = Folder::of_run(&args.run)?;
    let mut config = settings::load(settings::Source::File(&folder.config()), &[])?;
    let mut edited = None;
    // What cannot be read is found later.
    if let Ok(Some((made_with, of))) = history::made_with(&folder, &config) {
        edited = history::unchangeable(&made_with, &config).map(|Change { key, from, to, .. }| Error::Run {
            path: folder.config(),
            message: format!("{key} = {to}, which cannot change within a run: {} has {from}", of.display()),
        });
        config = settings::with_essence(&config, &settings::essence(&made_with))?;
    }
    device::with_threads(args.threads, || verify(&folder, &config, edited, args.replay))
}

/// The number of parts that are not sound, of those that were looked at so far: everything is, whatever is wrong with a
/// part of it.
#[derive(Default)]
struct Findings(u64);

impl Findings {
    /// Prints what was found of a part.
    fn take(&mut self, what: &str, found: Result<String, Error>) {
        match found {
            Ok(sound) => say!("{what}: {sound}"),
            Err(error) => {
                self.0 += 1;
                say!("{what}: WRONG: {error}");
            }
        }
    }
}

/// Looks at all of a run that was made with these settings, and plays a round of it again if one is asked for. `edited`
/// tells where its `config.toml` says otherwise.
fn verify(folder: &Folder, config: &Config, edited: Option<Error>, replay: Option<Option<u64>>) -> Result<(), Error> {
    let game = games::named(&config.game.name)?;
    let stretch = replay.map(|round| Stretch::to(folder, round));
    if let (Some(Some(_)), Some(Err(Error::Usage(why)))) = (replay, &stretch) {
        return Err(Error::Usage(why.clone()));
    }
    let mut findings = Findings::default();
    if let Some(error) = edited {
        findings.take("settings", Err(error));
    }
    folder.keep_kernels(config);
    let place = device::place_of(config)?;
    MemoryBound::of_run(game, config, &place)?.check()?;
    let was_saved = folder.was_saved();
    let generations = checkpoint::generations(folder)?;
    let newest = generations.last().copied().unwrap_or(0);
    let log = Log::of(folder);
    for name in log.strays(newest)? {
        say!("log: {name} is no file of this run, and is ignored");
    }
    let mut window = config.replay.window;
    for round in log.known(newest)? {
        let read = log.read(game, round).and_then(|segment| {
            let Some(Segment { header, games, whole, path }) = segment else {
                let is_there = log.known(newest)?.contains(&round);
                return Ok(if is_there { "no game that has ended" } else { "the run has removed it meanwhile" }.into());
            };
            window = window.max(header.settings_of(config, &path)?.replay.window);
            let games = number(games.len() as u64, "game");
            Ok(format!("{games}{}", if whole { ", whole" } else { " that ended" }))
        });
        findings.take(&format!("log of round {round}"), read);
    }
    MemoryBound::of_rounds(game, config, window, &place)?.check()?;
    for &generation in &generations {
        let found = verify_checkpoint(game, config, &place, folder, generation, newest);
        match found {
            Err(_) if checkpoint::of_generation(folder, generation).is_none() => {
                say!("checkpoint {generation}: the run has removed it meanwhile");
            }
            found => findings.take(&format!("checkpoint {generation}"), found),
        }
    }
    if was_saved && generations.is_empty() {
        findings.take("checkpoints", Err(folder.checkpoints_are_gone()));
    }
    let look = || metrics::check(&folder.metrics(), newest);
    // A line that a run is writing is whole the next time.
    let notices = look().and_then(|notices| if notices.is_empty() { Ok(notices) } else { look() });
    let notices = notices.and_then(|notices| match notices.first() {
        None => Ok(format!("whole up to generation {newest}")),
        Some(notice) => Err(Error::Usage(notice.clone())),
    });
    findings.take("metrics", notices);
    match stretch {
        None => {}
        Some(Err(Error::Usage(why))) => say!("replay: {why}"),
        Some(Err(error)) => findings.take("replay", Err(error)),
        Some(Ok(stretch)) => match stretch.play(game, config, &place, folder) {
            Err(_) if Stretch::to(folder, Some(stretch.end)).ok() != Some(stretch) => {
                say!("replay: the run has removed meanwhile what it was to be compared with: call this again");
            }
            played => findings.take("replay", played),
        },
    }
    match findings.0 {
        0 => {
            say!("All of it is sound.");
            Ok(())
        }
        n => Err(Error::Run {
            path: folder.path().into(),
            message: format!("{n} {} not sound; see above", if n == 1 { "part is" } else { "parts are" }),
        }),
    }
}

/// Checks that a checkpoint loads, belongs to the log, and evaluates, and returns a text that says so.
fn verify_checkpoint(
    game: AnyGame,
    config: &Config,
    place: &Place,
    folder: &Folder,
    generation: u64,
    newest: u64,
) -> Result<String, Error> {
    let path = folder.checkpoints().join(generation.to_string());
    let stored = Checkpoint::read(game, &path)?;
    let size: usize = 4 * stored.tensors.iter().map(|tensor| tensor.data.len()).sum::<usize>();
    // As a run that goes on from it would begin, with the settings of then.
    let config = Config { run: config.run.clone(), lanes: config.lanes.clone(), ..stored.config.clone() };
    let sound = format!("loads and evaluates, {} of weights", bytes(size));
    match Trainer::replay(game, &config, place, &hooks::of_program(), Some((path.clone(), stored)), Log::of(folder)) {
        Err(Error::Log { fault: Fault::Removed, .. }) if generation < newest => {
            let stored = Checkpoint::read(game, &path)?;
            Trainer::without_games(game, &config, place, path, stored)?.saved()?;
            Ok(format!("{sound}; a player alone, whose games are gone by run.keep_log = false"))
        }
        run => run?.saved().map(|_| sound),
    }
}

/// A stretch of rounds to play and learn again.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stretch {
    /// The generation that the rounds go on from: one that has a checkpoint, or 0.
    start: u64,
    /// The last round.
    end: u64,
}

impl Stretch {
    /// Returns the stretch from the last checkpoint before `round` to the end of that round, or to that of the newest
    /// checkpoint without one.
    ///
    /// # Errors
    /// Why the round cannot be played again, as an error of usage if nothing is wrong with the run.
    fn to(folder: &Folder, round: Option<u64>) -> Result<Self, Error> {
        let log = Log::of(folder);
        let generations = checkpoint::generations(folder)?;
        let newest = generations.last().copied().unwrap_or(0);
        let known = log.known(newest)?.last().copied();
        let mut rounds = log.rounds()?;
        rounds.retain(|&round| Some(round) <= known);
        let (Some(&first), Some(&last)) = (rounds.first(), rounds.last()) else {
            return Err(Error::Usage("no round of the run has ended yet, so there is nothing to play again".into()));
        };
        if let Some(round) = round.filter(|&round| round > last) {
            return Err(Error::Usage(format!("there is no round {round} in the log, whose last one is {last}")));
        }
        let end = round.unwrap_or(if newest > 0 { newest } else { last });
        let manifest = |generation: u64| Manifest::read(&folder.checkpoints().join(generation.to_string()));
        // Random weights are made again; others are there only as a checkpoint.
        let is_random = !generations.iter().any(|&generation| manifest(generation).is_ok_and(|m| m.from_weights));
        let mut starts = generations.clone();
        if is_random && generations.first() != Some(&0) {
            starts.insert(0, 0);
        }
        // The first round of those that it builds on and those up to the end that is not there.
        let missing = |start: u64, end: u64| -> Result<Option<u64>, Error> {
            let before = if start == 0 { BTreeMap::new() } else { manifest(start)?.segments };
            let mut needed = before.into_keys().chain(start + 1..=end);
            Ok(needed.find(|round| rounds.binary_search(round).is_err()))
        };
        let why = match starts.iter().copied().rfind(|&start| start < end) {
            None => "what the run began with (--from) is gone, which was its checkpoint 0".into(),
            Some(start) => match missing(start, end) {
                Ok(None) => return Ok(Self { start, end }),
                Ok(Some(round)) if round > first => return Err(log.missing(round)),
                Ok(Some(round)) => format!(
                    "the games of round {round} are gone: the log begins with round {first}, as run.keep_log = false and \
                     lockstep prune keep only what checkpoints need"
                ),
                // A run has removed it meanwhile.
                Err(_) if start > 0 && checkpoint::of_generation(folder, start).is_none() => {
                    return Self::to(folder, Some(end));
                }
                Err(error) => return Err(error),
            },
        };
        let way = match starts.into_iter().find(|&start| missing(start, start + 1).is_ok_and(|none| none.is_none())) {
            Some(start) => format!("name a round from {} on with --replay", start + 1),
            None => "no other round can be played again either".into(),
        };
        Err(Error::Usage(format!("round {end} cannot be played again: {why}; {way}")))
    }

    /// Plays and learns the rounds again, and compares games and weights bit for bit.
    fn play(&self, game: AnyGame, config: &Config, place: &Place, folder: &Folder) -> Result<String, Error> {
        let Self { start, end } = *self;
        let path = folder.checkpoints().join(start.to_string());
        let stored = if start > 0 || path.is_dir() {
            let checkpoint = Checkpoint::read(game, &path)?;
            Some((path, checkpoint))
        } else {
            None
        };
        // Rounds after the end may not have ended yet.
        let mut config = config.clone();
        config.run.generations = end;
        let mut run = Trainer::replay(game, &config, place, &hooks::of_program(), stored, Log::of(folder))?;
        let bar = bar(end - start, "rounds");
        while run.generation() < end {
            if let Event::Generation(..) = run.advance()? {
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        let games = format!("the games of rounds {} to {end} are the same", start + 1);
        let stored = checkpoint::of_generation(folder, end).map(|path| (Checkpoint::read(game, &path), path));
        let (stored, path) = match stored {
            Some((Ok(stored), path)) => (stored, path),
            Some((Err(error), path)) if path.is_dir() => return Err(error),
            _ => {
                return Ok(format!("{games}; there is no checkpoint of generation {end} to compare the weights with"));
            }
        };
        let sorted = |mut tensors: Vec<NamedTensor>| {
            tensors.sort_by(|a, b| a.name.cmp(&b.name));
            tensors
        };
        let again = run.saved()?;
        let both = |playing, trained: Option<_>| (sorted(playing), trained.map(sorted));
        if both(again.tensors, again.trained) != both(stored.tensors, stored.trained) {
            let message = "the weights that were learned again are other ones; the games are the same".into();
            return Err(Error::Run { path, message });
        }
        Ok(format!("{games}, and so are the weights of generation {end}"))
    }
}
