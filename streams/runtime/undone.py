"""Deletions that a store has forgotten: it went back in time, and has users again whom the log of deletions knows.

The events log may have lost their records since. So a shard that goes on under another generation than the one under
which it read the log of deletions last reads it again, and deletes anew who is there and should not be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.layout import FIRST_T
from streams.core.events import Event
from streams.core.ledger import Deleted, ledger_name
from streams.core.message_hash import id_hash
from streams.core.shard import Shard

DELETIONS_BLOB: Final = "deletions"
"""The generation under which a shard has read the log of deletions last."""


@dataclass(frozen=True, slots=True)
class Undone:
    """What is to be done again."""

    users: tuple[str, ...]
    known: tuple[tuple[str, bytes], ...]
    """What the log knows of them, by their names in the ledger."""


def undone(shard: Shard, known: Sequence[tuple[str, bytes]]) -> Undone:
    """What the log of deletions has of a shard that was loaded, and the shard has not.

    Whoever is not there is taken into the ledger at once; the others have to be deleted first (`deletions_again`). But
    who is there with a life that began after all that the deletion refuses has come back since: the log may have a
    deletion that the ledger has forgotten. That life stays.
    """
    ours = dict(shard.ledger.copy())
    later = {name: data for name, data in known if name not in ours or _at_s(data) > _at_s(ours[name])}
    if not later:
        return Undone((), ())
    named = ((user, ledger_name(shard.ledger.key, user)) for user in shard.users.ids if user)
    found = {name: user for user, name in named if name in later}
    back = {name: user for name, user in found.items() if _came_back(shard, user, later[name])}
    there = {name: user for name, user in found.items() if name not in back}
    for name, data in later.items():
        if name not in there:
            shard.ledger.merge(name, data)
    for user in back.values():
        shard.users.place(user, _row(shard, user))  # as before, and what the ledger knows now with it
    return Undone(tuple(there.values()), tuple((name, later[name]) for name in there))


def deletions_again(shard: Shard, found: Undone, generation: str, position: int) -> list[Event]:
    """Deletions at the shard's clock: their own time may be ahead of what is still to be read once more."""
    return [_deletion(user, shard.clock_s, f"{generation} {position} {user}", position) for user in found.users]


def take_over(shard: Shard, found: Undone) -> None:
    """After those deletions: up to when events are refused is as the log knows it."""
    for name, data in found.known:
        shard.ledger.merge(name, data)
    shard.users.look_up_deleted()


def _came_back(shard: Shard, user: str, data: bytes) -> bool:
    """Whether the user has a life now that the deletion cannot have meant."""
    return float(shard.users.rows.t[_row(shard, user), FIRST_T]) > Deleted.of(data).until_s


def _row(shard: Shard, user: str) -> int:
    row = shard.users.find(user)
    assert row is not None, "it is one of those who are there"
    return row


def _at_s(data: bytes) -> float:
    return Deleted.of(data).at_s


def _deletion(user: str, time_s: float, message: str, position: int) -> Event:
    return Event(
        user=user,
        name=None,
        time_s=time_s,
        value=math.nan,
        message_hash=id_hash(message),
        traits=None,
        properties=None,
        position=position,
        log_time_s=time_s,
        deletes=True,
    )
