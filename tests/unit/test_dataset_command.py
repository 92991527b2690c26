"""`streamfer dataset`: the file, the report and the lines on the terminal."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamfer.cli import main
from streamfer.training.datasets import load
from tests.datasets import ROOT, each_class, make, noise, write_csv, write_pictures

pytest.importorskip("matplotlib", reason="the report needs the extra [train]")


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def streamfer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The command line in `tmp_path`, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["streamfer", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(ended.value.code or 0, *capfd.readouterr())  # type: ignore[arg-type]

    return run


def refused(done: Done, complaint: str) -> None:
    """Exit status 2 and one line."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and complaint in done.stderr, done.stderr


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A csv of 28 Training rows and 7 of each test split; one leaks, one is constant, one conflicts."""
    images = noise(42)
    images[30], images[5], images[8] = images[2], 77, images[0]
    return write_csv(
        tmp_path / "fer2013.csv", make(images, np.tile(np.arange(7), 6), np.repeat([0, 1, 2], [28, 7, 7]))
    )


def test_import_writes_the_data_and_a_report(tmp_path: Path, source: Path, streamfer: Run) -> None:
    done = streamfer("dataset", "import", source.name, "--out", "faces.npz")
    assert done.returncode == 0, done.stderr
    assert "wrote faces.npz and faces-report/index.html" in done.stderr
    assert re.search(r"happy +4 +1 +1 +6", done.stdout)
    assert "1 PublicTest image also in Training" in done.stdout
    data = load(tmp_path / "faces.npz")
    assert data.sha256 == load(source).sha256 and data.sha256 in done.stdout
    assert data.about["findings"]["constant_images"] == 1
    page = (tmp_path / "faces-report" / "index.html").read_text("utf-8")
    assert "://" not in page
    for heading in (
        "The same image with different labels (1)",
        "PublicTest images that also stand in Training (1)",
        "The same image more than once (2)",
        "Constant (1)",
    ):
        assert heading in page
    pictures = [base64.b64decode(one) for one in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]
    assert len(pictures) == 2 + 2 + 2 + 4 + 1
    decoded = [cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR) for one in pictures]
    assert all(one is not None for one in decoded)
    assert np.array_equal(decoded[2][:, :, 0], data.images[0, :, :, 0])
    assert "line 10<" in page  # row 8, which has the image of row 0

    shown = streamfer("dataset", "show", "faces.npz")
    assert shown.stdout == done.stdout


def test_photos_without_a_face_are_named(tmp_path: Path, streamfer: Run) -> None:
    portrait = cv2.imread(str(ROOT / "tools" / "portraits" / "astronaut.png"))
    pictures = {"happy/1.png": portrait, "happy/<b>.jpg": np.hstack([portrait, portrait])}
    pictures |= {f"happy/wall{n:02}.jpg": noise(1, n, 200)[0] for n in range(22)}
    write_pictures(tmp_path / "mine", pictures)
    done = streamfer("dataset", "import", "mine", "-o", "mine.npz", "--report", "seen")
    assert done.returncode == 0, done.stderr
    assert "22 files gave no face:" in done.stderr
    assert "  happy/wall00.jpg: no face found" in done.stderr
    assert "… and 2 more, in seen/index.html" in done.stderr
    assert "1 file with several faces, of which the clearest was taken:\n  happy/<b>.jpg" in done.stderr
    page = (tmp_path / "seen" / "index.html").read_text("utf-8")
    assert all(f"happy/wall{n:02}.jpg" in page for n in range(22))
    assert "happy/&lt;b&gt;.jpg" in page and "<b>.jpg" not in page


def test_two_sources_and_all_options(tmp_path: Path, source: Path, streamfer: Run) -> None:
    write_pictures(
        tmp_path / "more", dict(zip(["joy/1.png", "odd/2.png", "sad/3.png"], noise(3, 1), strict=True))
    )
    words = (
        f"dataset import {source.name} more --out both.npz --map joy=happy --map odd=drop "
        "--classes angry,happy,neutral,sad --per-class 4 --drop constant,duplicates --split stratified "
        "--ratios 60/20/20 --seed 3 --detector haar --validation 0.2 --crop 48x48x1 --strict"
    )
    done = streamfer(*words.split())
    assert done.returncode == 0, done.stderr
    data = load(tmp_path / "both.npz")
    assert data.label_names == ("angry", "happy", "sad", "neutral")
    assert data.origins is not None and any(one.startswith("more:") for one in data.origins)
    assert np.bincount(data.labels[data.rows("Training")]).tolist() == [4, 4, 4, 4]


def test_what_cannot_be_written_or_must_not_be_replaced_is_one_line(
    tmp_path: Path, source: Path, streamfer: Run
) -> None:
    (tmp_path / "other.npz").write_bytes(b"somebody's")
    write_csv(tmp_path / "small.csv", each_class())
    before = source.read_bytes()
    for out, complaint in (
        ("absent/faces.npz", "--out absent/faces.npz: cannot be written: No such file or directory"),
        (".", "--out .: a folder; name the file to write, such as faces.npz"),
        ("fer2013.csv", "--out fer2013.csv: one of the sources, which are never replaced"),
        ("other.npz", "--out other.npz: there already, and no data set of streamfer"),
    ):
        refused(streamfer("dataset", "import", source.name, "--out", out), complaint)
    done = streamfer("dataset", "import", source.name, "--out", "x.npz", "--report", "small.csv")
    refused(done, "--report small.csv: a file; name a folder")
    assert source.read_bytes() == before and (tmp_path / "other.npz").read_bytes() == b"somebody's"
    assert not list(tmp_path.glob("*.draft")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("absent.csv", "absent.csv: no such file or folder"),
        ("fer2013.csv --strict", "the split leaks: 1 PublicTest image also in Training"),
        ("fer2013.csv --crop 48", "--crop 48: expected HEIGHTxWIDTHxCHANNELS"),
        ("fer2013.csv --ratios 1/2", "--ratios 1/2: expected"),
        ("fer2013.csv --classes joy", "--classes joy: the data has angry"),
        ("fer2013.csv --split subject", "the subject of 42 rows is not known"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, source: Path, words: str, complaint: str, streamfer: Run
) -> None:
    before = sorted(tmp_path.iterdir())
    refused(streamfer("dataset", "import", *words.split(), "--out", "faces.npz"), complaint)
    assert sorted(tmp_path.iterdir()) == before


def test_an_existing_data_set_is_replaced(tmp_path: Path, source: Path, streamfer: Run) -> None:
    first = streamfer("dataset", "import", source.name, "--out", "faces.npz")
    again = streamfer("dataset", "import", source.name, "--out", "faces.npz", "--drop", "constant")
    assert (first.returncode, again.returncode) == (0, 0)
    assert len(load(tmp_path / "faces.npz")) == 41
