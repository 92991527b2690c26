"""A live source that does as it is told, for tests."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import Field

from streamfer.api import Component, LiveOptions, SourceFrame, SourceInfo
from streamfer.errors import SourceError
from streamfer.hookspecs import hookimpl
from streamfer.picture import Picture


class ScriptOptions(LiveOptions):
    password: str = ""
    script: list[dict[str, Any]] = Field(
        description="Steps: frames, pts, every, hang, lose, size, corrupt, raise."
    )


class Script:
    """Plays its script once per connection; the last connection's script is played for ever.

    A step is {frames: N, every: seconds, pts: start, size: [w, h], corrupt: true}, {hang: seconds},
    {lose: REASON}, or {blab: true}, which shows the password wherever it can. The steps between two losses
    are one connection.
    """

    def __init__(self, options: ScriptOptions) -> None:
        self._connections: list[list[dict[str, Any]]] = [[]]
        for step in options.script:
            self._connections[-1].append(step)
            if "lose" in step:
                self._connections.append([])
        self._connections = [steps for steps in self._connections if steps]
        self._turn = 0
        self._password = options.password

    def open(self) -> SourceInfo:
        self._steps = self._connections[min(self._turn, len(self._connections) - 1)]
        self._turn += 1
        return SourceInfo(64, 48)

    def frames(self) -> Iterator[SourceFrame]:
        for step in self._steps:
            time.sleep(step.get("hang", 0))
            if reason := step.get("lose"):
                raise SourceError(reason, f"the script says {reason} to {self._password}")
            if step.get("blab"):
                logging.getLogger("streamfer").warning("the password is %s", self._password)
                raise RuntimeError(f"cannot log in with {self._password}")
            width, height = step.get("size", (64, 48))
            pts = step.get("pts", 0.0)
            due = time.monotonic()
            for number in range(step.get("frames", 0)):
                luma = np.full((height, width), 16 + number % 200, np.uint8)
                chroma = np.full(((height + 1) // 2, (width + 1) // 2), 128, np.uint8)
                seconds = None if pts is None else pts + number * step.get("step", 0.04)
                yield SourceFrame(Picture(luma, chroma, chroma), seconds, bool(step.get("corrupt")))
                due += step.get("every", 0.04)
                time.sleep(max(0.0, due - time.monotonic()))

    def close(self) -> None: ...


@hookimpl
def streamfer_components() -> list[Component]:
    return [Component("source", "script", "Does as it is told", ":Script", ScriptOptions, live=True)]
