"""The contract of networks: logits of faces, for any number of labels, that can be stored and served."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from streamfer.api import Options, ServedModel
from streamfer.errors import UsageError
from streamfer.inference.card import CARD
from streamfer.inference.network import NetworkClassifier
from streamfer.plugins import Registered, load_network
from streamfer.testing.classifiers import check_classifier, example_crops
from streamfer.testing.require import require
from streamfer.types import LABELS, CropSpec

SAME = 1e-3
"""How far outputs of one network may lie apart, relative to a logit or to a probability of 1: rounding."""


def check_network(registered: Registered) -> None:
    """Check a network with its default options, untrained, as `Registry.discover(…).get("classifier", …)` has
    it. Takes some seconds, and needs TensorFlow.

    It is built for 7 and for 4 labels, for other sizes of crops and in mixed precision, stored, loaded,
    converted and served.
    """
    network = registered.component.network
    require(network is not None, f"'{registered.name}' is no network; register it with streamfer.api.network")
    assert network is not None
    build = load_network(registered)
    import keras

    require(
        keras.backend.backend() == "tensorflow", "the check needs Keras on TensorFlow: unset KERAS_BACKEND"
    )
    crop, options = registered.component.crop, _defaults(network.options)
    for other in (
        CropSpec(crop.height // 2, crop.width // 2, crop.channels),
        crop._replace(width=crop.width * 2),
    ):
        try:
            _check_model(build(options, other, len(LABELS)), other, len(LABELS))
        except UsageError as error:
            require(
                "\n" not in str(error), f"the error for crops of {_size(other)} has several lines: {error}"
            )
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = build(options, crop, len(LABELS))
    finally:
        keras.config.set_dtype_policy(before)
    require(
        mixed.outputs[0].dtype == "float32",
        "in mixed precision the logits are not float32: give the last layer dtype='float32'",
    )
    for labels in (LABELS, LABELS[:4]):
        model = build(options, crop, len(labels))
        _check_model(model, crop, len(labels))
    with tempfile.TemporaryDirectory() as folder:
        _check_file(model, crop, Path(folder) / "network.keras")
        card = store_untrained(model, labels, Path(folder))
        _check_served(model, crop, labels, card)


def store_untrained(model: Any, labels: Sequence[str], folder: Path, name: str = "network") -> Path:
    """Write what an export writes of a Keras model from faces to logits, without any figures: NAME.tflite,
    NAME.keras and the card, whose path is returned."""
    import keras
    import tensorflow as tf

    height, width, channels = model.input_shape[1:]
    faces = keras.Input((height, width, channels), dtype="float32")
    served = keras.Model(faces, keras.ops.softmax(model(faces, training=False)))
    signature = [tf.TensorSpec((None, height, width, channels), tf.float32)]
    with tempfile.TemporaryDirectory() as saved:
        archive = keras.export.ExportArchive()
        archive.track(served)
        archive.add_endpoint("serve", lambda faces: served(faces, training=False), input_signature=signature)
        archive.write_out(saved, verbose=False)
        (folder / f"{name}.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(saved).convert())
    served.save(folder / f"{name}.keras")
    card = {
        "name": name,
        "version": "0.0.0",
        **_entry(folder / f"{name}.tflite"),
        "keras": _entry(folder / f"{name}.keras"),
        "labels": list(labels),
        "input": {"height": height, "width": width, "channels": channels},
    }
    (folder / CARD).write_text(json.dumps(card), "utf-8")
    return folder / CARD


def _entry(file: Path) -> dict[str, str]:
    return {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def _defaults(options: type[Options]) -> Options:
    try:
        return options()
    except ValidationError as error:
        missing = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
        raise AssertionError(f"the network's options must all have defaults that fit: {missing}") from error


def _check_model(model: Any, crop: CropSpec, labels: int) -> None:
    """What it takes, what it gives, and that it gives it by each face alone."""
    import keras

    require(isinstance(model, keras.Model), f"build gave {type(model).__name__}, expected a Keras model")
    ends = [[(one.shape, one.dtype) for one in end or []] for end in (model.inputs, model.outputs)]
    expected = [[((None, *crop), "float32")], [((None, labels), "float32")]]
    require(ends == expected, f"for crops of {_size(crop)} build gave {ends} in and out, expected {expected}")
    faces = example_crops(crop).astype(np.float32)
    logits = _logits(model, faces)
    require(np.isfinite(logits).all(), "a logit is not finite")
    shares = bool((logits >= 0).all()) and np.allclose(logits.sum(axis=1), 1, atol=SAME)
    require(not shares, "the outputs are probabilities, expected logits: leave the softmax out")
    require(np.array_equal(logits, _logits(model, faces)), "the same faces get other logits the second time")
    alone = np.concatenate([_logits(model, faces[index : index + 1]) for index in range(len(faces))])
    require(_same(alone, logits), "a face alone gets other logits than among others")


def _check_file(model: Any, crop: CropSpec, path: Path) -> None:
    """Stored and loaded, without the plugin's code, it is the same network."""
    import keras

    model.save(path)
    with zipfile.ZipFile(path) as archive:
        foreign = sorted(set(_foreign(json.loads(archive.read("config.json")))))
    require(not foreign, f"the model's file needs code that is not in Keras: {', '.join(foreign)}")
    loaded = keras.models.load_model(path, compile=False, safe_mode=True)
    faces = example_crops(crop).astype(np.float32)
    require(
        _same(_logits(loaded, faces), _logits(model, faces)), "loaded from its file it gives other logits"
    )


def _foreign(config: Any) -> Iterator[str]:
    """The names of the classes and functions in a stored model that are not from Keras."""
    if isinstance(config, dict):
        of_keras = str(config.get("module")).partition(".")[0] == "keras"
        if "registered_name" in config and (not of_keras or config["class_name"] == "Lambda"):
            yield str(config["class_name"])
    if isinstance(config, dict | list):
        for part in config.values() if isinstance(config, dict) else config:
            yield from _foreign(part)


def _check_served(model: Any, crop: CropSpec, labels: Sequence[str], card: Path) -> None:
    """Both runtimes give the softmax of its logits."""
    import keras

    crops = example_crops(crop)
    logits = _logits(model, crops.astype(np.float32))
    wanted = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    litert, tensorflow = (
        ServedModel(model=str(card), runtime="litert"),
        ServedModel(model=str(card.with_name("network.keras")), runtime="tensorflow"),
    )
    for options in (litert, tensorflow):
        apart = float(np.abs(NetworkClassifier(options).predict(crops) - wanted).max())
        require(apart <= SAME, f"served by {options.runtime} a probability is off by {apart:.4f}")
    check_classifier(lambda: NetworkClassifier(litert), crop, labels)


def _logits(model: Any, faces: NDArray[np.float32]) -> NDArray[np.float32]:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(model(faces, training=False)), np.float32)


def _same(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return np.allclose(one, other, rtol=SAME, atol=SAME)


def _size(crop: CropSpec) -> str:
    return "×".join(map(str, crop))
