"""`streamfer check`: is this configuration right, and what would run?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamfer.config import Config


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def check(
        config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML configuration.")],
        overrides: Annotated[
            list[str] | None,
            typer.Option(
                "--set",
                metavar="KEY=VALUE",
                help="Change one setting of the configuration, such as detector.width=640. Repeatable.",
            ),
        ] = None,
    ) -> None:
        """Check a configuration and say what it would run; nothing is started.

        Everything that is wrong is listed at once, with file, line and key. Exit status: 0 all right, 2 not.
        """
        from streamfer.config import load

        typer.echo(summary(load(config, overrides=overrides or [])))


def summary(config: Config) -> str:
    """What a configuration runs, a line for each part."""
    everyone = tuple(one.label for one in config.classifiers)
    lines = []
    for stream in config.streams:
        source = f"{stream.source.name} {stream.source.options.get('path', '')}".strip()
        only = "" if stream.classifiers == everyone else f" (classifiers: {', '.join(stream.classifiers)})"
        lines.append(f"stream      {stream.name}: {source}{only}")
    detector = config.detector
    every = detector.faces.full_every
    often = "every frame" if every == 1 else f"the whole frame every {every}"
    lines.append(
        f"detector    {detector.spec.name}: width {detector.width}, {often}{_workers(detector.workers)}"
    )
    lines.append(f"tracker     {config.tracker.spec.name}")
    for one in config.classifiers:
        what = f"{one.label}: {one.spec.name}" if one.label != one.spec.name else one.label
        lines.append(f"classifier  {what}{_workers(one.workers)}")
    for sink in config.sinks:
        what = sink.label if sink.label == sink.spec.name else f"{sink.label}: {sink.spec.name}"
        lines.append(f"sink        {what} {sink.spec.options.get('path', '')}".rstrip())
    if config.metrics is not None:
        host = f"[{config.metrics.host}]" if ":" in config.metrics.host else config.metrics.host
        lines.append(f"metrics     http://{host}:{config.metrics.port}/metrics")
    if config.privacy.blur:
        lines.append("privacy     faces are blurred")
    return "\n".join([f"{config.path}: ok", *lines])


def _workers(number: int) -> str:
    return f", {number} workers" if number > 1 else ""
