"""What a run looks like in the terminal: progress while it goes on, then the books and what was written."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from streamfer import wire
    from streamfer.config import Config
    from streamfer.ledger import Row, StreamBooks
    from streamfer.supervisor import Outcome

_STYLES = {logging.WARNING: "yellow", logging.ERROR: "bold red"}
_REDRAW_SECONDS = 0.1
_PLAIN_SECONDS = 10.0


def show(config: Config, *, resume: bool = False) -> int:
    """Run a configuration with a display; the exit status."""
    from streamfer.service import run

    display = Display(quiet_progress=any(sink.spec.name == "console" for sink in config.sinks))
    with display:
        outcome = run(config, display, resume=resume, listening=display.listening)
    display.finish(outcome)
    return outcome.status


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:5.0f} frames/s" if speed else "    – frames/s", style="progress.data.speed")


class Display:
    """Watches a run. On a terminal a progress bar per stream; elsewhere a line now and then."""

    def __init__(self, *, quiet_progress: bool) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._bars = self.console.is_terminal and not quiet_progress
        self._plain = not self.console.is_terminal and not quiet_progress
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            _Speed(),
            TimeRemainingColumn(),
            console=self.console,
            expand=True,
            auto_refresh=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._drawn = time.monotonic()

    def __enter__(self) -> Display:
        if self._bars:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._progress.stop()

    # ---- Observer ------------------------------------------------------------------------------------------

    def listening(self, url: str) -> None:
        """Say where the metrics are."""
        self.console.print(f"metrics: {url}", style="dim", soft_wrap=True)

    def opened(self, stream: str, opened: wire.Opened) -> None:
        """A source is open: its bar begins."""
        if self._bars and stream not in self._tasks:
            self._tasks[stream] = self._progress.add_task(f"[bold]{stream}[/]", total=opened.frames)
        elif self._plain:
            of = f", about {opened.frames} frames" if opened.frames else ""
            self.console.print(f"{stream}: {opened.width}×{opened.height}{of}", soft_wrap=True)

    def progress(self, streams: list[StreamBooks]) -> None:
        """Draw how far the streams are, at most ten times a second."""
        now = time.monotonic()
        if now - self._drawn < (_REDRAW_SECONDS if self._bars else _PLAIN_SECONDS):
            return
        self._drawn = now
        self._draw(streams)

    def _draw(self, streams: list[StreamBooks]) -> None:
        for books in streams:
            done = books.finished_frames()
            if books.stream in self._tasks:
                total = books.captured if books.complete else books.expected
                self._progress.update(self._tasks[books.stream], completed=done, total=total)
            elif self._plain and done and not books.done():
                of = f" of about {books.expected}" if books.expected else ""
                self.console.print(f"{books.stream}: {done}{of} frames done", soft_wrap=True)
        if self._bars:
            self._progress.refresh()

    def log(self, level: int, text: str) -> None:
        """One line above the bars."""
        if level >= logging.INFO:
            self.console.print(Text(text, style=_STYLES.get(level, "")), soft_wrap=True)

    # ---- the end -------------------------------------------------------------------------------------------

    def finish(self, outcome: Outcome) -> None:
        """The ledger, the files that were written, and what went wrong."""
        if outcome.frames:
            self._summary(outcome)
        for line in outcome.errors:
            self.console.print(Text(line, style=_STYLES[logging.ERROR]), soft_wrap=True)

    def _summary(self, outcome: Outcome) -> None:
        self.console.print(_ledger(outcome.rows))
        frames, seconds = outcome.frames, outcome.seconds
        self.console.print(f"{frames} frames in {seconds:.1f} s", end="")
        self.console.print(f", {outcome.restarts} restarts of a stage" if outcome.restarts else "")
        for output in outcome.outputs:
            path = Path(output)
            if path.is_file():  # a stream without a single picture leaves no video
                size = f"{path.stat().st_size / 1000:,.0f} kB"
                self.console.print(Text(f"wrote {output}  ({size})", style="green"), soft_wrap=True)


def _ledger(rows: list[Row]) -> Table:
    table = Table(title="Ledger: captured = delivered + dropped + in flight", title_justify="left")
    for heading in ("stream", "classifier", "sink"):
        table.add_column(heading)
    for heading in ("captured", "delivered", "dropped", "in flight"):
        table.add_column(heading, justify="right")
    for row in rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(row.dropped.items()))
        table.add_row(
            row.stream,
            row.classifier,
            row.sink,
            str(row.captured),
            str(row.delivered),
            reasons or "0",
            str(row.in_flight),
        )
    return table
