"""Where in a frame faces count: inside one of the regions, if there are any, and outside all masks."""

from __future__ import annotations

from collections.abc import Sequence

from streamfer.types import Polygon


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
    for (x1, y1), (x2, y2) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            within = not within
    return within
