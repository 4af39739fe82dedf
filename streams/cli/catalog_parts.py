"""What `tideline check` says of the parts of a catalog that are neither predictions, segments nor campaigns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from config.campaigns import Channel, EventConsent, Messaging, TraitConsent
from config.catalog import Catalog, SegmentInput
from config.durations import format_duration
from streams.runtime.words import short_percent


def part_words(catalog: Catalog) -> dict[str, list[str]]:
    """Part -> its lines; those that a catalog need not have are left out where it has none."""
    words = {
        "reads": [_input_words(catalog)],
        "events": [", ".join(catalog.named_events()) or "none by name"],
        "value": [_value_words(catalog)],
        "traits": [", ".join(catalog.named_traits()) or "none"],
        "history": [", ".join(catalog.history)] if catalog.history else [],
        "remember": list(_remember_lines(catalog)),
        "messaging": [] if (messaging := catalog.sections.messaging) is None else list(_messaging_lines(messaging)),
    }
    return {part: lines for part, lines in words.items() if lines}


def part_values(catalog: Catalog) -> dict[str, Any]:
    """The same of `history`, `remember` and `messaging`, as JSON has it."""
    messaging = catalog.sections.messaging
    return {
        "history": [*catalog.history],
        "remember": {event: [*kept.properties] for event, kept in catalog.remember.items()},
        "holdout": None if messaging is None else messaging.holdout,
        "channels": {} if messaging is None else {name: channel.kind for name, channel in messaging.channels.items()},
    }


def _input_words(catalog: Catalog) -> str:
    given = catalog.input
    if isinstance(given, SegmentInput):
        return "Segment-spec JSON, one object a line (track and identify)"
    event = given.event if isinstance(given.event, str) else f"always {given.event.constant!r}"
    return f"{given.format.upper()}: user {given.user}, event {event}, time {given.time.field}"


def _value_words(catalog: Catalog) -> str:
    name = catalog.value_property
    if name is None:
        return "none"
    field = None if isinstance(catalog.input, SegmentInput) else catalog.input.value
    return name if field is None else f"{field} (as the property {name!r})"


def _remember_lines(catalog: Catalog) -> Iterator[str]:
    for event, kept in catalog.remember.items():
        until = f", until {' or '.join(kept.cleared_by)}" if kept.cleared_by else ""
        yield f"{', '.join(kept.properties)} of {event}{until}"


def _messaging_lines(messaging: Messaging) -> Iterator[str]:
    yield f"{short_percent(messaging.holdout)} of all users are never sent anything (holdout)"
    for cap in messaging.caps:
        yield f"at most {cap.sends} to a user within {format_duration(cap.within_s)}"
    if (quiet := messaging.quiet_hours) is not None:
        yield f"nothing from {quiet.start} to {quiet.end}"
    of_trait = "" if messaging.timezone_trait is None else f"the trait {messaging.timezone_trait}, else "
    yield f"time zone of users: {of_trait}{messaging.timezone}"
    for name, channel in messaging.channels.items():
        yield f"channel {name}: {_channel_words(channel)}"


def _channel_words(channel: Channel) -> str:
    to = "" if channel.address is None else f" to the trait {channel.address}"
    return f"{channel.kind}{to}, {_consent_words(channel)}"


def _consent_words(channel: Channel) -> str:
    match channel.consent:
        case TraitConsent(trait=trait, values=values):
            return f"to whom the trait {trait} is {' or '.join(map(_value, values))}"
        case EventConsent(given=None, withdrawn=withdrawn):
            return f"to all but those of {withdrawn}"
        case EventConsent(given=given, withdrawn=withdrawn):
            return f"from {given} to {withdrawn}"
        case _:
            return "to everybody"


def _value(value: object) -> str:
    """As it is written in a catalog."""
    return str(value).lower() if isinstance(value, bool) else str(value)
