"""Signals of the supervisor: handlers only record, and the loop is woken through a socket."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Signals:
    """Counts SIGINT and SIGTERM while `installed`; `wake` becomes readable with each."""

    count: int = 0
    wake: socket.socket = field(init=False)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        self.wake, write = socket.socketpair()
        self.wake.setblocking(False)
        write.setblocking(False)
        old_fd = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        old = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(old_fd)
            self.wake.close()
            write.close()

    def _note(self, number: int, frame: object) -> None:
        self.count += 1
