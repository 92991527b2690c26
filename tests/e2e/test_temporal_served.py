"""Windows and smoothing in the real service: each answer follows from the frames before, and no others."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from streamfer.results import schema
from streamfer.smoothing import Smoother, smoothing
from streamfer.types import LABELS
from tests.service import (
    SAMPLE,
    Run,
    assert_complete,
    frame_count,
    lines,
    repeated,
    rows,
    streamfer,
    wait_until,
)
from tests.temporal import Expected, write_plugin

CLASSIFIERS: list[Any] = [
    "memory",
    "single",
    {"name": "memory", "as": "short", "window": {"frames": 3, "stride": 2}},
    {"name": "ensemble", "as": "both", "members": ["memory", {"name": "single", "weight": 3}]},
    "long",
    "moment",
    "cnn",
    {"name": "cnn", "as": "steady", "smoothing": {"method": "ema", "time_constant": 0.3}},
]


def config(folder: Path, stream: dict[str, Any], classifiers: list[Any]) -> Path:
    write_plugin(folder)
    path = folder / "config.yaml"
    sinks = [{"name": "jsonl", "path": "out/results.jsonl"}, {"name": "sqlite", "path": "out/results.db"}]
    sections = {"version": 1, "plugins": ["temporal.py"], "streams": {"lobby": stream}, "metrics": False}
    path.write_text(json.dumps({**sections, "classifiers": classifiers, "sinks": sinks}))
    return path


def faces(found: list[dict[str, Any]], classifier: str) -> dict[int, list[tuple[float, dict[str, Any]]]]:
    """By track, in order, the time and the face of each frame in which it could be classified."""
    by_track: dict[int, list[tuple[float, dict[str, Any]]]] = {}
    for line in found:
        if line["classifier"] == classifier:
            for face in line["faces"]:
                if face["status"] in ("ok", "warming"):
                    by_track.setdefault(face["track"], []).append((line["pts"], face))
    return by_track


WINDOWS = (("memory", 6, 0.08), ("short", 3, 0.16), ("both", 6, 0.08))


def mean_of(name: str, window: list[float], now: float) -> float:
    """What the rule answers for a window, newest first."""
    if name == "short":  # the rule reads six: the oldest of the three stands for those before
        window = window + window[-1:] * 3
    mean = float(np.mean(window))
    return mean / 4 + 3 / 4 * now if name == "both" else mean


def assert_windows(found: list[dict[str, Any]], *, least: int) -> None:
    """Every answer of `memory`, `short`, `both` follows from what `single` says of the frames before."""
    single = faces(found, "single")
    compared = 0
    for name, frames, period in WINDOWS:
        followed = faces(found, name)
        assert followed.keys() == single.keys()
        for track, seen in followed.items():
            expected = Expected(frames, period)
            for (seconds, face), (_, alone) in zip(seen, single[track], strict=True):
                now = alone["probabilities"]["bright"]
                expected.see(seconds, now)
                filled = expected.filled
                assert (face["window"]["frames"], face["window"]["filled"]) == (frames, filled)
                assert face["status"] == ("ok" if filled == frames else "warming")
                wanted = mean_of(name, expected.window(), now)
                assert face["probabilities"]["bright"] == pytest.approx(wanted, abs=2e-3)
                compared += filled == frames
    assert compared >= least


def assert_windows_of_restarted(found: list[dict[str, Any]], *, least: int) -> None:
    """The same of a run in which workers died. Frames that are sent again to a new worker are not recorded
    again, but it has seen them: which frame of a period it takes cannot be known, and any will do."""
    single = faces(found, "single")
    compared = 0
    for name, frames, period in WINDOWS:
        for track, seen in faces(found, name).items():
            now = {round(one, 3): face["probabilities"]["bright"] for one, face in single.get(track, [])}
            for seconds, face in seen:
                windows = [
                    [round(seconds - early / 25 - place * period, 3) for place in range(frames)]
                    for early in range(round(25 * period))
                ]
                if face["status"] != "ok" or not {one for times in windows for one in times} <= now.keys():
                    continue
                any_of = [mean_of(name, [now[one] for one in times], now[windows[0][0]]) for times in windows]
                told = face["probabilities"]["bright"]
                assert min(abs(one - told) for one in any_of) < 2e-3, (name, track, seconds)
                compared += 1
    assert compared >= least


def assert_smoothed(found: list[dict[str, Any]]) -> None:
    """`steady` is `cnn`, averaged over time, with the raw answer beside it."""
    alone, steady = faces(found, "cnn"), faces(found, "steady")
    assert steady.keys() == alone.keys()
    for track, seen in steady.items():
        smoother = Smoother(smoothing({"method": "ema", "time_constant": 0.3}), len(LABELS))  # type: ignore[arg-type]
        for (seconds, face), (_, raw) in zip(seen, alone[track], strict=True):
            assert face["raw"] == {key: raw[key] for key in ("label", "confidence", "probabilities")}
            row = np.array([[raw["probabilities"][label] for label in LABELS]])
            expected, best = smoother.update(seconds, [track], row)
            told = [face["probabilities"][label] for label in LABELS]
            np.testing.assert_allclose(told, expected[0], atol=5e-4)
            assert face["label"] == LABELS[best[0]] or abs(expected[0].max() - face["confidence"]) < 5e-4
    changes = {name: changed(faces(found, name)) for name in ("cnn", "steady")}
    assert changes["steady"] < changes["cnn"]


def changed(tracks: dict[int, list[tuple[float, dict[str, Any]]]]) -> int:
    return sum(
        one["label"] != other["label"] for seen in tracks.values() for (_, one), (_, other) in pairwise(seen)
    )


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run over a recording leaves."""
    folder = tmp_path_factory.mktemp("recording")
    done = streamfer("run", config(folder, {"path": str(SAMPLE)}, CLASSIFIERS))
    assert done.returncode == 0, done.stderr
    assert_complete(folder / "out", frame_count(SAMPLE))
    return folder / "out"


def test_windows_hold_the_real_frames_before(recording: Path) -> None:
    assert_windows(lines(recording / "results.jsonl"), least=100)


def test_windows_after_the_death_of_workers(tmp_path: Path) -> None:
    clip = repeated(SAMPLE, 2, tmp_path / "clip.mp4")
    out = tmp_path / "out"
    with Run("run", config(tmp_path, {"path": str(clip)}, CLASSIFIERS[:4])) as run:
        wait_until(lambda: len(lines(out / "results.jsonl")) > 60, "results", timeout=120)
        run.kill_worker("classify memory[0]")
        wait_until(lambda: len(lines(out / "results.jsonl")) > 400, "more results", timeout=120)
        run.kill_worker("detect[0]")
        status, said = run.finish()
    assert status == 0, said
    assert "Traceback" not in said
    assert_complete(out, frame_count(clip))
    found = lines(out / "results.jsonl")
    assert any(line.get("discontinuity") for line in found if line["classifier"] == "memory")
    assert_windows_of_restarted(found, least=100)


def test_smoothed_answers_stand_beside_the_raw_ones(recording: Path) -> None:
    assert_smoothed(lines(recording / "results.jsonl"))


def test_every_line_is_as_the_schema_says(recording: Path) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    for line in lines(recording / "results.jsonl"):
        validator.validate(line)


def test_a_window_longer_than_any_track_stays_warming(recording: Path) -> None:
    statuses = {
        face["status"]
        for seen in faces(lines(recording / "results.jsonl"), "long").values()
        for _, face in seen
    }
    assert statuses == {"warming"}


def test_a_window_of_one_frame_is_always_full(recording: Path) -> None:
    for seen in faces(lines(recording / "results.jsonl"), "moment").values():
        for _, face in seen:
            assert (face["status"], face["window"]) == ("ok", {"frames": 1, "filled": 1, "span_ms": 0.0})


def test_the_database_has_windows_and_raw_answers(recording: Path) -> None:
    database = recording / "results.db"
    in_lines = [
        (face["window"]["filled"], face["window"]["frames"])
        for line in lines(recording / "results.jsonl")
        if line["classifier"] == "memory"
        for face in line["faces"]
        if "window" in face
    ]
    extract = "json_extract(\"window\", '$.filled'), json_extract(\"window\", '$.frames')"
    where = "classifier = 'memory' AND label NOT NULL"
    query = f"SELECT {extract} FROM faces WHERE {where} ORDER BY epoch, seq, face"
    assert rows(database, query) == in_lines
    (raw,) = rows(
        database, "SELECT count(*) FROM faces WHERE classifier = 'steady' AND raw ->> 'label' NOT NULL"
    )
    assert raw[0] > 100


def test_on_a_live_stream(tmp_path: Path) -> None:
    stream = {"path": str(SAMPLE), "realtime": True, "max_age": 60, "queue": 64}
    done = streamfer("run", config(tmp_path, stream, CLASSIFIERS[:4]))
    assert done.returncode == 0, done.stderr
    found = lines(tmp_path / "out" / "results.jsonl")
    # In time of the source's clock, which here is that of the PTS.
    assert_windows(found, least=20)
