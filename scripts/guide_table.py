#!/usr/bin/env python3
"""What each item of the optimisation guide brings on this machine: the table of docs/gpu.md.

    cargo build --release
    python3 scripts/guide_table.py [--binary target/release/lockstep] [--device cpu] [--seconds 5] [--rounds 3]

Every line changes one key of the guide's run (tic-tac-toe, 128 channels x 5 blocks, 200 simulations a move, 200 games at
once, batches of 512) and is measured in turn with that run, so that a machine that gets slower is so for both.
"""

import argparse
import json
import statistics
import subprocess

GUIDE = ["--game", "tictactoe", "--network", "resnet", "--channels", "128", "--blocks", "5", "--set", "search.cache_mb=64",
         "--set", "search.opening_plies=0"]
# What is run, and the figure that tells. A proof ends a search early, so it shows in moves and not in simulations.
PLAY = (["selfplay", "--simulations", "200"], "simulations_per_second")
MOVES = (PLAY[0], "moves_per_second")
TRAIN = (["train", "--batch", "512"], "samples_per_second")
BATCH = (["train"], "samples_per_second")
# The cache answers nearly all of so small a game, which hides what the network gains.
UNCACHED = ["--set", "search.cache_mb=0"]

# Item, what is changed, what is run, and its options without and with the item.
ROWS = [
    ("parallel games", "1 lane, 8 lanes", PLAY, ["--lanes", "1", *UNCACHED], ["--lanes", "8", *UNCACHED]),
    ("", "1, 64", PLAY, ["--lanes", "1", *UNCACHED], ["--lanes", "64", *UNCACHED]),
    ("", "1, 200 (the guide's run)", PLAY, ["--lanes", "1", *UNCACHED], ["--lanes", "200", *UNCACHED]),
    ("", "1, 1,024", PLAY, ["--lanes", "1", *UNCACHED], ["--lanes", "1024", *UNCACHED]),
    ("batched leaves, one game", "1 leaf, 8 leaves", PLAY, ["--lanes", "1", *UNCACHED],
     ["--lanes", "1", *UNCACHED, "--set", "lanes.leaves_per_tree=8"]),
    ("batched leaves, 200 games", "1 leaf, 8 leaves", PLAY, ["--lanes", "200", *UNCACHED],
     ["--lanes", "200", *UNCACHED, "--set", "lanes.leaves_per_tree=8"]),
    ("positions that come again", "no cache, 64 MB", PLAY, ["--lanes", "200", "--set", "search.cache_mb=0"],
     ["--lanes", "200"]),
    ("proven results", "no solver, solver", MOVES, ["--lanes", "200", "--set", "search.solver=false"],
     ["--lanes", "200"]),
    ("mixed precision, play", "f32, the fastest (int16 on a CPU)", PLAY, ["--lanes", "200", *UNCACHED],
     ["--lanes", "200", *UNCACHED, "--precision", "auto"]),
    ("compilation, play", "burn, fused kernels", PLAY, ["--lanes", "200", *UNCACHED, "--device", "flex"],
     ["--lanes", "200", *UNCACHED]),
    ("compilation, training", "burn, fused kernels", TRAIN, ["--device", "flex"], []),
    ("large batches, training", "64, 512", BATCH, ["--batch", "64"], ["--batch", "512"]),
    ("", "512, 1,024", BATCH, ["--batch", "512"], ["--batch", "1024"]),
    ("accumulation", "1 part, 8 parts", TRAIN, [], ["--set", "learn.accumulation=8"]),
    ("all of it, play", "1 lane, no cache, no solver, burn; 200 lanes, the fastest precision", PLAY,
     ["--lanes", "1", "--device", "flex", "--set", "search.cache_mb=0", "--set", "search.solver=false"],
     ["--lanes", "200", "--precision", "auto"]),
]


def rate(binary, bench, options, device, seconds):
    bench, figure = bench
    where = [] if "--device" in options else ["--device", device]
    # CUDA has no f32.
    numbers = [] if "--precision" in options else ["--precision", "auto" if device.startswith("cuda") else "f32"]
    command = [binary, "bench", *bench, *GUIDE, *where, *numbers, *options, "--seconds", str(seconds), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)[figure]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/lockstep")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print("| item | without, with | without | with | times |\n|---|---|---|---|---|")
    for item, change, bench, without, with_it in ROWS:
        pairs = [[rate(args.binary, bench, options, args.device, args.seconds) for options in (without, with_it)]
                 for _ in range(args.rounds)]
        before, after = (statistics.median(column) for column in zip(*pairs))
        times = statistics.median(b / a for a, b in pairs)
        unit = bench[1].replace("_per_second", "/s")
        print(f"| {item} | {change} | {before:,.0f} {unit} | {after:,.0f} | {times:.2f} |", flush=True)


if __name__ == "__main__":
    main()
