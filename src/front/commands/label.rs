use crate::{Error, cli::LabelArgs, device, display, memory, out, say, solver};
use lockstep_components::{Game, LaneRng, games::GameVisitor};
use rayon::prelude::*;

/// `lockstep label`
pub fn run(args: LabelArgs) -> Result<(), Error> {
    if args.before_end[0] > args.before_end[1] || args.before_end[0] == 0 {
        let [from, to] = [args.before_end[0], args.before_end[1]];
        return Err(Error::Usage(format!("--before-end {from} {to}: at least 1, and the larger number last")));
    }
    let name = args.game.clone();
    device::with_threads(args.threads, || super::with_game(&name, Label(args)))
}

pub(crate) struct Label(LabelArgs);

impl GameVisitor for Label {
    type Output = Result<(), Error>;

    fn visit<G: Game>(self) -> Result<(), Error> {
        let LabelArgs { positions, before_end, nodes, table, set, seed, .. } = self.0;
        let table = table as usize * 1_000_000;
        let threads = rayon::current_num_threads() as u64;
        memory::room_for(threads * table as u64, "solving positions", "--table or --threads")?;
        let bar = display::bar(positions.into(), "solving");
        say!("set,moves,score,scores");
        let (mut found, mut given_up) = (0, 0u64);
        for batch in 0u64.. {
            // Each game is drawn from a generator of its own, and they count in their order.
            const GAMES: u64 = 16;
            let lines: Vec<Option<String>> = (batch * GAMES..(batch + 1) * GAMES)
                .into_par_iter()
                .map(|game| line::<G>(&mut LaneRng::new(seed, game), &before_end, nodes * 1_000_000, table, &set))
                .collect();
            for line in lines {
                match line {
                    Some(line) if found < positions => {
                        say!("{line}");
                        found += 1;
                        bar.inc(1);
                    }
                    Some(_) => {}
                    None => given_up += 1,
                }
            }
            // Nobody reads them any more.
            if found == positions || out::failed() {
                break;
            }
            if given_up > 1_000 && given_up > 100 * u64::from(found) {
                bar.finish_and_clear();
                return Err(Error::Usage(format!(
                    "only {found} of {} positions were solved; go back fewer plies with --before-end, or allow more --nodes or a larger --table",
                    given_up + u64::from(found)
                )));
            }
        }
        bar.finish_and_clear();
        Ok(())
    }
}

/// A labelled position from a random game, or none if its game is too short, or it takes too many nodes or too large a table.
fn line<G: Game>(rng: &mut LaneRng, before_end: &[usize], nodes: u64, table: usize, set: &str) -> Option<String> {
    let (mut game, mut states, mut moves) = (G::start(), vec![], vec![]);
    while game.outcome().is_none() {
        let action = rng.legal_move(&game);
        moves.push(game.action_text(action));
        states.push(game.clone());
        game.play(action);
    }
    let back = before_end[0] + rng.below(before_end[1] - before_end[0] + 1);
    let at = states.len().checked_sub(back)?;
    let state = &states[at];
    let scores = solver::scores(state, nodes, table)?;
    let best = scores.iter().map(|(_, score)| score).max()?;
    let texts: Vec<String> =
        scores.iter().map(|(action, score)| format!("{}={score}", state.action_text(*action))).collect();
    // A name may have commas.
    let mut line = csv::Writer::from_writer(vec![]);
    line.write_record([set, &moves[..at].join(" "), &best.to_string(), &texts.join(" ")])
        .expect("memory takes all there is");
    let line = String::from_utf8(line.into_inner().expect("memory takes all there is")).expect("made of text");
    Some(line.trim_end().into())
}
