"""Panels of the labels over time, which more than one page has."""

from __future__ import annotations

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.models import common

from deploy.grafana.builder import queries, style
from deploy.grafana.builder.panels import About, Query, graph


def shares(title: str, description: str, predictions: str) -> timeseries.Panel:
    """The share of each label among these predictions, one on the other."""
    return graph(
        About(title, description, "percentunit", no_value="no faces"),
        Query(queries.label_share(predictions, over="$__rate_interval"), "{{label}}"),
        colors=style.LABELS,
        stack=common.StackingMode.NORMAL,
        most=1,
    )


def shares_by_classifier(predictions: str) -> timeseries.Panel:
    """The same, one graph for each classifier of the page's variable."""
    return shares(
        "Expressions according to $classifier",
        "The shares of the labels that this classifier gave; one graph for each classifier chosen above.",
        predictions,
    ).repeat("classifier")
