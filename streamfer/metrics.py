"""Every Prometheus metric of the service, by name; docs/metrics.md is made from this module.

Workers keep theirs in files under PROMETHEUS_MULTIPROC_DIR, which must be set before this module is imported:
prometheus_client's multiprocess mode. The files of a worker are those of its predecessor (`NUMBER`), so that
counters go on after a restart and the number of files stays what it is. What the supervisor knows
(`FAMILIES`) is made up when somebody asks. A counter whose first step matters is there before it, as 0. No
label carries a pid, a path, a URL or a model's version.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram, values
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

NUMBER = "STREAMFER_WORKER"
"""Environment variable: a number for each worker, the same for its successors; the supervisor has none."""

if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
    _number = os.environ.get(NUMBER, "0")
    values.ValueClass = values.MultiProcessValue(lambda: _number)  # type: ignore[no-untyped-call]

_FAST = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# ---- frames ------------------------------------------------------------------------------------------------

frames = Counter("streamfer_frames", "Frames that a component has finished", ["stream", "stage", "component"])
dropped = Counter(
    "streamfer_frames_dropped",
    "Frames that a component gave up or found missing, by reason",
    ["stream", "stage", "component", "reason"],
)
stage_seconds = Histogram(
    "streamfer_stage_seconds",
    "Time a component spends on one frame; of capture without reading and decoding it",
    ["stage", "component"],
    buckets=_FAST,
)
end_to_end_seconds = Histogram(
    "streamfer_end_to_end_seconds",
    "From the capture of a frame to the sink's having it",
    ["stream", "sink"],
    buckets=_SLOW,
)
frame_captured = Gauge(
    "streamfer_frame_captured_timestamp_seconds",
    "When the newest frame was captured (Unix time; its age is now minus this)",
    ["stream"],
    multiprocess_mode="livemax",
)
ring_slots = Gauge(
    "streamfer_ring_slots",
    "Slots of a recording's frame ring, free or leased to frames under way (that of a live stream rotates)",
    ["stream", "state"],
    multiprocess_mode="livemax",
)

# ---- faces -------------------------------------------------------------------------------------------------

faces = Counter("streamfer_faces", "Faces found in frames, by status", ["stream", "status"])
predictions = Counter("streamfer_predictions", "Labels given to faces", ["stream", "classifier", "label"])
confidence = Histogram(
    "streamfer_confidence",
    "Confidence of the label given",
    ["stream", "classifier"],
    buckets=(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99),
)
batch_faces = Histogram(
    "streamfer_batch_faces",
    "Faces classified in one go",
    ["classifier"],
    buckets=(1, 2, 3, 4, 6, 8, 12, 16, 32),
)
label_changes = Counter(
    "streamfer_label_changes",
    "Times that a tracked face's label was another than in its frame before",
    ["stream", "classifier"],
)
track_seconds = Counter(
    "streamfer_track_seconds",
    "Time for which faces were followed and classified (label changes per such second are the flicker)",
    ["stream", "classifier"],
)
raw_label_changes = Counter(
    "streamfer_raw_label_changes",
    "The same of the labels before they were smoothed, where they are",
    ["stream", "classifier"],
)
warming_faces = Counter(
    "streamfer_warming_faces",
    "Faces that a temporal classifier labelled while their window was not yet full",
    ["stream", "classifier"],
)
compared_faces = Counter(
    "streamfer_compared_faces", "Faces that two classifiers labelled", ["stream", "classifier", "other"]
)
agreements = Counter(
    "streamfer_agreements",
    "Faces that two classifiers labelled with the same expression",
    ["stream", "classifier", "other"],
)

# ---- streams -----------------------------------------------------------------------------------------------

stream_up = Gauge(
    "streamfer_stream_up", "1 while frames of this stream are read", ["stream"], multiprocess_mode="livemax"
)
lost = Counter(
    "streamfer_source_losses", "Times that a live source gave no frames, by reason", ["stream", "reason"]
)
reconnects = Counter("streamfer_reconnects", "Connections that a live source has lost", ["stream"])
discontinuities = Counter("streamfer_discontinuities", "Points at which tracks began anew", ["stream"])

# ---- workers -----------------------------------------------------------------------------------------------

bad_messages = Counter("streamfer_bad_messages", "Messages dropped because they did not validate", ["stage"])
worker_memory = Gauge(
    "streamfer_worker_resident_memory_bytes",
    "Memory of a process, shared pages included",
    ["stage", "worker"],
    multiprocess_mode="livemax",
)
worker_cpu = Counter(
    "streamfer_worker_cpu_seconds", "CPU time of a process and its predecessors", ["stage", "worker"]
)
worker_fds = Gauge(
    "streamfer_worker_open_fds",
    "File descriptors that a process has open",
    ["stage", "worker"],
    multiprocess_mode="livemax",
)
disk_free = Gauge(
    "streamfer_disk_free_bytes",
    "Free space of the file system that a sink writes to",
    ["sink"],
    multiprocess_mode="livemax",
)
disk_size = Gauge(
    "streamfer_disk_size_bytes",
    "Size of the file system that a sink writes to",
    ["sink"],
    multiprocess_mode="livemax",
)

# ---- what the supervisor knows -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """A metric that is made up for each scrape, so that what is over is not in it."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()
    type: Literal["gauge", "counter"] = "gauge"

    def empty(self) -> GaugeMetricFamily | CounterMetricFamily:
        """The family without samples; `add_metric` adds one."""
        kind = GaugeMetricFamily if self.type == "gauge" else CounterMetricFamily
        return kind(self.name, self.documentation, labels=self.labels)


stream_state = Family(
    "streamfer_stream_state", "1 for the state that a live stream is in, else 0", ("stream", "state")
)
stream_info = Family("streamfer_stream_info", "1; the source of a stream", ("stream", "source"))
classifier_info = Family(
    "streamfer_classifier_info", "1; the plugin behind a classifier", ("classifier", "component")
)
restarts = Family(
    "streamfer_stage_restarts", "Restarts of a process after it died", ("stage", "worker"), "counter"
)
progress = Family(
    "streamfer_stage_progress_timestamp_seconds",
    "When a process last reported progress (Unix time)",
    ("stage", "worker"),
)
circuit_open = Family(
    "streamfer_circuit_open", "1 while a process that died too often rests", ("stage", "worker")
)
ledger = Family(
    "streamfer_ledger_frames",
    "The ledger of this run: captured = delivered + dropped + in_flight",
    ("stream", "classifier", "sink", "state"),
)
ledger_dropped = Family(
    "streamfer_ledger_dropped_frames",
    "The ledger's dropped frames by reason",
    ("stream", "classifier", "sink", "reason"),
)
shared_memory_free = Family(
    "streamfer_shared_memory_free_bytes", "Free space of the file system in which frames lie"
)
shared_memory_size = Family(
    "streamfer_shared_memory_size_bytes", "Size of the file system in which frames lie"
)
build_info = Family("streamfer_build_info", "1; the version of streamfer", ("version",))
started = Family("process_start_time_seconds", "When the supervisor started (Unix time)")

FAMILIES = tuple(one for one in list(globals().values()) if isinstance(one, Family))
