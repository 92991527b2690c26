"""What a worker needs to build a component: its spec, and the way from "module:Class" to the class."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

from streamfer.api import CombiningOptions, Kind, Member
from streamfer.errors import StartError
from streamfer.types import CropSpec, Window


class ComponentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker needs to build one component; survives JSON. `options` holds JSON values only.
    `members` are those of a classifier that combines. `window` is what a temporal classifier is to look at;
    its class takes windows of `reads` frames, and shorter ones are filled up with their oldest."""

    kind: Kind
    name: str
    target: str
    options_model: str
    options: dict[str, Any]
    plugin_file: str | None = None
    members: tuple[MemberSpec, ...] = ()
    window: Window | None = None
    reads: int = 0

    def __repr__(self) -> str:
        """Without the options' values, which may be passwords."""
        return f"ComponentSpec({self.kind} {self.name}: {self.target}, options: {', '.join(self.options)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for rich, for which msgspec's structs would show everything."""
        return [("kind", self.kind), ("name", self.name), ("options", list(self.options))]


class MemberSpec(msgspec.Struct, frozen=True):
    """A classifier behind one that combines: how it is built, the crop it wants, the labels it gives."""

    component: ComponentSpec
    weight: float
    crop: CropSpec
    labels: tuple[str, ...]


def distinct_crops(members: Sequence[MemberSpec]) -> tuple[CropSpec, ...]:
    """The crops that the members want, each once, in the order in which they are first asked for."""
    return tuple(dict.fromkeys(one.crop for one in members))


def build(spec: ComponentSpec) -> Any:
    """The component itself: its options validated, its class called with them; that of a classifier which
    combines with what it must know of its members as well. Classifiers that are to answer are opened by
    `streamfer.inference.answering`.

    StartError if its module cannot be imported or its options do not fit; whatever its constructor raises.
    """
    files = [Path(spec.plugin_file)] if spec.plugin_file else []
    model = resolve(spec.options_model, files)
    if not issubclass(model, BaseModel):
        raise StartError(f"{spec.options_model} is not an options model; repair or reinstall the plugin")
    component = resolve(spec.target, files)
    try:
        options = model.model_validate(spec.options)
    except ValidationError as error:
        # Not the values: they may be passwords.
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)
        )
        raise StartError(f"{spec.kind} '{spec.name}': {wrong}") from None
    if not isinstance(options, CombiningOptions):
        return component(options)
    return component(options, _members(spec))


def _members(spec: ComponentSpec) -> tuple[Member, ...]:
    if not spec.members:
        raise StartError(
            f"{spec.kind} '{spec.name}' combines others, and its spec has none of them; take the spec from "
            "streamfer.inference.described.find"
        )
    return tuple(Member(one.component.name, one.weight, one.labels) for one in spec.members)


def resolve(target: str, local_files: Sequence[Path] = ()) -> type:
    """The class that "module:Class" names, importing only its module; StartError if it is not there."""
    found = _find(target, local_files)
    if not isinstance(found, type):
        raise StartError(f"{target} is not a class; repair or reinstall the plugin")
    return found


def resolve_function(target: str, local_files: Sequence[Path] = ()) -> Callable[..., Any]:
    """The same for the function that "module:function" names."""
    found = _find(target, local_files)
    if not callable(found):
        raise StartError(f"{target} is not a function; repair or reinstall the plugin")
    return found


def _find(target: str, local_files: Sequence[Path]) -> object:
    module_name, _, qualified = target.partition(":")
    found: object = _import(target, module_name, local_files)
    for part in qualified.split("."):
        if not hasattr(found, part):
            raise StartError(f"{target}: {module_name} has no '{qualified}'; repair or reinstall the plugin")
        found = getattr(found, part)
    return found


def _import(target: str, module_name: str, local_files: Sequence[Path]) -> ModuleType:
    try:
        for file in local_files:
            if module_name == local_module_name(file):
                return load_local(file)
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a plugin's import may raise anything
        raise StartError(f"cannot import {target}: {describe(error)}") from error


def local_module_name(file: Path) -> str:
    """The module name of a local plugin file: the same for one path in every process."""
    path = file.absolute()
    stem = re.sub(r"\W", "_", path.stem)
    return f"streamfer_local_{stem}_{hashlib.sha256(bytes(path)).hexdigest()[:8]}"


def load_local(file: Path) -> ModuleType:
    """Import a local plugin file, once a process. Raises whatever the file raises."""
    name = local_module_name(file)
    if name in sys.modules:
        return sys.modules[name]
    if not file.is_file():
        raise FileNotFoundError(f"no such file: {file}")
    spec = importlib.util.spec_from_file_location(name, file.absolute())
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file (its name ends in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def describe(error: BaseException) -> str:
    """An exception as one line: its type, and its text if it has one."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
