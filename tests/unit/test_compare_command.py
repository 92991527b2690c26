"""`streamfer compare`: what it prints and writes, and what it says to bad input."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamfer.cli import make_app
from streamfer.errors import StreamferError
from streamfer.training.dataset import save
from streamfer.training.metrics import text
from tests.compared import faces, write_plugin

ROOT = Path(__file__).parents[2]
CNN = ROOT / "plugins/streamfer_classifiers/cnn"
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    write_plugin(folder)
    save(faces(), folder / "faces.npz")
    return folder


def streamfer(folder: Path, *arguments: str | Path) -> tuple[str, str]:
    """Standard output and standard error of `streamfer compare`."""
    result = RUNNER.invoke(make_app(), list(map(str, command(folder, *arguments))), catch_exceptions=False)
    if result.exception:
        raise result.exception
    return result.stdout, result.stderr


def command(folder: Path, *arguments: str | Path) -> list[str | Path]:
    options: list[str | Path] = ["--data", folder / "faces.npz", "--plugin", folder / "known.py"]
    return ["compare", *arguments, *options, "--resamples", "100", "--no-timing"]


def refused(folder: Path, *arguments: str | Path) -> str:
    """The one line that it ends with."""
    result = RUNNER.invoke(make_app(), list(map(str, command(folder, *arguments))))
    assert isinstance(result.exception, StreamferError), result.exception
    line = str(result.exception)
    assert "\n" not in line
    assert not result.stdout
    return line


def test_the_summary_the_file_and_the_page_say_the_same(folder: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "new folder" / "out.json", tmp_path / "page"
    shown, said = streamfer(folder, "able", "weak", "turned", "--json", file, "--out", out)
    figures = json.loads(file.read_text("utf-8"))
    markdown = (out / "compare.md").read_text("utf-8")
    words = " ".join(shown.split())
    for one in figures["classifiers"]:
        assert text(one["accuracy"]) in shown
        assert text(one["accuracy"]) in markdown
    assert "≈" in shown
    for sentence in figures["reading"]:
        assert " ".join(sentence.split()) in words
    assert max(map(len, shown.splitlines())) <= 80
    assert f"wrote {file}" in said
    assert f"wrote {out / 'index.html'}" in said and f"wrote {out / 'compare.md'}" in said
    names = {path.name for path in out.iterdir()}
    assert names == {"index.html", "compare.md", "recall.png", "f1.png"}


def test_json_on_standard_output_is_all_that_is_there(folder: Path) -> None:
    shown, _ = streamfer(folder, "able", "weak", "--json", "-", "--only", "angry,happy,neutral,sad")
    figures = json.loads(shown)
    assert figures["only"] == ["angry", "happy", "sad", "neutral"]
    assert [one["classifier"] for one in figures["classifiers"]] == ["able", "weak"]


def test_every_key_is_documented(folder: Path) -> None:
    figures = json.loads(streamfer(folder, "able", "weak", "--json", "-")[0])
    section = (ROOT / "docs/evaluation.md").read_text("utf-8")
    section = section[section.index("## Comparing") : section.index("## When something")]
    keys = {*figures, *figures["pairs"][0], *figures["differences"][0]}
    keys |= {*figures["classifiers"][0]["published"][0], "title"}
    keys |= {"values", "best", "not_distinguishable"} & set(figures["figures"][0])
    assert [key for key in keys if f"`{key}`" not in section] == []


def test_the_documented_commands_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small file in place of FER2013, and a changed copy of the shipped model as the other."""
    lines = [
        line
        for page in ("evaluation.md", "models.md")
        for line in (ROOT / "docs" / page).read_text("utf-8").splitlines()
        if line.startswith("streamfer compare ")
    ]
    assert len(lines) == 4
    monkeypatch.chdir(tmp_path)
    for place in ("exported", "models/cnn"):
        shutil.copytree(CNN, place)
        card = json.loads(Path(place, "card.json").read_text("utf-8"))
        model = Path(place, card["file"]).read_bytes() + b"\0"
        Path(place, card["file"]).write_bytes(model)
        card |= {"version": "9.9.9", "sha256": hashlib.sha256(model).hexdigest()}
        Path(place, "card.json").write_text(json.dumps(card))
    for line in lines:
        arguments = [
            str(folder / "faces.npz") if one == "fer2013.npz" else one for one in shlex.split(line)[1:]
        ]
        result = RUNNER.invoke(make_app(), [*arguments, "--no-timing", "--resamples", "100"])
        assert result.exit_code == 0, result.output
        assert "cnn 9.9.9" in result.stdout
    assert Path("comparison/index.html").is_file() and Path("figures.json").is_file()


def test_bad_input_is_one_line(folder: Path, tmp_path: Path) -> None:
    assert "compare needs two classifiers or more" in refused(folder)
    assert "compare needs two classifiers or more" in refused(folder, "able")
    assert "able: named twice" in refused(folder, "able", "able")
    assert "no classifier 'nobody'; there are: " in refused(folder, "able", "nobody")
    assert "four has other labels than the data" in refused(folder, "able", "four")
    assert "no label cross" in refused(folder, "able", "weak", "--only", "angry,cross")
    assert "split 'test': expected one of" in refused(folder, "able", "weak", "--split", "test")
    assert "no rows in PublicTest" in refused(folder, "able", "weak", "--split", "PublicTest")
    for wrong in ("cnn", "=card.json", "cnn="):
        assert f"--model {wrong}: expected NAME=CARD" in refused(folder, "able", "--model", wrong)
    absent = tmp_path / "card.json"
    assert str(absent) in refused(folder, "able", "--model", f"cnn={absent}")


def test_what_cannot_be_written_is_one_line_before_anything_is_measured(folder: Path, tmp_path: Path) -> None:
    """The classifiers are not even looked for."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    assert "cannot be written: it is a folder" in refused(folder, "x", "y", "--json", tmp_path / "folder")
    line = refused(folder, "x", "y", "--out", tmp_path / "file")
    assert f"--out {tmp_path / 'file'}: cannot be written" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("package", ["matplotlib", "scipy"])
def test_without_the_extra_its_name_is_said(folder: Path, tmp_path: Path, package: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; from streamfer.cli import main; main()"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            *map(str, command(folder, "able", "weak", "--out", tmp_path / "out")),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ,
    )
    assert done.returncode == 2
    assert done.stderr.strip() == f"compare needs {package}: pip install 'streamfer[train]'"
