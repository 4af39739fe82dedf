"""The members of a segment as people and scripts look at them, a page at a time: a segment may hold a million."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from streams.adapters.redis_reader import RedisReader, Score
from streams.runtime.lookup import membership_since
from streams.runtime.stored import StoredState

PAGE: Final = 1_000
"""Users that are asked for at once."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member. Without a row or a score: left the segment, or the audience, while this was read."""

    user: str
    since_s: float | None
    """Since when, seconds since 1970 UTC."""
    entry_count: int | None
    """How often the user has entered, this time included."""
    scores: dict[str, Score]
    """prediction -> score, without those whose audience the user is not in"""


def chosen_members(
    reader: RedisReader, segment: str, *, by: str | None = None, skip: int = 0, limit: int | None = None
) -> Iterator[str]:
    """The ids of at most `limit` members, without the first `skip`.

    In no particular order, or with `by` the highest score of that prediction first (equal scores by id, users without
    one last). In memory are the ids that were read (a scan may give one twice), and with `by` also `skip + limit`
    members with their scores, or all of them if there is no limit. Raises StoreUnavailable when the
    server does not answer.
    """
    end = None if limit is None else skip + limit
    ids = reader.members(segment)
    return islice(ids if by is None else _ranked(reader, by, ids, end), skip, end)


def _ranked(reader: RedisReader, prediction: str, ids: Iterator[str], end: int | None) -> Iterator[str]:
    keyed = (
        (math.inf if found is None or found.score is None else -found.score, user)
        for page in _pages(ids)
        for user, found in zip(page, reader.scores(prediction, page), strict=True)
    )
    ranked = sorted(keyed) if end is None else heapq.nsmallest(end, keyed)
    return (user for _, user in ranked)


def describe(
    reader: RedisReader, state: StoredState, segment: str, users: Iterable[str], predictions: Iterable[str]
) -> Iterator[Member]:
    """What is known of members, in the order in which they come, with the scores of the predictions."""
    predictions = tuple(predictions)
    for page in _pages(iter(users)):
        columns = [reader.scores(prediction, page) for prediction in predictions]
        for at, (user, row) in enumerate(zip(page, reader.rows(page), strict=True)):
            scores = {name: column[at] for name, column in zip(predictions, columns, strict=True)}
            since = None if row is None else membership_since(state, row, segment)
            if since is not None and math.isnan(since.since_s):
                since = None  # a row of before the entry: it is written with the membership, but was read apart
            yield Member(
                user=user,
                since_s=None if since is None else since.since_s,
                entry_count=None if since is None else since.entry_count,
                scores={name: score for name, score in scores.items() if score is not None},
            )


def _pages(ids: Iterator[str]) -> Iterator[list[str]]:
    while page := list(islice(ids, PAGE)):
        yield page
