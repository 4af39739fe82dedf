"""Campaigns in the console, without a browser: templates, forms, states, and what comes with them."""

from __future__ import annotations

import re
from html import unescape
from typing import Any, get_args

import pytest

from config.campaign_checks import read_messaging
from config.written import written
from streams.adapters.campaign_definitions import shared
from streams.adapters.redis_campaign_books import RedisCampaignBooks
from streams.api.campaign_models import Status
from streams.api.keys import Role
from streams.campaigns.figures import Early, NoMoney
from streams.campaigns.lift import Verdict
from streams.campaigns.state import Book
from streams.campaigns.words import REASONS
from streams.console.language import Format
from streams.console.texts_english import ENGLISH
from streams.console.texts_french import FRENCH
from tests.integration.test_console_pages import Person
from tests.unit.api_world import NOW_S, ApiWorld

BY_TEMPLATE = "/campaigns/by-form?template=incentive&prediction=orders_3d"


@pytest.fixture
def api(shop_console: ApiWorld) -> ApiWorld:
    return shop_console


@pytest.fixture
def person(api: ApiWorld) -> Person:
    person = Person(api)
    assert person.post("/campaigns/new-channel", kind="log").status_code == 303
    return person


def fields_of(text: str) -> dict[str, str]:
    """What a browser would send of a form as it is shown."""
    fields: dict[str, str] = {}
    for tag in re.findall(r"<input [^>]*>", text):
        given = {key: unescape(value) for key, value in re.findall(r'(\w+)="([^"]*)"', tag)}
        if "name" not in given or "disabled" in tag or given["name"] in ("token", "next"):
            continue
        if given.get("type") in ("checkbox", "radio") and " checked" not in tag:
            continue
        fields[given["name"]] = given.get("value", "")
    for name, body in re.findall(r'<textarea[^>]* name="(\w+)"[^>]*>(.*?)</textarea>', text, re.DOTALL):
        fields[name] = unescape(body).removeprefix("\n")
    for name, body in re.findall(r'<select[^>]* name="(\w+)"[^>]*>(.*?)</select>', text, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', body) or re.search(r'value="([^"]*)"', body)
        assert chosen is not None, name
        fields[name] = unescape(chosen[1])
    return fields


def made(person: Person, address: str = BY_TEMPLATE, **more: str) -> str:
    """The id of a campaign that was made of a template."""
    answer = person.post("/campaigns/by-form", action="save", **(fields_of(person.get(address).text) | more))
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"].rpartition("/")[2])


def told(person: Person, id_: str, kind: str = "campaigns") -> Any:
    return person.told(f"/v1/{kind}/{id_}")


def test_a_channel_is_set_up_before_anything_is_made(api: ApiWorld) -> None:
    forgotten = api.ask("DELETE", "/v1/campaign-channels/webhook", headers=api.headers(Role.WRITE))
    assert forgotten.status_code in (200, 404), "the store is that of other files of tests, too"
    person = Person(api)
    assert "No channel is set up yet" in person.page("/campaigns")
    assert "No channel is set up yet" in person.page("/campaigns/by-template?prediction=orders_3d")
    assert person.get(BY_TEMPLATE).status_code == 409
    assert person.post("/campaigns/new-channel", kind="email").status_code == 400
    for wrong in ("", "not an address", "http://plain.example.org", "https://127.0.0.1/hook"):
        answer = person.post("/campaigns/new-channel", kind="webhook", url=wrong)
        assert (answer.status_code, "cannot be used" in answer.text) == (422, True), wrong
    url = "https://hooks.example.org/tideline"
    answer = person.post("/campaigns/new-channel", kind="webhook", url=url, once="a")
    assert answer.status_code == 303
    page = person.get(answer.headers["location"].removeprefix("/console")).text
    assert ("whsec_" in page, url in page) == (True, True)
    assert person.told("/v1/campaign-channels/webhook")["settings"]["url"] == url
    assert person.post("/campaigns/new-channel", kind="log").status_code == 303
    assert person.told("/v1/messaging")["definition"]["channels"].keys() == {"webhook", "log"}
    assert "No channel is set up yet" not in person.page("/campaigns")


def test_a_template_is_saved_as_the_api_fills_it_in(api: ApiWorld, person: Person) -> None:
    asked = {"prediction": "orders_3d", "channels": ["log"], "category": "medium"}
    filled = api.ask("POST", "/v1/templates/incentive", json=asked, headers=api.headers(Role.READ)).json()
    id_ = made(person, f"{BY_TEMPLATE}&category=medium")
    found = told(person, id_)
    assert found["definition"] == filled["definition"] | {"state": "dry"}
    assert (found["segment"], found["state"]) == ("orders_3d.medium", "dry")
    page = person.page(f"/campaigns/{id_}")
    assert found["definition"]["message"]["parts"]["subject"] in page
    assert "Sent 0 Withheld Nothing was withheld so far" in page
    assert "Too early to tell: too few users" in page
    assert person.get("/campaigns/all-figures").json() == {id_: {"sent": "0", "withheld": "0"}}
    assert "Made by “" in page.partition(" History ")[2]


def test_every_strategy_of_a_prediction_is_one_click_away(person: Person) -> None:
    templates = {t["name"]: t for t in person.told("/v1/templates")["items"]}
    for prediction, kind in (("orders_3d", "event"), ("churn_5d", "churn")):
        text = person.get(f"/campaigns/by-template?prediction={prediction}").text
        shown = re.findall(r"by-form\?template=(\w+)&amp;prediction=", text)
        assert set(shown) == {name for name, each in templates.items() if each["prediction_kind"] == kind}
        for name in shown:
            answer = person.get(f"/campaigns/by-form?template={name}&prediction={prediction}&min=20&max=60")
            assert answer.status_code == 200, name
    assert person.get("/campaigns/by-form?template=nope&prediction=orders_3d").status_code == 409


def test_without_a_selection_each_strategy_is_for_whom_it_is_meant(api: ApiWorld, person: Person) -> None:
    for prediction in ("orders_3d", "churn_5d"):
        page = person.get(f"/campaigns/by-template?prediction={prediction}").text
        links = re.findall(r'href="/console(/campaigns/by-form\?template=(\w+)[^"]*)"', page)
        assert len(links) > 0
        for link, name in links:
            asked = {"prediction": prediction, "channels": ["log"]}
            answer = api.ask("POST", f"/v1/templates/{name}", json=asked, headers=api.headers(Role.READ))
            definition = answer.json()["definition"]
            for address in (unescape(link), f"/campaigns/by-form?template={name}&prediction={prediction}"):
                fields = fields_of(person.get(address).text)
                assert (fields["segment"], fields["state"]) == (definition["segment"], "dry"), address
    found = told(person, made(person, "/campaigns/by-form?template=large_discount&prediction=orders_3d"))
    assert (found["segment"], found["state"]) == ("orders_3d.low", "dry")


def test_cards_say_for_whom_a_strategy_is(person: Person) -> None:
    page = person.page("/campaigns/by-template?prediction=orders_3d")
    assert "Strategies for" not in page, "nothing was selected"
    assert "For: Low · Scores 0 to 50" in page
    assert "For: Scores 0 to 75" in page
    text = person.get("/campaigns/by-template?prediction=orders_3d&min=60&max=70").text
    fitting, _, others = text.partition("Strategies for other ranges")
    assert "template=incentive&amp;prediction=orders_3d&amp;min=60&amp;max=70" in fitting
    assert "For: Scores 60 to 70" in fitting
    assert "template=large_discount&amp;prediction=orders_3d&amp;category=low" in others
    assert "min=60" not in others
    churn = person.page("/campaigns/by-template?prediction=churn_5d")
    assert "For: High risk · Scores 75 to 100" in churn


def test_the_segment_of_a_range_is_made_with_its_campaign(api: ApiWorld, person: Person) -> None:
    address = f"{BY_TEMPLATE}&min=62.5&max=90"
    assert "is made with it" in person.page(address)
    wrong = fields_of(person.get(address).text) | {"control": "200"}
    assert person.post("/campaigns/by-form", action="save", **wrong).status_code == 422
    assert api.definitions.kept().entries == (), "nothing is made for a campaign that is refused"
    found = told(person, made(person, address))
    (entry,) = api.definitions.kept().entries
    assert (entry.id, entry.definition["filter"]["score"]) == (found["segment"], {"min": 62.5, "max": 90.0})
    again = told(person, made(person, address))
    assert (again["id"] != found["id"], again["segment"]) == (True, found["segment"])
    other = told(person, made(person, f"{BY_TEMPLATE}&min=10&max=20"))
    assert other["segment"] != found["segment"], "another range is another segment"
    ranges = {entry.id: entry.definition["filter"]["score"] for entry in api.definitions.kept().entries}
    assert ranges[other["segment"]] == {"min": 10.0, "max": 20.0}
    assert len(ranges) == 2


def test_a_ladder_is_built_and_drawn(person: Person) -> None:
    fields = fields_of(person.get(BY_TEMPLATE).text)
    more = person.post("/campaigns/by-form", action="more_step", **fields | {"offer": "ladder"}).text
    assert 'name="step_2_value"' in more
    ladder = {"offer": "ladder", "offer_prediction": "orders_3d", "unit": "percent", "step_0_value": "20"}
    ladder |= {"step_1_edge": "40", "step_1_value": "10", "step_2_edge": "80", "step_2_value": "0"}
    id_ = made(person, **ladder)
    assert told(person, id_)["definition"]["offer"]["values"] == [20.0, 10.0, 0.0]
    page = person.get(f"/campaigns/{id_}").text
    assert 'd="M0 0L400 0L400 500L800 500L800 1000L1000 1000"' in page


def test_a_campaign_is_changed_paused_and_archived(person: Person) -> None:
    id_ = made(person, state="paused")
    assert "Paused: nothing begins" in person.page(f"/campaigns/{id_}")
    for action, state in (("resume", "on"), ("dry", "dry"), ("pause", "paused")):
        assert person.post(f"/campaigns/{id_}/stand", action=action).status_code == 303
        assert told(person, id_)["state"] == state
    assert person.post(f"/campaigns/{id_}/stand", action="explode").status_code == 400
    fields = fields_of(person.get(f"/campaigns/{id_}/edit").text) | {"name": "Another name", "control": "25"}
    assert person.post(f"/campaigns/{id_}/edit", action="save", **fields).status_code == 303
    found = told(person, id_)
    assert (found["name"], found["definition"]["control"], found["version"]) == ("Another name", 0.25, 2)
    assert person.post(f"/campaigns/{id_}/edit", action="save", **fields).status_code == 412
    assert "Archive “Another name” for good?" in person.page(f"/campaigns/{id_}/archive")
    assert person.post(f"/campaigns/{id_}/archive").status_code == 303
    assert told(person, id_)["state"] == "archived"
    assert person.get(f"/campaigns/{id_}/edit").status_code == 404
    assert "Archived campaigns" in person.page("/campaigns")
    assert person.get("/campaigns/nope").status_code == 404


def test_an_archived_campaign_is_forgotten_after_a_question(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = made(person, name="Last winter", state="paused")
    assert person.get(f"/campaigns/{id_}/forget").status_code == 404, "it is not archived"
    assert f"/campaigns/{id_}/forget" not in person.get(f"/campaigns/{id_}").text
    person.post(f"/campaigns/{id_}/archive")
    assert f"/campaigns/{id_}/forget" in person.get(f"/campaigns/{id_}").text
    assert "Forget “Last winter”?" in person.page(f"/campaigns/{id_}/forget")
    assert person.post(f"/campaigns/{id_}/forget").status_code == 409, "it was archived just now"
    monkeypatch.setattr("streams.api.campaign_edits.SETTLED_S", -1.0)
    assert person.post(f"/campaigns/{id_}/forget").status_code == 303
    assert person.get(f"/campaigns/{id_}").status_code == 404


def test_a_journey_has_its_steps_as_text(person: Person) -> None:
    id_ = made(person, "/campaigns/by-form?template=three_day_blast&prediction=orders_3d")
    found = told(person, id_, "journeys")
    assert found["definition"]["steps"]
    page = person.page(f"/campaigns/{id_}")
    for step in found["definition"]["steps"].values():
        for text in step.get("send", {}).get("parts", {}).values():
            assert " ".join(text.split())[:30] in page


@pytest.mark.parametrize(
    ("trigger", "words", "next_words"),
    [
        (
            {"every": "month", "on": [1, 15], "at": "10:00", "timezone": "Europe/Paris"},
            "Regularly, to everybody in the segment: every month, 1, 15, 10:00 (Europe/Paris)",
            "Goes out next 1 Jun 2026, 08:00 UTC",
        ),
        (
            {"every": "week", "on": ["monday"], "at": "09:30"},
            "Regularly, to everybody in the segment: every week, Monday, 09:30 (UTC)",
            "Goes out next 1 Jun 2026, 09:30 UTC",
        ),
        ({"at": "2026-05-01 10:00"}, "Once, to everybody in the segment", "none of its times is still to come"),
        ({"event": "Viewed"}, "When somebody in the segment does something: Viewed", None),
        ("exit", "When somebody leaves the segment", None),
    ],
    ids=["month", "week", "once", "event", "exit"],
)
def test_a_campaign_says_when_it_goes_and_when_next(
    api: ApiWorld, person: Person, trigger: Any, words: str, next_words: str | None
) -> None:
    id_ = made(person)
    body = told(person, id_)["definition"] | {"trigger": trigger}
    headers = api.headers(Role.WRITE) | {"If-Match": told(person, id_)["etag"]}
    assert api.ask("PUT", f"/v1/campaigns/{id_}", json=body, headers=headers).status_code == 200
    page = person.page(f"/campaigns/{id_}").replace("\u00a0", " ")
    assert f"When {words}" in page
    assert ("Goes out next" in page) == (next_words is not None)
    assert next_words is None or next_words in page
    person.post(f"/campaigns/{id_}/stand", action="pause")
    assert ("not while it is paused" in person.page(f"/campaigns/{id_}")) == (next_words is not None)


def test_who_may_only_look_changes_nothing(api: ApiWorld, person: Person) -> None:
    id_ = made(person)
    reader = Person(api, Role.READ)
    assert reader.get(f"/campaigns/{id_}").status_code == 200
    for path in (
        f"/campaigns/{id_}/stand",
        f"/campaigns/{id_}/archive",
        f"/campaigns/{id_}/forget",
        "/campaigns/by-form",
        f"/campaigns/{id_}/edit",
    ):
        assert reader.post(path, action="pause").status_code == 403
    assert f"/campaigns/{id_}/edit" not in reader.get(f"/campaigns/{id_}").text


def test_a_prediction_suggests_what_fits_its_selection(person: Person) -> None:
    text = person.get("/predictions/orders_3d?category=low").text
    shown = {name: " hidden" in tag for tag, name in re.findall(r"<li (data-low[^>]*)>.*?template=(\w+)", text)}
    templates = {t["name"]: t for t in person.told("/v1/templates")["items"] if t["prediction_kind"] == "event"}
    assert shown.keys() == templates.keys()
    assert all(
        shown[name] is (each["range"] != "low") for name, each in templates.items() if isinstance(each["range"], str)
    )
    assert "Create a campaign" in text
    assert "by-form?template" not in Person(person.api, Role.READ).get("/predictions/orders_3d").text


def test_what_it_would_do_is_what_the_api_says(api: ApiWorld, person: Person) -> None:
    address = f"{BY_TEMPLATE}&category=low"
    rest = fields_of(person.get(address).text)["rest"]
    id_ = made(person, address, rest=f'{rest}\nquiet_hours: {{from: "20:00", to: "22:00"}}\n')
    asked = {"definition": told(person, id_)["definition"]}
    found = api.ask("POST", "/v1/campaigns/preview", json=asked, headers=api.headers(Role.READ)).json()
    assert found["users"] > 0
    text = person.page(f"/campaigns/{id_}?reach=1")
    assert f"Users whom it is for {found['users']} " in text
    assert f"of them may be sent to {found['reachable']} " in text
    assert "Users whom it is for" not in person.page(f"/campaigns/{id_}")
    asked = {"id": id_, "user_id": "u12"}
    trial = api.ask("POST", "/v1/campaigns/preview-message", json=asked, headers=api.headers(Role.READ)).json()
    text = person.page(f"/campaigns/{id_}?user=u12")
    for channel in trial["channels"]:
        for part in channel["texts"].values():
            assert " ".join(part.split()) in text
    until = {rule["reason"]: rule["until"] for rule in trial["against"]}
    assert until["quiet"] == "2026-05-28T22:00:00Z"
    for reason, time in until.items():
        again = "" if time is None else f" Looked at again on {Format('en').time(time)}"
        assert f"{ENGLISH.withheld_reasons[reason]}{again}" in text
    assert "or not known for long enough" in text
    assert "the user was not in the segment any more" in person.page(f"/campaigns/{id_}?user=nobody")


def test_who_waits_is_shown_and_not_that_nothing_happened(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RedisCampaignBooks, "books_of", lambda _self, _id: [Book(counts={"waited_quiet": 27})])
    monkeypatch.setattr(RedisCampaignBooks, "waiting_for_rate", lambda _self, _id: 3)
    page = person.page(f"/campaigns/{made(person)}")
    assert "Had to wait" in page
    assert "it was night on the user’s clock 27 are waiting for their turn now, as the rate allows 3 " in page


def test_what_it_would_do_says_what_is_not_known(api: ApiWorld, person: Person) -> None:
    id_ = made(person, f"{BY_TEMPLATE}&category=low")
    kept = api.campaigns.kept()
    channel = {"kind": "log", "consent": {"given": "Viewed", "withdrawn": "Order Completed"}}
    messaging = written(read_messaging({"channels": {"log": channel}}))
    api.campaigns.write(kept.revision, [shared(kept, messaging, "key", NOW_S)])
    asked = {"definition": told(person, id_)["definition"]}
    found = api.ask("POST", "/v1/campaigns/preview", json=asked, headers=api.headers(Role.READ)).json()
    assert found["left_out"]["consent"] is None
    text = person.page(f"/campaigns/{id_}?reach=1")
    assert "left out: the user has not agreed, or cannot be reached not known " in text
    assert f"of them may be sent to at most {found['reachable']} " in text


def test_a_refused_form_names_the_fields_and_marks_them(person: Person) -> None:
    fields = fields_of(person.get(BY_TEMPLATE).text)
    body = next(name for name in fields if name.endswith("_text") and fields[name.replace("text", "name")] == "body")
    wrong = fields | {body: "Hello {{"}
    answer = person.post("/campaigns/by-form", action="save", **wrong)
    assert answer.status_code == 422
    alert = answer.text.partition('role="alert"')[2].partition("</ul>")[0]
    assert "<b>Message · Text</b>" in alert
    assert "campaigns.incentive" not in alert
    assert re.search(rf'<textarea[^>]* name="{body}"[^>]* aria-invalid="true"', answer.text)
    assert answer.text.count("aria-invalid") == 1
    answer = person.post("/campaigns/by-form", action="save", **fields | {"control": "200"})
    assert "<b>Control group, in percent</b>" in answer.text
    assert re.search(r'<input id="control"[^>]* aria-invalid="true"', answer.text)


def test_the_end_of_a_segment_says_which_campaigns_it_pauses(person: Person) -> None:
    id_ = made(person, f"{BY_TEMPLATE}&min=30&max=55", name="Middle of them", state="on")
    segment = told(person, id_)["segment"]
    assert "Paused with it, as they rest on it: Middle of them" in person.page(f"/segments/{segment}/archive")
    assert person.post(f"/segments/{segment}/archive").status_code == 303
    assert told(person, id_)["state"] == "paused"
    assert "Something that it rests on has changed" in person.page(f"/campaigns/{id_}")


def test_every_reason_is_told_in_words() -> None:
    for texts in (ENGLISH, FRENCH):
        assert texts.withheld_reasons.keys() == REASONS.keys()
        assert texts.lift_early.keys() == set(get_args(Early)) | set(get_args(NoMoney))
        assert texts.lift_verdicts.keys() == set(get_args(Verdict))
        assert texts.campaign_states.keys() == texts.campaign_state_help.keys() == set(get_args(Status))


def test_a_journey_is_built_step_by_step(person: Person) -> None:
    address = "/campaigns/by-form?prediction=orders_3d&kind=journey"
    fields = fields_of(person.get(address).text) | {
        "name": "Two words",
        "s0_part_0_text": "Hi",
        "s0_part_1_text": "You",
    }
    for action in ("add_wait", "add_split", "add_send"):
        fields = fields_of(person.post("/campaigns/by-form", action=action, **fields).text)
    fields |= {"s1_span": "90", "s1_span_unit": "m", "s2_path_0_prediction": "orders_3d", "s2_path_0_then": "end"}
    fields = fields_of(person.post("/campaigns/by-form", action="s3_up", **fields).text)
    fields = fields_of(person.post("/campaigns/by-form", action="s2_down", **fields).text)
    refused = person.post("/campaigns/by-form", action="save", **fields)
    assert refused.status_code == 422
    assert re.search(r'<textarea[^>]* name="s3_part_0_text"[^>]* aria-invalid="true"', refused.text), (
        "it says nothing yet"
    )
    fields |= {"s3_part_0_text": "Again", "s3_part_1_text": "You", "s3_offer": "fixed", "s3_value": "5"}
    answer = person.post("/campaigns/by-form", action="save", **fields)
    assert answer.status_code == 303, answer.text
    id_ = answer.headers["location"].rpartition("/")[2]
    steps = told(person, id_, "journeys")["definition"]["steps"]
    assert list(steps) == ["send", "wait", "split", "send_2"]
    assert steps["wait"] == {"wait": "90m"}
    assert steps["split"]["split"] == [{"when": {"prediction": "orders_3d", "category": ["high"]}, "then": "end"}]
    assert steps["send_2"]["offer"] == {"unit": "percent", "value": 5.0}
    page = person.page(f"/campaigns/{id_}")
    assert "3 Split by score or segment 0 times" in page
    assert "All others" in page


@pytest.mark.parametrize(
    ("prediction", "title", "high"),
    [("orders_3d", "Event Likelihood Category", "High"), ("churn_5d", "Churn Risk Category", "High risk")],
)
def test_a_path_by_category_has_the_words_of_its_prediction(
    person: Person, prediction: str, title: str, high: str
) -> None:
    fields = fields_of(person.get("/campaigns/by-form?prediction=orders_3d&kind=journey").text)
    fields = fields_of(person.post("/campaigns/by-form", action="add_split", **fields).text)
    fields |= {"s1_path_0_prediction": prediction}
    page = person.post("/campaigns/by-form", action="add_wait", **fields).text
    assert re.search(rf'<select name="s1_path_0_category" aria-label="{title}"', page)
    assert re.search(rf'<option value="high"[^>]* selected>{high}</option>', page)


def test_an_offer_is_drawn_over_the_users_while_it_is_written(person: Person) -> None:
    fields = fields_of(person.get(f"{BY_TEMPLATE}&min=60&max=90").text)
    fields |= {"offer": "linear", "offer_prediction": "orders_3d", "least": "0", "most": "20", "step": "10"}
    asked = person.post("/campaigns/by-form/offer", **fields | {"order_value": "50"}).json()["html"]
    users = sum(int(n.replace(",", "")) for n in re.findall(r"<td>([\d,]+)</td><td>[\d,]+</td></tr>", asked))
    told_so = person.told("/v1/predictions/orders_3d/estimate?min=60&max=90")["users"]
    assert abs(users - told_so) <= 3, "buckets that are cut are taken in parts"
    assert asked.count('class="crowd"') == 20
    assert "Say what an order is worth" in person.post("/campaigns/by-form/offer", **fields).json()["html"]
    assert person.post("/campaigns/by-form/offer", **fields | {"most": "much"}).json()["html"].strip() == ""
