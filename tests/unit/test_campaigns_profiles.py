"""What the log says of users: traits as they were sent, bounded, and when events were last."""

from __future__ import annotations

from math import inf

from streams.campaigns.inputs import Facts
from streams.campaigns.profiles import (
    TRAIT_BYTES,
    TRAITS_BYTES,
    Known,
    Profile,
    pack_profile,
    unpack_profile,
    with_profile,
)


def test_the_latest_value_of_a_trait_is_kept_and_null_takes_it_away() -> None:
    profile = Profile()
    profile.identify({"email": "ann@example.org", "tags": ["a", {"b": 1}], "plan": "free"})
    profile.identify({"plan": "gold", "email": None, "unknown": None})
    assert profile.traits == {"tags": ["a", {"b": 1}], "plan": "gold"}


def test_a_trait_that_is_too_large_is_not_known_and_neither_is_what_it_was() -> None:
    profile = Profile(traits={"note": "short", "plan": "gold"})
    profile.identify({"note": "x" * TRAIT_BYTES})
    assert profile.traits == {"plan": "gold"}


def test_all_traits_together_have_a_bound() -> None:
    profile = Profile()
    profile.identify({f"trait{n}": "x" * 1_000 for n in range(20)})
    assert list(profile.traits) == [f"trait{n}" for n in range(8)]
    profile.identify({"trait0": None, "small": 1, "trait19": "y" * 900})
    assert {"small", "trait19"} < profile.traits.keys()
    assert len(pack_profile(profile)) < TRAITS_BYTES + 100


def test_the_latest_time_is_that_of_the_event_and_not_of_its_arrival() -> None:
    profile = Profile()
    for at_s in (5.0, 9.0, 7.0):
        profile.happened("Order", at_s)
    profile.happened("Unsubscribed", 1.0)
    profile.keep({"Order"})
    assert profile.latest_s == {"Order": 9.0}


def test_it_is_stored_and_joined_to_what_the_shard_knows() -> None:
    profile = Profile({"email": "ann@example.org"}, {"Order": 9.0})
    again = unpack_profile(pack_profile(profile))
    assert again == profile
    facts = with_profile(
        Facts(as_of_s=inf, segments=frozenset({"s"})), again, Known({"Order": 3.0}, frozenset({"Seen"}))
    )
    assert (facts.segments, facts.as_of_s) == (frozenset({"s"}), inf)
    assert (facts.traits, facts.latest_s) == (profile.traits, profile.latest_s)
    assert (facts.since_s, facts.unread) == ({"Order": 3.0}, frozenset({"Seen"}))
    assert with_profile(Facts(as_of_s=inf), None, Known()).traits == {}
