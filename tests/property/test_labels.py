"""Labels of the compiled core against the definition, worked out over the whole log.

What the core hands out is compared with nothing but the list of accepted events: no reference shard, no state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.catalog import Catalog
from config.loader import loads
from models.examples import KIND_CROSSING, KIND_EVENT, KIND_SILENT, ExampleChunk
from streams.core.events import Event
from streams.core.kernel import week_minute
from streams.core.ledger import cluster_id
from streams.core.users import user_key
from tests.conftest import examples
from tests.property.accepted import accept
from tests.property.engine import Driver, groups
from tests.property.strategies import START_S, batches, catalogs, cuts, inputs, scenarios, to_yaml
from tests.reference.conditions import goal_atoms, matches, plain
from tests.reference.definitions import PredictionRule, prediction_rules
from tests.reference.filters import brute_filter
from tests.reference.labels import brute_labels
from tests.reference.reference_shard import Advance, Input

pytestmark = pytest.mark.timeout(900)
HOUR_S, DAY_S, WEEK_S = 3_600.0, 86_400.0, 7 * 86_400.0
NEVER = 10**9
"""Examples that no log has: nothing goes live, so that no example is a crossing."""

TO_THE_END_S = 30 * DAY_S
"""Longer than every window with every lateness: after so much silence all labels are known."""


def cases(count: int) -> settings:
    return settings(
        max_examples=examples(count),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@dataclass(frozen=True, slots=True)
class Handed:
    """An example when it was handed out: at which hour, and how many events had been accepted by then."""

    user: str
    time_s: float
    kind: int
    label: int
    hour_s: float
    events: int


@dataclass
class Watched:
    """A shard whose examples are noted as they are handed out, by prediction."""

    catalog: Catalog
    live_after: int
    handed: dict[str, list[Handed]] = field(default_factory=dict)
    late_goals: int = 0

    def __post_init__(self) -> None:
        self.handed = {id_: [] for id_ in self.catalog.predictions}
        self.engine = Driver(self.catalog, self.live_after).engine
        self.engine.on_chunk = self._note
        self._users: dict[int, str] = {}

    def take(self, items: Sequence[Input]) -> None:
        self._users |= {cluster_id(b"", item.user): item.user for item in items if isinstance(item, Event)}
        for group in groups(items):
            if isinstance(group, Advance):
                self.engine.take((), group.time_s)
            else:
                self.engine.take(group)

    def _note(self, chunk: ExampleChunk) -> None:
        shard = self.engine.shard
        into = self.handed[list(self.catalog.predictions)[chunk.prediction]]
        columns = (chunk.user.tolist(), chunk.time_s.tolist(), chunk.kind.tolist(), chunk.y.tolist())
        for user, time_s, kind, label in zip(*columns, strict=True):
            events = shard.counters()["events"]
            into.append(Handed(self._users[user], time_s, kind, label, shard.hour * HOUR_S, events))

    @property
    def version_s(self) -> float:
        """The hour of the last snapshot."""
        return self.engine.shard.snapshot.version * HOUR_S


def watch(catalog: Catalog, items: Sequence[Input], live_after: int, places: Sequence[int]) -> Watched:
    watched = Watched(catalog, live_after)
    for batch in batches(items, places):
        watched.take(batch)
    return watched


def with_an_end(items: list[Input]) -> list[Input]:
    """The log, and then silence until every label is known."""
    latest_s = max(max(i.time_s, i.log_time_s) if isinstance(i, Event) else 0.0 for i in items)
    return [*items, Advance(latest_s + TO_THE_END_S + 2 * DAY_S)]


def label_of(events: list[Event], example: Handed, rule: PredictionRule) -> int:
    (label,) = brute_labels(events, [{"user": example.user, "time_s": example.time_s}], rule.goal, rule.window_s)
    return label


@cases(25)
@given(scenarios(min_events=15), st.data())
def test_a_label_is_the_goal_over_the_window_in_all_events_that_came_in_time(
    case: tuple[Catalog, list[Input], int], data: st.DataObject
) -> None:
    catalog, log, live_after = case
    items = with_an_end(log)
    watched = watch(catalog, items, live_after, data.draw(cuts(len(items))))
    events = accept(catalog, items).events
    lateness_s = catalog.time.lateness_s
    for rule in prediction_rules(catalog):
        for example in watched.handed[rule.id]:
            assert example.hour_s > example.time_s + rule.window_s + lateness_s
            assert example.label == label_of(events[: example.events], example, rule)


GOALS: tuple[dict[str, Any], ...] = (
    {"did": "Order"},
    {"did_not": "Order"},
    {"did": "Order", "where": {"price": {"min": 2, "max": 4}}},
    {"any": [{"did": "Order", "where": {"price": {"equals": 8}}}, {"did_not": "Cart"}]},
    {"all": [{"did": "Order"}, {"did": "Cart"}, {"did_not": "Return"}]},
    {"all": [{"did_not": "Order"}, {"did_not": "View", "where": {"color": {"in": ["red"]}}}]},
)
WINDOWS_S = {"1h": HOUR_S, "6h": 6 * HOUR_S, "3d": 3 * DAY_S}


@cache
def edge_catalog(goal: int, other: int, window: str, lateness: str) -> Catalog:
    """Two predictions, the second with a window of a day; making a catalog takes longer than running a small log."""
    predictions = {
        "p0": {"name": "p0", "goal": GOALS[goal], "window": window},
        "p1": {"name": "p1", "goal": GOALS[other], "window": "1d"},
    }
    data = {"version": 1, "name": "edges", "time": {"lateness": lateness}, "predictions": predictions}
    return loads(to_yaml(data | {"features": {"events": [], "half_lives_days": [7]}}))


_numbers = st.integers(0, len(GOALS) - 1)
_edge_catalogs = st.builds(
    edge_catalog, _numbers, _numbers, st.sampled_from(sorted(WINDOWS_S)), st.sampled_from(["0s", "2h"])
)
_edge_s = st.builds(
    lambda window_s, share, off_s: max(0.0, window_s * share + off_s),
    st.sampled_from([DAY_S, *WINDOWS_S.values()]),
    st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.25]),
    st.sampled_from([-0.25, 0, 0, 0.25]),
)
"""A time between two events that is a window or a part of it, or just beside."""

_edge_steps = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0.0, 0.25, 60.0]), _edge_s),
        st.one_of(st.just(0.0), st.just(0.0), _edge_s),
        st.integers(0, 1),
        st.sampled_from(["Order", "Order", "Cart", "View", "Return", "Ping"]),
        st.sampled_from([0, 1, 2, 4, 8]),
    ),
    min_size=6,
    max_size=30,
)


def edge_log(steps: Sequence[tuple[float, float, int, str, int]]) -> list[Input]:
    """Events that lie exactly where windows begin and end; some come late."""
    log: list[Input] = []
    now_s = START_S
    for place, (gap_s, late_s, user, name, price) in enumerate(steps):
        now_s += gap_s
        properties = {"price": price, "color": "red"}
        log.append(Event(f"u{user}", name, now_s - late_s, math.nan, place + 1, None, properties, place, now_s))
    return log


@cases(120)
@given(_edge_catalogs, _edge_steps)
def test_windows_are_open_at_their_start_and_closed_at_their_end(
    catalog: Catalog, steps: list[tuple[float, float, int, str, int]]
) -> None:
    items = with_an_end(edge_log(steps))
    watched = watch(catalog, items, NEVER, [0, len(items)])
    events = accept(catalog, items).events
    for rule in prediction_rules(catalog):
        handed = watched.handed[rule.id]
        assert [h.label for h in handed] == [label_of(events[: h.events], h, rule) for h in handed]


@cases(15)
@given(scenarios(min_events=15))
def test_a_goal_that_comes_too_late_for_its_labels_is_counted(case: tuple[Catalog, list[Input], int]) -> None:
    """The one reason for which a label may differ from the whole log: and each such event is in the counter."""
    catalog, log, live_after = case
    watched = Watched(catalog, live_after)
    atoms = [atom for prediction in catalog.predictions.values() for atom in goal_atoms(plain(prediction.goal))]
    items = with_an_end(log)
    events = accept(catalog, items).events
    counted: set[int] = set()
    for item in items:
        before = watched.engine.shard.counters()["events"]
        watched.take([item])
        if watched.engine.shard.counters()["events"] == before:
            continue
        event = events[before]
        if event.time_s + catalog.time.lateness_s < watched.version_s and any(matches(atom, event) for atom in atoms):
            counted.add(before)
    assert watched.engine.shard.counters()["late_goals"] == len(counted)
    for rule in prediction_rules(catalog):
        for example in watched.handed[rule.id]:
            if example.label != label_of(events, example, rule):
                later = range(example.events, len(events))
                assert any(n in counted and in_window(events[n], example, rule) for n in later)


def in_window(event: Event, example: Handed, rule: PredictionRule) -> bool:
    inside = example.time_s < event.time_s <= example.time_s + rule.window_s
    return inside and event.user == example.user and any(matches(atom, event) for atom in goal_atoms(rule.goal))


# --- which examples there are ----------------------------------------------------------------------------------------


@cases(25)
@given(catalogs(), inputs(min_events=15, calm=True, noise=False), st.data())
def test_every_moment_of_the_audience_is_handed_out_once_at_its_hour(
    catalog: Catalog, log: list[Input], data: st.DataObject
) -> None:
    items = with_an_end(log)
    watched = watch(catalog, items, NEVER, data.draw(cuts(len(items))))
    events = accept(catalog, items).events
    end_s = watched.engine.shard.clock_s
    users = list(dict.fromkeys(event.user for event in events))
    for rule in prediction_rules(catalog):
        wanted = [moment for user in users for moment in moments(rule, user, events, end_s)]
        delay_s = rule.window_s + catalog.time.lateness_s
        known = {m: math.floor((m[1] + delay_s) / HOUR_S) * HOUR_S + HOUR_S for m in wanted}
        due = {(*moment, hour_s) for moment, hour_s in known.items() if hour_s <= end_s}
        handed = [(h.user, h.time_s, h.kind, h.hour_s) for h in watched.handed[rule.id]]
        assert len(handed) == len(set(handed))
        assert set(handed) == due
        assert KIND_CROSSING not in {kind for _, _, kind, _ in handed}
        assert [label_of(events, h, rule) for h in watched.handed[rule.id]] == [
            h.label for h in watched.handed[rule.id]
        ]


def moments(rule: PredictionRule, user: str, log: list[Event], end_s: float) -> list[tuple[str, float, int]]:
    """(user, time, kind) of every moment in the audience: the instants of events, and the silent weekly minutes."""
    events = [event for event in log if event.user == user]
    found = [(user, time_s, KIND_EVENT) for time_s in dict.fromkeys(event.time_s for event in events)]
    own_s = int(week_minute(np.uint64(user_key(user)))) * 60.0
    minute_s = math.floor(events[0].time_s / WEEK_S) * WEEK_S + own_s
    while minute_s <= end_s:
        # A look comes before the events of its own instant.
        before = [event.time_s for event in events if event.time_s < minute_s]
        if before and minute_s - before[-1] >= DAY_S:
            found.append((user, minute_s, KIND_SILENT))
        minute_s += WEEK_S
    return [moment for moment in found if in_audience(rule, events, moment)]


def in_audience(rule: PredictionRule, events: list[Event], moment: tuple[str, float, int]) -> bool:
    _, time_s, kind = moment
    known = [e for e in events if e.time_s < time_s or (e.time_s == time_s and kind == KIND_EVENT)]
    return rule.audience is None or brute_filter(rule.audience, known, time_s)
