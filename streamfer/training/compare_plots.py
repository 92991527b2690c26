"""The plots of a comparison, each as a PNG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from streamfer.training.metrics import Scalar
from streamfer.training.report_plots import COLOURS, PERCENT, plain, png

_MARKS = "osD^vPX*"
_NAME_SIZE = 9.5
_SIDES = ((1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1))
"""Right or left, above or below: where a name may stand beside its mark."""

_OFFSETS = (9, 18, 28, 40, 54, 70, 90)
"""How far, in points, a name may stand from its mark; the nearest free place is taken."""


class Point(NamedTuple):
    """A classifier in a plot: its name, its cost, its accuracy, and published accuracies (0..1)."""

    name: str
    cost: float
    accuracy: Scalar
    published: tuple[float, ...] = ()


def against_time(figures: Mapping[str, Any]) -> bytes | None:
    """Accuracy against milliseconds per face; None where nothing was timed."""
    found = [
        Point(
            one["title"],
            one["ms_per_face"]["batch_1"]["value"],
            one["accuracy"],
            tuple(other["accuracy"] for other in one["published"] if other["same"]),
        )
        for one in figures["classifiers"]
        if one["ms_per_face"]
    ]
    return against_cost(found, "milliseconds per face, one at a time, on one core") if found else None


def against_size(figures: Mapping[str, Any]) -> bytes | None:
    """Accuracy against the bytes of the model's file; None where there are no files."""
    found = [
        Point(one["title"], one["size_bytes"] / 1e6, one["accuracy"])
        for one in figures["classifiers"]
        if one["size_bytes"]
    ]
    return against_cost(found, "size of the model's file in MB") if found else None


def against_cost(found: Sequence[Point], cost: str) -> bytes:
    """Accuracy against a cost on a logarithmic scale, with intervals, names and hollow published marks."""
    return png(cost_figure(found, cost)[0])


def cost_figure(found: Sequence[Point], cost: str) -> tuple[Figure, list[Bbox], list[Bbox]]:
    """The figure, and in its pixels the boxes of the names and of the marks with their error bars."""
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for index, point in enumerate(found):
        value, low, high = (float(point.accuracy[key] or 0) for key in ("value", "low", "high"))
        style: dict[str, Any] = {
            "color": COLOURS[index % len(COLOURS)],
            "marker": _MARKS[index % len(_MARKS)],
        }
        axes.errorbar(
            point.cost,
            value,
            yerr=[[max(value - low, 0)], [max(high - value, 0)]],
            capsize=3,
            markersize=7,
            **style,
        )
        for published in point.published:
            axes.plot(point.cost, published, markersize=8, fillstyle="none", linestyle="none", **style)
    if any(point.published for point in found):
        axes.plot((), (), "o", color="#777777", fillstyle="none", label="published")
        axes.plot((), (), "o", color="#777777", label="measured")
    costs = [point.cost for point in found]
    axes.set_xscale("log")
    axes.set_xlim(min(costs) / 2, max(costs) * 2)
    axes.margins(y=0.18)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PERCENT())
    axes.set_xlabel(cost)
    axes.set_ylabel("accuracy")
    plain(axes)
    if any(point.published for point in found):
        axes.legend(frameon=True, framealpha=1, fontsize=8)
    figure.canvas.draw()
    figure.set_layout_engine("none")  # what was measured stays where it is
    marks = [box for point in found for box in _marks(axes, point)]
    return figure, _name(axes, found, marks), marks


def _marks(axes: Axes, point: Point) -> list[Bbox]:
    """What a name must not cover, in pixels."""
    value, low, high = (float(point.accuracy[key] or 0) for key in ("value", "low", "high"))
    spans = [(low, high), (value, value), *((one, one) for one in point.published)]
    pad = 5 * axes.figure.dpi / 72
    found = []
    for bottom, top in spans:
        (left, lower), (right, upper) = axes.transData.transform([(point.cost, bottom), (point.cost, top)])
        found.append(Bbox.from_extents(left - pad, lower - pad, right + pad, upper + pad))
    return found


def _name(axes: Axes, found: Sequence[Point], marks: Sequence[Bbox]) -> list[Bbox]:
    """Write each name at the nearest free place around its mark; returns their boxes in pixels."""
    legend, area = axes.get_legend(), axes.get_window_extent()
    taken = [*marks, *([legend.get_window_extent()] if legend else [])]
    names: list[Bbox] = []
    for index, point in enumerate(found):
        ink = COLOURS[index % len(COLOURS)]
        anchor = point.cost, float(point.accuracy["value"] or 0)
        places = list(_places(axes, point.name, anchor))
        costs = [
            sum(_shared(place.box, other) for other in (*taken, *names)) + _outside(place.box, area)
            for place in places
        ]
        chosen = places[int(np.argmin(costs))]  # the first of the free ones is the nearest
        axes.annotate(
            point.name,
            anchor,
            chosen.offset,
            textcoords="offset points",
            ha=chosen.ha,
            va=chosen.va,
            color=ink,
            fontsize=_NAME_SIZE,
            arrowprops={"arrowstyle": "-", "color": ink, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 5}
            if chosen.distance > _OFFSETS[0]
            else None,
        )
        names.append(chosen.box)
    return names


class _Place(NamedTuple):
    """Where a name may stand: its offset in points and alignment, and the box in pixels that it takes."""

    distance: float
    offset: tuple[float, float]
    ha: str
    va: str
    box: Bbox


def _places(axes: Axes, name: str, anchor: tuple[float, float]) -> Iterator[_Place]:
    """The places around a mark, nearest first."""
    probe = axes.text(0.5, 0.5, name, transform=axes.transAxes, fontsize=_NAME_SIZE)
    extent = probe.get_window_extent()
    probe.remove()
    x, y = axes.transData.transform(anchor)
    point = axes.figure.dpi / 72
    for distance, (right, up) in product(_OFFSETS, _SIDES):
        offset = right * distance, up * distance
        left = x + offset[0] * point - extent.width * (1 - right) / 2
        lower = y + offset[1] * point - extent.height * (1 - up) / 2
        yield _Place(
            distance,
            offset,
            ("right", "center", "left")[right + 1],
            ("top", "center", "bottom")[up + 1],
            Bbox.from_bounds(left, lower, extent.width, extent.height),
        )


def _shared(one: Bbox, other: Bbox) -> float:
    """The area that two boxes share, in square pixels."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(max(width, 0) * max(height, 0))


def _outside(box: Bbox, area: Bbox) -> float:
    return float(box.width * box.height) - _shared(box, area)


def each_class(figures: Mapping[str, Any], kind: str) -> bytes:
    """A figure ("recall", "f1") of each class: a row for each class, a mark with its interval for each
    classifier."""
    shown, labels = figures["classifiers"], figures["labels"]
    step = 0.8 / len(shown)
    figure = Figure(figsize=(7.2, 1.4 + len(labels) * (0.3 + 0.17 * len(shown))), layout="constrained")
    axes = figure.subplots()
    for index, one in enumerate(shown):
        for row, label in enumerate(labels):
            value, low, high = (one["per_class"][label][kind][key] for key in ("value", "low", "high"))
            if value is None:
                continue
            axes.errorbar(
                value,
                row + (index - (len(shown) - 1) / 2) * step,
                xerr=[[max(value - low, 0)], [max(high - value, 0)]],
                color=COLOURS[index % len(COLOURS)],
                marker=_MARKS[index % len(_MARKS)],
                markersize=5,
                capsize=2,
                linestyle="none",
                label=one["title"] if one["title"] not in axes.get_legend_handles_labels()[1] else None,
            )
    for row in range(len(labels) - 1):
        axes.axhline(row + 0.5, color="#bbbbbb", linewidth=0.8)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(PERCENT())
    axes.set_xlabel("F1" if kind == "f1" else kind)
    plain(axes)
    axes.grid(visible=False, axis="y")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False, fontsize=9
    )
    return png(figure)
