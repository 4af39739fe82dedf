"""Members: what was told of them stands, was published, and adds up to those in the store; scores agree with them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence

from tests.sim.audit_deletions import follows
from tests.sim.books import Book, Commit, Held

CATEGORIES = ("low", "medium", "high")


def transition_problems(book: Book, told: Collection[bytes], stored: Held) -> Iterator[str]:
    """What stands was published, nothing else but what a set-back took, and it adds up to the members.

    Of one shard. `told`: what was published, in order.
    """
    standing = [data for commit in book.commits for data in commit.transitions]
    if missing := [data for data in standing if data not in told]:
        yield f"{len(missing)} stored transitions were never published: {missing[0]!r}"
    if not book.lost and set(told) != set(standing):
        yield f"{len(set(told) - set(standing))} transitions were published and do not stand"
    yield from _fold_problems(standing, stored)
    if not book.lost:
        yield from _fold_problems(list(told), stored)
    if missing := [data for data in stored.outbox if data not in told]:
        yield f"{len(missing)} of the outbox were never published"


def _fold_problems(transitions: Sequence[bytes], stored: Held) -> Iterator[str]:
    sequences: dict[tuple[str, str], int] = {}
    members: dict[str, set[str]] = {}
    for data in transitions:
        event = json.loads(data)
        user, segment, sequence = event["subject"], event["data"]["segment_id"], int(event["sequence"])
        if not follows(sequence, sequences.get((user, segment), 0)):
            yield f"{user} in {segment}: {sequence} follows {sequences.get((user, segment))}"
        sequences[user, segment] = sequence
        (members.setdefault(segment, set()).add if sequence % 2 else members.setdefault(segment, set()).discard)(user)
    found = {segment: users for segment, users in stored.members.items() if users}
    if found != {segment: users for segment, users in members.items() if users}:
        yield f"the transitions add up to {members}, the store holds {found}"


def score_problems(stored: Held) -> Iterator[str]:
    """Whoever has a likelihood is in the segment of his category and in no other one of that prediction."""
    for prediction, users in stored.scores.items():
        segments = {c: stored.members.get(f"{prediction}.{c}", set()) for c in CATEGORIES}
        if not any(segments.values()):
            continue  # nobody may be targeted by it, or nobody has had his turn
        for user, data in users.items():
            score = json.loads(data)
            inside = [category for category, members in segments.items() if user in members]
            if score["likelihood"] is not None and inside != [score["category"]]:
                yield f"{user} of {prediction} has {score} and is in {inside}"
        for category, members in segments.items():
            if not members <= users.keys():
                yield f"members of {prediction}.{category} have no score"


def frozen_problems(
    commits: Sequence[Commit], frozen: Mapping[str, float], stored: Held, gone: Collection[str]
) -> Iterator[str]:
    """What was said once, of everybody who was not deleted since, is what is said at the end; of nobody else.

    `frozen`: prediction -> as of when everybody was scored for good; `gone`: users who were deleted.
    """
    for name, at_s in frozen.items():
        first = next((commit.frozen[name] for commit in commits if name in commit.frozen), None)
        if first is None or first[0] != at_s:
            yield f"{name} is frozen as of {at_s}, and the commit says {first and first[0]}"
            continue
        now = stored.scores.get(name, {})
        if any(first[1].get(user) != data for user, data in now.items()):
            yield f"scores of {name} have moved, which was frozen"
        if left := set(first[1]) - set(now) - set(gone):
            yield f"{sorted(left)} had a frozen score of {name}, and have none"
