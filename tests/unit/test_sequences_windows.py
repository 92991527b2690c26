"""Windows of video that is trained and measured on: the service's own, of one clip, by time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamfer.errors import UsageError
from streamfer.training.dataset import Dataset
from streamfer.training.sequences import windows
from streamfer.types import Window
from tests.datasets import make, noise

FOUR = Window(frames=4, stride=1, fps=10.0, max_gap=0.5)


def video(*clips: list[float], stills: int = 0) -> Dataset:
    """Frames of clips at these times, and then stills; all Training."""
    frames = sum(map(len, clips))
    data = make(noise(frames + stills, side=4), np.arange(frames + stills) % 7)
    sequences = np.repeat(np.arange(len(clips)), [len(clip) for clip in clips])
    return replace(
        data,
        sequences=np.concatenate([sequences, np.full(stills, -1)]).astype(np.int32),
        frames=np.zeros(frames + stills, np.int32),
        seconds=np.concatenate([*clips, np.full(stills, np.nan)]),
    )


def tenths(frames: int) -> list[float]:
    return [place / 10 for place in range(frames)]


def test_each_frame_of_a_clip_ends_a_window_which_begins_with_its_first() -> None:
    data = video(tenths(3), tenths(6))
    found = windows.for_training(data, np.arange(9), FOUR).tolist()
    assert found == [
        *([0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 2]),
        *([3, 3, 3, 3], [3, 3, 3, 4], [3, 3, 4, 5], [3, 4, 5, 6], [4, 5, 6, 7], [5, 6, 7, 8]),
    ]


def test_what_is_measured_is_the_end_and_full_windows_before_it() -> None:
    data = video(tenths(3), tenths(8))
    found = windows.for_measuring(data, np.arange(11), FOUR).tolist()
    assert found == [[0, 0, 1, 2], [3, 4, 5, 6], [5, 6, 7, 8], [7, 8, 9, 10]]


def test_rows_may_lie_in_any_order() -> None:
    data = video(tenths(6))
    shuffled = data.take(np.array([4, 0, 5, 2, 1, 3]))
    (whole,) = windows.clips(shuffled, np.arange(6))
    assert shuffled.seconds is not None and shuffled.seconds[whole].tolist() == tenths(6)


def test_a_fast_camera_gives_no_more_windows_than_a_slow_one_and_the_same_span() -> None:
    slow, fast = video(tenths(11)), video([place / 60 for place in range(61)])
    counts = [len(windows.for_training(data, np.arange(len(data)), FOUR)) for data in (slow, fast)]
    assert counts[0] == 11 and 11 <= counts[1] <= 14
    assert fast.seconds is not None
    last = fast.seconds[windows.for_measuring(fast, np.arange(61), FOUR)[-1]]
    assert last[-1] - last[0] == pytest.approx(0.3, abs=0.05)


def test_a_gap_begins_a_new_window() -> None:
    data = video([0.0, 0.1, 0.2, 1.0, 1.1])
    assert windows.for_training(data, np.arange(5), FOUR)[-1].tolist() == [3, 3, 3, 4]


def test_stills_among_the_clips_hold_still() -> None:
    data = video(tenths(2), stills=2)
    assert windows.for_measuring(data, np.arange(4), FOUR).tolist() == [[0, 0, 0, 1], [2] * 4, [3] * 4]


def test_pictures_are_no_video() -> None:
    data = make(noise(7, side=4), np.arange(7))
    with pytest.raises(UsageError, match=r"made: not video.* synthetic: in the recipe"):
        windows.for_training(data, np.arange(7), FOUR)
