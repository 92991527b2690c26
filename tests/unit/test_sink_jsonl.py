"""The lines of the JSONL sink, and what it makes of a damaged file."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfer.api import Position, StreamPlan
from streamfer.errors import StartError
from streamfer.sinks import JsonlOptions
from streamfer.sinks import jsonl as jsonl_module
from streamfer.sinks.jsonl import JsonlSink
from streamfer.sinks.record import Tallies, read_record
from streamfer.types import Face, Result

PLANS = [StreamPlan("lobby", ("cnn",))]
KEY = ("lobby", "cnn")


def result(seq: int, **changes: object) -> Result:
    face = Face(1, (10.5, 20.0, 30.1, 40.2), 0.97, "ok", "happy", 0.91, {"happy": 0.91, "sad": 0.09})
    made = Result(stream="lobby", epoch=0, seq=seq, pts=seq / 25, time=None, classifier="cnn", faces=[face])
    return msgspec.structs.replace(made, **changes)


def line(seq: int, **changes: object) -> bytes:
    return msgspec.json.encode(result(seq, **changes)) + b"\n"


def sink_on(path: Path) -> JsonlSink:
    return JsonlSink(JsonlOptions(path=str(path)))


def positions_of(path: Path) -> dict[tuple[str, str], Position]:
    sink = sink_on(path)
    try:
        return sink.open(PLANS, resume=True)
    finally:
        sink.close()


def test_keys_in_order_and_optional_ones_only_when_set(tmp_path: Path) -> None:
    sink = sink_on(tmp_path / "r.jsonl")
    sink.open(PLANS, resume=False)
    sink.write(result(0), None)
    sink.write(result(1, discontinuity=True), None)
    sink.write(result(2, faces=[], dropped="corrupt"), None)
    sink.close()
    plain, marked, dropped = (json.loads(one) for one in (tmp_path / "r.jsonl").read_text().splitlines())
    keys = ["v", "stream", "epoch", "seq", "pts", "time", "classifier", "faces"]
    assert list(plain) == keys
    assert list(marked) == [*keys, "discontinuity"] and marked["discontinuity"] is True
    assert list(dropped) == [*keys, "dropped"] and dropped["faces"] == []
    assert list(plain["faces"][0]) == [
        "track", "box", "score", "status", "label", "confidence", "probabilities"
    ]  # fmt: skip
    assert plain["faces"][0]["box"] == [10.5, 20.0, 30.1, 40.2]


def test_flush_is_on_disk_and_a_large_buffer_drains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.jsonl"
    sink = sink_on(path)
    sink.open(PLANS, resume=False)
    sink.write(result(0), None)
    assert path.stat().st_size == 0
    sink.flush()
    assert path.read_bytes() == line(0)
    monkeypatch.setattr(jsonl_module, "BUFFER", 1000)
    for seq in range(1, 10):
        sink.write(result(seq), None)
    assert path.stat().st_size > 1000
    sink.close()
    assert path.read_bytes() == b"".join(line(seq) for seq in range(10))


def test_torn_at_every_byte_of_the_last_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    whole, last = line(0) + line(1), line(2)
    for cut in range(len(last)):
        path.write_bytes(whole + last[:cut])
        sink = sink_on(path)
        assert sink.open(PLANS, resume=True) == {KEY: Position(1, 2, {}, 1)}
        assert path.read_bytes() == whole
        sink.write(result(2), None)
        sink.close()
        assert path.read_bytes() == whole + last


def test_torn_first_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for cut in range(len(line(0))):
        path.write_bytes(line(0)[:cut])
        assert positions_of(path) == {}
        assert path.read_bytes() == b""


@pytest.mark.parametrize("tail", [b"\0" * 700, b"\0" * 700 + b"\n", b'{"v":1,"str\n', b'{"v":1}\xff\xfe\n'])
def test_damaged_last_line_is_cut(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(line(0) + tail)
    assert positions_of(path) == {KEY: Position(0, 1, {}, 1)}
    assert path.read_bytes() == line(0)


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (b"\0\0\0\n", r"r\.jsonl:2: damaged line \(.*\); cannot resume"),
        (line(1)[:50] + b"\n", r"r\.jsonl:2: damaged line"),
        (b"\n", r"r\.jsonl:2: damaged line"),
        (line(1).replace(b"lobby", b"lo\xffby"), r"r\.jsonl:2: damaged line"),
        (b'{"a": 1}\n', r"r\.jsonl:2: not a result of this version"),
        (line(1).replace(b'"v":1', b'"v":2'), r"r\.jsonl:2: not a result of this version"),
        (line(0), r"r\.jsonl:2: frame 0 of lobby/cnn follows frame 0; cannot resume"),
        (line(3), r"r\.jsonl:2: frame 3 of lobby/cnn follows frame 0; cannot resume"),
        (line(1, time=5.0) + line(1, time=5.1), r"r\.jsonl:3: frame 1 of lobby/cnn follows frame 1"),
    ],
)
def test_damage_in_the_middle_is_refused(tmp_path: Path, damage: bytes, cause: str) -> None:
    path = tmp_path / "r.jsonl"
    before = line(0) + damage + line(2)
    path.write_bytes(before)
    with pytest.raises(StartError, match=cause) as refusal:
        positions_of(path)
    assert "\n" not in str(refusal.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", [b"Dear diary", b"Dear diary\n", b'{"a": 1}\n', b"a\nb\n"])
def test_another_file_is_never_cut(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(text)
    with pytest.raises(StartError, match=r"r\.jsonl:1: "):
        positions_of(path)
    assert path.read_bytes() == text


def test_record_that_does_not_begin_at_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(line(5))
    with pytest.raises(StartError, match=r"r\.jsonl:1: frame 5 of lobby/cnn follows frame -1"):
        positions_of(path)


def test_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "r.jsonl")
    with pytest.raises(StartError, match="not a regular file"):
        positions_of(tmp_path / "r.jsonl")


def test_two_sinks_never_write_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.jsonl"
    monkeypatch.setattr(jsonl_module, "LOCK_PATIENCE", 0.2)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StartError, match="another process is writing it"):
            positions_of(path)
    assert positions_of(path) == {}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.booleans(), st.integers(0, 9)), max_size=40
    )
)
def test_positions_count_every_line(
    tmp_path_factory: pytest.TempPathFactory, marks: list[tuple[str, str, bool, int]]
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "r.jsonl"
    expected: dict[tuple[str, str], Position] = {}
    with path.open("wb") as file:
        for stream, classifier, dropped, track in marks:
            at = expected.get((stream, classifier), Position())
            changes: dict[str, object] = {"stream": stream, "classifier": classifier}
            if dropped:
                changes |= {"faces": [], "dropped": f"reason{track % 2}"}
                reasons = dict(at.dropped)
                reasons[f"reason{track % 2}"] = reasons.get(f"reason{track % 2}", 0) + 1
                at = Position(at.seq + 1, at.delivered, reasons, at.last_track)
            else:
                face = Face(track, (0.0, 0.0, 1.0, 1.0), 0.5, "blurred")
                changes["faces"] = [face]
                at = Position(at.seq + 1, at.delivered + 1, at.dropped, max(at.last_track, track))
            file.write(line(at.seq, **changes))
            expected[stream, classifier] = at
    tallies = Tallies()
    assert read_record(path, tallies) == (path.stat().st_size, None)
    assert tallies.positions() == expected
