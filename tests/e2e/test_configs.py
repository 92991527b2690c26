"""The configurations that ship: each is run, on the sample clip, as its comments say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.service import ROOT, SAMPLE, assert_complete, frame_count, lines, streamfer


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The parts of the checkout that the configurations name, so that they write elsewhere."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "streamfer" / "data").mkdir(parents=True)
    (tmp_path / "examples").mkdir()
    shutil.copy(SAMPLE, tmp_path / "streamfer" / "data")
    shutil.copy(ROOT / "examples" / "prior.py", tmp_path / "examples")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "out", "streams", "classifiers"),
    [
        ("demo", "demo-config", ["sample"], ["cnn"]),
        ("recording", "recording", ["recording"], ["cnn"]),
        ("folder", "folder", ["clips-sample", "clips-second"], ["cnn"]),
        ("compare", "compare", ["sample"], ["cnn", "prior"]),
    ],
)
def test_it_runs(tree: Path, name: str, out: str, streams: list[str], classifiers: list[str]) -> None:
    if name == "folder":
        shutil.copy(SAMPLE, tree / "streamfer" / "data" / "second.mp4")
    config = tree / "configs" / f"{name}.yaml"
    done = streamfer("run", config, cwd=tree)
    assert done.returncode == 0, done.stderr
    assert_complete(tree / "out" / out, frame_count(SAMPLE))
    found = lines(tree / "out" / out / "results.jsonl")
    assert sorted({line["stream"] for line in found}) == streams
    assert sorted({line["classifier"] for line in found}) == classifiers


def test_every_configuration_is_run_here() -> None:
    assert {path.stem for path in (ROOT / "configs").glob("*.yaml")} == {
        "demo",
        "recording",
        "folder",
        "compare",
    }
