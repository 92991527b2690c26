"""One worker process as the supervisor sees it: spawned, watched, restarted with backoff, ended."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field

from streamfer.redact import redact
from streamfer.stages import spec as specs
from streamfer.status import StageState, StageStatus

RESTARTS_WITHOUT_PROGRESS = 5
"""So many deaths in a row without one finished frame open the circuit breaker of a stage."""
BACKOFF_CAP = 30.0
ONE_THREAD = {  # pools multiply with the processes; each worker computes on one thread
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # glibc would map and unmap each frame-sized buffer anew; these keep them.
    "MALLOC_MMAP_THRESHOLD_": "67108864",
    "MALLOC_TRIM_THRESHOLD_": "134217728",
}


@dataclass
class Backoff:
    """Capped exponential backoff with jitter, and the count that opens the breaker."""

    failures: int = 0

    def failed(self) -> float | None:
        """Seconds to wait before the next start; None when the breaker opens."""
        self.failures += 1
        if self.failures > RESTARTS_WITHOUT_PROGRESS:
            return None
        if self.failures == 1:
            return 0.0
        return min(BACKOFF_CAP, 0.25 * 2.0 ** (self.failures - 2)) * random.uniform(0.75, 1.25)

    def progressed(self) -> None:
        """A frame was finished: the next failure counts as the first."""
        self.failures = 0


@dataclass
class Process:
    """A worker and its successors. `name` is what logs and metrics call it, such as `detect[0]`, `stage` what
    kind of worker it is."""

    name: str
    stage: str
    title: str
    environment: dict[str, str]
    inherit_stdout: bool = False
    backoff: Backoff = field(default_factory=Backoff)
    starts: int = 0
    ready: bool = False
    was_ready: bool = False
    broken: bool = False
    finished: bool = False
    frames: int = 0
    last_heard: float = 0.0
    progress_time: float | None = None
    spawn_at: float | None = None
    outputs: list[str] = field(default_factory=list)
    failure: tuple[str, int] | None = None
    pidfd: int = -1
    stderr: int = -1
    _popen: subprocess.Popen[bytes] | None = None
    _tail: deque[bytes] = field(default_factory=lambda: deque(maxlen=64))

    @property
    def identity(self) -> bytes:
        """Who the current incarnation is on the control socket."""
        return f"{self.name}#{self.starts}".encode()

    @property
    def running(self) -> bool:
        return self._popen is not None

    def status(self) -> StageStatus:
        """What is told of it."""
        state: StageState = "up" if self.ready else "starting"
        if not self.running:
            state = "broken" if self.broken else "stopped" if self.spawn_at is None else "restarting"
        return StageStatus(
            name=self.name,
            stage=self.stage,
            state=state,
            restarts=max(0, self.starts - 1),
            last_progress=self.progress_time,
        )

    def spawn(self, stage: specs.StageSpec, runtime: str, control: str) -> None:
        """Start the next incarnation."""
        self.starts += 1
        self.ready, self.failure, self.spawn_at, self.frames = False, None, None, 0
        self._tail.clear()
        spec = specs.WorkerSpec(self.identity.decode(), runtime, control, stage)
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "streamfer.worker", self.title],
            stdin=subprocess.PIPE,
            stdout=None if self.inherit_stdout else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD, **self.environment},
            start_new_session=True,
        )
        assert self._popen.stdin is not None and self._popen.stderr is not None
        self.pidfd = os.pidfd_open(self._popen.pid)
        self.stderr = self._popen.stderr.fileno()
        os.set_blocking(self.stderr, False)
        self.last_heard = time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # it died at once; the pidfd tells
            self._popen.stdin.write(specs.encode(spec))
            self._popen.stdin.flush()

    def read_stderr(self) -> bool:
        """Keep the last lines of what the worker and its libraries print; False at the end of it."""
        try:
            chunk = os.read(self.stderr, 65536)
        except BlockingIOError:
            return True
        self._tail.extend(chunk.splitlines())
        return bool(chunk)

    def last_words(self) -> str:
        """The last line a crashed worker printed: the end of a traceback, usually."""
        lines = [line.decode(errors="replace").strip() for line in self._tail]
        lines = [
            line for line in lines if line and not line.startswith(("INFO:", "WARNING:", "I0000", "W0000"))
        ]
        return lines[-1] if lines else ""

    def cause(self, status: int) -> str:
        """Why it ended with this exit status, for a log line."""
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-status).name}"
        words = self.last_words()
        return f"ended with status {status}" + (f" ({redact(words)})" if words else "")

    def reap(self) -> int:
        """Collect the exit status of a process that has ended (negative: the signal that ended it)."""
        assert self._popen is not None
        status = self._popen.wait()
        while self.stderr >= 0 and self.read_stderr() and self._more():
            pass
        self._close()
        return status

    def _more(self) -> bool:
        import select

        return bool(select.select([self.stderr], [], [], 0)[0])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if there is still somebody to receive it."""
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def _close(self) -> None:
        assert self._popen is not None
        for stream in (self._popen.stdin, self._popen.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        os.close(self.pidfd)
        self.pidfd = self.stderr = -1
        self._popen = None
        self.ready = False
