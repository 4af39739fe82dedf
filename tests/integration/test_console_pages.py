"""Pages of the console over the store of a shop, without a browser: they say what the API says, and forms do it."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import httpx
import pytest

from config.errors import BrokerUnavailable
from config.written import written
from streams.adapters.definition_store import Past
from streams.api.keys import Role
from streams.api.problems import Kind
from streams.api.quality import QualityView
from streams.api.views import time_text
from streams.console.cookies import SESSION_COOKIE
from streams.console.sessions import Session
from streams.console.texts_english import ENGLISH
from streams.console.texts_french import FRENCH
from streams.console.visit import BASE
from streams.core.decode import DELETE_TYPE
from streams.core.events import DeadReason
from tests.integration.shop_world import Shop
from tests.unit.api_world import NOW_S, ApiWorld

HIGH = "orders_3d.high"


@pytest.fixture
def api(shop_console: ApiWorld) -> ApiWorld:
    return shop_console


class Person:
    """Somebody who has signed in, without a browser."""

    def __init__(self, api: ApiWorld, role: Role = Role.WRITE) -> None:
        self.api = api
        answer = api.ask("POST", f"{BASE}/sign-in", data={"key": api.made[role]})
        self._session = answer.cookies[SESSION_COOKIE]
        self.headers = {"cookie": f"{SESSION_COOKIE}={self._session}", "accept-language": "en"}

    def get(self, path: str, **params: str) -> httpx.Response:
        return self.api.ask("GET", BASE + path, params=params or None, headers=self.headers)

    def page(self, path: str, **params: str) -> str:
        """The words of a page, without its marks."""
        answer = self.get(path, **params)
        assert answer.status_code == 200, answer.text
        text = unescape(re.sub(r"<[^>]+>", " ", answer.text))
        return re.sub(r"[ \n]+", " ", text)

    def post(self, path: str, **form: str) -> httpx.Response:
        data = {"token": Session(self._session, "").token, **form}
        return self.api.ask("POST", BASE + path, data=data, headers=self.headers)

    def told(self, path: str) -> Any:
        """What the API says."""
        return self.api.ask("GET", path, headers=self.api.headers(Role.READ)).json()


@pytest.fixture
def person(api: ApiWorld) -> Person:
    return Person(api)


def test_a_card_of_what_warms_up_shows_how_far_it_is(person: Person) -> None:
    text = person.page("/predictions")
    warm = person.told("/v1/predictions/rare_7d")["warm_up"]
    assert f"{warm['users_with_goal']} of {warm['needed']} users with the goal" in text
    assert "nobody has reached the goal so far" in text
    assert "Orders within <3> days" in text
    assert "Churn Risk Category" in text


def test_a_script_writes_times_with_the_words_of_the_page(api: ApiWorld) -> None:
    answer = api.ask("GET", f"{BASE}/sign-in", headers={"accept-language": "en-GB"})
    assert 'data-months="Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec" data-first-day="1"' in answer.text
    answer = api.ask("GET", f"{BASE}/sign-in", headers={"accept-language": "fr"})
    assert 'lang="fr"' in answer.text
    assert 'data-first-day="1er"' in answer.text
    assert " août " in answer.text


def test_figures_of_cards_are_those_of_the_api(person: Person) -> None:
    found = person.get("/predictions/figures").json()
    assert found.keys() == {"orders_3d", "churn_5d", "rare_7d"}
    expected = person.told("/v1/predictions/orders_3d/estimate")["expected"]
    assert abs(float(found["orders_3d"]["expected"]) - expected) <= 0.5
    band = person.told("/v1/predictions/orders_3d/quality")["events"]["served"]["band"]
    assert (found["orders_3d"]["band"], found["orders_3d"]["quality"].lower()) == (band, band)
    assert (found["rare_7d"]["expected"], found["rare_7d"]["band"]) == ("–", "unknown")


def test_learning_from_history_shows_its_progress(api: ApiWorld, person: Person) -> None:
    api.definitions.tell_past(Past("reading", ["orders_3d"], 250, 1_000, NOW_S))
    text = person.page("/predictions")
    assert "Learning from history" in text
    assert "250 of 1,000 events read" in text
    assert "being replayed" in person.page("/predictions/orders_3d")
    api.definitions.tell_past(Past("failed", ["orders_3d"], 250, 1_000, NOW_S))
    assert "The history could not be read" in person.page("/predictions")


def test_a_prediction_shows_what_the_api_says_of_a_selection(person: Person) -> None:
    text = person.page("/predictions/orders_3d", min="60", max="90")
    told = person.told("/v1/predictions/orders_3d/estimate?min=60&max=90")
    assert f"Users {told['users']} " in text
    assert f"of {told['audience']}" in text
    exact = person.get("/predictions/orders_3d/estimate", min="60", max="90").json()
    assert exact["users"] == str(told["users"])
    assert " Top 25% " in person.page("/predictions/orders_3d", min="75", max="100"), "as the slider says it"
    assert " Top 37.5% " in person.page("/predictions/orders_3d", min="62.5", max="100")
    by_category = person.get("/predictions/orders_3d/estimate", category="low").json()
    assert by_category["users"] == str(person.told("/v1/predictions/orders_3d/estimate?category=low")["users"])
    assert "Churn Risk Score" in person.page("/predictions/churn_5d")
    assert "Nothing can be judged yet" in person.page("/predictions/rare_7d")
    assert "mean likelihood" in person.page("/predictions/orders_3d", view="likelihood")
    assert person.get("/predictions/nope").status_code == 404


def test_a_key_that_may_only_look_is_offered_nothing_else_and_gets_nothing_else(api: ApiWorld) -> None:
    reader = Person(api, Role.READ)
    assert "Your key may only look" in reader.page("/predictions/orders_3d")
    form = {"prediction": "orders_3d", "category": "high", "name": "Buyers"}
    assert reader.get("/segments/new", prediction="orders_3d").status_code == 403
    assert reader.post("/segments", **form).status_code == 403
    assert reader.post("/segments/keen/archive").status_code == 403
    assert api.definitions.kept().entries == ()


def test_a_segment_is_made_of_a_selection_and_archived_again(api: ApiWorld, person: Person) -> None:
    made = person.post("/segments", prediction="orders_3d", min="62.5", max="100", name="  Likely   buyers ")
    assert (made.status_code, made.headers["location"]) == (303, f"{BASE}/segments/likely_buyers")
    (entry,) = api.definitions.kept().entries
    assert (entry.kind, entry.id) == ("segment", "likely_buyers")
    assert entry.definition == {
        "name": "Likely buyers",
        "filter": {"prediction": "orders_3d", "score": {"min": 62.5, "max": 100.0}},
        **{key: entry.definition[key] for key in entry.definition if key not in ("name", "filter")},
    }
    page = person.page("/segments/likely_buyers")
    assert "workers have taken it up" in page
    assert "Members – " in page, "nobody has counted them yet"
    assert "Nobody is in it" not in page
    assert 'data-reload="2000"' in person.get("/segments/likely_buyers").text
    assert "Likely buyers – " in person.page("/segments")
    again = person.post("/segments", prediction="churn_5d", category="high", name="Likely buyers", entry="crossings")
    assert again.headers["location"] == f"{BASE}/segments/likely_buyers_2"
    second = api.definitions.kept().entries[1].definition
    assert second["filter"] == {"prediction": "churn_5d", "category": ["high"]}
    assert second["entry"] == "crossings"
    assert "Archive “Likely buyers”?" in person.page("/segments/likely_buyers/archive")
    assert person.post("/segments/likely_buyers/archive").status_code == 303
    assert "archived" in person.page("/segments/likely_buyers")


def test_what_is_wrong_with_a_new_segment_is_told_beside_it(api: ApiWorld, person: Person) -> None:
    for name in ("", "   ", "x" * 101):
        answer = person.post("/segments", prediction="orders_3d", min="10", max="20", name=name)
        assert answer.status_code == 422
        assert "Give it a name" in answer.text
        assert 'name="min" value="10.0"' in answer.text
    assert person.post("/segments", prediction="nope", category="high", name="x").status_code == 404
    assert person.post("/segments/keen/archive").status_code == 409
    assert api.definitions.kept().entries == ()


def test_a_segment_shows_its_members_filter_and_file(person: Person) -> None:
    text = person.page(f"/segments/{HIGH}")
    told = person.told(f"/v1/segments/{HIGH}")
    assert "Orders within <3> days: category High" in text
    members = {item["user_id"] for item in person.told(f"/v1/segments/{HIGH}/members?limit=1000")["items"]}
    assert len(members) == told["members"]
    shown = set[str]()
    cursor: str | None = ""
    while cursor is not None:
        page = person.get(f"/segments/{HIGH}{cursor}").text
        shown |= set(re.findall(r'<tr><th scope="row">(?:<a[^>]*>)?(u\d+)<', page))
        more = re.search(r'class="button" href="(\?cursor=[^"]+)"', page)
        cursor = None if more is None else more[1]
    assert shown == members
    file = person.get(f"/segments/{HIGH}/export").text.splitlines()
    assert (len(file), file[0].startswith("user_id,")) == (told["members"] + 1, True)
    assert len(person.get(f"/segments/{HIGH}/export", format="ndjson").text.splitlines()) == told["members"]
    assert "Looked twice within two days" in person.page("/segments")
    assert person.get("/segments/nope").status_code == 404
    assert person.get(f"/segments/{HIGH}", cursor="nonsense").status_code == 404


def test_nothing_is_made_of_a_preview(api: ApiWorld, person: Person, shop: Shop) -> None:
    catalog = shop.job.catalog
    shown = catalog.predictions["orders_3d"].model_copy(update={"access": "preview"})
    api.definitions.tell_file(catalog.model_copy(update={"predictions": {**catalog.predictions, "orders_3d": shown}}))
    text = person.page("/predictions/orders_3d")
    assert "nobody can be targeted by them" in text
    assert "it stays while the audience moves on" in text
    assert 'data-scale="scores"' in person.get("/predictions/orders_3d").text, "a range of it is called no rank"
    assert person.get("/segments/new", prediction="orders_3d", category="high").status_code == 409
    assert person.post("/segments", prediction="orders_3d", category="high", name="x").status_code == 409
    assert written(shown)["access"] == "preview"


def test_whether_likelihoods_hold_is_told_by_kind_of_moment(person: Person) -> None:
    text = person.page("/predictions/orders_3d").partition("Do likelihoods hold?")[2]
    quality = person.told("/v1/predictions/orders_3d/quality")
    for kind, words in (("events", "After an event"), ("silent", "In silence"), ("crossings", "On coming into")):
        served = quality[kind]["served"]
        part = text.partition(words)[2]
        assert f"{served['moments']:,} judged moments" in part
        assert f"Expected ÷ observed: {served['expected_over_observed']:.2f}" in part
    assert "as soon as a campaign has sent or withheld a message" in text


def test_who_was_messaged_is_told_apart(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    told = person.told("/v1/predictions/orders_3d/quality")
    group = {"goals": 30, "expected_over_observed": 0.8, "calibration": [], "mean_likelihood": 0.24}
    groups = {
        "treated": {**group, "moments": 100, "actual_rate": 0.31},
        "withheld": {**group, "moments": 90, "actual_rate": 0.22},
        "untouched": {**group, "moments": 1200, "actual_rate": 0.21},
    }
    altered = QualityView.model_validate({**told, "by_touch": {**groups, "reason": None}})
    monkeypatch.setattr("streams.console.prediction.get_quality", lambda *_: altered)
    text = person.page("/predictions/orders_3d")
    assert "messaged 24.0% 31.0% 0.80 100" in text
    assert "message withheld 24.0% 22.0% 0.80 90" in text
    assert "not messaged 24.0% 21.0% 0.80 1,200" in text


def test_users_are_found_by_their_ids(person: Person) -> None:
    told = person.told("/v1/users?id=u12&limit=50")["items"]
    found = re.findall(r'users/one\?id=([^"&]+)"', person.get("/users", q="u12").text)
    assert set(found) == {user["user_id"] for user in told}
    assert "Nobody’s id begins so" in person.page("/users", q="nobody")
    assert "Nobody’s id begins so" not in person.page("/users", q=" ")


def test_a_user_shows_what_the_api_says(person: Person) -> None:
    text = person.page("/users/one", id="u12")
    told = person.told("/v1/users/u12")
    for prediction in told["predictions"]:
        if prediction["score"] is not None:
            assert f"{prediction['name']} {prediction['score']:.0f} " in text
    for event in told["events"]:
        name = "all other events" if event["name"] == "*" else event["name"]
        assert f"{name} {event['total']} " in text
    assert told["traits"]["country"] in text
    crossings = person.told("/v1/transitions?user=u12&limit=30")["items"]
    shown = re.findall(r"(Entered|Left) ", text.partition("Latest crossings")[2])
    assert shown == ["Entered" if each["data"]["in_segment"] else "Left" for each in crossings]
    assert "Likelihood over time Orders within <3> days" in text
    assert "Likelihood over time No order for 5 days" in person.page("/users/one", id="u12", prediction="churn_5d")
    assert person.get("/users/one", id="nobody").status_code == 404


def test_a_user_is_deleted_only_by_somebody_who_may_and_means_it(api: ApiWorld, person: Person) -> None:
    reader = Person(api, Role.READ)
    assert reader.get("/users/delete", id="u12").status_code == 403
    assert reader.post("/users/delete", id="u12", again="u12").status_code == 403
    assert "Delete this user" not in reader.page("/users/one", id="u12")
    assert "Delete “u12” for good?" in person.page("/users/delete", id="u12")
    wrong = person.post("/users/delete", id="u12", again="u1")
    assert (wrong.status_code, "This is another id" in wrong.text) == (422, True)
    assert person.post("/users/delete", id="", again="").status_code == 404
    assert api.events() == []
    done = person.post("/users/delete", id="u12", again="u12")
    assert done.headers["location"] == f"{BASE}/users/one?id=u12&deleting=1"
    (event,) = api.events()
    assert (event["userId"], event["type"]) == ("u12", DELETE_TYPE)
    assert "The deletion is asked for" in person.page("/users/one", id="u12", deleting="1")
    other = person.get("/users/one", id="u13", deleting="1").text
    assert ("The deletion is asked for" in other, "data-reload" in other) == (False, False), "nobody has asked for it"


def test_live_offers_every_segment_and_keeps_its_filter(person: Person) -> None:
    text = person.get("/live", segment=HIGH, direction="exited", user="a&b").text
    assert f'<option value="{HIGH}" selected>' in text
    assert '<option value="exited" selected>' in text
    assert f"/live/stream?segment={HIGH}&amp;direction=exited&amp;user=a%26b" in text
    assert person.get("/live", direction="sideways").status_code == 200
    assert '<option value="bygone" selected>bygone</option>' in person.get("/live", segment="bygone").text


def test_a_stream_that_cannot_be_had_is_told(api: ApiWorld, person: Person) -> None:
    api.transitions.failure = BrokerUnavailable("kafka://inside:9092 does not answer")
    answer = person.get("/live/stream")
    assert (answer.status_code, "inside" in answer.text) == (503, False)


def test_the_system_shows_what_was_worked_and_what_could_not_be_used(person: Person, shop: Shop) -> None:
    text = person.page("/system")
    summary = shop.outcome.summary
    assert f"Users {summary.users} " in text
    assert f"events used {summary.counters['events']:,} " in text
    assert f"changes of category {summary.counters['category_changes']:,} " in text
    for reason, count in summary.dead_letters.items():
        words = ENGLISH.refusals[reason]
        assert f"{words[0]} {count} {words[1]}" in text
    assert '{"type": "track", "event": "Viewed", "timestamp": "2024-03-05T00:00:00Z"}' in text
    figures = person.get("/system/figures").json()
    assert figures["events"] == summary.counters["events"]
    assert figures["clock"] == time_text(summary.clock_s)
    assert "days ago" in figures["behind"].replace("\u00a0", " ")


def test_every_reason_of_a_dead_letter_is_told_in_words() -> None:
    for texts in (ENGLISH, FRENCH):
        assert texts.refusals.keys() == {reason.value for reason in DeadReason}


def test_errors_that_people_may_meet_are_told_in_words() -> None:
    """What else the API may say is a bug of the console, and is told as one."""
    known = {kind.slug for kind in Kind} | {"form"}
    for texts in (ENGLISH, FRENCH):
        assert texts.errors.keys() <= known
        assert {"not-found", "forbidden", "unavailable", "internal", "gone", "overloaded"} <= texts.errors.keys()
