"""Labelled faces with their split, and the one file that they are kept in."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.files import replaced

TRAINING, PUBLIC, PRIVATE = "Training", "PublicTest", "PrivateTest"
SPLITS = (TRAINING, PUBLIC, PRIVATE)
"""FER2013's names, used for all data: what weights are fitted to; what choices are made on (epochs, settings,
temperature); what is measured once, when all choices are made."""

FERPLUS_NAMES = (
    "neutral",
    "happy",
    "surprise",
    "sad",
    "angry",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "not-a-face",
)
"""The columns of the FER+ votes, by the names of our labels where there is one."""

FORMAT = "streamfer.dataset.v1"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Faces, row by row.

    `images` uint8 (n, height, width, channels), gray (1) or RGB (3), full range; `labels` uint8 (n,),
    indices into `label_names`; `split` uint8 (n,), indices into `SPLITS`. What a source does not tell is
    None: `votes` uint8 (n, 10), how many people chose each of `FERPLUS_NAMES` (Barsoum et al. 2016);
    `subjects` str (n,), who is shown; `sequences` int32 (n,), which clip a frame is from, and `frames`
    int32 (n,), its place in it; `seconds` float64 (n,), when it was, in seconds of the clip's clock;
    `origins` str (n,), the file or line that each row was read from. `name` is what people call the data;
    `about` holds what the import found and did, as JSON values.

    Rows whose time is known are frames of video: `seconds` comes with `sequences` and `frames`, and is "not a
    number" in rows that are of no clip, whose sequence is -1.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    split: NDArray[np.uint8]
    label_names: tuple[str, ...]
    votes: NDArray[np.uint8] | None = None
    subjects: NDArray[np.str_] | None = None
    sequences: NDArray[np.int32] | None = None
    frames: NDArray[np.int32] | None = None
    seconds: NDArray[np.float64] | None = None
    origins: NDArray[np.str_] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, split: str) -> NDArray[np.intp]:
        """The row numbers of one split, a name of `SPLITS`."""
        if split not in SPLITS:
            raise UsageError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
        return np.flatnonzero(self.split == SPLITS.index(split))

    def training_rows(self) -> NDArray[np.intp]:
        """The rows to train on: the Training split without constant images, which show nothing."""
        rows = self.rows(TRAINING)
        flat = self.images[rows].reshape(len(rows), -1)
        varied: NDArray[np.intp] = rows[flat.max(axis=1) != flat.min(axis=1)]
        return varied

    def unseen_rows(self, split: str) -> NDArray[np.intp]:
        """The rows of a split whose image does not stand in Training as well, pixel for pixel."""
        known = {image.tobytes() for image in self.images[self.rows(TRAINING)]}
        rows = self.rows(split)
        return rows[[self.images[row].tobytes() not in known for row in rows]]

    @property
    def video(self) -> NDArray[np.int32] | None:
        """The clip of each row, -1 for a still; None where no row has a time."""
        return None if self.seconds is None else self.sequences

    def inputs(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """What a network is fed: float32 (len(rows), height, width, channels), 0..255."""
        return self.images[rows].astype(np.float32)

    def take(self, rows: NDArray[np.intp]) -> Dataset:
        """The same data with only these rows, in this order."""

        def chosen(column: NDArray[Any] | None) -> Any:
            return None if column is None else column[rows]

        return Dataset(
            self.name,
            self.images[rows],
            self.labels[rows],
            self.split[rows],
            self.label_names,
            chosen(self.votes),
            chosen(self.subjects),
            chosen(self.sequences),
            chosen(self.frames),
            chosen(self.seconds),
            chosen(self.origins),
            self.about,
        )

    @cached_property
    def sha256(self) -> str:
        """The digest of what training and evaluation depend on: images, labels, their names, the split, and
        of video the clip and the time of each frame.

        It is the same whether the data was read from a csv, an npz or the file that `save` writes.
        """
        digest = hashlib.sha256(json.dumps([self.label_names, self.images.shape]).encode())
        columns: list[NDArray[Any] | None] = [self.images, self.labels, self.split]
        if self.seconds is not None:
            columns += [self.sequences, self.seconds]
        for column in columns:
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()


_OPTIONAL = {
    "votes": np.uint8,
    "subjects": np.str_,
    "sequences": np.int32,
    "frames": np.int32,
    "seconds": np.float64,
    "origins": np.str_,
}


def save(data: Dataset, path: Path) -> None:
    """Write the data to one compressed .npz, in one step: `path` is the old file or the whole new one.

    Raises `UsageError` if it cannot be written.
    """
    head = {"format": FORMAT, "name": data.name, "labels": list(data.label_names), "about": dict(data.about)}
    columns: dict[str, Any] = {"images": data.images, "labels": data.labels, "split": data.split}
    for name in _OPTIONAL:
        if (column := getattr(data, name)) is not None:
            columns[name] = column
    try:
        with replaced(path) as draft, draft.open("wb") as file:
            np.savez_compressed(file, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **columns)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


def is_dataset(path: Path) -> bool:
    """Whether this is a file that `save` wrote."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return {"head.npy", "images.npy", "split.npy"} <= set(archive.namelist())


def load(path: Path) -> Dataset:
    """Read a file that `save` wrote; `UsageError` when it is missing, damaged or of another version."""
    try:
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(file["head"].tobytes())
            if head["format"] != FORMAT:
                raise ValueError(f"its format is {head['format']}, this streamfer reads {FORMAT}")
            optional = {name: file[name].astype(kind) for name, kind in _OPTIONAL.items() if name in file}
            data = Dataset(
                head["name"],
                file["images"],
                file["labels"],
                file["split"],
                tuple(head["labels"]),
                about=head["about"],
                **optional,
            )
    except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be read as a data set: {reason}; import it again") from error
    check(data, str(path))
    return data


def check(data: Dataset, where: str) -> None:
    """Raise `UsageError`, naming `where`, unless every column has the shape, type and range it must have."""
    images, rows = data.images, len(data.images)
    if rows == 0:
        raise UsageError(f"{where}: no rows")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UsageError(
            f"{where}: images are {images.dtype} {images.shape}; expected uint8 (n, height, width, 1 or 3)"
        )
    for name, values, names in (("labels", data.labels, data.label_names), ("split", data.split, SPLITS)):
        if values.shape != (rows,) or values.dtype != np.uint8 or int(values.max()) >= len(names):
            raise UsageError(f"{where}: {name}: expected {rows} values in 0..{len(names) - 1}")
    for name in _OPTIONAL:
        column = getattr(data, name)
        wanted = (rows, len(FERPLUS_NAMES)) if name == "votes" else (rows,)
        if column is not None and column.shape != wanted:
            raise UsageError(f"{where}: {name} are {column.shape}; expected {wanted}")
    if data.seconds is not None:
        if data.sequences is None:
            raise UsageError(f"{where}: seconds without sequences; expected both")
        if not np.array_equal(np.isfinite(data.seconds), data.sequences >= 0):
            raise UsageError(
                f"{where}: seconds: expected a number for each frame of a sequence and for no other"
            )
