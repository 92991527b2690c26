"""What a process takes of the machine, as metrics."""

from __future__ import annotations

import os
import time
from pathlib import Path

from streamfer import metrics

SECONDS = 2.0
"""How often it is looked at."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Resources:
    """This process's memory, CPU time and file descriptors."""

    def __init__(self, stage: str, worker: str) -> None:
        self._memory = metrics.worker_memory.labels(stage, worker)
        self._cpu = metrics.worker_cpu.labels(stage, worker)
        self._fds = metrics.worker_fds.labels(stage, worker)
        self._seen = 0.0
        self._due = 0.0

    def due(self, now: float) -> bool:
        """Measure, if it is time to (monotonic seconds); whether it was."""
        if now < self._due:
            return False
        self._due = now + SECONDS
        used = time.process_time()
        self._cpu.inc(used - self._seen)
        self._seen = used
        self._memory.set(int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE)
        self._fds.set(len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - names are enough
        return True
