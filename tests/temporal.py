"""A local plugin of temporal rules, the mean brightness of a face over its window; and what they must say."""

from __future__ import annotations

from pathlib import Path

PLUGIN = '''
import numpy as np
from streamfer.api import Component
from streamfer.hookspecs import hookimpl
from streamfer.types import Window

class Memory:
    """(dark, bright) by the mean brightness of the frames of its window, all of which it insists on."""
    window = Window(6, 1, 12.5, 0.5)

    def __init__(self, options):
        pass

    def encode(self, crops):
        assert crops.dtype == np.uint8 and crops.shape[1:] == (48, 48, 1), crops.shape
        return (crops.mean(axis=(1, 2, 3), dtype=float) / 255).astype(np.float32)[:, None]

    def classify(self, windows):
        assert windows.shape[1:] == (self.window.frames, 1), windows.shape
        bright = windows.mean(axis=(1, 2))
        return np.stack([1 - bright, bright], axis=1).astype(np.float32)

class Moment(Memory):
    """The same of the newest frame alone."""
    window = Window(1, 1, 12.5, 0.5)

class Long(Memory):
    """Longer than any track, and for frames that are further apart than those of any camera."""
    window = Window(200, 4, 2.0, 3.0)

class Single:
    """The same rule for a single crop."""
    def __init__(self, options):
        pass

    def predict(self, crops):
        bright = (crops.mean(axis=(1, 2, 3), dtype=float) / 255).astype(np.float32)
        return np.stack([1 - bright, bright], axis=1).astype(np.float32)

@hookimpl
def streamfer_components():
    def one(rule):
        return Component("classifier", rule.__name__.lower(), "for a test", f":{rule.__name__}",
                         labels=("dark", "bright"), window=getattr(rule, "window", None))
    return [one(rule) for rule in (Memory, Moment, Long, Single)]
'''


def write_plugin(folder: Path) -> Path:
    """The file of the rules."""
    file = folder / "temporal.py"
    file.write_text(PLUGIN)
    return file


class Expected:
    """What one face's window of `frames` frames holds, by the rule in docs/config.md, taken literally."""

    def __init__(self, frames: int, period: float) -> None:
        self.frames = frames
        self.period = period
        self.taken: list[tuple[float, float]] = []
        self._due = self._last = 0.0

    def see(self, seconds: float, value: float) -> None:
        if self.taken and not 0 <= seconds - self._last <= 0.5:
            self.taken = []
        self._last = seconds
        if not self.taken:
            self._due = seconds
        if seconds >= self._due - 0.25 * self.period - 0.001:
            self.taken.append((seconds, value))
            self._due = max(self._due + self.period, seconds + 0.75 * self.period)

    @property
    def filled(self) -> int:
        passed = self.taken[-1][0] - self.taken[0][0]
        return min(self.frames, int(passed / self.period + 0.25) + 1)

    def window(self) -> list[float]:
        """Newest first: the nearest frame to each due time, the older of two that are as near."""
        due = [self.taken[-1][0] - place * self.period for place in range(self.frames)]
        nearest = [min(self.taken, key=lambda one, at=at: round(abs(one[0] - at), 6)) for at in due]  # type: ignore[misc]
        return [value for _, value in nearest]
