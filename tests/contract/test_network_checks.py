"""The contract check of networks catches what breaks it: one small flawed network for each promise."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import keras
import pytest
from keras import layers, ops

from streamfer.api import NoOptions, Options, Parts, network
from streamfer.errors import UsageError
from streamfer.plugins import Registered, Registry
from streamfer.plugins.registry import Origin
from streamfer.testing import check_network
from streamfer.types import CropSpec
from tests.networks import write_card

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


def parts(
    end: Callable[[Any], Any] = lambda x: x,
    *,
    encoded: Callable[[Any], Any] = lambda x: x,
    reads: tuple[int | None, int] = (3, 4),
    unroll: bool = True,
    **dense: Any,
) -> Build:
    """An encoder and a head, with something behind each."""

    def build(options: Options, crop: CropSpec, labels: int) -> Parts:
        faces = keras.Input(crop, dtype="float32")
        x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(faces))
        x = encoded(layers.GlobalMaxPooling2D(dtype="float32")(x))
        features = keras.Input(reads, dtype="float32")
        last = layers.LSTM(5, unroll=unroll, dtype="float32")(features)
        logits = end(layers.Dense(labels, **{"dtype": "float32", **dense})(last))
        return Parts(keras.Model(faces, x), keras.Model(features, logits))

    return build


def as_one(options: Options, crop: CropSpec, labels: int) -> Any:
    """Somebody forgot to divide it."""
    encoder, head = parts()(options, crop, labels)
    return Parts(encoder, head.layers)


def registered(build: Build, options: type[Options] = NoOptions, **shipped: Any) -> Registered:
    """As if a module of this name had registered it."""
    globals()["build_network"] = build
    component = network("flawed", "", build=":build_network", options=options, crop=CROP, **shipped)
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


@pytest.mark.parametrize("build", [of(), too_small, parts()])
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
        (as_one, "build gave list as the head, expected a Keras model"),
        (
            parts(encoded=lambda x: ops.reshape(x, (-1, 2, 2))),
            "the encoder has [[((None, 8, 8, 1), 'float32')], [((None, 2, 2), 'float32')]] in and out, exp",
        ),
        (
            parts(reads=(3, 5)),
            "the head has [[((None, 3, 5), 'float32')], [((None, 7), 'float32')]] in and out, expected "
            "[[((None, 3, 4), 'float32')],",
        ),
        (
            parts(reads=(None, 4), unroll=False),
            "the head takes no windows (None, frames, features) of so many",
        ),
        (
            parts(lambda x: layers.Dense(9)(x)),
            "[((None, 9), 'float32')]] in and out, expected [[((None, 3, 4)",
        ),
        (parts(activation="softmax"), "the outputs are probabilities, expected logits"),
        (parts(lambda x: x / 0.0), "a logit is not finite"),
        (parts(encoded=lambda x: x / 0.0), "a feature is not finite"),
        (parts(dtype=None), "in mixed precision the logits are not float32"),
        (parts(encoded=lambda x: layers.Dense(4)(x)), "in mixed precision the features are not float32"),
        (parts(encoded=Noisy()), "the same faces get other features the second time"),
        (parts(encoded=BatchMean()), "a face alone gets other features than among others"),
        (parts(Noisy()), "the same windows get other logits the second time"),
        (parts(BatchMean()), "a window alone gets other logits than among others"),
        (parts(encoded=Own()), "the encoder's file needs code that is not in Keras: Own"),
        (parts(layers.Lambda(lambda x: x * 2)), "the head's file needs code that is not in Keras: Lambda"),
        (parts(unroll=False), "LiteRT does not take the head (unroll what is recurrent): "),
    ],
    ids=lambda value: "".join(re.findall(r"\w+ ?", value))[:40] if isinstance(value, str) else "",
)
def test_a_flawed_network_is_caught(build: Build, said: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        check_network(registered(build))


def test_options_without_defaults_are_caught() -> None:
    with pytest.raises(AssertionError, match="must all have defaults that fit: width"):
        check_network(registered(of(), NoDefault))


class Modes(Options):
    """As of a network that is one or the other."""

    mode: Literal["still", "frames"] = "still"


def either(options: Options, crop: CropSpec, labels: int) -> Any:
    assert isinstance(options, Modes)
    build = of() if options.mode == "still" else parts(activation="softmax")
    return build(options, crop, labels)


def test_a_network_with_modes_is_checked_in_each() -> None:
    check_network(registered(either, Modes))
    with pytest.raises(AssertionError, match="the outputs are probabilities"):
        check_network(registered(either, Modes), mode="frames")
    with pytest.raises(AssertionError, match=r"the network's options do not fit: {'mode': 'rows'}"):
        check_network(registered(either, Modes), mode="rows")


def test_the_cards_that_it_ships_are_read(tmp_path: Path) -> None:
    one, other = str(write_card(tmp_path / "one.json")), str(tmp_path / "other.json")
    with pytest.raises(
        AssertionError, match=r"a card that the plugin ships: .*other\.json: the model card can"
    ):
        check_network(registered(of(), modes={"one": one, "other": other}))
    with pytest.raises(AssertionError, match="two modes have one card; each has a card of its own"):
        check_network(registered(of(), modes={"one": one, "other": one}))
    with pytest.raises(AssertionError, match="'' is no name for a mode"):
        check_network(registered(of(), modes={"": one}))
    check_network(registered(of(), card=one))


def test_what_is_no_network_is_told() -> None:
    prior = Path(__file__).parents[2] / "examples" / "prior.py"
    with pytest.raises(AssertionError, match="'prior' is no network; register it with"):
        check_network(Registry.discover([prior]).get("classifier", "prior"))


@pytest.mark.parametrize(("file", "name"), [("network.py", "tiny"), ("frames.py", "tiny_frames")])
def test_the_examples_in_the_docs_pass(file: str, name: str) -> None:
    example = Path(__file__).parents[2] / "examples" / file
    check_network(Registry.discover([example]).get("classifier", name))
