"""Reads Kaggle's csv files of FER2013: fer2013.csv and icml_face_data.csv."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import SPLITS, Dataset
from streamfer.training.datasets.labels import renamed
from streamfer.training.datasets.options import Options, Progress
from streamfer.training.datasets.source import Source
from streamfer.types import LABELS

COLUMNS = ("emotion", "pixels", "Usage")
SIDE = 48
"""Height and width of every FER2013 image."""

_STEP = 200
"""Rows between two signs of progress."""


def read(path: Path, options: Options, progress: Progress) -> Source:
    """The rows of the file in its order, with its official split.

    `UsageError`, naming the line, for a row with a wrong number of pixels, a pixel over 255, a label or a
    Usage that FER2013 does not have; and for a file without the three columns.
    """
    pixels, labels, split, lines = bytearray(), bytearray(), bytearray(), []
    size, done = max(path.stat().st_size, 1), 0
    try:
        for line, image, label, part in _rows(path):
            pixels += image.tobytes()
            labels.append(label)
            split.append(part)
            lines.append(line)
            done += 4 * SIDE * SIDE  # three digits and a space at most
            if len(lines) % _STEP == 0:
                progress(f"reading {path.name}", min(done, size), size)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be read as a csv file: {reason}") from error
    if not lines:
        raise UsageError(f"{path}: no rows below the header")
    progress(f"reading {path.name}", size, size)
    images = np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE, 1)
    label_names, rows, named = renamed(np.frombuffer(labels, np.uint8), LABELS, options.names, str(path))
    origins = np.array([f"line {line}" for line in lines])
    data = Dataset(path.stem, images, named, np.frombuffer(split, np.uint8), label_names, origins=origins)
    if len(rows) < len(images):
        data = Dataset(path.stem, images[rows], named, data.split[rows], label_names, origins=origins[rows])
    return Source(data, official=True)


def _rows(path: Path) -> Iterator[tuple[int, NDArray[np.uint8], int, int]]:
    """Line number, pixels uint8 (48·48,), label and split of every row."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = csv.reader(file)
        header = [name.strip() for name in next(table, [])]  # icml_face_data.csv has " Usage", " pixels"
        for name in COLUMNS:
            if name not in header:
                raise UsageError(f"{path}: no column '{name}'; expected {', '.join(COLUMNS)}")
        emotion, pixels, usage = (header.index(name) for name in COLUMNS)
        for row in table:
            where = f"{path}: line {table.line_num}"
            if not row:
                continue
            if len(row) < len(header):
                raise UsageError(f"{where}: {len(row)} columns; expected {len(header)}")
            image = _image(row[pixels], where)
            yield table.line_num, image, _label(row[emotion], where), _split(row[usage], where)


def _image(text: str, where: str) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            # NumPy before 2.4 only warns of text after the numbers.
            warnings.simplefilter("error", DeprecationWarning)
            values = np.fromstring(text, np.int64, sep=" ")
    except (ValueError, DeprecationWarning) as error:
        raise UsageError(f"{where}: the pixels are not all whole numbers") from error
    if len(values) != SIDE * SIDE:
        raise UsageError(f"{where}: {len(values)} pixels; expected {SIDE * SIDE} ({SIDE}×{SIDE})")
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 255:
        raise UsageError(f"{where}: a pixel is {low if low < 0 else high}; expected 0..255")
    return values.astype(np.uint8)


def _label(text: str, where: str) -> int:
    label = text.strip()
    if not (label.isascii() and label.isdigit() and int(label) < len(LABELS)):
        raise UsageError(f"{where}: emotion is '{label}'; expected 0..{len(LABELS) - 1}")
    return int(label)


def _split(text: str, where: str) -> int:
    usage = text.strip()
    if usage not in SPLITS:
        raise UsageError(f"{where}: Usage is '{usage}'; expected one of {', '.join(SPLITS)}")
    return SPLITS.index(usage)
