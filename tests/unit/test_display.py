"""What a run looks like: for people, in a plain log, as JSON lines."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import pytest

from streamfer import wire
from streamfer.cli import display as display
from streamfer.cli.display import Display, JsonLines
from streamfer.errors import StartError
from streamfer.ledger import Row
from streamfer.logs import LogLine
from streamfer.status import Status, StreamStatus
from streamfer.supervisor import Outcome
from streamfer.types import StreamState

OPENED = wire.Opened(640, 360, 300, 12.0, "h264")


def line(text: str, level: int = logging.WARNING, stream: str | None = "door") -> LogLine:
    return LogLine(time=1_750_000_000.0, level=level, text=text, stream=stream)


def status(captured: int, dropped: int = 0, door: StreamState = "live") -> Status:
    streams = [
        StreamStatus(name="clip", live=False, state="reading", since=0),
        StreamStatus(
            name="lobby", live=True, state="live", since=0, captured=captured, dropped={"max_age": dropped}
        ),
        StreamStatus(name="door", live=True, state=door, since=0),
    ]
    return Status(version="1", started=0, ready=True, streams=streams)


def outcome(tmp_path: Path, *errors: str) -> Outcome:
    written = tmp_path / "results.jsonl"
    written.write_text("x" * 2000)
    rows = [Row("lobby", "cnn", "jsonl", 100, 90, {"overload": 7, "restart": 1})]
    outputs = [str(written), str(tmp_path / "absent.mp4")]
    return Outcome(4, rows, outputs, list(errors), 100, 12.3456, 2)


def test_a_plain_log_has_what_changes_and_a_line_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Display(quiet_progress=False, live={"lobby", "door"})
    clock = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with shown:
        shown.opened("clip", OPENED)
        shown.opened("lobby", OPENED)
        shown.log(line("refused by rtsp://me:hunter2@door"))
        shown.log(line("nobody wants this", logging.DEBUG))
        for second in range(119):
            clock[0] += 1
            shown.status(status(25 * second, second // 10, "stale" if second < 50 else "live"))
    assert capsys.readouterr().err.splitlines() == [
        "clip: 640×360, about 300 frames",
        "door: refused by rtsp://…@door",
        "2 of 2 streams live; 1475 frames in the last minute, 24.6/s; dropped: 5 max_age",
    ]


def test_the_line_a_minute_says_which_streams_are_away() -> None:
    summary = display._Summary(0.0)
    assert summary.line(status(0).streams[1:], 1.0) is None
    assert summary.line(status(600, door="stale").streams[1:], 60.0) == (
        "1 of 2 streams live (door stale); 600 frames in the last minute, 10.0/s; dropped: none"
    )


def test_beside_the_console_sink_there_is_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Display(quiet_progress=True, live={"lobby", "door"})
    with shown:
        shown.opened("clip", OPENED)
        shown.status(status(10))
        shown.log(line("refused"))
    assert capsys.readouterr().err == "door: refused\n"


def test_a_terminal_shows_the_live_streams(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with Display(quiet_progress=False, live={"lobby", "door"}) as shown:
        shown.opened("clip", OPENED)
        shown.status(status(1234, 5, "reconnecting"))
    text = capsys.readouterr().err
    for part in ("clip", "0/300", "lobby", "1,234", "door", "reconnecting"):
        assert part in text, part


def test_the_end_for_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    Display(quiet_progress=False).finish(outcome(tmp_path, "streams.door: rtsp://a:b@door: gone"))
    text = capsys.readouterr().err
    for part in (
        "7 overload, 1 restart",
        "100 frames in 12.3 s, 2 restarts of a stage",
        "results.jsonl  (2 kB)",
    ):
        assert part in text, part
    assert "absent" not in text
    assert text.endswith("streams.door: rtsp://…@door: gone\n")


def test_json_is_one_object_a_line_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = JsonLines()
    lines.listening("http://127.0.0.1:9108/metrics")
    lines.opened("clip", OPENED)
    lines.progress([])
    lines.status(status(10))
    lines.log(line("refused\nby rtsp://me:hunter2@door"))
    lines.log(line("nobody wants this", logging.DEBUG))
    lines.finish(outcome(tmp_path, "streams.door: gone"))
    captured = capsys.readouterr()
    found = [json.loads(one) for one in captured.err.splitlines()]
    assert captured.out == ""
    for one in found:
        one.pop("time")
    assert found == [
        {"level": "info", "message": "listening", "url": "http://127.0.0.1:9108/metrics"},
        {"level": "info", "message": "opened", "stream": "clip", "width": 640, "height": 360, "frames": 300},
        {"level": "warning", "message": "refused\nby rtsp://…@door", "stream": "door"},
        {
            "level": "info",
            "message": "ledger",
            "stream": "lobby",
            "classifier": "cnn",
            "sink": "jsonl",
            "captured": 100,
            "delivered": 90,
            "dropped": {"overload": 7, "restart": 1},
            "in_flight": 2,
        },
        {"level": "info", "message": "wrote", "path": str(tmp_path / "results.jsonl"), "bytes": 2000},
        {"level": "error", "message": "streams.door: gone"},
        {"level": "info", "message": "end", "status": 4, "frames": 100, "seconds": 12.346, "restarts": 2},
    ]


def test_an_error_that_ends_the_run_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    JsonLines().failed(StartError("rtsp://me:hunter2@door: wrong password\nand a second line"))
    found = [json.loads(one) for one in capsys.readouterr().err.splitlines()]
    assert [one["message"] for one in found] == ["rtsp://…@door: wrong password", "and a second line", "end"]
    assert found[-1]["status"] == 3
