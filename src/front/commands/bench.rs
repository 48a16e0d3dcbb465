mod all;

use crate::{
    Error,
    checkpoint::Seconds,
    cli::{BenchArgs, BenchKind},
    data,
    device::{self, Backend, Place},
    games::{self, AnyGame},
    measure,
    memory::MemoryBound,
    metrics::{Learned, Metrics},
    say,
    settings::{self, Source},
    stages::{StageSeconds, Timing},
    tell,
    text::count,
};
use lockstep_components::Config;
use lockstep_systems::{Evaluator, Uniform};
use serde_json::{Map, Value, json};

/// Carries out `lockstep bench`.
pub fn run(args: BenchArgs) -> Result<(), Error> {
    if !(args.seconds > 0.0 && args.seconds <= 86_400.0) {
        return Err(Error::Usage(format!("--seconds {} must be above 0 and at most 86400", args.seconds)));
    }
    if let Some(batch) = args.batch.filter(|batch| !(1..=1_000_000).contains(batch)) {
        return Err(Error::Usage(format!("--batch {batch} must be from 1 to 1000000")));
    }
    if args.what == BenchKind::All {
        return all::run(&args);
    }
    let (line, rates) = device::with_threads(args.threads, || measure(&args))?;
    if args.json {
        data!("{}", Value::Object(line));
    } else {
        let measured = |key: &str| rates.iter().any(|(name, _)| name == key);
        let settings = line.iter().filter(|(key, _)| !measured(key)).skip(1);
        let settings = settings.map(|(key, value)| format!("{key} {}", value.to_string().trim_matches('"')));
        say!("{}", settings.collect::<Vec<_>>().join(", "));
        for (name, rate) in &rates {
            let number = if name.starts_with("ns_") || *rate < 100.0 { format!("{rate:.2}") } else { count(*rate) };
            say!("  {:<34} {number:>10}", name.replace('_', " "));
        }
    }
    let plays = matches!(args.what, BenchKind::Search | BenchKind::Selfplay);
    if plays && !rates.iter().any(|(name, _)| name == "games_per_second") {
        tell!("No game ended in this time, so there is no rate of games and moves; give it more --seconds.");
    }
    Ok(())
}

/// Returns the game that a command line names, its recipe if there is one of that name, and the settings to measure:
/// those of the recipe, and what the command line changes.
fn configured(args: &BenchArgs) -> Result<(AnyGame, Option<&'static str>, Config), Error> {
    let game = games::named(args.game.as_deref().unwrap_or("connect_four"))?;
    let given = [
        args.lanes.map(|n| format!("lanes.count={n}")),
        args.simulations.map(|n| format!("search.simulations={n}")),
        // The simulations that are given are those of each search.
        args.simulations.map(|_| "search.fast_simulations=0".into()),
        args.network.map(|kind| format!("network.kind={}", json!(kind))),
        args.channels.map(|n| format!("network.channels={n}")),
        args.blocks.map(|n| format!("network.blocks={n}")),
        args.batch.map(|n| format!("learn.batch_size={n}")),
        args.device.as_ref().map(|device| format!("run.device={device}")),
        args.precision.as_ref().map(|precision| match args.what {
            BenchKind::Train => format!("learn.precision={precision}"),
            _ => format!("run.precision={precision}"),
        }),
        args.vectors.as_ref().map(|vectors| format!("run.vectors={vectors}")),
    ];
    let mut overrides: Vec<String> = given.into_iter().flatten().collect();
    if args.what == BenchKind::Search {
        overrides.extend(["search.solver=false".into(), "search.cache_mb=0".into()]);
    }
    overrides.extend(args.set.iter().cloned());
    let recipe = games::recipes_of(&game).into_iter().find(|(name, _)| *name == game.info.name);
    let config = match recipe {
        Some((name, _)) => settings::load(Source::Recipe(name), &overrides)?,
        None => settings::parse(&format!("[game]\nname = \"{}\"", game.info.name), "bench", &overrides)?,
    };
    if config.game.name != game.info.name {
        return Err(Error::Usage(format!("name the game with --game {}, not with --set", config.game.name)));
    }
    Ok((game, recipe.map(|(name, _)| name), config))
}

/// Measures what a command line names, and returns the object to print, with the rates in it, and the rates.
fn measure(args: &BenchArgs) -> Result<(Map<String, Value>, Measured), Error> {
    let (game, recipe, config) = configured(args)?;
    let place = device::place_of(&config)?;
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| line.insert(key.into(), value);
    put("bench", format!("{:?}", args.what).to_lowercase().into());
    put("game", game.info.name.into());
    if let Some(name) = recipe {
        put("recipe", name.into());
    }
    if matches!(args.what, BenchKind::Search | BenchKind::Selfplay) {
        put("lanes", config.lanes.count.into());
        put("simulations", config.search.simulations.into());
        if config.search.fast_simulations > 0 {
            put("fast_simulations", config.search.fast_simulations.into());
            put("full_search_chance", json!((f64::from(config.search.full_search_chance) * 1e6).round() / 1e6));
        }
    }
    if args.what != BenchKind::Search {
        put("network", json!(config.network.kind));
        put("channels", config.network.channels.into());
        put("blocks", config.network.blocks.into());
        put("device", place.name.clone().into());
        let trains = args.what == BenchKind::Train;
        put("precision", if trains { json!(config.learn.precision) } else { json!(place.precision) });
        if place.evaluation == Backend::Fused {
            put("vectors", place.level.name().into());
        }
    }
    if matches!(args.what, BenchKind::Network | BenchKind::Train) {
        put("batch", config.learn.batch_size.into());
    }
    put("threads", rayon::current_num_threads().into());
    if matches!(args.what, BenchKind::Network | BenchKind::Train) {
        MemoryBound::of_run(game, &config, &place)?.check()?;
    }
    let rates = match args.what {
        BenchKind::Search => ticks(game, &config, &place, Box::new(Uniform::default()), args)?,
        BenchKind::Selfplay => {
            let rows = device::batch_capacity(game, &config, &place);
            ticks(game, &config, &place, measure::evaluator(game, &config, &place, rows)?, args)?
        }
        BenchKind::Network => network(game, &config, &place, args.seconds)?,
        BenchKind::Train => {
            vec![("samples_per_second".into(), measure::samples(game, &config, &place, args.seconds)?)]
        }
        BenchKind::All => unreachable!("the list is not measured as one"),
    };
    for (name, rate) in &rates {
        put(name, json!(if *rate < 100.0 { (rate * 1000.0).round() / 1000.0 } else { rate.round() }));
    }
    Ok((line, rates))
}

type Measured = Vec<(String, f64)>;

/// Measures rates of search or of self-play.
fn ticks(
    game: AnyGame,
    config: &Config,
    place: &Place,
    evaluator: Box<dyn Evaluator>,
    args: &BenchArgs,
) -> Result<Measured, Error> {
    let timing = if args.stages { Timing::fine() } else { Timing::coarse() };
    let ticks = measure::ticks(game, config, place, evaluator, timing, args.seconds)?;
    let (all, spent) = (ticks.stats, ticks.seconds);
    let mut rates = vec![("simulations_per_second".to_string(), ticks.simulations_per_second)];
    if args.what == BenchKind::Selfplay {
        rates.push(("evaluations_per_second".into(), ticks.evaluations_per_second));
    }
    // Moves and games are counted when games end: too rarely for the stretches of a slow device.
    if all.games > 0 {
        rates.extend([
            ("moves_per_second".into(), all.moves as f64 / spent),
            ("games_per_second".into(), all.games as f64 / spent),
        ]);
    }
    if args.what == BenchKind::Selfplay {
        let metrics = Metrics::new(0, &all, &all, &Learned::default(), Seconds::default(), StageSeconds::default());
        rates.extend([
            ("mean_batch".into(), metrics.mean_batch),
            ("batch_fill".into(), metrics.batch_fill),
            ("cache_hits".into(), metrics.cache_hits),
            ("duplicates".into(), metrics.duplicates),
            ("terminal_share".into(), metrics.terminal_share),
            ("proven".into(), metrics.proven),
        ]);
    }
    if args.stages {
        let ns = |time: f64| time * 1e9 / all.simulations.max(1) as f64;
        rates.extend(ticks.stages.into_iter().map(|(name, time)| (format!("ns_{name}"), ns(time))));
        rates.push(("ns_all".into(), ns(spent)));
    }
    Ok(rates)
}

fn network(game: AnyGame, config: &Config, place: &Place, seconds: f64) -> Result<Measured, Error> {
    let rows = config.learn.batch_size;
    let mut evaluator = measure::evaluator(game, config, place, rows)?;
    let rate = measure::evaluations(game, &mut *evaluator, rows, seconds)?;
    Ok(vec![("evaluations_per_second".into(), rate)])
}
