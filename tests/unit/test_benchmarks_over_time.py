"""What the pages about time are measured with: delays that are known come out, and shuffling shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import temporal
from benchmarks.sequences import in_order, shuffled
from streamfer.smoothing import smoothing

FRAME_MS = 1000 / temporal.FPS


class Late:
    """Answers for each face what its crop said so many frames ago: its gray level is the label."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._seen: list[NDArray[np.uint8]] = []

    def predict(self, *crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        answers = np.full((len(crops[0]), 3), 0.05, np.float32)
        answers[np.arange(len(answers)), crops[0][:, 0, 0, 0]] = 0.9
        return answers

    def follow(
        self, stream: str, seconds: float, tracks: Sequence[int], crops: Sequence[NDArray[np.uint8]]
    ) -> tuple[NDArray[np.float32], None]:
        self._seen.append(crops[0])
        return self.predict(self._seen[max(len(self._seen) - 1 - self._frames, 0)]), None

    def reset(self, stream: str) -> None:
        self._seen.clear()


def sides() -> list[tuple[int, NDArray[np.uint8]]]:
    return [(label, np.full((temporal.FRAMES, 2, 2, 1), label, np.uint8)) for label in (0, 1, 1, 2)]


def test_every_two_of_different_labels_are_joined_both_ways() -> None:
    labels, crops = temporal.changes(sides())
    assert sorted(map(tuple, labels.tolist())) == sorted(
        [(0, 1), (1, 0), (1, 2), (2, 1)] * 2 + [(0, 2), (2, 0)]
    )
    assert crops.shape == (2 * temporal.FRAMES, 10, 2, 2, 1)
    assert (crops[0, :, 0, 0, 0] == labels[:, 0]).all() and (crops[-1, :, 0, 0, 0] == labels[:, 1]).all()


@pytest.mark.parametrize("frames", [0, 1, 7])
def test_a_known_delay_is_what_is_told(frames: int) -> None:
    one = temporal.Asked("late", Late(frames), None, 3)
    told = temporal.told(one, *temporal.changes(sides()))
    late = f"{frames * FRAME_MS:.0f}"
    assert told == f"{late} / {late} / {late} (100 %)"


def test_smoothing_delays_and_what_never_follows_is_not_counted() -> None:
    pairs = temporal.changes(sides())
    held = temporal.Asked("held", Late(0), smoothing({"method": "hysteresis", "hold": 0.2}), 3)
    assert temporal.told(held, *pairs) == "200 / 200 / 200 (100 %)"
    assert temporal.told(temporal.Asked("asleep", Late(10**6), None, 3), *pairs) == "– (0 %)"


def test_a_stretch_is_played_to_and_fro() -> None:
    crops = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    assert temporal.played(crops).ravel()[:7].tolist() == [0, 1, 2, 1, 0, 1, 2]


def test_what_is_named_is_what_is_asked() -> None:
    still = np.full((1, 48, 48, 1), 128, np.uint8)
    alone, steady = temporal.asked("cnn_lstm:frames"), temporal.asked("{name: cnn, smoothing: ema}")
    assert alone.smoothing is None and steady.smoothing is not None
    assert alone.answering.follow("clip", 0.0, [1], [still])[1] is not None, "it has windows"
    assert steady.answering.follow("clip", 0.0, [1], [still])[1] is None


def test_shuffled_sequences_keep_their_frames_and_lose_their_order() -> None:
    x = np.arange(200 * 3 * 2, dtype=np.float32).reshape(200, 3, 2)
    found = shuffled(x, np.random.default_rng(0))
    assert (np.sort(found, axis=1) == x).all(), "frames stay whole, and in their sequence"
    kept = (found == x).all(axis=(1, 2)).mean()
    assert 0.05 < kept < 0.3, "one order of six is the one it had"
    assert in_order(x, np.random.default_rng(0)) is x


def test_the_module_is_where_the_page_says() -> None:
    page = (Path(__file__).parents[2] / "docs/temporal.md").read_text("utf-8")
    for module in ("temporal", "smoothing", "sequences"):
        assert f"python -m benchmarks.{module}" in page
