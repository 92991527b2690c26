"""Draws boxes, labels and mosaics straight on the planes of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from streamfer.picture import Picture, Plane
from streamfer.types import Box

Colour = tuple[int, int, int]
"""Y, U, V in limited range (BT.601)."""

Alpha = NDArray[np.uint8]

MOSAIC = 6
"""Tiles across a face that is to be hidden: too few to tell who it is, or what it shows."""

MARGIN = 0.15
"""How far a mosaic reaches beyond the box on each side, as a share of the box."""

SHARPENING = 4
"""Text is drawn this much larger and averaged down: strokes keep their weight at any size."""

FONT = cv2.FONT_HERSHEY_SIMPLEX


def _yuv(red: int, green: int, blue: int) -> Colour:
    y = 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
    u = 128 + (-37.797 * red - 74.203 * green + 112.0 * blue) / 255
    v = 128 + (112.0 * red - 93.786 * green - 18.214 * blue) / 255
    return round(y), round(u), round(v)


PALETTE = tuple(
    _yuv(*rgb)
    for rgb in (
        (0, 200, 255),
        (255, 176, 0),
        (88, 214, 96),
        (255, 92, 138),
        (160, 132, 255),
        (255, 232, 64),
        (0, 222, 190),
        (255, 128, 64),
        (120, 176, 255),
        (232, 120, 240),
    )
)
"""One colour per track in turn, all bright enough for dark text."""

GRAY = _yuv(168, 172, 178)
INK = _yuv(16, 18, 24)


@dataclass(frozen=True)
class Mark:
    """One face to draw: its box in pixels of the picture, its text as rows of cells, and its colour (the
    track's, or gray where a face has no label)."""

    box: Box
    lines: tuple[tuple[str, ...], ...]
    colour: Colour


def track_colour(track: int) -> Colour:
    return PALETTE[(track - 1) % len(PALETTE)]


def draw(picture: Picture, marks: Sequence[Mark]) -> None:
    """Draw marks on a picture whose planes are writable; frames first, so that no line crosses a label."""
    unit = min(picture.width, picture.height) / 360
    stroke = max(2, round(unit) * 2)
    text = max(8, round(10 * unit))
    for mark in marks:
        _frame(picture, mark, stroke)
    for mark in marks:
        if mark.lines:
            _label(picture, mark, text)


def pixelate(picture: Picture, box: Box) -> None:
    """Hide what is in a box, and a margin around it, behind a coarse mosaic."""
    left, top = box.x - box.w * MARGIN, box.y - box.h * MARGIN
    right, bottom = box.x + box.w * (1 + MARGIN), box.y + box.h * (1 + MARGIN)
    x0, y0 = max(0, int(left) // 2 * 2), max(0, int(top) // 2 * 2)
    x1, y1 = min(picture.width, int(right) + 2), min(picture.height, int(bottom) + 2)
    if x0 >= x1 or y0 >= y1:
        return
    for plane, step in ((picture.y, 1), (picture.u, 2), (picture.v, 2)):
        region = plane[y0 // step : -(-y1 // step), x0 // step : -(-x1 // step)]
        height, width = region.shape
        tiles = min(MOSAIC, width), min(MOSAIC, height)
        mosaic = cv2.resize(region, tiles, interpolation=cv2.INTER_AREA)
        region[:] = cv2.resize(mosaic, (width, height), interpolation=cv2.INTER_NEAREST)


def _frame(picture: Picture, mark: Mark, stroke: int) -> None:
    """The rectangle, with heavier corners. Even coordinates, so that luma and chroma meet."""
    x0, y0 = _even(mark.box.x), _even(mark.box.y)
    x1, y1 = _even(mark.box.x + mark.box.w), _even(mark.box.y + mark.box.h)
    thin = max(2, stroke // 4 * 2)
    _fill(picture, x0, y0, x1, y0 + thin, mark.colour)
    _fill(picture, x0, y1 - thin, x1, y1, mark.colour)
    _fill(picture, x0, y0, x0 + thin, y1, mark.colour)
    _fill(picture, x1 - thin, y0, x1, y1, mark.colour)
    if mark.colour == GRAY:
        return
    heavy = stroke + 2
    arm = _even(min(x1 - x0, y1 - y0) * 0.2)
    for y, end in ((y0, y0 + heavy), (y1 - heavy, y1)):
        _fill(picture, x0, y, x0 + arm, end, mark.colour)
        _fill(picture, x1 - arm, y, x1, end, mark.colour)
    for x, end in ((x0, x0 + heavy), (x1 - heavy, x1)):
        _fill(picture, x, y0, end, y0 + arm, mark.colour)
        _fill(picture, x, y1 - arm, end, y1, mark.colour)


def _label(picture: Picture, mark: Mark, text: int) -> None:
    """The plate with the text, where it hides least."""
    ink = _plate(mark.lines, text)
    height, width = ink.shape
    x, y = _place(mark.box, width, height, picture.width, picture.height)
    _fill(picture, x, y, x + width, y + height, mark.colour)
    _blend(picture, x, y, ink, INK)


def _place(box: Box, width: int, height: int, frame_width: int, frame_height: int) -> tuple[int, int]:
    """An even corner for a label: above the box, else below, right, left of it, else over its top."""
    left, right = (max(0, min(_even(at), frame_width)) for at in (box.x, box.x + box.w))
    top, bottom = (max(0, min(_even(at), frame_height)) for at in (box.y, box.y + box.h))
    x = max(0, min(left, (frame_width - width) // 2 * 2))
    y = max(0, min(top, (frame_height - height) // 2 * 2))
    if top - height >= 0:
        return x, top - height
    if bottom + height <= frame_height:
        return x, bottom
    if right + width <= frame_width:
        return right, y
    if left - width >= 0:
        return left - width, y
    return x, y


@lru_cache(maxsize=512)
def _plate(lines: tuple[tuple[str, ...], ...], text: int) -> Alpha:
    """The ink of a label, uint8 (even height, even width): rows of cells in columns, capitals `text` high."""
    pad, gap, leading, descent = round(text * 0.6), round(text * 0.7), round(text * 0.7), round(text * 0.25)
    rows = [[_ink(cell, text) for cell in line] for line in lines]
    columns = [0] * max(len(row) for row in rows)
    for row in rows:
        for column, cell in enumerate(row):
            columns[column] = max(columns[column], cell.shape[1])
    width = sum(columns) + gap * (len(columns) - 1) + 2 * pad
    height = len(rows) * text + (len(rows) - 1) * leading + 2 * pad + descent
    plate = np.zeros((height + height % 2, width + width % 2), np.uint8)
    for number, row in enumerate(rows):
        x, y = pad, pad + number * (text + leading)
        for cell, column in zip(row, columns, strict=False):
            part = plate[y : y + cell.shape[0], x : x + cell.shape[1]]
            np.maximum(part, cell[: part.shape[0], : part.shape[1]], out=part)
            x += column + gap
    return plate


def _ink(line: str, text: int) -> Alpha:
    """One line of anti-aliased text; its capitals span rows 0 to `text`, descenders follow."""
    large = text * SHARPENING
    thickness = max(1, round(large * 0.14))
    scale = cv2.getFontScaleFromHeight(FONT, large - thickness, 1)
    (width, _), _ = cv2.getTextSize(line, FONT, scale, thickness)
    descent = round(text * 0.45) * SHARPENING
    canvas = np.zeros((large + descent, -(-(width + thickness) // SHARPENING) * SHARPENING), np.uint8)
    origin = thickness // 2, large - thickness // 2
    cv2.putText(canvas, line, origin, FONT, scale, 255, thickness, cv2.LINE_AA)
    size = canvas.shape[1] // SHARPENING, canvas.shape[0] // SHARPENING
    return np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_AREA), np.uint8)


def _even(value: float) -> int:
    return round(value / 2) * 2


def _fill(picture: Picture, x0: int, y0: int, x1: int, y1: int, colour: Colour) -> None:
    """Fill a rectangle with even corners, as much of it as lies inside."""
    x0, y0, x1, y1 = max(0, x0), max(0, y0), max(0, x1), max(0, y1)
    picture.y[y0:y1, x0:x1] = colour[0]
    picture.u[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2] = colour[1]
    picture.v[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2] = colour[2]


def _blend(picture: Picture, x: int, y: int, alpha: Alpha, colour: Colour) -> None:
    """Lay a colour over the picture at an even position, `alpha` 255 where it covers."""
    chroma = np.asarray(cv2.resize(alpha, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    _blend_plane(picture.y, x, y, alpha, colour[0])
    _blend_plane(picture.u, x // 2, y // 2, chroma, colour[1])
    _blend_plane(picture.v, x // 2, y // 2, chroma, colour[2])


def _blend_plane(plane: Plane, x: int, y: int, alpha: Alpha, value: int) -> None:
    region = plane[y : y + alpha.shape[0], x : x + alpha.shape[1]]
    share = alpha[: region.shape[0], : region.shape[1]].astype(np.int32)
    region[:] = region + (value - region.astype(np.int32)) * share // 255
