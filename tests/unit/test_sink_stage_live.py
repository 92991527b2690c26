"""The sink stage of a live stream: each frame is taken once, and what did not come is accounted for."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfer import wire
from streamfer.plugins import ComponentSpec
from streamfer.stages.base import Link
from streamfer.stages.sink import Intent, SinkStage
from streamfer.stages.spec import LiveSpec, SinkSpec
from streamfer.transport import HIGH_WATER, Sockets, receive
from tests.unit.test_sink_stage import written


@contextmanager
def stage(
    folder: Path, *, start: wire.Start | None = None, name: str = "jsonl", target: str = "JsonlSink"
) -> Iterator[SinkStage]:
    """A sink stage of one live stream, started behind frame -1."""
    with tempfile.TemporaryDirectory(prefix="sf") as directory:
        sockets = Sockets()
        sockets.router(f"ipc://{directory}/control")
        spec = SinkSpec(
            address=f"ipc://{directory}/sink",
            sink=name,
            component=ComponentSpec(
                kind="sink",
                name=name,
                target=f"streamfer.sinks.{name}:{target}",
                options_model=f"streamfer.sinks:{name.capitalize()}Options",
                options={"path": str(folder / f"r.{name}")},
            ),
            pixels=False,
            durable=True,
            streams={"s": ["one"]},
            resume=True,
            live={"s": LiveSpec()},
            intent=str(folder / "intent"),
        )
        built = SinkStage(spec, sockets, Link(sockets, f"ipc://{directory}/control", "sink#1"))
        try:
            built.setup()
            built.started(start or wire.Start(held={"s": [wire.Ledger("one", -1, 0, {}, 0)]}))
            yield built
        finally:
            sockets.close(0)


def scored(seq: int, epoch: int = 0, **skipped: int) -> wire.Scored:
    frame = wire.Frame("s", 0, epoch, seq, seq / 25, 1e9 + seq, 0.0, 0, None, skipped=skipped)
    return wire.Scored(frame, "one", [])


def books(sink: SinkStage) -> wire.Ledger:
    (ledger,) = sink._ledgers(sink._streams["s"])
    return ledger


def test_holes_are_what_was_told_and_the_rest_was_lost(tmp_path: Path) -> None:
    with stage(tmp_path) as sink:
        sink.handle(scored(0), b"")
        sink.handle(scored(4, fps_cap=3), b"")
        sink.handle(scored(9, overload=1, max_age=1), b"")
        sink.handle(scored(9), b"")
        sink.handle(scored(3), b"")
        sink.handle(scored(10, epoch=1, corrupt=1), b"")  # told before the hole it stands for
        sink.handle(scored(12, epoch=1), b"")
        sink.stop()
        found = books(sink)
    assert written(tmp_path / "r.jsonl", "one") == [0, 4, 9, 10, 12]
    assert found.dropped == {"fps_cap": 3, "overload": 1, "max_age": 1, "restart": 2, "corrupt": 1}
    assert (found.seq, found.epoch, found.delivered) == (12, 1, 5)


def test_the_end_accounts_for_everything(tmp_path: Path) -> None:
    with stage(tmp_path) as sink:
        sink.handle(scored(0), b"")
        sink.handle(wire.EndScored(wire.End("s", 0, 0, 8, {"overload": 3}), "one"), b"")
        found = books(sink)
    assert (found.seq, found.delivered, found.dropped) == (7, 1, {"overload": 3, "restart": 4})


fates = st.lists(st.sampled_from(["taken", "dropped", "lost"]), max_size=60)


@settings(deadline=None, max_examples=40)
@given(fates, st.sampled_from(["before", "behind"]))
def test_the_books_always_add_up(frames: list[str], told: str) -> None:
    """Whether a drop is told of with the frame before the hole (`newest`) or behind it (`oldest`)."""
    with tempfile.TemporaryDirectory() as directory, stage(Path(directory)) as sink:
        owed = 0
        for seq, fate in enumerate(frames):
            if fate == "taken":
                if told == "before":
                    following = frames[seq + 1 :]
                    until = following.index("taken") if "taken" in following else len(following)
                    owed = following[:until].count("dropped")
                sink.handle(scored(seq, **({"overload": owed} if owed else {})), b"")
                owed = 0
            elif fate == "dropped" and told == "behind":
                owed += 1
        first = frames.index("taken") if "taken" in frames else len(frames)
        early = frames[:first].count("dropped") if told == "before" else 0
        end = wire.End("s", 0, 0, len(frames), {"overload": owed} if told == "behind" and owed else {})
        sink.handle(wire.EndScored(end, "one"), b"")
        found = books(sink)
        assert found.delivered == frames.count("taken")
        assert found.delivered + sum(found.dropped.values()) == len(frames)
        assert found.dropped.get("overload", 0) == frames.count("dropped") - early
        assert found.dropped.get("restart", 0) == frames.count("lost") + early


@pytest.mark.parametrize("on_record", [0, 1, 3, 5])
def test_a_sink_that_dies_while_it_writes_counts_what_is_on_record(on_record: int, tmp_path: Path) -> None:
    """Killed between noting its intent and the end of the write: some lines of the batch are there."""
    with stage(tmp_path) as sink:
        for seq in range(10):
            sink.handle(scored(seq), b"")
        sink._flush()
        for seq in range(10, 15):
            sink.handle(scored(seq), b"")
        sink._write_intent()
        os.close(sink._sink._fd)  # here it is killed, and its lock is gone
    intent = msgspec.msgpack.decode((tmp_path / "intent").read_bytes(), type=Intent)
    assert intent.frames == {"s": {"one": [10, 11, 12, 13, 14]}}
    lines = (tmp_path / "r.jsonl").read_text().splitlines(keepends=True)
    more = [line.replace('"seq":9', f'"seq":{10 + n}') for n, line in enumerate([lines[-1]] * on_record)]
    (tmp_path / "r.jsonl").write_text("".join([*lines, *more]) + '{"v":1,"str')
    held = wire.Ledger("one", 9, 10, {}, 0)
    with stage(tmp_path, start=wire.Start(held={"s": [held]}, again=True)) as sink:
        found = books(sink)
        assert found.delivered == 10 + on_record
        assert found.dropped == ({"restart": 5 - on_record} if on_record < 5 else {})
        sink.handle(scored(15), b"")
        sink.stop()
    assert written(tmp_path / "r.jsonl", "one") == [*range(10 + on_record), 15]


def test_a_run_counts_from_its_own_beginning(tmp_path: Path) -> None:
    with stage(tmp_path) as sink:
        for seq in range(5):
            sink.handle(scored(seq), b"")
        sink.stop()
    (tmp_path / "intent").unlink()  # it lies in the runtime directory of a run
    held = wire.Ledger("one", 4, 0, {}, 0)
    with stage(tmp_path, start=wire.Start(held={"s": [held]})) as sink:
        sink.handle(scored(5, epoch=1), b"")
        sink.stop()
        assert (books(sink).delivered, books(sink).dropped) == (1, {})
    assert written(tmp_path / "r.jsonl", "one") == list(range(6))


def test_a_sink_that_cannot_write_takes_no_more_until_it_can(tmp_path: Path) -> None:
    with stage(tmp_path, name="sqlite", target="SqliteSink") as sink:
        sink.handle(scored(0), b"")
        sink._flush()
        with closing(sqlite3.connect(tmp_path / "r.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            sink.handle(scored(1), b"")
            sink._flush()
            assert not sink.ready() and sink._batch, "it claims to have what nobody could write"
            other.execute("ROLLBACK")
        sink._flush()
        assert sink.ready() and not sink._batch
        sink.stop()


def test_a_receiver_that_takes_nothing_costs_frames_and_no_time(tmp_path: Path) -> None:
    """Sending never waits; the next frame that gets through tells what was dropped."""
    seen: list[wire.Scored] = []

    def send() -> None:
        with stage(tmp_path) as sink:
            address = f"ipc://{tmp_path}/receiver"
            output = sink.sockets.push(address)
            for seq in range(HIGH_WATER + 6):
                sink.send_live(("s", "one"), output, scored(seq))
            receiver = sink.sockets.pull(address)
            for seq in (HIGH_WATER + 6, None):
                while len(seen) < HIGH_WATER + (seq is None):
                    assert receiver.poll(10_000)
                    message = wire.decode_data(receive(receiver)[0])
                    assert isinstance(message, wire.Scored)
                    seen.append(message)
                if seq is not None:
                    sink.send_live(("s", "one"), output, scored(seq, fps_cap=1))

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    sender.join(60)
    assert not sender.is_alive(), "sending waits for the receiver"
    assert [message.frame.seq for message in seen] == [*range(HIGH_WATER), HIGH_WATER + 6]
    assert seen[-1].frame.skipped == {"overload": 6, "fps_cap": 1}
