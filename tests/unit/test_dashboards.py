"""Grafana's dashboards: made by the code, read by Grafana's types, laid out without gaps, asking for what there is."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.conftest import ROOT
from tests.dashboards.all import BOARDS, FOLDER
from tests.dashboards.board import WIDTH, Board, in_test, widths
from tests.unit.test_alerts import RECORDED, promtool
from tests.unit.test_metrics_page import described

ALL_BOARDS = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
EXPORTED = described("Worker") | described("API") | described("Deliveries") | described("Campaigns")
OF_PROMETHEUS = {"up"}


def document(board: Board) -> dict[str, Any]:
    """As Grafana reads it."""
    found: dict[str, Any] = json.loads((FOLDER / f"{board.uid}.json").read_text(encoding="utf-8"))
    return found


@ALL_BOARDS
def test_the_file_is_what_the_code_makes(board: Board) -> None:
    """`make dashboards` writes it."""
    assert (FOLDER / f"{board.uid}.json").read_text(encoding="utf-8") == board.to_json()


def test_no_file_is_of_a_dashboard_that_is_gone() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {board.uid for board in BOARDS}


@ALL_BOARDS
def test_grafanas_own_types_know_every_field_of_the_file(board: Board) -> None:
    """What they do not know, of panels, their options and queries, they leave out when they write it again."""
    register_default_plugins()
    found = document(board)
    for panel in found["panels"]:
        if panel["type"] != "row":
            panel["fieldConfig"]["defaults"].setdefault("custom", {})  # which they write even if it is empty
    assert json.loads(JSONEncoder().encode(Dashboard.from_json(found))) == found


@ALL_BOARDS
def test_units_are_those_of_grafana(board: Board) -> None:
    known = {value for name, value in vars(units).items() if not name.startswith("_") and isinstance(value, str)}
    shown = {panel["fieldConfig"]["defaults"]["unit"] for panel in document(board)["panels"] if panel["type"] != "row"}
    assert shown <= known


@ALL_BOARDS
def test_numbers_are_asked_for_once_and_lines_over_time(board: Board) -> None:
    for panel in document(board)["panels"]:
        instant = {(target["instant"], target["range"]) for target in panel.get("targets", ())}
        assert instant == {"stat": {(True, False)}, "timeseries": {(False, True)}, "row": set()}[panel["type"]]


@ALL_BOARDS
def test_panels_fill_their_lines(board: Board) -> None:
    panels = document(board)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = Counter(
        (panel["gridPos"]["x"] + dx, panel["gridPos"]["y"] + dy)
        for panel in panels
        for dx in range(panel["gridPos"]["w"])
        for dy in range(panel["gridPos"]["h"])
    )
    height = max(y for _, y in taken) + 1
    assert set(taken.values()) == {1}, "panels lie over each other"
    assert len(taken) == WIDTH * height, "there is a hole"
    rows = [panel["gridPos"]["y"] for panel in panels if panel["type"] == "row"]
    assert all(above < below for above, below in pairwise(rows))
    assert len(rows) == len(board.rows)


def test_charts_that_leave_a_line_unfinished_are_refused() -> None:
    assert [widths(n)[0] for n in (3, 4, 6, 8)] == [8, 6, 8, 6]
    with pytest.raises(ValueError, match="5 charts"):
        widths(5)


@ALL_BOARDS
def test_every_panel_asks_our_prometheus_and_says_what_it_shows(board: Board) -> None:
    source = yaml.safe_load((ROOT / "config/grafana/provisioning/datasources/prometheus.yaml").read_text())
    (uid,) = [found["uid"] for found in source["datasources"]]
    panels = [panel for panel in document(board)["panels"] if panel["type"] != "row"]
    for panel in panels:
        assert panel["datasource"] == {"type": "prometheus", "uid": uid}
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
    assert len({panel["title"] for panel in panels}) >= len(panels) - 1


@ALL_BOARDS
def test_queries_rest_on_what_is_exported_or_recorded(board: Board) -> None:
    for query in board.queries():
        names = {re.sub("_bucket$", "", name) for name in re.findall(r"\b(?:tideline|process)_\w+", query.expr)}
        recorded = set(re.findall(r"\btideline:[\w:]+", query.expr))
        assert names <= EXPORTED.keys(), query.expr
        assert recorded <= RECORDED, query.expr
        assert names or recorded or OF_PROMETHEUS & set(re.findall(r"\b\w+", query.expr)), query.expr
        shown = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
        known = {label for name in names if name in EXPORTED for label in EXPORTED[name].labels}
        assert shown <= known | {"job", "instance"} or recorded, query.legend


@ALL_BOARDS
def test_variables_are_all_used_and_all_there(board: Board) -> None:
    assert board.used_variables() == board.variables.keys()
    for name, metric in board.variables.items():
        assert name in EXPORTED[metric].labels


def test_prometheus_reads_every_query(tmp_path: Path) -> None:
    queries = sorted({in_test(query.expr) for board in BOARDS for query in board.queries()})
    rules = [{"record": f"query:{number}", "expr": expr} for number, expr in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", file)
    assert len(queries) > 50
    assert not any("$" in expr for expr in queries)
