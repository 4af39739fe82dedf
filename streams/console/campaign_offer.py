"""The offer of a campaign as its pages draw it: over the scores of those whom it is for."""

from __future__ import annotations

from config.catalog import Catalog, ScoreFilter
from config.errors import NotStored
from config.offers import FixedOffer, LadderOffer, LinearOffer
from streams.api.app import Parts
from streams.api.distribution import get_distribution
from streams.api.problems import Problem
from streams.console.ladder import Bucket, Drawing, drawing_of
from streams.runtime.summary import edges

_CATEGORIES = ("low", "medium", "high")


class OfferDrawings:
    """Draws offers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def draw(
        self,
        catalog: Catalog,
        segment: str,
        offer: FixedOffer | LadderOffer | LinearOffer | None,
        scope: tuple[float, float] | None = None,
    ) -> Drawing | None:
        """An offer to those of a segment; None without one. Raises StoreError.

        `scope`: the scores of a segment that is still to be made; None for those of `segment`.
        """
        if offer is None:
            return None
        id_ = _asked(catalog, segment) if isinstance(offer, FixedOffer) else offer.prediction
        known = None if id_ is None else catalog.predictions.get(id_)
        is_churn = known is not None and known.kind == "churn"
        if id_ is None or known is None:
            return drawing_of(offer, [], is_churn=is_churn)
        return drawing_of(offer, self._buckets(id_), scope or _scope(catalog, segment, id_), is_churn=is_churn)

    def _buckets(self, id_: str) -> list[Bucket]:
        """Users by score; none as long as nobody has a score."""
        services = self._parts.services
        try:
            found = get_distribution(services.stored, self._parts.reads, self._parts.everyone, id_)
        except (NotStored, Problem):
            return []  # workers have not taken it up yet: the ladder stands alone
        return [Bucket(each.low, each.high, each.users) for each in found.by_score]


def _asked(catalog: Catalog, segment: str) -> str | None:
    """The prediction whose scores a segment is a range of; None where it is none."""
    before, dot, _ = segment.partition(".")
    if dot:
        return before
    found = catalog.segments.get(segment)
    return found.filter.prediction if found is not None and isinstance(found.filter, ScoreFilter) else None


def _scope(catalog: Catalog, segment: str, prediction: str) -> tuple[float, float]:
    """The scores of a segment, as far as it is a range of those; else all."""
    if _asked(catalog, segment) != prediction:
        return 0.0, 100.0
    _, dot, category = segment.partition(".")
    if dot:
        borders, place = edges(catalog.predictions[prediction]), _CATEGORIES.index(category)
        return borders[place], borders[place + 1]
    tree = catalog.segments[segment].filter
    assert isinstance(tree, ScoreFilter), "that is how it was asked"
    low, high = tree.score.min, tree.score.max
    return 0.0 if low is None else low, 100.0 if high is None else high
