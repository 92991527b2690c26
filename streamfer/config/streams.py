"""The section `streams`: one entry to one stream, or to one for each file of a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from streamfer.api import LiveOptions
from streamfer.config import files
from streamfer.config.document import Document
from streamfer.config.entries import Entries, Entry
from streamfer.config.errors import Key, dotted, shown, suggest
from streamfer.config.model import (
    DetectorConfig,
    DetectorKeys,
    FolderKeys,
    LiveConfig,
    StreamConfig,
    StreamKeys,
    ViewKeys,
)
from streamfer.config.validate import validate
from streamfer.detectors import FaceOptions
from streamfer.plugins import NAME

FOLDER = "folder"
"""The source that is no component: it stands for one `file` stream per file."""

NAME_RULE = "1 to 64 letters, digits, '_', '.' or '-', the first no '.' or '-'"

_LIVE_KEYS = ("drop", "max_age", "fps", "queue")
_SHARED_KEYS = DetectorKeys.model_fields.keys() - ViewKeys.model_fields.keys()


class StreamReader:
    """Reads streams of a document; what is wrong is noted there.

    `classifiers` are the labels there are, `detector` is what holds where a stream says nothing of its own
    (None: it is wrong, and so nothing comes of the configuration).
    """

    def __init__(
        self,
        document: Document,
        base: Path,
        entries: Entries,
        classifiers: list[str],
        detector: DetectorConfig | None,
    ) -> None:
        self._document = document
        self._base = base
        self._entries = entries
        self._classifiers = classifiers
        self._faces = detector.faces if detector else FaceOptions()
        self._width = detector.width if detector else ViewKeys().width
        self._devices: dict[tuple[str, str], Key] = {}

    def section(self, data: dict[str, Any]) -> list[tuple[Key, StreamConfig]]:
        """The streams of a configuration with their entries' keys."""
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
            result += [(key, stream) for stream in self._streams(name, entry, key)]
        first: dict[str, Key] = {}
        for key, stream in result:
            if stream.name in first:
                text = f"a second stream '{stream.name}' (the first is from {dotted(first[stream.name])})"
                self._document.add(key, f"{text}; rename one")
            first.setdefault(stream.name, key)
        return result

    def _streams(self, name: str, entry: Any, key: Key) -> list[StreamConfig]:
        """The streams of one entry."""
        entries = [(name, entry)]
        if isinstance(entry, dict):
            self._check_detector(entry.get("detector"), (*key, "detector"))
            if entry.get("source") == FOLDER:
                entries = self._folder(name, entry, key)
        result: list[StreamConfig] = []
        names: set[str] = set()
        for wanted, one in entries:
            found = self._entries.component("source", StreamKeys, one, key)
            if found is None:
                return []
            result.append(self._stream(files.unique(wanted, names), found, key))
            names.add(result[-1].name)
        return result

    def _stream(self, name: str, entry: Entry[StreamKeys], key: Key) -> StreamConfig:
        files.check_source(self._document, entry.spec, key)
        self._check_device(entry, key)
        keys = entry.keys
        changes = keys.detector.model_dump(exclude_unset=True) if keys.detector else {}
        width = changes.pop("width", self._width)
        return StreamConfig(
            name,
            entry.spec,
            self._chosen(keys.classifiers, (*key, "classifiers")),
            self._faces.model_copy(update=changes),
            width,
            self._live(entry, key),
            keys.regions or (),
            keys.masks or (),
        )

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

    def _chosen(self, chosen: tuple[str, ...] | None, key: Key) -> tuple[str, ...]:
        if chosen is None:
            return tuple(self._classifiers)
        for index, label in enumerate(chosen):
            if self._classifiers and label not in self._classifiers:  # without any, that is what is wrong
                text = f"'{label}' is not in 'classifiers'" + suggest(label, self._classifiers)
                self._document.add((*key, index), text)
        return tuple(label for label in self._classifiers if label in chosen)

    def _check_detector(self, data: Any, key: Key) -> None:
        """What a stream cannot have of its own, because all streams share the detector's processes."""
        for name in _SHARED_KEYS & data.keys() if isinstance(data, dict) else ():
            own = ", ".join(sorted(ViewKeys.model_fields))
            text = f"holds for all streams: it stands in the section 'detector'; a stream may change {own}"
            self._document.add((*key, name), text)
            self._document.settled.add((*key, name))

    def _check_device(self, entry: Entry[StreamKeys], key: Key) -> None:
        """A local camera serves one stream; it would refuse the second when the run has begun."""
        device = getattr(entry.options, "device", None)
        if not entry.registered.component.live or device is None:
            return
        path = f"/dev/video{int(device)}" if str(device).isdecimal() else str(device)
        first = self._devices.setdefault((entry.spec.name, os.path.realpath(path)), key)
        if first != key:
            text = f"{path}: {dotted(first)} reads it too; a camera serves one stream"
            self._document.add((*key, "device"), text)

    def _live(self, entry: Entry[StreamKeys], key: Key) -> LiveConfig | None:
        """How a live stream is treated; None for a recording, which must not say."""
        keys, options = entry.keys, entry.options
        if not is_live(entry):
            for name in _LIVE_KEYS:
                if name in keys.model_fields_set:
                    text = "is for live streams: a recording waits instead; remove it"
                    if "realtime" in type(options).model_fields:
                        text += ", or play the recording as if live: 'realtime: true'"
                    self._document.add((*key, name), text)
            return None
        usual = LiveOptions.model_validate({})
        return LiveConfig(
            keys.drop,
            keys.max_age,
            keys.fps,
            keys.queue,
            getattr(options, "stale_after", usual.stale_after),
            getattr(options, "retry", usual.retry),
        )


def is_live(entry: Entry[Any]) -> bool:
    """Whether frames come when they come: from a camera, or a recording that is played as if it were one."""
    options: BaseModel = entry.options
    return entry.registered.component.live or getattr(options, "realtime", False) is True
