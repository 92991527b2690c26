"""The page of a comparison on a clip: what each classifier said of each face over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from streamfer.errors import UsageError
from streamfer.plugins import ComponentSpec
from streamfer.training.compare_document import (
    Heading,
    Items,
    Paragraph,
    Part,
    Plot,
    Table,
    to_html,
    to_markdown,
)
from streamfer.training.compare_report import MARKDOWN, PAGE
from streamfer.training.compare_video import MOST, SHORTEST, Watched
from streamfer.training.compare_video_faces import pictures
from streamfer.training.compare_video_plots import PICTURES, timeline
from streamfer.training.files import replace_file

_Figures = Mapping[str, Any]

TIMELINE = "timeline-"
"""How the names of the plots begin, before the number of the track."""

_SELDOM = 0.005
"""A label that came for a smaller share of a track's faces is not listed."""

_NAMED = 12
"""So many of the tracks without a timeline are named."""


def write_report(
    figures: _Figures, found: Watched, recording: ComponentSpec, folder: Path, *, faces: bool = True
) -> list[Path]:
    """Write both pages and their plots (PNG, also part of the HTML) into `folder`; returns the pages.

    `recording` is the source that the clip is read from once more for pictures of the `faces`, if they are to
    be there. Each file is replaced in one step, and plots of an earlier comparison go, for they show faces.
    `UsageError` if something cannot be written.
    """
    tracks = found.shown()
    cut = pictures(recording, found, tracks, PICTURES) if faces else {}
    plots = {
        f"{TIMELINE}{track.number}": timeline(found, track, cut.get(track.number, ())) for track in tracks
    }
    name, content = title(figures), parts(figures)
    pages = {
        PAGE: to_html(name, content, plots),
        MARKDOWN: f"# {to_markdown([Paragraph(name)])}\n{to_markdown(content)}",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{TIMELINE}*.png"):
            if old.stem not in plots:
                old.unlink()
        for plot, picture in plots.items():
            replace_file(folder / f"{plot}.png", picture)
        for page, text in pages.items():
            replace_file(folder / page, text.encode())
    except OSError as error:
        raise UsageError(f"--out {folder}: cannot be written: {error.strerror or error}") from error
    return [folder / page for page in pages]


def title(figures: _Figures) -> str:
    """What the page is called."""
    names = [one["name"] for one in figures["classifiers"]]
    shown = ", ".join(names) if len(names) <= 3 else f"{len(names)} classifiers"
    return f"{shown} on {figures['clip']['name']}"


def parts(figures: _Figures) -> list[Part]:
    """All of the page below its title."""
    clip, tracks = figures["clip"], figures["tracks"]
    many = f"{len(tracks)} tracks of faces" if len(tracks) > 1 else "one track of a face"
    found: list[Part] = [
        Paragraph(
            f"{clip['frames']:,} frames, {clip['seconds']:.1f} s, {many}. Run with streamfer "
            f"{figures['streamfer']}, as the service runs it.",
            quiet=True,
        ),
        Items(figures["notes"]),
        Heading("How steady, how sure"),
        *_steadiness(figures["classifiers"]),
    ]
    if figures["pairs"]:
        found += [Heading("How often they agree"), _agreement(figures["pairs"])]
    by_number = {track["track"]: track for track in tracks}
    for number in figures["shown"]:
        found += _track(by_number[number], agreement=len(tracks) > 1)
    found += _left_out(figures)
    found += [Heading("What runs"), _classifiers(figures["classifiers"])]
    return [*found, Heading("How to read it"), *_reading()]


def _steadiness(classifiers: Sequence[_Figures]) -> Iterator[Part]:
    heads = ["classifier", "faces", "followed", "label changes", "changes per second"]
    heads += ["before smoothing", "mean confidence", "warming"]
    yield Table(heads, [_steady(one) for one in classifiers])
    yield Paragraph(
        "Changes per second is the flicker: how often a face's label was another than in its frame before, "
        "for each second that it was followed. Few changes are not yet right answers: a classifier that "
        "always says the same has none."
    )


def _steady(one: _Figures) -> list[str]:
    return [
        one["name"],
        f"{one['faces']:,}",
        f"{one['track_seconds']:.1f} s",
        f"{one['label_changes']:,}",
        figure(one["flicker"]),
        figure(one["raw_flicker"]),
        share(one["confidence"]),
        share(one["warming"]),
    ]


def _agreement(pairs: Sequence[_Figures]) -> Table:
    rows = [[f"{one['first']}, {one['second']}", share(one["share"]), f"{one['faces']:,}"] for one in pairs]
    return Table(["classifiers", "same label", "of faces that both labelled"], rows)


def _classifiers(classifiers: Sequence[_Figures]) -> Table:
    words = ("runs", "looks at", "smoothing")
    rows = [
        [
            one["name"],
            f"{one['classifier']} {one['version'] or ''}".strip(),
            _window(one["window"]),
            _smoothing(one["smoothing"]),
        ]
        for one in classifiers
    ]
    return Table(["classifier", *words], rows, words)


def _window(window: _Figures | None) -> str:
    if window is None:
        return "single frames"
    return f"{window['frames']} frames, {window['seconds']:.2f} s"


def _smoothing(smoothing: _Figures | None) -> str:
    if smoothing is None:
        return "none"
    options = ", ".join(
        f"{key.replace('_', ' ')} {value:g}" for key, value in smoothing.items() if key != "method"
    )
    return f"{smoothing['method']} ({options})"


def _track(track: _Figures, *, agreement: bool) -> Iterator[Part]:
    """Timeline and figures of one; with one track alone, the `agreement` has been told."""
    when = f"{track['from']:.1f} s to {track['to']:.1f} s"
    yield Heading(f"Track {track['track']}, {when}")
    names = ", ".join(one["name"] for one in track["classifiers"])
    yield Plot(
        f"{TIMELINE}{track['track']}",
        f"Timeline of track {track['track']}, {when}: probabilities and labels over time of {names}; the "
        "figures are in the table below.",
        whole=True,
    )
    heads = ["classifier", "changes per second", "before smoothing", "mean confidence", "warming"]
    rows = [
        [
            one["name"],
            figure(one["flicker"]),
            figure(one["raw_flicker"]),
            share(one["confidence"]),
            share(one["warming"]),
            ", ".join(
                f"{label}\u00a0{100 * part:.0f}\u00a0%"
                for label, part in one["labels"].items()
                if part >= _SELDOM
            ),
        ]
        for one in track["classifiers"]
    ]
    yield Table([*heads, "labels given"], rows, ("labels given",))
    if agreement and track["pairs"]:
        yield _agreement(track["pairs"])


def _left_out(figures: _Figures) -> Iterator[Part]:
    """Says which tracks have no timeline."""
    left = [one for one in figures["tracks"] if one["track"] not in figures["shown"]]
    if not left:
        return
    named = [
        f"{one['track']} ({one['from']:.1f} s to {one['to']:.1f} s, {one['frames']:,} frames)"
        for one in left[:_NAMED]
    ]
    more = f", and {len(left) - _NAMED} with fewer frames" if len(left) > _NAMED else ""
    yield Heading("Tracks without a timeline")
    yield Paragraph(
        f"Timelines are drawn for the {MOST} tracks with the most frames, of those that have an answer and "
        f"are at least {SHORTEST:g} s long. The others count in the figures above: {', '.join(named)}{more}."
    )


def _reading() -> Iterator[Part]:
    yield Items(
        [
            "The strip “label” has the label given in each frame, the strip “raw” what it would have been "
            "without smoothing. Below are the probabilities, which add up to 100 %.",
            "White are stretches in which the face was not found, or was too small or too blurred. Hatched "
            "are answers of a window that was not yet full.",
            "Seconds are those of the clip. The pictures, where there are any, are from the middle of each "
            "tenth of the track, or the frame nearest to it.",
            "Nothing here says who is right, for the clip has no labels. How often a classifier is right, "
            "streamfer evaluate and streamfer compare --data tell on labelled faces.",
        ]
    )


def figure(value: float | None) -> str:
    """A figure with two decimals; a dash for none."""
    return "–" if value is None else f"{value:.2f}"


def share(value: float | None) -> str:
    """A share as a percentage; a dash for none."""
    return "–" if value is None else f"{100 * value:.1f} %"
