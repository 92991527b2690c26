"""One Keras model of a network, as it is checked: what it gives for which rows, alone, again, and stored."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.testing.require import require

SAME = 1e-3
"""How far outputs of one network may lie apart, relative to a logit or to a probability of 1: rounding."""

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Role:
    """What a model is in its network, in the words of messages."""

    name: str
    row: str
    answer: str


MODEL = Role("model", "face", "logit")
ENCODER = Role("encoder", "face", "feature")
HEAD = Role("head", "window", "logit")


def ends(model: Any) -> list[list[tuple[tuple[int | None, ...], str]]]:
    """The shapes and dtypes of a Keras model's inputs, and of its outputs."""
    return [[(tuple(one.shape), one.dtype) for one in end or []] for end in (model.inputs, model.outputs)]


def answers(model: Any, rows: Rows) -> Rows:
    """What the model gives for the rows, in inference."""
    import keras

    return np.asarray(keras.ops.convert_to_numpy(model(rows, training=False)), np.float32)


def same(one: Rows, other: Rows) -> bool:
    """Whether two answers differ by rounding only."""
    return np.allclose(one, other, rtol=SAME, atol=SAME)


def check_answers(role: Role, model: Any, rows: Rows) -> Rows:
    """AssertionError unless the model gives finite answers, always the same, to each row by itself; what it
    gives."""
    found = answers(model, rows)
    row, answer = role.row, role.answer
    require(np.isfinite(found).all(), f"a {answer} is not finite")
    again = np.array_equal(found, answers(model, rows))
    require(again, f"the same {row}s get other {answer}s the second time")
    alone = np.concatenate([answers(model, rows[index : index + 1]) for index in range(len(rows))])
    require(same(alone, found), f"a {row} alone gets other {answer}s than among others")
    return found


def check_logits(found: Rows) -> None:
    """AssertionError if these are probabilities."""
    shares = bool((found >= 0).all()) and np.allclose(found.sum(axis=1), 1, atol=SAME)
    require(not shares, "the outputs are probabilities, expected logits: leave the softmax out")


def check_file(role: Role, model: Any, rows: Rows, path: Path) -> None:
    """Stored and loaded, without the plugin's code, it is the same model."""
    import keras

    model.save(path)
    with zipfile.ZipFile(path) as archive:
        foreign = sorted(set(_foreign(json.loads(archive.read("config.json")))))
    require(not foreign, f"the {role.name}'s file needs code that is not in Keras: {', '.join(foreign)}")
    loaded = keras.models.load_model(path, compile=False, safe_mode=True)
    require(
        same(answers(loaded, rows), answers(model, rows)),
        f"loaded from its file it gives other {role.answer}s",
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
