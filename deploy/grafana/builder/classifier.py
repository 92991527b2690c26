"""Page 3: how one classifier does: what it says, how sure it is, how fast, and whether that drifts."""

from __future__ import annotations

from grafana_foundation_sdk.models import common, dashboard

from deploy.grafana.builder import panels, queries, style
from deploy.grafana.builder.page import finish, link, one_classifier, page, streams
from deploy.grafana.builder.panels import About, Column, Key, Query
from deploy.grafana.builder.queries import increase, quantile, rate, ratio, select

_PREDICTIONS = select("streamfer_predictions_total", "stream", "classifier")
_CONFIDENCE = select("streamfer_confidence", "stream", "classifier")
_SECONDS = select("streamfer_stage_seconds_bucket", stage="classify", component="$classifier")
_FLICKER = (
    "Label changes per second of a followed face. Faces do not change their expression several times a "
    "second: much flicker is noise in the picture, or in the classifier."
)
_DRIFT = (
    "Half the sum of the differences between the shares of the labels: 0 is no difference, 0.2 says that a "
    "fifth of the labels would have to change. Other people or another light do that as well as a "
    "classifier that fails."
)


def build() -> dashboard.Dashboard:
    return finish(
        page(
            "streamfer-classifier",
            "One classifier: what it says, how sure it is, how fast it is, and whether that drifts.",
            one_classifier(),
            streams(),
        ),
        (4, _now()),
        (8, [_labels(), _day_before()]),
        (8, [_drift(), _confidence()]),
        (8, [_seconds(), _batch()]),
        (8, [_flicker(), _streams()]),
    )


def _now() -> list[panels.Panel]:
    return [
        panels.number(
            About("Predictions", "Faces labelled per second.", style.FACES, no_value="no faces"),
            Query(rate(_PREDICTIONS)),
            decimals=1,
        ),
        panels.number(
            About(
                "Drift, day against day before",
                "The labels of the last 24 hours against those of the 24 hours before. " + _DRIFT,
                "short",
                style.DRIFT,
                "no day before",
            ),
            Query(queries.drift(_PREDICTIONS, over="1d")),
            decimals=2,
        ),
        panels.number(
            About(
                "Confidence, median",
                "Half of the labels are given with more.",
                "percentunit",
                no_value="no faces",
            ),
            Query(quantile(0.5, _buckets())),
        ),
        panels.number(
            About("Flicker", _FLICKER, style.CHANGES, no_value="no faces"),
            Query(queries.flicker()),
            decimals=2,
        ),
        panels.number(
            About("Time per frame, p50", "Half of the frames take less.", "s", style.high_is_bad(0.02, 0.04)),
            Query(quantile(0.5, _SECONDS)),
        ),
        panels.number(
            About("Time per frame, p99", "1 of 100 frames takes longer.", "s", style.high_is_bad(0.02, 0.04)),
            Query(quantile(0.99, _SECONDS)),
        ),
    ]


def _labels() -> panels.Panel:
    return panels.graph(
        About(
            "Predictions by label",
            "Faces per second that were given each label, one on the other.",
            style.FACES,
            no_value="no faces",
        ),
        Query(rate(_PREDICTIONS, "label"), "{{label}}"),
        colors=style.LABELS,
        stack=common.StackingMode.NORMAL,
    )


def _day_before() -> panels.Panel:
    names = {"label": "Label", "Value #A": "last 24 hours", "Value #B": "24 hours before"}
    return panels.columns(
        About(
            "Labels against the day before",
            "The share of each label in the last 24 hours, and in the 24 hours before.",
            "percentunit",
            no_value="no faces",
        ),
        Query(queries.label_share(_PREDICTIONS, over="1d")),
        Query(queries.label_share(_PREDICTIONS, over="1d", offset="1d")),
        x="Label",
        transformations=[panels.transformation("merge"), panels.organized(names, hidden=["Time"])],
        colors={"last 24 hours": "blue", "24 hours before": "#8e8e8e"},
    )


def _drift() -> panels.Panel:
    return panels.graph(
        About(
            "Drift, hour against the same hour of the day before",
            "The labels of an hour against those 24 hours earlier. " + _DRIFT,
            "short",
            style.DRIFT,
            "no day before",
        ),
        Query(queries.drift(_PREDICTIONS, over="1h"), "drift"),
        most=1,
    )


def _confidence() -> panels.Panel:
    return panels.density(
        About(
            "Confidence",
            "How many labels were given with which confidence; the stronger the colour, the more.",
            "percentunit",
            no_value="no faces",
        ),
        Query(increase(_buckets(), "le", over="$__rate_interval"), "{{le}}"),
    )


def _seconds() -> panels.Panel:
    return panels.graph(
        About(
            "Time per frame",
            "That the classifier takes for all faces of a frame. A camera of 25 frames/s leaves 40 ms for "
            "everything.",
            "s",
            style.high_is_bad(0.02, 0.04),
            "no frames",
        ),
        Query(quantile(0.5, _SECONDS), "p50"),
        Query(quantile(0.99, _SECONDS), "p99"),
    )


def _batch() -> panels.Panel:
    metric = select("streamfer_batch_faces", "classifier")
    total, count = (metric.replace("faces{", f"faces_{kind}{{") for kind in ("sum", "count"))
    return panels.graph(
        About(
            "Faces classified in one go",
            "The faces of one frame: the average, and what 99 of 100 frames do not exceed. Of all streams.",
            "short",
            no_value="no faces",
        ),
        Query(ratio(rate(total), rate(count)), "average"),
        Query(quantile(0.99, metric.replace("faces{", "faces_bucket{")), "p99"),
    )


def _flicker() -> panels.Panel:
    return panels.graph(
        About("Flicker, by stream", _FLICKER, style.CHANGES, no_value="no faces"),
        Query(queries.flicker("stream"), "{{stream}}"),
        link=link("streamfer-stream", stream="${__field.labels.stream}"),
    )


def _streams() -> panels.Panel:
    total, count = (_CONFIDENCE.replace("confidence{", f"confidence_{kind}{{") for kind in ("sum", "count"))
    return panels.rows(
        About(
            "Streams",
            "What the classifier does on each stream; the name leads to the stream's own page.",
            "none",
            no_value="no faces",
        ),
        [Key("stream", "Stream", link("streamfer-stream", stream="${__value.raw}"))],
        [
            Column("Predictions", rate(_PREDICTIONS, "stream"), style.FACES, decimals=1),
            Column(
                "Confidence", ratio(rate(total, "stream"), rate(count, "stream")), "percentunit", decimals=0
            ),
            Column("Flicker", queries.flicker("stream"), style.CHANGES, decimals=2),
        ],
        sort="Predictions",
    )


def _buckets() -> str:
    return _CONFIDENCE.replace("confidence{", "confidence_bucket{")
