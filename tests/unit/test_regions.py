"""Where faces count, and which polygons are refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfer.regions import Regions, flaw, inside
from streamfer.types import Polygon

LEFT: Polygon = ((0, 0), (0.5, 0), (0.5, 1), (0, 1))
MIDDLE: Polygon = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
HOOK: Polygon = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.6, 0.9), (0.6, 0.4), (0.1, 0.4))

shares = st.floats(0, 1, exclude_max=True)


def test_without_polygons_every_face_counts() -> None:
    everywhere = Regions()
    assert not everywhere
    assert everywhere.contains(0, 0) and everywhere.contains(0.5, 1)


@given(shares, shares)
def test_regions_say_where_and_masks_where_not(x: float, y: float) -> None:
    left, middle = x < 0.5, 0.25 <= x < 0.75 and 0.25 <= y < 0.75
    assert Regions([LEFT]).contains(x, y) == left
    assert Regions([], [LEFT]).contains(x, y) == (not left)
    assert Regions([LEFT, MIDDLE]).contains(x, y) == (left or middle)
    assert Regions([LEFT], [MIDDLE]).contains(x, y) == (left and not middle)
    assert Regions([MIDDLE], [MIDDLE, LEFT]).contains(x, y) is False


@pytest.mark.parametrize(
    ("x", "y", "within"),
    [(0.2, 0.2, True), (0.75, 0.8, True), (0.3, 0.7, False), (0.95, 0.5, False), (0.05, 0.2, False)],
)
def test_a_polygon_may_have_a_bay(x: float, y: float, within: bool) -> None:
    assert inside(HOOK, x, y) == within
    assert inside(HOOK[::-1], x, y) == within
    assert inside(HOOK[2:] + HOOK[:2], x, y) == within


@given(st.integers(3, 100), st.floats(0.01, 0.5), st.floats(0, 6.28), st.data())
def test_a_polygon_around_the_middle_is_right_and_holds_it(
    corners: int, radius: float, turn: float, data: st.DataObject
) -> None:
    distances = data.draw(st.lists(st.floats(0.3, 1), min_size=corners, max_size=corners))
    polygon = tuple(
        (
            0.5 + radius * far * math.cos(turn + 2 * math.pi * number / corners),
            0.5 + radius * far * math.sin(turn + 2 * math.pi * number / corners),
        )
        for number, far in enumerate(distances)
    )
    assert flaw(polygon) is None
    if corners > 3:  # the middle may lie on a triangle's side
        assert inside(polygon, 0.5, 0.5)
    assert not inside(polygon, 0.5 + 1.01 * radius, 0.5)


@pytest.mark.parametrize(
    ("polygon", "said"),
    [
        ((), "at least 3 corners, this one has 0"),
        (((0, 0), (1, 1)), "at least 3 corners, this one has 2"),
        (((0, 0), (0.5, 0.5), (1, 1)), "no area"),
        (((0.2, 0.2), (0.7, 0.2), (0.7, 0.2000001)), "no area"),
        (((0, 0), (1, 1), (1, 0), (0, 1)), "sides cross"),
        (((0, 0), (1, 0), (1, 1), (0.5, -0.5), (0, 1)), "sides cross"),
        (((0, 0), (1, 0), (1, 1), (0, 0)), "the corner [0, 0] stands there twice"),
    ],
)
def test_what_is_no_polygon_is_told(polygon: Polygon, said: str) -> None:
    assert said in (flaw(polygon) or "")


@pytest.mark.parametrize("polygon", [LEFT, MIDDLE, HOOK, ((0, 0), (0.01, 0), (0, 0.01))])
def test_what_somebody_draws_is_right(polygon: Polygon) -> None:
    assert flaw(polygon) is None
    assert flaw(polygon[::-1]) is None
