use crate::{
    Error,
    cli::LabelArgs,
    data, device, display,
    games::{self, AnyGame},
    memory, out, settings, tell,
    text::count,
};
use indicatif::ProgressBar;
use lockstep_components::{Action, LaneRng, State};
use rayon::prelude::*;
use std::{
    fmt,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Carries out `lockstep label`.
pub fn run(args: LabelArgs) -> Result<(), Error> {
    if args.before_end[0] > args.before_end[1] || args.before_end[0] == 0 {
        let [from, to] = [args.before_end[0], args.before_end[1]];
        return Err(Error::Usage(format!("--before-end {from} {to}: at least 1, and the larger number last")));
    }
    for set in &args.set {
        // The name of the set was given so once.
        let Some((key, _)) = set.split_once('=') else {
            return Err(Error::Usage(format!(
                "--set {set}: write game.key=value; the name of the set is --name {set}"
            )));
        };
        if !key.trim_start().starts_with("game.") || key.trim() == "game.name" {
            let message = "only the rules of the game count here, the keys of [game] but for its name";
            return Err(Error::Usage(format!("--set {set}: {message}")));
        }
    }
    let game = games::named(&args.game)?;
    device::with_threads(args.threads, || label(game, args))
}

/// Draws positions from random games, solves them, and prints them.
fn label(game: AnyGame, args: LabelArgs) -> Result<(), Error> {
    let LabelArgs { positions, before_end, nodes, tries, table, name, set, seed, .. } = args;
    if game.info.history {
        return Err(Error::Usage(format!(
            "positions of {} cannot be solved: its history decides too, so that a position has no result of its own; \
                 lockstep match tells how strong its players are",
            game.info.title
        )));
    }
    let rules = format!("[game]\nname = \"{}\"\n", game.info.name);
    let start = game.start_of(&settings::parse(&rules, "the game", &set)?);
    let table = table as usize * 1_000_000;
    let threads = rayon::current_num_threads() as u64;
    memory::room_for(threads * table as u64, "solving positions", "--table or --threads")?;
    let progress = SolveProgress::of(positions.into());
    let [from, to] = [before_end[0], before_end[1]];
    tell!("Solving {positions} positions of {}, {from} to {to} plies before the end.", start.title());
    data!("set,moves,score,scores");
    let mut counts = Tally::default();
    // Each game is drawn from a generator of its own, and they count in their order.
    let games = tries.min(16);
    'all: for batch in 0.. {
        let lines: Vec<Result<String, Unsolved>> = (batch * games..(batch + 1) * games)
            .into_par_iter()
            .map(|number| {
                let mut rng = LaneRng::new(seed, number);
                let line = line(&start, &mut rng, &before_end, &name, |state| {
                    game.solve(state, nodes * 1_000_000, table, |nodes| progress.searched(nodes))
                });
                progress.counts().add(&line);
                line
            })
            .collect();
        for line in lines {
            counts.add(&line);
            if let Ok(line) = line {
                progress.bar.suspend(|| data!("{line}"));
            }
            // Or nobody reads them any more.
            if counts.solved == u64::from(positions) || out::failed() {
                break 'all;
            }
            if counts.tried() >= tries * (counts.solved + 1) {
                progress.bar.finish_and_clear();
                return Err(Error::Usage(format!(
                    "{counts}, which is not one in {tries}: go back fewer plies with --before-end, or allow more --nodes, a \
                         larger --table or more --tries"
                )));
            }
        }
    }
    progress.bar.finish_and_clear();
    tell!("{counts}.");
    Ok(())
}

/// Why a random game gives no labelled position.
enum Unsolved {
    /// The game has fewer plies than are to be taken back.
    Short,
    /// Solving the position takes more nodes than allowed, or a larger table.
    Long,
}

/// Returns the line of a labelled position from a random game.
fn line(
    start: &State,
    rng: &mut LaneRng,
    before_end: &[usize],
    name: &str,
    scores: impl FnOnce(&State) -> Option<Vec<(Action, i32)>>,
) -> Result<String, Unsolved> {
    let (mut game, mut states, mut moves) = (start.clone(), vec![], vec![]);
    while game.outcome().is_none() {
        let legal = game.legal();
        let action = legal[rng.below(legal.len())];
        moves.push(game.action_text(action));
        states.push(game.clone());
        game.play(action);
    }
    let back = before_end[0] + rng.below(before_end[1] - before_end[0] + 1);
    let at = states.len().checked_sub(back).ok_or(Unsolved::Short)?;
    let state = &states[at];
    let scores = scores(state).ok_or(Unsolved::Long)?;
    let best = scores.iter().map(|(_, score)| score).max().expect("a game that goes on has moves");
    let texts: Vec<String> =
        scores.iter().map(|(action, score)| format!("{}={score}", state.action_text(*action))).collect();
    // A name may have commas.
    let mut line = csv::Writer::from_writer(vec![]);
    line.write_record([name, &moves[..at].join(" "), &best.to_string(), &texts.join(" ")])
        .expect("memory takes all there is");
    let line = String::from_utf8(line.into_inner().expect("memory takes all there is")).expect("made of text");
    Ok(line.trim_end().into())
}

/// What has become of the positions that were tried.
#[derive(Clone, Copy, Default)]
struct Tally {
    solved: u64,
    short: u64,
    given_up: u64,
}

impl Tally {
    fn add<T>(&mut self, line: &Result<T, Unsolved>) {
        match line {
            Ok(_) => self.solved += 1,
            Err(Unsolved::Short) => self.short += 1,
            Err(Unsolved::Long) => self.given_up += 1,
        }
    }

    fn tried(&self) -> u64 {
        self.solved + self.short + self.given_up
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { solved, short, given_up } = self;
        write!(f, "{solved} solved of {} tried ({given_up} given up, {short} games too short)", self.tried())
    }
}

/// Shows how far the solving has come: by a bar on a terminal, elsewhere by a line now and then.
struct SolveProgress {
    bar: ProgressBar,
    counts: Mutex<Tally>,
    nodes: AtomicU64,
    told: Mutex<Instant>,
}

impl SolveProgress {
    fn of(positions: u64) -> Self {
        let bar = display::bar(positions, "solving");
        bar.set_style(display::style("[{bar:6}] {msg}"));
        bar.tick();
        Self { bar, counts: Mutex::default(), nodes: AtomicU64::new(0), told: Mutex::new(Instant::now()) }
    }

    fn counts(&self) -> MutexGuard<'_, Tally> {
        self.counts.lock().expect("nobody panics with it")
    }

    /// Tally nodes that were searched, and shows them now and then. It is called from any thread, a few hundred times
    /// a second.
    fn searched(&self, nodes: u64) {
        let nodes = self.nodes.fetch_add(nodes, Relaxed) + nodes;
        let every = if self.bar.is_hidden() { Duration::from_secs(10) } else { Duration::from_millis(100) };
        let Ok(mut told) = self.told.try_lock() else { return };
        if told.elapsed() < every {
            return;
        }
        *told = Instant::now();
        let counts = *self.counts();
        let text = format!("{counts}, {} nodes", count(nodes as f64));
        if self.bar.is_hidden() {
            tell!("{text}");
        } else {
            self.bar.set_position(counts.solved);
            self.bar.set_message(text);
        }
    }
}
