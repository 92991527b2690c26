"""Classifiers whose answers are known beforehand, and faces for them: no network, no luck."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streamfer.training.dataset import FERPLUS_NAMES, Dataset
from streamfer.types import LABELS

SIDE = 24

PLUGIN = '''
"""Classifiers that read the answer from the pixels: first the label, then how hard the row is."""

import numpy as np

from streamfer.api import Component, Published
from streamfer.hookspecs import hookimpl
from streamfer.types import LABELS, CropSpec

CROP = CropSpec(24, 24, 1)


class Able:
    """Right where the row is no harder than `skill`, else one label further; 60 to 90 % sure."""

    skill = 200
    order = LABELS

    def __init__(self, options):
        pass

    def predict(self, crops):
        label, hard = crops[:, 0, 0, 0].astype(int), crops[:, 0, 1, 0].astype(int)
        wrong = hard > self.skill
        answer = (label + wrong) % len(LABELS)
        found = np.full((len(crops), len(LABELS)), 0.01, np.float32)
        found[np.arange(len(crops)), answer] += 0.6 + 0.3 * crops[:, 0, 2, 0] / 255
        found = found[:, [LABELS.index(name) for name in self.order]]
        return found / found.sum(axis=1, keepdims=True)


class Weak(Able):
    skill = 120


class Turned(Able):
    """Knows the labels in another order, and errs on other rows."""

    order = LABELS[::-1]

    def predict(self, crops):
        crops = crops.copy()
        crops[:, 0, 1] = 255 - crops[:, 0, 1]
        return super().predict(crops)


class Four(Able):
    order = ("angry", "happy", "sad", "neutral")


PUBLISHED = (
    Published(0.78, "test", "A. Author, “<Faces> & more”, 2020"),
    Published(0.83, "validation", "B. Author and others, 2021"),
    Published(0.99, "test", "C. Author, 2019", data="CK+, 48×48"),
)


@hookimpl
def streamfer_components():
    return [
        Component("classifier", "able", "", ":Able", labels=LABELS, crop=CROP, published=PUBLISHED),
        Component("classifier", "weak", "", ":Weak", labels=LABELS, crop=CROP),
        Component("classifier", "turned", "", ":Turned", labels=LABELS[::-1], crop=CROP),
        Component("classifier", "four", "", ":Four", labels=Four.order, crop=CROP),
    ]
'''


def write_plugin(folder: Path) -> Path:
    """The plugin's file."""
    path = folder / "known.py"
    path.write_text(PLUGIN, "utf-8")
    return path


def faces(rows: int = 280, seed: int = 1, **changes: Any) -> Dataset:
    """Half Training, half PrivateTest; the pixels say the label, how hard the row is, and how sure to be.

    The first 14 PrivateTest rows repeat pictures of Training. One row in ten has other FER+ votes than its
    label.
    """
    random = np.random.default_rng(seed)
    images = np.zeros((rows, SIDE, SIDE, 1), np.uint8)
    labels = random.integers(0, len(LABELS), rows).astype(np.uint8)
    images[:, 0, 0, 0] = labels
    images[:, 0, 1:, 0] = random.integers(0, 256, (rows, SIDE - 1))
    split = np.repeat(np.array([0, 2], np.uint8), (rows // 2, rows - rows // 2))
    private = np.flatnonzero(split == 2)[:14]
    images[private], labels[private] = images[:14], labels[:14]
    votes = np.zeros((rows, len(FERPLUS_NAMES)), np.uint8)
    said = [FERPLUS_NAMES.index(LABELS[label]) for label in labels]
    votes[np.arange(rows), np.where(np.arange(rows) % 10 == 9, 8, said)] = 10
    columns = {"votes": votes, "label_names": LABELS, **changes}
    return Dataset("<[known]>", images, labels, split, **columns)
