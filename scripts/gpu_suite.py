"""A suite for one hour of a real GPU: how exact, how fast and how repeatable lockstep is on it, in one table.

    python gpu_suite.py pack --out suite.tar.xz --binary cuda=target/release/lockstep
    tar xf suite.tar.xz && python gpu_suite/gpu_suite.py run --out results
    python gpu_suite.py table results

`pack` is for the machine that builds, and `run` for the one with the card: it needs Python 3.9, the packed binaries and no
network. PyTorch is compared with if the Python that runs this can import it; it needs a C compiler there to compile networks.
A binary with the feature `cuda-cpp` needs CUDA's headers as well: set CUDA_PATH if they are not in /usr/local/cuda.
"""
from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import lzma
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback
from pathlib import Path

EPILOG = """\
The phases of `run`, in this order:
  environment  the card, its driver, the processor, versions; always runs, because the others need it
  accuracy     logits and values of each precision against f64, before anything is timed
  network      evaluations a second, by network, rows and precision
  torch        the same networks in PyTorch on the same card, eager and compiled with CUDA graphs
  selfplay     games, search and network together with 1 to 4 batches in flight, and how busy the card is
  train        steps of the optimiser in f32 and bf16
  recipe       tictactoe_guide from random weights to its end, graded by the exact solver
  repeat       a run made twice, and a third time with a stop in the middle: is it the same, bit for bit?
  soak         memory of the process and of the card over minutes

Each call of a program has a time limit. What hangs, crashes or fails costs its row and nothing else. A phase that takes longer
than its share of --minutes loses the rows that are left, and what it does not need goes to those after it.

DIR/results.jsonl has a line for each row, written when it is known, DIR/table.md the table, DIR/log.txt every call with the end
of what it printed, and DIR/kernels.tar.xz the kernels that were tuned, which `run --kernels` begins with another time."""

LARGEST_PACK, LARGEST_RESULT = 64_000_000, 16 << 20


# What is measured ---------------------------------------------------------------------------------------------------------

# Planes, height, width and moves of a game, as `lockstep games` has them.
BOARDS = {"connect_four": (2, 6, 7, 7), "tictactoe": (2, 3, 3, 9)}
# The names of the moves, and how often each can be made in a game.
MOVES = {"connect_four": ("1 2 3 4 5 6 7", 6), "tictactoe": ("a1 a2 a3 b1 b2 b3 c1 c2 c3", 1)}
HEAD_CHANNELS, OUTCOMES = 16, 3


@dataclasses.dataclass(frozen=True)
class Network:
    """A residual tower with a policy head and a head for win, draw and loss, as lockstep describes it by default."""

    game: str
    channels: int
    blocks: int

    def __str__(self):
        _, height, width, _ = BOARDS[self.game]
        return f"{self.channels}x{self.blocks}, {height}x{width}"

    def options(self):
        return ["--game", self.game, "--network", "resnet", "--channels", self.channels, "--blocks", self.blocks]

    def towers(self):
        """How a GPU may compute its convolutions (`run.tower`), the one that "auto" takes first."""
        return ["board", "conv"] if self.game == "tictactoe" else ["conv"]

    def operations(self):
        """Floating-point operations of one evaluation: twice its multiplications, those by the zero padding included, as is
        usual. A convolution has inputs x outputs x taps x cells of them, a dense layer inputs x outputs. A step of training
        is counted as three evaluations of its rows."""
        planes, height, width, moves = BOARDS[self.game]
        cells, c = height * width, self.channels
        tower = 9 * cells * (planes * c + 2 * self.blocks * c * c)
        heads = 2 * cells * c * HEAD_CHANNELS + cells * HEAD_CHANNELS * (moves + c) + c * OUTCOMES
        return 2 * (tower + heads)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much of everything. Lists begin with what matters most, because time may run out."""

    networks: tuple
    rows: tuple
    batches: tuple  # of training
    seconds: float  # of a measurement
    soak: int  # seconds
    positions: int  # for the accuracy
    lanes: int
    simulations: int
    guide: tuple = ()  # keys of the recipe
    repeated: tuple = ("run.generations=6",)  # keys of the runs that are compared


FULL = Sizes(
    networks=(Network("connect_four", 64, 4), Network("tictactoe", 128, 5))
    + (Network("connect_four", 128, 5), Network("tictactoe", 256, 7)),
    rows=(4096, 1024, 16384, 256),
    batches=(512, 4096),
    seconds=2.0,
    soak=240,
    positions=1000,
    lanes=4096,
    simulations=64,
)
TINY = ("network.channels=16", "network.blocks=1", "run.games=40", "search.simulations=16", "learn.batch_size=64")
SMALL = Sizes(
    networks=(Network("connect_four", 16, 2), Network("tictactoe", 16, 2)),
    rows=(128, 32),
    batches=(64, 32),
    seconds=0.3,
    soak=12,
    positions=60,
    lanes=64,
    simulations=16,
    guide=TINY + ("run.generations=10",),
    repeated=TINY + ("run.generations=6",),
)

# Dense peaks in TFLOP/s, as the makers state them: bf16 and f16 with sums in f32, tf32, f32. The first name that stands in the
# card's as a word counts. A slice of a card has none of these.
PEAKS = {
    **{"B200": (2250, 1125, 75), "H200 NVL": (835, 418, 60), "H200": (989, 495, 67), "GH200": (989, 495, 67)},
    **{"H100 NVL": (835, 418, 60), "H100 PCIe": (756, 378, 51), "H100": (989, 495, 67), "A100": (312, 156, 19.5)},
    **{"A40": (150, 75, 37.4), "A10": (125, 62.5, 31.2), "L40S": (362, 183, 91.6), "L4": (121, 60, 30.3)},
    **{"RTX 4090": (165, 82.6, 82.6), "RTX 3090": (71, 35.6, 35.6)},
}


def peak_of(card, precision):
    """Operations a second at most, or None where that is not known."""
    column = {"bf16": 0, "f16": 0, "tf32": 1, "f32": 2}.get(precision)
    known = [peaks for name, peaks in PEAKS.items() if re.search(rf"\b{name}\b", card or "") and "MIG" not in card]
    return known[0][column] * 1e12 if known and column is not None else None


# Programs under a time limit ----------------------------------------------------------------------------------------------


class Failure(Exception):
    """Why there is no result: a status ("failed", "hung", "cut off") and a line that tells more."""

    def __init__(self, message, status="failed"):
        super().__init__(message)
        self.status = status


def fail(*why):
    raise Failure(*why)


class CardWatch:
    """What nvidia-smi says of a card every 200 ms while a program runs; nothing where there is no card or no nvidia-smi."""

    FIELDS = ("utilization.gpu", "memory.used", "power.draw", "temperature.gpu")

    def __init__(self, card):
        self.card, self.samples, self.program = card, [], None

    def __enter__(self):
        if self.card is not None and shutil.which("nvidia-smi"):
            query = ["nvidia-smi", "-i", self.card, "--query-gpu=" + ",".join(self.FIELDS), "--format=csv,noheader,nounits"]
            # A terminal gets each line at once, and a pipe perhaps only when a buffer is full.
            terminal, inner = os.openpty()
            streams = dict.fromkeys(("stdin", "stdout", "stderr"), inner)
            self.program = subprocess.Popen(query + ["-lms", "200"], start_new_session=True, **streams)
            os.close(inner)
            self.reader = threading.Thread(target=self.read, args=(terminal,), daemon=True)
            self.reader.start()
        return self

    def read(self, terminal):
        try:
            for line in open(terminal, errors="replace"):
                numbers = [float(part) if re.fullmatch(r"\s*[\d.]+\s*", part) else None for part in line.split(",")]
                if len(numbers) == len(self.FIELDS):
                    self.samples.append((time.monotonic(), numbers))
        except OSError:
            pass  # So ends a terminal that nobody writes to any more.

    def __exit__(self, *_):
        if self.program:
            end(self.program)
            self.reader.join(5)

    def column(self, field, since=0.0, until=float("inf")):
        """(time, number) of each sample in between."""
        at = self.FIELDS.index(field)
        return [(t, numbers[at]) for t, numbers in self.samples if since <= t <= until and numbers[at] is not None]


@dataclasses.dataclass
class Done:
    """A program that has ended well."""

    out: str
    began: float
    seconds: float
    resident: list  # (time, MiB of memory) of the process
    watch: CardWatch

    def measured(self, last):
        """MiB at most, of the card if one is watched, else of the process; and how the card did in the last seconds, those
        that were measured."""
        used = self.watch.column("memory.used") if self.watch.program else self.resident
        found = {"mib": round(max((mib for _, mib in used), default=0)) or None}
        until = self.began + self.seconds - 0.2
        for field, key in (("utilization.gpu", "busy"), ("power.draw", "watts"), ("temperature.gpu", "celsius")):
            numbers = [number for _, number in self.watch.column(field, until - last, until)]
            found.update({key: round(statistics.mean(numbers), 1)} if numbers else {})
        return found


def end(program):
    """Kills a program with all that it has started. One that a driver holds on to is left behind."""
    try:
        os.killpg(program.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        program.wait(10)
    except subprocess.TimeoutExpired:
        pass


def resident_mib(pid):
    try:
        found = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None


def last_line(text):
    """The last line that says something: a panic's hint at backtraces does not."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "RUST_BACKTRACE" not in line]
    return lines[-1][:300] if lines else "no word"


def run_program(argv, limit, left, env, cwd, card, on_line=None, stop=None):
    """Runs a program to its end, or until nothing is `left`. With `on_line`, which hears each line that it prints, the limit is
    for each of them. As soon as `stop` says so, told the seconds so far, the program is sent what Ctrl-C sends."""
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()

    def complaint():
        size = err.seek(0, os.SEEK_END)
        err.seek(max(0, size - 4000))
        return last_line(err.read().decode(errors="replace"))

    began = since = time.monotonic()
    heard, pending, resident, stopped, ended = 0, b"", [], False, False
    with CardWatch(card) as watch:
        streams = dict(stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        program = subprocess.Popen(argv, env=env, cwd=cwd, start_new_session=True, **streams)
        try:
            while not ended:
                # The state first, so that what it printed last is heard too.
                ended, now = program.poll() is not None, time.monotonic()
                if on_line:
                    new = os.pread(out.fileno(), 1 << 20, heard)
                    heard += len(new)
                    *lines, pending = (pending + new).split(b"\n")
                    for line in lines:
                        on_line(line.decode(errors="replace"))
                        since = now
                if not resident or now - resident[-1][0] >= 0.2:
                    mib = resident_mib(program.pid)
                    resident += [(now, mib)] if mib else []
                if stop and not stopped and stop(now - began):
                    stopped = True
                    program.send_signal(signal.SIGINT)
                if not ended and (now - since > limit or left() <= 0):
                    status = "hung" if now - since > limit else "cut off"
                    raise Failure(f"killed after {now - since:.0f} s: {complaint()}", status)
                time.sleep(0 if ended else 0.02)
        finally:
            end(program)
    if program.returncode != 0:
        how = f"signal {-program.returncode}" if program.returncode < 0 else f"code {program.returncode}"
        raise Failure(f"{how}: {complaint()}")
    out.seek(0)
    return Done(out.read().decode(errors="replace"), began, time.monotonic() - began, resident, watch)


# The suite ----------------------------------------------------------------------------------------------------------------


class Suite:
    """A run of the suite: what there is to measure, where results go, and how much time is left."""

    SHARES = ("mean_batch", "batch_fill", "cache_hits")  # that self-play tells beside its rates

    def __init__(self, args):
        self.out, self.device, self.sizes = args.out, args.device, SMALL if args.small else FULL
        self.scratch = Path(tempfile.mkdtemp(prefix="gpu-suite-"))
        self.kernels = self.scratch / "kernels"
        self.kernels.mkdir()
        if args.kernels:
            shutil.unpack_archive(args.kernels, self.scratch, "xztar")
        self.binaries = dict(args.binary)
        self.precisions = {}  # of each binary that answers and has the device
        self.torch_device = None  # where PyTorch can compute, if it is here
        self.until, self.interrupted = float("inf"), False
        self.results = open(self.out / "results.jsonl", "w")
        self.log_file = open(self.out / "log.txt", "w")

    def left(self):
        """Seconds of this phase."""
        return 0 if self.interrupted else self.until - time.monotonic()

    def interrupt(self, number, _):
        """Whoever ends the suite wants what it has found: the rest is recorded as not run. A second signal ends it at once."""
        self.interrupted = True
        signal.signal(number, signal.SIG_DFL)

    def card(self):
        """What nvidia-smi calls the card; None for the processor."""
        kind, _, number = self.device.partition(":")
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if kind == "cuda" else []
        name = "".join(visible[int(number or 0) :][:1]).strip() or number or "0"
        return None if kind == "cpu" else name

    def log(self, text):
        if self.log_file.tell() < LARGEST_RESULT - (1 << 20):
            print(text[-20_000:], file=self.log_file, flush=True)

    def record(self, row):
        """Keeps a row, so that nothing that happens later can lose it, and shows it."""
        self.results.write(json.dumps(row) + "\n")
        self.results.flush()
        os.fsync(self.results.fileno())
        told = [row.get(key) for key in (*KEYS, "status", "error")]
        print("  ".join(str(part) for part in told if part is not None), file=sys.stderr, flush=True)

    def attempt(self, identity, work, *args):
        """A row for what `work` returns, a dictionary, or rows for a list of them. Whatever goes wrong is a row too. Tells
        whether nothing did."""
        began, rows, status = time.monotonic(), [{}], {"status": "ok"}
        if self.left() <= 0:
            status = {"status": "not run", "error": "interrupted" if self.interrupted else "out of time"}
        else:
            try:
                found = work(*args) or {}
                rows = found if isinstance(found, list) else [found]
            except Failure as failure:
                status = {"status": failure.status, "error": str(failure)}
            except Exception as error:
                self.log(traceback.format_exc())
                status = {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        for row in rows:
            self.record({**identity, **row, **status, "wall": round(time.monotonic() - began, 2)})
        return status["status"] == "ok"

    def call(self, argv, limit, env=None, **how):
        """A program, until its limit or the end of the phase."""
        argv = [str(part) for part in argv]
        shown = " ".join([Path(argv[0]).name] + [part[:200].replace(str(self.scratch), "SCRATCH") for part in argv[1:]])
        env = {**os.environ, "RUST_BACKTRACE": "0", **(env or {})}
        try:
            done = run_program(argv, limit, self.left, env, self.scratch, self.card(), **how)
        except Failure as failure:
            self.log(f"$ {shown}\n{failure.status}: {failure}\n")
            raise
        self.log(f"$ {shown}\n{done.out[-2000:]}{done.seconds:.2f} s\n")
        return done

    def lockstep(self, binary, *args, limit=120, **how):
        """A lockstep with a cache of kernels of its own, which was empty when the suite began: what is timed is what this
        program has tuned. CUDA's own cache of compiled code is moved with it."""
        env = {"XDG_CACHE_HOME": str(self.kernels / binary), "CUDA_CACHE_PATH": str(self.scratch / "driver" / binary)}
        return self.call([self.binaries[binary], *args], limit, env, **how)

    def bench(self, binary, what, network, *options):
        """A measurement, after a call that tunes its kernels and is not counted."""
        # Games have to fill the batches first.
        seconds, first = (4 * self.sizes.seconds, self.sizes.seconds) if what == "selfplay" else (self.sizes.seconds, 0.1)
        args = [binary, "bench", what, *network.options(), "--device", self.device, "--json", *options, "--seconds"]
        first_use = round(self.lockstep(*args, first, limit=300).seconds, 2)
        done = self.lockstep(*args, seconds, limit=60 + 10 * seconds)
        # What was asked for is in the row already.
        told = json.loads(done.out.splitlines()[-1]).items()
        numbers = {key: value for key, value in told if key.endswith("_per_second") or key in self.SHARES}
        return {**numbers, "first_use": first_use, **done.measured(seconds)}

    def train(self, binary, recipe, folder, keys, limit, **how):
        """Trains in a folder, or goes on there if no recipe is named."""
        begins = [recipe, "--device", self.device, "--seed", "1"] if recipe else []
        return self.lockstep(binary, "train", *begins, "--run", folder, *sets(*keys), limit=limit, **how)


# What names a row.
KEYS = ("phase", "network", "rows", "precision", "binary", "what")


def named(phase, network=None, rows=None, precision=None, binary=None, what=None):
    found = zip(KEYS, (phase, network and str(network), rows, precision, binary, what))
    return {key: value for key, value in found if value is not None}


def sets(*keys):
    return [part for key in keys for part in ("--set", key)]


def by_rank(*lists):
    """All combinations, those first that are early in every list."""
    ranked = [((), 0)]
    for items in lists:
        ranked = [((*some, item), rank + i) for some, rank in ranked for i, item in enumerate(items)]
    return [some for some, _ in sorted(ranked, key=lambda pair: pair[1])]


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


# Phases -------------------------------------------------------------------------------------------------------------------


def environment(suite):
    def machine():
        cpu, memory = Path("/proc/cpuinfo").read_text(), Path("/proc/meminfo").read_text()
        model = re.search(r"model name\s*:\s*(.*)", cpu)
        gib = int(re.search(r"MemTotal:\s*(\d+)", memory)[1]) / (1 << 20)
        row = {"cpu": model[1] if model else platform.machine(), "cores": len(os.sched_getaffinity(0))}
        return {**row, "memory_gib": round(gib, 1), "kernel": platform.release(), "python": platform.python_version()}

    def card():
        if suite.card() is None or not shutil.which("nvidia-smi"):
            fail("no card was asked for" if suite.card() is None else "there is no nvidia-smi", "not run")
        suite.log(suite.call(["nvidia-smi", "-q", "-i", suite.card()], 30).out)
        fields = "name,driver_version,memory.total,memory.used,power.limit,clocks.max.sm,compute_cap,mig.mode.current"
        out = suite.call(["nvidia-smi", "-i", suite.card(), "--query-gpu=" + fields, "--format=csv,noheader"], 30).out
        return dict(zip(fields.split(","), (part.strip() for part in out.split(","))))

    def pytorch():
        code = "import torch; print(torch.__version__, torch.version.cuda, torch.cuda.is_available())"
        version, cuda, has_card = suite.call([sys.executable, "-c", code], 120).out.split()
        kind, _, number = suite.device.partition(":")
        # What computes on the processor is compared with the processor.
        suite.torch_device = "cpu" if kind == "cpu" or has_card != "True" else f"cuda:{number or 0}"
        return {"torch": version, "torch_cuda": cuda, "torch_has_card": has_card}

    def program(binary):
        version = suite.lockstep(binary, "--version", limit=60).out.strip()
        listed = json_lines(suite.lockstep(binary, "devices", "--json", limit=60).out)
        device = next((device for device in listed if device["device"] == re.sub(":0$", "", suite.device)), {})
        if not device.get("precisions"):
            fail(device.get("why_not") or f"it does not list {suite.device}")
        suite.precisions[binary] = device["precisions"]
        return {"version": version, "device": device["name"], "precisions": device["precisions"]}

    row = named("environment")
    suite.attempt({**row, "what": "machine"}, machine)
    suite.attempt({**row, "what": "card"}, card)
    suite.attempt({**row, "what": "PyTorch"}, pytorch)
    for binary in suite.binaries:
        # One that does not answer is left out of all that follows: this is its one row.
        suite.attempt({**row, "binary": binary, "what": "program"}, program, binary)


def accuracy(suite):
    """Tiny players, trained on the CPU so that no kernel of the device has a part in them, in the positions of their games."""
    folder = suite.scratch / "players"

    def player(network):
        keys = [f"network.channels={network.channels}", f"network.blocks={network.blocks}", "network.kind=resnet"]
        keys += [f"network.head_channels={HEAD_CHANNELS}", "network.value_head=wdl", "learn.steps={ batches = 20 }"]
        keys += ["search.simulations=8", "search.fast_simulations=0", "run.grade_simulations=1"]
        keys += ["run.generations=1", "run.games=128", "run.recorded_games=128"]
        run = folder / str(network)
        suite.lockstep(next(iter(suite.precisions)), "train", network.game, "--device", "cpu", "--run", run, *sets(*keys))
        names, times = MOVES[network.game]
        lines = []
        for game in (run / "games" / "000001.txt").read_text().splitlines()[1:]:
            moves = game.replace("[", "").replace("]", "").split()[1:]
            for before in (moves[:ply] for ply in range(len(moves))):
                # Nobody asks for the scores here, but the file must have one for each legal move.
                scores = " ".join(f"{move}=0" for move in names.split() if before.count(move) < times)
                lines.append(f"all,{' '.join(before)},0,{scores}")
        lines = lines[:: -(-len(lines) // suite.sizes.positions)]
        (folder / f"{network}.csv").write_text("\n".join(["set,moves,score,scores", *lines, ""]))
        return {"told": f"trained on the CPU; {len(lines)} positions of its games"}

    def grade(is_trained, binary, network, tower):
        if not is_trained:
            fail("there is no player")
        # Grading takes no keys: the run's own settings say how convolutions are computed.
        config = folder / str(network) / "config.toml"
        config.write_text(re.sub("(?m)^tower = .*$", f'tower = "{tower}"', config.read_text()))
        args = ["--run", config.parent, "--positions", folder / f"{network}.csv", "--device", suite.device]
        lines = json_lines(suite.lockstep(binary, "grade", "--accuracy", "--json", *args, limit=300).out)
        same = lambda line: {"rows": line["positions"], "same_move": line["same_move"] / line["positions"]}
        # An error without end is a text in JSON.
        most = lambda line: {key: float(line[key]["most"]) for key in ("logits", "values")}
        return [{"precision": line["precision"], **same(line), **most(line)} for line in lines]

    for network in suite.sizes.networks if suite.precisions else ():
        row = named("accuracy", network)
        is_trained = suite.attempt({**row, "what": "a tiny player"}, player, network)
        for binary in suite.precisions:
            for tower in network.towers():
                suite.attempt({**row, "binary": binary, "what": tower}, grade, is_trained, binary, network, tower)


def network(suite):
    sizes = suite.sizes
    precisions = max(suite.precisions.values(), key=len, default=[])
    jobs = [job + (job[-1].towers()[0],) for job in by_rank(precisions, sizes.rows, sizes.networks)]
    # The other way to compute a small board, where it matters most.
    first = [(precision, sizes.rows[0], net) for precision in precisions[:1] for net in sizes.networks]
    jobs += [(*job, tower) for job in first for tower in job[-1].towers()[1:]]
    for precision, rows, net, tower in jobs:
        for binary in (binary for binary in suite.precisions if precision in suite.precisions[binary]):
            row = named("network", net, rows, precision, binary, tower)
            options = ["--batch", rows, "--precision", precision, *sets(f"run.tower={tower}")]
            suite.attempt({**row, "operations": net.operations()}, suite.bench, binary, "network", net, *options)


def torch(suite):
    """One program for all networks, which begins again behind one that it does not survive."""
    if not suite.torch_device:
        suite.attempt(named("torch"), fail, "PyTorch cannot be imported here")
        return
    precisions = ["f32", "bf16"] if suite.torch_device == "cpu" else ["bf16", "tf32", "f16"]
    networks = [dataclasses.astuple(net) for net in suite.sizes.networks]
    jobs = by_rank(precisions, suite.sizes.rows, networks, ["compiled", "eager"])
    env = {"TORCHINDUCTOR_CACHE_DIR": str(suite.scratch / "inductor"), "TRITON_CACHE_DIR": str(suite.scratch / "triton")}
    # On a processor that others use its threads would wait for each other at full speed, for a hundred times as long.
    env["OMP_WAIT_POLICY"] = "passive"

    def next_row():
        precision, rows, net, mode = jobs.pop(0)
        return named("torch", Network(*net), rows, precision, "torch", mode)

    while jobs:
        worker = [sys.executable, Path(__file__).resolve(), "torch-worker", suite.torch_device, suite.sizes.seconds, json.dumps(jobs)]
        why = ("it ended early",)
        try:
            if suite.left() > 0:
                suite.call(worker, 240, env, on_line=lambda line: suite.attempt(next_row(), json.loads, line))
        except Failure as failure:
            why = (str(failure), failure.status)
        if jobs:
            # The one that it was at.
            suite.attempt(next_row(), fail, *why)


def selfplay(suite):
    sizes = suite.sizes
    # Tic-tac-toe has so few positions that the cache would answer nearly all of them.
    for net, in_flight in by_rank([net for net in sizes.networks if net.game != "tictactoe"], (2, 1, 3, 4)):
        for binary, (precision, *_) in suite.precisions.items():
            row = named("selfplay", net, None, precision, binary, f"{in_flight} in flight")
            # With one in flight the lanes would be cut to what the processor's cache holds, and their batches with them.
            keys = sets(f"lanes.in_flight={in_flight}", f"lanes.cohort={-(-sizes.lanes // in_flight)}")
            options = ["--lanes", sizes.lanes, "--simulations", sizes.simulations, "--precision", precision, *keys]
            suite.attempt({**row, "operations": net.operations()}, suite.bench, binary, "selfplay", net, *options)


def train(suite):
    for precision, rows, net in by_rank(["f32", "bf16"], suite.sizes.batches, suite.sizes.networks):
        for binary in suite.precisions:
            row = named("train", net, rows, precision, binary)
            # Products of f32 are those of tf32 with CUDA, wherever tensor cores compute them.
            row["peak"] = "tf32" if suite.device.startswith("cuda") and precision == "f32" else precision
            # Evaluation has no part in it, and not every device has f32 for that.
            options = ["--batch", rows, "--precision", "auto", *sets(f"learn.precision={precision}")]
            suite.attempt({**row, "operations": 3 * net.operations()}, suite.bench, binary, "train", net, *options)


def recipe(suite):
    def work(binary):
        folder, keys = suite.scratch / f"guide-{binary}", suite.sizes.guide
        once = [*keys, "run.generations=1"]
        first_use = suite.train(binary, "tictactoe_guide", suite.scratch / f"guide-first-{binary}", once, 300).seconds
        done = suite.train(binary, "tictactoe_guide", folder, keys, 900)
        metrics, verdict = (json_lines((folder / name).read_text()) for name in ("metrics.jsonl", "verdict.jsonl"))
        total = lambda lines, key: round(sum(line.get(key, 0) for line in lines), 2)
        row = {"seconds": round(done.seconds, 2), "generations": len(metrics), "first_use": round(first_use, 2)}
        row.update(play_seconds=total(metrics, "play_seconds"), learn_seconds=total(metrics, "learn_seconds"))
        return {**row, "mistakes": total(verdict, "mistakes"), "lost": total(verdict, "lost"), **done.measured(done.seconds)}

    for binary in suite.precisions:
        suite.attempt(named("recipe", binary=binary, what="tictactoe_guide"), work, binary)


def repeat(suite):
    keys = [*suite.sizes.repeated, "run.own_kernels=true", "run.checkpoint_every=2"]

    def made(folder):
        """What two runs must have in common."""
        numbered = [path for path in (folder / "checkpoints").iterdir() if path.name.isdigit()]
        newest = max(numbered, key=lambda path: int(path.name)) / "weights.safetensors"
        digest = lambda path: hashlib.sha256(path.read_bytes()).hexdigest()
        # From the evaluations on they tell what the process did, and how long that took.
        metrics = [line.split('"evaluations"')[0] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        games = [digest(path) for path in sorted((folder / "log").glob("*.games"))]
        return {"games": games, "weights": digest(newest), "metrics": metrics}

    def first(binary, folder):
        done = suite.train(binary, "tictactoe_guide", folder, keys, 420)
        return {"seconds": round(done.seconds, 2)}

    def compared(is_there, binary, original, folder, is_stopped):
        if not is_there:
            fail("there is no first run to compare with")
        folder.mkdir()
        row = {"kernels": "there were no kernels to copy"}
        if (original / "kernels").is_dir():
            row["kernels"] = "kernels of the first run, copied before this one began"
            shutil.copytree(original / "kernels", folder / "kernels")
        metrics = folder / "metrics.jsonl"
        generations = lambda: metrics.read_bytes().count(b"\n") if metrics.exists() else 0
        stop = (lambda _: generations() >= 2) if is_stopped else None
        out = suite.train(binary, "tictactoe_guide", folder, keys, 240, stop=stop).out
        if is_stopped:
            if "Stopped and saved" not in out:
                fail("it had ended before it could be stopped")
            row["stopped_after"] = generations()
            suite.train(binary, None, folder, [], 240)
        one, other = made(original), made(folder)
        row.update((key, one[key] == other[key]) for key in one)
        pairs = enumerate(zip(one["metrics"], other["metrics"]), 1)
        return {**row, "first_difference": next((generation for generation, (a, b) in pairs if a != b), None)}

    for binary in suite.precisions:
        row = named("repeat", binary=binary)
        folders = [suite.scratch / f"repeat-{name}-{binary}" for name in ("first", "again", "resumed")]
        is_there = suite.attempt({**row, "what": "the first run"}, first, binary, folders[0])
        for folder, is_stopped in ((folders[1], False), (folders[2], True)):
            row["what"] = "stopped and resumed" if is_stopped else "the same again"
            suite.attempt(row, compared, is_there, binary, folders[0], folder, is_stopped)


def slope(samples):
    """What samples of (time in seconds, number) grow by in a minute, by least squares; nothing where there are too few."""
    if len(samples) < 3:
        return None
    middle, mean = (statistics.mean(sample[i] for sample in samples) for i in (0, 1))
    spread = sum((t - middle) ** 2 for t, _ in samples)
    return round(60 * sum((t - middle) * (number - mean) for t, number in samples) / spread, 3)


def soak(suite):
    """Half of the time games alone and half a run. With the first binary only: minutes tell more than a second program."""
    sizes, seconds = suite.sizes, suite.sizes.soak / 2
    net = sizes.networks[0]

    def growth(done):
        # After the first third, in which buffers fill, and before the end, at which they are freed.
        since, until = done.began + seconds / 3, done.began + seconds
        resident = [sample for sample in done.resident if since <= sample[0] <= until]
        row = {"seconds": seconds, "resident": round(resident[-1][1]), "mib_per_minute": slope(resident)}
        return {**row, "card_mib_per_minute": slope(done.watch.column("memory.used", since, until)), **done.measured(seconds)}

    def games(binary):
        args = ["--lanes", sizes.lanes, "--simulations", sizes.simulations, "--seconds", seconds, *net.options()]
        args += ["--precision", "auto", "--device", suite.device]
        return growth(suite.lockstep(binary, "bench", "selfplay", *args, limit=2 * seconds + 120))

    def training(binary):
        keys = [f"network.channels={net.channels}", f"network.blocks={net.blocks}", f"lanes.count={min(sizes.lanes, 512)}"]
        keys += ["search.simulations=32", "replay.window=5000", "run.games=100", "run.generations=1000000"]
        limit, stop = seconds + 120, lambda elapsed: elapsed >= seconds
        return growth(suite.train(binary, net.game, suite.scratch / "soak", keys, limit, stop=stop))

    for binary in list(suite.precisions)[:1]:
        row = named("soak", net, binary=binary)
        suite.attempt({**row, "what": "games"}, games, binary)
        suite.attempt({**row, "what": "a run"}, training, binary)


# Each with its share of the time.
PHASES = {environment: 1, accuracy: 6, network: 15, torch: 9, selfplay: 5, train: 7, recipe: 4, repeat: 4, soak: 4}
NAMES = [phase.__name__ for phase in PHASES]


# PyTorch ------------------------------------------------------------------------------------------------------------------


def torch_worker(args):
    """Times networks, and prints a line for each when it is done."""
    import torch

    device = torch.device(args.device)
    for precision, rows, net, mode in json.loads(args.jobs):
        try:
            found = torch_rates(torch, device, precision, rows, Network(*net), mode == "compiled", args.seconds)
        except Exception as error:
            # A device may be of no use after an error, so the others get a new process.
            sys.exit(f"{type(error).__name__}: {(str(error).strip() or 'it says nothing').splitlines()[0]}")
        print(json.dumps(found), flush=True)


def torch_network(torch, net):
    """The network as lockstep evaluates it: its norms are folded into the convolutions before them."""
    from torch import nn
    from torch.nn.functional import relu

    planes, height, width, moves = BOARDS[net.game]
    c, cells = net.channels, height * width

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(planes, c, 3, padding=1)
            self.tower = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for _ in range(2 * net.blocks))
            self.policy_conv, self.value_conv = (nn.Conv2d(c, HEAD_CHANNELS, 1) for _ in range(2))
            self.policy = nn.Linear(HEAD_CHANNELS * cells, moves)
            self.value_hidden, self.value_out = nn.Linear(HEAD_CHANNELS * cells, c), nn.Linear(c, OUTCOMES)

        def forward(self, x):
            # Numbers come and go in f32, as they do in lockstep.
            x = relu(self.stem(x.to(self.stem.weight.dtype)))
            for first, second in zip(self.tower[::2], self.tower[1::2]):
                x = relu(x + second(relu(first(x))))
            policy = self.policy(relu(self.policy_conv(x)).flatten(1))
            value = self.value_out(relu(self.value_hidden(relu(self.value_conv(x)).flatten(1))))
            return policy.float(), value.float()

    return Residual().eval()


def torch_rates(torch, device, precision, rows, net, compiled, seconds):
    """Evaluations a second with the copies to the device and back, as lockstep has them, and without. Eager has the faster one
    of both layouts; the compiler chooses its own."""
    on_card = device.type == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True
    torch._dynamo.reset()
    if on_card:
        torch.cuda.set_device(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    sync = torch.cuda.synchronize if on_card else lambda: None
    planes, height, width, moves = BOARDS[net.game]
    host = (torch.rand(rows, planes, height, width) < 0.3).float()
    answers = [torch.empty(rows, moves), torch.empty(rows, OUTCOMES)]
    if on_card:
        host, answers = host.pin_memory(), [answer.pin_memory() for answer in answers]
    best, first_use = {}, 0.0
    for layout in [torch.contiguous_format] if compiled else [torch.contiguous_format, torch.channels_last]:
        dtype = {"bf16": torch.bfloat16, "f16": torch.float16}.get(precision, torch.float32)
        model = torch_network(torch, net).to(device, dtype).to(memory_format=layout)
        model = torch.compile(model, mode="reduce-overhead", dynamic=False) if compiled else model

        def evaluate(x):
            if compiled:
                # What the graph computed last time is not needed any more.
                torch.compiler.cudagraph_mark_step_begin()
            return model(x.contiguous(memory_format=layout))

        def with_copies():
            for answer, output in zip(answers, evaluate(host.to(device, non_blocking=True))):
                answer.copy_(output, non_blocking=True)
            sync()

        def without_copies():
            evaluate(there)
            sync()

        there = host.to(device).contiguous(memory_format=layout)
        with torch.inference_mode():
            began = time.perf_counter()
            # Three times: the first compiles, the second records the graph.
            for _ in range(3):
                with_copies()
                without_copies()
            first_use += time.perf_counter() - began
            for key, work in (("evaluations_per_second", with_copies), ("without_copies", without_copies)):
                best[key] = max(best.get(key, 0), round(rows / median_time(work, seconds / 2)))
    mib = round(torch.cuda.max_memory_reserved() / (1 << 20)) if on_card else None
    return {**best, "first_use": round(first_use, 2), "mib": mib}


def median_time(work, seconds):
    times, start = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - start < seconds:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


# The table ----------------------------------------------------------------------------------------------------------------

COLUMNS = (*KEYS, "per second", "of peak", "x PyTorch", "busy", "MiB", "largest error", "note")


def table(folders):
    """The table of all results in these folders. Of the same row the last one that is a result counts."""
    rows = {}
    for row in (row for folder in folders for row in json_lines((folder / "results.jsonl").read_text())):
        key = tuple(row.get(key) for key in KEYS)
        if row["status"] == "ok" or rows.get(key, row)["status"] != "ok":
            rows[key] = row
    # Those of a network side by side, whatever order they were measured in.
    phase = lambda row: [*NAMES, "kernels"].index(row["phase"])
    name = lambda row: [row.get(key, "") for key in ("network", "precision", "what", "binary")]
    rows = sorted(rows.values(), key=lambda row: (phase(row), name(row)[0], row.get("rows", 0), name(row)))
    cards = [row.get("device") or row.get("name") for row in rows if row["phase"] == "environment"]
    card = next(filter(None, reversed(cards)), "")
    lines = [cells_of(row, rows, card) for row in rows] + first_uses(rows)
    lines = [COLUMNS, ["---"] * len(COLUMNS)] + [[line.get(column, "") for column in COLUMNS] for line in lines]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)


def cells_of(row, rows, card):
    cells = {key: row[key] for key in KEYS if row.get(key) is not None}
    if row["status"] != "ok":
        return {**cells, "note": f"{row['status']}: {row['error']}"}
    rate = row.get("samples_per_second") or row.get("evaluations_per_second")
    if rate:
        cells["per second"] = short(rate)
    if "operations" in row:
        peak = peak_of(card, row.get("peak", row["precision"]))
        cells["of peak"] = f"{100 * rate * row['operations'] / peak:.1f} %" if peak else "unknown"
    if row["phase"] == "network":

        def alike(phase, *keys):
            known = (other for other in rows if (other["phase"], other["status"]) == (phase, "ok"))
            return [other for other in known if all(other.get(key) == row[key] for key in keys)]

        theirs = [other["evaluations_per_second"] for other in alike("torch", "network", "rows", "precision")]
        cells["x PyTorch"] = f"{rate / max(theirs):.2f}" if theirs else "none"
        errors = [other["logits"] for other in alike("accuracy", "network", "precision", "binary", "what")]
        cells["largest error"] = f"{errors[0]:.1e}" if errors else "unknown"
    if "logits" in row:
        cells["largest error"] = f"{row['logits']:.1e}"
    return {**cells, "busy": f"{row['busy']:.0f} %" if "busy" in row else "", "MiB": row.get("mib") or "", "note": note(row)}


def note(row):
    """What a row has to say beside its numbers."""
    if row["phase"] == "environment":
        shown = ((key, value) for key, value in row.items() if key not in (*KEYS, "status", "wall"))
        return ", ".join(f"{key} {' '.join(value) if isinstance(value, list) else value}" for key, value in shown)
    if "logits" in row:
        return f"values off by {row['values']:.1e} at most; the same move first in {100 * row['same_move']:.2f} %"
    if "without_copies" in row:
        return f"{short(row['without_copies'])} without copies; first use {row['first_use']} s"
    if "mean_batch" in row:
        fill, cached = (f"{100 * row[key]:.0f} %" for key in ("batch_fill", "cache_hits"))
        simulations = f"{short(row['simulations_per_second'])} simulations/s"
        return f"{simulations}, mean batch {row['mean_batch']:.0f}, {fill} full, {cached} from the cache"
    if "mistakes" in row:
        parts = f"{row['play_seconds']} s play, {row['learn_seconds']} s learning, the rest start and grading"
        verdict = f"{row['mistakes']} mistakes, {row['lost']} lines lost" if row["mistakes"] + row["lost"] else "perfect"
        first = f"a generation before that, with first use, {row['first_use']} s"
        return f"{row['generations']} generations in {row['seconds']} s ({parts}); exact solver: {verdict}; {first}"
    if "weights" in row:
        told = [f"stopped after generation {row['stopped_after']}"] if "stopped_after" in row else []
        told += [", ".join(f"{key} {'the same' if row[key] else 'DIFFERENT'}" for key in ("games", "weights", "metrics"))]
        told += [f"from generation {row['first_difference']} on"] if row["first_difference"] else []
        return "; ".join([*told, row["kernels"]])
    if "mib_per_minute" in row:
        card = f", card {row['card_mib_per_minute']} MiB/min" if row["card_mib_per_minute"] is not None else ""
        return f"resident {row['resident']} MiB, {row['mib_per_minute']} MiB/min{card}, over {row['seconds']:.0f} s"
    return f"{row['seconds']} s" if "seconds" in row else row.get("told", "")


def first_uses(rows):
    """What tuning and compiling kernels took, in calls before those that were measured, their start included."""
    times = {}
    for row in (row for row in rows if row["phase"] in ("network", "selfplay", "train") and "first_use" in row):
        times.setdefault((row["phase"], row["network"], row["binary"]), []).append(row["first_use"])
    told = lambda times: f"{sum(times):.1f} s in {len(times)} calls, the longest {max(times):.1f} s"
    return [dict(zip(("phase", "network", "binary"), key), what="first use", note=told(times[key])) for key in times]


def short(number):
    """Three digits or a little more: 1.23 M."""
    size, unit = next(((size, unit) for size, unit in ((1e6, " M"), (1e3, " k")) if number >= size), (1, ""))
    return f"{number / size:.3g}{unit}" if number < 1000 * size else f"{number / size:.0f}{unit}"


# Commands -----------------------------------------------------------------------------------------------------------------


def pack(args):
    """The binaries without their symbols, and this script."""
    # Two binaries are alike for most of their length, which only shows to what remembers the whole of the first one.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 28}]
    with (
        tempfile.TemporaryDirectory() as folder,
        lzma.open(args.out, "wb", filters=filters) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        archive.add(__file__, "gpu_suite/gpu_suite.py")
        for name, path in args.binary:
            copy = shutil.copy(path, Path(folder, name))
            try:
                subprocess.run(["strip", copy], check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"{name} keeps its symbols: {error}", file=sys.stderr)
            archive.add(copy, f"gpu_suite/binaries/{name}")
    size = args.out.stat().st_size
    if size > LARGEST_PACK:
        sys.exit(f"{args.out} has {size / 1e6:.1f} MB, and may have {LARGEST_PACK / 1e6:.0f}: pack fewer binaries at once")
    print(f"{args.out}: {size / 1e6:.1f} MB. There: tar xf {args.out.name} && python gpu_suite/gpu_suite.py run --out results")


def keep_kernels(suite):
    """Kernels that took their time to be tuned go home with the results."""
    if not any(path.is_file() for path in suite.kernels.rglob("*")):
        return {"told": "no kernels were tuned"}
    path = suite.out / "kernels.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        archive.add(suite.kernels, "kernels")
    size = path.stat().st_size
    if size > LARGEST_RESULT:
        fail(f"{path.name} has {size / 1e6:.1f} MB, which may be too much to bring home")
    return {"told": f"{path.name}, {size / 1e6:.1f} MB"}


def run(args):
    beside = Path(__file__).resolve().parent / "binaries"
    args.binary = args.binary or [(path.name, path) for path in sorted(beside.glob("*"))]
    if not args.binary:
        sys.exit("there are no binaries beside this script; name one with --binary NAME=PATH")
    args.out.mkdir(parents=True, exist_ok=True)
    if (args.out / "results.jsonl").exists():
        sys.exit(f"there are results in {args.out} already: name another folder; `table` reads several")
    suite = Suite(args)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, suite.interrupt)
    wanted = set(args.only) - set(args.skip) | {"environment"}
    chosen = [phase for phase in PHASES if phase.__name__ in wanted]
    end_of_phase = time.monotonic()
    for phase in chosen:
        # What a phase leaves of its share is for those after it.
        end_of_phase += 60 * args.minutes * PHASES[phase] / sum(PHASES[phase] for phase in chosen)
        suite.until = end_of_phase
        try:
            phase(suite)
        except Exception as error:
            suite.log(traceback.format_exc())
            suite.record({**named(phase.__name__), "status": "failed", "error": f"{type(error).__name__}: {error}"})
    suite.until, suite.interrupted = float("inf"), False
    suite.attempt(named("kernels"), keep_kernels, suite)
    shutil.rmtree(suite.scratch, ignore_errors=True)
    text = table([args.out])
    (args.out / "table.md").write_text(text + "\n")
    print(text)


def named_binary(text):
    name, equals, path = text.partition("=")
    if not equals or not re.fullmatch(r"\w[\w.-]*", name):
        raise argparse.ArgumentTypeError("it must be NAME=PATH, as cuda=target/release/lockstep")
    if not (os.path.isfile(path) and os.access(path, os.X_OK)):
        raise argparse.ArgumentTypeError(f"{path} is no program")
    return name, Path(path).resolve()


def phases(text):
    unknown = [name for name in text.split(",") if name not in NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; the phases are {', '.join(NAMES)}")
    return text.split(",")


def main():
    form = dict(epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser = argparse.ArgumentParser(description=__doc__, **form)
    commands = parser.add_subparsers(required=True, metavar="{pack,run,table}")
    binary = dict(type=named_binary, action="append", metavar="NAME=PATH")

    command = commands.add_parser("pack", help="pack binaries and this script for the machine with the card")
    command.add_argument("--out", type=Path, required=True, metavar="FILE.tar.xz", help="the archive")
    command.add_argument("--binary", required=True, help="a lockstep and what to call it; may be given several times", **binary)
    command.set_defaults(work=pack)

    command = commands.add_parser("run", help="measure everything", **form)
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    command.add_argument("--binary", help="a lockstep and what to call it [default: those packed beside this script]", **binary)
    command.add_argument("--device", default="cuda", help="cuda, cuda:1, vulkan or cpu [default: cuda]")
    command.add_argument("--small", action="store_true", help="everything small, for a driver that computes on the CPU")
    command.add_argument("--minutes", type=float, default=55, help="for all phases; packing kernels comes on top [default: 55]")
    command.add_argument("--only", type=phases, default=NAMES, metavar="PHASE,..", help="these phases")
    command.add_argument("--skip", type=phases, default=[], metavar="PHASE,..", help="all phases but these")
    command.add_argument("--kernels", type=Path, metavar="FILE", help="begin with those of an earlier kernels.tar.xz")
    command.set_defaults(work=run)

    command = commands.add_parser("table", help="print the table of results again, or that of several folders together")
    command.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    command.set_defaults(work=lambda args: print(table(args.folders)))

    # For `run` itself: PyTorch in a process of its own.
    command = commands.add_parser("torch-worker")
    for name, kind in (("device", str), ("seconds", float), ("jobs", str)):
        command.add_argument(name, type=kind)
    command.set_defaults(work=torch_worker)

    args = parser.parse_args()
    args.work(args)


if __name__ == "__main__":
    main()
