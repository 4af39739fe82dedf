"""What a campaign or journey names: predictions, also as PREDICTION.high, and segments."""

from __future__ import annotations

from collections.abc import Iterator

from config.base import Kind
from config.campaigns import Campaign
from config.dependents import references
from config.filters import Filter
from config.journeys import Journey, SendStep, SplitStep, WaitUntilStep
from config.offers import LadderOffer, LinearOffer, Offer


def campaign_references(campaign: Campaign | Journey) -> list[tuple[Kind, str]]:
    """Each of them once: nobody is sent to while one of them cannot be targeted."""
    return list(dict.fromkeys(_named(campaign)))


def segment_names(campaign: Campaign | Journey) -> list[str]:
    """Segments that it names as such, PREDICTION.high among them."""
    names = [campaign.segment]
    for step in campaign.steps.values() if isinstance(campaign, Journey) else ():
        if isinstance(step, WaitUntilStep):
            names += [name for name in (step.until.enters, step.until.leaves) if name is not None]
    return list(dict.fromkeys(names))


def offers_of(campaign: Campaign | Journey) -> list[Offer]:
    """What it offers: of a journey at every step that does."""
    if isinstance(campaign, Campaign):
        return [] if campaign.offer is None else [campaign.offer]
    sends = [step for step in campaign.steps.values() if isinstance(step, SendStep)]
    return [step.offer for step in sends if step.offer is not None]


def priced_by(campaign: Campaign | Journey) -> list[str]:
    """Predictions by whose scores offers go."""
    return [offer.prediction for offer in offers_of(campaign) if isinstance(offer, LadderOffer | LinearOffer)]


def _named(campaign: Campaign | Journey) -> Iterator[tuple[Kind, str]]:
    for name in segment_names(campaign):
        prediction, dot, _ = name.partition(".")
        yield ("prediction", prediction) if dot else ("segment", name)
    for filter_ in _filters(campaign):
        yield from references(filter_)
    if campaign.prediction is not None:
        yield "prediction", campaign.prediction
    for prediction in priced_by(campaign):
        yield "prediction", prediction


def _filters(campaign: Campaign | Journey) -> Iterator[Filter]:
    if campaign.filter is not None:
        yield campaign.filter
    for step in campaign.steps.values() if isinstance(campaign, Journey) else ():
        if isinstance(step, SplitStep):
            yield from (path.when for path in step.paths)
