"""Sizes and durations as people write them, 100MB and 10m, in options and on the command line."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_BYTES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)
_MOST = 2**53
"""The largest number taken: up to here a float is exact."""


def parse_size(value: object) -> int:
    """Bytes of a number or a text such as "100MB" (10⁶) or "64 MiB" (2²⁰); ValueError if it is none."""
    return max(1, round(_parse(value, _BYTES, "a size such as 100MB or 2GiB")))


def parse_duration(value: object) -> float:
    """Seconds of a number or a text such as "90s", "10m", "1h", "30d", "2w"; ValueError if it is none."""
    return _parse(value, _SECONDS, "a duration such as 90s, 10m, 1h or 30d")


def _parse(value: object, units: dict[str, int], expected: str) -> float:
    amount = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        amount = float(value)
    elif isinstance(value, str) and (match := _QUANTITY.fullmatch(value)):
        amount = float(match[1]) * units.get(match[2].lower(), math.nan)
    if not 0 < amount <= _MOST:
        raise ValueError(f"expected {expected}")
    return amount


def _schema(units: dict[str, int], example: str) -> WithJsonSchema:
    names = "|".join("".join(f"[{c.upper()}{c}]" for c in unit) for unit in sorted(units) if unit)
    text = {"type": "string", "pattern": rf"^\s*[0-9]+(\.[0-9]+)?\s*({names})?\s*$", "examples": [example]}
    return WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, text]})


Size = Annotated[int, BeforeValidator(parse_size), _schema(_BYTES, "100MB")]
"""An option in bytes."""

Duration = Annotated[float, BeforeValidator(parse_duration), _schema(_SECONDS, "1h")]
"""An option in seconds."""
