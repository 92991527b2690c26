"""Reads .npz archives of images and labels, such as fer2013.npz (official split, FER+ votes) and ckplus48.npz
(subject, sequence, frame)."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import FERPLUS_NAMES, SPLITS, Dataset
from streamfer.training.datasets.filenames import Facts, facts
from streamfer.training.datasets.labels import known, renamed
from streamfer.training.datasets.options import Options
from streamfer.training.datasets.source import Source
from streamfer.types import LABELS

_KNOWN = (
    "images",
    "labels",
    "label_names",
    "usage",
    "usage_names",
    "ferplus_votes",
    "ferplus_names",
    "subject",
    "sequence",
    "frame",
    "filename",
)


def read(path: Path, options: Options) -> Source:
    """The rows of the archive in its order.

    `images` (n, height, width) or (n, height, width, 1 or 3), whole numbers 0..255; `labels` (n,), indices
    into `label_names` (FER2013's seven if that is not there). All else is optional: `usage` (n,), indices
    into `usage_names`; `ferplus_votes` (n, 10); `subject`, `sequence` and `frame` (n,), or `filename` (n,)
    with names that tell them. Other arrays are not looked at. `UsageError` for what does not fit.
    """
    arrays = _arrays(path)
    images = _images(arrays["images"], path)
    rows = len(images)
    theirs = [str(name) for name in arrays.get("label_names", LABELS)]
    labels = _indices(arrays["labels"], "labels", rows, len(theirs), path)
    label_names, kept, named = renamed(labels, theirs, options.names, str(path))
    split = np.zeros(rows, np.uint8)
    if (official := "usage" in arrays) is True:
        split = _usage(arrays, rows, path)
    data = Dataset(
        path.stem,
        images,
        labels.astype(np.uint8),
        split,
        label_names,
        votes=_votes(arrays, rows, path),
        **_who(arrays, rows, path),
    )
    if len(kept) < rows:
        data = data.take(kept)
    return Source(replace(data, labels=named), official)


def columns_of(found: list[Facts]) -> dict[str, Any]:
    """The data set's columns `subjects`, `sequences` and `frames` of rows with these facts: each None if no
    row tells; sequences are numbered from 0 over all subjects, unknown ones are -1."""
    subjects = np.array([one.subject for one in found])
    clips: dict[tuple[str, str], int] = {}
    sequences = [clips.setdefault((one.subject, one.clip), len(clips)) if one.clip else -1 for one in found]
    return {
        "subjects": subjects if any(one.subject for one in found) else None,
        "sequences": np.array(sequences, np.int32) if clips else None,
        "frames": np.array([one.frame for one in found], np.int32) if clips else None,
    }


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _KNOWN if name in file}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be read as an .npz archive: {reason}") from error
    for name in ("images", "labels"):
        if name not in arrays:
            raise UsageError(f"{path}: no array '{name}'; expected images, labels and perhaps usage, …")
    return arrays


def _images(images: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    given = images.shape
    if images.ndim == 3:
        images = images[:, :, :, None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or images.dtype.kind not in "ui" or not images.size:
        raise UsageError(
            f"{path}: images are {images.dtype} {given}; expected whole numbers 0..255 of shape "
            "(n, height, width) or (n, height, width, 1 or 3)"
        )
    if images.dtype != np.uint8:
        wrong = np.flatnonzero(((images < 0) | (images > 255)).any(axis=(1, 2, 3)))
        if len(wrong):
            image = images[wrong[0]]
            value = image.max() if image.max() > 255 else image.min()
            raise UsageError(f"{path}: row {wrong[0]}: a pixel is {value}; expected 0..255")
    return np.ascontiguousarray(images, np.uint8)


def _indices(values: NDArray[Any], name: str, rows: int, limit: int, path: Path) -> NDArray[np.integer]:
    if values.shape != (rows,) or values.dtype.kind not in "ui":
        raise UsageError(f"{path}: {name} are {values.dtype} {values.shape}; expected {rows} whole numbers")
    wrong = np.flatnonzero((values < 0) | (values >= limit))
    if len(wrong):
        raise UsageError(f"{path}: row {wrong[0]}: {name} is {values[wrong[0]]}; expected 0..{limit - 1}")
    return values


def _usage(arrays: dict[str, NDArray[Any]], rows: int, path: Path) -> NDArray[np.uint8]:
    names = [str(name) for name in arrays.get("usage_names", SPLITS)]
    for name in names:
        if name not in SPLITS:
            raise UsageError(f"{path}: usage_names has '{name}'; expected some of {', '.join(SPLITS)}")
    usage = _indices(arrays["usage"], "usage", rows, len(names), path)
    codes = np.array([SPLITS.index(name) for name in names], np.uint8)
    return np.asarray(codes[usage], np.uint8)


def _votes(arrays: dict[str, NDArray[Any]], rows: int, path: Path) -> NDArray[np.uint8] | None:
    if (votes := arrays.get("ferplus_votes")) is None:
        return None
    wanted = (rows, len(FERPLUS_NAMES))
    if (
        votes.shape != wanted
        or votes.dtype.kind not in "ui"
        or int(votes.min()) < 0
        or int(votes.max()) > 255
    ):
        raise UsageError(f"{path}: ferplus_votes are {votes.dtype} {votes.shape}; expected counts {wanted}")
    names = [str(name) for name in arrays.get("ferplus_names", FERPLUS_NAMES)]
    if tuple(known(name) for name in names[:8]) != FERPLUS_NAMES[:8]:  # the last two have many names
        raise UsageError(f"{path}: ferplus_names are {', '.join(names)}; expected {', '.join(FERPLUS_NAMES)}")
    return votes.astype(np.uint8)


def _who(arrays: dict[str, NDArray[Any]], rows: int, path: Path) -> dict[str, Any]:
    """Subjects, sequences, frames and origins, as far as the archive tells."""
    for name in ("subject", "sequence", "frame", "filename"):
        if name in arrays and arrays[name].shape != (rows,):
            raise UsageError(f"{path}: {name} is {arrays[name].shape}; expected ({rows},)")
    files = arrays.get("filename")
    origins = None if files is None else files.astype(np.str_)
    found = [] if origins is None else [facts(name) for name in origins.tolist()]
    if not found or not all(one.subject for one in found):
        nobody = np.full(rows, "")
        subjects = arrays.get("subject", nobody).astype(np.str_).tolist()
        clips = arrays.get("sequence", nobody).astype(np.str_).tolist()
        frames = arrays.get("frame", np.full(rows, -1)).astype(np.int32).tolist()
        found = [Facts(*one) for one in zip(subjects, clips, frames, strict=True)]
    return {**columns_of(found), "origins": origins}
