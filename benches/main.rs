//! `cargo bench`: the tick and its parts, the encoding of positions, the network, and a step of the optimiser.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lockstep::{device, prelude::*, settings};
use lockstep_systems::{
    Batch, Evaluations,
    expand::expand_leaf,
    learn::{Sampling, TrainingBatch, learn_schedule},
    select::{Descents, select_leaves},
};
use std::hint::black_box;

fn tick(c: &mut Criterion) {
    let mut group = c.benchmark_group("tick");
    for lanes in [64, 1024] {
        let mut world = World::new();
        let agent = (Box::new(Uniform::default()) as Box<dyn Evaluator>, SearchConfig::default());
        insert_lanes::<ConnectFour, Puct>(
            &mut world,
            &LanesConfig { count: lanes, ..Default::default() },
            1,
            vec![agent],
        );
        world.add_schedule(tick_schedule::<ConnectFour, Puct>());
        group.throughput(Throughput::Elements(lanes.into()));
        group.bench_function(format!("connect_four/{lanes}_lanes"), |b| b.iter(|| run_tick(&mut world).unwrap()));
    }
}

/// One simulation in a tree that stays in the cache.
fn select(c: &mut Criterion) {
    let config = SearchConfig { simulations: 200, ..Default::default() };
    let rule = Puct::new(&config);
    let root = ConnectFour::start();
    let mut tree = Tree::new(200, 7);
    let mut leaves = [Leaf::<ConnectFour>::default()];
    let descents = Descents { virtual_loss: 0.0, solver: true, cache: None };
    c.bench_function("simulation/connect_four", |b| {
        b.iter(|| {
            if tree.simulations_at_root() >= 200 {
                tree.clear();
            }
            select_leaves(&mut tree, &root, 200, &mut leaves, &rule, descents);
            expand_leaf(&mut tree, &leaves[0], &[0.0; 7], 0.0, 0.0);
            if tree.state == TreeState::Expanded {
                tree.state = TreeState::Searching;
            }
        })
    });
}

fn encode(c: &mut Criterion) {
    let position: ConnectFour = "444432655521".parse().unwrap();
    let mut planes = [0.0; ConnectFour::INPUT];
    c.bench_function("encode/connect_four", |b| b.iter(|| black_box(&position).encode(black_box(&mut planes))));
}

fn network(c: &mut Criterion) {
    let config = settings::parse("", "bench", &["network.channels=32".into()]).unwrap();
    let place = device::place(DeviceKind::Auto).unwrap();
    let network = Network::init::<ConnectFour>(&config.network, 1, &place.device);
    let mut evaluator = place.evaluators::<ConnectFour>(64).0(&network);
    let mut batch = Batch::new::<ConnectFour>(64);
    batch.rows = 64;
    let mut out = Evaluations::new(64, 7);
    let mut group = c.benchmark_group("network");
    group.throughput(Throughput::Elements(64)).sample_size(10);
    group.bench_function("connect_four/32x4/batch_64", |b| {
        b.iter(|| {
            evaluator.submit(&batch).unwrap();
            evaluator.receive(&mut out).unwrap();
        })
    });
}

fn learn_step(c: &mut Criterion) {
    let overrides = ["network.channels=32", "learn.batch_size=64", "learn.steps={ batches = 1000000 }"];
    let config = settings::parse("", "bench", &overrides.map(String::from)).unwrap();
    let place = device::place(DeviceKind::Auto).unwrap();
    let mut world = World::new();
    let agent =
        (Box::new(Uniform::default()) as Box<dyn Evaluator>, SearchConfig { simulations: 8, ..Default::default() });
    insert_lanes::<ConnectFour, Puct>(&mut world, &LanesConfig::default(), 1, vec![agent]);
    world.insert_resource(Replay::<ConnectFour>::new(10_000));
    world.add_schedule(tick_schedule::<ConnectFour, Puct>());
    while world.resource::<Stats>().games < 100 {
        run_tick(&mut world).unwrap();
    }
    world.insert_resource(Learner::new::<ConnectFour>(&config, &place.device));
    world.insert_resource(place.evaluators::<ConnectFour>(64));
    world.insert_resource(Sampling(config.replay.clone()));
    world.insert_resource(TrainingBatch::default());
    world.add_schedule(learn_schedule::<ConnectFour>());
    let mut group = c.benchmark_group("learn");
    group.throughput(Throughput::Elements(64)).sample_size(10);
    group.bench_function("connect_four/32x4/batch_64", |b| b.iter(|| run_learn(&mut world).unwrap()));
}

criterion_group!(benches, tick, select, encode, network, learn_step);
criterion_main!(benches);
