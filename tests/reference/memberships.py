"""What the published transitions say, put together again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LIFE = 10**10


def fold(transitions: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Segment -> users in it, after all transitions in order.

    A user who was deleted and came back counts from 1 again, past a multiple of LIFE.
    Raises ValueError when a sequence has a gap, starts anywhere but at 1, or directions do not alternate.
    """
    members: dict[str, set[str]] = {}
    sequences: dict[tuple[str, str], int] = {}
    for transition in transitions:
        segment, user, sequence = transition["segment"], transition["user"], transition["sequence"]
        expected = sequences.get((segment, user), 0) + 1
        is_reborn = sequence % LIFE == 1 and sequence > expected and expected % 2 == 1
        if sequence != expected and not is_reborn:
            raise ValueError(f"{user} in {segment}: sequence {sequence} instead of {expected}")
        if transition["in_segment"] != (sequence % 2 == 1):
            raise ValueError(f"{user} in {segment}: sequence {sequence} goes the wrong way")
        sequences[segment, user] = sequence
        inside = members.setdefault(segment, set())
        if transition["in_segment"]:
            inside.add(user)
        else:
            inside.remove(user)
    return {segment: users for segment, users in members.items() if users}
