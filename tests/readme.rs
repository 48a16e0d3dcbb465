//! What the README and the recipes say works.

use lockstep::{
    device,
    games::recipes,
    prelude::*,
    settings,
    trainer::{Event, Trainer},
};
use lockstep_components::games::{GameVisitor, visit};
use std::{fs, path::Path, process::Command};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct FewTicks(Config);

impl GameVisitor for FewTicks {
    type Output = ();

    fn visit<G: Game>(self) {
        let mut config = self.0;
        config.run.device = DeviceKind::Cpu;
        let mut run =
            Trainer::new(AnyGame::of::<G>(), &config, &device::place(DeviceKind::Cpu).unwrap(), &Hooks::default());
        for _ in 0..3 {
            assert_eq!(run.advance().unwrap(), Event::Played);
        }
        assert!(run.source.world.resource::<Stats>().evaluations >= u64::from(config.lanes.count));
    }
}

#[test]
fn every_recipe_runs_a_few_ticks() {
    for (name, _) in recipes() {
        let config = settings::load(settings::Source::Recipe(name), &["lanes.count=4".into()]).unwrap();
        visit(&config.game.name.clone(), FewTicks(config)).ok().expect("a known game");
    }
    assert!(recipes().len() >= 3);
}

/// Every `lockstep` command line of the README is understood, and every file it names exists.
#[test]
fn commands_of_the_readme_parse() {
    use clap::Parser;
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut commands = 0;
    for line in readme.lines().map(str::trim) {
        let line = [" #", " > ", " | "].iter().fold(line, |line, end| line.split(end).next().unwrap()).trim();
        let Some(rest) = line.strip_prefix("cargo run --release --bin lockstep").or(line.strip_prefix("lockstep "))
        else {
            continue;
        };
        let args = rest.trim().trim_start_matches("-- ").split_whitespace();
        let parsed = lockstep::cli::Cli::try_parse_from(std::iter::once("lockstep").chain(args));
        let parsed = parsed.unwrap_or_else(|e| panic!("{line}: {e}"));
        if let Some(lockstep::cli::Command::Train(args)) = parsed.command {
            let known = args.recipe.is_none_or(|name| recipes().iter().any(|(recipe, _)| *recipe == name));
            assert!(known, "{line}: there is no such recipe");
        }
        commands += 1;
    }
    assert!(commands >= 6, "only {commands} commands found");
}

/// Examples, tests and benches find burn as the program has built it: they alone switch on no feature of a crate below
/// it.
#[test]
fn what_is_built_once_is_found_again() {
    let packages = |kinds: &str| -> Vec<String> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root()).args(["tree", "--offline", "--locked", "--prefix", "none", "--format", "{p} {f}"]);
        let output = cargo.args(["--edges", kinds]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| line.trim_end_matches(" (*)").to_string()).collect()
    };
    let (program, tests) = (packages("normal,build"), packages("normal,build,dev"));
    assert!(program.len() > 100 && tests.len() > program.len());
    for package in program {
        assert!(tests.contains(&package), "tests, examples and benches build it another time: {package}");
    }
}

#[test]
fn the_readme_s_first_command_is_that_of_the_program() {
    let output = Command::new(env!("CARGO_BIN_EXE_lockstep")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for command in ["train", "grade", "play", "bench", "games"] {
        assert!(help.contains(command));
    }
}
