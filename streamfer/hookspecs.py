"""The hooks. A plugin module implements those it has something for, marked with `hookimpl`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from streamfer.api import Component

if TYPE_CHECKING:
    import typer

hookspec = pluggy.HookspecMarker("streamfer")
hookimpl = pluggy.HookimplMarker("streamfer")


@hookspec
def streamfer_components() -> Iterable[Component]:  # type: ignore[empty-body]  # pluggy calls implementations
    """The components this plugin offers. Called once at start-up, before the configuration is read."""


@hookspec
def streamfer_commands(app: typer.Typer) -> None:
    """Add subcommands to the `streamfer` command. Called once when the command line starts."""
