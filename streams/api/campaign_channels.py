"""Channels of campaigns: where they deliver to, and how it goes. What they are is defined in messaging."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel, ValidationError

from config.campaigns import Messaging
from config.channel_settings import (
    BrazeSettings,
    ChannelSettings,
    EmailSettings,
    WebhookSettings,
    read_channel_settings,
    write_channel_settings,
)
from config.errors import NotStored
from config.problems import suggest
from streams.adapters.redis_deliveries import Secrets
from streams.api.auth import Authenticator, access
from streams.api.bodies import Bodies, described
from streams.api.channel_views import (
    ChannelId,
    ChannelList,
    ChannelView,
    ChannelWithSecret,
    FailingView,
    NewSettings,
)
from streams.api.document import problems
from streams.api.keys import Role
from streams.api.problems import Kind, Problem
from streams.api.services import Services
from streams.api.views import time_text
from streams.runtime.channels.building import ChannelSetUp
from streams.runtime.channels.desk import Failure, Taken
from streams.runtime.channels.mail import is_sender
from streams.runtime.deliveries.addresses import AddressRefused, check_address, check_url
from streams.runtime.deliveries.pace import Breaker
from streams.runtime.deliveries.signing import SECRET_BYTES, read_secret, write_secret

MAX_CHANNELS: Final = 64
OVERLAP_S: Final = 86_400.0
"""So long a secret is good beside the one that took its place."""
_TAKEN: Final = msgspec.msgpack.Decoder(Taken)


def add_campaign_channels(app: FastAPI, services: Services, authenticator: Authenticator, bodies: Bodies) -> None:
    """Add the routes of channels."""
    channels = Channels(services)
    wanted = bodies.of(NewSettings)

    @app.get(
        "/v1/campaign-channels",
        tags=["campaigns"],
        operation_id="listChannels",
        summary="All channels of campaigns, where they deliver to, and how it goes with them",
        responses=problems(),
        **access(authenticator, Role.READ),
    )
    def all_channels() -> ChannelList:
        return ChannelList(items=channels.all())

    @app.get(
        "/v1/campaign-channels/{channel_id}",
        tags=["campaigns"],
        operation_id="getChannel",
        summary="One channel",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def one_channel(channel_id: ChannelId) -> ChannelView:
        return channels.get(channel_id)

    @app.put(
        "/v1/campaign-channels/{channel_id}",
        tags=["campaigns"],
        operation_id="setChannel",
        summary="Say where a channel delivers to; shows the secret that was made for it, this once",
        responses=problems(400, 408, 409, 413, 415, 422),
        **taking(authenticator, NewSettings),
    )
    def set_channel(channel_id: ChannelId, new: NewSettings = wanted) -> ChannelWithSecret:
        return channels.set(channel_id, new)

    @app.post(
        "/v1/campaign-channels/{channel_id}/secret",
        tags=["campaigns"],
        operation_id="renewChannelSecret",
        summary="Another secret of a webhook, shown this once; for a day messages are signed with both",
        responses=problems(404, 422),
        **access(authenticator, Role.WRITE),
    )
    def renew(channel_id: ChannelId) -> ChannelWithSecret:
        return channels.renew(channel_id)

    @app.delete(
        "/v1/campaign-channels/{channel_id}",
        tags=["campaigns"],
        operation_id="unsetChannel",
        summary="Forget where a channel delivers to, and its secret: what is for it waits, and expires",
        responses=problems(404, 422),
        **access(authenticator, Role.WRITE),
    )
    def unset_channel(channel_id: ChannelId) -> ChannelView:
        return channels.unset(channel_id)


def taking(authenticator: Authenticator, type_: type[BaseModel]) -> dict[str, Any]:
    """Of a route that takes a body and changes something."""
    given = access(authenticator, Role.WRITE)
    given["openapi_extra"] |= described(type_)
    return given


class Channels:
    """What the routes do. Every method raises StoreError."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._desks = services.channels.desks
        self._settings = services.channels.settings

    def all(self) -> list[ChannelView]:
        """Those of messaging, and those that have settings."""
        messaging, stored = self._messaging(), self._settings.all()
        with_secrets = self._settings.with_secrets()
        ids = sorted({*messaging.channels, *stored})
        return [self._view(id_, messaging, stored, has_secret=id_ in with_secrets) for id_ in ids]

    def get(self, channel_id: str) -> ChannelView:
        """Raises NotStored for one that is neither defined nor set."""
        found = next((view for view in self.all() if view.id == channel_id), None)
        if found is None:
            raise NotStored(f"no channel has the id {channel_id[:40]!r}")
        return found

    def set(self, channel_id: str, new: NewSettings) -> ChannelWithSecret:
        """Raises `Problem` for what cannot be one, and where there are too many."""
        stored = self._settings.all()
        self._check(channel_id, new, stored)
        made = None
        secret = new.secret
        if secret is None and isinstance(new.settings, WebhookSettings) and not self._is_webhook(stored, channel_id):
            secret = made = write_secret(secrets.token_bytes(SECRET_BYTES))
        if secret is not None and isinstance(new.settings, WebhookSettings):
            try:
                read_secret(secret)
            except ValueError as error:
                raise Problem(Kind.INVALID_PARAMETERS, f"secret: {error}") from None
        self._settings.put(
            channel_id,
            write_channel_settings(new.settings),
            None if secret is None else Secrets(secret),
            forgets=not _are_alike(stored.get(channel_id), new.settings),
        )
        return ChannelWithSecret(**self.get(channel_id).model_dump(), secret=made)

    def renew(self, channel_id: str) -> ChannelWithSecret:
        """The one before is good for a while. Raises `Problem` for what is no webhook."""
        view, before = self.get(channel_id), self._settings.secrets(channel_id)
        if view.settings is None or view.settings.kind != "webhook" or before is None:
            raise Problem(Kind.INVALID_PARAMETERS, "only a webhook that has a secret signs with one that is made here")
        secret, until_s = write_secret(secrets.token_bytes(SECRET_BYTES)), self._services.wall() + OVERLAP_S
        self._settings.put(channel_id, write_channel_settings(view.settings), Secrets(secret, before.current, until_s))
        return ChannelWithSecret(**view.model_dump(), secret=secret)

    def unset(self, channel_id: str) -> ChannelView:
        """As it is behind that."""
        view = self.get(channel_id)
        self._settings.remove(channel_id)
        bare = view.model_copy(update={"settings": None, "has_secret": False, "lacks": None, "warning": None})
        return next((found for found in self.all() if found.id == channel_id), bare)

    # --- parts -------------------------------------------------------------------------------------------------------

    def _messaging(self) -> Messaging:
        return self._services.campaigns.kept().messaging()

    def _check(self, channel_id: str, new: NewSettings, stored: Mapping[str, bytes]) -> None:
        defined = self._messaging().channels.get(channel_id)
        if defined is not None and defined.kind != new.settings.kind:
            words = f"settings.kind: messaging says that {channel_id} is of the kind {defined.kind}"
            raise Problem(Kind.INVALID_PARAMETERS, words)
        if len(stored) >= MAX_CHANNELS and channel_id not in stored:
            raise Problem(Kind.TOO_MANY, f"there are settings of {MAX_CHANNELS} channels already; forget some first")
        if isinstance(new.settings, EmailSettings) and not is_sender(new.settings.sender):
            words = "settings.sender: expected an address, such as Shop <news@shop.example>"
            raise Problem(Kind.INVALID_PARAMETERS, words)
        private = self._services.options.webhooks_private
        try:
            if isinstance(new.settings, WebhookSettings | BrazeSettings):
                check_url(new.settings.url, allow_private=private)
            elif isinstance(new.settings, EmailSettings) and new.settings.host.replace(".", "").isdecimal():
                check_address(new.settings.host, allow_private=private)
        except AddressRefused as refused:
            where = "host" if isinstance(new.settings, EmailSettings) else "url"
            raise Problem(Kind.INVALID_PARAMETERS, f"settings.{where}: {refused}") from refused

    def _is_webhook(self, stored: Mapping[str, bytes], channel_id: str) -> bool:
        settings = settings_of(stored.get(channel_id))
        return isinstance(settings, WebhookSettings) and self._settings.secrets(channel_id) is not None

    def _view(
        self, channel_id: str, messaging: Messaging, stored: Mapping[str, bytes], *, has_secret: bool
    ) -> ChannelView:
        defined, settings = messaging.channels.get(channel_id), settings_of(stored.get(channel_id))
        stored_taken = self._desks.taken(channel_id)
        taken = Taken() if stored_taken is None else _TAKEN.decode(stored_taken)
        secrets_of = Secrets("") if has_secret else None
        lacks: Any = None if defined is None else ChannelSetUp(defined, settings, secrets_of).lacks
        return ChannelView(
            id=channel_id,
            kind=None if defined is None else defined.kind,
            settings=settings,
            has_secret=has_secret,
            lacks=lacks,
            waiting=self._desks.waiting_count(channel_id),
            dead=self._desks.counted(channel_id, "dead"),
            unknown=self._desks.counted(channel_id, "unknown"),
            counts=taken.counts,
            failing=None if taken.failure is None else _failing(taken.failure, self._services.wall()),
            warning=None if defined is not None else unknown_channel(channel_id, messaging),
        )


def unknown_channel(channel_id: str, messaging: Messaging) -> str:
    """That messaging does not define this channel, and which one may be meant."""
    known = f"; it has {', '.join(messaging.channels)}" if messaging.channels else " (nor any other)"
    return f"messaging has no channel {channel_id!r}{known}{suggest(channel_id, messaging.channels)}"


def _failing(failure: Failure, now_s: float) -> FailingView:
    return FailingView(
        result=failure.words,
        at=time_text(failure.at_s),
        next_attempt=time_text(failure.next_s),
        circuit=Breaker(open_until_s=failure.open_until_s).state(now_s),
    )


def settings_of(data: bytes | None) -> ChannelSettings | None:
    """None also for what a later version has written."""
    try:
        return None if data is None else read_channel_settings(data)
    except ValidationError:
        return None


def _are_alike(stored: bytes | None, new: ChannelSettings) -> bool:
    """Whether a secret of the one may be used for the other: whoever changes where it is shown has to know it."""
    before = settings_of(stored)
    if isinstance(before, WebhookSettings) and isinstance(new, WebhookSettings):
        return True  # it is signed with, and never shown
    if isinstance(before, BrazeSettings) and isinstance(new, BrazeSettings):
        return before.url == new.url
    if isinstance(before, EmailSettings) and isinstance(new, EmailSettings):
        same = (before.host, before.port, before.security, before.user)
        return same == (new.host, new.port, new.security, new.user)
    return before is not None and before.kind == new.kind
