"""Makes streamfer/data/sample.mp4: two portraits in gently moving frames, a hand, a passing shadow.

    python tools/make_sample.py [OUTPUT]

Everything is computed from the time alone, so that a second run with the same libraries gives the same file.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
PORTRAITS = Path(__file__).parent / "portraits"
WIDTH, HEIGHT, RATE, SECONDS = 640, 360, 25, 10
WINDOW = (252, 300)  # a portrait's frame on screen, width and height in pixels
SKIN = (150, 178, 222)  # BGR

Image = NDArray[np.float32]
"""Float BGR (height, width, 3) or a single plane (height, width), 0..255 or 0..1."""


@dataclass(frozen=True)
class Sitter:
    """A portrait, the point of it that stays in the window's middle (pixels), and how its window moves.

    `enters` and `leaves` are seconds (`leaves` may lie after the end); `side` is -1 for left, 1 for right.
    """

    image: Image
    focus: tuple[float, float]
    zoom: float
    home: tuple[float, float]
    side: int
    enters: float
    leaves: float
    phase: float


def ease(x: float) -> float:
    """0 below 0, 1 above 1, smooth in between."""
    x = min(1.0, max(0.0, x))
    return x * x * (3 - 2 * x)


def pulse(t: float, start: float, end: float, ramp: float) -> float:
    """Rises to 1 after `start`, falls back to 0 before `end`, in `ramp` seconds each."""
    return ease((t - start) / ramp) * (1 - ease((t - end + ramp) / ramp))


def affine(
    scale: float, degrees: float, source: tuple[float, float], target: tuple[float, float]
) -> NDArray[np.float64]:
    """The 2×3 matrix that turns and scales about `source` and puts it at `target`."""
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return np.array(
        [
            [c, -s, target[0] - c * source[0] + s * source[1]],
            [s, c, target[1] - s * source[0] - c * source[1]],
        ]
    )


def warp(image: Image, matrix: NDArray[np.float64], border: int = cv2.BORDER_CONSTANT) -> Image:
    return np.asarray(
        cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=border), np.float32
    )


def rounded_window() -> Image:
    """A mask 0..1 of a window with round corners, with a margin so that its edge stays soft when turned."""
    width, height, margin, radius = *WINDOW, 4, 22
    big = np.zeros(((height + 2 * margin) * 4, (width + 2 * margin) * 4), np.uint8)
    corner, far = (margin + radius) * 4, ((width + margin - radius) * 4, (height + margin - radius) * 4)
    cv2.rectangle(big, (corner, corner), far, 255, -1)
    grown = cv2.dilate(big, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (8 * radius + 1, 8 * radius + 1)))
    small = cv2.resize(grown, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return np.asarray(small / 255, np.float32)


def hand() -> tuple[Image, Image]:
    """A hand, fingers up, on a forearm: BGR colours and a mask 0..1, 160 × 420 pixels."""
    big = np.zeros((1680, 640), np.uint8)
    palm = np.array([(200, 430), (440, 440), (452, 560), (405, 700), (265, 700), (200, 590)], np.int32)
    cv2.fillPoly(big, [palm], 255)
    cv2.polylines(big, [palm], True, 255, 50, cv2.LINE_AA)
    cv2.fillPoly(big, [np.array([(255, 680), (412, 680), (440, 1680), (215, 1680)], np.int32)], 255)
    for base, tip, thickness in (
        ((218, 440), (186, 210), 64),
        ((288, 420), (274, 120), 68),
        ((358, 420), (366, 140), 66),
        ((424, 450), (450, 240), 58),
        ((225, 610), (92, 440), 70),
    ):
        cv2.line(big, base, tip, 255, thickness, cv2.LINE_AA)
    depth = cv2.distanceTransform((big > 127).astype(np.uint8), cv2.DIST_L2, 5)
    shade = cv2.GaussianBlur(0.68 + 0.32 * np.minimum(depth / 40, 1), (0, 0), 7)
    colour = shade[..., None] * np.array(SKIN, np.float32)
    mask = cv2.GaussianBlur(big, (0, 0), 5).astype(np.float32) / 255
    return (
        np.asarray(cv2.resize(colour, (160, 420), interpolation=cv2.INTER_AREA), np.float32),
        np.asarray(cv2.resize(mask, (160, 420), interpolation=cv2.INTER_AREA), np.float32),
    )


def background(t: float) -> Image:
    """A calm gradient whose light wanders slowly from left to right."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    light = np.exp(-(((x - WIDTH * (0.3 + 0.04 * t)) / 380) ** 2) - ((y - 120) / 300) ** 2)
    top, glow = np.array((84, 62, 46), np.float32), np.array((74, 66, 58), np.float32)
    return np.asarray((1 - 0.35 * y / HEIGHT)[..., None] * top + light[..., None] * glow, np.float32)


def blend(below: Image, above: Image, mask: Image) -> Image:
    return below + (above - below) * mask[..., None]


def draw(canvas: Image, sitter: Sitter, window: Image, t: float, wave: tuple[Image, Image] | None) -> Image:
    """The sitter's window at time `t` and its shadow; `wave` is a hand that passes before the face."""
    away = (1 - ease((t - sitter.enters) / 1.2)) + ease((t - sitter.leaves) / 1.2)
    if away >= 1:
        return canvas
    turn = 2 * math.pi * t / 7 + sitter.phase
    centre = (
        sitter.home[0] + 24 * math.sin(turn) + sitter.side * 330 * away,
        sitter.home[1] + 9 * math.sin(2 * turn + 1),
    )
    tilt = 3.5 * math.sin(turn * 1.3 + 0.5)
    middle = (window.shape[1] / 2, window.shape[0] / 2)
    mask = warp(window, affine(1, tilt, middle, centre))
    shadow = cv2.GaussianBlur(
        warp(window, affine(1, tilt, middle, (centre[0] + 5, centre[1] + 9))), (0, 0), 9
    )
    canvas = canvas * (1 - 0.55 * np.asarray(shadow, np.float32)[..., None])
    canvas = blend(canvas, np.full_like(canvas, 225), mask)

    zoom = sitter.zoom * (1 + 0.08 * math.sin(turn * 0.8 + 2))
    focus = (sitter.focus[0] + 14 * math.sin(turn * 1.1), sitter.focus[1] + 8 * math.cos(turn * 0.9))
    lean = tilt + 3 * math.sin(turn * 1.7)
    picture = warp(sitter.image, affine(zoom, lean, focus, centre), cv2.BORDER_REFLECT)
    if wave is not None and 4.4 < t < 6.4:
        colour, cover = wave
        # Up from below the window, across the face, and down again on the other side.
        part = (t - 4.4) / 2.0
        at = (centre[0] + 120 * (0.5 - ease(part)), centre[1] + 262 - 272 * math.sin(math.pi * part) ** 0.7)
        place = affine(1.45, -26 * (0.5 - part), (80, 120), at)
        picture = blend(picture, warp(colour, place, cv2.BORDER_REPLICATE), warp(cover, place))
    pane = warp(window, affine(0.972, tilt, middle, centre))
    return blend(canvas, picture, pane)


def light(t: float) -> Image:
    """What each colour channel is multiplied by: a cloud passes, and the light is warmer after it."""
    cloud = 1 - 0.42 * pulse(t, 6.6, 8.6, 0.7)
    warm = ease((t - 8.2) / 1.0)
    return np.array((1 - 0.10 * warm, 1 - 0.02 * warm, 1 + 0.04 * warm), np.float32) * cloud


def load(name: str) -> Image:
    image = cv2.imread(str(PORTRAITS / name))
    if image is None:
        raise SystemExit(f"{PORTRAITS / name}: cannot be read")
    return np.asarray(image, np.float32)


def main(output: Path) -> None:
    astronaut = Sitter(load("astronaut.png"), (228, 170), 1.1, (168, 182), -1, 0.1, 99, 0.0)
    officer = Sitter(load("grace_hopper.jpg"), (264, 246), 0.71, (472, 180), 1, 0.9, 9.1, 2.2)
    window, wave = rounded_window(), hand()
    # One pattern of noise for all frames: it keeps the gradient from banding and costs nothing to code.
    grain = np.random.default_rng(7).normal(0, 0.8, (HEIGHT, WIDTH, 1)).astype(np.float32)
    with av.open(str(output), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.thread_count = 1
        stream.options = {"crf": "27", "preset": "veryslow", "g": "50"}
        for index in range(RATE * SECONDS):
            t = index / RATE
            canvas = draw(background(t), astronaut, window, t, None)
            canvas = draw(canvas, officer, window, t, wave)
            shown = np.clip(canvas * light(t) + grain, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, "bgr24")))
        container.mux(stream.encode())
    print(f"{output}: {output.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "streamfer" / "data" / "sample.mp4")
