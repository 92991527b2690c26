"""Runs every measurement and prints them as Markdown, with the targets they are held against."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamfer.benchmark import child

WARM_UP = 100


@dataclass(frozen=True)
class Line:
    """One figure, and what it should be at most or at least."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None


def measure(frames: int, clip: Path | None, say: Any) -> tuple[list[Line], list[Line]]:
    """The ratios, and the raw figures behind them. `clip` is measured instead of a synthetic one."""
    with tempfile.TemporaryDirectory(prefix="streamfer-bench-") as directory:
        if clip is None:
            say("making the clip (720p, one face) …")
            clip = Path(directory) / "bench.mp4"
            child("clip", clip, frames)
        default = _default_full_every()
        say("plain loop …")
        plain = child("plain", clip, WARM_UP)
        say("each stage alone …")
        alone = child("alone", clip, 1)
        say("pipeline, every full frame searched …")
        full = child("pipeline", clip, WARM_UP, 1)
        say(f"pipeline, full_every {default} …")
        windowed = child("pipeline", clip, WARM_UP, default)
        say("plain loop once more …")  # the machine may have changed its pace meanwhile
        again = child("plain", clip, WARM_UP)
        say("a hop between two processes …")
        hop = child("hop")
        say("first result …")
        first = min(first_result(clip, Path(directory) / f"out{turn}") for turn in range(3))
    plain_cpu = (plain["cpu"] + again["cpu"]) / 2
    return list(_ratios(plain_cpu, alone, full, windowed, default, hop, first)), list(
        _raw(plain_cpu, plain, alone, full, windowed, default, hop)
    )


def _default_full_every() -> int:
    from streamfer.detectors import FaceOptions

    return FaceOptions().full_every


def _ratios(
    plain_cpu: float,
    alone: dict[str, float],
    full: dict[str, Any],
    windowed: dict[str, Any],
    default: int,
    hop: dict[str, Any],
    first: float,
) -> Iterator[Line]:
    slowest = max(alone, key=alone.__getitem__)
    rate = alone[slowest] / (full["wall"] * 1000)
    yield _at_least(f"pipeline frames/s over those of its slowest stage alone ({slowest})", rate, 0.9)
    searched = "CPU a frame over the plain loop's"
    yield _at_most(f"{searched}, every full frame searched", full["cpu"] / plain_cpu, 1.15)
    yield _at_most(f"{searched}, full_every {default}", windowed["cpu"] / plain_cpu, 0.6)
    latency = hop["descriptor"]["median_ms"]
    yield _at_most("hop of a 1080p frame, median ms", latency, 0.15)
    idle = hop["idle_cpu_ms"]
    cost = (hop["descriptor"]["cpu_ms"] - idle) / (hop["pixels"]["cpu_ms"] - idle)
    yield _at_most("CPU of that hop over sending the pixels", cost, 0.05)
    yield _at_most("first result, seconds after `streamfer run`", first, 3)
    memory = max(full["memory_mb"], windowed["memory_mb"])
    yield _at_most("memory of the whole pipeline, MB (PSS)", memory, 600, 0)


def _raw(
    plain_cpu: float,
    plain: dict[str, Any],
    alone: dict[str, float],
    full: dict[str, Any],
    windowed: dict[str, Any],
    default: int,
    hop: dict[str, Any],
) -> Iterator[Line]:
    yield Line("plain loop: CPU ms a frame", f"{plain_cpu * 1000:.2f}")
    yield Line("plain loop: frames/s", f"{1 / plain['wall']:.0f}")
    for stage, milliseconds in alone.items():
        yield Line(f"{stage} alone: ms a frame", f"{milliseconds:.2f}")
    for name, run in (("every full frame", full), (f"full_every {default}", windowed)):
        yield Line(f"pipeline, {name}: frames/s", f"{1 / run['wall']:.0f}")
        yield Line(f"pipeline, {name}: CPU ms a frame", f"{run['cpu'] * 1000:.2f}")
        for process, milliseconds in run["cpu_ms_by_process"].items():
            yield Line(f"— of it {process}", f"{milliseconds:.2f}")
    for name in ("descriptor", "pixels"):
        yield Line(f"hop as {name}: median ms", f"{hop[name]['median_ms']:.3f}")
        yield Line(f"hop as {name}: CPU ms", f"{hop[name]['cpu_ms']:.3f}")


def _at_most(what: str, value: float, limit: float, digits: int = 2) -> Line:
    return Line(what, f"{value:.{digits}f}", f"at most {limit:g}", value <= limit)


def _at_least(what: str, value: float, limit: float) -> Line:
    return Line(what, f"{value:.2f}", f"at least {limit:g}", value >= limit)


def first_result(clip: Path, out: Path) -> float:
    """Seconds from the start of the command to the first line on disk."""
    began = time.perf_counter()
    program = "from streamfer.cli import main; main()"
    command = [sys.executable, "-c", program, "run", str(clip), "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        results = out / "results.jsonl"
        while not (results.exists() and results.stat().st_size):
            if time.perf_counter() - began > 60:
                process.kill()
                raise RuntimeError("no result within 60 s")
            time.sleep(0.005)
        elapsed = time.perf_counter() - began
        process.terminate()
        process.wait(30)
    return elapsed


def markdown(ratios: list[Line], raw: list[Line], frames: int, clip: Path | None) -> str:
    """The report."""
    from streamfer import __version__

    measured = f"`{clip.name}`" if clip else f"a synthetic clip of {frames} frames (720p H.264, one face)"
    text = [
        "# Benchmark\n",
        f"streamfer {__version__}, Python {platform.python_version()}, {len(os.sched_getaffinity(0))} cores, "
        f"{_processor()}; {measured}; one thread a component, JSON Lines sink. Written by `make bench`.\n",
        "| what | measured | target | met |",
        "|---|---:|---|---|",
    ]
    text += [f"| {x.what} | {x.value} | {x.target} | {'yes' if x.met else 'no'} |" for x in ratios]
    text += ["\n## Figures behind the ratios\n", "| what | measured |", "|---|---:|"]
    text += [f"| {x.what} | {x.value} |" for x in raw]
    return "\n".join(text) + "\n"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
