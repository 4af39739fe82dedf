"""By which channels a user may be sent to. What is not known for sure is no consent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from config.campaigns import Channel, Consent, EventConsent, TraitConsent
from streams.campaigns.inputs import Facts
from streams.core.goals import same_value


def agreed(consent: Consent | None, facts: Facts) -> bool:
    """Whether the user has consented; both events at the same time count as withdrawn."""
    if isinstance(consent, TraitConsent):
        found = facts.traits.get(consent.trait)
        return any(same_value(found, wanted) for wanted in consent.values)
    if isinstance(consent, EventConsent):
        # Until withdrawals are known everybody may have withdrawn; what was given later than that holds.
        withdrawn_s = max(facts.latest_s.get(consent.withdrawn, -inf), facts.since_s.get(consent.withdrawn, -inf))
        if consent.given is None:
            return withdrawn_s == -inf
        return facts.latest_s.get(consent.given, -inf) > withdrawn_s
    return True


def open_channels(wanted: Iterable[str], known: Mapping[str, Channel], facts: Facts) -> tuple[str, ...]:
    """Those of the wanted channels that exist, reach the user, and to which the user has agreed."""
    return tuple(
        id_ for id_ in wanted if id_ in known and _reaches(known[id_], facts) and agreed(known[id_].consent, facts)
    )


def address_of(channel: Channel, facts: Facts) -> str | None:
    """Where a channel that needs an address finds the user; None if it is not known."""
    found = facts.traits.get(channel.address) if channel.address is not None else None
    return found if isinstance(found, str) and found else None


def _reaches(channel: Channel, facts: Facts) -> bool:
    return channel.address is None or address_of(channel, facts) is not None
