"""Makes a Config of a document: each section checked on its own, so that all problems are found at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamfer.config import files
from streamfer.config.classifiers import described
from streamfer.config.document import Document
from streamfer.config.entries import Entries
from streamfer.config.errors import Key, dotted, shown, suggest
from streamfer.config.model import (
    ClassifierConfig,
    ClassifierKeys,
    Config,
    DetectorConfig,
    DetectorKeys,
    MetricsConfig,
    MetricsKeys,
    Privacy,
    SinkConfig,
    SinkKeys,
    StreamConfig,
    TrackerConfig,
    TrackerKeys,
)
from streamfer.config.streams import NAME_RULE, StreamReader
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
        detector = self._detector(data.get("detector", {}))
        reader = StreamReader(self._document, self._base, self._entries, _labels(data), detector)
        streams = reader.section(data)
        tracker = self._entries.component("tracker", TrackerKeys, data.get("tracker", {}), ("tracker",))
        sinks = self._sinks(data, blur=privacy is not None and privacy.blur)
        files.check_overwriting(self._document, streams, sinks)
        self._check_periods(streams, sinks)
        self._check_hidden(streams, sinks)
        if self._document.problems:
            return None
        assert detector and tracker and privacy  # each of them is there, or a problem is
        return Config(
            path=path,
            streams=tuple(one for _, one in streams),
            detector=detector,
            tracker=TrackerConfig(tracker.spec),
            classifiers=tuple(classifiers),
            sinks=tuple(one for _, one in sinks),
            metrics=metrics,
            privacy=privacy,
            plugin_files=plugin_files,
        )

    def _check_periods(
        self, streams: list[tuple[Key, StreamConfig]], sinks: list[tuple[Key, SinkConfig]]
    ) -> None:
        """Files that begin anew now and then are for live streams: a recording's record stays in one."""
        recording = next((stream.name for _, stream in streams if stream.live is None), None)
        for key, sink in sinks:
            for option in ("rotate", "segment", "segment_size"):
                if recording is not None and sink.spec.options.get(option) is not None:
                    text = f"is for live streams, and {recording} is a recording: remove it"
                    self._document.add((*key, option), text)

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
        keys = found.keys
        faces = FaceOptions.model_validate(keys.model_dump(include=set(FaceOptions.model_fields)))
        return DetectorConfig(found.spec, faces, keys.width, keys.workers)

    def _classifiers(self, data: dict[str, Any]) -> list[ClassifierConfig]:
        result: list[ClassifierConfig] = []
        first: dict[str, Key] = {}
        for key, entry in self._entries.listed(data, "classifiers", "[cnn]"):
            found = self._entries.component("classifier", ClassifierKeys, entry, key)
            if found is None:
                continue
            keys = found.keys
            label = self._label(keys.as_ or keys.name, key)
            if label in first:
                text = (
                    f"a second classifier '{label}' (the first is {dotted(first[label])}); name it with 'as'"
                )
                self._document.add(key, text)
            first.setdefault(label, key)
            one = described(self._document, self._entries, found, key, keys.window)
            if one is not None:
                result.append(
                    ClassifierConfig(label, one.spec, keys.workers, one.crops, one.labels, keys.smoothing)
                )
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
            keys, spec = found.keys, found.spec
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
            one = found.registered.component
            result.append((key, SinkConfig(label, spec, one.pixels, one.durable)))
        return result

    def _check_hidden(
        self, streams: list[tuple[Key, StreamConfig]], sinks: list[tuple[Key, SinkConfig]]
    ) -> None:
        """A face that does not count is in no result, and so no sink knows that it should blur it."""
        blurs = next((one.label for _, one in sinks if one.pixels and one.spec.options.get("blur")), None)
        for key, stream in streams if blurs else ():
            for name in ("regions", "masks"):
                if getattr(stream, name):
                    text = f"the sink '{blurs}' is to blur faces, but would show those that are left out here"
                    self._document.add((*key, name), f"{text}; do without one of the two")

    def _label(self, label: str, key: Key) -> str:
        if not NAME.fullmatch(label):
            self._document.add((*key, "as"), f"got {shown(label, key)}, expected {NAME_RULE}")
        return label
