"""`streamfer demo`: the whole pipeline on the clip that ships with streamfer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamfer.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def demo(
        out: Annotated[Path, typer.Option(metavar="DIR", help="Where results go; replaced.")] = Path(
            "out/demo"
        ),
    ) -> None:
        """Analyse the sample clip: two portraits in motion, found, tracked and classified.

        Writes results.jsonl, results.db and annotated.mp4.
        """
        from streamfer.cli.display import show
        from streamfer.config import for_recording
        from streamfer.data import sample_clip

        ours = {"results.jsonl", "results.db", "annotated.mp4"}
        if out.is_dir() and (foreign := sorted({path.name for path in out.iterdir()} - ours)):
            raise UsageError(
                f"{out}: holds {foreign[0]}, which is not the demo's; choose another place with --out"
            )
        config = for_recording(sample_clip(), ["cnn"], out, True)
        status = show(config)
        if status == 0:
            typer.echo(
                f"\nLook at {out / 'annotated.mp4'} in any player, or ask the database:\n"
                f"  sqlite3 {out / 'results.db'} 'SELECT * FROM who_showed_what_when'\n"
                "Then try it on a clip of your own:\n  streamfer run CLIP.mp4 --video"
            )
        raise typer.Exit(status)
