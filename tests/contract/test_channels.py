"""What every channel has to do, each against a server on this machine.

Texts arrive as they are, under an id that a repetition has again. What was refused, or never reached anybody, is not
called unknown; what may have arrived is. A channel raises for nothing that the other side does.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import msgspec
import pytest
from aiohttp import web

from config.errors import BrokerUnavailable
from streams.campaigns.effects import Send
from streams.campaigns.state import Given
from streams.runtime.channels.http import BrazeChannel, SegmentChannel, WebhookChannel
from streams.runtime.channels.local import LogChannel, TopicChannel
from streams.runtime.channels.mail import MailChannel, MailServer
from streams.runtime.channels.parcel import Channel, Parcel
from streams.runtime.deliveries.sender import Outcome, Sender
from streams.runtime.deliveries.signing import signed_headers, write_secret
from tests.unit.mail_receiver import MailReceiver
from tests.unit.webhook_receiver import Receiver

NOW_S = 1_790_000_000.0
SECRET = write_secret(b"x" * 32)
TEXTS = {"subject": "Grüße, Zoë", "body": 'Hello "Zoë"\n& more', "body_html": "<p>Hé</p>"}


def parcel(number: int = 1, **given: Any) -> Parcel:
    user = f"zoë-{number}"
    sent = Send(
        id=f"id-{number}",
        partition=0,
        generation="g",
        number=number,
        user=user,
        campaign="cart",
        version=3,
        step="hello",
        kind="step",
        channels=("it",),
        texts={"it": TEXTS | given.get("texts", {})},
        addresses={"it": given.get("address", f"zoe{number}@shop.example")},
        offer=Given(15.0, "percent", 1, 6.0),
        at_s=NOW_S,
        expires_s=NOW_S + 60.0,
    )
    return Parcel.of(sent, "it")


class World(Protocol):
    """The other side of a channel."""

    channel: Channel

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    @abstractmethod
    def be(self, how: str) -> None:
        """fine, refusing, or cutting: the connection, once it has what was sent."""

    @abstractmethod
    def got(self) -> list[tuple[str, str, str]]:
        """(user or address, id, body) of all that came in, repetitions too."""


@dataclass
class _Http:
    """Of channels over HTTP."""

    how: str = "fine"
    status: int = 200

    def __post_init__(self) -> None:
        self.receiver = Receiver(self._answer)

    def make(self, sender: Sender, url: str) -> Channel:
        raise NotImplementedError

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.how == "cutting":
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=500 if self.how == "refusing" else self.status)

    async def __aenter__(self) -> Self:
        await self.receiver.__aenter__()
        self.sender = Sender(allow_private=True, timeout_s=5.0)
        self.channel = self.make(self.sender, f"http://127.0.0.1:{self.receiver.port}/x")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sender.close()
        await self.receiver.__aexit__()

    def be(self, how: str) -> None:
        self.how = how

    def bodies(self) -> list[Any]:
        return [json.loads(body) for *_, body in self.receiver.requests]


class WebhookWorld(_Http):
    def make(self, sender: Sender, url: str) -> Channel:
        return WebhookChannel(sender, url, lambda _: [SECRET], lambda: NOW_S)

    def got(self) -> list[tuple[str, str, str]]:
        return [(each["subject"], each["id"], each["data"]["texts"]["body"]) for each in self.bodies()]


class SegmentWorld(_Http):
    def make(self, sender: Sender, url: str) -> Channel:
        return SegmentChannel(sender, "key", url=url)

    def got(self) -> list[tuple[str, str, str]]:
        return [(each["userId"], each["messageId"], each["properties"]["texts"]["body"]) for each in self.bodies()]


class BrazeWorld(_Http):
    status = 201

    def make(self, sender: Sender, url: str) -> Channel:
        return BrazeChannel(sender, url, "key", "braze-id")

    def got(self) -> list[tuple[str, str, str]]:
        recipients = [each for body in self.bodies() for each in body["recipients"]]
        told = [(each["external_user_id"], each["trigger_properties"]) for each in recipients]
        return [(user, properties["tideline_message_id"], properties["body"]) for user, properties in told]


class MailWorld:
    def __init__(self) -> None:
        self.receiver = MailReceiver()

    async def __aenter__(self) -> Self:
        await self.receiver.__aenter__()
        server = MailServer("127.0.0.1", self.receiver.port, "none", timeout_s=5.0)
        self.channel: Channel = MailChannel(server, "Shop <news@shop.example>", allow_private=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.receiver.__aexit__()

    def be(self, how: str) -> None:
        self.receiver.answers = {"fine": {}, "refusing": {"DATA": "451 later"}, "cutting": {"END": ""}}[how]

    def got(self) -> list[tuple[str, str, str]]:
        found = []
        for to, data in self.receiver.mails:
            mail = email.message_from_bytes(data.removesuffix(b".\r\n"), policy=email.policy.default)
            body = mail.get_body(("plain",))
            assert body is not None
            found.append(
                (f"zoë-{to[3:].partition('@')[0]}", mail["Message-ID"][1:].partition("@")[0], body.get_content())
            )
        return [(user, id_, text.replace("\r\n", "\n").rstrip()) for user, id_, text in found]


@dataclass
class TopicWorld:
    how: str = "fine"
    records: list[tuple[str, bytes]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self.channel: Channel = TopicChannel(self._publish)
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def _publish(self, records: Sequence[tuple[str, bytes]]) -> None:
        if self.how != "refusing":
            self.records += records
        if self.how != "fine":
            raise BrokerUnavailable("the broker is away")

    def be(self, how: str) -> None:
        self.how = how

    def got(self) -> list[tuple[str, str, str]]:
        found = [(key, json.loads(value)) for key, value in self.records]
        return [(key, each["id"], each["data"]["texts"]["body"]) for key, each in found]


WORLDS: dict[str, Callable[[], World]] = {
    "webhook": WebhookWorld,
    "segment": SegmentWorld,
    "braze": BrazeWorld,
    "email": MailWorld,
    "topic": TopicWorld,
}
# Whoever knows ids may be told again, so a broker that did not answer may be called what it is: not known.
SURE = [name for name in WORLDS if name != "topic"]


def try_out(name: str, how: str, parcels: Sequence[Parcel], *, times: int = 1) -> tuple[World, list[Outcome]]:
    """What the other side has got, and what the channel says of the last attempt."""

    async def run() -> tuple[World, list[Outcome]]:
        async with WORLDS[name]() as world:
            world.be(how)
            outcomes: list[Outcome] = []
            for _ in range(times):
                outcomes = await world.channel.deliver(parcels)
            await world.channel.close()
            return world, outcomes

    return asyncio.run(run())


@pytest.mark.parametrize("name", WORLDS)
def test_texts_arrive_as_they_are_under_their_id(name: str) -> None:
    world, outcomes = try_out(name, "fine", [parcel()])
    assert [outcome.is_delivered for outcome in outcomes] == [True]
    assert world.got() == [("zoë-1", "id-1", 'Hello "Zoë"\n& more')]


@pytest.mark.parametrize("name", WORLDS)
def test_as_many_as_one_call_takes_arrive_each_once(name: str) -> None:
    async def at_once() -> int:
        async with WORLDS[name]() as world:
            return world.channel.at_once

    parcels = [parcel(number) for number in range(min(60, asyncio.run(at_once())))]
    world, outcomes = try_out(name, "fine", parcels)
    assert all(outcome.is_delivered for outcome in outcomes)
    assert len(outcomes) == len(parcels)
    assert sorted(id_ for _, id_, _ in world.got()) == sorted(each.id for each in parcels)


@pytest.mark.parametrize("name", WORLDS)
def test_a_repetition_has_the_same_id(name: str) -> None:
    world, _ = try_out(name, "fine", [parcel()], times=2)
    assert [id_ for _, id_, _ in world.got()] == ["id-1", "id-1"]


@pytest.mark.parametrize("name", SURE)
def test_what_was_refused_is_known_not_to_have_arrived(name: str) -> None:
    _, (outcome,) = try_out(name, "refusing", [parcel()])
    assert (outcome.is_delivered, outcome.is_unknown) == (False, False)


@pytest.mark.parametrize("name", WORLDS)
def test_what_may_have_arrived_is_said_to_be_unknown(name: str) -> None:
    _, (outcome,) = try_out(name, "cutting", [parcel()])
    assert (outcome.is_delivered, outcome.is_unknown) == (False, True)


@pytest.mark.parametrize("name", ["webhook", "segment", "braze", "email"])
def test_where_nobody_listens_nothing_has_arrived(name: str) -> None:
    async def run() -> Outcome:
        async with WORLDS[name]() as world:
            channel = world.channel
            await world.receiver.__aexit__()  # type: ignore[attr-defined]
            (outcome,) = await channel.deliver([parcel()])
            return outcome

    outcome = asyncio.run(run())
    assert (outcome.is_delivered, outcome.is_unknown) == (False, False)


# --- one by one ------------------------------------------------------------------------------------------------------


def test_a_webhook_is_signed() -> None:
    world, _ = try_out("webhook", "fine", [parcel()])
    assert isinstance(world, WebhookWorld)
    ((_, _, headers, body),) = world.receiver.requests
    expected = signed_headers([SECRET], "id-1", NOW_S, body)
    assert {name: headers[name] for name in expected} == expected
    event = json.loads(body)
    assert (event["type"], event["data"]["campaign_id"], event["data"]["campaign_version"]) == (
        "tideline.message.v1",
        "cart",
        3,
    )
    assert (event["data"]["step"], event["data"]["offer"]) == ("hello", {"value": 15.0, "unit": "percent"})


def test_braze_is_never_asked_to_send_to_everybody() -> None:
    world, _ = try_out("braze", "fine", [parcel(1), parcel(2)])
    assert isinstance(world, BrazeWorld)
    ((_, path, headers, body),) = world.receiver.requests
    told = json.loads(body)
    assert (path, headers["Authorization"]) == ("/x/campaigns/trigger/send", "Bearer key")
    assert (told["campaign_id"], told["broadcast"], len(told["recipients"])) == ("braze-id", False, 2)
    assert all(each["send_to_existing_only"] for each in told["recipients"])
    assert told["recipients"][0]["trigger_properties"]["offer_value"] == 15.0


@pytest.mark.parametrize("parcels", [[], [parcel(1), parcel(1)], [parcel(number) for number in range(51)]])
def test_a_call_of_braze_that_would_be_misread_is_not_made(parcels: list[Parcel]) -> None:
    with pytest.raises(ValueError, match="messages of as many users"):
        try_out("braze", "fine", parcels)


def test_a_gateway_does_not_know_what_became_of_a_call() -> None:
    async def run() -> Outcome:
        async with BrazeWorld(status=504) as world:
            (outcome,) = await world.channel.deliver([parcel()])
            return outcome

    assert asyncio.run(run()).is_unknown


@pytest.mark.parametrize(
    "given",
    [
        {"address": "a@b.example\nBcc: all@b.example"},
        {"address": "a@b.example, c@d.example"},
        {"address": "nobody"},
        {"address": "@b.example"},
        {"address": ""},
        {"address": '"a b"@b.example'},
        {"address": "a@" + "b" * 300},
        {"texts": {"unsubscribe_url": "https://x.example/\nBcc: all@b.example"}},
    ],
)
def test_what_is_no_address_or_header_is_not_sent(given: dict[str, Any]) -> None:
    world, (outcome,) = try_out("email", "fine", [parcel(**given)])
    assert (outcome.is_delivered, outcome.is_unknown, outcome.is_final, world.got()) == (False, False, True, [])
    assert outcome.words.startswith("not sent: ")


def test_a_mail_without_a_subject_is_none_at_any_attempt() -> None:
    bare = msgspec.structs.replace(parcel(), texts={"body": "x"})
    _, (outcome,) = try_out("email", "fine", [bare])
    assert outcome == Outcome(False, "not sent: a mail needs the part subject", is_final=True)


def test_a_mail_has_what_readers_and_their_programs_look_for() -> None:
    texts = {"subject": "Two\nlines", "unsubscribe_url": "https://shop.example/u?zoe"}
    world, _ = try_out("email", "fine", [parcel(texts=texts)])
    assert isinstance(world, MailWorld)
    ((_, data),) = world.receiver.mails
    mail = email.message_from_bytes(data, policy=email.policy.default)
    assert (mail["From"], mail["Subject"]) == ("Shop <news@shop.example>", "Two lines")
    assert mail["Message-ID"] == "<id-1@shop.example>"
    assert mail["List-Unsubscribe"] == "<https://shop.example/u?zoe>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    html = mail.get_body(("html",))
    assert html is not None
    assert html.get_content().strip() == "<p>Hé</p>"


def answered(**answers: str) -> tuple[Outcome, int]:
    """What is said of a mail to a server that answers so, and how many mails it has taken."""

    async def run() -> tuple[Outcome, int]:
        async with MailWorld() as world:
            world.receiver.answers = answers
            (outcome,) = await world.channel.deliver([parcel()])
            await world.channel.close()
            return outcome, len(world.receiver.mails)

    return asyncio.run(run())


def test_an_address_that_is_refused_is_told() -> None:
    assert answered(RCPT="550 unknown")[0] == Outcome(False, "the address was refused (550)", 550, is_final=True)


def test_of_what_a_mail_server_says_the_status_is_told_and_no_words() -> None:
    said = "554 5.7.1 <zoe@shop.example>: Relay access denied"
    assert answered(RCPT=said)[0] == Outcome(False, "the address was refused (554 5.7.1)", 554)
    assert answered(END=said)[0] == Outcome(False, "answered 554 5.7.1", 554)


@pytest.mark.parametrize(
    ("answers", "is_final"),
    [
        ({"RCPT": "553 no such name"}, True),
        ({"RCPT": "450 later"}, False),
        ({"RCPT": "530 log in first"}, False),
        ({"RCPT": "550 5.1.1 unknown"}, True),
        ({"RCPT": "501 5.1.3 no address"}, True),
        ({"RCPT": "556 5.1.10 takes no mail"}, True),
        ({"RCPT": "550 5.2.1 switched off"}, True),
        ({"RCPT": "552 5.2.2 full"}, False),
        ({"RCPT": "550 5.1.8 not from there"}, False),
        ({"RCPT": "550 5.4.5 Daily user sending limit exceeded"}, False),
        ({"RCPT": "554 5.7.1 Relay access denied"}, False),
        ({"RCPT": "550 5.7.1 blocked using zen.spamhaus.org"}, False),
        ({"RCPT": "554 no service"}, False),
        ({"END": "554 looks like spam"}, False),
        ({"END": "554 5.7.1 looks like spam"}, False),
        ({"END": "552 5.3.4 too long"}, True),
        ({"END": "554 5.6.0 cannot be read"}, True),
        ({"END": "552 too long"}, True),
        ({"RCPT": "450 5.1.1 later"}, False),
        ({"END": "452 full"}, False),
        ({"MAIL": "550 not from you"}, False),
        ({"EHLO": "554 not from there", "HELO": "554 not from there"}, False),
    ],
)
def test_what_a_mail_server_refuses_for_good_is_so_if_it_is_about_the_mail(
    answers: dict[str, str], *, is_final: bool
) -> None:
    outcome, _ = answered(**answers)
    assert (outcome.is_delivered, outcome.is_unknown, outcome.is_final) == (False, False, is_final)


@pytest.mark.parametrize("goodbye", ["421 you were here for too long", "500 what?", ""])
def test_a_mail_that_was_taken_has_arrived_whatever_the_server_says_to_the_goodbye(goodbye: str) -> None:
    assert answered(QUIT=goodbye) == (Outcome(True, "answered 250", 250), 1)


def test_the_log_has_no_texts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        asyncio.run(LogChannel().deliver([parcel()]))
    assert "id-1 of cart to zoë-1" in caplog.text
    assert "Hello" not in caplog.text


def test_a_password_of_a_mail_server_is_never_shown() -> None:
    assert "secret" not in repr(MailServer("h", 25, "none", "me", "secret"))


def test_a_mail_server_that_is_not_in_the_public_internet_is_not_talked_to() -> None:
    async def go() -> int:
        async with MailReceiver() as receiver:
            for security in ("none", "starttls", "tls"):
                server = MailServer("localhost", receiver.port, security, timeout_s=5.0)
                channel = MailChannel(server, "Shop <news@shop.example>", allow_private=False)
                (found,) = await channel.deliver([parcel()])
                await channel.close()
                assert (found.is_delivered, found.is_unknown) == (False, False)
                assert "public internet" in found.words
            return len(receiver.mails)

    assert asyncio.run(go()) == 0
