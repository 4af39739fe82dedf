"""Campaigns and journeys as they are in force: what is kept of them, under the catalog of the moment.

    with follow_definitions(url, prefix, file) as catalog, follow_campaigns(url, prefix, catalog) as campaigns:
        around = Around(outlet, patience, campaigns.defined, tell)     # another object after each change
        campaigns.trip(trip.campaign, trip.since_s, now_s)

One that does not fit the catalog any more (its segment was archived, its prediction taken back) is paused for as long
as that is so: this is looked at here, whoever changed what and wherever, and holds before anybody has noticed.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Final, NamedTuple

from config.campaign_checks import campaigns_in_trouble
from config.catalog import Catalog
from config.errors import Problem, StoreIncompatible, StoreUnavailable
from streams.adapters.campaign_definitions import CampaignDefinitions, KeptCampaigns, redis_campaign_definitions
from streams.adapters.redis_store import WaitFor
from streams.campaigns.offers import Kind
from streams.campaigns.plan import Definitions, Plan
from streams.runtime.campaigns.partition_run import Defined
from streams.runtime.definitions import POLL_S, Wanted

_LOG: Final = logging.getLogger(__name__)


class InForce(NamedTuple):
    """What is in force; another object after every change."""

    revision: int
    definitions: Definitions
    """Those in `troubles` are paused."""
    troubles: Mapping[str, list[Problem]]
    """Campaign or journey that does not fit the catalog -> what is wrong."""
    defined: Defined
    """The same for the run of a partition."""


def in_force(kept: KeptCampaigns, catalog: Catalog) -> InForce:
    """What is kept, under a catalog. Raises StoreIncompatible for what cannot be read."""
    found = kept.definitions(kinds_of(catalog))
    troubles = troubles_of(kept, found, catalog)
    standings = {
        id_: dataclasses.replace(each, state="paused") if id_ in troubles and each.state in ("on", "dry") else each
        for id_, each in found.standings.items()
    }
    goals = frozenset(atom.event for each in catalog.predictions.values() for atom in each.goal.atoms)
    definitions = dataclasses.replace(found, standings=standings, goals=goals)
    return InForce(kept.revision, definitions, troubles, Defined(Plan(definitions), catalog))


def kinds_of(catalog: Catalog) -> dict[str, Kind]:
    """Of each prediction."""
    return {id_: prediction.kind for id_, prediction in catalog.predictions.items()}


def troubles_of(kept: KeptCampaigns, found: Definitions, catalog: Catalog) -> dict[str, list[Problem]]:
    """Campaigns and journeys whose version in force does not fit the catalog, without archived ones."""
    current = {each.head.id: each.head.version for each in kept.campaigns}
    return campaigns_in_trouble(
        catalog,
        found.messaging,
        {id_: versions[current[id_]] for id_, versions in found.campaigns.items()},
        {id_: versions[current[id_]] for id_, versions in found.journeys.items()},
        [each.head.id for each in kept.campaigns if each.head.stands.state == "archived"],
    )


class LiveCampaigns:
    """What is in force, by `kept` and the catalog that is `wanted`. Any thread may ask; one at a time looks.

    Raises StoreUnavailable and StoreIncompatible at the start. What cannot be read later is told in the log, and what
    was in force before stays for partitions that are worked; `look`, which takes one over, raises.
    """

    def __init__(self, kept: CampaignDefinitions, wanted: Wanted) -> None:
        self._store = kept
        self._wanted = wanted
        self._lock = threading.Lock()
        self._kept = kept.kept()
        self._seen = self._kept.revision
        self._catalog = wanted.catalog
        self._unread: StoreIncompatible | None = None
        self.now = in_force(self._kept, self._catalog)
        _tell(self.now, {})

    def refresh(self) -> InForce:
        """The same object as before unless something has changed. Raises StoreUnavailable."""
        with self._lock:
            catalog, revision = self._wanted.refresh(), self._store.revision()
            if catalog is self._catalog and revision == self._seen:
                return self.now
            before = self.now.troubles
            try:
                kept = self._store.kept() if revision != self._seen else self._kept
                self.now = in_force(kept, catalog)
            except StoreIncompatible as error:
                _LOG.error("revision %d of campaigns is not in force: %s", revision, error)
                self._seen, self._catalog, self._unread = revision, catalog, error
            else:
                self._kept, self._seen, self._catalog, self._unread = kept, kept.revision, catalog, None
                _tell(self.now, before)
            return self.now

    def look(self) -> InForce:
        """What is in force is not older than this call. Raises StoreUnavailable, StoreIncompatible."""
        now = self.refresh()
        if self._unread is not None:
            raise self._unread
        return now


def _tell(now: InForce, before: Mapping[str, list[Problem]]) -> None:
    _LOG.info("revision %d of campaigns", now.revision)
    for id_, problems in now.troubles.items():
        if id_ not in before:
            _LOG.warning("%s is paused for as long as this is so: %s", id_, "; ".join(map(str, problems)))


class CampaignsFollower:
    """A `LiveCampaigns` that is looked at again and again, by a thread of its own; any thread may ask it."""

    def __init__(self, live: LiveCampaigns, kept: CampaignDefinitions) -> None:
        self._live = live
        self._kept = kept
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="campaign-definitions")

    def defined(self) -> Defined:
        """For the run of a partition: another object after each change, the same one otherwise."""
        return self._live.now.defined

    @property
    def now(self) -> InForce:
        """The same with all that is known of it."""
        return self._live.now

    def refresh(self) -> InForce:
        """The same after a look. Raises StoreUnavailable."""
        return self._live.refresh()

    def look(self) -> InForce:
        """See `LiveCampaigns.look`."""
        return self._live.look()

    def trip(self, id_: str, since_s: float, at_s: float) -> bool:
        """Pause a campaign if it stands as it did since `since_s`; see `CampaignDefinitions.trip`."""
        return self._kept.trip(id_, since_s, at_s)

    def forget_versions(self, needed: Mapping[str, Collection[int]], before_s: float) -> int:
        """See `CampaignDefinitions.forget_versions`."""
        return self._kept.forget_versions(needed, before_s)

    def start(self) -> Future[None]:
        """Follow; the future ends with `stop`, or with what it has failed by."""
        return self._thread.submit(self._follow)

    def _follow(self) -> None:
        is_away = False
        while not self._stopping.wait(POLL_S):
            try:
                self._live.refresh()
                is_away = False
            except StoreUnavailable as error:
                if not is_away:
                    _LOG.warning("campaigns are not looked at for now: %s", error)
                is_away = True

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    def close(self) -> None:
        """Wait until it has ended."""
        self.stop()
        self._thread.shutdown()


@contextmanager
def follow_campaigns(
    url: str, prefix: str, wanted: Wanted, *, wait_for: WaitFor | None = None
) -> Iterator[CampaignsFollower]:
    """The campaigns in the store at `url` under the catalog that is `wanted`; `start` begins to follow.

    `wait_for`: the copies that a trip has to have. Raises StoreError.
    """
    with closing(redis_campaign_definitions(url, prefix=prefix, wait_for=wait_for)) as kept:
        follower = CampaignsFollower(LiveCampaigns(kept, wanted), kept)
        try:
            yield follower
        finally:
            follower.close()
