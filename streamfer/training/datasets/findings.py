"""What is worth knowing about a data set before anybody trusts a figure that was measured on it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.training.dataset import SPLITS, Dataset
from streamfer.training.datasets.grouping import members
from streamfer.training.datasets.likeness import Likeness
from streamfer.training.datasets.likeness import likeness as compare
from streamfer.training.datasets.options import Progress, silent

Rows = NDArray[np.intp]
Pair = tuple[str, str]
"""Two splits, in the order of `SPLITS`: where something is known from, and where it is met again."""


@dataclass(frozen=True, eq=False)
class Findings:
    """Row numbers of one data set.

    `constant`: images of one value all over. `duplicates`: the groups of equal images; `conflicts`: those of
    them with different labels. `near`: groups of images that are nearly the same, one row of each image.
    `leaks`: per pair of splits, the rows of the second whose image stands in the first; `near_leaks`: those
    of which only a nearly same image does. `shared_subjects`: per pair, who is shown in both. Pairs without
    any are left out.
    """

    rows: int
    constant: Rows
    duplicates: tuple[Rows, ...]
    conflicts: tuple[Rows, ...]
    near: tuple[Rows, ...]
    leaks: dict[Pair, Rows]
    near_leaks: dict[Pair, Rows]
    shared_subjects: dict[Pair, tuple[str, ...]]

    @property
    def surplus(self) -> int:
        """How many rows only repeat the image of another."""
        return sum(len(group) - 1 for group in self.duplicates)

    @property
    def distinct(self) -> int:
        """How many different images there are."""
        return self.rows - self.surplus

    def summary(self) -> dict[str, Any]:
        """The counts, as JSON values."""
        return {
            "rows": self.rows,
            "distinct_images": self.distinct,
            "surplus_duplicates": self.surplus,
            "groups_with_different_labels": len(self.conflicts),
            "groups_of_near_duplicates": len(self.near),
            "constant_images": len(self.constant),
            "leaks": _counts(self.leaks),
            "near_leaks": _counts(self.near_leaks),
            "shared_subjects": _counts(self.shared_subjects),
        }

    def lines(self) -> list[str]:
        """The same in sentences, one a finding; nothing about what was not found."""
        lines = [f"{count(self.distinct, 'different image')} in {count(self.rows, 'row')}"]
        if self.constant.size:
            lines.append(f"{count(len(self.constant), 'constant image')}: one value all over")
        if self.surplus:
            lines.append(f"{count(self.surplus, 'row')} with the image of another, pixel for pixel")
        if self.conflicts:
            lines.append(f"{count(len(self.conflicts), 'image')} with different labels in different rows")
        if self.near:
            lines.append(f"{count(len(self.near), 'group')} of nearly the same images")
        for (before, split), rows in self.leaks.items():
            lines.append(f"{count(len(rows), f'{split} image')} also in {before}")
        for (before, split), rows in self.near_leaks.items():
            lines.append(f"{count(len(rows), f'{split} image')} nearly the same as one in {before}")
        for (before, split), names in self.shared_subjects.items():
            lines.append(f"{count(len(names), 'subject')} in both {before} and {split}")
        return lines

    def leak(self) -> str | None:
        """What a split must not have, in one phrase: the same image or the same subject on both sides."""
        found = [
            f"{count(len(rows), f'{split} image')} also in {before}"
            for (before, split), rows in self.leaks.items()
        ]
        found += [
            f"{count(len(names), 'subject')} in both {before} and {split}"
            for (before, split), names in self.shared_subjects.items()
        ]
        return ", ".join(found) or None


def count(number: int, thing: str) -> str:
    """Such as "1 image" and "1,853 images"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def findings(data: Dataset, likeness: Likeness | None = None, progress: Progress = silent) -> Findings:
    """Look through the data; `likeness` where it has been computed already."""
    alike = likeness or compare(data.images, progress, data.video)
    duplicates = tuple(members(alike.same))
    leaks: dict[Pair, Rows] = {}
    near_leaks: dict[Pair, Rows] = {}
    shared: dict[Pair, tuple[str, ...]] = {}
    for before, split in combinations(SPLITS, 2):
        known, rows = data.rows(before), data.rows(split)
        same = np.isin(alike.same[rows], alike.same[known])
        near = np.isin(alike.alike[rows], alike.alike[known]) & ~same
        for found, into in ((same, leaks), (near, near_leaks)):
            if found.any():
                into[before, split] = rows[found]
        if data.subjects is not None:
            names = set(data.subjects[known].tolist()) & set(data.subjects[rows].tolist()) - {""}
            if names:
                shared[before, split] = tuple(sorted(names))
    return Findings(
        len(data),
        np.flatnonzero(alike.constant),
        duplicates,
        tuple(rows for rows in duplicates if len(np.unique(data.labels[rows])) > 1),
        _different(alike),
        leaks,
        near_leaks,
        shared,
    )


def _different(alike: Likeness) -> tuple[Rows, ...]:
    """Of every group of nearly same images, one row of each image; groups of one image alone are left out."""
    firsts = np.unique(alike.same, return_index=True)[1]
    return tuple(firsts[group] for group in members(alike.alike[firsts]))


def _counts(found: dict[Pair, Any]) -> dict[str, int]:
    return {f"{split} in {before}": len(rows) for (before, split), rows in found.items()}
