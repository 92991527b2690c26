"""Runs every measurement and prints them as Markdown, with the targets they are held against."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from streamfer.benchmark import child, lengths
from streamfer.benchmark.lines import Line, at_least, at_most

WARM_UP = 100
TURNS = 5


@dataclass(frozen=True)
class Turn:
    """One turn of what is compared, measured one right after the other."""

    plain: dict[str, float]
    alone: dict[str, float]
    full: dict[str, Any]
    windowed: dict[str, Any]


def measure(
    frames: int, clip: Path | None, say: Any, classifier: str = "cnn"
) -> tuple[list[Line], list[Line], list[str]]:
    """The ratios, the raw figures behind them, and the section on temporal classifiers. `clip` is measured
    instead of a synthetic one, with this classifier.

    Machines change their pace within seconds: what is compared is measured in turns, and the middle of the
    turns' ratios counts.
    """
    default = _default_full_every()
    with tempfile.TemporaryDirectory(prefix="streamfer-bench-") as directory:
        if clip is None:
            say("making the clip (720p, one face) …")
            clip = Path(directory) / "bench.mp4"
            child("clip", clip, frames)
        turns = []
        for number in range(TURNS):
            say(f"turn {number + 1} of {TURNS}: plain loop, each stage alone, pipeline …")
            turns.append(
                Turn(
                    child("plain", clip, WARM_UP, classifier),
                    child("alone", clip, 1, classifier),
                    child("pipeline", clip, WARM_UP, 1, classifier),
                    child("pipeline", clip, WARM_UP, default, classifier),
                )
            )
        say("a hop between two processes …")
        hop = child("hop")
        say("first result …")
        first = median(
            first_result(clip, Path(directory) / f"out{number}", classifier) for number in range(TURNS)
        )
        say("steps of temporal classifiers …")
        heads = Path(directory) / "heads"
        child("heads", heads)
        steps = child("steps", heads)
    ratios = [*_ratios(turns, default, hop, first), *lengths.ratios(steps)]
    return ratios, list(_raw(turns, default, hop)), lengths.section(steps)


def _default_full_every() -> int:
    from streamfer.detectors import FaceOptions

    return FaceOptions().full_every


def _ratios(turns: list[Turn], default: int, hop: dict[str, Any], first: float) -> Iterator[Line]:
    rate = median(max(turn.alone.values()) / (turn.full["wall"] * 1000) for turn in turns)
    yield at_least("frames/s of the pipeline over those of its slowest stage alone", rate, 0.9)
    searched = "CPU a frame over that of the plain loop"
    every = median(turn.full["cpu"] / turn.plain["cpu"] for turn in turns)
    yield at_most(f"{searched}, every full frame searched", every, 1.15)
    windowed = median(turn.windowed["cpu"] / turn.plain["cpu"] for turn in turns)
    yield at_most(f"{searched}, full_every {default}", windowed, 0.6)
    for cores, figures in hop.items():
        latency = figures["descriptor"]["median_ms"]
        yield at_most(f"hop of a 1080p frame, cores {cores}: median ms", latency, 0.15)
        for way, name in (
            ("descriptors in batches", "in batches, as capture sends"),
            ("descriptor", "one by one"),
        ):
            cost = figures[way]["cpu_ms"] / figures["pixels"]["cpu_ms"]
            yield at_most(f"its CPU over that of sending the pixels, cores {cores}, {name}", cost, 0.05, 3)
    yield at_most("first result, seconds after `streamfer run`", first, 3)
    memory = max(turn.full["memory_mb"] for turn in turns)
    yield at_most("memory of the whole pipeline, MB (PSS)", memory, 600, 0)


def _raw(turns: list[Turn], default: int, hop: dict[str, Any]) -> Iterator[Line]:
    def middle(values: Iterable[float], digits: int = 2) -> str:
        return f"{median(values):.{digits}f}"

    yield Line("plain loop: CPU ms a frame", middle(turn.plain["cpu"] * 1000 for turn in turns))
    yield Line("plain loop: frames/s", middle((1 / turn.plain["wall"] for turn in turns), 0))
    for stage in turns[0].alone:
        yield Line(f"{stage} alone: ms a frame", middle(turn.alone[stage] for turn in turns))
    every, windowed = [turn.full for turn in turns], [turn.windowed for turn in turns]
    for name, runs in (("every full frame", every), (f"full_every {default}", windowed)):
        yield Line(f"pipeline, {name}: frames/s", middle((1 / run["wall"] for run in runs), 0))
        yield Line(f"pipeline, {name}: CPU ms a frame", middle(run["cpu"] * 1000 for run in runs))
        for process in runs[0]["cpu_ms_by_process"]:
            spent = middle(run["cpu_ms_by_process"][process] for run in runs)
            yield Line(f"— of it {process}", spent)
    for cores, ways in hop.items():
        for name, figures in ways.items():
            yield Line(f"hop as {name}, cores {cores}: median ms", f"{figures['median_ms']:.3f}")
            yield Line(f"hop as {name}, cores {cores}: CPU ms a frame", f"{figures['cpu_ms']:.3f}")


def first_result(clip: Path, out: Path, classifier: str = "cnn") -> float:
    """Seconds from the start of the command to the first line on disk."""
    began = time.perf_counter()
    program = "from streamfer.cli import main; main()"
    command = [sys.executable, "-c", program, "run", str(clip), "--classifier", classifier, "--out", str(out)]
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


def markdown(
    ratios: list[Line],
    raw: list[Line],
    steps: list[str],
    frames: int,
    clip: Path | None,
    classifier: str = "cnn",
) -> str:
    """The report of what `measure` gives."""
    from streamfer import __version__

    measured = f"`{clip.name}`" if clip else f"a synthetic clip of {frames} frames (720p H.264, one face)"
    text = [
        "# Benchmark\n",
        f"streamfer {__version__}, Python {platform.python_version()}, {len(os.sched_getaffinity(0))} cores, "
        f"{_processor()}; {measured}; classifier {classifier}; one thread a component, JSON Lines "
        f"sink; the median of {TURNS} turns. Written by `make bench`.\n",
        "| what | measured | target | met |",
        "|---|---:|---|---|",
    ]
    text += [f"| {x.what} | {x.value} | {x.target} | {'yes' if x.met else 'no'} |" for x in ratios]
    text += ["\n## Figures behind the ratios\n", "| what | measured |", "|---|---:|"]
    text += [f"| {x.what} | {x.value} |" for x in raw]
    return "\n".join([*text, *steps]) + "\n"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
