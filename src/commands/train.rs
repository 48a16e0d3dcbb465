use crate::{
    Error,
    analyst::Player,
    checkpoint,
    cli::TrainArgs,
    commands::{Basis, Graded, Grading, grade},
    device,
    display::{Display, duration},
    folder::{Folder, write_file},
    metrics::{self, bytes},
    settings,
    stages::StageTimes,
    trainer::{self, Advance, Trainer},
};
use lockstep_components::{Config, Game, Stats, games::GameVisitor};
use lockstep_systems::{Bounds, Learner};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// Set once everything is saved: a signal then ends the program without more ado.
static SAVED: AtomicBool = AtomicBool::new(false);

/// Whether the user has asked to stop.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// `lockstep train`
pub fn run(args: TrainArgs) -> Result<(), Error> {
    let path = args.run.clone().unwrap_or_else(|| {
        let recipe = args.config.as_deref().and_then(Path::file_stem).map(Path::new);
        PathBuf::from("runs").join(recipe.unwrap_or(Path::new("tictactoe")))
    });
    let folder = Folder::at(&path);
    let config = resolve(&args, &folder)?;
    // A second signal ends the program at once; the newest checkpoint is then where it goes on.
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) || SAVED.load(Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|e| Error::Usage(format!("cannot listen to Ctrl-C: {e}")))?;
    let name = config.game.name.clone();
    device::with_threads(config.run.threads, || super::with_game(&name, Train { config, folder, args }))
}

/// The configuration of a new run, or that of the run in the folder with what may change changed.
fn resolve(args: &TrainArgs, folder: &Folder) -> Result<Config, Error> {
    let mut overrides = args.set.clone();
    overrides.extend(args.threads.map(|n| format!("run.threads={n}")));
    overrides.extend(args.seed.map(|s| format!("run.seed={s}")));
    if !folder.is_run() {
        return settings::load(args.config.as_deref(), &overrides);
    }
    let stored = settings::load(Some(&folder.config()), &[])?;
    let config = match &args.config {
        // The folder's own configuration is the recipe as it was, with its overrides.
        None => settings::load(Some(&folder.config()), &overrides)?,
        Some(file) => {
            let recipe = settings::load(Some(file), &[])?;
            let original = if without_run(&recipe) == without_run(&stored) { None } else { Some(file.as_path()) };
            settings::load(Some(original.unwrap_or(&folder.config())), &overrides)?
        }
    };
    let fixed: [(&str, bool); 7] = [
        ("game.name", config.game == stored.game),
        ("lanes.count", config.lanes.count == stored.lanes.count),
        ("lanes.leaves_per_tree", config.lanes.leaves_per_tree == stored.lanes.leaves_per_tree),
        ("search.simulations", config.search.simulations == stored.search.simulations),
        ("[network]", config.network == stored.network),
        ("run.seed", config.run.seed == stored.run.seed),
        ("learn.optimizer", config.learn.optimizer == stored.learn.optimizer),
    ];
    if let Some((key, _)) = fixed.iter().find(|(_, same)| !same) {
        return Err(Error::Run {
            path: folder.path().into(),
            message: format!(
                "the run in this folder has another {key}, which cannot change within a run; \
                 choose another folder with --run to start a new one"
            ),
        });
    }
    Ok(config)
}

fn without_run(config: &Config) -> Config {
    Config { run: Config::default().run, ..config.clone() }
}

struct Train {
    config: Config,
    folder: Folder,
    args: TrainArgs,
}

impl GameVisitor for Train {
    type Output = Result<(), Error>;

    fn visit<G: Game>(self) -> Result<(), Error> {
        let Self { config, folder, args } = self;
        let place = device::place_of(&config.run)?;
        folder.create()?;
        let _lock = folder.lock()?;
        let mut run = trainer::open::<G>(&config, &place, &folder)?;
        let shown = folder.path().display();
        if run.is_finished() {
            println!("{shown} is finished: {} generations of {}.", run.generation(), G::TITLE);
            verdict::<G>(&folder, &config)?;
            println!(
                "To start anew, name another folder with --run. To go on longer: {} --set run.generations={}",
                command(&args, &folder),
                run.generation() * 2
            );
            return Ok(());
        }
        let bounds = Bounds::of::<G>(&config);
        println!(
            "{} {} in {shown}: {} lanes, {} simulations a move, on {} with {} threads, seed {}",
            if run.generation() > 0 || run.seconds().play > 0.0 { "Going on with" } else { "Learning" },
            G::TITLE,
            config.lanes.count,
            config.search.simulations,
            place.name,
            rayon::current_num_threads(),
            config.run.seed,
        );
        println!(
            "Memory at most: {} for trees, {} for lanes and batches, {} for the cache, {} for replay, {} for training, \
             besides the network. Ctrl-C saves and stops.",
            bytes(bounds.trees),
            bytes(bounds.lanes),
            bytes(bounds.cache),
            bytes(bounds.replay),
            bytes(run.world.resource::<Learner>().bytes())
        );
        let mut display = Display::new(&config, run.generation());
        let trained = train(&mut run, &config, &folder, &mut display);
        display.close();
        match trained {
            Ok(true) => {}
            Ok(false) => {
                println!(
                    "Stopped and saved in generation {} of {}. To go on: {}",
                    run.generation() + 1,
                    config.run.generations,
                    command(&args, &folder)
                );
                return Ok(());
            }
            Err(error) => {
                let good = checkpoint::newest(&folder)?;
                let good = good.map_or("there is none yet".into(), |path| path.display().to_string());
                return Err(Error::Run {
                    path: folder.path().into(),
                    message: format!("{error}. The last good checkpoint: {good}"),
                });
            }
        }
        println!("Trained {} generations in {}.", run.generation(), duration(run.seconds().play + run.seconds().learn));
        verdict::<G>(&folder, &config)?;
        println!("To play against it: lockstep play --run {shown}");
        Ok(())
    }
}

/// Advances the run to its end. False when it was interrupted and saved.
fn train<G: Game>(
    run: &mut Trainer<G>,
    config: &Config,
    folder: &Folder,
    display: &mut Display,
) -> Result<bool, Error> {
    while !run.is_finished() {
        match run.advance()? {
            Advance::Played => {
                let world = &run.world;
                display.playing(world.resource::<Stats>(), run.seconds().this_play, world.resource::<StageTimes>());
            }
            Advance::Learned => display.learning(run.world.resource::<Learner>().progress()),
            Advance::Generation(generation, games) => {
                display.generation(&generation);
                trainer::write_games::<G>(folder, generation.generation, &games)?;
                metrics::append(&folder.metrics(), &generation)?;
                if generation.generation.is_multiple_of(config.run.checkpoint_every) || run.is_finished() {
                    run.save(folder)?;
                }
            }
        }
        if interrupted() && !run.is_finished() {
            run.save(folder)?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Prints how the finished player was graded, and grades it the first time.
fn verdict<G: Game>(folder: &Folder, config: &Config) -> Result<(), Error> {
    SAVED.store(true, Ordering::Relaxed);
    // With the settings of this command, which are not stored for a run that is finished.
    let player = Player { config: config.clone(), ..Player::open(folder.path(), None)? };
    let path = folder.verdict();
    let grading = Grading { simulations: config.run.grade_simulations, limit: Some(200), ..Grading::default() };
    let basis = Basis::of::<G>(&player, &grading)?;
    // A file that cannot be read is one that says nothing: the player is graded anew.
    let known = std::fs::read_to_string(&path).ok().and_then(|text| Graded::from_lines(&text, &basis));
    let graded = match known {
        Some(graded) => graded,
        None => {
            let graded = grade::<G>(&player, &grading)?;
            if graded.is_empty() {
                println!("There is no exact solver for {} here, so it was not graded.", G::TITLE);
                return Ok(());
            }
            write_file(&path, Graded::to_lines(&graded, &basis).as_bytes())?;
            graded
        }
    };
    Graded::print_table(&graded);
    Ok(())
}

/// How to call for this run again.
fn command(args: &TrainArgs, folder: &Folder) -> String {
    let mut command = String::from("lockstep train");
    if let Some(config) = &args.config {
        command += &format!(" --config {}", config.display());
    }
    command + &format!(" --run {}", folder.path().display())
}
