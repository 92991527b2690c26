"""Reads a copy of FER2013 (fer2013.npz or Kaggle's csv) and says which of its rows are fit for what."""

from __future__ import annotations

import csv
import hashlib
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.types import LABELS

USAGES = ("Training", "PublicTest", "PrivateTest")
"""The official split, in the order of the `usage` codes."""

SIDE = 48
"""Height and width of every FER2013 image."""

FERPLUS_TO_LABEL = (6, 3, 5, 4, 0, 1, 2)
"""For FER+'s first seven columns (neutral, happiness, surprise, sadness, anger, disgust, fear) the index in
`LABELS`; its contempt, unknown and not-a-face have no counterpart."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with their labels and split.

    `images` uint8 (n, 48, 48), gray, full range; `labels` uint8 (n,) into `LABELS`; `usage` uint8 (n,) into
    `USAGES`; `votes` uint8 (n, 10), the FER+ votes (Barsoum et al. 2016), or None where the file has none;
    `sha256` is the digest of the file's bytes.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    usage: NDArray[np.uint8]
    votes: NDArray[np.uint8] | None
    sha256: str

    def rows(self, split: str) -> NDArray[np.intp]:
        """The row numbers of one split, a name of `USAGES`."""
        if split not in USAGES:
            raise UsageError(f"split {split!r}: expected one of {', '.join(USAGES)}")
        return np.flatnonzero(self.usage == USAGES.index(split))

    def training_rows(self) -> NDArray[np.intp]:
        """The rows to train on: the Training split without constant images, which show nothing."""
        rows = self.rows("Training")
        flat = self.images[rows].reshape(len(rows), -1)
        varied: NDArray[np.intp] = rows[flat.max(axis=1) != flat.min(axis=1)]
        return varied

    def unseen_rows(self, split: str) -> NDArray[np.intp]:
        """The rows of a split whose image does not stand in Training as well, byte for byte."""
        known = {image.tobytes() for image in self.images[self.rows("Training")]}
        rows = self.rows(split)
        return rows[[self.images[row].tobytes() not in known for row in rows]]

    def inputs(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """What a classifier is fed: float32 (len(rows), 48, 48, 1), 0..255."""
        return self.images[rows, :, :, None].astype(np.float32)


def load(path: Path) -> Dataset:
    """Read fer2013.npz or a csv with the columns emotion, Usage, pixels (fer2013.csv, icml_face_data.csv).

    Raises `UsageError` when the file is missing, unreadable or not FER2013.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file; expected fer2013.npz or Kaggle's fer2013.csv")
    readers = {".npz": _read_npz, ".csv": _read_csv}
    if path.suffix not in readers:
        raise UsageError(f"{path}: expected a file ending in .npz or .csv")
    try:
        images, labels, usage, votes = readers[path.suffix](path)
    except (KeyError, ValueError, OSError, csv.Error, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: not a FER2013 file: {error}") from error
    _check(path, images, labels, usage, votes)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Dataset(path.name, images, labels, usage, votes, digest)


_Columns = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8] | None]


def _read_npz(path: Path) -> _Columns:
    with np.load(path, allow_pickle=False) as file:
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("one array instead of an archive")
        return file["images"], file["labels"], file["usage"], file.get("ferplus_votes")


def _read_csv(path: Path) -> _Columns:
    images, labels, usage = [], [], []
    csv.field_size_limit(max(csv.field_size_limit(), sys.maxunicode))
    with path.open(newline="", encoding="utf-8") as file:
        for line, record in enumerate(csv.DictReader(file, skipinitialspace=True), start=2):
            # icml_face_data.csv heads its columns " Usage" and " pixels".
            row: dict[str, Any] = {str(key).strip(): value for key, value in record.items()}
            try:
                pixels = np.array(row["pixels"].split(), dtype=np.uint8)
                images.append(pixels.reshape(SIDE, SIDE))
                labels.append(int(row["emotion"]))
                usage.append(USAGES.index(row["Usage"].strip()))
            except KeyError as error:
                raise ValueError(f"no column {error}; expected emotion, Usage, pixels") from error
            except (ValueError, OverflowError, AttributeError) as error:
                raise ValueError(f"line {line}: {error}") from error
    if not images:
        raise ValueError("no rows")
    return np.stack(images), np.array(labels, np.uint8), np.array(usage, np.uint8), None


def _check(
    path: Path,
    images: NDArray[Any],
    labels: NDArray[Any],
    usage: NDArray[Any],
    votes: NDArray[Any] | None,
) -> None:
    rows = len(images)
    if images.shape != (rows, SIDE, SIDE) or images.dtype != np.uint8 or rows == 0:
        raise UsageError(f"{path}: images are {images.dtype} {images.shape}; expected uint8 (n, 48, 48)")
    if votes is not None and votes.shape != (rows, 10):
        raise UsageError(f"{path}: ferplus_votes are {votes.shape}; expected ({rows}, 10)")
    for name, values, limit in (("labels", labels, len(LABELS)), ("usage", usage, len(USAGES))):
        if values.shape != (rows,) or values.min() < 0 or values.max() >= limit:
            raise UsageError(f"{path}: {name}: expected {rows} values in 0..{limit - 1}")
