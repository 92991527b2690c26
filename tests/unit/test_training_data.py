"""Reading FER2013: both file formats, and which rows are fit for what."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from streamfer.errors import UsageError
from streamfer.training import data

ROWS = 8
LABELS = np.array([0, 3, 6, 4, 1, 2, 5, 3], np.uint8)
USAGE = np.array([0, 0, 0, 0, 1, 1, 2, 2], np.uint8)


@pytest.fixture
def images() -> np.ndarray:
    """Row 3 (Training) and row 5 (PublicTest) are constant; row 6 (PrivateTest) repeats row 1 (Training)."""
    images = np.random.default_rng(0).integers(0, 256, (ROWS, 48, 48), dtype=np.uint8)
    images[3], images[5], images[6] = 7, 9, images[1]
    return images


@pytest.fixture
def npz(tmp_path: Path, images: np.ndarray) -> Path:
    path = tmp_path / "fer2013.npz"
    votes = np.ones((ROWS, 10), np.uint8)
    np.savez(path, images=images, labels=LABELS, usage=USAGE, ferplus_votes=votes)
    return path


def write_csv(path: Path, images: np.ndarray, header: list[str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for image, label, usage in zip(images, LABELS, USAGE, strict=True):
            values = {
                "emotion": label,
                "pixels": " ".join(map(str, image.ravel())),
                "Usage": data.USAGES[usage],
            }
            writer.writerow([values[name.strip()] for name in header])
    return path


def test_npz(npz: Path, images: np.ndarray) -> None:
    loaded = data.load(npz)
    assert np.array_equal(loaded.images, images)
    assert np.array_equal(loaded.labels, LABELS)
    assert np.array_equal(loaded.usage, USAGE)
    assert loaded.votes is not None and loaded.votes.shape == (ROWS, 10)
    assert len(loaded.sha256) == 64


@pytest.mark.parametrize("header", [["emotion", "pixels", "Usage"], ["emotion", " Usage", " pixels"]])
def test_both_csv_layouts_say_the_same_as_the_npz(
    tmp_path: Path, npz: Path, images: np.ndarray, header: list[str]
) -> None:
    loaded, same = data.load(write_csv(tmp_path / "fer2013.csv", images, header)), data.load(npz)
    assert np.array_equal(loaded.images, same.images) and loaded.images.dtype == np.uint8
    assert np.array_equal(loaded.labels, same.labels)
    assert np.array_equal(loaded.usage, same.usage)
    assert loaded.votes is None


def test_constant_images_are_dropped_from_training_only(npz: Path) -> None:
    loaded = data.load(npz)
    assert loaded.training_rows().tolist() == [0, 1, 2]
    assert loaded.rows("Training").tolist() == [0, 1, 2, 3]
    assert loaded.rows("PublicTest").tolist() == [4, 5]


def test_unseen_rows_leave_out_images_that_stand_in_training(npz: Path) -> None:
    loaded = data.load(npz)
    assert loaded.rows("PrivateTest").tolist() == [6, 7]
    assert loaded.unseen_rows("PrivateTest").tolist() == [7]


def test_inputs_are_full_range_floats(npz: Path, images: np.ndarray) -> None:
    inputs = data.load(npz).inputs(np.array([0, 2]))
    assert inputs.shape == (2, 48, 48, 1) and inputs.dtype == np.float32
    assert np.array_equal(inputs[1, :, :, 0], images[2])


def test_an_unknown_split_is_named(npz: Path) -> None:
    with pytest.raises(UsageError, match="'Test': expected one of Training, PublicTest, PrivateTest"):
        data.load(npz).rows("Test")


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("absent.npz", None, "no such file"),
        ("faces.zip", b"", r"expected a file ending in \.npz or \.csv"),
        ("broken.npz", b"not a zip file", "not a FER2013 file"),
        ("empty.csv", b"emotion,pixels,Usage\n", "no rows"),
        ("column.csv", b"emotion,Usage\n3,Training\n", "no column 'pixels'"),
        ("short.csv", b"emotion,pixels,Usage\n3,1 2 3,Training\n", "line 2: "),
        ("loud.csv", b"emotion,pixels,Usage\n3,999 2 3,Training\n", "line 2: "),
        ("cut.csv", b"emotion,pixels,Usage\n3\n", "line 2: "),
    ],
)
def test_a_bad_file_gives_one_line(tmp_path: Path, name: str, content: bytes | None, complaint: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=complaint) as caught:
        data.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"labels": np.full(ROWS, 7, np.uint8)}, "labels: expected 8 values in 0..6"),
        ({"usage": USAGE[:-1]}, "usage: expected 8 values in 0..2"),
        ({"images": np.zeros((ROWS, 32, 32), np.uint8)}, "expected uint8 (n, 48, 48)"),
        ({"ferplus_votes": np.ones((ROWS, 8), np.uint8)}, "expected (8, 10)"),
        ({"images": None}, "images"),
    ],
)
def test_bad_arrays_are_refused(
    tmp_path: Path, images: np.ndarray, changed: dict[str, np.ndarray | None], complaint: str
) -> None:
    arrays = {"images": images, "labels": LABELS, "usage": USAGE} | changed
    np.savez(tmp_path / "bad.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UsageError, match=re.escape(complaint)):
        data.load(tmp_path / "bad.npz")


def test_the_light_modules_import_neither_keras_nor_tensorflow() -> None:
    modules = ", ".join(
        f"streamfer.training.{name}" for name in ("data", "recipe", "evaluate", "export", "__main__")
    )
    check = (
        f"import sys, {modules}; sys.exit(', '.join({{'keras', 'tensorflow'}} & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
