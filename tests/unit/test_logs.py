"""Log lines: one JSON object each, and repeats held back."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from streamfer import redact
from streamfer.logs import LogLine, RateLimit, to_json, to_text


def line(text: str = "refused", **facts: Any) -> LogLine:
    return LogLine(**{"time": 1_750_000_000.0625, "level": logging.WARNING, "text": text, **facts})


def test_a_line_of_json_has_what_is_known() -> None:
    full = to_json(line(stage="capture lobby", stream="lobby", epoch=0, seq=17))
    assert json.loads(full) == {
        "time": "2025-06-15T15:06:40.062Z",
        "level": "warning",
        "message": "refused",
        "stage": "capture lobby",
        "stream": "lobby",
        "epoch": 0,
        "seq": 17,
    }
    assert list(json.loads(full))[:3] == ["time", "level", "message"]
    assert set(json.loads(to_json(line()))) == {"time", "level", "message"}
    assert datetime.fromisoformat(json.loads(full)["time"]).tzinfo == UTC


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (0, "debug"),
        (10, "debug"),
        (20, "info"),
        (25, "info"),
        (30, "warning"),
        (40, "error"),
        (99, "critical"),
    ],
)
def test_any_level_has_a_name(level: int, name: str) -> None:
    assert json.loads(to_json(line(level=level)))["level"] == name


@pytest.mark.parametrize(
    "text", ["two\nlines", 'a "quote"', "\x00\x1b[31m\u2028", "a name \udcff", "größer …"]
)
def test_any_text_is_one_line_that_utf_8_can_say(text: str) -> None:
    printed = to_json(line(text))
    assert "\n" not in printed
    assert json.loads(printed.encode())["message"] == text.replace("\udcff", "\\udcff")


def test_no_password_in_either_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_patterns", {})
    monkeypatch.setattr(redact, "_compiled", None)
    redact.add_secret('hunter"2')
    said = line('rtsp://me:x@camera: hunter"2', stream='camera-hunter"2', stage='hunter"2')
    for printed in (to_json(said), to_text(said)):
        assert "hunter" not in printed and ":x@" not in printed


def test_the_text_for_a_person_says_what_it_is_about_once() -> None:
    assert to_text(line("refused")) == "refused"
    assert to_text(line("refused", stage="capture lobby", stream="lobby")) == "lobby: refused"
    assert to_text(line("lobby: refused", stream="lobby")) == "lobby: refused"
    assert to_text(line("detect[0]: killed", stage="detect[0]")) == "detect[0]: killed"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_line_passes_and_then_one_in_a_while_with_their_number() -> None:
    clock = Clock()
    limit = RateLimit(seconds=60, clock=clock)
    assert limit.admit("lobby", line("first")) == line("first")
    for second in range(1, 60):
        clock.now = 100 + second
        assert limit.admit("lobby", line(f"after {second}")) is None
    assert limit.admit("door", line("another")) == line("another")
    clock.now = 160
    assert limit.admit("lobby", line("later")) == line("later (59 times more since)")
    assert limit.admit("lobby", line("again")) is None
    clock.now = 220
    assert limit.admit("lobby", line("once")) == line("once (once more since)")
    clock.now = 280
    assert limit.admit("lobby", line("quiet since")) == line("quiet since")


def test_what_was_held_back_is_told_even_if_nothing_follows() -> None:
    clock = Clock()
    limit = RateLimit(seconds=60, clock=clock)
    for number in range(4):
        limit.admit("lobby", line(f"try {number}"))
    assert limit.due() == []
    clock.now = 160
    assert limit.due() == [line("try 3 (2 times more since)")]
    assert limit.due() == []
    assert limit.admit("lobby", line("try 4")) is None  # the one just told counts as printed
    clock.now = 220
    assert limit.due() == [line("try 4")]


def test_keys_are_bounded_and_forgotten() -> None:
    clock = Clock()
    limit = RateLimit(seconds=60, keys=3, clock=clock)
    for key in range(5):
        assert limit.admit(key, line()) is not None
    assert len(limit._keys) == 3
    assert limit.admit(4, line()) is None
    assert limit.admit(0, line()) is not None  # forgotten, so it is a first line again
    clock.now = 10_000
    limit.due()
    clock.now = 20_000
    limit.due()
    assert not limit._keys
