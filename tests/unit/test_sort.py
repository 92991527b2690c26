"""The tracker: ids that last, are unique and are never used again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamfer.trackers import SortOptions
from streamfer.trackers.sort import Sort, buffered_iou
from streamfer.types import Box, Detection

FRAME = 1 / 30


def face(x: float, y: float = 100, side: float = 50) -> Detection:
    return Detection(Box(x, y, side, side * 1.25), 0.9)


def looks(*persons: int) -> NDArray[np.float32]:
    """Unit vectors: one and the same for a person, orthogonal for two."""
    return np.eye(8, dtype=np.float32)[list(persons)]


def tracker(**options: float) -> Sort:
    return Sort(SortOptions(**options))


boxes = st.builds(
    lambda x, y, side: face(x, y, side), st.floats(0, 600), st.floats(0, 400), st.floats(10, 150)
)
clips = st.lists(st.lists(boxes, max_size=6), min_size=1, max_size=12)


@settings(deadline=None)  # a slow machine is no failure
@given(clips, st.floats(0.001, 2))
def test_ids_are_unique_in_a_frame_and_new_ones_rise(clip: list[list[Detection]], step: float) -> None:
    sort, highest = tracker(), 0
    for number, found in enumerate(clip):
        ids = sort.update(found, number * step)
        assert len(ids) == len(found) == len(set(ids))
        new = [track for track in ids if track > highest]
        assert new == list(
            range(highest + 1, highest + 1 + len(new))
        )  # none left out, in order of detections
        highest = max([highest, *ids])


@settings(deadline=None)
@given(clips, st.floats(0.001, 2))
def test_two_runs_give_the_same_ids(clip: list[list[Detection]], step: float) -> None:
    one, other = tracker(), tracker()
    for number, found in enumerate(clip):
        assert one.update(found, number * step) == other.update(found, number * step)


@settings(deadline=None)
@given(st.data())
def test_the_order_of_detections_does_not_matter(data: st.DataObject) -> None:
    columns = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True))
    one, other = tracker(), tracker()
    start = [face(100.0 * column) for column in columns]
    named = dict(zip(columns, one.update(start, 0.0), strict=True))
    other.update(start, 0.0)
    for number in range(1, 5):
        moves = data.draw(st.lists(st.floats(-4, 4), min_size=len(columns), max_size=len(columns)))
        found = {column: face(100.0 * column + dx) for column, dx in zip(columns, moves, strict=True)}
        shuffled = data.draw(st.permutations(columns))
        assert one.update([found[c] for c in columns], number * FRAME) == [named[c] for c in columns]
        assert other.update([found[c] for c in shuffled], number * FRAME) == [named[c] for c in shuffled]


@settings(deadline=None)
@given(st.lists(st.floats(0, 30), max_size=8))
def test_a_frame_without_faces_has_no_ids(times: list[float]) -> None:
    sort = tracker()
    for seconds in times:
        assert sort.update([], seconds) == []
        assert sort.predict(seconds) == []


@pytest.mark.parametrize("with_looks", [True, False])
def test_two_faces_that_cross_keep_their_ids(with_looks: bool) -> None:
    sort = tracker()
    for number in range(60):
        rightward, leftward = 100 + 5.0 * number, 400 - 5.0 * number
        appearances = looks(0, 1) if with_looks else None
        ids = sort.update([face(rightward), face(leftward, 110)], number * FRAME, appearances)
        assert ids == [1, 2]


@pytest.mark.parametrize("step", [1 / 60, 1 / 30, 1 / 10])
@pytest.mark.parametrize("gap", [0.1, 0.4, 0.8])
def test_a_face_that_is_hidden_for_a_moment_keeps_its_id(step: float, gap: float) -> None:
    sort, seconds = tracker(), 0.0
    while seconds < 1:
        assert sort.update([face(100 + 20 * seconds)], seconds, looks(0)) == [1]
        seconds += step
    hidden_until = seconds + gap
    while seconds < hidden_until:
        assert sort.update([], seconds, np.empty((0, 8), np.float32)) == []
        assert len(sort.predict(seconds)) == 1
        seconds += step
    assert sort.update([face(100 + 20 * seconds)], seconds, looks(0)) == [1]


def test_a_face_that_was_gone_for_long_is_a_new_one() -> None:
    sort = tracker(patience=1.0)
    assert sort.update([face(100)], 0.0, looks(0)) == [1]
    sort.update([], 0.5)
    assert sort.predict(1.1) == []
    assert sort.update([face(100)], 1.1, looks(0)) == [2]


def test_another_person_who_comes_out_from_behind_the_occluder_has_a_new_id() -> None:
    sort = tracker()
    for number in range(10):
        assert sort.update([face(100)], number * FRAME, looks(0)) == [1]
    for number in range(10, 25):
        sort.update([], number * FRAME, np.empty((0, 8), np.float32))
    assert sort.update([face(100)], 25 * FRAME, looks(1)) == [2]
    # The first one comes back beside: it is still known.
    assert sort.update([face(100), face(125)], 26 * FRAME, looks(1, 0)) == [2, 1]


def test_another_person_in_the_same_place_in_the_next_frame_has_a_new_id() -> None:
    sort = tracker()
    assert sort.update([face(100)], 0.0, looks(0)) == [1]
    assert sort.update([face(100)], FRAME, looks(1)) == [2]


def test_a_hand_before_the_face_changes_its_looks_and_not_its_id() -> None:
    sort, hand = tracker(), 7
    for number in range(10):
        assert sort.update([face(100)], number * FRAME, looks(0)) == [1]
    for number in range(10, 30):
        covered = face(100 + (number % 3))._replace(score=0.7)
        likeness = np.sqrt([[0.1, 0, 0, 0, 0, 0, 0, 0.9]]).astype(np.float32)
        assert likeness[0, hand] > 0.9
        assert sort.update([covered], number * FRAME, likeness) == [1]
    assert sort.update([face(100)], 30 * FRAME, looks(0)) == [1]


def test_who_was_swapped_behind_a_hand_has_a_new_id_once_in_the_clear() -> None:
    sort = tracker()
    for number in range(10):
        sort.update([face(100)], number * FRAME, looks(0))
    for number in range(10, 30):
        sort.update([face(100)._replace(score=0.7)], number * FRAME, looks(0) * 0.5)
    assert sort.update([face(100)], 30 * FRAME, looks(1)) == [2]


def test_who_stayed_comes_before_who_may_come_back() -> None:
    sort = tracker()
    assert sort.update([face(100), face(125)], 0.0) == [1, 2]
    assert sort.update([face(125)], FRAME) == [2]
    # The second moves to where the first was lost: nearer to that one's place, and still the second.
    assert sort.update([face(106)], 2 * FRAME) == [2]


def test_motion_is_expected_to_go_on_and_to_fade() -> None:
    sort = tracker(patience=10)
    for number in range(30):
        sort.update([face(100 + 3.0 * number)], number * FRAME)
    last = 100 + 3.0 * 29
    soon, later, latest = (sort.predict(29 * FRAME + ahead)[0].x for ahead in (FRAME, 1.0, 5.0))
    assert soon == pytest.approx(last + 3, abs=1)
    assert last + 15 < later < latest < last + 45


def test_reset_ends_every_track_and_ids_go_on() -> None:
    sort = tracker()
    assert sort.update([face(100), face(300)], 0.0) == [1, 2]
    sort.reset()
    assert sort.predict(0.0) == []
    assert sort.update([face(100)], FRAME) == [3]
    sort.reset(first_track=10)
    assert sort.update([face(100)], 2 * FRAME) == [10]
    sort.reset(first_track=4)
    assert sort.update([face(100)], 3 * FRAME) == [11]


def test_time_that_stands_still_or_runs_back_does_no_harm() -> None:
    sort = tracker()
    for seconds in (1.0, 1.0, 0.5, 0.5, 1.1):
        assert sort.update([face(100)], seconds, looks(0)) == [1]


def test_buffered_overlap() -> None:
    one, other = Box(0, 0, 10, 10), Box(10, 0, 10, 10)
    assert buffered_iou(one, one, 0.0) == 1
    assert buffered_iou(one, other, 0.0) == 0
    assert buffered_iou(one, other, 0.5) == pytest.approx(1 / 3)
