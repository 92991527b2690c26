"""Which rows stay: classes, at most so many of each in Training, and rows that are dropped for a finding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import TRAINING, Dataset
from streamfer.training.datasets.grouping import members
from streamfer.training.datasets.labels import known, ordered
from streamfer.training.datasets.likeness import Likeness
from streamfer.training.datasets.options import Drop


def chosen_labels(data: Dataset, classes: Sequence[str]) -> tuple[str, ...]:
    """The canonical names of `classes`, in canonical order; `UsageError` for one that the data lacks."""
    chosen = []
    for name in classes:
        label = known(name)
        if label is None or label not in data.label_names:
            raise UsageError(f"--classes {name}: the data has {', '.join(data.label_names)}")
        chosen.append(label)
    return ordered(chosen)


def at_most(data: Dataset, number: int, seed: int) -> NDArray[np.intp]:
    """The rows, rising, when at most `number` of each class stay in Training, drawn at random."""
    rng = np.random.default_rng(seed)
    keep = np.ones(len(data), bool)
    training = data.rows(TRAINING)
    for label in range(len(data.label_names)):
        rows = training[data.labels[training] == label]
        if len(rows) > number:
            keep[rng.choice(rows, len(rows) - number, replace=False)] = False
    return np.flatnonzero(keep)


def dropped(
    data: Dataset, likeness: Likeness, what: frozenset[Drop], official: NDArray[np.bool_]
) -> dict[Drop, NDArray[np.intp]]:
    """Which rows go, and for which finding first.

    Of duplicates, and of near duplicates, one row stays: the first of PrivateTest, else of PublicTest, else
    of Training, so that official test splits (`official`, per row) stay as whole as can be and Training does
    not contain them. Of images that stand there with different labels none stays.
    """
    gone: dict[Drop, NDArray[np.intp]] = {}
    left = np.ones(len(data), bool)

    def drop(name: Drop, mask: NDArray[np.bool_]) -> None:
        if name in what:
            gone[name] = np.flatnonzero(mask & left)
            left[mask] = False

    drop("constant", likeness.constant)
    drop("conflicts", in_conflict(data.labels, likeness.same))
    importance = np.where(official, data.split, 0)
    drop("duplicates", _surplus(likeness.same, importance, left))
    drop("near", _surplus(likeness.alike, importance, left))
    return gone


def in_conflict(labels: NDArray[np.uint8], same: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Per row whether the same image stands in the data with another label."""
    conflict = np.zeros(len(labels), bool)
    for rows in members(same):
        if len(np.unique(labels[rows])) > 1:
            conflict[rows] = True
    return conflict


def _surplus(
    ids: NDArray[np.intp], importance: NDArray[np.integer], left: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """All rows of a group but its most important one, the first of these; among the rows that are left."""
    surplus = np.zeros(len(ids), bool)
    for rows in members(ids):
        rows = rows[left[rows]]
        if len(rows):
            surplus[rows] = True
            surplus[rows[np.argmax(importance[rows])]] = False
    return surplus
