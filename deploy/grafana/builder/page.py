"""A page: its variables, its links to the other pages, and panels in rows that fill the width."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana.builder.panels import SOURCE, Panel

WIDTH = 24
DATASOURCE_UID = "streamfer-prometheus"
"""The data source of provisioning/datasources/, the default on every page."""

PAGES = {
    "streamfer-overview": "Overview",
    "streamfer-stream": "One stream",
    "streamfer-classifier": "One classifier",
    "streamfer-comparison": "Classifiers side by side",
    "streamfer-service": "The service itself",
}
"""Title by uid; both are in addresses that people keep, so they do not change."""

_ONE_SERVICE = "streamfer-service"


def link(uid: str, **variables: str) -> str:
    """The address of another page, with the data source and the services that are chosen here."""
    chosen = ["${datasource:queryparam}"]
    if uid != _ONE_SERVICE:  # there only one service can be chosen, so that "All" would find none
        chosen.append("${instance:queryparam}")
    chosen += [f"var-{name}={value}" for name, value in variables.items()]
    return f"/d/{uid}?{'&'.join(chosen)}"


def page(uid: str, description: str, *variables: dashboard.QueryVariable) -> dashboard.Dashboard:
    """A dashboard without panels."""
    built = dashboard.Dashboard(f"streamfer: {PAGES[uid]}").uid(uid).description(description)
    built.tags(["streamfer"]).time("now-1h", "now").refresh("30s").timezone("browser")
    built.tooltip(models.DashboardCursorSync.CROSSHAIR).editable()
    built.with_variable(
        dashboard.DatasourceVariable("datasource")
        .label("Data source")
        .type("prometheus")
        .current(models.VariableOption(text="streamfer", value=DATASOURCE_UID))
    )
    built.with_variable(_services(all_of_them=uid != _ONE_SERVICE))
    for variable in variables:
        built.with_variable(variable)
    for other, title in PAGES.items():
        if other != uid:
            built.link(
                dashboard.DashboardLink(title)
                .type(models.DashboardLinkType.LINK)
                .url(link(other))
                .keep_time(True)
            )
    return built


def finish(built: dashboard.Dashboard, *rows: tuple[int, Sequence[Panel]]) -> models.Dashboard:
    """The dashboard with its rows, one below the other: the height, and panels of equal width."""
    top, number = 0, 0
    for height, panels in rows:
        width = WIDTH // len(panels)
        for place, panel in enumerate(panels):
            number += 1
            position = models.GridPos(h=height, w=width, x=place * width, y=top)
            built.with_panel(panel.id(number).grid_pos(position))
        top += height
    return built.build()


def streams() -> dashboard.QueryVariable:
    return _query("stream", "Stream", "streamfer_stream_info", several=True)


def one_stream() -> dashboard.QueryVariable:
    return _query("stream", "Stream", "streamfer_stream_info", several=False)


def classifiers() -> dashboard.QueryVariable:
    return _query("classifier", "Classifier", "streamfer_classifier_info", several=True)


def one_classifier() -> dashboard.QueryVariable:
    return _query("classifier", "Classifier", "streamfer_classifier_info", several=False)


def _services(*, all_of_them: bool) -> dashboard.QueryVariable:
    return _variable("instance", "Service", "label_values(streamfer_build_info, instance)", all_of_them)


def _query(name: str, label: str, metric: str, *, several: bool) -> dashboard.QueryVariable:
    return _variable(name, label, f'label_values({metric}{{instance=~"$instance"}}, {name})', several)


def _variable(name: str, label: str, query: str, several: bool) -> dashboard.QueryVariable:
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .query({"query": query, "refId": name})
        .datasource(SOURCE)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(several)
        .include_all(several)
    )
    if several:
        variable.all_value(".*").current(models.VariableOption(text=["All"], value=["$__all"]))
    return variable
