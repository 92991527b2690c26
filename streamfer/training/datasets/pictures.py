"""The pictures of an import's report, each as a PNG: class distribution, contact sheet, single faces."""

from __future__ import annotations

import io

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from streamfer.training.dataset import SPLITS, Dataset

_DOTS = 150
"""Dots per inch: sharp on a screen of high resolution, and small enough to be mailed."""
_COLOURS = ("#0072B2", "#E69F00", "#009E73")
"""Of the splits; colour-blind people tell them apart (Okabe & Ito 2008)."""
_COLUMNS = 14
"""Examples of each class in the contact sheet."""
_CELL = 64
"""Their side, in pixels."""
_GAP = 4


def counts(data: Dataset) -> NDArray[np.intp]:
    """The rows of each split (down) and class (across), (3, classes)."""
    table = np.zeros((len(SPLITS), len(data.label_names)), np.intp)
    np.add.at(table, (data.split, data.labels), 1)
    return table


def distribution(data: Dataset) -> bytes:
    """Bars: how many rows each class has in each split."""
    table = counts(data)
    shown = [split for split in range(len(SPLITS)) if table[split].any()]
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots()
    width = 0.84 / len(shown)
    places = np.arange(table.shape[1])
    for number, split in enumerate(shown):
        bars = axes.bar(
            places + (number - (len(shown) - 1) / 2) * width,
            table[split],
            width * 0.94,
            color=_COLOURS[split],
            label=SPLITS[split],
        )
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=6.5, padding=1.5)
    axes.set_xticks(places, data.label_names)
    axes.set_ylabel("rows")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    axes.legend(frameon=False)
    return _png(figure)


def contact_sheet(data: Dataset, seed: int = 0) -> bytes:
    """A row of examples for every class that has any, drawn at random."""
    rng = np.random.default_rng(seed)
    step = _CELL + _GAP
    names, rows = [], []
    for label, name in enumerate(data.label_names):
        of_class = np.flatnonzero(data.labels == label)
        if not len(of_class):
            continue
        chosen = np.sort(rng.choice(of_class, min(_COLUMNS, len(of_class)), replace=False))
        row = np.full((_CELL, _COLUMNS * step - _GAP, 3), 255, np.uint8)
        for column, face in enumerate(data.images[chosen]):
            row[:, column * step : column * step + _CELL] = _cell(face)
        names.append(f"{name}\n{len(of_class):,}")
        rows += [row, np.full((_GAP, row.shape[1], 3), 255, np.uint8)]
    sheet = np.concatenate(rows[:-1])
    figure = Figure(figsize=(9, 9 * (sheet.shape[0] / sheet.shape[1]) * 0.93))
    figure.set_layout_engine("constrained", w_pad=0.1)
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="antialiased")
    axes.set_yticks([_CELL / 2 + step * number for number in range(len(names))], names)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return _png(figure)


def face(image: NDArray[np.uint8]) -> bytes:
    """One face, uint8 (height, width, 1 or 3), as it is."""
    bgr = image[:, :, ::-1] if image.shape[2] == 3 else image
    return bytes(cv2.imencode(".png", np.ascontiguousarray(bgr))[1])


def _cell(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB, fitted into a cell's square, white around it."""
    height, width, channels = image.shape
    scale = _CELL / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    resized = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA)).reshape(
        size[1], size[0], channels
    )
    cell = np.full((_CELL, _CELL, 3), 255, np.uint8)
    top, left = (_CELL - size[1]) // 2, (_CELL - size[0]) // 2
    cell[top : top + size[1], left : left + size[0]] = resized
    return cell


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(content, format="png", dpi=_DOTS)
    return content.getvalue()
