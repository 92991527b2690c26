"""The timeline of a track: what each classifier said of a face over time, below pictures of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from streamfer.training.compare_video import Seen, Track, Watched
from streamfer.training.compare_video_faces import Face
from streamfer.training.report_plots import COLOURS, png

PICTURES = 10
"""So many pictures stand above a timeline."""

LABEL_COLOURS = {
    "angry": "#D55E00",
    "disgust": "#009E73",
    "fear": "#CC79A7",
    "happy": "#F0C93A",
    "sad": "#0072B2",
    "surprise": "#56B4E9",
    "neutral": "#C4C9CF",
}
"""The hues of the live table, as colour-blind people tell them apart."""

_WIDTH = 9.0
_FACES, _MODEL = 0.92, 1.15
"""Inches: the figure's width, the heights of the row of pictures and of 100 % in a classifier's row."""

_DETAIL = 3000
"""So many faces of a track are drawn one by one; of longer ones several are averaged."""

_STRIPS, _STRIP = 1.08, 0.17
"""Where the strips of labels begin and how high each is, where probabilities are drawn from 0 to 1."""


def timeline(found: Watched, track: Track, pictures: Sequence[Face | None] = ()) -> bytes:
    """The plot (PNG): a row for each classifier with the probabilities as stacked areas, above them a strip
    with the label given, and one with that before smoothing. `pictures` stand at even times, if any."""
    return png(timeline_figure(found, track, pictures))


def timeline_figure(found: Watched, track: Track, pictures: Sequence[Face | None] = ()) -> Figure:
    """The figure; its axes are the pictures', if any, and one for each classifier."""
    shown = any(picture is not None for picture in pictures)
    tops = {name: _top(track.seen.get(name)) for name in found.labels}
    heights = [_FACES] * shown + [_MODEL * top for top in tops.values()]
    figure = Figure(figsize=(_WIDTH, sum(heights) + 0.9), layout="constrained")
    rows = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    if shown:
        _pictures(rows[0], pictures)
    for axes, name in zip(rows[shown:], found.labels, strict=True):
        axes.set_ylim(0, tops[name])
        _classifier(axes, found, track.seen.get(name), name)
    rows[-1].set_xlim(*found.span(track))
    rows[-1].set_xlabel("seconds")
    _legend(figure, found, track)
    return figure


def _top(seen: Seen | None) -> float:
    """Where the row of a classifier ends: it has one strip, two if it is smoothed."""
    return _STRIPS + _STRIP * (1 if seen is None or seen.raw is None else 2)


def colours(labels: Sequence[str]) -> list[str]:
    """The colour of each label; those that the project does not know get what is left."""
    left = [one for one in COLOURS if one not in LABEL_COLOURS.values()]
    others = [label for label in labels if label not in LABEL_COLOURS]
    return [LABEL_COLOURS.get(one) or left[others.index(one) % len(left)] for one in labels]


def _pictures(axes: Axes, pictures: Sequence[Face | None]) -> None:
    axes.set_axis_off()
    for place, picture in enumerate(pictures):
        if picture is not None:
            inset = axes.inset_axes((place / len(pictures), 0, 1 / len(pictures), 1))
            inset.imshow(picture)
            inset.set_axis_off()


def _classifier(axes: Axes, found: Watched, seen: Seen | None, name: str) -> None:
    axes.set_title(name, loc="left", fontsize=10)
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False)
    ticks, names = [0.0, 0.5, 1.0], ["0 %", "50 %", "100 %"]
    if seen is None:
        axes.text(0.5, 0.4, "no answer", transform=axes.transAxes, ha="center", color="#555555")
    else:
        _areas(axes, found, seen, colours(found.labels[name]))
        _warming(axes, found, seen)
        strip = [("label", seen.answers)] + ([("raw", seen.raw)] if seen.raw is not None else [])
        for place, (kind, answers) in enumerate(strip):
            bottom = _STRIPS + place * _STRIP
            _labels(axes, found, seen, answers, found.labels[name], bottom)
            ticks.append(bottom + 0.45 * _STRIP)
            names.append(kind)
    axes.set_yticks(ticks, names, fontsize=8)
    axes.tick_params(axis="x", labelsize=8)


def _areas(axes: Axes, found: Watched, seen: Seen, shades: Sequence[str]) -> None:
    """Stacked probabilities, each from its frame's beginning to its end, nothing where there are none."""
    begins, ends, rows = _thinned(found, seen)
    levels = np.concatenate([np.zeros((len(rows), 1)), rows.cumsum(axis=1)], axis=1)
    apart = np.append(ends[:-1] < begins[1:], True)
    # Where nothing follows, a point with no height ends the area.
    times = np.stack([begins, ends, ends], axis=1).ravel()
    drawn = np.stack([np.ones_like(apart), np.ones_like(apart), ~apart], axis=1).ravel()
    for place, shade in enumerate(shades):
        low, high = (np.repeat(levels[:, at], 3) for at in (place, place + 1))
        axes.fill_between(times, low, high, where=drawn, color=shade, linewidth=0)


def _thinned(
    found: Watched, seen: Seen
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """When each stretch with the same probabilities begins and ends (n,), and these (n, k)."""
    step = -(-len(seen.seqs) // _DETAIL)
    following = np.append(0, np.diff(seen.seqs) == 1)
    stretch = np.cumsum(following == 0)
    since = np.arange(len(seen.seqs)) - np.flatnonzero(following == 0)[stretch - 1]
    firsts = np.flatnonzero((since % step) == 0)
    counts = np.diff(np.append(firsts, len(seen.seqs)))
    rows = np.add.reduceat(seen.probabilities, firsts, axis=0) / counts[:, None]
    lasts = firsts + counts - 1
    return found.clock[seen.seqs[firsts]], found.clock[seen.seqs[lasts] + 1], rows


def runs(
    found: Watched, seen: Seen, values: NDArray[np.intp] | NDArray[np.bool_]
) -> Iterator[tuple[float, float, int]]:
    """Stretches of frames that follow on each other with the same value: begin, duration, value."""
    breaks = np.flatnonzero((np.diff(values) != 0) | (np.diff(seen.seqs) != 1)) + 1
    for part in np.split(np.arange(len(values)), breaks):
        begin, end = found.clock[seen.seqs[part[0]]], found.clock[seen.seqs[part[-1]] + 1]
        yield float(begin), float(end - begin), int(values[part[0]])


def _labels(
    axes: Axes, found: Watched, seen: Seen, answers: NDArray[np.intp], labels: Sequence[str], bottom: float
) -> None:
    """A strip of the labels given, with their names where there is room."""
    shades, every = colours(labels), list(runs(found, seen, answers))
    height = 0.9 * _STRIP
    axes.broken_barh(
        [(begin, length) for begin, length, _ in every],
        (bottom, height),
        facecolors=[shades[place] for _, _, place in every],
        linewidth=0,
    )
    whole = found.clock[seen.seqs[-1] + 1] - found.clock[seen.seqs[0]]
    for begin, length, place in every:
        if length > whole * 0.013 * len(labels[place]):
            axes.text(
                begin + length / 2,
                bottom + height * 0.46,
                labels[place],
                ha="center",
                va="center",
                fontsize=7.5,
                color=_ink(shades[place]),
                clip_on=True,
            )


def _ink(shade: str) -> str:
    """The colour of text on a colour: white on dark ones."""
    red, green, blue = to_rgb(shade)
    return "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.5 else "#222222"


def _warming(axes: Axes, found: Watched, seen: Seen) -> None:
    warming = seen.warming if seen.warming is not None else np.zeros(len(seen.seqs), np.bool_)
    spans = [(begin, length) for begin, length, true in runs(found, seen, warming) if true]
    if spans:
        axes.broken_barh(
            spans, (0, 1), facecolor=(1, 1, 1, 0.45), hatch="////", edgecolor="#555555", linewidth=0
        )


def _legend(figure: Figure, found: Watched, track: Track) -> None:
    """The labels that are to be seen, and what hatching means where there is any."""
    entries: dict[str, str] = {}
    for name, seen in track.seen.items():
        labels = found.labels[name]
        for label, shade, most in zip(labels, colours(labels), seen.probabilities.max(axis=0), strict=True):
            if most >= 0.02:
                entries[label] = shade
    marks = [Patch(color=shade, label=label) for label, shade in entries.items()]
    if any(seen.warming is not None and seen.warming.any() for seen in track.seen.values()):
        marks.append(Patch(facecolor="white", edgecolor="#555555", hatch="////", label="window not yet full"))
    figure.legend(handles=marks, loc="outside lower center", ncols=8, frameon=False, fontsize=8.5)
