"""The contract of sinks: what was flushed survives a crash, and resuming tells how far the record goes."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np

from streamfer.api import Position, Sink, StreamPlan
from streamfer.picture import Picture
from streamfer.testing.require import require
from streamfer.types import LABELS, Face, Result

PLANS = (StreamPlan("one", ("a", "b")), StreamPlan("two", ("a",)))
"""The streams and classifiers of the results that are written."""

Positions = Mapping[tuple[str, str], Position]


def check_sink(build: Callable[[], Sink], *, durable: bool = True, pixels: bool = False) -> None:
    """Check a sink whose registration says `durable` and `pixels`; each `build` writes to the same place.

    A durable sink is also left in the middle of a run by a process that ends without a word, and resumed, and
    is given live results as well (`check_live_sink`).
    """
    sink = build()
    begun = sink.open(PLANS, resume=False)
    require(begun == {}, f"open(resume=False) tells positions, expected none: {begun}")
    _write(sink, example_results(0, 10), pixels=pixels)
    sink.flush()
    sink.flush()  # nothing new
    outputs = _outputs(sink, durable=durable)
    _close(sink)
    if not durable:
        _reopen(build, pixels=pixels)
        return

    sink = build()
    _compare(sink.open(PLANS, resume=True), example_results(0, 10), "after a run that ended well")
    _write(sink, example_results(10, 20), pixels=pixels)
    _close(sink)  # flushes
    sink = build()
    _compare(sink.open(PLANS, resume=True), example_results(0, 20), "after close without flush")
    _close(sink)

    _crash(build, example_results(20, 30), example_results(30, 33), pixels=pixels)
    sink = build()
    found = sink.open(PLANS, resume=True)
    kept = _kept(found)
    require(
        all(30 <= count <= 33 for count in kept.values()),
        f"after a crash the record holds {kept} frames; 30 were flushed and 3 more written",
    )
    for count in sorted(set(kept.values())):
        _compare(
            {pair: at for pair, at in found.items() if kept[pair] == count},
            [
                result
                for result in example_results(0, count)
                if kept[result.stream, result.classifier] == count
            ],
            "after a crash",
        )
    rest = [one for one in example_results(30, 40) if one.seq >= kept[one.stream, one.classifier]]
    _write(sink, rest, pixels=pixels)
    _end(sink)
    _close(sink)
    sink = build()
    _compare(sink.open(PLANS, resume=True), example_results(0, 40), "after a crash and the rest of the run")
    require(_outputs(sink, durable=True) == outputs, "outputs changed from one run to the next")
    _close(sink)

    sink = build()
    begun = sink.open(PLANS, resume=False)
    require(begun == {}, f"open(resume=False) over an old record tells positions: {begun}")
    _close(sink)
    sink = build()
    begun = sink.open(PLANS, resume=True)
    require(_kept(begun) == {}, f"open(resume=False) kept an old record: {begun}")
    _close(sink)
    check_live_sink(build, pixels=pixels)


def check_live_sink(build: Callable[[], Sink], *, pixels: bool = False) -> None:
    """Check a durable sink with the results of live streams: frames are missing, epochs rise, and each run
    goes on behind the last. Each `build` writes to the same place."""
    sink = build()
    sink.open(PLANS, resume=False)
    _write(sink, example_live_results(0, 40), pixels=pixels)
    _close(sink)
    sink = build()
    _compare_live(sink.open(PLANS, resume=True), example_live_results(0, 40), "after a live run")
    _write(sink, example_live_results(40, 50), pixels=pixels)
    _close(sink)
    _crash(build, example_live_results(50, 70), [], pixels=pixels)
    sink = build()
    found = sink.open(PLANS, resume=True)
    _compare_live(found, example_live_results(0, 70), "after a crash in a live run")
    _close(sink)


def example_live_results(first: int, last: int) -> list[Result]:
    """What comes of frames `first` to `last` - 1 of live streams: two of three, a reconnect at each 12th."""
    return [
        msgspec.structs.replace(one, epoch=one.seq // 12, time=1.8e9 + one.seq / 25)
        for one in example_results(first, last)
        if one.seq % 3 != 1 and one.dropped is msgspec.UNSET
    ]


def example_results(first: int, last: int) -> list[Result]:
    """Frames `first` to `last` - 1 of every stream and classifier: with faces, without, and dropped ones."""
    results = []
    for seq in range(first, last):
        for plan in PLANS:
            for classifier in plan.classifiers:
                dropped = "corrupt" if seq % 7 == 5 else msgspec.UNSET
                results.append(
                    Result(
                        stream=plan.name,
                        epoch=0,
                        seq=seq,
                        pts=None if seq == 3 else seq / 25,
                        time=None,
                        classifier=classifier,
                        faces=[] if dropped else list(_faces(seq)),
                        discontinuity=True if seq == 8 else msgspec.UNSET,
                        dropped=dropped,
                    )
                )
    return results


def _faces(seq: int) -> Iterator[Face]:
    if seq % 4 != 2:
        chosen = LABELS[seq % len(LABELS)]
        probabilities = {label: 0.4 if label == chosen else 0.1 for label in LABELS}
        yield Face(1 + seq // 10, (8.5, 4.0, 24.0, 30.25), 0.97, "ok", chosen, 0.4, probabilities)
    if seq % 3 == 0:
        yield Face(100 + seq // 5, (-2.0, 30.0, 9.0, 12.0), 0.61, "small")


def _write(sink: Sink, results: Sequence[Result], *, pixels: bool) -> None:
    for result in results:
        shown = pixels and result.dropped is msgspec.UNSET
        sink.write(result, _picture(result.seq) if shown else None)


def _end(sink: Sink) -> None:
    for plan in PLANS:
        sink.end(plan.name)


def _picture(seq: int) -> Picture:
    """64×48, a little brighter in each frame."""
    luma = np.full((48, 64), 16 + seq % 200, np.uint8)
    chroma = np.full((24, 32), 128, np.uint8)
    return Picture(luma, chroma, chroma)


def _outputs(sink: Sink, *, durable: bool) -> list[str]:
    outputs = list(sink.outputs())
    require(all(isinstance(one, str) and one for one in outputs), f"outputs are not names: {outputs}")
    require(outputs or not durable, "a durable sink names what it writes in outputs()")
    return outputs


def _close(sink: Sink) -> None:
    sink.close()
    sink.close()  # idempotent


def _reopen(build: Callable[[], Sink], *, pixels: bool) -> None:
    sink = build()
    found = sink.open(PLANS, resume=True)
    require(
        all(at.seq >= -1 for at in found.values()), f"open(resume=True) tells impossible positions: {found}"
    )
    _write(sink, example_results(10, 20), pixels=pixels)
    _end(sink)
    sink.flush()
    _close(sink)


def _compare(found: Positions, results: Sequence[Result], when: str) -> None:
    expected: dict[tuple[str, str], Position] = {}
    for one in results:
        pair = one.stream, one.classifier
        before = expected.get(pair, Position())
        dropped = dict(before.dropped)
        if one.dropped is not msgspec.UNSET:
            dropped[one.dropped] = dropped.get(one.dropped, 0) + 1
        expected[pair] = Position(
            one.seq,
            before.delivered + (one.dropped is msgspec.UNSET),
            dropped,
            max([before.last_track, *(face.track for face in one.faces)]),
        )
    for pair in expected:
        require(pair in found, f"{when}, resuming tells no position for {'/'.join(pair)}")
        require(
            _plain(found[pair]) == _plain(expected[pair]),
            f"{when}, resuming tells {found[pair]} for {'/'.join(pair)}, expected {expected[pair]}",
        )
    require(set(found) == set(expected), f"{when}, resuming tells positions of {sorted(found)}")


def _plain(at: Position) -> tuple[int, int, dict[str, int], int, int]:
    return at.seq, at.delivered, dict(at.dropped), at.last_track, at.epoch


def _compare_live(found: Positions, results: Sequence[Result], when: str) -> None:
    """Only where the next run goes on: how many there were is the service's own business."""
    for one in results:
        require(
            (one.stream, one.classifier) in found,
            f"{when}, resuming tells no position for {one.stream}/{one.classifier}",
        )
    for pair, at in found.items():
        mine = [one for one in results if (one.stream, one.classifier) == pair]
        track = max(face.track for one in mine for face in one.faces)
        expected = mine[-1].epoch, mine[-1].seq, track
        require(
            (at.epoch, at.seq, at.last_track) == expected,
            f"{when}, resuming tells {at} for {'/'.join(pair)}, expected epoch, seq, last_track {expected}",
        )


def _kept(found: Positions) -> dict[tuple[str, str], int]:
    return {pair: at.seq + 1 for pair, at in found.items() if at.seq >= 0}


def _crash(
    build: Callable[[], Sink], flushed: Sequence[Result], unflushed: Sequence[Result], *, pixels: bool
) -> None:
    """Write in a process that ends as if it were killed: no close, no exit handlers, no buffers written."""
    child = os.fork()
    if child == 0:
        try:
            sink = build()
            sink.open(PLANS, resume=True)
            _write(sink, flushed, pixels=pixels)
            sink.flush()
            _write(sink, unflushed, pixels=pixels)
        except BaseException:  # noqa: BLE001 - nothing may return into the parent's code
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    require(
        status == 0, "the sink failed when it was resumed after a run that ended well (see the traceback)"
    )
