"""Ensembles in the real service, beside their members alone: the same faces, the mean of the same answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamfer.types import LABELS, CropSpec
from tests.networks import store
from tests.service import (
    ROOT,
    SAMPLE,
    Run,
    assert_complete,
    frame_count,
    lines,
    repeated,
    streamfer,
    wait_until,
)

MEMBERS: list[Any] = [
    "cnn",
    {"name": "cnn", "weight": 2, "model": "small/card.json"},
    {"name": "cnn", "weight": 0.5, "model": "colour/card.json"},
    "prior",
]
ALONE = {"cnn": 1.0, "small": 2.0, "colour": 0.5, "prior": 1.0}
CLASSIFIERS: list[Any] = [
    "cnn",
    {"name": "ensemble", "members": MEMBERS},
    {"name": "ensemble", "as": "sharp", "temperature": 0.5, "members": MEMBERS[2::-1]},
    {"name": "cnn", "as": "small", "model": "small/card.json"},
    {"name": "cnn", "as": "colour", "model": "colour/card.json"},
    "prior",
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two untrained networks of other crops, one with its labels in another order, and a rule."""
    folder = tmp_path_factory.mktemp("models")
    store(folder / "small", CropSpec(24, 24, 1), LABELS[::-1])
    store(folder / "colour", CropSpec(32, 24, 3), LABELS)
    shutil.copy(ROOT / "examples" / "prior.py", folder)
    return folder


def config(folder: Path, streams: dict[str, Any], classifiers: list[Any]) -> Path:
    path = folder / "config.yaml"
    sinks = [{"name": "jsonl", "path": "out/results.jsonl"}, {"name": "sqlite", "path": "out/results.db"}]
    sections = {"version": 1, "plugins": ["prior.py"], "streams": streams, "classifiers": classifiers}
    path.write_text(json.dumps({**sections, "sinks": sinks, "metrics": False}))
    return path


def answers(found: list[dict[str, Any]], classifier: str) -> dict[tuple[int, int], np.ndarray[Any, Any]]:
    """By (seq, track) the probabilities in the order of LABELS."""
    return {
        (line["seq"], face["track"]): np.array([face["probabilities"][label] for label in LABELS])
        for line in found
        if line["classifier"] == classifier
        for face in line["faces"]
        if face["status"] == "ok"
    }


def assert_means(found: list[dict[str, Any]], *, least: int) -> None:
    """Each face's answer is that of the members, and `least` faces are there that all have seen."""
    alone = {name: answers(found, name) for name in ALONE}
    ensemble, sharp = answers(found, "ensemble"), answers(found, "sharp")
    common = set(ensemble).intersection(sharp, *alone.values())
    assert len(common) >= least
    for face in common:
        mean = sum(ALONE[name] * alone[name][face] for name in ALONE) / sum(ALONE.values())
        np.testing.assert_allclose(ensemble[face], mean, atol=1e-3)
        networks = ("cnn", "small", "colour")
        mean = sum(ALONE[name] * alone[name][face] for name in networks) / 3.5
        np.testing.assert_allclose(sharp[face], mean**2 / (mean**2).sum(), atol=2e-3)
    assert not np.allclose(alone["small"][face], alone["colour"][face], atol=0.01)


def test_beside_its_members_and_after_the_death_of_its_worker(models: Path, tmp_path: Path) -> None:
    clip = repeated(SAMPLE, 2, tmp_path / "clip.mp4")
    out = models / "out"
    with Run("run", config(models, {"lobby": {"path": str(clip)}}, CLASSIFIERS), cwd=tmp_path) as run:
        wait_until(lambda: len(lines(out / "results.jsonl")) > 60, "results", timeout=120)
        run.kill_worker("classify ensemble[0]")
        status, said = run.finish()
    assert status == 0, said
    assert "Traceback" not in said
    assert_complete(out, frame_count(clip))
    found = lines(out / "results.jsonl")
    orders = {
        name: {
            tuple(face["probabilities"])
            for line in found
            if line["classifier"] == name
            for face in line["faces"]
            if face["status"] == "ok"
        }
        for name in ("ensemble", "sharp", "small")
    }
    # The answer is in the order of the first member.
    assert orders == {"ensemble": {LABELS}, "sharp": {LABELS}, "small": {LABELS[::-1]}}
    assert_means(found, least=frame_count(clip) // 2)


def test_on_a_live_stream(models: Path, tmp_path: Path) -> None:
    shutil.rmtree(models / "out", ignore_errors=True)
    stream = {"path": str(SAMPLE), "realtime": True, "max_age": 60, "queue": 64}
    path = config(models, {"door": stream}, CLASSIFIERS)
    done = streamfer("run", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_means(lines(models / "out" / "results.jsonl"), least=10)


def test_a_damaged_model_of_a_member_stops_the_start(models: Path, tmp_path: Path) -> None:
    for name in ("small", "colour"):
        shutil.copytree(models / name, tmp_path / name)
    shutil.copy(models / "prior.py", tmp_path)
    model = tmp_path / "colour" / "small.tflite"
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    path = config(
        tmp_path, {"lobby": {"path": str(SAMPLE)}}, ["cnn", {"name": "ensemble", "members": MEMBERS}]
    )
    assert streamfer("check", path).returncode == 0
    done = streamfer("run", path)
    assert done.returncode == 3, done.stderr
    assert f"{model}: the model is corrupted" in done.stderr
    assert "Traceback" not in done.stderr
