"""What the routes of definitions answer, as types."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from streams.api.targets import EndpointView


class EntryView(BaseModel):
    """Who enters a segment, and when."""

    current_members: str = Field(
        description="`enter_now`: who fulfils the filter now enters, too; `wait`: nobody yet, as `words` says; "
        "`crossings`: only who leaves it and comes back; "
        "`none`: nobody.",
        examples=["enter_now"],
    )
    words: str


class LearningView(BaseModel):
    """How far the workers are with learning a prediction from the log."""

    phase: str = Field(description="`reading` the log, `joining` the live stream, or `failed`: it learns from now on.")
    records: int = Field(description="So many records are read,")
    of: int = Field(description="of so many.")


class CampaignOn(BaseModel):
    """A campaign or journey that rests on a definition."""

    kind: Literal["campaign", "journey"]
    id: str
    name: str
    state: Literal["on", "dry", "paused", "archived"]


class DefinitionView(BaseModel):
    """One definition and where it stands."""

    kind: str = Field(description="`prediction` or `segment`.")
    id: str
    source: str = Field(description="`api`: made here; `file`: of the catalog file, which is read-only here.")
    archived: bool
    access: str | None = Field(description="Predictions: `live`, `preview` or `demo`.")
    status: str = Field(
        description="`archived`; of predictions also `no events yet`, `learning from history`, `warming up`, `live` "
        "and what access adds; of segments `paused` (archived until a prediction that was taken back is live again), "
        "else `defined`.",
        examples=["live"],
    )
    learning: LearningView | None = Field(
        description="Predictions that learn from history, once workers tell how much there is to read."
    )
    version: int | None = Field(description="The revision that changed it last; null for those of the file.")
    created_at: str | None
    changed_at: str | None
    definition: dict[str, Any] = Field(description="As it stands in a catalog; what is left out is the default.")
    dependents: list[str] = Field(description="Segments that rest on it, also through each other; no archived ones.")
    endpoints: list[EndpointView] = Field(
        description="Webhooks and audiences that name it, or a segment that rests on it, paused and archived ones too."
    )
    campaigns: list[CampaignOn] = Field(
        description="Campaigns and journeys that name it, or a segment that rests on it; no archived ones. Those that "
        "are on are paused when it is archived or taken back."
    )
    entry: EntryView | None = Field(description="Segments: whether current members enter.")


class ChangedView(DefinitionView):
    """A definition after a change."""

    archived_too: list[str] = Field(
        description="Segments made here that rested on it, and are archived with it; `paused` if it was taken back."
    )
    restored_too: list[str] = Field(description="Paused segments that are back now that it is live again.")
    campaigns_paused: list[str] = Field(
        description="Campaigns and journeys that are paused with it; they are put on again by hand."
    )


class ListedDefinition(BaseModel):
    """One definition in a list."""

    kind: str
    id: str
    name: str
    source: str
    archived: bool
    access: str | None
    etag: str


class DefinitionList(BaseModel):
    """All definitions of the service."""

    revision: int = Field(description="So many changes were made here.")
    items: list[ListedDefinition]


class HistoryItem(BaseModel):
    """What somebody did to one definition."""

    revision: int
    at: str | None
    key_id: str = Field(description="Whose key it was; `tideline keys list` has the names.")
    kind: str
    id: str
    action: str = Field(description="`create`, `edit`, `archive`, `restore` or `access`.")
    before: dict[str, Any] | None
    after: dict[str, Any]


class HistoryPage(BaseModel):
    """Some changes, the latest first, and how to get earlier ones."""

    items: list[HistoryItem]
    next_cursor: str | None = Field(description="For `cursor`; null at the end.")


class Difference(BaseModel):
    """One key of a definition that becomes another."""

    path: str
    before: Any
    after: Any


class PlannedChange(BaseModel):
    """What happens to one definition."""

    kind: str
    id: str
    action: str
    differences: list[Difference]


class Plan(BaseModel):
    """What it takes to get from what is defined to what is wanted."""

    revision: int = Field(description="Of what is defined; once it is applied, of what is defined then.")
    changes: list[PlannedChange]
    unchanged: int
    of_file: list[str] = Field(description="Definitions of the service's catalog file, which stay as they are.")
