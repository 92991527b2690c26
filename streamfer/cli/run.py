"""`streamfer run`: a configuration, just a recording, or just a camera."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streamfer.errors import UsageError

if TYPE_CHECKING:
    from streamfer.config import Config, LiveTarget

Classifiers = Annotated[
    list[str] | None,
    typer.Option(
        "--classifier",
        "-c",
        metavar="NAME",
        help="Classifier to run, see [bold]streamfer plugins[/]; NAME:MODE for one of its modes. Repeat it "
        "to compare several side by side.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    # What stands behind the target is refused here: typer's own error would show it, passwords included.
    @app.command(context_settings={"allow_extra_args": True})
    def run(
        context: typer.Context,
        target: Annotated[
            str,
            typer.Argument(
                metavar="CONFIG|RECORDING|CAMERA",
                help="A YAML configuration, a video file, an address such as rtsp://HOST/PATH, or webcam:0.",
            ),
        ],
        classifier: Classifiers = None,
        out: Annotated[
            Path | None,
            typer.Option(
                metavar="DIR", help="Where results go (not with a configuration; default: out/NAME)."
            ),
        ] = None,
        video: Annotated[
            bool, typer.Option("--video", help="Also write an annotated MP4 (not with a configuration).")
        ] = False,
        transport: Annotated[
            Literal["tcp", "udp"] | None,
            typer.Option(help="How the pictures of an rtsp:// address travel (default: tcp)."),
        ] = None,
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
        log_format: Annotated[
            Literal["text", "json"], typer.Option(help="How messages are written: for people, or as JSON.")
        ] = "text",
    ) -> None:
        """Analyse recordings or cameras and write the results.

        With a configuration, everything is as it says. With a recording or a camera alone, the results go to
        a folder as results.jsonl and results.db. What cameras wrote before is gone on with.

        Exit status: 0 done, 2 bad configuration or usage, 3 a component could not start, 4 a component
        failed for good, 130 interrupted (Ctrl+C finishes the frames under way; twice stops at once).
        """
        try:
            if context.args:
                raise UsageError(
                    "one target at a time; several recordings or cameras go into a configuration"
                )
            if overwrite and resume:
                raise UsageError("--overwrite and --resume exclude each other: choose one")
            config = _config(target, classifier or [], out, overrides or [], transport, video=video)
            if not (overwrite or resume):
                _refuse(target, config, out)
        except UsageError as error:
            if log_format == "text":
                raise
            from streamfer.cli.display import JsonLines

            JsonLines().failed(error)
            raise typer.Exit(error.status) from error
        from streamfer.cli.display import show

        resume = resume or (config.live and not overwrite)
        raise typer.Exit(show(config, resume=resume, log_format=log_format))


def _config(
    target: str,
    classifiers: list[str],
    out: Path | None,
    overrides: list[str],
    transport: str | None,
    *,
    video: bool,
) -> Config:
    from streamfer.config import for_live, for_recording, live_target, load

    camera = live_target(target)
    if transport is not None:
        camera = _with_transport(camera, transport)
    if camera is None and _is_config(target):
        if out is not None or video or classifiers:
            raise UsageError(
                "--out, --video and --classifier go with a recording or a camera; a configuration has sinks "
                "and classifiers of its own (change them with --set)"
            )
        return load(Path(target), overrides=overrides)
    if overrides:
        raise UsageError(
            "--set goes with a configuration; a recording or a camera alone takes --classifier, --out and "
            "--video"
        )
    if camera is not None:
        return for_live(camera, classifiers, out or Path("out") / camera.name, video)
    recording = Path(target)
    return for_recording(recording, classifiers, out or _default_out(recording), video)


def _with_transport(camera: LiveTarget | None, transport: str) -> LiveTarget:
    if camera is None or camera.entry["source"] != "rtsp":
        raise UsageError("--transport goes with an rtsp:// address alone")
    return replace(camera, entry={**camera.entry, "transport": transport})


def _is_config(target: str) -> bool:
    """Whether a path is taken for a configuration: YAML by its name."""
    return Path(target).suffix.lower() in (".yaml", ".yml")


def _default_out(recording: Path) -> Path:
    """Where the results of a recording go unless --out says otherwise."""
    return Path("out") / recording.stem


def _refuse(target: str, config: Config, out: Path | None) -> None:
    from streamfer.service import refuse_to_overwrite

    if not config.live and not _is_config(target):
        directory = out or _default_out(Path(target))
        if directory.is_dir() and any(directory.iterdir()):
            raise UsageError(
                f"{directory}: is not empty; --resume goes on with what is there, --overwrite replaces it, "
                "--out chooses another place"
            )
    refuse_to_overwrite(config)
