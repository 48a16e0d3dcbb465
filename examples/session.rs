//! A front end: a player against itself, who keeps its tree from move to move.

use lockstep::{
    analyst::Contender,
    games,
    session::{Limit, Room, Table},
};

/// Runs the experiment.
pub fn main() -> Result<(), lockstep::Error> {
    let table = Table::open(&Contender::rollouts(games::named("connect_four")?), Room::default())?;
    let mut session = table.session().expect("a new table has a place");
    while session.state().outcome().is_none() {
        let found = session.search(&Limit::simulations(200), |_| true)?;
        let (text, line) = (session.text(found.action), session.line_text(&found.line).join(" "));
        println!("{text}, value {:+.2}, {} simulations, {} kept: {line}", found.value, found.simulations, found.reused);
        session.play_action(found.action)?;
    }
    println!("{}", session.state().render(session.last_cell()));
    Ok(())
}
