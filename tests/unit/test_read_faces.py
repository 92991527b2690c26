"""What the commands that take --data say of data that was not imported before."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from streamfer.cli.extras import read_faces
from streamfer.training import dataset
from streamfer.types import LABELS
from tests.datasets import noise


def folders(path: Path) -> Path:
    """train/ and test/ with ten faces of each class, and a file that is no picture."""
    images = iter(noise(140))
    for split in ("train", "test"):
        for label in LABELS:
            (path / split / label).mkdir(parents=True)
            for row in range(10):
                cv2.imwrite(str(path / split / label / f"{row}.png"), next(images))
    (path / "train/happy/notes.png").write_text("no picture")
    return path


def test_what_was_done_and_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = read_faces(folders(tmp_path / "faces"))
    said = capsys.readouterr().err.splitlines()
    assert len(data) == 140 and len(data.rows("PublicTest")) == 7
    assert len(said) == 2 and all(line.startswith("note: ") for line in said)
    assert "became PublicTest" in said[0]
    assert "1 of the files in" in said[1] and "notes.png" in said[1]


def test_a_file_of_an_import_says_nothing_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset.save(read_faces(folders(tmp_path / "faces")), tmp_path / "faces.npz")
    capsys.readouterr()
    assert len(read_faces(tmp_path / "faces.npz")) == 140
    assert capsys.readouterr().err == ""
