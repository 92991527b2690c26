"""Polygons in a configuration: lists of corners [x, y], checked down to the single coordinate."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from streamfer.regions import flaw
from streamfer.types import Polygon

MOST = 100
"""Polygons in one list, and corners of one polygon: that its sides do not cross is a matter of the square."""


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError("expected a share of the frame's width or height, 0 to 1")
    return value


def _corner(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError("expected a corner [x, y]")
    if len(value) != 2:
        raise ValueError(f"a corner is two numbers [x, y], this list has {len(value)}")
    return value


def _bounded(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) > MOST:
        raise ValueError(f"{len(value)} entries, expected at most {MOST}")
    return value


def _right(polygon: Polygon) -> Polygon:
    if text := flaw(polygon):
        raise ValueError(text)
    return polygon


def _nested(value: Any) -> Any:
    """One polygon is easily written where a list of them is asked for: said once, not for each coordinate."""
    if isinstance(value, list | tuple):
        inner = [one[0] for one in value if isinstance(one, list | tuple) and one]
        if inner and not any(isinstance(one, list | tuple) for one in inner):
            raise ValueError("one polygon where a list of them is expected; put it into brackets of its own")
    return _bounded(value)


_Share = Annotated[float, AfterValidator(_share), Field(json_schema_extra={"minimum": 0, "maximum": 1})]
_Corner = Annotated[tuple[_Share, _Share], BeforeValidator(_corner)]
_Polygon = Annotated[
    tuple[_Corner, ...],
    BeforeValidator(_bounded),
    AfterValidator(_right),
    Field(json_schema_extra={"minItems": 3, "maxItems": MOST}),
]
Polygons = Annotated[
    tuple[_Polygon, ...], BeforeValidator(_nested), Field(json_schema_extra={"maxItems": MOST})
]
"""A list of polygons, each [[x, y], [x, y], [x, y], …] in shares of the upright frame's sides."""
