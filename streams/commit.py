"""The commit of a batch: the only place where effects leave a shard.

Nothing else writes to a store or publishes a transition. What may go wrong between any two steps is what the
contract suite of the stores (`tests/contract`) and the killed replays of `tests/integration` try out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from config.errors import BrokerUnavailable, Fenced, Stopped, StoreUnavailable
from streams.ports import (
    Carrier,
    Claim,
    CommitBatch,
    Courier,
    Loaded,
    Message,
    OutboxEntry,
    Sink,
    Store,
    outbox_entries,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a store or a sink that does not answer: bounded attempts with growing pauses.

    `sleep(seconds)` and `clock_s` are passed in, so that tests keep the time. With the defaults the pauses add up to
    about 50 seconds: enough for a server that restarts and loads its data. Attempts that hang add to that: none
    follows one that ends `most_s` or more after the first has failed.
    """

    sleep: Callable[[float], None]
    attempts: int = 30
    first_pause_s: float = 0.05
    growth: float = 1.6
    longest_pause_s: float = 2.0
    most_s: float = math.inf
    clock_s: Callable[[], float] = lambda: 0.0
    """Monotonic; `most_s` needs one that goes."""

    def is_over(self, failed_s: float) -> bool:
        """Whether what has failed first at `failed_s` is not to be tried again."""
        return self.clock_s() - failed_s >= self.most_s

    def pause(self, attempt: int) -> None:
        """Sleep before attempt number `attempt` (1 is the first repetition)."""
        pause_s = self.first_pause_s * self.growth ** (attempt - 1)
        self.sleep(min(pause_s, self.longest_pause_s))


def until_let_go(patience: Patience, is_let_go: Callable[[], bool]) -> Patience:
    """The same, for as long as what is waited for is still ours; then its pauses raise Stopped."""

    def sleep(seconds: float) -> None:
        stop_if_let_go(is_let_go)
        patience.sleep(seconds)
        stop_if_let_go(is_let_go)

    return replace(patience, sleep=sleep)


def stop_if_let_go(is_let_go: Callable[[], bool]) -> None:
    """Raises Stopped when it is."""
    if is_let_go():
        raise Stopped("it was taken away before it was loaded")


def patiently(patience: Patience, call: Callable[[], T]) -> T:
    """`call()`, again after every `StoreUnavailable` and `BrokerUnavailable`, as `patience` says.

    Only for calls that may be repeated: claim, load, confirm, publish, send; never for `Store.commit`.
    Raises the last of them.
    """
    failed_s: float | None = None
    for attempt in range(1, patience.attempts):
        try:
            return call()
        except (StoreUnavailable, BrokerUnavailable):
            failed_s = patience.clock_s() if failed_s is None else failed_s
            if patience.is_over(failed_s):
                raise
            patience.pause(attempt)
    return call()


def commit_batch(
    store: Store,
    sink: Sink,
    claim: Claim,
    batch: CommitBatch,
    *,
    trim: int | None,
    patience: Patience,
    courier: Courier | None = None,
    on_stored: Callable[[], None] | None = None,
) -> int:
    """Commit the effects of one batch; the steps are those of section 7 of the design.

    1. The shard has computed the effects: `batch`.
    2. One atomic step in the store. It is refused unless the stored epoch and generation are the claim's and
       the stored number is `batch.number - 1`. After a lost reply it is tried again, and the stored number
       decides: ours means done, the one before means that nothing was done, everything else is a refusal.
    3. Publish the batch's transitions and messages, and wait until all are acknowledged. Only what is stored is
       published, so a crash between 2 and 3 loses nothing: the outbox still holds it (`publish_outbox`).
    4. What was published leaves the outbox with the next commit: pass the returned number as its `trim`.

    Step 5, the input's own offset, is the caller's and only for dashboards: a restart goes to the
    checkpoint's position.

    `on_stored` is called between 2 and 3: from then on it can be seen by others.
    Returns the number of this commit; what it and all before had to say is published. A batch with messages needs a
    `courier` (ValueError, before anything is stored).

    Raises:
        Fenced: drop the shard's memory, claim and load again. Nothing of this batch was published.
        StoreFull: nothing was stored. Or the sink has no room: then the batch is stored, its transitions
            are in the outbox, and the shard must be loaded again before it goes on.
        StoreUnavailable, BrokerUnavailable: no answer for longer than `patience`. Load again before going on.
    """
    if batch.messages and courier is None:
        raise ValueError(f"commit {batch.number} has messages, and nobody takes them")
    _store_once(store, claim, batch, trim, patience)
    if on_stored is not None:
        on_stored()
    _publish(sink, courier, outbox_entries(batch), batch.messages, patience)
    return batch.number


def publish_outbox(
    sink: Sink, claim: Claim, loaded: Loaded, patience: Patience, *, courier: Courier | None = None
) -> int:
    """On assignment: publish what may not have been published before the stop. Returns the first commit's `trim`."""
    if loaded.messages and courier is None:
        raise ValueError(f"shard {claim.shard} has messages to send, and nobody takes them")
    _publish(sink, courier, loaded.outbox, loaded.messages, patience)
    return claim.number


def _publish(
    sink: Sink,
    courier: Courier | None,
    entries: Sequence[OutboxEntry],
    messages: Sequence[Message],
    patience: Patience,
) -> None:
    """Step 3. Where both go the same way they travel together: neither has to be there before the other."""
    if entries and messages and isinstance(sink, Carrier) and courier is sink:
        carrier = sink
        patiently(patience, lambda: carrier.carry(entries, messages))
        return
    if entries:
        patiently(patience, lambda: sink.publish(entries))
    if messages and courier is not None:
        patiently(patience, lambda: courier.send(messages))


def _store_once(store: Store, claim: Claim, batch: CommitBatch, trim: int | None, patience: Patience) -> None:
    """Step 2: the batch is stored exactly once, whatever happens to the replies.

    A repetition is safe, because the store takes every number once. If the first attempt was carried out
    after all, at once or late, its repetition is refused, and `confirm` tells our own success from a stranger's.
    """
    failed_s: float | None = None
    for attempt in range(1, patience.attempts + 1):
        try:
            store.commit(claim, batch, trim)
            return
        except StoreUnavailable:
            failed_s = patience.clock_s() if failed_s is None else failed_s
            if attempt == patience.attempts or patience.is_over(failed_s):
                raise
        except Fenced:
            if attempt > 1 and patiently(patience, lambda: store.confirm(claim, batch.number)):
                return
            raise
        patience.pause(attempt)
