"""ZeroMQ sockets between the processes of one pipeline, and the private directory they live in.

The only maker of sockets. Data sockets are PUSH/PULL with bounded high-water marks: the receiver binds, so
that it can be replaced while its senders keep their queues. Control is one ROUTER in the supervisor and one
DEALER per worker.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import socket as socketlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from streamfer.errors import StartError
from streamfer.wire import MAX_MESSAGE

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator

HIGH_WATER = 1024
"""Messages a socket holds at most. Recordings keep far fewer under way: at most a ring's slots per stream."""
LOCK = "lock"
"""The file in a runtime directory that its supervisor holds."""
_IPC_LIMIT = 107 - len("/capture-") - 70


_MAX_SUBSCRIPTION = 1024
"""Bytes of the longest message that a subscriber may send."""
_ZAP_DOMAIN = "streamfer"


@dataclass(frozen=True)
class Gate:
    """Who gets in: `secret` is the server's CURVE key (Z85), `knows` is asked for each client's public key
    (Z85), in a thread of its own."""

    secret: str
    knows: Callable[[str], bool]

    def callback(self, domain: str, key: bytes) -> bool:
        """What zmq.auth calls."""
        return self.knows(key.decode())


class RuntimeDirectory:
    """A 0700 directory for sockets and metrics, locked by the supervisor, removed at the end.

    Directories of supervisors that died are swept when the next one starts; whether one is alive is told by
    its lock, which no crash can leave behind.
    """

    def __init__(self, base: Path | None = None) -> None:
        base = base or default_base()
        sweep(base)
        self.path = base / f"streamfer-{secrets.token_hex(4)}"
        try:
            self.path.mkdir(mode=0o700)
        except OSError as error:
            raise StartError(f"{base}: no runtime directory can be made there: {error.strerror}") from error
        self._lock = os.open(self.path / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def address(self, name: str) -> str:
        """The endpoint of a socket in this directory."""
        return f"ipc://{self.path}/{name}"

    def remove(self) -> None:
        """Remove the directory and everything in it."""
        clear(self.path)
        with contextlib.suppress(OSError):
            os.close(self._lock)


def default_base() -> Path:
    """$XDG_RUNTIME_DIR where it is usable and short enough for socket paths, else the temporary directory."""
    wanted = os.environ.get("XDG_RUNTIME_DIR")
    if wanted and len(wanted) <= _IPC_LIMIT and os.access(wanted, os.W_OK | os.X_OK):
        return Path(wanted)
    temporary = Path(tempfile.gettempdir())
    return temporary if len(str(temporary)) <= _IPC_LIMIT else Path("/tmp")


def clear(directory: Path) -> None:
    """Remove a runtime directory; the lock goes last. As long as something is left, a later sweep knows by
    the lock that it is not something of the user's. Several processes may do so at once."""
    try:
        found = list(directory.iterdir())
    except OSError:
        return  # another process was faster
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            with contextlib.suppress(OSError):
                path.unlink()
    with contextlib.suppress(OSError):
        if [path.name for path in directory.iterdir()] == [LOCK]:
            (directory / LOCK).unlink()
        directory.rmdir()


def sweep(base: Path) -> list[Path]:
    """Remove this user's runtime directories whose supervisor is gone; returns what was removed."""
    removed = []
    for directory in base.glob("streamfer-*"):
        try:
            if directory.is_symlink() or directory.stat().st_uid != os.getuid():
                continue
            lock = os.open(directory / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # not one of ours, or just being made or removed
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            clear(directory)
            removed.append(directory)
        finally:
            os.close(lock)
    return removed


class Sockets:
    """One process's context and its sockets."""

    def __init__(self) -> None:
        self._context = zmq.Context(io_threads=1)
        self._open: list[zmq.Socket[bytes]] = []
        self._authenticator: ThreadAuthenticator | None = None

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SNDHWM, HIGH_WATER)
        socket.set(zmq.RCVHWM, HIGH_WATER)
        socket.set(zmq.MAXMSGSIZE, MAX_MESSAGE)
        socket.set(zmq.RECONNECT_IVL, 20)
        socket.set(zmq.RECONNECT_IVL_MAX, 200)
        self._open.append(socket)
        return socket

    def pull(self, address: str) -> zmq.Socket[bytes]:
        """Bind the receiving end of a data link."""
        socket = self._socket(zmq.PULL)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            raise StartError(f"{address}: cannot listen there: {error.strerror}") from error
        return socket

    def push(self, address: str) -> zmq.Socket[bytes]:
        """Connect the sending end of a data link; the receiver may come later, or come back."""
        socket = self._socket(zmq.PUSH)
        socket.connect(address)
        return socket

    def router(self, address: str) -> zmq.Socket[bytes]:
        """Bind the supervisor's control socket."""
        socket = self._socket(zmq.ROUTER)
        socket.set(zmq.ROUTER_MANDATORY, 1)
        socket.bind(address)
        return socket

    def dealer(self, address: str, identity: str) -> zmq.Socket[bytes]:
        """Connect a worker's control socket."""
        socket = self._socket(zmq.DEALER)
        socket.set(zmq.IDENTITY, identity.encode())
        socket.connect(address)
        return socket

    def publish(self, address: str, high_water: int, gate: Gate | None = None) -> zmq.Socket[bytes]:
        """Bind a socket that any number of subscribers may read; StartError if that cannot be.

        Each of them gets what it has asked for and `high_water` messages wait for it at most; what is too
        much is lost to it alone, and ZeroMQ does not tell. With a `gate` everything is encrypted and only
        those whom it knows get in.
        """
        if address.startswith("ipc://"):
            _make_way(Path(address.removeprefix("ipc://")))
        socket = self._socket(zmq.PUB)
        socket.set(zmq.SNDHWM, high_water)
        socket.set(zmq.MAXMSGSIZE, _MAX_SUBSCRIPTION)
        socket.set(zmq.IPV6, int("[" in address))
        if gate is not None:
            self._admit(gate)
            socket.set(zmq.CURVE_SERVER, 1)
            socket.set(zmq.CURVE_SECRETKEY, gate.secret.encode())
            socket.set(zmq.ZAP_DOMAIN, _ZAP_DOMAIN.encode())
            socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)  # nobody gets in while nobody is asked
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            reason = zmq.strerror(error.errno or 0)
            raise StartError(f"{address}: cannot listen there: {reason}; choose another address") from error
        return socket

    def _admit(self, gate: Gate) -> None:
        """Answer libzmq's questions about who may get in (ZAP, rfc.zeromq.org/spec/27) in a thread."""
        from zmq.auth.thread import ThreadAuthenticator  # brings asyncio with it

        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.configure_curve_callback(_ZAP_DOMAIN, gate)
        self._authenticator.start()

    def close(self, linger_ms: int = 1000) -> None:
        """Close everything; what was sent last gets `linger_ms` to leave."""
        if self._authenticator is not None:
            self._authenticator.stop()
        for socket in self._open:
            socket.close(linger=linger_ms)
        self._context.term()


def _make_way(path: Path) -> None:
    """Remove a socket that nobody listens on any more. libzmq would remove whatever is there, in use or not,
    socket or not."""
    try:
        if not path.is_socket():
            if path.exists():
                raise StartError(f"{path}: cannot listen there: something else than a socket is there")
            return
        with socketlib.socket(socketlib.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(path))
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StartError(f"{path}: cannot listen there: {error.strerror or error}") from error
    else:
        raise StartError(f"{path}: cannot listen there: another process does")


def readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message waits, without a system call in the usual case."""
    return bool(int(socket.get(zmq.EVENTS)) & zmq.POLLIN)


def receive(socket: zmq.Socket[bytes]) -> list[bytes]:
    """The next message's parts; only call when `readable`."""
    return socket.recv_multipart(zmq.NOBLOCK)


def try_send(socket: zmq.Socket[bytes], parts: Sequence[bytes]) -> bool:
    """Send without waiting; False if the high-water mark is reached."""
    try:
        socket.send_multipart(parts, zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True


def try_send_to(router: zmq.Socket[bytes], identity: bytes, payload: bytes) -> bool:
    """Send to one worker; False if it is gone or takes nothing."""
    try:
        router.send_multipart([identity, payload], zmq.NOBLOCK)
    except (zmq.Again, zmq.ZMQError) as error:
        if isinstance(error, zmq.Again) or error.errno == zmq.EHOSTUNREACH:
            return False
        raise
    return True


class Waiter:
    """Waits for sockets and file descriptors at once, always with a timeout."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()

    def add(self, source: zmq.Socket[bytes] | int) -> None:
        self._poller.register(source, zmq.POLLIN)

    def remove(self, source: zmq.Socket[bytes] | int) -> None:
        self._poller.unregister(source)

    def wait(self, timeout: float) -> list[object]:
        """What is readable now, after at most `timeout` seconds."""
        return [source for source, _ in self._poller.poll(max(0, round(timeout * 1000)))]
