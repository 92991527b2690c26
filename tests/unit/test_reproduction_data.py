"""The data of the reproduction: what is to be clean is, what is to leak does, and all of it repeats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.reproduction import classes, leaks
from benchmarks.reproduction.faces import crossing, same_face, with_faces
from streamfer.errors import UsageError
from streamfer.training.dataset import PRIVATE, PUBLIC, TRAINING, Dataset
from streamfer.types import LABELS
from tests.datasets import PORTRAITS, make, noise

SPLIT_NAMES = (TRAINING, PUBLIC, PRIVATE)


def images_of(data: Dataset, split: str) -> set[bytes]:
    return {image.tobytes() for image in data.images[data.rows(split)]}


def same(one: Dataset, other: Dataset) -> bool:
    return one.sha256 == other.sha256


# ---- which rows show one face


def test_a_face_and_its_shifted_brighter_copy_are_one() -> None:
    portrait = np.asarray(cv2.imread(str(PORTRAITS / "astronaut.png"), cv2.IMREAD_GRAYSCALE), np.uint8)
    face = np.asarray(cv2.resize(portrait[40:240, 130:330], (96, 96), interpolation=cv2.INTER_AREA), np.uint8)
    brighter = np.minimum(np.roll(face, 1, axis=1), 225) + 30
    data = make(np.stack([*noise(2, side=96), face, brighter]), np.zeros(4))
    assert same_face(data).tolist() == [0, 1, 2, 3], "no two are equal pixel for pixel"
    assert same_face(with_faces(data)).tolist() == [0, 1, 2, 2]


def test_rows_of_one_sequence_or_one_image_are_one_face() -> None:
    images = noise(5)
    images[4] = images[0]
    data = make(images, np.zeros(5), sequences=np.array([-1, 7, 7, -1, -1], np.int32))
    assert same_face(data).tolist() == [0, 1, 1, 3, 0]


def test_crossing_counts_the_validation_rows_whose_face_is_in_training() -> None:
    images = noise(6)
    images[4] = images[0]
    data = make(images, np.zeros(6), [0, 0, 0, 0, 1, 1])
    assert crossing(data) == 0.5
    assert crossing(data, PRIVATE) == 0.0


# ---- the leak audit


@pytest.fixture(scope="module")
def repeated() -> Dataset:
    """700 rows, each image twice; test set and validation of the clean split hold 35 of 350 faces."""
    labels = np.tile(np.arange(7), 50)
    data = make(np.concatenate([noise(350)] * 2), np.concatenate([labels] * 2))
    return with_faces(data)


def test_the_clean_split_keeps_faces_whole_and_classes_even(repeated: Dataset) -> None:
    data = leaks.clean(repeated)
    assert [len(data.rows(split)) for split in SPLIT_NAMES] == [560, 70, 70]
    for one in SPLIT_NAMES:
        assert np.bincount(data.labels[data.rows(one)]).std() <= 2
        for other in SPLIT_NAMES:
            assert one == other or not images_of(data, one) & images_of(data, other)
    assert crossing(data) == crossing(data, PRIVATE) == 0.0


def test_duplicates_cross_where_rows_are_drawn_and_never_into_the_test(repeated: Dataset) -> None:
    data = leaks.duplicates_cross(repeated)
    assert [len(data.rows(split)) for split in SPLIT_NAMES] == [560, 70, 70]
    assert images_of(data, PUBLIC) & images_of(data, TRAINING)
    assert crossing(data) > 0.7, "each validation row has one copy, in eight of nine cases in Training"
    assert crossing(data, PRIVATE) == 0.0


def test_copies_cross_and_are_other_images_of_the_same_faces(repeated: Dataset) -> None:
    pytest.importorskip("keras", reason="needs streamfer[train]")
    data, held = leaks.copies_cross(repeated), leaks.clean(repeated)
    assert [len(data.rows(split)) for split in SPLIT_NAMES] == [2240, 280, 70], "630 faces four times"
    assert crossing(data) > 0.99, "of eight rows of one face, one is in Training"
    assert crossing(data, PRIVATE) == 0.0
    assert images_of(data, PRIVATE) == images_of(held, PRIVATE)
    first = data.images[70:]
    assert not (first[:630] == first[630:1260]).all(axis=(1, 2, 3)).any(), "a copy is changed"
    assert not (first[630:1260] == first[1260:1890]).all(axis=(1, 2, 3)).any(), "each its own way"
    assert (data.labels[70:700] == data.labels[700:1330]).all()


def test_a_copy_has_the_label_and_the_face_of_its_picture() -> None:
    """The label can be seen: it is how bright the image is."""
    pytest.importorskip("keras", reason="needs streamfer[train]")
    labels = np.tile(np.arange(7), 20)
    data = with_faces(make(noise(140) // 8 + 30 * labels[:, None, None].astype(np.uint8), labels))
    data = leaks.copies_cross(data)
    assert (data.images.mean(axis=(1, 2, 3)) // 30 == data.labels).all()
    assert data.sequences is not None
    rows = np.argsort(data.sequences, kind="stable")
    assert (data.labels[rows] == labels[data.sequences[rows]]).all()


def test_a_copy_is_still_the_picture() -> None:
    """Turned by up to 10 degrees, shifted by up to a tenth and perhaps mirrored, and nothing else."""
    pytest.importorskip("keras", reason="needs streamfer[train]")
    bright = np.zeros((40, 48, 48, 1), np.uint8)
    bright[:, 20:28, 20:28] = 200
    copies = leaks.changed(bright, seed=0)
    mass = copies.sum(axis=(1, 2, 3)) / bright[0].sum()
    assert mass == pytest.approx(1, abs=0.02)
    centre = (copies[:, :, :, 0] * np.arange(48)).sum(axis=(1, 2)) / copies.sum(axis=(1, 2, 3))
    assert np.ptp(centre) > 3 and np.abs(centre - 23.5).max() < 6


@pytest.mark.parametrize("variant", [leaks.clean, leaks.duplicates_cross, leaks.copies_cross])
def test_a_variant_repeats_by_its_seed(repeated: Dataset, variant: Callable[..., Dataset]) -> None:
    pytest.importorskip("keras", reason="needs streamfer[train]")
    assert same(variant(repeated), variant(repeated, seed=0))
    assert not same(variant(repeated), variant(repeated, seed=1))


@pytest.mark.parametrize("variant", [leaks.duplicates_cross, leaks.copies_cross])
def test_all_variants_have_the_test_set_of_the_clean_one(
    repeated: Dataset, variant: Callable[..., Dataset]
) -> None:
    pytest.importorskip("keras", reason="needs streamfer[train]")
    test, clean = (one.take(one.rows(PRIVATE)) for one in (variant(repeated), leaks.clean(repeated)))
    assert same(test, clean)


def test_faces_must_be_known() -> None:
    with pytest.raises(UsageError, match="which rows show one face"):
        leaks.clean(make(noise(4), np.zeros(4)))


# ---- four classes


def ckplus(subjects: int = 40) -> Dataset:
    """Like CK+48: sequences of three frames, two of each subject; contempt, and no neutral."""
    names = (*(name for name in LABELS if name != "neutral"), "contempt")
    rows = np.arange(subjects * 6)
    return make(
        noise(len(rows), 8),
        rows // 3 % 7,
        label_names=names,
        subjects=np.array([f"S{row // 6:03}" for row in rows]),
        sequences=(rows // 3).astype(np.int32),
        frames=(rows % 3).astype(np.int32),
    )


def people(data: Dataset, split: str) -> set[str]:
    assert data.subjects is not None
    return set(data.subjects[data.rows(split)].tolist())


def test_four_classes_keep_their_rows_and_splits() -> None:
    data = make(noise(21), np.tile(np.arange(7), 3), np.repeat([0, 1, 2], 7))
    four = classes.four_classes(data)
    assert four.label_names == ("angry", "happy", "sad", "neutral")
    assert np.array_equal(four.images, data.images[np.isin(data.labels, [0, 3, 4, 6])])
    assert four.labels.tolist() == [0, 1, 2, 3] * 3 and four.split.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_contempt_takes_the_place_of_neutral() -> None:
    data = ckplus()
    four = classes.contempt_as_neutral(data)
    assert four.label_names == classes.FOUR
    for ours, theirs in zip(classes.FOUR, ("angry", "happy", "sad", "contempt"), strict=True):
        named = data.images[data.labels == data.label_names.index(theirs)]
        assert np.array_equal(four.images[four.labels == classes.FOUR.index(ours)], named)


def test_contempt_is_only_taken_where_there_is_no_neutral() -> None:
    with pytest.raises(UsageError, match="expected CK\\+48"):
        classes.contempt_as_neutral(make(noise(7), np.arange(7)))


def test_by_subject_nobody_is_on_two_sides_and_by_image_everybody_may_be() -> None:
    subject, image = classes.ckplus_by_subject(ckplus()), classes.ckplus_by_image(ckplus())
    for one in (subject, image):
        assert not people(one, PRIVATE) & (people(one, TRAINING) | people(one, PUBLIC))
        shares = np.array([len(one.rows(split)) for split in SPLIT_NAMES]) / len(one)
        assert shares == pytest.approx(classes.SHARES, abs=0.06)
    assert not people(subject, TRAINING) & people(subject, PUBLIC) and crossing(subject) == 0.0
    assert people(image, TRAINING) & people(image, PUBLIC) and crossing(image) > 0.7
    assert images_of(subject, PRIVATE) == images_of(image, PRIVATE)


@pytest.mark.parametrize("variant", [classes.ckplus_by_subject, classes.ckplus_by_image])
def test_a_split_of_ckplus_repeats_by_its_seed(variant: Callable[..., Dataset]) -> None:
    assert same(variant(ckplus()), variant(ckplus()))
    assert not same(variant(ckplus()), variant(ckplus(), seed=1))


def test_both_have_the_test_of_fer2013_alone() -> None:
    alone = make(noise(70), np.tile(np.arange(7), 10), np.tile([0, 0, 0, 1, 2], 14))
    both = classes.with_ckplus(alone, ckplus())
    four = classes.four_classes(alone)
    assert both.label_names == classes.FOUR
    assert images_of(both, PRIVATE) == images_of(four, PRIVATE)
    assert images_of(four, TRAINING) < images_of(both, TRAINING)
    assert images_of(four, PUBLIC) < images_of(both, PUBLIC)
    assert not (people(both, TRAINING) & people(both, PUBLIC)) - {""}
    assert crossing(both) == 0.0
    assert len(both) == len(four) + len(classes.contempt_as_neutral(ckplus()))


def test_without_subjects_there_is_no_split_by_subject() -> None:
    with pytest.raises(UsageError, match="who is shown"):
        classes.ckplus_by_subject(replace(ckplus(), subjects=None))


# ---- balanced classes


def uneven(rare: int = 14) -> Dataset:
    """40 faces of each class but one in Training and PublicTest, 5 in PrivateTest; some stand there twice."""
    pool, test = [40, rare, 40, 40, 40, 40, 40], [5] * 7
    labels = np.concatenate([np.repeat(np.arange(7), pool), np.repeat(np.arange(7), test)])
    split = np.where(np.arange(len(labels)) < len(labels) - 35, np.arange(len(labels)) % 5 == 0, 2)
    images = noise(len(labels), 4)
    images[0] = images[len(labels) - 35]  # of PrivateTest
    images[20:30] = images[10:20]
    images[3] = 90
    return make(images, labels, split)


def unmirrored(images: NDArray[np.uint8]) -> set[bytes]:
    """The images, and their mirror images."""
    return {one.tobytes() for one in images} | {one[:, ::-1].tobytes() for one in images}


def test_classes_are_balanced_and_the_test_stays() -> None:
    data = uneven()
    made = classes.balanced(data, training=12, validation=4)
    assert np.bincount(made.labels[made.rows(TRAINING)]).tolist() == [12] * 7
    assert np.bincount(made.labels[made.rows(PUBLIC)]).tolist() == [4] * 7
    assert np.array_equal(made.images[made.rows(PRIVATE)], data.images[data.rows(PRIVATE)])


def test_nothing_is_twice_or_on_two_sides_not_even_mirrored() -> None:
    made = classes.balanced(uneven(), training=12, validation=4)
    training, public = made.images[made.rows(TRAINING)], made.images[made.rows(PUBLIC)]
    assert not unmirrored(training) & unmirrored(public)
    assert not (unmirrored(training) | unmirrored(public)) & images_of(made, PRIVATE)
    assert len(images_of(made, TRAINING)) == len(training) and len(images_of(made, PUBLIC)) == len(public)
    assert crossing(made) == crossing(made, PRIVATE) == 0.0
    assert (training.reshape(len(training), -1).std(axis=1) > 0).all()


def test_the_rare_class_is_filled_with_mirrored_copies_of_its_training_images() -> None:
    data = uneven()
    made = classes.balanced(data, training=12, validation=4)
    known = {image.tobytes() for image in data.images}
    rows = made.rows(TRAINING)
    copies = [row for row in rows if made.images[row].tobytes() not in known]
    assert len(copies) == 2, "14 faces: 4 in PublicTest, 10 in Training"
    for row in copies:
        assert made.labels[row] == 1
        original = made.images[row][:, ::-1].tobytes()
        assert original in images_of(made, TRAINING) and original in known


def test_a_class_that_cannot_be_filled_is_refused() -> None:
    with pytest.raises(UsageError, match="9 faces of class disgust are too few for 4 in PublicTest and 12"):
        classes.balanced(uneven(rare=9), training=12, validation=4)


def test_balancing_repeats_by_its_seed() -> None:
    one, other = (classes.balanced(uneven(), 12, 4, seed=seed) for seed in (0, 1))
    assert same(one, classes.balanced(uneven(), 12, 4)) and not same(one, other)
