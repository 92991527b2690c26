"""`${NAME}`, `${NAME:-default}` and `${secret:NAME}` in the texts of a configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from streamfer.redact import add_secret

_PATTERN = re.compile(
    r"\$(?P<escaped>\$\{)"
    r"|\$\{secret:(?P<secret>[A-Za-z0-9_][A-Za-z0-9_.-]*)\}"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}"
    r"|(?P<malformed>\$\{)"
)
_SECRET_BYTES = 64 * 1024


class SubstitutionError(ValueError):
    """A `${…}` that has no value; the text says which and what to do."""


@dataclass
class Substitution:
    """Fills in environment variables and secrets, and remembers what must not be shown.

    `hidden` has a (value, placeholder) pair for every value that was filled in: an environment variable may
    hold a password as well as a secret does.
    """

    environ: Mapping[str, str]
    secrets: Path
    hidden: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, text: str) -> str:
        """The text with everything filled in; SubstitutionError if something is missing."""
        return _PATTERN.sub(self._value, text)

    def _value(self, match: re.Match[str]) -> str:
        if match["escaped"]:
            return "${"
        if match["malformed"]:
            raise SubstitutionError(
                "a '${' without an end or a name; expected ${NAME}, ${NAME:-default} or ${secret:NAME} "
                "(write $${ for the characters themselves)"
            )
        value = self._secret(match["secret"]) if match["secret"] else self._variable(match)
        if match["secret"]:
            add_secret(value)
        if value:
            self.hidden.append((value, match[0]))
        return value

    def _variable(self, match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        value = self.environ.get(name)
        if not value and default is not None:  # as in a shell, an empty variable takes the default too
            return str(default)
        if value is None:
            raise SubstitutionError(
                f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
            )
        return value

    def _secret(self, name: str) -> str:
        path = self.secrets / name
        try:
            with path.open("rb") as file:
                content = file.read(_SECRET_BYTES + 1)
        except OSError as error:
            raise SubstitutionError(f"the secret {name} cannot be read: {error.strerror}: {path}") from None
        if len(content) > _SECRET_BYTES:
            raise SubstitutionError(f"the secret {name} is larger than 64 KiB: {path}")
        try:
            return content.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise SubstitutionError(f"the secret {name} is not UTF-8: {path}") from None
