"""The definitions as the engine uses them: who listens to which segment and event, and what others have to provide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final, Literal, TypeAlias

from config.campaigns import Campaign, EventConsent, Message, Messaging
from config.conditions import Condition
from config.filters import Filter
from config.journeys import Journey, SendStep, SplitStep, WaitUntilStep
from config.offers import LadderOffer, LinearOffer
from config.times import EventTrigger
from streams.campaigns.offers import Kind
from streams.core.goals import condition_holds

State: TypeAlias = Literal["on", "dry", "paused", "archived"]
Activity: TypeAlias = Literal["on", "dry", "paused", "archived", "early", "over"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What people have decided about a campaign or journey as a whole, whatever its version."""

    state: State = "on"
    """dry: everything is decided and counted, and nothing leaves."""
    since_s: float = -inf
    """Since when; also when it is put on again. No two have the same."""
    created_s: float = -inf
    """When the first version was made."""
    triggered_s: float = -inf
    """Since when its trigger is the one of the version in force."""
    earlier: tuple[tuple[float, State], ...] = ()
    """The last standings before this one, the latest last: since when, and how it stood."""

    def spans(self) -> Iterator[tuple[float, float, State]]:
        """How it stood [from, to), as far back as is known, the latest first."""
        to_s = inf
        for since_s, state in ((self.since_s, self.state), *reversed(self.earlier)):
            yield since_s, to_s, state
            to_s = since_s


_ON: Final = Standing()


@dataclass(frozen=True, slots=True)
class Definitions:
    """What is known. Archived campaigns and journeys may be left out, when nobody is in them any more."""

    messaging: Messaging
    campaigns: Mapping[str, Mapping[int, Campaign]] = field(default_factory=dict)
    """Id -> version -> definition; the highest is in force, older ones are for users who are in them (`Book.inside`,
    `Book.open`)."""
    journeys: Mapping[str, Mapping[int, Journey]] = field(default_factory=dict)
    """Likewise; an id is that of a campaign or of a journey."""
    standings: Mapping[str, Standing] = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """Kind of each prediction."""
    goals: frozenset[str] = frozenset()
    """Events that predictions ask for. Their latest times are kept before any campaign names them, so that one that is
    made today knows since the beginning of the log who has done it just now."""


class Plan:
    """See the module. Raises ValueError for definitions that contradict each other."""

    def __init__(self, definitions: Definitions) -> None:
        self.messaging = definitions.messaging
        self.versions: dict[str, dict[int, Campaign | Journey]] = {}
        for group in (definitions.campaigns, definitions.journeys):
            for id_, versions in group.items():
                if id_ in self.versions:
                    raise ValueError(f"a campaign and a journey have the same id {id_!r}")
                self.versions[id_] = {version: versions[version] for version in sorted(versions)}
        self.standings = dict(definitions.standings)
        self.kinds = dict(definitions.kinds)
        self._goals = definitions.goals
        for prediction in self._priced():
            if prediction not in self.kinds:
                raise ValueError(f"an offer goes by the prediction {prediction!r}, of which the kind is not known")
        current = {id_: self.current(id_)[1] for id_ in self.versions}
        order = sorted(current, key=lambda id_: (-current[id_].priority, id_))
        self._rank = {id_: rank for rank, id_ in enumerate(order)}
        self.on_segment: dict[str, list[str]] = {}
        """Segment -> ids of campaigns and journeys that its crossings may begin, those that go first first."""
        self.on_event: dict[str, list[str]] = {}
        """Event -> ids of campaigns that it may begin, in order."""
        self.scheduled: dict[str, Campaign] = {}
        """Campaigns that go out at times of their own, by the version in force, in order."""
        self.conversions: dict[str, set[str]] = {}
        """Event -> ids of campaigns and journeys of which some version is judged by it."""
        for id_ in order:
            rules = current[id_]
            for event in dict.fromkeys(each.conversion.event for each in self.versions[id_].values()):
                self.conversions.setdefault(event, set()).add(id_)
            if self._is_archived(id_):
                continue  # nothing begins; those whose window is open are counted to the end
            trigger = rules.trigger if isinstance(rules, Campaign) else "enter"
            if isinstance(trigger, str):
                self.on_segment.setdefault(rules.segment, []).append(id_)
            elif isinstance(trigger, EventTrigger):
                self.on_event.setdefault(trigger.event, []).append(id_)
            elif isinstance(rules, Campaign):
                self.scheduled[id_] = rules
        self.segments = self._segments()
        """Segments whose crossings matter; those of others can be passed over."""

    def current(self, id_: str) -> tuple[int, Campaign | Journey]:
        """The version that is in force. Raises KeyError."""
        version = next(reversed(self.versions[id_]))
        return version, self.versions[id_][version]

    def rules(self, id_: str, version: int | None = None) -> Campaign | Journey | None:
        """The campaign or journey of that id and version (None: the one in force); None if there is none."""
        versions = self.versions.get(id_)
        if versions is None:
            return None
        return versions.get(version) if version is not None else self.current(id_)[1]

    def journey(self, id_: str, version: int) -> Journey | None:
        """The version of a journey on which a user is; None if it was taken away."""
        found = self.rules(id_, version)
        return found if isinstance(found, Journey) else None

    def rank(self, id_: str) -> int:
        """Its place in the order."""
        return self._rank.get(id_, len(self._rank))

    def standing(self, id_: str) -> Standing:
        """What people have decided of it as a whole."""
        return self.standings.get(id_, _ON)

    def activity(self, id_: str, now_s: float) -> Activity:
        """Whether it sends now: by its standing, and by the times of the version in force for users of all."""
        state, rules = self.standing(id_).state, self.rules(id_)
        if rules is None:
            return "archived"
        if state in ("archived", "paused"):
            return state
        if now_s >= rules.ends_s:
            return "over"
        return "early" if now_s < rules.starts_s else state

    def with_breaker(self) -> list[str]:
        """Those that a breaker may pause, whose usual volume has to be known."""
        return [
            id_
            for id_, versions in self.versions.items()
            if not self._is_archived(id_)
            and id_ not in self.scheduled
            and any(each.breaker is not None for each in versions.values())
        ]

    def messages(self) -> Iterator[Message]:
        """Of every version."""
        for each in self._all():
            if isinstance(each, Campaign):
                yield each.message
            else:
                yield from (step.send for step in each.steps.values() if isinstance(step, SendStep))

    # --- what others provide -----------------------------------------------------------------------------------------

    def filters(self) -> dict[str, Filter]:
        """Name -> filter: those that hold for a user are in `Facts.fits`."""
        found: dict[str, Filter] = {}
        for id_, versions in self._running():
            rules = self.current(id_)[1]
            if rules.filter is not None:
                found[id_] = rules.filter
            for version, each in versions.items():
                for step_id, step in each.steps.items() if isinstance(each, Journey) else ():
                    if isinstance(step, SplitStep):
                        for index, path in enumerate(step.paths):
                            found[path_filter(id_, version, step_id, index)] = path.when
        return found

    def _segments(self) -> frozenset[str]:
        waited = {name for step in self._waits() for name in (step.until.enters, step.until.leaves) if name is not None}
        return frozenset(waited | {each.segment for _, versions in self._running() for each in versions.values()})

    def events(self) -> dict[str, frozenset[str]]:
        """Event -> its properties: what shards have to publish into the topic (`Watched`)."""
        found: dict[str, set[str]] = {}
        for each in self._all():
            conversion = each.conversion
            names = {*conversion.where, *([conversion.revenue] if conversion.revenue is not None else [])}
            found.setdefault(conversion.event, set()).update(names)
        for _, versions in self._running():
            for each in versions.values():
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
        judged = {each.conversion.event for _, versions in self._running() for each in versions.values()}
        return frozenset(asked | self._goals | judged)

    def _all(self) -> Iterator[Campaign | Journey]:
        for versions in self.versions.values():
            yield from versions.values()

    def _running(self) -> Iterator[tuple[str, dict[int, Campaign | Journey]]]:
        """Those that are not archived: of others only what came of their messages is looked at."""
        return ((id_, versions) for id_, versions in self.versions.items() if not self._is_archived(id_))

    def _is_archived(self, id_: str) -> bool:
        return self.standing(id_).state == "archived"

    def _waits(self) -> Iterator[WaitUntilStep]:
        for _, versions in self._running():
            for each in versions.values():
                if isinstance(each, Journey):
                    yield from (step for step in each.steps.values() if isinstance(step, WaitUntilStep))

    def _priced(self) -> Iterator[str]:
        """Predictions by which offers go."""
        for each in self._all():
            steps = each.steps.values() if isinstance(each, Journey) else ()
            offers = [each.offer] if isinstance(each, Campaign) else [s.offer for s in steps if isinstance(s, SendStep)]
            yield from (offer.prediction for offer in offers if isinstance(offer, LadderOffer | LinearOffer))


def rests_on(rules: Campaign | Journey, messaging: Messaging) -> frozenset[str]:
    """Events of whose past it depends whether messages of these rules are sent: consents, and the recent goal."""
    found = {rules.conversion.event} if rules.skip_recent_goal_s > 0.0 else set[str]()
    for id_ in rules.channels:
        channel = messaging.channels.get(id_)
        consent = None if channel is None else channel.consent
        if isinstance(consent, EventConsent):
            found |= {consent.withdrawn} if consent.given is None else {consent.withdrawn, consent.given}
    return frozenset(found)


def path_filter(journey: str, version: int, step: str, index: int) -> str:
    """Name of the filter of one path of a split."""
    return f"{journey}@{version}/{step}/{index}"


def fulfils(where: Mapping[str, Condition], properties: Mapping[str, object]) -> bool:
    """Whether an event's properties are as asked."""
    return all(condition_holds(condition, properties.get(name)) for name, condition in where.items())
