"""Every architecture, small and briefly trained: recipe, training, export, equal answers, a real pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamfer.types import LABELS
from tests.service import SAMPLE, streamfer
from tests.training import RECIPE, Silent, faces

pytest.importorskip("tensorflow", reason="needs streamfer[train]")

SMALL: dict[str, dict[str, Any]] = {
    "cnn": {"widths": [4, 8]},
    "cnn_lstm": {"rows": 6, "stride": 3, "widths": [4, 8], "convolutions": 1, "units": 8},
    "cnn_bilstm": {"widths": [4, 8], "convolutions": 1, "units": 8},
    "stacked_cnn": {"filters": [4, 8, 8, 4, 8, 16], "dense": 8, "block_dropout": 0},
    "mobilenet_v2": {"side": 32, "alpha": 0.1, "momentum": 0.3},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with NAME/card.json for each architecture, and NAME-run, the run that it is from."""
    import yaml

    from streamfer.training import recipe
    from streamfer.training.export import export
    from streamfer.training.train import train

    folder, data = tmp_path_factory.mktemp("architectures"), faces()
    for name, options in SMALL.items():
        content = {**RECIPE, "classifier": name, "plugins": [], "epochs": 4, "ema": 0, "model": options}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), "utf-8")
        train(recipe.load(folder / f"{name}.yaml"), data, folder / f"{name}-run", Silent())
        export(folder / f"{name}-run", data, folder / name, weights="float32", keras_file=True)
    return folder


@pytest.mark.parametrize("name", SMALL)
def test_what_is_exported_answers_as_what_was_trained(folder: Path, name: str) -> None:
    """Whatever runs it, and however many faces there are at a time."""
    import keras

    from streamfer.api import ServedModel
    from streamfer.inference.network import NetworkClassifier
    from streamfer.training.litert import Calibration, probabilities

    card = json.loads((folder / name / "card.json").read_text("utf-8"))
    crops = faces(rows=14).images
    trained = keras.models.load_model(folder / f"{name}-run/model.keras", compile=False)
    logits = np.concatenate([trained(one[None].astype(np.float32), training=False) for one in crops])
    wanted = probabilities(logits, Calibration(card["temperature"], card["floor"]))
    assert wanted.std(axis=0).max() > 1e-3, "it answers the same whatever it sees"
    for runtime, file in (("litert", "card.json"), ("tensorflow", f"{name}.keras")):
        served = NetworkClassifier(ServedModel(model=str(folder / name / file), runtime=runtime))
        np.testing.assert_allclose(served.predict(crops), wanted, atol=5e-4)


@pytest.mark.parametrize("name", SMALL)
def test_the_card_counts_parameters_and_operations(folder: Path, name: str) -> None:
    import keras

    card = json.loads((folder / name / "card.json").read_text("utf-8"))
    trained = keras.models.load_model(folder / f"{name}-run/model.keras", compile=False)
    assert card["parameters"] == trained.count_params()
    assert card["macs"] > card["parameters"] / 2, "a weight is used at least once, biases and statistics not"


def test_they_are_served_side_by_side(folder: Path) -> None:
    config = folder / "config.yaml"
    entries = [{"name": name, "model": f"{name}/card.json"} for name in SMALL]
    config.write_text(
        json.dumps(
            {
                "version": 1,
                "streams": {"clip": {"path": str(SAMPLE)}},
                "classifiers": entries,
                "sinks": [{"name": "jsonl", "path": "results.jsonl"}],
                "metrics": {"listen": "127.0.0.1:0"},
            }
        ),
        "utf-8",
    )
    done = streamfer("run", config, cwd=folder, timeout=240)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for line in (folder / "results.jsonl").read_text("utf-8").splitlines():
        result = json.loads(line)
        found.setdefault(result["classifier"], []).extend(result["faces"])
    assert set(found) == set(SMALL)
    boxes = {name: [(face["track"], face["box"]) for face in shown] for name, shown in found.items()}
    assert all(one == boxes["cnn"] for one in boxes.values()), "the classifiers saw other faces"
    answers = {name: [face["probabilities"] for face in shown] for name, shown in found.items()}
    for shown in answers.values():
        labelled = [one for one in shown if one is not None]
        assert labelled
        assert all(set(one) == set(LABELS) and abs(sum(one.values()) - 1) < 2e-3 for one in labelled)
    assert len({json.dumps(shown) for shown in answers.values()}) == len(SMALL), "two gave the same answers"
