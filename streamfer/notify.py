"""Tells systemd how the service is (sd_notify): ready, a line of status, the watchdog, stopping."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, MutableMapping

from streamfer.redact import redact


class Notifier:
    """The service manager's end of `Type=notify`, if there is one: else every call does nothing.

    The protocol is that of sd_notify(3). The variables are taken out of the environment, so that no worker
    inherits them and speaks for the service. `clock` is in seconds.
    """

    def __init__(
        self,
        environ: MutableMapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address.startswith(("/", "\0")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        self._clock = clock
        self._period: float | None = None
        if microseconds.isascii() and microseconds.isdigit() and pid in ("", str(os.getpid())):
            self._period = int(microseconds) / 1e6 / 2 or None
        self._next_beat = 0.0
        self._owes_ready = False
        self._status = ""

    def ready(self) -> None:
        """The service is up; `systemctl start` returns."""
        self._owes_ready = not self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent when it has changed."""
        line = " ".join(redact(text).split())
        if line != self._status and self._send(f"STATUS={line}"):
            self._status = line

    def beat(self) -> None:
        """Call it from the loop whose life matters: it feeds the watchdog, every half of its time."""
        if self._owes_ready:
            self.ready()
        now = self._clock()
        if self._period is not None and now >= self._next_beat and self._send("WATCHDOG=1"):
            self._next_beat = now + self._period

    def stopping(self) -> None:
        """The service ends in order."""
        self._send("STOPPING=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> bool:
        """Never waits. False if systemd has no room for it now."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(message.encode(errors="replace"), self._address)
                return True
        return False
