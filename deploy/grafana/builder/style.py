"""Colours by meaning, and units; where an alert has a limit, a value beyond it is red."""

from __future__ import annotations

from typing import NamedTuple

FRAMES = "suffix:frames/s"
FACES = "suffix:faces/s"
CHANGES = "suffix:changes/s"
CORES = "suffix:cores"

LABELS = {
    "angry": "red",
    "disgust": "green",
    "fear": "purple",
    "happy": "yellow",
    "sad": "blue",
    "surprise": "orange",
    "neutral": "#8e8e8e",
}
"""The seven expressions; one colour each on every page."""

STAGES = {"captured": "blue", "detected": "purple", "classified": "orange", "delivered": "green"}

REASONS = {
    "overload": "red",
    "max_age": "orange",
    "restart": "dark-red",
    "corrupt": "purple",
    "fps_cap": "#8e8e8e",
}
"""Why a frame was dropped; gray is what was asked for."""

STATUS = {"ok": "green", "small": "yellow", "blurred": "orange"}
"""Of a face."""

STATES = {
    0: ("recording", "#8e8e8e"),
    1: ("live", "green"),
    2: ("connecting", "blue"),
    3: ("stale", "yellow"),
    4: ("reconnecting", "orange"),
    5: ("failed", "red"),
    6: ("no process", "dark-red"),
}
"""Text and colour of the codes of `queries.state_code`."""

CIRCUIT = {0: ("closed", "green"), 1: ("open", "red")}


class Limits(NamedTuple):
    """The colour of a value: `base`, and another one from each step on."""

    base: str
    steps: tuple[tuple[float, str], ...] = ()


NEUTRAL = Limits("blue")
"""For what is neither good nor bad."""


def high_is_bad(yellow: float, red: float) -> Limits:
    return Limits("green", ((yellow, "yellow"), (red, "red")))


def low_is_bad(yellow: float, green: float) -> Limits:
    """Red, from `yellow` on yellow, from `green` on green."""
    return Limits("red", ((yellow, "yellow"), (green, "green")))


ANY_IS_BAD = Limits("green", ((1, "red"),))
"""For counts of what should not happen."""

LATENCY = high_is_bad(1, 2)
"""Seconds from capture to sink; `max_age` is 1 unless configured."""

DROPS = high_is_bad(0.01, 0.05)
FRAME_AGE = high_is_bad(1, 3)
"""Seconds; after 3 (`stale_after`) a source is given up unless configured."""

SILENCE = high_is_bad(3, 7)
"""Seconds; after 7 a process is replaced."""

DRIFT = high_is_bad(0.1, 0.25)
FREE = low_is_bad(0.05, 0.15)
"""Share of a file system that is free."""
