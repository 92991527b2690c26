"""The figures of the report, and what they are held against."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One figure, and what it should be at most or at least."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None


def at_most(what: str, value: float, limit: float, digits: int = 2) -> Line:
    return Line(what, f"{value:.{digits}f}", f"at most {limit:g}", value <= limit)


def at_least(what: str, value: float, limit: float) -> Line:
    return Line(what, f"{value:.2f}", f"at least {limit:g}", value >= limit)
