"""Campaigns and journeys as they are defined, and changes of them: as `streams.api.definer` for what they rest on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from starlette.responses import Response

from streams.adapters.campaign_definitions import CampaignDefinitions, Step
from streams.adapters.documents import DefinitionsChanged
from streams.api.campaign_edits import By, paused_with
from streams.api.campaign_set import NOTHING, CampaignPlan, campaigns_planned
from streams.api.campaigns_view import CampaignsView
from streams.api.changing import Ask, Attempt, Told, change
from streams.api.definer import Definer
from streams.api.definitions_view import DefinitionsView
from streams.api.problems import Kind, Problem

_PAGE: Final = 1_000
"""Changes that are looked at: so many campaigns and journeys there may be."""
_KEPT_S: Final = 60.0
"""So long a view is used again, as that of definitions is."""


class CampaignWork(NamedTuple):
    """What a change consists of, and how it is told once it is made."""

    steps: list[Step]
    tell: Callable[[CampaignsView], Told]


class PlannedCampaigns(NamedTuple):
    """What leads to the campaigns of a set."""

    plan: CampaignPlan
    revision: int
    """Of campaigns, when it was looked at."""


NO_CAMPAIGNS: Final = PlannedCampaigns(NOTHING, 0)


class CampaignDefiner:
    """Reads and changes campaigns and journeys. May be used by several threads."""

    def __init__(
        self, store: CampaignDefinitions, definer: Definer, wall: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`wall`: seconds since 1970 UTC; `clock`: seconds that never go back."""
        self.store = store
        self.definer = definer
        self._wall = wall
        self._clock = clock
        self._looking = threading.Lock()
        self._looked: CampaignsView | None = None
        self._looked_s = 0.0

    def view(self) -> CampaignsView:
        """What is defined now. Raises StoreError, and `Problem` where no worker has told its catalog yet."""
        beside = self.definer.view()
        with self._looking:
            looked = self._looked
            is_old = self._clock() - self._looked_s >= _KEPT_S
            if looked is None or is_old or looked.beside is not beside or looked.kept.revision != self.store.revision():
                self._looked_s = self._clock()
                self._looked = looked = CampaignsView(self.store.kept(), beside)
            return looked

    def now_s(self) -> float:
        """Seconds since 1970 UTC."""
        return self._wall()

    def change(self, ask: Ask, work: Callable[[CampaignsView, By], CampaignWork]) -> Response:
        """Make a change that `work` finds for what is there; it is asked again where somebody else was first.

        Raises `Problem` and StoreError; after StoreUnavailable the change may have been made or not.
        """

        def attempt() -> Attempt:
            view = CampaignsView(self.store.kept(), self.definer.view())
            steps, tell = work(view, By(ask.key_id, self._wall()))
            revision = view.kept.revision
            told = tell(view.after(steps) if steps else view)
            return Attempt(told, bool(steps), lambda answer: self.store.write(revision, steps, answer))

        return change(ask, self.store.answered, attempt)

    def pause_unusable(self, key_id: str) -> list[str]:
        """Pause those that rest on what nobody may target any more; their ids. Called behind a change of that."""
        while True:
            view = CampaignsView(self.store.kept(), self.definer.view())
            steps = paused_with(view, By(key_id, self._wall()))
            if not steps:
                return []
            try:
                self.store.write(view.kept.revision, steps)
            except DefinitionsChanged:
                continue
            return [step.change.id for step in steps if step.change is not None]

    def planned(self, beside: DefinitionsView, data: Mapping[str, Any], key_id: str) -> PlannedCampaigns:
        """What leads to the campaigns of a set, beside definitions that are to be. Raises `Problem`, StoreError."""
        view = self.beside(beside)
        return PlannedCampaigns(campaigns_planned(view, By(key_id, self._wall()), data), view.kept.revision)

    def apply(self, planned: PlannedCampaigns, data: Mapping[str, Any], key_id: str) -> None:
        """Do what was planned, behind the change of the definitions that it rests on.

        That may have paused some. Raises `Problem` where anybody else has changed campaigns since.
        """
        expected = planned.revision
        while planned.plan.steps:
            try:
                self.store.write(expected, planned.plan.steps)
            except DefinitionsChanged:
                again = self.planned(self.definer.view(), data, key_id)
                if not self._is_ours(expected, key_id):
                    words = "predictions and segments are applied, and campaigns are not: others have changed them "
                    raise Problem(Kind.PRECONDITION_FAILED, words + "meanwhile; look at the plan again") from None
                planned, expected = again, again.revision
            else:
                return

    def _is_ours(self, since: int, key_id: str) -> bool:
        """Whether nothing has happened since that revision but pauses with what they rest on, by this key."""
        page = self.store.history(None, _PAGE)
        later = [change for place, change in page if place[0] > since]
        return len(later) < _PAGE and all(
            (change.action, change.key_id) == ("pause", key_id) and change.why is not None for change in later
        )

    def beside(self, view: DefinitionsView) -> CampaignsView:
        """What is kept of campaigns, beside other definitions than those that are in force."""
        return CampaignsView(self.store.kept(), view)
