//! What a machine computes, in one number.
//!
//! Runs repeat bit for bit on machines that compute alike. Whether two do shows in a few evaluations of a small network
//! and a game that is played with it: other vectors, another precision or another library of the system's mathematics
//! change its last bits.

use crate::{Error, device::Place};
use lockstep_components::{
    Config,
    config::{LanesConfig, NetworkConfig, SearchConfig},
};
use lockstep_systems::{AnyGame, Evaluations, Network, Searcher, Setup, play_games};

/// Returns the digest of the probe at this place, as 16 hexadecimal digits.
///
/// # Errors
/// When the place cannot evaluate.
pub fn probe(game: AnyGame, place: &Place) -> Result<String, Error> {
    let shape = NetworkConfig { channels: 16, blocks: 1, head_channels: 4, ..Config::default().network };
    let network = Network::init(&game.info, &shape, 0, &place.device);
    let factory = place.evaluators(game, 1);
    let mut evaluator = factory.0(&network);
    let mut digest = blake3::Hasher::new();
    let mut out = Evaluations::new(1, game.info.actions);
    let mut position = game.usual_start();
    for _ in 0..6 {
        evaluator.evaluate(&game.batch(&[position.clone()]), &mut out)?;
        for number in out.logits.iter().chain(&out.values) {
            digest.update(&number.to_le_bytes());
        }
        let Some(&action) = position.legal().last() else { break };
        position.play(action);
        if position.outcome().is_some() {
            break;
        }
    }
    // A game with noise and temperature, whose generators and powers come from libraries.
    let search = SearchConfig { simulations: 16, cache_mb: 0, ..SearchConfig::default() };
    let lanes = LanesConfig { count: 1, ..LanesConfig::default() };
    let mut world = Setup::self_play(game, Searcher::new(evaluator, search)).lanes(lanes).build();
    let games = play_games(&mut world, 1)?;
    digest.update(&postcard::to_stdvec(&games[0]).expect("plain data"));
    Ok(digest.finalize().to_hex()[..16].into())
}
