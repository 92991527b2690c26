"""What an evaluation measures: which rows, against which labels, with which classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer.errors import StartError, UsageError
from streamfer.training.dataset import FERPLUS_NAMES, PRIVATE, PUBLIC, SPLITS, TRAINING, Dataset
from streamfer.training.evaluate import Evaluation, Served, evaluate, fitted, majority, open_classifier
from streamfer.training.speed import BATCHES, ms_per_face
from streamfer.types import LABELS, CropSpec

ROOT = Path(__file__).parents[2]
FER2013 = ROOT.parent / "shared/data/fer2013.npz"
PORTRAITS = ("astronaut.png", "grace_hopper.jpg")

PLUGIN = '''
import os, time
import numpy as np
from streamfer.api import Component
from streamfer.hookspecs import hookimpl

class Brightness:
    """(dark, bright), and what can go wrong."""
    answers = 2
    def __init__(self, options): pass
    def predict(self, crops):
        bright = crops.mean(axis=(1, 2, 3), dtype=float) / 255
        return np.stack([1 - bright, bright, bright], axis=1)[:, :self.answers].astype(np.float32)

class Wrong(Brightness):
    answers = 3

class Slow(Brightness):
    """A millisecond a call, on one core only."""
    def predict(self, crops):
        assert len(os.sched_getaffinity(0)) == 1
        time.sleep(0.001)
        return super().predict(crops)

class Alone(Brightness):
    def predict(self, crops):
        if len(crops) > 1:
            raise ValueError("one face\\nat a time")
        return super().predict(crops)

@hookimpl
def streamfer_components():
    return [
        Component("classifier", one.__name__.lower(), "", f":{one.__name__}", labels=("dark", "bright"))
        for one in (Brightness, Wrong, Slow, Alone)
    ]
'''


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plugin") / "brightness.py"
    file.write_text(PLUGIN)
    return file


@pytest.fixture(scope="module")
def cnn() -> Served:
    """The shipped classifier."""
    return open_classifier("cnn")


@pytest.fixture(scope="module")
def brightness(plugin: Path) -> Served:
    return open_classifier("brightness", plugins=[plugin])


def portraits(rows: int = 60) -> Dataset:
    """Cuts of the two public-domain portraits: a third of them in each split, labels at random."""
    random = np.random.default_rng(5)
    pictures = [cv2.imread(str(ROOT / "tools/portraits" / name), cv2.IMREAD_GRAYSCALE) for name in PORTRAITS]
    images = np.empty((rows, 48, 48, 1), np.uint8)
    for row in range(rows):
        picture = pictures[row % 2]
        assert picture is not None
        side = min(picture.shape) // 2
        top, left = (int(random.integers(0, length - side)) for length in picture.shape)
        part = picture[top : top + side, left : left + side]
        images[row, :, :, 0] = cv2.resize(part, (48, 48), interpolation=cv2.INTER_AREA)
    labels = random.integers(0, len(LABELS), rows).astype(np.uint8)
    return Dataset("portraits", images, labels, (np.arange(rows) % 3).astype(np.uint8), LABELS)


def with_columns(data: Dataset, **columns: Any) -> Dataset:
    return Dataset(**{**vars(data), **columns})


def shades(*grays: int, labels: tuple[int, ...], split: str = PRIVATE) -> Dataset:
    """Plain faces for the classifier that tells dark (0) from bright (1)."""
    images = np.stack([np.full((48, 48, 1), gray, np.uint8) for gray in grays])
    splits = np.full(len(grays), SPLITS.index(split), np.uint8)
    return Dataset("shades", images, np.array(labels, np.uint8), splits, ("dark", "bright"))


def run(served: Served, data: Dataset, split: str = PRIVATE) -> Evaluation:
    return evaluate(served, data, split, resamples=100, timed=False)


def test_it_measures_what_is_served(cnn: Served) -> None:
    data, told = portraits(), list[int]()
    found = evaluate(cnn, data, PRIVATE, resamples=100, timed=False, advance=told.append)
    rows = data.rows(PRIVATE)
    served = cnn.predict(data.images[rows])
    assert np.array_equal(found.probabilities, served)
    assert found.figures["accuracy"]["value"] == pytest.approx(
        (served.argmax(axis=1) == data.labels[rows]).mean(), abs=1e-6
    )
    assert sum(told) == found.figures["n"] == len(rows)
    card = cnn.facts
    assert found.figures["parameters"] == card["parameters"]
    assert found.figures["flops"] == 2 * card["macs"]
    assert found.figures["size_bytes"] == card["size_bytes"]
    assert found.figures["model"]["sha256"] == card["sha256"]
    assert found.figures["data"] == {"name": "portraits", "rows": 60, "sha256": data.sha256}
    assert [note for note in found.figures["notes"] if "trained on other data" in note]


def test_rows_that_stand_in_training_are_left_out_of_the_second_convention(brightness: Served) -> None:
    """Two dark faces are answered right; the bright one, wrong, stands in Training too."""
    private = shades(10, 20, 240, labels=(0, 0, 0))
    training = shades(240, 99, labels=(0, 0), split=TRAINING)
    both = with_columns(
        private,
        **{
            name: np.concatenate([getattr(private, name), getattr(training, name)])
            for name in ("images", "labels", "split")
        },
    )
    figures = run(brightness, both).figures
    assert (figures["n"], figures["accuracy"]["value"]) == (3, pytest.approx(2 / 3, abs=1e-6))
    assert figures["without_duplicates"]["n"] == 2
    assert figures["accuracy_without_duplicates"] == figures["without_duplicates"]["accuracy"]
    assert figures["accuracy_without_duplicates"]["value"] == 1


@pytest.mark.parametrize("split", [PRIVATE, TRAINING])
def test_where_duplicates_cannot_be_told_there_is_no_second_figure(brightness: Served, split: str) -> None:
    figures = run(brightness, shades(10, 200, labels=(0, 1), split=split), split).figures
    assert figures["accuracy_without_duplicates"] is figures["without_duplicates"] is None
    assert len(figures["notes"]) == 1


def test_the_order_of_the_datas_labels_does_not_matter(cnn: Served) -> None:
    data = portraits()
    turned = with_columns(data, labels=(6 - data.labels).astype(np.uint8), label_names=LABELS[::-1])
    figures, again = run(cnn, data).figures, run(cnn, turned).figures
    assert again["per_class"] == figures["per_class"]
    assert again["confusion_matrix"] == figures["confusion_matrix"]


def test_an_answer_outside_of_the_datas_labels_is_wrong(cnn: Served) -> None:
    """The probabilities are those that are served: nothing is left out and renormalised."""
    data = portraits()
    four = ("happy", "sad", "surprise", "angry")
    fewer = with_columns(data, labels=(data.labels % 4).astype(np.uint8), label_names=four)
    found = run(cnn, fewer)
    answers = cnn.predict(data.images[data.rows(PRIVATE)]).argmax(axis=1)
    assert {LABELS[answer] for answer in answers} - set(four), "no answer is outside: the test shows nothing"
    truth = [LABELS.index(four[label]) for label in fewer.labels[data.rows(PRIVATE)]]
    assert found.figures["accuracy"]["value"] == pytest.approx((answers == truth).mean(), abs=1e-6)
    assert found.figures["labels"] == list(LABELS)
    assert found.figures["per_class"]["fear"]["auc"]["value"] is None
    assert [note for note in found.figures["notes"] if "no rows for disgust, fear, neutral" in note]


def test_labels_that_the_classifier_lacks_are_one_line(cnn: Served) -> None:
    data = with_columns(portraits(), label_names=(*LABELS[:6], "contempt"))
    with pytest.raises(UsageError, match=r"does not have: contempt .*--classes angry,disgust,fear,happy,sad"):
        run(cnn, data)
    with pytest.raises(
        UsageError, match=r"does not have: dark, bright .*evaluate it on data with its labels"
    ):
        run(cnn, shades(1, labels=(0,)))


def test_an_unknown_and_an_empty_split_are_one_line(brightness: Served) -> None:
    data = shades(10, 200, labels=(0, 1))
    with pytest.raises(UsageError, match="split 'test': expected one of Training, PublicTest, PrivateTest"):
        run(brightness, data, "test")
    with pytest.raises(UsageError, match=r"shades: no rows in PublicTest; .*--split .*PrivateTest 2"):
        run(brightness, data, PUBLIC)


def test_ferplus_counts_the_rows_whose_majority_is_a_label(cnn: Served) -> None:
    data = portraits(15)
    rows = data.rows(PRIVATE)
    answers = [LABELS[answer] for answer in cnn.predict(data.images[rows]).argmax(axis=1)]
    votes = np.zeros((15, 10), np.uint8)
    said = ("contempt", "not-a-face", answers[2], next(one for one in LABELS if one != answers[3]))
    for row, name in zip(rows, said, strict=False):
        votes[row, FERPLUS_NAMES.index(name)] = 6
        votes[row, FERPLUS_NAMES.index("unknown")] += 4
    votes[rows[4], :2] = 5  # as many for neutral as for happy
    ferplus = run(cnn, with_columns(data, votes=votes)).figures["ferplus"]
    assert ferplus["n"] == 2
    assert ferplus["accuracy"]["value"] == 0.5
    assert ferplus["left_out"] == {"contempt": 1, "not-a-face": 1, "tie": 1}
    assert majority(votes[rows[4:]]) == ["tie"]
    assert run(cnn, data).figures["ferplus"] is None


def test_faces_of_the_right_size_are_not_touched() -> None:
    images = portraits(3).images
    assert fitted(images, CropSpec()) is images


def test_other_faces_are_brought_to_the_crop() -> None:
    """Shrinking averages, growing interpolates, gray is spread over three channels and colour weighed."""
    checkers = np.indices((144, 144)).sum(axis=0) % 2 * np.uint8(200)
    assert np.unique(fitted(checkers.astype(np.uint8)[None, :, :, None], CropSpec())).tolist() == [89, 111]
    steps = np.zeros((1, 24, 24, 1), np.uint8)
    steps[:, :, 12:] = 200
    assert set(np.unique(fitted(steps, CropSpec()))) > {0, 200}
    colour = fitted(steps, CropSpec(24, 24, 3))
    assert colour.shape == (1, 24, 24, 3)
    assert (colour == steps).all()
    red = np.zeros((1, 24, 24, 3), np.uint8)
    red[..., 0] = 255
    assert np.unique(fitted(red, CropSpec(24, 24, 1))).tolist() == [76]  # ITU-R BT.601


def test_faces_of_another_size_are_measured_and_noted(brightness: Served) -> None:
    data = shades(10, 200, labels=(0, 1))
    large = with_columns(data, images=np.repeat(data.images.repeat(2, axis=1).repeat(2, axis=2), 3, axis=3))
    figures = run(brightness, large).figures
    assert figures["accuracy"]["value"] == 1
    assert "The faces (96×96 RGB) were brought to the classifier's crop (48×48 gray)." in figures["notes"]


def test_a_classifier_without_a_network_has_no_card(brightness: Served, plugin: Path) -> None:
    figures = run(brightness, shades(10, 200, labels=(0, 1))).figures
    assert figures["accuracy"]["value"] == 1
    assert [figures[key] for key in ("parameters", "flops", "size_bytes", "model")] == [None] * 4
    with pytest.raises(UsageError, match="'brightness' is no network: it takes no --model"):
        open_classifier("brightness", model="card.json", plugins=[plugin])


def test_answers_that_do_not_fit_the_labels_are_one_line(plugin: Path) -> None:
    wrong = open_classifier("wrong", plugins=[plugin])
    with pytest.raises(StartError, match=r"'wrong': \(2, 3\) answers for 2 faces and 2 labels"):
        run(wrong, shades(10, 200, labels=(0, 1)))


def test_the_time_is_per_face_and_of_one_core(plugin: Path) -> None:
    served = open_classifier("slow", plugins=[plugin])
    taken = ms_per_face(served.spec, served.crop)
    for batch in BATCHES:
        figure = taken[f"batch_{batch}"]
        assert 1 / batch <= figure["low"] <= figure["value"] <= figure["high"]
    assert taken["batch_8"]["value"] < taken["batch_1"]["value"]
    assert taken["core_share"] < 1, "it slept, and that is said"


def test_a_classifier_that_fails_while_timed_is_one_line(plugin: Path) -> None:
    served = open_classifier("alone", plugins=[plugin])
    with pytest.raises(StartError, match="'alone' cannot be timed") as failure:
        ms_per_face(served.spec, served.crop)
    assert "\n" not in str(failure.value)


def test_the_shipped_cnn_on_fer2013(cnn: Served) -> None:
    """400 PrivateTest rows: far from chance, and with FER+ and duplicates where the data has them."""
    if not FER2013.is_file():
        pytest.skip(f"FER2013 is not part of the project and not at {FER2013}")
    with np.load(FER2013, allow_pickle=False) as file:
        images, usage = file["images"][..., None], file["usage"]
        rows: NDArray[np.intp] = np.concatenate(
            [np.flatnonzero(usage == 0), np.flatnonzero(usage == 2)[:400]]
        )
        data = Dataset(
            "fer2013",
            images[rows],
            file["labels"][rows],
            usage[rows],
            LABELS,
            votes=file["ferplus_votes"][rows],
        )
    figures = run(cnn, data).figures
    assert figures["n"] == 400
    assert figures["accuracy"]["low"] > 0.5
    assert figures["auc"]["low"] > 0.8
    assert figures["ece"]["value"] < 0.15
    assert 300 < figures["without_duplicates"]["n"] < 400
    assert figures["ferplus"]["accuracy"]["low"] > 0.5
