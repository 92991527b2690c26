"""Faces and expressions of single pictures, by the service's own detector, geometry and classifiers."""

from __future__ import annotations

from functools import lru_cache
from os import PathLike, fspath
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamfer.api import Detector
from streamfer.detectors import FaceOptions
from streamfer.errors import UsageError
from streamfer.inference.answering import Answering, answering
from streamfer.inference.described import Described, ServedCard, find, with_mode
from streamfer.picture import from_bgr
from streamfer.plugins import ComponentSpec, Registered, Registry, build, spec_of
from streamfer.types import Face

Image = str | PathLike[str] | NDArray[np.uint8]


def predict(
    image: Image,
    *,
    classifier: str = "cnn",
    model: str | PathLike[str] | None = None,
    detector: str = "yunet",
    bgr: bool = False,
) -> list[Face]:
    """The faces of one picture, best first, with their expressions.

    `image` is a file's path or an array, uint8 (height, width, 3) in RGB (`bgr=True`: as OpenCV reads it) or
    (height, width) gray. `classifier` may have a mode behind a colon, "cnn_lstm:frames"; a temporal one sees
    faces that hold still. `model` is the card of an exported model (default: the one that the classifier
    ships). `track` counts the faces from 1; boxes are in pixels of the upright picture.
    Raises UsageError for what is no picture and for unknown components, StartError for a broken model.
    """
    from streamfer.faces import FaceAnalyser

    pixels = _read(Path(image)) if isinstance(image, str | PathLike) else _as_bgr(image, bgr=bgr)
    registry = _registry(classifier, detector)
    chosen = _described(registry, classifier, model)
    labels = chosen.labels
    finder = _detector(registry.get("detector", detector))
    network = _classifier(msgspec.json.encode(chosen.spec), chosen.models)
    width = max(320, min(pixels.shape[1], 640))
    analyser = FaceAnalyser(finder, None, chosen.crops, FaceOptions(), width=width)
    analysis = analyser.analyse(from_bgr(pixels), seq=0, seconds=0.0)
    crops = [analysis.crops[spec] for spec in chosen.crops]
    rows = iter(network.predict(*crops).tolist() if crops[0].size else [])
    faces = []
    for found in analysis.faces:
        row = [round(value, 4) for value in next(rows)] if found.status == "ok" else None
        best = max(range(len(row)), key=row.__getitem__) if row else None
        faces.append(
            Face(
                found.track,
                found.box,
                found.score,
                found.status,
                labels[best] if best is not None else None,
                row[best] if row and best is not None else None,
                dict(zip(labels, row, strict=True)) if row else None,
            )
        )
    return faces


@lru_cache(maxsize=8)
def _registry(classifier: str, detector: str) -> Registry:
    """What is installed; these two are."""
    registry = Registry.discover()
    registry.get("classifier", with_mode(classifier)[0])
    registry.get("detector", detector)
    return registry


def _described(registry: Registry, classifier: str, model: str | PathLike[str] | None) -> Described:
    """The classifier; its cards are read anew each time."""
    name, mode = with_mode(classifier)
    if model is None:
        return find(registry, name, mode)
    if registry.get("classifier", name).network is None:
        raise UsageError(f"the classifier '{name}' is no network: it takes no model")
    return find(registry, name, {**mode, "model": fspath(model)})


@lru_cache(maxsize=8)
def _detector(registered: Registered) -> Detector:
    return cast(Detector, build(spec_of(registered, {})))


@lru_cache(maxsize=8)
def _classifier(spec: bytes, models: tuple[ServedCard | None, ...]) -> Answering:
    """The classifier of a spec (JSON), built once for each state of its cards."""
    return answering(msgspec.json.decode(spec, type=ComponentSpec))


def _read(path: Path) -> NDArray[np.uint8]:
    import cv2

    if not path.exists():
        raise UsageError(f"{path}: no such file")
    if not path.is_file():
        raise UsageError(f"{path}: not a file; name the pictures themselves")
    encoded = np.frombuffer(path.read_bytes(), np.uint8)
    pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    if pixels is None:
        raise UsageError(f"{path}: not a picture that can be read (JPEG, PNG, WebP, TIFF, BMP …)")
    return np.asarray(pixels, np.uint8)


def _as_bgr(image: NDArray[np.uint8], *, bgr: bool) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise UsageError(
            f"an image is uint8 (height, width, 3) or (height, width); this is {image.dtype} {image.shape}"
        )
    if image.ndim == 2:
        return np.repeat(image[:, :, None], 3, axis=2)
    return image if bgr else np.ascontiguousarray(image[:, :, ::-1])
