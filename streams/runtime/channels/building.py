"""From what is defined and stored of a channel to the channel itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from config.campaigns import Channel as Defined
from config.channel_settings import BrazeSettings, ChannelSettings, EmailSettings, SegmentSettings, WebhookSettings
from streams.adapters.redis_deliveries import Secrets
from streams.runtime.channels.http import BrazeChannel, SegmentChannel, WebhookChannel
from streams.runtime.channels.local import LogChannel, Publish, TopicChannel
from streams.runtime.channels.mail import MailChannel, MailServer
from streams.runtime.channels.parcel import Channel
from streams.runtime.deliveries.sender import Sender


@dataclass(frozen=True, slots=True)
class Means:
    """What all channels of a process share."""

    sender: Sender
    publish: Publish
    allow_private: bool = False
    wall: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class ChannelSetUp:
    """What is known of one channel; another one means another channel."""

    defined: Defined
    settings: ChannelSettings | None = None
    secrets: Secrets | None = None

    @property
    def lacks(self) -> str | None:
        """What has to be set before anything leaves; None if nothing has."""
        kind = self.defined.kind
        if kind in ("log", "topic"):
            return None
        if self.settings is None or self.settings.kind != kind:
            return "settings"
        needs_secret = kind != "email" or (isinstance(self.settings, EmailSettings) and self.settings.user is not None)
        return "secret" if needs_secret and self.secrets is None else None


def build(set_up: ChannelSetUp, means: Means) -> Channel:
    """The channel. Raises ValueError for one that lacks something."""
    if (lacks := set_up.lacks) is not None:
        raise ValueError(f"the channel has no {lacks}")
    if set_up.defined.kind == "log":
        return LogChannel()
    if set_up.defined.kind == "topic":
        return TopicChannel(means.publish)
    return _with_settings(set_up, means)


def _with_settings(set_up: ChannelSetUp, means: Means) -> Channel:
    settings, secrets = set_up.settings, set_up.secrets
    if isinstance(settings, EmailSettings):
        password = None if secrets is None else secrets.current
        server = MailServer(settings.host, settings.port, settings.security, settings.user, password)
        return MailChannel(server, settings.sender, allow_private=means.allow_private)
    assert secrets is not None, "all other kinds have one: `lacks`"
    if isinstance(settings, WebhookSettings):
        return WebhookChannel(means.sender, settings.url, secrets.at, means.wall)
    if isinstance(settings, BrazeSettings):
        return BrazeChannel(means.sender, settings.url, secrets.current, settings.campaign)
    assert isinstance(settings, SegmentSettings), "there are no more kinds"
    return SegmentChannel(means.sender, secrets.current)
