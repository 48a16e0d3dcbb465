use crate::{
    Error,
    checkpoint::Seconds,
    cli::{BenchArgs, BenchKind},
    device::{self, Evaluation, Place},
    memory::Bound,
    metrics::{Learned, Metrics, count},
    say, settings,
    stages::{StageSeconds, StageTimes, Timing},
    tell,
};
use bevy_ecs::prelude::*;
use lockstep_components::{Config, Game, LaneRng, Replay, Stats, Tree, games::GameVisitor};
use lockstep_systems::{
    Batch, Evaluations, Evaluator, Learning, Network, Player, Plugin, Setup, Uniform, play_games, run_learn, run_tick,
};
use serde_json::{Map, Value, json};
use std::time::Instant;

/// `lockstep bench`
pub fn run(args: BenchArgs) -> Result<(), Error> {
    if !(args.seconds > 0.0 && args.seconds <= 86_400.0) {
        return Err(Error::Usage(format!("--seconds {} must be above 0 and at most 86400", args.seconds)));
    }
    if !(1..=1_000_000).contains(&args.batch) {
        return Err(Error::Usage(format!("--batch {} must be from 1 to 1000000", args.batch)));
    }
    let name = args.game.clone();
    device::with_threads(args.threads, || super::with_game(&name, Bench(args)))
}

struct Bench(BenchArgs);

impl GameVisitor for Bench {
    type Output = Result<(), Error>;

    fn visit<G: Game>(self) -> Result<(), Error> {
        let args = self.0;
        let mut overrides = vec![
            format!("game.name={}", G::NAME),
            format!("lanes.count={}", args.lanes),
            format!("search.simulations={}", args.simulations),
            format!("network.kind={}", json!(args.network)),
            format!("network.channels={}", args.channels),
            format!("network.blocks={}", args.blocks),
            format!("learn.batch_size={}", args.batch),
            format!("run.device={}", args.device),
            format!("run.precision={}", args.precision),
            format!("run.vectors={}", args.vectors),
        ];
        if args.what == BenchKind::Search {
            overrides.extend(["search.solver=false".into(), "search.cache_mb=0".into()]);
        }
        overrides.extend(args.set.iter().cloned());
        let config = settings::parse("", "bench", &overrides)?;
        if config.game.name != G::NAME {
            return Err(Error::Usage(format!("name the game with --game {}, not with --set", config.game.name)));
        }
        let place = device::place_of(&config)?;
        let mut line = Map::new();
        let mut put = |key: &str, value: Value| line.insert(key.into(), value);
        put("bench", format!("{:?}", args.what).to_lowercase().into());
        put("game", G::NAME.into());
        if matches!(args.what, BenchKind::Search | BenchKind::Selfplay) {
            put("lanes", config.lanes.count.into());
            put("simulations", config.search.simulations.into());
        }
        if args.what != BenchKind::Search {
            put("network", json!(config.network.kind));
            put("channels", config.network.channels.into());
            put("blocks", config.network.blocks.into());
            put("device", place.name.clone().into());
            put("precision", json!(place.precision));
            if place.evaluation == Evaluation::Fused {
                put("vectors", place.level.name().into());
            }
        }
        if matches!(args.what, BenchKind::Network | BenchKind::Train) {
            put("batch", config.learn.batch_size.into());
        }
        put("threads", rayon::current_num_threads().into());
        let rates = match args.what {
            BenchKind::Search => ticks::<G>(&config, &place, Box::new(Uniform::default()), &args)?,
            BenchKind::Selfplay => ticks::<G>(&config, &place, evaluator::<G>(&config, &place), &args)?,
            BenchKind::Network => network::<G>(&config, &place, args.seconds)?,
            BenchKind::Train => train::<G>(&config, &place, args.seconds)?,
        };
        for (name, rate) in &rates {
            put(name, json!(if *rate < 100.0 { (rate * 1000.0).round() / 1000.0 } else { rate.round() }));
        }
        if args.json {
            say!("{}", Value::Object(line));
        } else {
            let measured = |key: &str| rates.iter().any(|(name, _)| name == key);
            let settings = line.iter().filter(|(key, _)| !measured(key)).skip(1);
            let settings = settings.map(|(key, value)| format!("{key} {}", value.to_string().trim_matches('"')));
            say!("{}", settings.collect::<Vec<_>>().join(", "));
            for (name, rate) in rates {
                let number = if name.starts_with("ns_") || rate < 100.0 { format!("{rate:.2}") } else { count(rate) };
                say!("  {:<34} {number:>10}", name.replace('_', " "));
            }
        }
        Ok(())
    }
}

type Rates = Vec<(String, f64)>;

fn evaluator<G: Game>(config: &Config, place: &Place) -> Box<dyn Evaluator> {
    let network = Network::init::<G>(&config.network, 1, &place.device);
    place.evaluators::<G>(device::batch_capacity::<G>(config, place)).0(&network)
}

/// Rates of ticks after a warm-up in which every lane gets into the middle of a game. Each counter's rate is the
/// median over ten stretches of time.
fn ticks<G: Game>(
    config: &Config,
    place: &Place,
    evaluator: Box<dyn Evaluator>,
    args: &BenchArgs,
) -> Result<Rates, Error> {
    let seconds = args.seconds;
    let trees = config.lanes.count;
    Bound::of_searches::<G>(&config.search, trees, config.search.simulations).check()?;
    let mut world = Setup::<G>::self_play(Player::new(evaluator, config.search.clone()))
        .lanes(place.lanes(&config.lanes))
        .plugin(if args.stages { Timing::fine() } else { Timing::coarse() })
        .build();
    let run = |world: &mut World, time: f64| -> Result<f64, Error> {
        let start = Instant::now();
        // Once at least, however short the time.
        loop {
            run_tick(world)?;
            if start.elapsed().as_secs_f64() >= time {
                break;
            }
        }
        Ok(start.elapsed().as_secs_f64())
    };
    run(&mut world, (seconds * 0.3).min(3.0))?;
    *world.resource_mut::<Stats>() = Stats::default();
    world.resource_mut::<StageTimes>().reset();
    let (mut stretches, mut spent, mut before) = (vec![], 0.0, Stats::default());
    for _ in 0..10 {
        let time = run(&mut world, seconds / 10.0)?;
        let mut now = world.resource::<Stats>().clone();
        // Those of the searches under way as well.
        let mut trees = world.query::<&Tree>();
        now.simulations += trees.iter(&world).map(|tree| u64::from(tree.counts.simulations)).sum::<u64>();
        stretches.push([
            (now.simulations - before.simulations) as f64 / time,
            (now.evaluations - before.evaluations) as f64 / time,
        ]);
        (spent, before) = (spent + time, now);
    }
    let all = before;
    let rate = |i: usize| median(stretches.iter().map(|s| s[i]).collect());
    let mut rates = vec![("simulations_per_second".to_string(), rate(0))];
    if args.what == BenchKind::Selfplay {
        rates.push(("evaluations_per_second".into(), rate(1)));
    }
    // Moves and games are counted when games end: too rarely for the stretches of a slow device.
    if all.games > 0 {
        rates.extend([
            ("moves_per_second".into(), all.moves as f64 / spent),
            ("games_per_second".into(), all.games as f64 / spent),
        ]);
    } else {
        tell!("No game ended in this time, so there is no rate of games and moves; give it more --seconds.");
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
        let times = world.resource::<StageTimes>();
        let ns = |time: f64| time * 1e9 / all.simulations.max(1) as f64;
        rates.extend(times.named().map(|(name, time)| (format!("ns_{name}"), ns(time))));
        rates.push(("ns_all".into(), ns(spent)));
    }
    Ok(rates)
}

fn network<G: Game>(config: &Config, place: &Place, seconds: f64) -> Result<Rates, Error> {
    let rows = config.learn.batch_size;
    let network = Network::init::<G>(&config.network, 1, &place.device);
    let mut evaluator = place.evaluators::<G>(rows).0(&network);
    let mut batch = Batch::new::<G>(rows);
    batch.rows = rows;
    let mut rng = LaneRng::new(1, 1);
    batch.planes.iter_mut().for_each(|x| *x = if rng.unit() < 0.3 { 1.0 } else { 0.0 });
    let mut out = Evaluations::new(rows, G::ACTIONS);
    let rate = repeat(seconds, rows, || {
        evaluator.submit(&batch)?;
        Ok(evaluator.receive(&mut out)?)
    })?;
    Ok(vec![("evaluations_per_second".into(), rate)])
}

fn train<G: Game>(config: &Config, place: &Place, seconds: f64) -> Result<Rates, Error> {
    // Positions of games that were played with equal priors: as varied as those of a run.
    let search = lockstep_components::config::SearchConfig { simulations: 8, ..config.search.clone() };
    let lanes = lockstep_components::config::LanesConfig { count: 64, ..Default::default() };
    let mut playing = Setup::<G>::self_play(Player::new(Uniform::default(), search)).lanes(lanes).build();
    let mut replay = Replay::<G>::new(20_000);
    play_games(&mut playing, 500)?.iter().for_each(|game| replay.push(&G::start(), game));
    let mut learner = place.learner::<G>(config);
    // One generation without an end.
    learner.config.steps = lockstep_components::config::Steps::Batches(u64::MAX);
    let mut world = World::new();
    Learning::<G>::new(learner, place.evaluators::<G>(1), config.replay.clone()).build(&mut world);
    world.insert_resource(replay);
    let rate = repeat(seconds, config.learn.batch_size, || {
        run_learn(&mut world)?;
        Ok(place
            .device
            .sync()
            .map_err(|e| lockstep_systems::Error::Device { doing: "training", message: format!("{e:?}") })?)
    })?;
    Ok(vec![("samples_per_second".into(), rate)])
}

/// Rows per second of a repeated piece of work: from its median time after a warm-up.
fn repeat(seconds: f64, rows: usize, mut work: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    work()?;
    let warm = Instant::now();
    while warm.elapsed().as_secs_f64() < (seconds * 0.2).min(2.0) {
        work()?;
    }
    let mut times = vec![];
    let start = Instant::now();
    while times.len() < 5 || start.elapsed().as_secs_f64() < seconds {
        let began = Instant::now();
        work()?;
        times.push(began.elapsed().as_secs_f64());
    }
    Ok(rows as f64 / median(times))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
