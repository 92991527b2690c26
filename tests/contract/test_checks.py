"""The contract checks catch what breaks a contract: one small flawed component for each promise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer.api import Position, SourceFrame, SourceInfo, StreamPlan
from streamfer.picture import Picture
from streamfer.sinks import JsonlOptions
from streamfer.sinks.jsonl import JsonlSink
from streamfer.testing import check_classifier, check_detector, check_sink, check_source, check_tracker
from streamfer.trackers import SortOptions
from streamfer.trackers.sort import Sort
from streamfer.types import Box, CropSpec, Detection, Point, Result

Array = NDArray[Any]

# ---- classifiers -------------------------------------------------------------------------------------------


class Brightness:
    """Sound: the brighter the crop, the more probable the second label. `flaw` changes its answer."""

    def __init__(self, flaw: Callable[[Array, Array], Array] = lambda _, found: found) -> None:
        self._flaw = flaw

    def predict(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        share = crops.mean(axis=(1, 2, 3), dtype=np.float64) / 255
        found: Array = self._flaw(crops, np.stack([1 - share, share], axis=1).astype(np.float32))
        return found


def relative(_: Array, found: Array) -> Array:
    scaled = found / found.max()
    scaled[:, 0] = 1 - scaled[:, 1]
    return scaled.astype(np.float32)


class Restless(Brightness):
    def predict(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._calls = getattr(self, "_calls", 0) + 1
        return super().predict(crops)[:, :: 1 if self._calls % 2 else -1]


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        (lambda _, found: found * 0.5, "adds up to 0.5"),
        (lambda _, found: found + np.array([2, -2], np.float32), "outside 0..1"),
        (lambda _, found: found.astype(np.float64), "gave float64"),
        (lambda _, found: found[:, :1], "shape"),
        (lambda _, found: found[0], "shape"),
        (lambda _, found: np.full_like(found, np.nan), "not finite"),
        (lambda _, found: found.tolist(), "gave list"),
        (relative, "not independent"),
    ],
)
def test_a_flawed_classifier_is_caught(flaw: Callable[[Array, Array], Array], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_classifier(lambda: Brightness(flaw), CropSpec(), ("dark", "bright"))


def test_a_restless_classifier_is_caught() -> None:
    with pytest.raises(AssertionError, match="the second time"):
        check_classifier(Restless, CropSpec(), ("dark", "bright"))


def test_a_classifier_that_writes_into_its_crops_is_caught() -> None:
    def clear(crops: Array, found: Array) -> Array:
        crops[:] = 0
        return found

    with pytest.raises(ValueError, match="read-only"):
        check_classifier(lambda: Brightness(clear), CropSpec(), ("dark", "bright"))


def test_a_sound_classifier_passes() -> None:
    check_classifier(Brightness, CropSpec(), ("dark", "bright"))
    with pytest.raises(AssertionError, match="labels repeat"):
        check_classifier(Brightness, CropSpec(), ("dark", "dark"))


# ---- detectors ---------------------------------------------------------------------------------------------

FACE = np.random.default_rng(1).integers(0, 255, (100, 100, 3), dtype=np.uint8)
LEFT, RIGHT = Point(20, 30), Point(40, 30)
LANDMARKS = (LEFT, RIGHT, Point(30, 40), Point(22, 50), Point(38, 50))
SOUND = [Detection(Box(10, 10, 40, 50), 0.9, LANDMARKS), Detection(Box(0, 0, 9, 9), 0.5)]


class Fixed:
    """Finds what it is told to in FACE and nothing elsewhere."""

    def __init__(self, finds: list[Detection]) -> None:
        self._finds = finds

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        return list(self._finds) if image.shape == FACE.shape else []


@pytest.mark.parametrize(
    ("finds", "said"),
    [
        ([], "no face"),
        (SOUND[::-1], "best first"),
        ([Detection(Box(10, 10, 0, 5), 0.9)], "without an area"),
        ([Detection(Box(200, 10, 5, 5), 0.9)], "outside the image"),
        ([Detection(Box(float("nan"), 10, 5, 5), 0.9)], "not finite"),
        ([Detection(Box(1, 1, 5, 5), 1.5)], "score outside"),
        ([Detection(Box(1, 1, 5, 5), 0.5, (RIGHT, LEFT, *LANDMARKS[2:]))], "on its left"),
        ([Detection(Box(1, 1, 5, 5), 0.5, LANDMARKS[:4])], "4 landmarks"),  # type: ignore[arg-type]
        ([((1, 1, 5, 5), 0.5)], "expected a Detection"),
    ],
)
def test_a_flawed_detector_is_caught(finds: list[Detection], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_detector(lambda: Fixed(finds), [FACE])


def test_a_detector_that_sees_faces_in_gray_is_caught() -> None:
    class Eager:
        def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
            return SOUND

    with pytest.raises(AssertionError, match="plain gray image"):
        check_detector(Eager)


def test_a_sound_detector_passes() -> None:
    check_detector(lambda: Fixed(SOUND), [FACE])


# ---- trackers ----------------------------------------------------------------------------------------------


class Tracker(Sort):
    """Sound; the flawed ones change one thing."""

    def __init__(self) -> None:
        super().__init__(SortOptions())


class OneForAll(Tracker):
    def update(self, detections: Sequence[Detection], seconds: float, appearances: Any = None) -> list[int]:
        return [1] * len(detections)


class Fresh(Tracker):
    def update(self, detections: Sequence[Detection], seconds: float, appearances: Any = None) -> list[int]:
        self._last = getattr(self, "_last", 0) + len(detections)
        return list(range(self._last - len(detections) + 1, self._last + 1))


class Falling(Tracker):
    def update(self, detections: Sequence[Detection], seconds: float, appearances: Any = None) -> list[int]:
        return [1000 - one for one in super().update(detections, seconds, appearances)]


class Short(Tracker):
    def update(self, detections: Sequence[Detection], seconds: float, appearances: Any = None) -> list[int]:
        return super().update(detections, seconds, appearances)[:1]


class Amnesiac(Tracker):
    def reset(self, first_track: int | None = None) -> None:
        self.__init__()  # type: ignore[misc]


class Deaf(Tracker):
    def reset(self, first_track: int | None = None) -> None:
        super().reset(None)


class Obstinate(Tracker):
    def reset(self, first_track: int | None = None) -> None:
        """Forgets nothing."""


@pytest.mark.parametrize(
    ("tracker", "said"),
    [
        (OneForAll, "share an id"),
        (Fresh, "had 100 ids"),
        (Falling, "must rise"),
        (Short, "one for each"),
        (Amnesiac, "given again"),
        (Deaf, "began with the id"),
        (Obstinate, "still expects faces after a reset"),
    ],
)
def test_a_flawed_tracker_is_caught(tracker: type[Tracker], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_tracker(tracker)


def test_a_sound_tracker_passes() -> None:
    check_tracker(Tracker)


# ---- sources -----------------------------------------------------------------------------------------------


class Frames:
    """Six gray frames, each a little brighter. The flawed ones change one thing."""

    def __init__(self) -> None:
        self.passes = 0

    def open(self) -> SourceInfo:
        return SourceInfo(64, 48)

    def frames(self) -> Iterator[SourceFrame]:
        self.passes += 1
        return (self.frame(index) for index in range(6))

    def frame(self, index: int) -> SourceFrame:
        chroma = np.full((24, 32), 128, np.uint8)
        return SourceFrame(Picture(np.full((48, 64), 20 + index, np.uint8), chroma, chroma), index / 25)

    def close(self) -> None:
        pass


class Stepping(Frames):
    def frames(self) -> Iterator[SourceFrame]:
        self.passes += 1
        return (self.frame(index) for index in range(7 - self.passes))


class Flickering(Frames):
    def frame(self, index: int) -> SourceFrame:
        return super().frame(index + (self.passes == 2))


class GoingOn(Frames):
    """Goes on where the last pass was left."""

    def frames(self) -> Iterator[SourceFrame]:
        left = getattr(self, "_left", None)
        self._left = super().frames() if left is None else left
        yield from self._left
        self._left = None


class Backwards(Frames):
    def frame(self, index: int) -> SourceFrame:
        return replace(super().frame(index), pts=-index / 25)


class Milliseconds(Frames):
    def frame(self, index: int) -> SourceFrame:
        return replace(super().frame(index), pts=index * 40)


class WrongSize(Frames):
    def open(self) -> SourceInfo:
        return SourceInfo(48, 64)


class WrongChroma(Frames):
    def frame(self, index: int) -> SourceFrame:
        good = super().frame(index).picture
        return SourceFrame(Picture(good.y, good.y, good.y), None)


class CloseOnce(Frames):
    def close(self) -> None:
        del self.passes


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        (Stepping, AssertionError, "6 frames, the second 5"),
        (Flickering, AssertionError, "frame 0 differs"),
        (GoingOn, AssertionError, "left early"),
        (Backwards, AssertionError, "backwards"),
        (Milliseconds, AssertionError, "is a int"),
        (WrongSize, AssertionError, "open tells 48×64"),
        (WrongChroma, AssertionError, "plane u"),
        (CloseOnce, AttributeError, "passes"),
    ],
)
def test_a_flawed_source_is_caught(source: type[Frames], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        check_source(source)


def test_a_sound_source_passes() -> None:
    check_source(Frames)


# ---- sinks -------------------------------------------------------------------------------------------------

Found = dict[tuple[str, str], Position]


class Lines(JsonlSink):
    """Sound; the flawed ones change one thing."""

    def __init__(self, path: Path) -> None:
        super().__init__(JsonlOptions(path=str(path)))


class Forgetful(Lines):
    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> Found:
        super().open(streams, resume=resume)
        return {}


class Clinging(Lines):
    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> Found:
        found = super().open(streams, resume=True)
        return found if resume else {}


class Erasing(Lines):
    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> Found:
        return super().open(streams, resume=False)


class Lossy(Lines):
    def write(self, result: Result, picture: Picture | None) -> None:
        if result.seq != 9:
            super().write(result, picture)


class Late(Lines):
    def flush(self) -> None:
        """Leaves everything to close."""

    def close(self) -> None:
        if self._fd is not None:
            super().flush()
        super().close()


class Silent(Lines):
    def outputs(self) -> Iterable[str]:
        return []


class Failing(Lines):
    def write(self, result: Result, picture: Picture | None) -> None:
        if result.seq == 25:
            raise OSError("no space")
        super().write(result, picture)


class Miscounting(Lines):
    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> Found:
        found = super().open(streams, resume=resume)
        return {pair: replace(at, dropped={}, delivered=at.seq + 1) for pair, at in found.items()}


class Timeless(Lines):
    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> Found:
        found = super().open(streams, resume=resume)
        return {pair: replace(at, epoch=0) for pair, at in found.items()}


@pytest.mark.parametrize(
    ("sink", "said"),
    [
        (Forgetful, "tells no position"),
        (Clinging, "after a run that ended well|kept an old record"),
        (Erasing, "tells no position"),
        (Lossy, "after a run that ended well, resuming tells"),
        (Late, "after a crash"),
        (Silent, "names what it writes"),
        (Miscounting, "delivered=10"),
        (Failing, "failed when it was resumed"),
        (Timeless, "after a live run, resuming tells .* expected epoch"),
    ],
)
def test_a_flawed_sink_is_caught(sink: type[Lines], said: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=said):
        check_sink(partial(sink, tmp_path / "results.jsonl"))


def test_a_sink_that_cannot_close_twice_is_caught(tmp_path: Path) -> None:
    class CloseOnce(Lines):
        def close(self) -> None:
            super().close()
            del self._path

    with pytest.raises(AttributeError, match="_path"):
        check_sink(partial(CloseOnce, tmp_path / "results.jsonl"))


def test_a_sink_that_needs_pixels_gets_them_only_if_it_says_so(tmp_path: Path) -> None:
    class Drawing(Lines):
        def write(self, result: Result, picture: Picture | None) -> None:
            assert result.dropped or picture is not None, "no picture"
            super().write(result, picture)

    check_sink(partial(Drawing, tmp_path / "a.jsonl"), pixels=True)
    with pytest.raises(AssertionError, match="no picture"):
        check_sink(partial(Drawing, tmp_path / "b.jsonl"), pixels=False)


def test_a_sound_sink_passes(tmp_path: Path) -> None:
    check_sink(partial(Lines, tmp_path / "results.jsonl"))
