"""The contract of trackers: identities that last, rise and are never used again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streamfer.api import Tracker
from streamfer.testing.require import require
from streamfer.types import Box, Detection

FRAME = 0.04
"""Seconds between the frames of the test scene."""


def check_tracker(build: Callable[[], Tracker]) -> None:
    """Check a tracker on a made-up scene: a face that stays, one that walks, others that come and go."""
    tracker = build()
    require(not tracker.predict(0.0), "predict expects faces before any was seen")
    seen = _play(tracker, [_scene(frame) for frame in range(100)], 0.0)
    still = {ids[0] for ids in seen}
    require(len(still) == 1, f"a face that does not move had {len(still)} ids in 100 frames")
    walking = {ids[1] for ids in seen}
    require(len(walking) == 1, f"a face that moves by a tenth of its size a frame had {len(walking)} ids")
    highest = max(max(ids) for ids in seen)

    tracker.reset()
    require(not tracker.predict(4.04), "predict still expects faces after a reset")
    after = _play(tracker, [_scene(99)] * 5, 4.04)
    require(
        min(after[0]) > highest,
        f"after a reset the id {min(after[0])} was given again (ids had gone up to {highest})",
    )
    tracker.reset(first_track=5000)
    ids = _play(tracker, [_scene(99)] * 5, 4.24)[0]
    require(min(ids) == 5000, f"reset(first_track=5000) began with the id {min(ids)}")
    tracker.reset(first_track=1)
    ids = _play(tracker, [_scene(99)] * 5, 4.44)[0]
    require(min(ids) > 5000, f"reset(first_track=1) went back to the id {min(ids)}")

    again = _play(build(), [_scene(frame) for frame in range(100)], 0.0)
    require(again == seen, "a second object with the same options gives other ids for the same detections")


def _scene(frame: int) -> list[Detection]:
    """A face at rest, one that walks 4 pixels a frame, and now and then a third, each time somewhere else."""
    boxes = [Box(50, 50, 60, 80), Box(200 + 4 * frame, 300, 40, 50)]
    turn, step = divmod(frame, 25)
    if step < 6:
        boxes.append(Box(900 + 200 * turn, 40 + 90 * turn, 50, 60))
    return [Detection(box, 0.9) for box in boxes]


def _play(tracker: Tracker, scene: Sequence[list[Detection]], start: float) -> list[list[int]]:
    """The ids of each frame, after what must hold for any scene has been checked."""
    history: list[list[int]] = []
    known: set[int] = set()
    for frame, detections in enumerate(scene):
        seconds = start + frame * FRAME
        for box in tracker.predict(seconds):
            require(len(box) == 4 and box[2] > 0 and box[3] > 0, f"predict expects a face in the box {box}")
        ids = tracker.update(detections, seconds)
        require(
            len(ids) == len(detections),
            f"update gave {len(ids)} ids for {len(detections)} detections, expected one for each",
        )
        require(all(one > 0 for one in ids), f"an id is not positive: {ids}")
        require(len(set(ids)) == len(ids), f"two faces of one frame share an id: {ids}")
        for new in sorted(set(ids) - known):
            require(
                new > max(known, default=0),
                f"the new id {new} is lower than one given before ({max(known, default=0)}): ids must rise",
            )
            known.add(new)
        history.append(ids)
    require(tracker.update([], start + len(scene) * FRAME) == [], "update gave ids for a frame without faces")
    return history
