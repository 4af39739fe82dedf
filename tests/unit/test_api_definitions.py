"""Predictions and segments made over HTTP: on a catalog file that is told, and definitions in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from config.catalog import Catalog
from config.loader import loads
from streams.adapters.definition_store import DefinitionsChanged, Kept, Past, Step
from streams.adapters.memory_definitions import MemoryDefinitions
from streams.adapters.redis_reader import RedisReader
from streams.api import definitions
from streams.api.keys import Role, id_of
from streams.api.stored import NothingYet, StoreReads
from tests.unit.api_world import NOW_S, ApiWorld

FILE = """
version: 1
name: Shop
history: [Cart]
predictions:
  orders: {name: Orders, goal: {did: Order}, window: 7d}
  seen: {name: Only looked at, goal: {did: Cart}, window: 7d, access: preview}
segments:
  top: {name: Top, filter: {prediction: orders, score: {min: 90}}}
"""
RETURNS = {"name": "Returns", "goal": {"did": "Return"}, "window": "30d"}
LOYAL = {"name": "Loyal", "filter": {"prediction": "returns", "category": "low"}}


class EmptyStore(StoreReads):
    """A store in which no worker has committed anything."""

    @contextmanager
    def reader(self) -> Iterator[RedisReader]:
        yield from self._nothing()

    def _nothing(self) -> Iterator[RedisReader]:
        raise NothingYet


class World(ApiWorld):
    """An API beside workers with the catalog file above, which have stored nothing yet."""

    def __init__(self) -> None:
        super().__init__(reads=EmptyStore)
        self.definitions.tell_file(loads(FILE))

    def call(self, method: str, path: str, json: Any = None, role: Role = Role.WRITE, **headers: str) -> httpx.Response:
        given = self.headers(role) | {name.replace("_", "-"): value for name, value in headers.items()}
        body = {} if json is None else {"json": json}
        return self.ask(method, path, headers=given, **body)

    def good(self, method: str, path: str, json: Any = None, **headers: str) -> Any:
        answer = self.call(method, path, json, Role.WRITE, **headers)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def make(self, kind: str, id_: str, definition: dict[str, Any]) -> Any:
        return self.good("POST", f"/v1/{kind}s", {"id": id_, **definition})


@pytest.fixture
def world() -> World:
    return World()


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:tideline:problem:")


def test_a_prediction_is_made_read_and_known_to_workers(world: World) -> None:
    answer = world.call("POST", "/v1/predictions", {"id": "returns", **RETURNS})
    assert answer.status_code == 201
    assert (answer.headers["location"], answer.headers["etag"]) == ("/v1/predictions/returns/definition", '"1"')
    found = answer.json()
    assert (found["kind"], found["source"], found["access"]) == ("prediction", "api", "live")
    assert (found["status"], found["version"], found["definition"]) == ("no events yet", 1, RETURNS)
    assert found["created_at"] == "2026-05-28T20:26:40Z"
    read = world.call("GET", "/v1/predictions/returns/definition", role=Role.READ)
    assert read.headers["etag"] == '"1"'
    of_change = ("archived_too", "restored_too", "campaigns_paused")
    assert read.json() == {key: value for key, value in found.items() if key not in of_change}
    assert list(world.definitions.read().predictions) == ["returns"]


def test_before_the_first_event_predictions_say_so(world: World) -> None:
    """They were answered with 503, and blamed on a store of another version."""
    world.make("prediction", "returns", RETURNS)
    listed = world.good("GET", "/v1/predictions")["items"]
    assert [(each["id"], each["status"]) for each in listed] == [
        ("orders", "no events yet"), ("seen", "no events yet"), ("returns", "no events yet"),
    ]  # fmt: skip
    assert world.good("GET", "/v1/predictions/returns").items() >= listed[2].items()
    assert problem(world.call("GET", "/v1/predictions/no")) == (404, "not-found")
    answer = world.call("GET", "/v1/predictions/returns/distribution")
    assert (*problem(answer), "another version" in answer.text) == (503, "unavailable", False)


def test_a_segment_is_there_from_its_answer_on_and_says_where_it_stands(world: World) -> None:
    def found() -> list[tuple[str, str, int]]:
        listed = {each["id"]: each for each in world.good("GET", "/v1/segments")["items"]}
        assert all(world.good("GET", f"/v1/segments/{id_}") == each for id_, each in listed.items())
        return [(id_, each["status"], each["members"]) for id_, each in listed.items()]

    world.make("prediction", "returns", RETURNS)
    world.make("segment", "loyal", LOYAL)
    assert found() == [("top", "new", 0), ("loyal", "new", 0)]
    assert world.good("GET", "/v1/segments/loyal")["predictions"] == ["returns"]
    world.good("POST", "/v1/predictions/returns/access", {"access": "demo"})
    assert world.good("GET", "/v1/segments/loyal")["status"] == "paused"
    world.good("POST", "/v1/segments/loyal/archive")
    assert world.good("GET", "/v1/segments/loyal")["status"] == "archived"
    assert problem(world.call("GET", "/v1/segments/no")) == (404, "not-found")


def test_progress_of_learning_from_history_is_told(world: World) -> None:
    world.make("prediction", "returns", RETURNS)
    path = "/v1/predictions/returns/definition"
    assert world.good("GET", path)["learning"] is None
    world.definitions.learning = Past("reading", ["returns"], 0, 0, 1.0)
    assert world.good("GET", path)["learning"] is None, "nobody knows yet of how many"
    world.definitions.learning = Past("failed", ["returns"], 0, 0, 1.0)
    assert world.good("GET", path)["learning"] is None, "an attempt before the latest change"
    world.definitions.learning = Past("reading", ["returns"], 70, 90, 1.0)
    found = world.good("GET", path)
    assert (found["status"], found["learning"]) == (
        "learning from history",
        {"phase": "reading", "records": 70, "of": 90},
    )
    assert world.good("GET", "/v1/predictions/orders/definition")["learning"] is None
    world.definitions.learning = Past("done", ["returns"], 90, 90, 2.0)
    assert world.good("GET", path)["learning"] is None


def test_what_the_file_defines_is_shown_and_cannot_be_changed(world: World) -> None:
    answer = world.call("GET", "/v1/segments/top/definition", role=Role.READ)
    assert answer.json()["source"] == "file"
    assert answer.json()["definition"]["filter"] == {"prediction": "orders", "score": {"min": 90}}
    etag = answer.headers["etag"]
    for method, path, body in (
        ("PUT", "/v1/segments/top", {"name": "x", "filter": {"segment": "orders.high"}}),
        ("POST", "/v1/segments/top/archive", None),
        ("POST", "/v1/segments/top/restore", None),
        ("POST", "/v1/predictions/seen/access", {"access": "live"}),
    ):
        answer = world.call(method, path, body, If_Match=etag)
        assert problem(answer) == (409, "read-only")
        assert "catalog file" in answer.json()["detail"]
    assert problem(world.call("POST", "/v1/segments", {"id": "top", **LOYAL})) == (409, "already-exists")
    assert world.definitions.revision() == 0


def test_an_edit_needs_the_version_that_it_changes(world: World) -> None:
    world.make("prediction", "returns", RETURNS)
    after = RETURNS | {"window": "14d"}
    assert problem(world.call("PUT", "/v1/predictions/returns", after)) == (428, "precondition-required")
    answer = world.call("PUT", "/v1/predictions/returns", after, If_Match='"7"')
    assert problem(answer) == (412, "precondition-failed")
    assert answer.headers["etag"] == '"1"'
    answer = world.call("PUT", "/v1/predictions/returns", after, If_Match='"9", "1"')
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    assert answer.json()["definition"]["window"] == "14d"
    assert problem(world.call("PUT", "/v1/predictions/returns", after, If_Match='"1"')) == (412, "precondition-failed")
    assert world.call("PUT", "/v1/predictions/returns", after, If_Match='"2"').headers["etag"] == '"2"'
    assert world.definitions.revision() == 2
    assert world.call("PUT", "/v1/predictions/returns", RETURNS, If_Match="*").headers["etag"] == '"3"'


@pytest.mark.parametrize(
    ("kind", "definition", "path", "words"),
    [
        ("prediction", RETURNS | {"window": "91d"}, "predictions.new.window", "whole hours, from 1h to 90d"),
        ("prediction", RETURNS | {"goals": {}}, "predictions.new.goals", "one of name"),
        ("prediction", {"name": "x", "window": "1d"}, "predictions.new.goal", "the key 'goal'"),
        ("prediction", RETURNS | {"hysteresis": 30}, "predictions.new.hysteresis", "less than 25"),
        ("segment", {"name": "x", "filter": {"prediction": "nope", "category": "high"}}, None, "one of orders, seen"),
        ("segment", {"name": "x", "filter": {"segment": "new"}}, "segments.new.filter.segment", "lead back"),
        ("segment", {"name": "x", "filter": {"prediction": "orders", "score": {"min": 2}}}, None, "never be left"),
        ("segment", {"name": "x"}, "segments.new.filter", "the key 'filter'"),
        ("segment", {"name": "x", "selection": {"prediction": "orders"}}, "segments.new.selection", "category"),
        ("segment", {"name": "x", "selection": {"prediction": "orders", "mn": 1}}, "segments.new.selection", "one of"),
        ("segment", {"name": "x", "selection": []}, "segments.new.selection", "an object"),
        ("segment", {"name": "x", "selection": {"min": 50}}, None, "the key 'prediction'"),
    ],
)
def test_a_definition_that_is_not_right_is_told_as_check_tells(
    world: World, kind: str, definition: dict[str, Any], path: str | None, words: str
) -> None:
    answer = world.call("POST", f"/v1/{kind}s", {"id": "new", **definition})
    assert problem(answer) == (422, "invalid-definition")
    (told,) = answer.json()["problems"]
    assert words in told["expected"]
    assert path in (None, told["path"])
    assert world.definitions.revision() == 0


@pytest.mark.parametrize("data", [[], "x", 1, {}, {"id": 7}, {"id": "Big"}, {"id": None}, {"id": "a" * 64}])
def test_without_an_id_nothing_is_made(world: World, data: Any) -> None:
    answer = world.ask("POST", "/v1/predictions", json=data, headers=world.headers(Role.WRITE))
    assert problem(answer) == (422, "invalid-definition")


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 400), (b"{", 400), (b"[" * 10_000, 400), (b'"\xff"', 400), (b"{}" * 300_000, 413)]
)
def test_bodies_have_to_be_json_of_some_size(world: World, body: bytes, status: int) -> None:
    headers = world.headers(Role.WRITE) | {"Content-Type": "application/json"}
    for method, path in (("POST", "/v1/segments"), ("PUT", "/v1/segments/x"), ("PUT", "/v1/definitions")):
        assert world.ask(method, path, content=body, headers=headers).status_code == status


@pytest.mark.parametrize("id_", ["nope", "x.high", "%00", "é"])
@pytest.mark.parametrize("kind", ["prediction", "segment"])
def test_what_is_not_there_cannot_be_changed(world: World, kind: str, id_: str) -> None:
    path = f"/v1/{kind}s/{id_}"
    answers = [world.call("GET", f"{path}/definition"), world.call("PUT", path, RETURNS, If_Match="*")]
    answers += [world.call("POST", f"{path}/{verb}") for verb in ("archive", "restore")]
    assert {problem(answer) for answer in answers} == {(404, "not-found")}


# --- segments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "extra", "filter_"),
    [
        ({"min": 70, "max": 80}, None, {"prediction": "orders", "score": {"min": 70.0, "max": 80.0}}),
        ({"min": 70}, None, {"prediction": "orders", "score": {"min": 70.0}}),
        ({"category": "high"}, None, {"prediction": "orders", "category": ["high"]}),
        (
            {"category": ["low", "medium"]},
            {"event": "Order", "count": {"min": 1}},
            {
                "all": [
                    {"prediction": "orders", "category": ["low", "medium"]},
                    {"event": "Order", "count": {"min": 1}},
                ]
            },
        ),
    ],
)
def test_a_segment_is_made_from_a_selection(world: World, selection: Any, extra: Any, filter_: Any) -> None:
    body = {"id": "mine", "name": "Mine", "selection": {"prediction": "orders", **selection}, "min_dwell": "1h"}
    found = world.good("POST", "/v1/segments", body | ({} if extra is None else {"filter": extra}))
    assert found["definition"] == {"name": "Mine", "filter": filter_, "min_dwell": "1h"}


def test_who_enters_a_new_segment_is_told(world: World) -> None:
    found = world.make("segment", "buyers", {"name": "Buyers", "filter": {"event": "Order", "count": {"min": 1}}})
    assert found["entry"]["current_members"] == "enter_now"
    assert "at once" in found["entry"]["words"]
    later = {"name": "Later", "filter": {"event": "Order", "count": {"min": 1}}, "entry": "crossings"}
    found = world.make("segment", "later", later)
    assert found["entry"]["current_members"] == "crossings"
    assert found["definition"]["entry"] == "crossings"
    world.make("prediction", "returns", RETURNS)
    found = world.make("segment", "loyal", LOYAL | {"filter": {"all": [{"segment": "buyers"}, LOYAL["filter"]]}})
    assert found["entry"]["current_members"] == "wait"
    assert "returns" in found["entry"]["words"]
    assert world.good("POST", "/v1/segments/loyal/archive")["entry"]["current_members"] == "none"


@pytest.mark.parametrize(
    ("filter_", "how"),
    [
        ({"prediction": "seen", "category": "high"}, "change predictions.seen in the catalog file of the service"),
        ({"not": {"segment": "mine.low"}}, 'POST /v1/predictions/mine/access with {"access": "live"}'),
        ({"prediction": "old", "category": "high"}, "POST /v1/predictions/old/restore"),
        ({"segment": "gone"}, "POST /v1/segments/gone/restore"),
    ],
)
def test_what_may_only_be_looked_at_cannot_be_targeted(world: World, filter_: Any, how: str) -> None:
    world.make("prediction", "mine", RETURNS | {"access": "demo"})
    world.make("prediction", "old", RETURNS)
    world.good("POST", "/v1/predictions/old/archive")
    world.make("segment", "gone", {"name": "Gone", "filter": {"segment": "top"}})
    world.good("POST", "/v1/segments/gone/archive")
    body = {"id": "new", "name": "New", "filter": filter_}
    answer = world.call("POST", "/v1/segments", body)
    assert problem(answer) == (409, "not-targetable")
    assert answer.json()["how"] == how
    assert how in answer.json()["detail"]
    world.make("segment", "fine", {"name": "Fine", "filter": {"segment": "top"}})
    answer = world.call("PUT", "/v1/segments/fine", {"name": "Fine", "filter": filter_}, If_Match="*")
    assert problem(answer) == (409, "not-targetable")


# --- archive, restore, take back -------------------------------------------------------------------------------------


def test_what_is_archived_takes_with_it_what_was_made_here_and_rests_on_it(world: World) -> None:
    world.make("prediction", "returns", RETURNS)
    world.make("segment", "loyal", LOYAL)
    world.make("segment", "deep", {"name": "Deep", "filter": {"not": {"segment": "loyal"}}})
    world.make("segment", "other", {"name": "Other", "filter": {"segment": "top"}})
    assert world.good("GET", "/v1/predictions/returns/definition")["dependents"] == ["loyal", "deep"]
    found = world.good("POST", "/v1/predictions/returns/archive")
    assert (found["archived"], found["status"], found["archived_too"]) == (True, "archived", ["loyal", "deep"])
    kept = world.definitions.read()
    assert [id_ for id_, segment in kept.segments.items() if segment.archived] == ["loyal", "deep"]
    assert kept.predictions["returns"].archived
    assert world.definitions.revision() == 5
    assert world.good("POST", "/v1/predictions/returns/archive")["archived_too"] == []
    assert world.definitions.revision() == 5
    assert problem(world.call("POST", "/v1/segments/loyal/restore")) == (409, "not-targetable")
    assert world.good("POST", "/v1/predictions/returns/restore")["archived"] is False
    assert world.good("POST", "/v1/segments/loyal/restore")["definition"] == LOYAL | {
        "filter": {"prediction": "returns", "category": ["low"]}
    }


def test_a_prediction_is_made_live_and_taken_back(world: World) -> None:
    world.make("prediction", "returns", RETURNS | {"access": "preview"})
    assert problem(world.call("POST", "/v1/segments", {"id": "loyal", **LOYAL})) == (409, "not-targetable")
    found = world.good("POST", "/v1/predictions/returns/access", {"access": "live"})
    assert (found["access"], found["archived_too"]) == ("live", [])
    world.make("segment", "loyal", LOYAL)
    found = world.good("POST", "/v1/predictions/returns/access", {"access": "preview"})
    assert (found["access"], found["archived_too"]) == ("preview", ["loyal"])
    assert world.good("GET", "/v1/segments/loyal/definition")["status"] == "paused"
    history = world.good("GET", "/v1/definitions/history")["items"]
    assert [(item["id"], item["action"]) for item in history[:2]] == [("returns", "access"), ("loyal", "archive")]


def test_what_was_paused_comes_back_with_the_last_prediction_on_which_it_rests(world: World) -> None:
    for name in ("returns", "other"):
        world.make("prediction", name, RETURNS)
    both = {"all": [LOYAL["filter"], {"prediction": "other", "category": "high"}]}
    world.make("segment", "loyal", LOYAL)
    world.make("segment", "both", {"name": "Both", "filter": both})
    world.make("segment", "deep", {"name": "Deep", "filter": {"not": {"segment": "loyal"}}})
    world.make("segment", "by_hand", LOYAL)
    world.good("POST", "/v1/segments/by_hand/archive")

    def access(name: str, wanted: str) -> tuple[list[str], list[str]]:
        found = world.good("POST", f"/v1/predictions/{name}/access", {"access": wanted})
        return found["archived_too"], found["restored_too"]

    assert access("returns", "preview") == (["loyal", "both", "deep"], [])
    assert access("other", "demo") == ([], [])
    assert access("returns", "live") == ([], ["loyal", "deep"])
    assert access("other", "live") == ([], ["both"])
    assert [id_ for id_, each in world.definitions.read().segments.items() if each.archived] == ["by_hand"]
    assert access("returns", "preview") == (["loyal", "both", "deep"], [])
    assert world.good("POST", "/v1/segments/loyal/archive")["status"] == "archived"
    assert problem(world.call("POST", "/v1/segments/both/restore")) == (409, "not-targetable")
    assert access("returns", "live") == ([], ["both"]), "deep rests on one that was archived by hand since"
    assert world.good("GET", "/v1/segments/deep/definition")["status"] == "paused"


def test_paused_is_not_changed_by_an_edit_and_goes_with_a_set_that_leaves_it_out(world: World) -> None:
    world.make("prediction", "returns", RETURNS)
    world.make("segment", "loyal", LOYAL)
    world.good("POST", "/v1/predictions/returns/access", {"access": "preview"})
    kept = world.good("GET", "/v1/segments/loyal/definition")["definition"]
    assert (kept["archived"], kept["paused"]) == (True, True)
    answer = world.call("PUT", "/v1/segments/loyal", {**kept, "paused": False}, If_Match="*")
    assert problem(answer) == (422, "invalid-definition")
    assert "/access" in answer.json()["detail"]
    assert problem(world.call("POST", "/v1/segments", {"id": "x", **LOYAL, "paused": True})) == (
        422,
        "invalid-definition",
    )
    wanted = {"predictions": {"returns": RETURNS | {"access": "preview"}}, "segments": {"loyal": kept}}
    assert world.good("POST", "/v1/definitions/plan", wanted)["changes"] == []
    (change,) = world.good("POST", "/v1/definitions/plan", wanted | {"segments": {}})["changes"]
    assert (change["id"], change["action"]) == ("loyal", "archive")
    back = {"predictions": {"returns": RETURNS}, "segments": {"loyal": LOYAL}}
    actions = [(each["id"], each["action"]) for each in world.good("POST", "/v1/definitions/plan", back)["changes"]]
    assert actions == [("returns", "access"), ("loyal", "restore")]


def test_what_the_file_rests_on_cannot_be_taken_back() -> None:
    world = World()
    world.make("prediction", "returns", RETURNS)
    changed = FILE + "  of_file: {name: Of the file, filter: {segment: returns.high}}\n"
    # The file is checked with what is made beside it, by the workers; here it is only told.
    world.definitions.tell_file(_unchecked(changed))
    for answer in (
        world.call("POST", "/v1/predictions/returns/access", {"access": "demo"}),
        world.call("POST", "/v1/predictions/returns/archive"),
    ):
        assert problem(answer) == (409, "has-dependents")
        assert answer.json()["dependents"] == ["of_file"]


def _unchecked(text: str) -> Catalog:
    import yaml

    return Catalog.model_validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "data", [{}, {"access": "on"}, {"access": None}, {"access": "live", "x": 1}, [], "live", {"access": []}]
)
def test_access_is_one_of_three(world: World, data: Any) -> None:
    world.make("prediction", "returns", RETURNS)
    answer = world.ask("POST", "/v1/predictions/returns/access", json=data, headers=world.headers(Role.WRITE))
    assert problem(answer) == (422, "invalid-definition")


BODIES: list[tuple[str, dict[str, Any]]] = [
    ("prediction", RETURNS),
    ("prediction", RETURNS | {"access": "live"}),
    ("prediction", RETURNS | {"access": "preview"}),
    ("prediction", RETURNS | {"archived": False, "hysteresis": 3}),
    ("segment", {"name": "Mine", "filter": {"segment": "top"}}),
    ("segment", {"name": "Mine", "selection": {"prediction": "orders", "min": 70}, "min_dwell": "1h"}),
    (
        "segment",
        {"name": "Mine", "selection": {"prediction": "orders", "category": "high"}, "filter": {"segment": "top"}},
    ),
]


@pytest.mark.parametrize(("kind", "definition"), BODIES)
def test_what_makes_a_definition_changes_it_and_is_estimated_as_it_is(
    world: World, kind: str, definition: dict[str, Any]
) -> None:
    body = {"id": "mine", **definition}
    before = world.good("POST", "/v1/predictions/estimate", body) if kind == "prediction" else None
    made = world.good("POST", f"/v1/{kind}s", body)
    edited = world.good("PUT", f"/v1/{kind}s/mine", body, If_Match='"1"')
    assert edited == made, "and nothing is to be done"
    without_id = world.good("PUT", f"/v1/{kind}s/mine", definition, If_Match='"1"')
    assert without_id == made
    renamed = world.good("PUT", f"/v1/{kind}s/mine", body | {"name": "Other"}, If_Match='"1"')
    assert renamed["definition"] == made["definition"] | {"name": "Other"}
    if kind == "prediction":
        for asked in (body, definition, body | {"id": "orders"}):
            assert world.good("POST", "/v1/predictions/estimate", asked) == before


@pytest.mark.parametrize("kind", ["prediction", "segment"])
def test_an_edit_does_not_change_the_id(world: World, kind: str) -> None:
    definition = dict(BODIES)[kind]
    world.make(kind, "mine", definition)
    answer = world.call("PUT", f"/v1/{kind}s/mine", {"id": "other", **definition}, If_Match="*")
    assert problem(answer) == (422, "invalid-definition")
    assert answer.json()["problems"] == [
        {"path": "id", "found": "'other'", "expected": "'mine', as in the path: an id never changes"}
    ]


def test_what_an_edit_leaves_out_of_access_and_archived_stays(world: World) -> None:
    world.make("prediction", "mine", RETURNS)
    world.good("POST", "/v1/predictions/mine/access", {"access": "preview"})
    world.good("POST", "/v1/predictions/mine/archive")
    edited = world.good("PUT", "/v1/predictions/mine", RETURNS | {"name": "Other"}, If_Match="*")
    assert (edited["definition"]["name"], edited["access"], edited["archived"]) == ("Other", "preview", True)


def test_an_estimate_of_what_is_there_is_that_of_its_change(world: World) -> None:
    """With as many as there may be, there is no room for one more; and what rests on it is looked at."""
    for n in range(30):
        world.make("prediction", f"p{n}", RETURNS)
    asked = {"id": "p3", **RETURNS}
    assert "warnings" in world.good("POST", "/v1/predictions/estimate", asked)
    assert problem(world.call("POST", "/v1/predictions/estimate", RETURNS)) == (422, "invalid-definition")
    world.make("segment", "edge", {"name": "Edge", "filter": {"prediction": "p3", "score": {"min": 8}}})
    answer = world.call("POST", "/v1/predictions/estimate", asked | {"hysteresis": 10})
    assert answer.json()["problems"][0]["path"] == "segments.edge.filter.score.min"


def test_access_and_archived_are_not_changed_by_an_edit(world: World) -> None:
    world.make("prediction", "returns", RETURNS)
    for more, how in (({"access": "demo"}, "/access"), ({"archived": True}, "/archive")):
        answer = world.call("PUT", "/v1/predictions/returns", RETURNS | more, If_Match="*")
        assert problem(answer) == (422, "invalid-definition")
        assert how in answer.json()["detail"]


def test_an_edit_that_breaks_what_rests_on_it_is_told(world: World) -> None:
    world.make("prediction", "returns", RETURNS)
    world.make("segment", "edge", {"name": "Edge", "filter": {"prediction": "returns", "score": {"min": 8}}})
    answer = world.call("PUT", "/v1/predictions/returns", RETURNS | {"hysteresis": 10}, If_Match="*")
    assert problem(answer) == (422, "invalid-definition")
    assert answer.json()["problems"][0]["path"] == "segments.edge.filter.score.min"


def test_what_a_change_of_the_file_broke_can_be_put_right(world: World) -> None:
    world.make("segment", "likely", {"name": "Likely", "filter": {"segment": "top"}})
    world.definitions.tell_file(loads(FILE.replace("top:", "best:")))
    assert world.good("GET", "/v1/segments/likely/definition")["source"] == "api"
    world.make("segment", "other", {"name": "Other", "filter": {"segment": "best"}})
    world.good("PUT", "/v1/segments/likely", {"name": "Likely", "filter": {"segment": "best"}}, If_Match="*")


# --- asked again, at once, by many -----------------------------------------------------------------------------------


def test_a_creation_that_is_sent_again_is_answered_again_and_done_once(world: World) -> None:
    body = {"id": "returns", **RETURNS}
    first = world.call("POST", "/v1/predictions", body, Idempotency_Key="k1")
    again = world.call("POST", "/v1/predictions", body, Idempotency_Key="k1")
    assert (again.status_code, again.headers["etag"], again.json()) == (201, '"1"', first.json())
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert world.definitions.revision() == 1
    other = world.call("POST", "/v1/predictions", body | {"id": "other"}, Idempotency_Key="k1")
    assert problem(other) == (422, "idempotency-key-reused")
    assert problem(world.call("POST", "/v1/predictions", body, Idempotency_Key="k2")) == (409, "already-exists")
    assert world.call("POST", "/v1/predictions", body, role=Role.ADMIN, Idempotency_Key="k1").status_code == 409
    world.good("POST", "/v1/predictions/returns/archive", Idempotency_Key="k3")
    world.good("POST", "/v1/predictions/returns/restore")
    assert world.good("POST", "/v1/predictions/returns/archive", Idempotency_Key="k3")["archived"] is True
    assert not world.definitions.read().predictions["returns"].archived


def test_a_request_with_nothing_to_do_is_answered_again_too(world: World) -> None:
    world.make("prediction", "returns", RETURNS)
    path = "/v1/predictions/returns"
    world.good("POST", f"{path}/archive")
    first = world.call("POST", f"{path}/archive", Idempotency_Key="k1")
    assert (first.status_code, world.definitions.revision()) == (200, 2)
    world.good("POST", f"{path}/restore")
    again = world.call("POST", f"{path}/archive", Idempotency_Key="k1")
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")
    assert not world.definitions.read().predictions["returns"].archived
    assert problem(world.call("POST", f"{path}/restore", Idempotency_Key="k1")) == (422, "idempotency-key-reused")
    assert world.definitions.revision() == 3


def _interfering(monkeypatch: pytest.MonkeyPatch, store: MemoryDefinitions, change: Callable[[], None]) -> None:
    """Let somebody else be first once."""
    write, left = store.write, [1]

    def interfered(expected: int, steps: list[Step], answer: Any = None) -> None:
        if left:
            left.pop()
            change()
        write(expected, steps, answer)

    monkeypatch.setattr(store, "write", interfered)


def test_who_was_not_first_looks_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _interfering(monkeypatch, world.definitions, lambda: world.make("prediction", "first", RETURNS))
    world.make("prediction", "second", RETURNS)
    assert list(world.definitions.read().predictions) == ["first", "second"]


def test_who_was_not_first_with_an_id_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _interfering(monkeypatch, world.definitions, lambda: world.make("prediction", "one", RETURNS))
    assert problem(world.call("POST", "/v1/predictions", {"id": "one", **RETURNS})) == (409, "already-exists")


def test_where_others_are_always_first_one_is_told_to_come_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise DefinitionsChanged("always")

    monkeypatch.setattr(world.definitions, "write", refuses)
    answer = world.call("POST", "/v1/predictions", {"id": "one", **RETURNS})
    assert (problem(answer), answer.headers["retry-after"]) == ((503, "unavailable"), "1")


# --- all together ----------------------------------------------------------------------------------------------------


def test_all_definitions_are_listed(world: World) -> None:
    world.make("segment", "mine", {"name": "Mine", "filter": {"segment": "top"}})
    answer = world.call("GET", "/v1/definitions", role=Role.READ)
    items = answer.json()["items"]
    assert [(i["kind"], i["id"], i["source"], i["access"]) for i in items] == [
        ("prediction", "orders", "file", "live"),
        ("prediction", "seen", "file", "preview"),
        ("segment", "top", "file", None),
        ("segment", "mine", "api", None),
    ]
    assert answer.json()["revision"] == 1
    before = answer.headers["etag"]
    world.good("POST", "/v1/segments/mine/archive")
    assert world.call("GET", "/v1/definitions").headers["etag"] != before


def test_archived_ones_do_not_count_and_stay_readable(world: World) -> None:
    for number in range(30):  # beside the two of the file there is no more room then
        world.make("prediction", f"p{number}", RETURNS)
    assert problem(world.call("POST", "/v1/predictions", {"id": "new", **RETURNS})) == (422, "invalid-definition")
    world.good("POST", "/v1/predictions/p3/archive")
    world.make("prediction", "new", RETURNS)
    assert world.good("GET", "/v1/predictions/p3/definition")["status"] == "archived"
    exported = loads(world.call("GET", "/v1/definitions/export", role=Role.READ).text)
    assert len(exported.predictions) == 32
    assert "p3" not in exported.predictions
    refused = world.call("POST", "/v1/predictions/p3/restore")
    assert (
        "33 predictions with those of the file; expected at most 32 that are not archived" in refused.json()["detail"]
    )
    world.good("POST", "/v1/predictions/new/archive")
    world.good("POST", "/v1/predictions/p3/restore")
    exported = loads(world.call("GET", "/v1/definitions/export", role=Role.READ).text)
    assert "p3" in exported.predictions
    assert "new" not in exported.predictions


def test_an_export_is_a_catalog_and_applies_to_nothing(world: World) -> None:
    world.make("prediction", "returns", RETURNS)
    world.make("segment", "loyal", LOYAL)
    world.good("POST", "/v1/segments/loyal/archive")
    answer = world.call("GET", "/v1/definitions/export", role=Role.READ)
    assert answer.headers["content-type"] == "application/yaml"
    catalog = loads(answer.text)
    assert list(catalog.predictions) == ["orders", "seen", "returns"]
    assert catalog.segments["loyal"].archived
    assert catalog.history == ("Cart",)
    import yaml

    parts = yaml.safe_load(answer.text)
    plan = world.good("POST", "/v1/definitions/plan", {k: parts[k] for k in ("predictions", "segments")})
    assert (plan["changes"], plan["unchanged"]) == ([], 2)
    assert plan["of_file"] == ["predictions.orders", "predictions.seen", "segments.top"]


def test_a_whole_set_is_planned_and_applied_in_one_step(world: World) -> None:
    world.make("prediction", "returns", RETURNS)
    world.make("prediction", "old", RETURNS | {"access": "demo"})
    world.make("segment", "loyal", LOYAL)
    world.make("segment", "back", {"name": "Back", "filter": {"segment": "top"}})
    world.good("POST", "/v1/segments/back/archive")
    wanted = {
        "predictions": {"returns": RETURNS | {"window": "14d"}, "old": RETURNS},
        "segments": {
            "back": {"name": "Back", "filter": {"segment": "top"}},
            "new": {"name": "New", "filter": {"all": [{"segment": "back"}, {"segment": "old.high"}]}},
        },
    }
    answer = world.call("POST", "/v1/definitions/plan", wanted)
    plan = answer.json()
    assert [(c["kind"], c["id"], c["action"]) for c in plan["changes"]] == [
        ("prediction", "returns", "edit"),
        ("prediction", "old", "access"),
        ("segment", "back", "restore"),
        ("segment", "new", "create"),
        ("segment", "loyal", "archive"),
    ]
    assert plan["changes"][0]["differences"] == [{"path": "window", "before": "30d", "after": "14d"}]
    assert plan["revision"] == world.definitions.revision() == 5
    assert problem(world.call("PUT", "/v1/definitions", wanted)) == (428, "precondition-required")
    done = world.call("PUT", "/v1/definitions", wanted, If_Match=answer.headers["etag"])
    assert (done.status_code, done.json()["revision"]) == (200, 6)
    assert world.definitions.read().segments["loyal"].archived
    assert [place for place, _ in world.definitions.history(None, 5)] == [(6, n) for n in (4, 3, 2, 1, 0)]
    answer = world.call("PUT", "/v1/definitions", wanted, If_Match=answer.headers["etag"])
    assert problem(answer) == (412, "precondition-failed")


def large(count: int) -> dict[str, Any]:
    """A segment of about 200 bytes times `count`."""
    names = [f"{n:04}" + "ä" * 90 for n in range(count)]
    return {"name": "Large", "filter": {"any": [{"not": {"trait": "t", "in": names}}, {"segment": "top"}]}}


def test_a_definition_has_a_bound_in_bytes(world: World) -> None:
    assert problem(world.call("POST", "/v1/segments", {"id": "big", **large(200)})) == (422, "invalid-definition")
    found = world.make("segment", "small", large(100))
    answer = world.call("PUT", "/v1/segments/small", large(200), If_Match=f'"{found["version"]}"')
    assert problem(answer) == (422, "invalid-definition")
    assert "at most 32,768 bytes" in answer.json()["detail"]
    wanted = {"predictions": {}, "segments": {"big": large(200)}}
    assert problem(world.call("POST", "/v1/definitions/plan", wanted)) == (422, "invalid-definition")


def test_a_page_of_the_history_has_a_bound_in_bytes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "MAX_HISTORY_BYTES", 30_000)
    for n in range(4):
        world.make("segment", f"s{n}", large(100))
    first = world.good("GET", "/v1/definitions/history")
    assert [item["id"] for item in first["items"]] == ["s3", "s2"]
    rest = world.good("GET", f"/v1/definitions/history?cursor={first['next_cursor']}")
    assert ([item["id"] for item in rest["items"]], rest["next_cursor"]) == (["s1", "s0"], None)


def test_a_store_that_hangs_for_definitions_keeps_no_thread_of_authentication(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    revision = world.definitions.kept

    def kept() -> Kept:
        names.append(threading.current_thread().name)
        return revision()

    monkeypatch.setattr(world.definitions, "kept", kept)
    etag = world.call("GET", "/v1/definitions").headers["etag"]
    names.clear()
    world.make("segment", "made", large(1))
    world.good("POST", "/v1/segments/made/archive")
    wanted: dict[str, Any] = {"predictions": {}, "segments": {}}
    world.good("POST", "/v1/definitions/plan", wanted)
    world.call("PUT", "/v1/definitions", wanted, If_Match=etag)
    assert len(names) >= 4
    assert all(name.startswith("definer") for name in names), names


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"predictions": {}}, (422, "invalid-definition")),
        ({"predictions": {}, "segments": [], "x": 1}, (422, "invalid-definition")),
        ({"predictions": [], "segments": {}}, (422, "invalid-definition")),
        ({"predictions": {"Big": RETURNS}, "segments": {}}, (422, "invalid-definition")),
        ({"predictions": {"orders": RETURNS}, "segments": {}}, (409, "read-only")),
        ({"predictions": {}, "segments": {"x": LOYAL}}, (422, "invalid-definition")),
        ({"predictions": {"returns": RETURNS | {"access": "demo"}}, "segments": {"x": LOYAL}}, (409, "not-targetable")),
    ],
)
def test_a_set_that_is_not_right_is_refused_as_a_whole(world: World, wanted: Any, expected: tuple[int, str]) -> None:
    etag = world.call("GET", "/v1/definitions").headers["etag"]
    assert problem(world.call("POST", "/v1/definitions/plan", wanted)) == expected
    assert problem(world.call("PUT", "/v1/definitions", wanted, If_Match=etag)) == expected
    assert world.definitions.revision() == 0


def test_a_page_of_the_history_ends_after_so_many_changes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        world.make("prediction", f"p{number}", RETURNS)
    monkeypatch.setattr(definitions, "MAX_HISTORY_LOOKED", 3)
    cursor, pages = "", list[list[str]]()
    while len(pages) < 5:
        page = world.good("GET", f"/v1/definitions/history?id=p0{cursor}")
        pages.append([item["id"] for item in page["items"]])
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert pages == [[], [], ["p0"]]
    assert world.good("GET", "/v1/definitions/history?id=nothing&limit=1")["items"] == []


def test_the_history_tells_who_changed_what_and_when_in_pages(world: World) -> None:
    world.make("prediction", "returns", RETURNS)
    world.now_s = 60.0
    world.good("PUT", "/v1/predictions/returns", RETURNS | {"window": "1d"}, If_Match='"1"')
    for n in range(5):
        world.make("segment", f"s{n}", {"name": "S", "filter": {"segment": "top"}})
    seen: list[Any] = []
    cursor = ""
    while True:
        page = world.good("GET", f"/v1/definitions/history?limit=3{cursor}")
        assert len(page["items"]) <= 3
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert [item["revision"] for item in seen] == [7, 6, 5, 4, 3, 2, 1]
    edit = seen[5]
    assert (edit["action"], edit["before"]["window"], edit["after"]["window"]) == ("edit", "30d", "1d")
    assert (edit["at"], edit["key_id"]) == ("2026-05-28T20:27:40Z", id_of(world.made[Role.WRITE]))
    assert seen[6]["before"] is None
    page = world.good("GET", "/v1/definitions/history?kind=prediction&id=returns&limit=2")
    assert ([item["revision"] for item in page["items"]], page["next_cursor"]) == ([2, 1], None)
    assert NOW_S == 1_780_000_000.0


@pytest.mark.parametrize("cursor", ["", "x", "!", "aGlzdG9yeTox", "kw", "é"])
def test_a_cursor_of_elsewhere_is_refused(world: World, cursor: str) -> None:
    answer = world.ask("GET", "/v1/definitions/history", params={"cursor": cursor}, headers=world.headers(Role.READ))
    assert problem(answer) == (404, "invalid-cursor")


def test_before_any_worker_has_told_its_catalog_nothing_can_be_defined() -> None:
    world = ApiWorld(reads=EmptyStore)
    for answer in (
        world.ask("GET", "/v1/definitions", headers=world.headers(Role.READ)),
        world.ask("POST", "/v1/predictions", json={"id": "x", **RETURNS}, headers=world.headers(Role.WRITE)),
    ):
        assert problem(answer) == (503, "unavailable")
