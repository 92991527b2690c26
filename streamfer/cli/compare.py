"""`streamfer compare`: several classifiers, as they are served, on the same labelled faces."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamfer.cli.extras import needs_training, read_faces
from streamfer.cli.measuring import (
    STDOUT,
    Faces,
    JsonFile,
    PluginFiles,
    Resamples,
    Split,
    Timing,
    check_json,
    check_writable,
    progress,
    write_json,
)
from streamfer.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def compare(
        data: Faces,
        classifiers: Annotated[
            list[str] | None,
            typer.Argument(metavar="NAME", help="Classifiers, each with its plugin's own model."),
        ] = None,
        model: Annotated[
            list[str] | None,
            typer.Option(
                "--model",
                metavar="NAME=CARD",
                help="One more: this network with this model, a card.json or PACKAGE:PATH. Repeatable.",
            ),
        ] = None,
        split: Split = "PrivateTest",
        only: Annotated[
            str | None,
            typer.Option(
                metavar="LABELS",
                help="Only the rows of these labels, comma-separated, and the answers restricted to them.",
            ),
        ] = None,
        out: Annotated[
            Path | None,
            typer.Option(
                metavar="DIR", help="Also write the page: DIR/index.html, DIR/compare.md and their plots."
            ),
        ] = None,
        json_out: JsonFile = None,
        resamples: Resamples = 1000,
        timing: Timing = True,
        plugin: PluginFiles = None,
    ) -> None:
        """Compare classifiers on the same faces: which differences are more than noise, and at what cost.

        Differences to the first one are shown, so name it first. Published figures stand beside the measured
        ones, where they are known.
        """
        from rich.console import Console

        with needs_training("compare"):
            names, models = classifiers or [], [_pair(one) for one in model or ()]
            if len(names) + len(models) < 2:
                raise UsageError(
                    "compare needs two classifiers or more: NAME NAME, or NAME --model NAME=CARD"
                )
            check_json(json_out)
            if out is not None:
                for page in ("index.html", "compare.md"):
                    check_writable(out / page, f"--out {out}")
                from streamfer.training.compare_report import write_report
            from streamfer.training.compare import compare as measure
            from streamfer.training.compare import enter

            entrants = enter(names, models, plugin or ())
            faces = read_faces(data)
            with progress("compare", len(entrants) * len(faces.rows(split))) as advance:
                figures = measure(
                    entrants,
                    faces,
                    split,
                    classes=only.split(",") if only is not None else (),
                    resamples=resamples,
                    timed=timing,
                    advance=advance,
                )
            if json_out != STDOUT:
                console = Console(highlight=False)
                for part in _summary(figures):
                    console.print(part)
            write_json(figures, json_out)
            if out is not None:
                for written in write_report(figures, out):
                    print(f"wrote {written}", file=sys.stderr)


def _pair(model: str) -> tuple[str, str]:
    name, _, card = model.partition("=")
    if not name or not card:
        raise UsageError(f"--model {model}: expected NAME=CARD, such as cnn=models/cnn/card.json")
    return name, card


def _summary(figures: dict[str, Any]) -> Iterator[RenderableType]:
    """What is shown in a terminal, at most 80 columns wide where names are short."""
    from rich.markup import escape
    from rich.table import Table

    from streamfer.training.compare_page import LIKE_BEST
    from streamfer.training.metrics import text

    shown = figures["classifiers"]
    where = f"{figures['n']:,} rows of {figures['split']} of {escape(figures['data']['name'])}"
    yield f"[bold]{len(shown)} classifiers[/] on {where}\n"
    table = Table("", *_heads("accuracy", "macro F1", "ECE", "ms", "MB"), box=None, pad_edge=False)
    marks = {row["key"]: row for row in figures["figures"] if row["rows"] == "all rows"}
    for place, one in enumerate(shown):
        cells = []
        for key, value in (
            ("accuracy", one["accuracy"]),
            ("macro.f1", one["macro"]["f1"]),
            ("ece", one["ece"]),
        ):
            cell = text(value, interval=key == "accuracy")
            if marks[key]["best"] == place:
                cell = f"[bold]{cell}[/]"
            elif place in marks[key]["not_distinguishable"]:
                cell = LIKE_BEST + cell
            cells.append(cell)
        speed, size = one["ms_per_face"], one["size_bytes"]
        cells.append(f"{speed['batch_1']['value']:.2f}" if speed else "–")
        cells.append(f"{size / 1e6:.2f}" if size else "–")
        table.add_row(escape(one["title"]), *cells)
    yield table
    yield ""
    for sentence in figures["reading"]:
        yield f"• {escape(sentence)}"
    yield (
        f"\n[dim]In brackets: 95 % intervals. Bold: the best; {LIKE_BEST.strip()}: not distinguishable from "
        "it. p: McNemar's exact test, Holm's correction.[/]"
    )
    for note in figures["notes"]:
        yield f"[yellow]Note:[/] {escape(note)}"


def _heads(*names: str) -> Iterator[Any]:
    from rich.table import Column

    for name in names:
        yield Column(name, justify="right")
