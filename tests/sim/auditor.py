"""The auditor: what must hold, during a run and at its end, judged by what was logged, published and stored.

It hears of every commit that a store carried out, of every record that a log took, and of every set-back of a store; at
the end it is given what the stores hold. It knows nothing of how the product came to it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from tests.sim.audit_deletions import Left, follows, forgotten_problems, left_problems, may_be_erased
from tests.sim.audit_examples import example_problems, label_problems, late_goals, waiting_problems
from tests.sim.audit_models import learner_problems, shard_problems
from tests.sim.audit_time import Taken, Tick, clocks_s, end_problem, read_taken, seen, step_problem
from tests.sim.audit_touches import Log, Recount, counted_problems, judged_problems
from tests.sim.evidence import (
    KIND_CROSSING,
    Chunk,
    Expected,
    Sorting,
    position_of,
    read_chunk,
    read_frozen,
    read_learned,
    read_models,
    transition_id,
)
from tests.sim.rules import Memory, Rules

EVENTS, EXAMPLES = "events", "examples"
CATEGORIES = ("low", "medium", "high")
GONE_BUT_SEEN = "of which a set-back took away what was published"
GONE_ON = "have gone on in it"
UNMOVED = Tick()
Place = tuple[str, int]
"""(topic, partition): who works it has a shard of the store with that number."""


class Violation(AssertionError):
    """Something that must hold does not."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as a store carried it out."""

    number: int
    generation: str
    offset: int
    transitions: tuple[bytes, ...]
    messages: tuple[tuple[str, str, bytes], ...]
    """(topic, key, data)."""
    dead_letters: tuple[bytes, ...]
    tick: Tick = UNMOVED
    """Of a shard."""
    frozen: Mapping[str, tuple[float, Mapping[str, bytes]]] = field(default_factory=dict)
    """Prediction -> as of when everybody was scored for good, and what was said then, where this commit did it."""


@dataclass(slots=True)
class Book:
    """What the store of one place went through."""

    commits: list[Commit] = field(default_factory=list)
    """Those that stand; a set-back takes the last ones away."""
    owner: tuple[int, str] = (0, "")
    """Epoch and generation of the latest claim."""
    transitions: set[bytes] = field(default_factory=set)
    """All that were ever stored."""
    messages: dict[tuple[str, str, bytes], str] = field(default_factory=dict)
    """The same of messages, with the generation in which they were stored first."""
    generations: list[str] = field(default_factory=list)
    lost: list[Commit] = field(default_factory=list)
    """Those that set-backs took away."""
    gone_on: set[str] = field(default_factory=set)
    """Generations in which a commit was made after a set-back had taken some of it away."""

    def stands(self, transition: bytes) -> bool:
        """Whether a commit that stands holds it."""
        return any(transition in commit.transitions for commit in self.commits)


@dataclass(slots=True)
class Held:
    """What a store holds of one place at the end."""

    number: int
    generation: str
    position: bytes | None
    blobs: Mapping[str, bytes]
    scores: Mapping[str, Mapping[str, bytes]]
    members: Mapping[str, set[str]]
    appended: Mapping[str, bytes]
    outbox: Sequence[bytes]
    messages: Sequence[tuple[str, str, bytes]]
    dead_letters: Sequence[bytes]
    rows: Collection[str] = ()
    remembered: Collection[str] = ()


class Auditor:
    """`logs`: topic -> partitions -> records, as they grow. `sources`: of each partition of the events its name."""

    def __init__(
        self,
        logs: Mapping[str, Sequence[Sequence[bytes]]],
        sources: Sequence[str],
        rules: Rules,
    ) -> None:
        self.logs = logs
        self._rules = rules
        self.books: dict[Place, Book] = {}
        self._payloads: dict[str, bytes] = {}
        self._published: dict[int, dict[bytes, None]] = {}
        self._heads: dict[tuple[str, int, str, str], int] = {}
        self._chunks: dict[tuple[str, int, int, str], bytes] = {}
        self._versions: dict[str, dict[int, bytes]] = {}
        self._dead: set[bytes] = set()
        self._deletions: set[bytes] = set()
        self._offsets: list[dict[str, int]] = [{} for _ in sources]
        self._taken: list[list[Taken | None]] = [[] for _ in sources]
        self._sorting = [Sorting(name, p, len(sources), rules.most_users) for p, name in enumerate(sources)]
        self.checked: Counter[str] = Counter()
        """How much there was to judge at the end, by check: one that never meets anything proves nothing."""

    # --- during the run ----------------------------------------------------------------------------------------------

    def on_record(self, partition: int, offset: int, value: bytes, log_time_s: float) -> None:
        """A record of the events: remember where the cause of a transition may stand, and what moves the clock."""
        taken = read_taken(value, log_time_s, self._rules.max_ahead_s)
        is_accepted = self._sorting[partition].take(offset, value, math.nan if taken is None else taken.time_s)
        self._taken[partition].append(taken if is_accepted else None)
        if is_accepted:  # one that was refused may come again when a deletion has made room
            cause = json.loads(value).get("messageId")
            self._offsets[partition][f"position:{offset}" if cause is None else cause] = offset

    def on_claim(self, place: Place, epoch: int, generation: str) -> None:
        book = self.books.setdefault(place, Book())
        if epoch <= book.owner[0]:
            self._fail(f"{place}: epoch {epoch} was given after {book.owner[0]}")
        book.owner = epoch, generation
        if generation not in book.generations:
            book.generations.append(generation)

    def on_commit(self, place: Place, epoch: int, commit: Commit) -> None:
        """A store has carried a commit out under a claim of `epoch`."""
        book = self.books[place]
        last = book.commits[-1] if book.commits else Commit(0, commit.generation, 0, (), (), ())
        if (epoch, commit.generation) != book.owner:
            self._fail(f"{place}: a commit of epoch {epoch} {commit.generation} was taken, the owner is {book.owner}")
        if commit.number != last.number + 1:
            self._fail(f"{place}: commit {commit.number} follows {last.number}")
        if commit.offset < last.offset or commit.offset > len(self.logs[place[0]][place[1]]):
            self._fail(f"{place}: commit {commit.number} stands at {commit.offset}, the one before at {last.offset}")
        if place[0] == EVENTS:
            self._check_causes(place, commit, last.offset)
            self._check_generation(place, commit)
            accepted = [taken for taken in self._taken[place[1]][last.offset : commit.offset] if taken is not None]
            if problem := step_problem(last.tick, commit.tick, accepted):
                self._fail(f"{place}: commit {commit.number}: {problem}")
        book.commits.append(commit)
        book.transitions.update(commit.transitions)
        for message in commit.messages:
            book.messages.setdefault(message, commit.generation)

    def _check_causes(self, place: Place, commit: Commit, first: int) -> None:
        """What a commit says must come of the records that it has taken, neither of earlier nor of later ones."""
        for data in commit.transitions:
            cause = json.loads(data).get("causationid")
            at = None if cause is None else self._offsets[place[1]].get(cause)
            if cause is not None and (at is None or not first <= at < commit.offset):
                self._fail(f"{place}: {cause} at {at} caused a transition of a commit of {first} to {commit.offset}")
        for data in commit.dead_letters:
            at = int(json.loads(data)["position"])
            if not first <= at < commit.offset:
                self._fail(f"{place}: the dead letter of {at} is in a commit of {first} to {commit.offset}")

    def _check_generation(self, place: Place, commit: Commit) -> None:
        """Ids of a generation of which a part was seen and is gone would be given a second time."""
        book, seen = self.books[place], self._published.get(place[1], {})
        lost = [gone for gone in book.lost if gone.generation == commit.generation]
        if lost:
            book.gone_on.add(commit.generation)
        for gone in lost:
            # What came again byte for byte stands: it was told as late as that, if the first time was not told of.
            if any(data in seen and not book.stands(data) for data in gone.transitions):
                self._fail(f"{place}: commit {commit.number} goes on in {commit.generation}, {GONE_BUT_SEEN}")

    def _check_chunk(self, place: Place, generation: str, chunk: Chunk, data: bytes) -> None:
        key = chunk.prediction, chunk.shard, chunk.number, generation
        if chunk.shard != place[1]:
            self._fail(f"{place}: a chunk of shard {chunk.shard}")
        if self._chunks.setdefault(key, data) != data:
            self._fail(f"chunk {key} has two payloads")

    def on_published(self, shard: int, data: bytes) -> None:
        """A transition is in its topic now."""
        book = self.books.get((EVENTS, shard), Book())
        if data not in book.transitions:
            self._fail(f"shard {shard}: a transition was published and never stored: {data[:120]!r}")
        event = json.loads(data)
        if self._payloads.setdefault(event["id"], data) != data:
            self._fail(f"the id {event['id']} has two payloads: {data!r} and {self._payloads[event['id']]!r}")
        told = self._published.setdefault(shard, {})
        if data in told:
            return
        told[data] = None
        for gone in book.lost:
            if gone.generation in book.gone_on and data in gone.transitions and not book.stands(data):
                self._fail(f"shard {shard}: published of {gone.generation} what is gone while others {GONE_ON}")
        self._check_order(shard, event, book)

    def _check_order(self, shard: int, event: Mapping[str, Any], book: Book) -> None:
        """Per generation, user and segment: without gaps, in turn, and under the id that it must have."""
        data, sequence = event["data"], int(event["sequence"])
        user, segment = data["user_id"], data["segment_id"]
        for generation in book.generations:
            if transition_id(generation, shard, user, segment, sequence) == event["id"]:
                break
        else:
            self._fail(f"shard {shard}: the id of {segment} of {user}, {sequence}, is of no generation")
        if data["in_segment"] != bool(sequence % 2) or ("entered" in event["type"]) != data["in_segment"]:
            self._fail(f"shard {shard}: sequence {sequence} of {user} in {segment} goes the wrong way")
        key = generation, shard, user, segment
        last = self._heads.get(key, 0 if generation == book.generations[0] else None)
        if last is not None and not follows(sequence, last):
            self._fail(f"shard {shard}: {user} in {segment}: sequence {sequence} of {generation} follows {last}")
        self._heads[key] = sequence

    def on_sent(self, place: Place, topic: str, key: str, data: bytes) -> None:
        """A message of the worker of `place` is in its topic now."""
        generation = self.books.get(place, Book()).messages.get((topic, key, data))
        if generation is None:
            self._fail(f"{place}: a message to {topic} was sent and never stored")
        if topic == EXAMPLES:
            self._check_chunk(place, generation, read_chunk(data), data)
        if topic == "dead-letters":
            self._dead.add(data)
        if topic == "deletions":
            self._deletions.add(data)
        if topic == "models":
            versions = self._versions.setdefault(key, {})
            version = read_models(data)[0].version
            if version not in versions and versions and version < max(versions):
                self._fail(f"{key}: version {version} is new and comes after {max(versions)}")
            if versions.setdefault(version, data) != data:
                self._fail(f"{key}: version {version} has two payloads")

    def on_set_back(self, place: Place, number: int, owner: tuple[int, str]) -> None:
        """A store holds what it held at commit `number`, and the claim of then."""
        book = self.books.setdefault(place, Book())
        book.lost += book.commits[number:]
        del book.commits[number:]
        book.owner = owner

    # --- at the end --------------------------------------------------------------------------------------------------

    def finish(self, held: Mapping[Place, Held], memories: Mapping[int, Memory], latest_now_s: float) -> None:
        """Judge the end of a run. `memories`: of each shard; `latest_now_s`: the highest wall clock that there was."""
        for place, stored in held.items():
            book = self.books[place]
            if stored.number != len(book.commits) or position_of(stored.position) != len(self.logs[place[0]][place[1]]):
                self._fail(f"{place}: the store stands at {stored.number}, {position_of(stored.position)}")
            if place[0] == EVENTS:
                self._check_records(place[1], stored, memories[place[1]].counters)
                self._check_transitions(place[1], stored)
                self._check_scores(place[1], stored)
                self._check_frozen(place[1], stored)
                self._check_deletions(place[1], stored, memories[place[1]])
            self._check_messages(place, stored)
        for p in range(len(self.logs[EXAMPLES])):
            self._check_learner(p, held[EXAMPLES, p])
        for shard, memory in memories.items():
            self._check_time(shard, memory, latest_now_s)
            self._check_examples(shard, memory, self._frozen_of(held[EVENTS, shard]))
            self._check_touches(shard, memory)
        self._check_models(held, memories)

    def _check_time(self, shard: int, memory: Memory, latest_now_s: float) -> None:
        ticks = [commit.tick for commit in self.books[EVENTS, shard].commits]
        if math.isnan(memory.clock_s):
            return
        if problem := end_problem(ticks[-1], memory.clock_s, memory.now_s, latest_now_s):
            self._fail(f"shard {shard}: {problem}")
        taken_s = next(tick.clock_s for tick in ticks if tick.offset == ticks[-1].offset)
        self.checked["clocks"] += ticks[-1].clock_s > taken_s
        self.checked["waiting"] += memory.clock_s > taken_s
        self._fail_with(shard, waiting_problems(self._rules, memory, taken_s))

    def _check_examples(self, shard: int, memory: Memory, frozen: Collection[str]) -> None:
        """What was handed out, and what waits, are the examples that the records make; of what is `frozen` some."""
        rules, commits, chunks = self._rules, self.books[EVENTS, shard].commits, self._chunks_of(shard)
        taken = list(seen([commit.tick for commit in commits], self._taken[shard]))
        until_s = {gone.user: gone.until_s for gone in self._sorting[shard].found.gone}
        accepted = [  # what a deleted user has done need not be an example any more
            each._replace(has_moved=each.has_moved and each.record.time_s > until_s.get(each.record.user, -math.inf))
            for each in taken
            if not each.record.deletes
        ]
        late, counted = late_goals(rules, chunks, accepted), memory.counters["late_goals"]
        self.checked["late goals"] += late
        if counted != late:
            self._fail(f"shard {shard}: {counted} late goals are counted, and {late} have come")
        for prediction in rules.goals:
            mine = [chunk for chunk in chunks if chunk.prediction == prediction]
            self.checked["examples"] += sum(each.has_moved for each in accepted)
            self.checked["labels"] += sum(example[3] for chunk in mine for example in chunk.examples)
            of_rule = replace(rules, keeps_examples=rules.keeps_examples and prediction not in frozen)
            self._fail_with(shard, example_problems(of_rule, prediction, mine, memory, accepted=accepted))
            self._fail_with(shard, label_problems(rules, prediction, mine, accepted=accepted))

    def _check_touches(self, shard: int, memory: Memory) -> None:
        """What campaigns did, by the notes in the log, is what the examples say."""
        sorted_ = self._sorting[shard].found
        ticks = [commit.tick for commit in self.books[EVENTS, shard].commits]
        log = Log(sorted_.notes, sorted_.gone, self._taken[shard], clocks_s(ticks, self._taken[shard]))
        recount, chunks = Recount.of(self._rules, log, self.checked), self._chunks_of(shard)
        for chunk in chunks:
            self._fail_with(shard, recount.problems(chunk))
        late = recount.late_notes(chunks)
        self.checked["late notes"] += late
        self.checked["notes passed over"] += sorted_.passed_over
        problems = counted_problems(memory.counters, len(sorted_.notes), sorted_.passed_over, late)
        self._fail_with(shard, problems)

    def _check_deletions(self, shard: int, stored: Held, memory: Memory) -> None:
        wanted = self._sorting[shard].found
        self.checked["deletions"] += len(wanted.gone)
        left = Left(stored.rows, stored.remembered, stored.scores, stored.members)
        self._fail_with(shard, left_problems(left, wanted.users))
        commits = self.books[EVENTS, shard].commits
        firsts = [0, *(commit.offset for commit in commits)]
        chunks = [
            (first, read_chunk(data))
            for first, commit in zip(firsts, commits, strict=False)
            for topic, _, data in commit.messages
            if topic == EXAMPLES
        ]
        self._fail_with(shard, forgotten_problems(chunks, memory, wanted.gone))

    def _chunks_of(self, shard: int) -> list[Chunk]:
        """In the order of the commits that stand."""
        commits = self.books[EVENTS, shard].commits
        return [read_chunk(d) for commit in commits for topic, _, d in commit.messages if topic == EXAMPLES]

    def _check_models(self, held: Mapping[Place, Held], memories: Mapping[int, Memory]) -> None:
        versions = {key.partition(":")[2]: messages for key, messages in self._versions.items()}
        latest = {prediction: messages[max(messages)] for prediction, messages in versions.items()}
        self.checked["models"] += len(latest) if not self._rules.given else 0
        for shard, memory in memories.items():
            chunks = {chunk.prediction: chunk for chunk in self._chunks_of(shard)}
            self.checked["distributions"] += memory.is_settled * len(chunks)
            stored = held[EVENTS, shard]
            frozen = self._frozen_of(stored)
            self._fail_with(shard, shard_problems(self._rules, stored, memory, latest, chunks, frozen))
        for p, log in enumerate(self.logs[EXAMPLES]):
            self._fail_with(p, learner_problems(log, held[EXAMPLES, p], versions))
            self._fail_with(p, judged_problems(log, held[EXAMPLES, p].blobs))

    def _fail_with(self, number: int, problems: Iterable[str]) -> None:
        for problem in problems:
            self._fail(f"shard {number}: {problem}")

    def _check_records(self, shard: int, stored: Held, counted: Mapping[str, int]) -> None:
        """Every record of the log was scored, known as a duplicate, or refused; each once."""
        values = self.logs[EVENTS][shard]
        wanted = self._sorting[shard].found
        names = sorted((n for n in stored.appended if n.startswith("dedupe:")), key=lambda n: int(n.split(":")[1]))
        data = b"".join(stored.appended[name] for name in names)
        accepted = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]
        if accepted != wanted.accepted:
            self._fail(f"shard {shard}: {len(accepted)} accepted, not {len(wanted.accepted)} in the log's order")
        said_before = counted["duplicates"] + counted["deletions_skipped"]
        no_events = len(wanted.deletions) + len(wanted.notes)
        if (counted["events"], said_before) != (len(accepted) - no_events, wanted.duplicates):
            self._fail(f"shard {shard}: it counted {counted['events']}, {said_before}, not {wanted}")
        self._check_dead(shard, stored, wanted)
        if len(values) != len(accepted) + wanted.duplicates + len(wanted.dead) + wanted.passed_over:
            self._fail(f"shard {shard}: {len(values)} records, of which some are unaccounted for")

    def _check_dead(self, shard: int, stored: Held, wanted: Expected) -> None:
        letters = {letter["position"]: letter for letter in map(json.loads, stored.dead_letters)}
        erased = may_be_erased(self.logs[EVENTS][shard], wanted.dead, wanted.deletions)
        if list(letters) != [offset for offset in wanted.dead if offset in letters or offset not in erased]:
            self._fail(f"shard {shard}: dead letters of {list(letters)}, not {wanted.dead}")
        if left := [at for at in letters if at in erased and letters[at].get("raw") != ""]:
            self._fail(f"shard {shard}: dead letters of somebody who was deleted: {left}")
        for letter in letters.values():
            reason = wanted.dead[letter["position"]]
            if reason and letter["reason"] != reason:
                self._fail(f"shard {shard}: {letter['position']} is dead for {letter['reason']}, not {reason}")
        if not self._dead.issuperset(stored.dead_letters):
            self._fail(f"shard {shard}: a dead letter was never sent")

    def _check_transitions(self, shard: int, stored: Held) -> None:
        """What stands was published, nothing else but what a set-back took, and it adds up to the members."""
        book = self.books[EVENTS, shard]
        standing = [data for commit in book.commits for data in commit.transitions]
        told = self._published.get(shard, {})
        if missing := [data for data in standing if data not in told]:
            self._fail(f"shard {shard}: {len(missing)} stored transitions were never published: {missing[0]!r}")
        if not book.lost and set(told) != set(standing):
            self._fail(f"shard {shard}: {len(set(told) - set(standing))} transitions were published and do not stand")
        self._check_fold(shard, standing, stored)
        if not book.lost:
            self._check_fold(shard, list(told), stored)
        if missing := [data for data in stored.outbox if data not in told]:
            self._fail(f"shard {shard}: {len(missing)} of the outbox were never published")

    def _check_fold(self, shard: int, transitions: Sequence[bytes], stored: Held) -> None:
        sequences: dict[tuple[str, str], int] = {}
        members: dict[str, set[str]] = {}
        for data in transitions:
            event = json.loads(data)
            user, segment, sequence = event["subject"], event["data"]["segment_id"], int(event["sequence"])
            if not follows(sequence, sequences.get((user, segment), 0)):
                self._fail(f"shard {shard}: {user} in {segment}: {sequence} follows {sequences.get((user, segment))}")
            sequences[user, segment] = sequence
            (members.setdefault(segment, set()).add if sequence % 2 else members[segment].discard)(user)
        found = {segment: users for segment, users in stored.members.items() if users}
        if found != {segment: users for segment, users in members.items() if users}:
            self._fail(f"shard {shard}: the transitions add up to {members}, the store holds {found}")

    def _check_scores(self, shard: int, stored: Held) -> None:
        """Whoever has a likelihood is in the segment of his category and in no other one of that prediction."""
        for prediction, users in stored.scores.items():
            segments = {c: stored.members.get(f"{prediction}.{c}", set()) for c in CATEGORIES}
            if not any(segments.values()):
                continue  # nobody may be targeted by it, or nobody has had his turn
            for user, data in users.items():
                score = json.loads(data)
                inside = [category for category, members in segments.items() if user in members]
                if score["likelihood"] is not None and inside != [score["category"]]:
                    self._fail(f"shard {shard}: {user} of {prediction} has {score} and is in {inside}")
            for category, members in segments.items():
                if not members <= users.keys():
                    self._fail(f"shard {shard}: members of {prediction}.{category} have no score")

    def _check_frozen(self, shard: int, stored: Held) -> None:
        """What was said once, of everybody who was not deleted since, is what is said at the end; of nobody else."""
        commits = self.books[EVENTS, shard].commits
        gone = {each.user for each in self._sorting[shard].found.gone}
        for name, at_s in self._frozen_of(stored).items():
            first = next((commit.frozen[name] for commit in commits if name in commit.frozen), None)
            self.checked["frozen"] += 1
            if first is None or first[0] != at_s:
                self._fail(f"shard {shard}: {name} is frozen as of {at_s}, and the commit says {first and first[0]}")
            now = stored.scores.get(name, {})
            if any(first[1].get(user) != data for user, data in now.items()):
                self._fail(f"shard {shard}: scores of {name} have moved, which was frozen")
            if left := set(first[1]) - set(now) - gone:
                self._fail(f"shard {shard}: {sorted(left)} had a frozen score of {name}, and have none")

    def _frozen_of(self, stored: Held) -> dict[str, float]:
        return read_frozen(stored.blobs["shard"], list(self._rules.windows_s)) if "shard" in stored.blobs else {}

    def _check_messages(self, place: Place, stored: Held) -> None:
        """All messages that stand were sent, and every chunk names the one before it."""
        sent = {(EXAMPLES, data) for partition in self.logs[EXAMPLES] for data in partition}
        sent |= {("models", data) for data in self.logs["models"][0]}
        sent |= {("dead-letters", data) for data in self._dead}
        sent |= {("deletions", data) for data in self._deletions}
        numbers: dict[str, int] = {}
        for commit in self.books[place].commits:
            for topic, key, data in commit.messages:
                if (topic, data) not in sent:
                    self._fail(f"{place}: a message to {topic} of commit {commit.number} was never sent")
                if topic == EXAMPLES:
                    chunk = read_chunk(data)
                    if chunk.previous != numbers.get(key, 0) or chunk.number <= chunk.previous:
                        self._fail(f"{place}: chunk {chunk.number} of {key} follows {numbers.get(key, 0)}")
                    numbers[key] = chunk.number
        for topic, _, data in stored.messages:
            if (topic, data) not in sent:
                self._fail(f"{place}: a message to {topic} is in the outbox and was never sent")

    def _check_learner(self, partition: int, stored: Held) -> None:
        """Learned was what the log of examples holds, every chunk and every example once."""
        seen: dict[tuple[str, int], int] = {}
        learned: dict[str, list[int]] = {}
        examples: set[tuple[str, int, int, float, int]] = set()
        for data in self.logs[EXAMPLES][partition]:
            chunk = read_chunk(data)
            last = seen.get((chunk.prediction, chunk.shard), 0)
            if chunk.number <= last:
                continue
            if chunk.previous > last:
                self._fail(f"chunk {chunk.number} of {chunk.prediction}, shard {chunk.shard}, follows {last}")
            seen[chunk.prediction, chunk.shard] = chunk.number
            count = learned.setdefault(chunk.prediction, [0, 0, 0])
            for user, time_s, kind, label, usable in chunk.examples:
                if not usable:
                    count[2] += 1
                elif kind != KIND_CROSSING:
                    example = chunk.prediction, chunk.shard, user, time_s, kind
                    if example in examples:
                        self._fail(f"learned twice: {example}")
                    examples.add(example)
                    count[0] += 1
                    count[1] += label
        for prediction, count in learned.items():
            state = read_learned(stored.blobs[f"learner:{prediction}:head"])
            shards = {shard: number for (name, shard), number in seen.items() if name == prediction}
            if [state.learned, state.goals, state.refused, state.missed] != [*count, 0] or state.seen != shards:
                self._fail(f"{prediction}: the learner says {state}, the log of examples holds {count} of {shards}")

    def _fail(self, what: str) -> NoReturn:
        raise Violation(what)
