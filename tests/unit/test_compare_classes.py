"""Rows of some classes, and answers among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamfer.errors import UsageError
from streamfer.training.compare_classes import answering, only
from streamfer.training.evaluate import open_classifier
from streamfer.types import LABELS
from tests.compared import faces, write_plugin

FOUR = ("angry", "happy", "sad", "neutral")


def test_only_keeps_the_rows_of_the_classes_in_the_order_of_the_data() -> None:
    data = faces()
    part = only(data, ("neutral", "sad", "angry", "happy"))
    assert part.label_names == FOUR
    wanted = np.flatnonzero(np.isin(data.labels, [LABELS.index(name) for name in FOUR]))
    assert [part.label_names[label] for label in part.labels] == [LABELS[data.labels[row]] for row in wanted]
    np.testing.assert_array_equal(part.images, data.images[wanted])
    assert part.votes is not None and len(part.votes) == len(wanted)
    assert part.sha256 == data.sha256, "the data has one hash, whichever rows are used"
    assert only(data, LABELS) is data


def test_a_picture_in_training_under_another_label_is_a_duplicate_all_the_same() -> None:
    data = faces()
    private = data.rows("PrivateTest")
    known = next(row for row in range(14) if LABELS[data.labels[row]] in FOUR)
    twin = private[known]
    data.labels[known] = LABELS.index("fear")
    part = only(data, FOUR)
    rows = part.rows("PrivateTest")
    place = [row for row in rows if np.array_equal(part.images[row], data.images[twin])]
    assert len(place) == 1
    assert place[0] not in part.unseen_rows("PrivateTest")
    unseen = {data.images[row].tobytes() for row in data.unseen_rows("PrivateTest")}
    assert [part.images[row].tobytes() in unseen for row in rows] == np.isin(
        rows, part.unseen_rows("PrivateTest")
    ).tolist()


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (("angry", "cross"), "has no label cross; it has angry, disgust"),
        (("angry",), "expected two or more different labels"),
        (("angry", "sad", "angry"), "expected two or more different labels"),
        (("",), "has no label ; it has"),
    ],
)
def test_labels_that_cannot_be_are_one_line(names: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UsageError, match=f"--only {','.join(names)}: ") as raised:
        only(faces(), names)
    assert complaint in str(raised.value)


def test_answers_come_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    turned = open_classifier("turned", plugins=[write_plugin(tmp_path)])
    crops = faces().images[:20]
    served = answering(turned, LABELS, restricted=False)
    assert served.labels == LABELS
    np.testing.assert_array_equal(served.predict(crops), turned.predict(crops)[:, ::-1])
    assert answering(turned, LABELS[::-1], restricted=False) is turned


def test_restricted_answers_add_up_to_one(tmp_path: Path) -> None:
    able = open_classifier("able", plugins=[write_plugin(tmp_path)])
    crops = faces().images[:50]
    found = answering(able, FOUR, restricted=True).predict(crops)
    whole = able.predict(crops)[:, [LABELS.index(name) for name in FOUR]]
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found, whole / whole.sum(axis=1, keepdims=True), rtol=1e-6)


def test_a_face_that_gets_none_of_the_classes_gets_all_alike(tmp_path: Path) -> None:
    from dataclasses import replace

    able = open_classifier("able", plugins=[write_plugin(tmp_path)])
    sure = replace(able, predict=lambda crops: np.eye(7, dtype=np.float32)[[2] * len(crops)])
    found = answering(sure, FOUR, restricted=True).predict(faces().images[:3])
    np.testing.assert_array_equal(found, np.full((3, 4), 0.25, np.float32))


def test_other_labels_are_one_line(tmp_path: Path) -> None:
    four = open_classifier("four", plugins=[write_plugin(tmp_path)])
    with pytest.raises(UsageError) as raised:
        answering(four, LABELS, restricted=False)
    assert str(raised.value) == (
        "four has other labels than the data: it lacks disgust, fear, surprise; compare with --only "
        "angry,happy,sad,neutral"
    )
    with pytest.raises(UsageError, match="the data has no sad, neutral; compare with --only angry,happy"):
        answering(four, ("angry", "happy"), restricted=False)
    with pytest.raises(UsageError, match="too few in common"):
        answering(four, ("angry", "cross"), restricted=True)
