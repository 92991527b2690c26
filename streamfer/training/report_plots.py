"""The plots of an evaluation's report, each as a PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from streamfer.training.metrics import BINS, Scalar, calibration_bins, text

_DOTS = 150
"""Dots per inch: sharp on a screen of high resolution, and small enough to be mailed."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
"""Colours that colour-blind people tell apart (Okabe & Ito 2008)."""

_BLUE, _ORANGE, _GRAY = COLOURS[0], COLOURS[1], "#777777"
_LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), "-")
PERCENT = partial(PercentFormatter, 1, decimals=0, symbol=" %")
"""Makes the labels of an axis of shares."""

_FEW = 10
"""A bin of confidence with fewer rows says little; its bar is drawn pale."""


def curves(history: Sequence[Mapping[str, Any]]) -> bytes:
    """Loss and accuracies over the epochs, for a card's history."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    names = [name for name in history[0] if name not in ("epoch", "seconds", "learning_rate")]
    for name in names:
        axes = losses if "loss" in name else accuracies
        style = len(axes.lines)
        values = [row.get(name, np.nan) for row in history]
        shown = "Training" if name in ("loss", "accuracy") else name.replace("_", " ")
        axes.plot(
            [row["epoch"] for row in history],
            values,
            color=COLOURS[style % len(COLOURS)],
            linestyle=_LINES[style % len(_LINES)],
            label=shown,
        )
    for axes, title in ((losses, "Loss"), (accuracies, "Accuracy")):
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        plain(axes)
        if axes.lines:
            axes.legend(frameon=False)
    accuracies.yaxis.set_major_formatter(PERCENT())
    return png(figure)


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> bytes:
    """The confusion matrix: in each cell the share of its row, which is its colour too, and the count."""
    counts = np.asarray(matrix, np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    side = 2.2 + 0.8 * len(labels)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        ink = "white" if shares[row, column] > 0.55 else "#222222"
        share = f"{shares[row, column] * 100:.0f} %" if totals[row, 0] else "–"
        axes.text(column, row - 0.13, share, ha="center", va="center", color=ink, fontsize=11)
        axes.text(
            column, row + 0.24, f"{counts[row, column]:,.0f}", ha="center", va="center", color=ink, fontsize=8
        )
    axes.set_xticks(range(len(labels)), labels, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(
        range(len(labels)), [f"{label} ({n:,.0f})" for label, n in zip(labels, totals[:, 0], strict=True)]
    )
    axes.set_xlabel("answer")
    axes.set_ylabel("label of the data (rows)")
    axes.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(picture, ax=axes, fraction=0.04, pad=0.02, format=PERCENT())
    bar.set_label("share of the row")
    bar.outline.set_visible(False)
    return png(figure)


def roc(
    probabilities: NDArray[np.floating[Any]],
    truth: NDArray[np.intp],
    labels: Sequence[str],
    areas: Mapping[str, Scalar],
) -> bytes:
    """A curve for each class against the rest; `areas` are their AUC; classes without one are left out."""
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color=_GRAY, linewidth=0.8, linestyle=":", label="chance  0.500")
    for index, label in enumerate(labels):
        if areas[label]["value"] is None:
            continue
        wrong, right, _ = roc_curve(truth == index, probabilities[:, index])
        axes.plot(
            wrong,
            right,
            color=COLOURS[index % len(COLOURS)],
            linestyle=_LINES[index % len(_LINES)],
            linewidth=1.6,
            label=f"{label}  {text(areas[label], percent=False)}",
        )
    axes.set_xlabel("false positive rate: share of the other rows taken for the class")
    axes.set_ylabel("true positive rate: share of the class found")
    axes.set_aspect("equal")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    plain(axes)
    axes.legend(loc="lower right", title="AUC (95 % interval)", alignment="left", framealpha=1)
    return png(figure)


def reliability(probabilities: NDArray[np.floating[Any]], truth: NDArray[np.intp], error: Scalar) -> bytes:
    """How often the answers of each confidence are right, and how many there are; `error` is the ECE."""
    bins = calibration_bins(probabilities, truth)
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    centres, width = (np.arange(BINS) + 0.5) / BINS, 0.94 / BINS
    for centre, (count, confidence, accuracy) in zip(centres, bins, strict=True):
        if count:
            pale = 0.3 if count < _FEW else 1.0
            upper.bar(centre, accuracy, width, color=_BLUE, alpha=pale)
            upper.plot(
                (centre - width / 2, centre + width / 2), (confidence, confidence), color=_ORANGE, linewidth=2
            )
    upper.plot((0, 1), (0, 1), color=_GRAY, linewidth=0.8, linestyle=":")
    upper.bar(0, 0, 0, color=_BLUE, label="accuracy of the bin")
    upper.plot((), (), color=_ORANGE, linewidth=2, label="its mean confidence")
    right, confident = probabilities.argmax(axis=1) == truth, probabilities.max(axis=1)
    upper.set_title(
        f"accuracy {right.mean() * 100:.1f} %, mean confidence {confident.mean() * 100:.1f} %, "
        f"ECE {text(error)}",
        fontsize=10,
    )
    upper.set_ylabel("accuracy")
    upper.set_ylim(0, 1)
    upper.legend(framealpha=1, loc="upper left")
    lower.bar(centres, [count / len(truth) for count, _, _ in bins], width, color=_GRAY)
    lower.set_ylabel("share of rows")
    lower.set_xlabel("confidence: probability of the answer")
    lower.set_xlim(0, 1)
    for axes in (upper, lower):
        axes.yaxis.set_major_formatter(PERCENT())
        axes.xaxis.set_major_formatter(PERCENT())
        plain(axes)
    return png(figure)


def plain(axes: Axes) -> None:
    """No frame, a pale grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def png(figure: Figure) -> bytes:
    """The figure as a file."""
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DOTS, facecolor="white", bbox_inches="tight")
    return file.getvalue()
