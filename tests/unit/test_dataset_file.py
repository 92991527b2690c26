"""The data set itself: which rows are fit for what, and the one file that it is kept in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamfer.errors import UsageError
from streamfer.training import dataset
from streamfer.training.dataset import Dataset
from streamfer.training.datasets import load
from tests.datasets import make, noise

LABELS = [0, 3, 6, 4, 1, 2, 5, 3]
SPLIT = [0, 0, 0, 0, 1, 1, 2, 2]


@pytest.fixture
def data() -> Dataset:
    """Row 3 (Training) and row 5 (PublicTest) are constant; row 6 (PrivateTest) repeats row 1 (Training)."""
    images = noise(8)
    images[3], images[5], images[6] = 7, 9, images[1]
    return make(images, LABELS, SPLIT)


def test_constant_images_are_left_out_of_training_only(data: Dataset) -> None:
    assert data.training_rows().tolist() == [0, 1, 2]
    assert data.rows("Training").tolist() == [0, 1, 2, 3]
    assert data.rows("PublicTest").tolist() == [4, 5]


def test_unseen_rows_leave_out_images_that_stand_in_training(data: Dataset) -> None:
    assert data.rows("PrivateTest").tolist() == [6, 7]
    assert data.unseen_rows("PrivateTest").tolist() == [7]


def test_inputs_are_full_range_floats(data: Dataset) -> None:
    inputs = data.inputs(np.array([0, 2]))
    assert inputs.shape == (2, 48, 48, 1) and inputs.dtype == np.float32
    assert np.array_equal(inputs[1], data.images[2])


def test_an_unknown_split_is_named(data: Dataset) -> None:
    with pytest.raises(UsageError, match="'Test': expected one of Training, PublicTest, PrivateTest"):
        data.rows("Test")


def test_all_columns_come_back_from_the_file(tmp_path: Path, data: Dataset) -> None:
    full = replace(
        data,
        votes=np.arange(80, dtype=np.uint8).reshape(8, 10),
        subjects=np.array(["S005", "", "Zoë", "a", "b", "c", "d", "e"]),
        sequences=np.arange(-1, 7, dtype=np.int32),
        frames=np.arange(8, dtype=np.int32),
        origins=np.array([f"happy/{row}.png" for row in range(8)]),
        about={"notes": ["cut"], "seed": 1},
    )
    dataset.save(full, tmp_path / "faces.npz")
    back = load(tmp_path / "faces.npz")
    assert (back.name, back.label_names, dict(back.about)) == (full.name, full.label_names, dict(full.about))
    for name in ("images", "labels", "split", "votes", "subjects", "sequences", "frames", "origins"):
        assert np.array_equal(getattr(back, name), getattr(full, name)), name
    assert back.sha256 == data.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["faces.npz"]


@pytest.mark.parametrize("column", ["images", "labels", "split", "label_names"])
def test_the_digest_depends_on_what_training_depends_on(data: Dataset, column: str) -> None:
    if column == "label_names":
        changed = replace(data, label_names=(*data.label_names[:-1], "contempt"))
    else:
        values = getattr(data, column).copy()
        values.flat[0] ^= 1
        changed = replace(data, **{column: values})
    assert changed.sha256 != data.sha256


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, data: Dataset) -> None:
    with pytest.raises(UsageError, match=r"absent/faces.npz: cannot be written: No such file"):
        dataset.save(data, tmp_path / "absent" / "faces.npz")


def test_a_full_disk_leaves_the_old_file(full_disk: Path) -> None:
    small, large = make(noise(8), LABELS), make(noise(2000), np.zeros(2000))
    dataset.save(small, full_disk / "faces.npz")
    with pytest.raises(UsageError, match="cannot be written: No space left"):
        dataset.save(large, full_disk / "faces.npz")
    assert dataset.load(full_disk / "faces.npz").sha256 == small.sha256
    assert [path.name for path in full_disk.iterdir()] == ["faces.npz"]


def test_a_damaged_file_is_one_line(tmp_path: Path, data: Dataset) -> None:
    path = tmp_path / "faces.npz"
    dataset.save(data, path)
    whole = path.read_bytes()
    for start in range(200, len(whole) - 1500, 1500):
        path.write_bytes(whole[:start] + bytes(400) + whole[start + 400 :])
        with pytest.raises(UsageError, match=r"faces\.npz: cannot be read") as caught:
            load(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"faces\.npz: a damaged \.npz file"):
        load(path)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"labels": np.full(8, 7, np.uint8)}, "labels: expected 8 values in 0..6"),
        ({"split": np.full(8, 3, np.uint8)}, "split: expected 8 values in 0..2"),
        ({"images": np.zeros((8, 48, 48), np.uint8)}, "expected uint8 (n, height, width, 1 or 3)"),
        ({"votes": np.ones((8, 8), np.uint8)}, "votes are (8, 8); expected (8, 10)"),
        ({"images": None}, "cannot be read"),
        ({"head": np.frombuffer(json.dumps({"format": "streamfer.dataset.v2"}).encode(), np.uint8)}, "v2"),
    ],
)
def test_bad_arrays_are_refused(
    tmp_path: Path, data: Dataset, changed: dict[str, np.ndarray | None], complaint: str
) -> None:
    path = tmp_path / "faces.npz"
    dataset.save(data, path)
    with np.load(path) as file:
        arrays = dict(file) | changed
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UsageError, match=re.escape(complaint)):
        dataset.load(path)


def test_reading_data_imports_nothing_heavy() -> None:
    check = (
        "import sys, streamfer.training.datasets\n"
        "heavy = {'keras', 'tensorflow', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
