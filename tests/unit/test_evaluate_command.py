"""`streamfer evaluate`: what it prints and writes, and what it says to bad input."""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from streamfer.cli import make_app
from streamfer.errors import StreamferError
from streamfer.training.dataset import Dataset, save
from streamfer.types import LABELS

ROOT = Path(__file__).parents[2]
CNN = ROOT / "plugins/streamfer_classifiers/cnn"
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cuts of the two public-domain portraits, labelled at random, with FER+ votes; 60 are PrivateTest."""
    random = np.random.default_rng(5)
    portraits = [
        cv2.imread(str(ROOT / "tools/portraits" / name), cv2.IMREAD_GRAYSCALE)
        for name in ("astronaut.png", "grace_hopper.jpg")
    ]
    images = []
    for row in range(120):
        portrait = portraits[row % 2]
        assert portrait is not None
        top, left = (int(random.integers(0, length - 200)) for length in portrait.shape)
        part = portrait[top : top + 200, left : left + 200]
        images.append(cv2.resize(part, (48, 48), interpolation=cv2.INTER_AREA))
    data = Dataset(
        "<[portraits]>",
        np.stack(images)[..., None].astype(np.uint8),
        random.integers(0, 7, 120).astype(np.uint8),
        (np.arange(120) // 2 % 2 * 2).astype(np.uint8),
        LABELS,
        votes=random.integers(0, 10, (120, 10)).astype(np.uint8),
        origins=np.array([f"cut {row} & more.png" for row in range(120)]),
    )
    path = tmp_path_factory.mktemp("faces") / "faces.npz"
    save(data, path)
    return path


def streamfer(*arguments: str | Path, timing: bool = False) -> tuple[str, str]:
    """Standard output and standard error of `streamfer evaluate`."""
    options = [] if timing else ["--no-timing"]
    command = ["evaluate", "--resamples", "100", *options, *map(str, arguments)]
    result = RUNNER.invoke(make_app(), command, catch_exceptions=False)
    if result.exception:
        raise result.exception
    return result.stdout, result.stderr


def refused(*arguments: str | Path) -> str:
    """The one line that it ends with."""
    result = RUNNER.invoke(make_app(), ["evaluate", *map(str, arguments)])
    assert isinstance(result.exception, StreamferError), result.exception
    line = str(result.exception)
    assert "\n" not in line
    assert not result.stdout
    return line


def test_json_on_standard_output_is_all_that_is_there(faces: Path) -> None:
    out, _ = streamfer("--classifier", "cnn", "--data", faces, "--json", "-", timing=True)
    figures = json.loads(out)
    assert figures["classifier"] == "cnn"
    assert (figures["split"], figures["n"], figures["resamples"]) == ("PrivateTest", 60, 100)
    for key in ("accuracy", "accuracy_without_duplicates", "ece", "auc"):
        assert 0 <= figures[key]["low"] <= figures[key]["high"] <= 1
        assert 0 <= figures[key]["value"] <= 1
    for batch in ("batch_1", "batch_8"):
        assert 0 < figures["ms_per_face"][batch]["low"] <= figures["ms_per_face"][batch]["high"]
    assert figures["ms_per_face"]["calls"] >= 200
    assert np.array(figures["confusion_matrix"]).sum() == 60
    assert figures["without_duplicates"]["n"] == 60


def test_every_key_is_documented(faces: Path) -> None:
    figures = json.loads(streamfer("-c", "cnn", "--data", faces, "--json", "-")[0])
    documentation = (ROOT / "docs/evaluation.md").read_text("utf-8")
    assert [key for key in figures if f"`{key}`" not in documentation] == []


def test_the_table_and_the_file_say_the_same(faces: Path, tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "out.json"
    out, errors = streamfer("--classifier", "cnn", "--data", faces, "--json", file, timing=True)
    figures = json.loads(file.read_text("utf-8"))
    assert f"{figures['accuracy']['value'] * 100:.1f} %" in out
    assert f"{figures['per_class']['fear']['auc']['value']:.3f}" in out
    assert f"{figures['ms_per_face']['batch_1']['value']:.2f} ms a face" in out
    assert "cnn" in out
    assert "<[portraits]>" in out
    assert max(map(len, out.splitlines())) <= 80
    assert f"wrote {file}" in errors
    assert sorted(path.name for path in file.parent.iterdir()) == ["out.json"]


def test_the_documented_commands_run(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small file in place of FER2013."""
    lines = (ROOT / "docs/evaluation.md").read_text("utf-8").splitlines()
    commands = [shlex.split(line)[2:] for line in lines if line.startswith("streamfer evaluate ")]
    assert len(commands) == 4
    monkeypatch.chdir(tmp_path)
    shutil.copytree(CNN, "exported")
    for command in commands:
        places: dict[str, str | Path] = {"fer2013.npz": faces, "PublicTest": "Training"}
        out, _ = streamfer(*(places.get(argument, argument) for argument in command))
        assert "accuracy" in out
    assert json.loads(Path("figures.json").read_text("utf-8"))["n"] == 60
    assert Path("report/index.html").is_file()


class _Page(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read(page: Path) -> _Page:
    parser = _Page()
    parser.feed(page.read_text("utf-8"))
    return parser


def test_the_report_is_one_page_that_needs_nothing_else(faces: Path, tmp_path: Path) -> None:
    streamfer("--classifier", "cnn", "--data", faces, "--report", tmp_path / "report")
    page = read(tmp_path / "report" / "index.html")
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "[portraits]"}
    pictures = page.all("img")
    plots = {path.name for path in (tmp_path / "report").glob("*.png")}
    assert plots == {"confusion.png", "roc.png", "reliability.png", "curves.png"}
    assert len(pictures) == len(plots) + 32
    for picture in pictures:
        kind, _, content = picture["src"].partition(",")
        assert kind == "data:image/png;base64"
        assert cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR) is not None
        assert picture["alt"]
    assert "cnn" in page.text
    assert "on PrivateTest of <[portraits]>" in page.text
    assert "pictures of people" in page.text


def test_the_mistakes_are_the_most_confident_ones(faces: Path, tmp_path: Path) -> None:
    from streamfer.training.dataset import load
    from streamfer.training.evaluate import evaluate, open_classifier
    from streamfer.training.report import write_report

    found = evaluate(open_classifier("cnn"), load(faces), "PrivateTest", resamples=100, timed=False)
    page = read(write_report(found, tmp_path))
    shown = [one["title"] for one in page.all("img") if "title" in one]
    answers, confidence = found.probabilities.argmax(axis=1), found.probabilities.max(axis=1)
    wrong = sorted(np.flatnonzero(answers != found.truth), key=lambda place: -confidence[place])
    rows = [int(found.rows[place]) for place in wrong[:32]]
    assert shown == [f"Row {row} (cut {row} & more.png)" for row in rows]


def test_a_card_without_a_history_gives_no_curves(faces: Path, tmp_path: Path) -> None:
    card = json.loads((CNN / "card.json").read_text("utf-8"))
    del card["history"]
    card["version"] = "9.9.9"
    shutil.copy(CNN / card["file"], tmp_path)
    (tmp_path / "card.json").write_text(json.dumps(card))
    report = tmp_path / "report"
    out, _ = streamfer("-c", "cnn", "--model", tmp_path / "card.json", "--data", faces, "--report", report)
    assert "cnn 9.9.9" in out
    assert not (report / "curves.png").exists()
    assert "the model's card has no history" in read(report / "index.html").text


def test_a_single_class_and_no_mistakes_make_a_report(tmp_path: Path) -> None:
    """Nothing has an AUC, and there is no face to show."""
    plugin = tmp_path / "calm.py"
    plugin.write_text(
        "import numpy as np\n"
        "from streamfer.api import Component\n"
        "from streamfer.hookspecs import hookimpl\n"
        "class Calm:\n"
        "    def __init__(self, options): pass\n"
        "    def predict(self, crops): return np.tile(np.float32([1, 0]), (len(crops), 1))\n"
        "@hookimpl\n"
        "def streamfer_components():\n"
        "    return [Component('classifier', 'calm', '', ':Calm', labels=('calm', '<b>tense'))]\n"
    )
    images = np.full((4, 48, 48, 1), 7, np.uint8)
    data = Dataset("one", images, np.zeros(4, np.uint8), np.full(4, 2, np.uint8), ("calm",))
    save(data, tmp_path / "one.npz")
    arguments = ("-c", "calm", "--plugin", plugin, "--data", tmp_path / "one.npz", "--report", tmp_path / "r")
    out, _ = streamfer(*arguments)
    assert "100.0 % (100.0 to 100.0)" in out
    page = read(tmp_path / "r" / "index.html")
    assert "There are no mistakes" in page.text
    assert "<b>tense" in page.text


def test_bad_names_are_one_line(faces: Path, tmp_path: Path) -> None:
    assert "no classifier 'nobody'; there are: cnn" in refused("-c", "nobody", "--data", faces)
    assert "absent.npz" in refused("-c", "cnn", "--data", tmp_path / "absent.npz")
    assert "split 'test': expected one of" in refused("-c", "cnn", "--data", faces, "--split", "test")
    assert "no rows in PublicTest" in refused("-c", "cnn", "--data", faces, "--split", "PublicTest")
    absent = tmp_path / "no" / "card.json"
    assert f"{absent}: " in refused("-c", "cnn", "--model", absent, "--data", faces)


def test_what_cannot_be_written_is_one_line_before_anything_is_measured(tmp_path: Path) -> None:
    """The data is not even looked for."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    base = ("-c", "cnn", "--data", tmp_path / "absent.npz")
    assert "--json" in (line := refused(*base, "--json", tmp_path / "folder"))
    assert "cannot be written: it is a folder" in line
    assert "cannot be written" in refused(*base, "--json", tmp_path / "file" / "out.json")
    assert f"--report {tmp_path / 'file'}: cannot be written" in refused(*base, "--report", tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_keeps_the_old_file(faces: Path, full_disk: Path) -> None:
    old = full_disk / "out.json"
    old.write_text("old")
    with pytest.raises(OSError, match="No space"), (full_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"\0" * 4096)
    with pytest.raises(StreamferError, match=r"--json .*: cannot be written: No space"):
        streamfer("-c", "cnn", "--data", faces, "--json", old)
    assert old.read_text() == "old"
    assert sorted(path.name for path in full_disk.iterdir()) == ["filler", "out.json"]


@pytest.mark.parametrize("package", ["matplotlib", "sklearn"])
def test_only_the_report_needs_the_extra(faces: Path, tmp_path: Path, package: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; from streamfer.cli import main; main()"
    command = ["evaluate", "-c", "cnn", "--data", str(faces), "--no-timing", "--resamples", "100"]
    for more, status in (["--report", str(tmp_path / "report")], 2), ([], 0):
        done = subprocess.run(
            [sys.executable, "-c", program, *command, *more],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ,
        )
        assert done.returncode == status, done.stderr
        if status:
            assert done.stderr.strip() == f"evaluate needs {package}: pip install 'streamfer[train]'"
