"""`streamfer export`: from a finished training run to a model that is served."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from streamfer.cli.extras import import_keras, needs_training, read_faces


class Weights(StrEnum):
    """How the exported model keeps its weights."""

    INT8 = "int8"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def export(
        run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished training run.")],
        data: Annotated[
            Path,
            typer.Option("--data", metavar="FILE-OR-FOLDER", help="The faces that it was trained on."),
        ],
        out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the model and its card.")],
        weights: Annotated[
            Weights,
            typer.Option(
                help="int8 is a quarter of the size, and mostly faster; float16 is half, at float32's speed."
            ),
        ] = Weights.INT8,
        keras: Annotated[
            bool,
            typer.Option("--keras", help="Write NAME.keras too, which runtime: tensorflow serves."),
        ] = False,
        private_test: Annotated[
            bool,
            typer.Option(
                "--private-test",
                help="Measure PrivateTest too, for the card: once, when every choice is made.",
            ),
        ] = False,
    ) -> None:
        """Make the LiteRT model of a run: calibrated on PublicTest, compared with Keras, with its card.

        Serve it with [bold]classifiers: \\[{name: cnn, model: DIR/card.json}][/].
        """
        with needs_training("export"):
            from streamfer.training.export import export as make

            faces = read_faces(data)
            import_keras()
            card = make(run, faces, out, weights=weights.value, keras_file=keras, private_test=private_test)
        _show(card, out)


def _show(card: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from streamfer.training.readme import percent

    table = Table("split", "faces", "accuracy", "without train duplicates", "ECE")
    for split, figures in card["metrics"].items():
        shown = (figures.get(key) for key in ("accuracy", "accuracy_without_duplicates", "ece"))
        table.add_row(split, f"{figures['n']:,}", *map(percent, shown))
    console = Console()
    console.print(table)
    agreement = card["weights"]
    console.print(
        f"{out / card['file']}: {card['size_bytes']:,} bytes with {agreement['type']} weights, "
        f"{agreement['same_answer_as_keras']:.2%} the same answers as Keras",
        highlight=False,
        soft_wrap=True,
    )
