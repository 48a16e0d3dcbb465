#!/usr/bin/env python3
"""Lockstep beside what it could be replaced with, on this machine: mctx with pgx (JAX) searches, PyTorch has the networks.

    python3 -m venv ~/peers/jax && ~/peers/jax/bin/pip install jax mctx pgx
    python3 -m venv ~/peers/torch && ~/peers/torch/bin/pip install torch numpy
    cargo build --release
    python3 scripts/peers.py --jax ~/peers/jax/bin/python --torch ~/peers/torch/bin/python

All run on the CPU, on the same cores, and in turn, so that a machine that gets slower is so for all of them. A cell has the
median of the rounds, and a ratio is the median of the rounds' ratios. Peers get the best time of all their repetitions, and
lockstep its median time, so the ratios err in favour of the peers.

  search   plain tree search, with an evaluator that costs nothing. mctx: muzero_policy in all games at once, from the opening,
           after compilation. lockstep: search without solver and cache, in games as they go on.
  network  evaluations of a residual network: that of lockstep, with the same heads. PyTorch: norms folded into the
           convolutions, the faster one of both layouts. Lines with int16 are beside PyTorch's f32.
  train    forward, backward and Adam. Lockstep also draws and encodes the batch. Lines with bf16 are beside PyTorch's f32; PyTorch
           in bfloat16 has a column of its own.
"""

import argparse
import dataclasses
import importlib
import importlib.metadata
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# What is measured ---------------------------------------------------------------------------------------------------------

# The game of lockstep and of pgx, games in play, simulations.
SEARCHES = [
    ("connect_four", "connect_four", 256, 200),
    ("connect_four", "connect_four", 1024, 64),
    ("tictactoe", "tic_tac_toe", 256, 200),
    ("othello", "othello", 128, 200),
    ("go9", "go_9x9", 128, 200),
    ("hex", "hex", 128, 200),
]
# Game, channels, blocks, and the sizes of a batch.
NETWORKS = [
    ("tictactoe", 128, 5, 256),
    ("connect_four", 64, 4, 256),
    ("connect_four", 128, 5, 256),
    ("othello", 64, 4, 256),
    ("go9", 64, 6, 256),
    ("gomoku", 64, 6, 256),
    ("connect_four", 64, 4, 1),
    ("connect_four", 128, 5, 1),
]
TRAININGS = [("tictactoe", 128, 5, 512), ("connect_four", 64, 4, 512), ("connect_four", 128, 5, 512)]
# Channels before the heads, and outputs of the value head, as lockstep's recipes have them.
HEAD_CHANNELS, OUTCOMES = 16, 3


@dataclasses.dataclass
class Row:
    """A line of the table: what lockstep measures and which figure of that, and what the peer does beside it."""

    name: str
    ours: list
    figure: str
    peer: str
    work: dict
    rates: dict = dataclasses.field(default_factory=lambda: {"ours": [], "peer": [], "bfloat16": []})
    errors: dict = dataclasses.field(default_factory=dict)


def all_rows(lockstep):
    """The rows in their order. Rows with the same work of the peer lie side by side."""
    games = {game["game"]: game for game in map(json.loads, call([lockstep, "games", "--json"]).splitlines())}
    for game, theirs, lanes, simulations in SEARCHES:
        ours = ["search", "--game", game, "--lanes", lanes, "--simulations", simulations]
        work = {"game": theirs, "games": lanes, "simulations": simulations}
        yield Row(f"search {game}, {lanes} games x {simulations}", ours, "simulations_per_second", "mctx", work)
    for kind, figure, networks in (("network", "evaluations", NETWORKS), ("train", "samples", TRAININGS)):
        for game, channels, blocks, batch in networks:
            shape = {key: games[game][key] for key in ("planes", "height", "width", "actions")}
            work = {"kind": kind, **shape, "channels": channels, "blocks": blocks, "batch": batch}
            size = ["--network", "resnet", "--channels", channels, "--blocks", blocks, "--batch", batch]
            for precision in ("f32", "int16") if kind == "network" else ("f32", "bf16"):
                ours = [kind, "--game", game, *size, "--precision", precision]
                name = f"{kind} {game} {channels}x{blocks}, batch {batch}, {precision}"
                yield Row(name, ours, f"{figure}_per_second", "torch", work)


# The peers, each in a process of an interpreter that has it --------------------------------------------------------------


def best_time(work, seconds, least):
    """The shortest time of a piece of work that is repeated, after two repetitions that do not count."""
    work()
    work()
    times, start = [], time.perf_counter()
    while len(times) < least or time.perf_counter() < start + seconds:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def mctx_peer(work):
    """Simulations a second of mctx, which moves in all games at once."""
    import jax
    import jax.numpy as jnp
    import mctx
    import pgx

    env, games, simulations = pgx.make(work["game"]), work["games"], work["simulations"]
    step = jax.vmap(env.step)

    def priors(states):
        return jnp.where(states.legal_action_mask, 0.0, -1e9)

    def recurrent(_params, _key, actions, parents):
        children = step(parents, actions)
        # Rewards and values are those of the player who is to move.
        reward = children.rewards[jnp.arange(games), parents.current_player]
        turn = jnp.where(children.current_player == parents.current_player, 1.0, -1.0)
        discount = jnp.where(children.terminated, 0.0, turn)
        value = jnp.zeros(games)
        found = mctx.RecurrentFnOutput(reward=reward, discount=discount, prior_logits=priors(children), value=value)
        return found, children

    @jax.jit
    def move(states, key):
        root = mctx.RootFnOutput(prior_logits=priors(states), value=jnp.zeros(games), embedding=states)
        found = mctx.muzero_policy((), key, root, recurrent, simulations, invalid_actions=~states.legal_action_mask)
        return step(states, found.action)

    key = jax.random.PRNGKey(0)
    opening = jax.jit(jax.vmap(env.init))(jax.random.split(key, games))
    return games * simulations / best_time(lambda: jax.block_until_ready(move(opening, key)), work["seconds"], 4)


def torch_peer(work):
    """Evaluations or samples a second of PyTorch, in the layout that is faster."""
    import torch
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    torch.set_num_threads(work["threads"])
    channels, cells, batch = work["channels"], work["height"] * work["width"], work["batch"]
    trains, halves = work["kind"] == "train", work["bfloat16"]

    def conv(inputs, outputs, size):
        layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
        norm = nn.BatchNorm2d(outputs)
        return nn.Sequential(layer, norm) if trains else fuse_conv_bn_eval(layer.eval(), norm.eval())

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = conv(channels, channels, 3), conv(channels, channels, 3)

        def forward(self, x):
            return torch.relu(x + self.second(torch.relu(self.first(x))))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.tower = nn.Sequential(
                conv(work["planes"], channels, 3), nn.ReLU(), *(Block() for _ in range(work["blocks"])))
            features = lambda: (conv(channels, HEAD_CHANNELS, 1), nn.ReLU(), nn.Flatten())
            self.policy = nn.Sequential(*features(), nn.Linear(HEAD_CHANNELS * cells, work["actions"]))
            self.value = nn.Sequential(
                *features(), nn.Linear(HEAD_CHANNELS * cells, channels), nn.ReLU(), nn.Linear(channels, OUTCOMES))

        def forward(self, x):
            x = self.tower(x)
            return self.policy(x), self.value(x)

    def rate(layout):
        network = Network().train(trains).to(memory_format=layout)
        positions = (torch.rand(batch, work["planes"], work["height"], work["width"]) < 0.3).float()
        positions = positions.contiguous(memory_format=layout)
        policies = torch.rand(batch, work["actions"]).softmax(1)
        outcomes = torch.rand(batch, OUTCOMES).softmax(1)
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)

        def step():
            with torch.autocast("cpu", torch.bfloat16, enabled=halves):
                policy, value = network(positions)
                loss = nn.functional.cross_entropy(policy, policies) + nn.functional.cross_entropy(value, outcomes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        def evaluate():
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=halves):
                network(positions)

        return batch / best_time(step if trains else evaluate, work["seconds"] / 2, 5)

    return max(rate(layout) for layout in (torch.contiguous_format, torch.channels_last))


def versions(packages):
    """The versions of packages that can be imported."""
    for name in packages:
        importlib.import_module(name)
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)


PEERS = {"mctx": mctx_peer, "torch": torch_peer, "versions": versions}

# The table ----------------------------------------------------------------------------------------------------------------


class Failed(Exception):
    """Something that could not be measured; the message is for the table."""


def call(command, limit=60, env=None):
    """What a program prints; a failure is told with the last thing that it says."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=env)
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{Path(command[0]).name} took longer than {limit:.0f} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or "it says nothing").splitlines()[-1]
        raise Failed(f"{Path(command[0]).name} ended with {done.returncode}: {said}"[:300])
    return done.stdout


def processor():
    """The name of the processor's model."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


class Bench:
    """Calls lockstep and the peers."""

    PACKAGES = {"mctx": ("jax", "mctx", "pgx"), "torch": ("torch",)}

    def __init__(self, args, cache):
        self.args = args
        self.pythons = {"mctx": args.jax, "torch": args.torch}
        threads = {"OMP_NUM_THREADS": str(args.threads), "MKL_NUM_THREADS": str(args.threads)}
        # What JAX has compiled in the first round serves the others.
        jax = {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        # Long enough for a machine on which JAX compiles slowly.
        self.limit = 900 + 10 * args.seconds
        self.env = {**os.environ, **threads, **jax, "CUDA_VISIBLE_DEVICES": ""}

    def ask(self, peer, what, work):
        command = [self.pythons[peer], __file__, "--peer", what, json.dumps(work)]
        return json.loads(call(command, self.limit, self.env).splitlines()[-1])

    def rate(self, row, column):
        if column == "ours":
            options = ["--threads", self.args.threads, "--seconds", self.args.seconds, "--device", "cpu", "--json"]
            return json.loads(call([self.args.lockstep, "bench", *row.ours, *options], self.limit, self.env))[row.figure]
        how = {"threads": self.args.threads, "seconds": self.args.seconds, "bfloat16": column == "bfloat16"}
        return self.ask(row.peer, row.peer, {**row.work, **how})

    def round(self, rows):
        """Measures rows beside the same work of the peer, once: lockstep for each of them, then the peer."""
        peers = ["peer"] + ["bfloat16"] * (self.args.bfloat16 and rows[0].peer == "torch")
        for column, measured in [("ours", [row]) for row in rows] + [(peer, rows) for peer in peers]:
            # What has failed will fail again.
            if column in measured[0].errors:
                continue
            try:
                rate = self.rate(measured[0], column)
                for row in measured:
                    row.rates[column].append(rate)
            except (Failed, ValueError, LookupError) as error:
                for row in measured:
                    row.errors[column] = str(error)


def line_of(row, columns):
    """A row of the table, with the rounds that it has."""
    cells = [row.name]
    for column in columns:
        rates, ours = row.rates[column], row.rates["ours"]
        if column in row.errors or not rates:
            cells += [row.errors.get(column, "-")] + ["-"] * (column != "ours")
            continue
        cells.append(f"{statistics.median(rates):,.0f}")
        if column != "ours":
            cells.append(f"{statistics.median(a / b for a, b in zip(ours, rates)):.2f}" if ours else "-")
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def on_cores(threads):
    """Keeps this process and all that it starts on as many cores: JAX takes as many threads as there are."""
    if not hasattr(os, "sched_setaffinity"):
        return "JAX takes all cores: this system cannot keep it on some of them."
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= threads <= len(cores):
        sys.exit(f"--threads {threads}: it must be from 1 to the {len(cores)} cores that there are here")
    os.sched_setaffinity(0, cores[:threads])
    return f"All run on {threads} of the {len(cores)} cores."


def compare(args, cache):
    bench = Bench(args, cache)
    cores = on_cores(args.threads)
    try:
        ours = call([args.lockstep, "--version"]).strip()
        rows = [row for row in all_rows(args.lockstep) if args.only in row.name]
    except Failed as error:
        sys.exit(f"--lockstep: {error}; build it with cargo build --release, or name another one")
    if not rows:
        sys.exit(f"--only {args.only}: no row has this in its name; the names begin with search, network or train")
    report = {"processor": processor(), "threads": args.threads, "seconds": args.seconds, "lockstep": ours, "peers": {}}
    for option, peer in (("--jax", "mctx"), ("--torch", "torch")):
        wanted = sum(row.peer == peer for row in rows)
        if wanted and bench.pythons[peer] is None:
            print(f"{wanted} rows beside {peer} are left out; {option} PYTHON measures them.")
        if not wanted or bench.pythons[peer] is None:
            continue
        try:
            report["peers"][peer] = bench.ask(peer, "versions", bench.PACKAGES[peer])
        except Failed as error:
            sys.exit(f"{option}: {error}; name an interpreter that has {', '.join(bench.PACKAGES[peer])}, or leave it out")
    rows = [row for row in rows if row.peer in report["peers"]]
    if not rows:
        sys.exit("Nothing is left to measure: name an interpreter with --jax or --torch.")
    print(f"{report['processor']}. {cores} {'; '.join([ours, *report['peers'].values()])}.")
    if (load := os.getloadavg()[0]) > 0.5:
        print(f"The machine is busy (load {load:.1f}), which slows the peers more than lockstep: do not trust these ratios.")
    print()
    columns = ["ours", "peer"] + ["bfloat16"] * args.bfloat16
    titles = ["per second, CPU", "lockstep", "peer", "times the peer"] + ["bfloat16", "times it"] * args.bfloat16
    print("| " + " | ".join(titles) + " |\n|" + "---|" * len(titles), flush=True)
    status, groups = 0, [list(group) for _, group in itertools.groupby(rows, key=lambda row: (row.peer, row.work))]
    group = []
    try:
        for group in groups:
            for _ in range(args.rounds):
                bench.round(group)
            print("\n".join(line_of(row, columns) for row in group), flush=True)
    except KeyboardInterrupt:
        begun = [row for row in group if any(row.rates.values())]
        print("\n".join([line_of(row, columns) for row in begun] + ["", "Stopped: the rest was not measured."]))
        status = 130
    if args.json:
        measured = [{"name": row.name, "beside": row.peer, **row.rates, "errors": row.errors} for row in rows]
        args.json.write_text(json.dumps({**report, "rows": measured}, indent=1) + "\n")
    return status or int(any(row.errors for row in rows))


def main():
    if sys.argv[1:2] == ["--peer"]:
        print(json.dumps(PEERS[sys.argv[2]](json.loads(sys.argv[3]))))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lockstep", default="target/release/lockstep", metavar="PATH", help="[default: %(default)s]")
    parser.add_argument("--jax", metavar="PYTHON", help="an interpreter that has jax, mctx and pgx")
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has torch")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each figure is measured [default: 5]")
    parser.add_argument("--seconds", type=float, default=5, help="for each figure in each round [default: 5]")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads and cores of each [default: 2]")
    parser.add_argument("--only", default="", metavar="WORD", help="only rows with this in their name, such as network or hex")
    parser.add_argument("--bfloat16", action="store_true", help="also PyTorch in bfloat16, which processors with AMX are fast at")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures of all rounds")
    args = parser.parse_args()
    if args.rounds < 1 or not args.seconds > 0:
        parser.error("--rounds must be 1 or more, and --seconds above 0")
    with tempfile.TemporaryDirectory() as cache:
        return compare(args, cache)


if __name__ == "__main__":
    sys.exit(main())
