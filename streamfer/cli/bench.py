"""`streamfer bench`: how fast this machine is, as ratios within one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamfer.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def bench(
        out: Annotated[
            Path | None, typer.Option(metavar="FILE", help="Also write the report, as Markdown.")
        ] = None,
        clip: Annotated[
            Path | None,
            typer.Option(metavar="RECORDING", help="Measure this recording (default: a synthetic one)."),
        ] = None,
        classifier: Annotated[
            str, typer.Option("--classifier", "-c", metavar="NAME", help="Measure with this classifier.")
        ] = "cnn",
        frames: Annotated[int, typer.Option(min=300, help="Frames of the synthetic clip.")] = 1000,
    ) -> None:
        """Measure the pipeline against the same work in one plain loop, one thread a component.

        Then what a step of each temporal classifier costs, for windows of several lengths where the train
        extra is installed.

        Takes about four minutes. Let the machine do nothing else meanwhile: what counts are the ratios, but
        they too suffer from a busy neighbour.
        """
        from rich.console import Console

        from streamfer.benchmark.report import markdown, measure
        from streamfer.inference.described import find, with_mode
        from streamfer.plugins import Registry

        if clip is not None and not clip.is_file():
            raise UsageError(f"{clip}: no such file")
        find(Registry.discover(), *with_mode(classifier))
        console = Console(stderr=True, highlight=False)
        report = markdown(*measure(frames, clip, console.print, classifier), frames, clip, classifier)
        typer.echo(report)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(report, "utf-8")
            console.print(f"wrote {out}")
