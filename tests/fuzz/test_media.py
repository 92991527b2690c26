"""Broken recordings: one line, no crash, no hang, bounded memory; where FFmpeg dies, the service lives."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clips import make_clip
from tests.fuzz.mutations import cases, damaged
from tests.service import ROOT, SAMPLE, lines, streamfer

SECONDS = 20
ADDRESS_SPACE = 2 * 1024**3
"""Bytes, of which the libraries take a third."""
MEMORY = 512 * 1024**2


@dataclass(frozen=True)
class Outcome:
    """What became of one file: frames and how it ended, or the signal that killed the process."""

    name: str
    end: str
    frames: int
    memory: int
    text: str


def read(path: Path) -> tuple[str, int, str]:
    """Open a file and read all of it: how that ended, how many frames came, what was said."""
    from streamfer.errors import BrokenFileError, StartError
    from streamfer.sources import FileOptions
    from streamfer.sources.file import FileSource

    frames = 0
    source = FileSource(FileOptions(path=path))
    try:
        info = source.open()
        assert info.width > 0 and info.height > 0
        for frame in source.frames():
            frames += 1
            assert frame.picture.y.size and frame.picture.y[-1, -1] >= 0
    except (StartError, BrokenFileError) as error:
        return type(error).__name__, frames, str(error)
    except Exception:  # noqa: BLE001 - whatever it is, it is to be told
        return "traceback", frames, traceback.format_exc()
    return "read", frames, ""


def outcomes(paths: list[Path], folder: Path) -> Iterator[Outcome]:
    """Read each file in a process of its own, forked off one that has imported everything."""
    report = folder / "report"
    with subprocess.Popen(
        [sys.executable, "-c", "from tests.fuzz.test_media import child; child()", *map(str, paths)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stdout=report.open("wb"),
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.wait(SECONDS * len(paths)) == 0
    for line in report.read_text("utf-8").splitlines():
        name, end, frames, memory, text = line.split("\t")
        yield Outcome(name, end, int(frames), int(memory), text)


def child() -> None:
    """Forks for each file named on the command line, and tells a line of each."""
    import av.logging

    import streamfer.sources.file  # noqa: F401 - for all of them at once

    av.logging.set_level(None)
    for name in sys.argv[1:]:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.alarm(SECONDS)  # kills, wherever it is
            end, frames, text = read(Path(name))
            os.write(writing, f"{end}\t{frames}\t{text!r}"[:4000].encode())
            os._exit(0)
        os.close(writing)
        told = os.fdopen(reading, "rb").read().decode()
        _, status, usage = os.wait4(pid, 0)
        if os.WIFSIGNALED(status):
            told = f"{signal.Signals(os.WTERMSIG(status)).name}\t0\t''"
        end, frames_told, text = told.split("\t", 2)
        print(Path(name).name, end, frames_told, usage.ru_maxrss * 1024, text.replace("\t", " "), sep="\t")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Small recordings of every kind that matters, and the real ones where they are."""
    folder = tmp_path_factory.mktemp("originals")
    kinds = {
        "vp8.mkv": {"codec": "libvpx", "codec_options": {"deadline": "realtime"}},
        "h264.mkv": {"codec": "libx264", "codec_options": {"g": "5"}},
        "h264.ts": {"codec": "libx264"},
        "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
        "animation.gif": {"codec": "gif", "pix_fmt": "rgb8"},
        "mpeg4.mp4": {"codec": "mpeg4"},
        "fragments.mp4": {"codec": "libx264", "options": {"movflags": "frag_keyframe+empty_moov"}},
        "turned.mp4": {"codec": "libx264", "rotation": 90},
    }
    made = [
        make_clip(folder / name, frames=12, size=(160, 120), **options)  # type: ignore[arg-type]
        for name, options in kinds.items()
    ]
    shared = sorted(
        (ROOT.parent / "shared" / "media").glob("*.[mg][pki][4vf]"), key=lambda one: one.stat().st_size
    )
    return [SAMPLE, *made, *shared[:3]]


def mutated(rng: random.Random, originals: list[bytes], number: int) -> tuple[int, bytes]:
    """The number of the original, and its bytes, damaged in the headers or anywhere."""
    which = number % len(originals)
    data = originals[which]
    if rng.random() < 0.4:  # the header of most containers, the index of some
        cut = min(len(data), 2000)
        place = 0 if rng.random() < 0.6 else len(data) - cut
        middle = damaged(rng, data[place : place + cut], originals, 4)
        return which, data[:place] + middle + data[place + cut :]
    return which, damaged(rng, data, originals, 20)


def test_mutated_recordings_are_read_or_explained(originals: list[Path], tmp_path: Path) -> None:
    rng = random.Random(6)
    contents = [path.read_bytes() for path in originals]
    paths = []
    for number in range(cases(60, 500)):
        which, content = mutated(rng, contents, number)
        paths.append(tmp_path / f"{number:03}-{originals[which].name}")
        paths[-1].write_bytes(content or b"\0")
    ends: Counter[str] = Counter()
    wrong, largest = [], 0
    for outcome in outcomes(paths, tmp_path):
        ends[outcome.end] += 1
        largest = max(largest, outcome.memory)
        if outcome.end not in ("read", "StartError", "BrokenFileError") or outcome.memory > MEMORY:
            wrong.append(outcome)
            shutil.copy(tmp_path / outcome.name, tmp_path.parent)
        elif outcome.end != "read":
            assert "\\n" not in outcome.text, outcome
    print(f"{dict(ends)}; the most memory: {largest / 1e6:.0f} MB")
    assert ends.total() == len(paths)
    assert not wrong, wrong


# ---- frames that claim to be huge --------------------------------------------------------------------------


def gif(side: int) -> bytes:
    """A GIF (version 89a) of one image of 8×8 pixels on a screen of `side`²."""
    screen = struct.pack("<HHBBB", side, side, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    image = b"," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\x02\x05\x84\x8f\xa9\xcb\xed\0;"
    return b"GIF89a" + screen + image


@pytest.mark.parametrize("side", [9000, 16000, 60000])
def test_a_header_that_claims_a_huge_frame_is_refused_before_memory_is_taken(
    tmp_path: Path, side: int
) -> None:
    path = tmp_path / "huge.gif"
    path.write_bytes(gif(side))
    (outcome,) = outcomes([path], tmp_path)
    assert outcome.end == "StartError"
    assert "larger than 8192×8192 pixels" in outcome.text
    assert outcome.memory < 150e6
    path.write_bytes(gif(2000))  # what is not too large is read
    (outcome,) = outcomes([path], tmp_path)
    assert (outcome.end, outcome.frames) == ("read", 1)


# ---- the service -------------------------------------------------------------------------------------------


def test_a_service_survives_what_kills_the_decoder(tmp_path: Path) -> None:
    """A source that dies of SIGSEGV at its tenth frame, as FFmpeg might: the other stream is complete."""
    plugin = tmp_path / "crashing.py"
    plugin.write_text(
        "import os, signal\n"
        "from streamfer.api import Component\n"
        "from streamfer.hookspecs import hookimpl\n"
        "from streamfer.sources import FileOptions\n"
        "from streamfer.sources.file import FileSource\n"
        "class Crashing(FileSource):\n"
        "    def frames(self):\n"
        "        for number, frame in enumerate(super().frames()):\n"
        "            if number == 10:\n"
        "                os.kill(os.getpid(), signal.SIGSEGV)\n"
        "            yield frame\n"
        "@hookimpl\n"
        "def streamfer_components():\n"
        "    return [Component('source', 'crashing', 'Crashes', ':Crashing', FileOptions)]\n"
    )
    config = tmp_path / "config.yaml"
    config.write_text(
        f"version: 1\nplugins: [crashing.py]\nmetrics: false\nclassifiers: [cnn]\n"
        f"streams: {{bad: {{source: crashing, path: {SAMPLE}}}, good: {{path: {SAMPLE}}}}}\n"
        "sinks: [{name: jsonl, path: results.jsonl}]\n"
    )
    done = streamfer("run", config)
    found = [(line["stream"], line["seq"]) for line in lines(tmp_path / "results.jsonl")]
    assert [seq for stream, seq in found if stream == "good"] == list(range(250))
    assert [seq for stream, seq in found if stream == "bad"] == list(range(10))
    assert "capture bad: killed by SIGSEGV" in done.stderr
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
