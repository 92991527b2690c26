"""A tiny network and synthetic faces for it: trained in seconds, by everything that trains for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streamfer.training.dataset import FERPLUS_NAMES, Dataset
from streamfer.types import LABELS

SIDE = 24

PLUGIN = '''
"""A network in a file: one convolution and one dense layer."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from streamfer.api import Component, Options, network
from streamfer.hookspecs import hookimpl
from streamfer.types import CropSpec


class TinyOptions(Options):
    """The shape of the network."""

    filters: int = Field(4, ge=1, description="channels of the convolution")
    dropout: float = Field(0.1, ge=0, lt=1, description="before the last layer")


def build(options: TinyOptions, crop: CropSpec, labels: int) -> Any:
    """Faces float32 (n, height, width, channels), 0..255, to logits (n, labels)."""
    import keras
    from keras import layers

    faces = keras.Input((crop.height, crop.width, crop.channels), name="faces")
    x = layers.Conv2D(options.filters, 3, padding="same", use_bias=False)(faces / 127.5 - 1)
    x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.ReLU()(x)
    x = layers.AveragePooling2D(4)(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(options.dropout)(x)
    return keras.Model(faces, layers.Dense(labels, dtype="float32")(x), name="tiny")


@hookimpl
def streamfer_components() -> list[Component]:
    return [network("tiny", "One convolution", build=":build", options=TinyOptions)]
'''

RECIPE: dict[str, Any] = {
    "classifier": "tiny",
    "plugins": ["tiny.py"],
    "version": "0.0.1",
    "epochs": 6,
    "batch_size": 16,
    "learning_rate": 0.01,
    "warmup_epochs": 0,
    "ema": 0.9,
    "augment": {"rotation": 2, "shift": 0.02, "zoom": 0.02, "erase": 0.0},
}


def faces(rows: int = 140, labels: tuple[str, ...] = LABELS, seed: int = 3) -> Dataset:
    """A bright bar on noise, whose height tells the label; 4 of 7 rows are for training, 2 of them private.

    The first PrivateTest row repeats the first row of Training.
    """
    random = np.random.default_rng(seed)
    answers = (np.arange(rows) // 7 % len(labels)).astype(np.uint8)
    images = random.integers(0, 60, (rows, SIDE, SIDE, 1), dtype=np.uint8)
    for image, label in zip(images, answers, strict=True):
        image[label * 3 : label * 3 + 3] += 150
    split = np.tile(np.array([0, 0, 0, 0, 1, 2, 2], np.uint8), rows // 7 + 1)[:rows]
    private = np.flatnonzero(split == 2)[0]
    images[private], answers[private] = images[0], answers[0]
    votes = np.zeros((rows, len(FERPLUS_NAMES)), np.uint8)
    votes[np.arange(rows), [FERPLUS_NAMES.index(labels[answer]) for answer in answers]] = 10
    return Dataset("bars", images, answers, split, labels, votes)


def write_recipe(folder: Path, **changes: Any) -> Path:
    """A recipe file for the tiny network, with its plugin beside it."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.py").write_text(PLUGIN, "utf-8")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE | changes), "utf-8")
    return path


class Silent:
    """A Progress that only remembers."""

    def __init__(self) -> None:
        self.prepared: tuple[int, int] | None = None
        self.begun: tuple[int, int, int] | None = None
        self.steps = 0
        self.rows: list[dict[str, Any]] = []

    def prepare(self, done: int, total: int) -> None:
        self.prepared = done, total

    def begin(self, done: int, epochs: int, steps: int) -> None:
        self.begun = done, epochs, steps

    def step(self, loss: float, accuracy: float) -> None:
        self.steps += 1

    def epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
