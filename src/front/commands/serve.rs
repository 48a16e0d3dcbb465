use crate::{Error, cli::ServeArgs};

/// Carries out `lockstep serve`.
#[cfg(not(feature = "serve"))]
pub fn run(_: ServeArgs) -> Result<(), Error> {
    let message = "this lockstep was built without its server: build it with --features serve, which is a default one";
    Err(Error::Usage(message.into()))
}

/// Carries out `lockstep serve`.
#[cfg(feature = "serve")]
pub fn run(args: ServeArgs) -> Result<(), Error> {
    use crate::{
        device,
        front::serve::{Players, Run, serve},
        session::Room,
        tell,
    };

    let threads = if args.threads == 0 { device::cores() } else { args.threads };
    // Sessions search on threads of their own, which share these: a thread that ticks for one session holds its table,
    // and must not be lent to another session meanwhile.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.map_err(|e| Error::Usage(format!("cannot start {threads} threads: {e}")))?;
    let named = !args.runs.is_empty() || args.weights.is_some();
    let mut runs = vec![];
    for path in if named { args.runs } else { found() } {
        match Run::open(&path) {
            Ok(run) => runs.push(run),
            Err(error) if named => return Err(error),
            Err(error) => tell!("{error}; it is left out"),
        }
    }
    let room = Room { sessions: args.sessions, simulations: args.simulations, ..Room::default() };
    let players = Players::new(runs, args.weights, args.device, room)?;
    serve((args.bind, args.port).into(), args.name, players, args.sessions as usize)
}

/// Returns the folders of the runs in `runs/`, by name.
#[cfg(feature = "serve")]
fn found() -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir("runs").into_iter().flatten().flatten();
    let mut paths: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.join("config.toml").is_file()).collect();
    paths.sort();
    paths
}
