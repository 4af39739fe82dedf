"""What a run could not use, for people: reasons with how often, examples, and what to do about each."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from config.catalog import Catalog
from streams.adapters.redis_reader import RedisReader
from streams.core.events import DeadReason
from streams.runtime.hints import DeadLetter, Refused, hint_for, hint_in_log
from streams.runtime.replay import Totals

__all__ = ["Refused", "refused_records"]

SEARCHED = 5_000
"""So many of the latest dead letters are looked through for examples."""

_LETTERS = msgspec.json.Decoder(DeadLetter)


def refused_records(reader: RedisReader, totals: Totals, catalog: Catalog, examples: int = 1) -> tuple[Refused, ...]:
    """Everything that was refused, the commonest reason first, with up to so many examples of each."""
    found: dict[str, list[DeadLetter]] = {reason: [] for reason in totals.dead_letters}
    for letter in _latest(reader):
        letters = found.setdefault(letter.reason, [])
        if len(letters) < examples:
            letters.append(letter)
        if all(len(found[reason]) >= min(examples, count) for reason, count in totals.dead_letters.items()):
            break
    is_of_files = reader.info.input is not None  # records of a log are Segment JSON, whatever the catalog says of files
    ordered = sorted(totals.dead_letters.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(
        Refused(
            reason,
            count,
            hint_for(reason, found[reason], catalog) if is_of_files else hint_in_log(DeadReason(reason)),
            tuple(found[reason]),
        )
        for reason, count in ordered
    )


def _latest(reader: RedisReader) -> Iterator[DeadLetter]:
    for shard in range(reader.info.shards):
        for number, entry in enumerate(reader.each_dead_letter(shard)):
            if number == SEARCHED:
                break
            yield _LETTERS.decode(entry.data)
