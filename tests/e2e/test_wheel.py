"""The wheel: one file, installed into an empty environment, does the main job without TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.service import ROOT, SAMPLE, assert_complete, frame_count


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (found,) = out.glob("*.whl")
    return found


def test_it_holds_the_plugins_the_weights_and_the_sample_clip_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "streamfer/py.typed",
        "streamfer/data/sample.mp4",
        "streamfer_classifiers/cnn/cnn.tflite",
        "streamfer_classifiers/cnn/card.json",
    ):
        assert wanted in names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"streamfer", "streamfer_classifiers"}
    assert wheel.stat().st_size < 26_000_000


def test_it_runs_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=120)
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run(
        [*pip, "--constraint", ROOT / "constraints.txt", wheel], check=True, env=clean, timeout=600
    )
    listed = subprocess.run(
        [environment / "bin" / "python", "-m", "pip", "list"],
        check=True, env=clean, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "tensorflow" not in listed.stdout.lower()
    done = subprocess.run(
        [environment / "bin" / "streamfer", "demo"],
        cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_complete(tmp_path / "out" / "demo", frame_count(SAMPLE))
    assert (tmp_path / "out" / "demo" / "annotated.mp4").stat().st_size > 100_000
