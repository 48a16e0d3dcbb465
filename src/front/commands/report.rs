use crate::{
    Error,
    analyst::Player,
    cli::ReportArgs,
    commands::grade::with_bar,
    device,
    folder::{Folder, write_file},
    grade::Grading,
    insight::report::{self, Data, Wrong},
    say,
    text::bytes,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Carries out `lockstep report`.
pub fn run(args: ReportArgs) -> Result<(), Error> {
    let mut runs: Vec<Data> = args.runs.iter().map(|path| report::data(path)).collect::<Result<_, _>>()?;
    device::with_threads(args.threads, || {
        for (data, path) in runs.iter_mut().zip(&args.runs) {
            match wrong(path, &args) {
                Ok(wrong) => data.wrong = wrong,
                // What the user names must be right; what a run lacks is told on the page.
                Err(error) if args.positions.is_some() || args.device.is_some() => return Err(error),
                Err(error) => data.notices.push(format!("The positions that it gets wrong are not shown: {error}")),
            }
        }
        Ok(())
    })?;
    tell_apart(&mut runs);
    let out = match (&args.out, &args.runs[..]) {
        (Some(out), _) => out.clone(),
        (None, [one]) => Folder::at(one).report(),
        (None, _) => PathBuf::from("report.html"),
    };
    let page = report::page(&runs);
    replace(&out, page.as_bytes())
        .map_err(|error| Error::Usage(format!("{error}; name another file with --out to write the report there")))?;
    say!("{}: {}", out.display(), bytes(page.len()));
    Ok(())
}

/// Writes a file, which a run that trains may write at the same time: either of them is then there as a whole.
fn replace(out: &Path, contents: &[u8]) -> Result<(), Error> {
    let own = out.with_extension(format!("{}.html", std::process::id()));
    write_file(&own, contents)?;
    fs::rename(&own, out).map_err(|error| {
        // Best effort: it is of no use under this name.
        let _ = fs::remove_file(&own);
        Error::io("replace", out)(error)
    })
}

/// Returns the positions that the newest checkpoint of a run gets wrong.
fn wrong(path: &Path, args: &ReportArgs) -> Result<Option<Wrong>, Error> {
    let player = Player::open(path, None)?.on(args.device);
    let simulations = args.simulations.unwrap_or(player.config.run.grade_simulations);
    let grading = Grading { simulations, positions: args.positions.clone(), ..Grading::default() };
    with_bar("searching positions", |told| report::wrong(&player, &grading, told))
}

/// Numbers runs that have the same name.
fn tell_apart(runs: &mut [Data]) {
    for index in 1..runs.len() {
        let (before, rest) = runs.split_at_mut(index);
        let name = rest[0].name.clone();
        let mut count = 1;
        while before.iter().any(|run| run.name == rest[0].name) {
            count += 1;
            rest[0].name = format!("{name} ({count})");
        }
    }
}
