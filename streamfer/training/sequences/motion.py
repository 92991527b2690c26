"""Clips made of stills: a face in synthetic motion, which may fade into a look-alike of another class.

What no still can tell, how expressions begin and end, is not in them: a network that is trained on them has
learnt to use many looks at one face, and no more. Whatever is made with them is named synthetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import PUBLIC, SPLITS, TRAINING, Dataset
from streamfer.training.recipe import AugmentOptions, SyntheticOptions
from streamfer.training.sequences.lookalikes import LookAlikes
from streamfer.types import Window

SUFFIX = " in synthetic motion"
"""What the name of such data ends with."""

_LOWEST = 0.05
"""Hertz: slower than this is no motion within a clip."""

Curve = NDArray[np.float64]
"""A value for each frame of a clip."""


@dataclass(frozen=True)
class _Script:
    """What a clip shows: the still `first`, and from `fade` seconds on, within `length`, the still `second`;
    the same one where nothing changes."""

    first: int
    second: int
    fade: float
    length: float


def in_motion(
    stills: Dataset,
    options: SyntheticOptions,
    augment: AugmentOptions,
    window: Window,
    seed: int,
    splits: tuple[str, ...] = (TRAINING, PUBLIC),
) -> Dataset:
    """Clips of the Training and the PublicTest stills, or of one of them, each split from its own.

    A frame every `window.period` seconds. Position, size, angle, brightness and contrast go along curves of
    at most `options.hertz`, within what `augment` allows; beside that each frame is misplaced a little by
    itself and has the camera's noise, and in some clips a square covers part of the face for a while. A
    frame's label is that of the still it shows most of, `options.interruptions` aside, which change no label.
    The same seed gives the same clips.
    """
    frames = max(round(options.seconds / window.period), 2)
    counts = [options.clips if split == TRAINING else options.public_clips for split in splits]
    parts = [
        _Studio(stills, split, options, augment, window.period, seed).clips(count, frames)
        for split, count in zip(splits, counts, strict=True)
    ]
    number = sum(counts)
    made_of = {**options.model_dump(mode="json"), "stills": stills.name, "stills_sha256": stills.sha256}
    split_of_clips = np.repeat([SPLITS.index(split) for split in splits], counts)
    return Dataset(
        stills.name + SUFFIX,
        np.concatenate([images for images, _ in parts]),
        np.concatenate([labels for _, labels in parts]),
        np.repeat(split_of_clips, frames).astype(np.uint8),
        stills.label_names,
        sequences=np.repeat(np.arange(number, dtype=np.int32), frames),
        frames=np.tile(np.arange(frames, dtype=np.int32), number),
        seconds=np.tile(np.arange(frames) * window.period, number),
        about={"synthetic": made_of},
    )


class _Studio:
    """Makes the clips of one split."""

    def __init__(
        self,
        stills: Dataset,
        split: str,
        options: SyntheticOptions,
        augment: AugmentOptions,
        period: float,
        seed: int,
    ) -> None:
        rows = stills.training_rows() if split == TRAINING else stills.rows(split)
        if not len(rows):
            raise UsageError(f"{stills.name}: no usable row in {split}")
        self._images, self._labels = stills.images[rows], stills.labels[rows]
        self._options, self._augment, self._period = options, augment, period
        self._seed = (seed, SPLITS.index(split))
        self._alike = LookAlikes(self._images, self._labels, stills.label_names)

    def clips(self, count: int, frames: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Images (count·frames, height, width, channels) and labels (count·frames,).

        Every still begins a clip once before one begins a second.
        """
        stills = len(self._images)
        rounds = -(-count // stills)
        order = np.random.default_rng(self._seed)
        first = np.concatenate([order.permutation(stills) for _ in range(rounds)])[:count]
        images = np.empty((count, frames, *self._images.shape[1:]), np.uint8)
        labels = np.empty((count, frames), np.uint8)
        times: Curve = np.arange(frames, dtype=np.float64) * self._period
        for clip, still in enumerate(first.tolist()):
            random = np.random.default_rng((*self._seed, clip))
            script = self._script(still, random)
            share = _fade(times, script)
            labels[clip] = np.where(share > 0.5, self._labels[script.second], self._labels[script.first])
            images[clip] = self._render(self._shown(script, share, times, random), times, random)
        return images.reshape(-1, *self._images.shape[1:]), labels.reshape(-1)

    def _script(self, still: int, random: np.random.Generator) -> _Script:
        options = self._options
        if random.uniform() >= options.fades:
            return _Script(still, still, math.inf, 1.0)
        other = self._alike.partner(still, random)
        length = random.uniform(*options.fade_seconds)
        begin = random.uniform(0.0, options.seconds - length)
        # As often towards the still as away from it, so that no class is more often the last.
        first, second = (still, other) if random.uniform() < 0.5 else (other, still)
        return _Script(first, second, begin, max(length, 1e-3))

    def _shown(
        self, script: _Script, share: Curve, times: Curve, random: np.random.Generator
    ) -> NDArray[np.float32]:
        """What the frames of a clip show before anything moves, float32 (frames, height, width, channels)."""
        options, images = self._options, self._images
        first, second = (images[still].astype(np.float32) for still in (script.first, script.second))
        mix = share[:, None, None, None].astype(np.float32)
        shown: NDArray[np.float32] = (1 - mix) * first + mix * second
        for _ in range(random.poisson(options.interruptions * options.seconds)):
            other = images[self._alike.partner(script.second, random)].astype(np.float32)
            part = _moment(times, random.uniform(0, options.seconds), options.interruption_seconds, random)
            part = part[:, None, None, None].astype(np.float32)
            shown = (1 - part) * shown + part * other
        return shown

    def _render(
        self, shown: NDArray[np.float32], times: Curve, random: np.random.Generator
    ) -> NDArray[np.uint8]:
        """The frames of a clip in motion, uint8 (frames, height, width, channels)."""
        augment, options = self._augment, self._options
        height, width, channels = shown.shape[1:]
        side = min(height, width)

        def curve(reach: float) -> Curve:
            return _curve(times, reach, options.hertz, random)

        def jitter(reach: float) -> Curve:
            return random.normal(0.0, reach, len(times))

        angle = curve(augment.rotation) + jitter(math.degrees(options.jitter))
        scale = (1 + curve(augment.zoom)) * (1 + jitter(options.jitter))
        shift_x = curve(augment.shift) * width + jitter(options.jitter) * side
        shift_y = curve(augment.shift) * height + jitter(options.jitter) * side
        contrast, brightness = 1 + curve(augment.contrast), curve(augment.brightness)
        if augment.flip and random.uniform() < 0.5:
            shown = shown[:, :, ::-1]
        frames = np.empty((len(times), height, width, channels), np.float32)
        for place, still in enumerate(shown):
            matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle[place], scale[place])
            matrix[:, 2] += shift_x[place], shift_y[place]
            still = np.ascontiguousarray(still)
            warped = cv2.warpAffine(still, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
            frames[place] = warped.reshape(height, width, channels)
        frames -= 127.5
        frames *= contrast[:, None, None, None].astype(np.float32)
        frames += 127.5 + brightness[:, None, None, None].astype(np.float32)
        if random.uniform() < augment.erase:
            _cover(frames, times, random)
        if options.noise:
            level = random.uniform(0, options.noise)
            frames += random.standard_normal(frames.shape, np.float32) * np.float32(level)
        return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def _fade(times: Curve, script: _Script) -> Curve:
    """How much of the second still is in each frame, 0..1: a smooth step."""
    x = np.clip((times - script.fade) / script.length, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def _moment(times: Curve, middle: float, seconds: tuple[float, float], random: np.random.Generator) -> Curve:
    """How much of something is in each frame that comes and goes around `middle`, 0..1: half a sine, of half
    its full height at the least."""
    long = max(random.uniform(*seconds), 1e-3)
    height = random.uniform(0.5, 1.0)
    x = np.clip((times - middle) / long + 0.5, 0.0, 1.0)
    return np.asarray(height * np.sin(math.pi * x))


def _curve(times: Curve, reach: float, hertz: float, random: np.random.Generator) -> Curve:
    """A smooth curve within ±reach: an offset and three sines of at most `hertz`, half of the reach each."""
    heights = random.uniform(0.0, 1.0, 3)
    rates = random.uniform(min(_LOWEST, hertz), hertz, 3)
    phases = random.uniform(0.0, 2 * math.pi, 3)
    waves = np.sin(2 * math.pi * np.outer(times, rates) + phases) @ heights / heights.sum()
    return np.asarray(reach * (random.uniform(-1.0, 1.0) + waves) / 2)


def _cover(frames: NDArray[np.float32], times: Curve, random: np.random.Generator) -> None:
    """Let a square of 15 to 40 % of the side, of one gray level, stand before the face for a third to two
    thirds of a clip, as a hand does; in place."""
    height, width = frames.shape[1:3]
    side = round(random.uniform(0.15, 0.4) * min(height, width))
    top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
    long = random.uniform(1 / 3, 2 / 3) * times[-1]
    begin = random.uniform(0.0, times[-1] - long)
    during = (times >= begin) & (times <= begin + long)
    frames[during, top : top + side, left : left + side] = random.uniform(0.0, 255.0)
