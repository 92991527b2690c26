"""The contract of classifiers: probabilities, for each crop by itself, always the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamfer.testing.require import require
from streamfer.types import CropSpec

TOLERANCE = 1e-3
"""How far a probability may depend on the batch it was computed in: rounding, not information."""


class Predicts(Protocol):
    """A classifier, or one that `streamfer.inference.answering` has opened."""

    def predict(self, *crops: NDArray[np.uint8]) -> NDArray[np.float32]: ...


class _Single(Protocol):
    def predict(self, crops: NDArray[np.uint8], /) -> NDArray[np.float32]: ...


def check_classifier(
    build: Callable[[], Predicts | _Single], crop: CropSpec | Sequence[CropSpec], labels: Sequence[str]
) -> None:
    """Check a classifier whose registration asks for `crop` and names `labels`. For one that combines others
    these are as `streamfer.inference.described.find` has them, with a crop for each that its members ask for,
    and `build` is `streamfer.inference.answering.answering` of its spec.

    Crops of noise, of plain gray and of gradients, one to nine at a time, in read-only memory.
    """
    specs = [crop] if isinstance(crop, CropSpec) else list(crop)
    require(specs, "a classifier wants a crop")
    require(labels, "a classifier declares its labels")
    require(len(set(labels)) == len(labels), f"labels repeat: {', '.join(labels)}")
    classifier = build()
    crops = [example_crops(spec) for spec in specs]
    before = [one.copy() for one in crops]
    whole = _predict(classifier, crops, len(labels))
    unchanged = all(np.array_equal(one, other) for one, other in zip(crops, before, strict=True))
    require(unchanged, "predict changed the crops it was given")
    require(
        np.array_equal(whole, _predict(classifier, crops, len(labels))),
        "predict gives other probabilities for the same crops the second time",
    )
    require(
        np.array_equal(whole, _predict(build(), crops, len(labels))),
        "a second object with the same options gives other probabilities for the same crops",
    )
    for index in range(len(whole)):
        alone = _predict(classifier, [one[index : index + 1] for one in crops], len(labels))[0]
        apart = float(np.abs(alone - whole[index]).max())
        require(
            apart <= TOLERANCE,
            f"crop {index} alone gets other probabilities than among others (by {apart:.4f}): rows are not "
            "independent",
        )
    turned = [np.ascontiguousarray(one[::-1]) for one in crops]
    backwards = _predict(classifier, turned, len(labels))[::-1]
    require(
        float(np.abs(backwards - whole).max()) <= TOLERANCE,
        "in reverse order the crops get other probabilities: a row depends on its neighbours or on its place",
    )


def example_crops(crop: CropSpec) -> NDArray[np.uint8]:
    """Nine crops uint8 (9, height, width, channels) that differ in texture, brightness and contrast."""
    shape = (crop.height, crop.width, crop.channels)
    noise = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    plain = np.stack([np.full(shape, value, np.uint8) for value in (0, 128, 255)])
    rows, columns = np.mgrid[0 : crop.height, 0 : crop.width]
    ramps = [rows * 255 // crop.height, columns * 255 // crop.width, (rows // 6 + columns // 6) % 2 * 255]
    gradients = np.stack([np.repeat(ramp[..., None], crop.channels, 2).astype(np.uint8) for ramp in ramps])
    return np.concatenate([noise, plain, gradients])


def _predict(
    classifier: Predicts | _Single, crops: Sequence[NDArray[np.uint8]], labels: int
) -> NDArray[np.float32]:
    """The probabilities (n, labels), copied, each property of a single answer checked."""
    views = [one.view() for one in crops]
    for view in views:
        view.flags.writeable = False  # as they arrive from another process
    found = classifier.predict(*views)
    require_probabilities("predict", found, (len(crops[0]), labels))
    return found.copy()


def require_probabilities(method: str, found: NDArray[np.float32], expected: tuple[int, int]) -> None:
    """AssertionError unless `found`, what `method` gave, are probabilities float32 of the `expected`
    shape."""
    require(isinstance(found, np.ndarray), f"{method} gave {type(found).__name__}, expected an array")
    require(found.dtype == np.float32, f"{method} gave {found.dtype}, expected float32")
    require(found.shape == expected, f"{method} gave the shape {found.shape}, expected {expected}")
    require(bool(np.isfinite(found).all()), "a probability is not finite")
    require(
        bool(((found >= 0) & (found <= 1)).all()),
        f"a probability is outside 0..1: {found.min()}..{found.max()}",
    )
    sums = found.sum(axis=1)
    require(
        bool((np.abs(sums - 1) <= TOLERANCE).all()),
        f"a row adds up to {sums[np.abs(sums - 1).argmax()]:.4f}, not 1",
    )
