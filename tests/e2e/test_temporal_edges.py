"""Temporal classifiers in the service where it is hard: clocks that break, faces that go away, many faces."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.clips import make_clip
from tests.service import SAMPLE, lines, streamfer
from tests.temporal import Expected, write_plugin

SOURCE = """
from streamfer.api import Component, Options, SourceFrame
from streamfer.hookspecs import hookimpl
from streamfer.sources import FileOptions
from streamfer.sources.file import FileSource


class OddOptions(Options):
    path: str
    clock: tuple[float | None, ...]


class Odd(FileSource):
    def __init__(self, options):
        super().__init__(FileOptions(path=options.path))
        self._clock = options.clock

    def frames(self):
        for frame, pts in zip(super().frames(), self._clock):
            yield SourceFrame(frame.picture, pts)


@hookimpl
def streamfer_components():
    return [Component("source", "odd", "a recording with another clock", ":Odd", OddOptions)]
"""

STEP = 0.04


def from_(begin: float, frames: int) -> list[float]:
    return [round(begin + place * STEP, 3) for place in range(frames)]


CLOCK: list[float | None] = [
    *from_(0, 15),
    *from_(3600, 15),  # it jumps ahead
    *[3600.56] * 5,  # stands still
    *from_(3600.6, 10),  # and goes on
    *from_(20, 15),  # jumps back
    *[20.6, 20.64, 20.63],  # runs backwards by a little
    *from_(20.68, 10),
    *[None] * 15,  # is not there
    *from_(0, 12),
]


def portraits(light: Iterable[float]) -> list[NDArray[np.uint8]]:
    """Two faces that hold still in such a light, 0 to 1 for each frame."""
    with av.open(str(SAMPLE)) as container:
        sample = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    still = sample[len(sample) // 4].astype(float)
    return [(still * one).astype(np.uint8) for one in light]


def run(folder: Path, frames: list[NDArray[np.uint8]], source: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a run over these frames."""
    make_clip(folder / "clip.mp4", frames=frames, size=(frames[0].shape[1], frames[0].shape[0]))
    write_plugin(folder)
    (folder / "odd.py").write_text(SOURCE)
    config = {
        "version": 1,
        "plugins": ["temporal.py", "odd.py"],
        "streams": {"yard": {"path": str(folder / "clip.mp4"), **source}},
        "classifiers": ["single", "memory", {"name": "single", "as": "steady", "smoothing": "ema"}],
        "sinks": [{"name": "jsonl", "path": "results.jsonl"}],
        "metrics": False,
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    done = streamfer("run", folder / "config.yaml")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return lines(folder / "results.jsonl")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """In a light that goes up and down, by the clock above."""
    light = 0.75 + 0.25 * np.cos(np.arange(len(CLOCK)) / 5)
    return run(tmp_path_factory.mktemp("times"), portraits(light), {"source": "odd", "clock": CLOCK})


def faces(results: list[dict[str, Any]], classifier: str) -> dict[int, list[tuple[int, dict[str, Any]]]]:
    """By track, in order, the place in the clock and the face."""
    found: dict[int, list[tuple[int, dict[str, Any]]]] = {}
    for line in results:
        if line["classifier"] == classifier:
            for face in line["faces"]:
                assert face["label"] is not None
                found.setdefault(face["track"], []).append((line["seq"], face))
    return found


def test_every_frame_is_there_with_its_faces(results: list[dict[str, Any]]) -> None:
    for classifier in ("single", "memory", "steady"):
        found = [line for line in results if line["classifier"] == classifier]
        assert [line["pts"] for line in found] == CLOCK
        assert {len(line["faces"]) for line in found} == {2}


def test_windows_begin_anew_where_the_clock_breaks_and_only_there(results: list[dict[str, Any]]) -> None:
    single, memory = faces(results, "single"), faces(results, "memory")
    assert single.keys() == memory.keys()
    times: list[float] = []
    for given in CLOCK:
        times.append(times[-1] + STEP if given is None else given)
    begun: set[int] = set()
    for track, seen in memory.items():
        expected = Expected(6, 0.08)
        for (place, face), (_, alone) in zip(seen, single[track], strict=True):
            expected.see(times[place], alone["probabilities"]["bright"])
            assert face["window"]["filled"] == expected.filled, place
            assert face["status"] == ("ok" if expected.filled == 6 else "warming")
            bright = float(np.mean(expected.window()))
            assert face["probabilities"]["bright"] == pytest.approx(bright, abs=2e-3), place
            if len(expected.taken) == 1 and expected.taken[0][0] == times[place]:
                begun.add(place)
    jumps = {place for place, (before, now) in enumerate(pairwise(times), 1) if not 0 <= now - before <= 0.5}
    assert begun == {0, *jumps}
    assert len(jumps) == 4


def test_smoothing_bears_it_too(results: list[dict[str, Any]]) -> None:
    for seen in faces(results, "steady").values():
        for _, face in seen:
            assert sum(face["probabilities"].values()) == pytest.approx(1, abs=2e-3)
            assert 0 <= face["probabilities"]["bright"] <= 1


def test_a_face_that_leaves_and_returns(tmp_path: Path) -> None:
    """For less than max_gap, for more, and for so long that the tracker takes it for somebody else."""
    away = {20: 8, 50: 20, 90: 40}
    hidden = {place for begin, frames in away.items() for place in range(begin, begin + frames)}
    frames = portraits(0.7 + 0.3 * np.cos(np.arange(150) / 7))
    for place in hidden:
        frames[place][20:240, 70:280] = frames[place][20:240, 70:71]  # the left one
    results = run(tmp_path, frames, {})
    single, memory = faces(results, "single"), faces(results, "memory")
    seen = {track: {place for place, _ in found} for track, found in single.items()}
    stayed, left, late = sorted(seen, key=lambda track: (-len(seen[track]), track))
    assert seen[stayed] == set(range(150))
    assert seen[left] | seen[late] <= set(range(150)) - hidden
    assert min(seen[left]) == 0 and seen[left] & set(range(28, 33)) and max(seen[left]) == 89
    assert 130 <= min(seen[late]) < 140
    began: dict[int, list[int]] = {}
    for track, found in memory.items():
        expected = Expected(6, 0.08)
        for (place, face), (_, alone) in zip(found, single[track], strict=True):
            expected.see(place * STEP, alone["probabilities"]["bright"])
            assert face["window"]["filled"] == expected.filled, (track, place)
            assert face["probabilities"]["bright"] == pytest.approx(np.mean(expected.window()), abs=2e-3)
            if expected.taken == [(place * STEP, alone["probabilities"]["bright"])]:
                began.setdefault(track, []).append(place)
    assert began[stayed] == [0]
    assert began[left] == [0, min(seen[left] & set(range(70, 90)))]
    assert began[late] == [min(seen[late])]


def test_fifty_faces_in_one_frame(tmp_path: Path) -> None:
    """Each has a window of its own, and is as bright as it is itself."""
    (still,) = portraits([1.0])
    tile = cv2.resize(still[40:280, 340:580], (96, 96), interpolation=cv2.INTER_AREA).astype(float)
    shades = np.linspace(0.5, 1, 50).reshape(5, 10)
    wall = np.concatenate([np.concatenate([tile * one for one in row], axis=1) for row in shades])
    frames = [(wall * (1 - 0.01 * place)).astype(np.uint8) for place in range(15)]
    results = run(tmp_path, frames, {"detector": {"width": 960, "min_face": 16}})
    single, memory = faces(results, "single"), faces(results, "memory")
    assert len(single) == 50
    for track, found in memory.items():
        expected = Expected(6, 0.08)
        assert len(found) == 15
        for (place, face), (_, alone) in zip(found, single[track], strict=True):
            expected.see(place * STEP, alone["probabilities"]["bright"])
            assert face["window"]["filled"] == expected.filled
            assert face["probabilities"]["bright"] == pytest.approx(np.mean(expected.window()), abs=2e-3)
    shown = {round(found[0][1]["probabilities"]["bright"], 3) for found in single.values()}
    assert len(shown) > 40, "they can be told apart"
