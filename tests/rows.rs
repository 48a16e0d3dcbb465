//! The rows of lanes, trees and leaves belong together, and whoever moves them is told.

use lockstep::prelude::*;
use lockstep_systems::Error;

#[derive(Component, Clone, Default)]
struct Mark(u32);

fn world(trees: u32) -> World {
    let player =
        || Player::<ConnectFour>::new(Uniform::default(), SearchConfig { simulations: 8, ..Default::default() });
    let setup = if trees == 1 { Setup::self_play(player()) } else { Setup::match_of(player(), player()) };
    let lanes = LanesConfig { count: 12, cohort: 5, leaves_per_tree: 2, ..Default::default() };
    let mut world = setup.lanes(lanes).lane_component(Mark::default()).build();
    (0..9).for_each(|_| run_tick(&mut world).unwrap());
    world
}

fn lanes(world: &mut World) -> Vec<Entity> {
    world.query_filtered::<Entity, With<Lane>>().iter(world).collect()
}

/// Within as many ticks as it takes until every cohort has had its turn.
fn next_error(world: &mut World) -> Option<Error> {
    (0..40).find_map(|_| run_tick(world).err())
}

#[test]
fn whoever_moves_rows_is_told_in_the_next_tick() {
    #[derive(Component)]
    struct Late;

    for trees in [1, 2] {
        let attacks: [(&str, fn(&mut World)); 7] = [
            ("lanes", |world| {
                let all = lanes(world);
                world.entity_mut(all[3]).insert(Late);
            }),
            ("lanes", |world| lanes(world).into_iter().rev().for_each(|lane| _ = world.entity_mut(lane).insert(Late))),
            ("lanes", |world| lanes(world).into_iter().for_each(|lane| _ = world.entity_mut(lane).remove::<Mark>())),
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
        for (i, (what, attack)) in attacks.into_iter().enumerate() {
            let mut world = world(trees);
            attack(&mut world);
            // Removing from all in order keeps the order: nothing is wrong.
            let expected = (i != 2).then_some(Error::RowsOutOfOrder { what });
            assert_eq!(next_error(&mut world), expected, "attack {i} with {trees} trees");
        }
    }
}

#[test]
fn entities_of_the_host_with_the_same_components_do_no_harm() {
    let mut world = world(1);
    world.spawn((Lane(0), Position(ConnectFour::start()), LaneRng::new(1, 1), GameRecord::default()));
    world.spawn((Tree::with_moves(3, 7, 7), Leaf::<ConnectFour>::default(), SearchConfig::default(), Mark(7)));
    assert_eq!(next_error(&mut world), None);
}

#[test]
fn rows_give_each_lane_its_own_trees_and_leaves() {
    fn check(mut rows: Rows<(&Lane, &mut Mark), &Tree, &Leaf<ConnectFour>>, lanes: Query<&components::tree::TreeOf>) {
        let (trees, mut seen) = (lanes.iter().count() / 12, 0);
        for ((lane, mark), own) in rows.all() {
            assert_eq!(lane.0, seen);
            mark.0 += 1;
            seen += 1;
            let leaves: Vec<_> = own.map(|(_, leaves)| leaves.len()).collect();
            assert_eq!(leaves, vec![2; trees]);
        }
        assert_eq!(seen, 12);
        let parallel: Vec<_> = rows.all().par_rows(1).map(|((lane, _), _)| lane.0).collect();
        assert_eq!(parallel, (0..12).collect::<Vec<_>>());
        assert_eq!(rows.all().nth(7).map(|((lane, _), _)| lane.0), Some(7));
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
