"""Records: every one of the log was scored, is known as a duplicate, passed over, or a dead letter; each once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence

from tests.sim.audit_deletions import may_be_erased
from tests.sim.books import Held
from tests.sim.evidence import Expected


def record_problems(
    values: Sequence[bytes], stored: Held, wanted: Expected, counted: Mapping[str, int]
) -> Iterator[str]:
    """Of one shard. `values`: its log; `wanted`: what must become of them; `counted`: by the shard."""
    names = sorted((n for n in stored.appended if n.startswith("dedupe:")), key=lambda n: int(n.split(":")[1]))
    data = b"".join(stored.appended[name] for name in names)
    accepted = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]
    if accepted != wanted.accepted:
        yield f"{len(accepted)} accepted, not {len(wanted.accepted)} in the log's order"
    said_before = counted["duplicates"] + counted["deletions_skipped"]
    no_events = len(wanted.deletions) + len(wanted.notes)
    if (counted["events"], said_before) != (len(accepted) - no_events, wanted.duplicates):
        yield f"it counted {counted['events']}, {said_before}, not {wanted}"
    if len(values) != len(accepted) + wanted.duplicates + len(wanted.dead) + wanted.passed_over:
        yield f"{len(values)} records, of which some are unaccounted for"


def letter_problems(values: Sequence[bytes], stored: Held, wanted: Expected, sent: Collection[bytes]) -> Iterator[str]:
    """Dead letters are of the records that must be, in their order, were `sent`, and hold nobody who was deleted."""
    letters = {letter["position"]: letter for letter in map(json.loads, stored.dead_letters)}
    erased = may_be_erased(values, wanted.dead, wanted.deletions)
    if list(letters) != [offset for offset in wanted.dead if offset in letters or offset not in erased]:
        yield f"dead letters of {list(letters)}, not {wanted.dead}"
    if left := [at for at in letters if at in erased and letters[at].get("raw") != ""]:
        yield f"dead letters of somebody who was deleted: {left}"
    for letter in letters.values():
        reason = wanted.dead.get(letter["position"])
        if reason and letter["reason"] != reason:
            yield f"{letter['position']} is dead for {letter['reason']}, not {reason}"
    if not set(sent).issuperset(stored.dead_letters):
        yield "a dead letter was never sent"
