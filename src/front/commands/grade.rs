use crate::{
    Error,
    accuracy::{self, Accuracy, Errors},
    analyst::Player,
    cli::GradeArgs,
    data, device, display,
    grade::{Graded, Grading, grade},
    say,
    text::number,
};
use serde_json::json;

/// Carries out `lockstep grade`.
pub fn run(args: GradeArgs) -> Result<(), Error> {
    let player = Player::open(&args.run, args.checkpoint)?.on(args.device);
    device::with_threads(args.threads, || report(&player, args))
}

/// Grades a player as the command line says, and prints what comes of it.
fn report(player: &Player, args: GradeArgs) -> Result<(), Error> {
    let nothing = || {
        Error::Usage(format!(
            "there is no exact solver for {} here; name a file of labelled positions with --positions",
            player.game.info.title
        ))
    };
    if args.accuracy {
        let lines = with_bar("evaluating exactly", |told| accuracy::accuracy(player, args.positions.as_deref(), told))?;
        if lines.is_empty() {
            return Err(nothing());
        }
        if args.json {
            lines.iter().for_each(|line| data!("{}", json!(line)));
        } else {
            print_accuracy(&lines);
        }
        return Ok(());
    }
    let simulations = match args.network_only {
        true => 0,
        false => args.simulations.unwrap_or(player.config.run.grade_simulations),
    };
    let GradeArgs { positions, instead, leaves, .. } = args;
    let grading = Grading { simulations, positions, instead, leaves, limit: None };
    let graded = graded(player, &grading)?;
    if graded.is_empty() {
        return Err(nothing());
    }
    if args.json {
        graded.iter().for_each(|g| data!("{}", g.json()));
    } else {
        print_table(&graded);
    }
    Ok(())
}

/// Grades a player, and shows on a bar how far that has come.
///
/// # Errors
/// The errors of [`grade`].
pub fn graded(player: &Player, grading: &Grading) -> Result<Vec<Graded>, Error> {
    with_bar("grading", |told| grade(player, grading, told))
}

/// Shows on a bar how far some work has come.
pub fn with_bar<T>(what: &'static str, work: impl FnOnce(&(dyn Fn(usize, usize) + Sync)) -> T) -> T {
    let bar = display::bar(0, what);
    let done = work(&|done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    done
}

/// Prints how a player was graded, as a table for people.
pub fn print_table(graded: &[Graded]) {
    let (Graded::Set { simulations, .. } | Graded::LinesOfPlay { simulations, .. }) = &graded[0];
    match simulations {
        0 => say!("Graded by an exact solver, the network alone:"),
        n => say!("Graded by an exact solver, {} a move:", number(u64::from(*n), "simulation")),
    }
    for line in graded {
        match line {
            Graded::Set { set, positions, mistakes, .. } => {
                let rate = 100.0 * *mistakes as f64 / *positions as f64;
                say!("  {set:<16} {positions:>6} positions {mistakes:>6} mistakes {rate:>7.2} %");
            }
            Graded::LinesOfPlay { games, lost, .. } => {
                say!("  {:<16} {games:>6} games     {lost:>6} lost", "lines_of_play");
            }
        }
    }
    if graded.iter().any(|g| matches!(g, Graded::LinesOfPlay { .. })) && graded.iter().all(Graded::is_perfect) {
        say!("Perfect: no mistake in any position, and no line of play that beats it.");
    }
}

/// Prints how far evaluations are from exact ones, as a table for people.
fn print_accuracy(lines: &[Accuracy]) {
    let names: Vec<String> = lines.iter().map(Accuracy::name).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    say!("Against the same network in f64, {} positions:", lines[0].positions);
    say!("  {:<width$} {:>11} {:>22} {:>22}", "", "same move", "logits off, rms/most", "values off, rms/most");
    for (line, name) in lines.iter().zip(names) {
        let errors = |e: &Errors| format!("{:.1e} / {:.1e}", e.rms, e.most);
        let share = 100.0 * line.same_move as f64 / line.positions as f64;
        say!("  {name:<width$} {share:>9.3} % {:>22} {:>22}", errors(&line.logits), errors(&line.values));
    }
}
