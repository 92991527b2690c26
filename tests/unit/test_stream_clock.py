"""The even clock of a live stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfer.stages.clock import StreamClock


def run(*frames: tuple[float | None, float]) -> list[tuple[float, bool]]:
    clock = StreamClock()
    return [clock.tick(pts, arrival) for pts, arrival in frames]


def test_pts_count_and_arrivals_do_not() -> None:
    times = run((10.0, 0.0), (10.04, 0.09), (10.08, 0.1), (10.12, 0.11))
    assert [seconds for seconds, _ in times] == pytest.approx([0, 0.04, 0.08, 0.12])
    assert not any(jumped for _, jumped in times)


def test_a_burst_after_a_stall_is_no_jump() -> None:
    frames = [(0.0, 0.0), *((0.04 * n, 3.0 + 0.001 * n) for n in range(1, 76)), (3.08, 3.1)]
    assert not any(jumped for _, jumped in run(*frames))


@pytest.mark.parametrize("pts", [5000.0, -5000.0, 8.9])
def test_a_clock_that_changes_is_a_jump_and_time_goes_on(pts: float) -> None:
    (_, _), (before, calm), (after, jumped), (next_, again) = run(
        (10.0, 0.0), (10.04, 0.04), (pts, 0.08), (pts + 0.04, 0.12)
    )
    assert (calm, jumped, again) == (False, True, False)
    assert after - before == pytest.approx(0.04) and next_ - after == pytest.approx(0.04)


def test_pts_out_of_order_are_no_jump() -> None:
    """As some servers send the B-frames of an IPBB stream."""
    pts = [0.0, 0.12, 0.04, 0.08, 0.24, 0.16, 0.20]
    times = run(*((one, 0.04 * n) for n, one in enumerate(pts)))
    assert not any(jumped for _, jumped in times)
    seconds = [one for one, _ in times]
    assert seconds == sorted(set(seconds))
    assert seconds[-1] == pytest.approx(0.24, abs=0.03)


def test_missing_pts_are_told_by_arrival() -> None:
    times = run((None, 5.0), (None, 5.04), (7.0, 5.08), (7.04, 5.13), (None, 5.17))
    assert [seconds for seconds, _ in times] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert not any(jumped for _, jumped in times)


def test_a_new_connection_has_a_clock_of_its_own() -> None:
    clock = StreamClock()
    clock.tick(100.0, 0.0)
    clock.restart()
    assert clock.tick(3.0, 1.0) == (pytest.approx(1.0), False)


@given(st.lists(st.tuples(st.none() | st.floats(-1e6, 1e6), st.floats(0, 100))))
def test_it_always_rises(frames: list[tuple[float | None, float]]) -> None:
    clock = StreamClock()
    arrival, last = 0.0, -1.0
    for pts, later in frames:
        arrival += later
        seconds, _ = clock.tick(pts, arrival)
        assert seconds > last
        last = seconds
