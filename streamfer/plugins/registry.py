"""Finds plugins, and keeps a broken one from breaking anything else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy
from pydantic import BaseModel

from streamfer import hookspecs
from streamfer.api import KINDS, CombiningOptions, Component, Kind, ServedModel
from streamfer.errors import UsageError
from streamfer.plugins.spec import ComponentSpec, describe, load_local, resolve_function
from streamfer.types import CropSpec

if TYPE_CHECKING:
    import typer

GROUP = "streamfer"
"""The entry-point group that plugins register in, and the name of the pluggy project."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""What names of components, streams and results may look like."""

SERVICE_KEYS: dict[Kind, frozenset[str]] = {
    "source": frozenset(
        {"source", "classifiers", "detector", "regions", "masks", "drop", "max_age", "fps", "queue"}
    ),
    "detector": frozenset({"name", "width", "min_face", "blur", "full_every", "workers"}),
    "tracker": frozenset({"name"}),
    "classifier": frozenset({"name", "as", "workers", "window", "smoothing"}),
    "sink": frozenset({"name", "as"}),
}
"""Keys that stand beside a component's options in the configuration and so cannot be options themselves."""

_TARGET = re.compile(r"(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from: an installed distribution's entry point, or a local file."""

    plugin: str
    distribution: str | None = None
    version: str | None = None
    file: Path | None = None

    def __str__(self) -> str:
        if self.file is not None:
            return str(self.file)
        return f"{self.distribution} {self.version} (entry point '{self.plugin}')"


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that could not be loaded or could not register, and why (one line)."""

    origin: Origin
    cause: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.cause}"


@dataclass(frozen=True)
class Registered:
    """A component that is there. `target` and `options_model` are "module:Class", importable in a worker;
    `network`, of a network, is the "module:function" that builds it to be trained."""

    component: Component
    target: str
    options_model: str
    origin: Origin
    network: str | None = None

    @property
    def kind(self) -> Kind:
        return self.component.kind

    @property
    def name(self) -> str:
        return self.component.name


@dataclass(frozen=True)
class _Plugin:
    """A loaded plugin, alone in a pluggy manager of its own, so that its hooks are called in isolation."""

    origin: Origin
    manager: pluggy.PluginManager
    components: tuple[Registered, ...]


@dataclass(frozen=True)
class Clash:
    """Two plugins that offer a component of one kind and name. Neither is preferred."""

    first: Registered
    second: Registered

    def __str__(self) -> str:
        return (
            f"two plugins offer the {self.first.kind} '{self.first.name}': {self.first.origin} and "
            f"{self.second.origin}; remove or rename one"
        )


class Registry:
    """The components that plugins offer, the plugins that are broken, and the names that clash."""

    def __init__(self, plugins: Iterable[_Plugin], broken: Iterable[BrokenPlugin]) -> None:
        self._plugins = tuple(plugins)
        self.broken = tuple(broken)
        by_name: dict[tuple[Kind, str], Registered] = {}
        clashes: list[Clash] = []
        for plugin in self._plugins:
            for one in plugin.components:
                first = by_name.setdefault((one.kind, one.name), one)
                if first is not one:
                    clashes.append(Clash(first, one))
        self._by_name = by_name
        self.clashes = tuple(clashes)

    @classmethod
    def discover(cls, files: Sequence[Path] = ()) -> Registry:
        """What the installed distributions offer in the entry-point group, and the local plugin `files`."""
        entries = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
        return cls((), ())._with(entries, ()).with_files(files)

    def with_files(self, files: Sequence[Path]) -> Registry:
        """This registry and the local plugin `files`; a file that is already in it is not loaded again."""
        wanted = dict.fromkeys(file.absolute() for file in files)
        known = {plugin.origin.file for plugin in self._plugins} | {one.origin.file for one in self.broken}
        return self._with((), [file for file in wanted if file not in known])

    def _with(self, entries: Iterable[EntryPoint], files: Iterable[Path]) -> Registry:
        plugins, broken = list(self._plugins), list(self.broken)
        loaded = [_load_entry_point(entry) for entry in entries] + [_load_file(file) for file in files]
        for outcome in loaded:
            if isinstance(outcome, BrokenPlugin):
                broken.append(outcome)
            else:
                plugins.append(outcome)
        return Registry(plugins, broken)

    def get(self, kind: Kind, name: str) -> Registered:
        """The component of this kind and name; UsageError names those there, and the broken plugins."""
        found = self._by_name.get((kind, name))
        if found is None:
            raise UsageError(self.absent(kind, name))
        return found

    def find(self, kind: Kind, name: str) -> Registered | None:
        """The component of this kind and name, or None."""
        return self._by_name.get((kind, name))

    def names(self, kind: Kind) -> list[str]:
        return sorted(name for of_kind, name in self._by_name if of_kind == kind)

    def all(self) -> list[Registered]:
        """Every component, ordered by kind (as in `streamfer.api.KINDS`) and name."""
        return sorted(self._by_name.values(), key=lambda one: (KINDS.index(one.kind), one.name))

    def absent(self, kind: Kind, name: str) -> str:
        """The line that says that a component is not there, what is, and which plugins are broken."""
        there = ", ".join(self.names(kind)) or "none"
        text = f"no {kind} '{name}'; there are: {there}"
        if self.broken:
            text += f"; these plugins could not be loaded: {'; '.join(map(str, self.broken))}"
        return text

    def add_commands(self, app: typer.Typer) -> list[BrokenPlugin]:
        """Let each plugin add its subcommands to `app`; those that fail are returned."""
        failed = []
        for plugin in self._plugins:
            try:
                plugin.manager.hook.streamfer_commands(app=app)
            except Exception as error:  # noqa: BLE001 - a plugin's failure, whatever it is, stays its own
                failed.append(BrokenPlugin(plugin.origin, f"streamfer_commands: {describe(error)}"))
        return failed


# ---- loading -----------------------------------------------------------------------------------------------


def _load_entry_point(entry: EntryPoint) -> _Plugin | BrokenPlugin:
    # Only entry points built by hand, never those of an installed distribution, lack `dist`.
    distribution = entry.dist
    origin = Origin(
        entry.name,
        distribution.name if distribution else "unknown distribution",
        distribution.version if distribution else "?",
    )
    try:
        return _register(entry.load(), entry.module, origin)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary that keeps a broken plugin apart
        return BrokenPlugin(origin, describe(error))


def _load_file(file: Path) -> _Plugin | BrokenPlugin:
    origin = Origin(file.name, file=file.absolute())
    try:
        module = load_local(file)
        return _register(module, module.__name__, origin)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary that keeps a broken plugin apart
        return BrokenPlugin(origin, describe(error))


def _register(plugin: object, module: str, origin: Origin) -> _Plugin:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, origin.plugin)
    manager.check_pending()  # a misspelt hook is an error, not silence
    if not manager.get_hookcallers(plugin):
        raise TypeError("it implements no hook; mark functions with streamfer.hookspecs.hookimpl")
    groups = manager.hook.streamfer_components()
    if not groups and manager.hook.streamfer_components.get_hookimpls():
        raise TypeError("streamfer_components returned nothing; expected a list of streamfer.api.Component")
    offered = [one for group in groups for one in group]
    return _Plugin(origin, manager, tuple(_registered(component, module, origin) for component in offered))


def _registered(component: Component, module: str, origin: Origin) -> Registered:
    """Check a registration; TypeError says what is wrong with it."""
    if not isinstance(component, Component):
        raise TypeError(f"streamfer_components gave {component!r}, expected streamfer.api.Component")
    what = f"{component.kind} '{component.name}'"
    if component.kind not in KINDS:
        raise TypeError(f"{what}: unknown kind; expected one of {', '.join(KINDS)}")
    if not NAME.fullmatch(component.name):
        raise TypeError(f"{what}: a name is 1 to 64 letters, digits, '_', '.' or '-'")
    if not _TARGET.fullmatch(component.target):
        raise TypeError(f"{what}: target '{component.target}' is not 'module:Class'")
    options = component.options
    if not (isinstance(options, type) and issubclass(options, BaseModel)):
        raise TypeError(f"{what}: options {options!r} is not a subclass of streamfer.api.Options")
    if "<locals>" in options.__qualname__:
        raise TypeError(
            f"{what}: the options model is defined inside a function; workers cannot find it there"
        )
    if taken := sorted(option_keys(options) & SERVICE_KEYS[component.kind]):
        raise TypeError(f"{what}: the option '{taken[0]}' has the name of a key of the service")
    if component.kind == "classifier" and not (component.labels or component.combines):
        raise TypeError(f"{what}: a classifier declares its labels")
    if component.combines and (component.kind != "classifier" or not issubclass(options, CombiningOptions)):
        raise TypeError(
            f"{what}: what combines is a classifier whose options are streamfer.api.CombiningOptions"
        )
    if issubclass(options, CombiningOptions) and not component.combines:
        raise TypeError(f"{what}: its options are those of one that combines; register it with combines=True")
    target = component.target if component.target[0] != ":" else module + component.target
    model = f"{options.__module__}:{options.__qualname__}"
    return Registered(component, target, model, origin, _network(component, what, module))


def _network(component: Component, what: str, module: str) -> str | None:
    """Where the function is that builds the network; TypeError says what is wrong with its registration."""
    network = component.network
    if network is None:
        return None
    if component.kind != "classifier" or not issubclass(component.options, ServedModel):
        raise TypeError(f"{what}: a network is a classifier whose options are a streamfer.api.ServedModel")
    if not _TARGET.fullmatch(network.build):
        raise TypeError(f"{what}: build '{network.build}' is not 'module:function'")
    if not (isinstance(network.options, type) and issubclass(network.options, BaseModel)):
        raise TypeError(
            f"{what}: the network's options {network.options!r} is not a subclass of streamfer.api.Options"
        )
    return network.build if network.build[0] != ":" else module + network.build


def option_keys(model: type[BaseModel]) -> frozenset[str]:
    """The keys of an options model as they stand in the configuration."""
    return frozenset(info.alias or name for name, info in model.model_fields.items())


def spec_of(registered: Registered, options: dict[str, Any]) -> ComponentSpec:
    """The spec of a registered component with these options (JSON values, already validated).

    A network whose options name no model gets the plugin's own, that of the `mode` if it ships several.
    """
    component, file = registered.component, registered.origin.file
    if component.network is not None and component.model_files and options.get("model") is None:
        modes, mode = component.network.modes, options.get("mode")
        place = modes.index(mode) if mode in modes else 0
        options = {**options, "model": component.model_files[place]}
    return ComponentSpec(
        kind=registered.kind,
        name=registered.name,
        target=registered.target,
        options_model=registered.options_model,
        options=options,
        plugin_file=str(file) if file else None,
    )


def load_network(registered: Registered) -> Callable[[Any, CropSpec, int], Any]:
    """The function that builds a network's Keras model, called as `build(options, crop, labels)`
    (`streamfer.api.Network`). Its module, and with it Keras, is imported only now.

    UsageError if the classifier is no network or Keras is not installed, StartError if the module cannot be
    imported or the function is not there.
    """
    what = f"the {registered.kind} '{registered.name}'"
    if registered.network is None:
        raise UsageError(f"{what} is no network: there is nothing to train")
    if find_spec("keras") is None:
        raise UsageError(f"{what} is a network, and building it needs keras: pip install 'streamfer[train]'")
    file = registered.origin.file
    return resolve_function(registered.network, [file] if file else [])
