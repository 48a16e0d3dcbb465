use crate::{Error, cli::Cli, games, settings};
use clap::{Arg, Command, CommandFactory, ValueHint, builder::PossibleValuesParser};
use clap_complete::Shell;
use clap_mangen::Man;

/// Carries out `lockstep completions`.
pub fn completions(shell: Shell) -> Result<(), Error> {
    let (mut command, mut text) = (with_values(Cli::command()), vec![]);
    clap_complete::generate(shell, &mut command, "lockstep", &mut text);
    if shell == Shell::Fish {
        for command in command.get_subcommands() {
            let used = format!("__fish_lockstep_using_subcommand {}", command.get_name());
            text.extend(fish_places(command, &used).into_bytes());
            for inner in command.get_subcommands() {
                let used = format!("{used}; and __fish_seen_subcommand_from {}", inner.get_name());
                text.extend(fish_places(inner, &used).into_bytes());
            }
        }
    }
    super::print(&text)
}

/// Returns what fish may offer behind a command, for which the generated script has options alone.
fn fish_places(command: &Command, used: &str) -> String {
    let values = command.get_positionals().flat_map(Arg::get_possible_values);
    let names: Vec<_> = values.map(|value| value.get_name().to_string()).collect();
    if names.is_empty() {
        return String::new();
    }
    format!("complete -c lockstep -n \"{used}\" -f -a \"{}\"\n", names.join(" "))
}

/// Returns the command line with what can stand in each place: shells offer it, and the command itself may take more.
fn with_values(command: Command) -> Command {
    let name = command.get_name().to_string();
    command.mut_args(|arg| with_value(&name, arg)).mut_subcommands(with_values)
}

fn with_value(command: &str, arg: Arg) -> Arg {
    if !arg.get_action().takes_values() || !arg.get_possible_values().is_empty() {
        return arg;
    }
    let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    let names: Vec<String> = match arg.get_id().as_str() {
        "recipe" => games::recipes().iter().map(|(name, _)| name.to_string()).collect(),
        "game" => games::names().map(str::to_string).collect(),
        "device" => owned(&["auto", "cpu", "flex", "cuda", "vulkan"]),
        "key" => settings::keys(),
        "precision" => settings::names("run.precision"),
        "vectors" => settings::names("run.vectors"),
        "network" => settings::names("network.kind"),
        "command" => Cli::command().get_subcommands().map(|command| command.get_name().to_string()).collect(),
        // A player is a folder or a file. Numbers and the like are for nobody to guess.
        id => {
            let hint = match (command, id) {
                ("train" | "verify" | "doctor" | "match", "run") => ValueHint::DirPath,
                ("compare", "positions") => ValueHint::Other,
                (_, "config" | "positions" | "out") => ValueHint::FilePath,
                ("why" | "fork", "run") | ("fork", "parent") | ("compare" | "prune", "runs") | ("runs", "dirs") => {
                    ValueHint::DirPath
                }
                (_, "run" | "from" | "players") => ValueHint::AnyPath,
                _ => ValueHint::Other,
            };
            return arg.value_hint(hint);
        }
    };
    // Until the program ends, which is next.
    arg.value_parser(PossibleValuesParser::new(names.into_iter().map(|name| &*name.leak())))
}

/// Carries out `lockstep man` for a command, which is named word by word.
pub fn man(words: &[String]) -> Result<(), Error> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    for word in words {
        let Some(found) = command.find_subcommand(word) else {
            let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
            let message = match &names[..] {
                [] => format!("{} has no commands of its own", command.get_display_name().unwrap_or_default()),
                names => format!("there is no command '{word}'; the commands are {}", names.join(", ")),
            };
            return Err(Error::Usage(message));
        };
        command = found.clone();
    }
    let mut text = vec![];
    let page = Man::new(command).source(concat!("lockstep ", env!("CARGO_PKG_VERSION")));
    page.render(&mut text).expect("memory takes all there is");
    super::print(&text)
}
