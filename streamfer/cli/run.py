"""`streamfer run`: a configuration, or just a recording."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamfer.errors import UsageError

if TYPE_CHECKING:
    from streamfer.config import Config

Classifiers = Annotated[
    list[str] | None,
    typer.Option(
        "--classifier",
        "-c",
        metavar="NAME",
        help="Classifier to run, see [bold]streamfer plugins[/]. Repeat it to compare several side by side.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def run(
        target: Annotated[
            Path, typer.Argument(metavar="CONFIG|RECORDING", help="A YAML configuration, or a video file.")
        ],
        classifier: Classifiers = None,
        out: Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="Where results go (recording only; default: out/NAME)."),
        ] = None,
        video: Annotated[
            bool, typer.Option("--video", help="Also write an annotated MP4 (recording only).")
        ] = False,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier results.")] = False,
        resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run ended.")] = False,
        overrides: Annotated[
            list[str] | None,
            typer.Option(
                "--set",
                metavar="KEY=VALUE",
                help="Change one setting of the configuration, such as detector.width=640. Repeatable.",
            ),
        ] = None,
    ) -> None:
        """Analyse recordings and write the results.

        With a configuration, everything is as it says. With a recording alone, the results go to a
        folder as results.jsonl and results.db.

        Exit status: 0 done, 2 bad configuration or usage, 3 a component could not start, 4 a component
        failed for good, 130 interrupted (Ctrl+C finishes the frames under way; twice stops at once).
        """
        if overwrite and resume:
            raise UsageError("--overwrite and --resume exclude each other: choose one")
        config = _config(target, classifier or [], out, overrides or [], video=video)
        if not (overwrite or resume):
            _refuse(target, config, out)
        from streamfer.cli.display import show

        raise typer.Exit(show(config, resume=resume))


def is_config(target: Path) -> bool:
    """Whether `run` takes this for a configuration: YAML by its name."""
    return target.suffix.lower() in (".yaml", ".yml")


def default_out(recording: Path) -> Path:
    """Where the results of a recording go unless --out says otherwise."""
    return Path("out") / recording.stem


def _config(
    target: Path, classifiers: list[str], out: Path | None, overrides: list[str], *, video: bool
) -> Config:
    from streamfer.config import for_recording, load

    if is_config(target):
        if out is not None or video or classifiers:
            raise UsageError(
                "--out, --video and --classifier go with a recording; a configuration has sinks and "
                "classifiers of its own (change them with --set)"
            )
        return load(target, overrides=overrides)
    if overrides:
        raise UsageError(
            "--set goes with a configuration; a recording alone takes --classifier, --out, --video"
        )
    return for_recording(target, classifiers or ["cnn"], out or default_out(target), video)


def _refuse(target: Path, config: Config, out: Path | None) -> None:
    from streamfer.service import refuse_to_overwrite

    if not is_config(target):
        directory = out or default_out(target)
        if directory.is_dir() and any(directory.iterdir()):
            raise UsageError(
                f"{directory}: is not empty; --resume goes on with what is there, --overwrite replaces it, "
                "--out chooses another place"
            )
    refuse_to_overwrite(config)
