"""Makes a Config of a document: each section checked on its own, so that all problems are found at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamfer.config import files
from streamfer.config.document import Document
from streamfer.config.entries import Entries
from streamfer.config.errors import Key, dotted, shown, suggest
from streamfer.config.model import (
    ClassifierConfig,
    ClassifierKeys,
    Config,
    DetectorConfig,
    DetectorKeys,
    FolderKeys,
    MetricsConfig,
    MetricsKeys,
    Privacy,
    SinkConfig,
    SinkKeys,
    StreamConfig,
    StreamKeys,
    TrackerConfig,
    TrackerKeys,
)
from streamfer.config.validate import validate
from streamfer.detectors import FaceOptions
from streamfer.plugins import NAME, Registry

SECTIONS = (
    "version",
    "streams",
    "detector",
    "tracker",
    "classifiers",
    "sinks",
    "metrics",
    "plugins",
    "privacy",
)
FOLDER = "folder"
"""The source that is no component: it stands for one `file` stream per file."""

NAME_RULE = "1 to 64 letters, digits, '_', '.' or '-', the first no '.' or '-'"


def normalise(document: Document) -> None:
    """Spell out shorthand: `classifiers: [cnn]` is `classifiers: [{name: cnn}]`, `detector: haar` alike."""
    if not isinstance(document.data, dict):
        return
    for section in ("detector", "tracker"):
        if isinstance(name := document.data.get(section), str):
            document.data[section] = {"name": name}
            _respell(document, (section,))
    for section in ("classifiers", "sinks"):
        if isinstance(entries := document.data.get(section), list):
            for index, name in enumerate(entries):
                if isinstance(name, str):
                    entries[index] = {"name": name}
                    _respell(document, (section, index))


def _labels(data: dict[str, Any]) -> list[str]:
    """The names that the classifiers go by, those that are otherwise wrong included."""
    section = data.get("classifiers")
    entries = [one for one in section if isinstance(one, dict)] if isinstance(section, list) else []
    return [label for one in entries if isinstance(label := one.get("as", one.get("name")), str)]


def _respell(document: Document, key: Key) -> None:
    document.places[(*key, "name")] = document.place(key)
    if key in document.written:
        document.written[(*key, "name")] = document.written.pop(key)


def assemble(document: Document, base: Path, registry: Registry, path: Path | None) -> Config | None:
    """The Config of a normalised document; None if something is wrong, and the document says what.

    `base` is the directory that relative paths start from.
    """
    return _Assembly(document, base, registry).config(path)


class _Assembly:
    """The sections, one method each."""

    def __init__(self, document: Document, base: Path, registry: Registry) -> None:
        self._document = document
        self._base = base
        self._entries = Entries(document, base, registry)

    def config(self, path: Path | None) -> Config | None:
        data = self._document.data
        if not isinstance(data, dict):
            self._document.add((), f"got {shown(data, ())}, expected a mapping that starts with 'version: 1'")
            return None
        if not self._version(data):
            return None
        for key in data:
            if key not in SECTIONS:
                self._document.add((key,), "unknown key" + suggest(key, SECTIONS))
        plugin_files = self._plugins(data.get("plugins", []))
        privacy = self._entries.keys(Privacy, data.get("privacy", {}), ("privacy",))
        metrics = self._metrics(data)
        classifiers = self._classifiers(data)
        streams = self._streams(data, _labels(data))
        detector = self._detector(data.get("detector", {}))
        tracker = self._entries.component("tracker", TrackerKeys, data.get("tracker", {}), ("tracker",))
        sinks = self._sinks(data, blur=privacy is not None and privacy.blur)
        files.check_overwriting(self._document, streams, sinks)
        if self._document.problems:
            return None
        assert detector and tracker and privacy  # each of them is there, or a problem is
        return Config(
            path=path,
            streams=tuple(one for _, one in streams),
            detector=detector,
            tracker=TrackerConfig(tracker[1]),
            classifiers=tuple(classifiers),
            sinks=tuple(one for _, one in sinks),
            metrics=metrics,
            privacy=privacy,
            plugin_files=plugin_files,
        )

    def _version(self, data: dict[str, Any]) -> bool:
        if "version" not in data:
            self._document.add(("version",), "missing key; start the file with 'version: 1'")
        elif data["version"] != 1 or isinstance(data["version"], bool):
            got = shown(data["version"], ("version",))
            self._document.add(("version",), f"got {got}, expected 1, the version that this streamfer reads")
            return False
        return True

    # ---- sections

    def _plugins(self, data: Any) -> tuple[Path, ...]:
        paths: dict[Path, Key] = {}
        if not isinstance(data, list):
            got = shown(data, ("plugins",))
            self._document.add(("plugins",), f"got {got}, expected a list of files: [./my_plugin.py]")
            return ()
        for index, entry in enumerate(data):
            key = ("plugins", index)
            if isinstance(entry, str) and entry:
                paths.setdefault(files.absolute(Path(entry), self._base), key)
            else:
                self._document.add(key, f"got {shown(entry, key)}, expected a path")
        registry = self._entries.registry = self._entries.registry.with_files(list(paths))
        for broken in registry.broken:
            if (file := broken.origin.file) is not None and file in paths:
                self._document.add(paths[file], f"cannot load the plugin: {broken}")
        for clash in registry.clashes:
            origins = (clash.first.origin.file, clash.second.origin.file)
            local = [paths[file] for file in origins if file is not None and file in paths]
            self._document.add(local[0] if local else (), str(clash))
        return tuple(paths)

    def _metrics(self, data: dict[str, Any]) -> MetricsConfig | None:
        section = data.get("metrics", True)
        if section is False:
            return None
        keys = self._entries.keys(
            MetricsKeys, {} if section is True else section, ("metrics",), "a mapping or false"
        )
        if keys is None:
            return None
        host, _, port = keys.listen.rpartition(":")
        configured = isinstance(section, dict) and "listen" in section
        return MetricsConfig(host.strip("[]"), int(port), configured)

    def _detector(self, data: Any) -> DetectorConfig | None:
        found = self._entries.component("detector", DetectorKeys, data, ("detector",))
        if found is None:
            return None
        keys, spec, _ = found
        faces = FaceOptions.model_validate(keys.model_dump(include=set(FaceOptions.model_fields)))
        return DetectorConfig(spec, faces, keys.width, keys.workers)

    def _classifiers(self, data: dict[str, Any]) -> list[ClassifierConfig]:
        result: list[ClassifierConfig] = []
        first: dict[str, Key] = {}
        for key, entry in self._entries.listed(data, "classifiers", "[cnn]"):
            found = self._entries.component("classifier", ClassifierKeys, entry, key)
            if found is None:
                continue
            keys, spec, one = found
            label = self._label(keys.as_ or keys.name, key)
            if label in first:
                text = (
                    f"a second classifier '{label}' (the first is {dotted(first[label])}); name it with 'as'"
                )
                self._document.add(key, text)
            first.setdefault(label, key)
            component = one.component
            result.append(ClassifierConfig(label, spec, keys.workers, component.crop, component.labels))
        return result

    def _sinks(self, data: dict[str, Any], *, blur: bool) -> list[tuple[Key, SinkConfig]]:
        entries = self._entries.listed(data, "sinks", "[console]")
        taken = {
            entry["as"]
            for _, entry in entries
            if isinstance(entry, dict) and isinstance(entry.get("as"), str)
        }
        result: list[tuple[Key, SinkConfig]] = []
        first: dict[str, Key] = {}
        for key, entry in entries:
            found = self._entries.component("sink", SinkKeys, entry, key, blur=blur)
            if found is None:
                continue
            keys, spec, one = found
            if keys.as_ is not None:
                label = self._label(keys.as_, key)
                if label in first:
                    self._document.add((*key, "as"), f"'{label}' is the name of {dotted(first[label])} too")
            else:
                label = files.unique(keys.name, {*taken, *first})
            for other, sink in result:
                if sink.spec == spec and keys.as_ is None:
                    self._document.add(key, f"the same sink as {dotted(other)}; remove one")
            first.setdefault(label, key)
            result.append((key, SinkConfig(label, spec, one.component.pixels, one.component.durable)))
        return result

    def _streams(self, data: dict[str, Any], classifiers: list[str]) -> list[tuple[Key, StreamConfig]]:
        section = data.get("streams")
        if not isinstance(section, dict) or not section:
            what = "missing key" if "streams" not in data else f"got {shown(section, ())}"
            text = f"{what}; expected streams by name: 'lobby: {{source: file, path: clip.mp4}}'"
            self._document.add(("streams",), text)
            return []
        result: list[tuple[Key, StreamConfig]] = []
        for name, entry in section.items():
            key: Key = ("streams", name)
            if not NAME.fullmatch(name):
                self._document.add(key, f"not a name for a stream; expected {NAME_RULE}")
            result += [(key, stream) for stream in self._stream(name, entry, key, classifiers)]
        first: dict[str, Key] = {}
        for key, stream in result:
            if stream.name in first:
                text = f"a second stream '{stream.name}' (the first is from {dotted(first[stream.name])})"
                self._document.add(key, f"{text}; rename one")
            first.setdefault(stream.name, key)
        return result

    def _stream(self, name: str, entry: Any, key: Key, classifiers: list[str]) -> list[StreamConfig]:
        entries = [(name, entry)]
        if isinstance(entry, dict) and entry.get("source") == FOLDER:
            entries = self._folder(name, entry, key)
        result: list[StreamConfig] = []
        names: set[str] = set()
        for wanted, one in entries:
            found = self._entries.component("source", StreamKeys, one, key)
            if found is None:
                return []
            keys, spec, _ = found
            chosen = self._chosen(keys.classifiers, (*key, "classifiers"), classifiers)
            stream = StreamConfig(files.unique(wanted, names), spec, chosen, FaceOptions(), 320)
            files.check_source(self._document, spec, key)
            names.add(stream.name)
            result.append(stream)
        return result

    def _folder(self, name: str, entry: dict[str, Any], key: Key) -> list[tuple[str, dict[str, Any]]]:
        """`source: folder` as (stream name, entry with `source: file`) for each of its files."""
        own = {option: value for option, value in entry.items() if option in FolderKeys.model_fields}
        folder = validate(self._document, FolderKeys, own, key)
        if folder is None:
            return []
        rest = {option: value for option, value in entry.items() if option not in FolderKeys.model_fields}
        return [
            (files.stream_name(name, relative), {**rest, "source": "file", "path": str(path)})
            for path, relative in files.list_folder(self._document, folder, key, self._base)
        ]

    def _chosen(self, chosen: tuple[str, ...] | None, key: Key, classifiers: list[str]) -> tuple[str, ...]:
        if chosen is None:
            return tuple(classifiers)
        for index, label in enumerate(chosen):
            if classifiers and label not in classifiers:  # without any, that is what is wrong
                text = f"'{label}' is not in 'classifiers'" + suggest(label, classifiers)
                self._document.add((*key, index), text)
        return tuple(label for label in classifiers if label in chosen)

    def _label(self, label: str, key: Key) -> str:
        if not NAME.fullmatch(label):
            self._document.add((*key, "as"), f"got {shown(label, key)}, expected {NAME_RULE}")
        return label
