"""A TCP relay on 127.0.0.1 that spoils what a server answers: damage, lost packets, a stall, a hang-up."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import numpy as np

_POLL = 0.05


class Relay:
    """Forwards connections to a port of 127.0.0.1 as long as the `with` block lasts.

    Of the server's answers, each byte is flipped with the probability `flip` and dropped with `drop`, after
    the first `intact` bytes of a connection (an RTSP handshake has about 2000). `lose` is the probability
    with which an RTP packet (interleaved with RTSP) gets lost as a whole, as over UDP. All follows `seed`.
    """

    def __init__(
        self,
        target: int,
        *,
        flip: float = 0.0,
        drop: float = 0.0,
        lose: float = 0.0,
        intact: int = 10_000,
        seed: int = 0,
    ) -> None:
        self._target = target
        self._flip, self._drop, self._lose, self._intact, self._seed = flip, drop, lose, intact, seed
        self._flowing = threading.Event()
        self._flowing.set()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_POLL)
        self.port: int = self._listener.getsockname()[1]
        self.damaged = 0
        """Bytes flipped or dropped and packets lost so far."""

    def __enter__(self) -> Relay:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def url(self, path: str = "cam") -> str:
        return f"rtsp://127.0.0.1:{self.port}/{path}"

    def stall(self) -> None:
        """Forward nothing more, and keep the connections."""
        self._flowing.clear()

    def flow(self) -> None:
        """Forward again."""
        self._flowing.set()

    def hang_up(self) -> None:
        """Close the connections there are; new ones are accepted."""
        with self._lock:
            for one in self._sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets |= {client, server}
            self._start(self._forward, client, server, False)
            self._start(self._forward, server, client, True)

    def _forward(self, source: socket.socket, to: socket.socket, spoil: bool) -> None:
        random = np.random.default_rng(self._seed)
        passed = 0
        held = b""  # the beginning of a packet
        source.settimeout(_POLL)
        try:
            while not self._closed.is_set():
                if not self._flowing.wait(_POLL):
                    continue
                try:
                    data = source.recv(65536)
                except TimeoutError:
                    continue
                if not data:
                    break
                start = max(0, self._intact - passed)
                passed += len(data)
                if spoil and self._lose:
                    data, held = self._thinned(held + data, random if not start else None)
                elif spoil:
                    data = self._spoilt(data, start, random)
                to.sendall(data)
        except OSError:
            pass
        finally:
            for one in (source, to):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            source.close()
            with self._lock:
                self._sockets.discard(source)

    def _spoilt(self, data: bytes, start: int, random: np.random.Generator) -> bytes:
        head, tail = data[:start], np.frombuffer(data[start:], np.uint8).copy()
        flips = random.random(len(tail)) < self._flip
        tail[flips] ^= random.integers(1, 256, int(flips.sum()), dtype=np.uint8)
        drops = random.random(len(tail)) < self._drop
        self.damaged += int((flips | drops).sum())
        return head + tail[~drops].tobytes()

    def _thinned(self, data: bytes, random: np.random.Generator | None) -> tuple[bytes, bytes]:
        """RTSP with interleaved packets (RFC 2326, 10.12) without some of these, and the incomplete rest."""
        kept = b""
        while data:
            begin = data.find(b"$")
            if begin < 0:
                return kept + data, b""
            end = begin + 4 + int.from_bytes(data[begin + 2 : begin + 4], "big")
            if len(data) < max(end, begin + 4):
                return kept + data[:begin], data[begin:]
            kept += data[:begin]
            if random is not None and random.random() < self._lose:
                self.damaged += 1
            else:
                kept += data[begin:end]
            data = data[end:]
        return kept, b""
