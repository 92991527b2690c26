"""Several sources as one data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import FERPLUS_NAMES, Dataset
from streamfer.training.datasets.labels import ordered, relabelled


def merge(parts: Sequence[Dataset]) -> Dataset:
    """All rows of the parts, in their order.

    The labels are those of any part. What a part does not tell is "" (subjects, origins), -1 (sequences,
    frames), "not a number" (seconds) or ten times 0 (votes) in its rows. Subjects of one name are one
    subject. `UsageError` if the faces are not of one size.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    for part in parts[1:]:
        if part.images.shape[1:] != first.images.shape[1:]:
            raise UsageError(
                f"{first.name} has faces of {_size(first)}, {part.name} of {_size(part)}: they cannot be "
                "merged; photos can be cut to the size of the others with --crop"
            )
    label_names = ordered(name for part in parts for name in part.label_names)
    parts = [relabelled(part, label_names) for part in parts]
    return Dataset(
        "+".join(part.name for part in parts),
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.split for part in parts]),
        label_names,
        votes=_column(parts, "votes", np.zeros(len(FERPLUS_NAMES), np.uint8)),
        subjects=_column(parts, "subjects", np.str_()),
        sequences=_sequences(parts),
        frames=_column(parts, "frames", np.int32(-1)),
        seconds=_column(parts, "seconds", np.float64("nan")),
        origins=_origins(parts),
    )


def _size(data: Dataset) -> str:
    return "×".join(map(str, data.images.shape[1:]))


def _column(parts: Sequence[Dataset], name: str, unknown: Any) -> NDArray[Any] | None:
    columns = [getattr(part, name) for part in parts]
    if all(column is None for column in columns):
        return None
    return np.concatenate(
        [
            np.broadcast_to(unknown, (len(part), *np.shape(unknown))) if column is None else column
            for part, column in zip(parts, columns, strict=True)
        ]
    )


def _sequences(parts: Sequence[Dataset]) -> NDArray[np.int32] | None:
    """Numbered on from part to part, so that no two parts share one."""
    if (column := _column(parts, "sequences", np.int32(-1))) is None:
        return None
    column, start, following = column.copy(), 0, 0
    for part in parts:
        own = column[start : start + len(part)]
        known = own >= 0
        own[known] += following
        following = int(own.max(initial=following - 1)) + 1
        start += len(part)
    return column


def _origins(parts: Sequence[Dataset]) -> NDArray[np.str_] | None:
    """With the name of the part before each."""
    if all(part.origins is None for part in parts):
        return None
    named: list[NDArray[np.str_]] = [
        np.full(len(part), f"{part.name}:")
        if part.origins is None
        else np.char.add(f"{part.name}:", part.origins)
        for part in parts
    ]
    return np.concatenate(named)
