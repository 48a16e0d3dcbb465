//! `cargo bench`: the tick and its parts, the encoding of positions, the network, and a step of the optimiser.
//!
//! The search is measured against the fastest commit there was, in turn, both built from their own trees, and not only against
//! the one before, since a few per cent each time add up. With `lockstep bench search --lanes 256 --simulations 200` (Connect Four
//! and tic-tac-toe) and `--lanes 1024 --simulations 64` it was 37f68a3, until b167d23 had 1.12, 1.38 and 1.00 times its rate:
//! from there on it is b167d23.

mod plain;

use criterion::{Criterion, Throughput, criterion_group};
use lockstep::{device, prelude::*, settings};
use lockstep_systems::{expand::expand_leaf, select::select_leaves, tick::all_awake};
use plain::Plain;
use std::hint::black_box;

/// A tick of plain search with the trivial evaluator, in the ECS and as a plain loop over structs: see `plain.rs`.
fn tick(c: &mut Criterion) {
    let mut group = c.benchmark_group("tick");
    group.sample_size(20);
    for (lanes, simulations) in [(256, 200), (1024, 64)] {
        let search = SearchConfig { simulations, solver: false, cache_mb: 0, ..SearchConfig::default() };
        let config = LanesConfig { count: lanes, cohort: lanes, ..Default::default() };
        let player = Searcher::new(Uniform::default(), search.clone());
        let mut world = Setup::self_play(AnyGame::of::<ConnectFour>(), player).lanes(config).build();
        let mut plain = Plain::<ConnectFour>::new(lanes as usize, &search);
        // Until every lane is somewhere in a game of its own.
        for _ in 0..20 * simulations {
            run_tick(&mut world).unwrap();
            plain.tick();
        }
        group.throughput(Throughput::Elements(lanes.into()));
        let name = |what: &str| format!("connect_four/{lanes}x{simulations}/{what}");
        group.bench_function(name("ecs"), |b| b.iter(|| run_tick(&mut world).unwrap()));
        group.bench_function(name("plain"), |b| b.iter(|| all_awake(|| plain.tick())));
    }
}

/// One simulation in a tree that stays in the cache.
fn select(c: &mut Criterion) {
    let config = SearchConfig { simulations: 200, ..Default::default() };
    let mut rng = LaneRng::new(1, 1);
    let root = ConnectFour::start();
    let mut tree = Tree::new::<ConnectFour>(200);
    let mut leaves = [Leaf::<ConnectFour>::default()];
    let (policy, mut state) = (SearchPolicy::new(Puct), PolicyState::default());
    c.bench_function("simulation/connect_four", |b| {
        b.iter(|| {
            if tree.simulations_at_root() >= 200 {
                tree.clear();
            }
            let search = Search { settings: &config, state: &mut state, rng: &mut rng };
            _ = select_leaves(&mut tree, &root, 200, &mut leaves, &policy, search, None);
            if leaves[0].state == components::LeafState::Selected {
                expand_leaf(&mut tree, &leaves[0], &[0.0; 7], 0.0);
                leaves[0].state = components::LeafState::Idle;
            }
            if tree.state == TreeState::Expanded {
                tree.state = TreeState::Searching;
            }
        })
    });
}

fn encode(c: &mut Criterion) {
    let position = ConnectFour::parse("444432655521").unwrap();
    let mut planes = [0.0; ConnectFour::INPUT];
    c.bench_function("encode/connect_four", |b| {
        b.iter(|| ConnectFour::encode(black_box(position), black_box(&mut planes)))
    });
}

fn network(c: &mut Criterion) {
    let config = settings::parse("", "bench", &["network.channels=32".into()]).unwrap();
    let place = device::place(DeviceKind::Auto).unwrap();
    let network = Network::init(&GameInfo::of::<ConnectFour>(), &config.network, 1, &place.device);
    let mut evaluator = place.evaluators(AnyGame::of::<ConnectFour>(), 64).0(&network);
    let mut batch = Batch::new::<ConnectFour>(64);
    batch.rows = 64;
    let mut out = Evaluations::new(64, 7);
    let mut group = c.benchmark_group("network");
    group.throughput(Throughput::Elements(64)).sample_size(10);
    group.bench_function("connect_four/32x4/batch_64", |b| {
        b.iter(|| {
            evaluator.evaluate(&batch, &mut out).unwrap();
        })
    });
}

fn learn_step(c: &mut Criterion) {
    let overrides = ["network.channels=32", "learn.batch_size=64", "learn.steps={ batches = 1000000 }"];
    let config = settings::parse("", "bench", &overrides.map(String::from)).unwrap();
    let place = device::place(DeviceKind::Auto).unwrap();
    let player = Searcher::new(Uniform::default(), SearchConfig { simulations: 8, ..Default::default() });
    let game = AnyGame::of::<ConnectFour>();
    let (learner, factory) = (Learner::new(&game.info, &config, &place.device), place.evaluators(game, 64));
    let learning = Learning::new(game, learner, factory, config.replay.clone());
    let mut world = Setup::self_play(game, player).plugin(learning).build();
    for game in play_games(&mut world, 100).unwrap() {
        world.resource_mut::<ReplayBuffer>().push(&game);
    }
    let mut group = c.benchmark_group("learn");
    group.throughput(Throughput::Elements(64)).sample_size(10);
    group.bench_function("connect_four/32x4/batch_64", |b| b.iter(|| run_learn(&mut world).unwrap()));
}

criterion_group!(benches, tick, select, encode, network, learn_step);

/// On a thread of the pool, as in the program.
fn main() {
    device::with_threads(0, || {
        benches();
        Ok(())
    })
    .unwrap();
    Criterion::default().configure_from_args().final_summary();
}
