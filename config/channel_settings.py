"""Where a channel of campaigns delivers to. What it is allowed to send stands under `Messaging`; secrets stand apart.

Settings are made in the API of a running service and shown there; a secret is never shown again.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, StringConstraints, TypeAdapter

from config.base import Model, Name

Address: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
Host: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]{1,253}$")]
Login: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=320)]


class WebhookSettings(Model):
    """A signed CloudEvent for each message."""

    kind: Literal["webhook"]
    url: Address
    """Where it is posted: https, and an address of the public internet."""


class SegmentSettings(Model):
    """A track call for each message; the secret is the write key of the source."""

    kind: Literal["segment"]


class BrazeSettings(Model):
    """An API-triggered campaign of Braze; the secret is a key with the right campaigns.trigger.send."""

    kind: Literal["braze"]
    url: Address
    """The REST address of the account, such as https://rest.fra-01.braze.eu."""
    campaign: Name
    """The id of the campaign there."""


class EmailSettings(Model):
    """A mail server; the secret is the password of its user."""

    kind: Literal["email"]
    host: Host
    """Name of the server."""
    port: int = Field(default=587, ge=1, le=65_535)
    """Its port."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """starttls, tls (from the start), or none (a server on this machine)."""
    user: Login | None = None
    """Whom to log in as; none: nobody."""
    sender: Login
    """What stands in From, such as Shop <news@shop.example>."""


ChannelSettings: TypeAlias = Annotated[
    WebhookSettings | SegmentSettings | BrazeSettings | EmailSettings, Field(discriminator="kind")
]
NEEDS_SETTINGS: Final = ("webhook", "segment", "braze", "email")
"""Kinds of channels that go nowhere without settings; the others have none."""
_ADAPTER: Final[TypeAdapter[ChannelSettings]] = TypeAdapter(ChannelSettings)


def read_channel_settings(data: bytes) -> ChannelSettings:
    """What `write_channel_settings` gave, or somebody has sent. Raises pydantic's ValidationError."""
    return _ADAPTER.validate_json(data)


def write_channel_settings(settings: ChannelSettings) -> bytes:
    """As it is stored and shown."""
    return _ADAPTER.dump_json(settings)
