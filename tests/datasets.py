"""Small data sets in every layout, for the tests of the import."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer.training.dataset import SPLITS, Dataset
from streamfer.types import LABELS

ROOT = Path(__file__).parents[1]
PORTRAITS = ROOT / "tools" / "portraits"
SHARED = ROOT.parent / "shared" / "data"


def shared(name: str) -> Path:
    """A file of the real data; skips the test where it is absent."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path


def noise(rows: int, seed: int = 0, side: int = 48) -> NDArray[np.uint8]:
    """Gray images of which no two are alike, (rows, side, side)."""
    return np.random.default_rng(seed).integers(0, 256, (rows, side, side), dtype=np.uint8)


def make(images: NDArray[np.uint8], labels: Any, split: Any = None, **columns: Any) -> Dataset:
    """A data set of gray images with FER2013's labels; all Training unless `split` says more."""
    split = np.zeros(len(images)) if split is None else split
    labels, split = np.asarray(labels, np.uint8), np.asarray(split, np.uint8)
    names = columns.pop("label_names", LABELS)
    return Dataset(columns.pop("name", "made"), images[:, :, :, None], labels, split, names, **columns)


def write_npz(path: Path, data: Dataset, **more: Any) -> Path:
    """The layout of fer2013.npz."""
    arrays = {"images": data.images[:, :, :, 0], "labels": data.labels, "usage": data.split}
    arrays |= {"label_names": np.array(data.label_names), "usage_names": np.array(SPLITS)} | more
    if data.votes is not None:
        arrays["ferplus_votes"] = data.votes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def write_csv(path: Path, data: Dataset, header: tuple[str, ...] = ("emotion", "pixels", "Usage")) -> Path:
    """The layout of fer2013.csv, or with another header that of icml_face_data.csv."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for image, label, split in zip(data.images, data.labels, data.split, strict=True):
            values = {
                "emotion": int(label),
                "pixels": " ".join(map(str, image.ravel().tolist())),
                "Usage": SPLITS[split],
            }
            writer.writerow([values[name.strip()] for name in header])
    return path


def write_pictures(folder: Path, files: Mapping[str, NDArray[np.uint8]]) -> Path:
    """Pictures (gray or BGR) at these paths below `folder`; the suffix decides their format."""
    for name, image in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix.lower(), image)[1].tobytes())
    return folder


def each_class(rows: int = 2, seed: int = 0) -> Dataset:
    """`rows` Training rows of each of FER2013's classes, all different."""
    return make(noise(7 * rows, seed), np.tile(np.arange(7), rows))
