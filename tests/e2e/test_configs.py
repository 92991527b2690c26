"""The configurations that ship: each is run, on the sample clip, as its comments say; cameras are checked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from streamfer.config import load
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
    # Any free port: the one that a configuration names may be taken by another service.
    done = streamfer("run", config, "--set", "metrics.listen=127.0.0.1:0", cwd=tree)
    assert done.returncode == 0, done.stderr
    assert_complete(tree / "out" / out, frame_count(SAMPLE))
    found = lines(tree / "out" / out / "results.jsonl")
    assert sorted({line["stream"] for line in found}) == streams
    assert sorted({line["classifier"] for line in found}) == classifiers


CAMERAS = {
    "webcam": ["desk"],
    "rtsp": ["door"],
    "four-cameras": ["entrance", "counter", "waiting-room", "lab"],
}


@pytest.mark.parametrize("name", CAMERAS)
def test_the_cameras_of_a_configuration_need_not_be_there(tree: Path, name: str) -> None:
    done = streamfer("check", tree / "configs" / f"{name}.yaml", cwd=tree)
    assert done.returncode == 0, done.stderr
    for stream in CAMERAS[name]:
        assert f"stream      {stream}: " in done.stdout
    assert "(live" in done.stdout


def test_a_camera_and_its_password_come_from_the_environment_and_secrets(tree: Path) -> None:
    path = tree / "configs" / "rtsp.yaml"
    environ = {"CAMERA_URL": "rtsp://10.0.0.7/1", "CAMERA_USER": "me", "CAMERA_PASSWORD": "hunter2"}
    (door,) = load(path, environ=environ).streams
    given = {key: door.source.options[key] for key in ("url", "username", "password")}
    assert given == {"url": "rtsp://10.0.0.7/1", "username": "me", "password": "hunter2"}
    text = path.read_text()
    assert "    # password: ${secret:camera_password} " in text
    lines = [line.replace("# password: ${secret", "password: ${secret") for line in text.splitlines()]
    path.write_text("\n".join(line for line in lines if "${CAMERA_PASSWORD" not in line or "#" in line))
    (tree / "camera_password").write_text("hunter3\n")
    (door,) = load(path, environ=environ, secrets=tree).streams
    assert door.source.options["password"] == "hunter3"
    done = streamfer("check", path, cwd=tree, env=environ)
    assert done.returncode == 2 and "the secret camera_password cannot be read" in done.stderr
    assert "hunter" not in done.stdout + done.stderr


def test_every_configuration_is_run_here() -> None:
    ours = {"demo", "recording", "folder", "compare", *CAMERAS}
    assert {path.stem for path in (ROOT / "configs").glob("*.yaml")} == ours
