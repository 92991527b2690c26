"""YAML to frozen, checked configuration; every problem is told at once, with file, line and key."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from streamfer.config.assemble import assemble, normalise
from streamfer.config.document import MAX_BYTES, Document
from streamfer.config.errors import ConfigError, Key, Place, Problem
from streamfer.config.files import stream_name
from streamfer.config.model import (
    ClassifierConfig,
    Config,
    DetectorConfig,
    LiveConfig,
    MetricsConfig,
    Privacy,
    SinkConfig,
    StreamConfig,
    TrackerConfig,
)
from streamfer.config.schema import schema
from streamfer.config.substitute import Substitution
from streamfer.config.target import LiveTarget, live_target
from streamfer.errors import UsageError
from streamfer.inference.described import with_mode
from streamfer.plugins import Registry

__all__ = [
    "ClassifierConfig",
    "Config",
    "ConfigError",
    "DetectorConfig",
    "LiveConfig",
    "LiveTarget",
    "MetricsConfig",
    "Privacy",
    "SinkConfig",
    "StreamConfig",
    "TrackerConfig",
    "for_comparison",
    "for_live",
    "for_recording",
    "live_target",
    "load",
    "schema",
]

SECRETS = Path("/run/secrets")
DEFAULT_CLASSIFIER = "cnn"
GIVE_UP = 10.0
"""Seconds that `streamfer run CAMERA` waits for its first frame."""


def load(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    registry: Registry | None = None,
    environ: Mapping[str, str] | None = None,
    secrets: Path | None = None,
) -> Config:
    """The configuration in a file; ConfigError tells everything that is wrong with it.

    `overrides` are `key=value` as of --set; relative paths, theirs too, start from the file's directory.
    `registry` is what is installed (default: look for it), `environ` the environment that fills in `${NAME}`
    (default: this process's), `secrets` the directory of `${secret:NAME}` (default: that of
    systemd's credentials if there is one, else /run/secrets).
    """
    environ = os.environ if environ is None else environ
    secrets = secrets or Path(environ.get("CREDENTIALS_DIRECTORY") or SECRETS)
    document = Document(str(path), Substitution(environ, secrets))
    document.read(_text(path))
    base = Path(os.path.abspath(path)).parent  # noqa: PTH100 - Path.absolute keeps ".."
    return _finish(document, base, registry, overrides, path)


def for_recording(
    path: Path,
    classifiers: Sequence[str] = (),
    out_dir: Path = Path("out"),
    video: bool = False,
    registry: Registry | None = None,
) -> Config:
    """The configuration of `streamfer run clip.mp4`: results.jsonl, results.db and, with `video`,
    annotated.mp4 in `out_dir`. Relative paths start from the working directory."""
    stream, entry = _recording(path)
    return _from_command_line(stream, entry, classifiers, _files(out_dir, video=video), registry)


def for_live(
    target: LiveTarget,
    classifiers: Sequence[str] = (),
    out_dir: Path = Path("out"),
    video: bool = False,
    registry: Registry | None = None,
) -> Config:
    """The configuration of `streamfer run CAMERA`: a live table, and the same files as of a recording. The
    run ends if the camera gives no frame in its first seconds."""
    sinks = [{"name": "console"}, *_files(out_dir, video=video)]
    config = _from_command_line(target.name, target.entry, classifiers, sinks, registry)
    return replace(config, give_up=GIVE_UP)


def for_comparison(
    path: Path,
    classifiers: Mapping[str, Mapping[str, Any]],
    results: Path,
    plugins: Sequence[Path] = (),
    registry: Registry | None = None,
) -> Config:
    """The configuration of `streamfer compare --video`: a recording, and its results as JSON Lines.

    `classifiers` has their entries by what each is called in the results. Relative paths start from the
    working directory.
    """
    stream, entry = _recording(path)
    entries = [{**one, "as": name} for name, one in classifiers.items()]
    sinks = [{"name": "jsonl", "path": str(results)}]
    document = _document(stream, entry, entries, sinks)
    document.data |= {"metrics": False, "plugins": [str(file) for file in plugins]}
    document.places["streams", stream, "path"] = Place((0, 0), "--video", ("streams", stream, "path"))
    for index, (name, one) in enumerate(classifiers.items()):
        entry_key: Key = ("classifiers", index)
        for key in (entry_key, *((*entry_key, option) for option in one)):
            document.places[key] = Place((1, index), "" if key[-1] == "name" else name, key)
    for index, _ in enumerate(plugins):
        document.places["plugins", index] = Place((2, index), "--plugin", ("plugins", index))
    return _finish(document, Path.cwd(), registry, (), None)


def _recording(path: Path) -> tuple[str, dict[str, str]]:
    """The name and the entry of the stream of a recording."""
    stream = stream_name("", Path(path.name))[1:].lstrip(".-") or "recording"
    return stream, {"source": "file", "path": str(path)}


def _files(out_dir: Path, *, video: bool) -> list[dict[str, str]]:
    """The sinks of a run without a configuration."""
    sinks = [("jsonl", "results.jsonl"), ("sqlite", "results.db")] + [("video", "annotated.mp4")] * video
    return [{"name": name, "path": str(out_dir / file)} for name, file in sinks]


def _from_command_line(
    stream: str,
    entry: dict[str, Any],
    classifiers: Sequence[str],
    sinks: Sequence[dict[str, str]],
    registry: Registry | None,
) -> Config:
    names = list(classifiers) or [DEFAULT_CLASSIFIER]
    for named in names:
        if names.count(named) > 1:
            raise UsageError(
                f"--classifier {named}: named twice; to run one twice with other options, write a "
                "configuration, where 'as' gives each a name"
            )
    entries = [_classifier(named) for named in names]
    document = _document(stream, entry, entries, sinks)

    def option(key: Key, label: str) -> None:
        document.places[key] = Place((0, len(document.places)), label, key)

    for name in entry:
        option(("streams", stream, name), "--transport" if name == "transport" else "")
    for index, named in enumerate(names):
        for key in ((), ("name",)):
            option(("classifiers", index, *key), "--classifier")
        option(("classifiers", index, "mode"), f"--classifier {named}")
    for index, _ in enumerate(sinks):
        option(("sinks", index, "path"), "--out")
    return _finish(document, Path.cwd(), registry, (), None)


def _classifier(named: str) -> dict[str, str]:
    """The entry of a classifier that a command names; of one in a mode the name in the results says so."""
    name, options = with_mode(named)
    return {"name": name, **options, "as": "-".join((name, *options.values()))} if options else {"name": name}


def _document(
    stream: str,
    entry: dict[str, Any],
    classifiers: list[dict[str, Any]],
    sinks: Sequence[dict[str, str]],
) -> Document:
    """A configuration that stands in no file."""
    document = Document("the command line", Substitution({}, SECRETS))
    document.data = {
        "version": 1,
        "streams": {stream: entry},
        "classifiers": classifiers,
        "sinks": list(sinks),
    }
    return document


def _text(path: Path) -> str:
    def wrong(text: str, line: int | None = None) -> ConfigError:
        return ConfigError(
            [Problem(Place((0, line or 0), str(path) + (f":{line}" if line else "")), (), text)]
        )

    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise wrong(f"cannot read the configuration: {(error.strerror or str(error)).lower()}") from None
    if len(content) > MAX_BYTES:
        raise wrong(f"larger than {MAX_BYTES // 1024} KiB, which is no configuration for streamfer")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        text = f"not UTF-8: byte 0x{error.object[error.start]:02x} at offset {error.start}; save it as UTF-8"
        raise wrong(text, line) from None


def _finish(
    document: Document, base: Path, registry: Registry | None, overrides: Sequence[str], path: Path | None
) -> Config:
    normalise(document)
    for number, setting in enumerate(overrides):
        document.override(setting, number)
        normalise(document)
    config = assemble(document, base, registry or Registry.discover(), path)
    if config is None or document.problems:
        raise ConfigError(document.problems)
    return config
