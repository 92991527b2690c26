"""Bad input: one clear line, the right exit status, no traceback, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clips import make_clip
from tests.service import SAMPLE, assert_complete, frame_count, lines, repeated, rows, streamfer

CARD = Path(__file__).parents[2] / "plugins" / "streamfer_classifiers" / "cnn" / "card.json"


def refused(
    done: subprocess.CompletedProcess[str], status: int, *words: str, lines_expected: int = 1
) -> None:
    """Ended with this status, and with these words in the last lines of standard error."""
    text = done.stdout + done.stderr
    assert done.returncode == status, text
    assert "Traceback" not in text
    said = done.stderr.strip().splitlines()
    last = "\n".join(said[-lines_expected:])
    for word in words:
        assert word in last, text


def config(tmp_path: Path, **sections: object) -> Path:
    """A valid configuration with some sections replaced."""
    whole: dict[str, object] = {
        "version": 1,
        "streams": {"lobby": {"path": str(SAMPLE)}},
        "classifiers": ["cnn"],
        "sinks": [{"name": "jsonl", "path": str(tmp_path / "out" / "results.jsonl")}],
        **sections,
    }
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(whole, indent=1))  # JSON is YAML
    return path


# ---- configuration -----------------------------------------------------------------------------------------


def test_all_errors_of_a_configuration_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "version: 1\n"
        "streams:\n"
        f"  lobby: {{sorce: file, path: {SAMPLE}}}\n"
        "detector: {name: yunet, width: wide}\n"
        "classifiers: [cnnn]\n"
        "sinks: [{name: jsonl, path: results.jsonl}]\n"
    )
    for subcommand in ("check", "run"):
        done = streamfer(subcommand, path)
        refused(done, 2, lines_expected=3)
        said = done.stderr.strip().splitlines()
        assert len(said) == 3
        assert f"{path}:3: streams.lobby.sorce" in said[0] and "did you mean 'source'" in said[0]
        assert f"{path}:4: detector.width" in said[1] and "wide" in said[1]
        assert f"{path}:5: classifiers" in said[2] and "cnn" in said[2]


def test_broken_yaml(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("version: 1\nstreams: {lobby: [\n")
    refused(streamfer("run", path), 2, f"{path}:")


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"version: 1\nstreams: {\xff\xfe: 1}\n")
    refused(streamfer("run", path), 2, f"{path}:2", "UTF-8")


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    refused(streamfer("run", tmp_path / "none.yaml"), 2, "none.yaml", "no such file")


# ---- plugins -----------------------------------------------------------------------------------------------


def test_an_unknown_plugin_lists_those_there(tmp_path: Path) -> None:
    refused(streamfer("run", SAMPLE, "-c", "nope", "--out", tmp_path / "out"), 2, "nope", "cnn")
    assert not (tmp_path / "out").exists()


PLUGIN = """
from streamfer.api import Component
from streamfer.hookspecs import hookimpl

@hookimpl
def streamfer_components():
    return [Component("classifier", "{name}", "test", "{target}", labels=("a", "b"))]

class Bad:
    def __init__(self, options):
        raise ValueError("no luck today")
"""


def test_two_plugins_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN.format(name="cnn", target=":Bad"))
    refused(
        streamfer("run", config(tmp_path, plugins=["mine.py"])), 2, "two plugins", "mine.py", "streamfer "
    )


def test_a_plugin_whose_import_fails(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import no_such_library\n")
    refused(streamfer("run", config(tmp_path, plugins=["mine.py"])), 2, "mine.py", "no_such_library")


@pytest.mark.parametrize(
    ("target", "words"),
    [(":Bad", "no luck today"), ("no_such_module:Thing", "no_such_module"), (":Missing", "Missing")],
)
def test_a_plugin_that_cannot_be_built(tmp_path: Path, target: str, words: str) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN.format(name="mine", target=target))
    refused(streamfer("run", config(tmp_path, plugins=["mine.py"], classifiers=["mine"])), 3, words)


# ---- recordings --------------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    refused(streamfer("run", tmp_path / "none.mp4", "--out", tmp_path / "out"), 2, "none.mp4")


def test_a_directory(tmp_path: Path) -> None:
    refused(streamfer("run", tmp_path, "--out", tmp_path / "out"), 2, str(tmp_path), "folder")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    refused(streamfer("run", tmp_path / "clip.mp4", "--out", tmp_path / "out"), 2, "clip.mp4", "empty")


def test_a_text_file_called_mp4(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("this is no video\n" * 100)
    refused(streamfer("run", tmp_path / "clip.mp4", "--out", tmp_path / "out"), 3, "clip.mp4", "not a video")


def test_a_file_with_no_video(tmp_path: Path) -> None:
    import wave

    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0" * 16000)
    refused(streamfer("run", tmp_path / "sound.wav", "--out", tmp_path / "out"), 3, "sound.wav", "no video")


def test_a_truncated_recording_is_analysed_as_far_as_it_goes(tmp_path: Path) -> None:
    import av

    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    with av.open(SAMPLE) as source, av.open(whole, "w", options={"movflags": "faststart"}) as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) * 6 // 10])
    done = streamfer("run", cut, "--out", tmp_path / "out")
    refused(done, 4, "cut.mp4", "frames")
    found = lines(tmp_path / "out" / "results.jsonl")
    assert 80 < len(found) < frame_count(SAMPLE)
    assert [line["seq"] for line in found] == list(range(len(found)))
    assert rows(tmp_path / "out" / "results.db", "SELECT count(*) FROM frames") == [(len(found),)]


def test_a_video_of_one_pixel(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "dot.mkv", frames=5, size=(1, 1), codec="ffv1")
    done = streamfer("run", clip, "--out", tmp_path / "out", "--video")
    assert done.returncode == 0, done.stderr
    assert_complete(tmp_path / "out", 5)


def test_one_bad_recording_does_not_end_the_others(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("this is no video\n" * 100)
    streams = {"bad": {"path": str(tmp_path / "bad.mp4")}, "good": {"path": str(SAMPLE)}}
    done = streamfer("run", config(tmp_path, streams=streams))
    assert done.returncode == 0, done.stderr
    assert "streams.bad: " in done.stderr
    assert len(lines(tmp_path / "out" / "results.jsonl")) == frame_count(SAMPLE)


# ---- outputs -----------------------------------------------------------------------------------------------


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    done = streamfer("run", SAMPLE, "--out", tmp_path / "file" / "out")
    refused(done, 2, str(tmp_path / "file"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.getuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_stops_with_one_line_and_resume_goes_on(tmp_path: Path, small_disk: Path) -> None:
    clip = repeated(SAMPLE, 3, tmp_path / "long.mp4")
    count = frame_count(clip)
    done = streamfer("run", clip, "--out", small_disk / "out")
    refused(done, 4, "No space left", "--resume")
    text = (small_disk / "out" / "results.jsonl").read_bytes()
    assert text.endswith(b"\n")
    held = lines(small_disk / "out" / "results.jsonl")
    assert 0 < len(held) < count and [line["seq"] for line in held] == list(range(len(held)))
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    again = streamfer("run", clip, "--out", small_disk / "out", "--resume")
    assert again.returncode == 0, again.stderr
    assert_complete(small_disk / "out", count)


def test_shared_memory_too_small(tmp_path: Path, small_disk: Path) -> None:
    done = streamfer("run", SAMPLE, "--out", tmp_path / "out", env={"STREAMFER_SHM": str(small_disk)})
    refused(done, 3, "MB are free", "640×360")


def test_a_configured_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = streamfer("run", config(tmp_path, metrics={"listen": f"127.0.0.1:{port}"}))
    refused(done, 3, "metrics.listen", str(port))


def test_a_corrupted_model(tmp_path: Path) -> None:
    card = tmp_path / "card.json"
    shutil.copy(CARD, card)
    model = CARD.parent / json.loads(CARD.read_text())["file"]
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / model.name).write_bytes(content)
    path = config(tmp_path, classifiers=[{"name": "cnn", "model": str(card)}])
    refused(streamfer("run", path), 3, model.name, "corrupted")
