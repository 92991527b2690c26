"""The HTTP endpoints, on a real server with real clients, good and bad."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import psutil
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.multiprocess import MultiProcessCollector

from streamfer import endpoints as module
from streamfer.endpoints import Endpoints
from streamfer.errors import StartError
from streamfer.status import StageStatus, Status, StreamStatus, decode
from tests.service import wait_until


class Service:
    """What stands behind the endpoints; a test changes it."""

    def __init__(self) -> None:
        self.age = 0.0
        self.status = Status(
            version="1.2.3",
            started=time.time() - 60,
            ready=True,
            streams=[
                StreamStatus(name="lobby", live=True, state="live", since=0, captured=7),
                StreamStatus(
                    name="door",
                    live=True,
                    state="reconnecting",
                    since=0,
                    reason="unauthorized",
                    detail="rtsp://me:hunter2@door: the password is wrong",
                ),
            ],
            stages=[StageStatus(name="detect[0]", state="up")],
        )
        self.registry = CollectorRegistry()
        self.frames = Counter("streamfer_frames", "Frames", ["stream"], registry=self.registry)
        self.frames.labels("lobby").inc(7)
        self.endpoints = Endpoints("127.0.0.1", [0], self.registry, lambda: self.status, lambda: self.age)

    @property
    def port(self) -> int:
        return int(self.endpoints.url.rpartition(":")[2])


@pytest.fixture
def service() -> Iterator[Service]:
    one = Service()
    one.endpoints.start()
    yield one
    one.endpoints.close()
    assert not one.endpoints._thread.is_alive()


def ask(
    service: Service, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request; the response and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    try:
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def raw(service: Service, data: bytes) -> bytes:
    """All that comes back for these bytes."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


# ---- what they say -----------------------------------------------------------------------------------------


def test_metrics_as_prometheus_reads_them(service: Service) -> None:
    for accept in ("*/*", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"):
        response, body = ask(service, "/metrics", Accept=accept)
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "Content-Encoding" not in response.headers
        assert b'streamfer_frames_total{stream="lobby"} 7.0' in body
    response, packed = ask(service, "/metrics", Accept_Encoding="gzip")
    assert response.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed) == body


def test_health_is_the_turning_of_the_supervisors_loop(service: Service) -> None:
    response, body = ask(service, "/healthz")
    assert (response.status, body) == (200, b"ok\n")
    service.age = 10.5
    response, body = ask(service, "/healthz")
    assert (response.status, body) == (503, b"the supervisor has done nothing for 10 s\n")
    response, _ = ask(service, "/readyz")
    assert response.status == 503


def test_readiness_tells_what_is_missing(service: Service) -> None:
    response, body = ask(service, "/readyz")
    assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {
        "ready": True,
        "not_ready": ["stream door: reconnecting: rtsp://…@door: the password is wrong"],
        "streams": {"lobby": "live", "door": "reconnecting"},
    }
    service.status = msgspec.structs.replace(service.status, ready=False)
    response, body = ask(service, "/readyz")
    assert response.status == 503 and json.loads(body)["ready"] is False


def test_the_status_document(service: Service) -> None:
    service.age = 2.5
    response, body = ask(service, "/api/status")
    assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
    found = decode(body)
    assert abs(found.time - time.time()) < 60 and found.age == 2.5
    assert b"hunter2" not in body
    assert found.streams[0] == service.status.streams[0]


def test_anything_else_names_what_there_is(service: Service) -> None:
    for path in ("/", "/metric", "/healthz/", "/api/status/../status", "/../etc/passwd", "/%6detrics"):
        response, body = ask(service, path)
        assert response.status == 404
        assert body == b"there are: /metrics, /healthz, /readyz, /api/status\n"


@pytest.mark.parametrize("path", module.PATHS)
def test_head_is_get_without_the_body(service: Service, path: str) -> None:
    response, body = ask(service, path, "HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.headers["Content-Length"]) > 0
    assert raw(service, f"HEAD {path} HTTP/1.1\r\n\r\n".encode()).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "NONSENSE"])
def test_nothing_can_be_changed(service: Service, method: str) -> None:
    response, body = ask(service, "/api/status", method, body=b"x" * 200_000)
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    assert body == b"GET and HEAD only\n"


def test_who_sends_too_much_still_gets_the_answer(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as client:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
        wait_until(lambda: not service.endpoints._clients, "the server has done with it")
        assert client.recv(100).startswith(b"HTTP/1.1 405 ")


def test_no_banner_and_nothing_on_standard_error(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    for path in ("/healthz", "/nothing"):
        response, _ = ask(service, path)
        assert "Server" not in response.headers
    answers = raw(service, b"nonsense\r\n\r\n") + raw(service, b"GET / HTTP/9.9\r\n\r\n")
    assert b"Server" not in answers and b"Python" not in answers
    assert capfd.readouterr() == ("", "")


# ---- bad clients -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1 more\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/x\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"400"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET /healthz HTTP/1.1\r\nA: " + b"b" * 100_000, b"431"),
        (b"GET //healthz HTTP/1.1\r\nA\xff: \xfe\r\n\r\n", b"200"),
        (b"GET /healthz\r\n\r\n", b"200"),
    ],
)
def test_requests_that_are_none(service: Service, request_: bytes, status: bytes) -> None:
    assert raw(service, request_).split()[1] == status
    assert ask(service, "/healthz")[0].status == 200


@pytest.mark.parametrize("cut", [b"", b"GET", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"])
def test_a_client_that_goes_away_leaves_nothing(service: Service, cut: bytes) -> None:
    for _ in range(20):
        assert raw(service, cut) == b""
    wait_until(lambda: not service.endpoints._clients, "all clients forgotten")


def test_silent_clients_cost_no_thread_and_keep_nobody_out(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CONNECTIONS", 64)
    threads = threading.active_count()
    silent = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(200)]
    try:
        for number, client in enumerate(silent):
            if number % 2:
                with_luck(client.sendall, b"GET /metrics HT")
        for _ in range(10):
            assert ask(service, "/healthz")[0].status == 200
            assert ask(service, "/metrics")[0].status == 200
        assert len(service.endpoints._clients) <= 64 + 1
        assert threading.active_count() <= threads + 1  # the one that renders metrics
    finally:
        for client in silent:
            client.close()
    wait_until(lambda: not service.endpoints._clients, "all clients forgotten")


def with_luck(send: Callable[[bytes], None], data: bytes) -> None:
    """To a server that may have closed already."""
    try:
        send(data)
    except OSError:
        return


def test_a_request_that_comes_drop_by_drop_is_given_up(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REQUEST_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", service.port), timeout=0.05) as client:
        deadline = time.monotonic() + 20
        while True:
            assert time.monotonic() < deadline, "the server waits for ever"
            try:
                client.sendall(b"G")
                if client.recv(100) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break


def test_a_client_that_does_not_read_is_given_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.5)
    for number in range(60_000):  # more than the kernel's buffers hold
        service.frames.labels(f"{number:0100}")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", service.port))
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        wait_until(lambda: service.endpoints._clients, "the client is there")
        assert ask(service, "/healthz")[0].status == 200  # also while the metrics are rendered
        wait_until(lambda: not service.endpoints._clients, "the client is forgotten")


def test_a_slow_reader_gets_it_all(service: Service) -> None:
    for number in range(60_000):
        service.frames.labels(f"{number:0100}")
    expected = ask(service, "/metrics")[1]
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", service.port))
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.partition(b"\r\n\r\n")[2] == expected


def test_two_hundred_clients_at_once_are_all_served(service: Service) -> None:
    threads = threading.active_count()
    most = 0

    def one(number: int) -> int:
        nonlocal most
        response, _ = ask(service, module.PATHS[number % 4])
        most = max(most, threading.active_count())
        return response.status

    with ThreadPoolExecutor(200) as pool:
        assert set(pool.map(one, range(400))) == {200}
    assert most <= threads + 200 + 1
    wait_until(lambda: not service.endpoints._clients, "all clients forgotten")


# ---- start and end -----------------------------------------------------------------------------------------


def test_a_taken_port_is_one_line(service: Service) -> None:
    second = Endpoints("127.0.0.1", [service.port], service.registry, lambda: service.status, lambda: 0.0)
    expected = (
        f"metrics.listen: 127.0.0.1:{service.port}: Address already in use; "
        "choose another port or end what has it"
    )
    with pytest.raises(StartError, match=f"^{re.escape(expected)}$"):
        second.start()
    second.close()


def test_the_next_port_is_taken_where_one_may_choose(service: Service) -> None:
    second = Endpoints("127.0.0.1", [service.port, 0], service.registry, lambda: service.status, lambda: 0.0)
    second.start()
    assert second.url != service.endpoints.url
    second.close()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_one_line(host: str) -> None:
    there = Endpoints(host, [0], CollectorRegistry(), lambda: Service().status, lambda: 0.0)
    with pytest.raises(StartError, match=rf"^metrics\.listen: {host}:0: [^\n]+; choose another port"):
        there.start()
    there.close()


def test_ipv6() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 on this machine")
    there = Endpoints("::1", [0], CollectorRegistry(), lambda: Service().status, lambda: 0.0)
    try:
        there.start()
    except StartError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")
    assert re.fullmatch(r"http://\[::1\]:\d+", there.url)
    with socket.create_connection(("::1", int(there.url.rpartition(":")[2])), timeout=20) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
    there.close()


def test_the_end_is_quick_and_leaves_no_socket_or_thread() -> None:
    process = psutil.Process()
    before = process.num_fds()
    for _ in range(3):
        one = Service()
        one.endpoints.start()
        ask(one, "/metrics")
        wait_until(lambda one=one: not one.endpoints._clients, "the first client is forgotten")
        waiting = socket.create_connection(("127.0.0.1", one.port), timeout=20)
        wait_until(lambda one=one: one.endpoints._clients, "the client is there")
        one.endpoints.close()
        assert waiting.recv(100) == b""
        waiting.close()
        with pytest.raises(ConnectionRefusedError):
            ask(one, "/healthz")
    wait_until(lambda: process.num_fds() <= before, "all file descriptors closed")


def test_a_torn_file_of_a_worker_is_no_end(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))  # type: ignore[no-untyped-call]
    one = Service()
    one.endpoints = Endpoints("127.0.0.1", [0], registry, lambda: one.status, lambda: 0.0)
    one.endpoints.start()
    try:
        torn = tmp_path / "counter_1.db"
        torn.write_bytes(b"")  # as it is for an instant when a worker starts
        response, body = ask(one, "/metrics")
        assert response.status == 500 and body == b"the metrics cannot be read: error\n"
        torn.unlink()
        assert ask(one, "/metrics")[0].status == 200
    finally:
        one.endpoints.close()
