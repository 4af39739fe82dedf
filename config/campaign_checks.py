"""Campaigns and journeys read from plain data, and looked at beside the catalog: what one type cannot see alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from config.campaigns import Campaign, EventConsent, Message, Messaging, Rules, TraitConsent
from config.catalog import Catalog, ConstantEvent, SegmentInput
from config.checks import Finding, check_filter, check_segment_name, check_target, one_of
from config.definitions import read_model
from config.errors import Problem
from config.journeys import END, Journey, SendStep, SplitStep, WaitUntilStep
from config.offers import FixedOffer, LadderOffer, LinearOffer, Offer
from config.problems import suggest
from config.times import EventTrigger
from config.yaml_text import Location, path_text

__all__ = [
    "campaigns_in_trouble",
    "check_campaigns",
    "problems_of_campaigns",
    "read_campaign",
    "read_journey",
    "read_messaging",
]


def read_campaign(id_: str, data: Any) -> Campaign:
    """A campaign from plain data (JSON), durations as text. Raises CatalogError with every problem found."""
    return read_model(Campaign, "campaigns", id_, data)


def read_journey(id_: str, data: Any) -> Journey:
    """The same for a journey."""
    return read_model(Journey, "journeys", id_, data)


def read_messaging(data: Any) -> Messaging:
    """The same for what all of them share."""
    return read_model(Messaging, "campaigns", "messaging", data)


def problems_of_campaigns(
    catalog: Catalog,
    messaging: Messaging,
    campaigns: Mapping[str, Campaign],
    journeys: Mapping[str, Journey],
    archived: Collection[str] = (),
) -> list[Problem]:
    """`check_campaigns` as problems without lines."""
    findings = check_campaigns(catalog, messaging, campaigns, journeys, archived)
    return [Problem(None, path_text(location), found, expected) for location, found, expected in findings]


def campaigns_in_trouble(
    catalog: Catalog,
    messaging: Messaging,
    campaigns: Mapping[str, Campaign],
    journeys: Mapping[str, Journey],
    archived: Collection[str] = (),
) -> dict[str, list[Problem]]:
    """Campaign or journey that is not right beside the catalog -> what is wrong; what they share is passed over."""
    found: dict[str, list[Problem]] = {}
    for location, what, expected in check_campaigns(catalog, messaging, campaigns, journeys, archived):
        if location[0] in ("campaigns", "journeys"):
            found.setdefault(str(location[1]), []).append(Problem(None, path_text(location), what, expected))
    return found


def check_campaigns(
    catalog: Catalog,
    messaging: Messaging,
    campaigns: Mapping[str, Campaign],
    journeys: Mapping[str, Journey],
    archived: Collection[str] = (),
) -> Iterator[Finding]:
    """Everything wrong between campaigns, journeys and the catalog. Those with ids in `archived` are passed over."""
    yield from _check_messaging(catalog, messaging)
    for id_, campaign in campaigns.items():
        if id_ not in archived:
            here: Location = ("campaigns", id_)
            yield from _check_rules(catalog, messaging, campaign, here)
            yield from _check_trigger(catalog, campaign, here)
            yield from _check_offer(catalog, campaign.offer, (*here, "offer"))
            yield from _check_message(messaging, campaign, campaign.message, (*here, "message"))
    for id_, journey in journeys.items():
        if id_ in campaigns:
            yield ("journeys", id_), f"the id {id_!r}, which a campaign has", "an id of its own"
        if id_ not in archived:
            yield from _check_rules(catalog, messaging, journey, ("journeys", id_))
            yield from _check_steps(catalog, journey, ("journeys", id_, "steps"))
            for step_id, step in journey.steps.items():
                if isinstance(step, SendStep):
                    place: Location = ("journeys", id_, "steps", step_id, "send")
                    yield from _check_message(messaging, journey, step.send, place)


def _check_messaging(catalog: Catalog, messaging: Messaging) -> Iterator[Finding]:
    here: Location = ("messaging",)
    if messaging.timezone_trait is not None:
        yield from _check_trait(catalog, messaging.timezone_trait, (*here, "timezone_trait"))
    for id_, channel in messaging.channels.items():
        place: Location = (*here, "channels", id_, "consent")
        if channel.address is not None:
            yield from _check_trait(catalog, channel.address, (*here, "channels", id_, "address"))
        if isinstance(channel.consent, TraitConsent):
            yield from _check_trait(catalog, channel.consent.trait, (*place, "trait"))
        elif isinstance(channel.consent, EventConsent):
            yield from _check_event(catalog, channel.consent.withdrawn, (*place, "withdrawn"))
            if channel.consent.given is not None:
                yield from _check_event(catalog, channel.consent.given, (*place, "given"))


def _check_rules(catalog: Catalog, messaging: Messaging, rules: Rules, here: Location) -> Iterator[Finding]:
    yield from check_segment_name(catalog, rules.segment, (*here, "segment"), is_used=True)
    if rules.filter is not None:
        yield from check_filter(catalog, rules.filter, (*here, "filter"))
    if rules.prediction is not None:
        yield from check_target(catalog, rules.prediction, (*here, "prediction"), is_used=True)
    yield from _check_event(catalog, rules.conversion.event, (*here, "conversion", "event"))
    for index, channel in enumerate(rules.channels):
        if channel not in messaging.channels:
            expected = one_of(channel, messaging.channels)
            yield (*here, "channels", index), f"unknown channel {channel!r}", expected


def _check_message(messaging: Messaging, rules: Rules, message: Message, here: Location) -> Iterator[Finding]:
    for channel in message.by_channel:
        if channel not in rules.channels:
            yield (
                (*here, "by_channel", channel),
                f"the channel {channel!r}, which is not used",
                one_of(channel, rules.channels),
            )
    if message.recommendations is not None:
        source = message.recommendations.source
        webhooks = [id_ for id_, channel in messaging.channels.items() if channel.kind == "webhook"]
        if source not in webhooks:
            place = (*here, "recommendations", "from")
            yield place, f"{source!r}, which is no channel of the kind webhook", one_of(source, webhooks)


def _check_trigger(catalog: Catalog, campaign: Campaign, here: Location) -> Iterator[Finding]:
    trigger = campaign.trigger
    if isinstance(trigger, EventTrigger):
        yield from _check_event(catalog, trigger.event, (*here, "trigger", "event"))
        if trigger.event == campaign.conversion.event and campaign.skip_recent_goal_s > 0.0:
            yield (
                (*here, "trigger", "event"),
                f"{trigger.event!r}, which is the event of the conversion, too",
                "another event, or skip_recent_goal: 0 (who has just done it is not sent to)",
            )


def _check_steps(catalog: Catalog, journey: Journey, here: Location) -> Iterator[Finding]:
    if circle := journey.circles():
        names = ", ".join(repr(id_) for id_ in circle)
        yield (
            (*here, circle[0]),
            f"steps that go round for ever: {names}",
            f"a way to a send, or to the end (`then: {END}`), from each step",
        )
    for id_, step in journey.steps.items():
        place: Location = (*here, id_)
        if isinstance(step, SplitStep):
            for index, way in enumerate(step.paths):
                yield from check_filter(catalog, way.when, (*place, "split", index, "when"))
        elif isinstance(step, WaitUntilStep):
            until = step.until
            if until.event is not None:
                yield from _check_event(catalog, until.event, (*place, "wait_until", "event"))
            for key, segment in (("enters", until.enters), ("leaves", until.leaves)):
                if segment is not None:
                    yield from check_segment_name(catalog, segment, (*place, "wait_until", key), is_used=True)
        elif isinstance(step, SendStep):
            yield from _check_offer(catalog, step.offer, (*place, "offer"))


def _check_offer(catalog: Catalog, offer: Offer | None, here: Location) -> Iterator[Finding]:
    if offer is None or isinstance(offer, FixedOffer):
        return
    yield from check_target(catalog, offer.prediction, (*here, "prediction"), is_used=True)
    prediction = catalog.predictions.get(offer.prediction)
    if prediction is None or isinstance(offer, LinearOffer):
        return
    yield from _check_direction(offer, here, is_churn=prediction.kind == "churn")


def _check_direction(offer: LadderOffer, here: Location, *, is_churn: bool) -> Iterator[Finding]:
    if list(offer.values) != sorted(offer.values, reverse=not is_churn):
        found = ", ".join(f"{value:g}" for value in offer.values)
        expected = (
            "values that grow with the score (churn: the higher the risk, the more is done)"
            if is_churn
            else "values that fall with the score (who comes anyway needs no offer)"
        )
        yield (*here, "values"), f"{found}", expected


def _check_event(catalog: Catalog, name: str, here: Location) -> Iterator[Finding]:
    """Any event will do: the log is read for it. Only where every row is one event, no other can come."""
    mapping = catalog.input
    if isinstance(mapping, SegmentInput) or not isinstance(mapping.event, ConstantEvent):
        return
    constant = mapping.event.constant
    if name != constant:
        yield here, f"the event {name!r}", f"{constant!r}: by input.event every row is that event"


def _check_trait(catalog: Catalog, name: str, here: Location) -> Iterator[Finding]:
    """Any trait will do, as it was sent; where columns are mapped, one of those that are."""
    mapping = catalog.input
    if not isinstance(mapping, SegmentInput) and name not in mapping.traits:
        yield here, f"the trait {name!r}", "a trait that input.traits maps" + suggest(name, mapping.traits)
