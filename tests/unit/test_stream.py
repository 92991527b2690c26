"""The state of a live stream: since when, how often lost, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from streamfer import wire
from streamfer.config import load
from streamfer.plan import make_plan
from streamfer.process import Process
from streamfer.stream import Stream

CONFIG = """
version: 1
streams: {door: {source: rtsp, url: "rtsp://camera.example/1"}}
classifiers: [cnn]
sinks: [console]
"""


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    (tmp_path / "c.yaml").write_text(CONFIG)
    plan = make_plan(load(tmp_path / "c.yaml"), lambda name: f"ipc://{name}", tmp_path)
    (planned,) = plan.streams
    return Stream.begun(planned, plan.sinks, Process("capture door", "capture", "capture", {}))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("streamfer.stream.time.time", lambda: now[0])
    return now


def told(stream: Stream, **condition: Any) -> None:
    stream.changed(wire.Condition("door", **condition))


def losses(reason: str) -> float:
    found = REGISTRY.get_sample_value("streamfer_source_losses_total", {"stream": "door", "reason": reason})
    assert found is not None, "it is there before it occurs, as 0"
    return found


def test_it_says_since_when_it_is_as_it_is(stream: Stream, clock: list[float]) -> None:
    assert stream.status(booted=True).state == "connecting"
    for now, state, since in (
        (101.0, "connecting", 101.0),
        (102.0, "reconnecting", 102.0),
        (103.0, "reconnecting", 102.0),
        (104.0, "live", 104.0),
        (105.0, "live", 104.0),
        (106.0, "stale", 106.0),
    ):
        clock[0] = now
        told(stream, state=state)
        status = stream.status(booted=True)
        assert (status.state, status.since) == (state, since)


def test_a_capture_that_has_died_leaves_it_reconnecting(stream: Stream, clock: list[float]) -> None:
    before = losses("error")
    told(stream, state="live", width=640, height=480, epoch=2)
    for now in (110.0, 120.0):
        clock[0] = now
        stream.bereaved("capture door: killed by SIGKILL")
        status = stream.status(booted=True)
        assert (status.state, status.reason, status.since) == ("reconnecting", "error", 110.0)
        assert (status.detail, status.epoch) == ("capture door: killed by SIGKILL", 2)
    assert losses("error") == before + 2


def test_losses_are_counted_over_all_captures(stream: Stream) -> None:
    before = losses("refused")
    for reconnects, total in ((0, 0), (1, 1), (3, 3), (0, 3), (1, 4), (2, 5)):  # a new capture, after three
        told(stream, state="reconnecting", reason="refused", reconnects=reconnects)
        assert stream.status(booted=True).reconnects == total
    assert losses("refused") == before + 6
