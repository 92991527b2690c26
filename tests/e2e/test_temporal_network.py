"""The network of frames in the docs: trained, exported, served by both runtimes; bad models are one line."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamfer.types import LABELS
from tests.service import ROOT, SAMPLE, lines, streamfer
from tests.training import faces

pytest.importorskip("tensorflow", reason="needs streamfer[train]")

RECIPE = {
    "classifier": "tiny_frames",
    "plugins": ["./frames.py"],
    "epochs": 2,
    "warmup_epochs": 0,
    "learning_rate": 0.01,
    "window": {"frames": 4, "fps": 12.5},
    "synthetic": {"clips": 60, "public_clips": 8, "seconds": 0.6},
    "model": {"filters": 4, "units": 6},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What training and export leave: model/ with Keras files."""
    from streamfer.training import dataset

    folder = tmp_path_factory.mktemp("frames")
    shutil.copy(ROOT / "examples" / "frames.py", folder)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    dataset.save(faces(), folder / "bars.npz")
    done = streamfer("train", "recipe.yaml", "--data", "bars.npz", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    done = streamfer("export", "run", "--data", "bars.npz", "--out", "model", "--keras", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def config(folder: Path, *classifiers: dict[str, Any]) -> Path:
    """With these entries for the network."""
    sections = {
        "version": 1,
        "plugins": ["frames.py"],
        "streams": {"clip": {"path": str(SAMPLE)}},
        "classifiers": [{"name": "tiny_frames", **one} for one in classifiers],
        "sinks": [{"name": "jsonl", "path": "results.jsonl"}],
        "metrics": False,
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(sections))
    return path


def test_both_runtimes_serve_it_side_by_side(folder: Path) -> None:
    card = "model/card.json"
    path = config(
        folder,
        {"as": "litert", "model": card},
        {"as": "tensorflow", "model": card, "runtime": "tensorflow"},
        {"as": "file", "model": "model/tiny_frames.keras", "runtime": "tensorflow", "window": {"frames": 2}},
    )
    done = streamfer("run", path, timeout=240)
    assert done.returncode == 0, done.stderr
    seen: dict[str, list[dict[str, Any]]] = {"litert": [], "tensorflow": [], "file": []}
    for line in lines(folder / "results.jsonl"):
        seen[line["classifier"]] += [face for face in line["faces"] if face["label"] is not None]
    for one, other, short in zip(*seen.values(), strict=True):
        assert one["window"] == other["window"]
        assert (one["window"]["frames"], short["window"]["frames"]) == (4, 2)
        assert one["status"] == other["status"] == ("ok" if one["window"]["filled"] == 4 else "warming")
        assert tuple(one["probabilities"]) == LABELS
        for label in LABELS:
            assert one["probabilities"][label] == pytest.approx(other["probabilities"][label], abs=0.05)
    assert len(seen["litert"]) > 100 and {face["status"] for face in seen["litert"]} == {"ok", "warming"}
    assert any(
        one["probabilities"] != short["probabilities"] for one, _, short in zip(*seen.values(), strict=True)
    )


def test_a_picture_is_a_face_that_holds_still(folder: Path) -> None:
    done = streamfer("predict", ROOT / "tools/portraits/astronaut.png", "--model", folder / "model/card.json")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def model(folder: Path, tmp_path: Path) -> Path:
    """A copy of the model that a test may damage, with the plugin above it."""
    shutil.copy(folder / "frames.py", tmp_path)
    shutil.copytree(folder / "model", tmp_path / "model")
    return tmp_path / "model"


def change(model: Path, **changes: Any) -> None:
    card = model / "card.json"
    kept = {**json.loads(card.read_text("utf-8")), **changes}
    card.write_text(json.dumps({key: value for key, value in kept.items() if value is not None}), "utf-8")


def entry(file: Path) -> dict[str, str]:
    return {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def damaged(model: Path) -> None:
    """One bit of the head."""
    file = model / "tiny_frames-head.tflite"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def longer(model: Path) -> None:
    """The card speaks of another window than the head reads."""
    window = json.loads((model / "card.json").read_text("utf-8"))["window"]
    change(model, window={**window, "frames": 6})


def swapped(model: Path) -> None:
    """The encoder stands in the place of the head."""
    change(model, head=entry(model / "tiny_frames.tflite"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (damaged, "model/tiny_frames-head.tflite: the model is corrupted (sha256 "),
        (
            longer,
            "model/tiny_frames-head.tflite: the model does not fit its card: 4×16 in and 7 out, but the card "
            "says 6×16 (frames × features) in and 7 labels; export the model again",
        ),
        (
            swapped,
            "model/tiny_frames.tflite: the model does not fit its card: 24×24×1 in and 16 out, but the card "
            "says 4×16 (frames × features) in and 7 labels; export the model again",
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_head_that_cannot_be_served_stops_the_start(model: Path, spoil: Any, said: str) -> None:
    spoil(model)
    done = streamfer("run", config(model.parent, {"model": "model/card.json"}))
    assert done.returncode == 3, done.stderr
    (line,) = (one for one in done.stderr.splitlines() if "tiny_frames" in one)
    assert said in line
    assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 2


def test_tensorflow_needs_the_keras_files(model: Path) -> None:
    path = config(model.parent, {"model": "model/card.json", "runtime": "tensorflow"})
    change(model, keras=None, keras_head=None)
    done = streamfer("run", path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.endswith(
        "it names no .keras file; name a card that 'streamfer export --keras' has written, or use 'runtime: "
        "litert'\n"
    )
