"""The queues in front of a stage."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamfer.stages.backlog import Backlog, Limits


def backlog(**limits: Limits) -> tuple[Backlog[str, int], list[tuple[str, int, str]]]:
    dropped: list[tuple[str, int, str]] = []
    return Backlog(limits, lambda *told: dropped.append(told)), dropped


def drain(queue: Backlog[str, int], now: float = 0.0) -> list[tuple[str, int]]:
    taken = []
    while (item := queue.take(now)) is not None:
        taken.append(item)
    return taken


def test_a_recording_waits_and_loses_nothing() -> None:
    queue, dropped = backlog()
    for item in range(1000):
        queue.put("a", item, 0.0)
    assert drain(queue, now=1e9) == [("a", item) for item in range(1000)]
    assert not dropped and not queue


def test_the_streams_take_turns() -> None:
    queue, _ = backlog()
    for item in range(4):
        queue.put("busy", item, 0.0)
    queue.put("b", 10, 0.0)
    queue.put("c", 20, 0.0)
    assert drain(queue) == [("busy", 0), ("b", 10), ("c", 20), ("busy", 1), ("busy", 2), ("busy", 3)]


def test_one_too_many_costs_the_oldest_or_the_newest() -> None:
    for drop, left, lost in (("oldest", [2, 3, 4], [0, 1]), ("newest", [0, 1, 2], [3, 4])):
        queue, dropped = backlog(a=Limits(3, drop))  # type: ignore[arg-type]
        for item in range(5):
            queue.put("a", item, 0.0)
        assert [item for _, item in drain(queue)] == left
        assert dropped == [("a", item, "overload") for item in lost]


def test_what_is_too_old_is_dropped_when_its_turn_comes() -> None:
    queue, dropped = backlog(a=Limits(10, "oldest", 1.0))
    for item in range(4):
        queue.put("a", item, float(item))
    assert queue.take(2.5) == ("a", 2)
    assert dropped == [("a", 0, "max_age"), ("a", 1, "max_age")]
    assert queue.take(4.0) == ("a", 3), "a frame of exactly max_age is still taken"


def test_the_end_of_a_stream_is_never_dropped() -> None:
    queue, dropped = backlog(a=Limits(1, "oldest", 1.0))
    queue.put("a", 0, 0.0)
    queue.put("a", -1, None)
    assert drain(queue, now=100.0) == [("a", -1)]
    assert dropped == [("a", 0, "max_age")]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans())),
    st.sampled_from(["oldest", "newest"]),
    st.integers(1, 4),
)
def test_every_item_is_taken_or_dropped_once_and_in_order(
    steps: list[tuple[str, bool]], drop: str, limit: int
) -> None:
    queue, dropped = backlog(a=Limits(limit, drop, 5.0), b=Limits(limit, drop))  # type: ignore[arg-type]
    taken: list[tuple[str, int]] = []
    put: list[tuple[str, int]] = []
    for now, (key, take) in enumerate(steps):
        queue.put(key, now, float(now))
        put.append((key, now))
        if take and (item := queue.take(float(now))):
            taken.append(item)
    taken += drain(queue, now=float(len(steps)))
    assert sorted(taken + [(key, item) for key, item, _ in dropped]) == sorted(put)
    for key in "abc":
        mine = [item for one, item in taken if one == key]
        assert mine == sorted(mine)
    assert all(key != "c" for key, *_ in dropped)
