"""Exporting for real: the LiteRT model answers as the Keras model does, its card says what it is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training import recipe
from streamfer.training.dataset import Dataset
from streamfer.types import LABELS
from tests.training import SIDE, Silent, faces, write_recipe

keras = pytest.importorskip("keras", reason="needs streamfer[train]")
pytest.importorskip("tensorflow", reason="needs streamfer[train]")

from streamfer.training import export as exporting  # noqa: E402 - it needs Keras
from streamfer.training import litert  # noqa: E402
from streamfer.training.readme import with_figures  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return faces()


@pytest.fixture(scope="module")
def run(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from streamfer.training.train import train

    folder = tmp_path_factory.mktemp("run")
    train(
        recipe.load(write_recipe(folder, flip_average=True, model={"filters": 8})),
        data,
        folder / "run",
        Silent(),
    )
    return folder / "run"


@pytest.fixture(scope="module")
def exported(run: Path, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported")
    (out / "README.md").write_text("# Tiny\n<!-- figures -->\nold\n<!-- /figures -->\nThe end.\n")
    exporting.export(run, data, out, keras_file=True, private_test=True)
    return out


def card_in(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "card.json").read_text("utf-8"))
    return content


def predict(folder: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    return litert.interpreter((folder / "tiny.tflite").read_bytes())(images)


def test_a_network_that_litert_does_not_take_is_one_line() -> None:
    windows = keras.Input((5, 4))
    rolled = keras.Model(windows, keras.layers.LSTM(3)(windows), name="rolled")
    with pytest.raises(UsageError, match=r"^LiteRT does not take the network 'rolled' \(recurrent [^\n]+$"):
        litert.convert(rolled, "float32")


def test_the_card_tells_the_files(exported: Path) -> None:
    card = card_in(exported)
    for entry, name in ((card, "tiny.tflite"), (card["keras"], "tiny.keras")):
        assert entry["file"] == name
        assert entry["sha256"] == hashlib.sha256((exported / name).read_bytes()).hexdigest()
    assert card["size_bytes"] == (exported / "tiny.tflite").stat().st_size
    assert card["labels"] == list(LABELS)
    assert card["input"] == {"height": 24, "width": 24, "channels": 1, "dtype": "float32", "range": [0, 255]}
    # One 3×3 convolution, 1→8 at 24×24, then a dense layer 6·6·8→7; twice, for the mirror image.
    assert card["macs"] == 2 * (SIDE * SIDE * 9 * 8 + 288 * 7) and card["flip_average"]
    assert card["parameters"] == 9 * 8 + 4 * 8 + 288 * 7 + 7
    assert [row["epoch"] for row in card["history"]] == [1, 2, 3, 4, 5, 6]
    assert {path.name for path in exported.iterdir()} == {
        "tiny.tflite",
        "tiny.keras",
        "card.json",
        "README.md",
    }


def test_the_card_has_each_figure_with_its_interval(exported: Path) -> None:
    figures = card_in(exported)["metrics"]
    assert {name: m["n"] for name, m in figures.items()} == {"PublicTest": 20, "PrivateTest": 40}
    assert figures["PrivateTest"]["n_without_duplicates"] == 39
    for name in ("accuracy", "accuracy_without_duplicates", "macro_f1", "auc", "ece"):
        one = figures["PrivateTest"][name]
        assert 0 <= one["low"] <= one["value"] <= one["high"] <= 1, name


def test_private_test_is_measured_only_when_asked_for(run: Path, data: Dataset, tmp_path: Path) -> None:
    assert exporting.export(run, data, tmp_path)["metrics"].keys() == {"PublicTest"}
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.tflite", "card.json"}, "and no Keras file"


def test_private_test_has_no_say_in_the_model(data: Dataset, tmp_path: Path) -> None:
    """Other faces and labels in PrivateTest: the same answers, temperature included."""
    from streamfer.training.train import train

    images, labels, private = data.images.copy(), data.labels.copy(), data.split == 2
    images[private], labels[private] = 255 - images[private], (labels[private] + 3) % 7
    plan = recipe.load(write_recipe(tmp_path, epochs=1))
    for name, one in (("as it is", data), ("altered", replace(data, images=images, labels=labels))):
        train(plan, one, tmp_path / name / "run", Silent())
        exporting.export(tmp_path / name / "run", one, tmp_path / name / "out")
    one, other = (tmp_path / name / "out" for name in ("as it is", "altered"))
    images = data.inputs(np.arange(len(data)))
    assert np.array_equal(predict(one, images), predict(other, images))
    assert card_in(one)["temperature"] == card_in(other)["temperature"] != 1.0


def test_the_readme_quotes_the_card(exported: Path) -> None:
    card, readme = card_in(exported), (exported / "README.md").read_text()
    assert "old" not in readme and readme.endswith("The end.\n")
    assert f"{card['metrics']['PrivateTest']['accuracy']['value']:.2%}" in readme
    assert with_figures(readme, card) == readme


def test_litert_answers_as_keras_does_in_float_and_nearly_in_int8(
    run: Path, exported: Path, data: Dataset, tmp_path: Path
) -> None:
    """Temperature, softmax and the mean over the mirror image are inside."""
    card = exporting.export(run, data, tmp_path, weights="float32")
    images = data.inputs(np.arange(len(data)))
    network = keras.models.load_model(run / "model.keras")
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    logits = (network.predict(images, verbose=0) + network.predict(mirrored, verbose=0)) / 2
    wanted = litert.probabilities(logits, litert.Calibration(card["temperature"], card["floor"]))
    found = predict(tmp_path, images)
    assert found.shape == (140, 7) and found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.abs(predict(exported, images) - wanted).max() < 0.1
    served = keras.models.load_model(exported / "tiny.keras", safe_mode=True)
    np.testing.assert_allclose(served.predict(images, verbose=0), wanted, atol=1e-4)
    assert (tmp_path / "tiny.tflite").stat().st_size > (exported / "tiny.tflite").stat().st_size


def test_float16_weights_are_half_as_large_and_answer_nearly_the_same(
    run: Path, data: Dataset, tmp_path: Path
) -> None:
    sizes, answers = {}, {}
    for weights in ("float32", "float16"):
        card = exporting.export(run, data, tmp_path / weights, weights=weights)  # type: ignore[arg-type]
        assert card["weights"]["type"] == weights
        sizes[weights] = card["size_bytes"]
        answers[weights] = predict(tmp_path / weights, data.inputs(np.arange(len(data))))
    assert sizes["float16"] < 0.85 * sizes["float32"], "most of this file is not weights"
    np.testing.assert_allclose(answers["float16"], answers["float32"], atol=5e-3)
    assert not np.array_equal(answers["float16"], answers["float32"])


def test_the_mirror_image_gets_the_same_answer(exported: Path, data: Dataset) -> None:
    images = data.inputs(np.arange(21))
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    np.testing.assert_allclose(predict(exported, images), predict(exported, mirrored), atol=1e-5)


def test_the_exported_graph_has_nothing_random(exported: Path, data: Dataset) -> None:
    images = data.inputs(np.arange(8))
    assert np.array_equal(predict(exported, images), predict(exported, images))


def test_the_temperature_is_found_again() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (4_000, 7)).astype(np.float32)
    chances = litert.softmax(logits)
    labels = (
        (chances.cumsum(axis=1) < random.uniform(size=(4_000, 1))).sum(axis=1).clip(max=6).astype(np.uint8)
    )
    assert litert.fit_temperature(logits * 3, labels) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize(("smoothing", "floor"), [(0.1, 0.008), (0.1, 0.0), (0.0, 0.0)])
def test_a_floor_is_found_where_there_is_one(smoothing: float, floor: float) -> None:
    """Labels drawn from probabilities that were then raised by the floor, as label smoothing does."""
    random = np.random.default_rng(1)
    chances = litert.softmax(random.normal(0, 3, (8_000, 7)))
    labels = (chances.cumsum(axis=1) < random.uniform(size=(8_000, 1))).sum(axis=1).clip(max=6)
    logits = np.log(chances * (1 - 7 * floor) + floor)
    found = litert.fit_calibration(logits, labels.astype(np.uint8), smoothing)
    assert found.floor == pytest.approx(floor, abs=0.003)
    assert found.temperature == pytest.approx(1, abs=0.08)
    calibrated = litert.probabilities(logits, found)
    np.testing.assert_allclose(calibrated.sum(axis=1), 1, atol=1e-5)
    assert (calibrated.argmax(axis=1) == logits.argmax(axis=1)).all(), "it changes no answer"
    np.testing.assert_allclose(calibrated, chances, atol=0.05)


def test_a_model_that_loses_half_a_point_is_refused(data: Dataset) -> None:
    """Real models: the converted network itself, against what a better one would have answered."""
    faces_in = keras.Input((1, 7, 1))
    model = keras.Model(faces_in, keras.ops.softmax(keras.ops.reshape(faces_in, (-1, 7))))
    kinds: tuple[litert.Weights, ...] = ("float32", "int8")
    content = {kind: litert.convert(model, kind) for kind in kinds}
    labels = (np.arange(1000) % 7).astype(np.uint8)
    images = 50 * np.eye(7, dtype=np.float32)[labels].reshape(1000, 1, 7, 1)
    wanted = litert.interpreter(content["float32"])(images)
    wrong = images.copy()
    wrong[:6] = wrong[:6, :, ::-1]  # six of a thousand answers are other ones
    assert exporting.compare(wanted, content, images, labels, "int8")["PublicTest_accuracy"]["int8"] == 1.0
    with pytest.raises(UsageError, match=r"differ by \d.* nothing is exported"):
        exporting.compare(wanted, content, wrong, labels, "int8")
    # With a tolerance for single answers, the accuracy is what is refused: 5 of 1000 pass, 6 do not.
    assert exporting.MAY_COST == 0.005


def test_a_refused_export_writes_nothing(
    run: Path, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is set where this model fails it: a loss above -1 is any loss."""
    monkeypatch.setattr(exporting, "MAY_COST", -1.0)
    with pytest.raises(
        UsageError, match=r"with int8 weights the model loses .* points of accuracy on PublicTest"
    ):
        exporting.export(run, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unfinished_run_and_other_data_are_refused(run: Path, data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no finished run here"):
        exporting.export(tmp_path, data, tmp_path / "out")
    other = replace(data, name="altered", labels=data.labels[::-1].copy())
    with pytest.raises(UsageError, match=r"altered .* is not the data that .* was trained on: bars"):
        exporting.export(run, other, tmp_path / "out")


def test_weights_that_do_not_fit_the_labels_are_refused(run: Path, data: Dataset, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    keras.Sequential([keras.Input((SIDE, SIDE, 1)), keras.layers.Flatten(), keras.layers.Dense(4)]).save(
        tmp_path / "run/model.keras"
    )
    with pytest.raises(UsageError, match=r"takes \(24, 24, 1\) and answers 4 labels; the run says .* and 7"):
        exporting.export(tmp_path / "run", data, tmp_path / "out")
    (tmp_path / "run/model.keras").write_bytes(b"no weights")
    with pytest.raises(UsageError, match="cannot be read as a Keras model") as caught:
        exporting.export(tmp_path / "run", data, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_an_out_that_is_a_file_is_one_line(run: Path, data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: cannot be written: File exists; name another --out"):
        exporting.export(run, data, tmp_path / "file")


def test_a_network_trained_with_jax_is_exported_with_tensorflow(
    run: Path, data: Dataset, tmp_path: Path
) -> None:
    """The same recipe, on another backend and without TensorFlow."""
    pytest.importorskip("jax", reason="needs jax")
    from streamfer.training import dataset

    dataset.save(data, tmp_path / "bars.npz")
    script = (
        "import sys; from pathlib import Path\n"
        "sys.modules['tensorflow'] = None  # as if it were not installed\n"
        "import keras, numpy as np\n"
        "from streamfer.training import dataset, recipe, train\n"
        "from tests.training import Silent\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "data = dataset.load(folder / 'bars.npz')\n"
        "train.train(recipe.load(folder / 'tiny.yaml'), data, folder / 'run', Silent())\n"
        "assert keras.backend.backend() == 'jax'\n"
        "model = keras.models.load_model(folder / 'run/model.keras')\n"
        "np.save(folder / 'logits.npy', model.predict(data.inputs(np.arange(140)), verbose=0))\n"
    )
    write_recipe(tmp_path)
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", script], check=True, timeout=240, env=environment)
    card = exporting.export(tmp_path / "run", data, tmp_path / "out", weights="float32")
    assert card["trained"]["backend"] == "jax" and "jax" in card["trained"]
    logits = np.load(tmp_path / "logits.npy")
    loaded = keras.models.load_model(tmp_path / "run/model.keras")
    images = data.inputs(np.arange(140))
    np.testing.assert_allclose(loaded.predict(images, verbose=0), logits, atol=1e-4)
    np.testing.assert_allclose(
        predict(tmp_path / "out", images), litert.softmax(logits / card["temperature"]), atol=1e-3
    )
    on_tensorflow = json.loads((run / "run.json").read_text())["history"]
    assert card["history"][-1]["loss"] == pytest.approx(on_tensorflow[-1]["loss"], abs=0.4)
