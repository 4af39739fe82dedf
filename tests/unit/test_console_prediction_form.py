"""The form of a prediction: what it makes of fields, and that nothing is lost on the way there and back."""

from __future__ import annotations

from typing import Any

import pytest

from config.catalog import Prediction
from config.conditions import MAX_WHERE
from config.definitions import read_prediction
from config.goals import MAX_ATOMS
from config.written import written
from streams.api.problems import Problem
from streams.console.prediction_form import PredictionForm, Row, Where

WHERE: dict[str, Any] = {
    "product": "boat",
    "size": {"in": [1, 2.5]},
    "price": {"min": 10, "max": 99.5},
    "gift": True,
    "coupon": {"exists": False},
    "note": {"exists": True},
}
DEFINITIONS: list[dict[str, Any]] = [
    {"name": "Orders", "goal": {"did": "Order"}, "window": "7d"},
    {"name": "Orders", "goal": {"did": "Order", "where": WHERE}, "window": "36h", "scale": "probability"},
    {
        "name": "Either",
        "goal": {"any": [{"did": "Order"}, {"did_not": "Return", "where": {"product": "sail"}}]},
        "window": "30d",
        "audience": {"all": [{"trait": "country", "in": ["A", "B"]}, {"event": "View", "since": {"max": "90d"}}]},
        "categories": {"medium": 40.0, "high": 82.5},
        "hysteresis": 0.0,
        "access": "preview",
    },
    {"name": "Both", "goal": {"all": [{"did": "Order"}, {"did": "View"}]}, "window": "2d", "access": "demo"},
    {"name": "Lost", "kind": "churn", "goal": {"did_not": "Order"}, "window": "30d", "lookback": "60d"},
    {
        "name": "Trees",
        "goal": {"did": "Order"},
        "window": "1h",
        "model": {"river": "river.tree.HoeffdingTreeClassifier", "params": {"delta": 0.1}, "scale": False},
        "memory_examples": 20_000,
    },
]


@pytest.mark.parametrize("data", DEFINITIONS, ids=lambda data: data["name"])
def test_a_prediction_is_the_same_after_its_form(data: dict[str, Any]) -> None:
    prediction = read_prediction("one", data)
    form = PredictionForm.of_prediction(prediction, "en")
    assert read_prediction("one", form.definition) == prediction
    sent = PredictionForm.of(fields_of(form), "en").keeping(prediction)
    assert read_prediction("one", sent.definition) == prediction


def fields_of(form: PredictionForm) -> dict[str, str]:
    """As a browser sends it."""
    fields = {name: str(getattr(form, name)) for name in ("name", "kind", "join", "access", "scale", "hysteresis")}
    for name, span in (("window", form.window), ("lookback", form.lookback)):
        fields |= {name: span.amount, f"{name}_unit": span.unit}
    fields |= {"filter": form.audience, "medium": form.medium, "high": form.high}
    for n, row in enumerate(form.rows):
        fields |= {f"goal_{n}_event": row.event, f"goal_{n}_negated": "did_not" if row.negated else "did"}
        for m, where in enumerate(row.where):
            here = f"goal_{n}_where_{m}"
            fields |= {f"{here}_{key}": getattr(where, key) for key in ("name", "operation", "type", "value", "upper")}
    return fields


def test_churn_is_always_what_is_not_done() -> None:
    form = PredictionForm.of(
        {"name": " Lost  ones", "kind": "churn", "goal_0_event": "Order", "goal_0_negated": "did"}, "en"
    )
    assert (form.name, form.definition["goal"]) == ("Lost ones", {"did_not": "Order"})


def test_rows_and_conditions_are_added_and_taken_away() -> None:
    form = PredictionForm(rows=(Row("Order"),))
    two = form.with_more("row")
    assert two.rows == (Row("Order"), Row())
    assert two.with_more("where_1").rows[1].where == (Where(),)
    assert two.with_more("drop_0").rows == (Row(),)
    assert form.with_more("drop_0") == form, "the last one stays"
    assert form.with_more("save") == form
    for _ in range(MAX_ATOMS + 2):
        form = form.with_more("row").with_more("where_0")
    assert (len(form.rows), len(form.rows[0].where)) == (MAX_ATOMS, MAX_WHERE)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"goal_0_event": "  "},
        {"goal_0_event": "Order", "medium": "half"},
        {"goal_0_event": "Order", "filter": "{["},
        {
            "goal_0_event": "Order",
            "goal_0_where_0_name": "gift",
            "goal_0_where_0_type": "boolean",
            "goal_0_where_0_value": "perhaps",
        },
        {
            "goal_0_event": "Order",
            "goal_0_where_0_name": "price",
            "goal_0_where_0_operation": "range",
            "goal_0_where_0_value": "cheap",
        },
        {"goal_0_event": "Order", "goal_0_where_0_name": "kind", "goal_0_where_0_value": "a\r\nb"},
        {"goal_0_event": "Order", "goal_0_where_0_name": "kind", "goal_0_where_0_value": " "},
        {"goal_0_event": "Order", "goal_0_where_0_name": " ", "goal_0_where_0_value": "boat"},
        {"goal_0_event": " ", "goal_0_where_0_name": "kind", "goal_0_where_0_value": "boat"},
        {
            "goal_0_event": "Order",
            "goal_0_where_0_name": "kind",
            "goal_0_where_0_value": "boat",
            "goal_0_where_1_name": "kind",
            "goal_0_where_1_value": "sail",
        },
        {"goal_0_event": "Order", "high": "82,5"},
        {"goal_0_event": "Order", "window": "1,5"},
    ],
)
def test_what_cannot_be_read_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(Problem):
        PredictionForm.of(fields, "en").definition  # noqa: B018


def test_numbers_are_read_by_the_language_of_the_form() -> None:
    fields = {"goal_0_event": "Order", "high": "82,5", "window": "1,5", "name": "x"}
    prediction = read_prediction("one", PredictionForm.of(fields, "fr").definition)
    assert isinstance(prediction, Prediction)
    assert (prediction.categories.high, written(prediction)["window"]) == (82.5, "36h")
