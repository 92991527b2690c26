"""What is found in a data set: constant images, duplicates, near duplicates, leaks, conflicts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer.training.datasets import load
from streamfer.training.datasets.findings import Findings, findings
from streamfer.training.datasets.likeness import likeness
from tests.datasets import PORTRAITS, make, noise, shared


@pytest.fixture(scope="module")
def fer2013() -> tuple[NDArray[np.uint8], Findings]:
    """The split of each row, and the findings."""
    data = load(shared("fer2013.npz"))
    return data.split, findings(data)


def test_the_known_figures_of_fer2013(fer2013: tuple[NDArray[np.uint8], Findings]) -> None:
    _, found = fer2013
    assert (found.rows, found.distinct, found.surplus) == (35_887, 34_034, 1_853)
    assert len(found.conflicts) == 57
    assert len(found.constant) == 12
    assert len(found.leaks["Training", "PublicTest"]) == 280
    assert len(found.leaks["Training", "PrivateTest"]) == 288
    assert found.summary()["leaks"]["PrivateTest in Training"] == 288
    assert "288 PrivateTest images also in Training" in found.lines()


def test_near_duplicates_of_fer2013_are_more_than_its_duplicates(
    fer2013: tuple[NDArray[np.uint8], Findings],
) -> None:
    split, found = fer2013
    assert len(found.near) > 500
    rows = found.near_leaks["Training", "PrivateTest"]
    assert len(rows) > 100 and (split[rows] == 2).all()
    assert not set(rows.tolist()) & set(found.leaks["Training", "PrivateTest"].tolist())


def test_no_two_people_of_ck_plus_are_near_duplicates() -> None:
    data = load(shared("ckplus48.npz"))
    found = findings(data)
    assert data.subjects is not None
    assert len(found.near) > 200  # the three frames of a sequence are
    assert all(len(set(data.subjects[group].tolist())) == 1 for group in found.near)


def face() -> NDArray[np.uint8]:
    """A gray face of 96×96 pixels."""
    portrait = np.asarray(cv2.imread(str(PORTRAITS / "astronaut.png"), cv2.IMREAD_GRAYSCALE), np.uint8)
    return np.ascontiguousarray(cv2.resize(portrait[40:240, 130:330], (96, 96), interpolation=cv2.INTER_AREA))


def jpeg(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)


def test_a_photo_changed_a_little_is_nearly_the_same_and_others_are_not() -> None:
    one = face()
    moved = np.roll(one, 1, axis=1)
    changed = [np.minimum(one, 225) + 30, (one * 0.7).astype(np.uint8), jpeg(one), moved]
    hopper = np.asarray(cv2.imread(str(PORTRAITS / "grace_hopper.jpg"), cv2.IMREAD_GRAYSCALE), np.uint8)
    other = cv2.resize(hopper[:500, :500], (96, 96))
    images = np.stack([one, *changed, other, one[:, ::-1], *noise(3, side=96)])[:, :, :, None]
    alike = likeness(images)
    assert alike.alike.tolist() == [0, 0, 0, 0, 0, 5, 6, 7, 8, 9]
    assert alike.same.tolist() == list(range(10))
    rgb = np.repeat(images, 3, axis=3)
    assert likeness(rgb).alike.tolist() == alike.alike.tolist()


def test_constant_images_are_the_same_or_not_but_never_nearly_the_same() -> None:
    images = np.zeros((4, 48, 48, 1), np.uint8)
    images[1], images[2] = 1, 255
    alike = likeness(images)
    assert alike.constant.all()
    assert alike.same.tolist() == alike.alike.tolist() == [0, 1, 2, 0]


def test_everything_is_found() -> None:
    images = noise(9)
    images[4] = 200  # constant
    images[3] = images[0]  # the same with another label
    images[6] = images[1]  # Training in PublicTest
    images[7] = np.minimum(images[2], 235) + 20  # Training nearly in PrivateTest
    images[8] = images[6]  # Training and PublicTest in PrivateTest
    data = make(
        images, [0, 1, 2, 5, 0, 1, 1, 2, 1], [0, 0, 0, 0, 0, 1, 1, 2, 2], subjects=np.array([*"abcdefgb", ""])
    )
    found = findings(data)
    assert found.constant.tolist() == [4]
    assert [group.tolist() for group in found.duplicates] == [[0, 3], [1, 6, 8]]
    assert [group.tolist() for group in found.conflicts] == [[0, 3]]
    assert [group.tolist() for group in found.near] == [[2, 7]]
    assert {pair: rows.tolist() for pair, rows in found.leaks.items()} == {
        ("Training", "PublicTest"): [6],
        ("Training", "PrivateTest"): [8],
        ("PublicTest", "PrivateTest"): [8],
    }
    assert {pair: rows.tolist() for pair, rows in found.near_leaks.items()} == {
        ("Training", "PrivateTest"): [7]
    }
    assert found.shared_subjects == {("Training", "PrivateTest"): ("b",)}
    assert (found.surplus, found.distinct) == (3, 6)
    assert found.leak() is not None and len(found.lines()) == 10


def test_nothing_is_found_in_sound_data() -> None:
    found = findings(make(noise(6), [0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2]))
    assert found.lines() == ["6 different images in 6 rows"]
    assert found.leak() is None
