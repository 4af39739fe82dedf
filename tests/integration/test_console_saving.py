"""What saving a form of the console does: once, to what it was of, with the numbers that were shown, or not at all."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from config.campaign_checks import read_messaging
from config.journeys import MAX_STEPS
from config.written import written
from streams.adapters.campaign_definitions import shared
from streams.api.keys import Role
from streams.console.visit import BASE
from tests.html_forms import sent
from tests.integration.test_console_pages import Person
from tests.unit.api_world import NOW_S, ApiWorld

BY_FORM = "/campaigns/by-form"
BY_TEMPLATE = f"{BY_FORM}?template=incentive&prediction=orders_3d"
JOURNEY: dict[str, Any] = {
    "name": "Long way",
    "segment": "orders_3d.high",
    "channels": ["log"],
    "conversion": {"event": "Order Completed"},
    "state": "paused",
}


@pytest.fixture
def api(shop_console: ApiWorld) -> ApiWorld:
    return shop_console


@pytest.fixture
def person(api: ApiWorld) -> Person:
    person = Person(api)
    assert person.post("/campaigns/new-channel", kind="log").status_code == 303
    return person


def fields_of(person: Person, address: str, action: str | None = None) -> dict[str, str]:
    """What a browser sends of the form at an address."""
    answer = person.get(address)
    assert answer.status_code == 200, answer.text
    return sent(answer.text, BASE + (action or address))


def saved(person: Person, address: str, fields: dict[str, str]) -> str:
    """The id of what a form has made."""
    answer = person.post(address, **{**fields, "action": "save"})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"].rpartition("/")[2])


def made(api: ApiWorld, kind: str, data: dict[str, Any]) -> Any:
    """The answer of the API that has made a definition."""
    answer = api.ask("POST", f"/v1/{kind}", json=data, headers=api.headers(Role.WRITE))
    assert answer.status_code == 201, answer.text
    return answer.json()


def speak(person: Person, language: str) -> None:
    """Read another language from now on."""
    person.headers["accept-language"] = language


def campaigns(api: ApiWorld) -> list[str]:
    return [each.head.id for each in api.campaigns.kept().campaigns]


def segments(api: ApiWorld) -> list[str]:
    return [entry.id for entry in api.definitions.kept().entries]


# --- once -------------------------------------------------------------------------------------------------------------


def test_a_button_that_is_pressed_twice_makes_one_thing(api: ApiWorld, person: Person) -> None:
    of_range = fields_of(person, f"{BY_TEMPLATE}&min=62.5&max=90", BY_FORM)
    assert saved(person, BY_FORM, of_range) == saved(person, BY_FORM, of_range)
    assert (len(campaigns(api)), len(segments(api))) == (1, 1)

    by_filter = fields_of(person, "/segments/by-filter") | {"name": "Looked", "filter": "{segment: orders_3d.high}"}
    assert (
        saved(person, "/segments/by-filter", by_filter) == saved(person, "/segments/by-filter", by_filter) == "looked"
    )

    selected = fields_of(person, "/segments/new?prediction=orders_3d&category=high", "/segments") | {"name": "Best"}
    assert saved(person, "/segments", selected) == saved(person, "/segments", selected) == "best"

    goal = {"name": "Looks", "goal_0_event": "Viewed"}
    asked = person.post("/predictions/by-goal", **fields_of(person, "/predictions/by-goal") | goal, action="estimate")
    estimated = sent(asked.text, f"{BASE}/predictions/by-goal")
    assert saved(person, "/predictions/by-goal", estimated) == saved(person, "/predictions/by-goal", estimated)
    assert {"best", "looked", "looks"} < set(segments(api))
    assert len(segments(api)) == 4


def test_a_form_that_was_sent_before_and_is_changed_is_asked_about(api: ApiWorld, person: Person) -> None:
    fields = fields_of(person, BY_TEMPLATE, BY_FORM)
    saved(person, BY_FORM, fields)
    answer = person.post(BY_FORM, **fields | {"name": "Another"}, action="save")
    assert (answer.status_code, "This form was sent before" in answer.text, len(campaigns(api))) == (422, True, 1)
    saved(person, BY_FORM, sent(answer.text, BASE + BY_FORM))
    assert len(campaigns(api)) == 2


def test_another_language_waits_for_what_was_refused_and_leads_back_to_its_form(person: Person) -> None:
    fields = fields_of(person, "/segments/new?prediction=orders_3d&min=60&max=90", "/segments")
    person.headers["referer"] = f"http://api{BASE}/segments/new?prediction=orders_3d&min=60&max=90"
    refused = person.post("/segments", **fields | {"name": ""})
    assert refused.status_code == 422
    assert re.search(r'name="language" value="fr"[^>]* disabled', refused.text), "a script asks before it is lost"
    assert f'name="next" value="{BASE}/segments/new?prediction=orders_3d&amp;min=60&amp;max=90"' in refused.text
    person.headers["referer"] = "http://elsewhere.example.org/console/segments/new"
    assert f'name="next" value="{BASE}/segments"' in person.post("/segments", **fields | {"name": ""}).text
    failed = person.post("/campaigns/nothing/stand", action="pause")
    assert (failed.status_code, " disabled" in failed.text) == (404, False), "nothing can be lost"


def test_what_is_archived_meanwhile_says_so(person: Person) -> None:
    id_ = saved(person, BY_FORM, fields_of(person, BY_TEMPLATE, BY_FORM))
    assert person.post(f"/campaigns/{id_}/archive").status_code == 303
    answer = person.post(f"/campaigns/{id_}/stand", action="pause")
    assert (answer.status_code, "This is archived for good" in answer.text) == (409, True)


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("language", "budget"), [("en", "10,000"), ("fr", "10 000"), ("fr", "10\u202f000")])
def test_thousands_are_thousands(person: Person, language: str, budget: str) -> None:
    speak(person, language)
    fields = fields_of(person, BY_TEMPLATE, BY_FORM) | {"offer": "fixed", "unit": "amount", "value": "5"}
    speak(person, "en" if language == "fr" else "fr")  # elsewhere, while the form is open
    id_ = saved(person, BY_FORM, fields | {"budget": budget})
    assert person.told(f"/v1/campaigns/{id_}")["definition"]["offer"]["budget"]["amount"] == 10_000.0
    speak(person, language)
    shown = fields_of(person, f"/campaigns/{id_}/edit")["budget"]
    assert shown == {"en": "10,000", "fr": "10\u202f000"}[language]


@pytest.mark.parametrize(
    ("language", "budget", "example"), [("en", "1,5", "12,345.5"), ("fr", "10,000", "12\u202f345,5")]
)
def test_an_ambiguous_number_is_refused_at_its_field(
    api: ApiWorld, person: Person, language: str, budget: str, example: str
) -> None:
    speak(person, language)
    fields = fields_of(person, BY_TEMPLATE, BY_FORM) | {"offer": "fixed", "unit": "amount", "value": "5"}
    answer = person.post(BY_FORM, **fields | {"budget": budget}, action="save")
    assert (answer.status_code, campaigns(api)) == (422, [])
    beside = re.search(r'id="wrong-budget"><p>(.*?)</p>', answer.text)
    assert beside is not None
    assert example in unescape(beside[1])
    assert sent(answer.text, BASE + BY_FORM)["budget"] == budget, "what was written stays"


# --- whom it is for ---------------------------------------------------------------------------------------------------


def test_a_campaign_stays_with_its_segment_and_channels_when_they_are_gone(api: ApiWorld, person: Person) -> None:
    segment = made(api, "segments", {"id": "mine", "name": "Mine", "filter": {"segment": "orders_3d.high"}})
    assert segment
    id_ = saved(person, BY_FORM, fields_of(person, BY_TEMPLATE, BY_FORM) | {"segment": "mine"})
    assert api.ask("POST", "/v1/segments/mine/archive", headers=api.headers(Role.WRITE)).status_code == 200
    kept = api.campaigns.kept()
    messaging = written(read_messaging({"channels": {"another": {"kind": "log"}}}))
    api.campaigns.write(kept.revision, [shared(kept, messaging, "key", NOW_S)])
    answer = person.get(f"/campaigns/{id_}/edit")
    fields = sent(answer.text, f"{BASE}/campaigns/{id_}/edit")
    assert (fields["segment"], [name for name in fields if name.startswith("channel_")]) == ("mine", ["channel_log"])
    assert "Mine (cannot be chosen any more)" in answer.text
    assert "log (cannot be chosen any more)" in answer.text
    refused = person.post(f"/campaigns/{id_}/edit", **fields | {"name": "Renamed"}, action="save")
    assert (refused.status_code, person.told(f"/v1/campaigns/{id_}")["segment"]) == (422, "mine")


def test_a_new_campaign_is_for_nobody_until_somebody_says_for_whom(person: Person) -> None:
    assert fields_of(person, BY_FORM)["segment"] == ""


def test_a_segment_whose_id_others_have_taken_meanwhile_gets_another(api: ApiWorld, person: Person) -> None:
    fields = fields_of(person, f"{BY_TEMPLATE}&min=62.5&max=90", BY_FORM)
    made(api, "segments", {"id": fields["segment"], "name": "Theirs", "filter": {"segment": "orders_3d.low"}})
    found = person.told(f"/v1/campaigns/{saved(person, BY_FORM, fields)}")["definition"]
    assert found["segment"] != fields["segment"]
    (own,) = [entry for entry in api.definitions.kept().entries if entry.id == found["segment"]]
    assert own.definition["filter"]["score"] == {"min": 62.5, "max": 90.0}


# --- all of it --------------------------------------------------------------------------------------------------------


def test_a_journey_of_the_api_keeps_all_its_steps(api: ApiWorld, person: Person) -> None:
    steps = {f"wait_{n}": {"wait": "90s"} for n in range(MAX_STEPS)}
    made(api, "journeys", {"id": "long", **JOURNEY, "steps": steps})
    fields = fields_of(person, "/campaigns/long/edit") | {"name": "Renamed"}
    saved(person, "/campaigns/long/edit", fields)
    found = person.told("/v1/journeys/long")["definition"]
    assert (found["name"], found["steps"]) == ("Renamed", steps)


@pytest.mark.parametrize(
    ("written_", "trigger"),
    [
        ({"trigger": "enter"}, None),
        ({"trigger": "exit"}, "exit"),
        ({"trigger": "both"}, "both"),
        ({"trigger": "event", "trigger_event": "Viewed"}, {"event": "Viewed"}),
        ({"trigger": "recurring", "trigger_every": "day"}, {"every": "day", "at": "10:00"}),
        (
            {"trigger": "once", "trigger_at": "2027-03-01T10:00", "trigger_zone": "Europe/Paris"},
            {"at": "2027-03-01 10:00", "timezone": "Europe/Paris"},
        ),
        (
            {"trigger": "recurring", "trigger_every": "week", "trigger_on_friday": "1", "trigger_time": "08:30"},
            {"every": "week", "at": "08:30", "on": ["monday", "friday"]},
        ),
        (
            {"trigger": "recurring", "trigger_every": "month", "trigger_days": "1, 15"},
            {"every": "month", "at": "10:00", "on": [1, 15]},
        ),
    ],
)
def test_when_it_goes_out_is_chosen_and_stays(person: Person, written_: dict[str, str], trigger: Any) -> None:
    id_ = saved(person, BY_FORM, fields_of(person, BY_TEMPLATE, BY_FORM) | written_)
    made = person.told(f"/v1/campaigns/{id_}")
    assert made["definition"].get("trigger") == trigger
    fields = fields_of(person, f"/campaigns/{id_}/edit")
    assert fields["trigger"] == written_["trigger"]
    saved(person, f"/campaigns/{id_}/edit", fields)
    assert person.told(f"/v1/campaigns/{id_}") == made, "saving what was opened changes nothing"


def test_a_day_that_there_is_not_is_told_at_its_field(person: Person) -> None:
    fields = fields_of(person, BY_TEMPLATE, BY_FORM) | {"trigger": "recurring", "trigger_every": "month"}
    answer = person.post(BY_FORM, **fields | {"trigger_days": "31"}, action="save")
    assert (answer.status_code, 'id="wrong-trigger_on"' in answer.text) == (422, True)


def test_a_journey_draws_the_offers_of_its_steps(api: ApiWorld, person: Person) -> None:
    offer = {"unit": "percent", "prediction": "orders_3d", "edges": [50], "values": [12.5, 5]}
    send = {"send": {"parts": {"body": "Hello"}}}
    made(api, "journeys", {"id": "two", **JOURNEY, "steps": {"a": {**send, "offer": offer}, "b": send}})
    page = person.get("/campaigns/two").text
    assert page.count('class="chart offer-chart"') == 1
    assert "12.50%" in page


def test_a_trial_shows_an_offer_in_full_with_its_unit(person: Person) -> None:
    fields = fields_of(person, f"{BY_TEMPLATE}&category=low", BY_FORM)
    fields |= {"offer": "fixed", "unit": "percent", "value": "12.5"}
    id_ = saved(person, BY_FORM, fields)
    assert "Offer 12.5%" in person.page(f"/campaigns/{id_}?user=u12")
    speak(person, "fr")
    assert "12,5\u00a0%" in person.page(f"/campaigns/{id_}?user=u12")


# --- the secret of a webhook ------------------------------------------------------------------------------------------

WEBHOOK = {"kind": "webhook", "url": "https://hooks.example.org/tideline"}


@pytest.fixture
def without_webhook(api: ApiWorld) -> None:
    """The store is that of other tests, too."""
    answer = api.ask("DELETE", "/v1/campaign-channels/webhook", headers=api.headers(Role.WRITE))
    assert answer.status_code in (200, 404), answer.text


@pytest.mark.usefixtures("without_webhook")
def test_the_secret_of_a_webhook_stays_in_sight_in_another_language(api: ApiWorld) -> None:
    person = Person(api)
    fields = WEBHOOK | {"once": "the mark of a form"}
    addresses = {person.post("/campaigns/new-channel", **fields).headers["location"] for _ in range(2)}
    (address,) = {each.removeprefix(BASE) for each in addresses}
    first = person.get(address)
    secret = re.search(r"whsec_[^<]+", first.text)
    assert secret is not None
    assert secret[0] not in address
    speak(person, "fr")
    assert secret[0] in person.get(address).text
    assert "whsec_" not in Person(api).get(address).text, "it is for who has made it"
    assert "whsec_" not in person.get("/campaigns/new-channel").text
    assert "whsec_" not in person.get(address.replace("until=1", "until=9")).text, "for longer than was signed"
    renewed = api.ask("POST", "/v1/campaign-channels/webhook/secret", headers=api.headers(Role.WRITE)).json()["secret"]
    assert renewed != unescape(secret[0])
    assert "whsec_" not in person.get(address).text, "it is not the one that signs any more"


@pytest.mark.usefixtures("without_webhook")
def test_nothing_is_kept_of_a_channel_that_the_catalog_file_defines(api: ApiWorld) -> None:
    kept = api.campaigns.kept()
    messaging = written(read_messaging({"channels": {"log": {"kind": "log"}}}))
    api.campaigns.write(kept.revision, [shared(kept, messaging, "key", NOW_S, "file")])
    person = Person(api)
    assert person.post("/campaigns/new-channel", **WEBHOOK, once="a").status_code == 409
    assert [each["id"] for each in person.told("/v1/campaign-channels")["items"]] == ["log"]
