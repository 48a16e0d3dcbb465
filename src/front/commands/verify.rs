use crate::{
    Error,
    checkpoint::{self, Checkpoint},
    cli::VerifyArgs,
    device::{self, Place},
    display::bar,
    folder::Folder,
    log::Log,
    metrics::{self, bytes},
    run::memory::Bound,
    say, settings,
    trainer::{Advance, Trainer},
};
use lockstep_components::{Config, Game, games::GameVisitor};
use std::path::PathBuf;

/// `lockstep verify`
pub fn run(args: VerifyArgs) -> Result<(), Error> {
    let folder = Folder::of_run(&args.run)?;
    let config = settings::load(settings::Source::File(&folder.config()), &[])?;
    let name = config.game.name.clone();
    device::with_threads(args.threads, || super::with_game(&name, Verify { folder, config, args }))
}

struct Verify {
    folder: Folder,
    config: Config,
    args: VerifyArgs,
}

/// What was looked at so far: everything is, whatever is wrong with a part of it.
#[derive(Default)]
struct Findings(u64);

impl Findings {
    /// Prints what was found, and returns it if it is sound.
    fn take<T>(&mut self, what: String, found: Result<(T, String), Error>) -> Option<T> {
        match found {
            Ok((value, sound)) => {
                say!("{what}: {sound}");
                Some(value)
            }
            Err(error) => {
                self.0 += 1;
                say!("{what}: WRONG: {error}");
                None
            }
        }
    }
}

impl GameVisitor for Verify {
    type Output = Result<(), Error>;

    fn visit<G: Game>(self) -> Result<(), Error> {
        let Self { folder, config, args } = self;
        device::keep_kernels_of(&folder, &config);
        let place = device::place_of(&config)?;
        let mut findings = Findings::default();
        let log = Log::of(&folder);
        let rounds = log.rounds()?;
        let mut window = config.replay.window;
        for &round in &rounds {
            let read = log.read::<G>(round).and_then(|segment| {
                let Some(segment) = segment else { return Ok(((), "gone".into())) };
                window = window.max(settings::with_essence(&config, &segment.header.settings)?.replay.window);
                Ok(((), format!("{}, whole", crate::out::number(segment.games.len() as u64, "game"))))
            });
            findings.take(format!("log of round {round}"), read);
        }
        Bound::of_rounds::<G>(&config, window, &place)?.check()?;
        if let Some(last) = log.last()?.filter(|last| !rounds.contains(last)) {
            let read = log.read::<G>(last).map(|segment| {
                let ended = segment.map_or(0, |segment| segment.games.len());
                ((), format!("{} that ended", crate::out::number(ended as u64, "game")))
            });
            findings.take(format!("log of round {last}"), read);
        }
        let generations = checkpoint::generations(&folder)?;
        for &generation in &generations {
            let found = verify_checkpoint::<G>(&config, &place, &folder, generation);
            findings.take(format!("checkpoint {generation}"), found.map(|text| ((), text)));
        }
        let newest = generations.last().copied().unwrap_or(0);
        let notices = metrics::check(&folder.metrics(), newest).and_then(|notices| match notices.first() {
            None => Ok(((), format!("whole up to generation {newest}"))),
            Some(notice) => Err(Error::Usage(notice.clone())),
        });
        findings.take("metrics".into(), notices);
        if let Some(round) = args.replay {
            let replayed = replay::<G>(&config, &place, &folder, round).map(|text| ((), text));
            findings.take("replay".into(), replayed);
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
}

/// A checkpoint loads, belongs to the log, and evaluates.
fn verify_checkpoint<G: Game>(
    config: &Config,
    place: &Place,
    folder: &Folder,
    generation: u64,
) -> Result<String, Error> {
    let path = folder.checkpoints().join(generation.to_string());
    let stored = Checkpoint::read::<G>(&path)?;
    let size: usize = 4 * stored.tensors.iter().map(|tensor| tensor.data.len()).sum::<usize>();
    // As a run that goes on from it would begin, with the settings of then.
    let config = Config { run: config.run.clone(), lanes: config.lanes.clone(), ..stored.config.clone() };
    Trainer::<G>::replay(&config, place, Some((path, stored)), Log::of(folder))?.saved()?;
    Ok(format!("loads and evaluates, {} of weights", bytes(size)))
}

/// Plays and learns again what led to this round, or to the newest checkpoint, and compares it bit for bit.
fn replay<G: Game>(config: &Config, place: &Place, folder: &Folder, round: Option<u64>) -> Result<String, Error> {
    let log = Log::of(folder);
    let generations = checkpoint::generations(folder)?;
    let last = log.rounds()?.last().copied().unwrap_or(0);
    let end = round.or(generations.last().copied()).unwrap_or(last);
    if end == 0 || end > last {
        return Err(Error::Usage(format!("there is no round {end} in the log, whose last one is {last}")));
    }
    let start = generations.iter().copied().filter(|&generation| generation < end).max();
    let stored = start.map(|start| -> Result<(PathBuf, Checkpoint), Error> {
        let path = folder.checkpoints().join(start.to_string());
        Ok((path.clone(), Checkpoint::read::<G>(&path)?))
    });
    let mut run = Trainer::<G>::replay(config, place, stored.transpose()?, log)?;
    let first = run.generation() + 1;
    let bar = bar(end + 1 - first, "rounds");
    while run.generation() < end {
        if let Advance::Generation(..) = run.advance()? {
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let games = format!("the games of rounds {first} to {end} are the same");
    let Some(path) = checkpoint::of_generation(folder, end) else {
        return Ok(format!("{games}; there is no checkpoint of generation {end} to compare the weights with"));
    };
    let sorted = |mut tensors: Vec<lockstep_systems::network::NamedTensor>| {
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    };
    let (again, stored) = (run.saved()?, Checkpoint::read::<G>(&path)?);
    let both = |playing, trained: Option<_>| (sorted(playing), trained.map(sorted));
    if both(again.tensors, again.trained) != both(stored.tensors, stored.trained) {
        let message = "the weights that were learned again are other ones; the games are the same".into();
        return Err(Error::Run { path, message });
    }
    Ok(format!("{games}, and so are the weights of generation {end}"))
}
