"""The contract of networks: logits of faces, or of windows of frames in two models, that can be stored and
served."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from streamfer.api import Options, Parts, ServedModel
from streamfer.errors import StartError, UsageError
from streamfer.inference.card import read_card
from streamfer.inference.network import NetworkClassifier
from streamfer.plugins import Registered, load_network
from streamfer.testing.classifiers import check_classifier, example_crops
from streamfer.testing.models import (
    ENCODER,
    HEAD,
    MODEL,
    SAME,
    Role,
    Rows,
    answers,
    check_answers,
    check_file,
    check_logits,
    ends,
)
from streamfer.testing.require import require
from streamfer.testing.temporal import check_temporal_classifier, example_windows
from streamfer.testing.untrained import store_untrained
from streamfer.types import LABELS, CropSpec


def check_network(registered: Registered, **options: Any) -> None:
    """Check a network with its default options, but for those given here, untrained, as
    `Registry.discover(…).get("classifier", …)` has it. Takes some seconds, and needs TensorFlow.

    It is built for 7 and for 4 labels, for other sizes of crops and in mixed precision, stored, loaded,
    converted and served: one model, or the encoder and the head of a network of windows of frames
    (`streamfer.api.Parts`). The cards that its plugin ships are read.
    """
    network = registered.component.network
    require(network is not None, f"'{registered.name}' is no network; register it with streamfer.api.network")
    assert network is not None
    _check_cards(registered)
    build = load_network(registered)
    import keras

    require(
        keras.backend.backend() == "tensorflow", "the check needs Keras on TensorFlow: unset KERAS_BACKEND"
    )
    crop, chosen = registered.component.crop, _options(network.options, options)
    for other in (
        CropSpec(crop.height // 2, crop.width // 2, crop.channels),
        crop._replace(width=crop.width * 2),
    ):
        try:
            _check(build(chosen, other, len(LABELS)), other, len(LABELS))
        except UsageError as error:
            require(
                "\n" not in str(error), f"the error for crops of {_size(other)} has several lines: {error}"
            )
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = build(chosen, crop, len(LABELS))
    finally:
        keras.config.set_dtype_policy(before)
    for role, model in _models(mixed):
        require(
            model.outputs[0].dtype == "float32",
            f"in mixed precision the {role.answer}s are not float32: give the last layer dtype='float32'",
        )
    for labels in (LABELS, LABELS[:4]):
        built = build(chosen, crop, len(labels))
        rows = _check(built, crop, len(labels))
    with tempfile.TemporaryDirectory() as folder:
        for (role, model), taken in zip(_models(built), rows, strict=True):
            check_file(role, model, taken, Path(folder) / f"{role.name}.keras")
        _check_served(built, crop, labels, store_untrained(built, labels, Path(folder)))


def _check_cards(registered: Registered) -> None:
    """The cards that the plugin ships can be read, and each mode has its own."""
    component = registered.component
    assert component.network is not None
    cards = []
    for named in component.model_files:
        try:
            cards.append(read_card(named).path)
        except StartError as error:
            require(False, f"a card that the plugin ships: {error}")
    for mode in component.network.modes:
        require(mode.isprintable() and mode.strip(), f"{mode!r} is no name for a mode")
    require(len(set(cards)) == len(cards), "two modes have one card; each has a card of its own")


def _options(options: type[Options], given: dict[str, Any]) -> Options:
    try:
        return options.model_validate(given)
    except ValidationError as error:
        wrong = {".".join(map(str, one["loc"])) for one in error.errors()}
        missing = ", ".join(sorted(wrong - given.keys()))
        said = f"must all have defaults that fit: {missing}" if missing else f"do not fit: {given}"
        raise AssertionError(f"the network's options {said}") from error


def _models(built: Any) -> list[tuple[Role, Any]]:
    """The Keras models that `build` has returned."""
    return [(ENCODER, built.encoder), (HEAD, built.head)] if isinstance(built, Parts) else [(MODEL, built)]


def _check(built: Any, crop: CropSpec, labels: int) -> list[Rows]:
    """What the models take, what they give, and that they give it to each row alone. Returns rows that each
    takes."""
    import keras

    for role, model in _models(built):
        of_parts = "" if role is MODEL else f" as the {role.name}"
        require(
            isinstance(model, keras.Model),
            f"build gave {type(model).__name__}{of_parts}, expected a Keras model",
        )
    faces = example_crops(crop).astype(np.float32)
    if not isinstance(built, Parts):
        _check_ends(MODEL, built, crop, (None, *crop), (None, labels))
        check_logits(check_answers(MODEL, built, faces))
        return [faces]
    features, frames = _side(built.encoder.outputs, 1), _side(built.head.inputs, 2)
    require(features, "the encoder gives no features: a row of numbers for each face, as many for all")
    require(frames, "the head takes no windows (None, frames, features) of so many frames")
    assert features and frames
    _check_ends(ENCODER, built.encoder, crop, (None, *crop), (None, features))
    _check_ends(HEAD, built.head, crop, (None, frames, features), (None, labels))
    windows = example_windows(check_answers(ENCODER, built.encoder, faces), frames)
    check_logits(check_answers(HEAD, built.head, windows))
    return [faces, windows]


def _side(tensors: Any, back: int) -> int | None:
    """So long is the first input or output along its last axis, or `back` axes from its end; None if it is
    not known, or only the axis of the rows is there."""
    shape = tensors[0].shape if tensors else ()
    return shape[-back] if len(shape) > back else None


def _check_ends(
    role: Role, model: Any, crop: CropSpec, takes: tuple[int | None, ...], gives: tuple[int | None, ...]
) -> None:
    found, expected = ends(model), [[(takes, "float32")], [(gives, "float32")]]
    what = "build gave" if role is MODEL else f"the {role.name} has"
    require(found == expected, f"for crops of {_size(crop)} {what} {found} in and out, expected {expected}")


def _check_served(built: Any, crop: CropSpec, labels: Sequence[str], card: Path) -> None:
    """Both runtimes give the softmax of its logits."""
    import keras

    crops = example_crops(crop)
    litert, tensorflow = (
        ServedModel(model=str(card), runtime="litert"),
        ServedModel(model=str(card.with_name("network.keras")), runtime="tensorflow"),
    )
    window = read_card(str(card)).window
    found = {}
    if window is None:
        logits = answers(built, crops.astype(np.float32))
        for options in (litert, tensorflow):
            found[options.runtime] = NetworkClassifier(options).predict(crops)
    else:
        features = answers(built.encoder, crops.astype(np.float32))
        logits = answers(built.head, example_windows(features, window.frames))
        for options in (litert, tensorflow):
            served = NetworkClassifier(options)
            windows = example_windows(served.encode(crops), window.frames)
            found[options.runtime] = served.classify(windows)
    wanted = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    for runtime, rows in found.items():
        apart = float(np.abs(rows - wanted).max())
        require(apart <= SAME, f"served by {runtime} a probability is off by {apart:.4f}")
    if window is None:
        check_classifier(lambda: NetworkClassifier(litert), crop, labels)
    else:
        check_temporal_classifier(lambda: NetworkClassifier(litert), crop, labels, window)


def _size(crop: CropSpec) -> str:
    return "×".join(map(str, crop))
