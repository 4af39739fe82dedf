"""What the log of events says of a user, beside what shards keep: traits as they were sent, and when events were last.

Shards keep codes of a few traits and names of a few events, for scores. Messages, consent, time zones and addresses
need the traits themselves, and consent the events that people name for it. Both are kept for every user from the
beginning of the log on, bounded, and go with the user.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf
from typing import Any, Final, NamedTuple

import msgspec

from streams.campaigns.inputs import Facts

TRAIT_BYTES: Final = 1_024
"""Of one trait as JSON; a larger one is not known."""
TRAITS_BYTES: Final = 8_192
"""Of all traits of a user as JSON; what would be too much is not known."""


class Profile(msgspec.Struct):
    """Of one user."""

    traits: dict[str, Any] = {}
    """The latest values that arrived."""
    latest_s: dict[str, float] = {}
    """Event -> time of the latest one, of those that were asked for when they came."""

    def identify(self, traits: Mapping[str, Any]) -> None:
        """Take traits over, in order; null takes one away."""
        size = len(msgspec.json.encode(self.traits))
        for name, value in traits.items():
            size -= _bytes_of(name, self.traits.pop(name)) if name in self.traits else 0
            more = 0 if value is None else _bytes_of(name, value)
            # What was known is out of date, whether or not there is room for what took its place.
            if value is not None and more <= TRAIT_BYTES and size + more <= TRAITS_BYTES:
                self.traits[name] = value
                size += more

    def happened(self, event: str, at_s: float) -> None:
        """An event that somebody asks for."""
        self.latest_s[event] = max(at_s, self.latest_s.get(event, -inf))

    def keep(self, events: Collection[str]) -> None:
        """Nobody asks for others any more."""
        if not self.latest_s.keys() <= set(events):
            self.latest_s = {name: at_s for name, at_s in self.latest_s.items() if name in events}


def _bytes_of(name: str, value: Any) -> int:
    """As it stands in an object, with colon and comma."""
    return len(msgspec.json.encode(name)) + len(msgspec.json.encode(value)) + 2


class Known(NamedTuple):
    """What is known of the latest times of events, whoever the user is."""

    since_s: Mapping[str, float] = {}
    """See `Facts`; infinity of what is unread."""
    unread: frozenset[str] = frozenset()
    """Likewise."""


def with_profile(facts: Facts, profile: Profile | None, known: Known) -> Facts:
    """What a shard's store and the log say together."""
    of_user = profile or Profile()
    return msgspec.structs.replace(
        facts, traits=of_user.traits, latest_s=of_user.latest_s, since_s=known.since_s, unread=known.unread
    )


_PROFILE: Final = msgspec.msgpack.Decoder(Profile)


def pack_profile(profile: Profile) -> bytes:
    """As it is stored."""
    return msgspec.msgpack.encode(profile)


def unpack_profile(data: bytes) -> Profile:
    """What `pack_profile` gave."""
    return _PROFILE.decode(data)
