"""What is asked and answered about webhooks, as types."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from streams.api.targets import EndpointStatus
from streams.runtime.wanted_crossings import Direction

OriginWord = Literal["live", "decay", "model", "audience", "definition_change", "backfill", "deleted"]
Circuit = Literal["closed", "open", "half-open"]
SegmentId = Annotated[str, Field(min_length=1, max_length=200)]
URL_PATTERN = r"^https://([a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\.){1,4}[a-z]{2,12}(/[A-Za-z0-9._~-]{0,60}){0,5}$"
_SIGNED_WITH = r"^whsec_([A-Za-z0-9+/]{4}){8,21}$"
STATUS = "`paused`: every segment that it names is paused or archived, so nobody is in one until it is back."
_SEGMENTS = "Only transitions of these segments; of all, if there are none."


class NewWebhook(BaseModel):
    """What is sent, and where."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(
        min_length=1,
        max_length=2_000,
        description="By name, as the pattern has it; or by an address that is public.",
        examples=["https://hooks.example.org/tideline"],
        json_schema_extra={"pattern": URL_PATTERN},
    )
    name: str = Field(default="", max_length=200, description="For people.")
    segments: list[SegmentId] = Field(default=[], max_length=100, description=_SEGMENTS, examples=[["orders_7d.high"]])
    direction: Direction | None = Field(default=None, description="Only who enters, or only who leaves.")
    origins: list[OriginWord] = Field(
        default=[], max_length=7, description="Only with these origins; with all, if none."
    )
    secret: str | None = Field(
        default=None,
        description="To sign with: `whsec_` and base64 of 24 to 64 bytes. One is made if it is left out.",
        json_schema_extra={"writeOnly": True, "pattern": _SIGNED_WITH},
    )


class WebhookView(BaseModel):
    """A webhook and how it goes with it. Its secret is never shown again."""

    id: str = Field(examples=["wh_5f0c6f3a1b2c"])
    url: str
    name: str
    segments: list[str]
    direction: Direction | None
    origins: list[str]
    status: EndpointStatus = Field(description=STATUS)
    created_at: str | None
    archived_at: str | None
    circuit: Circuit = Field(description="`open`: nothing is sent for a while, as it has failed again and again.")
    circuit_until: str | None = Field(description="When the next attempt is made, if it is open.")
    waiting: int = Field(description="Deliveries that wait, or are on their way.")
    delivered: int
    failed: int = Field(description="Attempts that failed.")
    dead: int = Field(description="Dead letters that are kept, for `redrive`.")
    missed: int = Field(description="Transitions that the log did not keep long enough.")
    last_result: str | None = Field(description="What came of the last attempt.")
    last_at: str | None


class WebhookWithSecret(WebhookView):
    """A webhook with its secret, this once."""

    secret: str | None = Field(
        description="Null for a request that is sent again a day later, or after the secret was renewed."
    )


class WebhookList(BaseModel):
    """All webhooks."""

    items: list[WebhookView]


class DeliveryView(BaseModel):
    """One delivery."""

    id: str = Field(description="The header `webhook-id`: that of the transition.")
    user_id: str
    state: Literal["waiting", "dead", "delivered"]
    attempts: int
    since: str | None = Field(description="When it was taken from the log.")
    next_attempt: str | None = Field(description="Not before; of one that waits.")
    delivered_at: str | None
    result: str | None = Field(description="What came of the last attempt.")


class DeliveryList(BaseModel):
    """Deliveries of one state."""

    items: list[DeliveryView]


class TestResult(BaseModel):
    """What came of a test."""

    delivered: bool
    status: int | None = Field(description="That was answered, if anything was.")
    result: str
    id: str = Field(description="The header `webhook-id` of the test.")


class Redrive(BaseModel):
    """Which dead letters to send again."""

    model_config = ConfigDict(extra="forbid")

    ids: list[str] | None = Field(default=None, max_length=1_000, description="All of them, if this is left out.")


class Redriven(BaseModel):
    """How many are sent again."""

    redriven: int
