"""Figures of a classifier on labelled rows, each with its bootstrap interval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Equal bins of confidence for the expected calibration error, as in Guo et al. 2017."""

COVERAGE = (2.5, 97.5)
"""Percentiles of the resampled figures between which a 95 % interval lies."""

DIGITS = 6

_BLOCK = 400_000
"""Rows times resamples that are worked on at once: a few MB, which stay in a processor's cache."""

Scalar = dict[str, float | None]
"""{"value", "low", "high"}: a figure and its 95 % interval; None where it is not defined."""

Key = tuple[str | int, ...]
"""Names a figure: ("accuracy",), ("macro", "f1"), ("f1", 3) for the class with index 3."""

_Floats = NDArray[np.float64]


class Resampled(NamedTuple):
    """A figure on all rows, and on each of the resamples (r,); nan where it is not defined."""

    value: float
    drawn: _Floats

    def scalar(self) -> Scalar:
        """The figure with its percentile interval; resamples where it is not defined are left out."""
        return _scalar(self.value, self.drawn)

    def minus(self, other: Resampled) -> Scalar:
        """The difference to the same figure of another classifier, from the same rows and the same seed.

        Its interval is paired: each resample drew the same rows for both.
        """
        return _scalar(self.value - other.value, self.drawn - other.drawn)


def measure(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    names: tuple[str, ...],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """All figures for probabilities (n, k) against labels (n,), indices into the k `names`; JSON values.

    Keys: n; accuracy; auc (one against the rest, mean of the classes); ece (expected calibration error over
    `BINS` equal bins, Guo et al. 2017); macro and weighted (precision, recall, f1: the mean of the classes,
    plain or by support); per_class (name → support, precision, recall, f1, auc); confusion_matrix (counts,
    a row for each true class). Every figure is a `Scalar`: its interval is the percentile bootstrap over
    rows (Efron 1979), of `resamples` draws with replacement, the same for the same `seed`.

    The answer to a row is its most probable class, the first of several. A class that is never answered has
    precision 0. A class that no row is labelled with has no figures (None), and the means are over the
    others; answers of that class are wrong answers. In a resample, the same holds for the classes absent
    from it. AUC needs rows of two classes. ValueError for no rows and for shapes that do not fit.
    """
    figures = resampled(probabilities, labels, len(names), resamples=resamples, seed=seed)
    truth = np.asarray(labels, np.intp)

    def scalar(*key: str | int) -> Scalar:
        return figures[key].scalar()

    return {
        "n": len(truth),
        "accuracy": scalar("accuracy"),
        "auc": scalar("auc"),
        "ece": scalar("ece"),
        **{
            mean: {kind: scalar(mean, kind) for kind in ("precision", "recall", "f1")}
            for mean in ("macro", "weighted")
        },
        "per_class": {
            name: {
                "support": int((truth == index).sum()),
                **{kind: scalar(kind, index) for kind in ("precision", "recall", "f1", "auc")},
            }
            for index, name in enumerate(names)
        },
        "confusion_matrix": _confusion_matrix(truth, probabilities).tolist(),
    }


def resampled(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: int,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[Key, Resampled]:
    """The figures that `measure` describes for probabilities (n, classes), with what the resamples gave.

    Resample by resample, the same rows are drawn for the same n, `resamples` and `seed`.
    """
    scores, truth = np.asarray(probabilities, np.float64), np.asarray(labels, np.intp)
    if scores.ndim != 2 or scores.shape != (len(truth), classes) or not len(truth):
        raise ValueError(f"probabilities {scores.shape} for {truth.shape} labels and {classes} names")
    figures = _Figures(scores, truth)
    exact = figures(np.ones((len(truth), 1)))
    draws = [figures(weights) for weights in _resamples(len(truth), resamples, seed)]
    return {
        key: Resampled(float(value[0]), np.concatenate([draw[key] for draw in draws]))
        for key, value in exact.items()
    }


def calibration_bins(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]
) -> list[tuple[int, float, float]]:
    """For each of the `BINS` bins of confidence: its rows, their mean confidence and their accuracy.

    Bin m holds the confidences in ((m - 1) / BINS, m / BINS]; an empty one gives (0, nan, nan).
    """
    confidence, right, place = _calibration(np.asarray(probabilities, np.float64), labels)
    found = []
    for number in range(BINS):
        inside = place == number
        count = int(inside.sum())
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if count else (np.nan, np.nan)
        found.append((count, *means))
    return found


def text(figure: Scalar, *, percent: bool = True, interval: bool = True) -> str:
    """A figure for people: "67.7 % (66.1 to 69.2)", "0.912 (0.905 to 0.918)"; "–" where there is none."""
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None:
        return "–"
    scale, digits, unit = (100, 1, " %") if percent else (1, 3, "")
    shown = f"{value * scale:.{digits}f}{unit}"
    if interval and low is not None and high is not None:
        shown += f" ({low * scale:.{digits}f} to {high * scale:.{digits}f})"
    return shown


def points(difference: Scalar) -> str:
    """A difference of shares for people, in percentage points: "+1.2 (−0.3 to +2.7)"; "–" for none."""
    value, low, high = (difference[key] for key in ("value", "low", "high"))
    if value is None:
        return "–"
    shown = _signed(value)
    if low is not None and high is not None:
        shown += f" ({_signed(low)} to {_signed(high)})"
    return shown


def excludes_zero(difference: Scalar) -> bool:
    """Whether the whole interval lies on one side of zero; False where there is none."""
    low, high = difference["low"], difference["high"]
    return low is not None and high is not None and (low > 0 or high < 0)


def _signed(share: float) -> str:
    shown = f"{share * 100:+.1f}"
    return "0.0" if shown in ("+0.0", "-0.0") else shown.replace("-", "−")


def _confusion_matrix(truth: NDArray[np.intp], probabilities: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    classes = probabilities.shape[1]
    cells = truth * classes + np.asarray(probabilities).argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def _resamples(rows: int, resamples: int, seed: int) -> Iterator[_Floats]:
    """How often each row was drawn, (rows, up to so many resamples as fit in a block)."""
    random = np.random.default_rng(seed)
    size = max(_BLOCK // rows, 1)
    for first in range(0, resamples, size):
        counts = [
            np.bincount(random.integers(rows, size=rows), minlength=rows)
            for _ in range(first, min(first + size, resamples))
        ]
        yield np.stack(counts, axis=1).astype(np.float64)


def _scalar(value: float, drawn: _Floats) -> Scalar:
    drawn = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(drawn):
        return {"value": None, "low": None, "high": None}
    low, high = np.percentile(drawn, COVERAGE)
    return {
        "value": round(float(value), DIGITS),
        "low": round(float(low), DIGITS),
        "high": round(float(high), DIGITS),
    }


def _calibration(
    scores: _Floats, truth: NDArray[np.integer[Any]]
) -> tuple[_Floats, NDArray[np.bool_], NDArray[np.intp]]:
    """Of each row: its confidence, whether the answer is right, and the number of its bin."""
    confidence = scores.max(axis=1)
    edges = np.arange(1, BINS) / BINS
    return confidence, scores.argmax(axis=1) == truth, np.searchsorted(edges, confidence, side="left")


class _Ranking(NamedTuple):
    """One class's scores in rising order, prepared for the area under its ROC curve.

    `order` sorts the rows; at `places` of that order stand the rows of the class; `ahead` and `upto` are how
    many rows score less than each of these, and how many at most the same.
    """

    order: NDArray[np.intp]
    others: NDArray[np.bool_]
    places: NDArray[np.intp]
    ahead: NDArray[np.intp]
    upto: NDArray[np.intp]

    @classmethod
    def of(cls, scores: _Floats, positive: NDArray[np.bool_]) -> _Ranking:
        order = np.argsort(scores, kind="stable")
        rising, places = scores[order], np.flatnonzero(positive[order])
        ahead, upto = (np.searchsorted(rising, rising[places], side) for side in ("left", "right"))
        return cls(order, ~positive[order], places, ahead, upto)

    def auc(self, weights: _Floats) -> _Floats:
        """The share of pairs (row of the class, other row) in the right order, a tie being half (Hanley,
        McNeil 1982): (r,) for weights (n, r)."""
        rising = weights[self.order]
        below = np.zeros((len(rising) + 1, rising.shape[1]))
        np.cumsum(rising * self.others[:, None], axis=0, out=below[1:])
        positives = rising[self.places]
        won = (positives * (below[self.ahead] + below[self.upto])).sum(axis=0) / 2
        found: _Floats = won / (positives.sum(axis=0) * below[-1])
        return found


class _Figures:
    """All figures of one set of rows under many weightings at once.

    Weights (n, r) say how often each row counts in each of r resamples; a figure is then (r,), nan where it
    is not defined.
    """

    def __init__(self, scores: _Floats, truth: NDArray[np.intp]) -> None:
        self._rows, self._classes = scores.shape
        cell = truth * self._classes + scores.argmax(axis=1)
        self._cells = np.eye(self._classes**2)[cell]
        confidence, right, place = _calibration(scores, truth)
        self._gaps = np.eye(BINS)[place] * (right - confidence)[:, None]
        self._rankings = [_Ranking.of(scores[:, one], truth == one) for one in range(self._classes)]

    def __call__(self, weights: _Floats) -> dict[Key, _Floats]:
        # Counts (k, k, r), the true class first.
        confusion = (self._cells.T @ weights).reshape(self._classes, self._classes, -1)
        hits = np.einsum("iir->ir", confusion)
        support, answered = confusion.sum(axis=1), confusion.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            kinds = {
                "precision": np.where(support > 0, hits / np.maximum(answered, 1), np.nan),
                "recall": hits / support,
                "f1": np.where(support > 0, 2 * hits / (support + answered), np.nan),
                "auc": np.stack([ranking.auc(weights) for ranking in self._rankings]),
            }
            figures: dict[Key, _Floats] = {
                ("accuracy",): hits.sum(axis=0) / self._rows,
                ("ece",): np.abs(self._gaps.T @ weights).sum(axis=0) / self._rows,
                ("auc",): np.nansum(kinds["auc"], axis=0) / (~np.isnan(kinds["auc"])).sum(axis=0),
            }
        for kind, values in kinds.items():
            figures |= {(kind, index): row for index, row in enumerate(values)}
            if kind != "auc":
                figures["macro", kind] = np.nanmean(values, axis=0)
                figures["weighted", kind] = np.nansum(values * support, axis=0) / self._rows
        return figures
