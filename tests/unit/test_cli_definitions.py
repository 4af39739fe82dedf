"""`tideline apply` beside a service whose own catalog is not right any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streams.cli import definitions
from streams.cli.api_client import Reply
from streams.cli.app import app

OURS = "{version: 1, name: Shop, predictions: {orders: {name: Orders, goal: {did: Order}, window: 7d}}}"
THEIRS = OURS[:-1] + ", segments: {top: {name: Top, filter: {prediction: gone, category: high}}}}"
PLAN = {
    "changes": [{"action": "archive", "kind": "segment", "id": "top", "differences": []}],
    "unchanged": 0,
    "of_file": ["predictions.orders"],
}


class Client:
    """A service with a segment that refers to what its file does not define any more."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def ask(self, method: str, path: str, *_: Any, **__: Any) -> Reply:
        self.asked.append((method, path))
        return Reply(THEIRS if method == "GET" else json.dumps(PLAN), '"1"', "http://here")


def test_what_puts_a_broken_service_right_is_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    monkeypatch.setattr(definitions, "_client", lambda *_: client)
    (tmp_path / "catalog.yaml").write_text(OURS)
    result = CliRunner().invoke(app, ["apply", str(tmp_path / "catalog.yaml"), "--yes"])
    assert result.exit_code == 0, result.output
    assert ("PUT", "/v1/definitions") in client.asked
    assert "cannot be compared" in result.stderr
