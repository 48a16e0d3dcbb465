use crate::{
    Error,
    analyst::{Analyst, Player},
    cli::PlayArgs,
    device,
    memory::Bound,
    out, say,
};
use lockstep_components::{
    Action, Game, Outcome, Player as Side,
    config::{LanesConfig, SearchConfig},
    games::GameVisitor,
};
use lockstep_systems::Answer;
use std::io::{BufRead, Read};

/// Leaves that the one tree sends to the network at once.
const LEAVES: u32 = 8;

/// `lockstep play`
pub fn run(args: PlayArgs) -> Result<(), Error> {
    let player = Player::open(&args.run, None)?.on(args.device);
    let name = player.config.game.name.clone();
    device::with_threads(args.threads, || super::with_game(&name, Play { player, args }))
}

pub(crate) struct Play {
    player: Player,
    args: PlayArgs,
}

/// How games write a move that leaves the turn to the other player.
const PASS: &str = "pass";

const HELP: &str = "Type a move, or: undo, hint, moves, new, help, quit";

impl GameVisitor for Play {
    type Output = Result<(), Error>;

    fn visit<G: Game>(self) -> Result<(), Error> {
        let Self { player, args } = self;
        let lanes = LanesConfig { count: 1, leaves_per_tree: LEAVES.min(args.simulations), ..LanesConfig::default() };
        let search = SearchConfig { simulations: args.simulations, ..player.config.search.clone() };
        Bound::of_searches::<G>(&[&search], &lanes, &[player.footprint::<G>(LEAVES as usize)?]).check()?;
        let evaluator = player.evaluator::<G>(&player.place()?, LEAVES as usize)?;
        let mut analyst = Analyst::<G>::new(evaluator, &player.config.search, lanes, args.simulations);
        let you = if args.second { Side::Second } else { Side::First };
        let start: G = player.config.start();
        let komi = start.komi().map_or(String::new(), |komi| format!(", komi {komi} of the second player included"));
        let (title, checkpoint) = (start.title(), player.checkpoint.display());
        say!("{title} against {checkpoint}, {} a move.", out::number(args.simulations.into(), "simulation"));
        say!("{HELP}");
        // The positions of the game, and the moves between them.
        let mut line: Vec<G> = vec![start];
        let mut moves: Vec<Action> = vec![];
        let mut input = std::io::stdin().lock();
        loop {
            let position = line.last().expect("a game has its start").clone();
            say!("\n{}", position.render(moves.last().copied()));
            if !moves.is_empty() {
                let texts: Vec<_> =
                    line.iter().zip(&moves).map(|(before, &action)| before.action_text(action)).collect();
                say!("Moves: {}", texts.join(" "));
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
                let answer = ask(&mut analyst, &position)?;
                let does = match position.action_text(answer.action) {
                    text if text != PASS => format!("plays {text}"),
                    _ if has_to_pass(&position) => "has no move but to pass".into(),
                    _ => "passes".into(),
                };
                say!("It {does} and expects {:+.2} for itself.", answer.value);
                let mut next = position;
                next.play(answer.action);
                line.push(next);
                moves.push(answer.action);
                continue;
            } else if has_to_pass(&position) {
                say!("You have no move but to pass. Type: {PASS}");
            }
            // Nobody sees the board any more.
            if out::failed() {
                return Ok(());
            }
            // Without a line left to read the game is over, as after `quit`.
            let Some(text) = prompt(&mut input)? else { return Ok(()) };
            match text.to_lowercase().as_str() {
                "" => {}
                "quit" | "exit" | "q" => return Ok(()),
                "help" | "?" => say!("{HELP}"),
                "new" => line.truncate(1),
                "undo" => {
                    // Back to the last position in which you were to move, leaving out the present one.
                    let before = line[..line.len() - 1].iter().rposition(|p| p.to_move() == you);
                    match before {
                        Some(before) => line.truncate(before + 1),
                        None => say!("There is nothing to undo."),
                    }
                }
                "moves" if position.outcome().is_none() => {
                    let legal: Vec<_> = position.legal().map(|a| position.action_text(a)).collect();
                    say!("Legal moves: {}", legal.join(" "));
                }
                "hint" if position.outcome().is_none() => hint(&position, &ask(&mut analyst, &position)?),
                _ => match position.parse_action(&text) {
                    Ok(action) => {
                        let mut next = position;
                        next.play(action);
                        line.push(next);
                        moves.push(action);
                    }
                    Err(_) if position.outcome().is_some() => say!("The game is over. Type: undo, new or quit"),
                    Err(error) => say!("{error}. {HELP}"),
                },
            }
            moves.truncate(line.len() - 1);
        }
    }
}

fn has_to_pass<G: Game>(position: &G) -> bool {
    position.legal().map(|action| position.action_text(action)).eq([PASS])
}

/// The longest line that is looked at, in bytes; what follows it on the line is left out.
const LINE: u64 = 256;

fn prompt(input: &mut impl BufRead) -> Result<Option<String>, Error> {
    out::write(format_args!("> "));
    let io = |source| Error::Io { doing: "talk to", path: "the terminal".into(), source };
    // Bytes that are no text are a wrong move like any other, not the end of the game.
    let mut line = vec![];
    let read = input.by_ref().take(LINE).read_until(b'\n', &mut line).map_err(io)?;
    if read as u64 == LINE && !line.ends_with(b"\n") {
        input.skip_until(b'\n').map_err(io)?;
    }
    Ok((read > 0).then(|| String::from_utf8_lossy(&line).trim().to_string()))
}

fn ask<G: Game>(analyst: &mut Analyst<G>, position: &G) -> Result<Answer, Error> {
    Ok(analyst.ask(vec![position.clone()], |_| ())?.remove(0))
}

fn hint<G: Game>(position: &G, answer: &Answer) {
    say!("It would play {} here; value for you {:+.2}.", position.action_text(answer.action), answer.value);
    say!("{:>6} {:>7} {:>7} {:>7}", "move", "visits", "prior", "value");
    let mut moves = answer.moves.clone();
    moves.sort_by_key(|m| std::cmp::Reverse(m.visits));
    for m in moves {
        let value = m.value.map_or("-".into(), |v| format!("{v:+.2}"));
        let proven = m.proven.map_or("", |outcome| match outcome {
            Outcome::Win => "  proven to win",
            Outcome::Draw => "  proven to draw",
            Outcome::Loss => "  proven to lose",
        });
        say!("{:>6} {:>7} {:>6.1}% {value:>7}{proven}", position.action_text(m.action), m.visits, 100.0 * m.prior);
    }
}
