"""Which rows of video make a window: picked by the service's own rule, clip by clip."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import Dataset
from streamfer.types import Window, WindowState
from streamfer.windows import Windows

Rows = NDArray[np.intp]

_APART = 0.25
"""Share of a window's span that lies between two windows of a clip that is trained on, at least: what is
nearer to each other shows nearly the same."""


def clips(data: Dataset, rows: Rows) -> Iterator[Rows]:
    """The rows of each clip among `rows`, in the order of time; `UsageError` for data without video."""
    if data.sequences is None or data.seconds is None:
        raise UsageError(
            f"{data.name}: not video, as nothing tells when its frames were; import clips, or sequences with "
            "--fps, or have clips made of stills with synthetic: in the recipe"
        )
    # A still is a clip of one frame, after all others.
    clip = np.where(data.sequences < 0, len(data) + np.arange(len(data)), data.sequences)
    order = rows[np.lexsort((data.seconds[rows], clip[rows]))]
    starts = np.flatnonzero(np.diff(clip[order])) + 1
    yield from (part for part in np.split(order, starts) if len(part))


def ending(data: Dataset, clip: Rows, window: Window) -> tuple[Rows, list[WindowState]]:
    """The window by which each frame of a clip is answered, (len(clip), frames) rows of the data, oldest
    first, and how full it was: that which ends with it, or where the clip is faster the last before it. What
    a track's window begins with is repeated before it, and a gap begins a new one, for this is
    `streamfer.windows.Windows`, with row numbers where the service has features."""
    assert data.seconds is not None
    follow = Windows(window)
    places: list[NDArray[np.float32]] = []
    states: list[WindowState] = []
    for place, seconds in enumerate(np.nan_to_num(data.seconds[clip]).tolist()):
        here = np.array([[place]], np.float32)
        taken, seen, found = follow.update(seconds, [1], partial(_always, here))
        places.append(seen[0, :, 0] if taken else places[-1])
        states += found or states[-1:]
    return clip[np.array(places).astype(np.intp)], states


def _always(here: NDArray[np.float32], _: list[int]) -> NDArray[np.float32]:
    return here


def for_training(data: Dataset, rows: Rows, window: Window) -> Rows:
    """Windows to train on, (n, frames) rows: of every clip one each quarter of the window's span, those that
    are not yet full included."""
    found = [np.empty((0, window.frames), np.intp)]
    for clip in clips(data, rows):
        whole, _ = ending(data, clip, window)
        found.append(whole[_apart(data, clip, max(_APART * window.span, 0.75 * window.period))])
    return np.concatenate(found)


def for_measuring(data: Dataset, rows: Rows, window: Window) -> Rows:
    """Windows to measure on, (n, frames) rows: the one at the end of each clip, and before it one every half
    of the window's span, where they are full."""
    found = [np.empty((0, window.frames), np.intp)]
    for clip in clips(data, rows):
        whole, states = ending(data, clip, window)
        chosen = _apart(data, clip, max(window.span / 2, window.period))
        full = np.array([states[place].filled == window.frames for place in chosen])
        full[-1] = True  # of a clip shorter than a window this is the only one
        found.append(whole[chosen[full]])
    return np.concatenate(found)


def _apart(data: Dataset, clip: Rows, seconds: float) -> NDArray[np.intp]:
    """Places in the clip, rising: its last frame, and before it others at least so many seconds apart."""
    assert data.seconds is not None
    times = data.seconds[clip]
    places = [len(clip) - 1]
    for place in range(len(clip) - 2, -1, -1):
        if times[places[-1]] - times[place] >= seconds - 1e-6:
            places.append(place)
    return np.array(places[::-1], np.intp)
