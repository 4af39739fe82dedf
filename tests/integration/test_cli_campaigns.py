"""`tideline campaign`, `channel` and `redrive` on a running service: they tell what is so, and do what they say."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks._ports import free_port
from streams.cli.app import app
from streams.client import Client
from tests.integration.campaigns_world import HookReceiver, is_signed
from tests.integration.kill_world import client_of
from tests.integration.up_world import Up
from tests.integration.worker_world import await_until

pytestmark = pytest.mark.timeout(240)
CATALOG = """
version: 1
name: Campaigns by hand
predictions:
  orders_2d: {name: Orders within two days, goal: {did: Order}, window: 2d}
segments:
  entered: {name: Entered, filter: {event: Enter, count: {min: 1}}}
  joined: {name: Joined, filter: {event: Join, count: {min: 1}}}
messaging:
  holdout: 0
  channels:
    hook: {kind: webhook}
    lines: {kind: log}
campaigns:
  welcome:
    name: Welcome
    segment: entered
    conversion: {event: Order}
    channels: [hook]
    control: 0
    message: {parts: {body: "Hello {{ user.name | default('you') }}"}}
journeys:
  course:
    name: Course
    segment: joined
    conversion: {event: Order}
    channels: [lines]
    control: 0
    steps:
      first: {send: {parts: {body: First}}}
      pause: {wait: 1d}
      second: {send: {parts: {body: Second}}}
"""
KNOWN = "yan"
"""Somebody whom the service has seen before anything is asked."""


@dataclass
class Service:
    """A running service, who receives its messages, and somebody who types commands."""

    up: Up
    receiver: HookReceiver
    client: Client
    key: str
    secret: str = ""
    """Of the channel `hook`."""

    def run(self, *args: str, code: int = 0, key: str | None = None) -> str:
        """What a command prints; of one that fails what it says."""
        env = {"TIDELINE_API_URL": self.up.api, "TIDELINE_API_KEY": key or self.key, "COLUMNS": "200", "TERM": "dumb"}
        result = CliRunner().invoke(app, list(args), env=env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.stderr
        return result.stdout if code == 0 else " ".join(result.stderr.split())

    def words(self, *args: str) -> str:
        """What it prints, in one line."""
        return " ".join(self.run(*args).split())

    def told(self, *args: str) -> Any:
        """What it prints for a script."""
        return json.loads(self.run(*args, "--json"))

    def arrived(self, user: str) -> list[tuple[dict[str, str], dict[str, Any], bytes]]:
        """(headers, what was told, its bytes) of everything that has come about somebody."""
        found = [(headers, json.loads(body), body) for headers, body in self.receiver.taken]
        return [each for each in found if each[1]["data"]["user_id"] == user]

    def knows(self, user: str, name: str) -> None:
        """Campaigns know what somebody is called."""
        self.client.identify(user, {"name": name})
        await_until(lambda: self._called(user) == {"name": name}, "who it is is known", seconds=60.0)

    def _called(self, user: str) -> Any:
        return None if user not in self.client.find_users(user) else self.client.user(user)["traits_as_sent"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """What a channel did not deliver at the first attempt is given up."""
    folder = tmp_path_factory.mktemp("up")
    (folder / "catalog.yaml").write_text(CATALOG)
    more = {"TIDELINE_WEBHOOKS_PRIVATE": "true", "TIDELINE_WEBHOOKS_ATTEMPTS": "1"}
    up = Up(folder, free_port(), str(folder / "catalog.yaml"), env={**os.environ, **more})
    try:
        key = up.wait_for(r"^ +(tl_admin_\S+)")[1]
        up.wait_for("tail segment-events")
        with HookReceiver() as receiver, client_of(up.api, key) as client:
            found = Service(up, receiver, client, key)
            set_ = found.run("channel", "set", "hook", "--url", receiver.url)
            found.secret = set_.splitlines()[-1]
            found.knows(KNOWN, "Yan")
            yield found
    finally:
        up.close()


@pytest.fixture
def reminder(service: Service, tmp_path: Path) -> Path:
    """A template, filled in, as a file."""
    path = tmp_path / "reminder.yaml"
    asked = ("--prediction", "orders_2d", "--channel", "hook", "--min", "60", "--max", "90", "--language", "fr")
    path.write_text(service.run("campaign", "template", "reminder", *asked))
    return path


def test_what_a_dead_endpoint_refused_is_shown_and_sent_again(service: Service) -> None:
    assert re.fullmatch(r"whsec_\S+", service.secret)
    service.receiver.status = lambda _: 503
    try:
        service.client.track("ann", "Enter")
        await_until(lambda: service.told("campaign", "failures", "welcome") != [], "it is given up", seconds=60.0)
    finally:
        service.receiver.status = lambda _: 200
    (failure,) = service.told("campaign", "failures", "welcome")
    kept = {name: failure[name] for name in ("channel", "state", "campaign_id", "user_id", "attempts", "result")}
    assert kept == {
        "channel": "hook",
        "state": "dead",
        "campaign_id": "welcome",
        "user_id": "ann",
        "attempts": 1,
        "result": "answered 503",
    }
    assert f"{failure['id']} hook dead welcome ann 1" in service.words("channel", "failures", "hook")
    assert service.words("channel", "failures", "hook", "--state", "unknown") == "There are none."
    (hook,) = (each for each in service.told("channel", "list") if each["id"] == "hook")
    assert (hook["dead"], hook["lacks"], hook["failing"]["result"]) == (1, None, "answered 503")
    assert f"hook webhook {service.receiver.url} 0 1 0 answered 503" in service.words("channel", "list")
    assert "sent 1" in service.words("campaign", "figures", "welcome")
    assert service.words("channel", "redrive", "hook", "--campaign", "course") == "0 are sent again."
    assert service.words("channel", "redrive", "hook", "--campaign", "welcome") == "1 are sent again."
    service.receiver.wait(lambda: len(service.arrived("ann")) == 2)
    (first, _, _), (again, told, body) = service.arrived("ann")
    assert first["webhook-id"] == again["webhook-id"] == failure["id"]
    assert is_signed(again, body, service.secret)
    assert told["data"]["texts"] == {"body": "Hello you"}
    assert service.told("channel", "failures", "hook") == []


def test_a_journey_says_where_its_users_are(service: Service) -> None:
    service.client.track("jo", "Join")

    def inside() -> bool:
        journey = service.told("campaign", "figures", "course")["journey"]
        return bool(journey["waiting"] == {"pause": 1})

    await_until(inside, "somebody waits in it", seconds=60.0)
    shown = service.words("campaign", "figures", "course")
    assert "Course (journey course, version 1, on)" in shown
    assert "first 1 0 pause 1 1" in shown
    assert "1 have entered, 1 are inside" in shown


def test_what_somebody_would_be_sent_is_shown_and_sent_to_be_seen(service: Service, tmp_path: Path) -> None:
    service.knows("zoe", "Zoé")
    shown = service.words("campaign", "preview", "welcome", "--user", "zoe")
    assert "zoe: group treated. By hook: body: Hello Zoé Against it, left:" in shown
    file = tmp_path / "other.yaml"
    file.write_text(
        "name: Other\nsegment: joined\nconversion: {event: Order}\nchannels: [hook]\n"
        "message: {parts: {body: 'Bonjour {{ user.name }}'}}\n"
    )
    assert "body: Bonjour Zoé" in service.words("campaign", "preview", "--file", str(file), "--user", "zoe")
    assert "body: First" in service.words("campaign", "preview", "course", "--user", "zoe")
    assert "body: Second" in service.words("campaign", "preview", "course", "--user", "zoe", "--step", "second")
    sent = service.told("campaign", "test", "welcome", "--user", "zoe", "--channel", "hook")
    service.receiver.wait(lambda: len(service.arrived("zoe")) == 1)
    ((headers, told, body),) = service.arrived("zoe")
    assert headers["webhook-id"] == sent["id"]
    assert sent["id"].startswith("test-")
    assert told["data"]["texts"] == sent["texts"] == {"body": "Hello Zoé"}
    assert is_signed(headers, body, service.secret)


def test_an_offer_for_everybody_has_its_cost_shown(service: Service, tmp_path: Path) -> None:
    users = [f"guest-{number}" for number in range(20)]
    for user in users:
        service.client.identify(user, {"guest": True})
    await_until(lambda: len(service.client.find_users("guest-", limit=50)) == 20, "they are known", seconds=60.0)
    file = tmp_path / "guests.yaml"
    file.write_text("""
segments: {guests: {name: Guests, filter: {not: {event: Enter, count: {min: 1}}}}}
campaigns:
  for_guests:
    name: For guests
    segment: guests
    conversion: {event: Order}
    channels: [hook]
    control: 0
    offer: {unit: amount, value: 5, budget: {amount: 50}}
    message: {parts: {body: "{{ offer.value }} off"}}
""")
    found = service.told("campaign", "preview", "--file", str(file))
    (offer,) = found["offers"]
    assert found["users"] == found["reachable"] == found["messages"] == offer["rungs"][0]["users"] >= 20
    assert offer["cost_at_most"] == 5 * found["users"]
    assert offer["budget"]["messages"] == 10
    assert f"may be sent to {found['users']}" in service.words("campaign", "preview", "--file", str(file))
    made = service.words("campaign", "make", str(file))
    assert made.startswith("The campaign for_guests is made, on a dry run")
    assert service.told("campaign", "show", "for_guests")["definition"]["offer"]["budget"]["amount"] == 50
    assert "guests" in {each["id"] for each in service.client.segments()}


def test_a_template_is_looked_at_made_and_put_on(service: Service, reminder: Path) -> None:
    names = [each["name"] for each in service.told("campaign", "templates")]
    assert "reminder" in names
    assert all(name in service.run("campaign", "templates", "--language", "fr") for name in names)
    assert service.told("campaign", "preview", "--file", str(reminder))["users"] == 0, "nobody has a score yet"
    made = service.told("campaign", "make", str(reminder))
    assert (made["id"], made["state"], made["segment"]) == ("reminder_orders_2d", "dry", "reminder_orders_2d")
    assert "is taken; choose another one" in service.run("campaign", "make", str(reminder), code=1)
    other = service.words("campaign", "make", str(reminder), "--id", "second")
    assert other.endswith("It begins with: tideline campaign resume second")
    dry = service.told("campaign", "list", "--status", "dry")
    assert {"reminder_orders_2d", "second"} <= {each["id"] for each in dry}
    assert {each["segment"] for each in dry if each["id"] != "for_guests"} == {"reminder_orders_2d"}
    assert "The campaign second is on." in service.words("campaign", "resume", "second")
    assert "campaign second on reminder_orders_2d hook 1" in service.words("campaign", "list")
    asked = ("--prediction", "orders_2d", "--channel", "lines", "--id", "third", "--make")
    assert "The journey third is made, on a dry run" in service.words("campaign", "template", "win_back", *asked)


def test_one_is_duplicated_paused_and_archived(service: Service) -> None:
    assert "The campaign again is made, and paused." in service.words("campaign", "duplicate", "welcome", "again")
    assert service.told("campaign", "show", "again")["definition"]["message"]["parts"].keys() == {"body"}
    assert "is on a dry run" in service.words("campaign", "resume", "again", "--dry-run")
    assert "is paused" in service.words("campaign", "pause", "again")
    shown = service.words("campaign", "show", "again")
    assert "It is paused since " in shown
    assert "Welcome (campaign again, by the api)" in shown
    assert service.words("campaign", "archive", "again") == "The campaign again is archived."
    refused = service.run("campaign", "resume", "again", code=1)
    assert "it is archived for good; tideline campaign duplicate" in refused


def test_a_channel_is_renewed_and_forgotten(service: Service) -> None:
    found = service.told("channel", "renew", "hook")
    assert found["secret"] not in {None, service.secret}
    sent = service.told("campaign", "test", "welcome", "--user", KNOWN, "--channel", "hook")
    service.receiver.wait(lambda: any(headers["webhook-id"] == sent["id"] for headers, _ in service.receiver.taken))
    ((headers, body),) = (each for each in service.receiver.taken if each[0]["webhook-id"] == sent["id"])
    signatures = headers["webhook-signature"].split()
    assert len(signatures) == 2, "for a day, with both"
    for secret, signature in zip((found["secret"], service.secret), signatures, strict=True):
        assert is_signed(headers | {"webhook-signature": signature}, body, secret)
    assert service.words("channel", "unset", "hook") == "The channel hook delivers nowhere."
    try:
        (hook,) = (each for each in service.told("channel", "list") if each["id"] == "hook")
        assert (hook["lacks"], hook["settings"], hook["has_secret"]) == ("settings", None, False)
    finally:
        service.secret = service.told("channel", "set", "hook", "--url", service.receiver.url)["secret"]


def test_a_record_that_could_not_be_used_is_put_back_corrected(service: Service, tmp_path: Path) -> None:
    service.client.batch([{"type": "track", "event": "Enter", "anonymousId": "browser"}])

    def letters() -> Any:
        return service.told("redrive", "--reason", "missing_user")

    await_until(lambda: letters() != [], "it is known", seconds=60.0)
    (letter,) = letters()
    assert f"{letter['id']} missing_user" in service.words("redrive")
    file = tmp_path / "event.json"
    file.write_text('{"type": "track", "event": "Visit", "userId": "eva", "timestamp": "2026-01-05T10:00:00Z"}')
    (back,) = service.told("redrive", letter["id"], "--record", str(file))
    assert back["id"] == letter["id"]
    await_until(lambda: letters()[0]["redriven"]["outcome"] == "worked", "it is worked", seconds=60.0)
    assert service.client.user("eva")["user_id"] == "eva"
    file.write_text('{"type": "track", "event": "Visit", "userId": "eve", "timestamp": "2026-01-05T10:00:00Z"}')
    again = service.run("redrive", letter["id"], "--record", str(file), code=1)
    assert "it was put back on the log already, as another record" in again


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("campaign show nope", 1, "no campaign and no journey has the id 'nope'. tideline campaign list shows all"),
        ("campaign figures nope", 1, "no campaign and no journey has the id 'nope'"),
        ("campaign failures nope", 1, "no campaign and no journey has the id 'nope'"),
        ("campaign duplicate welcome course", 1, "the id 'course' is taken; choose another one"),
        ("campaign archive welcome", 1, "is defined in the catalog file"),
        ("campaign preview welcome --user nobody --step first", 1, "no step 'first' of it sends anything"),
        ("campaign test welcome --user nobody --channel hook", 1, "there is no user 'nobody'"),
        (f"campaign test welcome --user {KNOWN} --channel lines", 1, "it does not go by 'lines'"),
        ("campaign template nope --prediction orders_2d --channel hook", 1, "'nope'"),
        ("campaign template reminder --prediction orders --channel hook", 1, "'orders'"),
        ("campaign template reminder --prediction orders_2d --channel hok", 1, "did you mean 'hook'?"),
        ("campaign template reminder --prediction orders_2d --channel hook --min 9 --category low", 1, "either"),
        ("campaign template churn_rescue --prediction orders_2d --channel hook", 1, "kind churn; orders_2d is event"),
        (
            "channel set hok --url https://hooks.example.org",
            1,
            "messaging has no channel 'hok'; there are: hook, lines",
        ),
        ("channel set hook --url ftp://hooks.example.org", 1, "settings.url"),
        ("channel set lines --url https://hooks.example.org", 2, "of the kind log, which needs no settings"),
        ("channel renew lines", 1, "only a webhook"),
        ("channel failures hok", 1, "no channel has the id 'hok'"),
        ("channel redrive hok", 1, "no channel has the id 'hok'"),
        ("redrive 9-9-9", 1, "9-9-9"),
    ],
)
def test_what_cannot_be_done_is_told(service: Service, command: str, code: int, words: str) -> None:
    assert words in service.run(*command.split(), code=code)


def test_a_key_that_is_none_is_told_with_what_makes_one(service: Service) -> None:
    told = service.run("campaign", "list", code=2, key="tl_read_0123_45")
    assert "no such key, or it was revoked." in told
    assert told.endswith("tideline keys create makes one")
