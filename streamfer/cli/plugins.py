"""`streamfer plugins`: which components there are, and which plugins are broken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from streamfer.plugins import Origin, Registered, Registry


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def plugins(
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
        schema: Annotated[
            str | None,
            typer.Option(metavar="NAME", help="Print the JSON Schema of this component's options."),
        ] = None,
        plugin: Annotated[
            list[Path] | None,
            typer.Option("--plugin", metavar="FILE", help="Include a local plugin file. Repeatable."),
        ] = None,
    ) -> None:
        """List the sources, detectors, trackers, classifiers and sinks that a configuration can name.

        Plugins that could not be loaded are listed with the cause.
        """
        import json

        from streamfer.plugins import Registry

        registry = Registry.discover(plugin or [])
        if schema is not None:
            typer.echo(json.dumps(options_schemas(registry, schema), indent=2, ensure_ascii=False))
        elif as_json:
            typer.echo(json.dumps(as_data(registry), indent=2, ensure_ascii=False))
        else:
            _print(registry)


def options_schemas(registry: Registry, name: str) -> dict[str, Any]:
    """The JSON Schema of the options of the component of this name, or of `kind:name`.

    UsageError if there is none, or if components of several kinds have the name.
    """
    from streamfer.config.errors import suggest
    from streamfer.config.schema import options_schema
    from streamfer.errors import UsageError

    kind, _, last = name.rpartition(":")
    found = [one for one in registry.all() if one.name == last and kind in ("", one.kind)]
    if not found:
        raise UsageError(f"no component '{name}'{suggest(name, {one.name for one in registry.all()})}")
    if len(found) > 1:
        choices = " or ".join(f"{one.kind}:{one.name}" for one in found)
        raise UsageError(f"'{name}' is the name of several components; say {choices}")
    return options_schema(found[0].component)


def as_data(registry: Registry) -> dict[str, Any]:
    """What is there, as JSON values."""
    return {
        "components": [
            {
                "kind": one.kind,
                "name": one.name,
                "summary": one.component.summary,
                "modes": list(_modes(one)),
                "target": one.target,
                **_origin(one.origin),
            }
            for one in registry.all()
        ],
        "broken": [{**_origin(one.origin), "cause": one.cause} for one in registry.broken],
        "clashes": [str(one) for one in registry.clashes],
    }


def _modes(one: Registered) -> tuple[str, ...]:
    """Those of a network that ships several models."""
    return one.component.network.modes if one.component.network else ()


def _origin(origin: Origin) -> dict[str, Any]:
    return {
        "plugin": origin.plugin,
        "distribution": origin.distribution,
        "version": origin.version,
        "file": str(origin.file) if origin.file else None,
    }


def _print(registry: Registry) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table("kind", "name", "what it is", "from", box=None, header_style="bold")
    for one in registry.all():
        origin = one.origin
        where = str(origin.file) if origin.file else f"{origin.distribution} {origin.version}"
        modes = f" (modes: {', '.join(_modes(one))})" if _modes(one) else ""
        table.add_row(one.kind, Text(one.name, "cyan"), Text(one.component.summary + modes), Text(where))
    console.print(table)
    for problem in (*registry.broken, *registry.clashes):
        console.print(Text(f"broken: {problem}", "red"), soft_wrap=True)
