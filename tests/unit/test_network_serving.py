"""A network is served by its card, by LiteRT and by TensorFlow; what cannot be served is one line."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import keras
import numpy as np
import pytest
from keras import layers

import streamfer
from streamfer.api import ServedModel
from streamfer.data import sample_clip
from streamfer.errors import StartError, UsageError
from streamfer.inference.card import CARD
from streamfer.inference.network import NetworkClassifier
from streamfer.plugins import Registry, build, spec_of
from streamfer.testing import check_classifier
from streamfer.testing.classifiers import example_crops
from streamfer.types import CropSpec
from tests import service
from tests.networks import FOUR, store

Runtime = Literal["litert", "tensorflow"]
RUNTIMES: tuple[Runtime, ...] = ("litert", "tensorflow")
GRAY, COLOUR = CropSpec(24, 24, 1), CropSpec(32, 24, 3)


@pytest.fixture(scope="module")
def gray(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store(tmp_path_factory.mktemp("gray"), GRAY)


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store(tmp_path_factory.mktemp("colour"), COLOUR)


@pytest.fixture
def copy(gray: Path, tmp_path: Path) -> Path:
    """The card of a model that a test may damage."""
    shutil.copytree(gray.parent, tmp_path / "copy")
    return tmp_path / "copy" / CARD


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    """A picture with faces."""
    with av.open(sample_clip()) as container:
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    cv2.imwrite(str(tmp_path / "portrait.png"), frames[len(frames) // 4])
    return tmp_path / "portrait.png"


def classifier(card: Path, runtime: Runtime = "litert") -> NetworkClassifier:
    return NetworkClassifier(ServedModel(model=str(card), runtime=runtime))


def change(card: Path, **changes: Any) -> None:
    card.write_text(json.dumps({**json.loads(card.read_text("utf-8")), **changes}), "utf-8")


def entry(file: Path) -> dict[str, str]:
    return {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


# ---- what is served ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_contract(gray: Path, colour: Path, runtime: Runtime) -> None:
    check_classifier(lambda: classifier(gray, runtime), GRAY, FOUR)
    check_classifier(lambda: classifier(colour, runtime), COLOUR, FOUR)


@pytest.mark.parametrize("crop", [GRAY, COLOUR])
def test_both_runtimes_answer_alike_and_as_keras_does(crop: CropSpec, gray: Path, colour: Path) -> None:
    card = gray if crop == GRAY else colour
    crops = example_crops(crop)
    by_litert, by_tensorflow = (classifier(card, runtime).predict(crops) for runtime in RUNTIMES)
    np.testing.assert_allclose(by_litert, by_tensorflow, atol=1e-3)
    assert np.ptp(by_litert, axis=0).max() > 0.05, "the example network tells nothing apart"
    saved = keras.models.load_model(card.with_name("small.keras"), compile=False)
    np.testing.assert_allclose(by_tensorflow, saved.predict(crops.astype(np.float32), verbose=0), atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_any_number_of_faces(gray: Path, runtime: Runtime) -> None:
    served = classifier(gray, runtime)
    crops = example_crops(GRAY)
    for number in (0, 1, 2, 5, 9):
        found = served.predict(crops[:number])
        assert (found.shape, found.dtype) == ((number, 4), np.float32)


def test_tensorflow_traces_once_whatever_number_of_faces(gray: Path) -> None:
    served = classifier(gray, "tensorflow")
    crops = example_crops(GRAY)
    for number in (1, 2, 3, 9):
        served.predict(crops[:number])
    assert served._first._answer.experimental_get_tracing_count() == 1  # type: ignore[attr-defined]


def test_a_package_names_a_card() -> None:
    named = ServedModel(model="streamfer_classifiers.cnn:card.json")
    shipped = build(spec_of(Registry.discover().get("classifier", "cnn"), {}))
    crops = example_crops(CropSpec())
    assert np.array_equal(NetworkClassifier(named).predict(crops), shipped.predict(crops))


def test_a_keras_file_names_its_card(gray: Path) -> None:
    by_card, by_file = classifier(gray, "tensorflow"), classifier(gray.with_name("small.keras"), "tensorflow")
    crops = example_crops(GRAY)
    assert np.array_equal(by_card.predict(crops), by_file.predict(crops))


IN_A_FRESH_PROCESS = """
import json, sys
from pathlib import Path
import numpy as np
from streamfer.api import ServedModel
from streamfer.inference.network import NetworkClassifier
served = NetworkClassifier(ServedModel(model=sys.argv[1], runtime=sys.argv[2]))
found = served.predict(np.zeros((1, 24, 24, 1), np.uint8))
heavy = [name for name in ("tensorflow", "keras") if name in sys.modules]
threads = heavy and sys.modules["tensorflow"].config.threading.get_intra_op_parallelism_threads()
print(json.dumps([heavy, threads, found.tolist()]))
"""


def fresh(card: Path, runtime: Runtime, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, str(card), runtime],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_litert_brings_in_no_tensorflow(gray: Path) -> None:
    done = fresh(gray, "litert")
    heavy, _, found = json.loads(done.stdout)
    assert (heavy, done.stderr) == ([], "")
    assert np.sum(found) == pytest.approx(1, abs=1e-3)


def test_tensorflow_takes_one_thread_and_says_nothing(gray: Path) -> None:
    """Also where Keras would be on another backend by itself."""
    done = fresh(gray, "tensorflow", KERAS_BACKEND="jax")
    heavy, threads, found = json.loads(done.stdout)
    assert (heavy, threads) == (["tensorflow", "keras"], 1), done.stderr
    assert np.sum(found) == pytest.approx(1, abs=1e-3)
    assert done.stderr == ""


# ---- what is refused ---------------------------------------------------------------------------------------


def refused(card: Path, runtime: Runtime, said: str) -> None:
    with pytest.raises(StartError, match=said) as raised:
        classifier(card, runtime)
    assert "\n" not in str(raised.value)


def test_no_model() -> None:
    with pytest.raises(
        StartError, match="no model card is named, and the plugin ships none; set 'model: DIR"
    ):
        NetworkClassifier(ServedModel())


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"labels": ["a", "b", "c"]},
            "does not fit its card: 24×24×1 in and 4 out, but the card says 24×24×1 in and 3 labels; export",
        ),
        (
            {"input": {"height": 48, "width": 24, "channels": 1}},
            "does not fit its card: 24×24×1 in and 4 out, but the card says 48×24×1 in and 4 labels; export",
        ),
        (
            {"input": {"height": 24, "width": 24, "channels": 3}},
            "does not fit its card: 24×24×1 in and 4 out, but the card says 24×24×3 in and 4 labels; export",
        ),
    ],
)
def test_weights_that_do_not_fit_labels_or_model(
    copy: Path, runtime: Runtime, changes: dict[str, Any], said: str
) -> None:
    change(copy, **changes)
    refused(copy, runtime, ("small.tflite" if runtime == "litert" else "small.keras") + ": the model " + said)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_damaged_file(copy: Path, runtime: Runtime) -> None:
    for file in (copy.with_name("small.tflite"), copy.with_name("small.keras")):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    refused(copy, runtime, r"small\.\w+: the model is corrupted \(sha256 ")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_file_that_is_no_model(copy: Path, runtime: Runtime) -> None:
    for name in ("small.tflite", "small.keras"):
        copy.with_name(name).write_bytes(b"nothing of the kind" * 100)
    change(copy, **entry(copy.with_name("small.tflite")), keras=entry(copy.with_name("small.keras")))
    said = "LiteRT cannot run this model: " if runtime == "litert" else "Keras cannot load this model: "
    refused(copy, runtime, said)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_outputs_that_are_no_probabilities(tmp_path: Path, runtime: Runtime) -> None:
    faces = keras.Input(GRAY, dtype="float32")
    logits = layers.Dense(4, bias_initializer="ones")(layers.GlobalAveragePooling2D()(faces))
    card = store(tmp_path, GRAY)
    model = keras.Model(faces, logits)
    model.save(card.with_name("small.keras"))
    import tensorflow as tf

    card.with_name("small.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    change(card, **entry(card.with_name("small.tflite")), keras=entry(card.with_name("small.keras")))
    refused(card, runtime, r"small\.\w+: the model's outputs are not probabilities; export the model again")


class Unknown(layers.Layer):
    """A layer of a plugin, which the process that serves does not know."""

    def call(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (Unknown(), "Could not locate class 'Unknown'"),
        (layers.Lambda(lambda x: x), "Requested the deserialization of a `Lambda` layer"),
    ],
)
def test_a_keras_file_that_needs_code(copy: Path, layer: Any, said: str) -> None:
    faces = keras.Input(GRAY, dtype="float32")
    x = layers.Dense(4, activation="softmax")(layers.Flatten()(layer(faces)))
    file = copy.with_name("small.keras")
    keras.Model(faces, x).save(file)
    change(copy, keras=entry(file))
    refused(copy, "tensorflow", f"small.keras: Keras cannot load this model: {said}")


def test_two_inputs_are_too_many(copy: Path) -> None:
    faces = [keras.Input(GRAY, dtype="float32") for _ in range(2)]
    x = layers.Dense(4, activation="softmax")(layers.Flatten()(layers.Add()(faces)))
    file = copy.with_name("small.keras")
    keras.Model(faces, x).save(file)
    change(copy, keras=entry(file))
    refused(copy, "tensorflow", "expected a model with one float32 input and one float32 output")


def test_without_tensorflow(gray: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    refused(
        gray, "tensorflow", r"'runtime: tensorflow' needs TensorFlow \(.*\): pip install 'streamfer\[train\]'"
    )


# ---- single pictures ---------------------------------------------------------------------------------------


def test_predict_serves_the_model_that_is_named(gray: Path, portrait: Path) -> None:
    faces = streamfer.predict(portrait, model=gray)
    assert faces and {tuple(face.probabilities or ()) for face in faces} == {FOUR}
    assert tuple(streamfer.predict(portrait)[0].probabilities or ()) == streamfer.LABELS
    done = service.streamfer("predict", portrait, "--model", gray, "--json")
    (line,) = done.stdout.splitlines()
    assert [face["label"] for face in json.loads(line)["faces"]] == [face.label for face in faces]


def test_predict_sees_that_a_model_was_exported_again(copy: Path, colour: Path, portrait: Path) -> None:
    def first() -> dict[str, float]:
        return streamfer.predict(portrait, model=copy)[0].probabilities or {}

    before = first()
    assert first() == before
    for name in (CARD, "small.tflite", "small.keras"):
        shutil.copy(colour.with_name(name), copy.with_name(name))
    assert first() != before


def test_predict_refuses_with_one_line(gray: Path, portrait: Path, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"gone.json: the model card cannot be read"):
        streamfer.predict(portrait, model=tmp_path / "gone.json")
    with pytest.raises(StartError, match=r"small.keras: a .keras file is served with 'runtime: tensorflow'"):
        streamfer.predict(portrait, model=gray.with_name("small.keras"))
    done = service.streamfer("predict", portrait, "--model", tmp_path / "gone.json")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)


def test_predict_of_a_rule_takes_no_model(
    portrait: Path, gray: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "prior-1.0.dist-info"
    info.mkdir()
    shutil.copy(Path(__file__).parents[2] / "examples" / "prior.py", tmp_path / "prior_rule.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: prior\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[streamfer]\nprior = prior_rule\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert streamfer.predict(portrait, classifier="prior")[0].label == "happy"
    with pytest.raises(UsageError, match="the classifier 'prior' is no network: it takes no model"):
        streamfer.predict(portrait, classifier="prior", model=gray)
