"""Measure live mode: latency from decoded to in the sink, idle and under overload, and how many streams fit.

    python -m benchmarks.live [--out benchmarks/live.md] [--plot docs/images/latency.svg] [--seconds 30]

The streams are a synthetic 720p clip of 25 frames/s with one face, played as if live. A stream counts as
carried if at least 98 % of its frames (of those that its cap lets through) arrive. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from streamfer.benchmark.clip import RATE, make_clip

PLUGINS = Path(__file__).with_name("live_plugins.py")
MAX_AGE = 1.0
CARRIED = 0.98
LIMIT = 64
SETTLED = 3.0
"""Seconds from the first result of the last stream until it counts."""


@dataclass(frozen=True)
class Measured:
    """One run from when all its streams were there: for each stream (seconds, age in seconds) of its results,
    by the time of their capture; the length in seconds; and the ledger of the whole run by stream."""

    results: dict[str, list[tuple[float, float]]]
    seconds: float
    books: dict[str, dict[str, Any]]

    def percentile(self, share: float) -> float:
        """Of the ages of all results, in seconds."""
        ages = sorted(age for results in self.results.values() for _, age in results)
        return ages[min(len(ages) - 1, int(share * len(ages)))]

    def carried(self, rate: float) -> float:
        """The share of its frames that came of the worst stream; `rate` is what should come per second."""
        return min(len(results) / (rate * self.seconds) for results in self.results.values())


def run(clip: Path, streams: int, seconds: float, *, slow: float = 0.0, fps: float | None = None) -> Measured:
    """Run so many streams, and measure for so long; `slow` seconds a frame instead of the `cnn`."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        source: dict[str, Any] = {"path": str(clip), "realtime": True, "loop": True, "max_age": MAX_AGE}
        if fps is not None:
            source["fps"] = fps
        document = {
            "version": 1,
            "plugins": [str(PLUGINS)],
            "streams": {f"s{number}": source for number in range(streams)},
            "detector": {"workers": 2 if streams > 1 else 1},
            "classifiers": [{"name": "slow", "seconds": slow}] if slow else ["cnn"],
            "sinks": [{"name": "measure", "path": str(folder / "ages")}],
            "metrics": False,
        }
        config = folder / "live.yaml"
        config.write_text(yaml.safe_dump(document))
        command = [sys.executable, "-c", "from streamfer.cli import main; main()", "run", str(config)]
        with subprocess.Popen(
            [*command, "--log-format", "json"], stderr=subprocess.PIPE, text=True
        ) as service:
            ages = folder / "ages"
            deadline = time.monotonic() + 120
            while len({line[0] for line in read(ages)}) < streams and time.monotonic() < deadline:
                time.sleep(0.5)
            time.sleep(SETTLED)
            began = time.time()
            time.sleep(seconds)
            ended = time.time()
            service.send_signal(signal.SIGINT)
            _, log = service.communicate(timeout=60)
        lines = read(ages)
    books = {
        line["stream"]: line for line in map(json.loads, log.splitlines()) if line["message"] == "ledger"
    }
    if len(books) < streams:
        raise SystemExit(f"not all streams came:\n{log}")
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in books}
    for stream, _, _, _, captured, age in lines:
        if began <= captured < ended:
            results[stream].append((captured - began, age))
    return Measured(results, ended - began, books)


def read(ages: Path) -> list[tuple[str, str, int, int, float, float]]:
    """What the sink `measure` has written: stream, classifier, epoch, seq, time of capture, age."""
    text = ages.read_text() if ages.exists() else ""
    return [tuple(json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]


def most(clip: Path, seconds: float, fps: float | None) -> tuple[int, list[tuple[int, float]]]:
    """The largest number of streams that are carried, and all that were tried with their shares."""
    tried: dict[int, float] = {}

    def carried(count: int) -> bool:
        if count not in tried:
            tried[count] = run(clip, count, seconds, fps=fps).carried(fps or RATE)
        return tried[count] >= CARRIED

    low, high = 0, 1
    while high <= LIMIT and carried(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if carried(middle) else (low, middle)
    return low, sorted(tried.items())


def plot(runs: dict[str, Measured], path: Path) -> None:
    """Latency over time, a panel for each run, with its p50 and p99."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "streamfer"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(runs), 1, figsize=(8, 2.6 * len(runs)), sharex=True, layout="constrained"
    )
    for axis, (name, measured) in zip(axes, runs.items(), strict=True):
        (results,) = measured.results.values()
        times, ages = zip(*sorted(results), strict=True)
        axis.plot(times, [1000 * age for age in ages], ".", markersize=3, color="#2f6f9f")
        for share, style in ((0.5, "-"), (0.99, "--")):
            value = 1000 * measured.percentile(share)
            axis.axhline(value, linestyle=style, color="#b3452c", linewidth=1)
            axis.annotate(
                f"p{100 * share:.0f} {value:.0f} ms", (times[-1], value), ha="right", va="bottom", fontsize=8
            )
        axis.set_title(name, fontsize=10, loc="left")
        axis.set_ylabel("latency, ms")
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def machine() -> str:
    """What it was measured on, for the report."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", text)
    return f"{os.cpu_count()} cores, {model[1] if model else platform.machine()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/live.md"))
    parser.add_argument("--plot", type=Path, default=Path("docs/images/latency.svg"))
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of each latency run; a capacity run takes half"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        clip = make_clip(Path(directory) / "live.mp4", 500)
        slow = 10 / RATE
        runs = {
            "idle: one stream, 720p at 25 frames/s": run(clip, 1, options.seconds),
            f"overload: a classifier that takes {1000 * slow:.0f} ms a frame": run(
                clip, 1, options.seconds, slow=slow
            ),
        }
        plot(runs, options.plot)
        full = most(clip, options.seconds / 2, None)
        capped = most(clip, options.seconds / 2, 5.0)
    lines = [
        "# Live mode, measured",
        "",
        f"{machine()}; synthetic 720p clip at {RATE} frames/s, one face, played as if live; "
        f"`max_age` {MAX_AGE:g} s. Written by `make bench-live`.",
        "",
        "| latency, decoded to in the sink | p50, ms | p99, ms | bound, ms |",
        "|---|---:|---:|---:|",
    ]
    for (name, measured), bound in zip(runs.items(), ("–", f"{1000 * (MAX_AGE + slow):.0f}"), strict=True):
        p50, p99 = (1000 * measured.percentile(share) for share in (0.5, 0.99))
        lines.append(f"| {name} | {p50:.0f} | {p99:.0f} | {bound} |")
    picture = os.path.relpath(options.plot, options.out.parent)
    lines += ["", "The bound under overload is `max_age` and one classification.", ""]
    lines += [f"![Latency of each frame over time, idle and under overload]({picture})", ""]
    lines += ["| streams that are carried | streams |", "|---|---:|"]
    lines += [f"| at full rate | {full[0]} |", f"| at `fps: 5` | {capped[0]} |", ""]
    for name, tried in (("full rate", full[1]), ("`fps: 5`", capped[1])):
        shares = ", ".join(f"{count}: {share:.3f}" for count, share in tried)
        lines += [f"Least share of frames that arrived, {name}, by streams: {shares}.", ""]
    overload = list(runs.values())[1]
    ages = [age for _, age in overload.results["s0"]]
    books = overload.books["s0"]
    lines += [
        f"Under overload {len(ages)} frames came in {overload.seconds:.0f} s, "
        f"the mean of their ages was {1000 * statistics.mean(ages):.0f} ms; of the whole run "
        f"{sum(books['dropped'].values())} of {books['captured']} frames were dropped.",
    ]
    options.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
