"""Deletions: nothing of the user is left, nothing is learned of it any more, and no id comes a second time."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.sim.audit_time import SLACK_S
from tests.sim.evidence import Chunk, Gone, user_hash
from tests.sim.rules import Memory

LIFE = 10**10
"""A sequence is more by so much for every life that has ended (docs/events.md)."""


def follows(sequence: int, last: int) -> bool:
    """Whether a sequence may come behind another one of the same user and segment: the next, or the first of a life."""
    return sequence == last + 1 or (sequence % LIFE == 1 and sequence > last and last % 2 == 0)


def is_about(value: bytes, user: str) -> bool:
    """Whether the bytes of a record name the user, as they are made here."""
    return re.search(rb"(?<![A-Za-z0-9])%b(?![A-Za-z0-9])" % re.escape(user.encode()), value) is not None


def may_be_erased(values: Sequence[bytes], dead: Collection[int], deletions: Sequence[tuple[int, str]]) -> set[int]:
    """Offsets of dead letters that are about somebody who was deleted later, whether or not he was there."""
    return {offset for offset in dead for at, user in deletions if offset < at and is_about(values[offset], user)}


@dataclass(frozen=True, slots=True)
class Left:
    """What the store of a shard holds by user."""

    rows: Collection[str]
    remembered: Collection[str]
    scores: Mapping[str, Collection[str]]
    members: Mapping[str, Collection[str]]


def left_problems(left: Left, users: Collection[str]) -> Iterator[str]:
    """The store holds exactly the users that there are."""
    if set(left.rows) != set(users):
        yield f"there are rows of {sorted(left.rows)}, and users {sorted(users)}"
    others = [left.remembered, *left.scores.values(), *left.members.values()]
    if strange := {user for some in others for user in some} - set(users):
        yield f"something is left of {sorted(strange)}, who are no users"


def forgotten_problems(chunks: Sequence[tuple[int, Chunk]], memory: Memory, gone: Sequence[Gone]) -> Iterator[str]:
    """No example of before a deletion is handed out after it. `chunks`: each with the offset where its batch begins."""
    for one in gone:
        user = user_hash(one.user)
        for first, chunk in chunks:
            late = [e for e in chunk.examples if e[0] == user and e[1] <= one.until_s + SLACK_S]
            if first > one.offset and late:
                yield f"{chunk.prediction}: an example of {one.user}, who was deleted, was handed out: {late[0]}"
        for prediction, waiting in memory.waiting.items():
            if any(e[0] == user and e[1] <= one.until_s for e in waiting):
                yield f"{prediction}: an example of {one.user} waits, who was deleted"
