#!/usr/bin/env python3
"""Digests of random games as another program plays them: tests/golden/games.csv.

    pip install open_spiel
    python3 scripts/game_reference.py > tests/golden/games.csv

Each game draws its moves with a generator of its own from the legal moves, sorted by their texts as lockstep writes them.
What is digested: the texts of all legal moves at every turn, whose turn it is, and the result for the first player. A line
has the digest of GROUP games. `tests/games.rs` plays the same games.
"""

import re
import sys
from concurrent.futures import ProcessPoolExecutor

import pyspiel

GROUP = 250
MASK = (1 << 64) - 1


def mix(x):
    z = (x + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def digest(h, text):
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def cell(row, column):
    return "abcdefghijklmnopqrstuvwxyz"[column] + str(row + 1)


def othello(text):
    return text.lower()


def same(text):
    return text


def dots_and_boxes(text):
    kind, row, column = re.search(r"\((.),(\d+),(\d+)\)", text).groups()
    row, column = 2 * int(row), 2 * int(column)
    return cell(row, column + 1) if kind == "h" else cell(row + 1, column)


def go(text):
    return text.split(" ")[1].lower()


def breakthrough(rows):
    def read(text):
        a, b, c, d = re.match(r"([a-z])(\d+)([a-z])(\d+)", text).groups()
        takes = "x" if "*" in text or "x" in text else ""
        return f"{a}{rows + 1 - int(b)}{takes}{c}{rows + 1 - int(d)}"

    return read


def gomoku(text):
    return cell(*map(int, text.split(",")))


def connect_four(text):
    return str(int(text[1:]) + 1)


def tictactoe(text):
    row, column = re.search(r"\((\d),(\d)\)", text).groups()
    return cell(int(row), int(column))


# Name, the other program's name, how its moves are read, games, longest game.
GAMES = [
    ("tictactoe", "tic_tac_toe", tictactoe, 10_000, None),
    ("connect_four", "connect_four", connect_four, 10_000, None),
    ("othello", "othello", othello, 10_000, None),
    ("dots_and_boxes", "dots_and_boxes(num_rows=3,num_cols=3)", dots_and_boxes, 10_000, None),
    ("hex5", "hex(board_size=5)", same, 10_000, None),
    ("hex", "hex(board_size=11)", same, 2_000, None),
    ("breakthrough6", "breakthrough(rows=6,columns=5)", breakthrough(6), 10_000, None),
    ("breakthrough", "breakthrough(rows=8,columns=8)", breakthrough(8), 10_000, None),
    ("gomoku9", "gomoku(size=9)", gomoku, 10_000, None),
    ("gomoku", "gomoku(size=15)", gomoku, 2_000, None),
    ("clobber", "clobber(rows=5,columns=6)", same, 10_000, None),
    ("go5", "go(board_size=5,komi=24.5,max_game_length=75)", go, 10_000, 75),
    ("go7", "go(board_size=7,komi=8.5,max_game_length=147)", go, 2_000, 147),
]


def legal_moves(state, longest):
    """Actions of the legal moves. A repeated board ends the other program's game of Go: here such a move is illegal."""
    for action in state.legal_actions():
        if longest is not None and "PASS" not in state.action_to_string(action):
            child = state.child(action)
            if child.is_terminal() and child.move_number() < longest:
                continue
        yield action


def play(game, read, longest, number):
    rng, h = mix(number), 0xCBF29CE484222325
    state = game.new_initial_state()
    while not state.is_terminal():
        moves = sorted((read(state.action_to_string(a)), a) for a in legal_moves(state, longest))
        h = digest(h, f"{state.current_player()} " + " ".join(text for text, _ in moves) + "\n")
        rng = mix(rng)
        state.apply_action(moves[(rng * len(moves)) >> 64][1])
    result = state.returns()[0]
    return digest(h, "win" if result > 0 else "loss" if result < 0 else "draw")


def group(task):
    name, first = task
    _, other, read, _, longest = next(entry for entry in GAMES if entry[0] == name)
    game = pyspiel.load_game(other)
    h = 0
    for number in range(first, first + GROUP):
        h = mix(h ^ play(game, read, longest, number))
    return f"{name},{first},{h:016x}"


def main():
    tasks = [(name, first) for name, _, _, games, _ in GAMES for first in range(0, games, GROUP)]
    print(f"game,first,digest of {GROUP} games")
    with ProcessPoolExecutor() as pool:
        for line in pool.map(group, tasks):
            print(line)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
