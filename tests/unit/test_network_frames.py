"""A network of frames is served by encoder and head, which must fit each other and their card."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pytest
from keras import layers

from streamfer.api import Parts, ServedModel
from streamfer.errors import StartError
from streamfer.inference.card import read_card
from streamfer.inference.network import NetworkClassifier
from streamfer.testing import check_temporal_classifier
from streamfer.testing.classifiers import example_crops
from streamfer.testing.temporal import example_windows
from streamfer.testing.untrained import store_untrained
from streamfer.types import CropSpec
from tests.networks import FOUR

Runtime = Literal["litert", "tensorflow"]
RUNTIMES: tuple[Runtime, ...] = ("litert", "tensorflow")
CROP = CropSpec(24, 24, 1)


def store(folder: Path, *, frames: int = 3, features: int = 5) -> Path:
    """The card of an encoder and a head with random weights (always the same ones)."""
    keras.utils.set_random_seed(4)
    faces = keras.Input(CROP, dtype="float32")
    x = layers.Conv2D(features, 5, strides=3)(layers.Rescaling(1 / 64, offset=-2)(faces))
    encoder = keras.Model(faces, layers.GlobalMaxPooling2D()(x))
    windows = keras.Input((frames, features), dtype="float32")
    head = keras.Model(windows, layers.Dense(4)(layers.LSTM(6, unroll=True)(windows)))
    folder.mkdir(parents=True, exist_ok=True)
    return store_untrained(Parts(encoder, head), FOUR, folder, "pair")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of more features and more frames."""
    return store(tmp_path_factory.mktemp("other"), frames=4, features=7)


@pytest.fixture
def copy(pair: Path, tmp_path: Path) -> Path:
    """The card of a model that a test may damage."""
    shutil.copytree(pair.parent, tmp_path / "copy")
    return tmp_path / "copy" / "card.json"


def classifier(card: Path, runtime: Runtime) -> NetworkClassifier:
    return NetworkClassifier(ServedModel(model=str(card), runtime=runtime))


def change(card: Path, **changes: Any) -> None:
    card.write_text(json.dumps({**json.loads(card.read_text("utf-8")), **changes}), "utf-8")


def take(card: Path, file: Path, key: str) -> None:
    """Another model's file in the place that `key` names in the card ("": the card's own)."""
    copied = shutil.copy(file, card.with_name(f"taken-{file.name}"))
    entry = {"file": copied.name, "sha256": hashlib.sha256(copied.read_bytes()).hexdigest()}
    change(card, **({key: entry} if key else entry))


def refused(card: Path, runtime: Runtime, said: str) -> None:
    with pytest.raises(StartError) as raised:
        classifier(card, runtime)
    assert said in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_contract(pair: Path, runtime: Runtime) -> None:
    window = read_card(str(pair)).window
    assert window is not None and window.frames == 3
    check_temporal_classifier(lambda: classifier(pair, runtime), CROP, FOUR, window)


def test_both_runtimes_answer_alike_and_as_keras_does(pair: Path) -> None:
    crops = example_crops(CROP)
    answers, features = [], []
    for runtime in RUNTIMES:
        served = classifier(pair, runtime)
        features.append(served.encode(crops))
        answers.append(served.classify(example_windows(features[-1], 3)))
    np.testing.assert_allclose(features[0], features[1], atol=1e-3)
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-3)
    assert np.ptp(answers[0], axis=0).max() > 0.05, "the example network tells nothing apart"
    encoder, head = (
        keras.models.load_model(pair.with_name(name), compile=False)
        for name in ("pair.keras", "pair-head.keras")
    )
    seen = encoder.predict(crops.astype(np.float32), verbose=0)
    np.testing.assert_allclose(seen, features[1], atol=1e-5)
    np.testing.assert_allclose(head.predict(example_windows(seen, 3), verbose=0), answers[1], atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_any_number_of_faces(pair: Path, runtime: Runtime) -> None:
    served = classifier(pair, runtime)
    for number in (0, 1, 4):
        features = served.encode(example_crops(CROP)[:number])
        assert (features.shape, features.dtype) == ((number, 5), np.float32)
        assert served.classify(np.zeros((number, 3, 5), np.float32)).shape == (number, 4)


# ---- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_head_for_another_encoder(copy: Path, other: Path, runtime: Runtime) -> None:
    end, key = ("tflite", "head") if runtime == "litert" else ("keras", "keras_head")
    take(copy, other.with_name(f"pair-head.{end}"), key)
    refused(
        copy,
        runtime,
        f"taken-pair-head.{end}: the model does not fit its card: 4×7 in and 4 out, but the card says 3×5 "
        "(frames × features) in and 4 labels; export the model again",
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_encoder_for_another_head(copy: Path, other: Path, runtime: Runtime) -> None:
    end, key = ("tflite", "") if runtime == "litert" else ("keras", "keras")
    take(copy, other.with_name(f"pair.{end}"), key)
    refused(
        copy,
        runtime,
        f"taken-pair.{end}: the model does not fit its card: 24×24×1 in and 7 out, but the card says "
        "24×24×1 in and 5 features; export the model again",
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": 6}, "24×24×1 in and 5 out, but the card says 24×24×1 in and 6 features"),
        (
            {"labels": ["a", "b"]},
            "3×5 in and 4 out, but the card says 3×5 (frames × features) in and 2 labels",
        ),
        (
            {"window": {"frames": 9, "stride": 1, "fps": 10, "max_gap": 1}},
            "3×5 in and 4 out, but the card says 9×5 (frames × features) in and 4 labels",
        ),
    ],
)
def test_a_card_that_says_otherwise(copy: Path, runtime: Runtime, changes: dict[str, Any], said: str) -> None:
    change(copy, **changes)
    refused(copy, runtime, f"the model does not fit its card: {said}; export the model again")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("part", ["pair", "pair-head"])
def test_a_file_that_is_damaged_or_gone(copy: Path, runtime: Runtime, part: str) -> None:
    file = copy.with_name(f"{part}.tflite" if runtime == "litert" else f"{part}.keras")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    refused(copy, runtime, f"{file}: the model is corrupted (sha256 ")
    if part == "pair-head" or runtime == "litert":  # that there is an encoder's .keras file is seen before
        file.unlink()
        refused(copy, runtime, f"{file}: the model cannot be read: No such file or directory")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_head_without_probabilities(copy: Path, tmp_path: Path, runtime: Runtime) -> None:
    from streamfer.training.litert import convert

    windows = keras.Input((3, 5), dtype="float32")
    raw = keras.Model(windows, layers.Dense(4, bias_initializer="ones")(layers.Flatten()(windows)))
    raw.save(tmp_path / "raw.keras")
    (tmp_path / "raw.tflite").write_bytes(convert(raw, "float32"))
    take(copy, tmp_path / "raw.keras", "keras_head")
    take(copy, tmp_path / "raw.tflite", "head")
    refused(copy, runtime, "the model's outputs are not probabilities; export the model again")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_encoder_that_gives_no_numbers(copy: Path, tmp_path: Path, runtime: Runtime) -> None:
    from streamfer.training.litert import convert

    faces = keras.Input(CROP, dtype="float32")
    broken = keras.Model(faces, layers.Dense(5)(layers.GlobalAveragePooling2D()(faces)))
    kernel, bias = broken.layers[-1].get_weights()
    broken.layers[-1].set_weights([kernel, bias * np.nan])
    broken.save(tmp_path / "broken.keras")
    (tmp_path / "broken.tflite").write_bytes(convert(broken, "float32"))
    take(copy, tmp_path / "broken.keras", "keras")
    take(copy, tmp_path / "broken.tflite", "")
    refused(copy, runtime, ": its features are not finite; export the model again")
