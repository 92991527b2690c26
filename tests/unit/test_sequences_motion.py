"""Synthetic motion: clips of stills, the same for the same seed, named for what they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamfer.training.dataset import Dataset
from streamfer.training.recipe import AugmentOptions, SyntheticOptions
from streamfer.training.sequences.lookalikes import LookAlikes
from streamfer.training.sequences.motion import _curve, in_motion
from streamfer.types import LABELS, Window
from tests.datasets import make, noise

WINDOW = Window(frames=4, stride=1, fps=10.0, max_gap=0.5)
NOTHING = AugmentOptions(flip=False, rotation=0, shift=0, zoom=0, brightness=0, contrast=0, erase=0)
SIDE = 16


def stills(rows: int = 42) -> Dataset:
    """Each still has a gray level of its own; the last third is PublicTest."""
    images = np.repeat(np.arange(1, rows + 1, dtype=np.uint8) * 5, SIDE * SIDE).reshape(rows, SIDE, SIDE)
    images[:, 0, 0] = 0  # or they would be constant, and left out
    return make(images, np.arange(rows) % 7, np.repeat([0, 0, 1], rows // 3))


def clips(options: dict[str, Any], augment: AugmentOptions = NOTHING, seed: int = 1) -> Dataset:
    chosen = {"clips": 12, "public_clips": 6, "seconds": 2.0, "jitter": 0, "noise": 0} | options
    return in_motion(stills(), SyntheticOptions(**chosen), augment, WINDOW, seed)


def level(data: Dataset) -> Any:
    """The gray level of each frame: which still it shows."""
    return data.images[:, SIDE // 2, SIDE // 2, 0].astype(int)


def test_it_is_named_synthetic_and_says_how_it_was_made() -> None:
    data = clips({})
    assert data.name == "made in synthetic motion"
    assert data.about["synthetic"]["stills_sha256"] == stills().sha256
    assert data.about["synthetic"]["clips"] == 12


def test_the_same_seed_gives_the_same_clips_and_another_seed_others() -> None:
    moving = AugmentOptions()
    assert clips({"noise": 3}, moving).sha256 == clips({"noise": 3}, moving).sha256
    assert clips({"noise": 3}, moving).sha256 != clips({"noise": 3}, moving, seed=2).sha256


def test_without_motion_and_change_a_clip_is_its_still() -> None:
    data, still = clips({"fades": 0}), stills()
    assert len(data) == 18 * 20 and data.seconds is not None
    np.testing.assert_allclose(np.diff(data.seconds[:20]), WINDOW.period)
    levels = level(data).reshape(18, 20)
    assert (levels == levels[:, :1]).all()
    row = levels[:, 0] // 5 - 1
    assert len(set(row[:12].tolist())) == 12, "every still once before one is used again"
    assert (still.labels[row] == data.labels.reshape(18, 20)[:, 0]).all()
    assert (still.split[row] == data.split.reshape(18, 20)[:, 0]).all(), "each split from its own stills"


def test_a_change_is_labelled_by_what_most_of_a_frame_shows() -> None:
    data, still = clips({"fades": 1, "fade_seconds": (0.5, 0.9), "clips": 40}), stills()
    for levels, labels in zip(level(data).reshape(-1, 20), data.labels.reshape(-1, 20), strict=True):
        first, last = levels[0], levels[-1]
        assert still.labels[first // 5 - 1] != still.labels[last // 5 - 1]
        share = (levels - first) / (last - first)
        assert (np.diff(share) > -0.2).all(), "rounding to gray levels apart it only grows"
        for part, label in zip(share, labels, strict=True):
            if abs(part - 0.5) > 0.15:
                assert label == still.labels[(last if part > 0.5 else first) // 5 - 1]


def test_some_clips_change_and_some_do_not() -> None:
    labels = clips({"fades": 0.5, "clips": 200}).labels.reshape(-1, 20)
    assert 0.35 < (labels[:, 0] != labels[:, -1]).mean() < 0.65


def test_an_interruption_shows_another_face_for_a_moment_and_changes_no_label() -> None:
    options = {"fades": 0, "interruptions": 0.5, "interruption_seconds": (0.3, 0.5), "clips": 300}
    data = clips(options)
    levels, labels = level(data).reshape(-1, 20), data.labels.reshape(-1, 20)
    assert (labels == labels[:, :1]).all()
    base = np.median(levels, axis=1)  # most of a clip is undisturbed
    other = levels != base[:, None]
    # One a clip on average, at chance times: e^-1 of the clips have none, and each is in 5 frames at most.
    assert 0.3 < (~other.any(axis=1)).mean() < 0.5
    assert 1 < other.sum(axis=1).mean() < 5
    known = other.sum(axis=1) < 8
    assert (stills().labels[(base[known] // 5 - 1).astype(int)] == labels[known, 0]).all()


def test_motion_is_smooth_and_keeps_within_its_reach() -> None:
    random = np.random.default_rng(0)
    times = np.arange(200) / 50
    for _ in range(100):
        curve = _curve(times, 10.0, 1.0, random)
        assert np.abs(curve).max() <= 10
        assert np.abs(np.diff(curve)).max() <= 10 / 2 * 2 * np.pi * 1.0 / 50 * 1.01


@pytest.mark.parametrize("change", ["rotation", "shift", "zoom", "brightness", "contrast", "erase"])
def test_each_kind_of_motion_changes_the_frames(change: str) -> None:
    """And nothing else does: without it the frames of a clip are all the same."""
    most = {"rotation": 30, "shift": 0.3, "zoom": 0.3, "brightness": 50, "contrast": 0.5, "erase": 1}
    found = in_motion(
        make(noise(28, side=SIDE), np.arange(28) % 7, [0, 1] * 14),
        SyntheticOptions(clips=3, public_clips=1, seconds=2, fades=0, jitter=0, noise=0),
        NOTHING.model_copy(update={change: most[change]}),
        WINDOW,
        seed=1,
    )
    first = found.images[:20].astype(int)
    assert np.abs(first - first[0]).max() > 8


def test_colour_stays_colour() -> None:
    gray = stills()
    data = Dataset("rgb", np.repeat(gray.images, 3, axis=3), gray.labels, gray.split, LABELS)
    moving = AugmentOptions(flip=False)
    found = in_motion(data, SyntheticOptions(clips=2, public_clips=1, noise=0), moving, WINDOW, 1)
    assert found.images.shape[3] == 3
    assert (found.images[..., 0] == found.images[..., 2]).all()


def test_a_look_alike_is_of_another_class_and_looks_alike() -> None:
    """Two kinds of faces, bright on the left and bright on the right, each of two classes."""
    random = np.random.default_rng(0)
    images = random.integers(0, 60, (80, SIDE, SIDE, 1), np.uint8)
    left = np.arange(80) < 40
    images[left, :, : SIDE // 2] += 150
    images[~left, :, SIDE // 2 :] += 150
    labels = (np.arange(80) % 2).astype(np.uint8)
    alike = LookAlikes(images, labels, ("calm", "glad"))
    for row in range(80):
        partner = alike.partner(row, random)
        assert labels[partner] != labels[row] and left[partner] == left[row]
    assert LookAlikes(images, np.zeros(80, np.uint8), ("calm",)).partner(5, random) == 5


def test_neutral_faces_are_preferred() -> None:
    images = np.random.default_rng(0).integers(0, 256, (140, 8, 8, 1), np.uint8)
    labels = (np.arange(140) % 7).astype(np.uint8)
    alike, random = LookAlikes(images, labels), np.random.default_rng(0)
    found = [LABELS[labels[alike.partner(0, random)]] for _ in range(300)]
    assert 0.4 < found.count("neutral") / 300 < 0.75 and len(set(found)) == 6
