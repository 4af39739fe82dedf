"""Whoever opens a definition in the console and saves it changes nothing: definition, form, page, form, definition."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st
from starlette.requests import Request

from config.campaign_checks import read_campaign, read_journey
from config.campaigns import MAX_PARTS
from config.conditions import MAX_WHERE
from config.definitions import read_prediction, read_segment
from config.errors import CatalogError
from config.goals import MAX_ATOMS
from config.journeys import MAX_PATHS, MAX_STEPS
from config.offers import MAX_RUNGS
from config.times import WEEKDAYS
from config.written import written
from streams.console.campaign_form import STATES, CampaignForm
from streams.console.journey_form import EXITS, HAPPENS, KINDS, PATH_KINDS
from streams.console.language import LANGUAGES, Language
from streams.console.offer_form import OFFERS, PERIODS
from streams.console.pages import Pages
from streams.console.prediction_form import OPERATIONS, TYPES, PredictionForm
from streams.console.prediction_form import UNITS as WINDOW_UNITS
from streams.console.segment_forms import Form
from streams.console.sessions import Session
from streams.console.spans import UNITS
from streams.console.trigger_form import PERIODS as TRIGGER_PERIODS
from streams.console.trigger_form import TRIGGERS
from streams.console.visit import BASE, Visit
from tests.html_forms import sent

PAGES = Pages(BASE)
SMALL = settings(max_examples=25, deadline=None)


def page(language: Language, template: str, **context: Any) -> str:
    """A form as a visitor of that language sees it."""
    scope = {"type": "http", "method": "GET", "path": BASE, "query_string": b"", "headers": [], "server": ("x", 80)}
    visit = Visit(Request(scope), PAGES, language, "auto", session=Session("0" * 64, "key"))
    return bytes(visit.render(template, **context).body).decode()


# --- definitions ------------------------------------------------------------------------------------------------------

odd_texts = st.sampled_from(
    [
        "a, b",
        " A ",
        '"q"',
        '"',
        "true",
        "12",
        "Z\u202f9",
        "two\nlines",
        "\rr",
        "\t",
        "<b>&amp;</b>",
        "\u2028",
        "- x",
        "",
    ]
)
texts = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), odd_texts)
names = texts.filter(lambda text: len(text) > 0 and text != "*" and not text.startswith("Tideline"))
titles = st.sampled_from(["Mine", "À moi", "A <b>bold</b> & “odd” name"])
exact = st.floats(min_value=1e-6, max_value=1e9).filter(lambda value: value > 0)
amounts = st.one_of(st.sampled_from([1_234_567, 0.1, 12.5, 1_000, 123_456.78]), st.integers(1, 10**9), exact)
numbers = st.one_of(amounts, amounts.map(lambda value: -value), st.sampled_from([0, 1e22, 1e-9]))
scalars = st.one_of(texts, numbers, st.booleans())
durations = st.sampled_from(["1h", "90m", "36h", "7d", "3601s", "5400.5s", "30d", "2w"])
short = st.one_of(durations, st.sampled_from(["90s", "61s", "1m", "60.25s"]))
conditions = st.one_of(
    scalars.map(lambda value: {"equals": value}),
    st.lists(scalars, min_size=1, max_size=4).map(lambda values: {"in": values}),
    st.lists(numbers, min_size=2, max_size=2).map(lambda ends: {"min": min(ends), "max": max(ends)}),
    numbers.map(lambda value: {"max": value}),
    st.booleans().map(lambda value: {"exists": value}),
)
wheres = st.dictionaries(names, conditions, max_size=3)


def within(low: float, high: float) -> st.SearchStrategy[dict[str, float]]:
    """Half-open ranges."""
    ends = st.lists(st.floats(low, high), min_size=2, max_size=2, unique=True)
    return ends.map(lambda found: {"min": min(found), "max": max(found)})


filters = st.recursive(
    st.one_of(
        st.builds(lambda name, how: {"trait": name, **how}, names, conditions),
        within(0, 100).map(lambda score: {"prediction": "orders", "score": score}),
        within(0, 1).map(lambda likelihood: {"prediction": "orders", "likelihood": likelihood}),
        st.just({"prediction": "orders", "category": ["high"]}),
        st.just({"segment": "others"}),
        st.builds(lambda event, least: {"event": event, "count": {"min": least}}, names, st.integers(0, 99)),
        st.builds(lambda event, least: {"event": event, "since": {"min": least}}, names, short),
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=4,
)


@st.composite
def predictions(draw: st.DrawFn) -> dict[str, Any]:
    is_churn = draw(st.booleans())
    key = st.just("did_not") if is_churn else st.sampled_from(["did", "did_not"])
    atoms = [{draw(key): draw(names), "where": draw(wheres)} for _ in range(draw(st.integers(1, 3)))]
    if not is_churn and all("did_not" in atom for atom in atoms):
        atoms[0] = {"did": draw(names)}
    shape = draw(st.sampled_from(["any", "all"] if len(atoms) > 1 else ["", "any", "all"]))
    edges = sorted(draw(st.lists(st.floats(11, 89), min_size=2, max_size=2, unique=True)))
    found = {
        "name": draw(titles),
        "kind": "churn" if is_churn else "event",
        "goal": {shape: atoms} if shape else atoms[0],
        "window": draw(durations),
        "scale": draw(st.sampled_from(["percentile", "probability"])),
        "categories": {"medium": edges[0], "high": edges[1]},
        "hysteresis": draw(st.sampled_from([0, 0.125, 5])),
        "access": draw(st.sampled_from(["live", "preview"])),
    }
    return found | ({"lookback": draw(durations)} if is_churn else {})


@st.composite
def offers(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"unit": "amount", "order_value": draw(amounts)}
    budget = {"amount": 1e12, "per": draw(st.sampled_from(PERIODS))}
    found |= draw(st.sampled_from([{}, {"fixed_for": "90s"}, {"budget": budget}]))
    kind = draw(st.sampled_from(["fixed", "ladder", "linear"]))
    if kind == "fixed":
        return {**found, "value": draw(amounts)}
    if kind == "linear":
        least = draw(st.sampled_from([0, 0.5, 1_234]))
        return {**found, "prediction": "orders", "least": least, "most": least + 7.5, "step": 2.5}
    edges = sorted(draw(st.lists(st.floats(0.001, 99.9), min_size=1, max_size=MAX_RUNGS - 1, unique=True)))
    values = sorted(draw(st.lists(amounts, min_size=len(edges) + 1, max_size=len(edges) + 1)), reverse=True)
    return {**found, "prediction": "orders", "edges": edges, "values": values}


parts = st.dictionaries(
    st.sampled_from(["subject", "title", "body", "footer"]),
    st.sampled_from(["Hello", "\nleading line", "two\nlines ", " {{ user.id }} <b>&amp;", "carriage\rreturn", "\ttab"]),
    min_size=1,
    max_size=3,
)
messages = st.one_of(
    parts.map(lambda found: {"parts": found}),
    parts.map(lambda found: {"parts": found, "by_channel": {"log": {"body": "Hi"}}}),
    parts.map(lambda found: {"parts": found, "recommendations": {"from": "hook", "on_failure": "send_without"}}),
)
triggers = st.one_of(
    st.sampled_from(["enter", "exit", "both"]),
    st.builds(lambda event, where: {"event": event, "where": where, "properties": ["price"]}, names, wheres),
    st.sampled_from(["2027-03-01 10:00", "2027-03-01", "2027-03-01T10:00", "2027-03-01 10:00:30.5"]).map(
        lambda at: {"at": at, "timezone": "Europe/Paris"}
    ),
    st.lists(st.sampled_from(WEEKDAYS), min_size=1, unique=True).map(
        lambda days: {"every": "week", "at": "08:30", "on": days}
    ),
    st.lists(st.integers(1, 28), min_size=1, max_size=5, unique=True).map(
        lambda days: {"every": "month", "at": "23:59", "on": days, "timezone": "Asia/Tokyo"}
    ),
    st.just({"every": "day", "at": "10:00"}),
)
rules = st.fixed_dictionaries(
    {
        "name": titles,
        "segment": st.sampled_from(["offered", "gone", "orders.high", "orders.low"]),
        "channels": st.lists(st.sampled_from(["hook", "log", "gone"]), min_size=1, unique=True),
        "conversion": st.builds(
            lambda event, where, window: {"event": event, "where": where, "window": window, "revenue": "price"},
            names, wheres, durations,
        ),
        "control": st.one_of(st.sampled_from([0.07, 0.1, 1 / 3, 0.0]), st.floats(0, 1)),
        "state": st.sampled_from(STATES),
    },
    optional={
        "reentry": st.sampled_from(["once", "always", "90s"]),
        "rate": st.just({"sends": 1_234_567, "per": "hour"}),
        "breaker": st.none(),
        "filter": filters,
    },
)  # fmt: skip
campaigns = st.builds(
    lambda common, trigger, message, offer: {**common, "trigger": trigger, "message": message, "offer": offer},
    rules, triggers, messages, st.one_of(st.none(), offers()),
)  # fmt: skip


@st.composite
def journeys(draw: st.DrawFn) -> dict[str, Any]:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))
    ids = [f"step_{n}" for n in range(len(kinds))]
    steps = {ids[n]: draw(step(kind, [*ids[n + 1 :], "end"])) for n, kind in enumerate(kinds)}
    return {**draw(rules), "steps": steps, "exit_on": draw(st.sampled_from(EXITS))}


@st.composite
def step(draw: st.DrawFn, kind: str, onward: list[str]) -> dict[str, Any]:
    then = draw(st.sampled_from([{}, {"then": onward[0]}]))
    where_to = st.sampled_from(onward[:1])  # whatever leads past others may leave some that nothing leads to
    match kind:
        case "wait":
            return {"wait": draw(short), **then}
        case "wait_until":
            event = st.builds(lambda event, where: {"event": event, "where": where}, names, wheres)
            until = draw(st.one_of(event, st.just({"enters": "gone"}), st.just({"leaves": "orders.high"})))
            return {"wait_until": until, "at_most": draw(short), **then}
        case "split":
            whens = draw(st.lists(filters, min_size=1, max_size=3))
            return {"split": [{"when": when, "then": draw(where_to)} for when in whens]}
        case "random_split":
            shares = draw(st.sampled_from([(0.07, 0.93), (0.1, 0.2, 0.7), (0.125, 0.875)]))
            return {"random_split": [{"share": each, "then": draw(where_to)} for each in shares]}
        case _:
            offer = draw(st.one_of(st.none(), offers()))
            return {"send": draw(messages), "at_most": draw(short), **then, **({"offer": offer} if offer else {})}


def whole_goal() -> dict[str, Any]:
    """As many parts as a goal may have, each with as many conditions."""
    atoms = [
        {"did": f"Event {n}", "where": {f"property {m}": {"in": ["a", "b, c"]} for m in range(MAX_WHERE)}}
        for n in range(MAX_ATOMS)
    ]
    return {"name": "All of it", "goal": {"any": atoms}, "window": "7d"}


def whole_journey() -> dict[str, Any]:
    """As many steps as a journey may have, of each kind with as much in it as there may be."""
    send = {"parts": {f"part_{n}": "Hello" for n in range(MAX_PARTS)}}
    split = [{"when": {"segment": "offered"}, "then": "step_2"}] * MAX_PATHS
    filled: dict[str, Any] = {"step_0": {"send": send}, "step_1": {"split": split}}
    waits = {f"step_{n}": {"wait": "90s"} for n in range(2, MAX_STEPS)}
    common = {"name": "All of it", "segment": "offered", "channels": ["log"], "conversion": {"event": "Order"}}
    return {**common, "steps": filled | waits}


def loop() -> dict[str, Any]:
    """A step that leads to itself, and some that say what would be so anyway."""
    steps = {
        "one": {"wait": "1h", "then": "two"},
        "two": {"wait_until": {"event": "Order"}, "at_most": "1d", "otherwise": "two"},
    }
    common = {"name": "Round", "segment": "offered", "channels": ["log"], "conversion": {"event": "Order"}}
    return {**common, "steps": steps}


# --- there and back ---------------------------------------------------------------------------------------------------


def same(value: Any) -> Any:
    """Plain data in which true is not 1, and the order of keys counts."""
    if isinstance(value, dict):
        return [(key, same(inner)) for key, inner in value.items()]
    if isinstance(value, list | tuple):
        return [same(inner) for inner in value]
    return Decimal(repr(value)) if isinstance(value, int | float) and not isinstance(value, bool) else repr(value)


def read(reader: Callable[[str, Any], Any], data: dict[str, Any]) -> Any:
    """What is no definition is no case."""
    try:
        return reader("one", data)
    except CatalogError:
        reject()


def assert_kept(before: Any, after: Any) -> None:
    assert after == before
    assert same(written(after)) == same(written(before))


both = pytest.mark.parametrize("language", LANGUAGES)


@both
@SMALL
@given(data=predictions(), audience=st.one_of(st.none(), filters))
@example(data=whole_goal(), audience=None)
def test_a_prediction_is_kept(language: Language, data: dict[str, Any], audience: dict[str, Any] | None) -> None:
    before = read(read_prediction, data | ({} if audience is None else {"audience": audience}))
    text = page(
        language, "prediction_form.html", form=PredictionForm.of_prediction(before, language),
        id="one", name="One", etag="1", is_anew=False, estimated=None, wrong=None, operations=OPERATIONS, types=TYPES,
        units=WINDOW_UNITS, events=[], has_builder=True, tree="null", offered="{}", words="{}",
    )  # fmt: skip
    form = PredictionForm.of(sent(text, f"{BASE}/predictions/one/edit"), language).keeping(before)
    assert_kept(before, read_prediction("one", form.definition))


@both
@SMALL
@given(tree=filters, dwell=st.one_of(st.none(), short), entry=st.sampled_from(["now", "crossings"]))
def test_a_segment_is_kept(language: Language, tree: dict[str, Any], dwell: str | None, entry: str) -> None:
    data = {"name": "Mine", "filter": tree, "entry": entry} | ({} if dwell is None else {"min_dwell": dwell})
    before = read(read_segment, data)
    text = page(
        language, "segment_form.html", form=Form.of_segment(before, language),
        id="one", name="One", etag="1", dependents=[], units=UNITS, wrong=None, counted=None, has_builder=True,
        tree=json.dumps(tree), offered="{}", words="{}",
    )  # fmt: skip
    form = Form.of(sent(text, f"{BASE}/segments/one/edit"), language)
    assert_kept(before, read_segment("one", form.definition))


def campaign_page(language: Language, form: CampaignForm) -> str:
    """Neither all segments nor all channels nor the prediction of an offer can be chosen any more."""
    return page(
        language, "campaign_form.html", form=form, id="one", etag="1", wrong=None,
        segments={"offered": "Offered", "orders.high": "High"}, all_segments={"gone": "Gone"}, new_segment=None,
        predictions={"another": "Another"}, all_predictions={"orders": "Orders"}, channels=["log", "hook"], events=[],
        triggers=TRIGGERS, trigger_periods=TRIGGER_PERIODS, weekdays=WEEKDAYS, states=STATES, offers=OFFERS,
        periods=PERIODS, units=UNITS[1:], drawings={}, step_kinds=KINDS, step_units=UNITS, happens=HAPPENS,
        path_kinds=PATH_KINDS, exits=EXITS, drawing=None, prediction_kinds={"another": "event"},
    )  # fmt: skip


@both
@SMALL
@given(data=campaigns)
def test_a_campaign_is_kept(language: Language, data: dict[str, Any]) -> None:
    before = read(read_campaign, data)
    text = campaign_page(language, CampaignForm.of_definition("one", before, language))
    form = CampaignForm.of(sent(text, f"{BASE}/campaigns/one/edit"), language)
    assert_kept(before, read_campaign("one", form.definition))


@both
@SMALL
@given(data=journeys())
@example(data=whole_journey())
@example(data=loop())
def test_a_journey_is_kept(language: Language, data: dict[str, Any]) -> None:
    before = read(read_journey, data)
    text = campaign_page(language, CampaignForm.of_definition("one", before, language))
    form = CampaignForm.of(sent(text, f"{BASE}/campaigns/one/edit"), language)
    assert_kept(before, read_journey("one", form.definition))
