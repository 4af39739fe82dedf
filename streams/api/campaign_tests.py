"""A message of a campaign or journey, sent to be seen: rendered for a real user, and counted nowhere."""

from __future__ import annotations

import secrets
from typing import Any, Literal

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from config.errors import NotStored
from streams.adapters.redis_deliveries import dead_field
from streams.api.auth import Authenticator
from streams.api.bodies import Bodies
from streams.api.campaign_channels import Channels, taking
from streams.api.campaign_previews import CampaignPreviews, MessageRequest, MessageView, TextsView
from streams.api.definer import Definer
from streams.api.document import problems
from streams.api.everyone import Everyone
from streams.api.problems import Kind, Problem
from streams.api.services import Services
from streams.campaigns.effects import TEST, Send
from streams.campaigns.state import Given
from streams.runtime.channels.redriving import TEST_S, tried


class TestSend(BaseModel):
    """Whose message, by which channel, and to whom."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"user_id": "ann", "channel": "push"}]})
    user_id: str = Field(min_length=1, max_length=1_000, description="For whom it is rendered.")
    channel: str = Field(min_length=1, max_length=63, description="One of the campaign's.")
    address: str | None = Field(
        default=None,
        min_length=3,
        max_length=320,
        description="Of an e-mail: who gets it in the user's place. Without it only who has agreed to the channel.",
    )
    step: str | None = Field(default=None, max_length=200, description="Which message of a journey; else its first.")
    event: dict[str, Any] = Field(
        default_factory=dict, description="Properties of the event, for a campaign that is triggered by one."
    )


class TestSent(BaseModel):
    """It waits for the channel, which sends it in its turn: whether it arrives is not known yet."""

    id: str = Field(description="Begins with `test-`; receivers see it.", examples=["test-5f0c6f3a1b2c"])
    queued: Literal[True] = Field(default=True, description="It is yet to be sent.")
    look_at: str = Field(
        description="Where to see what becomes of it: `waiting` counts it until it has arrived, `failing` tells the "
        "last attempt if that failed, and `failures` below it lists what was given up.",
        examples=["/v1/campaign-channels/push"],
    )
    channel: str
    lacks: Literal["settings", "secret"] | None = Field(
        description="What the channel lacks: the test waits until that is set, for an hour. Null: nothing."
    )
    address: str | None
    texts: dict[str, str] = Field(description="Part of the message -> text.")


def add_campaign_tests(
    app: FastAPI, services: Services, definer: Definer, everyone: Everyone, authenticator: Authenticator, bodies: Bodies
) -> None:
    """Add the routes."""
    tests = CampaignTests(services, CampaignPreviews(services, definer, everyone))
    wanted = bodies.of(TestSend)

    @app.post(
        "/v1/campaigns/{campaign_id}/test-send",
        tags=["campaigns"],
        operation_id="testCampaign",
        summary="Send a message of a campaign to be seen",
        responses=problems(400, 404, 408, 409, 413, 415, 422),
        **taking(authenticator, TestSend),
    )
    def test_campaign(campaign_id: str, test: TestSend = wanted) -> TestSent:
        return tests.send(campaign_id, test)

    @app.post(
        "/v1/journeys/{journey_id}/test-send",
        tags=["campaigns"],
        operation_id="testJourney",
        summary="Send a message of a journey to be seen",
        responses=problems(400, 404, 408, 409, 413, 415, 422),
        **taking(authenticator, TestSend),
    )
    def test_journey(journey_id: str, test: TestSend = wanted) -> TestSent:
        return tests.send(journey_id, test)


class CampaignTests:
    """What the routes do."""

    def __init__(self, services: Services, previews: CampaignPreviews) -> None:
        self._services = services
        self._previews = previews
        self._channels = Channels(services)

    def send(self, id_: str, test: TestSend) -> TestSent:
        """Raises NotStored, `Problem` for a message that fails or may not go there; StoreError."""
        request = MessageRequest(id=id_, user_id=test.user_id, step=test.step, event=test.event)
        view = self._previews.message(request, may_ask=True)  # the route is for who may write
        if any(each.reason == "unknown" for each in view.against):
            raise NotStored(f"there is no user {test.user_id[:80]!r}")
        part = self._part(view, test)
        address = test.address or part.address
        send = self._send(id_, view, part, address)
        name = dead_field(round(send.at_s * 1_000.0), send.id)
        self._services.channels.desks.ask(part.channel, name, msgspec.msgpack.encode(tried(send)))
        look_at = f"/v1/campaign-channels/{part.channel}"
        lacks = self._channels.get(part.channel).lacks
        return TestSent(
            id=send.id, look_at=look_at, channel=part.channel, lacks=lacks, address=address, texts=part.texts
        )

    def _part(self, view: MessageView, test: TestSend) -> TextsView:
        if view.failed is not None:
            raise Problem(Kind.INVALID_PARAMETERS, f"the message fails: {view.failed}")
        part = next((each for each in view.channels if each.channel == test.channel), None)
        if part is None:
            by = ", ".join(each.channel for each in view.channels)
            raise Problem(Kind.INVALID_PARAMETERS, f"channel: it does not go by {test.channel!r}; it goes by {by}")
        defined = self._services.campaigns.kept().messaging().channels.get(test.channel)
        if defined is None:
            raise Problem(Kind.INVALID_PARAMETERS, f"channel: messaging has no {test.channel!r} any more")
        if test.address is not None and defined.kind != "email":
            raise Problem(Kind.INVALID_PARAMETERS, f"address: a channel of the kind {defined.kind} has none")
        if test.address is None and not part.open:
            words = "the user has not agreed to this channel, or is not reached by it"
            raise Problem(Kind.INVALID_PARAMETERS, f"user_id: {words}")
        return part

    def _send(self, id_: str, view: MessageView, part: TextsView, address: str | None) -> Send:
        now_s, test_id, offer = self._services.wall(), TEST + secrets.token_hex(12), view.offer
        given = None
        if offer is not None:
            given = Given(value=offer.value, unit=offer.unit, rung=offer.rung, cost=offer.cost)
        return Send(
            id=test_id,
            partition=-1,
            generation=test_id,
            number=1,
            user=view.user_id,
            campaign=id_,
            version=self._version(id_),
            step=view.step,
            kind="test",
            channels=(part.channel,),
            texts={part.channel: part.texts},
            addresses={} if address is None else {part.channel: address},
            offer=given,
            at_s=now_s,
            expires_s=now_s + TEST_S,
        )

    def _version(self, id_: str) -> int:
        found = self._services.campaigns.kept().find(id_)
        return 0 if found is None else found.head.version
