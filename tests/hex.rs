//! Hex on small boards, solved by a program that shares nothing with the game but its rules.

use lockstep_components::{Game, game::Oracle, games::Hex, solver};
use std::collections::HashMap;

/// Stones of both players as bits of cells, row by row. The first player connects top and bottom.
type Stones = [u32; 2];

/// A solver that finds, with each win, the cells that it needs: moves elsewhere do not stop the win, so an answer to it
/// lies within them (Hayward, Björnsson, Johanson, Kan, Po and van Rijswijck 2005).
struct Solver {
    size: usize,
    known: HashMap<(Stones, usize), (bool, u32)>,
}

impl Solver {
    fn new(size: usize) -> Self {
        Self { size, known: HashMap::new() }
    }

    fn neighbours(&self, cell: usize) -> impl Iterator<Item = usize> + use<> {
        let size = self.size as isize;
        let (row, column) = (cell as isize / size, cell as isize % size);
        [(0, -1), (0, 1), (-1, 0), (-1, 1), (1, 0), (1, -1)].into_iter().filter_map(move |(down, right)| {
            let (row, column) = (row + down, column + right);
            ((0..size).contains(&row) && (0..size).contains(&column)).then_some((row * size + column) as usize)
        })
    }

    /// Returns how far a cell is from the edge where a player's way begins.
    fn depth(&self, cell: usize, player: usize) -> usize {
        [cell / self.size, cell % self.size][player]
    }

    /// Returns the cells `from`, and all that can be reached from them over the cells `over`.
    fn connected(&self, from: u32, over: u32) -> u32 {
        let (mut left, mut seen) = (bits(from).collect::<Vec<_>>(), from);
        while let Some(cell) = left.pop() {
            for next in self.neighbours(cell) {
                if over >> next & 1 == 1 && seen >> next & 1 == 0 {
                    left.push(next);
                }
                seen |= 1 << next;
            }
        }
        seen
    }

    fn edge(&self, player: usize, depth: usize) -> u32 {
        (0..self.size * self.size)
            .filter(|&cell| self.depth(cell, player) == depth)
            .fold(0, |set, cell| set | 1 << cell)
    }

    fn connects(&self, stones: u32, player: usize) -> bool {
        let [first, last] = [0, self.size - 1].map(|depth| self.edge(player, depth) & stones);
        self.connected(first, stones) & last & stones != 0
    }

    /// Returns whether the player to move wins, and the empty cells that the winner needs.
    fn wins(&mut self, stones: Stones, player: usize) -> (bool, u32) {
        if self.connects(stones[1 - player], 1 - player) {
            return (false, 0);
        }
        if let Some(&known) = self.known.get(&(stones, player)) {
            return known;
        }
        let mut within = !(stones[0] | stones[1]) & ((1 << (self.size * self.size)) - 1);
        let distances = [0, 1].map(|player| self.distances(stones, player));
        let mut moves: Vec<usize> = bits(within).collect();
        moves.sort_by_key(|&cell| distances[0][cell] + distances[1][cell]);
        let (mut won, mut needed) = (false, 0);
        for cell in moves {
            if within >> cell & 1 == 0 {
                continue;
            }
            let mut after = stones;
            after[player] |= 1 << cell;
            let (refuted, cells) = self.wins(after, 1 - player);
            if !refuted {
                (won, needed) = (true, cells | 1 << cell);
                break;
            }
            within &= cells;
            needed |= cells;
        }
        self.known.insert((stones, player), (won, needed));
        (won, needed)
    }

    /// Returns, for each empty cell, its two-distances from both of a player's edges, added up (van Rijswijck 2002): a
    /// cell is one further than its second nearest neighbour, because the other player takes the nearest. The edge and
    /// own stones pass neighbours on.
    fn distances(&self, stones: Stones, player: usize) -> Vec<u32> {
        const FAR: u32 = 100;
        let cells = self.size * self.size;
        let empty = !(stones[0] | stones[1]) & ((1 << cells) - 1);
        let near: Vec<u32> = (0..cells).map(|cell| self.connected(1 << cell, stones[player])).collect();
        let mut sum = vec![0; cells];
        for edge in [0, self.size - 1].map(|depth| self.edge(player, depth)) {
            let mut distance = vec![FAR; cells];
            loop {
                let mut nearer = distance.clone();
                for cell in bits(empty) {
                    let through = near[cell] & (stones[player] | 1 << cell);
                    let mut others: Vec<u32> =
                        bits(near[cell] & empty & !(1 << cell)).map(|other| distance[other]).collect();
                    others.sort_unstable();
                    let second = if through & edge != 0 { 0 } else { others.get(1).copied().unwrap_or(FAR) };
                    nearer[cell] = nearer[cell].min(second + 1);
                }
                if nearer == distance {
                    break;
                }
                distance = nearer;
            }
            sum.iter_mut().zip(&distance).for_each(|(sum, distance)| *sum += distance);
        }
        sum
    }
}

fn bits(set: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |bit| set >> bit & 1 == 1)
}

fn cell(text: &str, size: usize) -> usize {
    let (column, row) = text.split_at(1);
    (row.parse::<usize>().unwrap() - 1) * size + usize::from(column.as_bytes()[0] - b'a')
}

/// Returns the stones after a list of moves, and who is to move.
fn after(moves: &str, size: usize) -> (Stones, usize) {
    moves.split_whitespace().fold(([0; 2], 0), |(mut stones, player), text| {
        stones[player] |= 1 << cell(text, size);
        (stones, 1 - player)
    })
}

/// Returns the line of a labelled position: the moves that lead there, and the result of each move.
fn line<const SIZE: usize>(solver: &mut Solver, moves: &str) -> String {
    let position = Hex::<SIZE>::parse(moves).unwrap();
    let (stones, player) = after(moves, SIZE);
    let mut wins = false;
    let scores: Vec<String> = position
        .legal()
        .map(|action| {
            let (text, mut after) = (position.action_text(action), stones);
            after[player] |= 1 << cell(&text, SIZE);
            let win = !solver.wins(after, 1 - player).0;
            wins |= win;
            format!("{text}={}", if win { 1 } else { -1 })
        })
        .collect();
    format!("{moves},{},{}", if wins { 1 } else { -1 }, scores.join(" "))
}

/// Returns the moves that win from the start.
fn winning<const SIZE: usize>(solver: &mut Solver) -> String {
    let line = line::<SIZE>(solver, "");
    let scores = line.rsplit(',').next().unwrap().split(' ');
    scores.filter_map(|score| score.strip_suffix("=1")).collect::<Vec<_>>().join(" ")
}

#[test]
fn first_moves_of_hex() {
    // On 4x4 those on the short diagonal alone.
    for (found, expected) in [
        (winning::<2>(&mut Solver::new(2)), "b1 a2"),
        (winning::<3>(&mut Solver::new(3)), "c1 a2 b2 c2 a3"),
        (winning::<4>(&mut Solver::new(4)), "d1 c2 b3 a4"),
    ] {
        assert_eq!(found, expected);
    }
    // And so says the solver that labels positions of every game.
    let start = Hex::<4>::start();
    let wins = solver::scores(&start, 10_000_000, 512 << 20, |_| ()).unwrap();
    let wins = wins.into_iter().filter(|(_, score)| *score > 0);
    assert_eq!(wins.map(|(action, _)| start.action_text(action)).collect::<Vec<_>>().join(" "), "d1 c2 b3 a4");
}

/// On 5x5 the first moves that win; and the start, all positions after a first move, and those near the end of random
/// games.
#[test]
fn labelled_positions_of_hex_are_right() {
    let Oracle::Positions(compressed) = Hex::<5>::ORACLE else { panic!("there are positions") };
    let text = String::from_utf8(zstd::decode_all(compressed).unwrap()).unwrap();
    let mut solver = Solver::new(5);
    assert_eq!(winning::<5>(&mut solver), "e1 b2 c2 d2 e2 b3 c3 d3 a4 b4 c4 d4 a5");
    let (mut start, mut end) = (0, 0);
    for labelled in text.lines().skip(1) {
        let (set, rest) = labelled.split_once(',').unwrap();
        *(if set == "start" { &mut start } else { &mut end }) += 1;
        assert_eq!(rest, line::<5>(&mut solver, rest.split(',').next().unwrap()));
    }
    assert_eq!((start, end), (26, 1_000));
}
