#!/usr/bin/env python3
"""Reads the event files of a run with TensorBoard's own reader and compares them with its metrics.

    lockstep train --set run.tensorboard=true --run DIR
    pip install tensorboard && python3 scripts/read_tensorboard.py DIR
"""

import json
import math
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = sys.argv[1]
events = EventAccumulator(f"{run}/tensorboard", size_guidance={"scalars": 0}).Reload()
compared = 0
for name in ["metrics", "strength"]:
    with open(f"{run}/{name}.jsonl") as file:
        lines = [json.loads(line) for line in file]
    for key in {key for line in lines for key, value in line.items() if isinstance(value, (int, float))}:
        wanted = {line["generation"]: line[key] for line in lines if isinstance(line.get(key), (int, float))}
        found = {event.step: event.value for event in events.Scalars(f"{name}/{key}")}
        assert found.keys() == wanted.keys(), f"{name}/{key}: generations {sorted(found)} of {sorted(wanted)}"
        for generation, value in wanted.items():
            close = math.isclose(found[generation], value, rel_tol=1e-6, abs_tol=1e-30)
            assert close, f"{name}/{key} of generation {generation}: {found[generation]}, and not {value}"
        compared += len(wanted)
assert compared > 100, f"only {compared} numbers were compared"
print(f"TensorBoard reads {compared} numbers as they are in {run}")
