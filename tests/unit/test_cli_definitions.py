"""`tideline apply` beside a service whose own catalog is not right any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streams.cli.app import app
from streams.client import OPERATIONS, Answer, Client

OURS = "{version: 1, name: Shop, predictions: {orders: {name: Orders, goal: {did: Order}, window: 7d}}}"
THEIRS = OURS[:-1] + ", segments: {top: {name: Top, filter: {prediction: gone, category: high}}}}"
PLAN = {
    "changes": [{"action": "archive", "kind": "segment", "id": "top", "differences": []}],
    "unchanged": 0,
    "of_file": ["predictions.orders"],
}


def test_what_puts_a_broken_service_right_is_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service with a segment that refers to what its file does not define any more."""
    asked: list[str] = []

    def ask(_: Client, operation: str, *__: Any, **___: Any) -> Answer:
        asked.append(operation)
        return Answer(200, '"1"', THEIRS if OPERATIONS[operation][0] == "GET" else json.dumps(PLAN))

    monkeypatch.setattr(Client, "ask", ask)
    monkeypatch.setenv("TIDELINE_API_KEY", "tl_write_id_secret")
    (tmp_path / "catalog.yaml").write_text(OURS)
    result = CliRunner().invoke(app, ["apply", str(tmp_path / "catalog.yaml"), "--yes"])
    assert result.exit_code == 0, result.output
    assert asked == ["planDefinitions", "exportDefinitions", "applyDefinitions"]
    assert "cannot be compared" in result.stderr


CAMPAIGNS = """
version: 1
name: Shop
predictions: {orders: {name: Orders, goal: {did: Order}, window: 7d}}
campaigns:
  cart:
    name: Cart
    segment: orders.high
    conversion: {event: Order}
    channels: [push]
    message: {parts: {body: Hello}}
"""

SHARED = OURS[:-1] + ", messaging: {holdout: 0.1}}"


@pytest.mark.parametrize(
    ("text", "sections"), [(OURS, set()), (SHARED, {"messaging"}), (CAMPAIGNS, {"campaigns", "journeys"})]
)
def test_campaigns_are_applied_only_where_the_catalog_speaks_of_them(
    text: str, sections: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    def ask(_: Client, operation: str, *__: Any, body: Any = None, **___: Any) -> Answer:
        sent.extend([] if body is None else [body])
        return Answer(200, '"1"', OURS if OPERATIONS[operation][0] == "GET" else json.dumps(PLAN))

    monkeypatch.setattr(Client, "ask", ask)
    monkeypatch.setenv("TIDELINE_API_KEY", "tl_write_id_secret")
    (tmp_path / "catalog.yaml").write_text(text)
    result = CliRunner().invoke(app, ["apply", str(tmp_path / "catalog.yaml"), "--yes"])
    assert result.exit_code == 0, result.output
    assert [set(each) - {"predictions", "segments"} for each in sent] == [sections] * 2
