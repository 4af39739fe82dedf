"""Catalogs, logs and cuts for hypothesis: small, but with everything that a stream can do to a shard.

Times lie on a grid of a quarter second, so that they and their differences are exact in 64-bit floats, and values on
one of a quarter. Logs have at most 200 inputs of at most 10 users and span at most about a year.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from math import nan
from typing import Any, TypeVar

from hypothesis import strategies as st
from msgspec.structs import replace

from config import notes as note_names
from config.catalog import Catalog, Limits
from config.loader import loads
from config.yaml_text import dump
from streams.core.events import BadEvent, DeadReason, Event, Scalar
from tests.reference.reference_shard import Advance, Input

T = TypeVar("T")

START_S = 1_704_240_000.0  # 2024-01-03T00:00:00Z, a Wednesday
MAX_INPUTS = 200
MAX_USERS = 10

EVENTS = ("Order", "Cart", "View", "Return")
STRAY_EVENTS = ("Ping", "Login", "*", "Ärger €")
"""Names that no catalog here mentions: found on the way, or put into the bucket of all others."""
TEXT_TRAIT, NUMBER_TRAIT, FLAG_TRAIT = "plan", "level", "vip"
GOAL_WINDOWS = ("1h", "6h", "1d", "3d", "7d", "20d")
SINCE_BOUNDS = ("0s", "30s", "90m", "1d", "3d", "10d", "30d")
COUNT_WINDOWS = ("1h", "5h", "24h", "48h", "3d", "7d", "30d")
DWELLS = ("0s", "45s", "1h", "2d")


def _sometimes(strategy: st.SearchStrategy[T], otherwise: T, of: int = 3) -> st.SearchStrategy[T]:
    """The strategy one time in `of`, the plain value else (and when shrinking)."""
    return st.integers(0, of - 1).flatmap(lambda n: strategy if n == of - 1 else st.just(otherwise))


to_yaml = dump
"""A catalog's text."""


# --- catalogs --------------------------------------------------------------------------------------------------------


@cache
def conditions() -> st.SearchStrategy[dict[str, Any]]:
    """`where` of a goal's atom: none, or one or two conditions on properties that `PROPERTIES` has."""
    amount = st.one_of(
        st.builds(lambda low: {"min": low}, st.integers(0, 8)),
        st.builds(lambda low, more: {"min": low, "max": low + more}, st.integers(0, 4), st.integers(0, 4)),
        st.builds(lambda value: {"equals": value}, st.sampled_from([1, 2.5, True])),
        st.builds(lambda value: {"exists": value}, st.booleans()),
    )
    color = st.one_of(
        st.sampled_from(["red", "blue", "1"]),
        st.builds(
            lambda values: {"in": values}, st.lists(st.sampled_from(["red", "blue", 1, True]), min_size=1, max_size=3)
        ),
    )
    one = st.one_of(st.builds(lambda c: {"price": c}, amount), st.builds(lambda c: {"color": c}, color))
    both = st.builds(lambda a, b: {**a, **b}, one, one)
    return _sometimes(st.one_of(one, both), {})


@cache
def atoms(kinds: tuple[str, ...] = ("did", "did", "did_not")) -> st.SearchStrategy[dict[str, Any]]:
    """One `did` or `did_not`."""
    return st.builds(
        lambda kind, name, where: {kind: name, **({"where": where} if where else {})},
        st.sampled_from(kinds),
        st.sampled_from(EVENTS),
        conditions(),
    )


@cache
def goals(kinds: tuple[str, ...] = ("did", "did", "did_not")) -> st.SearchStrategy[dict[str, Any]]:
    """A goal as the catalog writes it: an atom, or any/all of up to three."""
    some = st.lists(atoms(kinds), min_size=1, max_size=3)
    joined = st.builds(lambda join, inner: {join: inner}, st.sampled_from(["any", "all"]), some)
    return st.one_of(atoms(kinds), joined)


def _range(bounds: Sequence[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """min, max or both, out of bounds that are in order."""
    places = st.lists(st.integers(0, len(bounds) - 1), min_size=2, max_size=2, unique=True).map(sorted)
    return st.builds(
        lambda pair, ends: {end: bounds[place] for end, place in zip(("min", "max"), pair, strict=True) if end in ends},
        places,
        st.sampled_from([("min",), ("max",), ("min", "max")]),
    )


def history_leaves(history: Sequence[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Conditions on events and traits: what an audience may use."""
    traits: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
        [
            {"trait": TEXT_TRAIT, "equals": "team"},
            {"trait": TEXT_TRAIT, "in": ["free", "firm", 1]},
            {"trait": TEXT_TRAIT, "exists": True},
            {"trait": NUMBER_TRAIT, "min": 2},
            {"trait": NUMBER_TRAIT, "min": 1.5, "max": 4},
            {"trait": NUMBER_TRAIT, "equals": 1},
            {"trait": FLAG_TRAIT, "equals": True},
            {"trait": FLAG_TRAIT, "exists": False},
        ]
    )
    counts = _range((0, 1, 2, 3, 5))
    total = st.builds(lambda name, count: {"event": name, "count": count}, st.sampled_from(EVENTS), counts)
    since = st.builds(
        lambda name, bounds: {"event": name, "since": bounds}, st.sampled_from(EVENTS), _range(SINCE_BOUNDS)
    )
    kinds: list[st.SearchStrategy[dict[str, Any]]] = [traits, total, since]
    if history:
        within = st.builds(
            lambda name, count, window: {"event": name, "count": count, "within": window},
            st.sampled_from(history),
            counts,
            st.sampled_from(COUNT_WINDOWS),
        )
        kinds += [within, within]
    return st.one_of(kinds)


def prediction_leaves(predictions: Sequence[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Conditions on what is predicted."""
    id_ = st.sampled_from(predictions)
    category = st.one_of(
        st.sampled_from(["low", "medium", "high"]),
        st.lists(st.sampled_from(["low", "medium", "high"]), min_size=1, max_size=3, unique=True),
    )
    return st.one_of(
        # So far apart that every range can be left, also below a `not`, whatever the hysteresis.
        st.builds(lambda p, r: {"prediction": p, "score": r}, id_, _range((0, 20, 50, 80, 100))),
        st.builds(lambda p, r: {"prediction": p, "likelihood": r}, id_, _range((0, 0.3, 0.45, 0.5, 0.52, 0.6, 1))),
        st.builds(lambda p, c: {"prediction": p, "category": c}, id_, category),
    )


def trees(leaves: st.SearchStrategy[dict[str, Any]], most: int = 6) -> st.SearchStrategy[dict[str, Any]]:
    """A filter of these leaves under all, any and not."""

    def grow(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        several = st.lists(inner, min_size=1, max_size=3)
        joined = st.builds(lambda join, parts: {join: parts}, st.sampled_from(["all", "any"]), several)
        return st.one_of(joined, inner.map(lambda part: {"not": part}))

    return st.recursive(leaves, grow, max_leaves=most)


def history_filters(history: Sequence[str] = EVENTS) -> st.SearchStrategy[dict[str, Any]]:
    """A filter of events and traits, as the catalog writes it."""
    return trees(history_leaves(history))


# To make and check a strategy costs hypothesis more than to draw from it, so those that come again are kept.


@cache
def _audiences(history: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any] | None]:
    return _sometimes(trees(history_leaves(history), 3), None)


@cache
def _segment_filters(
    live: tuple[str, ...], history: tuple[str, ...], others: tuple[str, ...]
) -> st.SearchStrategy[dict[str, Any]]:
    leaves = [history_leaves(history)]
    if live:
        leaves += [prediction_leaves(live)] * 2
    if others:
        leaves.append(st.sampled_from(others).map(lambda other: {"segment": other}))
    return trees(st.one_of(leaves))


_entries = _sometimes(st.just({"entry": "crossings"}), {})
_dwells = _sometimes(st.sampled_from(DWELLS).map(lambda d: {"min_dwell": d}), {}, of=2)


@st.composite
def _prediction(draw: st.DrawFn, history: Sequence[str]) -> dict[str, Any]:
    churn = draw(_sometimes(st.just(True), False))
    prediction: dict[str, Any] = {
        "name": "a prediction",
        "goal": draw(goals(("did_not",)) if churn else goals()),
        "window": draw(st.sampled_from(GOAL_WINDOWS)),
        "scale": draw(st.sampled_from(["percentile", "percentile", "probability"])),
        "access": draw(_sometimes(st.sampled_from(["preview", "demo"]), "live", of=6)),
        "hysteresis": draw(st.sampled_from([0, 5, 12.5])),
    }
    if churn:
        prediction["kind"] = "churn"
        prediction |= draw(_sometimes(st.sampled_from(SINCE_BOUNDS[2:]).map(lambda d: {"lookback": d}), {}))
    if draw(st.booleans()):
        prediction["categories"] = draw(
            st.sampled_from([{"medium": 50, "high": 75}, {"medium": 30, "high": 60}, {"medium": 45, "high": 52}])
        )
    audience = draw(_audiences(tuple(sorted(history))))
    return prediction if audience is None else {**prediction, "audience": audience}


@st.composite
def _segments(draw: st.DrawFn, live: Sequence[str], history: Sequence[str], most: int) -> dict[str, Any]:
    segments: dict[str, Any] = {}
    names = [f"s{n}" for n in range(draw(st.integers(0, most)))]
    for name in names:
        others = [*segments, *(f"{p}.{category}" for p in live for category in ("low", "high"))]
        filters = _segment_filters(tuple(live), tuple(sorted(history)), tuple(others))
        segments[name] = {"name": f"Segment {name}", "filter": draw(filters)} | draw(_dwells) | draw(_entries)
    # A segment may name one that stands further down in the file.
    order = draw(st.permutations(names))
    return {name: segments[name] for name in order}


@st.composite
def _features(draw: st.DrawFn) -> dict[str, Any]:
    features: dict[str, Any] = {
        "events": draw(st.sampled_from([["Order", "View"], {"limit": 2}, {"limit": 0}, {"limit": 8}, []])),
        "half_lives_days": draw(st.sampled_from([[1, 7, 30, 90], [0.5, 10], [3]])),
        "session_gap": draw(st.sampled_from(["30m", "45s", "1d"])),
    }
    if draw(st.booleans()):
        features["value"] = "price"
    traits = {
        TEXT_TRAIT: draw(st.sampled_from([{"values": ["free", "team"]}, {"limit": 2}, {"limit": 5}])),
        NUMBER_TRAIT: {"numeric": True},
        FLAG_TRAIT: draw(st.sampled_from([{"numeric": True}, {"values": [True]}, {"limit": 1}])),
    }
    kept = draw(st.lists(st.sampled_from(sorted(traits)), unique=True))
    return {**features, "traits": {name: traits[name] for name in kept}}


@st.composite
def catalog_texts(draw: st.DrawFn, max_predictions: int = 3, max_segments: int = 4) -> str:
    """A valid catalog as YAML."""
    history = draw(st.lists(st.sampled_from(EVENTS), unique=True, max_size=3))
    count = draw(st.integers(1, max_predictions))
    predictions = {f"p{n}": draw(_prediction(history)) for n in range(count)}
    live = [id_ for id_, prediction in predictions.items() if prediction["access"] == "live"]
    data: dict[str, Any] = {
        "version": 1,
        "name": "a catalog",
        "features": draw(_features()),
        "history": history,
        "predictions": predictions,
        "segments": draw(_segments(live, history, max_segments)),
        "time": {
            "max_ahead": draw(st.sampled_from(["5m", "0s", "2h"])),
            "lateness": draw(st.sampled_from(["0s", "0s", "20m", "1d"])),
        },
        "limits": {"backfill_users_per_minute": draw(st.sampled_from([50_000, 1, 2]))},
    }
    return to_yaml(data)


def catalogs(max_predictions: int = 3, max_segments: int = 4) -> st.SearchStrategy[Catalog]:
    """A catalog that the loader accepts, with room for everything that `inputs` makes."""
    return catalog_texts(max_predictions, max_segments).map(loads)


def tighten(catalog: Catalog, **limits: int) -> Catalog:
    """The catalog with limits below what the loader accepts, so that a small log reaches them."""
    changed = Limits.model_construct(**{**catalog.limits.model_dump(), **limits})
    return catalog.model_copy(update={"limits": changed})


def tight_catalogs() -> st.SearchStrategy[Catalog]:
    """Catalogs whose bounds on pending examples, message ids, users and deleted users are reached by the logs here."""
    return st.builds(
        lambda catalog, pending, dedupe, users, deleted: tighten(
            catalog, pending_examples=pending, dedupe_ids=dedupe, users=users, deleted_users=deleted
        ),
        catalogs(),
        st.integers(4, 40),
        st.sampled_from([1, 3, 20, 1_000]),
        st.sampled_from([MAX_USERS, 3]),
        st.sampled_from([1, 1, 2, 8]),
    )


# --- logs ------------------------------------------------------------------------------------------------------------
# An event is seven small numbers, each a place in a table: that is ten times faster than strategies inside strategies,
# and zero, to which hypothesis shrinks, is always the plainest entry.

NAMES: tuple[str | None, ...] = (*EVENTS, "Order", "Order", "View", *STRAY_EVENTS, None, None)
"""None is an identify."""

GAPS_S = (0.0, 0.0, 0.0, 0.25, 5.0, 30.0, 60.0, 900.0, 2_700.0, 3_600.0, 14_000.0, 40_000.0, 86_400.0, 250_000.0)
"""Time between two inputs: the same instant, bursts, and silences of minutes to days."""

SHIFTS_S = (
    *(0.0,) * 12,
    *(-0.25, -30.0, -3_600.0, -50_000.0, -400_000.0, -3_000_000.0),
    *(100.0, 301.0, 5_000.0, 400 * 86_400.0),
)
"""How far an event's own time is from when it arrives: mostly not at all, some late, some dated ahead."""

SILENCES_S = (3 * 86_400.0, 11 * 86_400.0, 40 * 86_400.0)

VALUES = (nan, nan, nan, 1.0, 0.0, 0.25, 19.75, 120.0, -7.5)

PROPERTIES: tuple[dict[str, Any] | None, ...] = (
    None,
    {},
    *({"price": price} for price in (0, 0.25, 1, 2.5, 4, 5.0, 8, True, "5", None)),
    *({"color": color} for color in ("red", "blue", "1", 1, True, None)),
    {"price": 2.5, "color": "red"},
    {"price": 1, "color": "blue"},
    {"price": 9, "color": 1, "other": [1, {"deep": None}]},
)
"""What the conditions of goals ask for, of every type."""

TRAITS: tuple[dict[str, Scalar] | None, ...] = (
    None,
    {TEXT_TRAIT: "free"},
    {TEXT_TRAIT: "team"},
    {TEXT_TRAIT: "firm", NUMBER_TRAIT: 1.0},
    {TEXT_TRAIT: "1", FLAG_TRAIT: True},
    {TEXT_TRAIT: "Ünïcode"},
    {NUMBER_TRAIT: 1.5, FLAG_TRAIT: False},
    {NUMBER_TRAIT: 4.0},
    {NUMBER_TRAIT: -2.25, FLAG_TRAIT: True},
)

_tables = (GAPS_S, SHIFTS_S, NAMES, VALUES, PROPERTIES, TRAITS)
_event_codes = st.tuples(st.integers(0, MAX_USERS - 1), *(st.integers(0, len(table) - 1) for table in _tables))
_EXTRAS = ("advance", "again", "changed", "bad")
_silences = st.dictionaries(st.integers(0, MAX_INPUTS - 1), st.sampled_from(SILENCES_S), max_size=4)
_extras = st.dictionaries(st.integers(0, MAX_INPUTS - 1), st.sampled_from(_EXTRAS), max_size=12)
_NOTES = ("sent", "sent", "sent", "withheld", "dropped", "note again")
_notes = st.dictionaries(st.integers(0, MAX_INPUTS - 1), st.sampled_from(_NOTES), max_size=40)
_extras_with_deletions = st.dictionaries(
    st.integers(0, MAX_INPUTS - 1), st.sampled_from([*_EXTRAS, "delete", "delete", "delete"]), max_size=16
)


def _user(number: int) -> str:
    return f"user-{number}" if number else "Zoë"


@st.composite
def inputs(
    draw: st.DrawFn,
    *,
    min_events: int = 1,
    max_events: int = 120,
    users: int = MAX_USERS,
    calm: bool = False,
    noise: bool = True,
    deletions: bool = False,
    notes: bool = False,
) -> list[Input]:
    """A log in reading order, of at most `users` users.

    `calm`: every event carries the time at which it arrives, in order. `noise`: with duplicates (the same message hash,
    some with another content), unreadable records and advances of the clock;
    `deletions`: with some of these, too; `notes`: with notes of campaigns. At most four long silences of up to 40
    days lie between the events.
    """
    assert 1 <= min_events <= max_events <= MAX_INPUTS
    assert 1 <= users <= MAX_USERS
    codes = draw(st.lists(_event_codes, min_size=min_events, max_size=max_events))
    user_count = draw(st.integers(1, users))
    silences = {place % len(codes): silence_s for place, silence_s in draw(_silences).items()}
    extras = draw(_extras_with_deletions if deletions else _extras) if noise else {}
    kinds = {place % len(codes): kind for place, kind in extras.items()}
    told = {place % len(codes): kind for place, kind in draw(_notes).items()} if notes else {}
    log: list[Input] = []
    now_s = START_S
    for place, (user, gap, shift, name, value, properties, traits) in enumerate(codes):
        now_s += GAPS_S[gap] + silences.get(place, 0.0)
        log.append(
            Event(
                user=_user(user % user_count),
                name=NAMES[name],
                time_s=now_s if calm else now_s + SHIFTS_S[shift],
                value=VALUES[value],
                message_hash=_message_hash(place),
                # Few track events carry traits; an identify without any is one too.
                traits=TRAITS[traits] if NAMES[name] is None or traits == place % len(TRAITS) else None,
                properties=PROPERTIES[properties] if NAMES[name] is not None else None,
                position=len(log),
                log_time_s=now_s,
            )
        )
        if place in kinds:
            log.append(_extra(kinds[place], log, now_s))
        if place in told:
            log.append(_note(told[place], log, now_s))
    return log[:MAX_INPUTS]


def _message_hash(place: int) -> int:
    return (place + 1) * 0x9E3779B97F4A7C15 % 2**64


def _extra(kind: str, log: list[Input], now_s: float) -> Input:
    """Something besides the events: it depends on the log so far and nothing else, so that shrinking stays simple."""
    position = len(log)
    events = [item for item in log if isinstance(item, Event) and not (item.name and note_names.is_note(item.name))]
    old = events[position * 7 % len(events)]
    if kind == "bad":
        return BadEvent(DeadReason.UNREADABLE_JSON, "made up", position, b"{")
    if kind == "advance":
        return Advance(now_s + (position % 5 - 1) * 7_000.0)
    if kind == "delete":
        # Mostly of somebody who is there, at the time at which it arrives, or some time before or after that.
        user, shift_s = (old.user, (0.0, 0.0, 0.0, -50_000.0, 100.0)[position % 5])
        hashed = _message_hash(1_000 + position)
        return Event(user, None, now_s + shift_s, nan, hashed, None, None, position, now_s, deletes=True)
    if kind == "again":
        return Event(
            old.user, old.name, old.time_s, old.value, old.message_hash, old.traits, old.properties, position, now_s
        )
    return Event(_user(0), "Order", now_s, 1.0, old.message_hash, None, None, position, now_s)


_NAMES_OF_NOTES = {"sent": note_names.SENT, "withheld": note_names.WITHHELD, "dropped": note_names.DROPPED}
_NOTE_SHIFTS_S = (0.0, 0.0, 0.25, -0.25, -30.0, -50_000.0, -700_000.0, 40_000.0, 3_600.0)


def _note(kind: str, log: list[Input], now_s: float) -> Input:
    """A note about a user of the log, once in a while about somebody else; of now, late, or dated ahead."""
    position = len(log)
    events = [item for item in log if isinstance(item, Event)]
    old = events[-1 - position * 5 % min(9, len(events))]
    if kind == "note again":
        old = next((item for item in reversed(events) if item.name and note_names.is_note(item.name)), old)
        return replace(old, position=position, log_time_s=now_s)
    user = "a stranger" if position % 11 == 5 else old.user
    time_s = now_s + _NOTE_SHIFTS_S[position % len(_NOTE_SHIFTS_S)]
    log_time_s = now_s if position % 2 else max(now_s, time_s)  # who writes may be ahead, and the log, too
    said: dict[str, Any] = {"price": 4, "color": "red"}
    traits: dict[str, Scalar] = {TEXT_TRAIT: "noted", NUMBER_TRAIT: 7.0}
    return Event(
        user, _NAMES_OF_NOTES[kind], time_s, 99.0, _message_hash(2_000 + position), traits, said, position, log_time_s
    )


def cuts(length: int) -> st.SearchStrategy[list[int]]:
    """Where to cut `length` inputs into batches: rising places from 0 to `length`, empty batches included."""
    places = st.lists(st.integers(0, length), max_size=12).map(sorted)
    return st.one_of(st.just([0, length]), st.just(list(range(length + 1))), places.map(lambda p: [0, *p, length]))


def batches(items: Sequence[T], places: Sequence[int]) -> list[list[T]]:
    """The items cut at the places of `cuts`."""
    return [list(items[start:stop]) for start, stop in pairwise(places)]


@st.composite
def scenarios(draw: st.DrawFn, /, **log: Any) -> tuple[Catalog, list[Input], int]:
    """(catalog, inputs, examples after which a prediction leaves its warm-up). `log` goes to `inputs`."""
    return draw(catalogs()), draw(inputs(**log)), draw(st.integers(1, 12))
