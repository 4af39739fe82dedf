"""Campaigns and journeys as they are defined, and changes of them: as `streams.api.definer` for what they rest on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from starlette.responses import Response

from streams.adapters.campaign_definitions import CampaignDefinitions, Step
from streams.adapters.documents import DefinitionsChanged
from streams.api.campaign_edits import By, paused_with
from streams.api.campaigns_view import CampaignsView
from streams.api.changing import Ask, Attempt, Told, change
from streams.api.definer import Definer
from streams.api.definitions_view import DefinitionsView

_KEPT_S: Final = 60.0
"""So long a view is used again, as that of definitions is."""


class CampaignWork(NamedTuple):
    """What a change consists of, and how it is told once it is made."""

    steps: list[Step]
    tell: Callable[[CampaignsView], Told]


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

    def beside(self, view: DefinitionsView) -> CampaignsView:
        """What is kept of campaigns, beside other definitions than those that are in force."""
        return CampaignsView(self.store.kept(), view)
