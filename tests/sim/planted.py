"""Bugs that a simulator worth its name finds. Each changes one step of the protocol and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

from config.errors import Fenced
from streams.adapters.memory_store import MemoryShard, MemoryStore
from streams.commit import Patience, patiently
from streams.ports import Claim, CommitBatch, Courier, Loaded, Sink, Store, outbox_entries
from streams.runtime.kafka.group_memory import TELL_S, GroupMemory
from tests.sim import planted_steps
from tests.sim.books import Place
from tests.sim.ports import SimStore

if TYPE_CHECKING:
    from tests.sim.world import World


def _checkpoint(world: World, place: Place, offset: int) -> int:  # noqa: ARG001  others look at them
    return offset


@dataclass(frozen=True, slots=True)
class Planted:
    """A bug, or none."""

    what: str
    found_as: str = "Violation: "
    """How the failure begins, as a regular expression: any other one is that of a broken stand-in."""
    store: type[SimStore] = SimStore
    memory: type[MemoryStore] = MemoryStore
    offset_after_assign: Callable[[World, Place, int], int] = _checkpoint
    patches: Callable[[], AbstractContextManager[Any]] = nullcontext
    first: int = 0
    """The seed from which on it is looked for: what few seeds find would take long."""


# --- the position ----------------------------------------------------------------------------------------------------


def _told_offset(world: World, place: Place, offset: int) -> int:  # noqa: ARG001  that is the bug
    return world.group.offset(place)


class _PositionApart(SimStore):
    """State first, and where the input stands in a second step."""

    def carry_out(self, claim: Claim, batch: CommitBatch, trim: int | None) -> None:
        before = self.store.server.shards.get(claim.shard, MemoryShard()).position
        super().carry_out(claim, batch, trim)
        stored = self.store.server.shards[claim.shard]
        stored.position = before
        self.world.port(self.worker, "position")
        stored = self.store.server.shards[claim.shard]
        if (stored.epoch, stored.number) == (claim.epoch, batch.number):
            stored.position = batch.position


# --- the commit ------------------------------------------------------------------------------------------------------


def _publish_first(
    store: Store,
    sink: Sink,
    claim: Claim,
    batch: CommitBatch,
    *,
    trim: int | None,
    patience: Patience,
    courier: Courier,
    on_stored: Callable[[], None] | None = None,
) -> int:
    if batch.outbox:
        patiently(patience, lambda: sink.publish(outbox_entries(batch)))
    if batch.messages:
        patiently(patience, lambda: courier.send(batch.messages))
    store.commit(claim, batch, trim)
    if on_stored is not None:
        on_stored()
    return batch.number


def _trim_at_once(
    store: Store,
    sink: Sink,
    claim: Claim,
    batch: CommitBatch,
    *,
    trim: int | None,  # noqa: ARG001  that is the bug
    patience: Patience,
    **options: Any,
) -> int:
    """What this very commit has to say counts as said."""
    from streams.commit import commit_batch

    return commit_batch(store, sink, claim, batch, trim=batch.number, patience=patience, **options)


def _silent_start(sink: Sink, claim: Claim, loaded: Loaded, patience: Patience, *, courier: Courier) -> int:  # noqa: ARG001
    """Nobody publishes what a stop left in the outbox."""
    return claim.number


@contextmanager
def _in_both_runs(name: str, function: Callable[..., Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for module in ("shard_run", "learner_run"):
            stack.enter_context(patch(f"streams.runtime.{module}.{name}", function))
        yield


# --- the store -------------------------------------------------------------------------------------------------------


class _NoEpoch(MemoryStore):
    def _held(self, claim: Claim, number: int) -> MemoryShard:
        stored = self.server.shards.get(claim.shard, MemoryShard())
        if (stored.generation, stored.number) != (claim.generation, number):
            raise Fenced("the generation or the number")
        return stored


class _NoNumber(MemoryStore):
    def _held(self, claim: Claim, number: int) -> MemoryShard:  # noqa: ARG002  that is the bug
        stored = self.server.shards.get(claim.shard, MemoryShard())
        if (stored.epoch, stored.generation) != (claim.epoch, claim.generation):
            raise Fenced("the epoch or the generation")
        return stored


class _AlwaysDone(SimStore):
    """After a lost reply the worker takes it for done."""

    def confirm(self, claim: Claim, number: int) -> bool:  # noqa: ARG002  that is the bug
        return True


# --- the runs --------------------------------------------------------------------------------------------------------


@contextmanager
def _keep_memory() -> Iterator[None]:
    """A failed step leaves its half-done work in memory."""
    with patch("streams.runtime.shard_run.ShardRun.drop", lambda self: None):  # noqa: ARG005
        yield


@contextmanager
def _learn_again() -> Iterator[None]:
    """The learner learns whatever comes."""
    from models.learner import PredictionLearner

    learn = PredictionLearner.learn

    def forgetful(self: PredictionLearner, chunk: Any) -> Any:
        self._seen[chunk.shard] = chunk.number - 1
        return learn(self, chunk)

    with patch("models.learner.PredictionLearner.learn", forgetful):
        yield


@contextmanager
def _first_birth() -> Iterator[None]:
    """A learner stays with the store that it has met first."""
    from streams.runtime.births import Followed

    takes = Followed.takes

    def faithful(self: Followed, shard: int, birth: str) -> bool:
        return self._stored.get(shard, [birth])[-1] == birth and takes(self, shard, birth)

    with patch("streams.runtime.births.Followed.takes", faithful):
        yield


@contextmanager
def _no_witness() -> Iterator[None]:
    """Whoever takes a shard over is not told what the group remembers."""
    with patch("streams.runtime.witness.Witness.from_text", lambda _: None):
        yield


@contextmanager
def _offsets_alone() -> Iterator[None]:
    """An offset that is told for dashboards takes the place of what stood beside it."""

    async def tell(memory: GroupMemory, offsets: Mapping[int, int]) -> None:
        async with asyncio.timeout(TELL_S), memory._lock:
            await memory._commit({number: (at, "") for number, at in offsets.items()})

    with patch("streams.runtime.kafka.group_memory.GroupMemory.tell_offsets", tell):
        yield


@contextmanager
def _never_again() -> Iterator[None]:
    """Nobody cares which model stands last."""
    with patch("streams.runtime.latest_models.LatestModels.publish_again", lambda *_: []):
        yield


@contextmanager
def _no_note_stored() -> Iterator[None]:
    """Neither the run nor the group knows of a commit before it is published."""
    with patch("streams.runtime.shard_run.ShardRun._note_stored", lambda *_: None):
        yield


@contextmanager
def _no_look() -> Iterator[None]:
    """What was told, and what the run knows, are not compared with the claim."""
    with (
        patch("streams.runtime.witness.Witness.is_in", lambda *_: True),
        patch("streams.runtime.shard_run.ShardRun._forgot", lambda *_: False),
    ):
        yield


NONE = Planted("nothing")
_SET_BACK: Final = r"Violation: .*(a set-back took away|two payloads)"
"""A store went back and nobody noticed."""

PLANTED: dict[str, Planted] = {
    "committed_offset": Planted("a start goes on where the consumer group remembers", offset_after_assign=_told_offset),
    "publish_first": Planted(
        "what a batch has to say is published before it is stored",
        found_as=r"Violation: .*(never stored)",
        patches=lambda: _in_both_runs("commit_batch", _publish_first),
    ),
    "no_epoch": Planted(
        "the store does not look at the epoch",
        found_as=r"Violation: .*(a commit of epoch .* was taken)",
        memory=_NoEpoch,
    ),
    "position_apart": Planted("the position is saved in a step behind the state", store=_PositionApart),
    "trim_at_once": Planted(
        "the outbox is trimmed by the commit that fills it",
        found_as=r"Violation: .*(never sent|never published|sequence \d+ of \w+ follows)",
        patches=lambda: _in_both_runs("commit_batch", _trim_at_once),
    ),
    "silent_start": Planted(
        "a start does not publish what is in the outbox",
        found_as=r"Violation: .*(never sent|never published|sequence \d+ of \w+ follows)",
        patches=lambda: _in_both_runs("publish_outbox", _silent_start),
    ),
    "no_number": Planted(
        "the store does not look at the commit's number",
        found_as=r"Violation: .*commit \d+ follows \d+",
        memory=_NoNumber,
    ),
    "same_generation": Planted(
        "a store that went back keeps its generation",
        found_as=_SET_BACK,
        patches=_no_look,
    ),
    "no_witness": Planted(
        "what the group was told is not asked for",
        found_as=_SET_BACK,
        patches=_no_witness,
    ),
    "offsets_alone": Planted(
        "the group's offsets are told without the witness beside them",
        found_as=_SET_BACK,
        patches=_offsets_alone,
    ),
    "never_again": Planted(
        "a model that an older one has overtaken is not published again",
        found_as=r"Violation: .*stands behind the newest one",
        patches=_never_again,
    ),
    "no_note_stored": Planted(
        "a commit is published without being noted or told",
        found_as=_SET_BACK,
        patches=_no_note_stored,
    ),
    "always_done": Planted("a lost reply counts as done", store=_AlwaysDone),
    "keep_memory": Planted(
        "a failed step does not drop the memory",
        found_as=r"Violation: |RuntimeError: feed: the batch before is not done",
        patches=_keep_memory,
    ),
    "learn_again": Planted(
        "the learner does not skip chunks that it has seen",
        found_as=r"Violation: .*(the learner says|learned twice|version)",
        patches=_learn_again,
    ),
    "first_birth": Planted(
        "the learner does not go over to a store that was made anew",
        found_as=r"Violation: .*was born as",
        patches=_first_birth,
        first=360,
    ),
    "no_time": Planted(
        "a step never lets time pass",
        found_as=r"Violation: .*time does not pass",
        patches=planted_steps.no_time,
    ),
    "double_time": Planted(
        "time passes at double speed",
        found_as=r"Violation: .*(from that of the events|too far)",
        patches=planted_steps.double_time,
    ),
    "late_clock": Planted(
        "a record that does not move the clock hides the silence before it",
        found_as=r"Violation: .*from that of the events",
        patches=planted_steps.late_clock,
    ),
    "slow_clock": Planted(
        "a record that was under way for long slows the clock",
        found_as=r"Violation: .*from that of the events",
        patches=planted_steps.slow_clock,
    ),
    "no_models": Planted(
        "models are never put in force",
        found_as=r"Violation: .*is not in force",
        patches=planted_steps.no_models,
    ),
    "no_counts": Planted(
        "the learner never takes the distributions of shards",
        found_as=r"Violation: .*(not the sum of the shards|another distribution than shard)",
        patches=planted_steps.no_counts,
    ),
    "no_labels": Planted(
        "examples are never handed out",
        found_as=r"Violation: .*(an example is left|chunks are not those)",
        patches=planted_steps.no_labels,
    ),
    "lost_examples": Planted(
        "the first example of a chunk is left out",
        found_as=r"Violation: .*(examples are lost|chunks are not those)",
        patches=planted_steps.lost_examples,
    ),
    "kept_examples": Planted(
        "a deletion keeps pending examples",
        found_as=r"Violation: .*(who was deleted|examples of no event)",
        patches=planted_steps.kept_examples,
    ),
    "kept_users": Planted(
        "a load forgets who was deleted",
        found_as=r"Violation: ",
        patches=planted_steps.kept_users,
    ),
    "lost_goals": Planted(
        "a load forgets which goals pending examples have reached",
        found_as=r"Violation: .*(a label is false|chunks are not those)",
        patches=planted_steps.lost_goals,
    ),
    "late_goals": Planted(
        "late goals are ignored",
        found_as=r"Violation: .*(late goals are counted|chunks are not those)",
        patches=planted_steps.late_goals,
    ),
    "delayed_goals": Planted(
        "a goal that comes late does not reach the examples that still wait for it",
        found_as=r"Violation: .*(a label is false|are not those|late goals are counted)",
        patches=planted_steps.delayed_goals,
    ),
    "unsaved_marks": Planted(
        "marks of notes are saved as those of goals",
        found_as=r"Violation: .*(is marked|chunks are not those)",
        patches=planted_steps.unsaved_marks,
    ),
    "lost_marks": Planted(
        "a load forgets which pending examples are marked",
        found_as=r"Violation: .*(is marked|chunks are not those)",
        patches=planted_steps.lost_marks,
    ),
    "forgotten_notes": Planted(
        "a load forgets the latest note of each user",
        found_as=r"Violation: .*(is marked|(rows|chunks) are not those)",
        patches=planted_steps.forgotten_notes,
    ),
    "notes_as_events": Planted(
        "a note is taken for an event of its user",
        found_as=r"Violation: .*(it counted|caused a transition|the clock|accepted, not|dead letters|there are rows)",
        patches=planted_steps.notes_as_events,
    ),
    "all_untouched": Planted(
        "quality does not tell by what campaigns did",
        found_as=r"Violation: .*the quality by",
        patches=planted_steps.all_untouched,
    ),
}
"""By name. The first four are those that the design names."""
