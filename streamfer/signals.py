"""Signals of the supervisor: handlers only record, and the loop is woken through a socket."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Signals:
    """Counts SIGINT, SIGTERM and SIGHUP while `installed`; `wake` becomes readable with each. A SIGHUP that
    is ignored, as under nohup, stays so."""

    count: int = 0
    wake: socket.socket = field(init=False)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        self.wake, write = socket.socketpair()
        self.wake.setblocking(False)
        write.setblocking(False)
        old_fd = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # the terminal, or the connection, is gone
            numbers.append(signal.SIGHUP)
        old = {number: signal.signal(number, self._note) for number in numbers}
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
