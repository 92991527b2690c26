"""The one filter that keeps passwords out of logs, errors, metrics, process titles and status pages."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

HIDDEN = "…"
SHORTEST = 3
"""Shorter values are not registered: hiding each "1" or "ab" would make every text unreadable. In an address
they are hidden all the same."""

_SENSITIVE_WORDS = r"pass|pwd|secret|token|credential|api_?key"
_SENSITIVE = re.compile(_SENSITIVE_WORDS, re.IGNORECASE)
_NAMES_A_FILE = re.compile(r"(^|_)(file|path|directory|dir)$", re.IGNORECASE)
_WORD = re.compile(r"\S+")
# The bounds keep the time for a hostile text linear in its length.
_PARAMETER = re.compile(
    rf"(?i)([?&;/][\w.-]{{0,40}}(?:{_SENSITIVE_WORDS})[\w.-]{{0,40}}=)(?!{HIDDEN})([^&;\s\"'<>]+)"
)
_LONGEST_BY_CHARACTER = 256
"""Longer values (keys, certificates) are looked for in their usual encodings only, not in mixtures."""

_lock = threading.Lock()
_patterns: dict[str, int] = {}
"""Regular expressions of what is hidden, each with the length of the value it hides."""
_compiled: re.Pattern[str] | None = None


def add_secret(value: str) -> None:
    """Hide this password from now on: as it is, percent-encoded once or twice (also in part), as a Python or
    JSON text shows it, and in the Base64 of "user:password", whoever the user is.

    A value of fewer than `SHORTEST` characters is ignored.
    """
    global _compiled
    if len(value) < SHORTEST:
        return
    with _lock:
        for pattern in _forms(value):
            _patterns[pattern] = len(value)
        longest_first = sorted(_patterns, key=lambda one: (-_patterns[one], one))
        _compiled = re.compile("|".join(longest_first))


def redact(text: str) -> str:
    """The text with every registered secret, and all that `in_addresses` hides, replaced by "…"."""
    text = in_addresses(text)
    if _compiled is not None:
        # Again, until nothing is found: what is left and right of a hidden part may add up to a secret.
        # Each turn makes the text shorter.
        found = 1
        while found:
            text, found = _compiled.subn(HIDDEN, text)
    return text


def in_addresses(text: str) -> str:
    """The text with the user and password of every address (`scheme://user:password@`, also where the
    password holds an "@" or "/" that is not encoded) and parameters such as `?password=` replaced by "…".

    An address without a password whose path holds an "@" behind a colon may lose its host: better too much
    than a password.
    """
    if "@" in text and "://" in text:
        text = _WORD.sub(_without_userinfo, text)
    return _PARAMETER.sub(rf"\1{HIDDEN}", text) if "=" in text else text


def is_sensitive(key: str) -> bool:
    """Whether an option of this name holds a secret; one that names a file holds a path, which is none."""
    return bool(_SENSITIVE.search(key)) and not _NAMES_A_FILE.search(key)


def secrets_in(options: Mapping[str, Any]) -> None:
    """Register what a component's options hold: the values of sensitive keys, everything nested in them, and
    the passwords in addresses. `options` is JSON-like: mappings, lists, texts, numbers."""
    for value in _secrets(options, sensitive=False):
        add_secret(value)


def _secrets(value: Any, *, sensitive: bool) -> Iterator[str]:
    if isinstance(value, str):
        if sensitive:
            yield value
        yield from _passwords(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets(inner, sensitive=sensitive or is_sensitive(str(key)))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secrets(inner, sensitive=sensitive)


def _passwords(address: str) -> Iterator[str]:
    """The passwords that an address may be read to hold."""
    rest = address.partition("://")[2]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    for part in {rest, authority}:
        password = part.rpartition("@")[0].partition(":")[2]
        yield from {password, unquote(password)}
    for match in _PARAMETER.finditer(address):
        yield from {match[2], unquote(match[2])}


def _without_userinfo(match: re.Match[str]) -> str:
    scheme, mark, rest = match[0].partition("://")
    userinfo, at, tail = rest.rpartition("@")
    # "https://host/@name" has no userinfo; with a colon before the "@" it may be a password with a "/".
    if not (mark and at) or (":" not in userinfo and re.search(r"[/?#]", userinfo)):
        return match[0]
    return f"{scheme}://{HIDDEN}@{tail}"


def _forms(value: str) -> Iterator[str]:
    """Regular expressions that match the value in all its encodings."""
    if len(value) <= _LONGEST_BY_CHARACTER:
        yield "".join(map(_character, value))
    else:
        once = quote(value, safe="", errors="surrogatepass")
        for form in {value, once, quote(once, safe=""), repr(value)[1:-1], json.dumps(value)[1:-1]}:
            yield re.escape(form)
    for encoding in ("utf-8", "latin-1"):
        try:
            encoded = value.encode(encoding)
        except UnicodeEncodeError:
            continue
        for before in range(3):
            yield _base64(encoded, before)


def _character(character: str) -> str:
    """One character of a secret, plain or encoded."""
    percent = "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
    hexadecimal = "|".join((percent.replace("%", "%25"), percent))
    shown = {repr(character)[1:-1], ascii(character)[1:-1], json.dumps(character)[1:-1], character}
    if character in "'\"\\":
        shown.add(f"\\{character}")
    if character == " ":
        shown.add("+")
    longest_first = sorted(shown, key=lambda one: (-len(one), one))
    return f"(?:(?i:{hexadecimal})|{'|'.join(map(re.escape, longest_first))})"


def _base64(secret: bytes, before: int) -> str:
    """What Base64 makes of the secret alone, where `before` more bytes (modulo 3) stand in front of it and
    none behind: the characters that the bytes in front have a share in are left out."""
    encoded = base64.b64encode(b"\0" * before + secret).decode().rstrip("=")[(0, 2, 3)[before] :]
    return "".join({"+": r"[+\-]", "/": "[/_]"}.get(character, character) for character in encoded) + "={0,2}"
