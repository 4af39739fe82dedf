"""The definitions as the engine uses them: who listens to which segment and event, and what others have to provide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from config.campaigns import Campaign, EventConsent, Messaging, Rules
from config.conditions import Condition
from config.filters import Filter
from config.journeys import Journey, SplitStep, WaitUntilStep
from config.times import EventTrigger
from streams.campaigns.offers import Kind
from streams.core.goals import condition_holds


@dataclass(frozen=True, slots=True)
class Definitions:
    """What is in force. Archived campaigns and journeys may be left out, when nobody waits in them any more."""

    messaging: Messaging
    campaigns: Mapping[str, Campaign] = field(default_factory=dict)
    journeys: Mapping[str, Mapping[int, Journey]] = field(default_factory=dict)
    """Id -> version -> journey; the highest is in force, older ones are for users who are in them. Ids are those of
    campaigns, too: each is used once."""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """Kind of each prediction."""


class Plan:
    """See the module."""

    def __init__(self, definitions: Definitions) -> None:
        self.messaging = definitions.messaging
        self.campaigns = dict(definitions.campaigns)
        self.journeys = {id_: dict(versions) for id_, versions in definitions.journeys.items() if versions}
        self.kinds = dict(definitions.kinds)
        current: dict[str, Rules] = {**self.campaigns, **{id_: self.current(id_)[1] for id_ in self.journeys}}
        if len(current) < len(self.campaigns) + len(self.journeys):
            raise ValueError("a campaign and a journey have the same id")
        self.order = sorted(current, key=lambda id_: (-current[id_].priority, id_))
        """Ids of all, those that go first first."""
        self._rank = {id_: rank for rank, id_ in enumerate(self.order)}
        self.on_segment: dict[str, list[str]] = {}
        """Segment -> ids of campaigns and journeys that its crossings may begin, in order."""
        self.on_event: dict[str, list[str]] = {}
        """Event -> ids of campaigns that it may begin, in order."""
        self.conversions: dict[str, list[str]] = {}
        """Event -> ids of campaigns and journeys that are judged by it."""
        for id_ in self.order:
            rules = current[id_]
            trigger = rules.trigger if isinstance(rules, Campaign) else "enter"
            if isinstance(trigger, str):
                self.on_segment.setdefault(rules.segment, []).append(id_)
            elif isinstance(trigger, EventTrigger):
                self.on_event.setdefault(trigger.event, []).append(id_)
            self.conversions.setdefault(rules.conversion.event, []).append(id_)

        self.segments = self._segments()
        """Segments whose crossings matter; those of others can be passed over."""

    def current(self, id_: str) -> tuple[int, Journey]:
        """The version of a journey that is in force."""
        version = max(self.journeys[id_])
        return version, self.journeys[id_][version]

    def rules(self, id_: str) -> Rules | None:
        """The campaign or journey of that id; None if there is none."""
        if id_ in self.campaigns:
            return self.campaigns[id_]
        return self.current(id_)[1] if id_ in self.journeys else None

    def rank(self, id_: str) -> int:
        """Its place in the order."""
        return self._rank.get(id_, len(self._rank))

    # --- what others provide -----------------------------------------------------------------------------------------

    def filters(self) -> dict[str, Filter]:
        """Name -> filter: those that hold for a user are in `Facts.fits`."""
        found = {id_: each.filter for id_, each in self.campaigns.items() if each.filter is not None}
        for id_, versions in self.journeys.items():
            for version, journey in versions.items():
                if journey.filter is not None:
                    found[entry_filter(id_, version)] = journey.filter
                for step_id, step in journey.steps.items():
                    if isinstance(step, SplitStep):
                        for index, way in enumerate(step.ways):
                            found[way_filter(id_, version, step_id, index)] = way.when
        return found

    def _segments(self) -> frozenset[str]:
        waited = {name for step in self._waits() for name in (step.until.enters, step.until.leaves) if name is not None}
        own = {each.segment for each in self.campaigns.values()}
        own |= {each.segment for versions in self.journeys.values() for each in versions.values()}
        return frozenset(own | waited)

    def events(self) -> dict[str, frozenset[str]]:
        """Event -> its properties: what shards have to publish into the topic (`Watched`)."""
        found: dict[str, set[str]] = {}
        for each in self._all():
            conversion = each.conversion
            names = {*conversion.where, *([conversion.revenue] if conversion.revenue is not None else [])}
            found.setdefault(conversion.event, set()).update(names)
            if isinstance(each, Campaign) and isinstance(each.trigger, EventTrigger):
                found.setdefault(each.trigger.event, set()).update(each.trigger.where, each.trigger.properties)
        for step in self._waits():
            if step.until.event is not None:
                found.setdefault(step.until.event, set()).update(step.until.where)
        return {event: frozenset(names) for event, names in found.items()}

    def latest(self) -> frozenset[str]:
        """Events whose latest time is asked for (`Facts.latest_s`)."""
        consents = [channel.consent for channel in self.messaging.channels.values()]
        asked = {each.withdrawn for each in consents if isinstance(each, EventConsent)}
        asked |= {each.given for each in consents if isinstance(each, EventConsent) and each.given is not None}
        return frozenset(asked | {each.conversion.event for each in self._all()})

    def _all(self) -> Iterator[Campaign | Journey]:
        yield from self.campaigns.values()
        for versions in self.journeys.values():
            yield from versions.values()

    def _waits(self) -> Iterator[WaitUntilStep]:
        for versions in self.journeys.values():
            for journey in versions.values():
                yield from (step for step in journey.steps.values() if isinstance(step, WaitUntilStep))


def entry_filter(journey: str, version: int) -> str:
    """Name of a journey's filter."""
    return f"{journey}@{version}"


def way_filter(journey: str, version: int, step: str, index: int) -> str:
    """Name of the filter of one way of a split."""
    return f"{journey}@{version}/{step}/{index}"


def fulfils(where: Mapping[str, Condition], properties: Mapping[str, object]) -> bool:
    """Whether an event's properties are as asked."""
    return all(condition_holds(condition, properties.get(name)) for name, condition in where.items())
