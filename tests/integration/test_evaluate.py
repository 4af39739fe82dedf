"""`tideline evaluate` as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.test_cli import run

pytestmark = pytest.mark.timeout(300)  # the core may have to be compiled first

CATALOG = """
version: 1
name: Small
input: {format: csv, user: user, event: {constant: Order}, time: {field: time, unit: s}}
features: {events: [Order]}
predictions:
  orders:
    name: Orders within 3 days
    goal: {did: Order}
    window: 3d
    model: {river: river.naive_bayes.GaussianNB}
"""


def test_a_river_model_is_judged_without_a_signing_key(tmp_path: Path) -> None:
    """Nothing is stored, so nothing has to be signed."""
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    # Five customers who order every few days for a while, and then not at all.
    rows = [f"u{n % 5},{1_700_000_000 + 43_200 * n}" for n in range(200) if (n // 30) % 2 == 0]
    (tmp_path / "orders.csv").write_text("\n".join(["user,time", *rows]) + "\n")
    code, out, err = run(
        "evaluate", str(tmp_path / "orders.csv"), "--catalog", str(tmp_path / "catalog.yaml"), "--json"
    )
    assert code == 0, err
    figures = json.loads(out)["predictions"]["orders"]["events"]["tideline"]
    assert figures["n"] > 30
    assert 0 < figures["positives"] < figures["n"]
    assert figures["roc_auc"] is not None
