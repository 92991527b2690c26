"""Reads one entry of a configuration: the service's own keys, and the component it names with its options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from streamfer.api import Kind, MemberOptions
from streamfer.config import files
from streamfer.config.document import Document
from streamfer.config.errors import Key, shown, suggest
from streamfer.config.validate import validate
from streamfer.inference.described import no_modes
from streamfer.plugins import ComponentSpec, Registered, Registry, option_keys, spec_of

K = TypeVar("K", bound=BaseModel)


@dataclass(frozen=True)
class Entry(Generic[K]):
    """What an entry says: the service's own keys, the component with its options as JSON values and as its
    validated model, and the component's registration."""

    keys: K
    spec: ComponentSpec
    options: BaseModel
    registered: Registered


class Entries:
    """Reads entries of a document; what is wrong is noted there. `base` is where relative paths start."""

    def __init__(self, document: Document, base: Path, registry: Registry) -> None:
        self._document = document
        self._base = base
        self.registry = registry

    def listed(self, data: dict[str, Any], section: str, example: str) -> list[tuple[Key, Any]]:
        """The entries of a list that must not be empty, with their keys."""
        entries = data.get(section)
        if isinstance(entries, list) and entries:
            return [((section, index), entry) for index, entry in enumerate(entries)]
        if section not in data:
            text = f"missing key; expected a list: {section}: {example}"
        elif entries == []:
            text = f"the list is empty; expected at least one: {section}: {example}"
        else:
            text = f"got {shown(entries, ())}, expected a list: {section}: {example}"
        self._document.add((section,), text)
        return []

    def keys(self, model: type[K], data: Any, key: Key, expected: str = "a mapping") -> K | None:
        """A section without a component, as its model; None if it is wrong."""
        if not isinstance(data, dict):
            self._document.add(key, f"got {shown(data, key)}, expected {expected}")
            return None
        return validate(self._document, model, data, key)

    def component(
        self, kind: Kind, model: type[K], data: Any, key: Key, *, blur: bool = False
    ) -> Entry[K] | None:
        """An entry that names a component; None if it is wrong."""
        if not isinstance(data, dict):
            self._document.add(key, f"got {shown(data, key)}, expected a mapping")
            return None
        own = option_keys(model)
        selector = "source" if kind == "source" else "name"
        keys = validate(self._document, model, {k: v for k, v in data.items() if k in own}, key)
        name = data.get(selector, model.model_fields[selector].default)
        if not isinstance(name, str):
            return None  # the section's own keys have said so
        one = self.registry.find(kind, name)
        if one is None:
            self._document.add((*key, selector), self.absent(kind, name))
            return None
        if kind == "classifier" and "mode" in data.keys() - option_keys(one.component.options) - own:
            self._document.add((*key, "mode"), no_modes(one, data["mode"]))
            return None
        found = self._options(one, {k: v for k, v in data.items() if k not in own}, key, own, blur=blur)
        if keys is None or found is None:
            return None
        options, valid = found
        spec = spec_of(one, files.absolute_options(valid, options, self._base))
        return Entry(keys, spec, valid, one)

    def member(self, one: Registered, member: MemberOptions, key: Key) -> ComponentSpec | None:
        """A member of a classifier that combines, whose own options stand beside the keys of every member;
        None if they are wrong."""
        options = dict(member.model_extra or {})
        valid = validate(self._document, one.component.options, options, key, option_keys(type(member)))
        return None if valid is None else spec_of(one, files.absolute_options(valid, options, self._base))

    def _options(
        self, one: Registered, options: dict[str, Any], key: Key, own: frozenset[str], *, blur: bool
    ) -> tuple[dict[str, Any], BaseModel] | None:
        """A component's options as they were given, and as its validated model."""
        component = one.component
        if blur and component.pixels:
            if "blur" not in component.options.model_fields:
                self._document.add(
                    key, f"privacy.blur is on, but the sink '{one.name}' cannot blur; remove it"
                )
                return None
            options = {**options, "blur": True}
        valid = validate(self._document, component.options, options, key, own)
        return None if valid is None else (options, valid)

    def absent(self, kind: Kind, name: str) -> str:
        """The line that says that a component is not there, with the name that was probably meant."""
        text = self.registry.absent(kind, name)
        hint = suggest(name, self.registry.names(kind))
        return f"{text}{hint}" if "did you mean" in hint else text
