"""What is wrong with a configuration: all of it, in the order of the file, one line each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streamfer.errors import UsageError
from streamfer.redact import in_addresses, is_sensitive

Key = tuple[str | int, ...]
"""The path to a value, such as ("sinks", 0, "path")."""


@dataclass(frozen=True, order=True)
class Place:
    """Where a value came from: a line of the file, or a command-line option (after all lines)."""

    order: tuple[int, int]
    label: str
    """What is printed before the text; empty if the text says enough."""
    key: Key = ()
    """The key that the label itself names; it is not repeated in the text."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. Its text is `file:line: key: what came, what was expected`."""

    place: Place
    key: Key
    text: str

    def __str__(self) -> str:
        shown = "" if self.key in ((), self.place.key) else f"{dotted(self.key)}: "
        where = f"{self.place.label}: " if self.place.label else ""
        text = in_addresses(f"{where}{shown}{self.text}")
        # What stands in the file is quoted, and a terminal would obey its control characters.
        return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


class ConfigError(UsageError):
    """A configuration that cannot be used. Its text is one line for each problem, sorted by line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        # One value that stands in several places (an alias) is wrong once.
        self.problems = tuple(
            dict.fromkeys(sorted(problems, key=lambda one: (one.place, dotted(one.key), one.text)))
        )
        super().__init__("\n".join(map(str, self.problems)))


def dotted(key: Key) -> str:
    return ".".join(map(str, key))


def suggest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?" if a known word is close, else "; expected one of x, y, z"."""
    words = sorted(known)
    folded = {one.lower(): one for one in words}
    close = difflib.get_close_matches(word.lower(), folded, n=1)
    if close:
        return f"; did you mean '{folded[close[0]]}'?"
    return f"; expected one of {', '.join(words)}" if words else ""


def shown(value: object, key: Key) -> str:
    """A value as an error may show it: short, without passwords."""
    if any(isinstance(part, str) and is_sensitive(part) for part in key):
        return "a value that is not shown"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = in_addresses(str(value))
    text = text if len(text) <= 60 else text[:57] + "…"
    return repr(text) if isinstance(value, str) else text


def mask(text: str, hidden: Sequence[tuple[str, str]]) -> str:
    """The text with each (value, placeholder) replaced, longest value first."""
    for value, placeholder in sorted(hidden, key=lambda pair: -len(pair[0])):
        text = text.replace(value, placeholder)
    return text
