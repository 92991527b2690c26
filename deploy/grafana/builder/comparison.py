"""Page 4: classifiers that look at the same faces, side by side."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from deploy.grafana.builder import expressions, panels, queries, style
from deploy.grafana.builder.page import classifiers, finish, link, page, streams
from deploy.grafana.builder.panels import About, Column, Key, Query
from deploy.grafana.builder.queries import increase, quantile, rate, ratio, select

_PREDICTIONS = select("streamfer_predictions_total", "stream", "classifier")
_COMPARED = select("streamfer_compared_faces_total", "stream", "classifier")
_AGREED = select("streamfer_agreements_total", "stream", "classifier")
_PAIR = ("classifier", "other")
_CLASSIFIER = link("streamfer-classifier", classifier="${__field.labels.classifier}")
_AGREEMENT = style.low_is_bad(0.3, 0.6)


def build() -> dashboard.Dashboard:
    return finish(
        page(
            "streamfer-comparison",
            "Classifiers that look at the same faces: do they agree, how sure, how steady and how fast are "
            "they?",
            streams(),
            classifiers(),
        ),
        (8, [_pairs(), _agreement()]),
        (9, [_shares()]),
        (8, [_flicker(), _confidence()]),
        (8, [_seconds(), _predictions()]),
        (8, [expressions.shares_by_classifier(_PREDICTIONS)]),
    )


def _pairs() -> panels.Panel:
    return panels.rows(
        About(
            "Agreement in pairs",
            "The share of faces to which both classifiers gave the same label, of those that both have "
            "labelled in the time shown. A pair stands under the classifier that the configuration names "
            "first.",
            "percentunit",
            no_value="fewer than two classifiers on one stream",
        ),
        [Key("classifier", "Classifier"), Key("other", "Other")],
        [
            Column(
                "Agreement",
                ratio(increase(_AGREED, *_PAIR), increase(_COMPARED, *_PAIR)),
                "percentunit",
                _AGREEMENT,
                decimals=1,
            ),
            Column("Faces compared", increase(_COMPARED, *_PAIR), "short", decimals=0),
        ],
        sort="Agreement",
        descending=False,
    )


def _agreement() -> panels.Panel:
    return panels.graph(
        About(
            "Agreement over time",
            "The share of faces to which both classifiers of a pair gave the same label.",
            "percentunit",
            _AGREEMENT,
            "fewer than two classifiers on one stream",
        ),
        Query(ratio(rate(_AGREED, *_PAIR), rate(_COMPARED, *_PAIR)), "{{classifier}} and {{other}}"),
        most=1,
    )


def _shares() -> panels.Panel:
    return panels.columns(
        About(
            "Shares of the labels",
            "How often each classifier gives each label, in the time shown. One that gives nearly the same "
            "label to all faces has learned nothing.",
            "percentunit",
            no_value="no faces",
        ),
        Query(queries.label_share(_PREDICTIONS, "classifier")),
        x="label\\classifier",
        transformations=[
            panels.transformation(
                "groupingToMatrix",
                columnField="classifier",
                rowField="label",
                valueField="Value",
                emptyValue="zero",
            )
        ],
    )


def _flicker() -> panels.Panel:
    return panels.graph(
        About(
            "Flicker",
            "Label changes per second of a followed face. On the same faces, the steadier classifier has "
            "less; none at all has one that always says the same.",
            style.CHANGES,
            no_value="no faces",
        ),
        Query(queries.flicker("classifier"), "{{classifier}}"),
        link=_CLASSIFIER,
    )


def _confidence() -> panels.Panel:
    buckets = select("streamfer_confidence_bucket", "stream", "classifier")
    return panels.graph(
        About(
            "Confidence, median",
            "Half of the labels of a classifier are given with more.",
            "percentunit",
            no_value="no faces",
        ),
        Query(quantile(0.5, buckets, "classifier"), "{{classifier}}"),
        most=1,
        link=_CLASSIFIER,
    )


def _seconds() -> panels.Panel:
    buckets = select("streamfer_stage_seconds_bucket", stage="classify")
    buckets = buckets.replace("}", ',component=~"$classifier"}')
    return panels.graph(
        About(
            "Time per frame",
            "That a classifier takes for all faces of a frame, of all streams: half of the frames take less "
            "than p50, 99 of 100 less than p99.",
            "s",
            style.high_is_bad(0.02, 0.04),
            "no frames",
        ),
        Query(quantile(0.5, buckets, "component"), "{{component}} p50"),
        Query(quantile(0.99, buckets, "component"), "{{component}} p99"),
    )


def _predictions() -> panels.Panel:
    return panels.graph(
        About(
            "Predictions",
            "Faces labelled per second. Classifiers of the same streams that keep up have the same.",
            style.FACES,
            no_value="no faces",
        ),
        Query(rate(_PREDICTIONS, "classifier"), "{{classifier}}"),
        link=_CLASSIFIER,
    )
