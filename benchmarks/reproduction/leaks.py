"""One test set and three ways to divide the rest into training and validation, of which two leak."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import PRIVATE, PUBLIC, SPLITS, TRAINING, Dataset
from streamfer.training.datasets.splits import assign
from streamfer.training.recipe import AugmentOptions

SHARES = (0.8, 0.1, 0.1)
"""Of Training, PublicTest and PrivateTest."""

COPIES = 3
"""Changed copies of each face, as of `copies_cross`."""

CHANGES = AugmentOptions(flip=True, rotation=10, shift=0.1, zoom=0.0, brightness=0.0, contrast=0.0, erase=0.0)
"""How a copy differs: mirrored or not, turned and shifted. What the literature names, at the usual sizes."""


def clean(data: Dataset, seed: int = 0) -> Dataset:
    """80/10/10 by whole faces, stratified by class: no photo is on two sides.

    `data` must know its faces (`with_faces`). Every variant of one seed has the same PrivateTest: faces of
    which no copy, no duplicate and no near duplicate is anywhere else.
    """
    return replace(data, split=assign(data.labels, _faces(data), SHARES, seed))


def duplicates_cross(data: Dataset, seed: int = 0) -> Dataset:
    """As `clean`, but Training and PublicTest are drawn row by row: what FER2013 has twice can be in both."""
    held = clean(data, seed)
    pool = np.flatnonzero(held.split != SPLITS.index(PRIVATE))
    split = held.split.copy()
    split[pool] = _drawn(len(pool), seed)
    return replace(held, split=split)


def copies_cross(data: Dataset, seed: int = 0, copies: int = COPIES) -> Dataset:
    """As `clean`, but the faces of Training and PublicTest are first augmented and then divided, row by row:
    each face with `copies` changed copies, of which some are nearly always in the other split.

    The rows of the test set come first, unchanged; then the faces, and each round of copies. Like the copies,
    they know their face in `sequences`. FER+ votes go along.
    """
    held = clean(data, seed)
    pool = np.flatnonzero(held.split != SPLITS.index(PRIVATE))
    made = held.take(np.concatenate([held.rows(PRIVATE), np.tile(pool, copies + 1)]))
    test = len(data) - len(pool)
    images, split = made.images.copy(), made.split.copy()
    for number in range(copies):
        start = test + (number + 1) * len(pool)
        images[start : start + len(pool)] = changed(held.images[pool], seed + number)
    split[test:] = _drawn(len(pool) * (copies + 1), seed)
    return replace(made, images=images, split=split)


def changed(images: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """A copy of each image, changed at random as `CHANGES` has it; the same for the same seed."""
    from keras import ops

    from streamfer.training.augment import Augment

    layer = Augment(CHANGES, seed)
    batches: list[NDArray[np.uint8]] = []
    for start in range(0, len(images), 1024):
        batch = layer(images[start : start + 1024].astype(np.float32), training=True)
        batches.append(np.rint(ops.convert_to_numpy(batch)).astype(np.uint8))
    return np.concatenate(batches) if batches else images.copy()


def _faces(data: Dataset) -> NDArray[np.intp]:
    if data.sequences is None:
        raise UsageError(f"{data.name}: it is not known which rows show one face; see with_faces")
    return data.sequences.astype(np.intp)


def _drawn(rows: int, seed: int) -> NDArray[np.uint8]:
    """Training or PublicTest for each row, at random, in the relation of `SHARES`."""
    split = np.full(rows, SPLITS.index(TRAINING), np.uint8)
    public = round(rows * SHARES[1] / (SHARES[0] + SHARES[1]))
    split[np.random.default_rng(seed).permutation(rows)[:public]] = SPLITS.index(PUBLIC)
    return split
