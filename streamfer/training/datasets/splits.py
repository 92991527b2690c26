"""Splits that are made here: stratified by class, by subject, and PublicTest cut from Training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import PRIVATE, PUBLIC, SPLITS, TRAINING, Dataset
from streamfer.training.datasets.findings import count
from streamfer.training.datasets.grouping import Groups
from streamfer.training.datasets.likeness import Likeness

FREE = len(SPLITS)
"""In an array of splits: this row is in none yet."""


def together(data: Dataset, likeness: Likeness, *, by_subject: bool) -> NDArray[np.intp]:
    """Per row the group that a split must not separate: same and nearly same images, frames of one sequence
    and, if asked for, all of one subject."""
    groups = Groups(len(data))
    groups.join_equal(likeness.alike)
    if data.sequences is not None:
        groups.join_equal(data.sequences, data.sequences >= 0)
    if by_subject and data.subjects is not None:
        groups.join_equal(data.subjects, data.subjects != "")
    return groups.ids()


def assign(
    labels: NDArray[np.uint8],
    groups: NDArray[np.intp],
    ratios: tuple[float, ...],
    seed: int,
    given: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The split of each row, uint8 indices into `ratios`: for every class as near to its shares as whole
    groups allow.

    Groups are taken by falling size, those of one size in a random order, and each goes where the larger
    share of the room for its classes stays free. Rows that have a split already (`given`; `FREE` are the
    others) keep it, and the rest of their group follows them (the first split, where they are in several), so
    that no group is separated that was not before.
    """
    given = np.full(len(labels), FREE, np.uint8) if given is None else given
    free = given == FREE
    firsts, member = np.unique(groups, return_inverse=True)
    classes = int(labels.max(initial=0)) + 1
    counts = np.zeros((len(firsts), classes), np.int64)
    np.add.at(counts, (member[free], labels[free]), 1)
    fixed = np.full(len(firsts), FREE, np.uint8)
    np.minimum.at(fixed, member, given)

    shares = np.array(ratios)
    wanted = counts.sum(axis=0) * shares[:, None]
    room = wanted.copy()
    open_splits = np.flatnonzero(shares > 0)
    order = np.random.default_rng(seed).permutation(len(firsts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    order = order[
        np.argsort(fixed[order] == FREE, kind="stable")
    ]  # those that are given take their room first
    for group in order[counts[order].any(axis=1)]:
        count = counts[group]
        if fixed[group] == FREE:
            its = np.flatnonzero(count)
            left = (room[np.ix_(open_splits, its)] - count[its]) / wanted[np.ix_(open_splits, its)]
            fixed[group] = open_splits[int(np.argmax(left @ count[its]))]
        room[fixed[group]] -= count
    return np.where(free, fixed[member], given).astype(np.uint8)


def by_subject(data: Dataset, likeness: Likeness) -> NDArray[np.intp]:
    """The groups of a split by subject; `UsageError` if it is not known of every row who is shown."""
    unknown = np.flatnonzero(data.subjects == "") if data.subjects is not None else np.arange(len(data))
    if len(unknown):
        first = f", such as {data.origins[unknown[0]]}" if data.origins is not None else ""
        raise UsageError(
            f"--split subject: the subject of {count(len(unknown), 'row')} is not known{first}; put the "
            "pictures into CLASS/SUBJECT/ or take --split stratified"
        )
    return together(data, likeness, by_subject=True)


def lacks_validation(data: Dataset) -> bool:
    """Whether there is something to train on and to measure with, and nothing to choose by."""
    training, public, private = (len(data.rows(split)) for split in (TRAINING, PUBLIC, PRIVATE))
    return bool(training and private and not public)


def cut_validation(data: Dataset, likeness: Likeness, share: float, seed: int) -> NDArray[np.uint8]:
    """The split of each row when a share of Training has become PublicTest; no image, sequence or subject of
    Training is then in both."""
    rows = data.rows(TRAINING)
    groups = together(data, likeness, by_subject=True)[rows]
    split = data.split.copy()
    split[rows] = assign(data.labels[rows], groups, (1 - share, share), seed)
    return split
