"""The README is true: its commands run, its configuration works, its example line keeps the schema."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import jsonschema
import pytest

from streamfer.results import schema
from tests.service import ROOT, SAMPLE, streamfer

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the README imagines it: a clip, a photo, the first configuration."""
    path = tmp_path_factory.mktemp("readme")
    shutil.copy(SAMPLE, path / "clip.mp4")
    shutil.copy(ROOT / "tools" / "portraits" / "astronaut.png", path / "photo.jpg")
    (path / "lobby.yaml").write_text(next(text for kind, text in BLOCKS if kind == "yaml"))
    return path


def test_every_streamfer_command_runs(folder: Path) -> None:
    commands = [
        line.partition("#")[0].strip()
        for kind, text in BLOCKS
        if not kind
        for line in text.splitlines()
        if line.startswith("streamfer ")
    ]
    assert len(commands) >= 7
    for command in commands:
        extra = ["--overwrite"] if "--classifier" in command else []  # the second run of one clip
        done = streamfer(*shlex.split(command)[1:], *extra, cwd=folder)
        assert done.returncode == 0, (command, done.stderr)
    query = re.search(r'sqlite3 (\S+) "(.*)"', README)
    assert query is not None
    with closing(sqlite3.connect(folder / query[1])) as connection:
        assert connection.execute(query[2]).fetchall()


def test_the_example_line_keeps_the_schema() -> None:
    (line,) = [text for kind, text in BLOCKS if kind == "json"]
    jsonschema.validate(json.loads(line), schema())


def test_the_python_example_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    exec(next(text for kind, text in BLOCKS if kind == "python"))
    assert "happy" in capsys.readouterr().out


def test_the_make_targets_and_links_are_there() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for named in re.findall(r"`?make (\w+)", README):
        assert named in targets, named
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
