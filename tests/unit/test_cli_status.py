"""`streamfer status` against real endpoints, and against what is none."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from streamfer.cli.status import base_of, fetch
from streamfer.cli.tables import count, drops, span
from streamfer.endpoints import Endpoints
from streamfer.errors import StartError, UsageError
from streamfer.status import StageStatus, Status, StreamStatus, decode
from tests.service import Run, streamfer, wait_until


class Service:
    """Endpoints with a state that a test changes."""

    age = 0.0

    def __init__(self) -> None:
        now = time.time()
        self.status = Status(
            version="1.2.3",
            started=now - 200_000,
            ready=True,
            streams=[
                StreamStatus(
                    name="lobby",
                    live=True,
                    state="live",
                    since=now - 7300,
                    fps=24.96,
                    captured=180_000,
                    delivered=179_000,
                    dropped={"overload": 900, "restart": 100},
                    last_frame=now - 0.05,
                ),
                StreamStatus(
                    name="door",
                    live=True,
                    state="reconnecting",
                    since=now - 90,
                    reason="not_found",
                    detail="rtsp://camera/[bold]1: \x1b[2J404, no such path",
                ),
            ],
            stages=[StageStatus(name="detect[0]", state="up", restarts=2, last_progress=now - 0.2)],
        )
        self.endpoints = Endpoints(
            "127.0.0.1", [0], CollectorRegistry(), lambda: self.status, lambda: self.age
        )


@pytest.fixture
def service() -> Iterator[Service]:
    one = Service()
    one.endpoints.start()
    yield one
    one.endpoints.close()


def test_a_service_that_is_ready(service: Service) -> None:
    done = streamfer(
        "status", "--url", service.endpoints.url, env={"COLUMNS": "80", "http_proxy": "http://127.0.0.1:9"}
    )
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    text = " ".join(done.stdout.split())
    assert text.startswith(
        "streamfer 1.2.3, up 2.3 d, ready stream door: reconnecting: rtsp://camera/[bold]1: "
    )
    assert "\x1b" not in done.stdout and "404, no such path" in text
    for part in ("lobby live 2.0 h 25.0 180,000 179,000 1,000", "reconnecting", "detect[0] up 2"):
        assert part in text, part


def test_a_service_that_is_not_ready(service: Service) -> None:
    service.status = msgspec.structs.replace(service.status, ready=False)
    done = streamfer("status", "--url", f"{service.endpoints.url}/metrics")
    assert done.returncode == 1 and "not ready" in done.stdout


def test_a_supervisor_that_hangs(service: Service) -> None:
    service.age = 75
    done = streamfer("status", "--url", service.endpoints.url)
    assert done.returncode == 1
    assert "not ready" in done.stdout and "the supervisor has done nothing for 1 min" in done.stdout


def test_the_document_itself(service: Service) -> None:
    done = streamfer("status", "--json", "--url", service.endpoints.url)
    assert done.returncode == 0
    assert decode(done.stdout.encode()).streams == service.status.streams


def test_watching_goes_on_until_it_is_interrupted(service: Service) -> None:
    with Run("status", "--watch", "--json", "--url", service.endpoints.url) as run:
        assert run.process.stdout is not None
        for _ in range(2):
            assert json.loads(run.process.stdout.readline())["version"] == "1.2.3"
        run.process.send_signal(2)
        status, error = run.finish(timeout=30)
    assert (status, error) == (0, "")


# ---- nothing, or something else, is there ------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_nobody_listens() -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    done = streamfer("status", "--url", url)
    expected = (
        f"{url}: nobody listens there; is the service running, and with metrics? (--url names another place)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", f"{expected}\n")


class Other(http.server.BaseHTTPRequestHandler):
    """A web server that is no streamfer."""

    body = b""
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def other() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b"<html>", "is not a streamfer: it answers 404 to /api/status"),
        (500, b"", "is not a streamfer: it answers 500 to /api/status"),
        (200, b"<html>", "is not a streamfer, or one of another version: /api/status has no status of it"),
        (200, b"{}", "is not a streamfer, or one of another version: /api/status has no status of it"),
        (200, b"\xff", "is not a streamfer, or one of another version: /api/status has no status of it"),
    ],
)
def test_another_web_server(
    other: str, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, expected: str
) -> None:
    monkeypatch.setattr(Other, "status", status)
    monkeypatch.setattr(Other, "body", body)
    with pytest.raises(StartError) as raised:
        fetch(other)
    assert str(raised.value) == f"{other} {expected}"


def talker(say: Callable[[socket.socket], None]) -> tuple[str, threading.Thread]:
    """A server that says something to the first that comes."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server, server.accept()[0] as client:
            client.recv(1000)
            say(client)

    thread = threading.Thread(target=serve)
    thread.start()
    return f"http://127.0.0.1:{server.getsockname()[1]}", thread


def test_what_speaks_no_http() -> None:
    url, thread = talker(lambda client: client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"))
    with pytest.raises(StartError, match=r"is not a streamfer: what answers does not speak HTTP$"):
        fetch(url)
    thread.join()


def test_what_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamfer.cli.status._TIMEOUT", 0.3)
    url, thread = talker(lambda client: wait_until(lambda: client.recv(1) == b"", "the client has gone"))
    with pytest.raises(StartError, match=r"no answer within 0 s$"):
        fetch(url)
    thread.join()


@pytest.mark.parametrize(
    "url", ["", "ftp://host", "http://", "http://host:port", "http://host:99999", "file:///etc/passwd"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match=r"^--url .*: expected an address such as http://127\.0\.0\.1:9108$"):
        base_of(url)


def test_addresses_that_are_taken() -> None:
    assert base_of("127.0.0.1:9108") == "http://127.0.0.1:9108"
    assert base_of("http://host:9108/metrics") == "http://host:9108"
    assert base_of("https://host/cameras/api/status") == "https://host/cameras"
    assert base_of("http://[::1]:9108/") == "http://[::1]:9108"


# ---- how numbers are shown ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0.00 s"),
        (0.04, "0.04 s"),
        (9.96, "10 s"),
        (59.7, "1 min"),
        (61, "1 min"),
        (3599, "60 min"),
        (5400, "1.5 h"),
        (1e6, "11.6 d"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


def test_counts_and_drops() -> None:
    assert [count(number) for number in (0, 9_999_999, 64_800_000)] == ["0", "9,999,999", "64.8 M"]
    assert [drops(one) for one in ({}, {"overload": 0}, {"restart": 3}, {"restart": 3, "max_age": 1200})] == [
        "0",
        "0",
        "3 restart",
        "1,203 mostly max_age",
    ]
