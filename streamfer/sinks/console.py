"""The faces seen now as a live table in the terminal, or a line per change of label where there is none."""

from __future__ import annotations

import sys
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streamfer.api import Position, StreamPlan
from streamfer.picture import Picture
from streamfer.sinks import ConsoleOptions
from streamfer.types import Face, Result

TRACKS = 64
"""Tracks remembered per stream and classifier, so that a face that was hidden keeps its "since"."""

RATE_WINDOW = 2.0
"""Seconds over which frames/s is taken."""

BAR = 12
"""Characters of a full bar."""

COLOURS = {
    "angry": "red",
    "disgust": "green",
    "fear": "magenta",
    "happy": "yellow",
    "sad": "blue",
    "surprise": "cyan",
}


@dataclass
class _View:
    """What is shown of one (stream, classifier)."""

    frames: int = 0
    dropped: int = 0
    latest: Result | None = None
    shown: OrderedDict[int, tuple[str, float | None]] = field(default_factory=OrderedDict)
    """Track → the label it shows and since when."""
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=512))

    def rate(self, now: float) -> float:
        """Frames per second of late."""
        while self.arrivals and now - self.arrivals[0] > RATE_WINDOW:
            self.arrivals.popleft()
        if len(self.arrivals) < 2:
            return 0.0
        return (len(self.arrivals) - 1) / max(self.arrivals[-1] - self.arrivals[0], 1e-3)


class ConsoleSink:
    """Shows results; keeps none."""

    def __init__(self, options: ConsoleOptions) -> None:
        self._interval = 1 / options.refresh
        self._console = Console(file=sys.stdout)
        self._views: dict[str, dict[str, _View]] = {}
        self._live: Live | None = None
        self._drawn = 0.0

    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> dict[tuple[str, str], Position]:
        self._views = {plan.name: {name: _View() for name in plan.classifiers} for plan in streams}
        if self._console.is_terminal:
            # no thread of its own: it is redrawn when results come
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return {}

    def write(self, result: Result, picture: Picture | None) -> None:
        view = self._views.setdefault(result.stream, {}).setdefault(result.classifier, _View())
        now = time.monotonic()
        if result.dropped is msgspec.UNSET:
            view.frames += 1
            view.latest = result
            view.arrivals.append(now)
        else:
            view.dropped += 1
        seconds = result.time if result.time is not None else result.pts
        for face in result.faces:
            if face.label is None:
                continue
            before = view.shown.get(face.track)
            if before is None or before[0] != face.label:
                view.shown[face.track] = face.label, seconds
                if self._live is None:
                    print(change(result, face), file=self._console.file, flush=True)
            view.shown.move_to_end(face.track)
        while len(view.shown) > max(TRACKS, len(result.faces)):
            view.shown.popitem(last=False)
        if self._live is not None and now - self._drawn >= self._interval:
            self._redraw(now)

    def _redraw(self, now: float) -> None:
        if self._live is not None:
            self._live.update(table(self._views, now), refresh=True)
            self._drawn = now

    def flush(self) -> None:
        """Nothing is kept."""

    def end(self, stream: str) -> None:
        self._redraw(time.monotonic())

    def outputs(self) -> Iterable[str]:
        return []

    def close(self) -> None:
        if self._live is not None:
            self._redraw(time.monotonic())
            self._live.stop()
            self._live = None


def change(result: Result, face: Face) -> str:
    """One plain line that says what a face has begun to show."""
    seconds = result.time if result.time is not None else result.pts
    return (
        f"{clock(seconds, live=result.time is not None)}  {result.stream}  face {face.track}  {face.label}  "
        f"{face.confidence or 0:.0%}  {result.classifier}"
    )


def clock(seconds: float | None, *, live: bool) -> str:
    """A time of day (local) for live streams, a position such as 1:02:03.45 for recordings."""
    if seconds is None:
        return "-"
    if live:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    sign, hundredths = "-" if seconds < 0 else "", round(abs(seconds) * 100)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{sign}{head}:{rest // 100:02d}.{rest % 100:02d}"


def bar(share: float) -> str:
    """A share 0..1 as a bar, drawn in eighths of a character."""
    full, part = divmod(round(min(max(share, 0.0), 1.0) * BAR * 8), 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")).ljust(BAR)


def table(views: dict[str, dict[str, _View]], now: float) -> RenderableType:
    """All streams, one after the other: a headline and a row for each face seen now."""
    several = any(len(classifiers) > 1 for classifiers in views.values())
    parts: list[RenderableType] = []
    for stream, classifiers in views.items():
        parts.append(headline(stream, list(classifiers.values()), now))
        rows = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        rows.add_column("indent", width=1)
        rows.add_column("face", min_width=8, no_wrap=True)
        if several:
            rows.add_column("classifier", min_width=8, no_wrap=True, style="dim")
        rows.add_column("label", min_width=9, no_wrap=True)
        rows.add_column("confidence", min_width=BAR + 5, no_wrap=True)
        rows.add_column("since", min_width=14, no_wrap=True, style="dim")
        seen = [
            (face.track, classifier, face, view)
            for classifier, view in classifiers.items()
            for face in (view.latest.faces if view.latest else ())
        ]
        for track, classifier, face, view in sorted(seen, key=lambda one: one[0]):
            cells: list[RenderableType] = ["", f"face {track}", *([classifier] if several else [])]
            rows.add_row(*cells, *expression(face, view))
        if not seen:
            rows.add_row("", Text("no face", style="dim"))
        parts.append(rows)
    return Group(*parts)


def headline(stream: str, views: list[_View], now: float) -> Text:
    """A stream's name, how far it is, and how fast."""
    view = max(views, key=lambda one: one.frames, default=_View())
    text = Text(stream, style="bold")
    if view.latest is not None:
        live = view.latest.time is not None
        at = view.latest.time if live else view.latest.pts
        text.append(f"  {clock(at, live=live)}", style="not bold")
    text.append(f"  {view.frames:,} frames  {view.rate(now):.0f}/s", style="not bold dim")
    if view.dropped:
        text.append(f"  {view.dropped:,} not analysed", style="not bold red")
    return text


def expression(face: Face, view: _View) -> tuple[Text, Text, str]:
    """The cells of one face: its label, its confidence as a bar, since when."""
    if face.label is None:
        return Text(face.status, style="dim"), Text(""), ""
    colour = COLOURS.get(face.label, "default")
    confidence = face.confidence or 0.0
    bars = Text(bar(confidence), style=colour).append(f" {confidence:4.0%}", style="default")
    since = view.shown.get(face.track, (face.label, None))[1]
    live = view.latest is not None and view.latest.time is not None
    return Text(face.label, style=f"bold {colour}"), bars, f"since {clock(since, live=live)}"
