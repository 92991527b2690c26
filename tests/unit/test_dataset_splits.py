"""Splits that are made here, merging, and which rows stay."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from streamfer.errors import UsageError
from streamfer.training import dataset
from streamfer.training.dataset import SPLITS, Dataset
from streamfer.training.datasets import load
from streamfer.training.datasets.findings import findings
from streamfer.training.datasets.importing import Imported, import_sources
from streamfer.training.datasets.options import (
    Options,
    parse_crop,
    parse_drop,
    parse_names,
    parse_ratios,
)
from streamfer.training.datasets.splits import FREE, assign
from streamfer.types import LABELS, CropSpec
from tests.datasets import make, noise, shared, write_npz


def saved(tmp_path: Path, data: Dataset) -> Path:
    path = tmp_path / f"{data.name}.npz"
    dataset.save(data, path)
    return path


def run(tmp_path: Path, *parts: Dataset, **options: object) -> Imported:
    return import_sources([saved(tmp_path, part) for part in parts], Options(**options))  # type: ignore[arg-type]


def unsplit(tmp_path: Path, data: Dataset) -> Path:
    """An archive without a split of its own."""
    return write_npz(tmp_path / "unsplit.npz", data, usage=None)


# ---- stratified --------------------------------------------------------------------------------------------


def test_a_stratified_split_keeps_the_shares_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [1000, 100, 10]).astype(np.uint8)
    split = assign(labels, np.arange(1110), (0.8, 0.1, 0.1), seed=0)
    for label, counts in ((0, [800, 100, 100]), (1, [80, 10, 10]), (2, [8, 1, 1])):
        assert np.bincount(split[labels == label], minlength=3).tolist() == counts
    assert np.array_equal(split, assign(labels, np.arange(1110), (0.8, 0.1, 0.1), seed=0))
    assert not np.array_equal(split, assign(labels, np.arange(1110), (0.8, 0.1, 0.1), seed=1))
    # Not the first rows to one split and the last to another.
    assert abs(np.flatnonzero(split[:1000] == 2).mean() - 500) < 100


def test_groups_are_never_separated_and_large_ones_do_not_fill_a_small_split() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 900).astype(np.uint8)
    groups = np.concatenate([np.zeros(120, int), rng.integers(1, 260, 780)])
    split = assign(labels, groups, (0.8, 0.1, 0.1), seed=0)
    for group in np.unique(groups):
        assert len(set(split[groups == group].tolist())) == 1
    assert split[0] == 0
    shares = np.bincount(split) / 900
    assert np.abs(shares - (0.8, 0.1, 0.1)).max() < 0.02


def test_a_share_of_nothing_gets_nothing() -> None:
    labels = np.zeros(100, np.uint8)
    assert np.bincount(assign(labels, np.arange(100), (0.5, 0, 0.5), 0), minlength=3).tolist() == [50, 0, 50]
    assert set(assign(labels, np.arange(100), (0, 0, 1), 0).tolist()) == {2}


def test_rows_follow_the_given_split_of_their_group() -> None:
    given = np.array([2, FREE, FREE, 0, 1, FREE], np.uint8)
    split = assign(np.zeros(6, np.uint8), np.array([0, 0, 1, 2, 2, 2]), (1.0, 0, 0), 0, given)
    assert split.tolist() == [2, 2, 0, 0, 1, 0]


@pytest.mark.parametrize("asked", ["stratified", None])
def test_our_split_never_separates_duplicates_or_near_duplicates(tmp_path: Path, asked: str | None) -> None:
    images = noise(300)
    images[1::3] = images[::3]  # every third again, and every third a little brighter
    images[2::3] = np.minimum(images[::3], 235) + 20
    path = unsplit(tmp_path, make(images, np.tile(np.arange(3), 100), label_names=LABELS[:3]))
    done = import_sources([path], Options(split=asked, strict=True))  # type: ignore[arg-type]
    assert len(done.findings.near) == 100 and len(done.findings.duplicates) == 100
    assert done.findings.leaks == {} and done.findings.near_leaks == {}
    assert np.abs(np.bincount(done.data.split) / 300 - (0.8, 0.1, 0.1)).max() < 0.02
    assert done.data.about["split"] == "stratified"


def test_a_stratified_split_of_fer2013_does_not_leak_where_the_official_one_does(tmp_path: Path) -> None:
    whole = load(shared("fer2013.npz"))
    data = whole.take(np.flatnonzero(whole.split > 0))
    assert findings(data).leak() == "44 PrivateTest images also in PublicTest"
    path = write_npz(tmp_path / "tests.npz", data)
    done = import_sources([path], Options(split="stratified", strict=True))
    assert done.findings.leaks == {} and done.findings.near_leaks == {}
    for label in range(7):
        of_class = done.data.split[done.data.labels == label]
        assert np.abs(np.bincount(of_class) - np.array([0.8, 0.1, 0.1]) * len(of_class)).max() < 2


def test_a_stratified_split_keeps_sequences_together(tmp_path: Path) -> None:
    done = import_sources([shared("ckplus48.npz")], Options(split="stratified"))
    assert done.data.sequences is not None
    for sequence in np.unique(done.data.sequences):
        assert len(set(done.data.split[done.data.sequences == sequence].tolist())) == 1
    assert done.findings.shared_subjects


# ---- by subject --------------------------------------------------------------------------------------------


def test_a_split_by_subject_has_no_subject_twice() -> None:
    by_default = import_sources([shared("ckplus48.npz")], Options(strict=True))
    asked = import_sources([shared("ckplus48.npz")], Options(split="subject"))
    assert np.array_equal(by_default.data.split, asked.data.split)
    assert by_default.data.about["split"] == "subject"
    assert asked.findings.shared_subjects == {} and asked.findings.leaks == {}
    assert np.abs(np.bincount(asked.data.split) / 981 - (0.8, 0.1, 0.1)).max() < 0.03
    assert all(len(asked.data.rows(split)) for split in SPLITS)


def test_a_split_by_subject_needs_all_subjects(tmp_path: Path) -> None:
    data = make(noise(4), [0, 0, 1, 1], subjects=np.array(["a", "", "b", ""]), origins=np.array(list("wxyz")))
    with pytest.raises(
        UsageError, match="the subject of 2 rows is not known, such as x; put the pictures into"
    ):
        run(tmp_path, data, split="subject")
    with pytest.raises(UsageError, match="the subject of 4 rows is not known; "):
        run(tmp_path, make(noise(4), [0, 0, 1, 1]), split="subject")


# ---- the official one --------------------------------------------------------------------------------------


def leaking() -> Dataset:
    """Row 2 of PrivateTest is row 0 of Training, and subject b is in both."""
    images = noise(4)
    images[2] = images[0]
    return make(images, [0, 1, 0, 1], [0, 0, 2, 2], label_names=LABELS[:2], subjects=np.array([*"abbc"]))


def test_an_official_split_that_leaks_is_imported_but_not_when_strict(tmp_path: Path) -> None:
    found = run(tmp_path, leaking(), validation=0.01).findings
    assert {pair: rows.tolist() for pair, rows in found.leaks.items()} == {("Training", "PrivateTest"): [2]}
    with pytest.raises(UsageError, match="1 PrivateTest image also in Training, 1 subject in both") as caught:
        run(tmp_path, leaking(), strict=True)
    assert "\n" not in str(caught.value) and "--drop duplicates" in str(caught.value)


def test_an_official_split_must_be_there_if_it_is_asked_for(tmp_path: Path) -> None:
    path = unsplit(tmp_path, make(noise(8), np.tile([0, 1], 4), label_names=LABELS[:2]))
    with pytest.raises(UsageError, match="--split official: unsplit has no split; take --split stratified"):
        import_sources([path], Options(split="official"))


# ---- selection ---------------------------------------------------------------------------------------------


def test_four_classes_are_renumbered(tmp_path: Path) -> None:
    data = make(noise(14), np.tile(np.arange(7), 2))
    done = run(tmp_path, data, classes=("angry", "happiness", "neutral", "sad")).data
    assert done.label_names == ("angry", "happy", "sad", "neutral")
    assert done.labels.tolist() == [0, 1, 2, 3] * 2
    assert np.array_equal(done.images, data.images[[0, 3, 4, 6, 7, 10, 11, 13]])
    with pytest.raises(UsageError, match="--classes contempt: the data has angry, disgust"):
        run(tmp_path, data, classes=("contempt",))


def test_an_empty_class_is_one_line_and_can_be_left_out(tmp_path: Path) -> None:
    data = make(noise(4), [0, 1, 0, 2], [0, 0, 0, 2], label_names=LABELS[:3])
    with pytest.raises(UsageError, match=r"no Training row of the class fear; .*--classes angry,disgust"):
        run(tmp_path, data)
    assert len(run(tmp_path, data, classes=("angry", "disgust")).data) == 3


def test_training_is_downsampled_per_class_and_the_tests_are_not(tmp_path: Path) -> None:
    data = make(noise(60), np.repeat([0, 1], [40, 20]), np.tile([0, 0, 0, 1, 2], 12), label_names=LABELS[:2])
    done = run(tmp_path, data, per_class=10).data
    assert np.bincount(done.labels[done.rows("Training")]).tolist() == [10, 10]
    assert len(done.rows("PublicTest")) == len(done.rows("PrivateTest")) == 12
    assert np.array_equal(done.images, run(tmp_path, data, per_class=10).data.images)
    assert not np.array_equal(done.images, run(tmp_path, data, per_class=10, seed=1).data.images)


@pytest.mark.parametrize(
    ("drop", "kept"),
    [
        ("", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("constant", [0, 1, 3, 4, 5, 6, 7, 8, 9]),
        ("duplicates", [1, 2, 4, 5, 6, 7, 8, 9]),
        ("conflicts", [1, 2, 3, 4, 6, 7, 8, 9]),
        ("near", [1, 2, 4, 5, 6, 8, 9]),
        ("constant,duplicates,conflicts", [1, 4, 6, 7, 8, 9]),
    ],
)
def test_rows_are_dropped_for_a_finding(tmp_path: Path, drop: str, kept: list[int]) -> None:
    images = noise(10)
    images[2] = 9
    images[5] = images[0]  # again in PublicTest, with another label
    images[4] = images[3]  # again in PrivateTest
    images[8] = np.minimum(images[7], 235) + 20  # nearly again in PrivateTest
    labels, split = [0, 0, 0, 1, 1, 1, 0, 1, 1, 1], [0, 0, 0, 0, 2, 1, 2, 0, 2, 0]
    origins = np.array([str(row) for row in range(10)])
    data = make(images, labels, split, label_names=LABELS[:2], origins=origins)
    done = run(tmp_path, data, drop=parse_drop(drop))
    assert done.data.origins is not None
    assert [int(one) for one in done.data.origins] == kept
    if drop in ("duplicates", "near"):
        assert done.findings.leaks == {} and done.findings.surplus == 0


# ---- merging -----------------------------------------------------------------------------------------------


def test_data_sets_are_merged_with_all_their_columns(tmp_path: Path) -> None:
    one = make(
        noise(4), [0, 1, 0, 1], [0, 0, 1, 2], label_names=("angry", "happy"), name="one",
        votes=np.ones((4, 10), np.uint8), sequences=np.array([0, 0, 3, -1], np.int32),
    )  # fmt: skip
    two = make(
        noise(4, 1), [0, 1, 0, 1], [0, 0, 1, 2], label_names=("disgust", "contempt"), name="two",
        subjects=np.array([*"abcd"]), sequences=np.arange(4, dtype=np.int32), origins=np.array([*"wxyz"]),
    )  # fmt: skip
    data = run(tmp_path, one, two).data
    assert (data.name, data.label_names) == ("one+two", ("angry", "disgust", "happy", "contempt"))
    assert data.labels.tolist() == [0, 2, 0, 2, 1, 3, 1, 3]
    assert data.split.tolist() == [0, 0, 1, 2] * 2
    assert np.array_equal(data.images, np.concatenate([one.images, two.images]))
    assert data.votes is not None and data.votes.sum(axis=1).tolist() == [10] * 4 + [0] * 4
    assert data.subjects is not None and data.subjects.tolist() == [""] * 4 + [*"abcd"]
    assert data.sequences is not None and data.sequences.tolist() == [0, 0, 3, -1, 4, 5, 6, 7]
    assert data.origins is not None and data.origins[-1] == "two:z" and data.frames is None


def test_sizes_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    one, two = make(noise(2), [0, 0], name="one"), make(noise(2, 1, 64), [0, 0], name="two")
    expected = "one has faces of 48×48×1, two of 64×64×1: they cannot be merged"
    with pytest.raises(UsageError, match=re.escape(expected)):
        run(tmp_path, one, two)


def test_rows_without_a_split_follow_their_duplicates_in_an_official_one(tmp_path: Path) -> None:
    official = make(noise(6), [0, 1] * 3, [0, 0, 1, 1, 2, 2], label_names=LABELS[:2], name="official")
    free = make(np.concatenate([noise(6), noise(20, 1)]), [0, 1] * 13, label_names=LABELS[:2])
    done = import_sources([saved(tmp_path, official), unsplit(tmp_path, free)], Options(strict=True))
    assert done.data.split[:6].tolist() == done.data.split[6:12].tolist() == [0, 0, 1, 1, 2, 2]
    assert done.findings.surplus == 6


# ---- options -----------------------------------------------------------------------------------------------


def test_options_are_parsed() -> None:
    assert parse_names(["joy=happy", "a=b=sad"]) == {"joy": "happy", "a=b": "sad"}
    assert parse_crop("48x64x3") == CropSpec(48, 64, 3)
    assert parse_ratios("80/10/10") == pytest.approx((0.8, 0.1, 0.1))
    assert parse_ratios("3/1/0") == (0.75, 0.25, 0)
    assert parse_drop("constant, near") == {"constant", "near"}


@pytest.mark.parametrize("text", ["80/20", "a/b/c", "80/-10/30", "0/0/0", "nan/1/1", "inf/1/1", ""])
def test_bad_ratios_are_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"--ratios {text}: expected the shares of Training")):
        parse_ratios(text)


@pytest.mark.parametrize("text", ["48", "48x48", "48x48x2", "8x48x1", "x48x1", "48x48x1x"])
def test_bad_crops_are_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"--crop {text}: expected HEIGHTxWIDTHxCHANNELS")):
        parse_crop(text)


def test_bad_mappings_and_drops_are_one_line() -> None:
    with pytest.raises(UsageError, match="--map joy: expected THEIRS=OURS"):
        parse_names(["joy"])
    with pytest.raises(
        UsageError, match="--drop blurred: expected some of constant,duplicates,near,conflicts"
    ):
        parse_drop("constant,blurred")
