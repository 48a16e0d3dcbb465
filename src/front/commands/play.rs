use crate::{
    Error,
    analyst::{Contender, Untrained},
    board,
    cli::PlayArgs,
    device,
    out::{self, Stream},
    say,
    session::{Ended, Found, Limit, Room, Session, Table},
    text,
};
use lockstep_components::{Outcome, Side, State, config::GameConfig};
use std::{
    collections::BTreeMap,
    io::{BufRead, Read},
    sync::{
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, TryRecvError, channel},
    },
    time::Duration,
};

/// The number of simulations of a move where nothing else is said.
const SIMULATIONS: u32 = 400;

/// The most simulations of a search that is limited by its time alone, if there is memory for them.
const MOST: u32 = 100_000;

/// The most moves that a hint lists.
const LISTED: usize = 10;

/// The text of a move that leaves the turn to the other player.
const PASS: &str = "pass";

const HELP: &str = "Type a move, or: undo, hint, moves, position MOVES, new, help, quit; and stop while it thinks";

/// Whether Ctrl-C was pressed while the player thinks, who then plays what it has found.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// Whether the player thinks.
static THINKING: AtomicBool = AtomicBool::new(false);

/// Carries out `lockstep play`.
pub fn run(args: PlayArgs) -> Result<(), Error> {
    let contender = match (Untrained::named(&args.run), &args.game) {
        (Some(kind), Some(name)) => {
            Contender::untrained(kind, GameConfig { name: name.clone(), ..GameConfig::default() })?
        }
        (Some(_), None) => {
            return Err(Error::Usage("name the game with --game: this player is of no run".into()));
        }
        (None, game) => {
            let contender = Contender::trained(&args.run, args.device)?;
            if let Some(name) = game.as_ref().filter(|name| *name != contender.game.info.name) {
                let message = format!("--game {name}: the player of {} plays {}", args.run.display(), contender.rules);
                return Err(Error::Usage(message));
            }
            contender
        }
    };
    device::with_threads(args.threads, || play(&contender, &args))
}

fn play(contender: &Contender, args: &PlayArgs) -> Result<(), Error> {
    let time = args.seconds.map(Duration::from_secs_f64);
    let simulations = args.simulations.or(time.is_none().then_some(SIMULATIONS));
    let mut room = Room { simulations: simulations.unwrap_or(SIMULATIONS), ..Room::default() };
    room.leaves_per_tree = room.leaves_per_tree.min(room.simulations);
    if simulations.is_none() {
        room.simulations = Table::largest(contender, &room, MOST)?;
    }
    let table = Table::open(contender, room)?;
    let mut session = table.session().expect("a new table has a place");
    let limit = Limit { simulations, time, nodes: None };
    session.check(&limit)?;
    session.set(&args.moves)?;
    let you = if args.second { Side::Second } else { Side::First };
    let komi = session.state().komi();
    let komi = komi.map_or(String::new(), |komi| format!(", komi {komi} of the second player included"));
    let whom = contender.player().map_or_else(|| args.run.display(), |player| player.checkpoint.display());
    let effort = match (simulations, args.seconds) {
        (Some(simulations), None) => text::number(simulations.into(), "simulation"),
        (None, Some(seconds)) => format!("{seconds} s"),
        (simulations, seconds) => {
            let simulations = text::number(simulations.unwrap_or(0).into(), "simulation");
            format!("{simulations} or {} s", seconds.unwrap_or(0.0))
        }
    };
    say!("{} against {whom}, {effort} a move. You are {}.", session.state().title(), board::stone(you));
    say!("{HELP}");
    let handler = || {
        if INTERRUPTED.swap(true, Relaxed) || !THINKING.load(Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|e| Error::Usage(format!("cannot start threads to listen to Ctrl-C: {e}")))?;
    let mut input = Input::new()?;
    // Whether the board that was shown last is still to be seen, with what has been said since.
    let mut is_shown = false;
    loop {
        let position = session.state().clone();
        if !std::mem::take(&mut is_shown) {
            show(&session, &BTreeMap::new());
            if !session.moves().is_empty() {
                say!("Moves: {}", session.texts().join(" "));
            }
        }
        if let Some(outcome) = position.outcome() {
            let value = if position.to_move() == you { outcome.value() } else { -outcome.value() };
            let result = match value {
                1.0 => "You win",
                -1.0 => "You lose",
                _ => "A draw",
            };
            match position.score() {
                Some(score) if score != 0.0 => say!("{result} by {}{komi}.", score.abs()),
                _ => say!("{result}."),
            }
        } else if position.to_move() != you {
            let found = think(&mut session, &limit, &mut input)?;
            let does = match position.action_text(found.action) {
                text if text != PASS => format!("plays {text}"),
                _ if has_to_pass(&position) => "has no move but to pass".into(),
                _ => "passes".into(),
            };
            say!("It {does} and expects {:+.2} for itself ({}).", found.value, told(&found));
            session.play_action(found.action)?;
            continue;
        } else if has_to_pass(&position) {
            say!("You have no move but to pass. Type: {PASS}");
        }
        // Nobody sees the board any more.
        if out::failed() {
            return Ok(());
        }
        // Without a line left to read the game is over, as after `quit`.
        out::write(format_args!("> "));
        let Some(text) = input.line()? else { return Ok(()) };
        match text.to_lowercase().as_str() {
            "" | "stop" => {}
            "quit" | "exit" | "q" => return Ok(()),
            "help" | "?" => say!("{HELP}"),
            "new" => session.restart(),
            "undo" => {
                // Back to the last position in which you were to move, leaving out the present one.
                let before = session.states().iter().rev().skip(1).position(|state| state.to_move() == you);
                match before {
                    Some(before) => _ = session.take_back(before + 1),
                    None => say!("There is nothing to undo."),
                }
            }
            "moves" if position.outcome().is_none() => {
                let legal: Vec<_> = session.legal().into_iter().map(|(_, text)| text).collect();
                say!("Legal moves: {}", legal.join(" "));
                is_shown = true;
            }
            "hint" if position.outcome().is_none() => {
                let found = think(&mut session, &limit, &mut input)?;
                hint(&session, &found);
                is_shown = true;
            }
            lower if lower.split_whitespace().next() == Some("position") => {
                if let Err(error) = session.set(text.split_once(char::is_whitespace).map_or("", |(_, moves)| moves)) {
                    say!("{error}");
                }
            }
            _ => match session.play(&text) {
                Ok(_) => {}
                Err(_) if position.outcome().is_some() => say!("The game is over. Type: undo, new or quit"),
                Err(error) => say!("{error}. {HELP}"),
            },
        }
    }
}

/// Searches until the limit, Ctrl-C, or a line with nothing but `stop`, and returns what was found.
fn think(session: &mut Session, limit: &Limit, input: &mut Input) -> Result<Found, Error> {
    INTERRUPTED.store(false, Relaxed);
    THINKING.store(true, Relaxed);
    let found = session.search(limit, |_| !INTERRUPTED.load(Relaxed) && !input.says_stop());
    THINKING.store(false, Relaxed);
    found
}

fn told(found: &Found) -> String {
    let mut text = text::number(found.simulations.into(), "simulation");
    if found.reused > 0 {
        text += &format!(", {} kept", found.reused);
    }
    match found.ended {
        Ended::Stopped => text += ", stopped",
        Ended::Full => text += ", tree full",
        Ended::Proven => text += ", proven",
        Ended::Limit | Ended::NotYet => {}
    }
    text
}

fn has_to_pass(position: &State) -> bool {
    let legal = position.legal();
    legal.len() == 1 && position.action_text(legal[0]) == PASS
}

/// The longest line that is looked at, in bytes; what follows it on the line is left out.
const LINE: u64 = 4096;

/// What is typed, read by a thread of its own, so that it is heard while the player thinks.
struct Input {
    lines: Receiver<std::io::Result<String>>,
    /// A line that was read and has not been looked at.
    next: Option<std::io::Result<String>>,
}

impl Input {
    fn new() -> Result<Self, Error> {
        let (to, lines) = channel();
        let read = move || {
            let mut input = std::io::stdin().lock();
            loop {
                let read = read_line(&mut input);
                let is_last = !matches!(read, Ok(Some(_)));
                let Some(line) = read.transpose() else { return };
                if to.send(line).is_err() || is_last {
                    return;
                }
            }
        };
        let started = std::thread::Builder::new().spawn(read);
        started.map_err(|e| Error::Usage(format!("cannot start threads to read what is typed: {e}")))?;
        Ok(Self { lines, next: None })
    }

    /// Waits for the next line and returns it, or `None` at the end of the input.
    fn line(&mut self) -> Result<Option<String>, Error> {
        let io = |source| Error::Io { doing: "talk to", path: "the terminal".into(), source };
        self.next.take().or_else(|| self.lines.recv().ok()).transpose().map_err(io)
    }

    /// Whether the next line is there and says nothing but `stop`; such a line has had its use then.
    fn says_stop(&mut self) -> bool {
        if self.next.is_none() {
            match self.lines.try_recv() {
                Ok(line) => self.next = Some(line),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return false,
            }
        }
        let stop = matches!(&self.next, Some(Ok(line)) if line.eq_ignore_ascii_case("stop"));
        if stop {
            self.next = None;
        }
        stop
    }
}

fn read_line(input: &mut impl BufRead) -> std::io::Result<Option<String>> {
    // Bytes that are no text are a wrong move like any other, not the end of the game.
    let mut line = vec![];
    let read = input.by_ref().take(LINE).read_until(b'\n', &mut line)?;
    if read as u64 == LINE && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
    }
    Ok((read > 0).then(|| String::from_utf8_lossy(&line).trim().to_string()))
}

/// Shows what a search has found: the share of the visits of each move in percent, on the board where moves are cells
/// and the terminal has the room, and a list of the best ones.
fn hint(session: &Session, found: &Found) {
    let state = session.state();
    let mut moves = found.moves.clone();
    moves.sort_by_key(|m| std::cmp::Reverse(m.visits));
    let visits: u32 = moves.iter().map(|m| m.visits).sum();
    let percent = |part: u32| 100.0 * f64::from(part) / f64::from(visits.max(1));
    // A move from one cell to another is in the list alone.
    let are_cells = moves.iter().all(|m| state.cells_of(m.action).len() <= 1);
    let shares = moves.iter().filter(|m| are_cells && m.visits > 0);
    let shares = shares.filter_map(|m| Some((state.cells_of(m.action).pop()?, percent(m.visits).round() as u32)));
    let shares: BTreeMap<usize, u32> = shares.collect();
    if !shares.is_empty() {
        show(session, &shares);
    }
    say!(
        "It would play {} here; value for you {:+.2} ({}).",
        session.line_text(&found.line).join(" "),
        found.value,
        told(found)
    );
    say!("{:>6} {:>7} {:>7} {:>7} {:>6}", "move", "visits", "share", "prior", "value");
    for m in moves.iter().take(LISTED) {
        let value = m.value.map_or("-".into(), |v| format!("{v:+.2}"));
        let proven = m.proven.map_or("", |outcome| match outcome {
            Outcome::Win => "  proven to win",
            Outcome::Draw => "  proven to draw",
            Outcome::Loss => "  proven to lose",
        });
        let (text, share, prior) = (session.text(m.action), percent(m.visits), 100.0 * m.prior);
        say!("{text:>6} {:>7} {share:>6.1}% {prior:>6.1}% {value:>6}{proven}", m.visits);
    }
    if moves.len() > LISTED {
        say!("and {}", text::number((moves.len() - LISTED) as u64, "other move"));
    }
}

/// Shows the board with these numbers in its cells, as far as the terminal has room for them.
fn show(session: &Session, numbers: &BTreeMap<usize, u32>) {
    if let Some(board) = board::draw(&session.view(), numbers, out::width(Stream::Out)) {
        out::write(format_args!("\n{board}\n"));
    }
}
