"""What the console sink prints: a table in a terminal, a line per change anywhere else."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

import msgspec
import pytest
from rich.console import Console

from streamfer.api import StreamPlan
from streamfer.sinks import ConsoleOptions
from streamfer.sinks.console import TRACKS, ConsoleSink, _View, bar, clock, table
from streamfer.types import Face, Result

PLANS = [StreamPlan("lobby", ("cnn",)), StreamPlan("door", ("cnn",))]


def face(track: int, label: str | None = "happy", confidence: float = 0.914) -> Face:
    box = (1.0, 2.0, 3.0, 4.0)
    if label is None:
        return Face(track, box, 0.9, "blurred")
    return Face(track, box, 0.9, "ok", label, confidence, {label: confidence})


def result(seq: int, *faces: Face, stream: str = "lobby", at: float | None = None) -> Result:
    return Result(stream=stream, epoch=0, seq=seq, pts=seq / 25, time=at, classifier="cnn", faces=list(faces))


def test_one_plain_line_per_change_of_label(capsys: pytest.CaptureFixture[str]) -> None:
    sink = ConsoleSink(ConsoleOptions())
    sink.open(PLANS, resume=False)
    for seq in range(100):
        label = "happy" if seq < 40 else "sad"
        shown = [face(1, label), face(2, None)] if seq != 70 else []
        sink.write(result(seq, *shown), None)
        sink.flush()
    sink.write(msgspec.structs.replace(result(100), dropped="corrupt"), None)
    sink.end("lobby")
    sink.close()
    assert capsys.readouterr().out.splitlines() == [
        "0:00.00  lobby  face 1  happy  91%  cnn",
        "0:01.60  lobby  face 1  sad  91%  cnn",
    ]


def test_memory_is_bounded() -> None:
    sink = ConsoleSink(ConsoleOptions())
    sink._console = Console(file=io.StringIO())
    sink.open(PLANS, resume=False)
    for seq in range(5000):
        sink.write(result(seq, face(seq)), None)
    view = sink._views["lobby"]["cnn"]
    assert len(view.shown) == TRACKS and view.arrivals.maxlen is not None


PROGRAM = """
import time
from streamfer.api import StreamPlan
from streamfer.sinks import ConsoleOptions
from streamfer.sinks.console import ConsoleSink
from streamfer.types import Face, Result
sink = ConsoleSink(ConsoleOptions(refresh=2))
sink.open([StreamPlan("lobby", ("cnn",))], resume=False)
for seq in range(5000):
    face = Face(1, (1.0, 2.0, 3.0, 4.0), 0.9, "ok", "happy", 0.5, {"happy": 0.5})
    frame = Result(
        stream="lobby", epoch=0, seq=seq, pts=seq / 25, time=None, classifier="cnn", faces=[face]
    )
    sink.write(frame, None)
sink.end("lobby")
sink.close()
"""


def test_live_table_in_a_real_terminal() -> None:
    """A pseudo-terminal of its own: the table is there at the end, and was not redrawn per frame."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how Linux says that the other side is closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert process.returncode == 0
    text = shown.decode()
    assert "happy" in text and "5,000 frames" in text and "since 0:00.00" in text
    assert text.count("face 1") < 100


def test_table_shows_who_shows_what() -> None:
    views = {"lobby": {"cnn": _View(), "rows": _View()}, "door": {"cnn": _View()}}
    views["lobby"]["cnn"].latest = result(50, face(3), face(1, None))
    views["lobby"]["cnn"].shown[3] = "happy", 1.5
    views["lobby"]["rows"].latest = result(50, face(3, "sad", 0.25))
    views["lobby"]["rows"].dropped = 2
    views["lobby"]["cnn"].frames = 1234
    screen = Console(file=io.StringIO(), width=100, record=True)
    screen.print(table(views, 0.0))
    lines = [line.rstrip() for line in screen.export_text().splitlines()]
    assert lines[0].startswith("lobby  0:02.00  1,234 frames")
    assert lines[1].split() == ["face", "1", "cnn", "blurred"]
    assert lines[2].split() == ["face", "3", "cnn", "happy", "███████████", "91%", "since", "0:01.50"]
    assert lines[3].split()[:6] == ["face", "3", "rows", "sad", "███", "25%"]
    assert lines[4].startswith("door") and lines[5].strip() == "no face"


def test_bar_and_clock() -> None:
    assert [bar(share) for share in (0.0, 0.5, 1.0, 7.0, -1.0)] == [
        " " * 12, "█" * 6 + " " * 6, "█" * 12, "█" * 12, " " * 12
    ]  # fmt: skip
    assert [clock(seconds, live=False) for seconds in (0, 59.999, 61.5, 3725.25, -1.5, None)] == [
        "0:00.00", "1:00.00", "1:01.50", "1:02:05.25", "-0:01.50", "-"
    ]  # fmt: skip
    assert len(clock(1.8e9, live=True)) == 8
