use crate::{
    Error, advice,
    analyst::Player,
    checkpoint,
    cli::TrainArgs,
    commands::grade::{graded, print_table},
    device::{self, Backend, Place},
    display::{self, Display},
    fleet::{self, message::Phase},
    folder::{Folder, or_warn, write_file},
    games::{self, AnyGame},
    grade::{Basis, Graded, Grading},
    history::{self, Resolved, list},
    hooks,
    insight::{examiner::Examiner, report, tensorboard::Events},
    log::Log,
    machine::{Machine, Monitor},
    memory::{self, MemoryBound},
    metrics::{self, Metrics},
    rehearsal::{Rehearsal, name_keys},
    relief::{relieved, worked},
    run::probe::probe,
    say,
    settings::{self, Source},
    source::{GameSource, Lanes},
    tell,
    text::{bytes, duration, number, quoted},
    trainer::{self, Event, Trainer},
};
use lockstep_components::{
    Config,
    config::{Precision, RateSchedule},
};
use lockstep_systems::{
    Learner,
    network::{NamedTensor, check_tensors, describe},
};
use std::{
    cell::RefCell,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Whether the user has asked to stop.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// Whether there is something to save: at any other time a signal ends the program without more ado.
static AT_WORK: AtomicBool = AtomicBool::new(false);

/// How much time lies at least between two reports of a run that trains.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// How long a second signal waits for what the first one has asked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the user has asked a run to stop, by Ctrl-C or another signal that ends programs.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Listens to Ctrl-C and to the other signals that end programs: see [`interrupted`].
pub(super) fn listen() -> Result<(), Error> {
    let handler = || {
        // Nothing is lost while a run is set up or graded. While it is at work the first signal asks it to stop and to
        // save; one that follows, as from a terminal and `timeout` at once, gives it the time for that.
        let began = Instant::now();
        let again = INTERRUPTED.swap(true, Ordering::Relaxed);
        while again && AT_WORK.load(Ordering::Relaxed) && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        if again || !AT_WORK.load(Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|e| Error::Usage(format!("cannot start threads to listen to Ctrl-C: {e}")))
}

/// Says whether there is something to save: see [`listen`].
pub(super) fn set_at_work(at_work: bool) {
    AT_WORK.store(at_work, Ordering::Relaxed);
}

/// Carries out `lockstep train`.
pub fn run(args: TrainArgs) -> Result<(), Error> {
    let path = args.run.clone().unwrap_or_else(|| PathBuf::from("runs").join(name_of(&args)));
    let recipe = match (&args.recipe, &args.config) {
        (Some(name), _) => Some(Source::Recipe(name)),
        (_, Some(file)) => Some(Source::File(file)),
        (None, None) => None,
    };
    let folder = Folder::to_train(&path)?;
    if let Some(found) = history::put_back(&folder, recipe)? {
        tell!("{}: config.toml was gone; it is put back with the settings of {}", path.display(), found.display());
    }
    // Whoever says where and nothing about what to learn wants to go on.
    let silent = recipe.is_none() && args.set.is_empty() && args.seed.is_none() && args.from.is_none();
    if args.run.is_some() && silent {
        Folder::of_run(&path)?;
    }
    let mut overrides = args.set.clone();
    overrides.extend(args.threads.map(|n| format!("run.threads={n}")));
    overrides.extend(args.device.map(|device| format!("run.device={device}")));
    overrides.extend(args.seed.map(|s| format!("run.seed={s}")));
    let resolved = history::resolve(&folder, recipe, &overrides)?;
    listen()?;
    if !folder.is_run()
        && let Some(warning) = settings::recipe_warning(recipe.unwrap_or_default(), &resolved.config)
    {
        tell!("warning: {warning}");
    }
    let fleet = args.fleet.map(|place| (place, !args.no_play));
    let until = args.minutes.map(|minutes| Instant::now() + Duration::from_secs_f64(60.0 * minutes));
    let from = args.from.as_deref().map(|from| weights_from(from, &folder)).transpose()?;
    device::with_threads(resolved.config.run.threads, || train(Train { resolved, folder, from, until, fleet }))
}

/// Returns what the folder of a run is called unless the user says: as its recipe, or its game where there is none.
fn name_of(args: &TrainArgs) -> &str {
    let file = args.config.as_deref().and_then(Path::file_stem).and_then(OsStr::to_str);
    let game = || args.set.iter().rev().find_map(|set| set.strip_prefix("game.name="));
    let name = args.recipe.as_deref().or(file).or_else(game).unwrap_or("tictactoe");
    name.trim_matches(['"', '\'', ' '])
}

/// Returns the weights that a new run is to begin with: those of a file, or of the newest checkpoint of a run.
fn weights_from(from: &Path, folder: &Folder) -> Result<Vec<NamedTensor>, Error> {
    if folder.is_run() {
        return Err(Error::Run {
            path: folder.path().into(),
            message:
                "there is a run here already, which goes on from its own weights; name another folder with --run, \
                      or leave --from out"
                    .into(),
        });
    }
    if from.is_dir() {
        return Ok(Player::open(from, None)?.weights);
    }
    checkpoint::read_weights_file(from)
}

/// A run that is to be trained.
struct Train {
    resolved: Resolved,
    folder: Folder,
    from: Option<Vec<NamedTensor>>,
    /// When to stop the run.
    until: Option<Instant>,
    /// Where it meets its workers, if it has any, and whether it plays itself all the same.
    fleet: Option<(fleet::Address, bool)>,
}

/// A run whose games come from lanes, or from a fleet.
type Run = Trainer<Box<dyn GameSource>>;

/// Begins a run or goes on with it, and grades its player at the end.
fn train(run: Train) -> Result<(), Error> {
    let Train { resolved: Resolved { mut config, mut changes, ignored }, folder, from, until, fleet } = run;
    let game = games::named(&config.game.name)?;
    let hooks = hooks::of_program();
    folder.keep_kernels(&config);
    let mut place = device::place_of(&config)?;
    // A run keeps the numbers that it begins with, wherever it goes on.
    config.run.precision = place.precision;
    for change in changes.iter_mut().filter(|change| change.key == "run.precision") {
        change.to = toml::Value::from(place.precision.name()).to_string();
    }
    changes.retain(|change| change.from != change.to);
    if let Some(tensors) = &from {
        check_tensors(&describe(&game.info, &config.network), tensors).map_err(|e| {
            Error::Usage(format!(
                "--from: {e}; game.name and the keys of [network] must be those that the weights were made with"
            ))
        })?;
    }
    let is_gpu = place.evaluation == Backend::BurnPadded;
    if is_gpu {
        tell!("Choosing kernels for {}, which takes minutes the first time.", place.name);
    }
    // First of all, and before anything is created or allocated.
    let began = Instant::now();
    let bound = bound(game, &config, &place, &folder, fleet.is_some())?;
    bound.check()?;
    let looked = began.elapsed().as_secs_f64();
    let resumed = folder.is_run();
    folder.create()?;
    let _lock = folder.lock()?;
    say!("Memory at most {}: {bound}.", bytes(bound.total() as usize));
    let reached = checkpoint::generations(&folder)?.last().copied().unwrap_or(0);
    let told = |message: &str| tell!("{message}");
    if reached < config.run.generations {
        // A run that is there goes on with less at once; before it begins the user may choose.
        let mut rehearsal = match resumed {
            true => relieved(
                game,
                &mut config,
                &mut place,
                &folder,
                |config, place| Rehearsal::of(game, config, place),
                told,
            )?,
            false => Rehearsal::of(game, &config, &place).map_err(|error| name_keys(error, &config))?,
        };
        // The first evaluator and the first learner chose their kernels there.
        rehearsal.tuning += if is_gpu { looked } else { 0.0 };
        say!("Rehearsed: {rehearsal}.");
    }
    let finished = reached >= config.run.generations;
    let link = match fleet.filter(|_| !finished) {
        None => None,
        Some((address, plays)) => {
            let store = fleet::store::open(&address)?;
            let probe = probe(game, &place)?;
            Some(fleet::learner::Link::open(&address, store, &folder, &config, probe, plays)?)
        }
    };
    let begin = |config: &Config, place: &Place, from| {
        trainer::open_with(game, config, place, &folder, from, &hooks, || -> Box<dyn GameSource> {
            let lanes = Lanes::new(game, config, place, &hooks);
            match &link {
                None => Box::new(lanes),
                Some(link) => Box::new(link.source(lanes, game, config)),
            }
        })
    };
    let open = |config: &Config, place: &Place| begin(config, place, from.clone());
    let run = relieved(game, &mut config, &mut place, &folder, open, told)?;
    let (shown, title) = (folder.path().display(), game.start_of(&config).title());
    if run.is_finished() {
        say!("{shown} is finished: {} of {title}.", number(run.generation(), "generation"));
        verdict(&folder, &config)?;
        say!(
            "To start anew, name another folder with --run. To go on longer: {} --set run.generations={}",
            command(&folder),
            run.generation() * 2
        );
        if !changes.is_empty() {
            let kept = changes.iter().map(|change| format!("{} = {}, and not {}", change.key, change.from, change.to));
            let kept = kept.collect::<Vec<_>>().join("; ");
            tell!("Nothing was trained, so the run keeps its settings: {kept}.");
        }
        return Ok(());
    }
    let trains_fused = run.learning.resource::<Learner>().is_fused();
    let fixed = fixed(game, &config, &place, &bound, trains_fused);
    if let Some(slow) = advice::slow_network(&config, &fixed) {
        tell!("warning: {slow}.");
    }
    if !ignored.is_empty() {
        let keys = ignored.iter().map(|c| format!("{} = {} (the recipe has {})", c.key, c.to, c.from));
        let keys = keys.collect::<Vec<_>>().join(", ");
        tell!("The run keeps its own settings: {keys}. To change one: --set KEY=VALUE.");
    }
    if !changes.is_empty() {
        let from = run.next_round();
        say!("Changed from generation {from} on: {}.", list(&changes));
        history::record(&folder, from, &changes)?;
    }
    say!(
        "{} {title} in {shown}: {}, {} a move, on {} ({}) with {}, seed {}. Ctrl-C saves and stops.",
        if run.generation() > 0 || run.played() > 0 { "Going on with" } else { "Learning" },
        number(config.lanes.count.into(), "lane"),
        number(config.search.simulations.into(), "simulation"),
        place.name,
        place.precision.name(),
        number(rayon::current_num_threads() as u64, "thread"),
        config.run.seed,
    );
    if let Some(until) = until {
        say!("{}", of_the_time(&config, until));
    }
    let generations = metrics::load(&folder.metrics())?;
    let watch = RefCell::new(Watch {
        display: Display::new(config.run.generations, &generations, until),
        monitor: Monitor::new(fixed, &place),
        generations,
        examiner: Some(Examiner::open(game, &config, &place, &folder, &run)?),
        report_due: Instant::now(),
        events: events(&config, &folder, &run),
    });
    set_at_work(true);
    let work = |run: &mut Run, config: &Config| advance(game, run, config, &folder, &mut watch.borrow_mut(), until);
    let open = |config: &Config, place: &Place| {
        let run = begin(config, place, None)?;
        // The generations after the checkpoint are made again.
        let mut watch = watch.borrow_mut();
        watch.generations = metrics::load(&folder.metrics())?;
        watch.events = events(config, &folder, &run);
        watch.examiner = Some(Examiner::open(game, config, place, &folder, &run)?);
        Ok(run)
    };
    let told = |text: &str| watch.borrow_mut().display.tell(text);
    let trained = worked(game, &mut config, &mut place, &folder, run, work, open, told);
    // One that was stopped has only to say so: a second signal must not take that away.
    if matches!(trained, Ok((_, true))) {
        AT_WORK.store(false, Ordering::Relaxed);
    }
    watch.into_inner().display.close();
    if let Some(link) = link {
        link.close(if matches!(trained, Ok((_, true))) { Phase::Finished } else { Phase::Stopped });
    }
    let (run, is_finished) = match trained {
        Ok(trained) => trained,
        Err(error) => {
            let good = checkpoint::newest(&folder)?;
            let good = good.map_or("there is none yet".into(), |path| path.display().to_string());
            return Err(Error::Run {
                path: folder.path().into(),
                message: format!("{error}. The last good checkpoint: {good}"),
            });
        }
    };
    if !is_finished {
        say!(
            "Stopped and saved, with {} of generation {} of {}. To go on: {}",
            number(run.played() as u64, "game"),
            run.generation() + 1,
            config.run.generations,
            command(&folder)
        );
    }
    if run.generation() == 0 {
        return Ok(());
    }
    // Its memory is for the grading now.
    drop(run);
    let state = if is_finished { report::State::Finished } else { report::State::Stopped };
    write_report(&folder, state);
    display::summary(&folder)?;
    // Whoever has sent a signal does not wait for a verdict, and a second one must not take away that the run was saved;
    // whoever has set a time wants to know what has become of it.
    if !is_finished && interrupted() {
        return Ok(());
    }
    // All of it is saved: a signal ends the program.
    AT_WORK.store(false, Ordering::Relaxed);
    if !is_finished && interrupted() {
        return Ok(());
    }
    verdict(&folder, &config)?;
    write_report(&folder, state);
    Ok(())
}

/// Returns the bound on the memory of a run, of which a round that has begun may have a wider window.
fn bound(game: AnyGame, config: &Config, place: &Place, folder: &Folder, is_fleet: bool) -> Result<MemoryBound, Error> {
    let bound = if folder.is_run() {
        let reached = checkpoint::generations(folder)?.last().copied().unwrap_or(0);
        let window = trainer::widest_window(game, config, &Log::of(folder), reached + 1)?;
        MemoryBound::of_rounds(game, config, window, place)?
    } else {
        MemoryBound::of_run(game, config, place)?
    };
    let bound = if is_fleet { bound.with_fleet(game, config) } else { bound };
    if config.run.grade_share == 0.0 {
        return Ok(bound);
    }
    Ok(bound.with("measuring the strength", &Examiner::bound(game, config, place), "run.grade_share, to 0"))
}

/// What watches a run: the display, the monitor of the machine, the examiner, and the rules of the advice.
struct Watch {
    display: Display,
    monitor: Monitor,
    /// The last generations of the run, for the rules of the advice.
    generations: Vec<Metrics>,
    /// What measures the player, until that has failed.
    examiner: Option<Examiner>,
    /// When the report of the run is to be written next.
    report_due: Instant,
    /// The file for TensorBoard, if there is to be one.
    events: Option<Events>,
}

/// Returns the fields of the machine that the monitor cannot see.
fn fixed(game: AnyGame, config: &Config, place: &Place, bound: &MemoryBound, trains_fused: bool) -> Machine {
    let (is_gpu, has_kernels) = (place.evaluation == Backend::BurnPadded, place.evaluation == Backend::Fused);
    let network = describe(&game.info, &config.network);
    Machine {
        device: place.name.clone(),
        is_gpu,
        precision: place.precision,
        could_be_int16: has_kernels && network.is_fused_tower() && place.level.has_fast_integers(),
        could_be_bf16: is_gpu && place.precisions().contains(&Precision::Bf16),
        burn_plays: has_kernels && !network.is_fused(),
        burn_trains: has_kernels && !trains_fused,
        could_learn_in_bf16: trains_fused && device::could_learn_in_bf16(&network, config, place),
        threads: rayon::current_num_threads(),
        cores: device::cores(),
        bound: bound.total(),
        memory: memory::limit().0,
        cache_positions: game.cache_positions(config.search.cache_mb as usize * 1_000_000) as u64,
        ..Machine::default()
    }
}

/// Advances a run to its end; returns false when it was interrupted and saved.
fn advance(
    game: AnyGame,
    run: &mut Run,
    config: &Config,
    folder: &Folder,
    watch: &mut Watch,
    until: Option<Instant>,
) -> Result<bool, Error> {
    while !run.is_finished() {
        match run.advance()? {
            Event::Played if watch.display.is_due() => {
                let progress = (run.played() as u64, run.games());
                watch.display.playing(progress, &run.so_far(), &watch.monitor.peek());
            }
            Event::Learned if watch.display.is_due() => {
                watch.display.learning(run.learning.resource::<Learner>().progress());
            }
            Event::Played | Event::Learned => {}
            Event::Generation(generation, games) => {
                let generation = watch.generation(config, folder, *generation);
                let began = Instant::now();
                let text = trainer::write_games(folder, &game.start_of(config), generation.generation, &games);
                or_warn(&folder.games(), text);
                metrics::append(&folder.metrics(), generation)?;
                let last = generation.generation;
                run.wrote(began.elapsed());
                if last.is_multiple_of(config.run.checkpoint_every) || run.is_finished() {
                    run.save(folder)?;
                }
                watch.examine(run, config, folder, &|| {
                    interrupted() || until.is_some_and(|until| Instant::now() >= until)
                });
                if !run.is_finished() && Instant::now() >= watch.report_due {
                    let took = write_report(folder, report::State::Training);
                    run.wrote(took);
                    // However long it takes, it takes hardly anything of the run.
                    watch.report_due = Instant::now() + REPORT_EVERY.max(50 * took);
                }
            }
        }
        let late = until.is_some_and(|until| Instant::now() >= until);
        if (interrupted() || late) && !run.is_finished() {
            // Before the first generation has ended there is nothing but games, which are in the log.
            if run.generation() > 0 {
                run.save(folder)?;
            }
            return Ok(false);
        }
    }
    Ok(true)
}

impl Watch {
    /// Completes the metrics of a generation, and shows them.
    fn generation(&mut self, config: &Config, folder: &Folder, mut metrics: Metrics) -> &Metrics {
        metrics.machine = self.monitor.take();
        self.generations.drain(..self.generations.len().saturating_sub(advice::WINDOW - 1));
        self.generations.push(metrics);
        let advice = advice::advice(config, &self.generations);
        let metrics = self.generations.last_mut().expect("it has just come");
        metrics.advice = advice;
        if let Some(events) = &mut self.events {
            or_warn(&folder.tensorboard(), events.metrics(metrics.generation, metrics));
        }
        self.display.generation(metrics);
        metrics
    }

    /// Measures the player of the generation that has just ended, if there is time for it. What fails there is told, and
    /// nothing is measured from then on: the run does without.
    fn examine(&mut self, run: &Run, config: &Config, folder: &Folder, stop: &dyn Fn() -> bool) {
        let (Some(examiner), Some(metrics)) = (&mut self.examiner, self.generations.last()) else { return };
        match examiner.generation(run, config, metrics, stop) {
            Ok(None) => {}
            Ok(Some(line)) => {
                if let Some(events) = &mut self.events {
                    or_warn(&folder.tensorboard(), events.strength(line));
                }
                self.display.strength(examiner.lines());
            }
            Err(error) => {
                self.display.tell(&format!("The strength of the player is not measured any more: {error}."));
                self.examiner = None;
            }
        }
    }
}

/// Begins the file for TensorBoard if the settings ask for one. A run can do without it.
fn events(config: &Config, folder: &Folder, run: &Run) -> Option<Events> {
    let begun = config.run.tensorboard.then(|| Events::begin(folder, run.generation() + 1))?;
    begun.map_err(|error| or_warn(&folder.tensorboard(), Err(error))).ok()
}

/// Writes the report of a run, which the run can do without, and returns how long that took.
fn write_report(folder: &Folder, state: report::State) -> Duration {
    let began = Instant::now();
    or_warn(&folder.report(), report::write(folder, state));
    began.elapsed()
}

/// Prints how the player of a run was graded, and grades it unless that was done before.
fn verdict(folder: &Folder, config: &Config) -> Result<(), Error> {
    // With the settings of this command, which are not stored for a run that is finished.
    let player = Player { config: config.clone(), ..Player::open(folder.path(), None)? };
    let path = folder.verdict();
    let grading = Grading { simulations: config.run.grade_simulations, limit: Some(200), ..Grading::default() };
    let basis = Basis::of(&player, &grading)?;
    // A file that cannot be read is one that says nothing: the player is graded anew.
    let known = std::fs::read_to_string(&path).ok().and_then(|text| Graded::from_lines(&text, &basis));
    let graded = match known {
        Some(graded) => graded,
        None => {
            let graded = graded(&player, &grading)?;
            if graded.is_empty() {
                say!("There is no exact solver for {} here, so it was not graded.", player.game.info.title);
                return Ok(());
            }
            // It only saves grading the player again.
            or_warn(&path, write_file(&path, Graded::to_lines(&graded, &basis).as_bytes()));
            graded
        }
    };
    print_table(&graded);
    Ok(())
}

/// Returns what `--minutes` means for a run, which may end in mid-schedule.
fn of_the_time(config: &Config, until: Instant) -> String {
    let left = duration(until.saturating_duration_since(Instant::now()).as_secs_f64());
    let generations = number(config.run.generations, "generation");
    let schedule = match &config.learn.schedule {
        RateSchedule::Constant => "",
        _ => {
            " The learning rate keeps its schedule of all generations (learn.schedule) and has not fallen to its end if the \
             time is over before: run.generations may be lowered to what fits, which lockstep tune estimates."
        }
    };
    format!(
        "It stops in {left}, or after {generations}: --minutes counts from the start of the command, with the rehearsal and \
         without the grading.{schedule}"
    )
}

/// Returns the command that goes on with this run, for a shell. The run keeps its settings, so that its folder is all
/// that the command takes.
fn command(folder: &Folder) -> String {
    format!("lockstep train --run{}", quoted(folder.path()))
}
