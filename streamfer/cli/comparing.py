"""`streamfer compare --video`: classifiers side by side over one clip, and what they said of its faces."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import typer

from streamfer.cli.extras import needs_training
from streamfer.cli.measuring import STDOUT, check_json, check_writable, write_json
from streamfer.errors import UsageError
from streamfer.inference.described import with_mode

if TYPE_CHECKING:
    from rich.table import Table

    from streamfer.config import Config
    from streamfer.supervisor import Outcome
    from streamfer.training.compare_video import Watched

INTERRUPTED = 130


def entries(
    names: Sequence[str], models: Sequence[tuple[str, str]], smoothed: Sequence[tuple[str, str]]
) -> dict[str, dict[str, Any]]:
    """The classifiers' entries in a configuration, by what they are called in the results. UsageError for one
    that is named twice."""
    found: dict[str, dict[str, Any]] = {}
    for named in names:
        name, options = with_mode(named)
        label = "-".join((name, *options.values()))
        if label in found:
            raise UsageError(f"{named}: named twice; compare it with another model by --model {name}=CARD")
        found[label] = {"name": name, **options}
    for name, card in models:
        found[_free(name, found)] = {"name": name, "model": card}
    for named, method in smoothed:
        name, options = with_mode(named)
        label = "-".join((name, *options.values(), method))
        found[_free(label, found)] = {"name": name, **options, "smoothing": method}
    if not found:
        raise UsageError("compare --video needs a classifier or more: --video CLIP NAME NAME")
    return found


def _free(name: str, taken: Mapping[str, object]) -> str:
    """The name, with a number if it is taken."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def compare_video(
    clip: Path,
    classifiers: Mapping[str, Mapping[str, Any]],
    out: Path,
    json_out: Path | None = None,
    plugins: Sequence[Path] = (),
    *,
    faces: bool = True,
) -> int:
    """Run the classifiers over the clip, print the figures and write the page; the exit status.

    Raises StreamferError if the clip cannot be read, a component cannot start, or no face was found.
    """
    from streamfer.config import for_comparison
    from streamfer.plugins import build

    with needs_training("compare --video"), TemporaryDirectory(prefix="streamfer-compare-") as folder:
        from streamfer.training.compare_report import MARKDOWN, PAGE
        from streamfer.training.compare_video import measure, watched
        from streamfer.training.compare_video_page import write_report

        results = Path(folder) / "results.jsonl"
        config = for_comparison(clip, classifiers, results, plugins)
        recording = config.streams[0].source
        source = build(recording)
        source.open()  # one line for what is no video, before anything is started
        source.close()
        check_json(json_out)
        for page in (PAGE, MARKDOWN):
            check_writable(out / page, f"--out {out}")
        outcome = _run(config)
        if outcome.status == INTERRUPTED:
            print("interrupted: nothing was compared", file=sys.stderr)
            return outcome.status
        found = watched(clip, results, {one.label: one.labels for one in config.classifiers})
        refuse_nothing(found, outcome)
        figures = measure(found, config, [line.partition(": ")[2] for line in outcome.errors])
        if json_out != STDOUT:
            _show(figures)
        write_json(figures, json_out)
        for written in write_report(figures, found, recording, out, faces=faces):
            print(f"wrote {written}", file=sys.stderr)
    return outcome.status


def _run(config: Config) -> Outcome:
    """The service itself, with its progress on standard error."""
    from streamfer.cli.display import Display
    from streamfer.service import run

    with Display(quiet_progress=False) as display:
        outcome = run(config, display)
    display.errors(outcome)
    return outcome


def refuse_nothing(found: Watched, outcome: Outcome) -> None:
    """UsageError where there is nothing to compare; typer.Exit where what went wrong has been said."""
    if any(track.seen for track in found.tracks):
        return
    if outcome.errors:
        raise typer.Exit(outcome.status)
    if not found.tracks:
        raise UsageError(
            f"{found.clip}: no face was found in its {found.frames:,} frames: there is nothing to compare"
        )
    raise UsageError(
        f"{found.clip}: faces were found, but none was large and sharp enough to be classified: there is "
        "nothing to compare"
    )


def _show(figures: Mapping[str, Any]) -> None:
    """What is shown in a terminal, at most 80 columns wide where names are short."""
    from rich.console import Console

    console = Console(highlight=False)
    for table in _tables(figures):
        console.print(table)


def _tables(figures: Mapping[str, Any]) -> Iterator[Table]:
    from rich.table import Table

    from streamfer.cli.tables import plain, span
    from streamfer.training.compare_video_page import figure, share

    table = Table(box=None, pad_edge=False)
    table.add_column("classifier", overflow="fold")
    for head in ("faces", "for", "changes/s", "unsmoothed", "confidence", "warming"):
        table.add_column(head, justify="right")
    for one in figures["classifiers"]:
        steady = (figure(one["flicker"]), figure(one["raw_flicker"]))
        table.add_row(
            plain(one["name"]),
            f"{one['faces']:,}",
            span(one["track_seconds"]),
            *steady,
            share(one["confidence"]),
            share(one["warming"]),
        )
    yield table
    if figures["pairs"]:
        table = Table(box=None, pad_edge=False)
        table.add_column("\nclassifiers", overflow="fold")
        for head in ("\nagree", "\nof faces"):
            table.add_column(head, justify="right")
        for one in figures["pairs"]:
            table.add_row(plain(f"{one['first']}, {one['second']}"), share(one["share"]), f"{one['faces']:,}")
        yield table
