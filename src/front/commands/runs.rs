use crate::{
    Error,
    cli::{PruneArgs, RunsArgs},
    data,
    insight::runs::{Listed, Measured, Plan, State, plan, runs_in},
    say,
    text::{bytes, number},
};
use serde_json::json;
use std::path::Path;

/// Carries out `lockstep runs`.
pub fn run(args: RunsArgs) -> Result<(), Error> {
    let usual = Path::new("runs");
    let is_named = !args.dirs.is_empty();
    if !is_named && !usual.exists() {
        if !args.json {
            say!("There is no folder runs/ here. Name the folder that the runs are in, or begin one: lockstep train");
        }
        return Ok(());
    }
    let dirs = if is_named { args.dirs } else { vec![usual.into()] };
    let mut all = vec![];
    for dir in &dirs {
        all.extend(runs_in(dir)?);
    }
    if args.json {
        all.iter().for_each(|run| data!("{}", json!(run)));
        return Ok(());
    }
    if all.is_empty() {
        let names: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        say!("There are no runs in {}.", names.join(", "));
        return Ok(());
    }
    let names: Vec<String> = all.iter().map(|run| run.run.display().to_string()).collect();
    let wide = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(3);
    say!("{:<wide$}  {:<14}  {:<8}  {:>13}  {:>9}  {}", "run", "game", "state", "generation", "size", "strength");
    for (run, name) in all.iter().zip(&names) {
        let Listed { state, game, generation, generations, .. } = run;
        let reached = format!("{generation} of {generations}");
        let state = state_text(*state);
        let size = bytes(run.bytes as usize);
        let strength = run.strength.as_ref().map_or("-".into(), strength);
        say!("{name:<wide$}  {game:<14}  {state:<8}  {reached:>13}  {size:>9}  {strength}");
    }
    for (run, name) in all.iter().zip(&names) {
        if let Some(origin) = &run.forked_from {
            say!("{name} is a fork of {origin}; they share {}.", bytes(run.shared_bytes as usize));
        }
        if let Some(error) = &run.error {
            say!("{name} cannot be used: {error}");
        }
    }
    Ok(())
}

fn state_text(state: State) -> &'static str {
    match state {
        State::Training => "training",
        State::Finished => "finished",
        State::Stopped => "stopped",
        State::Damaged => "damaged",
    }
}

/// Returns how strong a player is, in a few words.
fn strength(measured: &Measured) -> String {
    let generation = measured.generation.map_or(String::new(), |generation| format!(" in generation {generation}"));
    match (measured.mistakes, measured.elo) {
        (Some([positions, mistakes]), _) => {
            let rate = 100.0 * mistakes as f64 / positions.max(1) as f64;
            format!("{rate:.2} % mistakes{generation}")
        }
        (None, Some(elo)) => format!("{elo:+.0} Elo above rollouts{generation}"),
        (None, None) => "-".into(),
    }
}

/// Carries out `lockstep prune`.
pub fn prune(args: PruneArgs) -> Result<(), Error> {
    for run in &args.runs {
        let plan = plan(run, args.keep)?;
        if args.yes {
            plan.carry_out()?;
        }
        if args.json {
            let line = json!({
                "run": plan.run(), "checkpoints": plan.checkpoints, "rounds": plan.rounds, "leftovers": plan.leftovers,
                "kept": plan.kept, "frees": plan.frees, "shared": plan.shared, "removed": args.yes,
            });
            data!("{line}");
        } else {
            tell(&plan, args.yes);
        }
    }
    Ok(())
}

/// Prints what is removed, or would be.
fn tell(plan: &Plan, removed: bool) {
    let run = plan.run().display();
    let list = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    if plan.is_empty() {
        say!("{run}: there is nothing that the run does not need.");
        return;
    }
    let mut parts = vec![];
    if !plan.checkpoints.is_empty() {
        parts.push(format!("the checkpoints of the generations {}", list(&plan.checkpoints)));
    }
    if let (Some(first), Some(last)) = (plan.rounds.first(), plan.rounds.last()) {
        parts.push(format!("the games of {}, {first} to {last}", number(plan.rounds.len() as u64, "round")));
    }
    if !plan.leftovers.is_empty() {
        parts.push(number(plan.leftovers.len() as u64, "folder") + " that killed programs have left");
    }
    let parts = parts.join("; ");
    let frees = bytes(plan.frees as usize);
    let shared = match plan.shared {
        0 => String::new(),
        shared => format!(" Another {} stay on the disk, as a fork shares them.", bytes(shared as usize)),
    };
    let kept = format!("the run goes on from its checkpoints {} as before", list(&plan.kept));
    match removed {
        true => say!("{run}: removed {parts}. That frees {frees}; {kept}.{shared}"),
        false => say!(
            "{run}: would remove {parts}. That would free {frees}; {kept}. The players and games that go cannot be made again \
             but by training.{shared} Nothing was removed: add --yes to do it."
        ),
    }
}
