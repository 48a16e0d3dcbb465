use crate::{Error, cli::JsonArgs, data, games, say};
use lockstep_components::GameInfo;
use serde_json::json;

/// Carries out `lockstep games`.
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
    for game in games::all() {
        let GameInfo { name, title, planes, height, width, actions, symmetries, .. } = game.info;
        let komi = game.usual_start().komi();
        if args.json {
            let line = json!({
                "game": name, "title": title, "height": height, "width": width,
                "planes": planes, "actions": actions, "symmetries": symmetries, "komi": komi,
            });
            data!("{line}");
        } else {
            let board = format!("{height}x{width}");
            let komi = komi.map_or("-".into(), |komi| komi.to_string());
            say!("{name:<14} {title:<18} {board:>7} {planes:>7} {actions:>8} {symmetries:>11} {komi:>6}");
        }
    }
    Ok(())
}
