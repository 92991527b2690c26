"""The contract of live sources: opened again and again on one object, and freed each time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from streamfer.api import Source
from streamfer.testing.require import require
from streamfer.testing.sources import check_frame


def check_live_source(build: Callable[[], Source], *, frames: int = 10) -> None:
    """Check a live source that gives at least this many frames each time it is opened."""
    source = build()
    source.close()  # before it was ever opened
    for attempt in range(3):
        info = source.open()
        require(info.width > 0 and info.height > 0, f"open tells a size of {info.width}×{info.height}")
        number = 0
        for frame in islice(source.frames(), frames):
            check_frame(frame)
            number += 1
        require(number == frames, f"opened for the {attempt + 1}. time it ends after {number} frames")
        source.close()
        source.close()  # idempotent
        held = _held()
        if attempt == 0:
            first = held
    require(held <= first, f"after three times {held - first} file descriptors and threads are left")


def _held() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) + threading.active_count()
