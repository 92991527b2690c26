"""`streamfer evaluate`: how good a classifier is, as it is served, on labelled faces."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streamfer.cli.extras import needs_training, read_faces
from streamfer.cli.measuring import (
    DISTURBED,
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

if TYPE_CHECKING:
    from rich.console import RenderableType


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def evaluate(
        classifier: Annotated[
            str,
            typer.Option(
                "--classifier", "-c", metavar="NAME", help="What is measured; NAME:MODE for one of its modes."
            ),
        ],
        data: Faces,
        split: Split = "PrivateTest",
        model: Annotated[
            str | None,
            typer.Option(
                metavar="CARD", help="Another model of this network: its card.json or PACKAGE:PATH."
            ),
        ] = None,
        runtime: Annotated[
            Literal["litert", "tensorflow"] | None, typer.Option(help="What runs the network.")
        ] = None,
        json_out: JsonFile = None,
        report: Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="Also write a page with plots and mistakes: DIR/index.html."),
        ] = None,
        resamples: Resamples = 1000,
        timing: Timing = True,
        plugin: PluginFiles = None,
    ) -> None:
        """Measure a classifier as it is served: accuracy, calibration, each class, speed.

        Every figure comes with its 95 % interval, on all rows of the split and on those whose picture does
        not stand in Training too. The report shows faces of the data.
        """
        from rich.console import Console

        with needs_training("evaluate"):
            check_json(json_out)
            if report is not None:
                check_writable(report / "index.html", f"--report {report}")
                from streamfer.training.report import write_report
            from streamfer.training.evaluate import evaluate as measure
            from streamfer.training.evaluate import open_classifier

            served = open_classifier(classifier, model, runtime, plugin or ())
            faces = read_faces(data)
            with progress(classifier, len(faces.rows(split))) as advance:
                found = measure(served, faces, split, resamples=resamples, timed=timing, advance=advance)
            if json_out != STDOUT:
                console = Console(highlight=False)
                for part in _tables(served.title, found.figures):
                    console.print(part)
            write_json(found.figures, json_out)
            if report is not None:
                print(f"wrote {write_report(found, report)}", file=sys.stderr)


def _tables(title: str, figures: dict[str, Any]) -> Iterator[RenderableType]:
    """What is shown in a terminal, at most 80 columns wide."""
    from rich.markup import escape
    from rich.table import Table

    from streamfer.training.metrics import text

    data, without = figures["data"], figures["without_duplicates"]
    yield f"[bold]{escape(title)}[/] on {figures['split']} of {escape(data['name'])}\n"
    sets = [figures, without] if without else [figures]
    table = Table(
        "", "all rows", *(["without train duplicates"] if without else []), box=None, pad_edge=False
    )
    table.add_row("rows", *(f"{one['n']:,}" for one in sets))
    table.add_row("[bold]accuracy[/]", *(f"[bold]{text(one['accuracy'])}[/]" for one in sets))
    for mean in ("macro", "weighted"):
        for kind in ("precision", "recall", "f1"):
            name = "F1" if kind == "f1" else kind
            table.add_row(f"{name}, {mean}", *(text(one[mean][kind]) for one in sets))
    table.add_row("AUC, one vs rest", *(text(one["auc"], percent=False) for one in sets))
    table.add_row("calibration error", *(text(one["ece"]) for one in sets))
    if (ferplus := figures["ferplus"]) and ferplus["accuracy"]:
        table.add_row("FER+ majority", f"{text(ferplus['accuracy'])}, {ferplus['n']:,} rows")
    yield table

    table = Table("\nclass", "\nrows", box=None, pad_edge=False)
    for heading in ("precision", "recall", "F1", "AUC"):
        table.add_column(f"\n{heading}", justify="right")
    table.columns[1].justify = "right"
    for label, one in figures["per_class"].items():
        shown = (text(one[kind], interval=kind == "f1") for kind in ("precision", "recall", "f1"))
        table.add_row(escape(label), f"{one['support']:,}", *shown, text(one["auc"], percent=False))
    yield table

    yield f"\n{_cost(figures)}".rstrip()
    yield "[dim]In brackets: 95 % intervals, by bootstrap over the rows.[/]"
    for note in figures["notes"]:
        yield f"[yellow]Note:[/] {escape(note)}"


def _cost(figures: dict[str, Any]) -> str:
    facts = []
    if figures["parameters"] is not None:
        facts.append(f"{figures['parameters']:,} parameters")
    if figures["flops"] is not None:
        facts.append(f"{figures['flops'] / 1e6:,.1f} MFLOPs a face")
    if figures["size_bytes"] is not None:
        facts.append(f"{figures['size_bytes']:,} bytes")
    speed = figures["ms_per_face"]
    if speed is None:
        return ", ".join(facts)
    one, eight = speed["batch_1"], speed["batch_8"]
    timing = (
        f"{one['value']:.2f} ms a face on one core "
        f"(90 % of the calls: {one['low']:.2f} to {one['high']:.2f}), {eight['value']:.2f} in batches of 8"
    )
    if speed["core_share"] < DISTURBED:
        timing += f"; other programs took {100 - 100 * speed['core_share']:.0f} % of the core"
    return ", ".join(facts) + ("\n" if facts else "") + timing
