"""Where a prediction stands is found out in one place."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from config.errors import NotStored
from streams.adapters.definition_store import Past
from streams.api.read_predictions import Standings
from streams.runtime.about import Run
from streams.runtime.stored import StoredState
from tests.unit.stored_states import state_of

KNOWN, LIVE = state_of("ab", 3), state_of("ab", 3, {"a": 1, "b": 1})
AWAITS = replace(KNOWN, awaited=frozenset({"a"}))
PREDICTION = KNOWN.catalog.predictions["a"]


@pytest.mark.parametrize(
    ("states", "past", "changed", "status"),
    [
        ([], None, {}, "no events yet"),
        ([], Past("failed", ["a"], 1, 2, 3.0), {"access": "demo"}, "no events yet"),
        ([], Past("reading", ["a"], 1, 2, 3.0), {}, "learning from history"),
        ([KNOWN, state_of("b", 3)], None, {}, "learning from history"),
        ([LIVE], Past("reading", ["a"], 1, 2, 3.0), {}, "learning from history"),
        ([LIVE], Past("joining", ["a"], 1, 2, 3.0), {"access": "preview"}, "learning from history"),
        ([LIVE], Past("reading", ["b"], 1, 2, 3.0), {}, "live"),
        ([LIVE], Past("done", ["a"], 2, 2, 3.0), {}, "live"),
        ([LIVE], Past("failed", ["a"], 1, 2, 3.0), {}, "live"),
        # Another question than shards answer, whatever is told of an earlier reading.
        ([LIVE], Past("done", ["a"], 2, 2, 3.0), {"window_s": 86_400.0}, "learning from history"),
        ([LIVE], None, {"name": "Another", "scale": "probability"}, "live"),
        # Shards have taken it up, and nobody has told yet that the log is read, or what they have is older than that.
        ([AWAITS, AWAITS], None, {}, "learning from history"),
        ([AWAITS], Past("failed", ["a"], 1, 2, 3.0), {}, "warming up"),
        ([AWAITS], Past("failed", ["b"], 1, 2, 3.0), {}, "learning from history"),
        ([LIVE, AWAITS], Past("done", ["a"], 2, 2, 3.0), {}, "learning from history"),
        ([KNOWN], None, {}, "warming up"),
        ([KNOWN, LIVE], None, {}, "live"),
        ([KNOWN], None, {"access": "demo"}, "demo, warming up"),
        ([LIVE], None, {"access": "demo"}, "demo (scores shown, not targetable)"),
        ([LIVE], Past("reading", ["a"], 1, 2, 3.0), {"archived": True}, "archived"),
        ([], None, {"archived": True, "access": "preview"}, "archived"),
    ],
)
def test_the_status(states: list[StoredState], past: Past | None, changed: dict[str, object], status: str) -> None:
    standings = Standings(states, past, {"a": PREDICTION.model_copy(update=changed)})
    assert standings.status("a") == status


def frozen(at_s: float | None, clock_s: float = 9.0) -> StoredState:
    """A shard that has scored everybody for good for its first prediction, a preview; or not yet."""
    previews = {id_: each.model_copy(update={"access": "preview"}) for id_, each in LIVE.catalog.predictions.items()}
    catalog = LIVE.catalog.model_copy(update={"predictions": previews})
    return replace(LIVE, catalog=catalog, clock_s=clock_s, frozen_s=(at_s, None))


@pytest.mark.parametrize(
    ("states", "status", "frozen_at"),
    [
        ([frozen(5.0), frozen(7.0)], "preview (scores shown, not targetable)", "1970-01-01T00:00:07Z"),
        ([frozen(5.0), frozen(None, math.nan)], "preview (scores shown, not targetable)", "1970-01-01T00:00:05Z"),
        ([frozen(5.0), frozen(None)], "preview, being scored", None),
    ],
)
def test_a_preview_is_frozen_when_all_shards_with_events_have_scored_everybody(
    states: list[StoredState], status: str, frozen_at: str | None
) -> None:
    view = Standings(states).view("a")
    assert (view.status, view.frozen_at) == (status, frozen_at)
    live = PREDICTION.model_copy(update={"access": "live"})
    assert Standings(states, None, {"a": live}).view("a").frozen_at is None, "it was made live a moment ago"


def test_a_preview_of_a_replay_is_as_of_its_last_record() -> None:
    replayed = replace(frozen(None), run=Run(()))
    assert Standings([replayed]).view("a").status == "preview (scores shown, not targetable)"


def test_what_is_archived_or_unknown_to_shards_does_not_warm_up() -> None:
    archived = PREDICTION.model_copy(update={"archived": True})
    new = state_of("c", 1).catalog.predictions["c"]
    standings = Standings([KNOWN], None, {"a": archived, "c": new})
    assert standings.ids == ["a", "b", "c"]
    assert [standings.view(id_, KNOWN).warm_up is None for id_ in standings.ids] == [True, False, True]
    assert [standings.view(id_).audience for id_ in standings.ids] == [3, 3, 0]


def test_another_question_has_none_of_the_scores_of_the_one_before() -> None:
    other = PREDICTION.model_copy(update={"window_s": 86_400.0})
    standings = Standings([LIVE], None, {"a": other})
    view = standings.view("a")
    assert (view.window_s, view.audience, {category.users for category in view.categories}) == (86_400.0, 0, {0})
    with pytest.raises(NotStored, match="'a' is learning from history and has no scores"):
        standings.require("a")


def test_before_the_first_event_all_are_told_as_they_are_defined() -> None:
    view = Standings([], None, {"a": PREDICTION}).view("a")
    assert (view.status, view.audience, view.clock, view.warm_up) == ("no events yet", 0, None, None)
    assert (view.name, [category.users for category in view.categories]) == (PREDICTION.name, [0, 0, 0])


def test_what_has_nothing_to_show_is_told_by_where_it_stands() -> None:
    standings = Standings([KNOWN], None, {"c": PREDICTION})
    standings.require("a")
    with pytest.raises(NotStored, match="'c' is learning from history and has no scores"):
        standings.require("c")
    with pytest.raises(NotStored, match="no prediction is called 'd'"):
        standings.require("d")
