"""Reading one file: Kaggle's csv files, .npz archives, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamfer.errors import UsageError
from streamfer.training import dataset
from streamfer.training.dataset import Dataset
from streamfer.training.datasets import load
from streamfer.training.datasets.importing import import_sources
from streamfer.training.datasets.options import Options
from tests.datasets import each_class, make, noise, shared, write_csv, write_npz

ICML = ("emotion", " Usage", " pixels")


def small() -> Dataset:
    """Two rows of each class: one Training, then one of the test splits."""
    return make(noise(14), np.tile(np.arange(7), 2), np.repeat([0, 1, 2], [7, 4, 3]))


def test_a_csv_of_either_header_an_npz_and_our_file_are_the_same_data(tmp_path: Path) -> None:
    data = small()
    dataset.save(data, tmp_path / "ours.npz")
    paths = [
        write_csv(tmp_path / "fer2013.csv", data),
        write_csv(tmp_path / "icml_face_data.csv", data, ICML),
        write_npz(tmp_path / "fer2013.npz", data),
        tmp_path / "ours.npz",
    ]
    for path in paths:
        read = load(path)
        assert np.array_equal(read.images, data.images) and np.array_equal(read.labels, data.labels)
        assert read.sha256 == data.sha256, path.name


def test_an_excerpt_of_fer2013_is_the_same_data_in_every_layout(tmp_path: Path) -> None:
    whole = load(shared("fer2013.npz"))
    rows = np.sort(np.random.default_rng(0).choice(len(whole), 500, replace=False))
    data = whole.take(rows)
    dataset.save(data, tmp_path / "ours.npz")
    paths = write_csv(tmp_path / "f.csv", data), write_npz(tmp_path / "f.npz", data), tmp_path / "ours.npz"
    assert {load(path).sha256 for path in paths} == {data.sha256}


def test_the_origin_of_a_row_of_a_csv_is_its_line(tmp_path: Path) -> None:
    read = load(write_csv(tmp_path / "fer2013.csv", small()))
    assert read.origins is not None
    assert read.origins[[0, 13]].tolist() == ["line 2", "line 15"]


def test_blank_lines_a_byte_order_mark_and_a_capital_suffix_do_not_matter(tmp_path: Path) -> None:
    text = write_csv(tmp_path / "plain.csv", small()).read_text()
    (tmp_path / "FER2013.CSV").write_text("\ufeff" + text.replace("\n", "\n\n"), encoding="utf-8")
    assert load(tmp_path / "FER2013.CSV").sha256 == small().sha256


def test_votes_are_read_and_do_not_change_the_digest(tmp_path: Path) -> None:
    votes = np.random.default_rng(1).integers(0, 10, (14, 10), dtype=np.uint8)
    read = load(write_npz(tmp_path / "fer.npz", small(), ferplus_votes=votes))
    assert np.array_equal(read.votes, votes)
    assert read.sha256 == small().sha256


def test_wider_integers_are_taken_if_they_fit(tmp_path: Path) -> None:
    data = small()
    path = write_npz(tmp_path / "wide.npz", data, images=data.images[:, :, :, 0].astype(np.int32))
    assert load(path).sha256 == data.sha256


def test_ck_plus_is_read_with_subjects_sequences_and_frames() -> None:
    data = load(shared("ckplus48.npz"))
    assert data.label_names == ("angry", "disgust", "fear", "happy", "sad", "surprise", "contempt")
    assert data.subjects is not None and data.sequences is not None and data.frames is not None
    assert (len(set(data.subjects.tolist())), len(set(data.sequences.tolist()))) == (118, 327)
    assert (data.subjects[0], data.frames[0], data.label_names[data.labels[0]]) == ("S005", 9, "disgust")
    with np.load(shared("ckplus48.npz")) as file:
        theirs = file["label_names"][file["labels"]]
    ours = np.array(data.label_names)[data.labels]
    assert {(a, b) for a, b in zip(theirs, ours, strict=True)} == {
        ("anger", "angry"),
        ("contempt", "contempt"),
        ("disgust", "disgust"),
        ("fear", "fear"),
        ("happy", "happy"),
        ("sadness", "sad"),
        ("surprise", "surprise"),
    }


GOOD = " ".join(["7"] * 2304)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("emotion,Usage\n3,Training\n", "no column 'pixels'; expected emotion, pixels, Usage"),
        ("", "no column 'emotion'"),
        ("emotion,pixels,Usage\n", "no rows"),
        (f"emotion,pixels,Usage\n3,{GOOD},Training\n3,1 2 3,Training\n", "line 3: 3 pixels; expected 2304"),
        (f"emotion,pixels,Usage\n3,{GOOD} 7,Training\n", "line 2: 2305 pixels"),
        (f"emotion,pixels,Usage\n3,{GOOD[:-1]}256,Training\n", "line 2: a pixel is 256; expected 0..255"),
        (f"emotion,pixels,Usage\n3,{GOOD[:-1]}-1,Training\n", "line 2: a pixel is -1"),
        (
            f"emotion,pixels,Usage\n3,{GOOD[:-1]}7.5,Training\n",
            "line 2: the pixels are not all whole numbers",
        ),
        (f"emotion,pixels,Usage\n3,{GOOD} x,Training\n", "line 2: the pixels are not all whole numbers"),
        (f"emotion,pixels,Usage\n7,{GOOD},Training\n", "line 2: emotion is '7'; expected 0..6"),
        (f"emotion,pixels,Usage\n-1,{GOOD},Training\n", "line 2: emotion is '-1'"),
        (f"emotion,pixels,Usage\nhappy,{GOOD},Training\n", "line 2: emotion is 'happy'"),
        (f"emotion,pixels,Usage\n3,{GOOD},Test\n", "line 2: Usage is 'Test'; expected one of Training, "),
        ("emotion,pixels,Usage\n3\n", "line 2: 1 columns; expected 3"),
        (f"emotion,pixels,Usage\n3,{GOOD},Training\n", "no Training row of the class angry, disgust"),
    ],
)
def test_a_bad_csv_is_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(complaint)) as caught:
        load(path)
    assert "bad" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"images": None}, "no array 'images'"),
        ({"images": np.zeros((14, 48, 48), np.float32)}, "images are float32 (14, 48, 48)"),
        ({"images": np.zeros((14, 2304), np.uint8)}, "images are uint8 (14, 2304)"),
        ({"images": np.full((14, 48, 48), 256, np.int16)}, "row 0: a pixel is 256; expected 0..255"),
        ({"images": np.full((14, 48, 48), -1, np.int16)}, "row 0: a pixel is -1; expected 0..255"),
        ({"labels": np.full(14, 7)}, "row 0: labels is 7; expected 0..6"),
        ({"labels": np.zeros(13, np.uint8)}, "labels are uint8 (13,); expected 14 whole numbers"),
        ({"label_names": np.array([*"abcdef", "joy"])}, "no expression is known as 'a'"),
        ({"usage": np.full(14, 3)}, "row 0: usage is 3; expected 0..2"),
        ({"usage_names": np.array(["Training", "dev", "PrivateTest"])}, "usage_names has 'dev'"),
        ({"ferplus_votes": np.ones((14, 8), np.uint8)}, "expected counts (14, 10)"),
        ({"subject": np.ones(3)}, "subject is (3,); expected (14,)"),
        ({"images": np.array([{}])}, "Object arrays cannot be loaded"),
    ],
)
def test_a_bad_npz_is_one_line(tmp_path: Path, changed: dict[str, Any], complaint: str) -> None:
    path = write_npz(tmp_path / "bad.npz", small(), **changed)
    with pytest.raises(UsageError, match=re.escape(complaint)) as caught:
        load(path)
    assert "bad.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_data_set_is_one_line(tmp_path: Path) -> None:
    import zipfile

    (tmp_path / "notes.txt").write_text("hello\n")
    (tmp_path / "half.npz").write_bytes(write_npz(tmp_path / "whole.npz", small()).read_bytes()[:9000])
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("fer2013.csv", "emotion,pixels,Usage\n")
    for name, complaint in (
        ("absent.csv", "no such file or folder"),
        ("notes.txt", "not a data set; expected"),
        ("half.npz", "a damaged .npz file"),
        ("archive.zip", "an archive; unpack it"),
    ):
        with pytest.raises(UsageError, match=re.escape(complaint)):
            load(tmp_path / name)


def test_a_mapping_names_unknown_classes_or_leaves_them_out(tmp_path: Path) -> None:
    names = np.array(["angry", "disgust", "fear", "Joy", "sad", "surprise", "bored"])
    path = write_npz(tmp_path / "x.npz", each_class(), label_names=names)
    with pytest.raises(
        UsageError, match="no expression is known as 'Joy'; import the data with --map 'Joy=happy'"
    ):
        load(path)
    data = import_sources([path], Options(names={"joy": "happiness", "bored": "drop"})).data
    assert data.label_names == ("angry", "disgust", "fear", "happy", "sad", "surprise")
    assert data.labels.tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert data.about["map"] == {"joy": "happiness", "bored": "drop"}
    assert np.array_equal(data.images, each_class().images[[0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]])
    with pytest.raises(UsageError, match=r"--map Joy=glad: expected one of angry, .*, contempt, or drop"):
        import_sources([path], Options(names={"Joy": "glad", "bored": "drop"}))
