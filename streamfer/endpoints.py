"""The HTTP endpoints of a running service: /metrics, /healthz, /readyz and /api/status."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import gzip_accepted

from streamfer.errors import StartError
from streamfer.redact import redact
from streamfer.status import Status, encode, not_ready

PATHS = ("/metrics", "/healthz", "/readyz", "/api/status")
HUNG_SECONDS = 10.0
"""How old the last turn of the supervisor's loop may be before /healthz says that it hangs."""

_CONNECTIONS = 256
"""Clients at a time; one more drops the one that has kept its request back for longest."""
_BACKLOG = 128
_REQUEST_BYTES = 8192
_REQUEST_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
_TORN = (OSError, RuntimeError, struct.error, ValueError)
"""What prometheus_client meets in the file of a process that is just starting or ending."""
_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' own text format. OpenMetrics, for which it may ask first, says the same and takes longer."""
_JSON = "application/json"


class Answer(NamedTuple):
    """One HTTP response."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes
    silent: bool = False
    """The client wants to know of the body, but not to have it."""


class Endpoints:
    """Serves HTTP on its own thread, next to the supervisor's loop.

    Requests are awaited by an event loop, so a client that says nothing costs a file descriptor until its
    time is up, and no thread; metrics are rendered one request after the other on one more thread, so any
    number of clients takes no more than one core, and the other endpoints answer meanwhile.

    `host` is an address or a name, `ports` are tried in order. `status` gives the service's state and `age`
    the seconds since its loop last turned; both are called from the server's thread.
    """

    def __init__(
        self,
        host: str,
        ports: Iterable[int],
        registry: CollectorRegistry,
        status: Callable[[], Status],
        age: Callable[[], float],
    ) -> None:
        self._host = host
        self._ports = list(ports)
        self._registry = registry
        self._status = status
        self._age = age
        self._thread = threading.Thread(target=self._run, name="endpoints", daemon=True)
        self._renderer = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._silent: dict[asyncio.Task[None], None] = {}  # who has not asked yet, the oldest first
        self._clients: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self.url = ""
        """Where it listens, such as http://127.0.0.1:9108; once started."""

    def start(self) -> None:
        """Listen and serve. StartError if no port can be had."""
        self._socket = self._bind()
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"http://{shown}:{self._socket.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def close(self) -> None:
        """Stop at once; clients that wait for an answer get none."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout=2)
        self._renderer.shutdown(wait=False, cancel_futures=True)

    def _bind(self) -> socket.socket:
        reason = "no port to try"
        for port in self._ports:
            try:
                family, _, _, _, address = socket.getaddrinfo(
                    self._host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
                )[0]
                both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
                return socket.create_server(address, family=family, backlog=_BACKLOG, dualstack_ipv6=both)
            except OSError as error:
                # create_server puts the address into the text once more
                reason = (error.strerror or str(error)).partition(" (while")[0]
        raise StartError(
            f"metrics.listen: {self._host}:{self._ports[0] if self._ports else 0}: {reason}; "
            "choose another port or end what has it"
        )

    # ---- the server's thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._socket, limit=_REQUEST_BYTES)
        await self._stop.wait()
        server.close()
        # Connections that were being accepted come to `_connected`, and end there.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for client in self._clients:
                client.cancel()
            await asyncio.wait(others, timeout=1)
        await asyncio.sleep(0)  # sockets are closed by a callback

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        self._silent[task] = None
        if self._stop.is_set():
            task.cancel()
        elif len(self._clients) > _CONNECTIONS:
            oldest = next(iter(self._silent))
            del self._silent[oldest]
            oldest.cancel()
        try:
            await self._converse(task, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # gone, too slow (a TimeoutError is an OSError), or one too many
        finally:
            self._clients.discard(task)
            self._silent.pop(task, None)
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            else:
                writer.close()

    async def _converse(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            answer = _line(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long")
        else:
            self._silent.pop(task, None)
            answer = await self._answer(_Request(head))
        writer.transport.set_write_buffer_limits(high=0)  # `drain` is to wait until all has left
        async with asyncio.timeout(_ANSWER_SECONDS):
            writer.write(_encoded(answer))
            await writer.drain()

    async def _answer(self, request: _Request) -> Answer:
        if request.refused:
            return _line(HTTPStatus.BAD_REQUEST, "this is no HTTP request")
        if request.command not in ("GET", "HEAD"):
            return _line(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD only", ("Allow", "GET, HEAD"))
        path = request.path.partition("?")[0]
        answers = {"/healthz": self._health, "/readyz": self._readiness, "/api/status": self._document}
        if path == "/metrics":
            answer = await self._loop.run_in_executor(self._renderer, self._rendered, request)
        elif path in answers:
            answer = answers[path]()
        else:
            answer = _line(HTTPStatus.NOT_FOUND, f"there are: {', '.join(PATHS)}")
        return answer._replace(silent=request.command == "HEAD")

    # ---- the endpoints -------------------------------------------------------------------------------------

    def _health(self) -> Answer:
        hung = self._hung()
        return _line(HTTPStatus.SERVICE_UNAVAILABLE, hung) if hung else _line(HTTPStatus.OK, "ok")

    def _hung(self) -> str | None:
        age = self._age()
        return f"the supervisor has done nothing for {age:.0f} s" if age > HUNG_SECONDS else None

    def _readiness(self) -> Answer:
        status, hung = self._status(), self._hung()
        ready = status.ready and hung is None
        document = {
            "ready": ready,
            "not_ready": [hung] * (hung is not None) + not_ready(status),
            "streams": {redact(stream.name): stream.state for stream in status.streams},
        }
        code = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _answer(code, _JSON, json.dumps(document, ensure_ascii=False).encode())

    def _document(self) -> Answer:
        status = msgspec.structs.replace(self._status(), time=time.time(), age=self._age())
        return _answer(HTTPStatus.OK, _JSON, encode(status))

    def _rendered(self, request: _Request) -> Answer:
        try:
            text = generate_latest(self._registry)
        except _TORN:
            time.sleep(0.05)
            try:
                text = generate_latest(self._registry)
            except _TORN as error:
                what = f"the metrics cannot be read: {type(error).__name__}"
                return _line(HTTPStatus.INTERNAL_SERVER_ERROR, what)
        if not gzip_accepted(request.headers.get("Accept-Encoding", "")):
            return _answer(HTTPStatus.OK, _METRICS, text)
        packed = gzip.compress(text, compresslevel=1)  # more would make it little smaller
        return _answer(HTTPStatus.OK, _METRICS, packed, ("Content-Encoding", "gzip"))


class _Request(BaseHTTPRequestHandler):
    """A request's head as the standard library's server reads it, without a connection of its own."""

    def __init__(self, head: bytes) -> None:
        self.rfile = BytesIO(head)
        self.raw_requestline = self.rfile.readline(_REQUEST_BYTES)
        self.refused = False
        self.refused = not self.parse_request() or self.refused

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.refused = True


def _line(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Answer:
    return _answer(status, _TEXT, f"{text}\n".encode(), *headers)


def _answer(status: HTTPStatus, content_type: str, body: bytes, *headers: tuple[str, str]) -> Answer:
    common = [("Content-Type", content_type), ("Cache-Control", "no-store")]
    return Answer(f"{status.value} {status.phrase}", [*common, *headers], body)


def _encoded(answer: Answer) -> bytes:
    headers = [*answer.headers, ("Content-Length", str(len(answer.body))), ("Connection", "close")]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    body = b"" if answer.silent else answer.body
    return f"HTTP/1.1 {answer.status}\r\n{head}\r\n".encode("latin-1") + body
