//! An evaluator of your own: it counts the threes that are still open to each player.

use lockstep::prelude::*;
use std::collections::VecDeque;

#[derive(Default)]
struct OpenLines(VecDeque<Vec<f32>>);

impl Evaluator for OpenLines {
    fn submit(&mut self, batch: &Batch) -> Result<(), systems::Error> {
        const LINES: [[usize; 3]; 8] =
            [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]];
        // Each row has a plane of the own marks, then one of the opponent's.
        let open = |marks: &[f32]| LINES.iter().filter(|line| line.iter().all(|&cell| marks[cell] == 0.0)).count();
        let value = |row: &[f32]| (open(&row[9..18]) as f32 - open(&row[..9]) as f32) / 8.0;
        self.0.push_back(batch.planes().chunks(batch.input).map(value).collect());
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), systems::Error> {
        let values = self.0.pop_front().expect("a batch was submitted");
        out.logits.fill(0.0);
        out.values[..values.len()].copy_from_slice(&values);
        out.computed = values.len();
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { rows_are_independent: true, ..Capabilities::default() }
    }
}

/// Runs the experiment.
pub fn main() -> Result<(), systems::Error> {
    let search = SearchConfig { simulations: 30, ..SearchConfig::default() };
    let mut world = Setup::self_play(AnyGame::of::<TicTacToe>(), Searcher::new(OpenLines::default(), search)).build();
    play_games(&mut world, 500)?;
    println!("wins, draws and losses of the first player: {:?}", world.resource::<Stats>().results);
    Ok(())
}
