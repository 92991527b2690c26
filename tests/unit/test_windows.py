"""Windows of temporal classifiers: one span of time at any rate, bounded, begun anew where they must."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamfer.types import Window, WindowState
from streamfer.windows import Windows

SIXTEEN = Window(frames=16, stride=1, fps=12.5, max_gap=0.5)
Encode = Callable[[list[int]], NDArray[np.float32]]


def says(*values: float) -> Encode:
    """An encoder that says one number of each face."""
    return lambda places: np.array([[values[place]] for place in places], np.float64).astype(np.float32)


class Fed:
    """One face and its windows: the last that was made, how full it is, and the times that were taken."""

    def __init__(self, window: Window, times: Iterable[float] = ()) -> None:
        self.windows = Windows(window)
        self.taken: list[float] = []
        for seconds in times:
            self.feed(seconds)

    def feed(self, seconds: float) -> None:
        """A frame whose one feature is its time."""
        places, built, states = self.windows.update(seconds, [1], says(seconds))
        if places:
            assert places == [0]
            self.taken.append(seconds)
            self.window: list[float] = built[0, :, 0].tolist()
            (self.state,) = states


def at(fps: float, seconds: float) -> list[float]:
    """PTS as containers have them: rounded to a millisecond."""
    return [round(place / fps, 3) for place in range(int(seconds * fps) + 1)]


def test_at_the_trained_rate_it_is_the_last_frames() -> None:
    fed = Fed(SIXTEEN, at(12.5, 2))
    assert fed.taken == at(12.5, 2)
    assert fed.window == pytest.approx([0.8 + place * 0.08 for place in range(16)], abs=1e-3)
    assert fed.state == WindowState(16, 16, 1200.0)


@pytest.mark.parametrize("fps", [7, 10, 12.5, 15, 24, 25, 29.97, 30, 50, 60, 120])
def test_any_rate_gives_it_the_same_span_of_time(fps: float) -> None:
    fed, period = Fed(SIXTEEN, at(fps, 4)), SIXTEEN.period
    wanted = [fed.window[-1] - (15 - place) * period for place in range(16)]
    # A frame that is not yet due is passed over, and the next comes 1 / fps later.
    apart = 0.002 + (1 / fps if fps <= 12.5 else period + 1 / fps) / 2
    assert np.abs(np.subtract(fed.window, wanted)).max() <= apart
    assert fed.state.filled == 16
    assert abs(fed.state.span_ms / 1000 - SIXTEEN.span) <= apart
    assert 0 <= at(fps, 4)[-1] - fed.window[-1] < period
    assert len(fed.taken) == pytest.approx(min(fps, 12.5) * 4, abs=2)


@pytest.mark.parametrize("fps", [12.5, 25, 50, 100])
def test_a_multiple_of_the_trained_rate_gives_it_exactly_that_rate(fps: float) -> None:
    fed = Fed(SIXTEEN, at(fps, 4))
    assert np.diff(fed.taken[1:]) == pytest.approx(SIXTEEN.period, abs=1e-6)
    assert fed.window == pytest.approx(fed.taken[-16:], abs=1e-6)


def test_the_stride_widens_it() -> None:
    fed = Fed(Window(4, 3, 30.0, 0.5), at(30, 1))
    assert np.diff(fed.window) == pytest.approx(0.1, abs=1e-3)
    assert fed.state == WindowState(4, 4, 300.0)


@pytest.mark.parametrize("fps", [12.5, 25.0])
def test_jitter_of_a_few_milliseconds_leaves_no_hole(fps: float) -> None:
    random = np.random.default_rng(0)
    fed = Fed(SIXTEEN, [seconds + random.uniform(-0.008, 0.008) for seconds in at(fps, 4)])
    assert len(set(fed.window)) == 16


def test_while_it_warms_the_first_frame_stands_for_those_before() -> None:
    fed, filled = Fed(SIXTEEN), []
    for seconds in at(12.5, 2):
        fed.feed(seconds)
        filled.append(fed.state.filled)
        assert fed.window[: 16 - fed.state.filled] == [0.0] * (16 - fed.state.filled)
    assert filled == [*range(1, 16), *[16] * 11]


@pytest.mark.parametrize(
    ("times", "filled"),
    [
        ([0, 0.1, 0.2, 0.8], 1),  # a gap longer than max_gap
        ([0, 0.1, 0.2, 0.7], 10),  # one that it bears
        ([0, 0.1, 0.2, 0.7005], 10),  # PTS are rounded
        ([5, 5.1, 5.2, 1.0], 1),  # PTS that run backwards
        ([5, 5.1, 5.2, 5.19], 1),  # by however little: nobody knows what is before what
        ([0, 0.1, 3600, 3600.08], 2),  # PTS that jump
        ([0, 0.08, 0.08, 0.08], 2),  # PTS that repeat
    ],
)
def test_it_begins_anew_where_it_must(times: list[float], filled: int) -> None:
    assert Fed(SIXTEEN, times).state.filled == filled


def test_of_repeated_times_the_first_frame_is_taken() -> None:
    windows = Windows(Window(3, 1, 10.0, 1.0))
    taken = [windows.update(seconds, [1], says(n)) for n, seconds in enumerate([0.0, 0.1, 0.1, 0.1, 0.2])]
    assert [places for places, _, _ in taken] == [[0], [0], [], [], [0]]
    assert taken[-1][1][0, :, 0].tolist() == [0, 1, 4]


def test_in_a_gap_the_nearest_frame_counts() -> None:
    fed = Fed(Window(6, 1, 10.0, 0.5), [0, 0.1, 0.51])
    assert fed.window == pytest.approx([0, 0.1, 0.1, 0.51, 0.51, 0.51])
    assert fed.state == WindowState(6, 6, 510.0)


def test_a_stream_slower_than_max_gap_never_fills_it() -> None:
    fed = Fed(SIXTEEN, at(1, 60))
    assert (fed.state, fed.taken) == (WindowState(16, 1, 0.0), at(1, 60))


def test_a_window_of_one_frame_is_always_full() -> None:
    assert Fed(Window(1, 1, 10.0, 1.0), [0.0]).state == WindowState(1, 1, 0.0)
    fed = Fed(Window(1, 1, 10.0, 1.0), at(30, 2))
    assert fed.state == WindowState(1, 1, 0.0)
    assert fed.window == pytest.approx([2.0], abs=0.05)


def test_the_encoder_is_asked_once_and_only_for_faces_that_are_due() -> None:
    windows, asked = Windows(Window(4, 1, 10.0, 0.5)), []

    def encode(places: list[int]) -> NDArray[np.float32]:
        asked.append(places)
        return np.zeros((len(places), 3), np.float32)

    told = []
    for frame in range(9):  # twice as many frames as are taken; a second face comes in between
        tracks = [7] if frame < 3 else [9, 7]
        places, built, states = windows.update(frame / 20, tracks, encode)
        assert len(places) == len(built) == len(states)
        told.append(places)
    assert told == [[0], [], [0], [0], [1], [0], [1], [0], [1]]
    assert asked == [places for places in told if places]


def test_tracks_do_not_see_each_other() -> None:
    windows = Windows(Window(3, 1, 10.0, 1.0))
    for place in range(5):
        tracks = [7, 3] if place % 2 else [3, 7]
        values = [track * 100 + place for track in tracks]
        places, built, _ = windows.update(place / 10, tracks, says(*values))
        assert places == [0, 1]
        assert built[:, -1, 0].tolist() == values
    assert sorted(built[:, :, 0].tolist()) == [[302, 303, 304], [702, 703, 704]]


def test_a_face_that_returns_in_time_goes_on_and_one_that_does_not_begins_anew() -> None:
    windows = Windows(SIXTEEN)
    for place in range(60):
        here = [1] if place < 10 else [1, 2] if 14 <= place < 20 else [2]
        _, _, states = windows.update(place / 12.5, here, says(*here))
        if place == 14:
            assert [one.filled for one in states] == [15, 5]
    assert (1 in windows, 2 in windows) == (False, True)
    _, _, (state,) = windows.update(60 / 12.5, [1], says(1))
    assert state.filled == 1


def test_what_is_kept_is_bounded_by_tracks_and_frames() -> None:
    """Thousands of faces, each seen for a while and then never again, beside one that stays."""
    windows = Windows(SIXTEEN)
    for place in range(1, 4000):
        tracks = [0, *range(place, place + 50)]
        windows.update(place / 60, tracks, says(*tracks))
        assert len(windows) <= 1 + 50 + 60 * SIXTEEN.max_gap + 1
        if place % 50 == 0:
            assert all(len(one.times) == len(one.vectors) <= 2 * 16 for one in windows._tracks.values())
    windows.update(1000.0, [], says())
    assert len(windows) == 0


def test_a_face_that_never_goes_does_not_grow() -> None:
    windows = Windows(SIXTEEN)
    for place in range(20_000):
        windows.update(place / 100, [1], says(place))
    (track,) = windows._tracks.values()
    assert len(track.times) == len(track.vectors) <= 16 + 1


def test_reset_forgets_everything() -> None:
    fed = Fed(SIXTEEN, at(12.5, 1))
    fed.windows.reset()
    assert len(fed.windows) == 0
    fed.feed(0.5)
    assert fed.state.filled == 1


@given(
    steps=st.lists(st.floats(0.0, 0.6, allow_nan=False), min_size=1, max_size=80),
    frames=st.integers(1, 20),
    stride=st.integers(1, 5),
    fps=st.floats(1.0, 60.0),
)
@example(steps=[0.0, 0.5, 0.041824598153029996], frames=1, stride=5, fps=59.0)  # just too early
def test_every_window_is_in_order_and_holds_the_nearest_of_the_frames_taken(
    steps: list[float], frames: int, stride: int, fps: float
) -> None:
    window = Window(frames, stride, fps, 0.5)
    fed, period = Fed(window), window.period
    seconds = 0.0
    for step in steps:
        seconds += step
        if step > window.max_gap + 0.001:
            fed.taken.clear()
        before = len(fed.taken)
        fed.feed(seconds)
        assert fed.taken, "a face that is new is taken"
        assert seconds - fed.taken[-1] < period, "no face goes without an answer for longer"
        if len(fed.taken) == before:
            continue
        row, state = fed.window, fed.state
        assert row[-1] == pytest.approx(seconds, abs=1e-4)
        assert (np.diff(row) >= 0).all()
        assert row[0] >= fed.taken[0] - 1e-4
        assert 1 <= state.filled <= frames
        assert state.span_ms == pytest.approx(1000 * (seconds - row[0]), abs=1)
        for place in range(frames):
            due = seconds - (frames - 1 - place) * period
            nearest = min(abs(one - due) for one in fed.taken)
            assert abs(row[place] - due) == pytest.approx(nearest, abs=1e-3)
    assert all(later - earlier >= 0.5 * period - 1e-6 for earlier, later in pairwise(fed.taken))
    (track,) = fed.windows._tracks.values()
    assert len(track.times) <= 2 * frames
