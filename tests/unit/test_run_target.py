"""What `streamfer run` is pointed at: a configuration, a recording, an address, a webcam."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfer.config import Config, ConfigError, for_live, live_target
from streamfer.errors import UsageError
from streamfer.plugins import Registry
from tests.service import SAMPLE, streamfer

REGISTRY = Registry.discover()


def configured(target: str, **options: object) -> Config:
    camera = live_target(target)
    assert camera is not None
    return for_live(camera, registry=REGISTRY, **options)  # type: ignore[arg-type]  # as the caller says


# ---- what a target means -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "name", "source"),
    [
        ("rtsp://cam/stream", "cam", "rtsp"),
        ("rtsp://me:hunter2@192.168.0.17:8554/a.b/c?d=e", "192.168.0.17", "rtsp"),
        ("rtsp://me:hunt/er2@nvr.local/1", "nvr.local", "rtsp"),
        ("RTSPS://nvr.local", "nvr.local", "rtsp"),
        ("http://[fe80::1]:8080/video.mjpg", "fe80_1", "http"),
        ("https://me@cam/clip.yaml", "cam", "http"),
        ("webcam:0", "webcam-0", "webcam"),
        ("webcam:007", "webcam-7", "webcam"),
        ("webcam:/dev/video2", "webcam-video2", "webcam"),
        ("webcam:/dev/v4l/by-id/usb-Cam_1-video-index0", "webcam-v4l_by-id_usb-Cam_1-video-index0", "webcam"),
    ],
)
def test_a_camera(target: str, name: str, source: str) -> None:
    camera = live_target(target)
    assert camera is not None
    assert (camera.name, camera.entry["source"]) == (name, source)


@pytest.mark.parametrize(
    "target", ["clip.mp4", "a:b.mp4", "./rtsp:x", "/tmp/config.yaml", "", "webcam", "C:\\clip.mp4"]
)
def test_a_path_is_no_camera(target: str) -> None:
    assert live_target(target) is None


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("rtsp:/cam", "'rtsp:' without '//' is no address; expected rtsp://HOST/PATH"),
        ("https:me:hunter2@cam", "'https:' without '//' is no address; expected https://HOST/PATH"),
        ("rtsp://", "host"),
        ("rtsp://me:hunter2@", "host"),
        ("rtsp://me:hunter2@cam:99999/1", "port"),
        ("rtmp://me:hunter2@cam/1", "rtmp:// is no address that can be read; expected rtsp://, "),
        ("webcam:", "webcam:0 or webcam:/dev/video0"),
        ("webcam:x", "webcam:0 or webcam:/dev/video0, got 'x'"),
        ("webcam:1000", "webcam:0 or webcam:/dev/video0, got '1000'"),
        ("webcam:-1", "webcam:0 or webcam:/dev/video0, got '-1'"),
    ],
)
def test_what_was_meant_to_be_a_camera(target: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        live_target(target)
    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@given(
    st.text(max_size=30), st.sampled_from(["rtsp://", "http://", "webcam:", "rtsp://me:hunter2@", "rtsp:"])
)
def test_any_text_is_a_camera_a_path_or_one_line(text: str, start: str) -> None:
    try:
        camera = live_target(start + text)
    except UsageError as error:
        assert len(str(error).splitlines()) == 1
        assert "hunter2" not in str(error) or "hunter2" in text
    else:
        assert camera is not None
        assert "hunter2" not in camera.name or "hunter2" in text


# ---- what it comes to --------------------------------------------------------------------------------------


def test_an_address_alone(tmp_path: Path) -> None:
    config = configured("rtsp://me:hunter2@cam/1", out_dir=tmp_path, video=True)
    (stream,) = config.streams
    assert (stream.name, stream.source.name, stream.classifiers) == ("cam", "rtsp", ("cnn",))
    assert stream.source.options == {"url": "rtsp://me:hunter2@cam/1"}
    assert stream.live is not None and config.live and config.give_up == 10
    assert [(sink.label, sink.spec.options.get("path")) for sink in config.sinks] == [
        ("console", None),
        ("jsonl", str(tmp_path / "results.jsonl")),
        ("sqlite", str(tmp_path / "results.db")),
        ("video", str(tmp_path / "annotated.mp4")),
    ]
    assert "hunter2" not in repr(config)


def test_classifiers_of_an_address_are_checked() -> None:
    with pytest.raises(ConfigError) as raised:
        configured("rtsp://cam/1", classifiers=["cnm"])
    assert str(raised.value).startswith("--classifier: no classifier 'cnm'; there are: ")


# ---- the command -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rtsp:/me:hunter2@cam",), "without '//'"),
        (("webcam:",), "webcam:0"),
        (("gone.mp4",), "gone.mp4: no such file"),
        (("gone.yaml",), "gone.yaml: cannot read the configuration: no such file"),
        (("rtsp://me:hunter2@cam/1", "--set", "detector.width=640"), "--set goes with a configuration"),
        ((SAMPLE, "--transport", "udp"), "--transport goes with an rtsp:// address"),
        (("http://cam/1", "--transport", "udp"), "--transport goes with an rtsp:// address"),
        (("rtsp://me:hunter2@cam/1", "rtsp://me:hunter2@cam/2"), "one target at a time"),
        (("config.yaml", "--video"), "--out, --video and --classifier go with a recording or a camera"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path: Path, arguments: tuple[object, ...], said: str) -> None:
    done = streamfer("run", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["rtsp://me:hunter2@cam/1", "rtsp:/me:hunter2@cam/1", "webcam:0"])
def test_a_camera_is_nothing_to_check(target: str) -> None:
    done = streamfer("check", target)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.stderr


def test_check_tells_what_is_a_streams_own_without_passwords(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        """version: 1
streams:
  door:
    source: rtsp
    url: rtsp://me:hunter2@cam/1
    fps: 2.5
    regions: [[[0, 0], [1, 0], [1, 1]]]
    masks: [[[0, 0], [1, 0], [1, 1]], [[0, 0], [0.1, 0], [0.1, 0.1]]]
    detector: {width: 640, min_face: 24}
    classifiers: [cnn]
  desk: {source: webcam}
  hall: {source: webcam, device: 2}
classifiers: [cnn, {name: cnn, as: again}]
sinks: [console]
"""
    )
    done = streamfer("check", config)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:4] == [
        "stream      door: rtsp rtsp://…@cam/1 (live, at most 2.5 frames/s, 1 region, 2 masks, width: 640, "
        "classifiers: cnn)",
        "stream      desk: webcam (live)",
        "stream      hall: webcam 2 (live)",
    ]
