"""Fewer classes, or as many faces of each: the data of the studies with four and with balanced classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.reproduction.faces import same_face
from streamfer.errors import UsageError
from streamfer.training.dataset import PRIVATE, PUBLIC, SPLITS, TRAINING, Dataset
from streamfer.training.datasets.grouping import Groups
from streamfer.training.datasets.labels import relabelled
from streamfer.training.datasets.merge import merge
from streamfer.training.datasets.splits import assign

FOUR = ("angry", "happy", "sad", "neutral")
"""The classes of the study of the stacked network, in our order."""

SHARES = (0.6, 0.2, 0.2)
"""Of Training, PublicTest and PrivateTest in CK+: 480 images are few, and fewer say nothing."""


def four_classes(data: Dataset) -> Dataset:
    """The rows of the four classes, with their split."""
    return relabelled(data, FOUR)


def contempt_as_neutral(ckplus: Dataset) -> Dataset:
    """The four classes of CK+48, which has no neutral faces: those of contempt are taken for them."""
    if "contempt" not in ckplus.label_names or "neutral" in ckplus.label_names:
        raise UsageError(
            f"{ckplus.name}: has the classes {', '.join(ckplus.label_names)}; expected CK+48, which has "
            "contempt and no neutral"
        )
    return replace(relabelled(ckplus, (*FOUR[:-1], "contempt")), label_names=FOUR)


def ckplus_by_subject(ckplus: Dataset, seed: int = 0) -> Dataset:
    """The four classes of CK+48, split by subject: nobody is on two sides."""
    data = contempt_as_neutral(ckplus)
    return replace(data, split=assign(data.labels, _subjects(data), SHARES, seed))


def ckplus_by_image(ckplus: Dataset, seed: int = 0) -> Dataset:
    """As `ckplus_by_subject`, with the same test set, but Training and PublicTest are drawn image by image:
    of the three consecutive frames of a sequence, some are on both sides."""
    data = ckplus_by_subject(ckplus, seed)
    pool = np.flatnonzero(data.split != SPLITS.index(PRIVATE))
    total = SHARES[0] + SHARES[1]
    split = data.split.copy()
    split[pool] = assign(
        data.labels[pool], np.arange(len(pool)), (SHARES[0] / total, SHARES[1] / total), seed
    )
    return replace(data, split=split)


def with_ckplus(data: Dataset, ckplus: Dataset, seed: int = 0) -> Dataset:
    """The four classes of FER2013 with its split, and those of CK+48 by subject in Training and PublicTest.

    PrivateTest is FER2013's alone, so that the figures of both can be compared.
    """
    added = contempt_as_neutral(ckplus)
    total = SHARES[0] + SHARES[1]
    shares = (SHARES[0] / total, SHARES[1] / total)
    added = replace(added, split=assign(added.labels, _subjects(added), shares, seed))
    return merge([four_classes(data), added])


def balanced(data: Dataset, training: int = 500, validation: int = 100, seed: int = 0) -> Dataset:
    """So many faces of each class in Training and PublicTest; PrivateTest stays what it is.

    Drawn from the faces of Training and PublicTest of which none stands in PrivateTest, one row of each face
    and none that is constant. `data` should know its faces (`with_faces`). A class that has too few gets its
    full share of PublicTest; Training is then filled up with mirrored copies of its own images.
    `UsageError` if that is not enough either.
    """
    faces = same_face(data)
    random = np.random.default_rng(seed)
    rows, splits = [data.rows(PRIVATE)], [_all(PRIVATE, len(data.rows(PRIVATE)))]
    mirrored: list[NDArray[np.intp]] = []
    pool = _distinct(data, faces)
    for label, name in enumerate(data.label_names):
        own = random.permutation(pool[data.labels[pool] == label])[: training + validation]
        public, fitted = own[:validation], own[validation:]
        missing = training - len(fitted)
        if len(public) < validation or missing > len(fitted):
            raise UsageError(
                f"{data.name}: {len(own)} faces of class {name} are too few for {validation} in {PUBLIC} "
                f"and {training} in {TRAINING}, mirrored copies included"
            )
        mirrored.append(fitted[:missing])
        rows += [public, fitted]
        splits += [_all(PUBLIC, len(public)), _all(TRAINING, len(fitted))]
    copies = np.concatenate(mirrored)
    made = data.take(np.concatenate([*rows, copies]))
    images = made.images.copy()
    if len(copies):
        images[-len(copies) :] = images[-len(copies) :, :, ::-1]
    split = np.concatenate([*splits, _all(TRAINING, len(copies))])
    sequences = np.concatenate([faces[part] for part in (*rows, copies)]).astype(np.int32)
    return replace(made, images=images, split=split, sequences=sequences)


def _all(split: str, rows: int) -> NDArray[np.uint8]:
    return np.full(rows, SPLITS.index(split), np.uint8)


def _subjects(data: Dataset) -> NDArray[np.intp]:
    """Per row the group that a split by subject must keep together: all frames of a subject."""
    if data.subjects is None or not (data.subjects != "").all():
        raise UsageError(f"{data.name}: it does not say who is shown; expected CK+48")
    groups = Groups(len(data))
    groups.join_equal(data.subjects)
    return groups.ids()


def _distinct(data: Dataset, faces: NDArray[np.intp]) -> NDArray[np.intp]:
    """One row of each face that is not constant and not in PrivateTest."""
    flat = data.images.reshape(len(data), -1)
    usable = flat.max(axis=1) != flat.min(axis=1)
    usable &= ~np.isin(faces, faces[data.rows(PRIVATE)])
    rows = np.flatnonzero(usable)
    _, first = np.unique(faces[rows], return_index=True)
    distinct: NDArray[np.intp] = rows[np.sort(first)]
    return distinct
