"""Measure what sizing needs besides time: memory by number of streams, bytes of a result, shared memory.

    python -m benchmarks.sizing [--out benchmarks/sizing.md]

Real services run over the clip of `make bench`, played as if live. Nothing here is a timing, so the machine
may do other things meanwhile. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import gzip
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from streamfer import __version__
from streamfer.benchmark import children
from streamfer.benchmark.clip import HEIGHT, RATE, WIDTH, make_clip
from streamfer.benchmark.pipeline import memory_mb
from streamfer.picture import i420_size
from streamfer.shm import choose_slots

STREAMS = (1, 2, 4, 8)
SHORT, LONG = 100, 1000
"""Results after which a run is measured: when only memory counts, and when bytes are counted."""
EVERYWHERE = [[[0, 0], [1, 0], [1, 1], [0, 1]]]
SIZES = {
    "360p": (640, 360),
    "720p": (1280, 720),
    "1080p": (1920, 1080),
    "1440p": (2560, 1440),
    "4K": (3840, 2160),
}


@dataclass(frozen=True)
class Measured:
    """Of one run: memory of all processes in MiB (PSS), and bytes of a result by sink."""

    memory: float
    jsonl: float
    compressed: float
    sqlite: float


def run(clip: Path, streams: int, results: int, *, masked: bool = False) -> Measured:
    """Run so many streams until each sink should have so many results of each; `masked` hides every face."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        source: dict[str, Any] = {"path": str(clip), "realtime": True, "loop": True}
        source |= {"masks": EVERYWHERE} if masked else {}
        lines, database = folder / "results.jsonl", folder / "results.db"
        document = {
            "version": 1,
            "streams": {f"camera-{number}": source for number in range(streams)},
            "classifiers": ["cnn"],
            "sinks": [{"name": "jsonl", "path": str(lines)}, {"name": "sqlite", "path": str(database)}],
            "metrics": {"listen": "127.0.0.1:0"},
        }
        config = folder / "sizing.yaml"
        config.write_text(yaml.safe_dump(document))
        command = [sys.executable, "-c", "from streamfer.cli import main; main()", "run", str(config)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
            deadline = time.monotonic() + 300
            while service.poll() is None and time.monotonic() < deadline:
                if lines.exists() and lines.read_bytes().count(b"\n") >= results * streams:
                    break
                time.sleep(0.5)
            memory = memory_mb([service.pid, *children(service.pid)])
            service.send_signal(signal.SIGINT)
            _, log = service.communicate(timeout=60)
        written = lines.read_bytes() if lines.exists() else b""
        count = written.count(b"\n")
        if count < results * streams:
            raise SystemExit(f"only {count} results came:\n{log}")
        return Measured(
            memory, len(written) / count, len(gzip.compress(written)) / count, database.stat().st_size / count
        )


def shared_memory(width: int, height: int) -> tuple[int, float]:
    """Frames in the ring of a stream of this size, and the MB they take."""
    slots = choose_slots(width, height)
    return slots, slots * i420_size(width, height) / 1e6


def report(by_streams: dict[int, Measured], empty: Measured) -> str:
    """All of it as Markdown."""
    first, last = min(by_streams), max(by_streams)
    further = (by_streams[last].memory - by_streams[first].memory) / (last - first)
    face = by_streams[first]
    text = [
        "# Sizes, measured",
        "",
        f"streamfer {__version__}, Python {platform.python_version()}; the synthetic clip of `make bench` "
        f"({WIDTH}×{HEIGHT}, {RATE} frames/s, one face), played as if live; `cnn`, sinks `jsonl` and "
        "`sqlite`. Written by `python -m benchmarks.sizing`.",
        "",
        "| memory of the whole service, PSS, shared memory included | MiB |",
        "|---|---:|",
        *(f"| streams: {count} | {one.memory:.0f} |" for count, one in by_streams.items()),
        f"| each further stream, {first} to {last} | {further:.0f} |",
        "",
        "| size of a result | bytes |",
        "|---|---:|",
    ]
    for sink in ("jsonl", "compressed", "sqlite"):
        name = "jsonl, compressed" if sink == "compressed" else sink
        text += [f"| {name}, one face | {getattr(face, sink):.0f} |"]
        text += [f"| {name}, no face | {getattr(empty, sink):.0f} |"]
    text += ["", "| shared memory of a stream | frames | MB |", "|---|---:|---:|"]
    for name, size in SIZES.items():
        slots, megabytes = shared_memory(*size)
        text += [f"| {name}, {size[0]}×{size[1]} | {slots} | {megabytes:.0f} |"]
    return "\n".join(text) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/sizing.md"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        clip = make_clip(Path(directory) / "sizing.mp4", 500)
        by_streams = {count: run(clip, count, LONG if count == 1 else SHORT) for count in STREAMS}
        empty = run(clip, 1, LONG, masked=True)
    text = report(by_streams, empty)
    options.out.write_text(text)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
