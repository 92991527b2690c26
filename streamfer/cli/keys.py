"""`streamfer keys`: CURVE key pairs for a sink that publishes to other hosts, and for its clients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def keys(
        directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the keys lie, or will.")],
        client: Annotated[
            list[str] | None,
            typer.Option("--client", metavar="NAME", help="Make a client's keys and let it in. Repeatable."),
        ] = None,
    ) -> None:
        """Make CURVE keys: the server's, and with --client those of its clients. No key is ever replaced.

        docs/security.md says how they are used.
        """
        from streamfer import keys as pairs

        names = client or []
        for name in names:
            pairs.check_name(name)
        if not names or not (directory / "server.secret").exists():
            secret, public = pairs.make_server(directory)
            typer.echo(f"{secret} stays with the service (sinks: keys: {directory}) and is shown to nobody.")
            typer.echo(f"{public} goes to every client.")
        for name in names:
            secret, public = pairs.make_client(directory, name)
            typer.echo(
                f"{secret} goes to {name}, with {directory / 'server.public'}: move it there, keep no copy."
            )
            typer.echo(f"{public} stays: it lets {name} in; remove it to lock {name} out.")
