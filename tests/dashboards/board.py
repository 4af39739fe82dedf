"""A dashboard as rows of charts, on Grafana's grid."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, StackingMode, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import Dashboard as Built
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    VariableRefresh,
)

SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
WIDTH = 24
_STAT_HEIGHT, _CHART_HEIGHT = 4, 8
_VARIABLE = re.compile(r"\$(\w+)")


@dataclass(frozen=True)
class Query:
    """What is asked of Prometheus, and what each series is called: `{{label}}` stands for its label."""

    expr: str
    legend: str = "__auto"


@dataclass(frozen=True)
class Chart:
    """Lines over time, or (`stat`) the latest value as a number."""

    title: str
    words: str
    """What it says, and what to look at in it."""
    queries: Sequence[Query]
    unit: str = "short"
    kind: Literal["lines", "stacked", "stat"] = "lines"
    most: float | None = None
    """Where the axis ends at least."""


@dataclass(frozen=True)
class Board:
    """`rows`: title -> its charts. `variables`: name -> a metric; its label of that name has the values."""

    uid: str
    title: str
    words: str
    rows: Mapping[str, Sequence[Chart]]
    variables: Mapping[str, str]

    def queries(self) -> Iterator[Query]:
        """Of all charts."""
        for charts in self.rows.values():
            for chart in charts:
                yield from chart.queries

    def used_variables(self) -> set[str]:
        """In queries, without those of Grafana itself."""
        return {name for query in self.queries() for name in _VARIABLE.findall(query.expr) if not name.startswith("__")}

    def to_json(self) -> str:
        """As the file that Grafana reads."""
        return json.dumps(json.loads(JSONEncoder().encode(self._built())), indent=1, sort_keys=True) + "\n"

    def _built(self) -> Built:
        found = (
            dashboard.Dashboard(self.title)
            .uid(self.uid)
            .description(self.words)
            .tags(["tideline"])
            .readonly()
            .timezone("browser")
            .time("now-3h", "now")
            .refresh("30s")
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .link(
                dashboard.DashboardLink("Tideline")
                .type(DashboardLinkType.DASHBOARDS)
                .tags(["tideline"])
                .keep_time(True)
            )
        )
        for name, metric in self.variables.items():
            found.with_variable(_variable(name, metric))
        numbers = iter(range(1, 1_000))
        for title, charts in self.rows.items():
            found.with_row(dashboard.Row(title).id(next(numbers)))
            for chart, width in zip(charts, widths(len(charts)), strict=True):
                found.with_panel(_panel(chart).id(next(numbers)).span(width))
        return found.build()


def widths(charts: int) -> list[int]:
    """Of so many charts in full lines of three or four."""
    if not (charts % 3 == 0 or charts % 4 == 0):
        raise ValueError(f"{charts} charts leave a line unfinished: expected a multiple of 3 or 4")
    return [WIDTH // (3 if charts % 3 == 0 else 4)] * charts


def in_test(expr: str) -> str:
    """As Grafana would ask it of a Prometheus that scrapes every second, with nothing chosen."""
    return _VARIABLE.sub(lambda found: "30s" if found[1] == "__rate_interval" else ".*", expr)


def _variable(name: str, metric: str) -> Any:
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(f"label_values({metric}, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _panel(chart: Chart) -> Any:
    panel: Any = stat.Panel() if chart.kind == "stat" else timeseries.Panel()
    panel.title(chart.title).description(chart.words).datasource(SOURCE).unit(chart.unit)
    panel.height(_STAT_HEIGHT if chart.kind == "stat" else _CHART_HEIGHT)
    for reference, query in zip(ascii_uppercase, chart.queries, strict=False):
        asked = prometheus.Dataquery().ref_id(reference).datasource(SOURCE).expr(query.expr).legend_format(query.legend)
        panel.with_target(asked.instant() if chart.kind == "stat" else asked.range())
    if chart.kind == "stat":
        return panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.min(0.0)
    if chart.most is not None:
        panel.axis_soft_max(chart.most)
    if chart.kind == "stacked":
        panel.fill_opacity(40).stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    return panel.legend(legend.show_legend(True)).tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))


def panels_of(document: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Of a dashboard's file, with its rows."""
    found: Iterable[Mapping[str, Any]] = document["panels"]
    return found
