"""The books: they add up, whatever order acknowledgements come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamfer import wire
from streamfer.ledger import EARLIER_RUN, StreamBooks

SINKS = {"jsonl": True, "sqlite": True, "video": False}
CLASSIFIERS = ("one", "two")


def ledger(classifier: str, seq: int, corrupt: int = 0) -> wire.Ledger:
    """A sink's account after frames 0..seq, some of them corrupt."""
    corrupt = min(corrupt, seq + 1)
    return wire.Ledger(classifier, seq, seq + 1 - corrupt, {"corrupt": corrupt} if corrupt else {}, 0)


steps = st.lists(
    st.tuples(
        st.sampled_from(list(SINKS)), st.sampled_from(CLASSIFIERS), st.integers(0, 99), st.integers(0, 9)
    ),
    max_size=60,
)


@given(steps)
def test_nothing_is_released_that_a_sink_does_not_hold(acks: list[tuple[str, str, int, int]]) -> None:
    books = StreamBooks("s", CLASSIFIERS, SINKS)
    held = {(sink, classifier): -1 for sink in SINKS for classifier in CLASSIFIERS}
    for sink, classifier, seq, corrupt in acks:
        before = books.released()
        books.acked(sink, [ledger(classifier, seq, corrupt)], done=False)
        held[sink, classifier] = max(held[sink, classifier], seq)  # a late ack takes nothing back
        assert books.released() == min(held.values()) >= before
    for row in books.rows():
        assert row.captured == row.delivered + sum(row.dropped.values()) + row.in_flight
        assert row.in_flight >= 0


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_resumed_run_begins_behind_the_shortest_durable_record(jsonl: int, sqlite: int) -> None:
    books = StreamBooks("s", CLASSIFIERS, SINKS)
    for sink, seq in (("jsonl", jsonl - 1), ("sqlite", sqlite - 1)):
        books.resumed(sink, [ledger(classifier, seq) for classifier in CLASSIFIERS])
    first = books.begin()
    assert first == min(jsonl, sqlite) == books.released() + 1
    for row in books.rows():
        if row.sink == "video" and first:
            assert row.dropped == {EARLIER_RUN: first}


def test_the_end_needs_every_sink_and_the_count() -> None:
    books = StreamBooks("s", ("one",), SINKS)
    for sink in SINKS:
        assert not books.done()
        books.acked(sink, [ledger("one", 9)], done=True)
    assert not books.done()  # capture has not said how many there were
    books.captured, books.complete = 10, True
    assert books.done()
    assert [row.in_flight for row in books.rows()] == [0, 0, 0]
    books.resumed("jsonl", [ledger("one", 7)])  # it died, and has less on disk than it said
    assert not books.done() and books.released() == 7


def test_a_lost_frame_shows() -> None:
    books = StreamBooks("s", ("one",), {"jsonl": True})
    books.captured, books.complete = 10, True
    books.acked("jsonl", [ledger("one", 8)], done=False)
    (row,) = books.rows()
    assert row.in_flight == 1 and not books.done()
