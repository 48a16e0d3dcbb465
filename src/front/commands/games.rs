use crate::{Error, cli::JsonArgs, games, say};
use lockstep_components::{Game, games::GameVisitor};
use serde_json::json;

/// `lockstep games`
pub fn run(args: JsonArgs) -> Result<(), Error> {
    if !args.json {
        say!(
            "{:<14} {:<18} {:>7} {:>7} {:>8} {:>11} {:>6}",
            "name",
            "title",
            "board",
            "planes",
            "actions",
            "symmetries",
            "komi"
        );
    }
    games::names().try_for_each(|name| super::with_game(name, Line(args.json)))
}

pub(crate) struct Line(bool);

impl GameVisitor for Line {
    type Output = Result<(), Error>;

    fn visit<G: Game>(self) -> Result<(), Error> {
        let komi = G::start().komi();
        if self.0 {
            let line = json!({
                "game": G::NAME, "title": G::TITLE, "height": G::HEIGHT, "width": G::WIDTH,
                "planes": G::PLANES, "actions": G::ACTIONS, "symmetries": G::SYMMETRIES, "komi": komi,
            });
            say!("{line}");
        } else {
            let board = format!("{}x{}", G::HEIGHT, G::WIDTH);
            let (planes, actions, symmetries) = (G::PLANES, G::ACTIONS, G::SYMMETRIES);
            let komi = komi.map_or("-".into(), |komi| komi.to_string());
            say!("{:<14} {:<18} {board:>7} {planes:>7} {actions:>8} {symmetries:>11} {komi:>6}", G::NAME, G::TITLE);
        }
        Ok(())
    }
}
