"""Write docs/metrics.md: every metric as `streamfer.metrics` has it, with what only a person can say of it.

    python docs/make_metrics.py

`make docs` runs it. A test sees to it that the page is what this makes of the code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, get_args

from prometheus_client import Counter, Gauge, Histogram

from streamfer import metrics
from streamfer.exposition import LIVE_STATES
from streamfer.types import LABELS as EXPRESSIONS
from streamfer.types import FoundStatus, LostReason

PAGE = Path(__file__).with_name("metrics.md")

Size = dict[str, int]
"""A polynomial: how often each product of SYMBOLS counts, such as {"S": 2, "SC": 1} for 2 S + S C."""

SYMBOLS = {
    "S": "streams",
    "R": "streams that are recordings",
    "T": "kinds of sources in use (rtsp, file …)",
    "C": "classifiers of a stream",
    "A": "pairs of them, C (C − 1) / 2",
    "K": "sinks",
    "P": "processes besides the supervisor: S + detect workers + classify workers + K",
}

VALUES = {
    "stream": "the stream's name in the configuration",
    "stage": "`capture`, `detect`, `classify`, `sink`; `supervisor` for what it says of itself",
    "component": "of capture the kind of source (`rtsp`), of detect the detector (`yunet`), of classify and "
    "sink the name in the configuration; of `streamfer_classifier_info` the plugin's name",
    "worker": "one process and its successors: `capture STREAM`, `detect[N]`, `classify NAME[N]`, "
    "`sink NAME`, `supervisor`",
    "classifier": "the classifier's name in the configuration",
    "other": "the second of two classifiers, in the order of the configuration",
    "sink": "the sink's name in the configuration",
    "reason": "why frames were dropped: `overload`, `max_age`, `fps_cap`, `corrupt`, `restart`, in the "
    "ledger also `earlier_run`; why a source gave none: "
    + ", ".join(f"`{one}`" for one in get_args(LostReason)),
    "status": ", ".join(f"`{one}`" for one in get_args(FoundStatus)) + "; only the first are classified",
    "label": "the expression: " + ", ".join(f"`{one}`" for one in EXPRESSIONS),
    "state": "of a live stream "
    + ", ".join(f"`{one}`" for one in LIVE_STATES)
    + "; of a slot `free`, `leased`; in "
    "the ledger `captured`, `delivered`, `dropped`, `in_flight`",
    "source": "the kind of source: `rtsp`, `webcam`, `http`, `file`, or a plugin's",
    "version": "of the package streamfer",
}


@dataclass(frozen=True)
class Entry:
    """What the code does not say of a metric: how many of it there may be at the most (of a histogram: how
    many histograms), its unit where the name does not tell, and what to know when using it."""

    size: Size = field(default_factory=dict)
    unit: str = ""
    note: str = ""


_DROPS = 3  # reasons that each stage has
_EACH = {"S": 2, "SC": 1, "SK": 1}  # capture, detect, the classifiers and the sinks of each stream

ENTRIES: dict[str, dict[str, Entry]] = {
    "Frames": {
        "frames": Entry(
            _EACH,
            note="a frame passes several components: look at one of them, or take the largest, never the "
            "plain sum; a sink counts a frame once for each classifier",
        ),
        "dropped": Entry(
            {term: _DROPS * count for term, count in _EACH.items()},
            note="of recordings only `corrupt`; the ledger below has each frame once for each of its ways",
        ),
        "stage_seconds": Entry({"T": 1, "": 1, "C": 1, "K": 1}),
        "end_to_end_seconds": Entry(
            {"SK": 1}, note="of a recording that waits for a slow stage it says how long"
        ),
        "frame_captured": Entry({"S": 1}),
        "ring_slots": Entry({"R": 2}, "slots"),
        "ledger": Entry({"SCK": 4}, "frames", "from 0 in each run"),
        "ledger_dropped": Entry({"SCK": 6}, "frames", "a reason is there once it has occurred"),
    },
    "Faces and what is said of them": {
        "faces": Entry({"S": len(get_args(FoundStatus))}, note="a face counts in each frame that it is in"),
        "predictions": Entry({"SC": len(EXPRESSIONS)}),
        "confidence": Entry({"SC": 1}, "probability"),
        "batch_faces": Entry({"C": 1}, "faces"),
        "label_changes": Entry({"SC": 1}),
        "track_seconds": Entry({"SC": 1}),
        "raw_label_changes": Entry(
            {"SC": 1}, note="divided by the metric above: the flicker without smoothing"
        ),
        "warming_faces": Entry({"SC": 1}, "faces", "only of temporal classifiers"),
        "compared_faces": Entry({"SA": 1}, note="only where a stream has several classifiers"),
        "agreements": Entry({"SA": 1}, note="divided by the metric above: the agreement"),
        "classifier_info": Entry({"C": 1}),
    },
    "Streams": {
        "stream_up": Entry(
            {"S": 1}, note="vanishes with a capture that has died: use `streamfer_stream_state` too"
        ),
        "stream_state": Entry({"S": len(LIVE_STATES)}, note="live streams only; there whatever has died"),
        "stream_info": Entry({"S": 1}),
        "lost": Entry(
            {"S": len(get_args(LostReason))}, note="also each time that it was tried again in vain"
        ),
        "reconnects": Entry({"S": 1}),
        "discontinuities": Entry({"S": 1}),
    },
    "Processes": {
        "restarts": Entry({"P": 1}),
        "progress": Entry({"P": 1}, note="four times a second; gone once a process has done its work"),
        "circuit_open": Entry({"P": 1}, note="it is tried again each minute"),
        "bad_messages": Entry({"": 5}),
        "worker_memory": Entry({"P": 1, "": 1}, note="which count in each that shares them"),
        "worker_cpu": Entry({"P": 1, "": 1}),
        "worker_fds": Entry({"P": 1, "": 1}, "file descriptors"),
        "build_info": Entry({"": 1}),
        "started": Entry({"": 1}, note="the name is every Prometheus client's"),
    },
    "Room": {
        "disk_free": Entry({"K": 1}, note="sinks that write files"),
        "disk_size": Entry({"K": 1}),
        "shared_memory_free": Entry({"": 1}),
        "shared_memory_size": Entry({"": 1}),
    },
}

QUERIES = {
    "Frames analysed per second": 'sum by (stream) (rate(streamfer_frames_total{stage="detect"}[5m]))',
    "The share of a stream's frames that are dropped before faces are sought, beyond what `fps` asks for": (
        "sum by (stream)\n"
        '    (rate(streamfer_frames_dropped_total{stage=~"capture|detect", reason!="fps_cap"}[5m]))\n'
        '  / sum by (stream) (rate(streamfer_frames_total{stage="capture"}[5m]))'
    ),
    "Latency from capture to sink that 99 of 100 results keep, in seconds": (
        "histogram_quantile(0.99, sum by (stream, sink, le) (rate(streamfer_end_to_end_seconds_bucket[5m])))"
    ),
    "What a component takes for one frame on average, in seconds": (
        "sum by (stage, component) (rate(streamfer_stage_seconds_sum[5m]))\n"
        "  / sum by (stage, component) (rate(streamfer_stage_seconds_count[5m]))"
    ),
    "Age of the newest frame, in seconds (nothing while a capture is dead)": (
        "time() - streamfer_frame_captured_timestamp_seconds"
    ),
    "Seconds since a process gave a sign of life (a hung one shows here first)": (
        "time() - streamfer_stage_progress_timestamp_seconds"
    ),
    "Flicker: label changes per second of a followed face": (
        "rate(streamfer_label_changes_total[1h]) / rate(streamfer_track_seconds_total[1h])"
    ),
    "Agreement: the share of faces that two classifiers give the same label": (
        "rate(streamfer_agreements_total[1h]) / rate(streamfer_compared_faces_total[1h])"
    ),
    "What share of the faces gets which label": (
        "sum by (classifier, label) (rate(streamfer_predictions_total[1h]))\n"
        "  / on (classifier) group_left () sum by (classifier) (rate(streamfer_predictions_total[1h]))"
    ),
    "Mean confidence": ("rate(streamfer_confidence_sum[1h]) / rate(streamfer_confidence_count[1h])"),
    "CPU cores in use, by stage": "sum by (stage) (rate(streamfer_worker_cpu_seconds_total[5m]))",
}

INTRODUCTION = """\
# Metrics

Made from the code by `make docs`. [operations.md](operations.md) says what to look at when something is
wrong; this page is the list.

## How /metrics comes about

A service has one `/metrics`, whatever its number of processes (127.0.0.1:9108 unless `metrics.listen` says
otherwise), in Prometheus' text format. Each process keeps its values in files of its own in the runtime
directory (prometheus_client's multiprocess mode). A scrape reads them all and adds them up; it asks no
process for anything, so that it is answered whichever of them hangs. `metrics: false` in the configuration
switches the endpoint off.

How long a series lives:

- **Counters and histograms** begin at 0 with the service. A process that died is replaced, and its successor
  goes on with its files: counters never fall while the service runs. Frames of a recording that come again
  after a death count again.
- **Gauges that a process sets** (`gauge, of its process`) vanish when it dies, until its successor sets them.
- **Gauges of the supervisor** (`gauge`) are made up for each scrape, from what it knew at most half a second
  before, and are there as long as what they tell of.

Names follow the conventions of Prometheus: base units (seconds, bytes), `_total` on counters, `_info` with
the value 1 for texts. Times of day are Unix time; for an age, subtract them from `time()`. No label holds a
process id, a path, an address, a face or a track.
"""


def objects() -> dict[str, Any]:
    """All metrics by their names in `streamfer.metrics`."""
    kinds = Counter | Gauge | Histogram | metrics.Family
    return {name: one for name, one in vars(metrics).items() if isinstance(one, kinds)}


@dataclass(frozen=True)
class Described:
    """A metric as Prometheus shows it."""

    name: str
    type: str
    labels: tuple[str, ...]
    documentation: str
    buckets: tuple[float, ...]
    of_process: bool
    """Whether a process keeps it in its files."""

    @property
    def samples(self) -> int:
        """Series of each combination of labels."""
        return len(self.buckets) + 3 if self.buckets else 1  # +Inf, _sum and _count


def described(metric: Any) -> Described:
    """What the code says of a metric."""
    if isinstance(metric, metrics.Family):
        suffix = "_total" if metric.type == "counter" else ""
        return Described(metric.name + suffix, metric.type, metric.labels, metric.documentation, (), False)
    (one,) = metric.describe()
    suffix = "_total" if one.type == "counter" else ""
    buckets = tuple(metric._kwargs["buckets"]) if isinstance(metric, Histogram) else ()
    return Described(one.name + suffix, one.type, metric._labelnames, one.documentation, buckets, True)


def series(size: Size, numbers: dict[str, int]) -> int:
    """How many there are for so many streams, sinks and so on."""
    return sum(count * prod(numbers[symbol] for symbol in term) for term, count in size.items())


def most_series(numbers: dict[str, int]) -> dict[str, int]:
    """By the name of each metric: its series at the most, for so many streams and so on."""
    known = objects()
    return {
        described(known[name]).name: described(known[name]).samples * series(entry.size, numbers)
        for group in ENTRIES.values()
        for name, entry in group.items()
    }


def numbers(streams: int, *, classifiers: int = 2, sinks: int = 2, detect: int = 1) -> dict[str, int]:
    """The symbols for live streams of one kind, and one worker for each classifier."""
    pairs = classifiers * (classifiers - 1) // 2
    processes = streams + detect + classifiers + sinks
    return {"S": streams, "R": 0, "T": 1, "C": classifiers, "A": pairs, "K": sinks, "P": processes}


def formula(size: Size) -> str:
    """The polynomial, for people."""
    terms = []
    for term, count in size.items():
        factors = ([str(count)] if count > 1 or not term else []) + list(term)
        terms.append(" ".join(factors))
    return " + ".join(terms)


def unit(one: Described, entry: Entry) -> str:
    if entry.unit:
        return entry.unit
    if one.name.endswith(("_timestamp_seconds", "_time_seconds")):
        return "Unix time, s"
    words = one.name.removesuffix("_total").split("_")
    if words[-1] in ("seconds", "bytes"):
        return words[-1]
    if words[-1] == "info":
        return "1"
    return "count" if one.type == "counter" else "0 or 1"


def page() -> str:
    """docs/metrics.md."""
    return "\n".join(_lines()).rstrip("\n") + "\n"


def _lines() -> Iterator[str]:
    yield INTRODUCTION
    yield "## Labels"
    yield ""
    yield "| label | values |"
    yield "|---|---|"
    yield from (f"| `{name}` | {text} |" for name, text in VALUES.items())
    yield ""
    known = objects()
    for title, group in ENTRIES.items():
        yield f"## {title}"
        yield ""
        yield "| metric | type | unit | labels | what it is | series at most |"
        yield "|---|---|---|---|---|---|"
        for name, entry in group.items():
            one = described(known[name])
            kind = f"{one.type}, of its process" if one.type == "gauge" and one.of_process else one.type
            labels = ", ".join(one.labels) or "–"
            text = one.documentation + (f"; {entry.note}" if entry.note else "")
            size = f"{one.samples} × ({formula(entry.size)})" if one.buckets else formula(entry.size)
            yield f"| `{one.name}` | {kind} | {unit(one, entry)} | {labels} | {text} | {size} |"
        yield ""
    yield "## Buckets"
    yield ""
    for metric in known.values():
        if isinstance(metric, Histogram):
            one = described(metric)
            yield f"- `{one.name}`: {', '.join(f'{bound:g}' for bound in one.buckets)}"
    yield ""
    yield from _cardinality()
    yield "## Queries"
    yield ""
    for title, query in QUERIES.items():
        yield from (f"{title}:", "", "```promql", query, "```", "")


def _cardinality() -> Iterator[str]:
    yield "## How many series"
    yield ""
    yield "The last column of the tables, summed up; what has not occurred yet may be missing. In it"
    yield ""
    yield from (f"- {symbol}: {text}" for symbol, text in SYMBOLS.items())
    yield ""
    yield "For live streams of one kind, two classifiers, two sinks, and one worker of each classifier:"
    yield ""
    yield "| streams | detect workers | series at most |"
    yield "|---:|---:|---:|"
    for streams, detect in ((1, 1), (10, 2), (100, 4)):
        total = sum(most_series(numbers(streams, detect=detect)).values())
        yield f"| {streams} | {detect} | {total} |"
    yield ""
    yield "What a scrape of them costs is in [benchmarks/scrape.md](../benchmarks/scrape.md)."
    yield ""


def main() -> int:
    PAGE.write_text(page(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
