use crate::{
    Error,
    analyst::with_generation,
    cli::ForkArgs,
    data,
    history::list,
    insight::fork::{Fork, fork},
    say, tell,
    text::{number, quoted},
};
use serde_json::json;

/// Carries out `lockstep fork`.
pub fn run(args: ForkArgs) -> Result<(), Error> {
    let (parent, generation) = with_generation(&args.parent)?;
    let made = fork(&parent, generation, &args.run, &args.set)?;
    let Fork { origin, config, changes, rounds, copied, notices } = made;
    notices.iter().for_each(|notice| tell!("{notice}"));
    if args.json {
        let line = json!({
            "run": args.run, "forked_from": origin.forked_from, "generation": origin.generation,
            "changes": changes, "rounds": rounds, "copied": copied,
        });
        data!("{line}");
        return Ok(());
    }
    let shared = match copied {
        0 => "it shares with it; they take no more room, and stay whatever becomes of the parent".into(),
        copied => format!("it shares with it; those of {} had to be copied", number(copied as u64, "round")),
    };
    say!(
        "{} goes on from {}, with the games of {} that {shared}.",
        args.run.display(),
        origin.forked_from,
        number(rounds as u64, "round"),
    );
    match &changes[..] {
        [] => say!("Nothing is changed, so it will be what its parent was, bit for bit."),
        changes => say!("Changed from generation {} on: {}.", origin.generation + 1, list(changes)),
    }
    let run = quoted(&args.run);
    if config.run.generations <= origin.generation {
        let more = 2 * origin.generation.max(1);
        say!("It is finished as its parent was. To go on: lockstep train --run{run} --set run.generations={more}");
    } else {
        say!("To go on: lockstep train --run{run}");
    }
    Ok(())
}
