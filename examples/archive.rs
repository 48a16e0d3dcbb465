//! An archive of openings: games begin with the first moves of drawn games of the generations before.

use lockstep::{prelude::*, trainer::Event};

#[derive(Resource, Default)]
struct Archive(Vec<Vec<Action>>);

/// A lane whose game has just begun has an empty tree. Its own generator chooses, so that the game repeats.
fn begin_from_archive(
    mut rows: Rows<(&mut Position<TicTacToe>, &mut LaneRng, &mut GameRecord), &Tree>,
    archive: Res<Archive>,
) {
    for ((position, rng, game), mut trees) in rows.answered() {
        let begins = game.is_empty() && trees.all(|(tree, ())| tree.state == TreeState::Empty);
        if begins && !archive.0.is_empty() {
            game.opening.clone_from(&archive.0[rng.below(archive.0.len())]);
            game.opening.iter().for_each(|&action| position.0.play(action));
        }
    }
}

/// Runs the experiment.
pub fn main() -> Result<(), lockstep::Error> {
    let mut config = Config::default();
    config.network = NetworkConfig { kind: NetworkKind::Mlp, channels: 32, blocks: 2, ..config.network };
    config.search.opening_plies = 0;
    (config.run.generations, config.run.games, config.run.recorded_games) = (3, 200, 200);
    let hooks = Hooks::default().lanes(|setup| {
        setup
            .plugin(|world: &mut World| _ = world.init_resource::<Archive>())
            .system(begin_from_archive.after(TickSystems::Act).before(TickSystems::Root))
    });
    let mut run = Trainer::new(AnyGame::of::<TicTacToe>(), &config, &device::place_of(&config)?, &hooks);
    while !run.is_finished() {
        // The games of the next round have begun, but none of their searches.
        if let Event::Generation(metrics, games) = run.advance()? {
            let from_archive = games.iter().filter(|game| !game.opening.is_empty()).count();
            let drawn = games.iter().filter(|game| game.finished == Some(Outcome::Draw));
            let mut archive = run.source.world.resource_mut::<Archive>();
            archive.0.extend(drawn.map(|game| game.moves().take(3).collect()));
            let (generation, kept) = (metrics.generation, archive.0.len());
            println!("generation {generation}: {from_archive} games from the archive, which has {kept} openings now");
        }
    }
    Ok(())
}
