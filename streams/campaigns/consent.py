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
        if facts.since_s.keys() & {consent.withdrawn, consent.given}:
            return False  # who withdrew before it was kept would be sent to
        withdrawn_s = facts.latest_s.get(consent.withdrawn, -inf)
        if consent.given is None:
            return withdrawn_s == -inf
        return facts.latest_s.get(consent.given, -inf) > withdrawn_s
    return True


def open_channels(wanted: Iterable[str], known: Mapping[str, Channel], facts: Facts) -> tuple[str, ...]:
    """Those of the wanted channels that exist and to which the user has agreed."""
    return tuple(id_ for id_ in wanted if id_ in known and agreed(known[id_].consent, facts))
