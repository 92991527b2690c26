"""The document that a service tells of itself."""

from __future__ import annotations

import msgspec
import pytest

from streamfer import redact
from streamfer.status import (
    FrameRate,
    StageStatus,
    Status,
    StreamStatus,
    decode,
    encode,
    not_ready,
)
from streamfer.types import StreamState


def stream(name: str, state: StreamState, **facts: object) -> StreamStatus:
    return msgspec.convert({"name": name, "live": True, "state": state, "since": 1.0, **facts}, StreamStatus)


UP = StageStatus(name="detect[0]", state="up")


def test_it_survives_json() -> None:
    status = Status(
        version="1",
        started=1.5,
        ready=True,
        streams=[stream("lobby", "stale", reason="timeout", dropped={"overload": 3}, fps=24.9)],
        stages=[UP],
    )
    assert decode(encode(status)) == status
    with pytest.raises(msgspec.DecodeError):
        decode(b'{"status": "ok"}')


def test_what_is_not_ready_is_told_with_its_reason() -> None:
    status = Status(
        version="1",
        started=0,
        ready=False,
        streams=[
            stream("lobby", "live"),
            stream("later", "waiting"),
            stream("door", "reconnecting", reason="not_found"),
            stream("gate", "stale", reason="timeout", detail="rtsp://me:hunter2@gate: no frame for 3 s"),
        ],
        stages=[UP, StageStatus(name="sink mqtt", state="broken")],
    )
    assert not_ready(status) == [
        "stage sink mqtt: broken",
        "stream door: reconnecting: not found",
        "stream gate: stale: rtsp://…@gate: no frame for 3 s",
    ]


def test_no_password_in_the_document_and_a_word_of_ours_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_patterns", {})
    monkeypatch.setattr(redact, "_compiled", None)
    redact.add_secret("hunter2")
    redact.add_secret("live")  # a bad password, and no reason for a document that cannot be read
    one = stream("hunter2", "live", detail="Digest hunter2 of rtsp://me:other@camera")
    payload = encode(Status(version="1", started=0, ready=True, streams=[one], stages=[UP]))
    assert b"hunter2" not in payload and b"other" not in payload
    assert decode(payload).streams[0].state == "live"


def test_frames_per_second_follow_what_happens_within_their_window() -> None:
    rate = FrameRate(10)
    assert rate.update(0.0, 0) is None
    assert rate.update(0.5, 12) is None
    for tick in range(1, 301):
        shown = rate.update(tick / 10, round(tick * 2.5))
    assert shown == pytest.approx(25, abs=0.5)
    assert len(rate._samples) < 50
    for tick in range(301, 420):
        shown = rate.update(tick / 10, 750)
    assert shown == 0
