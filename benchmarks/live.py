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


@dataclass(frozen=True)
class Measured:
    """One run: (seconds since its first result, age in seconds) of every result, and its ledger by stream."""

    ages: list[tuple[float, float]]
    books: dict[str, dict[str, Any]]

    def percentile(self, share: float) -> float:
        """Of the ages, in seconds; the first two seconds, in which the streams start, do not count."""
        ages = sorted(age for at, age in self.ages if at > 2)
        return ages[min(len(ages) - 1, int(share * len(ages)))]

    @property
    def carried(self) -> float:
        """The least share of a stream's wanted frames that arrived."""
        shares = []
        for books in self.books.values():
            wanted = books["captured"] - books["dropped"].get("fps_cap", 0)
            shares.append(books["delivered"] / wanted if wanted else 0.0)
        return min(shares, default=0.0)

    @property
    def rate(self) -> float:
        """The least number of frames captured per second of any stream."""
        return min(books["captured"] for books in self.books.values()) / self.ages[-1][0]


def run(clip: Path, streams: int, seconds: float, *, slow: float = 0.0, fps: float | None = None) -> Measured:
    """Run so many streams for so long; `slow` seconds a frame instead of the `cnn`."""
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
            deadline = time.monotonic() + 60
            while not (ages.exists() and ages.stat().st_size) and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(seconds)
            service.send_signal(signal.SIGINT)
            _, log = service.communicate(timeout=60)
        lines = [json.loads(line) for line in ages.read_text().splitlines()]
    if not lines:
        raise SystemExit(f"no results came:\n{log}")
    books = {
        line["stream"]: line for line in map(json.loads, log.splitlines()) if line["message"] == "ledger"
    }
    first = min(line[4] + line[5] for line in lines)
    return Measured(sorted((line[4] + line[5] - first, line[5]) for line in lines), books)


def most(clip: Path, seconds: float, fps: float | None) -> tuple[int, list[tuple[int, float]]]:
    """The largest number of streams that are carried, and all that were tried with their shares."""
    tried: dict[int, float] = {}

    def carried(count: int) -> bool:
        if count not in tried:
            measured = run(clip, count, seconds, fps=fps)
            # A replay that cannot decode in time shows fewer frames: that is not carried either.
            tried[count] = min(measured.carried, measured.rate / RATE)
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
        times, ages = zip(*measured.ages, strict=True)
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
        "--seconds", type=float, default=30.0, help="of each latency run; capacity takes a third"
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
        full = most(clip, options.seconds / 3, None)
        capped = most(clip, options.seconds / 3, 5.0)
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
    lines += ["", "The bound under overload is `max_age` and one classification.", ""]
    lines += ["| streams that are carried | streams |", "|---|---:|"]
    lines += [f"| at full rate | {full[0]} |", f"| at `fps: 5` | {capped[0]} |", ""]
    for name, tried in (("full rate", full[1]), ("`fps: 5`", capped[1])):
        shares = ", ".join(f"{count}: {share:.3f}" for count, share in tried)
        lines += [f"Least share of frames that arrived, {name}, by streams: {shares}.", ""]
    overload = list(runs.values())[1]
    ages = [age for at, age in overload.ages if at > 2]
    books = overload.books["s0"]
    lines += [
        f"Under overload {len(ages)} frames came in {overload.ages[-1][0] - 2:.0f} s, "
        f"the mean of their ages was {1000 * statistics.mean(ages):.0f} ms; "
        f"{sum(books['dropped'].values())} of {books['captured']} frames were dropped.",
    ]
    options.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
