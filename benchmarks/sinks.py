"""What a result costs in each sink: python benchmarks/sinks.py [DIR] (best of three)."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streamfer.api import Options, Sink, StreamPlan
from streamfer.picture import Picture, i420_size, view_i420
from streamfer.sinks import ConsoleOptions, JsonlOptions, SqliteOptions, VideoOptions
from streamfer.sinks.console import ConsoleSink
from streamfer.sinks.jsonl import JsonlSink
from streamfer.sinks.sqlite import SqliteSink
from streamfer.sinks.video import VideoSink
from streamfer.types import LABELS, Face, Result

PLANS = [StreamPlan("lobby", ("cnn",))]


def results(count: int) -> list[Result]:
    """One face a frame, a change of label every three seconds."""
    chances = dict.fromkeys(LABELS, 0.0123) | {"happy": 0.9262}
    return [
        Result(
            stream="lobby",
            epoch=0,
            seq=seq,
            pts=round(seq / 25, 4),
            time=None,
            classifier="cnn",
            faces=[
                Face(
                    1,
                    (512.5 + seq % 40, 200.1, 180.2, 220.7),
                    0.97,
                    "ok",
                    LABELS[seq // 75 % 7],
                    0.9262,
                    chances,
                )
            ],
        )
        for seq in range(count)
    ]


def pictures(width: int, height: int, count: int = 25) -> list[Picture]:
    """A blurred pattern that drifts, with a little noise: about as hard to encode as a quiet camera."""
    chance = np.random.default_rng(0)
    coarse = chance.integers(40, 200, (height // 16, width // 16 + count), dtype=np.uint8)
    made = []
    for number in range(count):
        shown = view_i420(bytearray(i420_size(width, height)), width, height, full_range=False)
        part = coarse[:, number : number + width // 16]
        shown.y[:] = cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC)
        shown.y[:] += chance.integers(0, 4, shown.y.shape, dtype=np.uint8)
        shown.u[:], shown.v[:] = 120, 136
        made.append(shown)
    return made


def cost(sink: Sink, items: Sequence[Result], shown: Sequence[Picture] = ()) -> tuple[float, float]:
    """Seconds of wall time and of CPU per result, a flush every 16."""
    sink.open(PLANS, resume=False)
    wall, cpu = time.perf_counter(), time.process_time()
    for number, one in enumerate(items):
        sink.write(one, shown[number % len(shown)] if shown else None)
        if number % 16 == 15:
            sink.flush()
    sink.end("lobby")
    sink.close()
    return (time.perf_counter() - wall) / len(items), (time.process_time() - cpu) / len(items)


def best(
    make: Callable[[Any], Sink], options: Options, items: Sequence[Result], shown: Sequence[Picture] = ()
) -> str:
    wall, cpu = (min(one) for one in zip(*(cost(make(options), items, shown) for _ in range(3)), strict=True))
    return f"{wall * 1e6:9.1f} µs wall {cpu * 1e6:9.1f} µs CPU"


def main(directory: Path) -> None:
    cv2.setNumThreads(1)
    many = results(20_000)
    jsonl, sqlite = JsonlOptions(path=str(directory / "r.jsonl")), SqliteOptions(path=str(directory / "r.db"))
    print("jsonl           ", best(JsonlSink, jsonl, many))
    print("sqlite          ", best(SqliteSink, sqlite, many))
    for width, height in ((640, 360), (1280, 720), (1920, 1080)):
        video = VideoOptions(path=str(directory / "r.mp4"))
        print(f"video {width}x{height:<5}", best(VideoSink, video, many[:200], pictures(width, height)))
    written: list[Sink] = [JsonlSink(jsonl), SqliteSink(sqlite)]
    for sink in written:
        began = time.perf_counter()
        sink.open(PLANS, resume=True)
        name = Path(next(iter(sink.outputs()))).name
        print(f"resume {name:<8} {(time.perf_counter() - began) / len(many) * 1e6:10.2f} µs a result")
        sink.close()
    sys.stdout.flush()
    console = cost(ConsoleSink(ConsoleOptions()), many)
    print(f"console           {console[0] * 1e6:9.1f} µs wall")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as made:
        main(Path(made))
