"""`streamfer schema`: the JSON Schema of a configuration, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def schema(
        plugin: Annotated[
            list[Path] | None,
            typer.Option("--plugin", metavar="FILE", help="Include a local plugin file. Repeatable."),
        ] = None,
    ) -> None:
        """Print the JSON Schema of a configuration, with the options of every plugin that is installed.

        An editor that knows it completes keys and marks mistakes; docs/config.md says how to set it up.
        """
        import json

        from streamfer.config import schema as schema_of
        from streamfer.errors import UsageError
        from streamfer.plugins import Registry

        files = plugin or []
        registry = Registry.discover(files)
        for broken in registry.broken:
            if broken.origin.file in [file.absolute() for file in files]:
                raise UsageError(str(broken))
        typer.echo(json.dumps(schema_of(registry), indent=2, ensure_ascii=False))
