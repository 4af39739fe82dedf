"""What is asked and answered about channels of campaigns, as types."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from config.base import ID_PATTERN
from config.channel_settings import ChannelSettings
from streams.api.webhook_views import Circuit

ChannelId = Annotated[str, Path(pattern=ID_PATTERN, description="As messaging names it.")]
Ended = Literal["dead", "unknown"]
_LACKS = (
    "What has to be set before anything leaves: `settings` or `secret`. Null: nothing, or no channel of this id is "
    "defined in messaging."
)


class NewSettings(BaseModel):
    """Where a channel delivers to."""

    model_config = ConfigDict(extra="forbid")

    settings: ChannelSettings
    secret: str | None = Field(
        default=None,
        min_length=1,
        max_length=1_000,
        description="What is signed with or shown: of a webhook `whsec_` and base64 of 24 to 64 bytes (one is made if "
        "there is none yet), Segment's write key, Braze's API key, the password of the mail server's user. Without it "
        "the one that is there stays.",
        json_schema_extra={"writeOnly": True},
    )


class FailingView(BaseModel):
    """The last attempt of a channel, which has failed."""

    result: str = Field(description="What came of it.")
    at: str | None
    next_attempt: str | None = Field(description="Not before; null: nothing waits for one.")
    circuit: Circuit = Field(description="`open`: nothing is sent for a while, as it has failed again and again.")


class ChannelView(BaseModel):
    """A channel and how it goes with it. Its secret is never shown again."""

    id: str = Field(pattern=ID_PATTERN, examples=["push"])
    kind: str | None = Field(description="As messaging defines it; null if it does not (any more).")
    settings: ChannelSettings | None
    has_secret: bool
    lacks: Literal["settings", "secret"] | None = Field(description=_LACKS)
    waiting: int = Field(description="Messages that wait, or are on their way.")
    dead: int = Field(description="Messages that were given up and are kept, for `redriveChannel`.")
    unknown: int = Field(description="Messages of which nobody knows whether they arrived, likewise.")
    counts: dict[str, int] = Field(description="What became of messages since the channel was made, and of attempts.")
    failing: FailingView | None = Field(description="Null: the last attempt has arrived, or there was none.")
    warning: str | None = Field(
        description="Of one that has settings and that messaging does not define: no campaign can go by it."
    )


class ChannelWithSecret(ChannelView):
    """A channel with the secret that was made for it, this once."""

    secret: str | None = Field(description="Null for one that was given, or was there before.")


class ChannelList(BaseModel):
    """All channels."""

    items: list[ChannelView]


class FailureView(BaseModel):
    """A message that was given up, or of which nobody knows whether it arrived."""

    id: str
    campaign_id: str
    campaign_version: int
    step: str | None
    user_id: str
    attempts: int
    decided_at: str | None
    result: str | None = Field(description="What came of the last attempt.")


class FailureList(BaseModel):
    """Messages of one state, the oldest first."""

    items: list[FailureView]


class RedriveMessages(BaseModel):
    """Which messages to send again."""

    model_config = ConfigDict(extra="forbid")

    state: Ended = Field(
        default="dead", description="Those that were given up, or those of which nobody knows: they may come twice."
    )
    ids: list[str] | None = Field(default=None, max_length=1_000, description="All of them, if this is left out.")
    campaign_id: str | None = Field(default=None, max_length=63, description="Only those of this campaign.")


class AlertView(BaseModel):
    """What people were told."""

    id: str
    campaign_id: str
    kind: str = Field(description="`breaker`, `message` or `budget`.")
    words: str
    at: str | None


class AlertList(BaseModel):
    """The latest alerts first; 1,000 are kept."""

    items: list[AlertView]
