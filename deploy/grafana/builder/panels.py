"""One function per kind of panel; each asks for what every panel must have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from deploy.grafana.builder.style import NEUTRAL, Limits

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
"""The data source chosen on the page."""

Panel = (
    barchart.Panel
    | bargauge.Panel
    | heatmap.Panel
    | stat.Panel
    | statetimeline.Panel
    | table.Panel
    | timeseries.Panel
)
_P = TypeVar(
    "_P",
    barchart.Panel,
    bargauge.Panel,
    heatmap.Panel,
    stat.Panel,
    statetimeline.Panel,
    table.Panel,
    timeseries.Panel,
)


class Query(NamedTuple):
    expr: str
    legend: str = ""


class About(NamedTuple):
    """What every panel must have."""

    title: str
    description: str
    unit: str
    limits: Limits = NEUTRAL
    no_value: str = "no data"


class Column(NamedTuple):
    """A column of a table: a query whose result has the table's keys as labels."""

    title: str
    expr: str
    unit: str
    limits: Limits | None = None
    """The text is coloured by them."""
    mapping: Mapping[int, tuple[str, str]] | None = None
    """Value → text and colour of the whole cell."""
    decimals: int | None = None


class Key(NamedTuple):
    """A label that tells the rows of a table apart."""

    label: str
    title: str
    link: str = ""
    """A page of its own, see `page.link`."""


def graph(
    about: About,
    *queries: Query,
    colors: Mapping[str, str] | None = None,
    stack: common_models.StackingMode | None = None,
    bars: bool = False,
    most: float | None = None,
    link: str = "",
) -> timeseries.Panel:
    """Lines over time (or `bars`, for single events); the limits are dashed lines."""
    panel = _panel(timeseries.Panel(), about, queries)
    panel.min(0).line_width(1).fill_opacity(60 if bars or stack else 5)
    panel.show_points(common_models.VisibilityMode.NEVER)
    panel.tooltip(_tooltip()).legend(_legend(*(["sum"] if bars else ["lastNotNull", "max"])))
    if bars:
        panel.draw_style(common_models.GraphDrawStyle.BARS)
    if bars or stack:
        panel.stacking(common.StackingConfig().mode(stack or common_models.StackingMode.NORMAL).group("A"))
    if most is not None:
        panel.max(most)
    if about.limits.steps:
        style = common.GraphThresholdsStyleConfig().mode(common_models.GraphTresholdsStyleMode.DASHED)
        panel.thresholds_style(style)
    if link:
        panel.data_links([dashboard.DashboardLink("More").url(link)])
    return _colored(panel, colors)


def number(
    about: About,
    query: Query,
    *,
    mapping: Mapping[int, tuple[str, str]] | None = None,
    name: bool = False,
    filled: bool = False,
    decimals: int | None = None,
) -> stat.Panel:
    """What holds now; the colour of the number (or, `filled`, of the panel) says whether that is good.

    With `name` the legend is shown instead of the number.
    """
    panel = _panel(stat.Panel(), about, [query], instant=True)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.graph_mode(common_models.BigValueGraphMode.NONE)
    mode = common_models.BigValueColorMode
    panel.color_mode(mode.BACKGROUND if filled else mode.VALUE)
    panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    panel.text_mode(common_models.BigValueTextMode.NAME if name else common_models.BigValueTextMode.VALUE)
    if mapping:
        panel.mappings([_value_map(mapping)])
    if decimals is not None:
        panel.decimals(decimals)
    return panel


def states(about: About, query: Query, mapping: Mapping[int, tuple[str, str]]) -> statetimeline.Panel:
    """A coloured line for each series, which says what it was when."""
    panel = _panel(statetimeline.Panel(), about, [query])
    panel.mappings([_value_map(mapping)]).merge_values(True).row_height(0.8).fill_opacity(80).line_width(0)
    panel.show_value(common_models.VisibilityMode.AUTO)
    panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    return panel.legend(_legend())


def bars(about: About, query: Query, colors: Mapping[str, str]) -> bargauge.Panel:
    """A bar for each series: what holds for the time that is shown."""
    panel = _panel(bargauge.Panel(), about, [query], instant=True)
    panel.orientation(common_models.VizOrientation.HORIZONTAL).min(0).max(1)
    panel.display_mode(common_models.BarGaugeDisplayMode.BASIC)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return _colored(panel, colors)


def columns(
    about: About,
    *queries: Query,
    x: str,
    transformations: Sequence[models.DataTransformerConfig],
    colors: Mapping[str, str] | None = None,
) -> barchart.Panel:
    """Groups of bars side by side; `x` is the field with the names of the groups."""
    panel = _panel(barchart.Panel(), about, queries, instant=True, as_table=True)
    panel.transformations(list(transformations)).x_field(x).min(0)
    panel.show_value(common_models.VisibilityMode.AUTO).group_width(0.7).bar_width(0.95).fill_opacity(80)
    panel.tooltip(_tooltip()).legend(_legend())
    return _colored(panel, colors)


def density(about: About, query: Query) -> heatmap.Panel:
    """The buckets of a histogram over time."""
    panel = _panel(heatmap.Panel(), about, [query], heat=True)
    panel.calculate(False).show_tooltip().hide_legend().cell_gap(1)
    panel.scale_distribution(common.ScaleDistributionConfig().type(common_models.ScaleDistribution.LINEAR))
    panel.y_axis(heatmap.YAxisConfig().unit(about.unit).axis_placement(common_models.AxisPlacement.LEFT))
    return panel.color(
        heatmap.HeatmapColorOptions().mode(heatmap_models.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    )


def rows(
    about: About, keys: Sequence[Key], cells: Sequence[Column], *, sort: str, descending: bool = True
) -> table.Panel:
    """A table: a row for each combination of the keys, a column for each query."""
    panel = _panel(table.Panel(), about, [Query(cell.expr) for cell in cells], instant=True, as_table=True)
    values = ["Value"] if len(cells) == 1 else [f"Value #{ref}" for ref in _refs(len(cells))]
    names = {key.label: key.title for key in keys} | dict(
        zip(values, (cell.title for cell in cells), strict=True)
    )
    panel.transformations([transformation("merge"), organized(names, hidden=["Time"])])
    panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(descending)])
    panel.cell_height(common_models.TableCellHeight.SM)
    for key in keys:
        if key.link:
            panel.override_by_name(key.title, [_property("links", [{"title": "Open", "url": key.link}])])
    for cell in cells:
        panel.override_by_name(cell.title, _cell(cell))
    return panel


def transformation(name: str, **options: object) -> models.DataTransformerConfig:
    return models.DataTransformerConfig(id_val=name, options=options)


def organized(names: Mapping[str, str], hidden: Sequence[str]) -> models.DataTransformerConfig:
    """Fields in this order, under new names, without those that are hidden."""
    return transformation(
        "organize",
        renameByName=dict(names),
        indexByName={name: place for place, name in enumerate(names)},
        excludeByName=dict.fromkeys(hidden, True),
    )


def _panel(
    panel: _P,
    about: About,
    queries: Sequence[Query],
    *,
    instant: bool = False,
    as_table: bool = False,
    heat: bool = False,
) -> _P:
    panel.title(about.title).description(about.description).unit(about.unit).no_value(about.no_value)
    steps = [models.Threshold(value=None, color=about.limits.base)]
    steps += [models.Threshold(value=value, color=color) for value, color in about.limits.steps]
    panel.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    panel.datasource(SOURCE)
    kind = prometheus_models.PromQueryFormat
    for ref, (expr, legend) in zip(_refs(len(queries)), queries, strict=True):
        target = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(ref)
        target.format(kind.HEATMAP if heat else kind.TABLE if as_table else kind.TIME_SERIES)
        panel.with_target(target.instant() if instant else target.range())
    return panel


def _refs(count: int) -> list[str]:
    return [chr(ord("A") + number) for number in range(count)]


def _colored(panel: _P, colors: Mapping[str, str] | None) -> _P:
    """Series whose name ends in one of these words have its colour."""
    for word, color in (colors or {}).items():
        panel.override_by_regexp(
            rf"/\b{word}$/", [_property("color", {"mode": "fixed", "fixedColor": color})]
        )
    return panel


def _cell(cell: Column) -> list[models.DynamicConfigValue]:
    properties = [_property("unit", cell.unit)]
    if cell.decimals is not None:
        properties.append(_property("decimals", cell.decimals))
    if cell.limits:
        steps: list[dict[str, object]] = [{"value": None, "color": cell.limits.base}]
        steps += [{"value": value, "color": color} for value, color in cell.limits.steps]
        properties.append(_property("thresholds", {"mode": "absolute", "steps": steps}))
        properties.append(_property("color", {"mode": "thresholds"}))
        properties.append(_property("custom.cellOptions", {"type": "color-text"}))
    if cell.mapping:
        properties.append(_property("mappings", [_value_map(cell.mapping)]))
        properties.append(_property("custom.cellOptions", {"type": "color-background", "mode": "basic"}))
    return properties


def _property(name: str, value: object) -> models.DynamicConfigValue:
    return models.DynamicConfigValue(id_val=name, value=value)


def _value_map(mapping: Mapping[int, tuple[str, str]]) -> models.ValueMap:
    return models.ValueMap(
        options={
            str(value): models.ValueMappingResult(text=text, color=color, index=place)
            for place, (value, (text, color)) in enumerate(mapping.items())
        }
    )


def _legend(*calculations: str) -> common.VizLegendOptions:
    """A list of names, or a table with what is calculated, the highest first."""
    mode = common_models.LegendDisplayMode
    legend = common.VizLegendOptions().placement(common_models.LegendPlacement.BOTTOM).show_legend(True)
    if not calculations:
        return legend.display_mode(mode.LIST)
    title = {"sum": "Total", "max": "Max"}[calculations[-1]]
    return legend.display_mode(mode.TABLE).calcs(list(calculations)).sort_by(title).sort_desc(True)


def _tooltip() -> common.VizTooltipOptions:
    return (
        common.VizTooltipOptions()
        .mode(common_models.TooltipDisplayMode.MULTI)
        .sort(common_models.SortOrder.DESCENDING)
    )
