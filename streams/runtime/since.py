"""Under which catalog a state stands, and since when it knows what was new in it: both are stored with it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

import msgspec

from config.catalog import Catalog
from streams.core.questions import kept_predictions
from streams.runtime.about import CATALOG_BLOB, about_blobs, stored_catalog
from streams.runtime.replay import catalog_digest

SINCE_BLOB = "since"


def catalog_of(blobs: Mapping[str, bytes], wanted: Catalog) -> Catalog:
    """The catalog of a stored state: `wanted` itself if it is the same, or if nothing says which one it was.

    Raises StoreIncompatible for one that this version does not read.
    """
    if blobs.get(CATALOG_BLOB) in (None, about_blobs(wanted)[CATALOG_BLOB]):
        return wanted
    stored = stored_catalog(blobs)
    return wanted if catalog_digest(stored) == catalog_digest(wanted) else stored


class Since(msgspec.Struct, frozen=True):
    """By name, the event time (seconds since 1970) from which on something is complete; what is not here always was."""

    predictions: dict[str, float] = {}
    events: dict[str, float] = {}
    history: dict[str, float] = {}
    traits: dict[str, float] = {}

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing that began later than the rest."""
        return not (self.predictions or self.counted)

    @property
    def counted(self) -> frozenset[str]:
        """Names of events and traits that are counted later than the rest."""
        return frozenset((*self.events, *self.history, *self.traits))

    def complete(self, predictions: Collection[str]) -> Since:
        """All that is counted is complete now, and these predictions are."""
        return Since({name: at_s for name, at_s in self.predictions.items() if name not in predictions})

    def without(self, predictions: Collection[str]) -> Since:
        """For these predictions nothing is awaited any more."""
        kept = {name: at_s for name, at_s in self.predictions.items() if name not in predictions}
        return Since(kept, self.events, self.history, self.traits)

    def gains(self, predictions: Collection[str]) -> bool:
        """Whether something becomes complete with a past in which these predictions are."""
        return bool(self.counted) or not self.predictions.keys().isdisjoint(predictions)

    @classmethod
    def of(cls, blobs: Mapping[str, bytes]) -> Since:
        """As stored."""
        data = blobs.get(SINCE_BLOB)
        return cls() if data is None else msgspec.json.decode(data, type=cls)

    def blobs(self) -> dict[str, bytes]:
        """As it is stored."""
        return {SINCE_BLOB: msgspec.json.encode(self)}

    def with_what_is_new(self, old: Catalog, new: Catalog, clock_s: float) -> Since:
        """What `new` has and `old` had not begins at `clock_s`; NaN is before the first event, when all is complete."""

        def later(known: dict[str, float], now: Iterable[str], before: Iterable[str]) -> dict[str, float]:
            had, names = set(before), list(now)
            found = {} if math.isnan(clock_s) else {name: clock_s for name in names if name not in had}
            return {name: known[name] for name in names if name in known and name in had} | found

        return Since(
            later(self.predictions, new.predictions, kept_predictions(old, new)),
            later(self.events, new.named_events(), old.named_events()),
            later(self.history, new.history, old.history),
            later(self.traits, new.named_traits(), old.named_traits()),
        )
