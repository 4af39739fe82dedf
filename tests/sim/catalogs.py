"""Catalogs of every kind, small: short windows, so that a day of traffic holds labels, looks and crossings."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

from config.catalog import Catalog, Limits
from config.loader import loads

PREDICTIONS: dict[str, dict[str, Any]] = {
    "orders": {"name": "Orders", "goal": {"did": "Order"}, "window": "1h"},
    "returns": {"name": "Returns", "goal": {"did": "Return"}, "window": "6h", "scale": "probability", "hysteresis": 0},
    "leaves": {
        "name": "Leaves",
        "kind": "churn",
        "goal": {"did_not": "View"},
        "window": "2h",
        "lookback": "8h",
        "categories": {"medium": 45, "high": 55},
        "hysteresis": 2,
    },
    "dear": {
        "name": "Dear",
        "goal": {"any": [{"did": "Order", "where": {"price": {"min": 6}}}, {"did": "Return"}]},
        "window": "3h",
        "categories": {"medium": 40, "high": 60},
        "audience": {"event": "View", "count": {"min": 1}},
    },
    "shown": {"name": "Only shown", "goal": {"did": "Cart"}, "window": "1h", "access": "preview"},
}

SEGMENTS: dict[str, dict[str, Any]] = {
    "buyers": {"name": "Buyers", "filter": {"event": "Order", "count": {"min": 2}}},
    "silent": {"name": "Silent", "filter": {"event": "View", "since": {"min": "90m"}}},
    "busy": {"name": "Busy", "filter": {"event": "View", "count": {"min": 2}, "within": "3h"}},
    "steady": {"name": "Steady", "filter": {"event": "Cart", "since": {"max": "4h"}}, "min_dwell": "10m"},
    "paying": {"name": "Paying", "filter": {"trait": "plan", "in": ["team", "firm"]}},
    "quiet_buyers": {"name": "Quiet buyers", "filter": {"all": [{"segment": "buyers"}, {"segment": "silent"}]}},
}


def of_prediction(name: str) -> dict[str, dict[str, Any]]:
    """Segments that use the scores of prediction `name`."""
    return {
        "upper": {"name": "Upper", "filter": {"prediction": name, "score": {"min": 60}}, "entry": "crossings"},
        "not_low": {
            "name": "Not low for a while",
            "filter": {"not": {"segment": f"{name}.low"}},
            "min_dwell": "45s",
        },
    }


RECIPES = 64
"""So many catalogs there are; to read one costs more than to simulate with it."""


def draw_catalog(chance: random.Random) -> Catalog:
    """One of the recipes, with limits that a small run reaches."""
    limits = {
        "commit_users": chance.choice([1, 2, 5, 50, 5_000]),
        "commit_transitions": chance.choice([1, 3, 50, 5_000]),
        "pending_examples": chance.choice([2_000, 2_000, 60]),
        "users": chance.choice([100, 100, 100, 4]),
        "backfill_users_per_minute": chance.choice([1, 3, 5_000]),
        "dedupe_ids": 4_000,
    }
    catalog = _recipe(chance.randrange(RECIPES))
    # The loader wants larger ones, so they are put in behind it.
    changed = Limits.model_construct(**{**catalog.limits.model_dump(), **limits})
    return catalog.model_copy(update={"limits": changed})


def without_previews(catalog: Catalog) -> Catalog:
    """When everybody is scored for a preview follows from how a worker cuts the log. A demo is no more targeted."""
    demos = {
        name: each.model_copy(update={"access": "demo"}) if each.access == "preview" else each
        for name, each in catalog.predictions.items()
    }
    return catalog.model_copy(update={"predictions": demos})


@cache
def _recipe(number: int) -> Catalog:
    """One to three predictions and some segments."""
    chance = random.Random(f"catalog {number}")
    names = chance.sample(list(PREDICTIONS), chance.choice([1, 1, 2, 3]))
    if names == ["shown"]:
        names = ["orders", "shown"]
    lead = next(name for name in names if name != "shown")
    pool = {**SEGMENTS, **of_prediction(lead)}
    chosen = chance.sample(list(pool), chance.choice([0, 2, 4]))
    if "quiet_buyers" in chosen:
        chosen += [name for name in ("buyers", "silent") if name not in chosen]
    return loads(
        json.dumps(
            {
                "version": 1,
                "name": "a simulated shop",
                "features": chance.choice(
                    [
                        {"events": ["Order", "View"], "value": "price", "traits": {"plan": {"limit": 2}}},
                        {"events": {"limit": 2}, "half_lives_days": [0.5, 10]},
                    ]
                ),
                "history": ["View"],
                "remember": chance.choice([{}, {"Cart": {"properties": ["items"], "cleared_by": ["Order"]}}]),
                "predictions": {name: PREDICTIONS[name] for name in names},
                "segments": {name: pool[name] for name in chosen},
                "time": {"lateness": chance.choice(["0s", "20m"]), "max_ahead": chance.choice(["5m", "0s", "2h"])},
            }
        )
    )
