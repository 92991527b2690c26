"""`streamfer check`: is this configuration right, and what would run?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamfer.errors import UsageError
from streamfer.redact import redact

if TYPE_CHECKING:
    from streamfer.config import ClassifierConfig, Config, StreamConfig


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def check(
        config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML configuration.")],
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
        from streamfer.config import live_target, load

        if live_target(config) is not None:
            raise UsageError("check is for configurations; a camera alone goes to: streamfer run CAMERA")
        typer.echo(summary(load(Path(config), overrides=overrides or [])))


def summary(config: Config) -> str:
    """What a configuration runs, a line for each part."""
    lines = [f"stream      {_stream(stream, config)}" for stream in config.streams]
    detector = config.detector
    every = detector.faces.full_every
    often = "every frame" if every == 1 else f"the whole frame every {every}"
    lines.append(
        f"detector    {detector.spec.name}: width {detector.width}, {often}{_workers(detector.workers)}"
    )
    lines.append(f"tracker     {config.tracker.spec.name}")
    for one in config.classifiers:
        what = f"{one.label}: {one.spec.name}" if one.label != one.spec.name else one.label
        lines.append(f"classifier  {what}{_members(one)}{_workers(one.workers)}")
    for sink in config.sinks:
        what = sink.label if sink.label == sink.spec.name else f"{sink.label}: {sink.spec.name}"
        lines.append(f"sink        {what} {sink.spec.options.get('path', '')}".rstrip())
    if config.metrics is not None:
        host = f"[{config.metrics.host}]" if ":" in config.metrics.host else config.metrics.host
        lines.append(f"metrics     http://{host}:{config.metrics.port}/metrics")
    if config.privacy.blur:
        lines.append("privacy     faces are blurred")
    return "\n".join([f"{config.path}: ok", *lines])


def _stream(stream: StreamConfig, config: Config) -> str:
    """One stream, and what is its own."""
    options = stream.source.options
    where = next((options[key] for key in ("path", "url", "device") if key in options), "")
    notes = []
    if stream.live is not None:
        notes.append("live" if stream.live.fps is None else f"live, at most {stream.live.fps:g} frames/s")
    for what, number in (("region", len(stream.regions)), ("mask", len(stream.masks))):
        if number:
            notes.append(f"{number} {what}{'s' if number > 1 else ''}")
    usual = {**config.detector.faces.model_dump(), "width": config.detector.width}
    own = {**stream.faces.model_dump(), "width": stream.width}
    notes += [f"{key}: {value:g}" for key, value in own.items() if value != usual[key]]
    if stream.classifiers != tuple(one.label for one in config.classifiers):
        notes.append(f"classifiers: {', '.join(stream.classifiers)}")
    source = redact(f"{stream.source.name} {where}".strip())
    return f"{stream.name}: {source}" + (f" ({', '.join(notes)})" if notes else "")


def _members(classifier: ClassifierConfig) -> str:
    """With whom a classifier that combines answers, and with which weights."""
    told = [
        one.component.name + (f" × {one.weight:g}" if one.weight != 1 else "")
        for one in classifier.spec.members
    ]
    return f" of {', '.join(told)}" if told else ""


def _workers(number: int) -> str:
    return f", {number} workers" if number > 1 else ""
