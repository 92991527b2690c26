"""`streamfer compare`: several classifiers, as they are served, on the same faces."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamfer.cli.extras import needs_training, read_faces
from streamfer.cli.measuring import (
    STDOUT,
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


ONE_FORM = {
    "split": ("--split", "--data"),
    "only": ("--only", "--data"),
    "resamples": ("--resamples", "--data"),
    "timing": ("--no-timing", "--data"),
    "smoothed": ("--smoothed", "--video"),
    "faces": ("--no-faces", "--video"),
}
"""Options that mean something in one form of the command only, and which."""

CARD = "NAME=CARD, such as cnn=models/cnn/card.json"
METHOD = "NAME=METHOD, such as cnn=ema"


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def compare(
        context: typer.Context,
        classifiers: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="NAME",
                help="Classifiers, each with its plugin's own model; NAME:MODE for one of its modes.",
            ),
        ] = None,
        model: Annotated[
            list[str] | None,
            typer.Option(
                "--model",
                metavar="NAME=CARD",
                help="One more: this network with this model, a card.json or PACKAGE:PATH. Repeatable.",
            ),
        ] = None,
        data: Annotated[
            Path | None,
            typer.Option(
                metavar="FILE-OR-FOLDER",
                help="Labelled faces: a file of [bold]streamfer dataset import[/], fer2013.csv, a folder of "
                "classes.",
            ),
        ] = None,
        video: Annotated[
            Path | None,
            typer.Option(metavar="CLIP", help="A recording instead: what each says of its faces over time."),
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
                metavar="DIR",
                help="Also write the page: DIR/index.html, DIR/compare.md and their plots. With --video it "
                "is written in any case (default: out/CLIP-compared).",
            ),
        ] = None,
        json_out: JsonFile = None,
        resamples: Resamples = 1000,
        timing: Timing = True,
        plugin: PluginFiles = None,
        smoothed: Annotated[
            list[str] | None,
            typer.Option(
                "--smoothed",
                metavar="NAME=METHOD",
                help="With --video, one more: this classifier with its answers smoothed by ema, hysteresis "
                "or hmm. Repeatable.",
            ),
        ] = None,
        faces: Annotated[
            bool,
            typer.Option(
                help="With --video: pictures of the faces, cut from the clip, above each timeline. They are "
                "stored as a part of the page."
            ),
        ] = True,
    ) -> None:
        """Compare classifiers on the same labelled faces (--data), or on the faces of a clip (--video).

        With --data: which differences are more than noise, and at what cost. Differences to the first one are
        shown, so name it first. Published figures stand beside the measured ones, where they are known.

        With --video: the service runs over the clip with all of them, and the page has for each face what
        each said of it over time, how often its label changed, and how often two agreed. The page shows
        pictures of the faces; --no-faces leaves them out.
        """
        _check_form(context, data, video)
        names, models = classifiers or [], [_pair(one, "model", CARD) for one in model or ()]
        if video is not None:
            from streamfer.cli.comparing import compare_video, entries

            chosen = entries(names, models, [_pair(one, "smoothed", METHOD) for one in smoothed or ()])
            folder = out or Path("out") / f"{video.stem}-compared"
            raise typer.Exit(compare_video(video, chosen, folder, json_out, plugin or (), faces=faces))
        assert data is not None  # the form says so
        from rich.console import Console

        with needs_training("compare"):
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
            labelled = read_faces(data)
            with progress("compare", len(entrants) * len(labelled.rows(split))) as advance:
                figures = measure(
                    entrants,
                    labelled,
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


def _check_form(context: typer.Context, data: Path | None, video: Path | None) -> None:
    """UsageError unless there is either data or a clip, and no option that only the other form has."""
    if (data is None) == (video is None):
        raise UsageError(
            "compare takes labelled faces or a clip: --data FILE-OR-FOLDER or --video CLIP, one of the two"
        )
    form = "--data" if data is not None else "--video"
    for name, (option, only) in ONE_FORM.items():
        source = context.get_parameter_source(name)
        if only != form and source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"{option} goes with {only}; leave it out with {form}")


def _pair(given: str, option: str, example: str) -> tuple[str, str]:
    name, _, value = given.partition("=")
    if not name or not value:
        raise UsageError(f"--{option} {given}: expected {example}")
    return name, value


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
