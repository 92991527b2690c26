"""A worker process: reads its spec, runs its stage, and ends when the supervisor does.

`python -m streamfer.worker TITLE`. Standard input carries one line of JSON and is then a lifeline: its end
means that the supervisor is gone.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import setproctitle

from streamfer.errors import StreamferError
from streamfer.redact import redact, secrets_in

if TYPE_CHECKING:
    from streamfer.stages.base import Link, Stage
    from streamfer.stages.spec import StageSpec
    from streamfer.transport import Sockets


def main() -> int:
    """The worker's whole life; returns its exit status."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the supervisor decides; a terminal signals the whole group
    setproctitle.setproctitle(sys.argv[1])
    line = sys.stdin.buffer.readline()

    from streamfer.stages import spec as specs

    spec = specs.decode(line)
    hide_secrets(spec.stage)
    threading.Thread(target=_follow, args=(spec.runtime,), daemon=True, name="lifeline").start()

    from streamfer import wire
    from streamfer.stages.base import Link, LinkHandler
    from streamfer.transport import Sockets

    sockets = Sockets()
    link = Link(sockets, spec.control, spec.identity)
    logger = logging.getLogger("streamfer")
    logger.addHandler(LinkHandler(link))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    status = 0
    try:
        _stage(spec.stage, sockets, link).run()
    except StreamferError as error:
        link.send(wire.Failed(redact(str(error)), error.status))
        status = error.status
    finally:
        sockets.close()
    return status


def _stage(spec: StageSpec, sockets: Sockets, link: Link) -> Stage:
    # Each stage is imported only in its own process: decoders, OpenCV and LiteRT cost time and memory.
    from streamfer.stages import spec as specs

    if isinstance(spec, specs.CaptureSpec):
        if spec.live is not None:
            from streamfer.stages.live import LiveCapture

            return LiveCapture(spec, sockets, link)
        from streamfer.stages.capture import Capture

        return Capture(spec, sockets, link)
    if isinstance(spec, specs.DetectSpec):
        import cv2

        from streamfer.stages.detect import Detect

        cv2.setNumThreads(1)
        return Detect(spec, sockets, link)
    if isinstance(spec, specs.ClassifySpec):
        from streamfer.stages.classify import Classify

        return Classify(spec, sockets, link)
    from streamfer.stages.sink import SinkStage

    return SinkStage(spec, sockets, link)


def hide_secrets(stage: StageSpec) -> None:
    """Let nothing that this process says show the passwords in its options."""
    for component in (getattr(stage, name, None) for name in ("source", "detector", "tracker", "component")):
        if component is not None:
            secrets_in(component.options)


def _follow(runtime: str) -> None:
    """Wait for the supervisor's end, then leave nothing behind: no process, no socket, no shared memory."""
    while os.read(0, 4096):
        pass
    from streamfer.transport import clear

    try:
        clear(Path(runtime))
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
