"""`streamfer bench`: how fast this machine is, as ratios within one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def bench(
        out: Annotated[
            Path | None, typer.Option(metavar="FILE", help="Also write the tables to a Markdown file.")
        ] = None,
        frames: Annotated[int, typer.Option(min=100, help="Frames of the measured clip.")] = 600,
    ) -> None:
        """Measure the pipeline against the same work in one plain loop, one thread per component."""
        from streamfer.benchmark import main

        main(out, frames)
