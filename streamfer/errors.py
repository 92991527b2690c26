"""The errors that streamfer raises on purpose. Each prints as one line: what, where, what to do."""

from __future__ import annotations

from streamfer.types import LostReason


class StreamferError(Exception):
    """An expected failure. Its text is one line for a person; the command line exits with `status`."""

    status = 1


class UsageError(StreamferError):
    """The request itself is wrong: a bad option, a bad configuration, a file that is not there."""

    status = 2


class StartError(StreamferError):
    """A component could not start: no such codec, a corrupted model, a port that is taken."""

    status = 3


class FatalError(StreamferError):
    """A running component met something that a restart cannot mend, such as a full disk."""

    status = 4


class BrokenFileError(StreamferError):
    """A recording cannot be read on. What was read before stands."""

    status = 4


class SourceError(StreamferError):
    """A live source gives no frames, for now: it is opened again later. Its text is one line for a person,
    without credentials; `reason` is the same in one word, for metrics and status."""

    status = 3

    def __init__(self, reason: LostReason, text: str) -> None:
        super().__init__(text)
        self.reason: LostReason = reason
