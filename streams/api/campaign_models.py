"""What the routes of campaigns and journeys answer, as types."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

Standing = Literal["on", "dry", "paused", "archived"]
Status = Literal["on", "dry", "paused", "archived", "early", "over"]


class CampaignProblem(BaseModel):
    """Why it rests: something that it names is not as it was."""

    path: str
    found: str
    expected: str


class CampaignSummary(BaseModel):
    """A campaign or journey in a list."""

    kind: Literal["campaign", "journey"]
    id: str
    name: str
    source: Literal["api", "file"] = Field(description="`file`: defined in the catalog file, which is read-only here.")
    state: Standing = Field(description="What people, or the breaker, have decided about it; `dry` is a dry run.")
    status: Status = Field(
        description="What it does now: its state, or `early` before it `starts`, `over` after it `ends`, `paused` "
        "while something that it rests on cannot be targeted (`problems`)."
    )
    since: str | None = Field(description="Since when it is in that state.")
    why: str | None = Field(description="Why it was paused, where that was nobody's decision.")
    segment: str
    channels: list[str]
    version: int = Field(description="Of the definition, from 1; users stay on theirs.")
    created_at: str | None
    changed_at: str | None
    etag: str


class CampaignView(CampaignSummary):
    """One campaign or journey."""

    versions: list[int] = Field(description="Those that are kept, because users are in them; the last is in force.")
    problems: list[CampaignProblem]
    next_at: str | None = Field(
        description="When it goes out next, if it is scheduled; null: not any more, or not while it stands like this."
    )
    rests_on: list[str] = Field(description="Predictions and segments that it names.", examples=[["predictions.a"]])
    definition: dict[str, Any] = Field(description="As it stands in a catalog; what is left out is the default.")


class CampaignPage(BaseModel):
    """Some of them, in the order in which they were made."""

    items: list[CampaignSummary]
    next_cursor: str | None = Field(description="For `cursor`; null at the end.")


class CampaignChange(BaseModel):
    """What somebody did."""

    revision: int
    at: str | None
    key_id: str = Field(description="Whose key it was; `file` for what the catalog file said, or `breaker`.")
    action: str = Field(description="`create`, `edit`, `pause`, `resume`, `dry`, `archive` or `forget`.")
    version: int
    state: Standing | None
    why: str | None
    before: dict[str, Any] | None = Field(description="The definition; null where it stayed as it was.")
    after: dict[str, Any] | None


class CampaignHistory(BaseModel):
    """Some changes, the latest first, and how to get earlier ones."""

    items: list[CampaignChange]
    next_cursor: str | None = Field(description="For `cursor`; null at the end.")


class MessagingView(BaseModel):
    """What all campaigns and journeys share."""

    source: Literal["api", "file"] | None = Field(description="null before anybody has defined it.")
    changed_at: str | None
    definition: dict[str, Any] = Field(description="As it stands in a catalog under `messaging`.")


class TemplateView(BaseModel):
    """A ready-made campaign or journey, to be changed."""

    name: str
    kind: Literal["campaign", "journey"] = Field(description="What it makes.")
    prediction_kind: Literal["event", "churn"] = Field(description="Of the predictions that it is for.")
    range: str | list[float] = Field(description="Whom it is meant for: a category, or scores from and to.")
    title: dict[str, str] = Field(description="Language (`en`, `fr`): a title.")
    description: dict[str, str] = Field(description="Language: what it does, in a sentence.")


class TemplateList(BaseModel):
    """All of them."""

    items: list[TemplateView]


class FilledSegment(BaseModel):
    """A segment that has to be made first: POST /v1/segments takes it."""

    id: str
    definition: dict[str, Any]


class FilledTemplate(BaseModel):
    """A definition for a prediction and a range. Nothing is stored."""

    kind: Literal["campaign", "journey"]
    id: str = Field(description="A proposal.")
    definition: dict[str, Any] = Field(description="For POST /v1/campaigns or /v1/journeys, with its id.")
    segment: FilledSegment | None = Field(description="null where it is for a category, which has a segment.")
