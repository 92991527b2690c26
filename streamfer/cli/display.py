"""What a run looks like: in the terminal and in a plain log."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Literal

from rich.console import Console, Group
from rich.live import Live
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
from rich.text import Text

from streamfer.cli import tables
from streamfer.cli.jsonlines import JsonLines, written
from streamfer.errors import StreamferError
from streamfer.logs import LogLine, printable, to_text

if TYPE_CHECKING:
    from streamfer import wire
    from streamfer.config import Config
    from streamfer.ledger import StreamBooks
    from streamfer.status import Status, StreamStatus
    from streamfer.supervisor import Outcome

__all__ = ["Display", "JsonLines", "LogFormat", "show"]

LogFormat = Literal["text", "json"]

_STYLES = {logging.WARNING: "yellow", logging.ERROR: "bold red", logging.CRITICAL: "bold red"}
_REDRAW_SECONDS = 0.1
_PLAIN_SECONDS = 10.0
_SUMMARY_SECONDS = 60.0


def show(config: Config, *, resume: bool = False, log_format: LogFormat = "text") -> int:
    """Run a configuration with a display; the exit status. With "json", everything on standard error is one
    JSON object a line, also the error that ends the run."""
    from streamfer.service import run

    if log_format == "json":
        lines = JsonLines()
        lines.start(config)
        try:
            outcome = run(config, lines, resume=resume, listening=lines.listening)
        except StreamferError as error:
            lines.failed(error)
            return error.status
        lines.finish(outcome)
        return outcome.status
    display = Display(
        quiet_progress=any(sink.spec.name == "console" for sink in config.sinks),
        live={stream.name for stream in config.streams if stream.live is not None},
    )
    with display:
        outcome = run(config, display, resume=resume, listening=display.listening)
    display.finish(outcome)
    return outcome.status


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:5.0f} frames/s" if speed else "    – frames/s", style="progress.data.speed")


class Display:
    """Watches a run. On a terminal a progress bar per recording and a line per live stream, always up to
    date; elsewhere log lines, and a line now and then that says how far it is. `live` names live streams."""

    def __init__(self, *, quiet_progress: bool, live: set[str] | frozenset[str] = frozenset()) -> None:
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
        self._live_names = live
        self._live: list[StreamStatus] = []
        self._live_at = 0.0
        self._tasks: dict[str, TaskID] = {}
        self._drawn = time.monotonic()
        self._summary = _Summary(time.monotonic())
        self._screen = Live(get_renderable=self._view, console=self.console, auto_refresh=False)

    def __enter__(self) -> Display:
        if self._bars:
            self._screen.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._screen.stop()

    # ---- Observer ------------------------------------------------------------------------------------------

    def listening(self, url: str) -> None:
        """Say where the metrics are."""
        self.console.print(f"metrics: {url}", style="dim", soft_wrap=True)

    def opened(self, stream: str, opened: wire.Opened) -> None:
        """A source is open: a recording's bar begins."""
        if stream in self._live_names:
            return
        if self._bars and stream not in self._tasks:
            self._tasks[stream] = self._progress.add_task(f"[bold]{stream}[/]", total=opened.frames)
        elif self._plain:
            of = f", about {opened.frames} frames" if opened.frames else ""
            self.console.print(f"{stream}: {opened.width}×{opened.height}{of}", soft_wrap=True)

    def status(self, status: Status) -> None:
        """How the live streams are, about once a second."""
        self._live = [stream for stream in status.streams if stream.live]
        self._live_at = time.time()
        if not self._live:
            return
        if self._bars:
            self._screen.refresh()
        elif self._plain and (line := self._summary.line(self._live, time.monotonic())):
            self.console.print(Text(printable(line)), soft_wrap=True)

    def progress(self, streams: list[StreamBooks]) -> None:
        """Draw how far the recordings are, at most ten times a second."""
        now = time.monotonic()
        if now - self._drawn < (_REDRAW_SECONDS if self._bars else _PLAIN_SECONDS):
            return
        self._drawn = now
        recordings = [books for books in streams if books.stream not in self._live_names]
        for books in recordings:
            done = books.finished_frames()
            if books.stream in self._tasks:
                total = books.captured if books.complete else books.expected
                self._progress.update(self._tasks[books.stream], completed=done, total=total)
            elif self._plain and done and not books.done():
                of = f" of about {books.expected}" if books.expected else ""
                self.console.print(f"{books.stream}: {done}{of} frames done", soft_wrap=True)
        if self._bars and recordings:
            self._screen.refresh()

    def log(self, line: LogLine) -> None:
        """One line above the bars."""
        if line.level >= logging.INFO:
            self.console.print(Text(to_text(line), style=_STYLES.get(line.level, "")), soft_wrap=True)

    def _view(self) -> Group:
        bars = [self._progress.get_renderable()] if self._tasks else []
        live = [tables.streams(self._live, self._live_at, self.console.width)] if self._live else []
        return Group(*bars, *live)

    # ---- the end -------------------------------------------------------------------------------------------

    def finish(self, outcome: Outcome) -> None:
        """The ledger, what the classifiers did, the files that were written, and what went wrong."""
        if outcome.frames:
            self._books(outcome)
        self.errors(outcome)

    def errors(self, outcome: Outcome) -> None:
        """What went wrong alone."""
        for line in outcome.errors:
            self.console.print(Text(printable(line), style=_STYLES[logging.ERROR]), soft_wrap=True)

    def _books(self, outcome: Outcome) -> None:
        self.console.print(tables.ledger(outcome.rows))
        if outcome.summary.worth_telling:
            self.console.print(tables.steadiness(outcome.summary))
            if outcome.summary.compared:
                self.console.print(tables.agreement(outcome.summary))
        self.console.print(f"{outcome.frames} frames in {outcome.seconds:.1f} s", end="")
        self.console.print(f", {outcome.restarts} restarts of a stage" if outcome.restarts else "")
        for output, size in written(outcome):
            line = f"wrote {output}  ({size / 1000:,.0f} kB)"
            self.console.print(Text(printable(line), style="green"), soft_wrap=True)


class _Summary:
    """One line a minute on all live streams, for a log that somebody reads later."""

    def __init__(self, now: float) -> None:
        self._said = now
        self._before: dict[str, StreamStatus] = {}

    def line(self, streams: list[StreamStatus], now: float) -> str | None:
        """The line, if a minute has passed since the last one."""
        self._before = self._before or {stream.name: stream for stream in streams}
        if now - self._said < _SUMMARY_SECONDS:
            return None
        captured, dropped = 0, dict[str, int]()
        for stream in streams:
            before = self._before.get(stream.name)
            captured += stream.captured - (before.captured if before else 0)
            for reason, number in stream.dropped.items():
                new = number - (before.dropped.get(reason, 0) if before else 0)
                dropped[reason] = dropped.get(reason, 0) + new
        away = [f"{stream.name} {stream.state}" for stream in streams if stream.state != "live"]
        rate = captured / (now - self._said)
        self._said, self._before = now, {stream.name: stream for stream in streams}
        live = f"{len(streams) - len(away)} of {len(streams)} streams live"
        where = f" ({', '.join(away)})" if away else ""
        lost = tables.reasons(dropped) or "none"
        return f"{live}{where}; {captured} frames in the last minute, {rate:.1f}/s; dropped: {lost}"
