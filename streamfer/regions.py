"""Where in a frame faces count: inside one of the regions, if there are any, and outside all masks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from streamfer.types import Polygon

_LEAST_AREA = 1e-6
"""A polygon that covers less of the frame is a mistake: it is about a pixel."""

_Corner = tuple[float, float]


class Regions:
    """Polygons in shares of the frame's sides. A face counts by the centre of its box."""

    def __init__(self, regions: Sequence[Polygon] = (), masks: Sequence[Polygon] = ()) -> None:
        self._regions = tuple(regions)
        self._masks = tuple(masks)

    def __bool__(self) -> bool:
        """Whether anything is left out at all."""
        return bool(self._regions or self._masks)

    def contains(self, x: float, y: float) -> bool:
        """Whether a face whose centre is at (x, y), shares 0..1, counts."""
        if self._regions and not any(inside(polygon, x, y) for polygon in self._regions):
            return False
        return not any(inside(polygon, x, y) for polygon in self._masks)


def inside(polygon: Polygon, x: float, y: float) -> bool:
    """Whether a point lies in a polygon, by the even-odd rule."""
    within = False
    for (x1, y1), (x2, y2) in _sides(polygon):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            within = not within
    return within


def flaw(polygon: Polygon) -> str | None:
    """Why these corners are no polygon that somebody has drawn on purpose, for an error; None if they are.

    Every two sides are compared: the number of corners is the caller's to bound.
    """
    if len(polygon) < 3:
        return f"a polygon has at least 3 corners, this one has {len(polygon)}"
    for number, corner in enumerate(polygon):
        if corner in polygon[:number]:
            shown = ", ".join(f"{value:g}" for value in corner)
            return f"the corner [{shown}] stands there twice; the last corner joins the first by itself"
    if any(_cross(*one, *other) for one, other in combinations(_sides(polygon), 2)):
        return "the polygon's sides cross; name the corners in their order around it"
    if abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in _sides(polygon))) / 2 < _LEAST_AREA:
        return "the polygon has no area: its corners lie on one line"
    return None


def _sides(polygon: Polygon) -> list[tuple[_Corner, _Corner]]:
    return list(zip(polygon, (*polygon[1:], polygon[0]), strict=True))


def _cross(a: _Corner, b: _Corner, c: _Corner, d: _Corner) -> bool:
    """Whether the lines from a to b and from c to d cross; touching is not crossing."""
    return _turn(a, b, c) * _turn(a, b, d) < 0 and _turn(c, d, a) * _turn(c, d, b) < 0


def _turn(a: _Corner, b: _Corner, c: _Corner) -> float:
    """Above 0 where the way from a over b to c turns one way, below 0 where it turns the other."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
