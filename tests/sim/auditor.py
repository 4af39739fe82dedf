"""The auditor: what must hold, during a run and at its end, judged by what was logged, published and stored.

It hears of every commit that a store carried out, of every record that a log took, and of every set-back of a store; at
the end it is given what the stores hold. It knows nothing of how the product came to it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from tests.sim.audit_deletions import Left, follows, forgotten_problems, left_problems
from tests.sim.audit_examples import example_problems, label_problems, late_goals, waiting_problems
from tests.sim.audit_members import frozen_problems, score_problems, transition_problems
from tests.sim.audit_messages import birth_problems, learned_problems, message_problems
from tests.sim.audit_models import learner_problems, shard_problems, topic_problems
from tests.sim.audit_records import letter_problems, record_problems
from tests.sim.audit_time import Taken, clocks_s, end_problem, read_taken, seen, step_problem
from tests.sim.audit_touches import Log, Recount, counted_problems, judged_problems
from tests.sim.books import EVENTS, EXAMPLES, Book, Commit, Held, Place, Violation
from tests.sim.evidence import Age, Chunk, Sorting, position_of, read_chunk, read_frozen, read_models, transition_id
from tests.sim.rules import Memory, Rules

GONE_BUT_SEEN = "of which a set-back took away what was published"
GONE_ON = "have gone on in it"


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
        self._models: dict[str, dict[Age, bytes]] = {}
        self._last_models: dict[str, Age] = {}
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
        if chunk.birth not in self.books[place].generations:
            self._fail(f"{place}: a chunk of the birth {chunk.birth}, which is no generation of it")
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
            models = self._models.setdefault(key, {})
            age = read_models(data)[0].age
            if age not in models and models and age < max(models):
                self._fail(f"{key}: version {age} is new and comes after {max(models)}")
            if models.setdefault(age, data) != data:
                self._fail(f"{key}: version {age} has two payloads")
            self._last_models[key] = age

    def on_sent_again(self, key: str, data: bytes, seen: Sequence[bytes]) -> None:
        """A worker has found that an older model stands behind this one, and published it once more.

        `seen`: the messages of this key that it had read. A newer one may have come between its look and its word: then
        that one is overtaken, and whoever reads on publishes it once more. The end is judged by `topic_problems`.
        """
        ages = [read_models(each)[0].age for each in seen]
        age = read_models(data)[0].age
        if data not in seen or age != max(ages):
            self._fail(
                f"{key}: version {age[1]} was published again, and is not the newest that was read, {max(ages)[1]}"
            )
        if ages[-1] == age:
            self._fail(f"{key}: version {age[1]} was published again, and nothing stood behind it")
        self._last_models[key] = age

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
                self._check_shard(place[1], stored, memories[place[1]])
            self._fail_at(place, message_problems(book.commits, stored, self._sent()))
        born = {shard: held[EVENTS, shard].blobs.get("birth", b"").decode() for shard in memories}
        for p, log in enumerate(self.logs[EXAMPLES]):
            self._fail_at((EXAMPLES, p), learned_problems(log, held[EXAMPLES, p]))
            self._fail_at((EXAMPLES, p), birth_problems(log, held[EXAMPLES, p], born))
        for shard, memory in memories.items():
            self._check_time(shard, memory, latest_now_s)
            self._check_examples(shard, memory, self._frozen_of(held[EVENTS, shard]))
            self._check_touches(shard, memory)
        self._check_models(held, memories)

    def _check_shard(self, shard: int, stored: Held, memory: Memory) -> None:
        """What it holds, of records and of users."""
        values, wanted, book = self.logs[EVENTS][shard], self._sorting[shard].found, self.books[EVENTS, shard]
        self._fail_with(shard, record_problems(values, stored, wanted, memory.counters))
        self._fail_with(shard, letter_problems(values, stored, wanted, self._dead))
        self._fail_with(shard, transition_problems(book, self._published.get(shard, {}), stored))
        self._fail_with(shard, score_problems(stored))
        frozen = self._frozen_of(stored)
        self.checked["frozen"] += len(frozen)
        self._fail_with(shard, frozen_problems(book.commits, frozen, stored, {gone.user for gone in wanted.gone}))
        self._check_deletions(shard, stored, memory)

    def _sent(self) -> set[tuple[str, bytes]]:
        """(topic, data) of all messages that their topics hold."""
        sent = {(EXAMPLES, data) for partition in self.logs[EXAMPLES] for data in partition}
        sent |= {("models", data) for data in self.logs["models"][0]}
        sent |= {("dead-letters", data) for data in self._dead}
        return sent | {("deletions", data) for data in self._deletions}

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
        models = {key.partition(":")[2]: messages for key, messages in self._models.items()}
        latest = {prediction: messages[max(messages)] for prediction, messages in models.items()}
        self.checked["models"] += len(latest) if not self._rules.given else 0
        for shard, memory in memories.items():
            chunks = {chunk.prediction: chunk for chunk in self._chunks_of(shard)}
            self.checked["distributions"] += memory.is_settled * len(chunks)
            stored = held[EVENTS, shard]
            frozen = self._frozen_of(stored)
            self._fail_with(shard, shard_problems(self._rules, stored, memory, latest, chunks, frozen))
        if not self._rules.given:
            self._fail_at(("models", 0), topic_problems(self._last_models, self._models))
        for p, log in enumerate(self.logs[EXAMPLES]):
            self._fail_at((EXAMPLES, p), learner_problems(log, held[EXAMPLES, p], models))
            self._fail_at((EXAMPLES, p), judged_problems(log, held[EXAMPLES, p].blobs))

    def _frozen_of(self, stored: Held) -> dict[str, float]:
        return read_frozen(stored.blobs["shard"], list(self._rules.windows_s)) if "shard" in stored.blobs else {}

    def _fail_with(self, shard: int, problems: Iterable[str]) -> None:
        """By the first one."""
        for problem in problems:
            self._fail(f"shard {shard}: {problem}")

    def _fail_at(self, place: Place, problems: Iterable[str]) -> None:
        for problem in problems:
            self._fail(f"{place}: {problem}")

    def _fail(self, what: str) -> NoReturn:
        raise Violation(what)
