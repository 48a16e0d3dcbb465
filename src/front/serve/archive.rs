//! The games of a run: a search among them, and the games that are found as text.

use super::players::Run;
use crate::{
    Error, checkpoint,
    log::Log,
    trainer::{game_text, result_text},
};
use lockstep_components::{Action, GameRecord};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The games of a page.
const PAGE: usize = 50;

/// The most games of a file.
const FILE: usize = 10_000;

/// The time that a page or a file may take. Where it does not suffice, the answer says where to go on.
const TIME: Duration = Duration::from_secs(5);

/// Which games are looked for. What is left out does not matter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// The number of the run.
    run: usize,
    /// The moves that the game begins with, as people write them.
    moves: String,
    /// The result of the first player: `1-0`, `1/2` or `0-1`.
    result: Option<String>,
    /// The fewest moves of the game.
    shortest: Option<usize>,
    /// The most moves of the game.
    longest: Option<usize>,
    /// The first round.
    from: Option<u64>,
    /// The last round.
    to: Option<u64>,
    /// The number of the game in its round.
    number: Option<u64>,
    /// Where to go on: the round, and the number of games of it that were looked at.
    next: Option<(u64, usize)>,
    /// The kind of file: `txt` or `csv`. Without one the answer is a page.
    file: Option<String>,
}

/// What was found.
pub enum Answer {
    /// Games of a page.
    Page(Value),
    /// A file of this kind.
    File(&'static str, String),
}

impl Query {
    /// Returns the number of the run that is looked at.
    pub fn run(&self) -> usize {
        self.run
    }

    /// Looks for games, from the newest round to the oldest.
    ///
    /// # Errors
    /// When the query cannot be understood, or a segment of the log cannot be used.
    pub fn answer(&self, run: &Run) -> Result<Answer, Error> {
        let kind = match self.file.as_deref() {
            None => None,
            Some("txt") => Some("txt"),
            Some("csv") => Some("csv"),
            Some(_) => return Err(Error::Usage("file: games come as txt or csv".into())),
        };
        let most = if kind.is_some() { FILE } else { PAGE };
        let (games, next) = self.find(run, most)?;
        match kind {
            None => {
                let games = games.iter().map(|game| shown(run, game));
                Ok(Answer::Page(json!({"games": games.collect::<Vec<_>>(), "next": next})))
            }
            Some(kind) => Ok(Answer::File(kind, file(run, kind, &games, next.is_some()))),
        }
    }

    /// Returns the games that are looked for, at most so many, and where to go on if there may be more.
    fn find(&self, run: &Run, most: usize) -> Result<(Vec<GameRecord>, Option<(u64, usize)>), Error> {
        let opening = run.start.moves_of(&self.moves).map_err(|error| Error::Usage(error.0))?;
        if let Some(result) = &self.result
            && !["1-0", "1/2", "0-1"].contains(&&**result)
        {
            return Err(Error::Usage("result: 1-0, 1/2 or 0-1, that of the first player".into()));
        }
        let began = Instant::now();
        let log = Log::of(&run.folder);
        let newest = checkpoint::generations(&run.folder)?.pop().unwrap_or(0);
        let (from, to) = (self.from.unwrap_or(0), self.to.unwrap_or(u64::MAX));
        let to = self.next.map_or(to, |(round, _)| to.min(round));
        let mut games = vec![];
        for round in log.known(newest)?.into_iter().rev().filter(|round| (from..=to).contains(round)) {
            let skipped = self.next.filter(|(next, _)| *next == round).map_or(0, |(_, skipped)| skipped);
            if began.elapsed() > TIME {
                return Ok((games, Some((round, skipped))));
            }
            let Some(segment) = log.read(run.game, round)? else { continue };
            for (number, game) in segment.games.into_iter().enumerate().skip(skipped) {
                if games.len() == most {
                    return Ok((games, Some((round, number))));
                }
                if self.wants(&opening, &game) {
                    games.push(game);
                }
            }
        }
        Ok((games, None))
    }

    fn wants(&self, opening: &[Action], game: &GameRecord) -> bool {
        self.number.is_none_or(|number| game.id.is_some_and(|id| id.number == number))
            && self.shortest.is_none_or(|shortest| game.len() >= shortest)
            && self.longest.is_none_or(|longest| game.len() <= longest)
            && self.result.as_ref().is_none_or(|result| result_text(game.finished) == result)
            && game.len() >= opening.len()
            && game.moves().zip(opening).all(|(action, wanted)| action == *wanted)
    }
}

fn texts(run: &Run, game: &GameRecord) -> Vec<String> {
    let mut position = run.start.clone();
    let text = |action| {
        let text = position.action_text(action);
        position.play(action);
        text
    };
    game.moves().map(text).collect()
}

fn shown(run: &Run, game: &GameRecord) -> Value {
    let id = game.id.unwrap_or_default();
    json!({
        "round": id.round, "number": id.number, "result": result_text(game.finished),
        "opening": game.opening.len(), "moves": texts(run, game).join(" "), "length": game.len(),
    })
}

fn file(run: &Run, kind: &str, games: &[GameRecord], cut_off: bool) -> String {
    let more = if cut_off { ", and there are more than these" } else { "" };
    let mut text = match kind {
        "csv" => "round,number,result,random_moves,length,moves\n".into(),
        _ => format!(
            "# {} of {}{more}: round, number, result of the first player, then the moves; [..] were drawn at random\n",
            run.start.title(),
            run.name
        ),
    };
    for game in games {
        let id = game.id.unwrap_or_default();
        text += &match kind {
            "csv" => format!(
                "{},{},{},{},{},{}\n",
                id.round,
                id.number,
                result_text(game.finished),
                game.opening.len(),
                game.len(),
                texts(run, game).join(" ")
            ),
            _ => format!("{} {} {}\n", id.round, id.number, game_text(&run.start, game)),
        };
    }
    text
}
