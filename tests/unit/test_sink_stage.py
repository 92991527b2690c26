"""The sink stage takes each frame exactly once and in order, whatever arrives and however often."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfer import wire
from streamfer.plugins import ComponentSpec
from streamfer.stages.base import Link
from streamfer.stages.sink import SinkStage
from streamfer.stages.spec import SinkSpec
from streamfer.transport import Sockets, readable, receive
from streamfer.types import Face


@contextmanager
def stage(path: Path, *, resume: bool = False) -> Iterator[tuple[SinkStage, list[wire.Ack]]]:
    """A sink stage with a JSON Lines sink on real sockets; the list holds its acks once it has stopped."""
    with tempfile.TemporaryDirectory(prefix="sf") as directory:
        sockets = Sockets()
        router = sockets.router(f"ipc://{directory}/control")
        spec = SinkSpec(
            address=f"ipc://{directory}/sink",
            sink="jsonl",
            component=ComponentSpec(
                kind="sink",
                name="jsonl",
                target="streamfer.sinks.jsonl:JsonlSink",
                options_model="streamfer.sinks:JsonlOptions",
                options={"path": str(path)},
            ),
            pixels=False,
            durable=True,
            streams={"s": ["one", "two"]},
            resume=resume,
        )
        built = SinkStage(spec, sockets, Link(sockets, f"ipc://{directory}/control", "sink#1"))
        acks: list[wire.Ack] = []
        try:
            built.setup()
            yield built, acks
            built.stop()
            built.link.send(wire.Stopped())
            while True:
                router.poll(5000)
                assert readable(router)
                message = wire.decode_from_worker(receive(router)[1])
                if isinstance(message, wire.Ack):
                    acks.append(message)
                if isinstance(message, wire.Stopped):
                    break
        finally:
            sockets.close(0)


def scored(classifier: str, seq: int, attempt: int = 0, dropped: str | None = None) -> wire.Scored:
    frame = wire.Frame("s", attempt, 0, seq, seq / 25, None, 0.0, 8, None, dropped)
    face = Face(1 + 10 * attempt, (1.0, 2.0, 3.0, 4.0), 0.9, "small")
    return wire.Scored(frame, classifier, [] if dropped else [face])


def end(classifier: str, count: int) -> wire.EndScored:
    return wire.EndScored(wire.End("s", 0, 0, count), classifier)


def written(path: Path, classifier: str) -> list[int]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line["seq"] for line in lines if line["classifier"] == classifier]


arrivals = st.lists(
    st.tuples(st.sampled_from(["one", "two"]), st.integers(0, 12), st.integers(0, 3)), max_size=60
)


@settings(deadline=None, max_examples=30)
@given(arrivals)
def test_only_the_next_frame_is_taken(messages: list[tuple[str, int, int]]) -> None:
    expected: dict[str, list[int]] = {"one": [], "two": []}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "r.jsonl"
        with stage(path) as (sink, acks):
            for classifier, seq, attempt in messages:
                sink.handle(scored(classifier, seq, attempt), b"")
                if seq == len(expected[classifier]):
                    expected[classifier].append(seq)
        for classifier, seqs in expected.items():
            assert written(path, classifier) == seqs
        if acks:
            held = {ledger.classifier: ledger.seq for ledger in acks[-1].positions}
            assert held == {name: len(seqs) - 1 for name, seqs in expected.items()}


def test_the_end_counts_only_behind_the_last_frame(tmp_path: Path) -> None:
    with stage(tmp_path / "r.jsonl") as (sink, acks):
        for classifier in ("one", "two"):
            sink.handle(scored(classifier, 0), b"")
        sink.handle(end("one", 2), [])  # frame 1 is still to come
        for classifier in ("one", "two"):
            sink.handle(scored(classifier, 1), b"")
        sink.handle(end("two", 2), b"")
        sink.handle(end("one", 2), b"")
    assert [ack.done for ack in acks][-1]
    assert sum(ack.done for ack in acks) == 1


def test_dropped_frames_are_on_record_and_in_the_books(tmp_path: Path) -> None:
    with stage(tmp_path / "r.jsonl") as (sink, acks):
        for seq in range(3):
            for classifier in ("one", "two"):
                sink.handle(scored(classifier, seq, dropped="corrupt" if seq == 1 else None), b"")
    assert written(tmp_path / "r.jsonl", "one") == [0, 1, 2]
    for ledger in acks[-1].positions:
        assert (ledger.seq, ledger.delivered, ledger.dropped) == (2, 2, {"corrupt": 1})


def test_a_successor_goes_on_where_the_file_ends(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with stage(path) as (sink, _):
        for seq in range(5):
            sink.handle(scored("one", seq), b"")
    with path.open("a") as file:
        file.write('{"v":1,"stream":"s","ep')  # torn by a crash
    with stage(path, resume=True) as (sink, acks):
        for seq in range(3, 8):
            sink.handle(scored("one", seq, attempt=1), b"")
            sink.handle(scored("two", seq - 3), b"")
    assert written(path, "one") == list(range(8))
    assert written(path, "two") == list(range(5))
    assert {ledger.classifier: ledger.delivered for ledger in acks[-1].positions} == {"one": 8, "two": 5}


def test_a_change_of_attempt_is_a_discontinuity(tmp_path: Path) -> None:
    with stage(tmp_path / "r.jsonl") as (sink, _):
        for seq, attempt in ((0, 0), (1, 0), (0, 1), (1, 1), (2, 1), (3, 1)):
            sink.handle(scored("one", seq, attempt), b"")
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [line.get("discontinuity", False) for line in lines] == [False, False, True, False]


def test_what_is_not_for_this_sink_is_refused(tmp_path: Path) -> None:
    with stage(tmp_path / "r.jsonl") as (sink, _):
        with pytest.raises(wire.WireError, match="not for this sink"):
            sink.handle(scored("three", 0), b"")
        with pytest.raises(wire.WireError, match="not for this stage"):
            sink.handle(wire.End("s", 0, 0, 1), b"")
