"""Page 2: what happens to the frames of one stream, and what its faces show."""

from __future__ import annotations

from grafana_foundation_sdk.models import common, dashboard

from deploy.grafana.builder import expressions, panels, queries, style
from deploy.grafana.builder.page import classifiers, finish, link, one_stream, page
from deploy.grafana.builder.panels import About, Query
from deploy.grafana.builder.queries import increase, quantile, rate, ratio, select

_CLASSIFIER = link("streamfer-classifier", classifier="${__field.labels.classifier}", stream="${stream}")
_PREDICTIONS = select("streamfer_predictions_total", "stream", "classifier")


def build() -> dashboard.Dashboard:
    return finish(
        page(
            "streamfer-stream",
            "One stream: its connection, its frames through the stages, its faces and their labels.",
            one_stream(),
            classifiers(),
        ),
        (4, _now()),
        (4, [_state()]),
        (8, [_stages(), _drops()]),
        (8, [_age(), _latency()]),
        (8, [_losses(), _breaks()]),
        (8, [_faces(), _confidence()]),
        (8, [expressions.shares_by_classifier(_PREDICTIONS)]),
    )


def _now() -> list[panels.Panel]:
    captured = select("streamfer_frames_total", "stream", stage="capture")
    latency = select("streamfer_end_to_end_seconds_bucket", "stream")
    return [
        panels.number(
            About("State", "What the stream does now; see docs/operations.md, States.", "none"),
            Query(queries.state_code("stream")),
            mapping=style.STATES,
            filled=True,
        ),
        panels.number(
            About(
                "Frame age",
                "How old the newest frame was when it was scraped; after `stale_after` (3 s) the source is "
                "opened again. Live streams only.",
                "s",
                style.FRAME_AGE,
                "no frames",
            ),
            Query(queries.frame_age("stream")),
        ),
        panels.number(
            About("Captured", "Frames decoded per second.", style.FRAMES, no_value="no frames"),
            Query(rate(captured)),
            decimals=1,
        ),
        panels.number(
            About(
                "Analysed",
                "Frames per second that every classifier and sink has had. Less than captured where `fps` "
                "says so.",
                style.FRAMES,
                no_value="no frames",
            ),
            Query(queries.delivered()),
            decimals=1,
        ),
        panels.number(
            About(
                "Frames dropped",
                "The share of the frames to be analysed that a sink did not get; of the sink that got the "
                "least.",
                "percentunit",
                style.DROPS,
                "no frames",
            ),
            Query(queries.drop_ratio()),
            decimals=1,
        ),
        panels.number(
            About(
                "Latency p99",
                "From capture to sink; 1 of 100 frames takes longer.",
                "s",
                style.LATENCY,
                "no frames",
            ),
            Query(quantile(0.99, latency)),
        ),
    ]


def _state() -> panels.Panel:
    return panels.states(
        About("State over time", "Gray: a recording, which has no state.", "none", no_value="no such stream"),
        Query(queries.state_code("instance", "stream"), "{{stream}}"),
        style.STATES,
    )


def _stages() -> panels.Panel:
    accounts = select("streamfer_ledger_frames", "stream", state="captured")

    def frames(stage: str) -> str:
        return rate(select("streamfer_frames_total", "stream", stage=stage))

    return panels.graph(
        About(
            "Frames through the stages",
            "Frames per second that each stage has finished. Classify and sink count a frame once for each "
            "classifier and sink, so theirs is the average over them. What a line has less than the one "
            "before was dropped on the way.",
            style.FRAMES,
            no_value="no frames",
        ),
        Query(frames("capture"), "captured"),
        Query(frames("detect"), "detected"),
        Query(ratio(frames("classify"), f"count (count by (classifier) ({accounts}))"), "classified"),
        Query(ratio(frames("sink"), f"count (count by (classifier, sink) ({accounts}))"), "delivered"),
        colors=style.STAGES,
    )


def _drops() -> panels.Panel:
    return panels.graph(
        About(
            "Frames dropped, by stage and reason",
            "The stage that noticed, and why. overload: a queue was full. max_age: too old when its turn "
            "came. restart: lost with a process. corrupt: damaged on the way. fps_cap (gray): more than "
            "`fps`.",
            style.FRAMES,
            no_value="none dropped",
        ),
        Query(
            rate(select("streamfer_frames_dropped_total", "stream"), "stage", "reason"),
            "{{stage}} {{reason}}",
        ),
        colors=style.REASONS,
        stack=common.StackingMode.NORMAL,
    )


def _age() -> panels.Panel:
    return panels.graph(
        About(
            "Age of the newest frame",
            "How old it was when it was scraped. A slope is a source that gives nothing; a gap is one whose "
            "process is not there.",
            "s",
            style.FRAME_AGE,
            "no frames",
        ),
        Query(queries.frame_age("stream"), "{{stream}}"),
    )


def _latency() -> panels.Panel:
    buckets = select("streamfer_end_to_end_seconds_bucket", "stream")
    return panels.graph(
        About(
            "Latency from capture to sink",
            "p50, p90 and p99 over all sinks: half, 90 and 99 of 100 frames are faster. A recording waits "
            "instead of dropping frames, so its latency says little.",
            "s",
            style.LATENCY,
            "no frames",
        ),
        *(Query(quantile(share, buckets), f"p{share:.0%}".rstrip("%")) for share in (0.5, 0.9, 0.99)),
    )


def _losses() -> panels.Panel:
    losses = increase(select("streamfer_source_losses_total", "stream"), "reason", over="$__rate_interval")
    return panels.graph(
        About(
            "Source lost, by reason",
            "Times that the source gave no frames, tries to reconnect included. docs/operations.md says "
            "what each reason means and what to look at.",
            "none",
            no_value="never lost",
        ),
        Query(f"{losses} > 0", "{{reason}}"),
        bars=True,
    )


def _breaks() -> panels.Panel:
    over = "$__rate_interval"
    return panels.graph(
        About(
            "Reconnects and discontinuities",
            "Reconnects: connections that had given frames and were lost. Discontinuities: points at which "
            "all tracks began anew, because the time of the frames jumped or frames were lost with a "
            "process.",
            "none",
            no_value="none",
        ),
        Query(increase(select("streamfer_reconnects_total", "stream"), over=over), "reconnects"),
        Query(increase(select("streamfer_discontinuities_total", "stream"), over=over), "discontinuities"),
        bars=True,
    )


def _faces() -> panels.Panel:
    faces = rate(select("streamfer_faces_total", "stream"), "status")
    detected = rate(select("streamfer_frames_total", "stream", stage="detect"))
    return panels.graph(
        About(
            "Faces per frame",
            "ok: classified. small: below `min_face`. blurred: too little sharpness to be classified.",
            "short",
            no_value="no faces",
        ),
        Query(ratio(faces, f"scalar ({detected})"), "{{status}}"),
        colors=style.STATUS,
        stack=common.StackingMode.NORMAL,
    )


def _confidence() -> panels.Panel:
    buckets = select("streamfer_confidence_bucket", "stream", "classifier")
    return panels.graph(
        About(
            "Confidence",
            "Of the labels given: half of them are above the median, 9 of 10 above p10. A line leads to the "
            "page of its classifier.",
            "percentunit",
            no_value="no faces",
        ),
        Query(quantile(0.5, buckets, "classifier"), "{{classifier}} median"),
        Query(quantile(0.1, buckets, "classifier"), "{{classifier}} p10"),
        most=1,
        link=_CLASSIFIER,
    )
