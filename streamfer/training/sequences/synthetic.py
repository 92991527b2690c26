"""What a network of windows does on synthetic clips: how often it is right, how it flickers, how late it
is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.training.dataset import PUBLIC, Dataset
from streamfer.training.litert import Predict
from streamfer.training.recipe import Recipe
from streamfer.training.sequences import windows
from streamfer.training.sequences.motion import in_motion

MOST = 200
"""Clips that are looked at: every frame of each runs through the exported models."""


def synthetic_figures(recipe: Recipe, stills: Dataset, encoder: Predict, head: Predict) -> dict[str, Any]:
    """What encoder and head answer on clips made of the PublicTest stills, frame by frame as in the service.

    The clips are made by the recipe, but last for at least three windows. `accuracy` is that of all full
    windows, the newest frame's label being the truth; `changes_per_second` counts changes of the answer
    within the full windows of clips that change nothing. `fades` clips change to another class no earlier
    than one window after their begin and no later than one before their end; in `followed` of them the answer
    was right just before the change and at the end. `delay_ms` says how long after the moment of change the
    new answer came in these: the median, and what nine of ten stay below.
    """
    assert recipe.synthetic is not None and recipe.window is not None
    window = recipe.window.window
    options = recipe.synthetic.model_copy(
        update={
            "public_clips": min(MOST, recipe.synthetic.public_clips),
            "seconds": max(recipe.synthetic.seconds, 3 * window.span),
        }
    )
    data = in_motion(stills, options, recipe.augment, window, recipe.seed, splits=(PUBLIC,))
    features = encoder(data.inputs(np.arange(len(data))))
    right = full = changes = fades = 0
    still_seconds, delays = 0.0, []
    for clip in windows.clips(data, np.arange(len(data))):
        rows, states = windows.ending(data, clip, window)
        answers, truth = head(features[rows]).argmax(axis=1), data.labels[clip]
        filled = np.array([state.filled == window.frames for state in states])
        right, full = right + int((answers == truth)[filled].sum()), full + int(filled.sum())
        if (truth == truth[0]).all():
            steady = answers[filled]
            changes += int((np.diff(steady) != 0).sum())
            still_seconds += max(len(steady) - 1, 0) * window.period
            continue
        change = int(np.flatnonzero(np.diff(truth))[0]) + 1
        if window.frames <= change <= len(clip) - window.frames:
            fades += 1
            if (frames := _followed(answers, truth, change)) is not None:
                delays.append(1000 * window.period * frames)
    return {
        "split": PUBLIC,
        "clips": options.public_clips,
        "accuracy": round(right / full, 4) if full else None,
        "changes_per_second": round(changes / still_seconds, 3) if still_seconds else None,
        "fades": fades,
        "followed": len(delays),
        "delay_ms": {
            "median": round(float(np.median(delays))),
            "nine_of_ten_below": round(float(np.quantile(delays, 0.9))),
        }
        if delays
        else None,
    }


def _followed(answers: NDArray[np.intp], truth: NDArray[np.uint8], change: int) -> int | None:
    """How many frames after the one at `change` the new label was answered first; None if the answer was
    wrong just before the change, or is at the end."""
    if answers[change - 1] != truth[0] or answers[-1] != truth[-1]:
        return None
    return int(np.flatnonzero(answers[change:] == truth[-1])[0])
