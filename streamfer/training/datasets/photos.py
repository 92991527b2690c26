"""From picture files to faces: small gray squares are faces already, in photos they are found and cut out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.datasets.options import Options, Progress
from streamfer.training.datasets.source import Skipped
from streamfer.types import CropSpec

LARGEST_CROPPED = 128
"""A gray square of at most so many pixels a side may be a face that somebody has cropped already."""


class Faces(NamedTuple):
    """The faces of some files: uint8 (k, height, width, channels), which of the files they are from, rising,
    the files that gave none, and the photos with several faces."""

    images: NDArray[np.uint8]
    kept: NDArray[np.intp]
    skipped: tuple[Skipped, ...]
    crowded: tuple[str, ...]


def read(files: Sequence[Path], names: Sequence[str], options: Options, progress: Progress) -> Faces:
    """The face in each file; `names` are what the files are called in what is said of them.

    If all are gray squares of one size, at most 128 pixels a side, they are taken as they are. Else faces are
    found by the detector and cut out by the geometry that serve, and only gray squares of exactly the crop's
    size are taken as they are. `UsageError` if no file gives a face.
    """
    spec = options.crop or CropSpec()
    cropped: dict[int, NDArray[np.uint8]] = {}
    faces: dict[int, NDArray[np.uint8]] = {}
    skipped: dict[int, Skipped] = {}
    crowded: dict[int, str] = {}
    cutter: _Cutter | None = None

    def cut(number: int, pixels: NDArray[np.uint8]) -> None:
        nonlocal cutter
        cutter = cutter or _Cutter(options.detector, spec)
        face, count, reason = cutter.best(pixels)
        if face is None:
            skipped[number] = Skipped(names[number], reason, damaged=False)
            return
        faces[number] = face
        if count > 1:
            crowded[number] = names[number]

    for number, path in enumerate(files):
        progress("reading pictures", number, len(files))
        pixels = decode(path)
        if isinstance(pixels, str):
            skipped[number] = Skipped(names[number], pixels, damaged=True)
        elif _is_cropped(pixels):
            cropped[number] = pixels[:, :, :1].copy()
        else:
            cut(number, pixels)
    progress("reading pictures", len(files), len(files))

    sizes = {face.shape for face in cropped.values()}
    photos = len(cropped) + sum(one.damaged for one in skipped.values()) < len(files)
    if photos or len(sizes) > 1:
        for number, face in cropped.items():
            if face.shape == spec:
                faces[number] = face
            else:
                cut(number, np.repeat(face, 3, axis=2))
    else:
        faces = cropped
        if options.crop and sizes and sizes != {tuple(spec)}:
            height, width, _ = sizes.pop()
            raise UsageError(
                f"--crop {spec.height}x{spec.width}x{spec.channels}: the pictures are faces of "
                f"{height}×{width} gray pixels already; leave out --crop"
            )
    if not faces:
        first = skipped[min(skipped)]
        raise UsageError(
            f"no face in any picture (of {len(files):,}); the first: {first.path}: {first.reason}"
        )
    kept = sorted(faces)
    return Faces(
        np.stack([faces[number] for number in kept]),
        np.array(kept, np.intp),
        tuple(skipped[number] for number in sorted(skipped)),
        tuple(crowded[number] for number in sorted(crowded)),
    )


def decode(path: Path) -> NDArray[np.uint8] | str:
    """The picture as BGR, uint8 (height, width, 3), turned upright by its EXIF data; or why there is none."""
    try:
        encoded = np.fromfile(path, np.uint8)
    except OSError as error:
        return error.strerror or "cannot be read"
    if not encoded.size:
        return "empty file"
    try:
        pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    except cv2.error:  # such as more pixels than OpenCV takes
        pixels = None
    return "not a picture that can be read" if pixels is None else np.asarray(pixels, np.uint8)


def _is_cropped(pixels: NDArray[np.uint8]) -> bool:
    height, width, _ = pixels.shape
    if height != width or height > LARGEST_CROPPED:
        return False
    blue, green, red = (pixels[:, :, channel] for channel in range(3))
    return bool((blue == green).all() and (green == red).all())


class _Cutter:
    """The serving detector and geometry, on pictures."""

    def __init__(self, detector: str, spec: CropSpec) -> None:
        from streamfer.detectors import FaceOptions
        from streamfer.plugins import Registry, build, spec_of

        self._detector = build(spec_of(Registry.discover().get("detector", detector), {}))
        self._options = FaceOptions()
        self._spec = spec

    def best(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8] | None, int, str]:
        """The crop of the best face that would be classified, uint8 as `spec` says; the number of faces;
        and, where there is no crop, why."""
        from streamfer.faces import FaceAnalyser
        from streamfer.picture import from_bgr

        width = max(320, min(pixels.shape[1], 640))  # as for single pictures that are served
        analyser = FaceAnalyser(self._detector, None, [self._spec], self._options, width=width)
        found = analyser.analyse(from_bgr(pixels), seq=0, seconds=0.0)
        if len(crops := found.crops[self._spec]):
            return crops[0], len(found.faces), ""
        if not found.faces:
            return None, 0, "no face found"
        why = "too small" if found.faces[0].status == "small" else "too blurred"
        return None, len(found.faces), f"its face is {why}"
