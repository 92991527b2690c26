"""The tables that the command line prints: streams and stages of a service, what a run has done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamfer.ledger import Row
    from streamfer.status import StageStatus, StreamStatus
    from streamfer.summary import Summary

_STYLES = {
    "live": "green",
    "reading": "green",
    "up": "green",
    "done": "dim",
    "waiting": "dim",
    "stopped": "dim",
    "connecting": "cyan",
    "starting": "cyan",
    "stale": "yellow",
    "reconnecting": "yellow",
    "restarting": "yellow",
    "failed": "bold red",
    "broken": "bold red",
}


def streams(shown: Iterable[StreamStatus], now: float, width: int) -> Table:
    """A line for each stream; `now` in seconds since the Unix epoch, on the service's clock. In a terminal
    of less than 100 columns, without the reasons."""
    wide = width >= 100
    table = _table(
        ("stream", "state", "for"), ("fps", "captured", "delivered", "dropped", "newest"), wide=wide
    )
    for stream in shown:
        why = f", {stream.reason.replace('_', ' ')}" if wide and stream.reason else ""
        table.add_row(
            plain(stream.name),
            plain(stream.state + why, _STYLES.get(stream.state, "")),
            span(now - stream.since),
            "–" if stream.fps is None else f"{stream.fps:.1f}",
            count(stream.captured),
            count(stream.delivered),
            plain(drops(stream.dropped) if wide else count(sum(stream.dropped.values()))),
            "–" if stream.last_frame is None else span(now - stream.last_frame),
        )
    return table


def stages(shown: Iterable[StageStatus], now: float) -> Table:
    """A line for each process."""
    table = _table(("stage", "state"), ("restarts", "progress"))
    for stage in shown:
        table.add_row(
            plain(stage.name),
            plain(stage.state, _STYLES.get(stage.state, "")),
            str(stage.restarts),
            "–" if stage.last_progress is None else f"{span(now - stage.last_progress)} ago",
        )
    return table


def ledger(rows: Iterable[Row]) -> Table:
    """The books of a run."""
    table = Table()
    _entitle(table, "Ledger: captured = delivered + dropped + in flight")
    for heading in ("stream", "classifier", "sink"):
        table.add_column(heading)
    for heading in ("captured", "delivered", "dropped", "in flight"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.stream,
            row.classifier,
            row.sink,
            str(row.captured),
            str(row.delivered),
            reasons(row.dropped) or "0",
            str(row.in_flight),
        )
    return table


def steadiness(summary: Summary) -> Table:
    """How long each classifier followed faces, and how often their labels changed."""
    columns = ["faces for", "changes/s"]
    smoothed = any(one.raw_changes is not None for one in summary.followed)
    windowed = any(one.warming is not None for one in summary.followed)
    columns += ["unsmoothed"] * smoothed + ["warming"] * windowed
    table = _table(("stream", "classifier"), tuple(columns))
    _entitle(table, "Label changes per second for which a face was followed, in this run")
    for one in summary.followed:
        cells = [span(one.seconds) if one.seconds else "–", _figure(one.flicker)]
        cells += [_figure(one.raw_flicker)] * smoothed + [_share(one.warming_share)] * windowed
        table.add_row(plain(one.stream), plain(one.classifier), *cells)
    return table


def agreement(summary: Summary) -> Table:
    """How often two classifiers gave a face the same label."""
    table = _table(("stream", "classifiers"), ("agree", "of faces"))
    _entitle(table, "Faces that two classifiers gave the same label, in this run")
    for one in summary.compared:
        pair = plain(f"{one.classifier}, {one.other}")
        table.add_row(plain(one.stream), pair, _share(one.share), count(one.faces))
    return table


def reasons(dropped: dict[str, int]) -> str:
    """Such as "12 max_age, 3 overload"."""
    return ", ".join(f"{number} {reason}" for reason, number in sorted(dropped.items()) if number)


def drops(dropped: dict[str, int]) -> str:
    """The number of dropped frames, and the reason of all or most of them."""
    total = sum(dropped.values())
    if not total:
        return "0"
    most = max(dropped, key=lambda reason: dropped[reason])
    return f"{count(total)} {'mostly ' if dropped[most] < total else ''}{most}"


def span(seconds: float) -> str:
    """A duration in at most seven characters."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 86400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d"


def count(number: int) -> str:
    """A number of frames in at most nine characters."""
    return f"{number:,}" if number < 10_000_000 else f"{number / 1e6:,.1f} M"


def plain(text: str, style: str = "") -> Text:
    """Text from elsewhere: no markup, no control characters."""
    return Text("".join(one if one.isprintable() else "�" for one in text), style=style)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _table(left: tuple[str, ...], right: tuple[str, ...], *, wide: bool = True) -> Table:
    """The first column gives way where it is narrow."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1 if wide else 0, 0, 1))
    for number, heading in enumerate(left):
        table.add_column(heading, overflow="fold", no_wrap=number > 0)
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _entitle(table: Table, title: str) -> None:
    table.title, table.title_justify = title, "left"
