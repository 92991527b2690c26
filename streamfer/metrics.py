"""Every Prometheus metric of the service, by name; one process per stage writes them, the supervisor serves.

prometheus_client's multiprocess mode keeps each process's values in files under PROMETHEUS_MULTIPROC_DIR,
which must be set before this module is imported. No label carries a pid, a path, a URL or a version.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

frames = Counter("streamfer_frames", "Frames that a stage has finished", ["stream", "stage"])
dropped = Counter(
    "streamfer_frames_dropped", "Frames that were not analysed, by reason", ["stream", "stage", "reason"]
)
stage_seconds = Histogram(
    "streamfer_stage_seconds", "Time a stage spends on one frame", ["stage"], buckets=_FAST
)
end_to_end_seconds = Histogram(
    "streamfer_end_to_end_seconds", "From the capture of a frame to a sink", ["stream", "sink"], buckets=_SLOW
)
frame_captured = Gauge(
    "streamfer_frame_captured_timestamp_seconds",
    "When the newest frame was captured (Unix time; its age is now minus this)",
    ["stream"],
    multiprocess_mode="livemax",
)
ring_slots = Gauge(
    "streamfer_ring_slots", "Slots of the frame ring", ["stream", "state"], multiprocess_mode="livesum"
)
faces = Counter("streamfer_faces", "Faces found, by status", ["stream", "status"])
predictions = Counter("streamfer_predictions", "Labels given to faces", ["stream", "classifier", "label"])
confidence = Histogram(
    "streamfer_confidence",
    "Confidence of the label given",
    ["classifier"],
    buckets=(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99),
)
batch_faces = Histogram(
    "streamfer_batch_faces",
    "Faces classified in one go",
    ["classifier"],
    buckets=(1, 2, 3, 4, 6, 8, 12, 16, 32),
)
stream_up = Gauge(
    "streamfer_stream_up", "1 while frames of this stream are read", ["stream"], multiprocess_mode="livemax"
)
stream_state = Gauge(
    "streamfer_stream_state",
    "1 for the state that a stream is in",
    ["stream", "state"],
    multiprocess_mode="mostrecent",
)
lost = Counter(
    "streamfer_source_losses", "Times that a live source gave no frames, by reason", ["stream", "reason"]
)
reconnects = Counter("streamfer_reconnects", "Connections that a live source has lost", ["stream"])
discontinuities = Counter("streamfer_discontinuities", "Points at which tracks began anew", ["stream"])
bad_messages = Counter("streamfer_bad_messages", "Messages dropped because they did not validate", ["stage"])
restarts = Counter("streamfer_stage_restarts", "Restarts of a stage after it died", ["stage"])
progress = Gauge(
    "streamfer_stage_progress_timestamp_seconds",
    "When a stage last reported progress (Unix time)",
    ["stage"],
    multiprocess_mode="mostrecent",
)
circuit_open = Gauge(
    "streamfer_circuit_open", "1 while a stage is not restarted any more", ["stage"], multiprocess_mode="max"
)
ledger = Gauge(
    "streamfer_ledger_frames",
    "The ledger: captured = delivered + dropped + in_flight",
    ["stream", "classifier", "sink", "state"],
    multiprocess_mode="mostrecent",
)
ledger_dropped = Gauge(
    "streamfer_ledger_dropped_frames",
    "The ledger's dropped frames by reason",
    ["stream", "classifier", "sink", "reason"],
    multiprocess_mode="mostrecent",
)
build_info = Gauge("streamfer_build_info", "1", ["version"], multiprocess_mode="livemax")
