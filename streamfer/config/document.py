"""YAML text to plain data (JSON values) that remembers on which line each key stands."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.error import MarkedYAMLError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

from streamfer.config.errors import ConfigError, Key, Place, Problem, dotted, mask
from streamfer.config.substitute import Substitution, SubstitutionError

MAX_BYTES = 256 * 1024
MAX_VALUES = 20_000
"""Bound on the values after aliases are expanded: a few lines of aliases can stand for billions."""
MAX_DEPTH = 32

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"


class _Loader(yaml.SafeLoader):
    """Composes nodes; scalars are told apart by YAML 1.2's core rules (`no` is a text, not false)."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - overrides PyYAML's class attribute

    _depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.get_mark()
            raise MarkedYAMLError(None, None, f"nested more than {MAX_DEPTH} deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_RULES = {
    "null": (r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    "int": (r"(?:[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15})", list("-+0123456789")),
    "float": (r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    "merge": (r"<<", ["<"]),
}
for _name, (_rule, _first) in _RULES.items():
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^{_rule}$"), _first)


@dataclass
class Document:
    """The values of a configuration, where each came from, and what is wrong so far."""

    name: str
    substitute: Substitution
    data: Any = None
    places: dict[Key, Place] = field(default_factory=dict)
    written: dict[Key, str] = field(default_factory=dict)
    """Texts as they stand in the file, for those in which something was filled in."""
    problems: list[Problem] = field(default_factory=list)
    settled: set[Key] = field(default_factory=set)
    """Values that could not be read; nothing more is said of them."""

    def place(self, key: Key) -> Place:
        """The place of a key, or of the nearest thing around it."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key) or Place((1, 0), f"{self.name}:1")

    def add(self, key: Key, text: str) -> None:
        """Note a problem with the value at this key; no secret is shown, wherever the text has it from."""
        secrets = [pair for pair in self.substitute.hidden if pair[1].startswith("${secret:")]
        if key not in self.settled:
            self.problems.append(Problem(self.place(key), key, mask(text, secrets)))

    def read(self, text: str) -> None:
        """Take the values from YAML text; ConfigError if it is no YAML."""

        def place(line: int) -> Place:
            return Place((0, line), f"{self.name}:{line}")

        node = _compose(text, place)
        if node is None:
            problem = Problem(place(1), (), "the file is empty; a configuration starts with 'version: 1'")
            raise ConfigError([problem])
        self.data = _Values(self, place).value(node, ())

    def override(self, setting: str, number: int) -> None:
        """Apply `key=value` of --set; the value is YAML, the key dotted, with numbers for list entries."""
        name, equals, text = setting.partition("=")
        label = f"--set {name}"
        if not equals or not name.strip():
            place = Place((1, number), f"--set {setting}")
            self.problems.append(Problem(place, (), "expected key=value, such as detector.width=640"))
            return
        place = Place((1, number), label)
        if not isinstance(self.data, dict):
            return  # the file is wrong as a whole
        parent, key = self._find(name.strip(), place)
        if parent is None:
            return
        place = Place((1, number), label, key)
        try:
            node = _compose(text, lambda _: place)
        except ConfigError as error:
            self.problems += error.problems
            return
        for known in [known for known in self.places if known[: len(key)] == key]:
            del self.places[known]
            self.written.pop(known, None)
        self.places[key] = place
        self.settled.discard(key)
        value = None if node is None else _Values(self, lambda _: place).value(node, key)
        if isinstance(parent, list) and key[-1] == len(parent):
            parent.append(value)
        else:
            parent[key[-1]] = value

    def _find(self, name: str, place: Place) -> tuple[Any, Key]:
        """The mapping or list that holds the dotted key, and the key; mappings on the way are made."""
        parts, parent = name.split("."), self.data
        key: Key = ()
        while True:
            if isinstance(parent, list):
                index = int(parts[0]) if parts[0].isdecimal() else -1
                if not 0 <= index <= len(parent):
                    numbers = f"a number from 0 to {len(parent)}"
                    text = f"'{dotted(key)}' is a list; expected {numbers}, got '{parts[0]}'"
                    self.problems.append(Problem(place, (), text))
                    return None, ()
                part: str | int = index
                parts = parts[1:]
            elif isinstance(parent, dict):
                # Names of streams may contain dots: the longest key that is there wins.
                size = next(
                    (n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in parent),
                    1,
                )
                part, parts = ".".join(parts[:size]), parts[size:]
            else:
                text = f"'{dotted(key)}' has no keys below it"
                self.problems.append(Problem(place, (), text))
                return None, ()
            key = (*key, part)
            if not parts:
                return parent, key
            if isinstance(parent, dict):
                if part not in parent:
                    parent[part] = [] if parts[0] == "0" else {}
                    self.places[key] = place
                parent = parent[part]
            elif part == len(parent):
                parent.append({})
                self.places[key] = place
                parent = parent[-1]
            else:
                parent = parent[int(part)]


def _compose(text: str, place: Callable[[int], Place]) -> Node | None:
    loader = None
    try:
        loader = _Loader(text)
        node: Node | None = loader.get_single_node()
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        what = f"the character U+{code:04X} is not allowed in YAML"
        raise ConfigError([Problem(place(line), (), what)]) from None
    except MarkedYAMLError as error:
        raise ConfigError([_broken(error, text, place)]) from None
    finally:
        if loader is not None:
            loader.dispose()
    return node


def _broken(error: MarkedYAMLError, text: str, place: Callable[[int], Place]) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    what = " ".join(filter(None, (error.context, error.problem)))
    lines = text.splitlines()
    if "'\\t'" in what:
        what += "; indent with spaces"
    elif line < len(lines) and "${" in lines[line]:
        what += "; inside { } and [ ] a ${…} stands in quotes"
    return Problem(place(line + 1), (), f"column {column + 1}: broken YAML: {what}")


class _Values:
    """Makes plain data of composed nodes."""

    def __init__(self, document: Document, place: Callable[[int], Place]) -> None:
        self._document = document
        self._place = place
        self._open: list[Node] = []
        self._count = 0

    def value(self, node: Node, key: Key) -> Any:
        place = self._place(node.start_mark.line + 1)
        self._document.places.setdefault(key, place)
        self._count += 1
        if self._count > MAX_VALUES:
            text = f"more than {MAX_VALUES} values once aliases are expanded; use fewer aliases"
            raise ConfigError([Problem(place, key, text)])
        if any(node is one for one in self._open):
            raise ConfigError([Problem(place, key, "an alias that contains itself")])
        if not _plain(node):
            what = f"the tag {node.tag.replace(_TAG, '!!')} is not used here; write the plain value"
            self._document.problems.append(Problem(place, key, what))
            self._document.settled.add(key)
            return None
        self._open.append(node)
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, key)
            if isinstance(node, SequenceNode):
                return [self.value(one, (*key, index)) for index, one in enumerate(node.value)]
            assert isinstance(node, ScalarNode)
            return self._scalar(node, key)
        finally:
            self._open.pop()

    def _mapping(self, node: MappingNode, key: Key) -> dict[str, Any]:
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[Node] = []
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            if name_node.tag == _MERGE:
                merged += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
                continue
            if not isinstance(name_node, ScalarNode):
                self._document.problems.append(Problem(self._place(line), key, "a key must be a plain word"))
                continue
            name: str = name_node.value
            if name in lines:
                text = f"the key stands here a second time; the first is on line {lines[name]}"
                self._document.problems.append(Problem(self._place(line), (*key, name), text))
                continue
            lines[name] = line
            self._document.places[(*key, name)] = self._place(line)
            result[name] = self.value(value_node, (*key, name))
        for source in merged:
            self._merge(source, key, result)
        return result

    def _merge(self, source: Node, key: Key, result: dict[str, Any]) -> None:
        """`<<`: keys of the mapping itself win, then those of earlier sources (YAML merge key)."""
        if not isinstance(source, MappingNode):
            place = self._place(source.start_mark.line + 1)
            self._document.problems.append(Problem(place, (*key, "<<"), "expected an alias of a mapping"))
            return
        known = set(self._document.places)
        for name, value in self.value(source, (*key, "<<")).items():
            if name not in result:
                result[name] = value
        # The values stand under the key they are merged into, with the lines they come from.
        here = (*key, "<<")
        for old in [old for old in self._document.places if old not in known and old[: len(here)] == here]:
            place = self._document.places.pop(old)
            self._document.places.setdefault((*key, *old[len(here) :]), place)
        for old in [old for old in self._document.written if old[: len(here)] == here]:
            self._document.written.setdefault((*key, *old[len(here) :]), self._document.written.pop(old))

    def _scalar(self, node: ScalarNode, key: Key) -> Any:
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return int(text, 0 if text[:2] in ("0o", "0x") else 10)
        if kind == "float":
            number = float(text)
            return number if math.isfinite(number) else text
        try:
            filled = self._document.substitute(text)
            if "\0" in filled:
                raise SubstitutionError("a text with a NUL character, which no option can use")
            if not _is_unicode(filled):
                raise SubstitutionError("a text that is not Unicode, which no option can use")
        except SubstitutionError as error:
            place = self._place(node.start_mark.line + 1)
            self._document.problems.append(Problem(place, key, str(error)))
            self._document.settled.add(key)
            return text.replace("\0", "").encode("utf-8", "replace").decode()
        if filled != text:
            self._document.written[key] = text
        return filled


def _is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8: `"\\ud800"` and variables with other bytes in them cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(node: Node) -> bool:
    """Whether the node's type is the one that its text has by itself (or a text by `!!str`)."""
    kind = node.tag.removeprefix(_TAG)
    if isinstance(node, MappingNode):
        return kind == "map"
    if isinstance(node, SequenceNode):
        return kind == "seq"
    return kind == "str" or (kind in _RULES and re.fullmatch(_RULES[kind][0], node.value) is not None)
