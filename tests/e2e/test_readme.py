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
import numpy as np
import pytest
import yaml

from streamfer.config import live_target
from streamfer.results import schema
from tests import rtsp
from tests.live import endpoint
from tests.rtsp import RtspServer
from tests.service import ROOT, SAMPLE, Run, lines, streamfer, wait_until

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the README imagines it: a clip, a photo, the first configuration, faces to train on.

    The faces are few and synthetic, and the recipe is cut down to two epochs of a narrow network.
    """
    path = tmp_path_factory.mktemp("readme")
    shutil.copy(SAMPLE, path / "clip.mp4")
    shutil.copy(ROOT / "tools" / "portraits" / "astronaut.png", path / "photo.jpg")
    (path / "lobby.yaml").write_text(next(text for kind, text in BLOCKS if kind == "yaml"))
    _write_fer2013(path / "fer2013.csv")
    recipe = yaml.safe_load((ROOT / "configs/train/cnn-best.yaml").read_text("utf-8"))
    short = {"epochs": 2, "warmup_epochs": 1, "cooldown_epochs": 1}
    (path / "configs/train").mkdir(parents=True)
    (path / "configs/train/cnn-best.yaml").write_text(
        yaml.safe_dump(recipe | short | {"model": {"widths": [4, 8], "convolutions": 1, "dropout": 0.1}})
    )
    return path


def _write_fer2013(path: Path) -> None:
    """A csv in Kaggle's layout, of 42 faces that are noise."""
    random = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("emotion,pixels,Usage\n")
        for usage in ("Training", "PublicTest", "PrivateTest"):
            for row in range(14):
                pixels = " ".join(map(str, random.integers(0, 256, 48 * 48)))
                file.write(f"{row % 7},{pixels},{usage}\n")


COMMANDS = [
    line.partition("#")[0].strip()
    for kind, text in BLOCKS
    if not kind
    for line in text.splitlines()
    if line.startswith("streamfer ")
]
OF_CAMERAS = [line for line in COMMANDS if re.search(r"://|webcam|camera|status", line)]
"""Not run as they stand: a test speaks to nobody but this machine."""


def test_every_streamfer_command_runs(folder: Path) -> None:
    commands = [line for line in COMMANDS if line not in OF_CAMERAS]
    assert len(commands) >= 7
    for command in commands:
        again = command.startswith("streamfer run clip.mp4 --classifier")  # a further run of one clip
        extra = ["--overwrite"] if again else []
        done = streamfer(*shlex.split(command)[1:], *extra, cwd=folder)
        assert done.returncode == 0, (command, done.stderr)
    query = re.search(r'sqlite3 (\S+) "(.*)"', README)
    assert query is not None
    with closing(sqlite3.connect(folder / query[1])) as connection:
        assert connection.execute(query[2]).fetchall()


def test_the_commands_for_cameras_are_right() -> None:
    address, webcam, several, status = OF_CAMERAS
    target = live_target(shlex.split(address)[2])
    assert target is not None and target.name == "camera.example" and f"out/{target.name}/" in README
    assert live_target(shlex.split(webcam)[2]) is not None
    assert streamfer("check", ROOT / shlex.split(several)[2]).returncode == 0
    done = streamfer(*shlex.split(status)[1:], "--url", "http://127.0.0.1:9")
    assert done.returncode == 3 and "http://127.0.0.1:9" in done.stderr


@pytest.mark.skipif(rtsp.missing() is not None, reason=str(rtsp.missing()))
def test_an_address_as_in_the_readme_gives_results(tmp_path: Path) -> None:
    with RtspServer("stream") as server, Run("run", server.url("stream"), cwd=tmp_path) as run:
        results = tmp_path / "out" / "127.0.0.1" / "results.jsonl"
        wait_until(lambda: len(lines(results)) > 20, "results")
        done = streamfer("status", "--url", endpoint(run))
        run.process.terminate()
        status, error = run.finish()
    assert done.returncode == 0 and "live" in done.stdout, done
    assert status == 130, error


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
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:`|^)make ([\w-]+)", README, re.MULTILINE)
    assert len(named) > 3 and set(named) <= set(targets), named
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
