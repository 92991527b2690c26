"""Temporal classifiers on a camera of one frame per second: results still come, and say what they rest on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.clips import make_clip
from tests.service import SAMPLE, lines, streamfer
from tests.temporal import write_plugin

SECONDS = 24
CLASSIFIERS: list[Any] = [
    "single",
    "memory",
    {"name": "memory", "as": "patient", "window": {"max_gap": 2}},
    {"name": "memory", "as": "wide", "window": {"max_gap": 2, "stride": 12}},
    {"name": "ensemble", "as": "both", "members": ["memory", "single"]},
]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run over such a recording, in which the light goes down, and what the run printed."""
    folder = tmp_path_factory.mktemp("slow")
    with av.open(str(SAMPLE)) as container:
        sample = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    still = sample[len(sample) // 4].astype(float)
    light = np.linspace(1, 0.5, SECONDS)
    frames = [(still * one).astype(np.uint8) for one in light]
    make_clip(folder / "clip.mp4", frames=frames, size=(still.shape[1], still.shape[0]), fps=1)
    write_plugin(folder)
    sections = {"version": 1, "plugins": ["temporal.py"], "streams": {"yard": {"path": "clip.mp4"}}}
    sinks = [{"name": "jsonl", "path": "results.jsonl"}]
    config = folder / "config.yaml"
    config.write_text(json.dumps({**sections, "classifiers": CLASSIFIERS, "sinks": sinks, "metrics": False}))
    done = streamfer("run", config)
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


def faces(folder: Path, classifier: str) -> list[dict[str, Any]]:
    """The first face of each frame."""
    found = [line for line in lines(folder / "results.jsonl") if line["classifier"] == classifier]
    assert [line["pts"] for line in found] == list(range(SECONDS))
    assert all(line["faces"][0]["track"] == 1 for line in found)
    return [line["faces"][0] for line in found]


def bright(found: list[dict[str, Any]]) -> list[float]:
    return [face["probabilities"]["bright"] for face in found]


@pytest.mark.parametrize("name", ["memory", "both"])
def test_a_window_that_bears_no_such_gap_is_that_of_a_new_face_in_each_frame(
    said: tuple[Path, str], name: str
) -> None:
    folder, _ = said
    found = faces(folder, name)
    assert {face["status"] for face in found} == {"warming"}
    assert all(face["window"] == {"frames": 6, "filled": 1, "span_ms": 0.0} for face in found)
    assert bright(found) == pytest.approx(bright(faces(folder, "single")), abs=2e-4)


def test_one_that_bears_it_but_is_too_short_holds_the_newest_frame_alone(said: tuple[Path, str]) -> None:
    folder, _ = said
    found = faces(folder, "patient")
    assert [face["window"]["filled"] for face in found] == [1, *[6] * (SECONDS - 1)]
    assert {face["window"]["span_ms"] for face in found} == {0.0}
    assert bright(found) == pytest.approx(bright(faces(folder, "single")), abs=2e-4)


def test_one_that_is_wide_enough_holds_the_frames_before(said: tuple[Path, str]) -> None:
    folder, _ = said
    found, now = faces(folder, "wide"), bright(faces(folder, "single"))
    assert [face["status"] for face in found] == [*["warming"] * 5, *["ok"] * (SECONDS - 5)]
    for place, face in enumerate(found):
        before = [now[max(0, place - back)] for back in range(6)]  # every 0.96 s
        assert face["probabilities"]["bright"] == pytest.approx(np.mean(before), abs=2e-4)
        assert face["window"]["span_ms"] == 1000 * min(place, 5)


def test_the_log_says_once_which_windows_are_too_narrow(said: tuple[Path, str]) -> None:
    _, stderr = said
    warnings = [line for line in stderr.splitlines() if "its frames come" in line]
    told = ", and the window of '{}' is 0.40 s long and bears gaps of {} s: it holds one frame at a time; "
    for name, gap in (("memory", "0.50"), ("patient", "2.00"), ("both", "0.50")):
        (line,) = (one for one in warnings if f"'{name}'" in one)
        assert "yard: its frames come 1.00 s apart" + told.format(name, gap) + "raise window.stride" in line
    assert len(warnings) == 3
