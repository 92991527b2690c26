"""`streamfer evaluate`: how good a classifier is, as it is served, on labelled faces."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streamfer.cli.extras import needs_training, read_faces
from streamfer.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

_STDOUT = Path("-")
_DISTURBED = 0.9
"""Share of the core below which the timing is said to be disturbed."""


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def evaluate(
        classifier: Annotated[str, typer.Option("--classifier", "-c", metavar="NAME")],
        data: Annotated[
            Path,
            typer.Option(
                "--data",
                metavar="FILE-OR-FOLDER",
                help="Faces: a file of [bold]streamfer dataset import[/], fer2013.csv, a folder of classes.",
            ),
        ],
        split: Annotated[str, typer.Option(help="Training, PublicTest or PrivateTest.")] = "PrivateTest",
        model: Annotated[
            str | None,
            typer.Option(
                metavar="CARD", help="Another model of this network: its card.json or PACKAGE:PATH."
            ),
        ] = None,
        runtime: Annotated[
            Literal["litert", "tensorflow"] | None, typer.Option(help="What runs the network.")
        ] = None,
        json_out: Annotated[
            Path | None,
            typer.Option(
                "--json", metavar="OUT", help="Also write the figures to this file; - : print them."
            ),
        ] = None,
        report: Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="Also write a page with plots and mistakes: DIR/index.html."),
        ] = None,
        resamples: Annotated[
            int, typer.Option(min=100, max=100_000, help="Bootstrap resamples behind each interval.")
        ] = 1000,
        timing: Annotated[
            bool, typer.Option(help="Measure the time per face too; senseless on a busy machine.")
        ] = True,
        plugin: Annotated[
            list[Path] | None,
            typer.Option("--plugin", metavar="FILE", help="Include a local plugin file. Repeatable."),
        ] = None,
    ) -> None:
        """Measure a classifier as it is served: accuracy, calibration, each class, speed.

        Every figure comes with its 95 % interval, on all rows of the split and on those whose picture does
        not stand in Training too. The report shows faces of the data.
        """
        from rich.console import Console

        with needs_training("evaluate"):
            if json_out is not None and json_out != _STDOUT:
                _check_writable(json_out, f"--json {json_out}")
            if report is not None:
                _check_writable(report / "index.html", f"--report {report}")
                from streamfer.training.report import write_report
            from streamfer.training.evaluate import evaluate as measure
            from streamfer.training.evaluate import open_classifier
            from streamfer.training.files import replace_file

            served = open_classifier(classifier, model, runtime, plugin or ())
            faces = read_faces(data)
            with _progress(classifier, len(faces.rows(split))) as advance:
                found = measure(served, faces, split, resamples=resamples, timed=timing, advance=advance)
            content = json.dumps(found.figures, indent=2, ensure_ascii=False) + "\n"
            if json_out == _STDOUT:
                sys.stdout.write(content)
            else:
                console = Console(highlight=False)
                for part in _tables(served.title, found.figures):
                    console.print(part)
            if json_out is not None and json_out != _STDOUT:
                try:
                    replace_file(json_out, content.encode())
                except OSError as error:
                    raise UsageError(f"--json {json_out}: cannot be written: {error.strerror}") from error
                print(f"wrote {json_out}", file=sys.stderr)
            if report is not None:
                print(f"wrote {write_report(found, report)}", file=sys.stderr)


def _check_writable(file: Path, option: str) -> None:
    """Find out now, and not after minutes, that `file` cannot be written; its folder is made."""
    draft = file.with_name(f".{file.name}.draft")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        draft.touch()
        draft.unlink()
    except OSError as error:
        raise UsageError(f"{option}: cannot be written: {error.strerror}") from error


@contextmanager
def _progress(name: str, faces: int) -> Iterator[Callable[[int], object]]:
    """A bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("faces"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=faces)
        yield lambda done: bar.advance(task, done)


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
    if speed["core_share"] < _DISTURBED:
        timing += f"; other programs took {100 - 100 * speed['core_share']:.0f} % of the core"
    return ", ".join(facts) + ("\n" if facts else "") + timing
