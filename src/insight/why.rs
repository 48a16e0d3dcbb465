//! Why a run plays what it plays: what the network and the search of each kept generation say of a position, and the games
//! of the log that came through it.
//!
//! Positions that are the same up to symmetry are one, and so are the moves that lead from one to positions that are the same
//! up to symmetry.

use crate::{
    Error,
    analyst::{Contender, Player},
    checkpoint,
    folder::Folder,
    games::{self, AnyGame},
    log::{Log, Segment},
    session::{Ended, Limit, Room, Table},
    settings::{self, Source},
    text::number,
};
use lockstep_components::{Action, Config, GameRecord, Side, State, config::DeviceKind};
use rayon::prelude::*;
use serde::Serialize;
use std::path::Path;

/// What is asked about a position.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The moves that lead to the position from the start of the game, as people write them.
    pub moves: String,
    /// The move that is asked about, as people write it; without one it is the move of the newest generation.
    pub about: Option<String>,
    /// The number of simulations of each search; `run.grade_simulations` of the run without it.
    pub simulations: Option<u32>,
    /// Where the networks run; as in the run without it.
    pub device: Option<DeviceKind>,
    /// How many of the games that came through the position are listed, the newest ones.
    pub games: usize,
}

/// What is known of a position.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Why {
    /// The moves that lead to the position.
    pub moves: Vec<String>,
    /// Who is to move in the position: `first` or `second`.
    pub to_move: &'static str,
    /// The number of simulations of each search.
    pub simulations: u32,
    /// The move that is asked about; none where nobody has asked, no checkpoint is kept and no game came through the position.
    pub about: Option<String>,
    /// The moves that are the same as this one up to symmetry.
    pub same: Vec<String>,
    /// What the kept generations say of the position, oldest first.
    pub generations: Vec<Seen>,
    /// The first kept generation from which on all of them play the move.
    pub since: Option<u64>,
    /// The kept generation before that one, which plays another move.
    pub until: Option<u64>,
    /// The rounds that are in the log, the first and the last; none in an empty log.
    pub log: Option<[u64; 2]>,
    /// The rounds with games that came through the position, oldest first.
    pub rounds: Vec<OfRound>,
    /// The generations that have learned from the position, as spans of the first and the last one: it was in their replay
    /// window.
    pub learned: Vec<[u64; 2]>,
    /// The generation that was the first after the last of these spans to learn without the position: it has left the replay
    /// window.
    pub forgotten: Option<u64>,
    /// The newest games that came through the position, in the order of the log.
    pub games: Vec<Through>,
}

/// What a generation says of the position.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Seen {
    /// The number of the generation.
    pub generation: u64,
    /// The share of the network's policy that the move has.
    pub network: f32,
    /// The move that the network prefers.
    pub network_plays: String,
    /// The network's value of the position for the player to move, from -1 to 1.
    pub network_value: f32,
    /// The share of the visits of the search that the move has.
    pub search: f32,
    /// The move that the search plays.
    pub plays: String,
    /// The search's value of the position for the player to move, from -1 to 1.
    pub value: f32,
    /// Whether the search has proven that value.
    pub proven: bool,
}

/// The games of a round that came through the position.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OfRound {
    /// The number of the round.
    pub round: u64,
    /// The number of games.
    pub games: u64,
    /// How many of them the player to move in the position has won, drawn and lost.
    pub results: [u64; 3],
    /// In how many of them the position was searched, and not a part of the random opening.
    pub searched: u64,
    /// In how many of these the move was played.
    pub played: u64,
    /// The sum of the values of the searches' roots, for the player to move.
    pub value_sum: f64,
    /// In how many games the search has given a policy target.
    pub targets: u64,
    /// The sum of the shares that the move had of these targets.
    pub target_sum: f64,
}

/// A game that came through the position.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Through {
    /// The round of the game.
    pub round: u64,
    /// The number of the game in its round.
    pub number: u64,
    /// The number of moves before the position.
    pub ply: usize,
    /// The move that was played, written as one of the position that is asked about.
    pub played: String,
    /// The result for the player to move in the position: 1, 0 or -1.
    pub result: i8,
    /// The value of the search's root for the player to move; none in a random opening.
    pub value: Option<f32>,
    /// The share of the policy target that the move in question has; none without a target.
    pub target: Option<f32>,
}

/// The moves of a position, those that are the same up to symmetry together.
struct Moves {
    position: State,
    canonical: State,
    /// The legal moves, each with the number of its class.
    legal: Vec<(Action, usize)>,
    /// The position that each class leads to, in canonical form.
    classes: Vec<State>,
}

impl Moves {
    fn of(position: State) -> Self {
        let mut classes: Vec<State> = vec![];
        let class = |action| {
            let after = position.played(action).canonical();
            let found = classes.iter().position(|known| *known == after).unwrap_or(classes.len());
            if found == classes.len() {
                classes.push(after);
            }
            (action, found)
        };
        let legal = position.legal().into_iter().map(class).collect();
        Self { canonical: position.canonical(), position, legal, classes }
    }

    /// Returns the class of a move of this position.
    fn class(&self, action: Action) -> Option<usize> {
        self.legal.iter().find(|(own, _)| *own == action).map(|(_, class)| *class)
    }

    /// Returns the class of a move of another position, which is the same up to symmetry.
    fn class_from(&self, other: &State, action: Action) -> Option<usize> {
        let after = other.played(action).canonical();
        self.classes.iter().position(|class| *class == after)
    }

    fn text(&self, action: Action) -> String {
        self.position.action_text(action)
    }

    /// Returns the first move of a class as people write it.
    fn text_of(&self, class: usize) -> String {
        let first = self.legal.iter().find(|(_, own)| *own == class);
        first.map_or(String::new(), |(action, _)| self.text(*action))
    }

    /// Whether another position is the same up to symmetry.
    fn is_same(&self, other: &State) -> bool {
        other.to_move() == self.position.to_move() && (*other == self.position || other.canonical() == self.canonical)
    }
}

/// A game that came through the position, before it is known which move is asked about.
struct Found {
    number: u64,
    ply: usize,
    class: Option<usize>,
    result: i8,
    value: Option<f32>,
    /// The share of the policy target that the class in question has.
    target: Option<f32>,
}

/// Answers a question about a position of a run, or returns `None` if it was told to stop. `go_on` gets a text for the part
/// of the work that is under way, at the latest after each simulation and each round of the log, and stops it by returning
/// false.
///
/// # Errors
/// When there is no run, a move is not legal, the game is over in the position, or a checkpoint or the log cannot be used.
pub fn why(run: &Path, question: &Question, mut go_on: impl FnMut(&str) -> bool) -> Result<Option<Why>, Error> {
    let folder = Folder::of_run(run)?;
    let config = settings::load(Source::File(&folder.config()), &[])?;
    let game = games::named(&config.game.name)?;
    let usage = |error: lockstep_components::game::ParseError| Error::Usage(error.0);
    let (states, actions) = game.start_of(&config).line(&question.moves).map_err(usage)?;
    let position = states.last().expect("a line has its start").clone();
    if position.outcome().is_some() {
        return Err(Error::Usage("the game is over after these moves: there is no move to ask about".into()));
    }
    let about = question.about.as_ref().map(|text| position.parse_action(text).map_err(usage)).transpose()?;
    let moves = Moves::of(position);
    let simulations = question.simulations.unwrap_or(config.run.grade_simulations);
    let mut why = Why {
        moves: states.iter().zip(&actions).map(|(state, &action)| state.action_text(action)).collect(),
        to_move: if moves.position.to_move() == Side::First { "first" } else { "second" },
        simulations,
        ..Why::default()
    };

    let mut said = vec![];
    for generation in checkpoint::generations(&folder)? {
        // A run that trains may have removed it meanwhile.
        let player = match Player::open(folder.path(), Some(generation)) {
            Err(_) if checkpoint::of_generation(&folder, generation).is_none() => continue,
            player => player?.on(question.device),
        };
        let what = format!("generation {generation}");
        let Some(of_player) = ask(player, &question.moves, simulations, || go_on(&what))? else { return Ok(None) };
        said.push((generation, of_player));
    }
    let games = Games { log: Log::of(&folder), game, config: &config, moves: &moves };
    let newest = checkpoint::generations(&folder)?.last().copied().unwrap_or(0);

    let of_newest = said.last().map(|(_, said)| said.plays);
    let class = match about.or(of_newest) {
        Some(action) => moves.class(action),
        None => {
            let mut counts = vec![0u64; moves.classes.len()];
            let count = |_: u64, _: &Segment, _: &Config, through: Vec<(usize, Found)>| {
                through.iter().filter_map(|(_, found)| found.class).for_each(|class| counts[class] += 1);
            };
            if !games.through(newest, None, &mut go_on, count)? {
                return Ok(None);
            }
            (0..counts.len()).filter(|&class| counts[class] > 0).max_by_key(|&class| counts[class])
        }
    };
    let mut window = Window::default();
    let add = |round: u64, segment: &Segment, of_run: &Config, through: Vec<(usize, Found)>| {
        why.log = Some([why.log.map_or(round, |[first, _]| first), round]);
        if segment.whole {
            window.add(round, segment, &through, of_run.replay.window, game.info.room);
        }
        if through.is_empty() {
            return;
        }
        let mut of_round = OfRound { round, ..OfRound::default() };
        for (_, found) in through {
            of_round.add(&found, class);
            why.games.push(Through {
                round,
                number: found.number,
                ply: found.ply,
                played: found.class.map_or(String::new(), |class| moves.text_of(class)),
                result: found.result,
                value: found.value,
                target: found.target,
            });
        }
        why.rounds.push(of_round);
        why.games.drain(..why.games.len().saturating_sub(question.games));
    };
    if !games.through(newest, class, &mut go_on, add)? {
        return Ok(None);
    }
    (why.learned, why.forgotten) = window.spans();

    // As it was written, or played.
    why.about = question.about.clone().map(|text| text.trim().into()).or(of_newest.map(|action| moves.text(action)));
    let Some(class) = class else { return Ok(Some(why)) };
    let about = why.about.get_or_insert_with(|| moves.text_of(class)).clone();
    let of_class = moves.legal.iter().filter(|(_, own)| *own == class).map(|(action, _)| moves.text(*action));
    why.same = of_class.filter(|text| *text != about).collect();
    for (generation, said) in &said {
        why.generations.push(said.seen(*generation, &moves, class));
    }
    let plays = |(_, said): &&(u64, Said)| moves.class(said.plays) == Some(class);
    why.since = said.iter().rev().take_while(plays).last().map(|(generation, _)| *generation);
    why.until = said.iter().rev().find(|said| !plays(said)).map(|(generation, _)| *generation);
    Ok(Some(why))
}

/// The games of a log, among which those that came through a position are looked for.
struct Games<'a> {
    log: Log,
    game: AnyGame,
    config: &'a Config,
    moves: &'a Moves,
}

impl Games<'_> {
    /// Gives `each` the rounds, oldest first, with the settings of each and the games that came through the position, by
    /// their index; `class` is the one whose share of the policy targets counts. Returns false if `go_on` did.
    fn through(
        &self,
        newest: u64,
        class: Option<usize>,
        go_on: &mut impl FnMut(&str) -> bool,
        mut each: impl FnMut(u64, &Segment, &Config, Vec<(usize, Found)>),
    ) -> Result<bool, Error> {
        for round in self.log.known(newest)? {
            if !go_on(&format!("games of round {round}")) {
                return Ok(false);
            }
            let Some(segment) = self.log.read(self.game, round)? else { continue };
            let of_run = segment.header.settings_of(self.config, &segment.path)?;
            let games = segment.games.par_iter().enumerate();
            let found = games
                .filter_map(|(index, record)| Some((index, through(self.game, &of_run, record, self.moves, class)?)))
                .collect();
            each(round, &segment, &of_run, found);
        }
        Ok(true)
    }
}

/// What a player says of a position.
struct Said {
    policy: Vec<(Action, f32)>,
    network_value: f32,
    visits: Vec<(Action, u32)>,
    plays: Action,
    value: f32,
    proven: bool,
}

impl Said {
    fn seen(&self, generation: u64, moves: &Moves, class: usize) -> Seen {
        let is_about = |action| moves.class(action) == Some(class);
        let preferred = self.policy.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(self.plays, |(action, _)| *action);
        let all: u32 = self.visits.iter().map(|(_, visits)| visits).sum();
        let own: u32 = self.visits.iter().filter(|(action, _)| is_about(*action)).map(|(_, visits)| visits).sum();
        Seen {
            generation,
            network: self.policy.iter().filter(|(action, _)| is_about(*action)).map(|(_, share)| share).sum(),
            network_plays: moves.text(preferred),
            network_value: self.network_value,
            search: own as f32 / all.max(1) as f32,
            plays: moves.text(self.plays),
            value: self.value,
            proven: self.proven,
        }
    }
}

/// Asks the network and the search of a player about a position. Returns `None` if `go_on` has returned false.
fn ask(player: Player, moves: &str, simulations: u32, mut go_on: impl FnMut() -> bool) -> Result<Option<Said>, Error> {
    if !go_on() {
        return Ok(None);
    }
    let room = Room { sessions: 1, simulations, leaves_per_tree: 1 };
    let table = Table::open(&Contender::of(player), room)?;
    let mut session = table.session().expect("a table has room for a session");
    session.set(moves)?;
    let evaluated = session.evaluate()?;
    let found = session.search(&Limit::simulations(simulations), |_| go_on())?;
    if found.ended == Ended::Stopped {
        return Ok(None);
    }
    Ok(Some(Said {
        policy: evaluated.policy,
        network_value: evaluated.value,
        visits: found.moves.iter().map(|of| (of.action, of.visits)).collect(),
        plays: found.action,
        value: found.value,
        proven: found.proven.is_some(),
    }))
}

/// Returns what a game has to do with a position; `None` if it did not come through it.
fn through(game: AnyGame, config: &Config, record: &GameRecord, moves: &Moves, class: Option<usize>) -> Option<Found> {
    let mut state = game.start_of(config);
    let mut policies = &record.policies[..];
    for (ply, action) in record.moves().enumerate() {
        let searched = ply.checked_sub(record.opening.len()).map(|index| record.plies[index]);
        let policy;
        (policy, policies) = policies.split_at(searched.map_or(0, |ply| ply.policy_len.into()));
        if !moves.is_same(&state) {
            state.play(action);
            continue;
        }
        let outcome = record.finished?;
        let outcome = if state.to_move() == Side::First { outcome } else { outcome.reversed() };
        let target = (!policy.is_empty()).then(|| {
            let is_about = |action| class.is_some() && moves.class_from(&state, action) == class;
            let all: f32 = policy.iter().map(|(_, share)| f32::from(*share)).sum();
            let own = policy.iter().filter(|(action, _)| is_about(*action));
            own.map(|(_, share)| f32::from(*share) / all).sum()
        });
        return Some(Found {
            number: record.id?.number,
            ply,
            class: moves.class_from(&state, action),
            result: outcome.value() as i8,
            value: searched.map(|ply| ply.root_value),
            target,
        });
    }
    None
}

impl OfRound {
    fn add(&mut self, game: &Found, class: Option<usize>) {
        self.games += 1;
        self.results[(1 - game.result) as usize] += 1;
        if let Some(value) = game.value {
            self.searched += 1;
            self.played += u64::from(game.class == class);
            self.value_sum += f64::from(value);
        }
        if let Some(target) = game.target {
            self.targets += 1;
            self.target_sum += f64::from(target);
        }
    }

    /// Adds the games of another round to these, and keeps the number of the first one.
    pub fn merge(&mut self, other: &Self) {
        self.games += other.games;
        (0..3).for_each(|i| self.results[i] += other.results[i]);
        self.searched += other.searched;
        self.played += other.played;
        self.value_sum += other.value_sum;
        self.targets += other.targets;
        self.target_sum += other.target_sum;
    }

    /// Returns the mean value of the searches' roots, if there were any.
    pub fn value(&self) -> Option<f64> {
        (self.searched > 0).then(|| self.value_sum / self.searched as f64)
    }

    /// Returns the mean share that the move had of the policy targets, if there were any.
    pub fn target(&self) -> Option<f64> {
        (self.targets > 0).then(|| self.target_sum / self.targets as f64)
    }
}

impl Why {
    /// Returns what is known of the position as sentences: since when the move is played, the games that came through it,
    /// and which generations have learned from it.
    pub fn sentences(&self) -> Vec<String> {
        let Some(about) = &self.about else {
            return vec!["No checkpoint is kept, and no game of the log came through this position.".into()];
        };
        let since = (!self.generations.is_empty()).then(|| self.since_when(about));
        let Some([first, last]) = self.log else {
            return since.into_iter().chain(["The log has no games.".into()]).collect();
        };
        let of_log = format!("of the log, which has rounds {first} to {last}");
        let mut total = OfRound::default();
        self.rounds.iter().for_each(|round| total.merge(round));
        let [won, drawn, lost] = total.results;
        let games = match total.games {
            0 => vec![format!("No game {of_log}, came through this position.")],
            games => vec![
                format!(
                    "{} {of_log}, came through this position, mirrored and turned ones included: {won} won, {drawn} drawn \
                     and {lost} lost for the player to move.",
                    number(games, "game")
                ),
                self.learned_when(),
            ],
        };
        since.into_iter().chain(games).collect()
    }

    fn since_when(&self, about: &str) -> String {
        let same = match &self.same[..] {
            [] => String::new(),
            same => format!(" (or {}, which is the same mirrored or turned)", same.join(", ")),
        };
        let last = self.generations.last().map_or(0, |seen| seen.generation);
        let plays = |generation: u64| {
            let seen = self.generations.iter().find(|seen| seen.generation == generation);
            seen.map_or("", |seen| &seen.plays)
        };
        let simulations = number(self.simulations.into(), "simulation");
        match (self.since, self.until) {
            (Some(since), None) => {
                format!("With {simulations} every kept generation plays {about}{same}, from generation {since} on.")
            }
            (Some(since), Some(until)) => format!(
                "With {simulations} the kept generations play {about}{same} since generation {since}; generation {until} \
                 plays {}.",
                plays(until)
            ),
            (None, _) => {
                format!("With {simulations} generation {last} does not play {about}{same}, but {}.", plays(last))
            }
        }
    }

    fn learned_when(&self) -> String {
        let span = |[from, to]: &[u64; 2]| if from == to { from.to_string() } else { format!("{from} to {to}") };
        let spans: Vec<String> = self.learned.iter().map(span).collect();
        match (&spans[..], self.forgotten) {
            ([], _) => "No generation has learned from it.".into(),
            (spans, Some(forgotten)) => format!(
                "It was in the replay window of the generations {}, and was forgotten with generation {forgotten}, the \
                 first one without it.",
                spans.join(", ")
            ),
            (spans, None) => {
                format!("It was in the replay window of the generations {}, and still is.", spans.join(", "))
            }
        }
    }
}

/// Follows a position through the replay window.
#[derive(Default)]
struct Window {
    /// The numbers of positions, and of entries of their policies, of all rounds so far.
    total: (u64, u64),
    /// The same before the newest sample of the position.
    newest: Option<(u64, u64)>,
    /// The rounds, each with whether the position is in the window of its generation.
    rounds: Vec<(u64, bool)>,
}

impl Window {
    /// Adds a round whose games have all ended; `through` has those that came through the position, by their index.
    fn add(&mut self, round: u64, segment: &Segment, through: &[(usize, Found)], window: usize, room: usize) {
        let mut through = through.iter().peekable();
        for (index, record) in segment.games.iter().enumerate() {
            if let Some((_, found)) = through.next_if(|(of, _)| *of == index)
                && let Some(before) = found.ply.checked_sub(record.opening.len())
            {
                let moves: u64 = record.plies[..before].iter().map(|ply| u64::from(ply.policy_len)).sum();
                self.newest = Some((self.total.0 + before as u64, self.total.1 + moves));
            }
            self.total.0 += record.plies.len() as u64;
            self.total.1 += record.policies.len() as u64;
        }
        // As many positions as the window has, as far as their policies fit: what the buffer does.
        let is_in = self.newest.is_some_and(|(positions, moves)| {
            self.total.0 - positions <= window as u64 && self.total.1 - moves <= (window * room) as u64
        });
        self.rounds.push((round, is_in));
    }

    /// Returns the spans of generations whose window has the position, and the first one after them.
    fn spans(&self) -> (Vec<[u64; 2]>, Option<u64>) {
        let mut spans: Vec<[u64; 2]> = vec![];
        let mut left = None;
        let mut was_in = false;
        for &(round, is_in) in &self.rounds {
            match (was_in, is_in) {
                (false, true) => spans.push([round, round]),
                (true, true) => spans.last_mut().expect("a span goes on")[1] = round,
                (true, false) => left = Some(round),
                (false, false) => {}
            }
            was_in = is_in;
        }
        (spans, if was_in { None } else { left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_components::games::TicTacToe;

    #[test]
    fn moves_are_the_same_up_to_symmetry() {
        let start = AnyGame::of::<TicTacToe>().usual_start();
        let moves = Moves::of(start.clone());
        assert_eq!((moves.legal.len(), moves.classes.len()), (9, 3));
        assert_eq!(moves.class(0), moves.class(8));
        assert_ne!(moves.class(0), moves.class(1));
        // Behind the corner a1 lies what lies behind the corner c3, turned.
        let [one, other] = ["a1", "c3"].map(|text| start.after(text).unwrap());
        let moves = Moves::of(one.clone());
        assert!(moves.is_same(&other) && !moves.is_same(&start));
        let far = |state: &State, text: &str| state.parse_action(text).unwrap();
        assert_eq!(moves.class(far(&one, "c3")), moves.class_from(&other, far(&other, "a1")));
        assert_ne!(moves.class(far(&one, "b2")), moves.class_from(&other, far(&other, "a1")));
    }

    #[test]
    fn a_position_is_forgotten_when_it_leaves_the_window() {
        let window = |rounds: &[bool]| {
            let rounds = rounds.iter().enumerate().map(|(i, &is_in)| (i as u64 + 1, is_in)).collect();
            Window { rounds, ..Window::default() }.spans()
        };
        assert_eq!(window(&[false, true, true, false, true]), (vec![[2, 3], [5, 5]], None));
        assert_eq!(window(&[true, false, true, false, false]), (vec![[1, 1], [3, 3]], Some(4)));
        assert_eq!(window(&[false]), (vec![], None));
    }
}
