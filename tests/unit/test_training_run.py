"""Training, exporting and evaluating for real, on a few synthetic faces: one epoch takes a moment."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamfer.errors import StreamferError, UsageError
from streamfer.training import data, evaluate, export, recipe
from streamfer.training.__main__ import main
from streamfer.training.run import RunFolder
from streamfer.types import LABELS

TINY = """
name: tiny
epochs: {epochs}
warmup_epochs: 0
batch_size: 14
learning_rate: 0.01
ferplus: 0.2
ema: 0.95
model: {{widths: [4, 8], convolutions: 1, dropout: 0.1}}
"""


@pytest.fixture(scope="module")
def keras() -> Any:
    pytest.importorskip("tensorflow", reason="needs streamfer[train]")
    return pytest.importorskip("keras", reason="needs streamfer[train]")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """98 images: a bright bar whose height tells the label; the first PrivateTest row repeats row 0."""
    random = np.random.default_rng(3)
    labels = np.tile(np.arange(7, dtype=np.uint8), 14)
    images = random.integers(0, 60, (98, 48, 48), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label * 6 : label * 6 + 6] += 150
    usage = np.repeat(np.array([0, 1, 2], np.uint8), [56, 21, 21])
    images[77] = images[0]
    votes = np.zeros((98, 10), np.uint8)
    votes[np.arange(98), [data.FERPLUS_TO_LABEL.index(label) for label in labels]] = 10
    path = tmp_path_factory.mktemp("data") / "faces.npz"
    np.savez(path, images=images, labels=labels, usage=usage, ferplus_votes=votes)
    return path


@pytest.fixture(scope="module")
def run(keras: Any, faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of six epochs, trained without a break."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.yaml").write_text(TINY.format(epochs=6))
    assert main(["train", str(folder / "tiny.yaml"), "--data", str(faces), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def exported(run: Path, faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported")
    (out / "README.md").write_text("# Tiny\n<!-- figures -->\nold\n<!-- /figures -->\nThe end.\n")
    assert main(["export", str(run), "--data", str(faces), "--out", str(out)]) == 0
    return out


def test_the_run_learns_and_keeps_a_history(run: Path) -> None:
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


def test_the_saved_model_is_float32_and_has_no_augmentation(keras: Any, run: Path) -> None:
    model = keras.models.load_model(run / "model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert not [layer.name for layer in model.layers if "augment" in layer.name]


def test_the_card_tells_the_exported_file(exported: Path) -> None:
    card = json.loads((exported / "card.json").read_text())
    model = (exported / "tiny.tflite").read_bytes()
    assert evaluate.verified_model(exported / "card.json") == model
    assert card["size_bytes"] == len(model)
    assert card["labels"] == list(LABELS)
    assert card["input"] == {"height": 48, "width": 48, "channels": 1, "dtype": "float32", "range": [0, 255]}
    # Two 3×3 convolutions, 1→4 at 48×48 and 4→8 at 24×24, then a dense layer 8→7.
    assert card["macs"] == 48 * 48 * 9 * 4 + 24 * 24 * 9 * 4 * 8 + 8 * 7
    assert card["parameters"] == 9 * 4 + 4 * 4 + 9 * 4 * 8 + 4 * 8 + 8 * 7 + 7
    assert {name: m["n"] for name, m in card["metrics"].items()} == {
        "PublicTest": 21,
        "PrivateTest": 21,
        "PrivateTest_without_train_duplicates": 20,
    }


def test_the_readme_quotes_the_card(exported: Path) -> None:
    card, readme = json.loads((exported / "card.json").read_text()), (exported / "README.md").read_text()
    assert "old" not in readme and readme.endswith("The end.\n")
    assert f"{card['metrics']['PrivateTest']['accuracy']:.2%}" in readme
    assert export.with_figures(readme, card) == readme


def test_the_exported_graph_is_the_calibrated_network(
    keras: Any, run: Path, exported: Path, faces: Path
) -> None:
    card = json.loads((exported / "card.json").read_text())
    images = data.load(faces).inputs(np.arange(98))
    found = evaluate.interpreter((exported / "tiny.tflite").read_bytes())(images)
    logits = keras.models.load_model(run / "model.keras").predict(images, verbose=0)
    assert found.shape == (98, 7) and found.dtype == np.float32
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.abs(found - export.softmax(logits / card["temperature"])).max() < 0.05


def test_the_exported_graph_has_nothing_random(exported: Path, faces: Path) -> None:
    predict = evaluate.interpreter((exported / "tiny.tflite").read_bytes())
    images = data.load(faces).inputs(np.arange(8))
    assert np.array_equal(predict(images), predict(images))


def test_evaluate_prints_what_the_card_says(
    exported: Path, faces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(exported / "card.json"), "--data", str(faces)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((exported / "card.json").read_text())["metrics"]


def test_a_changed_model_file_is_refused(exported: Path, faces: Path, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_bytes((exported / "card.json").read_bytes())
    model = bytearray((exported / "tiny.tflite").read_bytes())
    model[-1] ^= 1
    (tmp_path / "tiny.tflite").write_bytes(model)
    with pytest.raises(UsageError, match="sha256"):
        evaluate.evaluate(tmp_path / "card.json", data.load(faces))


def test_a_killed_run_goes_on_as_if_it_had_not_been(
    keras: Any, run: Path, faces: Path, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY.format(epochs=6))
    out = tmp_path / "run"
    checkpoint, history = out / "checkpoint.npz", out / "history.csv"
    command = ["train", str(tmp_path / "tiny.yaml"), "--data", str(faces), "--out", str(out)]
    with subprocess.Popen(
        [sys.executable, "-m", "streamfer.training", *command], stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 60
        while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert checkpoint.exists() and not (out / "model.keras").exists(), "the kill came too early or too late"

    assert main(command) == 0
    with history.open(newline="") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [1, 2, 3, 4, 5, 6]
    resumed, unbroken = (keras.models.load_model(folder / "model.keras") for folder in (out, run))
    for one, other in zip(resumed.get_weights(), unbroken.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_an_epoch_that_is_run_again_replaces_its_row(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for epoch, loss in ((1, 3.0), (2, 2.5), (2, 2.0)):
        folder.record({"epoch": epoch, "loss": loss})
    assert (tmp_path / "history.csv").read_text().split() == ["epoch,loss", "1,3.0", "2,2.0"]


def test_a_run_can_be_replanned_and_the_card_says_so(keras: Any, faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for epochs in (1, 3, 2):
        (tmp_path / "tiny.yaml").write_text(TINY.format(epochs=epochs))
        command = ["train", str(tmp_path / "tiny.yaml"), "--data", str(faces), "--out", str(out)]
        assert main(command) == (2 if epochs == 2 else 0)
    assert main(["export", str(out), "--data", str(faces), "--out", str(tmp_path)]) == 0
    trained = json.loads((tmp_path / "card.json").read_text())["trained"]
    assert trained["epochs"] == 3
    assert trained["replanned"] == [{"epochs": 1, "until": 1}]


def test_a_folder_with_another_run_is_refused(
    run: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.yaml").write_text(TINY.format(epochs=6) + "seed: 2\n")
    assert main(["train", str(tmp_path / "other.yaml"), "--data", str(faces), "--out", str(run)]) == 2
    error = capsys.readouterr().err
    assert "another recipe or other data" in error and error.count("\n") == 1


def test_export_refuses_an_unfinished_run_and_other_data(
    run: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(tmp_path), "--data", str(faces), "--out", str(tmp_path)]) == 2
    assert "no finished run here" in capsys.readouterr().err
    with np.load(faces) as file:
        np.savez(tmp_path / "other.npz", **{**file, "labels": file["labels"][::-1]})
    assert main(["export", str(run), "--data", str(tmp_path / "other.npz"), "--out", str(tmp_path)]) == 2
    assert "not the file that" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "absent.yaml", "--data", "absent.npz", "--out", "out"],
        ["export", "absent", "--data", "absent.npz", "--out", "out"],
        ["evaluate", "absent.json", "--data", "absent.npz"],
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: absent") and error.count("\n") == 1


def test_targets_mix_label_votes_and_smoothing(keras: Any, faces: Path) -> None:
    from streamfer.training.train import targets

    dataset, rows = data.load(faces), np.array([3])
    assert dataset.votes is not None
    dataset.votes[3] = [6, 2, 0, 0, 0, 0, 0, 0, 2, 0]  # neutral 6, happiness 2, and 2 that count for nothing
    found = targets(dataset, rows, recipe.Recipe(ferplus=0.5, label_smoothing=0.07))
    happy, neutral = LABELS.index("happy"), LABELS.index("neutral")
    wanted = np.full(7, 0.01)
    wanted[happy] += 0.93 * (0.5 + 0.5 * 0.25)
    wanted[neutral] += 0.93 * 0.5 * 0.75
    np.testing.assert_allclose(found[0], wanted, atol=1e-6)


def test_each_ferplus_column_counts_for_its_label(keras: Any, faces: Path) -> None:
    from streamfer.training.train import targets

    dataset = data.load(faces)
    assert dataset.votes is not None
    dataset.votes[:7] = np.eye(7, 10)  # neutral, happiness, surprise, sadness, anger, disgust, fear
    found = targets(dataset, np.arange(7), recipe.Recipe(ferplus=1, label_smoothing=0)).argmax(axis=1)
    wanted = ["neutral", "happy", "surprise", "sad", "angry", "disgust", "fear"]
    assert [LABELS[label] for label in found] == wanted


def test_augmentation_changes_training_images_only(keras: Any) -> None:
    from streamfer.training.augment import Augment

    images = np.random.default_rng(0).uniform(0, 255, (16, 48, 48, 1)).astype(np.float32)
    layer = Augment(recipe.AugmentOptions(), seed=1)
    assert np.array_equal(layer(images, training=False), images)
    changed = np.asarray(layer(images, training=True))
    assert changed.shape == images.shape and changed.min() >= 0 and changed.max() <= 255
    assert all(np.abs(one - other).mean() > 1 for one, other in zip(changed, images, strict=True))


def test_each_augmentation_can_stand_alone(keras: Any) -> None:
    from streamfer.training.augment import Augment

    images = np.random.default_rng(0).uniform(100, 140, (64, 48, 48, 1)).astype(np.float32)
    off = {"flip": False, "rotation": 0, "shift": 0, "zoom": 0, "brightness": 0, "contrast": 0, "erase": 0}

    def changed(**options: float) -> np.ndarray:
        layer = Augment(recipe.AugmentOptions(**(off | options)), seed=1)
        return np.asarray(layer(images, training=True))

    np.testing.assert_allclose(changed(), images, atol=1e-3)
    flips = [
        np.allclose(one, image[:, ::-1], atol=1e-3)
        for one, image in zip(changed(flip=True), images, strict=True)
    ]
    assert 16 < sum(flips) < 48
    brighter = (changed(brightness=25) - images).reshape(64, -1)
    assert brighter.std(axis=1).max() < 1e-2 and 5 < np.abs(brighter.mean(axis=1)).max() < 25
    gone = changed(erase=1) == 127.5
    assert ((gone.mean(axis=(1, 2, 3)) > 0) & (gone.mean(axis=(1, 2, 3)) < 0.2)).all()
    shifted = changed(shift=0.25)
    assert np.abs(shifted - images).max() > 1


@pytest.mark.parametrize(("wrong", "kind"), [(4, "int8"), (6, "float32")])
def test_int8_is_shipped_unless_it_costs_too_much(
    monkeypatch: pytest.MonkeyPatch, wrong: int, kind: str
) -> None:
    """Of 1000 images, five wrong are 0.5 points."""
    right = np.eye(7, dtype=np.float32)[np.zeros(1000, int)]
    worse = right.copy()
    worse[:wrong] = np.eye(7)[1]
    monkeypatch.setattr(
        export, "interpreter", lambda model: lambda images: {b"float": right, b"int8": worse}[model]
    )
    images, labels = np.zeros((1000, 48, 48, 1), np.float32), np.zeros(1000, np.uint8)
    chosen, weights = export._choose(b"float", b"int8", images, right, labels)
    assert weights["type"] == kind
    assert chosen == {"int8": b"int8", "float32": b"float"}[kind]
    with pytest.raises(StreamferError, match="nothing exported"):
        export._choose(b"int8", b"float", images, right, labels)


def test_metrics_by_hand() -> None:
    probabilities = np.zeros((4, 7), np.float32)
    probabilities[[0, 1, 2, 3], [0, 0, 1, 1]] = [0.9, 0.9, 0.6, 0.6]
    probabilities[:, 6] = 1 - probabilities.sum(axis=1)
    found = evaluate.metrics(probabilities, np.array([0, 0, 1, 2], np.uint8))
    # F1: label 0 is 1, label 1 is 2·1/(2+1), label 2 is 0; calibration: |1 - 0.9| and |0.5 - 0.6|, half each.
    assert found == {"n": 4, "accuracy": 0.75, "macro_f1": round(5 / 9, 4), "ece": 0.1}


def test_an_empty_split_cannot_be_measured(exported: Path, faces: Path, tmp_path: Path) -> None:
    with np.load(faces) as file:
        np.savez(tmp_path / "part.npz", **{**file, "usage": np.minimum(file["usage"], 1)})
    with pytest.raises(UsageError, match="no rows in PrivateTest"):
        evaluate.evaluate(exported / "card.json", data.load(tmp_path / "part.npz"))


def test_a_network_that_cannot_be_built_is_one_line(
    keras: Any, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep.yaml").write_text("model: {widths: [4, 4, 4, 4, 4, 4, 4]}\n")
    (tmp_path / "lost.yaml").write_text("architecture: streamfer.nowhere:build\n")
    for name, complaint in (("deep", "model: "), ("lost", "architecture streamfer.nowhere:build: ")):
        arguments = [str(tmp_path / f"{name}.yaml"), "--data", str(faces), "--out", str(tmp_path / name)]
        assert main(["train", *arguments]) == 2
        error = capsys.readouterr().err
        assert complaint in error and error.count("\n") == 1


def test_without_keras_the_extra_is_named(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("streamfer.training.train", "streamfer.training.augment"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "keras", None)
    (tmp_path / "tiny.yaml").write_text(TINY.format(epochs=1))
    arguments = [str(tmp_path / "tiny.yaml"), "--data", str(faces), "--out", str(tmp_path / "run")]
    assert main(["train", *arguments]) == 2
    assert capsys.readouterr().err == "error: train needs keras: pip install 'streamfer[train]'\n"


def test_an_out_that_is_a_file_is_one_line(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe_file = str(Path(__file__).parents[2] / "plugins/streamfer_classifiers/cnn/recipe.yaml")
    assert main(["train", recipe_file, "--data", str(faces), "--out", str(faces)]) == 2
    assert capsys.readouterr().err == f"error: --out {faces}: File exists\n"


def test_the_temperature_is_found_again() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (4_000, 7)).astype(np.float32)
    chances = export.softmax(logits)
    labels = (
        (chances.cumsum(axis=1) < random.uniform(size=(4_000, 1))).sum(axis=1).clip(max=6).astype(np.uint8)
    )
    assert export.fit_temperature(logits * 3, labels) == pytest.approx(3, rel=0.05)
