"""From a checked configuration to the processes of a run and the sockets between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from streamfer.config import Config
from streamfer.shm import DEFAULT_DIRECTORY
from streamfer.stages.spec import (
    CaptureSpec,
    ClassifySpec,
    DetectSpec,
    LiveSpec,
    Route,
    SinkSpec,
    StageSpec,
    ViewSpec,
)


@dataclass(frozen=True)
class PlannedStream:
    """A stream, its capture, and the names of the shared processes that its frames pass."""

    name: str
    classifiers: tuple[str, ...]
    capture: CaptureSpec
    path: frozenset[str]


@dataclass(frozen=True)
class Plan:
    """All processes of a run. `shared` maps a process's name to its title and spec; `sinks` tells whether
    each is durable; `terminal` names those
    that write to the terminal; `at_once` recordings are read at a time. If `give_up` is set, a live stream
    without a frame for so many seconds from the start fails."""

    shared: dict[str, tuple[str, StageSpec]]
    streams: tuple[PlannedStream, ...]
    sinks: dict[str, bool]
    terminal: frozenset[str]
    at_once: int
    give_up: float | None = None


def make_plan(
    config: Config,
    address: Callable[[str], str],
    directory: Path,
    *,
    resume: bool = False,
    shm: str = DEFAULT_DIRECTORY,
) -> Plan:
    """Plan a run; `address` gives the endpoint of a name, `directory` is the runtime directory.

    A stream is pinned to one detect worker and, per classifier, to one classify worker: that keeps its frames
    in order and its tracks and windows alive.
    """
    shared: dict[str, tuple[str, StageSpec]] = {}

    def share(name: str, spec: StageSpec) -> None:
        shared[name] = (f"streamfer: {name}", spec)

    sinks = {sink.label: address(f"sink-{number}") for number, sink in enumerate(config.sinks)}
    classifiers = {one.label: one for one in config.classifiers}
    classify = {
        (one.label, worker): address(f"classify-{number}-{worker}")
        for number, one in enumerate(config.classifiers)
        for worker in range(one.workers)
    }
    detect = [address(f"detect-{worker}") for worker in range(config.detector.workers)]

    streams = []
    live = {one.name: LiveSpec(**asdict(one.live)) for one in config.streams if one.live is not None}
    routes: list[dict[str, list[Route]]] = [{} for _ in detect]
    for number, stream in enumerate(config.streams):
        worker = number % len(detect)
        path = {f"detect[{worker}]", *(f"sink {label}" for label in sinks)}
        routes[worker][stream.name] = []
        for label in stream.classifiers:
            classifier = classifiers[label]
            chosen = number % classifier.workers
            path.add(f"classify {label}[{chosen}]")
            routes[worker][stream.name].append(Route(label, classify[label, chosen], classifier.crops))
        capture = CaptureSpec(
            stream.name,
            stream.source,
            detect[worker],
            shm,
            live=live.get(stream.name),
            tally=str(directory / f"tally-{number}"),
        )
        streams.append(PlannedStream(stream.name, stream.classifiers, capture, frozenset(path)))

    views = {
        one.name: ViewSpec(one.faces.model_dump(mode="json"), one.width, list(one.regions), list(one.masks))
        for one in config.streams
    }
    for worker, endpoint in enumerate(detect):
        mine = routes[worker]
        share(
            f"detect[{worker}]",
            DetectSpec(
                endpoint,
                config.detector.spec,
                config.tracker.spec,
                {name: views[name] for name in mine},
                mine,
                {name: spec for name, spec in live.items() if name in mine},
            ),
        )
    for (label, worker), endpoint in classify.items():
        one = classifiers[label]
        share(
            f"classify {label}[{worker}]",
            ClassifySpec(
                endpoint,
                label,
                one.spec,
                one.labels,
                one.crops,
                list(sinks.values()),
                live,
                one.smoothing.model_dump(mode="json") if one.smoothing else None,
            ),
        )
    told = {stream.name: list(stream.classifiers) for stream in config.streams}
    for number, sink in enumerate(config.sinks):
        share(
            f"sink {sink.label}",
            SinkSpec(
                sinks[sink.label],
                sink.label,
                sink.spec,
                sink.pixels,
                sink.durable,
                told,
                resume,
                live,
                str(directory / f"intent-{number}") if live else "",
                compares=number == 0,
            ),
        )
    terminal = frozenset(f"sink {sink.label}" for sink in config.sinks if sink.spec.name == "console")
    durable = {sink.label: sink.durable for sink in config.sinks}
    return Plan(shared, tuple(streams), durable, terminal, max(2, len(detect)), config.give_up)
