"""What waits in front of a stage: a queue per stream, served in turn; those of live streams are short."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Generic, Literal, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """Of a live stream's queue: at most `queue` frames wait, none is handed out older than `max_age` seconds
    (None: whatever its age)."""

    queue: int
    drop: Literal["oldest", "newest"] = "oldest"
    max_age: float | None = None


class Backlog(Generic[K, T]):
    """First in, first out within a stream; the streams take turns, so that a busy one delays no other.

    `limits` has the live streams' limits; other queues are bounded by what capture lets under way. `dropped`
    is told each item that is given up, with the reason "overload" or "max_age".
    """

    def __init__(self, limits: Mapping[K, Limits], dropped: Callable[[K, T, str], None]) -> None:
        self._limits = limits
        self._dropped = dropped
        self._queues: OrderedDict[K, deque[tuple[T, float | None]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._queues)

    def put(self, key: K, item: T, captured: float | None) -> None:
        """Let an item wait. `captured` is its frame's monotonic time; None: it is no frame, never dropped."""
        queue = self._queues.setdefault(key, deque())
        limits = self._limits.get(key)
        if limits is None or captured is None:
            queue.append((item, captured))
            return
        if len(queue) >= limits.queue and limits.drop == "newest":
            self._dropped(key, item, "overload")
            return
        queue.append((item, captured))
        if len(queue) > limits.queue and queue[0][1] is not None:
            self._dropped(key, queue.popleft()[0], "overload")

    def take(self, now: float) -> tuple[K, T] | None:
        """The next item that is not too old at `now` (monotonic seconds); None if nothing waits."""
        while self._queues:
            key, queue = self._queues.popitem(last=False)
            item, captured = queue.popleft()
            if queue:
                self._queues[key] = queue
            if captured is not None and now - captured > self._max_age(key):
                self._dropped(key, item, "max_age")
                continue
            return key, item
        return None

    def _max_age(self, key: K) -> float:
        limits = self._limits.get(key)
        return inf if limits is None or limits.max_age is None else limits.max_age
