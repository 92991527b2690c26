"""The analyser of one stream: where it looks, what it hands over, and when it begins anew."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamfer.detectors import FaceOptions, YuNetOptions
from streamfer.detectors.yunet import YuNet
from streamfer.faces import Analysis, FaceAnalyser, Window, around, distinct, iou, merged
from streamfer.picture import Picture, from_bgr
from streamfer.regions import Regions
from streamfer.sources import FileOptions
from streamfer.sources.file import FileSource
from streamfer.trackers import SortOptions
from streamfer.trackers.sort import Sort
from streamfer.types import Box, CropSpec, Detection, Polygon
from tests.clips import SAMPLE

GRAY, COLOUR = CropSpec(), CropSpec(64, 64, 3)


class SquareDetector:
    """Finds bright squares, whose truth is known to the pixel. Notes the images that it is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, int]] = []

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        self.shown.append((image.shape[1], image.shape[0]))
        bright = (image.mean(axis=2) > 120).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(bright)
        boxes = [Box(*map(float, stats[k, :4])) for k in range(1, count)]
        found = [Detection(box, round(0.9 + box.w / 1e5, 6)) for box in boxes if min(box.w, box.h) >= 3]
        return sorted(found, key=lambda face: (-face.score, face.box))


def scene(*squares: tuple[int, int, int], size: tuple[int, int] = (1280, 720), ground: int = 40) -> Picture:
    """Striped bright squares (left, top, side) on a dark ground; size: width, height."""
    image = np.full((size[1], size[0], 3), ground, np.uint8)
    for left, top, side in squares:
        part = image[max(top, 0) : top + side, max(left, 0) : left + side]
        part[:] = 200
        part[:, :: max(side // 6, 2)] = 160
    return from_bgr(image)


def analyser(
    detector: SquareDetector, *crops: CropSpec, regions: Regions | None = None, **options: float
) -> FaceAnalyser:
    judged = FaceOptions.model_validate(options)
    return FaceAnalyser(detector, Sort(SortOptions()), crops or (GRAY,), judged, regions=regions)


def boxes(analysis: Analysis) -> list[Box]:
    return [face.box for face in analysis.faces]


# ---- windows -----------------------------------------------------------------------------------------------

sides = st.integers(40, 2000)


@settings(deadline=None)  # a slow machine is no failure
@given(sides, sides, st.data())
def test_a_window_holds_the_face_and_lies_on_the_grid(width: int, height: int, data: st.DataObject) -> None:
    box = Box(
        data.draw(st.floats(-50, width)),
        data.draw(st.floats(-50, height)),
        data.draw(st.floats(1, 1500)),
        data.draw(st.floats(1, 1500)),
    )
    scale = max(width / 320, 1.0)
    window = around(box, scale, width, height)
    scale *= window.reduction
    for low, high, start, length, side in (
        (window.left, window.right, box.x, box.w, width),
        (window.top, window.bottom, box.y, box.h, height),
    ):
        limit = round(side / scale)
        assert low % 16 == 0 and 0 <= low < high <= max(limit, 1)
        assert (high - low) % 32 == 0 or high == limit
        assert high - low <= 80 * 1.5 + 2 * 32
        # What of the face is inside of the frame is inside of the window.
        first, last = max(start / scale, 0), min((start + length) / scale, limit)
        if last - first > 1:
            assert low <= first + 1 and high >= last - 1


windows = st.builds(
    lambda x, y, w, h, r: Window(16 * x, 16 * y, 16 * x + 32 * w, 16 * y + 32 * h, r),
    st.integers(0, 15),
    st.integers(0, 8),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([1.0, 1.0, 1.0, 1.7]),
)


@settings(deadline=None)
@given(st.lists(windows, max_size=6))
def test_merged_windows_cover_the_same_for_less(before: list[Window]) -> None:
    after = merged(before)
    assert sum(window.cost for window in after) <= sum(window.cost for window in before)
    for one in before:
        assert any(
            w.left <= one.left
            and w.top <= one.top
            and w.right >= one.right
            and w.bottom >= one.bottom
            and w.reduction == one.reduction
            for w in after
        )


@settings(deadline=None)
@given(st.floats(1, 100), st.floats(1, 100), st.floats(-150, 150), st.floats(-150, 150))
def test_overlap_is_symmetric_and_one_for_the_same(w: float, h: float, x: float, y: float) -> None:
    one, other = Box(0, 0, w, h), Box(x, y, h, w)
    assert iou(one, one) == pytest.approx(1)
    assert iou(one, other) == pytest.approx(iou(other, one))
    assert 0 <= iou(one, other) <= 1 + 1e-9


def test_a_face_found_twice_is_one_face() -> None:
    one, again, other = Box(10, 10, 40, 40), Box(12, 11, 40, 40), Box(45, 10, 40, 40)
    found = [Detection(one, 0.8), Detection(again, 0.9), Detection(other, 0.7)]
    assert [face.box for face in distinct(found)] == [again, other]


# ---- frames ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (641, 481), (333, 777), (176, 144), (1919, 1081)])
def test_boxes_in_windows_are_those_of_the_whole_frame(size: tuple[int, int]) -> None:
    width, height = size
    detector = SquareDetector()
    watching = analyser(detector)
    step = max(width / 320, 1)
    side = round(30 * step)
    for number in range(8):
        left, top = width // 3 + 3 * number, height // 2 - 2 * number
        analysis = watching.analyse(scene((left, top, side), size=size), seq=number, seconds=number / 25)
        assert analysis.full == (number == 0)
        assert len(analysis.faces) == 1
        assert boxes(analysis)[0] == pytest.approx((left, top, side, side), abs=1.6 * step)
    assert max(w * h for w, h in detector.shown[1:]) <= 96 * 96 < detector.shown[0][0] * detector.shown[0][1]


def test_a_large_face_is_searched_at_a_reduced_size() -> None:
    detector = SquareDetector()
    watching = analyser(detector)
    for number in range(5):
        analysis = watching.analyse(scene((300 + 4 * number, 50, 600)), seq=number, seconds=number / 25)
        assert boxes(analysis)[0] == pytest.approx((300 + 4 * number, 50, 600, 600), abs=12)
    assert all(w <= 128 and h <= 128 for w, h in detector.shown[1:])


def test_a_new_face_is_found_within_full_every_frames() -> None:
    watching = analyser(SquareDetector(), full_every=4)
    for number in range(12):
        squares = [(200, 200, 120)] + ([(900, 300, 120)] if number >= 5 else [])
        analysis = watching.analyse(scene(*squares), seq=number, seconds=number / 25)
        assert analysis.full == (number % 4 == 0)
        assert len(analysis.faces) == (2 if number >= 8 else 1)


def test_a_lost_face_is_searched_in_the_whole_frame_at_once() -> None:
    watching = analyser(SquareDetector(), full_every=100)
    for number, left in enumerate((200, 205, 210, 800, 805)):
        analysis = watching.analyse(scene((left, 200, 120)), seq=number, seconds=number / 25)
        assert boxes(analysis)[0].x == pytest.approx(left, abs=5)
        assert analysis.full == (number in (0, 3))


def test_two_faces_side_by_side_stay_two() -> None:
    watching = analyser(SquareDetector(), full_every=100)
    squares = ((200, 200, 120), (350, 210, 120), (900, 400, 120))
    for number in range(6):
        analysis = watching.analyse(scene(*squares), seq=number, seconds=number / 25)
        assert [face.track for face in analysis.faces] == [1, 2, 3]
        found = sorted(boxes(analysis))
        assert [box.x for box in found] == pytest.approx([200, 350, 900], abs=5)
        assert [box.w for box in found] == pytest.approx([120, 120, 120], abs=8)


def test_any_frame_may_be_the_first() -> None:
    watching = analyser(SquareDetector(), full_every=10)
    analysis = watching.analyse(scene((200, 200, 120)), seq=7, seconds=0.3)
    assert analysis.full and len(analysis.faces) == 1


# ---- regions and masks -------------------------------------------------------------------------------------

LEFT_HALF: Polygon = ((0, 0), (0.5, 0), (0.5, 1), (0, 1))


@pytest.mark.parametrize("regions", [Regions([LEFT_HALF]), Regions([], [LEFT_HALF])])
def test_a_face_outside_is_not_there_and_searched_for_by_nobody(regions: Regions) -> None:
    inside, outside = (200, 200, 120), (900, 300, 120)
    if not regions.contains(0.2, 0.4):
        inside, outside = outside, inside
    detector, alone = SquareDetector(), SquareDetector()
    watching = analyser(detector, regions=regions, full_every=100)
    reference = analyser(alone, full_every=100)
    for number in range(6):
        analysis = watching.analyse(scene(inside, outside), seq=number, seconds=number / 25)
        expected = reference.analyse(scene(inside), seq=number, seconds=number / 25)
        assert analysis.faces == expected.faces and len(analysis.faces) == 1
        assert np.array_equal(analysis.crops[GRAY], expected.crops[GRAY])
        assert analysis.full == (number == 0)
    assert detector.shown == alone.shown


def test_with_nobody_inside_only_the_usual_frames_are_searched_whole() -> None:
    detector = SquareDetector()
    watching = analyser(detector, regions=Regions([LEFT_HALF]), full_every=4)
    for number in range(9):
        analysis = watching.analyse(scene((900, 300, 120)), seq=number, seconds=number / 25)
        assert analysis.faces == []
        assert analysis.full == (number % 4 == 0)
    assert len(detector.shown) == 3


def test_a_face_in_doubt_outside_does_not_widen_the_search() -> None:
    class Doubtful(SquareDetector):
        def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
            return [face._replace(score=0.6 if face.box.x > 160 else 0.9) for face in super().detect(image)]

    for regions, whole in ((Regions([LEFT_HALF]), 1), (None, 3)):
        watching = analyser(Doubtful(), regions=regions, full_every=100)
        pictures = (scene((200, 200, 120), (900, 300, 120)) for _ in range(3))
        found = [watching.analyse(one, seq=n, seconds=n / 25) for n, one in enumerate(pictures)]
        assert sum(analysis.full for analysis in found) == whole


def test_a_face_that_walks_out_is_looked_for_once() -> None:
    watching = analyser(SquareDetector(), regions=Regions([LEFT_HALF]), full_every=100)
    steps = [520, 540, 560, 580, 600, 620, 640]  # its centre leaves the left half between 560 and 580
    found = [
        watching.analyse(scene((left, 200, 150)), seq=number, seconds=number / 25)
        for number, left in enumerate(steps)
    ]
    assert [len(analysis.faces) for analysis in found] == [1, 1, 1, 0, 0, 0, 0]
    assert [analysis.full for analysis in found] == [True, False, False, True, False, False, False]


def test_what_counts_is_the_centre_of_the_part_inside_the_frame() -> None:
    lower = Regions([((0, 0.5), (1, 0.5), (1, 1), (0, 1))])
    (face,) = (
        analyser(SquareDetector(), regions=lower).analyse(scene((-60, 650, 200)), seq=0, seconds=0).faces
    )
    assert face.box == pytest.approx((0, 650, 140, 70), abs=5)
    high = Regions([], [((0, 0.9), (1, 0.9), (1, 1), (0, 1))])
    assert (
        analyser(SquareDetector(), regions=high).analyse(scene((500, 650, 200)), seq=0, seconds=0).faces == []
    )


@pytest.mark.parametrize("every", [1, 12])
def test_a_mask_leaves_the_other_person_as_before(every: int) -> None:
    """The sample clip: one portrait in each half, moving. Boxes and crops are equal, and so labels are."""
    detector = YuNet(YuNetOptions())
    options = FaceOptions(full_every=every)
    both = FaceAnalyser(detector, Sort(SortOptions()), [GRAY], options)
    masked = FaceAnalyser(detector, Sort(SortOptions()), [GRAY], options, regions=Regions([], [LEFT_HALF]))
    seen = dropped = 0
    for number, frame in enumerate(FileSource(FileOptions(path=SAMPLE)).frames()):
        if number == 120:
            break
        everybody = both.analyse(frame.picture, seq=number, seconds=number / 25)
        found = masked.analyse(frame.picture, seq=number, seconds=number / 25)
        good = [face for face in everybody.faces if face.status == "ok"]
        right = [n for n, face in enumerate(good) if face.box.x + face.box.w / 2 >= frame.picture.width / 2]
        assert [face.box for face in found.faces if face.status == "ok"] == [good[n].box for n in right]
        assert np.array_equal(found.crops[GRAY], everybody.crops[GRAY][right])
        assert {face.track for face in found.faces} <= {1}
        seen += len(right)
        dropped += len(good) - len(right)
    assert seen > 60 and dropped > 60


# ---- what is handed over -----------------------------------------------------------------------------------


def test_boxes_are_clipped_and_rounded() -> None:
    analysis = analyser(SquareDetector()).analyse(scene((-60, 650, 200)), seq=0, seconds=0)
    (face,) = analysis.faces
    assert face.box == pytest.approx((0, 650, 140, 70), abs=5)
    assert face.box.x + face.box.w <= 1280 and face.box.y + face.box.h <= 720
    assert all(round(value, 1) == value for value in face.box) and round(face.score, 4) == face.score


def test_only_good_faces_have_crops_in_the_order_of_faces() -> None:
    picture = scene((100, 100, 60), (500, 300, 150), (900, 100, 200))
    analysis = analyser(SquareDetector(), GRAY, COLOUR, min_face=100).analyse(picture, seq=0, seconds=0)
    assert [face.track for face in analysis.faces] == [1, 2, 3]
    assert sorted(face.status for face in analysis.faces) == ["ok", "ok", "small"]
    assert analysis.crops[GRAY].shape == (2, 48, 48, 1) and analysis.crops[GRAY].dtype == np.uint8
    assert analysis.crops[COLOUR].shape == (2, 64, 64, 3)
    nobody = analyser(SquareDetector(), COLOUR).analyse(scene(), seq=0, seconds=0)
    assert nobody.faces == [] and nobody.crops[COLOUR].shape == (0, 64, 64, 3)


def test_a_blurred_face_has_a_box_and_no_crop() -> None:
    detector, sharp = SquareDetector(), scene((300, 200, 200))
    blurred = Picture(np.asarray(cv2.GaussianBlur(sharp.y, (0, 0), 30), np.uint8), sharp.u, sharp.v)
    for picture, limit, status in ((sharp, 100, "ok"), (blurred, 100, "blurred"), (blurred, 0, "ok")):
        analysis = analyser(detector, blur=limit).analyse(picture, seq=0, seconds=0)
        assert [face.status for face in analysis.faces] == [status]
        assert len(analysis.crops[GRAY]) == (status == "ok")


def test_without_a_tracker_faces_are_numbered_in_each_picture() -> None:
    stills = FaceAnalyser(SquareDetector(), None, [GRAY], FaceOptions())
    for picture in (scene((100, 100, 150), (500, 300, 90)), scene((700, 300, 90), ground=90)):
        analysis = stills.analyse(picture, seq=0, seconds=0)
        assert [face.track for face in analysis.faces] == list(range(1, len(analysis.faces) + 1))
        assert [face.score for face in analysis.faces] == sorted(
            (f.score for f in analysis.faces), reverse=True
        )
        assert analysis.full and not analysis.cut


# ---- beginning anew ----------------------------------------------------------------------------------------


def test_a_cut_ends_all_tracks_and_an_occluder_does_not() -> None:
    watching = analyser(SquareDetector(), full_every=100)
    ids, cuts = [], []
    plan = [(40, 3), (90, 3)]  # grounds and how many frames of each
    for number, ground in enumerate(ground for ground, count in plan for _ in range(count)):
        analysis = watching.analyse(scene((200, 200, 150), ground=ground), seq=number, seconds=number / 25)
        ids.append([face.track for face in analysis.faces])
        cuts.append(analysis.cut)
    assert ids == [[1]] * 3 + [[2]] * 3
    assert cuts == [False, False, False, True, False, False]
    big = scene((200, 200, 150), (700, 100, 500), ground=90)  # comes out of nothing, a quarter of the frame
    assert not watching.analyse(big, seq=6, seconds=6 / 25).cut


def test_another_size_is_a_cut() -> None:
    watching = analyser(SquareDetector(), full_every=100)
    first = watching.analyse(scene((200, 200, 120)), seq=0, seconds=0)
    second = watching.analyse(scene((100, 100, 60), size=(640, 250)), seq=1, seconds=0.04)
    assert second.cut and second.full
    assert [first.faces[0].track, second.faces[0].track] == [1, 2]


def test_reset_goes_on_from_the_track_that_is_asked_for() -> None:
    watching = analyser(SquareDetector(), full_every=100)
    assert watching.analyse(scene((200, 200, 120)), seq=0, seconds=0).faces[0].track == 1
    watching.reset(first_track=41)
    analysis = watching.analyse(scene((200, 200, 120), ground=100), seq=1, seconds=0.04)
    assert analysis.faces[0].track == 41 and analysis.full and not analysis.cut


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 1), (1, 40), (31, 33)])
def test_tiny_frames_have_no_faces(size: tuple[int, int]) -> None:
    watching = analyser(SquareDetector())
    for number in range(3):
        analysis = watching.analyse(scene(size=size), seq=number, seconds=number / 25)
        assert analysis.faces == [] and not analysis.cut
