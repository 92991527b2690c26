"""The contract check of networks catches what breaks it: one small flawed network for each promise."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers, ops

from streamfer.api import NoOptions, Options, network
from streamfer.errors import UsageError
from streamfer.plugins import Registered, Registry
from streamfer.plugins.registry import Origin
from streamfer.testing import check_network
from streamfer.types import CropSpec

CROP = CropSpec(16, 16, 1)
Build = Callable[[Options, CropSpec, int], Any]


class NoDefault(Options):
    width: int


@keras.saving.register_keras_serializable("tests")
class Own(layers.Layer):
    """A layer that this process knows, and a process that serves does not."""

    def call(self, x: Any) -> Any:
        return x * 2


class Noisy(layers.Layer):
    def call(self, x: Any) -> Any:
        return x + keras.random.normal((1, 1))


class BatchMean(layers.Layer):
    def call(self, x: Any) -> Any:
        return x - ops.mean(x, axis=0, keepdims=True)


def of(
    end: Callable[[Any], Any] = lambda x: x, *, start: Callable[[Any], Any] = lambda x: x, **dense: Any
) -> Build:
    """A small network with something before it and behind it."""

    def build(options: Options, crop: CropSpec, labels: int) -> keras.Model:
        faces = keras.Input(crop, dtype="float32")
        x = layers.Rescaling(1 / 255)(start(faces))
        x = layers.GlobalMaxPooling2D()(layers.Conv2D(4, 3, activation="relu")(x))
        return keras.Model(faces, end(layers.Dense(labels, **{"dtype": "float32", **dense})(x)))

    return build


def registered(build: Build, options: type[Options] = NoOptions) -> Registered:
    """As if a module of this name had registered it."""
    globals()["build_network"] = build
    component = network("flawed", "", build=":build_network", options=options, crop=CROP)
    here = f"{__name__}:build_network"
    return Registered(component, component.target, "streamfer.api:ServedModel", Origin("test"), here)


def too_small(options: Options, crop: CropSpec, labels: int) -> keras.Model:
    if crop.height < CROP.height or crop.width != crop.height:
        raise UsageError("only squares of 16 pixels and more")
    return of()(options, crop, labels)


def fails_for_others(options: Options, crop: CropSpec, labels: int) -> keras.Model:
    if crop != CROP:
        raise UsageError("no\nno")
    return of()(options, crop, labels)


@pytest.mark.parametrize("build", [of(), too_small])
def test_a_sound_network_passes(build: Build) -> None:
    before = keras.config.dtype_policy()
    check_network(registered(build))
    assert keras.config.dtype_policy() == before


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda *_: 3, "build gave int, expected a Keras model"),
        (
            lambda options, crop, _: of()(options, crop, 7),
            "expected [[((None, 16, 16, 1), 'float32')], [((None, 4)",
        ),
        (lambda options, crop, n: of()(options, CROP, n), "for crops of 8×8×1 build gave"),
        (of(activation="softmax"), "the outputs are probabilities, expected logits"),
        (of(lambda x: x / 0.0), "a logit is not finite"),
        (of(dtype=None), "give the last layer dtype='float32'"),
        (of(Noisy()), "the same faces get other logits the second time"),
        (of(BatchMean()), "a face alone gets other logits than among others"),
        (of(Own()), "the model's file needs code that is not in Keras: Own"),
        (of(layers.Lambda(lambda x: x * 2)), "the model's file needs code that is not in Keras: Lambda"),
        (fails_for_others, "the error for crops of 8×8×1 has several lines"),
    ],
    ids=lambda value: "".join(re.findall(r"\w+ ?", value))[:40] if isinstance(value, str) else "",
)
def test_a_flawed_network_is_caught(build: Build, said: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        check_network(registered(build))


def test_options_without_defaults_are_caught() -> None:
    with pytest.raises(AssertionError, match="must all have defaults that fit: width"):
        check_network(registered(of(), NoDefault))


def test_what_is_no_network_is_told() -> None:
    prior = Path(__file__).parents[2] / "examples" / "prior.py"
    with pytest.raises(AssertionError, match="'prior' is no network; register it with"):
        check_network(Registry.discover([prior]).get("classifier", "prior"))


def test_the_example_in_the_docs_passes() -> None:
    example = Path(__file__).parents[2] / "examples" / "network.py"
    check_network(Registry.discover([example]).get("classifier", "tiny"))
