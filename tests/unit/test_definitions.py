"""Definitions beside the catalog file: how they are read, merged with the file's, and written again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalog import Catalog
from config.definitions import NO_DEFINITIONS, Definitions, Kind, read_prediction, read_segment, with_definitions
from config.errors import CatalogError
from config.loader import load_catalog, loads
from config.written import to_yaml, written
from config.yaml_text import MAX_DEPTH, build, compose, dump
from streams.runtime.replay import catalog_digest
from tests.conftest import ROOT
from tests.property.strategies import catalogs

FILE = """
version: 1
name: Shop
history: [Cart]
predictions:
  orders: {name: Orders, goal: {did: Order}, window: 7d}
segments:
  top: {name: Top, filter: {prediction: orders, score: {min: 90}}}
"""
RETURNS = {"name": "Returns", "goal": {"did": "Return"}, "window": "30d"}


@pytest.fixture
def catalog() -> Catalog:
    return loads(FILE)


def made(
    predictions: dict[str, Any] | None = None,
    segments: dict[str, Any] | None = None,
    changed: dict[tuple[Kind, str], int] | None = None,
) -> Definitions:
    return Definitions(
        1,
        {id_: read_prediction(id_, data) for id_, data in (predictions or {}).items()},
        {id_: read_segment(id_, data) for id_, data in (segments or {}).items()},
        changed or {},
    )


def problems(error: pytest.ExceptionInfo[CatalogError]) -> list[str]:
    return [str(problem) for problem in error.value.problems]


def test_without_definitions_it_is_the_same_catalog(catalog: Catalog) -> None:
    assert with_definitions(catalog, NO_DEFINITIONS) is catalog


def test_what_was_made_stands_behind_the_file(catalog: Catalog) -> None:
    segment = {"name": "Will return", "filter": {"all": [{"segment": "top"}, {"segment": "returns.high"}]}}
    found = with_definitions(catalog, made({"returns": RETURNS}, {"both": segment}))
    assert list(found.predictions) == ["orders", "returns"]
    assert list(found.segments) == ["top", "both"]
    assert found.predictions["returns"].window_s == 30 * 86_400.0
    assert (found.history, found.origin) == (catalog.history, catalog.origin)
    assert list(catalog.predictions) == ["orders"]


def test_of_two_with_one_id_the_files_stays(catalog: Catalog) -> None:
    other = {"name": "Mine", "goal": {"did": "Return"}, "window": "1d"}
    found = with_definitions(catalog, made({"orders": other, "returns": RETURNS}))
    assert found.predictions["orders"] == catalog.predictions["orders"]
    assert with_definitions(catalog, made({"orders": other})) is catalog


@pytest.mark.parametrize(
    ("filter_", "words"),
    [
        ({"prediction": "ordrs", "score": {"min": 50}}, "unknown prediction 'ordrs'"),
        ({"segment": "mine"}, "mine -> mine"),
        ({"prediction": "orders", "score": {"min": 3}}, "could never be left"),
        ({"event": "Order", "count": {"min": 1}, "within": "1d"}, "under history"),
        ({"prediction": "seen", "category": "high"}, "with access preview"),
        ({"prediction": "gone", "category": "high"}, "which is archived"),
        ({"segment": "gone.low"}, "which is archived"),
        ({"not": {"segment": "old"}}, "segment 'old', which is archived"),
    ],
)
def test_what_the_file_would_be_refused_for_is_refused(catalog: Catalog, filter_: Any, words: str) -> None:
    others = {"seen": RETURNS | {"access": "preview"}, "gone": RETURNS | {"archived": True}}
    old = {"name": "Old", "filter": {"segment": "top"}, "archived": True}
    with pytest.raises(CatalogError) as error:
        with_definitions(catalog, made(others, {"old": old, "mine": {"name": "Mine", "filter": filter_}}))
    assert len(problems(error)) == 1
    assert words in problems(error)[0]
    assert problems(error)[0].startswith("segments.mine.filter")


def test_what_is_archived_may_rest_on_what_is_archived_or_taken_back(catalog: Catalog) -> None:
    others = {"seen": RETURNS | {"access": "preview"}, "gone": RETURNS | {"archived": True}}
    filters = [{"prediction": "seen", "category": "high"}, {"segment": "gone.low"}]
    segment = {"name": "Old", "filter": {"all": filters}, "archived": True}
    assert with_definitions(catalog, made(others, {"old": segment})).segments["old"].archived


def test_bounds_count_both(catalog: Catalog) -> None:
    many = {f"p{n}": RETURNS for n in range(32)}
    with pytest.raises(CatalogError) as error:
        with_definitions(catalog, made(many))
    assert problems(error) == [
        "predictions: found 33 predictions with those of the file; expected at most 32 that are not archived"
    ]
    with_definitions(catalog, made({f"p{n}": RETURNS for n in range(31)}))


def gone(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"archived": True}


def test_archived_ones_keep_their_columns_as_long_as_there_is_room(catalog: Catalog) -> None:
    old = {f"old{n}": gone(RETURNS) for n in range(40)}
    changed: dict[tuple[Kind, str], int] = {("prediction", f"old{n}"): 100 - n for n in range(40)}
    found = with_definitions(catalog, made({**old, "new": RETURNS}, changed=changed))
    # Room for 30 beside the file's and the new one: those that were archived last, and those are the first ones here.
    assert list(found.predictions) == ["orders", *(f"old{n}" for n in range(30)), "new"]
    full = with_definitions(catalog, made({**old, **{f"p{n}": RETURNS for n in range(31)}}, changed=changed))
    assert list(full.predictions) == ["orders", *(f"p{n}" for n in range(31))]


def test_what_gives_its_columns_up_takes_archived_segments_with_it_that_refer_to_it(catalog: Catalog) -> None:
    high = gone({"name": "High", "filter": {"prediction": "old", "category": "high"}})
    above = gone({"name": "Above", "filter": {"all": [{"segment": "high"}, {"segment": "top"}]}})
    other = gone({"name": "Other", "filter": {"segment": "top"}})
    predictions = {"old": gone(RETURNS), **{f"p{n}": RETURNS for n in range(31)}}
    found = with_definitions(catalog, made(predictions, {"high": high, "above": above, "other": other}))
    assert "old" not in found.predictions
    assert list(found.segments) == ["top", "other"]


def test_archived_ones_make_room_for_names_and_parts_of_goals(catalog: Catalog) -> None:
    names = {f"n{n}": {"name": "N", "filter": {"event": f"E{n}", "count": {"min": 1}}} for n in range(54)}
    wanted = {"name": "New", "filter": {"event": "Another", "count": {"min": 1}}}
    with pytest.raises(CatalogError, match="57 named events and room for 8"):
        with_definitions(catalog, made(segments={**names, "new": wanted}))
    found = with_definitions(catalog, made(segments={**names, "n5": gone(names["n5"]), "new": wanted}))
    assert len(found.segments) == 55
    assert "n5" not in found.segments
    goal = {"any": [{"did": "Return", "where": {"why": f"w{n}"}} for n in range(16)]}
    many = {f"p{n}": RETURNS | {"goal": goal} for n in range(4)}
    with pytest.raises(CatalogError, match="65 did and did_not"):
        with_definitions(catalog, made(many))
    assert list(with_definitions(catalog, made(many | {"p0": gone(many["p0"])})).predictions)[:2] == ["orders", "p1"]


def test_what_is_kept_at_all_is_bounded(catalog: Catalog) -> None:
    many = {f"s{n}": gone({"name": "S", "filter": {"segment": "top"}}) for n in range(1_000)}
    with pytest.raises(CatalogError) as error:
        with_definitions(catalog, made(segments=many))
    (words,) = problems(error)
    assert words.startswith("segments: found 1001 segments, archived ones among them; expected at most 1,000: restore")
    del many["s0"]
    assert len(with_definitions(catalog, made(segments=many)).segments) == 256


@pytest.mark.parametrize(
    ("id_", "data", "words"),
    [
        ("Returns", RETURNS, "predictions: found the id 'Returns'; expected an id"),
        ("returns", RETURNS | {"window": "91d"}, "predictions.returns.window: found '91d'; expected whole hours"),
        ("returns", RETURNS | {"window": 7}, "predictions.returns.window: found 7; expected a duration"),
        ("returns", RETURNS | {"windw": "1d"}, "found the unknown key 'windw'"),
        ("returns", {"name": "x", "window": "1d"}, "predictions.returns.goal: found nothing; expected the key 'goal'"),
        ("returns", RETURNS | {"goal": {"did": "a", "where": {"x": 10**18}}}, "more than 18 digits"),
        ("returns", RETURNS | {"goal": {"did": "a", "where": {"~x": 1}}}, "a key that begins without ~"),
        ("returns", [], "expected a mapping"),
        ("returns", None, "expected a mapping"),
        ("returns", "text", "expected a mapping"),
    ],
)
def test_a_definition_that_is_not_right_is_told_as_in_a_file(id_: str, data: Any, words: str) -> None:
    with pytest.raises(CatalogError) as error:
        read_prediction(id_, data)
    assert words in problems(error)[0]
    assert error.value.problems[0].line is None


def test_a_definition_has_as_many_levels_as_a_file_may_have() -> None:
    nested: Any = {"segment": "top"}
    for _ in range(MAX_DEPTH):
        nested = {"not": nested}
    with pytest.raises(CatalogError) as error:
        read_segment("deep", {"name": "Deep", "filter": nested})
    assert problems(error) == [
        f"segments.deep: found more than {MAX_DEPTH} levels inside each other; expected a flatter definition"
    ]


def test_a_catalog_that_archives_nothing_is_known_by_the_digest_of_before(catalog: Catalog) -> None:
    assert "archived" not in catalog.model_dump_json(by_alias=True)
    archived = loads(
        FILE.replace("window: 7d}", "window: 7d, archived: true}").replace("{min: 90}}", "{min: 90}}, archived: true")
    )
    assert archived.predictions["orders"].archived
    assert archived.segments["top"].archived
    assert catalog_digest(archived) != catalog_digest(catalog)
    assert Catalog.model_validate_json(archived.model_dump_json(by_alias=True)) == archived


# --- written again ---------------------------------------------------------------------------------------------------


@given(catalogs())
def test_a_catalog_is_read_as_it_was_written(catalog: Catalog) -> None:
    assert loads(to_yaml(catalog)) == catalog
    for id_, prediction in catalog.predictions.items():
        assert read_prediction(id_, written(prediction)) == prediction
    for id_, segment in catalog.segments.items():
        assert read_segment(id_, written(segment)) == segment


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*/catalog*.yaml")), ids=lambda path: path.parent.name)
def test_examples_are_read_as_they_were_written(path: Any) -> None:
    catalog = load_catalog(path)
    assert loads(to_yaml(catalog)) == catalog
    assert catalog_digest(loads(to_yaml(catalog))) == catalog_digest(catalog)


def test_it_is_written_as_a_person_would(catalog: Catalog) -> None:
    assert written(catalog.predictions["orders"]) == {"name": "Orders", "goal": {"did": "Order"}, "window": "7d"}
    where = {"did": "Order", "where": {"kind": "shoes", "total": {"min": 200}}}
    found = written(read_prediction("p", RETURNS | {"goal": where, "hysteresis": 3}))
    assert found == RETURNS | {"goal": where, "hysteresis": 3.0}


scalars = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(
        ["1e3", "yes", "0x1f", "~", "", "null", "1_000", "2024-01-01", "=", "<<", "012", ".5", "1:30", "\x85"]
    ),
    st.integers(-(10**17), 10**17),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])).filter(lambda k: not k.startswith("~")), scalars, min_size=1
    )
)
def test_any_text_and_number_is_read_as_it_was_written(data: dict[str, Any]) -> None:
    found, wrong = build(compose(dump(data), "a test"))
    assert (found, wrong) == (data, [])
    assert [type(value) for value in found.values()] == [type(value) for value in data.values()]


@given(st.lists(st.text(alphabet=" ab\n#:-'\"|>&*{%}\t\u00a0\u202f")), st.text(alphabet=" a\n:", min_size=1))
def test_text_of_several_lines_is_read_as_it_was_written(texts: list[str], key: str) -> None:
    data = {"texts": texts, "steps": {key: [{"body": text} for text in texts]}}
    assert build(compose(dump(data), "a test")) == (data, [])


def test_text_of_several_lines_stands_line_by_line() -> None:
    """So people change it."""
    assert (
        dump({"body": "Hello,\nyou: {{ user.id }}\n\n# yes"}) == "body: |-\n  Hello,\n  you: {{ user.id }}\n\n  # yes\n"
    )
    assert dump({"body": " Hello,\nyou"}) == 'body: " Hello,\\nyou"\n'
    french = "Bonjour\u00a0!\nTout va bien\u202f?"
    assert dump({"body": french}) == "body: |-\n  Bonjour\u00a0!\n  Tout va bien\u202f?\n"
    assert build(compose(dump({"body": french, "title": "Vu\u202f!"}), "a test"))[0]["body"] == french
