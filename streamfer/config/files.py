"""The files a configuration names: made absolute, looked for, and kept from being overwritten."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from streamfer.api import ServedModel
from streamfer.config.document import Document
from streamfer.config.errors import Key, dotted
from streamfer.config.model import FolderKeys, SinkConfig, StreamConfig
from streamfer.inference.card import in_package
from streamfer.plugins import ComponentSpec

_NOTHING = object()


def absolute(path: Path, base: Path) -> Path:
    """The path as seen from `base`, with `~` and `..` worked out."""
    # Path.expanduser would raise for a `~user` who is not there, and nothing in pathlib removes "..".
    return Path(os.path.normpath(base / os.path.expanduser(path)))  # noqa: PTH111


def absolute_options(model: BaseModel, data: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Options (JSON values) of a validated model with every path in them absolute, defaults included.

    A path is what the model holds as a `pathlib.Path`, an option that is called `path`, and the `model` of a
    network unless it is PACKAGE:PATH.
    """
    result = dict(data)
    for name, info in type(model).model_fields.items():
        key, value = info.alias or name, getattr(model, name)
        if name == "path" and isinstance(value, str) and "://" not in value:
            value = Path(value)
        if name == "model" and isinstance(model, ServedModel) and value and in_package(value) is None:
            value = Path(value)
        changed = _absolute(value, data.get(key), base)
        if changed is not _NOTHING:
            result[key] = changed
    return result


def _absolute(value: object, data: Any, base: Path) -> Any:
    """`data` with the paths in `value` made absolute; _NOTHING if there are none."""
    if isinstance(value, Path):
        return str(absolute(value, base))
    if isinstance(value, BaseModel):
        given = data if isinstance(data, Mapping) else {}
        changed = absolute_options(value, given, base)
        return changed if changed != given else _NOTHING
    if isinstance(value, list | tuple) and isinstance(data, list):
        items = [_absolute(one, given, base) for one, given in zip(value, data, strict=False)]
        if all(item is _NOTHING for item in items):
            return _NOTHING
        return [given if item is _NOTHING else item for item, given in zip(items, data, strict=False)]
    if isinstance(value, dict) and isinstance(data, Mapping):
        values = {key: _absolute(one, data.get(key), base) for key, one in value.items()}
        if all(item is _NOTHING for item in values.values()):
            return _NOTHING
        return {key: data.get(key) if item is _NOTHING else item for key, item in values.items()}
    return _NOTHING


# ---- what is read ------------------------------------------------------------------------------------------


def check_source(document: Document, spec: ComponentSpec, key: Key) -> None:
    """A source's option `path` must be there, readable and, if it is a file, not empty."""
    path = spec.options.get("path")
    if not isinstance(path, str) or "://" in path:
        return
    problem = _unusable(Path(path), folder=spec.name != "file")
    if problem:
        document.add((*key, "path"), f"{path}: {problem}")


def _unusable(path: Path, *, folder: bool) -> str | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    if stat.S_ISDIR(status.st_mode):
        return None if folder else "a directory; expected a file (all files of a directory: 'source: folder')"
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        return "the file is empty"
    return None if os.access(path, os.R_OK) else "permission denied"


def list_folder(document: Document, keys: FolderKeys, key: Key, base: Path) -> list[tuple[Path, Path]]:
    """The matching files, sorted, as (absolute, relative to the folder); a problem if there are none."""
    folder = absolute(keys.path, base)
    if problem := _no_folder(folder):
        document.add((*key, "path"), f"{folder}: {problem}")
        return []
    try:
        files = sorted(path for path in folder.glob(keys.pattern) if path.is_file())
        found = [(path, path.relative_to(folder)) for path in files]
    except (ValueError, NotImplementedError) as error:  # not a pattern, an absolute one, one that leaves
        document.add((*key, "pattern"), f"{str(error)[:1].lower()}{str(error)[1:]}; expected such as '*.mp4'")
        return []
    except OSError as error:  # a name that is too long
        document.add((*key, "pattern"), (error.strerror or str(error)).lower())
        return []
    if not found:
        document.add(key, f"{folder}: no file matches '{keys.pattern}'")
    return found


def _no_folder(path: Path) -> str | None:
    try:
        return None if stat.S_ISDIR(path.stat().st_mode) else "not a folder"
    except (FileNotFoundError, NotADirectoryError):
        return "no such folder"
    except OSError as error:
        return (error.strerror or str(error)).lower()


def stream_name(prefix: str, relative: Path) -> str:
    """The name of the stream of a folder's file: PREFIX-STEM, at most 64 safe characters."""
    stem = "-".join(relative.with_suffix("").parts)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{prefix}-{stem}")
    if len(name) <= 64:
        return name
    return f"{name[:55]}-{hashlib.sha256(bytes(relative)).hexdigest()[:8]}"


def unique(name: str, taken: Container[str]) -> str:
    """The name itself, or NAME-2, NAME-3, … if it is taken."""
    result, number = name, 1
    while result in taken:
        number += 1
        result = f"{name[: 63 - len(str(number))]}-{number}"
    return result


# ---- what is written ---------------------------------------------------------------------------------------


def check_overwriting(
    document: Document,
    streams: Sequence[tuple[Key, StreamConfig]],
    sinks: Sequence[tuple[Key, SinkConfig]],
) -> None:
    """No sink's `path` may be that of another sink, of a source, or of the configuration itself."""
    taken: dict[str, str] = {}
    for key, stream in streams:
        if path := stream.source.options.get("path"):
            taken[os.path.realpath(path)] = f"{dotted(key)} reads it"
    for key, sink in sinks:
        path = sink.spec.options.get("path")
        if not isinstance(path, str) or "://" in path:
            continue
        real = os.path.realpath(path)
        if real in taken:
            document.add((*key, "path"), f"{path}: {taken[real]}; choose another file")
        taken.setdefault(real, f"{dotted(key)} writes it")
