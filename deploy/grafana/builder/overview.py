"""Page 1: is everything all right, and if not, where?"""

from __future__ import annotations

from grafana_foundation_sdk.models import common, dashboard

from deploy.grafana.builder import expressions, panels, queries, style
from deploy.grafana.builder.page import classifiers, finish, link, page, streams
from deploy.grafana.builder.panels import About, Column, Key, Query
from deploy.grafana.builder.queries import increase, or_zero, rate, select

_ALERTS = 'ALERTS{alertname=~"Streamfer.*",alertstate="firing"}'
_PREDICTIONS = select("streamfer_predictions_total", "stream", "classifier")


def build() -> dashboard.Dashboard:
    return finish(
        page(
            "streamfer-overview",
            "All streams at a glance: what is down, what is lost, how fast, and what faces show.",
            streams(),
            classifiers(),
        ),
        (4, _now()),
        (8, [_streams()]),
        (7, [_states(), _alerts()]),
        (8, [_frames(), _drops()]),
        (8, [_latency(), _losses()]),
        (8, [_faces(), _labels(), _shares()]),
    )


def _now() -> list[panels.Panel]:
    not_live = f"{queries.state_code('instance', 'stream')} > 1"
    return [
        panels.number(
            About(
                "Streams down",
                "Live streams from which no frames come: connecting, stale, reconnecting, failed, or without "
                "a process. The table below says which, docs/operations.md what the states mean.",
                "none",
                style.ANY_IS_BAD,
            ),
            Query(or_zero(f"count ({not_live})")),
            filled=True,
        ),
        panels.number(
            About(
                "Alerts firing",
                "Alerts of deploy/prometheus that fire now, of all services. 0 also where Prometheus has "
                "not loaded those rules.",
                "none",
                style.ANY_IS_BAD,
            ),
            Query(or_zero(f"count ({_ALERTS})")),
            filled=True,
        ),
        panels.number(
            About(
                "Streams giving frames",
                "Live streams and recordings of which frames are read now.",
                "none",
                style.Limits("red", ((1, "green"),)),
            ),
            Query(or_zero(f"sum ({select('streamfer_stream_up', 'stream')})")),
        ),
        panels.number(
            About(
                "Frames dropped, worst stream",
                "The share of the frames to be analysed that did not reach a sink, in the stream and sink "
                "that lose most. Frames left out by `fps` do not count. More than 1 % is worth a look.",
                "percentunit",
                style.DROPS,
            ),
            Query(queries.drop_ratio()),
            decimals=1,
        ),
        panels.number(
            About(
                "Latency p99",
                "From the capture of a frame to the sink's having it; 1 of 100 frames takes longer. A live "
                "stream drops what is older than `max_age` (1 s).",
                "s",
                style.LATENCY,
                "no live streams",
            ),
            Query(queries.latency(0.99)),
        ),
        panels.number(
            About(
                "Faces",
                "Faces found per second, whatever their size and sharpness.",
                style.FACES,
                no_value="no frames",
            ),
            Query(rate(select("streamfer_faces_total", "stream"))),
            decimals=1,
        ),
    ]


def _streams() -> panels.Panel:
    row = ("stream", "instance")
    sources = select("streamfer_stream_info", "stream")
    state = f"{queries.state_code(*row)}\n* on (stream, instance) group_left (source) {sources}"
    captured = select("streamfer_frames_total", "stream", stage="capture")
    faces = select("streamfer_faces_total", "stream")
    reconnects = select("streamfer_reconnects_total", "stream")

    return panels.rows(
        About(
            "Streams",
            "One line for each stream, the worst state first; its name leads to its own page. Captured and "
            "analysed (by the slowest classifier and sink) differ where frames are dropped. Age: of the "
            "newest frame of a live stream. Dropped: the share of frames that a sink did not get. "
            "Reconnects: in the time shown.",
            "none",
            no_value="no streams",
        ),
        [
            Key("stream", "Stream", link("streamfer-stream", stream="${__value.raw}")),
            Key("instance", "Service"),
            Key("source", "Source"),
        ],
        [
            Column("State", state, "none", mapping=style.STATES),
            Column("Captured", rate(captured, *row), style.FRAMES, decimals=1),
            Column("Analysed", queries.delivered(*row), style.FRAMES, decimals=1),
            Column("Age", queries.frame_age(*row), "s", style.FRAME_AGE),
            Column("Dropped", queries.drop_ratio(*row), "percentunit", style.DROPS, decimals=1),
            Column("Faces", rate(faces, *row), style.FACES, decimals=1),
            Column("Reconnects", increase(reconnects, *row), "none", style.high_is_bad(1, 10), decimals=0),
        ],
        sort="State",
    )


def _states() -> panels.Panel:
    return panels.states(
        About(
            "States of the streams",
            "When each stream was in which state. Recordings have none.",
            "none",
            no_value="no streams",
        ),
        Query(queries.state_code("instance", "stream"), "{{stream}}"),
        style.STATES,
    )


def _alerts() -> panels.Panel:
    since = f'ALERTS_FOR_STATE{{alertname=~"Streamfer.*"}} and ignoring (alertstate) {_ALERTS}'
    shown = "alertname, severity, instance, stream, classifier, stage, worker, sink"
    return panels.rows(
        About(
            "Alerts",
            "Those of deploy/prometheus that fire now, and for how long what they watch for has been true.",
            "s",
            no_value="none",
        ),
        [
            Key("alertname", "Alert"),
            Key("severity", "Severity"),
            Key("instance", "Service"),
            Key("stream", "Stream"),
            Key("worker", "Process"),
            Key("classifier", "Classifier"),
            Key("sink", "Sink"),
        ],
        [Column("For", f"max by ({shown}) (time() - ({since}))", "s")],
        sort="For",
    )


def _frames() -> panels.Panel:
    return panels.graph(
        About(
            "Frames per second",
            "Captured: decoded from all sources. Analysed: had by every classifier and sink. Between the "
            "lines lies what is dropped, or under way.",
            style.FRAMES,
        ),
        Query(rate(select("streamfer_frames_total", "stream", stage="capture")), "captured"),
        Query(queries.delivered(), "delivered"),
        colors=style.STAGES,
    )


def _drops() -> panels.Panel:
    dropped = select("streamfer_frames_dropped_total", "stream")
    return panels.graph(
        About(
            "Frames dropped, by reason",
            "overload: a queue was full. max_age: too old when its turn came. restart: lost with a process. "
            "corrupt: damaged on the way. fps_cap (gray): more than `fps`, as configured. A frame that two "
            "classifiers drop counts twice.",
            style.FRAMES,
            no_value="none dropped",
        ),
        Query(rate(dropped, "reason"), "{{reason}}"),
        colors=style.REASONS,
        stack=common.StackingMode.NORMAL,
    )


def _latency() -> panels.Panel:
    return panels.graph(
        About(
            "Latency from capture to sink",
            "Half of the frames are faster than p50, 99 of 100 faster than p99; by sink.",
            "s",
            style.LATENCY,
            "no live streams",
        ),
        Query(queries.latency(0.5, "sink"), "{{sink}} p50"),
        Query(queries.latency(0.99, "sink"), "{{sink}} p99"),
    )


def _losses() -> panels.Panel:
    losses = increase(
        select("streamfer_source_losses_total", "stream"), "stream", "reason", over="$__rate_interval"
    )
    return panels.graph(
        About(
            "Streams lost, by reason",
            "Times that a live source gave no frames, tries to reconnect included. docs/operations.md says "
            "what each reason means and what to look at.",
            "none",
            no_value="none lost",
        ),
        Query(f"{losses} > 0", "{{stream}}: {{reason}}"),
        bars=True,
    )


def _faces() -> panels.Panel:
    return panels.graph(
        About(
            "Faces per second",
            "ok: classified. small: below `min_face`. blurred: too little sharpness to be classified.",
            style.FACES,
            no_value="no faces",
        ),
        Query(rate(select("streamfer_faces_total", "stream"), "status"), "{{status}}"),
        colors=style.STATUS,
        stack=common.StackingMode.NORMAL,
    )


def _labels() -> panels.Panel:
    return expressions.shares(
        "Expressions over time",
        "The shares of the labels that the chosen classifiers gave to the faces of the chosen streams.",
        _PREDICTIONS,
    )


def _shares() -> panels.Panel:
    return panels.bars(
        About(
            "Expressions in the time shown",
            "The share of each label among all predictions of the chosen classifiers.",
            "percentunit",
            no_value="no faces",
        ),
        Query(queries.label_share(_PREDICTIONS), "{{label}}"),
        colors=style.LABELS,
    )
