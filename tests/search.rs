//! What the search promises beside its golden trees: proofs are exact, what is around a search changes nothing in it,
//! and a device may take its time.

use lockstep::{
    analyst::Analyst,
    oracle::{self, Labelled},
    prelude::*,
};
use lockstep_components::{Cache, games::GameVisitor};
use lockstep_systems::{Answer, Error, Questions};
use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    sync::mpsc,
    thread,
    time::Duration,
};

fn ask(game: AnyGame, labelled: &[Labelled], simulations: u32) -> Vec<Answer> {
    let lanes = LanesConfig { count: 64, ..Default::default() };
    let search = SearchConfig { cache_mb: 0, ..SearchConfig::default() };
    let mut analyst = Analyst::new(game, Box::new(Uniform::default()), &search, lanes, simulations);
    analyst.ask(labelled.iter().map(|l| l.position.clone()).collect(), |_| true).unwrap()
}

/// Checks that what is proven, of the root and of each move, is exact. Returns how many roots were proven.
pub fn check_proofs(labelled: &[Labelled], answers: &[Answer]) -> usize {
    let mut proven = 0;
    for (Labelled { position, scores }, answer) in labelled.iter().zip(answers) {
        let exact = |action: Action| scores.iter().find(|s| s.0 == action).expect("every move has a score").1.signum();
        let best = scores.iter().map(|s| s.1.signum()).max().unwrap();
        assert_eq!(answer.moves.len(), scores.len(), "{position:?}");
        for m in &answer.moves {
            if let Some(outcome) = m.proven {
                assert_eq!(
                    outcome.value(),
                    exact(m.action) as f32,
                    "{}: {position:?}, move {}",
                    position.title(),
                    m.action
                );
            }
        }
        if let Some(outcome) = answer.proven {
            proven += 1;
            assert_eq!(
                (outcome.value(), answer.value),
                (best as f32, best as f32),
                "{}: {position:?}",
                position.title()
            );
            assert_eq!(exact(answer.action), best, "{}: {position:?}", position.title());
        }
    }
    proven
}

#[test]
fn tictactoe_is_proven_and_proven_right() {
    let game = AnyGame::of::<TicTacToe>();
    let decisions = oracle::decisions(game);
    let proven = check_proofs(&decisions, &ask(game, &decisions, 2_000));
    assert!(proven > 4_000, "{proven} proofs of {}", decisions.len());
}

#[test]
fn what_is_proven_in_connect_four_is_right() {
    let game = AnyGame::of::<ConnectFour>();
    let sets = oracle::built_in(game);
    let positions: Vec<_> = sets.iter().flat_map(|set| set.positions.iter().take(100).cloned()).collect();
    let proven = check_proofs(&positions, &ask(game, &positions, 800));
    assert!(proven > 100 && proven < positions.len(), "{proven} proofs of {}", positions.len());
}

/// An evaluator that depends on the position alone and is not symmetric.
fn rollouts() -> Box<dyn Evaluator> {
    Box::new(Rollouts::<ConnectFour>::new(3, 2))
}

/// An evaluator that depends on the position alone, with policies that differ from position to position.
struct Hashed<G: Game>(VecDeque<Vec<G::Key>>);

impl<G: Game> Default for Hashed<G> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<G: Game> Evaluator for Hashed<G> {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        self.0.push_back(batch.keys::<G>().to_vec());
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        let positions = self.0.pop_front().expect("a batch was submitted");
        for (row, position) in positions.iter().enumerate() {
            let mut hasher = DefaultHasher::new();
            position.hash(&mut hasher);
            let mut rng = LaneRng::new(hasher.finish(), 0);
            out.logits[G::ACTIONS * row..G::ACTIONS * (row + 1)].fill_with(|| 4.0 * rng.unit());
            out.values[row] = rng.unit() - rng.unit();
        }
        out.computed = positions.len();
        Ok(())
    }
}

/// What is around a search, and must not change it.
#[derive(Clone, Copy, Debug)]
struct Around {
    cache_bytes: usize,
    lanes: u32,
    cohort: u32,
    in_flight: u32,
    threads: usize,
}

/// Plays, and returns the first games, whoever plays beside them.
fn played<G: Game>(
    first: u64,
    policy: PolicyKind,
    leaves_per_tree: u32,
    around: Around,
) -> (Vec<components::GameRecord>, Stats) {
    let Around { cache_bytes, lanes: count, cohort, in_flight, threads } = around;
    let play = || {
        let search = SearchConfig {
            policy,
            simulations: 40,
            fast_simulations: 11,
            full_search_chance: 0.5,
            opening_plies: 6,
            cache_mb: 0,
            ..Default::default()
        };
        let lanes = LanesConfig { count, leaves_per_tree, cohort, in_flight };
        let player = Searcher::new(Hashed::<G>::default(), search);
        let mut world = Setup::self_play(AnyGame::of::<G>(), player).lanes(lanes).build();
        *world.query::<&mut Cache<G>>().single_mut(&mut world).unwrap() = Cache::new(cache_bytes);
        let mut games = vec![];
        while (games.len() as u64) < first {
            let ended = play_games(&mut world, 1).unwrap();
            games.extend(ended.into_iter().filter(|game| game.id.unwrap().number < first));
        }
        games.sort_by_key(|game| game.id);
        Ok((games, world.resource::<Stats>().clone()))
    };
    device::with_threads(threads, play).unwrap()
}

#[test]
fn a_search_depends_on_nothing_around_it() {
    let alone = Around { cache_bytes: 0, lanes: 6, cohort: 0, in_flight: 1, threads: 1 };
    let others = [
        // So small that most of what it gets is lost soon.
        Around { cache_bytes: 3_000, threads: 2, ..alone },
        Around { cache_bytes: 64_000_000, ..alone },
        Around { cohort: 2, threads: 3, ..alone },
        Around { lanes: 17, cohort: 4, in_flight: 2, threads: 2, ..alone },
        Around { cache_bytes: 3_000, lanes: 17, cohort: 5, in_flight: 2, threads: 3 },
        Around { cache_bytes: 64_000_000, lanes: 17, in_flight: 2, ..alone },
    ];
    let policies = [PolicyKind::Puct, PolicyKind::Gumbel];
    for (policy, leaves_per_tree) in policies.into_iter().flat_map(|policy| [1, 3, 8].map(|leaves| (policy, leaves))) {
        let (expected, _) = played::<ConnectFour>(24, policy, leaves_per_tree, alone);
        for around in others {
            let (found, stats) = played::<ConnectFour>(24, policy, leaves_per_tree, around);
            assert!(found == expected, "{policy:?}, {leaves_per_tree} leaves: other games with {around:?}");
            assert_eq!(stats.cache_hits > 0, around.cache_bytes > 0);
        }
    }
}

/// In every game, with trees that run full as well, a game does not depend on what is played beside it.
#[test]
fn no_game_depends_on_what_is_played_beside_it() {
    #[derive(Clone, Copy)]
    struct Pure;
    impl GameVisitor for Pure {
        type Output = ();
        fn visit<G: Game>(self) {
            let alone = Around { cache_bytes: 0, lanes: 3, cohort: 0, in_flight: 1, threads: 1 };
            for (policy, leaves) in [(PolicyKind::Puct, 1), (PolicyKind::Puct, 4), (PolicyKind::Gumbel, 3)] {
                let (expected, _) = played::<G>(3, policy, leaves, alone);
                for around in [
                    Around { cache_bytes: 30_000, lanes: 5, cohort: 2, in_flight: 2, threads: 2 },
                    Around { cache_bytes: 4_000_000, ..alone },
                ] {
                    let (found, _) = played::<G>(3, policy, leaves, around);
                    assert!(found == expected, "{}: {policy:?}, {leaves} leaves, {around:?}", G::TITLE);
                }
            }
        }
    }
    crate::for_every_game(Pure);
}

/// Othello has up to twice as many moves as its trees have room for in the mean.
#[test]
fn a_tree_that_is_full_ends_its_search() {
    let full = |leaves_per_tree: u32, cache_mb: u32| {
        let search = SearchConfig { simulations: 400, cache_mb, ..Default::default() };
        let lanes = LanesConfig { count: 8, leaves_per_tree, ..Default::default() };
        let player = Searcher::new(Hashed::<Othello<8>>::default(), search);
        let mut world = Setup::self_play(AnyGame::of::<Othello<8>>(), player).lanes(lanes).build();
        let games = play_games(&mut world, 8).unwrap();
        games.iter().for_each(|game| game.check(Othello::<8>::start()).unwrap());
        games.iter().map(|game| game.counts.full).sum::<u32>()
    };
    for leaves_per_tree in [1, 8] {
        let (without, with) = (full(leaves_per_tree, 0), full(leaves_per_tree, 1));
        assert!(without > 0 && without == with, "{leaves_per_tree} leaves: {without} and {with} full trees");
    }
}

#[test]
fn the_cache_saves_evaluations_and_changes_no_answer() {
    let answers = |leaves_per_tree: u32, cache_mb: u32| {
        let search = SearchConfig { cache_mb, ..SearchConfig::default().to_win(60) };
        let lanes = LanesConfig { count: 8, leaves_per_tree, ..Default::default() };
        let mut world =
            Setup::analysis(AnyGame::of::<ConnectFour>(), Searcher::new(Hashed::<ConnectFour>::default(), search))
                .lanes(lanes)
                .build();
        // Each position twice, and its mirror image.
        let sets = oracle::built_in(AnyGame::of::<ConnectFour>());
        let positions = sets[2].positions[..40].iter().map(|p| *p.position.get().unwrap());
        let positions = positions.flat_map(|p| [p, ConnectFour::transform(p, 1), p].map(State::of)).collect();
        world.insert_resource(Questions::new(positions));
        while !world.resource::<Questions>().done() {
            run_tick(&mut world).unwrap();
        }
        let evaluations = world.resource::<Stats>().evaluations;
        (world.remove_resource::<Questions>().unwrap().into_answers(), evaluations)
    };
    for leaves_per_tree in [1, 8] {
        let ((with, few), (without, many)) = (answers(leaves_per_tree, 1), answers(leaves_per_tree, 0));
        assert!(with == without, "the cache changed a search with {leaves_per_tree} leaves");
        assert!(3 * few < 2 * many, "{few} evaluations of {many}");
    }
}

#[test]
fn equal_leaves_share_a_row() {
    for (cache_mb, rows) in [(1, 1), (0, 32)] {
        let player = Searcher::new(rollouts(), SearchConfig { cache_mb, ..Default::default() });
        let lanes = LanesConfig { count: 32, ..Default::default() };
        let mut world = Setup::self_play(AnyGame::of::<ConnectFour>(), player).lanes(lanes).build();
        // The first one selects.
        run_tick(&mut world).unwrap();
        run_tick(&mut world).unwrap();
        let stats = world.resource::<Stats>();
        assert_eq!((stats.evaluations, stats.duplicates), (rows, 32 - rows), "all lanes ask for the first position");
    }
}

/// Gives the answers of another evaluator from a thread of its own, and takes its time.
struct Late {
    to: mpsc::Sender<(Vec<ConnectFour>, usize)>,
    from: std::sync::Mutex<mpsc::Receiver<Evaluations>>,
    rows: VecDeque<usize>,
    /// The most batches that were in flight.
    most: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Late {
    fn new(capacity: usize, most: std::sync::Arc<std::sync::atomic::AtomicUsize>) -> Self {
        let (to, work) = mpsc::channel::<(Vec<ConnectFour>, usize)>();
        let (done, from) = mpsc::channel();
        thread::spawn(move || {
            let mut inner = Rollouts::<ConnectFour>::new(3, 2);
            for (positions, delay) in work {
                thread::sleep(Duration::from_micros(100 * (delay % 7) as u64));
                let mut out = Evaluations::new(capacity, ConnectFour::ACTIONS);
                inner.evaluate(&Batch::of::<ConnectFour>(&positions), &mut out).unwrap();
                if done.send(out).is_err() {
                    break;
                }
            }
        });
        Self { to, from: from.into(), rows: VecDeque::new(), most }
    }
}

impl Evaluator for Late {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        self.rows.push_back(batch.rows);
        self.most.fetch_max(self.rows.len(), std::sync::atomic::Ordering::Relaxed);
        self.to.send((batch.keys::<ConnectFour>().to_vec(), batch.rows)).unwrap();
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        self.rows.pop_front().expect("a batch is in flight");
        *out = self.from.lock().unwrap().recv().unwrap();
        Ok(())
    }
}

#[test]
fn a_late_device_changes_nothing() {
    let play = |evaluator: Box<dyn Evaluator>| {
        let search = SearchConfig { simulations: 20, cache_mb: 1, ..Default::default() };
        let lanes = LanesConfig { count: 24, in_flight: 2, ..Default::default() };
        let mut world =
            Setup::self_play(AnyGame::of::<ConnectFour>(), Searcher::new(evaluator, search)).lanes(lanes).build();
        let games = play_games(&mut world, 60).unwrap();
        lockstep_systems::drain(&mut world).unwrap();
        (games, world.resource::<Stats>().clone())
    };
    let most = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let late = play(Box::new(Late::new(24, most.clone())));
    assert_eq!(
        most.load(std::sync::atomic::Ordering::Relaxed),
        2,
        "one batch is submitted before the other is received"
    );
    assert!(late == play(rollouts()), "a late answer changed the games");
}

/// In self-play a proven position is played on without a simulation, and learned with its known best move.
#[test]
fn a_proof_is_made_once() {
    for policy in [PolicyKind::Puct, PolicyKind::Gumbel] {
        let search = SearchConfig { policy, simulations: 200, ..SearchConfig::default() };
        let mut world = Setup::self_play(AnyGame::of::<TicTacToe>(), Searcher::new(Uniform::default(), search)).build();
        let (mut known, mut searched) = (0, 0);
        for game in play_games(&mut world, 100).unwrap() {
            // From the first move on after which the result is known, it stays what it was proven to be.
            let values: Vec<f32> = game.plies.iter().map(|ply| ply.root_value).collect();
            let decided = values.iter().position(|value| value.abs() == 1.0).unwrap_or(values.len());
            let first = values.get(decided).copied().unwrap_or(0.0);
            for (i, ply) in game.plies.iter().enumerate().skip(decided) {
                assert_eq!(ply.root_value, if (i - decided) % 2 == 0 { first } else { -first }, "{game:?}");
                assert!(ply.policy_len > 0, "every search is a full one, and teaches something");
                known += 1;
            }
            searched += game.counts.simulations;
        }
        assert!(known > 100, "{known} moves were made with a known result");
        assert!(searched > 0);
    }
}
