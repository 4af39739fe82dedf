"""`tideline campaign figures` to `template`, `channel`, `redrive`: what they ask of the API, and how they show it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from streams.api.campaign_figures import (
    BudgetUsedView,
    ComparisonView,
    DifferenceView,
    FiguresView,
    InJourneyView,
    MeasuredView,
    ReadingView,
)
from streams.api.campaign_previews import (
    AgainstView,
    BudgetView,
    GivenView,
    MessageRequest,
    MessageView,
    OfferView,
    PreviewRequest,
    PreviewView,
    RungView,
    TextsView,
)
from streams.api.campaign_tests import TestSend as BodyOfTest
from streams.api.campaign_tests import TestSent as SentToBeSeen
from streams.api.channel_views import (
    ChannelView,
    ChannelWithSecret,
    FailingView,
    FailureView,
    NewSettings,
    RedriveMessages,
)
from streams.api.dead_letters import Correction, DeadLetterPage, DeadLetterView, RedrivenView
from streams.api.templates import _Asked as AskedTemplate
from streams.api.webhook_views import Redriven
from streams.cli.app import app
from streams.client import OPERATIONS, Answer, ApiError, Client
from tests.conftest import ROOT

DEFINITION = {"name": "Cart", "segment": "orders.high", "channels": ["push", "mail"]}
NONE_YET = MeasuredView(difference=None, verdict="too early", why="few_users", words="too few users yet")


BODIES: dict[str, type[BaseModel]] = {
    "previewCampaign": PreviewRequest,
    "previewMessage": MessageRequest,
    "testCampaign": BodyOfTest,
    "setChannel": NewSettings,
    "redriveChannel": RedriveMessages,
    "redriveDeadLetter": Correction,
    "fillTemplate": AskedTemplate,
}
"""What the API takes."""


class Api:
    """Answers each operation with what is put there, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "getCampaign": {"id": "cart", "channels": ["push", "mail"], "definition": DEFINITION},
        }
        self.asked: list[tuple[str, Mapping[str, str], Mapping[str, Any], Any]] = []

    def ask(
        self,
        operation: str,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        names = set(re.findall(r"\{(\w+)\}", OPERATIONS[operation][1]))
        assert set(path or {}) == names, "what the address needs, and no more"
        assert headers is None or "Idempotency-Key" in headers
        if operation in BODIES:
            BODIES[operation].model_validate(body)
        self.asked.append((operation, dict(path or {}), given, body))
        if operation not in self.answers:
            kind = {"type": "urn:tideline:problem:not-found", "detail": "there is none"}
            raise ApiError(404, kind)
        found = self.answers[operation]
        found = found(path or {}, given) if callable(found) else found
        return Answer(200, "", found.model_dump_json() if isinstance(found, BaseModel) else json.dumps(found))

    def bodies(self, operation: str) -> list[Any]:
        return [body for each, _, _, body in self.asked if each == operation]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    found = Api()

    def ask(_: Client, *args: Any, **given: Any) -> Answer:
        return found.ask(*args, **given)

    monkeypatch.setattr(Client, "ask", ask)
    monkeypatch.setenv("TIDELINE_API_KEY", "tl_write_id_secret")
    return found


def run(*args: str, code: int = 0, given: str | None = None) -> str:
    """What it prints."""
    result = CliRunner().invoke(app, list(args), env={"COLUMNS": "100", "TERM": "dumb"}, input=given)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.stderr
    return " ".join((result.stdout if code == 0 else result.stderr).split())


def printed(*args: str) -> str:
    """As it would go into a file."""
    result = CliRunner().invoke(app, list(args), env={"COLUMNS": "100", "TERM": "dumb"}, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def figures(**more: Any) -> FiguresView:
    difference = DifferenceView(
        treated=0.12, control=0.1, estimate=0.02, low=0.01, high=0.03, low_always=-0.01, high_always=0.05
    )
    rate = MeasuredView(difference=difference, verdict="too early", why="wide", words="it could be chance")
    overall = ComparisonView(rung=None, value=None, treated_users=1_200, control_users=130, rate=rate, net=NONE_YET)
    given: dict[str, Any] = {
        "id": "cart",
        "kind": "campaign",
        "name": "Cart",
        "version": 2,
        "state": "on",
        "as_of": "2026-11-23T20:00:00Z",
        "sent": 1_204,
        "withheld": {"goal": 30, "consent": 7},
        "control": 130,
        "holdout": 0,
        "waited": {"quiet": 12},
        "replaced": 0,
        "waiting_for_rate": 0,
        "reading": None,
        "known_since": {},
        "journey": None,
        "open_windows": 40,
        "groups": {},
        "budgets": [BudgetUsedView(amount=500.0, per="month", period="2026-11", spent=120.5)],
        "overall": overall,
        "rungs": [],
    }
    return FiguresView(**given | more)


def test_figures_say_what_was_sent_why_others_were_not_and_what_came_of_it(api: Api) -> None:
    api.answers["getCampaignFigures"] = figures()
    shown = run("campaign", "figures", "cart")
    for words in (
        "Cart (campaign cart, version 2, on)",
        "As of 2026-11-23T20:00:00Z",
        "sent 1,204 control group 130 not sent: goal 30 not sent: consent 7 had to wait: quiet 12",
        "Budget per month: 120.50 of 500.00 are used in 2026-11.",
        "all 1,200 130 goal +2.0% -1.0% to +5.0%",
        "The windows of 40 users are open",
        "Goal: it could be chance Money: too few users yet",
    ):
        assert words in shown
    assert "holdout" not in shown, "nobody is in it"
    assert json.loads(run("campaign", "figures", "cart", "--json")) == figures().model_dump(mode="json")


def test_figures_tell_of_events_whose_past_is_read_still_or_is_lost(api: Api) -> None:
    reading = ReadingView(events=["Push Refused"], records=5_000_000, left=1_200_000)
    api.answers["getCampaignFigures"] = figures(reading=reading, known_since={"Order": "2026-10-01T00:00:00Z"})
    shown = run("campaign", "figures", "cart")
    assert (
        "What rests on Push Refused waits: about 1,200,000 of 5,000,000 records of the log are still to be read."
        in shown
    )
    assert "Order is known since 2026-10-01T00:00:00Z alone: the log has lost what was before." in shown


def test_figures_of_a_journey_say_where_its_users_are(api: Api) -> None:
    del api.answers["getCampaign"]
    api.answers["getJourney"] = {"id": "steps", "channels": ["push"], "definition": {}}
    inside = InJourneyView(
        entered=20, inside=5, waiting={"week": 5}, ended={"goal_reached": 3}, steps={"word": 20, "week": 18}
    )
    api.answers["getJourneyFigures"] = figures(id="steps", kind="journey", journey=inside)
    shown = run("campaign", "figures", "steps")
    assert "word 20 0 week 18 5" in shown
    assert "20 have entered, 5 are inside, goal reached 3." in shown


FAILURE = FailureView(
    id="id-1",
    campaign_id="cart",
    campaign_version=2,
    step=None,
    user_id="ann",
    attempts=15,
    decided_at="2026-11-23T20:00:00Z",
    result="answered 500",
)


def test_failures_of_a_campaign_are_those_of_its_channels(api: Api) -> None:
    api.answers["listChannels"] = {"items": [{"id": "push"}, {"id": "else"}]}
    api.answers["listFailures"] = lambda _, query: {"items": [FAILURE.model_dump()] if query["state"] == "dead" else []}
    found = json.loads(run("campaign", "failures", "cart", "--json"))
    assert found == [{"channel": "push", "state": "dead"} | FAILURE.model_dump()]
    asked = [(path, query) for operation, path, query, _ in api.asked if operation == "listFailures"]
    of = {"channel_id": "push"}
    assert asked == [(of, {"state": state, "campaign_id": "cart"}) for state in ("dead", "unknown")]
    assert "id-1 push dead cart ann 15 2026-11-23T20:00:00Z answered 500" in run("campaign", "failures", "cart")
    assert run("campaign", "failures", "cart", "--state", "unknown") == "There are none."


def preview(*offers: OfferView) -> PreviewView:
    return PreviewView(
        as_of=None,
        users=120,
        left_out={"goal": 16, "consent": None},
        reachable=104,
        holdout=2.0,
        control=10.0,
        messages=92.0,
        anyway=None,
        basis=None,
        no_basis="no prediction says so",
        offers=list(offers),
    )


def test_a_preview_says_whom_it_would_reach_and_what_it_would_cost(api: Api) -> None:
    rungs = [
        RungView(value=10, users=80, messages=72.4, anyway=30.0, cost_at_least=150.0, cost_at_most=362.0),
        RungView(value=20, users=20, messages=18.1, anyway=None, cost_at_least=None, cost_at_most=None),
    ]
    budget = BudgetView(amount=100.0, per="week", needed=362.0, messages=20.0)
    offer = OfferView(
        step=None, unit="percent", rungs=rungs, without_score=4, cost_at_least=150.0, cost_at_most=362.0, budget=budget
    )
    api.answers["previewCampaign"] = preview(offer)
    shown = run("campaign", "preview", "cart")
    for words in (
        "in the audience 120 left out: goal 16 left out: consent not known may be sent to 104",
        "and sent to 92",
        "Who would do it anyway is not known: no prediction says so.",
        "10 80 72 30 150.00 362.00 20 20 18 not known not known not known all 150.00 362.00",
        "4 have no score, and get nothing. Budget: 100.00 per week; all at once would take 362.00.",
    ):
        assert words in shown
    assert api.bodies("previewCampaign") == [{"definition": DEFINITION}]


def test_a_definition_that_is_not_made_yet_can_be_previewed(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "spring.yaml"
    file.write_text("name: Spring\nsegment: orders.low\n")
    api.answers["previewMessage"] = message()
    run("campaign", "preview", "--file", str(file), "--user", "ann")
    run("campaign", "preview", "cart", "--file", str(file), "--user", "ann")
    run("campaign", "preview", "cart", "--user", "ann", "--step", "word")
    spring = {"name": "Spring", "segment": "orders.low"}
    assert api.bodies("previewMessage") == [
        {"definition": spring, "user_id": "ann"},
        {"id": "cart", "definition": spring, "user_id": "ann"},
        {"id": "cart", "user_id": "ann", "step": "word"},
    ]
    file.write_text("- no definition\n")
    assert "the definition of a campaign or journey" in run("campaign", "preview", "--file", str(file), code=2)
    assert "preview what?" in run("campaign", "preview", code=2)
    assert "--step belongs to --user" in run("campaign", "preview", "cart", "--step", "word", code=2)
    assert "--event belongs to --user" in run("campaign", "preview", "cart", "--event", "{}", code=2)
    assert "cannot be read" in run("campaign", "preview", "--file", str(tmp_path / "none"), code=2)


def test_what_a_template_prints_can_be_previewed_with_its_segment(api: Api, tmp_path: Path) -> None:
    api.answers |= {"fillTemplate": FILLED, "previewCampaign": preview()}
    file = tmp_path / "reminder.yaml"
    file.write_text(printed("campaign", "template", "reminder", "--prediction", "orders", "--channel", "push"))
    run("campaign", "preview", "--file", str(file))
    definition = {"id": "reminder_orders", **FILLED["definition"]}
    assert api.bodies("previewCampaign") == [{"definition": definition, "segment": RANGE}]
    file.write_text("journeys:\n  steps: {name: Steps, segment: orders.low}\n")
    run("campaign", "preview", "--file", str(file))
    steps = {"id": "steps", "name": "Steps", "segment": "orders.low"}
    assert api.bodies("previewCampaign")[1:] == [{"definition": steps}]
    wrong = {"campaigns: {}": "none", "campaigns: {a: {}, b: {}}": "a, b", "journeys: {a: text}": "a"}
    for text, found in wrong.items():
        file.write_text(text)
        told = run("campaign", "preview", "--file", str(file), code=2)
        assert f"found {found} expected one campaign or journey" in told


def test_a_message_is_shown_with_properties_of_the_event_that_triggers_it(api: Api) -> None:
    sent = SentToBeSeen(id="test-1", look_at="/", channel="push", lacks=None, address=None, texts={"body": "Hi"})
    api.answers |= {"previewMessage": message(), "testCampaign": sent}
    event = {"products": [{"name": "Shoes"}]}
    run("campaign", "preview", "cart", "--user", "ann", "--event", json.dumps(event))
    run("campaign", "test", "cart", "--user", "ann", "--channel", "push", "--event", json.dumps(event))
    assert api.bodies("previewMessage") == [{"id": "cart", "user_id": "ann", "event": event}]
    assert api.bodies("testCampaign") == [{"user_id": "ann", "channel": "push", "event": event}]
    for wrong, words in (("{", "--event is no JSON"), ("[]", "expected the properties as an object")):
        assert words in run("campaign", "preview", "cart", "--user", "ann", "--event", wrong, code=2)


def test_of_one_user_the_segment_has_to_be_made(api: Api, tmp_path: Path) -> None:
    api.answers |= {"fillTemplate": FILLED, "listSegments": {"items": []}, "previewMessage": message()}
    file = tmp_path / "reminder.yaml"
    file.write_text(printed("campaign", "template", "reminder", "--prediction", "orders", "--channel", "push"))
    command = ("campaign", "preview", "--file", str(file), "--user", "ann")
    assert "'reminder_orders' is not made yet, and nobody is in it. Leave out --user" in run(*command, code=1)
    api.answers["listSegments"] = {"items": [{"id": "reminder_orders"}]}
    assert "ann: group treated." in run(*command)


def test_what_a_template_prints_is_made_with_its_segment(api: Api, tmp_path: Path) -> None:
    api.answers |= {"fillTemplate": FILLED, "createSegment": {}, "createCampaign": MADE}
    file = tmp_path / "reminder.yaml"
    file.write_text(printed("campaign", "template", "reminder", "--prediction", "orders", "--channel", "push"))
    shown = run("campaign", "make", str(file))
    assert shown.startswith("The campaign reminder_orders is made, on a dry run: it decides and counts")
    assert "None of its times is still to come." in shown
    assert shown.endswith("tideline campaign resume reminder_orders")
    assert api.bodies("createSegment") == [{"id": "reminder_orders", "name": "80 to 95", "filter": RANGE}]
    definition = {**FILLED["definition"], "state": "dry", "id": "reminder_orders"}
    assert api.bodies("createCampaign") == [definition]


def test_a_definition_alone_is_made_under_an_id(api: Api, tmp_path: Path) -> None:
    api.answers["createJourney"] = MADE | {"kind": "journey", "id": "spring", "state": "paused", "status": "paused"}
    file = tmp_path / "steps.yaml"
    file.write_text("name: Steps\nsegment: orders.low\nstate: paused\nsteps: {}\n")
    assert "is a definition without an id: give one with --id" in run("campaign", "make", str(file), code=2)
    assert "The journey spring is made, and paused" in run("campaign", "make", str(file), "--id", "spring")
    assert json.loads(run("campaign", "make", str(file), "--id", "spring", "--json"))["id"] == "spring"
    steps = {"name": "Steps", "segment": "orders.low", "state": "paused", "steps": {}, "id": "spring"}
    assert api.bodies("createJourney") == [steps] * 2


@pytest.mark.parametrize("is_same", [True, False])
def test_a_segment_that_is_there_already_will_do_if_it_is_the_same(api: Api, tmp_path: Path, *, is_same: bool) -> None:
    def taken(*_: Any) -> Any:
        raise ApiError(409, {"type": "urn:tideline:problem:already-exists", "id": "reminder_orders"})

    api.answers |= {
        "fillTemplate": FILLED,
        "createSegment": taken,
        "getSegmentDefinition": {
            "archived": False,
            "definition": {"filter": RANGE if is_same else {"segment": "else"}},
        },
        "createCampaign": MADE,
    }
    file = tmp_path / "reminder.yaml"
    file.write_text(printed("campaign", "template", "reminder", "--prediction", "orders", "--channel", "push"))
    if is_same:
        assert "is made" in run("campaign", "make", str(file))
    else:
        assert "'reminder_orders' is taken; choose another one" in run("campaign", "make", str(file), code=1)
    assert len(api.bodies("createCampaign")) == int(is_same)


def message(**more: Any) -> MessageView:
    given: dict[str, Any] = {
        "user_id": "ann",
        "step": None,
        "group": "treated",
        "offer": GivenView(value=15.0, unit="percent", rung=1, cost=7.5, held_down=True),
        "channels": [
            TextsView(channel="push", open=True, address=None, texts={"title": "Hi", "body": "one\ntwo\x1b[2J"}),
            TextsView(channel="mail", open=False, address="ann@shop.example", texts={"subject": "S"}),
        ],
        "failed": None,
        "recommendations": "not-asked",
        "against": [AgainstView(reason="quiet", words="it is quiet", until="2026-11-24T07:00:00Z")],
    }
    return MessageView(**given | more)


def test_a_preview_for_a_user_shows_the_texts_and_what_speaks_against_it(api: Api) -> None:
    api.answers["previewMessage"] = message()
    shown = run("campaign", "preview", "cart", "--user", "ann")
    for words in (
        "ann: group treated.",
        "Offer: 15 percent, held down by an earlier one.",
        "Nobody was asked for recommendations",
        "By push: title: Hi body: one two\\x1b[2J",
        "By mail to ann@shop.example (the user has not agreed to it, or is not reached by it):",
        "Against it, quiet: it is quiet; asked again at 2026-11-24T07:00:00Z.",
    ):
        assert words in shown
    api.answers["previewMessage"] = message(against=[], failed="body, line 1: 'x' is not known", recommendations=None)
    assert "The message fails: body, line 1: 'x' is not known" in run("campaign", "preview", "cart", "--user", "ann")
    api.answers["previewMessage"] = message(against=[], recommendations=None)
    assert run("campaign", "preview", "cart", "--user", "ann").endswith("Nothing speaks against it.")


def test_a_test_is_sent_to_be_seen(api: Api) -> None:
    api.answers["testCampaign"] = SentToBeSeen(
        id="test-1",
        look_at="/v1/campaign-channels/mail",
        channel="mail",
        lacks=None,
        address="me@shop.example",
        texts={"body": "Hi"},
    )
    command = ("campaign", "test", "cart", "--user", "ann", "--channel", "mail", "--address", "me@shop.example")
    shown = run(*command)
    assert "Queued as test-1 for the channel mail to me@shop.example: body: Hi" in shown
    asked = {"user_id": "ann", "channel": "mail", "address": "me@shop.example"}
    assert api.bodies("testCampaign") == [asked]
    assert json.loads(run(*command, "--json"))["queued"] is True


@pytest.mark.parametrize("lacks", ["settings", "secret"])
def test_a_test_by_a_channel_that_is_not_set_up_says_what_to_do(api: Api, lacks: Literal["settings", "secret"]) -> None:
    api.answers["testCampaign"] = SentToBeSeen(
        id="test-1", look_at="/", channel="push", lacks=lacks, address=None, texts={"body": "Hi"}
    )
    command = ("campaign", "test", "cart", "--user", "ann", "--channel", "push")
    told = run(*command, code=1)
    assert f"the channel push has no {lacks}: the test waits, and is given up after an hour" in told
    assert "tideline channel set push" in told
    run(*command, "--json", code=1)


RANGE = {"prediction": "orders", "score": {"min": 80, "max": 95}}
FILLED: dict[str, Any] = {
    "kind": "campaign",
    "id": "reminder_orders",
    "definition": {"name": "Reminder", "segment": "reminder_orders", "message": {"parts": {"body": "Hello"}}},
    "segment": {"id": "reminder_orders", "definition": {"name": "80 to 95", "filter": RANGE}},
}


MADE = {
    "kind": "campaign",
    "id": "reminder_orders",
    "state": "dry",
    "status": "dry",
    "next_at": None,
    "definition": {"trigger": {"at": "2026-03-01 10:00"}},
}


def test_templates_are_listed_in_both_languages(api: Api) -> None:
    titles, texts = {"en": "Win", "fr": "Gagner"}, {"en": "A word.", "fr": "Un mot."}
    each = {"title": titles, "description": texts, "kind": "journey", "prediction_kind": "churn", "range": "high"}
    scale = each | {"name": "scale", "prediction_kind": "event", "range": [0, 75], "kind": "campaign"}
    api.answers["listTemplates"] = {"items": [each | {"name": "rescue"}, scale]}
    shown = run("campaign", "templates")
    assert "rescue journey churn, high A word. scale campaign 0 to 75 A word." in shown
    assert "Un mot." in run("campaign", "templates", "--language", "fr")
    assert [found["name"] for found in json.loads(run("campaign", "templates", "--json"))] == ["rescue", "scale"]


def test_a_template_is_printed_as_it_stands_in_a_catalog_or_made_on_a_dry_run(api: Api) -> None:
    api.answers["fillTemplate"] = FILLED
    command = ("campaign", "template", "reminder", "--prediction", "orders", "--channel", "push", "--channel", "mail")
    shown = run(*command, "--min", "80", "--max", "95", "--order-value", "50", "--recommender", "shop")
    assert "segments: reminder_orders: name: 80 to 95" in shown
    assert "campaigns: reminder_orders: name: Reminder" in shown
    assert api.bodies("fillTemplate") == [
        {
            "prediction": "orders",
            "channels": ["push", "mail"],
            "min": 80.0,
            "max": 95.0,
            "language": "en",
            "order_value": 50.0,
            "recommender": "shop",
        }
    ]
    run(*command, "--id", "spring")
    assert api.bodies("fillTemplate")[-1]["id"] == "spring"
    assert json.loads(run(*command, "--category", "low", "--json")) == FILLED
    assert [each for each, *_ in api.asked if each.startswith("create")] == []
    api.answers |= {
        "createSegment": {},
        "createCampaign": MADE,
    }
    assert "tideline campaign resume reminder_orders" in run(*command, "--make")
    created = [
        (operation, body["id"], body.get("state")) for operation, _, _, body in api.asked if "create" in operation
    ]
    assert created == [("createSegment", "reminder_orders", None), ("createCampaign", "reminder_orders", "dry")]


def channel(id_: str = "push", **more: Any) -> ChannelView:
    given: dict[str, Any] = {
        "id": id_,
        "kind": "webhook",
        "settings": {"kind": "webhook", "url": "https://x.example/a"},
        "has_secret": True,
        "lacks": None,
        "waiting": 3,
        "dead": 2,
        "unknown": 0,
        "counts": {},
        "failing": None,
        "warning": None,
    }
    return ChannelView(**given | more)


def test_channels_are_listed_with_how_it_goes(api: Api) -> None:
    failing = FailingView(result="answered 500", at=None, next_attempt=None, circuit="open")
    mail = {"kind": "email", "host": "smtp.example", "port": 25, "sender": "x"}
    views = [
        channel(failing=failing),
        channel("mail", kind="email", settings=mail, lacks="secret"),
        channel("out", kind="topic", settings=None),
        channel("old", kind=None, settings={"kind": "segment"}, warning="messaging has no channel 'old'"),
    ]
    api.answers["listChannels"] = {"items": [each.model_dump(mode="json") for each in views]}
    shown = run("channel", "list")
    assert "push webhook https://x.example/a 3 2 0 answered 500 (circuit open)" in shown
    assert "mail email smtp.example:25 secret 3 2 0" in shown
    assert "out topic campaign-triggers 3 2 0" in shown
    assert shown.endswith("old Segment 3 2 0 messaging has no channel 'old'")
    assert json.loads(run("channel", "list", "--json"))[0]["id"] == "push"


def test_a_channel_is_set_by_the_kind_that_messaging_gives_it(api: Api, tmp_path: Path) -> None:
    kinds = {"push": "webhook", "crm": "braze", "mail": "email"}
    api.answers["listChannels"] = {"items": [{"id": id_, "kind": kind} for id_, kind in kinds.items()]}
    made = ChannelWithSecret(**channel().model_dump(), secret="whsec_x")
    api.answers["setChannel"] = made
    shown = run("channel", "set", "push", "--url", "https://x.example/a")
    assert "delivers to https://x.example/a. Its secret, which is not shown again: whsec_x" in shown
    run("channel", "set", "crm", "--url", "https://b.example", "--campaign", "c1", "--secret-file", "-", given="key\n")
    (tmp_path / "key").write_text("word\n")
    options = ("--host", "h", "--port", "25", "--security", "none", "--user", "u", "--sender", "S <s@x.example>")
    run("channel", "set", "mail", *options, "--secret-file", str(tmp_path / "key"))
    told = run("channel", "set", "push", "--host", "h", "--campaign", "c1", code=2)
    assert "a channel of the kind webhook needs --url, and has no --campaign and --host" in told
    assert "a channel of the kind braze needs --url and --campaign" in run("channel", "set", "crm", code=2)
    (tmp_path / "key").write_text("\n")
    told = run("channel", "set", "push", "--url", "u", "--secret-file", str(tmp_path / "key"), code=2)
    assert "is empty: the secret is expected there" in told
    assert api.bodies("setChannel") == [
        {"settings": {"kind": "webhook", "url": "https://x.example/a"}},
        {"settings": {"kind": "braze", "url": "https://b.example", "campaign": "c1"}, "secret": "key"},
        {
            "settings": {
                "kind": "email",
                "host": "h",
                "port": 25,
                "security": "none",
                "user": "u",
                "sender": "S <s@x.example>",
            },
            "secret": "word",
        },
    ]
    kinds["out"] = "topic"
    api.answers["listChannels"] = {"items": [{"id": id_, "kind": kind} for id_, kind in kinds.items()]}
    assert "of the kind topic, which needs no settings" in run("channel", "set", "out", "--url", "x", code=2)
    wrong = run("channel", "set", "pushh", "--url", "https://x.example", code=1)
    assert "messaging has no channel 'pushh'; there are: push, crm, mail, out" in wrong
    assert "cannot be read" in run("channel", "set", "push", "--secret-file", str(tmp_path / "none"), code=2)


def test_a_channel_is_unset_and_its_secret_renewed(api: Api) -> None:
    api.answers["unsetChannel"] = channel(settings=None, has_secret=False, lacks="settings")
    assert run("channel", "unset", "push") == "The channel push delivers nowhere."
    api.answers["renewChannelSecret"] = ChannelWithSecret(**channel().model_dump(), secret="whsec_y")
    assert "whsec_y" in run("channel", "renew", "push")
    assert json.loads(run("channel", "renew", "push", "--json"))["secret"] == "whsec_y"


def test_failures_of_a_channel_are_shown_and_sent_again(api: Api) -> None:
    api.answers["listFailures"] = {"items": [FAILURE.model_dump()]}
    assert [each["state"] for each in json.loads(run("channel", "failures", "push", "--json"))] == ["dead", "unknown"]
    api.answers["redriveChannel"] = Redriven(redriven=1_200)
    assert run("channel", "redrive", "push") == "1,200 are sent again."
    options = ("--state", "unknown", "--campaign", "cart", "--message", "id-1", "--message", "id-2", "--json")
    assert json.loads(run("channel", "redrive", "push", *options)) == {"redriven": 1_200}
    assert api.bodies("redriveChannel") == [
        {"state": "dead"},
        {"state": "unknown", "campaign_id": "cart", "ids": ["id-1", "id-2"]},
    ]


BACK = RedrivenView(at=None, key_id="k", message_id="redriven-1", partition=0, outcome="refused", why="missing_user")


def letter(number: int, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "id": f"0-{number}-0",
        "reason": "missing_user",
        "detail": "no userId",
        "hint": "send one",
        "shard": 0,
        "source": "partition 0",
        "position": number,
        "record": "{}",
        "record_base64": None,
        "truncated": False,
        "can_be_redriven": True,
        "redriven": None,
    }
    return DeadLetterView(**given | more).model_dump(mode="json")


def test_records_that_could_not_be_used_are_listed_page_by_page(api: Api) -> None:
    pages = {
        None: DeadLetterPage.model_validate({"items": [letter(3, redriven=BACK)], "next_cursor": "b"}),
        "b": DeadLetterPage.model_validate(
            {"items": [letter(2, can_be_redriven=False, record=None, record_base64="/w==")], "next_cursor": None}
        ),
    }
    api.answers["listDeadLetters"] = lambda _, query: pages[query.get("cursor")].model_dump(mode="json")
    shown = run("redrive", "--reason", "missing_user")
    assert "0-3-0 missing_user no userId refused {}" in shown
    assert "0-2-0 missing_user no userId only corrected base64: /w==" in shown
    assert [query["reason"] for _, _, query, _ in api.asked] == ["missing_user"] * 2
    assert len(json.loads(run("redrive", "--limit", "1", "--json"))) == 1


def test_records_are_put_back_as_they_were_or_corrected(api: Api, tmp_path: Path) -> None:
    api.answers["redriveDeadLetter"] = BACK
    assert run("redrive", "0-3-0") == "0-3-0: refused (message id redriven-1): missing_user"
    file = tmp_path / "event.json"
    file.write_text('{"type":"track"}\n')
    found = json.loads(run("redrive", "0-3-0", "--record", str(file), "--json"))
    assert found == [{"id": "0-3-0"} | BACK.model_dump()]
    assert api.bodies("redriveDeadLetter") == [{}, {"record": '{"type":"track"}'}]
    for wrong in (("redrive", "--record", str(file)), ("redrive", "a", "b", "--record", str(file))):
        assert "--record is for one record" in run(*wrong, code=2)


@pytest.mark.parametrize(
    ("command", "route"),
    [
        ("campaign figures", "GET /v1/campaigns/{campaign_id}/figures"),
        ("campaign failures", "GET /v1/campaign-channels/{channel_id}/failures"),
        ("campaign preview", "POST /v1/campaigns/preview"),
        ("campaign test", "POST /v1/campaigns/{campaign_id}/test-send"),
        ("campaign make", "POST /v1/campaigns"),
        ("campaign templates", "GET /v1/templates"),
        ("campaign template", "POST /v1/templates/{template_name}"),
        ("channel list", "GET /v1/campaign-channels"),
        ("channel set", "PUT /v1/campaign-channels/{channel_id}"),
        ("channel failures", "GET /v1/campaign-channels/{channel_id}/failures"),
        ("channel redrive", "POST /v1/campaign-channels/{channel_id}/redrive"),
        ("redrive", "POST /v1/dead-letters/{letter_id}/redrive"),
    ],
)
def test_the_page_says_whose_answer_json_is(command: str, route: str) -> None:
    page = (ROOT / "docs/cli.md").read_text()
    section = page[page.index(f"## `tideline {command} ") :].partition("\n## ")[0]
    assert "--json" in section
    assert f"`{route}`" in section
    assert f"`{route}`" in (ROOT / "docs/api.md").read_text() or f"| `{route}`" in (ROOT / "docs/api.md").read_text()
