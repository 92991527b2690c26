"""The `streamfer` command: one subcommand a file, each registered on start."""

from __future__ import annotations

import sys
from importlib import import_module

import typer

from streamfer.errors import StreamferError
from streamfer.redact import redact

COMMANDS = (
    "run",
    "status",
    "demo",
    "predict",
    "check",
    "plugins",
    "schema",
    "doctor",
    "keys",
    "dataset",
    "train",
    "export",
    "evaluate",
    "compare",
    "bench",
)
"""Subcommands in the order of the help text; each is a module with `register(app)`."""

HELP = """Facial-expression analytics on video.

Point it at a recording and get, for every face in every frame, who it is (a track),
where it is (a box) and what it shows (seven expressions): JSON Lines, a SQLite database,
an annotated video.

[bold]streamfer demo[/] shows all of it on a sample clip; [bold]streamfer run clip.mp4[/] takes your own."""


def make_app() -> typer.Typer:
    """The command with its own subcommands and those of plugins."""
    app = typer.Typer(
        help=HELP,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(invoke_without_command=True)
    def version(
        show: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
    ) -> None:
        if show:
            from streamfer import __version__

            typer.echo(f"streamfer {__version__}")
            raise typer.Exit

    for name in COMMANDS:
        import_module(f"streamfer.cli.{name}").register(app)
    return app


def main() -> None:
    """Entry point: an expected error is one line on standard error and its exit status."""
    app = make_app()
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-") and sys.argv[1] not in COMMANDS:
        from streamfer.plugins import Registry  # only a plugin can know this command

        Registry.discover().add_commands(app)
    try:
        app()
    except StreamferError as error:
        print(redact(str(error)), file=sys.stderr)
        sys.exit(error.status)
