use crate::{
    Error,
    cli::{ConfigArgs, ConfigCommand, JsonArgs},
    data, games, out, say,
    settings::{self, Source},
};
use serde_json::json;

/// Carries out `lockstep recipes`.
pub fn recipes(args: JsonArgs) -> Result<(), Error> {
    let width = games::recipes().iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, text) in games::recipes() {
        let game = settings::load(Source::Recipe(name), &[])?.game.name;
        // The first sentence of its comments.
        let about: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
        let about = about.join(" ");
        let about = about.split_inclusive(". ").next().unwrap_or_default().trim_end();
        if args.json {
            data!("{}", json!({"recipe": name, "game": game, "about": about}));
        } else {
            say!("{name:<width$}  {about}");
        }
    }
    Ok(())
}

/// Carries out `lockstep config`.
pub fn run(args: ConfigArgs) -> Result<(), Error> {
    match args.command {
        ConfigCommand::Show { recipe } => {
            let source = Source::Recipe(&recipe);
            // The one to begin with shows all keys that there are.
            out::write(format_args!("{}", settings::commented(&source.text()?, source == Source::default())));
        }
        ConfigCommand::Explain { key } => say!("{}", settings::explain(key.as_deref())?.trim_end()),
        ConfigCommand::Schema => {
            data!("{}", serde_json::to_string_pretty(&settings::schema()).expect("a schema is plain data"));
        }
    }
    Ok(())
}
