"""Which rows show the same face, and how much of a validation split stands in Training as well."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streamfer.training.dataset import PUBLIC, TRAINING, Dataset
from streamfer.training.datasets.grouping import Groups
from streamfer.training.datasets.likeness import likeness


def with_faces(data: Dataset) -> Dataset:
    """The same data, whose `sequences` say which rows are one photo: equal for images that are equal pixel
    for pixel or nearly so (shifted, scaled, brightened).

    A minute for FER2013: all images are compared with all. What is made of the data afterwards only has to
    carry the column along.
    """
    return replace(data, sequences=likeness(data.images).alike.astype(np.int32))


def same_face(data: Dataset) -> NDArray[np.intp]:
    """Per row the first row that shows the same face: of the same `sequences`, where they are known, or with
    the same image, pixel for pixel."""
    first: dict[bytes, int] = {}
    digests = (hashlib.sha256(image.tobytes()).digest() for image in data.images)
    images = np.array([first.setdefault(digest, row) for row, digest in enumerate(digests)])
    groups = Groups(len(data))
    groups.join_equal(images)
    if data.sequences is not None:
        groups.join_equal(data.sequences, data.sequences >= 0)
    return groups.ids()


def crossing(data: Dataset, split: str = PUBLIC) -> float:
    """The share of a split's rows whose face stands in Training too; 0 for an empty split."""
    faces = same_face(data)
    rows = data.rows(split)
    return float(np.isin(faces[rows], faces[data.rows(TRAINING)]).mean()) if len(rows) else 0.0
