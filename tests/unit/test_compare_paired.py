"""The tests behind a comparison, against examples worked by hand and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer.training.metrics import excludes_zero, points, resampled
from streamfer.training.paired import holm, mcnemar


def right(pairs: list[tuple[int, int, int]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The rows of two classifiers, from (first right, second right, how often)."""
    rows = [(bool(first), bool(second)) for first, second, times in pairs for _ in range(times)]
    first, second = np.array(rows, np.bool_).T
    return first, second


def test_mcnemar_is_the_example_worked_by_hand() -> None:
    """Ten discordant rows, nine to one: P = 2 (C(10,0) + C(10,1)) / 2^10 = 22 / 1024. No other row counts."""
    found = mcnemar(*right([(1, 1, 50), (0, 0, 7), (1, 0, 9), (0, 1, 1)]))
    assert (found.only_first, found.only_second) == (9, 1)
    assert found.p == pytest.approx(22 / 1024, rel=1e-12)
    mirrored = mcnemar(*right([(1, 0, 1), (0, 1, 9)]))
    assert (mirrored.only_first, mirrored.only_second) == (1, 9)
    assert mirrored.p == pytest.approx(22 / 1024)


@pytest.mark.parametrize("pairs", [[(1, 1, 5), (0, 0, 5)], [(1, 0, 4), (0, 1, 4)]])
def test_no_difference_has_p_1(pairs: list[tuple[int, int, int]]) -> None:
    assert mcnemar(*right(pairs)).p == 1.0


def test_holm_is_the_example_worked_by_hand() -> None:
    """In rising order 0.005·4, 0.01·3, 0.03·2, 0.04·1, and no value below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_paired_interval_is_that_of_a_plain_loop() -> None:
    """Each resample draws rows, and takes both figures of these same rows."""
    from sklearn.metrics import accuracy_score, f1_score

    random = np.random.default_rng(8)
    rows, resamples = 120, 60
    truth = random.integers(0, 3, rows)
    both = [random.dirichlet(np.ones(3), rows) + 0.3 * np.eye(3)[truth] for _ in range(2)]
    first, second = (resampled(one, truth, 3, resamples=resamples, seed=4) for one in both)
    answers = [one.argmax(axis=1) for one in both]
    draws = np.random.default_rng(4)
    plain: dict[tuple[str | int, ...], list[float]] = {("accuracy",): [], ("f1", 1): []}
    for _ in range(resamples):
        drawn = draws.integers(rows, size=rows)
        scores = [accuracy_score(truth[drawn], one[drawn]) for one in answers]
        plain["accuracy",].append(scores[0] - scores[1])
        scores = [f1_score(truth[drawn] == 1, one[drawn] == 1) for one in answers]
        plain["f1", 1].append(scores[0] - scores[1])
    for key, differences in plain.items():
        low, high = np.percentile(differences, (2.5, 97.5))
        found = first[key].minus(second[key])
        assert found["value"] == pytest.approx(first[key].value - second[key].value, abs=1e-6)
        assert [found["low"], found["high"]] == pytest.approx([low, high], abs=1e-6)


def test_a_classifier_differs_from_itself_by_nothing() -> None:
    random = np.random.default_rng(1)
    truth, scores = random.integers(0, 3, 50), random.dirichlet(np.ones(3), 50)
    one = resampled(scores, truth, 3, resamples=50)
    for figure in one.values():
        assert figure.minus(figure) == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_points_are_read_by_people() -> None:
    assert points({"value": 0.0123, "low": -0.004, "high": 0.0271}) == "+1.2 (−0.4 to +2.7)"
    assert points({"value": -0.0001, "low": -0.0002, "high": 0.0}) == "0.0 (0.0 to 0.0)"
    assert points({"value": None, "low": None, "high": None}) == "–"
    assert excludes_zero({"value": 0.1, "low": 0.01, "high": 0.2})
    assert excludes_zero({"value": -0.1, "low": -0.2, "high": -0.01})
    assert not excludes_zero({"value": 0.1, "low": 0.0, "high": 0.2})
    assert not excludes_zero({"value": None, "low": None, "high": None})
