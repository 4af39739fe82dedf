"""What channels of campaigns did not deliver, what people were told, and sending again."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query

from streams.api.auth import Authenticator, access
from streams.api.bodies import Bodies
from streams.api.campaign_channels import Channels, taking
from streams.api.channel_views import (
    AlertList,
    AlertView,
    ChannelId,
    Ended,
    FailureList,
    FailureView,
    RedriveMessages,
)
from streams.api.document import problems
from streams.api.keys import Role
from streams.api.services import Services
from streams.api.views import time_text
from streams.api.webhook_views import Redriven
from streams.runtime.channels.desk import send_of
from streams.runtime.channels.redriving import read_delivery, renewed
from streams.runtime.deliveries.pace import Delivery

State = Annotated[Ended, Query(description="Given up, or of which nobody knows.")]
Campaign = Annotated[str | None, Query(max_length=63, description="Only those of this campaign or journey.")]


def add_campaign_failures(app: FastAPI, services: Services, authenticator: Authenticator, bodies: Bodies) -> None:
    """Add the routes."""
    channels, desks = Channels(services), services.channels.desks
    which_ones = bodies.of(RedriveMessages)

    @app.get(
        "/v1/campaign-channels/{channel_id}/failures",
        tags=["campaigns"],
        operation_id="listFailures",
        summary="Messages that a channel has given up, or of which nobody knows whether they arrived",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def failures(channel_id: ChannelId, state: State = "dead", campaign_id: Campaign = None) -> FailureList:
        channels.get(channel_id)
        found = [_view(read_delivery(data)) for data in desks.ended(channel_id, state).values()]
        return FailureList(items=[each for each in found if campaign_id in (None, each.campaign_id)])

    @app.post(
        "/v1/campaign-channels/{channel_id}/redrive",
        tags=["campaigns"],
        operation_id="redriveChannel",
        summary="Send such messages again, under their ids, to who is still to be sent to",
        responses=problems(400, 404, 408, 413, 415, 422),
        **taking(authenticator, RedriveMessages),
    )
    def redrive(channel_id: ChannelId, which: RedriveMessages = which_ones) -> Redriven:
        channels.get(channel_id)
        ids = None if which.ids is None else frozenset(which.ids)
        make = renewed(services.wall(), ids, which.campaign_id)
        return Redriven(redriven=desks.redrive(channel_id, which.state, make))

    @app.get(
        "/v1/campaign-alerts",
        tags=["campaigns"],
        operation_id="listAlerts",
        summary="What people were told of campaigns: breakers, messages that fail, budgets that are used up",
        responses=problems(),
        **access(authenticator, Role.READ),
    )
    def alerts() -> AlertList:
        found = services.channels.alerts.all()
        return AlertList(
            items=[
                AlertView(
                    id=each.id, campaign_id=each.campaign, kind=each.kind, words=each.words, at=time_text(each.at_s)
                )
                for each in found
            ]
        )


def _view(delivery: Delivery) -> FailureView:
    send = send_of(delivery)
    return FailureView(
        id=delivery.id,
        campaign_id=send.campaign,
        campaign_version=send.version,
        step=send.step,
        user_id=delivery.user,
        attempts=delivery.attempts,
        decided_at=time_text(send.at_s),
        result=delivery.words or None,
    )
