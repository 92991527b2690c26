"""How long a classifier takes for a face, measured in a process of its own on one core."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from streamfer.errors import StartError
from streamfer.inference.answering import answering
from streamfer.plugins import ComponentSpec
from streamfer.types import CropSpec

BATCHES = (1, 8)
CALLS = 300
WARM_UP = 30
_LIMIT = 900.0
"""Seconds after which the measurement is given up."""

# The core is chosen before anything is imported: libraries start their threads on import.
_CHILD = """import os
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
from streamfer.training.speed import main
main()"""


class _Request(msgspec.Struct):
    spec: ComponentSpec
    crops: tuple[CropSpec, ...]


def ms_per_face(spec: ComponentSpec, *crops: CropSpec) -> dict[str, Any]:
    """Milliseconds per face of the classifier's `predict`, called with 1 and with 8 faces; JSON values.
    `crops` are the distinct ones that it wants of a face, more than one only where it combines others.

    "batch_1" and "batch_8" are {"value": median of the calls, "low" and "high": their 5th and 95th
    percentile}, each per face. "calls" is how many there were of each; "core_share" how much of the wall time
    the process had its core, below 1 when other programs were in the way; "processor" the model of the CPU.
    The faces are noise: a network takes as long for any picture. `StartError` if it cannot be measured.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD],
            input=msgspec.json.encode(_Request(spec, crops)),
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            check=False,
            timeout=_LIMIT,
        )
    except subprocess.TimeoutExpired as error:
        raise StartError(
            f"classifier '{spec.name}': too slow to be timed: {CALLS} calls with 1 face and {CALLS} with 8 "
            f"took more than {_LIMIT:.0f} s on one core; leave that out with --no-timing"
        ) from error
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise StartError(f"classifier '{spec.name}' cannot be timed: {' '.join(last) or done.returncode}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main() -> None:
    """Measure what standard input asks for; the answer is the last line of standard output."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=_Request)
    classifier = answering(request.spec)
    answer: dict[str, Any] = {}
    random = np.random.default_rng(0)
    used, passed = time.process_time(), time.perf_counter()
    for batch in BATCHES:
        crops = [random.integers(0, 256, (batch, *crop), np.uint8) for crop in request.crops]
        for _ in range(WARM_UP):
            classifier.predict(*crops)
        taken = np.empty(CALLS)
        for call in range(CALLS):
            start = time.perf_counter()
            classifier.predict(*crops)
            taken[call] = time.perf_counter() - start
        low, median, high = (round(float(ms), 4) for ms in np.percentile(taken * 1000 / batch, (5, 50, 95)))
        answer[f"batch_{batch}"] = {"value": median, "low": low, "high": high}
    share = (time.process_time() - used) / (time.perf_counter() - passed)
    print(json.dumps({**answer, "calls": CALLS, "core_share": round(share, 3), "processor": _processor()}))


def _processor() -> str:
    try:
        facts = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return "unknown"
    found = re.search(r"^model name\s*:\s*(.+)$", facts, re.MULTILINE)
    return found.group(1) if found else "unknown"
