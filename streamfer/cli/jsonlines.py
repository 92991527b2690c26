"""What a run looks like as one JSON object a line."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamfer.logs import LogLine, event, to_json

if TYPE_CHECKING:
    from streamfer import wire
    from streamfer.config import Config
    from streamfer.errors import StreamferError
    from streamfer.ledger import StreamBooks
    from streamfer.status import Status
    from streamfer.summary import Summary
    from streamfer.supervisor import Outcome


class JsonLines:
    """Watches a run and writes JSON lines on standard error, for whatever collects logs."""

    def start(self, config: Config) -> None:
        """The first line: what runs."""
        from streamfer import __version__

        path = None if config.path is None else str(config.path)
        streams = [stream.name for stream in config.streams]
        self._event(logging.INFO, "start", version=__version__, config=path, streams=streams)

    def listening(self, url: str) -> None:
        """Say where the metrics are."""
        self._event(logging.INFO, "listening", url=url)

    # ---- Observer ------------------------------------------------------------------------------------------

    def opened(self, stream: str, opened: wire.Opened) -> None:
        """A source is open."""
        self._event(
            logging.INFO,
            "opened",
            stream=stream,
            width=opened.width,
            height=opened.height,
            frames=opened.frames,
        )

    def status(self, status: Status) -> None:
        """Nothing: what changes is logged, and /api/status tells the rest."""

    def progress(self, streams: list[StreamBooks]) -> None:
        """Nothing."""

    def log(self, line: LogLine) -> None:
        """One line."""
        if line.level >= logging.INFO:
            self._write(to_json(line))

    # ---- the end -------------------------------------------------------------------------------------------

    def finish(self, outcome: Outcome) -> None:
        """The ledger row by row, what the classifiers did, the files that were written, what went wrong, and
        the end."""
        for row in outcome.rows:
            self._event(
                logging.INFO,
                "ledger",
                stream=row.stream,
                classifier=row.classifier,
                sink=row.sink,
                captured=row.captured,
                delivered=row.delivered,
                dropped=row.dropped,
                in_flight=row.in_flight,
            )
        self._summary(outcome.summary)
        for output, size in written(outcome):
            self._event(logging.INFO, "wrote", path=output, bytes=size)
        for line in outcome.errors:
            self._event(logging.ERROR, line)
        self._event(
            logging.INFO,
            "end",
            status=outcome.status,
            frames=outcome.frames,
            seconds=round(outcome.seconds, 3),
            restarts=outcome.restarts,
        )

    def _summary(self, summary: Summary) -> None:
        if not summary.worth_telling:
            return
        for one in summary.followed:
            facts: dict[str, Any] = {
                "stream": one.stream,
                "classifier": one.classifier,
                "faces": one.faces,
                "track_seconds": round(one.seconds, 3),
                "label_changes": one.changes,
                "label_changes_per_second": _rounded(one.flicker),
            }
            if one.raw_changes is not None:
                facts |= {"raw_label_changes": one.raw_changes}
                facts |= {"raw_label_changes_per_second": _rounded(one.raw_flicker)}
            if one.warming is not None:
                facts |= {"warming_faces": one.warming}
            self._event(logging.INFO, "followed", **facts)
        for pair in summary.compared:
            self._event(
                logging.INFO,
                "agreement",
                stream=pair.stream,
                classifier=pair.classifier,
                other=pair.other,
                faces=pair.faces,
                agreed=pair.agreed,
                share=_rounded(pair.share),
            )

    def failed(self, error: StreamferError) -> None:
        """The run has ended with an error, perhaps one of several lines."""
        for line in str(error).splitlines():
            self._event(logging.ERROR, line)
        self._event(logging.ERROR, "end", status=error.status)

    def _event(self, level: int, message: str, **facts: Any) -> None:
        self._write(event(time.time(), level, message, **facts))

    def _write(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def written(outcome: Outcome) -> list[tuple[str, int]]:
    """The files with their sizes in bytes. A stream without a single picture leaves no video."""
    paths = [(output, Path(output)) for output in outcome.outputs]
    return [(output, path.stat().st_size) for output, path in paths if path.is_file()]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
