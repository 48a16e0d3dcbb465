//! `lockstep bench all`: the speed of this machine as a whole, in a fixed list of figures.

use super::{configured, measure};
use crate::{
    Error,
    cli::{BenchArgs, BenchKind},
    data,
    device::{self, Backend},
    machine, out, say, tell,
    text::{count, duration, number},
};
use lockstep_components::config::NetworkKind;
use serde_json::Value;
use std::fmt;

/// What is measured, in this order. Networks and training are measured in each precision of the device.
const ALL: &[Item] = &[
    search("connect_four", 256, 200),
    search("connect_four", 1024, 64),
    search("connect_four", 4096, 200),
    search("tictactoe", 256, 200),
    search("go9", 128, 200),
    search("hex", 128, 200),
    search("gomoku", 128, 200),
    network("tictactoe", 128, 5, 256),
    network("connect_four", 64, 4, 256),
    network("connect_four", 128, 5, 256),
    network("othello", 64, 4, 256),
    network("go9", 64, 6, 256),
    network("gomoku", 64, 6, 256),
    network("connect_four", 64, 4, 1),
    network("connect_four", 128, 5, 1),
    train("tictactoe", 128, 5, 512),
    train("connect_four", 64, 4, 512),
    train("connect_four", 128, 5, 512),
    Item { what: BenchKind::Selfplay, game: "connect_four", size: Size::Recipe },
];

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Item {
    what: BenchKind,
    game: &'static str,
    size: Size,
}

/// How large it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Size {
    /// Games in play at once, and the simulations of each search.
    Games { lanes: u32, simulations: u32 },
    /// A residual network, and the positions of a batch.
    Network { channels: usize, blocks: usize, batch: usize },
    /// As the game's recipe has it.
    Recipe,
}

const fn search(game: &'static str, lanes: u32, simulations: u32) -> Item {
    Item { what: BenchKind::Search, game, size: Size::Games { lanes, simulations } }
}

const fn network(game: &'static str, channels: usize, blocks: usize, batch: usize) -> Item {
    Item { what: BenchKind::Network, game, size: Size::Network { channels, blocks, batch } }
}

const fn train(game: &'static str, channels: usize, blocks: usize, batch: usize) -> Item {
    Item { what: BenchKind::Train, game, size: Size::Network { channels, blocks, batch } }
}

/// Measures the list, as far as it can be measured here, and prints its table.
pub fn run(args: &BenchArgs) -> Result<(), Error> {
    let given = [
        ("--game", args.game.is_some()),
        ("--lanes", args.lanes.is_some()),
        ("--simulations", args.simulations.is_some()),
        ("--batch", args.batch.is_some()),
        ("--network", args.network.is_some()),
        ("--channels", args.channels.is_some()),
        ("--blocks", args.blocks.is_some()),
        ("--precision", args.precision.is_some()),
        ("--stages", args.stages),
        ("--set", !args.set.is_empty()),
    ];
    if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
        return Err(Error::Usage(format!(
            "bench all measures a fixed list, which {option} cannot change; leave it out, or name one thing to measure: \
             search, network, train or selfplay"
        )));
    }
    device::with_threads(args.threads, || all(ALL, args))
}

/// Measures a list: a row for each figure as soon as it is known, on standard error beside the objects for programs.
fn all(items: &[Item], args: &BenchArgs) -> Result<(), Error> {
    let print = |row: String| if args.json { tell!("{row}") } else { say!("{row}") };
    let mut figures = vec![];
    for item in items {
        figures.extend(item.figures(args)?);
    }
    let about = duration(1.3 * args.seconds * figures.len() as f64);
    print(machine_of(args)?);
    print(format!("{} in at least {about}.", number(figures.len() as u64, "figure")));
    let mut failed = 0;
    for (name, args) in figures {
        // Nobody reads what is left.
        if out::failed() {
            break;
        }
        match measure(&args) {
            Ok((line, rates)) => {
                let (unit, rate) = &rates[0];
                print(format!("{name} {:>8} {}", count(*rate), unit.replace("_per_second", "/s")));
                if args.json {
                    data!("{}", Value::Object(line));
                }
            }
            Err(error) => {
                failed += 1;
                print(format!("{name} not measured: {error}"));
            }
        }
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Error::Usage(format!("{} could not be measured; the table says why", number(failed, "figure"))))
}

/// Returns the names of the processor and of the device, for people.
fn machine_of(args: &BenchArgs) -> Result<String, Error> {
    let (_, _, config) = configured(&Item { size: Size::Recipe, ..ALL[0] }.args(args))?;
    let place = device::place_of(&config)?;
    let networks = match place.evaluation {
        Backend::Fused => format!("networks on the CPU with {}", place.level.name()),
        Backend::Burn | Backend::BurnPadded => format!("networks on {}", place.name),
    };
    let threads = number(rayon::current_num_threads() as u64, "thread");
    Ok(format!("{}, {threads}, {networks}", machine::processor()))
}

impl Item {
    /// Returns the command line of the single measurement, with what the command line of all says.
    fn args(&self, all: &BenchArgs) -> BenchArgs {
        let device = all.device.clone().or(Some("cpu".into()));
        let mut args = BenchArgs { what: self.what, game: Some(self.game.into()), device, ..all.clone() };
        match self.size {
            Size::Games { lanes, simulations } => (args.lanes, args.simulations) = (Some(lanes), Some(simulations)),
            Size::Network { channels, blocks, batch } => {
                args.network = Some(NetworkKind::Resnet);
                (args.channels, args.blocks, args.batch) = (Some(channels), Some(blocks), Some(batch));
            }
            Size::Recipe => {}
        }
        args
    }

    /// Returns the figures of this item, one for each precision that counts: the beginning of its row, and its command
    /// line.
    fn figures(&self, all: &BenchArgs) -> Result<Vec<(String, BenchArgs)>, Error> {
        let args = self.args(all);
        let place = |args: &BenchArgs| device::place_of(&configured(args)?.2);
        let mut precisions: Vec<&str> = place(&args)?.precisions().iter().map(|precision| precision.name()).collect();
        if matches!(self.what, BenchKind::Search | BenchKind::Train) {
            precisions.truncate(1);
        }
        // Training has precisions of its own.
        if self.what == BenchKind::Train && place(&BenchArgs { precision: Some("bf16".into()), ..args.clone() }).is_ok()
        {
            precisions = vec!["f32", "bf16"];
        }
        let what = format!("{:?}", self.what).to_lowercase();
        let figure = |precision: &str| {
            let shown = if self.what == BenchKind::Search { "" } else { precision };
            let name = format!("{what:<8} {:<12} {:<28} {shown:<5}", self.game, self.size.to_string());
            (name, BenchArgs { precision: Some(precision.into()), ..args.clone() })
        };
        Ok(precisions.into_iter().map(figure).collect())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Games { lanes, simulations } => write!(f, "{lanes} lanes x {simulations} simulations"),
            Self::Network { channels, blocks, batch } => write!(f, "{channels}x{blocks}, batch {batch}"),
            Self::Recipe => f.write_str("its recipe"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::collections::BTreeSet;

    fn command_line() -> BenchArgs {
        let words = ["lockstep", "bench", "all", "--seconds", "0.001", "--threads", "1"];
        let Some(crate::cli::Command::Bench(args)) = crate::cli::Cli::parse_from(words).command else {
            panic!("{words:?} is a bench")
        };
        args
    }

    /// Each item can be measured, and no two rows are called the same.
    #[test]
    fn the_list_names_figures_that_there_are() {
        let figures = ALL.iter().flat_map(|item| item.figures(&command_line()).unwrap());
        let names: Vec<String> = figures.map(|(name, _)| name).collect();
        assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "{names:?}");
        for what in ["search ", "network ", "train ", "selfplay "] {
            assert!(names.iter().any(|name| name.starts_with(what)), "{what}is missing");
        }
    }

    /// What is measured is what the row says, in each precision.
    #[test]
    fn a_figure_is_that_of_its_row() {
        let items = [search("tictactoe", 3, 5), network("othello6", 8, 1, 4), train("connect_four", 8, 2, 6)];
        let figures = items.iter().flat_map(|item| item.figures(&command_line()).unwrap());
        let measured = figures.map(|(name, args)| {
            let (line, rates) = measure(&args).unwrap();
            assert!(rates[0].1 > 0.0, "{name}");
            let size = |keys: [&str; 3]| keys.map(|key| line.get(key).map_or(0, |value| value.as_u64().unwrap()));
            let precision = line.get("precision").map_or("", |name| name.as_str().unwrap()).to_string();
            assert!(name.trim_end().ends_with(&precision) && name.contains(line["game"].as_str().unwrap()), "{name}");
            (
                size(["lanes", "simulations", "batch"]),
                size(["channels", "blocks", "batch"]),
                precision,
                rates[0].0.clone(),
            )
        });
        let row = |games, network, precision: &str, unit: &str| {
            (games, network, precision.into(), format!("{unit}_per_second"))
        };
        let expected = [
            row([3, 5, 0], [0, 0, 0], "", "simulations"),
            row([0, 0, 4], [8, 1, 4], "f32", "evaluations"),
            row([0, 0, 4], [8, 1, 4], "int16", "evaluations"),
            row([0, 0, 6], [8, 2, 6], "f32", "samples"),
            row([0, 0, 6], [8, 2, 6], "bf16", "samples"),
        ];
        assert_eq!(measured.collect::<Vec<_>>(), expected);
    }
}
