"""The figures of an evaluation against scikit-learn's, and their intervals against a plain loop."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer.training.metrics import BINS, Scalar, calibration_bins, measure, text

NAMES = ("angry", "disgust", "happy", "neutral")
KINDS = ("precision", "recall", "f1")

Answers = tuple[NDArray[np.float32], NDArray[np.uint8]]


def answers(rows: int, seed: int = 3) -> Answers:
    """Probabilities as a network gives them, with many ties and one rare class, and labels."""
    random = np.random.default_rng(seed)
    truth = random.choice(4, rows, p=(0.3, 0.01, 0.4, 0.29)).astype(np.uint8)
    logits = random.normal(size=(rows, 4)) * 2
    logits[np.arange(rows), truth] += 2
    powers = np.exp(logits)
    return (powers / powers.sum(axis=1, keepdims=True)).round(2).astype(np.float32), truth


def by_scikit_learn(probabilities: NDArray[Any], truth: NDArray[Any]) -> dict[tuple[str, str], float]:
    """The same figures of the classes that are there, one by one."""
    from sklearn import metrics

    there = np.unique(truth)
    found = probabilities.argmax(axis=1)
    figures: dict[tuple[str, str], float] = {("", "accuracy"): metrics.accuracy_score(truth, found)}
    for mean in ("macro", "weighted"):
        values = metrics.precision_recall_fscore_support(
            truth, found, labels=there, average=mean, zero_division=0
        )
        figures |= {(mean, kind): value for kind, value in zip(KINDS, values[:3], strict=True)}
    each = metrics.precision_recall_fscore_support(truth, found, labels=there, zero_division=0)
    areas = []
    for place, label in enumerate(there):
        areas.append(metrics.roc_auc_score(truth == label, probabilities[:, label]))
        figures |= {(NAMES[label], kind): each[k][place] for k, kind in enumerate(KINDS)}
        figures[NAMES[label], "auc"] = areas[-1]
    figures["", "auc"] = float(np.mean(areas))
    confidence, right = probabilities.max(axis=1).astype(float), found == truth
    error = 0.0
    for number in range(1, BINS + 1):  # Guo et al. 2017, equations 2 and 3
        inside = (confidence > (number - 1) / BINS) & (confidence <= number / BINS)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    figures["", "ece"] = error
    return figures


def flat(measured: dict[str, Any]) -> dict[tuple[str, str], dict[str, float]]:
    """What `measure` gave, by the same keys."""
    figures = {("", kind): measured[kind] for kind in ("accuracy", "auc", "ece")}
    for mean in ("macro", "weighted"):
        figures |= {(mean, kind): measured[mean][kind] for kind in KINDS}
    for name, one in measured["per_class"].items():
        figures |= {(name, kind): one[kind] for kind in (*KINDS, "auc")}
    return figures


def test_every_figure_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import confusion_matrix

    probabilities, truth = answers(2000)
    measured = measure(probabilities, truth, NAMES, resamples=2)
    wanted = by_scikit_learn(probabilities, truth)
    found = {key: figure["value"] for key, figure in flat(measured).items()}
    assert found == pytest.approx(wanted, abs=1e-6)
    matrix = confusion_matrix(truth, probabilities.argmax(axis=1), labels=range(4))
    assert measured["confusion_matrix"] == matrix.tolist()
    assert measured["n"] == 2000
    assert [one["support"] for one in measured["per_class"].values()] == np.bincount(truth).tolist()


def test_intervals_are_those_of_a_plain_loop_over_the_resamples() -> None:
    """Enough rows for the resamples to be worked on in two blocks, and few enough of `disgust` for resamples
    without it."""
    rows, resamples = 4000, 120
    probabilities, truth = answers(rows)
    rare = np.flatnonzero(truth == 1)
    truth[rare[2:]] = 0
    random = np.random.default_rng(7)
    drawn: dict[tuple[str, str], list[float]] = {}
    for _ in range(resamples):
        draw = random.integers(rows, size=rows)
        for key, value in by_scikit_learn(probabilities[draw], truth[draw]).items():
            drawn.setdefault(key, []).append(value)
    assert len(drawn["disgust", "f1"]) < resamples, "the rare class is missing from no resample"
    for key, figure in flat(measure(probabilities, truth, NAMES, resamples=resamples, seed=7)).items():
        low, high = np.percentile(drawn[key], (2.5, 97.5))
        assert (figure["low"], figure["high"]) == pytest.approx((low, high), abs=1e-6), key


def test_the_seed_decides_the_intervals() -> None:
    probabilities, truth = answers(300)
    first, again, other = (
        measure(probabilities, truth, NAMES, resamples=50, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first["accuracy"]["value"] == other["accuracy"]["value"]
    assert first != other


def test_a_class_without_rows_has_no_figures_and_is_in_no_mean() -> None:
    probabilities, truth = answers(500)
    truth[truth == 1] = 0
    measured = measure(probabilities, truth, NAMES, resamples=20)
    absent = measured["per_class"]["disgust"]
    none = {"value": None, "low": None, "high": None}
    assert absent == {"support": 0, "precision": none, "recall": none, "f1": none, "auc": none}
    assert (probabilities.argmax(axis=1) == 1).any(), "wrong answers of that class are part of the test"
    found = {key: figure["value"] for key, figure in flat(measured).items() if key[0] != "disgust"}
    assert found == pytest.approx(by_scikit_learn(probabilities, truth), abs=1e-6)
    json.dumps(measured, allow_nan=False)


def test_a_class_that_is_never_answered_has_precision_0() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    measured = measure(probabilities, np.array([0, 1, 0]), ("calm", "tense"), resamples=20)
    assert measured["per_class"]["tense"]["precision"]["value"] == 0
    assert measured["macro"]["precision"]["value"] == pytest.approx(1 / 3, abs=1e-6)


def test_rows_of_one_class_have_no_auc() -> None:
    measured = measure(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]), ("calm", "tense"), resamples=20)
    assert measured["auc"] == {"value": None, "low": None, "high": None}
    assert measured["accuracy"]["value"] == 0.5


def test_bins_of_confidence_are_closed_above() -> None:
    """Bin m is ((m - 1)/15, m/15]: 0.6 is the last of the ninth."""
    bins = calibration_bins(np.array([[0.6, 0.4], [0.61, 0.39], [0.0, 1.0]]), np.array([0, 1, 1]))
    assert [(number, count) for number, (count, *_) in enumerate(bins) if count] == [(8, 1), (9, 1), (14, 1)]
    assert bins[9][1:] == pytest.approx((0.61, 0.0))


@pytest.mark.parametrize("shape", [(3, 4), (2, 3), (0, 4)])
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        measure(np.full(shape, 0.25), np.zeros(2 if shape[0] else 0, np.uint8), NAMES)


def test_a_figure_in_words() -> None:
    figure: Scalar = {"value": 0.67655, "low": 0.661, "high": 0.692}
    assert text(figure) == "67.7 % (66.1 to 69.2)"
    assert text(figure, percent=False) == "0.677 (0.661 to 0.692)"
    assert text(figure, interval=False) == "67.7 %"
    assert text({"value": None, "low": None, "high": None}) == "–"
