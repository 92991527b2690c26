"""`streamfer predict`: faces and expressions of single pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from streamfer.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def predict(
        pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE…", help="JPEG, PNG, … files.")],
        classifier: Annotated[
            str,
            typer.Option(
                "--classifier", "-c", metavar="NAME", help="What answers; NAME:MODE for one of its modes."
            ),
        ] = "cnn",
        model: Annotated[
            Path | None,
            typer.Option(
                "--model",
                "-m",
                metavar="CARD",
                help="The card.json of an exported model (default: the one that the classifier ships).",
            ),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="One line of JSON per picture.")] = False,
    ) -> None:
        """Name the expressions of the faces in pictures.

        The same in Python: [bold]streamfer.predict("photo.jpg")[/] gives a list of faces.
        """
        import msgspec
        from rich.console import Console
        from rich.table import Column, Table

        from streamfer.stills import predict as classify

        table = Table(
            Column("picture", overflow="fold"), "face", "box (x, y, w, h)", "expression", "next best"
        )
        failures = []
        for picture in pictures:
            try:
                faces = classify(picture, classifier=classifier, model=model)
            except UsageError as error:
                failures.append(str(error))
                continue
            if as_json:
                line = msgspec.json.encode({"picture": str(picture), "faces": faces})
                typer.echo(line.decode())
                continue
            if not faces:
                table.add_row(str(picture), "–", "", "no face found", "")
            for face in faces:
                ranked = sorted((face.probabilities or {}).items(), key=lambda item: -item[1])
                shown = [f"{label} {value:.0%}" for label, value in ranked[:2]] or [face.status, ""]
                box = ", ".join(f"{value:.0f}" for value in face.box)
                table.add_row(str(picture), str(face.track), box, *shown)
        if table.row_count:
            Console().print(table)
        for failure in failures:
            print(failure, file=sys.stderr)
        if failures:
            raise typer.Exit(2)
