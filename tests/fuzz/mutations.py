"""What fuzzing has in common: how many cases, and damage to bytes that a seed repeats exactly.

The quick cases run with all other tests; STREAMFER_FUZZ=full runs all of them (CONTRIBUTING.md).
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

FULL = os.environ.get("STREAMFER_FUZZ") == "full"


def cases(quick: int, full: int) -> int:
    """How many cases to try."""
    return full if FULL else quick


class Peak:
    """The most memory that this process has held since it was made, as far as it is more than then."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, see proc(5)
        self._start = self._kilobytes("VmRSS")

    def grown(self) -> int:
        """Bytes."""
        return (self._kilobytes("VmHWM") - self._start) * 1024

    def _kilobytes(self, name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def damaged(rng: random.Random, data: bytes, others: Sequence[bytes], most: int = 8) -> bytes:
    """The bytes with one to `most` things done to them: flipped, cut off, cut out, doubled, overwritten, or
    grown together with a piece of another."""
    result = bytearray(data)
    for _ in range(rng.randint(1, most)):
        if not result:
            return bytes(result)
        at = rng.randrange(len(result))
        to = min(len(result), at + rng.choice((1, 2, 4, 16, 256, len(result))))
        kind = rng.randrange(8)
        if kind <= 2:
            result[at] ^= 1 << rng.randrange(8) if kind else rng.randint(1, 255)
        elif kind == 3:
            del result[at:]
        elif kind == 4:
            del result[at:to]
        elif kind == 5:
            result[at:at] = result[at : min(to, at + 4096)]
        elif kind == 6:
            result[at:to] = rng.choice((b"\x00", b"\xff")) * (to - at)
        else:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            result[at:to] = other[start : start + rng.choice((1, 8, 64, 4096))]
    return bytes(result)
