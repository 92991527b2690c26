"""Classifiers as they are asked: windows by track and stream, no face's frames among another's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer.inference.answering import Answering, answering
from streamfer.inference.described import find
from streamfer.plugins import Registry, build
from streamfer.testing import check_temporal_classifier
from streamfer.trackers import SortOptions
from streamfer.trackers.sort import Sort
from streamfer.types import Box, CropSpec, Detection, WindowState
from tests.temporal import write_plugin

Crops = NDArray[np.uint8]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry.discover([write_plugin(tmp_path_factory.mktemp("plugin"))])


def opened(registry: Registry, name: str, **options: Any) -> Answering:
    return answering(find(registry, name, options).spec)


def plain(*values: int) -> Crops:
    """A crop of one brightness for each value."""
    return np.stack([np.full((48, 48, 1), value, np.uint8) for value in values])


def test_the_encoder_sees_each_crop_once_and_the_head_whole_windows(registry: Registry) -> None:
    memory = opened(registry, "memory")
    told = []
    for frame, value in enumerate((0, 51, 102, 153, 204, 255, 255)):
        rows, states = memory.follow("a", frame * 0.08, [1], [plain(value)])
        assert states is not None
        told.append((round(float(rows[0, 1]) * 6, 4), states[0].filled))
    # Sixths of: the first frame six times; then what came, the first standing for those before.
    assert told == [(0, 1), (0.2, 2), (0.6, 3), (1.2, 4), (2.0, 5), (3.0, 6), (4.0, 6)]


def test_between_the_frames_that_are_taken_a_face_keeps_its_answer(registry: Registry) -> None:
    memory, told = opened(registry, "memory"), []
    for frame, value in enumerate((0, 255, 51, 255, 102, 255, 153)):  # at 25 fps, of which 12.5 are taken
        rows, states = memory.follow("a", frame / 25, [1], [plain(value)])
        assert states is not None
        told.append((round(float(rows[0, 1]) * 6, 4), states[0].filled, states[0].span_ms))
    assert told == [
        (0, 1, 0),
        (0, 1, 0),
        (0.2, 2, 80),
        (0.2, 2, 80),
        (0.6, 3, 160),
        (0.6, 3, 160),
        (1.2, 4, 240),
    ]


def test_faces_that_are_taken_at_different_times_are_not_mixed_up(registry: Registry) -> None:
    memory, shades = opened(registry, "memory"), {5: 0, 3: 255, 8: 102}
    for frame in range(12):
        tracks = [5] if frame == 0 else [3, 5] if frame < 4 else [8, 5, 3] if frame % 3 else [5, 8]
        rows, states = memory.follow("a", frame / 25, tracks, [plain(*(shades[one] for one in tracks))])
        assert rows[:, 1] * 255 == pytest.approx([shades[one] for one in tracks], abs=1e-3)
        assert states is not None and len(states) == len(tracks)


@pytest.mark.parametrize(("away", "filled"), [(12, 6), (13, 1)])
def test_a_face_that_returns(registry: Registry, away: int, filled: int) -> None:
    """Within half a second it goes on, later it is a new face; another is there all the time."""
    memory = opened(registry, "memory")
    for frame in range(12):
        memory.follow("a", frame / 25, [2, 1], [plain(0, 255)])
    for frame in range(12, 12 + away - 1):
        memory.follow("a", frame / 25, [2], [plain(0)])
    rows, states = memory.follow("a", (11 + away) / 25, [2, 1], [plain(0, 0)])
    assert states is not None
    assert [one.filled for one in states] == [6, filled]
    assert (float(rows[1, 1]) > 0) == (filled == 6)


def test_nothing_is_kept_of_faces_that_have_gone(registry: Registry) -> None:
    memory: Any = opened(registry, "memory")
    for frame in range(3000):
        memory.follow("a", frame / 25, [frame, 100_000], [plain(0, 0)])
        followed = memory._streams["a"]
        assert len(followed.answers) == len(followed.windows) <= 15
    memory.follow("a", 1000.0, [], [np.empty((0, 48, 48, 1), np.uint8)])
    assert len(followed.answers) == 0


def test_a_picture_alone_is_a_face_that_holds_still(registry: Registry) -> None:
    crops = plain(0, 102, 255)
    alone, single = opened(registry, "memory").predict(crops), opened(registry, "single").predict(crops)
    np.testing.assert_allclose(alone, single, atol=1e-6)


def test_streams_have_windows_of_their_own_until_they_are_reset(registry: Registry) -> None:
    memory = opened(registry, "memory")
    for frame in range(6):
        memory.follow("a", frame * 0.08, [1], [plain(0)])
        rows, _ = memory.follow("b", frame * 0.08, [1], [plain(255)])
    assert rows[0, 1] == 1
    memory.reset("b")
    _, states = memory.follow("b", 0.56, [1], [plain(255)])
    assert states == [WindowState(6, 1, 0.0)]
    _, states = memory.follow("a", 0.56, [1], [plain(0)])
    assert states is not None
    assert states[0].filled == 6


def test_fifty_faces_in_one_frame(registry: Registry) -> None:
    memory = opened(registry, "memory")
    values = list(range(0, 250, 5))
    for frame in range(8):
        tracks = [100 + number for number in (range(50) if frame % 2 else reversed(range(50)))]
        crops = plain(*(values[track - 100] for track in tracks))
        rows, states = memory.follow("a", frame * 0.08, tracks, [crops])
    assert states == [WindowState(6, 6, 400.0)] * 50
    np.testing.assert_allclose(rows[:, 1], np.array(values) / 255, atol=1e-6)


def test_two_faces_that_cross_keep_their_frames_apart(registry: Registry) -> None:
    """With the real tracker: one walks to the right, one to the left, and for a while one hides the other."""
    memory, sort = opened(registry, "memory"), Sort(SortOptions())
    shades, looks = {0: 40, 1: 220}, np.eye(8, dtype=np.float32)
    for frame in range(60):
        places = {0: 50.0 + 8 * frame, 1: 522.0 - 8 * frame}
        hidden = abs(places[0] - places[1]) < 30
        seen = [0] if hidden else [0, 1]
        found = [Detection(Box(places[who], 100, 50, 62), 0.9) for who in seen]
        tracks = sort.update(found, frame / 25, looks[seen])
        crops = plain(*(shades[who] for who in seen))
        rows, _ = memory.follow("a", frame / 25, tracks, [crops])
        for who, row in zip(seen, rows, strict=True):
            assert row[1] == pytest.approx(shades[who] / 255, abs=1e-5), f"frame {frame}"


def test_an_ensemble_tells_the_least_full_window(registry: Registry) -> None:
    members = ["single", "memory", {"name": "memory", "window": {"frames": 3}}, "moment"]
    both = opened(registry, "ensemble", members=members)
    told = [both.follow("a", frame * 0.08, [1], [plain(0)])[1] for frame in range(7)]
    assert [states[0] for states in told if states] == [
        *(WindowState(6, frame + 1, 80.0 * frame) for frame in range(5)),
        WindowState(6, 6, 400.0),
        WindowState(6, 6, 400.0),
    ]
    assert opened(registry, "ensemble", members=["single", "moment"]).follow("a", 0, [1], [plain(0)])[1] == [
        WindowState(1, 1, 0.0)
    ]
    still = opened(registry, "ensemble", members=["cnn", "cnn_bilstm"])
    assert still.follow("a", 0, [1], [plain(0)])[1] is None


def test_the_contract_holds_for_a_good_one_and_notices_bad_ones(registry: Registry) -> None:
    spec = find(registry, "memory").spec
    assert spec.window is not None

    def check(make: Any) -> None:
        check_temporal_classifier(make, CropSpec(), ("dark", "bright"), spec.window)  # type: ignore[arg-type]

    check(lambda: build(spec))
    rule = type(build(spec))

    class Remembers(rule):  # type: ignore[misc, valid-type]
        before = 0.5

        def classify(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
            found = 0.9 * super().classify(windows) + 0.1 * np.array(
                [1 - self.before, self.before], np.float32
            )
            self.before = float(found[-1, 1])
            return found.astype(np.float32)

    class Neighbours(rule):  # type: ignore[misc, valid-type]
        def encode(self, crops: Crops) -> NDArray[np.float32]:
            return np.cumsum(super().encode(crops), axis=0, dtype=np.float32)

    class Words(rule):  # type: ignore[misc, valid-type]
        def encode(self, crops: Crops) -> NDArray[np.float32]:
            return super().encode(crops)[:, 0]  # type: ignore[no-any-return]

    class Odd(rule):  # type: ignore[misc, valid-type]
        def classify(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
            return super().classify(windows) * 0.5  # type: ignore[no-any-return]

    for bad, said in (
        (Remembers, "classify gives other probabilities for the same windows the second time"),
        (Neighbours, "gets other features than among others"),
        (Words, r"encode gave the shape \(9,\), expected \(9, features\)"),
        (Odd, "a row adds up to 0.5"),
    ):
        with pytest.raises(AssertionError, match=said):
            check(lambda bad=bad: bad(None))
