"""`streamfer status`: how a running service is."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec
import typer

from streamfer.errors import StartError, UsageError
from streamfer.redact import redact

if TYPE_CHECKING:
    from rich.console import Group

    from streamfer.status import Status

DEFAULT_URL = "http://127.0.0.1:9108"
_TIMEOUT = 5.0
_MOST_BYTES = 16 * 1024 * 1024
_EVERY = 1.0
_HUNG = 10.0
"""Seconds without a turn of the supervisor's loop after which it is taken for hung, as /healthz does."""


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def status(
        url: Annotated[
            str, typer.Option(metavar="URL", help="Where the service listens, as it says when it starts.")
        ] = DEFAULT_URL,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print the document as the service has it.")
        ] = False,
        watch: Annotated[
            bool, typer.Option("--watch", help="Show it anew every second until Ctrl+C.")
        ] = False,
    ) -> None:
        """Show how a running service is: its streams, its stages, and what is not ready.

        Exit status: 0 ready, 1 not ready, 3 not reachable.
        """
        address = base_of(url)
        if watch:
            with suppress(KeyboardInterrupt):
                _watch(address, as_json=as_json)
            return
        payload, found = fetch(address)
        if as_json:
            sys.stdout.write(payload.decode() + "\n")
        else:
            from rich.console import Console

            console = Console(highlight=False)
            console.print(view(found, console.width))
        raise typer.Exit(0 if _ready(found) else 1)


def base_of(url: str) -> str:
    """The service's address without the path of one of its endpoints; UsageError if it is no address."""
    text = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is no number
        usable = False
    if not usable:
        raise UsageError(f"--url {redact(url)}: expected an address such as {DEFAULT_URL}")
    path = parts.path.rstrip("/")
    for endpoint in ("/metrics", "/healthz", "/readyz", "/api/status"):
        path = path.removesuffix(endpoint)
    return f"{parts.scheme}://{parts.netloc}{path}"


def fetch(address: str) -> tuple[bytes, Status]:
    """The document of the service at an address, as it came and decoded; StartError if there is none."""
    import http.client
    import urllib.error
    import urllib.request

    from streamfer.status import decode

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    shown = redact(address)
    try:
        with opener.open(f"{address}/api/status", timeout=_TIMEOUT) as response:
            payload: bytes = response.read(_MOST_BYTES)
    except urllib.error.HTTPError as error:
        error.close()
        raise StartError(f"{shown} is not a streamfer: it answers {error.code} to /api/status") from None
    except urllib.error.URLError as error:
        raise StartError(f"{shown}: {_why(error.reason)}") from None
    except http.client.HTTPException:
        raise StartError(f"{shown} is not a streamfer: what answers does not speak HTTP") from None
    except (OSError, ValueError) as error:
        raise StartError(f"{shown}: {_why(error)}") from None
    try:
        return payload, decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise StartError(
            f"{shown} is not a streamfer, or one of another version: /api/status has no status of it"
        ) from None


def _why(cause: object) -> str:
    if isinstance(cause, ConnectionRefusedError):
        return "nobody listens there; is the service running, and with metrics? (--url names another place)"
    if isinstance(cause, TimeoutError):
        return f"no answer within {_TIMEOUT:.0f} s"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return redact(str(cause))


def _ready(status: Status) -> bool:
    return status.ready and status.age <= _HUNG


def view(status: Status, width: int) -> Group:
    """Everything, for a terminal of `width` columns, 80 or more."""
    from rich.console import Group
    from rich.text import Text

    from streamfer.cli import tables
    from streamfer.status import not_ready

    head = Text.assemble(
        tables.plain(f"streamfer {status.version}, up {tables.span(status.time - status.started)}, "),
        Text("ready", "bold green") if _ready(status) else Text("not ready", "bold red"),
    )
    missing = [tables.plain(one, "yellow") for one in not_ready(status)]
    if status.age > _HUNG:
        old = tables.span(status.age)
        missing.insert(0, Text(f"the supervisor has done nothing for {old}; this is how it was then", "red"))
    streams = tables.streams(status.streams, status.time, width)
    return Group(head, *missing, "", streams, "", tables.stages(status.stages, status.time))


def _watch(address: str, *, as_json: bool) -> None:
    """Show the document every second, and the reason while there is none."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    if as_json or not console.is_terminal:
        while True:
            payload, found = fetch(address)
            if as_json:
                print(payload.decode(), flush=True)
            else:
                console.print(view(found, console.width))
            time.sleep(_EVERY)
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            try:
                live.update(view(fetch(address)[1], console.width), refresh=True)
            except StartError as error:
                live.update(Text(str(error), "bold red"), refresh=True)
            time.sleep(_EVERY)
