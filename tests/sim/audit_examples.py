"""Examples: each is made, waits, and is handed out once; none is lost, none is left, and labels are what happened."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.sim.audit_time import SLACK_S, Seen
from tests.sim.evidence import KIND_CROSSING, KIND_EVENT, Chunk, user_hash
from tests.sim.rules import Memory, Rules

HOUR_S = 3_600.0


def waiting_problems(rules: Rules, memory: Memory, taken_s: float) -> Iterator[str]:
    """No example is left at a whole hour after its label was known.

    `taken_s`: the clock when the last record was taken. One that came very late makes an example whose label is known
    already, and which is handed out at the next whole hour.
    """
    hour_s = math.floor(memory.clock_s / HOUR_S) * HOUR_S
    if taken_s >= hour_s:
        return
    for prediction, time_s in memory.heads_s.items():
        known_s = time_s + rules.windows_s[prediction] + rules.lateness_s
        if known_s < hour_s:
            yield f"{prediction}: an example is left {hour_s - known_s:.0f} s after its label was known"


def example_problems(
    rules: Rules,
    prediction: str,
    chunks: Sequence[Chunk],
    memory: Memory,
    *,
    accepted: Sequence[Seen],
) -> Iterator[str]:
    """Of one prediction for everybody: `chunks` that stand and what waits, against the records that were accepted.

    An event that has moved the clock is an example for sure. An older one is, unless its user was seen after it.
    """
    handed = [example[:3] for chunk in chunks for example in chunk.examples]
    every = [example for example in [*handed, *memory.waiting[prediction]] if example[2] != KIND_CROSSING]
    if len(set(every)) != len(every):
        yield f"{prediction}: an example was handed out twice, or waits after it was"
    made = {_key(user, time_s) for user, time_s, kind in every if kind == KIND_EVENT}
    if strange := made - {_key_of(each) for each in accepted}:
        yield f"{prediction}: examples of no event: {sorted(strange)[:3]}"
    wanted = {_key_of(each) for each in accepted if each.has_moved}
    if rules.keeps_examples and (lost := wanted - made):
        yield f"{prediction}: {len(lost)} of {len(wanted)} examples are lost: {sorted(lost)[:3]}"


def _key_of(each: Seen) -> tuple[int, int]:
    return _key(user_hash(each.record.user), each.record.time_s)


def _key(user: int, time_s: float) -> tuple[int, int]:
    return user, round(time_s / SLACK_S)


def label_problems(
    rules: Rules, prediction: str, chunks: Sequence[Chunk], *, accepted: Sequence[Seen]
) -> Iterator[str]:
    """A label is true only if the goal is in the window, and it is if that came before the example was handed out."""
    window_s, goals = rules.windows_s[prediction], _goals(accepted, rules.goals[prediction])
    for chunk in chunks:
        for user, time_s, kind, label, _ in chunk.examples:
            if kind == KIND_CROSSING:
                continue
            least_s, most_s = time_s - SLACK_S, time_s + window_s + SLACK_S
            if label and not any(least_s < at_s < most_s for at_s, _ in goals[user]):
                yield f"{prediction}: a label is true without a goal: user {user} at {time_s}"
            least_s, most_s = time_s + SLACK_S, time_s + window_s - SLACK_S
            known_s = chunk.handed_out_s - SLACK_S
            if not label and any(least_s < at_s < most_s and clock_s < known_s for at_s, clock_s in goals[user]):
                yield f"{prediction}: a label is false, and the goal had come: user {user} at {time_s}"


def _goals(accepted: Sequence[Seen], name: str) -> dict[int, list[tuple[float, float]]]:
    """User -> time of the goal, and the shard's clock when it had come."""
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for record, clock_s, _ in accepted:
        if record.name == name:
            found[user_hash(record.user)].append((record.time_s, clock_s))
    return found


def late_goals(rules: Rules, chunks: Sequence[Chunk], accepted: Sequence[Seen]) -> int:
    """How many goals have come when labels that they would have changed may have been handed out."""
    hours = sorted({chunk.handed_out_s for chunk in chunks})
    late = 0
    for record, clock_s, _ in accepted:
        least = rules.goal_events.get(record.name or "")
        if least is None or record.price < least:
            continue
        labelled_s = hours[at - 1] if (at := bisect_right(hours, clock_s)) else 0.0
        late += record.time_s + rules.lateness_s < labelled_s
    return late
