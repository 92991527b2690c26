"""The contract of temporal classifiers: each frame is encoded by itself, each window answered by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from streamfer.api import TemporalClassifier
from streamfer.testing.classifiers import TOLERANCE, example_crops, require_probabilities
from streamfer.testing.require import require
from streamfer.types import CropSpec, Window


def check_temporal_classifier(
    build: Callable[[], TemporalClassifier], crop: CropSpec, labels: Sequence[str], window: Window
) -> None:
    """Check a temporal classifier whose registration (or card) asks for `crop` and `window` and names
    `labels`.

    Crops of noise, of plain gray and of gradients; windows of a face that holds still and of one that changes
    from each frame to the next, in read-only memory.
    """
    require(labels, "a classifier declares its labels")
    require(len(set(labels)) == len(labels), f"labels repeat: {', '.join(labels)}")
    require(window.frames >= 1 and window.period > 0 and window.max_gap > 0, f"{window} is no window")
    crops = example_crops(crop)
    classifier = build()
    features = _encode(classifier, crops)
    again = "encode gives other features for the same crops"
    require(np.array_equal(features, _encode(classifier, crops)), f"{again} the second time")
    require(np.array_equal(features, _encode(build(), crops)), f"{again} from a second object")
    largest = max(1.0, float(np.abs(features).max()))
    for index in range(len(crops)):
        apart = (
            float(np.abs(_encode(classifier, crops[index : index + 1])[0] - features[index]).max()) / largest
        )
        require(
            apart <= TOLERANCE,
            f"crop {index} alone gets other features than among others (by {apart:.4f} of the largest): "
            "rows are not independent",
        )
    windows = example_windows(features, window.frames)
    whole = _classify(classifier, windows, len(labels))
    again = "classify gives other probabilities for the same windows"
    require(np.array_equal(whole, _classify(classifier, windows, len(labels))), f"{again} the second time")
    require(np.array_equal(whole, _classify(build(), windows, len(labels))), f"{again} from a second object")
    for index in range(len(windows)):
        alone = _classify(classifier, windows[index : index + 1], len(labels))[0]
        apart = float(np.abs(alone - whole[index]).max())
        require(
            apart <= TOLERANCE,
            f"window {index} alone gets other probabilities than among others (by {apart:.4f}): rows are not "
            "independent, or something is remembered; the service remembers",
        )


def example_windows(features: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """(n, features) → (2n, frames, features): each face held still, and n in which it changes each frame."""
    still = np.repeat(features[:, None], frames, axis=1)
    order = np.arange(len(features))[:, None] + np.arange(frames)[None]
    return np.concatenate([still, features[order % len(features)]])


def _encode(classifier: TemporalClassifier, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    view = crops.view()
    view.flags.writeable = False  # as they arrive from another process
    found = classifier.encode(view)
    require(isinstance(found, np.ndarray), f"encode gave {type(found).__name__}, expected an array")
    require(found.dtype == np.float32, f"encode gave {found.dtype}, expected float32")
    require(
        found.ndim == 2 and len(found) == len(crops),
        f"encode gave the shape {found.shape}, expected ({len(crops)}, features)",
    )
    require(bool(np.isfinite(found).all()), "a feature is not finite")
    return found.copy()


def _classify(
    classifier: TemporalClassifier, windows: NDArray[np.float32], labels: int
) -> NDArray[np.float32]:
    view = windows.view()
    view.flags.writeable = False
    found = classifier.classify(view)
    require_probabilities("classify", found, (len(windows), labels))
    return found.copy()
