//! The rows of lanes, trees and leaves belong together, and whoever moves them is told.

use lockstep::prelude::*;
use lockstep_systems::{Error, LeafRow, TreeRow};

#[derive(Component, Clone, Default)]
struct Mark(u32);

fn setup(trees: u32) -> Setup {
    let player = || Searcher::new(Uniform::default(), SearchConfig { simulations: 8, ..Default::default() });
    let setup = if trees == 1 {
        Setup::self_play(AnyGame::of::<ConnectFour>(), player())
    } else {
        Setup::match_of(AnyGame::of::<ConnectFour>(), player(), player())
    };
    let lanes = LanesConfig { count: 12, cohort: 5, leaves_per_tree: 2, ..Default::default() };
    setup.lanes(lanes).lane_component(Mark::default())
}

fn world(trees: u32) -> World {
    let mut world = setup(trees).build();
    (0..9).for_each(|_| run_tick(&mut world).unwrap());
    world
}

fn lanes(world: &mut World) -> Vec<Entity> {
    world.query_filtered::<Entity, With<Lane>>().iter(world).collect()
}

/// Returns the next error of a world, within as many ticks as it takes until every cohort has had its turn.
fn next_error(world: &mut World) -> Option<Error> {
    (0..40).find_map(|_| run_tick(world).err())
}

#[derive(Component)]
struct Late;

/// Ways to move rows, each with the kind of rows that it moves.
const ATTACKS: [(&str, fn(&mut World)); 7] = [
    ("lanes", |world| {
        let all = lanes(world);
        world.entity_mut(all[3]).insert(Late);
    }),
    ("lanes", |world| lanes(world).into_iter().rev().for_each(|lane| _ = world.entity_mut(lane).insert(Late))),
    // Removing from all in order keeps the order: nothing is wrong.
    ("", |world| lanes(world).into_iter().for_each(|lane| _ = world.entity_mut(lane).remove::<Mark>())),
    ("lanes", |world| {
        let lane = lanes(world)[4];
        world.despawn(lane);
    }),
    ("trees", |world| {
        let all: Vec<_> = world.query_filtered::<Entity, With<Tree>>().iter(world).collect();
        all.into_iter().rev().for_each(|tree| _ = world.entity_mut(tree).insert(Late));
    }),
    ("leaves", |world| {
        let all: Vec<_> = world.query_filtered::<Entity, With<Leaf<ConnectFour>>>().iter(world).collect();
        world.despawn(all[5]);
    }),
    ("leaves", |world| {
        let all: Vec<_> = world.query_filtered::<Entity, With<Leaf<ConnectFour>>>().iter(world).collect();
        world.entity_mut(all[0]).insert(Late);
    }),
];

#[test]
fn whoever_moves_rows_is_told_in_the_next_tick() {
    for trees in [1, 2] {
        for (i, (what, attack)) in ATTACKS.into_iter().enumerate() {
            let mut world = world(trees);
            attack(&mut world);
            let expected = (!what.is_empty()).then_some(Error::RowsOutOfOrder { what });
            assert_eq!(next_error(&mut world), expected, "attack {i} with {trees} trees");
        }
    }
}

/// An experiment's own system: every lane that it gets must have its own trees and leaves.
fn watch(mut rows: Rows<(&Lane, &mut Mark), &TreeRow, &LeafRow>) {
    for (i, ((lane, mark), own)) in rows.all().enumerate() {
        assert_eq!(lane.index(), i);
        let own: Vec<_> = own.collect();
        for (tree, leaves) in &own {
            assert!(tree.index() / own.len() == i && leaves.iter().all(|leaf| leaf.index() / 2 == tree.index()));
        }
        mark.0 += 1;
    }
}

#[test]
fn systems_of_experiments_never_see_rows_of_others() {
    #[derive(Resource, Default)]
    struct Ran(u32);
    let ran = |mut ran: ResMut<Ran>| ran.0 += 1;

    let places: [fn(Setup) -> Setup; 4] = [
        |setup| setup.system(watch.before(TickSystems::Begin)),
        |setup| setup.system(watch.after(TickSystems::Expand).before(TickSystems::Act)),
        |setup| setup.system(watch.after(TickSystems::End)),
        |setup| setup,
    ];
    for (place, put) in places.into_iter().enumerate() {
        for (what, attack) in ATTACKS {
            let mut world = put(setup(2)).plugin(|world: &mut World| _ = world.init_resource::<Ran>()).build();
            run_tick(&mut world).unwrap();
            // The host adds systems when it likes, and where it likes.
            world.resource_mut::<Schedules>().add_systems(Tick, ran.after(TickSystems::End));
            if place == 3 {
                world.resource_mut::<Schedules>().add_systems(Tick, watch);
            }
            (0..9).for_each(|_| run_tick(&mut world).unwrap());
            assert_eq!(world.resource::<Ran>().0, 9);
            attack(&mut world);
            let error = run_tick(&mut world).expect_err("told at once: all rows are asked for");
            match what {
                "" => assert!(matches!(error, Error::NotOnRows { what: "lanes", wanted } if wanted.contains("Mark"))),
                what => assert_eq!(error, Error::RowsOutOfOrder { what }),
            }
            assert_eq!(run_tick(&mut world), Err(error), "it stays");
            let left_out = world.resource::<Ran>().0;
            assert!(left_out == 9 || place >= 2, "nothing runs after an error, place {place}: {left_out}");
        }
    }
}

#[test]
fn rows_that_move_in_the_middle_of_a_tick_are_not_handed_out() {
    fn insert(mut commands: Commands, lanes: Query<Entity, With<Lane>>, mut ticks: Local<u32>) {
        *ticks += 1;
        if *ticks == 12 {
            lanes.iter().take(7).for_each(|lane| _ = commands.entity(lane).insert(Late));
        }
    }

    use TickSystems::*;
    for (after, before) in [(Begin, Collect), (Collect, Evaluate), (Evaluate, Expand), (Expand, Act), (Root, Select)] {
        let mut world = setup(1).system(insert.after(after).before(before)).system(watch.after(End)).build();
        let error = (0..12).map(|_| run_tick(&mut world)).collect::<Vec<_>>().pop().unwrap();
        assert_eq!(error, Err(Error::RowsOutOfOrder { what: "lanes" }), "{after:?}");
    }
}

#[test]
fn entities_of_the_host_with_the_same_components_do_no_harm() {
    let mut world = world(1);
    world.spawn((Position(ConnectFour::start()), LaneRng::new(1, 1), GameRecord::default()));
    world.spawn((Tree::with_moves(3, 7, 7), Leaf::<ConnectFour>::default(), SearchConfig::default(), Mark(7)));
    assert_eq!(next_error(&mut world), None);
}

#[test]
fn rows_give_each_lane_its_own_trees_and_leaves() {
    fn check(mut rows: Rows<(&Lane, &mut Mark), &Tree, &Leaf<ConnectFour>>, lanes: Query<&TreeRow>) {
        let (trees, mut seen) = (lanes.iter().count() / 12, 0);
        for ((lane, mark), own) in rows.all() {
            assert_eq!(lane.index(), seen);
            mark.0 += 1;
            seen += 1;
            let leaves: Vec<_> = own.map(|(_, leaves)| leaves.len()).collect();
            assert_eq!(leaves, vec![2; trees]);
        }
        assert_eq!(seen, 12);
        let parallel: Vec<_> = rows.all().par_rows(1).map(|((lane, _), _)| lane.index()).collect();
        assert_eq!(parallel, (0..12).collect::<Vec<_>>());
        assert_eq!(rows.all().nth(7).map(|((lane, _), _)| lane.index()), Some(7));
    }
    for trees in [1, 2] {
        let mut world = world(trees);
        world.run_system_cached(check).unwrap();
        assert!(world.query::<&Mark>().iter(&world).all(|mark| mark.0 == 1));
    }
}

#[test]
fn agents_are_changed_where_they_are() {
    let mut world = world(1);
    world.query::<&mut SearchConfig>().single_mut(&mut world).unwrap().simulations = 3;
    (0..60).for_each(|_| run_tick(&mut world).unwrap());
    let budgets: Vec<_> = world.query::<&SearchBudget>().iter(&world).map(|budget| budget.simulations).collect();
    assert_eq!(budgets, [3; 12]);
}
