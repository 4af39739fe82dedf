"""A wrong catalog is refused with the line, the path, what was found and what was expected."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from config.errors import CatalogError, Problem, TidelineError
from config.loader import MAX_BYTES, load_catalog, loads
from config.schema import json_schema

FULL = Path(__file__).with_name("full_catalog.yaml").read_text(encoding="utf-8")


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(CatalogError) as caught:
        loads(text, "shop.yaml")
    return caught.value.problems


def line_with(text: str, part: str) -> int:
    lines = [number for number, line in enumerate(text.splitlines(), 1) if part in line]
    assert len(lines) == 1, f"{part!r} is on lines {lines}"
    return lines[0]


# What is replaced in the full catalog, by what, then: path, found, expected.
CASES: list[tuple[str, str, str, str, str]] = [
    # values of the wrong type or out of bounds
    ("name: Everything", "name: 12", "name", "12", 'text (in quotes: "12")'),
    ("name: Everything", "name:", "name", "nothing", "text"),
    ("name: Everything", "name: ''", "name", "''", "text that is not empty"),
    ("version: 1", "version: 2", "version", "2", "1"),
    ("hysteresis: 2.5", "hysteresis: '2'", "predictions.orders_7d.hysteresis", "'2'", "a number"),
    ("hysteresis: 2.5", "hysteresis: .nan", "predictions.orders_7d.hysteresis", "nan", "a finite number"),
    ("hysteresis: 2.5", "hysteresis: 60", "predictions.orders_7d.hysteresis", "60", "at most 50"),
    ("hysteresis: 2.5", "hysteresis: 20", "predictions.orders_7d.hysteresis", "20 with edges 40", "less than 20"),
    ("  users: 1000", "  users: 1.5", "limits.users", "1.5", "a whole number"),
    ("  users: 1000", "  users: 0", "limits.users", "0", "at least 1"),
    ("  users: 1000", "  users: true", "limits.users", "true", "a whole number"),
    ("  users: 1000", "  users: 123456789012345678901", "limits.users", "'12345678901", "a whole number"),
    ("history: [Order Completed, Cart Viewed]", "history: Cart Viewed", "history", "'Cart Viewed'", "a list"),
    ("history: [Order Completed, Cart Viewed]", "history: [a, b, a]", "history", "a list of 3", "each name once"),
    ("time: {max_ahead: 10m, lateness: 1h}", "time: 5m", "time", "'5m'", "a mapping (key: value)"),
    ("{max_ahead: 10m,", "{max_ahead: 10,", "time.max_ahead", "10", "a duration such as 30s"),
    ("{max_ahead: 10m,", "{max_ahead: 10.0,", "time.max_ahead", "10.0", "a duration such as 30s"),
    ("{max_ahead: 10m,", "{max_ahead: -5m,", "time.max_ahead", "'-5m'", "a duration such as 30s"),
    ("{max_ahead: 10m,", "{max_ahead: 99999d,", "time.max_ahead", "'99999d'", "from 0 to 3650d"),
    ("unit: iso", "unit: isoo", "input.time.unit", "'isoo'", "'iso', 's' or 'ms'; did you mean 'iso'?"),
    ("Europe/Paris", "Europe", "input.time.timezone", "'Europe'", "a time zone"),
    ("Europe/Paris", "Europe/Pari", "input.time.timezone", "'Europe/Pari'", "a time zone"),
    ("[0.5, 7, 30]", "[7, 0.5]", "features.half_lives_days", "a list of 2", "each longer than the one before"),
    ("[0.5, 7, 30]", "[]", "features.half_lives_days", "an empty list", "at least 1"),
    ("{limit: 16}", "{limt: 16}", "features.traits.country", "limt", "{limit: number}"),
    ("{numeric: true}", "{numeric: false}", "features.traits.age.numeric", "false", "True"),
    # keys
    ("session_gap: 45m", "sesion_gap: 45m", "features.sesion_gap", "the unknown key", "did you mean 'session_gap'?"),
    ("name: Most likely", "nam: Most likely", "segments.top.nam", "the unknown key 'nam'", "did you mean 'name'?"),
    ("  orders_7d:\n", "  Orders-7d:\n", "predictions.Orders-7d", "the name 'Orders-7d'", "an id: small letters"),
    ("    kind: event\n", "    name: Again\n", "predictions.orders_7d.name", "the same key twice", "each key once"),
    ("    kind: event\n", "    ~: event\n", "predictions.orders_7d", "a key that is not text", "a name"),
    # input
    ("format: ndjson", "format: cvs", "input.format", "'cvs'", "segment, ndjson or csv; did you mean 'csv'?"),
    ("event: name\n", "event: [name]\n", "input.event", "a list of 1", "a field name or {constant: EVENT NAME}"),
    ("country: user.country, ", "", "features.traits.country", "the trait 'country'", "a trait that input.traits maps"),
    ("price: item.price, ", "", "predictions.orders_7d.goal.any[0].where.price", "'price'", "input.properties"),
    ("items: cart.items, ", "", "remember['Cart Viewed'].properties[0]", "the property 'items'", "input.properties"),
    ("coupon: coupon}", "coupon: c, revenue: r}", "input.properties.revenue", "fills already", "another name"),
    # goals
    ("- {did_not: Order Refunded,", "- {didnt: Order Refunded,", "predictions.orders_7d.goal.any[2]", "didnt", "{did"),
    ("{did_not: Order Completed},", "{did: Order Completed},", "predictions.churn_30d.goal", "did", "only did_not"),
    ("{min: 10, max: 99.5}", "{min: 10, max: 9}", "predictions.orders_7d.goal.any[0].where.price", "min", "not above"),
    ("{exists: false}", "{exist: false}", "predictions.orders_7d.goal.any[1].where.coupon", "exist", "{exists: true}"),
    ("{equals: shoes}", "{equals: [1]}", "predictions.orders_7d.goal.any[2].where.category.equals", "a list", "text,"),
    ("did_not: Order Refunded", "did_not: '*'", "predictions.orders_7d.goal.any[2].did_not", "'*'", "an event name"),
    (
        *("history: [Order Completed, Cart Viewed]", "history: [Order Completed, Cart Viewed, Tideline Message Sent]"),
        *("history[2]", "'Tideline Message Sent'", "what begins with 'Tideline Message' is written by campaigns"),
    ),
    # predictions
    ("window: 30d", "window: 91d", "predictions.churn_30d.window", "'91d'", "whole hours, from 1h to 90d"),
    ("window: 30d", "window: 90m", "predictions.churn_30d.window", "'90m'", "whole hours, from 1h to 90d"),
    ("lookback: 60d", "lookback: 0", "predictions.churn_30d.lookback", "0", "more than 0"),
    ("kind: event", "lookback: 7d", "predictions.orders_7d.lookback", "a lookback on kind event", "kind: churn"),
    ("kind: event", "kind: chrn", "predictions.orders_7d.kind", "'chrn'", "did you mean 'churn'?"),
    ("{medium: 40, high: 80}", "{medium: 80, high: 40}", "predictions.orders_7d.categories", "medium", "medium < high"),
    ("model: logistic", "model: logistik", "predictions.orders_7d.model", "'logistik'", "did you mean 'logistic'?"),
    ("river.tree.Hoeffding", "os.system.Hoeffding", "predictions.churn_30d.model.river", "'os.sys", "class of river"),
    ("{trait: plan, in: [staff, test]}", "{segment: top}", "predictions.orders_7d.audience.all[1].not.segment",
     "a segment in an audience", "traits and events only"),
    # filters
    ("{min: 90}", "{min: 900}", "segments.top.filter.score", "a mapping with min", "from 0 to 100"),
    ("{min: 90}", "{}", "segments.top.filter.score", "an empty mapping", "min, max or both"),
    ("{min: 0.2, max: 0.9}", "{min: 0.2, max: 0.2}", "segments.likely.filter.likelihood", "a mapping", "min below max"),
    ("category: low", "category: lo", "segments.mixed.filter.any[1].category", "'lo'", "did you mean 'low'?"),
    ("equals: FR", "equals: FR, exists: true", "segments.mixed.filter.any[2]", "a mapping", "exactly one of equals"),
    ("within: 36h", "within: 49h", "segments.mixed.filter.any[5].within", "'49h'", "whole days"),
    ("within: 36h", "within: 90m", "segments.mixed.filter.any[5].within", "'90m'", "whole hours"),
    ("{event: Cart Viewed, count: {min: 1}, within", "{event: Cart Vewed, count: {min: 1}, within",
     "segments.mixed.filter.any[6].event", "not listed under history", "did you mean 'Cart Viewed'?"),
    ("{min: 12h, max: 2w}", "{min: 2w, max: 12h}", "segments.mixed.filter.any[7].since", "a mapping", "not above max"),
    ("- {segment: top}", "- {segmnt: top}", "segments.mixed.filter.any[8]", "segmnt", "did you mean 'segment'?"),
    ("- {segment: top}", "- {segment: to}", "segments.mixed.filter.any[8].segment", "unknown segment 'to'", "'top'?"),
    ("- {segment: top}", "- {segment: mixed}", "segments.mixed.filter.any[8].segment", "mixed -> mixed", "lead back"),
    ("churn_30d.high", "churn_30d.hig", "segments.mixed.filter.any[9].not.segment", "_30d.hig'", "PREDICTION.low"),
    ("churn_30d.high", "returns_2w.high", "segments.mixed.filter.any[9].not.segment", "access preview",
     "preview and demo cannot be used for targeting; set access: live"),
    ("{prediction: orders_7d, likelihood", "{prediction: orders_8d, likelihood", "segments.likely.filter.prediction",
     "unknown prediction 'orders_8d'", "did you mean 'orders_7d'?"),
    # limits between parts
    ("event_names: 32", "event_names: 10", "features.events", "3 named events and room for 8 more", "at most 10"),
    ("trait_values: 16", "trait_values: 15", "features.traits.country", "16 values of 'country'", "at most 15"),
]  # fmt: skip
# Problems between two parts, reported at the part that was not changed here.
ELSEWHERE = {
    "features.events",
    "features.traits.country",
    "predictions.orders_7d.goal.any[0].where.price",
    "remember['Cart Viewed'].properties[0]",
}


@pytest.mark.parametrize(("old", "new", "path", "found", "expected"), CASES)
def test_one_mistake_is_one_problem_with_its_place(old: str, new: str, path: str, found: str, expected: str) -> None:
    assert FULL.count(old) == 1, old
    text = FULL.replace(old, new)
    named = [problem for problem in problems(text) if problem.path == path]
    assert len(named) == 1, problems(text)
    assert found in named[0].found
    assert expected in named[0].expected
    if path not in ELSEWHERE:
        pairs = zip(FULL.splitlines(), text.splitlines(), strict=True)
        assert named[0].line == next(number for number, (a, b) in enumerate(pairs, 1) if a != b)


def test_lines_are_those_of_the_mistakes() -> None:
    text = FULL.replace("min_dwell: 30m", "min_dwell: soon").replace("category: low", "category: lo")
    text = text.replace("version: 1", "version: one").replace("- {segment: top}", "- {segmnt: top}")
    assert [problem.line for problem in problems(text)] == [
        line_with(text, "version: one"),
        line_with(text, "min_dwell: soon"),
        line_with(text, "category: lo"),
        line_with(text, "segmnt"),
    ]


def test_a_problem_between_parts_points_at_its_line() -> None:
    text = FULL.replace("- {segment: top}", "- {segment: bottom}")
    assert [problem.line for problem in problems(text)] == [line_with(text, "bottom")]


def test_a_missing_key_is_named_where_the_mapping_begins() -> None:
    text = FULL.replace("    window: 30d\n", "")
    assert problems(text) == (
        Problem(line_with(text, "  churn_30d:"), "predictions.churn_30d.window", "nothing", "the key 'window'"),
    )


def test_the_message_holds_source_line_path_found_and_expected() -> None:
    with pytest.raises(CatalogError) as caught:
        loads(FULL.replace("window: 30d", "window: 91d"), "shop.yaml")
    line = line_with(FULL, "window: 30d")
    assert str(caught.value) == (
        "shop.yaml: 1 problem\n"
        f"  line {line}, predictions.churn_30d.window: found '91d'; expected whole hours, from 1h to 90d"
    )
    assert isinstance(caught.value, TidelineError)
    assert caught.value.exit_code == 2


def test_a_mapping_without_a_format_is_explained() -> None:
    text = FULL.replace("  format: ndjson\n", "")
    assert all(p.expected.startswith("format: csv or format: ndjson") for p in problems(text))


def test_every_event_must_be_the_constant_one() -> None:
    text = FULL.replace("event: name\n", "event: {constant: Order Completed}\n")
    found = problems(text)
    assert {p.path for p in found} >= {"history[1]", "predictions.returns_2w.goal.did", "remember['Cart Viewed']"}
    assert all("by input.event every row is that event" in p.expected for p in found)


RANGED = """
version: 1
name: x
predictions:
  orders: {{name: Orders, goal: {{did: Order}}, window: 7d, hysteresis: {hysteresis}}}
segments:
  not: {{name: A segment may be called so, filter: {tree}}}
"""


@pytest.mark.parametrize(
    ("hysteresis", "score", "nots", "expected"),
    [
        (5, "{min: 5}", 0, "more than 5 (or no min), or it could never be left downwards"),
        (5, "{min: 5.5}", 0, None),
        (5, "{min: 0, max: 95}", 2, "less than 95 (or no max), or it could never be left upwards"),
        (5, "{max: 94.5}", 0, None),
        (5, "{min: 3, max: 60}", 0, "could never be left downwards"),
        (5, "{min: 0, max: 100}", 0, None),
        (0, "{min: 0.1, max: 99.9}", 0, None),
        (5, "{min: 5}", 1, None),
        (5, "{min: 40, max: 50}", 1, "could never be left (45 to 45)"),
        (5, "{min: 40, max: 50.5}", 3, None),
        (5, "{min: 96}", 1, "could never be left (101 to 100)"),
        (5, "{max: 4}", 1, "could never be left (0 to -1)"),
        (5, "{max: 6}", 1, None),
    ],
)
def test_a_range_that_can_never_be_left_is_refused(
    hysteresis: float, score: str, nots: int, expected: str | None
) -> None:
    tree = f"{{prediction: orders, score: {score}}}"
    for _ in range(nots):
        tree = f"{{not: {tree}}}"
    text = RANGED.format(hysteresis=hysteresis, tree=f"{{any: [{tree}]}}")
    if expected is None:
        loads(text)
        return
    (found,) = problems(text)
    assert found.path.startswith("segments.not.filter.any[0]")
    assert ".score" in found.path
    assert expected in found.expected


def test_longer_cycles_are_found_once() -> None:
    text = FULL.replace("filter: {prediction: orders_7d, score: {min: 90}}", "filter: {not: {segment: likely}}")
    text = text.replace("filter: {prediction: orders_7d, likelihood: {min: 0.2, max: 0.9}}", "filter: {segment: mixed}")
    cycles = [p for p in problems(text) if "lead back" in p.expected]
    assert [p.found for p in cycles] == ["top -> likely -> mixed -> top"]
    assert cycles[0].line == line_with(text, "not: {segment: likely}")


def test_too_many_atoms_over_all_goals() -> None:
    atoms = ", ".join(["{did: A}"] * 40)
    predictions = "".join(f"  p{i}: {{name: P, goal: {{any: [{atoms}]}}, window: 7d}}\n" for i in range(2))
    found = problems(f"version: 1\nname: x\npredictions:\n{predictions}")
    assert [(p.line, p.path, p.expected) for p in found] == [(3, "predictions", "at most 64")]


def test_parts_of_one_filter_are_bounded() -> None:
    head = "version: 1\nname: x\npredictions: {p: {name: P, goal: {did: A}, window: 7d}}\nsegments:\n"
    row = "{any: [" + ", ".join(["{trait: a, exists: true}"] * 60) + "]}"
    loads(head + f"  s: {{name: S, filter: {{all: [{row}, {row}]}}}}\n")
    found = problems(head + f"  s: {{name: S, filter: {{all: [{row}, {row}, {row}]}}}}\n")
    assert [(p.line, p.path, p.found) for p in found] == [
        (5, "segments.s.filter", "a filter of 184 parts (for churn with the lookback)")
    ]


def test_number_of_predictions_is_bounded() -> None:
    one = "{name: P, goal: {did: A}, window: 7d}"
    head = "version: 1\nname: x\npredictions:\n"
    loads(head + "".join(f"  p{i}: {one}\n" for i in range(32)))
    assert "at most 32" in problems(head + "".join(f"  p{i}: {one}\n" for i in range(33)))[0].expected
    assert "at least 1" in problems("version: 1\nname: x\npredictions: {}\n")[0].expected


def bomb() -> str:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("", 1, "an empty file"),
        ("# only a comment\n", 1, "an empty file"),
        ("version: 1\nname: [x\n", 3, "flow sequence"),
        ("version: 1\n\tname: x\n", 2, "cannot start any token"),
        ("version: 1\n--- \nversion: 1\n", 2, "another document"),
        (bomb(), 1, "the anchor or alias 'a0'"),
        ("version: 1\nname: *x\n", 2, "the anchor or alias 'x'"),
        ("version: !!python/object/apply:os.system [x]\n", 1, "the tag tag:yaml.org,2002:python/object"),
        ("a: " + "[" * 5_000, 1, "more than 48 levels"),
        ("a:\n" + "".join("  " * i + "- a:\n" for i in range(1, 60)), 25, "more than 48 levels"),
        ("? [a]\n: 1\n", 1, "a key that is not text"),
        ("version: 1\nname: x\n~did: 1\n", 3, "the key '~did'"),
        ("just text", 1, "'just text'"),
        ("- a\n- b\n", 1, "a list of 2"),
        ("version: 1\nname: \x00", None, "unacceptable character"),
        ("%YAML 9.0\n---\na: 1", 1, "incompatible YAML"),
    ],
)
def test_a_text_that_is_no_plain_yaml(text: str, line: int | None, found: str) -> None:
    first = problems(text)[0]
    assert first.line == line
    assert found in first.found


def test_size_is_bounded() -> None:
    assert problems("#" * (MAX_BYTES + 1))[0].expected == f"at most {MAX_BYTES} bytes"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no such file"):
        load_catalog(tmp_path / "missing.yaml")
    with pytest.raises(CatalogError, match="cannot be read"):
        load_catalog(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("version: 1\nname: café\n".encode("latin-1"))
    with pytest.raises(CatalogError, match=r"line 2: found byte 0xe9, which is not UTF-8"):
        load_catalog(latin)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 10))
    with pytest.raises(CatalogError, match="at most"):
        load_catalog(large)


# --- mutations: whatever is put anywhere, the answer is a catalog or problems in words --------------------------------

DATA: dict[str, Any] = yaml.safe_load(FULL)
SCHEMA = Draft202012Validator(json_schema())
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 200),
    st.floats(allow_nan=True),
    st.text(max_size=5),
    st.sampled_from(["7d", "high", "Order Completed", "orders_7d", "top", "*"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(
        st.sampled_from(["any", "did", "min", "name", "x", "score", "limit"]), st.integers(0, 3), max_size=2
    ),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


PLACES = list(places(DATA))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(["replace", "remove", "add"]), JUNK), max_size=3))
def test_any_mutation_loads_or_is_explained(changes: list[tuple[tuple[Any, ...], str, Any]]) -> None:
    data = copy.deepcopy(DATA)
    for path, action, junk in changes:
        change(data, path, action, junk)
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    try:
        loads(text)
    except CatalogError as error:
        for problem in error.problems:
            assert problem.line is not None
            assert problem.found
            assert problem.expected
            for word in ("Input should", "should be", "Value error", "valid tuple", "~"):
                assert word not in problem.expected, problem
    else:
        # What the loader takes, an editor with the schema must not mark as wrong.
        assert [error.json_path for error in SCHEMA.iter_errors(data)] == []


def change(data: Any, path: tuple[Any, ...], action: str, junk: Any) -> None:
    """Replace, remove or add something at a path that earlier changes may have taken away."""
    for part in path[:-1]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(data, dict) and path[-1] in data:
        if action == "remove":
            del data[path[-1]]
        else:
            data[path[-1] if action == "replace" else "extra"] = junk
    elif isinstance(data, list) and isinstance(path[-1], int) and path[-1] < len(data):
        if action == "remove":
            del data[path[-1]]
        elif action == "replace":
            data[path[-1]] = junk
        else:
            data.append(junk)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:{}[]-?!&*#|>'\"%@, \n\t~1.é", max_size=60))
def test_any_text_is_a_catalog_error(text: str) -> None:
    with pytest.raises(CatalogError):
        loads(text)


@pytest.mark.parametrize("pair", ["delimiter: ',', decimal: ','", "decimal: ','", "delimiter: '.'"])
def test_a_delimiter_that_stands_inside_numbers_is_refused(pair: str) -> None:
    text = (
        "version: 1\nname: A\n"
        f"input: {{format: csv, user: u, event: {{constant: X}}, time: t, {pair}}}\n"
        "predictions: {p: {name: P, goal: {did: X}, window: 7d}}\n"
    )
    with pytest.raises(CatalogError) as caught:
        loads(text)
    (problem,) = caught.value.problems
    assert (problem.line, problem.path) == (3, "input")
    assert "a delimiter other than" in problem.expected
    assert "did you mean" not in problem.expected  # it once sent people to another setting


ONE_TYPO = """version: 1
name: x
input: {format: csv, user: u, event: e, time: {field: t}}
predictions:
  a: {name: A, goal: {did: Order}, window: 7d}
segments:
  s: {name: S, filter: {prediction: a, score: {min: 50}}}
"""


@pytest.mark.parametrize(
    ("right", "typo", "line", "path", "meant"),
    [
        ("version:", "versoin:", 1, "versoin", "did you mean 'version'?"),
        ("user: u", "usr: u", 3, "input.usr", "did you mean 'user'?"),
        ("field: t", "feild: t", 3, "input.time.feild", "did you mean 'field'?"),
        ("format: csv", "fromat: csv", 3, "input.fromat", "did you mean 'format'?"),
        ("format: csv", "format: CSV", 3, "input.format", "did you mean 'csv'?"),
        ("format: csv, ", "", 3, "input.user", "format: csv or format: ndjson beside it"),
        ("predictions:", "prediction:", 4, "prediction", "did you mean 'predictions'?"),
        ("window: 7d", "Window: 7d", 5, "predictions.a.Window", "did you mean 'window'?"),
        ("name: A", "title: A", 5, "predictions.a.title", "'name' is missing"),
        ("filter:", "filtre:", 7, "segments.s.filtre", "did you mean 'filter'?"),
    ],
)
def test_one_typo_is_one_problem(right: str, typo: str, line: int, path: str, meant: str) -> None:
    (problem,) = problems(ONE_TYPO.replace(right, typo, 1))
    assert (problem.line, problem.path) == (line, path)
    assert meant in problem.expected


def test_two_typos_and_a_key_that_was_forgotten_are_three_problems() -> None:
    wrong = ONE_TYPO.replace("name: A, goal:", "gaol:").replace("window", "widnow")
    assert [problem.path for problem in problems(wrong)] == [
        "predictions.a.name",
        "predictions.a.gaol",
        "predictions.a.widnow",
    ]
