//! The same seed gives the same run, whatever the number of threads.

use crate::small;
use lockstep::{
    AnyGame, Hooks,
    components::{Config, Game, games::ConnectFour, games::TicTacToe},
    device,
    trainer::{Event, Trainer},
};
use lockstep_systems::Level;

/// Makes a run and returns everything that it produces but time: metrics, games and weights.
fn run<G: Game>(config: &Config, threads: usize) -> (Vec<String>, Vec<String>, Vec<u32>) {
    device::with_threads(threads, || {
        let place = device::place_of(config)?;
        let mut run = Trainer::new(AnyGame::of::<G>(), config, &place, &Hooks::default());
        let (mut metrics, mut games) = (vec![], vec![]);
        while !run.is_finished() {
            if let Event::Generation(generation, records) = run.advance()? {
                let line = serde_json::to_string(&generation).expect("plain data");
                metrics.push(line.split_once(",\"evaluations\"").expect("a line of metrics").0.into());
                games.extend(records.iter().map(|record| format!("{record:?}")));
            }
        }
        let tensors = run.saved()?.tensors;
        let bits = tensors.iter().flat_map(|t| t.data.iter().map(|x| x.to_bits())).collect();
        Ok((metrics, games, bits))
    })
    .unwrap()
}

fn same_on_any_number_of_threads<G: Game>(config: &Config) {
    let one = run::<G>(config, 1);
    assert!(one.0.len() == config.run.generations as usize && !one.1.is_empty());
    for threads in [2, 3] {
        assert!(run::<G>(config, threads) == one, "{threads} threads gave another run than one");
    }
    let seed =
        Config { run: lockstep_components::config::RunConfig { seed: 2, ..config.run.clone() }, ..config.clone() };
    assert!(run::<G>(&seed, 1) != one, "another seed gave the same run");
}

/// Checks that lanes, cohorts, batches in flight and the cache decide how a run is made and not which run it is.
fn same_however_it_is_made<G: Game>(common: &[&str]) {
    let made = |overrides: &[&str], threads| run::<G>(&small(&[common, overrides].concat()), threads);
    let one = made(&["lanes.count=16"], 1);
    assert!(!one.1.is_empty());
    for (overrides, threads) in [
        (&["lanes.count=1"][..], 1),
        (&["lanes.count=100", "lanes.cohort=7", "search.cache_mb=1"], 2),
        (&["lanes.count=30", "lanes.in_flight=2", "search.cache_mb=0"], 3),
        (&["lanes.count=23", "lanes.in_flight=4", "search.cache_mb=1"], 2),
        (&["lanes.count=64", "lanes.in_flight=8", "lanes.cohort=3"], 2),
    ] {
        assert!(made(overrides, threads) == one, "{overrides:?} made another run");
    }
}

#[test]
fn tictactoe_made_in_many_ways() {
    for lag in ["run.lag=1", "run.lag=3"] {
        same_however_it_is_made::<TicTacToe>(&["search.fast_simulations=4", "search.opening_plies=2", lag]);
    }
}

#[test]
fn connect_four_made_in_many_ways() {
    let overrides = ["game.name=connect_four", "network.kind=resnet", "network.blocks=1", "run.games=24"];
    for more in [["lanes.leaves_per_tree=1", "run.lag=2"], ["lanes.leaves_per_tree=8", "run.precision=int16"]] {
        same_however_it_is_made::<ConnectFour>(&[&overrides[..], &["run.generations=2"], &more].concat());
    }
}

/// A network with gates, by burn and by the kernels.
#[test]
fn connect_four_with_gates_made_in_many_ways() {
    let overrides = ["game.name=connect_four", "network.kind=resnet", "network.blocks=1", "network.squeeze=4"];
    for device in ["run.device=flex", "run.device=cpu"] {
        let few = ["run.games=24", "run.generations=2", device];
        same_however_it_is_made::<ConnectFour>(&[&overrides[..], &few].concat());
    }
}

/// A layer of four million weights, whose gradient is clipped.
#[test]
fn a_large_layer_on_any_number_of_threads() {
    let overrides = ["network.channels=2048", "learn.gradient_clip=0.001", "run.generations=1", "run.games=8"];
    let few = ["learn.steps={ batches = 3 }", "learn.batch_size=32", "search.simulations=4"];
    same_on_any_number_of_threads::<TicTacToe>(&small(&[&overrides[..], &few].concat()));
}

#[test]
fn tictactoe_with_fast_searches() {
    same_on_any_number_of_threads::<TicTacToe>(&small(&["search.fast_simulations=4"]));
}

#[test]
fn cohorts_with_two_batches_in_flight() {
    let overrides = ["lanes.cohort=5", "lanes.in_flight=2", "search.cache_mb=1", "search.solver=true"];
    same_on_any_number_of_threads::<TicTacToe>(&small(&overrides));
}

#[test]
fn neither_solver_nor_cache() {
    same_on_any_number_of_threads::<TicTacToe>(&small(&["search.solver=false", "search.cache_mb=0", "lanes.cohort=6"]));
}

#[test]
fn every_precision_and_all_vectors() {
    for level in Level::available() {
        for precision in ["f32", "int16"] {
            let vectors = format!("run.vectors={}", level.name());
            let overrides = ["network.kind=resnet", &vectors, &format!("run.precision={precision}")];
            same_on_any_number_of_threads::<TicTacToe>(&small(&overrides));
        }
    }
}

#[test]
fn connect_four_with_a_resnet_and_several_leaves() {
    let overrides = ["game.name=connect_four", "network.kind=resnet", "network.blocks=2", "lanes.leaves_per_tree=4"];
    let overrides = [&overrides[..], &["run.games=16", "run.generations=2", "learn.accumulation=3"]].concat();
    same_on_any_number_of_threads::<ConnectFour>(&small(&overrides));
}
