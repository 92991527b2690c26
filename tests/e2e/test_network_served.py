"""Networks of other labels and sizes in the real service: both runtimes side by side, on the same faces."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest

from streamfer.types import LABELS, CropSpec
from tests.networks import FOUR, store
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

CLASSIFIERS: list[dict[str, Any]] = [
    {"name": "cnn"},
    {"name": "cnn", "as": "four", "model": "gray/card.json"},
    {"name": "cnn", "as": "four-tf", "model": "gray/small.keras", "runtime": "tensorflow"},
    {"name": "cnn", "as": "colour", "model": "colour/card.json"},
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    store(folder / "gray", CropSpec(24, 24, 1))
    store(folder / "colour", CropSpec(32, 24, 3))
    return folder


def config(folder: Path, clip: Path, classifiers: list[dict[str, Any]]) -> Path:
    path = folder / "config.yaml"
    sinks = [{"name": "jsonl", "path": "out/results.jsonl"}, {"name": "sqlite", "path": "out/results.db"}]
    path.write_text(
        json.dumps(
            {
                "version": 1,
                "streams": {"lobby": {"path": str(clip)}},
                "classifiers": classifiers,
                "sinks": [*sinks, {"name": "video", "path": "out/annotated.mp4"}],
                "metrics": False,
            }
        )
    )
    return path


def has_tensorflow(worker: psutil.Process) -> bool:
    return any("/tensorflow/" in one.path for one in worker.memory_maps())


def test_four_networks_on_one_clip(models: Path, tmp_path: Path) -> None:
    clip = repeated(SAMPLE, 2, tmp_path / "clip.mp4")
    out = models / "out"
    with Run("run", config(models, clip, CLASSIFIERS), cwd=tmp_path) as run:
        wait_until(lambda: len(lines(out / "results.jsonl")) > 20, "results", timeout=120)
        workers = {one["as"]: run.worker(f"classify {one['as']}[0]") for one in CLASSIFIERS[1:]}
        loaded = {name: has_tensorflow(worker) for name, worker in workers.items()}
        status, said = run.finish()
    assert status == 0, said
    assert "Traceback" not in said
    assert loaded == {"four": False, "four-tf": True, "colour": False}
    assert_complete(out, frame_count(clip))
    assert (out / "annotated.mp4").stat().st_size > 0

    faces: dict[str, list[dict[str, Any]]] = {}
    for line in lines(out / "results.jsonl"):
        faces.setdefault(line["classifier"], []).extend(line["faces"])
    labelled = {name: [one for one in found if one["status"] == "ok"] for name, found in faces.items()}
    assert len({len(found) for found in labelled.values()}) == 1, "the classifiers saw other faces"
    for name, found in labelled.items():
        expected = LABELS if name == "cnn" else FOUR
        assert {tuple(one["probabilities"]) for one in found} == {expected}
        assert all(abs(sum(one["probabilities"].values()) - 1) < 1e-3 for one in found)
    for one, other in zip(labelled["four"], labelled["four-tf"], strict=True):
        assert (one["track"], one["box"]) == (other["track"], other["box"])
        for label in FOUR:
            assert one["probabilities"][label] == pytest.approx(other["probabilities"][label], abs=1e-3)
    in_database = {label for (label,) in rows(out / "results.db", "SELECT label FROM who_showed_what_when")}
    assert in_database & set(FOUR)


@pytest.mark.parametrize("runtime", ["litert", "tensorflow"])
def test_a_model_that_does_not_fit_its_card_stops_the_start(
    models: Path, tmp_path: Path, runtime: str
) -> None:
    shutil.copytree(models / "gray", tmp_path / "wrong")
    card = tmp_path / "wrong" / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "labels": ["a", "b"]}))
    path = config(tmp_path, SAMPLE, [{"name": "cnn", "model": "wrong/card.json", "runtime": runtime}])
    assert streamfer("check", path).returncode == 0
    done = streamfer("run", path)
    assert done.returncode == 3, done.stderr
    assert "the model does not fit its card: 24×24×1 in and 4 out, but the card says" in done.stderr
    assert "Traceback" not in done.stderr
