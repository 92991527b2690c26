"""A whole service on a real RTSP server that is killed, paused, restarted, refuses, changes and damages."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests import rtsp
from tests.live import (
    JSON,
    assert_exact,
    config,
    endpoint,
    ledger,
    log,
    results,
    status,
    stop,
    wait_for_results,
)
from tests.relay import Relay
from tests.rtsp import RtspServer
from tests.service import SAMPLE, Run, nothing_left, wait_until
from tests.webserver import WebServer

pytestmark = pytest.mark.skipif(rtsp.missing() is not None, reason=str(rtsp.missing()))

SHORTEST = 0.5


def camera(url: str, **options: Any) -> dict[str, Any]:
    return {"source": "rtsp", "url": url, "retry": SHORTEST, **options}


def epochs(folder: Path) -> set[int]:
    return {line["epoch"] for line in results(folder)}


def states(error: str) -> list[str]:
    """What the log says of the stream, in order."""
    return [line["message"] for line in log(error) if line.get("stream") == "cam"]


def test_a_server_that_is_paused_killed_and_restarted(tmp_path: Path) -> None:
    with (
        RtspServer("cam") as server,
        Run("run", config(tmp_path, {"cam": camera(server.url())}), *JSON) as run,
    ):
        wait_for_results(tmp_path, 20)
        server.pause()
        wait_until(lambda: state(run)["state"] == "stale" or state(run)["reason"], "the pause is noticed", 5)
        server.resume()
        wait_until(lambda: 1 in epochs(tmp_path), "frames after the pause")
        server.stop()
        wait_until(lambda: state(run)["reason"] == "refused", "the server's death is noticed")
        server.start()
        began = time.monotonic()
        wait_until(lambda: max(epochs(tmp_path)) > 1, "frames after the restart")
        back = time.monotonic() - began
        error = stop(run)
        nothing_left(run)
    assert back < 4, (
        f"back {back:.1f} s after the server"
    )  # 2 on a quiet machine; it boots two processes here
    assert_exact(error)
    assert [line["seq"] for line in results(tmp_path) if line.get("discontinuity")] == [
        next(line["seq"] for line in results(tmp_path) if line["epoch"] == epoch)
        for epoch in sorted(epochs(tmp_path) - {0})
    ]


def state(run: Run) -> dict[str, Any]:
    """The state of the stream `cam`, as the service's endpoint tells it."""
    return next(one for one in status(run)["streams"] if one["name"] == "cam")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_pictures_come_with_faces(transport: str, tmp_path: Path) -> None:
    with (
        RtspServer(f"cam?clip={SAMPLE}&size=640x360&fps=25") as server,
        Run("run", config(tmp_path, {"cam": camera(server.url(), transport=transport)}), *JSON) as run,
    ):
        wait_until(lambda: any(line["faces"] for line in results(tmp_path)), "a face")
        error = stop(run)
    assert_exact(error)


def test_a_stream_that_changes_its_resolution(tmp_path: Path) -> None:
    with (
        RtspServer("cam?size=320x240&change=2&to=480x360") as server,
        Run("run", config(tmp_path, {"cam": camera(server.url())}), *JSON) as run,
    ):
        wait_for_results(tmp_path, 20)
        wait_for_results(tmp_path, 120)
        error = stop(run)
    assert_exact(error)
    captured, delivered, dropped, _ = ledger(error)["cam", "cnn", "jsonl"]
    assert "restarts" not in error or '"restarts": 0' in error
    assert delivered > 0.8 * captured, dropped


def test_a_wire_that_damages_and_one_that_stalls(tmp_path: Path) -> None:
    with RtspServer("cam") as server, Relay(server.port, flip=2e-4, intact=20_000) as relay:
        path = config(tmp_path, {"cam": camera(relay.url(), stale_after=1.5)})
        with Run("run", path, *JSON) as run:
            wait_until(lambda: relay.damaged > 20, "damage")
            wait_for_results(tmp_path, 30)
            before = len(epochs(tmp_path))
            relay.stall()
            wait_until(lambda: state(run)["state"] in ("stale", "reconnecting"), "the stall is noticed", 4)
            relay.flow()
            wait_until(lambda: len(epochs(tmp_path)) > before, "frames after the stall")
            error = stop(run)
    assert_exact(error)


@pytest.mark.parametrize("jump", ["1.5:1000", "1.5:-1000"])
def test_time_stamps_that_jump(jump: str, tmp_path: Path) -> None:
    with (
        RtspServer(f"cam?jump={jump}") as server,
        Run("run", config(tmp_path, {"cam": camera(server.url())}), *JSON) as run,
    ):
        wait_for_results(tmp_path, 80)
        error = stop(run)
    assert_exact(error)
    assert len(epochs(tmp_path)) == 1 and '"restarts": 0' in error


def test_what_never_comes_ends_with_one_line(tmp_path: Path) -> None:
    """Each of these services waits ten seconds for a frame: they wait at the same time."""
    with (
        RtspServer("cam", user="user", password="right") as server,
        WebServer(files={"/index.html": ("text/html", b"<html><body>hello</body></html>")}) as web,
    ):
        says = {
            server.url("nowhere").replace("//", "//user:right@"): "404",
            server.url().replace("//", "//user:wr0ng-pass@"): "password",
            "rtsp://nonexistent.invalid/cam": "nonexistent.invalid",
            "rtsp://127.0.0.1:9/cam": "nobody listens",
            web.url("/index.html"): "no video",
        }
        runs = {url: Run("run", url, "--out", tmp_path / str(n)) for n, url in enumerate(says)}
        ends = {url: run.finish(timeout=60) for url, run in runs.items()}
    for url, (code, error) in ends.items():
        assert code == 3, error
        assert says[url] in error.splitlines()[-1], error
        assert "wr0ng-pass" not in error and "Traceback" not in error


def test_a_password_is_shown_nowhere(tmp_path: Path) -> None:
    """Not in logs, errors, metrics, status, process titles or results, whether it is right or wrong."""
    secret = "s3cr/t@w%rd"
    streams = {
        "cam": {"source": "rtsp", "username": "user", "password": secret, "retry": SHORTEST},
        "wrong": {"source": "rtsp", "username": "user", "password": "wr0ng-pass", "retry": SHORTEST},
    }
    with RtspServer("cam", user="user", password=secret) as server:
        for stream in streams.values():
            stream["url"] = server.url()
        path = config(tmp_path, streams)
        with Run("run", path, *JSON) as run:
            wait_for_results(tmp_path, 10)
            wait_until(lambda: status(run)["ready"], "readiness")
            base = endpoint(run)
            shown = ""
            for page in ("metrics", "readyz", "api/status"):
                with urllib.request.urlopen(f"{base}/{page}", timeout=5) as answer:
                    shown += answer.read().decode()
            for worker in [run.process.pid, *(worker.pid for worker in run.workers().values())]:
                shown += Path(f"/proc/{worker}/cmdline").read_text()
            run.kill_worker("capture cam")
            wait_until(lambda: 1 in epochs(tmp_path), "the next epoch")
            shown += stop(run)
    shown += (tmp_path / "results.jsonl").read_text()
    assert "unauthorized" in shown
    for word in (secret, "s3cr", "t%40w%25rd", "wr0ng-pass"):
        assert word not in shown


def test_one_broken_camera_affects_no_other(tmp_path: Path) -> None:
    """Eight streams: one is dead, one stalls, one is damaged, one changes its size; four are well."""
    well = [f"well{number}" for number in range(4)]
    served = [*(f"{name}?size=320x240&fps=15" for name in [*well, "stalls", "damaged"])]
    with (
        RtspServer(*served, "changes?size=320x240&fps=15&change=3&to=480x360") as server,
        Relay(server.port, intact=60_000) as stalling,
        Relay(server.port, flip=1e-3, drop=1e-4, intact=20_000) as damaging,
    ):
        streams = {name: camera(server.url(name)) for name in well}
        streams["dead"] = camera("rtsp://127.0.0.1:9/dead")
        streams["stalls"] = camera(stalling.url("stalls"), stale_after=1.0)
        streams["damaged"] = camera(damaging.url("damaged"))
        streams["changes"] = camera(server.url("changes"))
        with Run("run", config(tmp_path, streams), *JSON) as run:
            wait_until(lambda: set(well) <= {line["stream"] for line in results(tmp_path)}, "all four")
            stalling.stall()
            deadline = time.monotonic() + 12
            wait_until(lambda: time.monotonic() > deadline, "twelve seconds", timeout=30)
            error = stop(run)
            nothing_left(run)
    assert_exact(error)
    for name in well:
        lines = [line for line in results(tmp_path) if line["stream"] == name]
        rate = (len(lines) - 1) / (lines[-1]["time"] - lines[0]["time"])
        assert 0.95 * 15 <= rate <= 1.05 * 15, f"{name}: {rate:.2f} frames/s"
        assert {line["epoch"] for line in lines} == {0}
    assert ledger(error)["dead", "cnn", "jsonl"][0] == 0
